# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the exporters of one host to the wanted state: observe, decide, apply, answer.

The small modules call the same functions for one exporter and for their part of it (:mod:`exporter.modules`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import automatic, processes, takeover
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.apply import apply
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import Plan, decide
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Client, ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.observe import Call, observe
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import in_use
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.result import predict, result, snapshot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import utcnow


def converge(
    definition: Definition,
    clients: Sequence[Client],
    call: Call,
    run: Mapping[str, Any] | None = None,
    gap: takeover.Gap | None = None,
) -> dict[str, Any]:
    """Bring one exporter to the wanted state; in check mode, return what would change.

    :param gap: says when a process may be replaced that somebody else has started.
    :param run: the playbook run that this call belongs to, in the form of :mod:`machine.lease`.
    :returns: the exporter's result, with ``diff`` and ``warnings``.
    :raises TimesTenError: if it failed; ``changed`` in the details says whether anything was changed before.
    """
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    utility = Utility(definition.timesten_home, definition.environment)
    directory.check()
    if call.check_mode:
        plan = _plan(definition, directory, utility, clients, call)
        before = snapshot(plan, directory, _found(plan))
        return result(plan, directory, before, predict(plan, before))
    if not directory.is_prepared():
        # This reports every problem before anything is made; even the lock is a file in the directory.
        _plan(definition, directory, utility, clients, call)
        directory.prepare()
    if os.path.lexists(directory.switch_file):
        # This import stands here because most exporters were never rotated.
        from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import end_leader

        end_leader(definition, directory, run or {})
    with directory.locked():
        directory.clear_leftovers()
        plan = _plan(definition, directory, utility, clients, call)
        before = snapshot(plan, directory, _found(plan))
        try:
            state = apply(plan, directory, utility, gap)
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            failed.details["changed"] = snapshot(plan, directory, _look_again(plan)) != before
            raise failed from error
        return result(plan, directory, before, snapshot(plan, directory, state))


def _plan(
    definition: Definition, directory: ExporterDirectory, utility: Utility, clients: Sequence[Client], call: Call
) -> Plan:
    definition = in_use(definition, directory)
    clients = seen_by(definition, clients)
    observed = observe(definition, directory, utility, clients, call)
    return decide(definition, observed, directory.current_manifest(), clients, call, utcnow())


def _found(plan: Plan) -> processes.ProcessState | None:
    return None if plan.process is None else plan.process.state


def _look_again(plan: Plan) -> processes.ProcessState | None:
    if plan.process is None or plan.process.wanted is None:
        return None
    with contextlib.suppress(TimesTenError):
        return processes.inspect(plan.process.wanted)
    return None


def converge_host(
    exporters: Sequence[Definition],
    clients: Sequence[Client],
    rate_budget: str,
    check_mode: bool,
    hand_over: bool = False,
    run: Mapping[str, Any] | None = None,
    gaps: Mapping[str, Mapping[str, Any]] | None = None,
    away: Sequence[str] = (),
    units: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Bring all exporters of a host to the wanted state.

    :param units: see :func:`automatic.settle`.
    :raises TimesTenError: see :func:`over_all`.
    """
    call = Call(True, True, rate_budget, hand_over, check_mode, away)

    def work(definition: Definition) -> dict[str, Any]:
        if definition.state == "absent":
            from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.removal import remove

            return remove(definition, check_mode)
        if definition.state == "stopped":
            return converge(automatic.kept(definition), clients, call, run)
        definition, choice = automatic.settle(definition, units)
        if choice is not None and choice.needs_unit:
            return _awaiting_unit(definition, clients, call)
        gap = takeover.Gap.of((gaps or {}).get(definition.name))
        row = converge(definition, clients, call, run, gap)
        if choice is not None and choice.unattended is not None:
            row["unattended"] = choice.unattended
        return row

    return over_all(exporters, work)


def _awaiting_unit(definition: Definition, clients: Sequence[Client], call: Call) -> dict[str, Any]:
    """Return the result of an exporter that this call leaves alone, because root first has to install or change its
    unit.

    :raises TimesTenError: if the exporter would be refused, so that root installs nothing in vain.
    """
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    directory.check()
    utility = Utility(definition.timesten_home, definition.environment)
    _plan(dataclasses.replace(definition, boot="none"), directory, utility, clients, call)
    return {
        "name": definition.name,
        "changed": False,
        "why": [],
        "insecure": definition.insecure,
        "port": definition.port,
        "spare": definition.spare,
        "generation": None,
        "pairs": [],
        "needs_unit": True,
    }


def forget_host(exporters: Sequence[Definition], clients: Sequence[str], check_mode: bool) -> dict[str, Any]:
    """Make all exporters of a host forget some clients; nothing else changes.

    :raises TimesTenError: see :func:`over_all`.
    """
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.removal import forget

    return over_all(exporters, lambda definition: forget(definition, clients, check_mode))


def over_all(exporters: Sequence[Definition], work: Callable[[Definition], dict[str, Any]]) -> dict[str, Any]:
    """Do some work for every exporter of a host. If it fails for one exporter, the others still get their turn.

    :raises TimesTenError: after all exporters were tried, if one failed; the details hold the results of all.
    """
    results: list[dict[str, Any]] = []
    failures, warnings, diff = [], [], []
    for definition in exporters:
        try:
            row = work(definition)
        except (TimesTenError, OSError) as error:
            failed = system_error(error)
            prefix = f"exporter {definition.name}: "
            failures.append(failed.message if failed.message.startswith(prefix) else prefix + failed.message)
            results.append(
                {"changed": False, **failed.details, "name": definition.name, "failed": True, "msg": failed.message}
            )
            continue
        warnings += row.pop("warnings", [])
        if "diff" in row:
            diff.append({"before_header": definition.name, "after_header": definition.name, **row.pop("diff")})
        results.append(row)
    total = {
        "changed": any(row["changed"] for row in results),
        "exporters": results,
        "diff": diff,
        "warnings": warnings,
    }
    if failures:
        raise TimesTenError("; ".join(failures), **total)
    return total


def seen_by(definition: Definition, clients: Sequence[Client]) -> list[Client]:
    """Return the clients of one exporter. ``stored`` of each is reduced to its delivery of this exporter on the port in
    use.
    """
    found = []
    for client in clients:
        if client.takes(definition.name):
            stored = client.stored.get(definition.job) or {}
            interval = stored.get("scrape_interval") or client.scrape_interval
            found.append(dataclasses.replace(client, stored=stored, scrape_interval=interval))
    return found
