# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporters of one host, brought to what is wanted: plan, apply, answer.

The small modules use the same for one exporter and the parts that they are for (:mod:`exporter.modules`).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from typing import Any, Callable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot as _exporter_boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import timing as _exporter_timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.plan import Plan, plan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    handshake,
    in_use,
    plan_process,
    ready,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.removal import forget, remove
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.result import predict, result, snapshot
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe


def converge(
    wanted: Definition,
    clients: Sequence[Client],
    check_mode: bool,
    process: bool = True,
    whole_host: bool = False,
    rate_budget: str = "warn",
    hand_over: bool = False,
) -> dict[str, Any]:
    """Bring one exporter to what is wanted, or in check mode tell what that would change.

    The options are those of :func:`exporter.plan.plan`.

    :returns: the exporter's result, with ``diff`` and ``warnings``.
    :raises TimesTenError: with ``changed`` in its details, if it failed on the way.
    """

    def decide() -> Plan:
        return plan(wanted, clients, _certificates.utcnow(), process, whole_host, rate_budget, check_mode, hand_over)

    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    if check_mode:
        planned = decide()
        before = snapshot(planned, _found(planned))
        return result(planned, before, predict(planned, before))
    directory.check()
    if not directory.is_prepared():
        # Whatever is wrong is told before anything is made; the lock is a file in the directory.
        decide()
        directory.prepare()
    with directory.locked():
        directory.clear_leftovers()
        planned = decide()
        before = snapshot(planned, _found(planned))
        try:
            state = apply(planned)
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            failed.details["changed"] = snapshot(planned, _look_again(planned)) != before
            raise failed from error
        return result(planned, before, snapshot(planned, state))


def _found(planned: Plan) -> _process.ProcessState | None:
    return None if planned.process is None else planned.process.state


def _look_again(planned: Plan) -> _process.ProcessState | None:
    if planned.process is None or planned.process.wanted is None:
        return None
    with contextlib.suppress(TimesTenError):
        return _process.inspect(planned.process.wanted)
    return None


def apply(planned: Plan) -> _process.ProcessState | None:
    """Carry a plan out. The caller holds the exporter's lock.

    :returns: the process as it is afterwards.
    """
    wanted, directory, wallet = planned.definition, planned.directory, planned.wallet
    if wallet.is_new:
        asked = wanted.asked or Asked(None, (), None)
        clients = [pair.client for pair in planned.pairs]
        spare = directory.is_spare(directory.current_id()) if planned.process is None else wanted.spare
        build = (planned.utility, asked, clients, planned.now, wallet.adopt_from, planned.evicted)
        manifest = directory.build(*build, spare=spare)
        directory.make_current(manifest["generation"])
    elif wallet.manifest is not None:
        _apply_to_generation(planned, wallet.manifest)
    process = planned.process
    if process is None:
        return None
    if wallet.is_new:
        process = plan_process(wanted, directory, planned.utility, wallet)
    state = _apply_to_process(wanted, directory, process)
    current = directory.current_id()
    if current is not None and directory.is_spare(current) != wanted.spare:
        directory.set_spare(directory.manifest(current) or {}, wanted.spare)
    stop_other(wanted, process)
    if wanted.state != "stopped":
        if not wanted.insecure:
            note_served_certificate(wanted, directory)
        directory.prune(wanted.keep_generations)
    return state


def _apply_to_generation(planned: Plan, manifest: dict[str, Any]) -> None:
    directory, utility, wallet = planned.directory, planned.utility, planned.wallet
    before = copy.deepcopy(manifest)
    if wallet.refresh:
        manifest["wallet"] = directory.wallet_record(directory.generation(manifest["generation"]))
    if wallet.restore:
        directory.restore_export(utility, manifest)
    if manifest.get("evicted", []) != planned.evicted:
        manifest["evicted"] = planned.evicted
    for pair in planned.all_pairs:
        if pair.action == "issue":
            directory.issue(utility, manifest, pair.client)
        elif pair.client.scrape_interval is not None:
            # Noted for runs that do not reach this client, so that its scrapes still count.
            manifest["pairs"][pair.client.name]["scrape_interval"] = pair.client.scrape_interval
    if manifest != before:
        directory.write_manifest(manifest)


