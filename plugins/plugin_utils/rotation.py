# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation from the controller's view: when each exporter may switch, which clients have to follow, and whether the
switch is kept.

Everything here is a pure function of the inventory and of parsed answers. An exporter host's word about its clients or
its strategy decides nothing: the inventory and the run say which clients have to prove an exporter, and whether it may
use its spare port.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Literal, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import (
    LATER,
    ExporterAnswer,
    ExporterHostAnswer,
    Pair,
    PrometheusAnswer,
    Proof,
)

GAP = "gap"
SPARE_PORT = "spare_port"
"""This strategy restarts nothing."""

Action = Literal["confirm", "revert", "release", "none"]

_BEFORE = 0.05
"""So many seconds before a scrape begins are kept free."""
_AFTER = 0.1
"""So many seconds after the expected end of a scrape are kept free."""
_REACTION = 0.2
"""A Prometheus host needs so many seconds to see the new certificate and to make its delivery current."""
_LONGER = 1.5
"""The next restart may take longer than the measured ones by this factor."""
_MOMENTS = 12
_HORIZON = 600.0
"""At most so many seconds ahead are planned. A host may report any interval, and one of a day beside one of a tenth of
a second would never end.
"""


@dataclasses.dataclass(frozen=True)
class Clock:
    """How many seconds a host's clock is ahead of the controller's, and the uncertainty of that."""

    offset: float = 0.0
    uncertainty: float = 0.0


@dataclasses.dataclass(frozen=True)
class Scrape:
    """One scrape by the controller's clock, in seconds: its start, its duration, its interval, and the clocks'
    uncertainty.
    """

    began: float
    took: float
    interval: float
    uncertainty: float = 0.0


