# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the plan for one exporter. The caller holds the exporter's lock."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot, processes, takeover, timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import Manifest
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import ExporterPlan
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
    plan: ExporterPlan, directory: ExporterDirectory, utility: Utility, gap: takeover.Gap | None = None
) -> processes.ProcessState | None:
    """Carry out a plan.

    :param gap: says when a process may be replaced that somebody else has started; only a takeover needs it.
    :returns: the state of the process afterwards.
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
        process = plan.process = plan_process(definition, directory, utility, wallet)
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
    # This import stands here because most calls restart nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.former import FormerProcess

    return FormerProcess.of(process, directory)


def _make_generation(plan: ExporterPlan, directory: ExporterDirectory, utility: Utility) -> None:
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


def _apply_to_generation(
    plan: ExporterPlan, manifest: Manifest, directory: ExporterDirectory, utility: Utility
) -> None:
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
            # A later run that does not reach this client counts its scrapes with this interval.
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
    # This import stands here because most calls restart nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import WorkFailed

    try:
        _restart(definition, directory, utility, process, former)
    except WorkFailed:
        # The restarting process has already brought the former process back.
        raise
    except (TimesTenError, OSError) as error:
        if former is None:
            raise
        raise former.come_back(definition, directory, system_error(error)) from error
    state = processes.inspect(process.wanted)
    if state.status != processes.RUNNING:
        raise TimesTenError(
            f"exporter {definition.name} was started and has ended again: {state.reason}; the log is {definition.log_file}"
        )
    return state


def _restart(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    process: ProcessPlan,
    former: FormerProcess | None,
) -> None:
    """Start a detached process that replaces the exporter's process; start a second one if somebody ended the first."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import unattended

    for _attempt in range(2):
        _clear_rehearsal(definition, process, former)
        if unattended(directory, functools.partial(_replace, definition, directory, process, former)):
            return
        # Somebody ended the restarting process. Compare what it left behind with what is wanted.
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
    """Free the port on which the new process is tried: a restarting process that was ended while it tried left the trial there."""
    if former is not None and former.rehearses(process):
        stop_other(definition, process)


def _begin(definition: Definition, directory: ExporterDirectory, process: ProcessPlan) -> processes.ProcessState:
    """Start or restart the process as the plan says."""
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
    """Replace the process as the plan says; if that fails, bring the former process back."""
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
        # If a unit starts the exporter, the start writes the script itself, at the right moment: with an earlier script
        # systemd would start a second process.
        boot.apply_boot(process.boot, process.wanted.unit is None or process.action in ("none", "stop"))


def note_served_certificate(definition: Definition, directory: ExporterDirectory) -> None:
    """Record the certificate that a trusted handshake saw, if the exported file does not contain the server's own
    certificate.
    """
    manifest = directory.current_manifest()
    if manifest is None:
        return
    known = with_served_certificate(definition, directory, manifest)
    if known is not manifest:
        directory.write_manifest(known)


def with_served_certificate(definition: Definition, directory: ExporterDirectory, manifest: Manifest) -> Manifest:
    """Return a manifest with the server's own certificate, from a trusted handshake where the export does not tell it.

    :param definition: the exporter on the port that serves this generation.
    :raises OSError: as :func:`handshake`.
    """
    if manifest["leaf"] is not None:
        return manifest
    outcome, _manifest = handshake(definition, directory, generation=manifest["generation"])
    if outcome.status != probe.ACCEPTED or outcome.certificate is None:
        return manifest
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates

    known = copy.copy(manifest)
    known["leaf"], known["leaf_source"] = certificates.facts_of_der(outcome.certificate), "handshake"
    return known
