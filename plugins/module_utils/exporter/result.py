# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a run's answer about one exporter: the facts for results and diffs."""

from __future__ import annotations

import copy
import datetime
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot, processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    LATER,
    CertificateFacts,
    Manifest,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import Plan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    due,
    missing_names,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import utcnow


def snapshot(
    plan: Plan, directory: ExporterDirectory, state: processes.ProcessState | None, generation: str | None = None
) -> dict[str, Any]:
    """Return the present facts: one side of a diff, and the source of a result.

    :param state: the process, if the call concerns it and it could be looked for.
    :param generation: a generation other than the current one.
    """
    generation = generation or directory.current_id()
    manifest = None if generation is None else directory.manifest(generation)
    found: dict[str, Any] = {"generation": None, "pairs": {}}
    if manifest is not None and not plan.definition.insecure:
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
    if plan.process is not None:
        running = state is not None and state.status == processes.RUNNING
        found["process"] = {
            "state": "started" if running else "stopped",
            "pid": state.pid if state is not None and running else None,
            "manager": state.manager if state is not None and running else None,
        }
    return found


def predict(plan: Plan, before: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that a real run would leave, computed from the present facts."""
    after = copy.deepcopy(before)
    if plan.wallet.is_new:
        asked = plan.definition.asked
        after["generation"] = after["ca_sha256"] = LATER
        after["asked"] = None if asked is None else asked.as_dict()
        after["server_certificate"], after["server_certificate_source"] = None, "none"
        after["pairs"] = {}
    for pair in plan.pairs:
        if pair.action == "issue":
            after["pairs"][pair.client.name] = dict.fromkeys(("delivery", "sha256", "not_before", "not_after"), LATER)
    if plan.process is not None and plan.process.action != "none":
        stopped = plan.process.action == "stop"
        after["process"] = {"state": "stopped" if stopped else "started", "pid": None, "manager": None}
    return after


def result(plan: Plan, directory: ExporterDirectory, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the exporter's result (docs/contracts.md), with ``diff`` and ``warnings``."""
    definition = plan.definition
    row: dict[str, Any] = {
        "name": definition.name,
        "changed": plan.changed,
        "why": plan.why,
        "insecure": definition.insecure,
        "port": definition.port,
        "spare": definition.spare,
        "generation": after["generation"],
        **_previous(directory, before["generation"], after["generation"]),
        "rotation_due": plan.rotation_due,
        "evicted": list(plan.evicted),
        "pairs": [_pair(directory, pair, after) for pair in plan.pairs],
        "warnings": list(plan.warnings),
        "diff": {"before": before, "after": after},
    }
    if plan.wallet.action != "none":
        _add_wallet(plan, directory, after, row)
    if plan.process is not None:
        row["process"] = after["process"]
        row["rate_limit"] = plan.process.rate_limit
        unit = boot.service_name(definition.name)
        if definition.boot != "systemd" and boot.installed(unit):
            row["leftover_unit"] = unit
    return row


def _previous(directory: ExporterDirectory, before: str | None, after: str | None) -> dict[str, str]:
    """Return the generation before the current one: a Prometheus that an earlier run could not reach may still have a
    pair of it.
    """
    if before is not None and before == after:
        before = max((generation for generation in directory.ids() if generation < before), default=None)
    return {} if before in (None, after) else {"previous": before}


def _add_wallet(plan: Plan, directory: ExporterDirectory, after: dict[str, Any], row: dict[str, Any]) -> None:
    definition, wallet = plan.definition, plan.wallet
    leaf = after.get("server_certificate")
    alt_names = None if leaf is None else leaf["alt_names"]
    if after["generation"] == LATER and definition.asked is not None:
        alt_names = list(definition.asked.alt_names)
    row.update(
        ca_sha256=after.get("ca_sha256"),
        server_certificate=leaf,
        server_certificate_source=after.get("server_certificate_source"),
        alt_names=alt_names,
        unfit=wallet.unfit,
        due=None,
        due_at=None,
        ca_not_after=None,
    )
    generation = after["generation"]
    manifest = None if generation in (None, LATER) else directory.manifest(generation)
    if manifest is not None:
        row["wallet_directory"] = directory.generation(generation)
        # A new wallet begins after the plan was made.
        row.update(known_certificates(definition, manifest, utcnow() if wallet.is_new else plan.now))
        if any("bundle" in pair for pair in row["pairs"]):
            pem = directory.server_certificate(manifest)
            if pem is not None:
                row["ca_certificate"] = pem.decode("ascii")
    row["warnings"] += _misfits(plan, leaf)


def known_certificates(definition: Definition, manifest: Manifest, now: datetime.datetime) -> dict[str, Any]:
    """What is known of the certificates of a generation, and when they have to be replaced."""
    leaf = manifest["leaf"]
    # The exported file may hold the server's own certificate, which may be its own CA: one certificate, told once.
    authorities = [item["not_after"] for item in manifest["ca"] if leaf is None or item["sha256"] != leaf["sha256"]]
    why, moment = due(manifest, definition.renew_before, now)
    return {
        "server_certificate": leaf,
        "server_certificate_source": manifest["leaf_source"],
        "ca_not_after": min(authorities, default=None),
        "due": why,
        "due_at": moment,
    }


def _misfits(plan: Plan, leaf: CertificateFacts | None) -> list[str]:
    """Return warnings about a wallet that is due, or differs from what was asked for."""
    definition, wallet = plan.definition, plan.wallet
    warnings = []
    name, stays = f"exporter {definition.name}", f"it stays, since regenerate is {definition.regenerate}"
    if wallet.action == "keep" and wallet.due:
        warnings.append(f"{name}: the wallet {wallet.due}; {stays}")
    if wallet.unfit:
        warnings.append(f"{name}: the wallet does not fit: {'; '.join(wallet.unfit)}; {stays}")
    elif leaf is not None and plan.rotation_due is None:
        missing = missing_names(definition, leaf)
        if missing:
            warnings.append(
                f"{name}: ttExporter made a certificate that is not valid for {', '.join(missing)}, but for "
                f"{', '.join(leaf['alt_names']) or 'no name'}"
            )
    return warnings


def _pair(directory: ExporterDirectory, pair: PairPlan, after: dict[str, Any]) -> dict[str, Any]:
    client = pair.client
    row: dict[str, Any] = {"client": client.name, **after["pairs"].get(client.name, {})}
    generation = after["generation"]
    if generation in (None, LATER) or row.get("delivery") in (None, LATER):
        return row
    manifest = directory.manifest(generation)
    if manifest is None:
        return row
    if client.recipient is None:
        row["certificate_file"] = directory.pair_file(generation, client.name, "client.crt")
        row["key_file"] = directory.pair_file(generation, client.name, "client.key")
    if client.recipient is None or pair.action != "keep":
        certificate = directory.certificate(manifest, client.name)
        if certificate is not None:
            row["certificate"] = certificate.decode("ascii")
    if client.recipient is not None and pair.action != "keep":
        row["bundle"] = directory.bundle(manifest, client.name)
    return row
