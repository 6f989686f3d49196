# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan, carried out for one exporter. The caller holds the exporter's lock."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot, processes, takeover, timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import Manifest
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import Plan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    ExporterDirectory,
    Request,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    handshake,
    plan_process,
    ready,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.former import FormerProcess


def apply(
    plan: Plan, directory: ExporterDirectory, utility: Utility, gap: takeover.Gap | None = None
) -> processes.ProcessState | None:
    """Carry a plan out.

    :param gap: when a process that is taken over may be replaced.
    :returns: the process as it is afterwards.
    """
    definition, wallet, process = plan.definition, plan.wallet, plan.process
    former = _former(process, directory)
    if wallet.is_new:
        _make_generation(plan, directory, utility)
    elif wallet.manifest is not None:
        _apply_to_generation(plan, wallet.manifest, directory, utility)
    if process is None:
        return None
    if wallet.is_new:
        process = plan_process(definition, directory, utility, wallet)
    elif plan.probe is not None and plan.probe.action == "issue":
        # Only now can the process be asked what it serves.
        process = plan_process(definition, directory, utility, wallet)
        former = _former(process, directory)
    if process.takes_over and gap is not None:
        gap.wait()
    state = _apply_to_process(definition, directory, utility, process, former)
    current = directory.current_id()
    if current is not None:
        directory.set_spare(current, definition.spare)
    stop_other(definition, process)
    if definition.state != "stopped":
        if not definition.insecure:
            note_served_certificate(definition, directory)
        directory.prune(definition.keep_generations)
    return state


def _former(process: ProcessPlan | None, directory: ExporterDirectory) -> FormerProcess | None:
    if process is None or process.action != "restart":
        return None
    # Imported where it is needed: most calls restart nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.former import FormerProcess

    return FormerProcess.of(process, directory)


def _make_generation(plan: Plan, directory: ExporterDirectory, utility: Utility) -> None:
    definition, wallet = plan.definition, plan.wallet
    spare = directory.is_spare(directory.current_id()) if plan.process is None else definition.spare
    request = Request(
        definition.asked or Asked(None, (), None),
        [pair.client for pair in plan.pairs],
        wallet.adopt_from,
        plan.evicted,
        wallet.former,
        spare=spare,
    )
    manifest = directory.build(utility, request, plan.now)
    directory.make_current(manifest["generation"])


def _apply_to_generation(plan: Plan, manifest: Manifest, directory: ExporterDirectory, utility: Utility) -> None:
    wallet, changed = plan.wallet, copy.deepcopy(manifest)
    if wallet.refresh:
        changed["wallet"] = directory.wallet_record(directory.generation(manifest["generation"]))
    if wallet.restore:
        directory.restore_export(utility, manifest)
    if manifest.get("evicted", []) != plan.evicted:
        changed["evicted"] = plan.evicted
    for pair in plan.all_pairs:
        if pair.action == "issue":
            directory.issue(utility, changed, pair.client)
        elif pair.client.scrape_interval is not None:
            # Noted for runs that do not reach this client, so that its scrapes still count.
            changed["pairs"][pair.client.name]["scrape_interval"] = pair.client.scrape_interval
    if changed != manifest:
        directory.write_manifest(changed)


def _apply_to_process(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    process: ProcessPlan,
    former: FormerProcess | None,
) -> processes.ProcessState | None:
    if process.wanted is None or process.state is None:
        return process.state
    if process.action == "stop":
        _apply_boot(process)
        processes.stop(process.wanted, process.state, *definition.how_to_stop)
        return None
    if process.action == "none":
        _apply_boot(process)
        return process.state
    if process.action == "start":
        return _begin(definition, directory, process)
    # Imported where it is needed: most calls restart nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import WorkFailed

    try:
        _restart(definition, directory, utility, process, former)
    except WorkFailed:
        # That process has brought the former one back itself.
        raise
    except (TimesTenError, OSError) as error:
        if former is None:
            raise
        raise former.come_back(definition, directory, system_error(error)) from error
    state = processes.inspect(process.wanted)
    if state.status != processes.RUNNING:
        raise TimesTenError(
            f"exporter {definition.name} was started and has ended again: {state.why}; the log is {definition.log_file}"
        )
    return state


def _restart(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    process: ProcessPlan,
    former: FormerProcess | None,
) -> None:
    """Have a process of its own replace the exporter's; a second one, where the first was ended from outside."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import unattended

    for _attempt in range(2):
        _clear_rehearsal(definition, process, former)
        if unattended(directory, functools.partial(_replace, definition, directory, process, former)):
            return
        # Whoever has ended that process, what it left is brought to what is wanted.
        kept = WalletPlan("keep", manifest=directory.current_manifest())
        process = plan_process(definition, directory, utility, kept)
        if process.action == "none":
            return
    _clear_rehearsal(definition, process, former)
    raise TimesTenError(
        f"exporter {definition.name}: the process that restarts it was ended twice, or could not write {directory.restart_file}; mend that, "
        "and run it again"
    )


def _clear_rehearsal(definition: Definition, process: ProcessPlan, former: FormerProcess | None) -> None:
    """Free the port on which the new process is tried: one that was ended in the rehearsal has left its trial there."""
    if former is not None and former.rehearses(process):
        stop_other(definition, process)


def _begin(definition: Definition, directory: ExporterDirectory, process: ProcessPlan) -> processes.ProcessState:
    """Start or restart the process as planned."""
    if process.wanted is None or process.state is None:
        raise ValueError("no process is planned")
    proof = ready(definition, directory)
    _apply_boot(process)
    with timing.measured(directory.path, process.action):
        if process.action == "start":
            return processes.start(process.wanted, proof, definition.start_timeout)
        return processes.restart(
            process.wanted, process.state, proof, definition.start_timeout, *definition.how_to_stop
        )


def _replace(
    definition: Definition, directory: ExporterDirectory, process: ProcessPlan, former: FormerProcess | None
) -> None:
    """Replace the process as planned; where that fails, the former one comes back."""
    try:
        if former is not None and process.wanted is not None and former.rehearses(process):
            former.rehearse(definition, directory, process.wanted)
        _begin(definition, directory, process)
    except (TimesTenError, OSError) as error:
        if former is None:
            raise
        raise former.come_back(definition, directory, system_error(error)) from error


def _apply_boot(process: ProcessPlan) -> None:
    if process.boot is not None and process.wanted is not None:
        # Where a unit starts it, the script comes at the right moment: one that is there too early would start a second.
        boot.apply_boot(process.boot, process.wanted.unit is None or process.action in ("none", "stop"))


def note_served_certificate(definition: Definition, directory: ExporterDirectory) -> None:
    """Where the export does not tell the server's own certificate, note the one that a trusted handshake saw."""
    manifest = directory.current_manifest()
    if manifest is None or manifest["leaf"] is not None:
        return
    outcome, _manifest = handshake(definition, directory)
    if outcome.status == probe.ACCEPTED and outcome.certificate is not None:
        from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates

        changed = copy.copy(manifest)
        changed["leaf"], changed["leaf_source"] = certificates.facts_of_der(outcome.certificate), "handshake"
        directory.write_manifest(changed)
