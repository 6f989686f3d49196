# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a run changes for one exporter, and why: a pure function of the observation."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.budget import (
    DOCUMENTED_RATE_LIMIT,
    rate_budget,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import Manifest
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Client
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.observe import Call, Observed
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.command_line import of_target
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    PairSeen,
    WalletPlan,
    decide_pair,
    decide_wallet,
)


@dataclasses.dataclass
class Plan:
    """The changes of a run for one exporter, and the reasons.

    :ivar definition: the exporter, with the port that is in use.
    :ivar probe: the pair for local handshakes; None if no wallet is wanted.
    :ivar process: None if the call does not concern the process.
    :ivar evicted: clients of the call that get no pair because they were evicted.
    :ivar rotation_due: why a rotation has to replace the wallet; None if no rotation is due.
    """

    definition: Definition
    now: datetime.datetime
    wallet: WalletPlan
    probe: PairPlan | None = None
    pairs: list[PairPlan] = dataclasses.field(default_factory=list)
    process: ProcessPlan | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)
    evicted: list[str] = dataclasses.field(default_factory=list)
    rotation_due: str | None = None

    @property
    def all_pairs(self) -> list[PairPlan]:
        """Return the probe pair and the pairs of the clients."""
        return ([] if self.probe is None else [self.probe]) + self.pairs

    @property
    def why(self) -> list[str]:
        """Return all reasons for changes, in the order in which the changes are made."""
        reasons = list(self.wallet.why)
        if not self.wallet.is_new:
            reasons += [f"pair {pair.client.name}: {pair.why}" for pair in self.all_pairs if pair.action == "issue"]
        return reasons + (self.process.why if self.process is not None else [])

    @property
    def changed(self) -> bool:
        """Tell whether anything changes that a person would notice."""
        return bool(self.why)


def decide(
    definition: Definition,
    observed: Observed,
    manifest: Manifest | None,
    clients: Sequence[Client],
    call: Call,
    now: datetime.datetime,
) -> Plan:
    """Decide what has to change.

    :param manifest: manifest of the current generation.
    :raises TimesTenError: for every known reason why the real run would fail.
    """
    if observed.problems and not call.check_mode:
        raise observed.problems[0]
    plan = Plan(definition, now, WalletPlan("none"))
    plan.warnings = [
        f"{problem.message} (a real run stops here unless an earlier task of it does that)"
        for problem in observed.problems
    ]
    if observed.wallet is not None:
        plan.wallet = decide_wallet(definition, observed.wallet, clients, now)
    plan.evicted, clients = admitted(definition.name, manifest, clients, plan.warnings)
    if call.hand_over:
        _refuse_to_move(plan, observed, manifest, clients, call.away)
    if call.hand_over and _left_to_rotation(plan, observed):
        clients = [client for client in clients if _has_its_pair(plan.wallet.manifest, client)]
    if plan.wallet.action != "none":
        plan.probe = _decide_pair(plan, observed.pairs, Client(PROBE))
        plan.pairs = [_decide_pair(plan, observed.pairs, client) for client in clients]
        if call.whole_host and observed.wallet is not None and observed.wallet.in_use:
            _refuse_to_lose_clients(plan)
    if call.process:
        _decide_process(plan, observed, clients, call)
    return plan


def _decide_pair(plan: Plan, seen: Mapping[str, PairSeen], client: Client) -> PairPlan:
    if plan.wallet.action != "keep" or plan.wallet.manifest is None:
        return PairPlan(client, "issue", "the wallet is new")
    return decide_pair(plan.definition, plan.wallet.manifest, client, seen, plan.now)


def admitted(
    exporter: str, manifest: Manifest | None, clients: Sequence[Client], warnings: list[str]
) -> tuple[list[str], list[Client]]:
    """Return the names of all evicted clients, and the clients that get pairs. Add a warning for each client that gets
    none.
    """
    readmitted = {client.name for client in clients if client.readmit}
    evicted = sorted(set([] if manifest is None else manifest.get("evicted", [])) - readmitted)
    warnings += [
        f"exporter {exporter}: client {client.name} was evicted and gets no pair; to readmit it, name it in exporter_host_readmit (readmit: true of "
        "the client)"
        for client in clients
        if client.name in evicted
    ]
    return evicted, [client for client in clients if client.name not in evicted]


def _left_to_rotation(plan: Plan, observed: Observed) -> bool:
    """Keep a due wallet while clients of a running exporter use it, and say why a rotation has to replace it."""
    wallet, manifest, process = plan.wallet, plan.wallet.manifest, observed.process
    if not wallet.is_new or not wallet.usable or manifest is None or not set(manifest["pairs"]) - {PROBE}:
        return False
    if process is None or process.action not in ("none", "restart"):
        return False
    plan.rotation_due = "; ".join(wallet.why)
    plan.wallet = WalletPlan("keep", manifest=manifest)
    return True


def _has_its_pair(manifest: Manifest | None, client: Client) -> bool:
    pair = None if manifest is None else manifest["pairs"].get(client.name)
    if pair is None or client.recipient is None:
        return pair is not None
    return (pair["delivery"], pair["sha256"]) == (client.stored.get("delivery"), client.stored.get("sha256"))


