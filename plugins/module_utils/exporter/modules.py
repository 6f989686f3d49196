# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of the small modules of the exporter host: they use the host module's plan for one exporter, restricted to
their part.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import LATER, Manifest
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Client,
    ExporterDirectory,
    described,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import converge
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.observe import Call
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import in_use, wanted_process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import due
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import timestamp, utcnow


def _directory(definition: Definition) -> ExporterDirectory:
    return ExporterDirectory(definition.certificate_directory, definition.name)


def _part(result: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: result[key] for key in ("changed", "why", "warnings", "diff", *keys) if key in result}


def _without_wallet(directory: ExporterDirectory, check_mode: bool) -> dict[str, Any] | None:
    """Return a module's answer if it needs a wallet and there is none. In check mode an earlier task would have made
    the wallet.

    :raises TimesTenError: if this is not check mode.
    """
    if directory.has_wallet():
        return None
    message = f"{directory.path} holds no wallet; make it with tt_wallet first"
    if not check_mode:
        raise TimesTenError(message)
    return {"changed": True, "why": ["there is no wallet"], "warnings": [message]}


def present_wallet(definition: Definition, check_mode: bool) -> dict[str, Any]:
    """Do the work of tt_wallet with state=present."""
    old = _directory(definition).current_manifest()
    result = converge(definition, [], Call(process=False, check_mode=check_mode))
    lost = set() if old is None or result["generation"] == old["generation"] else set(old["pairs"]) - {PROBE}
    part = _part(
        result,
        "generation",
        "wallet_directory",
        "ca_sha256",
        "server_certificate",
        "server_certificate_source",
        "due",
        "due_at",
        "unfit",
    )
    return {**part, "invalidated_clients": sorted(lost)}


def absent_wallet(definition: Definition, check_mode: bool) -> dict[str, Any]:
    """Do the work of tt_wallet with state=absent.

    :raises TimesTenError: if an exporter runs on one of the generations.
    """
    directory = _directory(definition)
    directory.check()
    # This import stands here because most calls remove nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.removal import refuse_if_served

    refuse_if_served(directory)
    generations = directory.ids()
    manifest = directory.current_manifest() if generations else None
    if generations and not check_mode:
        with directory.locked():
            directory.remove_generations()
    return {
        "changed": bool(generations),
        "why": [f"removes {', '.join(generations)}"] if generations else [],
        "invalidated_clients": sorted(set(manifest["pairs"]) - {PROBE}) if manifest is not None else [],
        "diff": {"before": {"generations": generations}, "after": {"generations": []}},
    }


def present_pairs(definition: Definition, clients: Sequence[Client], check_mode: bool) -> dict[str, Any]:
    """Do the work of tt_client_cert.

    :raises TimesTenError: if there is no wallet.
    """
    later = _without_wallet(_directory(definition), check_mode)
    if later is not None:
        return {**later, "pairs": [{"client": client.name, "delivery": LATER, "sha256": LATER} for client in clients]}
    return _part(converge(definition, clients, Call(process=False, check_mode=check_mode)), "pairs")


def converge_process(definition: Definition, check_mode: bool) -> dict[str, Any]:
    """Do the work of tt_exporter."""
    return _part(converge(definition, [], Call(check_mode=check_mode)), "process", "rate_limit")


def export_certificate(definition: Definition, path: str, mode: str, check_mode: bool) -> dict[str, Any]:
    """Do the work of tt_export_cert: write the exported server certificate of the current generation to a path.

    :raises TimesTenError: if the mode is not an octal number, or there is no wallet.
    """
    if not re.match(r"0?[0-7]{3}\Z", mode):
        raise TimesTenError(f"mode: {mode!r} is no octal file mode such as '0644'")
    _names.check_path(path, "path")
    directory = _directory(definition)
    later = _without_wallet(directory, check_mode)
    if later is not None:
        return {**later, "path": path}
    result = _part(converge(definition, [], Call(process=False, check_mode=check_mode)))
    # The convergence before may have made another generation current.
    directory.forget()
    manifest = directory.current_manifest()
    pem = None if manifest is None else directory.server_certificate(manifest)
    if pem is None:
        # This happens only in check mode, where the generation is not made or repaired.
        source = directory.path if manifest is None else directory.generation(manifest["generation"])
        pem = directory.read_export_pem(Utility(definition.timesten_home, definition.environment), source)
    facts = described(pem, "the exported server certificate")
    before = _exported_file(path)
    after = {"path": path, "ca_sha256": facts["ca_sha256"], "mode": f"{int(mode, 8):04o}"}
    reason = next((f"{key} of {path}" for key in ("ca_sha256", "mode") if before[key] != after[key]), None)
    if reason is not None:
        result["changed"] = True
        result["why"].append(f"{path} is missing" if before["mode"] is None else f"{reason} differs")
        if not check_mode:
            _files.write(path, pem, int(mode, 8))
    return {
        **result,
        "path": path,
        "certificate": pem.decode("ascii"),
        "ca_sha256": facts["ca_sha256"],
        "certificates": facts["ca"],
        "diff": {"before": before, "after": after},
    }


