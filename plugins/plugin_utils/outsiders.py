# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outsiders: takers of pairs that the run cannot log into. Each has a directory on the controller with pairs that only
it can decrypt.

The directory is written from the exporter hosts' parsed answers. ``pairs.json`` lists its content. If the files of an
entry do not match the entry, the pair counts as missing, so it is sent again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age, pem
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import age_point, key_id
from ansible_collections.timesten.monitoring.plugins.plugin_utils import outsider_texts, reports
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import LATER, ExporterAnswer

VERSION = 1
STATE_FILE = "pairs.json"
NEXT = "next"
"""The directory below an outsider's for pairs that a rotation is going to need. It is written before anything in use
changes.
"""
OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "public_key": {"type": "str", "required": True},
    "exporters": {"type": "list", "elements": "str"},
    "scrape_interval": {"type": "str"},
}
"""The keys of an element of ``timesten_outsiders``."""


@dataclasses.dataclass(frozen=True)
class Outsider:
    """One outsider, as the inventory describes it.

    :ivar public_key: the age recipient.
    :ivar exporters: names of the exporters that it scrapes; None means all.
    """

    name: str
    public_key: str
    exporters: tuple[str, ...] | None = None
    scrape_interval: str = "1m"

    @property
    def seconds(self) -> float:
        """Return its scrape interval in seconds."""
        return jobs.parse_duration(self.scrape_interval, "scrape_interval")

    def takes(self, exporter: str) -> bool:
        """Tell whether it scrapes an exporter."""
        return self.exporters is None or exporter in self.exporters


def define(elements: Sequence[Mapping[str, Any]]) -> tuple[tuple[Outsider, ...], list[str]]:
    """Return the outsiders of ``timesten_outsiders``, whose types were checked before, and everything that is wrong
    with it.
    """
    found: list[Outsider] = []
    messages: list[str] = []
    for index, element in enumerate(elements):
        try:
            found.append(_define({key: value for key, value in element.items() if value is not None}, index))
        except TimesTenError as error:
            messages.append(error.message)
    for what, values in (
        ("name", [item.name.lower() for item in found]),
        ("public_key", [item.public_key for item in found]),
    ):
        twice = [item.name for item, value in zip(found, values) if values.count(value) > 1]
        if twice:
            messages.append(f"timesten_outsiders: {', '.join(twice)} have the same {what}; give each one its own")
    return tuple(found), messages


def _define(element: Mapping[str, Any], index: int) -> Outsider:
    place = f"timesten_outsiders[{index}]"
    name = names.check_name(element["name"], f"{place}.name")
    if name.lower() == names.PROBE:
        raise TimesTenError(f"{place}.name: {name!r} is reserved for local handshakes; choose another")
    try:
        age_point(element["public_key"])
    except TimesTenError as error:
        raise TimesTenError(f"{place}.public_key of {name}: {error.message}") from error
    taken = element.get("exporters")
    if taken is not None:
        if not taken:
            raise TimesTenError(f"{place}.exporters: [] takes nothing; leave it out for all exporters")
        for exporter in taken:
            names.check_name(exporter, f"{place}.exporters")
        names.check_distinct(taken, f"{place}.exporters")
    interval = element.get("scrape_interval", Outsider.scrape_interval)
    if not jobs.parse_duration(interval, f"{place}.scrape_interval"):
        raise TimesTenError(f"{place}.scrape_interval: {interval!r} is no time at all; give for example '1m'")
    return Outsider(name, element["public_key"], None if taken is None else tuple(taken), interval)


def fault(path: str) -> str | None:
    """Return why the outsiders' directories cannot be written, or None."""
    directory = reports.absolute(path)
    while not os.path.lexists(directory):
        directory = os.path.dirname(directory)
    if not os.path.isdir(directory):
        return f"timesten_outsiders_dir: {directory} is no directory; remove it, or choose another path"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"timesten_outsiders_dir: this user may not write in {directory} on the controller; choose another path"
    return None


# --- what a directory holds -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Entry:
    """The content of an outsider's directory for one exporter. An insecure exporter has no pair.

    :ivar usual_port: the usual port, if ``port`` is the spare one.
    :ivar key_sha256: SHA-256 of the encrypted key's file.
    """

    exporter: str
    address: str
    port: int
    usual_port: int | None = None
    insecure: bool = False
    alt_names: tuple[str, ...] = ()
    delivery: str | None = None
    sha256: str | None = None
    ca_sha256: str | None = None
    not_after: str | None = None
    key_sha256: str | None = None


def folder(base: str, name: str) -> str:
    """Return the directory of an outsider.

    :param base: ``timesten_outsiders_dir``.
    """
    return os.path.join(reports.absolute(base), name)


def read(directory: str, public_key: str, only: Collection[str] | None = None) -> dict[str, Entry]:
    """Return the content of a directory for the holder of a key, by exporter. Entries whose files do not match are left
    out.

    :param only: names of exporters; None means all.
    """
    try:
        with open(os.path.join(directory, STATE_FILE), encoding="utf-8") as file:
            data = json.load(file)
        if data["version"] != VERSION or data["recipient"] != key_id(public_key):
            return {}
        rows = [Entry(**{**row, "alt_names": tuple(row["alt_names"])}) for row in data["exporters"]]
        for row in rows:
            # If no job can be made of a row, it is left out.
            outsider_texts.job(row, "1m")
            if row.not_after is not None:
                pem.parse_timestamp(row.not_after)
        return {
            row.exporter: row
            for row in rows
            if (only is None or row.exporter in only) and (row.insecure or _is_whole(directory, row))
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, TimesTenError):
        # If somebody damaged the list, everything is written again.
        return {}