@dataclasses.dataclass(frozen=True)
class Row:
    """What one exporter of a wave may do and when, or why it may not.

    :ivar clients: the clients that have to prove the exporter afterwards.
    :ivar job: the name of its job and deliveries on the Prometheus hosts.
    :ivar window: seconds that the switch may take.
    :ivar gap: seconds of the largest gap between scrapes.
    :ivar servers: the clients whose scrapes were seen.
    :ivar moments: the moments for the switch by the controller's clock; empty if it need not wait.
    :ivar period: seconds after which the scrapes repeat, if they do.
    :ivar confirm: seconds after the switch within which it has to be confirmed.
    :ivar deadline: the time, by the controller's clock, at which an unconfirmed switch goes back.
    :ivar refused: why it may not switch.
    """

    exporter: str
    host: str
    generation: str
    old_sha256: str | None
    new_sha256: str | None
    clients: tuple[str, ...]
    strategy: str
    job: str
    window: float
    gap: float
    servers: tuple[str, ...]
    moments: tuple[float, ...] = ()
    period: float | None = None
    confirm: float = 0.0
    deadline: float = 0.0
    refused: str | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """Return the row for a result of :func:`dataclasses.asdict`."""
        lists = {key: tuple(data[key]) for key in ("clients", "servers", "moments")}
        return cls(**{**data, **lists})


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of one exporter of a plan.

    :ivar action: what its host has to do: keep the new generation, go back, or end a rotation that did not begin or has
        ended by itself.
    :ivar reason: why it is not kept.
    :ivar status: its host's status of the switch; None if the host gave none.
    :ivar leaves: with the strategy spare_port, whether it serves on both ports until it leaves one.
    """

    exporter: str
    host: str
    action: Action
    reason: str | None = None
    status: str | None = None
    window: float | None = None
    leaves: bool = False
    job: str = ""

    @property
    def now(self) -> Action:
        """Return what its host has to do at once. With spare_port the new process serves until no client scrapes it any
        more.
        """
        return "none" if self.leaves and self.action == "revert" else self.action


@dataclasses.dataclass(frozen=True)
class Leaving:
    """The port that an exporter leaves: the job to remove, and what its host does then."""

    exporter: str
    host: str
    job: str
    action: Literal["retire", "revert"]


def pair_of(answer: ExporterAnswer, client: str) -> Pair | None:
    """Return the pair of a client. In check mode there is neither generation nor pair, but the answer says who would
    get one.
    """
    pair, staged = answer.pairs.get(client), answer.rotation
    if pair is None and staged is not None and staged.to_generation == LATER and client in staged.clients:
        pair = Pair(client)
    if pair is None or (pair.delivery and pair.sha256):
        return pair
    return dataclasses.replace(pair, delivery=pair.delivery or LATER, sha256=pair.sha256 or LATER)


def gaps(scrapes: Iterable[Scrape], start: float, end: float) -> list[tuple[float, float]]:
    """Return the times between scrapes as (begin, end), in order.

    :param start: seconds since the epoch, by the clock of the scrapes.
    """
    busy = []
    for scrape in scrapes:
        slack = scrape.uncertainty
        length = max(2 * scrape.took, scrape.took + _AFTER) + slack
        number = int((start - scrape.began) // scrape.interval)
        while scrape.began + number * scrape.interval < end + scrape.interval:
            begin = scrape.began + number * scrape.interval
            busy.append((begin - _BEFORE - slack, begin + length))
            number += 1
    free, free_from = [], start
    for begin, finish in sorted(busy):
        if begin > free_from:
            free.append((free_from, begin))
        free_from = max(free_from, finish)
    return [gap for gap in free if gap[0] < end]


def switch_moments(
    scrapes: Sequence[Scrape], window: float, start: float, force: bool = False, count: int = _MOMENTS
) -> tuple[list[float], float]:
    """Return up to ``count`` moments from ``start`` on with ``window`` free seconds after them, and the seconds of the
    largest gap.

    The moments are the starts of the gaps that are nearly as long as the longest. A switch that takes longer than
    expected then has the most time.
    """
    if not scrapes:
        return [start + number * 5.0 for number in range(count)], float("inf")
    longest = max(scrape.interval for scrape in scrapes)
    horizon = start + min(max(60.0, 4 * longest), _HORIZON)
    free = gaps(scrapes, start, horizon)
    # ``start`` lies in the middle of the first gap.
    largest = max((end - begin for begin, end in free[1:]), default=0.0)
    needed = 0.8 * largest if force else max(window, 0.8 * largest)
    moments = [begin for begin, end in free if end - begin >= needed]
    return moments[:count], largest


def plan(
    staged: Mapping[str, ExporterHostAnswer],
    delivered: Mapping[str, PrometheusAnswer],
    clocks: Mapping[str, Clock],
    takers: Mapping[str, Mapping[str, str]],
    spare_ports: Iterable[str],
    now: float,
    beside: bool = False,
    optional: Sequence[str] = (),
    confirm: float = 120.0,
    force: bool = False,
    lead: float = 2.0,
    grace: Mapping[str, float] | None = None,
) -> dict[str, Row]:
    """Return what each exporter of a wave may do and when.

    :param staged: answers of the exporter hosts, by host.
    :param delivered: answers of the clients that could be asked, by client.
    :param clocks: the hosts' clocks, by host.
    :param takers: by exporter, its clients in the inventory, each with its host.
    :param spare_ports: the exporters that have a spare port in the inventory.
    :param now: the controller's clock, in seconds since the epoch.
    :param beside: whether this run asks for the strategy spare_port.
    :param optional: clients that need not take part.
    :param confirm: seconds, in addition to three scrape intervals.
    :param lead: seconds until the first moment, in which the hosts get ready.
    :param grace: by exporter, seconds for which it serves both ports after the new one is proven.
    """
    start = now + lead
    spare = set(spare_ports)
    rows: dict[str, Row] = {}
    for host, answer in staged.items():
        for name, exporter in answer.exporters.items():
            rotation = exporter.rotation
            if exporter.failed or rotation is None or rotation.skipped is not None or rotation.to_generation is None:
                continue
            strategy = SPARE_PORT if beside and name in spare else GAP
            job = names.on_port(name, bool(exporter.spare) and name in spare)
            client_hosts = takers.get(name, {})
            clients = tuple(client for client in client_hosts if client not in rotation.evicted)
            scrapes, missing = _scrapes(
                clients, job, delivered, clocks, client_hosts, clocks.get(host, Clock()), optional
            )
            missing += [
                f"its host has issued no pair for {client}"
                for client in clients
                if client not in rotation.clients and client not in optional
            ]
            if rotation.strategy != strategy:
                missing.append(f"its host wants the strategy {rotation.strategy}, this run {strategy}")
            window = (rotation.restart_seconds or 0.0) * _LONGER + _REACTION
            moments, largest = switch_moments(list(scrapes.values()), window, start, force)
            refused = "; ".join(missing) or None
            if refused is None and not moments and strategy == GAP:
                refused = _refusal(window, largest, scrapes, name in spare)
            row = Row(
                exporter=name,
                host=host,
                generation=rotation.to_generation,
                old_sha256=rotation.old_sha256,
                new_sha256=rotation.new_sha256,
                clients=clients,
                strategy=strategy,
                job=job,
                window=round(window, 3),
                gap=round(min(largest, 1e6), 3),
                servers=tuple(sorted(scrapes)),
                refused=refused,
            )
            more = (grace or {}).get(name, 0.0) if strategy == SPARE_PORT else 0.0
            rows[name] = row if refused else _timed(row, scrapes, moments, start, confirm + more)
    return rows


def _scrapes(
    clients: Sequence[str],
    job: str,
    delivered: Mapping[str, PrometheusAnswer],
    clocks: Mapping[str, Clock],
    client_hosts: Mapping[str, str],
    own: Clock,
    optional: Sequence[str],
) -> tuple[dict[str, Scrape], list[str]]:
    """Return each client's last scrape by the controller's clock, and the reasons why clients cannot take part."""
    scrapes, missing = {}, []
    for client in clients:
        answer = delivered.get(client)
        if answer is None or answer.failed is not None:
            if client not in optional:
                reason = "it was not reached" if answer is None else answer.failed
                missing.append(f"{client} could not be made ready ({reason})")
            continue
        scrape = answer.scrapes.get(job)
        if scrape is not None:
            clock = clocks.get(client_hosts[client], Clock())
            scrapes[client] = Scrape(
                began=scrape.scraped - clock.offset,
                took=scrape.took,
                interval=scrape.interval,
                uncertainty=clock.uncertainty + own.uncertainty,
            )
    return scrapes, missing


def _timed(row: Row, scrapes: Mapping[str, Scrape], moments: Sequence[float], start: float, confirm: float) -> Row:
    intervals = {scrape.interval for scrape in scrapes.values()}
    limit = confirm + 3 * max(intervals, default=0.0)
    # If nothing is restarted, there is no moment to wait for.
    beside = row.strategy == SPARE_PORT
    last = start + 2 * limit if beside else moments[-1]
    return dataclasses.replace(
        row,
        moments=() if beside else tuple(round(moment, 4) for moment in moments),
        period=intervals.pop() if len(intervals) == 1 else None,
        confirm=limit,
        deadline=round(last + limit, 3),
    )


def _refusal(window: float, largest: float, scrapes: Mapping[str, Scrape], has_spare_port: bool) -> str:
    intervals = ", ".join(f"{name} every {scrape.interval:g} s" for name, scrape in sorted(scrapes.items()))
    way = "Run" if has_spare_port else "Define a spare_port for it (exporter_host_spare_port) and run"
    return (
        f"the switch may take {window:.2f} s, and the largest gap between the scrapes ({intervals}) is {largest:.2f} s, so a scrape could be "
        f"lost. {way} again with rotate_strategy=spare_port, which restarts nothing; or choose a longer scrape_interval, or fewer servers; or "
        "accept the loss with rotate_force=true"
    )


def takeover_order(
    name: str, inspected: Mapping[str, PrometheusAnswer], clocks: Mapping[str, Clock], own: Clock, now: float
) -> dict[str, Any]:
    """Return the moments, by the exporter host's clock, at which a process may be replaced that hand-written jobs
    scrape.

    The process is replaced in any case, so the largest gaps are good enough.

    :param inspected: answers with the scrapes, by client.
    :param clocks: the clocks, by client.
    """
    scrapes = []
    for client, answer in inspected.items():
        seen, clock = answer.scrapes_by_hand[name], clocks[client]
        uncertainty = clock.uncertainty + own.uncertainty
        scrapes.append(Scrape(seen.scraped - clock.offset, seen.took, seen.interval, uncertainty))
    moments, _largest = switch_moments(scrapes, 0.0, now, force=True)
    intervals = {scrape.interval for scrape in scrapes}
    return {
        "moments": [round(moment + own.offset, 4) for moment in moments],
        "period": intervals.pop() if len(intervals) == 1 else None,
    }


def orders(rows: Mapping[str, Row], clock: Clock, following: bool = False) -> dict[str, dict[str, Any]]:
    """Return a plan for one host by its own clock, in the form of the modules' option ``switch``.

    :param following: whether it is for a Prometheus host, which uses the names of the jobs and follows only exporters
        that are restarted.
    """
    return {
        (row.job if following else name): {
            "generation": row.generation,
            "moments": [round(moment + clock.offset, 4) for moment in row.moments],
            "deadline": row.deadline + clock.offset,
            "confirm": row.confirm,
            "period": row.period,
            "strategy": row.strategy,
        }
        for name, row in rows.items()
        if row.refused is None and not (following and row.strategy == SPARE_PORT)
    }


def go(
    rows: Mapping[str, Row], following: Mapping[str, PrometheusAnswer], optional: Sequence[str] = ()
) -> dict[str, Row]:
    """Return the plan, with those exporters refused that a client does not follow, because it would lose scrapes."""
    decided = {}
    for name, row in rows.items():
        silent = []
        if row.refused is None and row.strategy != SPARE_PORT:
            for client in row.clients:
                answer = following.get(client)
                if client not in optional and (answer is None or row.job not in answer.following):
                    reason = (answer.failed if answer else None) or "it could not be reached any more"
                    silent.append(f"{client} does not follow ({reason})")
        decided[name] = dataclasses.replace(row, refused="; ".join(silent)) if silent else row
    return decided


_ENDED = ("missed", "failed", "reverted")
"""Statuses of a switch that has ended by itself."""


def verdicts(
    rows: Mapping[str, Row],
    switched: Mapping[str, ExporterHostAnswer],
    proven: Mapping[str, PrometheusAnswer],
    optional: Sequence[str] = (),
    unasked: Iterable[str] = (),
) -> dict[str, Verdict]:
    """Return the outcome of each exporter of a plan, and whether to keep it, go back, or end it.

    :param switched: the exporter hosts' answers about the switch, by host.
    :param proven: the clients' answers afterwards, by client.
    :param unasked: clients that, by the inventory, cannot be asked for their targets: a handshake from their host has
        to be enough.
    """
    judged = {}
    silent = frozenset(unasked)
    for name, row in rows.items():
        if row.refused is not None:
            judged[name] = Verdict(name, row.host, "release", row.refused, job=row.job)
            continue
        host = switched.get(row.host)
        answer = host.exporters.get(name) if host is not None else None
        judged[name] = _verdict(row, answer, (host.failed if host else None), proven, optional, silent)
    return judged


def _verdict(
    row: Row,
    answer: ExporterAnswer | None,
    host_failed: str | None,
    proven: Mapping[str, PrometheusAnswer],
    optional: Sequence[str],
    unasked: frozenset[str],
) -> Verdict:
    status = answer.status if answer is not None else None
    window = answer.window if answer is not None else None
    action: Action
    if status == "switched":
        faults = [
            fault
            for client in row.clients
            if client not in optional
            for fault in [unproven(row.job, client, proven.get(client), client not in unasked)]
            if fault is not None
        ]
        action, reason = ("revert" if faults else "confirm"), "; ".join(faults) or None
    elif status == "lost":
        action, reason = "revert", "the process that made the switch was killed"
    else:
        said = None if answer is None else answer.error or answer.failed
        unsaid = f"its host says no more than {status}" if status else "its host could not be reached any more"
        reason = said or host_failed or unsaid
        action = "release" if status in _ENDED else "none"
    leaves = row.strategy == SPARE_PORT and action in ("confirm", "revert")
    return Verdict(row.exporter, row.host, action, reason, status, window, leaves, row.job)


def unproven(job: str, client: str, answer: PrometheusAnswer | None, asked: bool = True) -> str | None:
    """Return why a client has not proven an exporter in its answer, or None."""
    if answer is None:
        return f"{client}: it did not answer any more"
    proof = answer.exporters.get(job)
    fault = None if proof is None else proof_fault(proof, asked)
    if proof is not None and fault is None:
        return None
    return f"{client}: {fault or answer.failed or 'it did not answer for it'}"


def proof_fault(proof: Proof, asked: bool = True) -> str | None:
    """Return what a proof lacks; None if the target is up and only the delivered pair gets access.

    :param asked: whether the client is asked for its targets. If not, the exporter has to accept a handshake with the
        delivered pair.
    """
    if asked and not proof.up:
        return proof.last_error or proof.failed or "its target is not up"
    if not asked and proof.accepted is None:
        return proof.failed or "no handshake with the delivered pair was made"
    if proof.accepted is False:
        return proof.failed or "the handshake with the delivered pair was not accepted"
    for refused, how in (
        (proof.refused_without_certificate, "without a certificate"),
        (proof.refused_foreign_pair, "with a foreign pair"),
        (proof.refused_plain_http, "over plain http"),
    ):
        if refused is False:
            return proof.failed or f"a connection {how} was not refused"
    return None


def leaving(judged: Mapping[str, Verdict], ended: Mapping[str, ExporterHostAnswer]) -> dict[str, Leaving]:
    """Return which of their two ports exporters leave.

    An exporter is left out if its host did not say whether it keeps the new one: both jobs then stay until the next
    run.

    :param ended: the exporter hosts' answers to the verdict, by host.
    """
    left = {}
    for name, verdict in judged.items():
        if not verdict.leaves:
            continue
        host = ended.get(verdict.host)
        answer = host.exporters.get(name) if host is not None else None
        if verdict.action == "revert" or (answer is not None and answer.status != "confirmed"):
            left[name] = Leaving(name, verdict.host, verdict.job, "revert")
        elif answer is not None:
            left[name] = Leaving(name, verdict.host, names.other_port(verdict.job), "retire")
    return left