def how_to_forget(clients: Sequence[str]) -> str:
    """Return the advice how to make exporters forget clients. A removal accepts any name in a manifest, even one that
    the inventory lacks.
    """
    commands = (f"ansible-playbook timesten.monitoring.remove -e remove_prometheus={client}" for client in clients)
    return f"if a client is gone for good, first take it out of the inventory and forget it: {', '.join(commands)}"


def _refuse_to_lose_clients(plan: Plan) -> None:
    wallet = plan.wallet
    if wallet.action != "create" or wallet.manifest is None:
        return
    named = {pair.client.name for pair in plan.all_pairs}
    lost = sorted(set(wallet.manifest["pairs"]) - named)
    if lost:
        raise TimesTenError(
            f"exporter {plan.definition.name}: the wallet would be replaced ({'; '.join(wallet.why)}), but the clients "
            f"{', '.join(lost)} are not part of this run and would lose access; nothing was changed. Run it when they can be reached, without --limit; "
            f"{how_to_forget(lost)}",
            lost_clients=lost,
        )


def _refuse_to_move(
    plan: Plan, observed: Observed, manifest: Manifest | None, clients: Sequence[Client], not_seen: Sequence[str]
) -> None:
    """Refuse a new target if a client that scrapes the exporter cannot be told of it: that client would go on scraping
    the old target.
    """
    process, definition = observed.process, plan.definition
    if process is None or process.action not in ("none", "restart"):
        return
    moves = of_target(() if process.state is None else process.state.drift)
    present = {client.name for client in clients}
    with_pair = [] if manifest is None else sorted(set(manifest["pairs"]) - {PROBE, *plan.evicted, *present})
    # Over plain HTTP no client needs a pair, so only the caller knows the clients that scrape.
    is_plain = definition.insecure != any(text.startswith("mode ") for text in moves)
    without = sorted(set(not_seen) - {*with_pair, *present}) if is_plain else []
    # A client that scrapes it knows its address. If no client can be asked, the certificate's name stands for the
    # address, which is its default.
    asked = None if definition.asked is None else definition.asked.common_name
    before = None if manifest is None else manifest["asked"]["common_name"]
    told = any(client.stored for client in clients)
    if before is not None and asked == definition.address and asked != before and not told:
        moves.append(f"address {before} -> {asked}")
    if moves and (with_pair or without):
        one = len(with_pair or without) == 1
        which = (
            f"which {'has' if one else 'have'} a pair" if with_pair else f"which {'scrapes' if one else 'scrape'} it"
        )
        gone = how_to_forget(with_pair) if with_pair else "one that is gone for good is taken out of the inventory"
        raise TimesTenError(
            f"exporter {definition.name}: {'; '.join(moves)} is for its clients to follow, and {', '.join(with_pair or without)}, {which}, could "
            f"not be looked at: nothing was changed. Run it again when {'it' if one else 'they'} can be reached; {gone}",
            lost_clients=[*with_pair, *without],
        )


def _decide_process(plan: Plan, observed: Observed, clients: Sequence[Client], call: Call) -> None:
    definition = plan.definition
    if observed.process_problem is not None:
        raise observed.process_problem
    if observed.process is None:
        return
    plan.process = _with_new_wallet(definition, observed.process) if plan.wallet.is_new else observed.process
    if definition.state == "stopped":
        return
    if call.check_mode and plan.wallet.action == "none" and not definition.insecure:
        plan.warnings.append(f"{definition.certificate_directory} holds no wallet; make it with tt_wallet first")
    _check_rate_budget(plan, clients, call.rate_budget)


def _with_new_wallet(definition: Definition, process: ProcessPlan) -> ProcessPlan:
    """Plan a restart of a running process for a new wallet, whatever else is planned for it."""
    if process.action not in ("none", "restart"):
        return process
    others = [] if process.boot is None else list(process.boot.why)
    if process.other is not None:
        others += process.why[-1:]
    reasons = process.why[:1] if process.takes_over else ["the wallet is new"]
    if definition.state == "restarted":
        reasons.append("state is restarted")
    return dataclasses.replace(process, action="restart", why=[*reasons, *others])


def _check_rate_budget(plan: Plan, clients: Sequence[Client], policy: str) -> None:
    # Clients that this run does not reach scrape too; the manifest has their intervals.
    known = {} if plan.wallet.manifest is None else plan.wallet.manifest["pairs"]
    intervals = {name: pair["scrape_interval"] or 0.0 for name, pair in known.items() if pair.get("scrape_interval")}
    intervals.update({client.name: client.scrape_interval for client in clients if client.scrape_interval})
    limit = plan.process.rate_limit if plan.process and plan.process.rate_limit else DOCUMENTED_RATE_LIMIT
    budget = rate_budget(intervals, limit)
    if budget.fits:
        return
    message = f"exporter {plan.definition.name}: {budget.message}"
    if policy == "refuse":
        raise TimesTenError(message)
    plan.warnings.append(message)