def _is_whole(directory: str, row: Entry) -> bool:
    ca, certificate, key = (_text(directory, name) for name in _material(row.exporter))
    with contextlib.suppress(ValueError):
        age.check_armored(key.removesuffix("\n"))
        return (pem.bundle_fingerprint(certificate.encode("utf-8")), pem.bundle_fingerprint(ca.encode("utf-8"))) == (
            row.sha256,
            row.ca_sha256,
        ) and _digest(key) == row.key_sha256
    return False


def _text(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name), encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _material(exporter: str) -> tuple[str, str, str]:
    own = f"pairs/{exporter}"
    return f"{own}/ca.crt", f"{own}/client.crt", f"{own}/client.key.age"


def stored(entries: Mapping[str, Entry], exporter: str) -> dict[str, dict[str, Any]]:
    """Return what an outsider has of one exporter, as tt_exporter_host takes it for a client, for both ports."""
    row = entries.get(exporter)
    if row is None or row.insecure:
        return {}
    verified = outsider_texts.job(row, "1m")["tls_config"].get("server_name", row.address)
    has = {"delivery": row.delivery, "sha256": row.sha256, "ca_sha256": row.ca_sha256, "verifies": verified}
    return {names.on_port(exporter, spare): has for spare in (False, True)}


def client(
    outsider: Outsider, entries: Mapping[str, Entry], exporters: Collection[str], readmit: bool
) -> dict[str, Any]:
    """Return an outsider in the form in which tt_exporter_host takes a client.

    :param exporters: names of the host's exporters.
    """
    mine = [exporter for exporter in exporters if outsider.takes(exporter)]
    return {
        "name": outsider.name,
        "recipient": outsider.public_key,
        "scrape_interval": outsider.seconds,
        "exporters": mine,
        "stored": {key: value for exporter in mine for key, value in stored(entries, exporter).items()},
        "readmit": readmit,
    }


# --- what it should hold ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Source:
    """One exporter for an outsider: its place in the inventory, and its host's answer; None if this run has no answer."""

    exporter: str
    address: str
    port: int
    spare_port: int | None
    insecure: bool
    answer: ExporterAnswer | None


def entry(source: Source, outsider: str, known: Entry | None, check_mode: bool) -> tuple[Entry | None, dict[str, str]]:
    """Return the future entry of an exporter, and its new files by name.

    Values that the answer does not contain stay as they are. An evicted outsider gets no entry.
    """
    answer = source.answer
    if answer is None or answer.failed:
        return known, {}
    if outsider in answer.evicted:
        return None, {}
    spare = source.spare_port if answer.spare else None
    row = Entry(
        exporter=source.exporter,
        address=source.address,
        port=source.port if spare is None else spare,
        usual_port=None if spare is None else source.port,
        insecure=source.insecure,
        alt_names=answer.alt_names or (known.alt_names if known is not None else ()),
    )
    if source.insecure:
        return row, {}
    pair = answer.pairs.get(outsider)
    if pair is None:
        return known, {}
    row = dataclasses.replace(
        row, delivery=pair.delivery, sha256=pair.sha256, ca_sha256=answer.ca_sha256, not_after=pair.not_after
    )
    if pair.bundle and pair.certificate and answer.ca_certificate:
        key = pair.bundle + "\n"
        files = dict(zip(_material(source.exporter), (answer.ca_certificate, pair.certificate, key)))
        return dataclasses.replace(row, key_sha256=_digest(key)), files
    if known is not None and known.sha256 == pair.sha256:
        return dataclasses.replace(row, key_sha256=known.key_sha256), {}
    # In check mode the new values are not known; outside it an answer without the pair gives no entry.
    return (row if check_mode and (pair.certificate or LATER in (pair.delivery, pair.sha256)) else known), {}


def converge(
    directory: str, outsider: Outsider, sources: Sequence[Source], check_mode: bool, merge: bool = True
) -> list[str]:
    """Bring an outsider's directory to the wanted content. Return the names of the exporters whose content changed.

    :param sources: the exporters that it scrapes; the content for other exporters is removed.
    :param merge: whether present content stays if no new content is known.
    :raises OSError: if something cannot be written.
    """
    there = read(directory, outsider.public_key)
    known = there if merge else {}
    entries: dict[str, Entry] = {}
    new: dict[str, str] = {}
    for source in sources:
        row, files = entry(source, outsider.name, known.get(source.exporter), check_mode)
        if row is not None:
            entries[source.exporter] = row
            new.update(files)
    gone = sorted(set(there) - set(entries))
    changed = sorted(name for name, row in entries.items() if there.get(name) != row) + gone
    if check_mode or not (entries or os.path.isdir(directory)):
        return changed
    without = [*gone, *(name for name, row in entries.items() if row.insecure)]
    stale = [name for exporter in without for name in _material(exporter)]
    material = {
        name: (new.get(name) or _text(directory, name)) for row in entries.values() for name in _material(row.exporter)
    }
    texts = outsider_texts.texts(outsider, list(entries.values()), material)
    state = {
        "version": VERSION,
        "outsider": outsider.name,
        "recipient": key_id(outsider.public_key),
        "exporters": [dataclasses.asdict(row) for _name, row in sorted(entries.items())],
    }
    texts[STATE_FILE] = json.dumps(state, indent=1) + "\n"
    if not entries:
        _remove(directory, [*texts, *stale])
        return changed
    for name, text in [*new.items(), *texts.items()]:
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        reports.write_text(path, text)
    _remove(directory, stale)
    return changed


def _remove(directory: str, found: Collection[str]) -> None:
    """Remove files of ours, and directories that are empty afterwards."""
    for name in found:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))
    for part in sorted({os.path.dirname(name) for name in found} | {"pairs", ""}, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(directory, part) if part else directory)
