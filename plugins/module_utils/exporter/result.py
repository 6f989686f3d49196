# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run answers about one exporter: facts, in results and in diffs."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot as _exporter_boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.plan import Plan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    due,
    missing_names,
)

LATER = "known after apply"
"""What check mode says of a value that only the real run can make."""


def snapshot(planned: Plan, state: _process.ProcessState | None, generation: str | None = None) -> dict[str, Any]:
    """What is there now: one side of a diff, and the source of a result.

    :param state: the process, if it is part of the call and could be looked for.
    :param generation: another than the current one.
    """
    directory = planned.directory
    generation = generation or directory.current_id()
    manifest = None if generation is None else directory.manifest(generation)
    found: dict[str, Any] = {"generation": None, "pairs": {}}
    if manifest is not None and not planned.definition.insecure:
        found = {
            "generation": generation,
            "asked": manifest["asked"],
            "ca_sha256": manifest["ca_sha256"],
            "server_certificate": manifest["leaf"],
            "server_certificate_source": manifest["leaf_source"],
            "pairs": {
                name: {key: pair[key] for key in ("delivery", "sha256", "not_before", "not_after")}
                for name, pair in manifest["pairs"].items()
                if name != PROBE
            },
        }
    if planned.process is not None:
        running = state is not None and state.status == _process.RUNNING
        found["process"] = {
            "state": "started" if running else "stopped",
            "pid": state.pid if state is not None and running else None,
            "manager": state.manager if state is not None and running else None,
        }
    return found


def predict(planned: Plan, before: dict[str, Any]) -> dict[str, Any]:
    """What a real run would leave, from what is there now."""
    after = copy.deepcopy(before)
    if planned.wallet.is_new:
        asked = planned.definition.asked
        after["generation"] = after["ca_sha256"] = LATER
        after["asked"] = None if asked is None else asked.as_dict()
        after["server_certificate"], after["server_certificate_source"] = None, "none"
        after["pairs"] = {}
    for pair in planned.pairs:
        if pair.action == "issue":
            after["pairs"][pair.client.name] = dict.fromkeys(("delivery", "sha256", "not_before", "not_after"), LATER)
    if planned.process is not None and planned.process.action != "none":
        stopped = planned.process.action == "stop"
        after["process"] = {"state": "stopped" if stopped else "started", "pid": None, "manager": None}
    return after


def result(planned: Plan, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The exporter's result (docs/architecture.md), with ``diff`` and ``warnings``."""
    wanted = planned.definition
    found: dict[str, Any] = {
        "name": wanted.name,
        "changed": planned.changed,
        "why": planned.why,
        "insecure": wanted.insecure,
        "port": wanted.port,
        "spare": wanted.spare,
        "generation": after["generation"],
        "rotation_due": planned.rotation_due,
        "evicted": list(planned.evicted),
        "pairs": [_pair(planned, pair, after) for pair in planned.pairs],
        "warnings": list(planned.warnings),
        "diff": {"before": before, "after": after},
    }
    if planned.wallet.action != "none":
        _add_wallet(planned, after, found)
    if planned.process is not None:
        found["process"] = after["process"]
        found["rate_limit"] = planned.process.rate_limit
        unit = _exporter_boot.service_name(wanted.name)
        if wanted.boot != "systemd" and _exporter_boot.installed(unit):
            found["leftover_unit"] = unit
    return found


def _add_wallet(planned: Plan, after: dict[str, Any], found: dict[str, Any]) -> None:
    wanted, wallet, directory = planned.definition, planned.wallet, planned.directory
    leaf = after.get("server_certificate")
    alt_names = None if leaf is None else leaf["alt_names"]
    if after["generation"] == LATER and wanted.asked is not None:
        alt_names = list(wanted.asked.alt_names)
    found.update(
        ca_sha256=after.get("ca_sha256"),
        server_certificate=leaf,
        server_certificate_source=after.get("server_certificate_source"),
        alt_names=alt_names,
        unfit=wallet.unfit,
        due=None,
        due_at=None,
    )
    generation = after["generation"]
    manifest = None if generation in (None, LATER) else directory.manifest(generation)
    if manifest is not None:
        found["wallet_directory"] = directory.generation(generation)
        found["due"], found["due_at"] = due(manifest, wanted.renew_before, planned.now)
        pem = directory.server_certificate(manifest)
        if pem is not None and any("bundle" in pair for pair in found["pairs"]):
            found["ca_certificate"] = pem.decode("ascii")
    name, stays = f"exporter {wanted.name}", f"it stays, since regenerate is {wanted.regenerate}"
    if wallet.action == "keep" and wallet.due:
        found["warnings"].append(f"{name}: the wallet {wallet.due}; {stays}")
    if wallet.unfit:
        found["warnings"].append(f"{name}: the wallet does not fit: {'; '.join(wallet.unfit)}; {stays}")
    elif leaf is not None and planned.rotation_due is None:
        missing = missing_names(wanted, leaf)
        if missing:
            found["warnings"].append(
                f"{name}: ttExporter made a certificate that is not valid for {', '.join(missing)}, but for "
                f"{', '.join(leaf['alt_names']) or 'no name'}"
            )


def _pair(planned: Plan, pair: PairPlan, after: dict[str, Any]) -> dict[str, Any]:
    directory, client = planned.directory, pair.client
    found: dict[str, Any] = {"client": client.name, **after["pairs"].get(client.name, {})}
    generation = after["generation"]
    if generation in (None, LATER) or found.get("delivery") in (None, LATER):
        return found
    manifest = directory.manifest(generation)
    if manifest is None:
        return found
    if client.recipient is None:
        found["certificate_file"] = directory.pair_file(generation, client.name, "client.crt")
        found["key_file"] = directory.pair_file(generation, client.name, "client.key")
    if client.recipient is None or pair.action != "keep":
        certificate = directory.certificate(manifest, client.name)
        if certificate is not None:
            found["certificate"] = certificate.decode("ascii")
    if client.recipient is not None and pair.action != "keep":
        found["bundle"] = directory.bundle(manifest, client.name)
    return found