def _apply_to_process(
    wanted: Definition, directory: ExporterDirectory, process: ProcessPlan
) -> _process.ProcessState | None:
    if process.wanted is None or process.state is None:
        return process.state
    if process.boot is not None:
        # Where a unit starts it, the script comes at the right moment: one that is there too early would start a second.
        _exporter_boot.apply_boot(process.boot, process.wanted.unit is None or process.action in ("none", "stop"))
    if process.action == "none":
        return process.state
    how_to_stop = (wanted.stop_signal, wanted.stop_timeout, wanted.force_kill)
    if process.action == "stop":
        _process.stop(process.wanted, process.state, *how_to_stop)
        return None
    proof = ready(wanted, directory)
    with _exporter_timing.measured(directory.path, process.action):
        if process.action == "start":
            return _process.start(process.wanted, proof, wanted.start_timeout)
        return _process.restart(process.wanted, process.state, proof, wanted.start_timeout, *how_to_stop)


def note_served_certificate(wanted: Definition, directory: ExporterDirectory) -> None:
    """Where the export does not tell the server's own certificate, note the one that a trusted handshake saw."""
    generation = directory.current_id()
    manifest = None if generation is None else directory.manifest(generation)
    if manifest is None or manifest["leaf"] is not None:
        return
    outcome, manifest = handshake(wanted, directory)
    if outcome.status == _tls_probe.ACCEPTED and outcome.certificate is not None:
        manifest["leaf"], manifest["leaf_source"] = _certificates.facts_of_der(outcome.certificate), "handshake"
        directory.write_manifest(manifest)


def converge_host(
    exporters: Sequence[Definition],
    clients: Sequence[Client],
    rate_budget: str,
    check_mode: bool,
    hand_over: bool = False,
) -> dict[str, Any]:
    """Bring all exporters of a host to what is wanted.

    :raises TimesTenError: as :func:`over_all`.
    """

    def work(wanted: Definition) -> dict[str, Any]:
        if wanted.state == "absent":
            return remove(wanted, check_mode)
        job = in_use(wanted, ExporterDirectory(wanted.certificate_directory, wanted.name)).job
        mine = [as_seen_by(job, client) for client in clients]
        return converge(wanted, mine, check_mode, True, True, rate_budget, hand_over)

    return over_all(exporters, work)


def forget_host(exporters: Sequence[Definition], clients: Sequence[str], check_mode: bool) -> dict[str, Any]:
    """Have all exporters of a host forget clients; nothing else of them changes.

    :raises TimesTenError: as :func:`over_all`.
    """
    return over_all(exporters, lambda wanted: forget(wanted, clients, check_mode))


def over_all(exporters: Sequence[Definition], work: Callable[[Definition], dict[str, Any]]) -> dict[str, Any]:
    """Do something with every exporter of a host; one that fails does not keep the others from it.

    :raises TimesTenError: after all were tried, with the results of all in its details, if any failed.
    """
    results: list[dict[str, Any]] = []
    failures, warnings, diff = [], [], []
    for wanted in exporters:
        try:
            found = work(wanted)
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            prefix = f"exporter {wanted.name}: "
            failures.append(failed.message if failed.message.startswith(prefix) else prefix + failed.message)
            results.append(
                {"changed": False, **failed.details, "name": wanted.name, "failed": True, "msg": failed.message}
            )
            continue
        warnings += found.pop("warnings", [])
        if "diff" in found:
            diff.append({"before_header": wanted.name, "after_header": wanted.name, **found.pop("diff")})
        results.append(found)
    total = {
        "changed": any(found["changed"] for found in results),
        "exporters": results,
        "diff": diff,
        "warnings": warnings,
    }
    if failures:
        raise TimesTenError("; ".join(failures), **total)
    return total


def as_seen_by(job: str, client: Client) -> Client:
    """A client with what it has of one exporter, on the port in use, only."""
    stored = client.stored.get(job) or {}
    return dataclasses.replace(
        client, stored=stored, scrape_interval=stored.get("scrape_interval") or client.scrape_interval
    )