def _exported_file(path: str) -> dict[str, Any]:
    """Return the present content of the file.

    :raises TimesTenError: if it is a link or not a regular file; this module must not replace those.
    """
    found: dict[str, Any] = {"path": path, "ca_sha256": None, "mode": None}
    try:
        pem = _files.read(path)
        found["mode"] = f"{stat.S_IMODE(os.lstat(path).st_mode):04o}"
    except FileNotFoundError:
        return found
    try:
        found["ca_sha256"] = described(pem, path)["ca_sha256"]
    except TimesTenError:
        pass  # A file with anything else than certificates differs from the wanted one.
    return found


def describe(definition: Definition) -> dict[str, Any]:
    """Do the work of tt_exporter_info. Changes nothing."""
    directory = _directory(definition)
    directory.check()
    utility = Utility(definition.timesten_home, definition.environment)
    manifest = directory.current_manifest()
    result: dict[str, Any] = {
        "changed": False,
        "exists": manifest is not None,
        "generations": directory.ids(),
        "pairs": [],
        "process": _describe_process(definition, directory, utility),
    }
    if manifest is None:
        return result
    now = utcnow()
    why, moment = due(manifest, definition.renew_before, now)
    result.update(
        generation=manifest["generation"],
        wallet_directory=directory.generation(manifest["generation"]),
        created=manifest["created"],
        origin=manifest["origin"],
        ca_sha256=manifest["ca_sha256"],
        server_certificate=manifest["leaf"],
        server_certificate_source=manifest["leaf_source"],
        wallet_changed=_wallet_changed(directory, utility, manifest),
        due=why,
        due_at=moment,
    )
    for name, pair in sorted(manifest["pairs"].items()):
        if name != PROBE:
            result["pairs"].append(
                {
                    "client": name,
                    **{key: pair[key] for key in ("delivery", "sha256", "not_before", "not_after")},
                    "due": definition.renew_before.why_due(dict(pair), now),
                    "due_at": timestamp(definition.renew_before.moment(pair["not_before"], pair["not_after"])),
                }
            )
    return result


def _wallet_changed(directory: ExporterDirectory, utility: Utility, manifest: Manifest) -> bool:
    try:
        if not directory.wallet_touched(manifest):
            return False
    except FileNotFoundError:
        return True
    now = directory.read_export(utility, directory.generation(manifest["generation"]))
    return bool(now["ca_sha256"] != manifest["ca_sha256"])


def _describe_process(definition: Definition, directory: ExporterDirectory, utility: Utility) -> dict[str, Any]:
    found: dict[str, Any] = {"state": "stopped", "pid": None, "manager": None, "port": None, "insecure": None}
    found.update(generation=None, problem=None)
    try:
        state = processes.inspect(wanted_process(in_use(definition, directory), directory, utility))
    except TimesTenError as error:
        return {**found, "problem": error.message}
    if state.status != processes.RUNNING or state.process is None:
        return {**found, "problem": state.why if state.stale_pid_file or state.status == processes.FOREIGN else None}
    options = processes.exporter_options(state.process.argv) or {}
    served = os.path.basename(state.certificate_directory or "")
    return {
        **found,
        "state": "started",
        "pid": state.pid,
        "manager": state.manager,
        "port": int(options.get("port") or 0) or None,
        "insecure": "insecure" in options,
        "generation": served if served in directory.ids() else None,
    }
