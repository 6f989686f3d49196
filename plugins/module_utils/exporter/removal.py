# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes an exporter with all its files, and lets exporters forget a client."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import shutil
from typing import Any, Iterable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot, processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import is_lock, is_ours
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    in_use,
    plan_process,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import record_of
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan


def remove(definition: Definition, check_mode: bool) -> dict[str, Any]:
    """Stop an exporter and remove all our files of it. The directory goes too, unless it holds other files.

    :returns: the exporter's result, with ``removed`` (names in its directory), ``left`` (files that are not ours) and
        ``diff``.
    :raises TimesTenError: before anything is touched, if the process cannot be stopped.
    """
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    directory.check()
    definition = in_use(definition, directory)
    if check_mode or not os.path.isdir(directory.path):
        return _remove(definition, directory, check_mode)
    with directory.locked():
        result = _remove(definition, directory, False)
        os.unlink(directory.lock_file)
        if not result["left"]:
            os.rmdir(directory.path)
    return result


def _remove(definition: Definition, directory: ExporterDirectory, check_mode: bool) -> dict[str, Any]:
    _refuse_during_a_switch(directory)
    utility = Utility(definition.timesten_home, definition.environment)
    stopping = dataclasses.replace(definition, state="stopped")
    process = plan_process(stopping, directory, utility, WalletPlan("none"))
    _refuse_what_cannot_stop(directory, process)
    running = process.action == "stop"
    here = _entries(directory.path)
    ours = [name for name in here if _is_ours(name, definition)]
    left = [name for name in here if name not in ours and not is_lock(name)]
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
        _carry_out(definition, directory, process, ours)
    unit = boot.service_name(definition.name)
    return {
        "name": definition.name,
        **({"leftover_unit": unit} if boot.installed(unit) else {}),
        "changed": bool(why),
        "why": why,
        "insecure": definition.insecure,
        "port": definition.port,
        "spare": definition.spare,
        "generation": None,
        "pairs": [],
        "process": {"state": "stopped", "pid": None, "manager": None},
        "removed": ours,
        "left": left,
        "diff": {"before": before, "after": after},
    }


def _carry_out(
    definition: Definition, directory: ExporterDirectory, process: ProcessPlan, names: Sequence[str]
) -> None:
    if process.boot is not None:
        boot.apply_boot(process.boot, True)
    if process.action == "stop" and process.wanted is not None and process.state is not None:
        processes.stop(process.wanted, process.state, *definition.how_to_stop)
    elif process.state is not None and process.state.stale_pid_file:
        os.unlink(definition.pid_file)
    stop_other(definition, process)
    _remove_entries(directory, names)


def _refuse_during_a_switch(directory: ExporterDirectory) -> None:
    record = record_of(directory)
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
    states = [state, None if process.other is None else process.other[1]]
    refuse_if_served(directory, [one.process for one in states if one is not None and one.process is not None])


def refuse_if_served(directory: ExporterDirectory, but_not: Iterable[processes.Process] = ()) -> None:
    """Refuse to remove wallets that a process serves.

    :param but_not: processes to ignore.
    :raises TimesTenError: naming the process.
    """
    everyone = processes.processes()
    members = {member.pid for process in but_not for member in processes.family(process, everyone)}
    for process in everyone.values():
        options = processes.exporter_options(process.argv)
        used = None if options is None or process.pid in members else processes.wallet_of(process, options)
        if used is not None and used.startswith(os.path.realpath(directory.path) + os.sep):
            raise TimesTenError(
                f"process {process.pid} of {process.owner} serves {used}; stop it first (tt_exporter with state: stopped)"
            )


def _entries(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def _is_ours(name: str, definition: Definition) -> bool:
    paths = (definition.pid_file, definition.on_other_port().pid_file, definition.log_file)
    files = [os.path.basename(path) for path in paths if _is_in(path, definition)]
    return is_ours(name) or name in files or name == f"{os.path.basename(definition.log_file)}.1"


def _is_in(path: str, definition: Definition) -> bool:
    return os.path.dirname(path) == definition.certificate_directory


def _remove_entries(directory: ExporterDirectory, names: Sequence[str]) -> None:
    # Remove the link ``current`` first, so that it never points at a half-removed generation.
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
        "files": [name for name in files if not is_lock(name)],
    }


def forget(definition: Definition, clients: Sequence[str], check_mode: bool) -> dict[str, Any]:
    """Forget clients: remove their pairs from every generation, so that no later run counts with these clients.

    The exporter still accepts those pairs, because ttExporter has no revocation. The manifests record that, so that a
    later eviction knows that it has to replace the wallet.

    :returns: the exporter's result, with ``forgotten`` (generations by client), ``clients`` (clients that still have a
        pair) and ``diff``.
    """
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
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
        there = set(_entries(directory.clients(generation))) - {PROBE}
        going = sorted(set(clients) & (known | there))
        before[generation], after[generation] = sorted(known), sorted(known - set(clients))
        for client in going:
            forgotten.setdefault(client, []).append(generation)
        if going and not check_mode:
            # The manifest is written last: if this is interrupted, the next run still finds the client there and
            # removes it again.
            for client in going:
                shutil.rmtree(os.path.join(directory.clients(generation), client), ignore_errors=True)
            if manifest is not None:
                changed = copy.copy(manifest)
                changed["pairs"] = {name: pair for name, pair in manifest["pairs"].items() if name not in going}
                changed["forgotten"] = sorted({*manifest.get("forgotten", []), *going})
                directory.write_manifest(changed)
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
