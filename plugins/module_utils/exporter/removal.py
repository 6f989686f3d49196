# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter that goes with all that is ours, and a client that the exporters forget."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from typing import Any, Iterable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot as _exporter_boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    in_use,
    plan_process,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record

_FILES = (
    "current",
    "generations",
    "exporter.pid",
    "exporter.pid.spare",
    "exporter.log",
    "state.json",
    "state.json.spare",
    "timing.json",
    "switch.json",
    "switch.json.request",
    "lease.json",
    "run",
    "start",
)
"""What this collection makes in an exporter's directory, less the lock."""

_LOCK = "lock"
_HALF_WRITTEN = re.compile(r"(\..+|current)\.[0-9a-f]{12}\Z")
"""Names that _files gives to what it has not renamed yet."""


def remove(wanted: Definition, check_mode: bool) -> dict[str, Any]:
    """Stop an exporter and remove all that is ours of it; its directory too, unless something else is in it.

    :returns: the exporter's result, with ``removed`` (names in its directory), ``left`` (what is not ours) and ``diff``.
    :raises TimesTenError: before anything is touched, where the process cannot be stopped.
    """
    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    directory.check()
    wanted = in_use(wanted, directory)
    if check_mode or not os.path.isdir(directory.path):
        return _remove(wanted, directory, check_mode)
    with directory.locked():
        result = _remove(wanted, directory, False)
        os.unlink(os.path.join(directory.path, _LOCK))
        if not result["left"]:
            os.rmdir(directory.path)
    return result


def _remove(wanted: Definition, directory: ExporterDirectory, check_mode: bool) -> dict[str, Any]:
    _refuse_during_a_switch(directory)
    utility = Utility(wanted.timesten_home, wanted.environment)
    stopping = dataclasses.replace(wanted, state="stopped")
    process = plan_process(stopping, directory, utility, WalletPlan("none"))
    _refuse_what_cannot_stop(directory, process)
    running = process.action == "stop"
    here = _entries(directory.path)
    ours = [name for name in here if _is_ours(name, wanted)]
    left = [name for name in here if name not in ours and name != _LOCK]
    why = [f"process {process.state.pid} has to stop"] if running and process.state is not None else []
    why += process.why[1:] if running else process.why
    if ours or (here and not left):
        stays = f"; not of this collection, and left: {', '.join(left)}" if left else ""
        why.append(
            f"{directory.path} is cleared of {len(directory.ids())} generations and all else of this collection{stays}"
        )
    before = _shown(directory, running, here)
    after = {"generations": [], "process": "stopped", "files": left}
    if not check_mode:
        if process.boot is not None:
            _exporter_boot.apply_boot(process.boot, True)
        if running and process.wanted is not None and process.state is not None:
            _process.stop(process.wanted, process.state, wanted.stop_signal, wanted.stop_timeout, wanted.force_kill)
        elif process.state is not None and process.state.stale_pid_file:
            os.unlink(wanted.pid_file)
        stop_other(wanted, process)
        _remove_entries(directory, ours)
    unit = _exporter_boot.service_name(wanted.name)
    return {
        "name": wanted.name,
        **({"leftover_unit": unit} if _exporter_boot.installed(unit) else {}),
        "changed": bool(why),
        "why": why,
        "insecure": wanted.insecure,
        "port": wanted.port,
        "spare": wanted.spare,
        "generation": None,
        "pairs": [],
        "process": {"state": "stopped", "pid": None, "manager": None},
        "removed": ours,
        "left": left,
        "diff": {"before": before, "after": after},
    }


def _refuse_during_a_switch(directory: ExporterDirectory) -> None:
    record = Record(os.path.join(directory.path, "switch.json"))
    if record.is_alive():
        raise TimesTenError(
            f"exporter {directory.exporter} is being switched by process {(record.read() or {}).get('pid')} of a rotation; wait until that has "
            "ended, then run again"
        )


