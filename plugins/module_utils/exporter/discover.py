# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds every ttExporter process and every wallet on a host, no matter who made it. Changes nothing and sends no GET."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import GENERATION_ID
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

# A port has at most five ASCII digits.
_PORT = re.compile(r"[0-9]{1,5}\Z")
_DEPTH = 3
"""How many levels below a directory the search for wallets goes."""

_MOST_DIRECTORIES = 5000
_MOST = 100
"""The largest number of exporters that is returned for one host."""

_NOTHING: dict[str, Any] = dict.fromkeys(
    ("pid", "port", "owner", "unit", "timesten_home", "certificate_directory", "exporter", "not_after")
)


def discover(directories: Sequence[str]) -> list[dict[str, Any]]:
    """Return the running exporters by port, then the wallets that no process serves.

    :param directories: where to look for wallets, in addition to the users' home directories.
    """
    rows = sorted(_running(processes.Snapshot()), key=lambda row: row["port"])
    served = {row["certificate_directory"] for row in rows} - {None}
    # A served wallet may be that of a generation: the exporter's own directory then counts as served.
    served |= {os.path.dirname(os.path.dirname(path)) for path in served if GENERATION_ID.match(os.path.basename(path))}
    places = [*directories, *_homes(), *filter(None, (row["timesten_home"] for row in rows))]
    return [*rows, *(row for row in _wallets(places) if row["certificate_directory"] not in served)][:_MOST]


def _running(snapshot: processes.Snapshot) -> Iterator[dict[str, Any]]:
    serving = {
        process.pid: (process, options)
        for process in snapshot.processes.values()
        for options in [processes.exporter_options(process.argv)]
        if options is not None and process.pid != os.getpid()
    }
    # A wrapper has the same arguments as the exporter that it waits for.
    wrappers = {process.parent for process, _options in serving.values()}
    for pid, (process, options) in serving.items():
        given = options.get("port") or ""
        port = int(given) if _PORT.match(given) else 0
        if pid in wrappers or not 0 < port < 65536:
            continue
        members = [member.pid for member in processes.family(process, snapshot.processes)]
        listening = snapshot.listens(members, port)
        yield {**_NOTHING, **_of_process(process, options, port), "port": port, "listening": listening, "pid": pid}


def _of_process(process: processes.Process, options: Mapping[str, str | None], port: int) -> dict[str, Any]:
    directory = processes.wallet_of(process, options)
    insecure = "insecure" in options
    return {
        "owner": process.owner,
        "unit": systemd.manager(process.pid),
        "timesten_home": processes.home_of(process),
        "certificate_directory": directory,
        "insecure": insecure,
        "exporter": None if directory is None else _exporter(directory),
        "not_after": None if insecure else _served_until(port),
    }


def _served_until(port: int) -> str | None:
    """Return the end of the certificate that a port serves. A handshake without a client certificate shows it."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates

    for host in ("127.0.0.1", "::1"):
        outcome = probe.tls(host, port, settle=0.0)
        if outcome.certificate is not None:
            # OpenSSL accepts some certificates that cryptography refuses.
            with contextlib.suppress(ValueError):
                return str(certificates.facts_of_der(outcome.certificate)["not_after"])
    return None


def _exporter(directory: str) -> str | None:
    """Return the name of our exporter if this certificate directory is one of its generations."""
    if not GENERATION_ID.match(os.path.basename(directory)):
        return None
    exporter: str | None = _of_manifest(_manifest(directory))["exporter"]
    return exporter


def _manifest(directory: str) -> Mapping[str, Any]:
    # Anybody may have written this file.
    with contextlib.suppress(TimesTenError, OSError):
        return files.read_json(os.path.join(directory, "manifest.json")) or {}
    return {}


def _homes() -> list[str]:
    homes = {entry.pw_dir: None for entry in pwd.getpwall() if entry.pw_uid >= 1000 or entry.pw_uid == os.geteuid()}
    return [path for path in homes if path not in ("", "/")]


def _wallets(places: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the certificate directories below some places; for an exporter of this collection, its own directory."""
    seen: set[str] = set()
    waiting = [(os.path.realpath(place), 0) for place in places]
    while waiting and len(seen) < _MOST_DIRECTORIES:
        path, depth = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        names = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        current = os.path.realpath(os.path.join(path, "current"))
        if "generations" in names and GENERATION_ID.match(os.path.basename(current)):
            yield {**_row(path), **_of_manifest(_manifest(current))}
            continue
        if any(
            name.startswith(".ttwallet.") and os.path.lexists(os.path.join(path, name, "cwallet.sso")) for name in names
        ):
            yield _row(path)
        if depth < _DEPTH:
            waiting += [(os.path.join(path, name), depth + 1) for name in sorted(names) if not name.startswith(".")]


def _row(path: str) -> dict[str, Any]:
    owner = processes.user_name(os.lstat(path).st_uid)
    return {**_NOTHING, "certificate_directory": path, "owner": owner, "listening": False, "insecure": False}


def _of_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    given = manifest.get("ca")
    known = [*(given if isinstance(given, list) else ()), manifest.get("leaf")]
    ends = [
        facts["not_after"] for facts in known if isinstance(facts, dict) and isinstance(facts.get("not_after"), str)
    ]
    name = manifest.get("exporter")
    return {"exporter": name if isinstance(name, str) else None, "not_after": min(ends, default=None)}