def _refuse_what_cannot_stop(directory: ExporterDirectory, process: ProcessPlan) -> None:
    state = process.state
    unit = None if process.wanted is None else process.wanted.unit
    if process.action == "stop" and state is not None and state.manager not in (None, unit):
        raise TimesTenError(
            f"exporter {directory.exporter}: process {state.pid} is run by the systemd unit {state.manager}, which would bring it back; as root: "
            f"systemctl disable --now {state.manager}, then run again. Nothing was removed"
        )
    found = [state, None if process.other is None else process.other[1]]
    refuse_if_served(directory, [one.process for one in found if one is not None and one.process is not None])


def refuse_if_served(directory: ExporterDirectory, but_not: Iterable[_process.Process] = ()) -> None:
    """Keep the wallets that a process serves.

    :param but_not: processes that do not count.
    :raises TimesTenError: naming the process.
    """
    everyone = _process.processes()
    members = {member.pid for process in but_not for member in _process.family(process, everyone)}
    for process in everyone.values():
        options = _process.exporter_options(process.argv) or {}
        used = os.path.realpath(options.get("certificate-directory") or "/")
        if process.pid not in members and used.startswith(os.path.realpath(directory.path) + os.sep):
            raise TimesTenError(
                f"process {process.pid} of {process.owner} serves {used}; stop it first (tt_exporter with state: stopped)"
            )


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def _is_ours(name: str, wanted: Definition) -> bool:
    paths = (wanted.pid_file, wanted.on_other_port().pid_file, wanted.log_file)
    files = [os.path.basename(path) for path in paths if _is_in(path, wanted)]
    files += [f"{os.path.basename(wanted.log_file)}.1", "exporter.log.1"]
    return name in _FILES or name in files or bool(_HALF_WRITTEN.match(name))


def _is_in(path: str, wanted: Definition) -> bool:
    return os.path.dirname(path) == wanted.certificate_directory


def _remove_entries(directory: ExporterDirectory, names: Sequence[str]) -> None:
    # The link first: at no moment does it lead to half a generation.
    directory.remove_generations()
    for name in names:
        path = os.path.join(directory.path, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _shown(directory: ExporterDirectory, running: bool, files: Sequence[str]) -> dict[str, Any]:
    return {
        "generations": directory.ids(),
        "process": "started" if running else "stopped",
        "files": [name for name in files if name != _LOCK],
    }


def forget(wanted: Definition, clients: Sequence[str], check_mode: bool) -> dict[str, Any]:
    """Forget clients: their pairs leave every generation, and no run counts with them any more.

    The pairs that they hold are still accepted, since ttExporter knows no revocation: the manifests note that, so that an eviction
    still knows what it has to replace.

    :returns: the exporter's result, with ``forgotten`` (generations by client), ``clients`` (those that have a pair) and ``diff``.
    """
    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    directory.check()
    if check_mode or not directory.ids():
        return _forget(directory, clients, check_mode)
    _refuse_during_a_switch(directory)
    with directory.locked():
        return _forget(directory, clients, False)


def _forget(directory: ExporterDirectory, clients: Sequence[str], check_mode: bool) -> dict[str, Any]:
    forgotten: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for generation in directory.ids():
        manifest = directory.manifest(generation)
        known = set() if manifest is None else set(manifest["pairs"]) - {PROBE}
        there = set(_entries(os.path.join(directory.generation(generation), "clients"))) - {PROBE}
        going = sorted(set(clients) & (known | there))
        before[generation], after[generation] = sorted(known), sorted(known - set(clients))
        for client in going:
            forgotten.setdefault(client, []).append(generation)
        if going and not check_mode:
            # What was cut off in between is still in the manifest, and is done again.
            for client in going:
                shutil.rmtree(os.path.join(directory.generation(generation), "clients", client), ignore_errors=True)
            if manifest is not None:
                for client in going:
                    manifest["pairs"].pop(client, None)
                manifest["forgotten"] = sorted({*manifest.get("forgotten", []), *going})
                directory.write_manifest(manifest)
    current = directory.current_id()
    return {
        "name": directory.exporter,
        "changed": bool(forgotten),
        "why": [
            f"the pair of {client} is forgotten in {', '.join(generations)}"
            for client, generations in sorted(forgotten.items())
        ],
        "generation": current,
        "forgotten": forgotten,
        "clients": after.get(current or "", []),
        "diff": {"before": {"clients": before}, "after": {"clients": after}},
    }
