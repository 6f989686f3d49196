# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: compares what the inventory asks for with what this run has seen. Every run ends with its table, and its
verdict is the exit status.

A pair is one exporter seen by one client. It counts as proven only if the client's own answer in this run says so; an
exporter host's answer proves nothing.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence, TypeVar, get_args

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import timestamp, utcnow
from ansible_collections.timesten.monitoring.plugins.plugin_utils import checks, handover, moves, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import (
    LATER,
    ExporterAnswer,
    ExporterHostAnswer,
    PrometheusAnswer,
    Proof,
    plain,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.failures import NO_ANSWER
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Client, Exporter, Fleet
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory
from ansible_collections.timesten.monitoring.plugins.plugin_utils.outsiders import Entry, Outsider
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import SPARE_PORT, Row, Verdict, proof_fault

VERSION = 1
"""Version of the JSON form (docs/ledger.md)."""

State = Literal["proven", "predicted", "not asked", "kept", "evicted", "failed"]
SATISFIED = ("proven", "predicted", "not asked", "kept")
"""The states of a pair that is as the inventory asks. "evicted" is not one of them: only an exporter host says it, and
the inventory still asks for the pair.
"""
MEND = "Mend what is named above and run it again."
NOT_BEGUN = "it was not begun"
NOT_ROTATED = "it was not rotated: "
_INDIVIDUAL = 20
"""Up to so many rows are shown one by one; more are grouped."""
_NAMES = 6
"""So many names of a group are listed."""
_WIDTH = 36
"""The largest number of characters of a name, or of a group's names, in the table."""
_CHANGES = 8
"""The largest number of lines about changes."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One exporter seen by one client.

    :ivar reason: why it is not proven, or None.
    :ivar because_of: the host whose own failure is the reason; the table then gives the reason only once.
    :ivar refused: whether everybody else was refused; None if that was not tried.
    :ivar served: SHA-256 fingerprint of the certificate that the exporter serves, if it was seen.
    :ivar expires: UTC time at which the first of its certificates ends, if it is known.
    :ivar outsider: whether the client is an outsider. Its pair lies encrypted on the controller, and nobody asks it.
    """

    exporter: str
    client: str
    state: State
    reason: str | None = None
    because_of: str | None = None
    up: bool | None = None
    accepted: bool | None = None
    refused: bool | None = None
    served: str | None = None
    expires: str | None = None
    outsider: bool = False


@dataclasses.dataclass(frozen=True)
class Host:
    """One host of the run.

    :ivar changed: what changed or, in check mode, would change; each text begins with the exporter's or client's name.
    :ivar reason: why the host is not finished, or None.
    """

    host: str
    kind: Literal["exporter", "prometheus"]
    changed: tuple[str, ...] = ()
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Known:
    """What a run knows about one exporter besides its pairs.

    :ivar due: UTC time from which its wallet has to be replaced; None if no host said it.
    :ivar asked: scrapes a minute of all its clients, by their intervals at the start of the run; None if those are
        unknown.
    :ivar limit: GETs a minute that it was told to accept; None if it was told no limit.
    """

    exporter: str
    host: str
    target: str
    due: str | None = None
    asked: float | None = None
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Everything that a run was asked for, and what was seen.

    :ivar rotations: a line for each exporter that was to be rotated.
    :ivar problems: other reasons why the run is not finished, besides hosts and pairs.
    :ivar notes: texts for people that do not change the exit status.
    :ivar exporters: the exporters that the run concerned; empty for a removal.
    :ivar time: UTC time at which the ledger was made.
    """

    operation: str
    check_mode: bool
    pairs: tuple[Pair, ...] = ()
    hosts: tuple[Host, ...] = ()
    rotations: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exporters: tuple[Known, ...] = ()
    time: str | None = None

    @property
    def failed_hosts(self) -> tuple[Host, ...]:
        """Return the hosts that are not finished."""
        return tuple(host for host in self.hosts if host.reason is not None)

    @property
    def good(self) -> bool:
        """Tell whether everything that was asked for was seen or, in check mode, predicted."""
        return (
            bool(self.hosts)
            and not self.failed_hosts
            and not self.problems
            and all(pair.state in SATISFIED for pair in self.pairs)
        )

    def verdict(self) -> str:
        """Return the last line."""
        if not self.hosts and self.problems:
            return f"Nothing was done. {MEND}"
        if not self.hosts:
            return "Nothing was looked at: no host took part in this run."
        outside = sum(pair.outsider and pair.state == "not asked" for pair in self.pairs)
        count = {state: sum(pair.state == state for pair in self.pairs) for state in get_args(State)}
        count["not asked"] -= outside
        word = "predicted" if self.check_mode else "proven"
        parts = []
        if self.pairs:
            parts.append(f"{count[word]} of {len(self.pairs)} pairs {word}")
            parts += [f"{count[state]} {text}" for state, text in _OTHERWISE.items() if count[state]]
            if outside:
                parts.append(f"{outside} encrypted for outsiders, who are not asked")
            if count["failed"]:
                parts.append(f"{count['failed']} not {word}")
        unfinished = len(self.failed_hosts)
        if unfinished or not self.pairs:
            parts.append(f"{len(self.hosts) - unfinished} of {len(self.hosts)} hosts finished")
        return ", ".join(parts) + ("." if self.good else f". {MEND}")

    def lines(self) -> list[str]:
        """Return the table and the text below it, for people."""
        lines: list[str] = []
        if self.rotations:
            lines += ["Rotation:", *(f"  {line}" for line in self.rotations), ""]
        if self.pairs:
            lines += [*_table(self.pairs), ""]
        changed = _changes(self.hosts, self.check_mode)
        if changed:
            lines += [*changed, ""]
        reasons = self.reasons()
        if reasons:
            told = (f"  {'; '.join(who)}: {plain(reason, 1500)}" for reason, who in reasons.items())
            lines += [f"Not {'predicted' if self.check_mode else 'finished'}, and why:", *told, ""]
        if self.problems:
            lines += [*self.problems, ""]
        if self.notes:
            lines += [*self.notes, ""]
        return [*lines, self.verdict()]

    def reasons(self) -> dict[str, list[str]]:
        """Return each reason once, with everything that it concerns."""
        return _reasons(self.hosts, self.pairs, self.rotations)

    @classmethod
    def from_dict(cls, data: Any) -> Ledger:
        """Return the ledger of a JSON form.

        :raises Nonsense: if the data is not one, or has another version.
        """
        given = checks.fields(data, "the ledger")
        if given.get("version") != VERSION:
            raise checks.Nonsense("version", f"is {checks.shown(given.get('version'))}, not {VERSION}")
        return cls(
            checks.one_of(given.get("operation"), "operation", OPERATIONS),
            checks.truth(given.get("check_mode"), "check_mode"),
            _rows(given.get("pairs"), "pairs", Pair, _PAIR),
            _rows(given.get("hosts"), "hosts", Host, _HOST),
            _texts(given.get("rotations"), "rotations"),
            _texts(given.get("problems"), "problems"),
            _texts(given.get("notes"), "notes"),
            exporters=_rows(given.get("exporters", []), "exporters", Known, _KNOWN),
            time=checks.optional(checks.timestamp, given.get("time"), "time"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form (docs/ledger.md)."""
        return {
            "version": VERSION,
            "time": self.time,
            "operation": self.operation,
            "check_mode": self.check_mode,
            "good": self.good,
            "verdict": self.verdict(),
            **{
                key: [dataclasses.asdict(item) for item in getattr(self, key)]
                for key in ("pairs", "hosts", "exporters")
            },
            "rotations": list(self.rotations),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


# --- the JSON form ----------------------------------------------------------------------------------------------------

_MOST = 1_000_000
"""The largest number of rows in a list of the JSON form."""
_Row = TypeVar("_Row")
Check = Callable[[Any, str], Any]


def _text(value: Any, where: str) -> str:
    return checks.text(value, where, 20_000)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(item, where) for item in checks.items(value, where, _MOST))


def _or_none(check: Check) -> Check:
    def checked(value: Any, where: str) -> Any:
        return checks.optional(check, value, where)

    return checked


def _state(value: Any, where: str) -> Any:
    return checks.one_of(value, where, get_args(State))


def _kind(value: Any, where: str) -> Any:
    return checks.one_of(value, where, ("exporter", "prometheus"))


def _count(value: Any, where: str) -> float:
    return checks.number(value, where, 0, 1e9)


_PAIR: dict[str, Check] = {
    "exporter": _text,
    "client": _text,
    "state": _state,
    **dict.fromkeys(("reason", "because_of", "served"), _or_none(_text)),
    **dict.fromkeys(("up", "accepted", "refused"), _or_none(checks.truth)),
    "expires": _or_none(checks.timestamp),
    "outsider": checks.truth,
}
_HOST: dict[str, Check] = {"host": _text, "kind": _kind, "changed": _texts, "reason": _or_none(_text)}
_KNOWN: dict[str, Check] = {
    **dict.fromkeys(("exporter", "host", "target"), _text),
    "due": _or_none(checks.timestamp),
    **dict.fromkeys(("asked", "limit"), _or_none(_count)),
}


def _rows(value: Any, where: str, kind: Callable[..., _Row], form: Mapping[str, Check]) -> tuple[_Row, ...]:
    rows = []
    for index, item in enumerate(checks.items(value, where, _MOST)):
        given = checks.fields(item, f"{where}[{index}]")
        rows.append(kind(**{key: check(given.get(key), f"{where}[{index}].{key}") for key, check in form.items()}))
    return tuple(rows)


_OTHERWISE = {
    "not asked": "accepted from its host but not asked of what scrapes there (prometheus_host_kind: scrape_file, prometheus_host_running: false)",
    "kept": "left to the owner's own jobs (prometheus_host_on_existing: keep)",
    "evicted": "evicted",
}


# --- what was seen of a pair ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Seen:
    """The answers of a run.

    :ivar exporters: answers of the exporter hosts, by host; None if the operation does not call them.
    :ivar clients: answers of the last call that had to prove something, by client.
    :ivar verdicts: outcomes of rotations, by exporter.
    :ivar delivered: content of the outsiders' directories, by outsider and exporter.
    """

    exporters: Mapping[str, ExporterHostAnswer] | None
    clients: Mapping[str, PrometheusAnswer]
    verdicts: Mapping[str, Verdict] = dataclasses.field(default_factory=dict)
    delivered: Mapping[str, Mapping[str, Entry]] = dataclasses.field(default_factory=dict)


def pairs(
    fleet: Fleet,
    hosts: Iterable[str],
    seen: Seen,
    check_mode: bool,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> tuple[Pair, ...]:
    """Return every pair that the inventory asks for on the hosts of a run, with what was seen of it.

    :param only: exporters that the run concerns; None means all.
    :param without: clients that lose their access in this run.
    """
    mine = set(hosts)
    rows = []
    for exporter in fleet.exporters.values():
        if exporter.host not in mine or exporter.state == "stopped" or (only is not None and exporter.name not in only):
            continue
        for client in fleet.clients_of(exporter.host):
            if client.host in mine and client.name not in without:
                rows.append(_pair(exporter, client, seen, check_mode))
        for outsider in fleet.outsiders_of(exporter.name):
            if outsider.name not in without:
                rows.append(_outsider_pair(exporter, outsider, fleet.run.folder_of(outsider), seen, check_mode))
    return tuple(rows)


def _pair(exporter: Exporter, client: Client, seen: Seen, check_mode: bool) -> Pair:
    mine = _answer(exporter, seen)
    answer = seen.clients.get(client.name)
    proof = None if answer is None else _proof(answer, exporter, mine)
    row = Pair(exporter.name, client.name, "failed", expires=_expires(mine, client.name, answer, proof))
    if proof is not None:
        refusals = (proof.refused_without_certificate, proof.refused_foreign_pair, proof.refused_plain_http)
        refused = None if None in refusals else all(refusals)
        row = dataclasses.replace(
            row, up=proof.up, accepted=proof.accepted, refused=refused, served=proof.served_sha256
        )
    settled = _of_exporter(row, exporter, seen, check_mode)
    if settled is not None:
        return settled
    if answer is None:
        return dataclasses.replace(row, reason=NOT_BEGUN, because_of=client.host)
    if proof is None:
        if answer.failed:
            return dataclasses.replace(row, reason=answer.failed, because_of=client.host)
        never = f"{client.name} has nothing of it: run timesten.monitoring.site"
        issued = mine is None or exporter.insecure or client.name in mine.pairs
        return dataclasses.replace(row, reason=never if issued else f"its host has issued no pair for {client.name}")
    return _judged(row, proof, exporter, client, answer, check_mode, verifies=seen.exporters is None)


def _answer(exporter: Exporter, seen: Seen) -> ExporterAnswer | None:
    host = None if seen.exporters is None else seen.exporters.get(exporter.host)
    return None if host is None else host.exporters.get(exporter.name)


def _of_exporter(row: Pair, exporter: Exporter, seen: Seen, check_mode: bool) -> Pair | None:
    """Return the row if the exporter's side alone decides it, else None."""
    verdict = seen.verdicts.get(exporter.name)
    if seen.exporters is not None:
        host, mine = seen.exporters.get(exporter.host), _answer(exporter, seen)
        if mine is None:
            reason = NOT_BEGUN if host is None else host.failed or "its host did not answer for it"
            return dataclasses.replace(row, reason=reason, because_of=exporter.host)
        if mine.failed:
            return dataclasses.replace(row, reason=mine.failed, because_of=exporter.host)
        if row.client in mine.evicted:
            return dataclasses.replace(row, state="evicted", reason=_evicted(row))
        if mine.rotation_due and verdict is None and not check_mode:
            return dataclasses.replace(row, reason=f"its wallet has to be replaced ({mine.rotation_due}), and was not")
    if verdict is not None and verdict.action != "confirm" and not check_mode:
        return dataclasses.replace(row, reason=f"{NOT_ROTATED}{verdict.reason}")
    return None


def _evicted(row: Pair) -> str:
    """Return what to do about a client that lost its access although the inventory still asks for its pair."""
    where = "timesten_outsiders" if row.outsider else "the inventory"
    return (
        f"{row.client} was evicted from it, and {where} still asks for the pair: take {row.client} out of {where}, or readmit it: name it in "
        "exporter_host_readmit and run timesten.monitoring.site"
    )


def _outsider_pair(exporter: Exporter, outsider: Outsider, directory: str, seen: Seen, check_mode: bool) -> Pair:
    """Return the row of a pair that nobody can prove: whether it lies encrypted on the controller, and until when it is
    valid.
    """
    mine = _answer(exporter, seen)
    has = seen.delivered.get(outsider.name, {}).get(exporter.name)
    ends = [_expires(mine, outsider.name, None, None), None if has is None else has.not_after]
    expires = min((end for end in ends if end is not None and end[:1].isdigit()), default=None)
    row = Pair(exporter.name, outsider.name, "failed", expires=expires, outsider=True)
    settled = _of_exporter(row, exporter, seen, check_mode)
    if settled is not None:
        return settled
    if check_mode:
        return dataclasses.replace(row, state="predicted")
    pair = None if mine is None else mine.pairs.get(outsider.name)
    if mine is not None and pair is None and not exporter.insecure:
        return dataclasses.replace(row, reason=f"its host has issued no pair for {outsider.name}")
    if has is None or has.insecure != exporter.insecure or (pair is not None and has.sha256 != pair.sha256):
        reason = f"{directory} on this controller does not hold what {outsider.name} needs for it: run timesten.monitoring.site here"
        return dataclasses.replace(row, reason=reason)
    if has.not_after is not None and has.not_after <= timestamp(utcnow()):
        return dataclasses.replace(row, reason=f"its pair ended at {has.not_after}: run timesten.monitoring.site")
    return dataclasses.replace(row, state="not asked")


def _judged(
    row: Pair,
    proof: Proof,
    exporter: Exporter,
    client: Client,
    answer: PrometheusAnswer,
    check_mode: bool,
    verifies: bool = False,
) -> Pair:
    if answer.failed and _is_silent(proof, answer):
        return dataclasses.replace(row, reason=answer.failed, because_of=client.host)
    # The playbook verify asks no exporter host, and only those know who was evicted.
    refused_as_others = verifies and row.up is False and row.accepted is False and row.refused
    perhaps = f". If it was evicted: {_evicted(row).partition(': ')[2]}" if refused_as_others else ""
    if proof.failed:
        return dataclasses.replace(row, reason=proof.failed + perhaps)
    if check_mode:
        if answer.failed:
            return dataclasses.replace(row, reason=answer.failed, because_of=client.host)
        return dataclasses.replace(row, state="predicted")
    asked = client.is_asked
    untold = proof.up is None and not proof.last_error and (asked or proof.accepted is None)
    if untold and client.options.get("on_existing") == "keep":
        return dataclasses.replace(row, state="kept")
    if asked or not exporter.insecure:
        fault = proof_fault(proof, asked)
        if fault:
            advice = f" -> {proof.advice}" if proof.advice else ""
            return dataclasses.replace(row, reason=fault + advice + perhaps)
    if not exporter.insecure and not (row.accepted and row.refused):
        reason = (
            "the handshakes that prove it were not made" if None in (row.accepted, row.refused) else "others get in"
        )
        return dataclasses.replace(row, reason=answer.failed or reason)
    return dataclasses.replace(row, state="proven" if asked else "not asked")


def _is_silent(proof: Proof, answer: PrometheusAnswer) -> bool:
    """Tell whether nothing was seen of an exporter, so that the whole call's reason applies to it."""
    tried = (
        proof.up,
        proof.accepted,
        proof.refused_without_certificate,
        proof.refused_foreign_pair,
        proof.refused_plain_http,
    )
    return (
        proof.failed in (None, NO_ANSWER, answer.failed)
        and not proof.last_error
        and not any(item is not None for item in tried)
    )


def _proof(answer: PrometheusAnswer, exporter: Exporter, mine: ExporterAnswer | None) -> Proof | None:
    """Return the client's element for an exporter, on either of its ports."""
    spare = names.on_port(exporter.name, True)
    order = [exporter.name, spare] if mine is None or not mine.spare else [spare, exporter.name]
    allowed = order if exporter.spare_port is not None else [exporter.name]
    proofs = [answer.exporters[name] for name in allowed if name in answer.exporters]
    return next((proof for proof in proofs if proof.up), proofs[0] if proofs else None)


def _expires(
    mine: ExporterAnswer | None, client: str, answer: PrometheusAnswer | None, proof: Proof | None
) -> str | None:
    """Return when the first certificate of a pair ends, as far as an answer says."""
    ends = [] if proof is None else [proof.not_after]
    if mine is not None:
        ends += [pair.not_after for pair in mine.pairs.values() if pair.client == client]
        ends.append(mine.ca_not_after)
        if mine.server_certificate is not None:
            ends.append(mine.server_certificate.not_after)
    known = [end for end in ends if end is not None and end[:1].isdigit()]
    return min(known, default=None)


def described(
    fleet: Fleet,
    hosts: Iterable[str],
    answers: Mapping[str, ExporterHostAnswer],
    inspected: Mapping[str, PrometheusAnswer],
) -> tuple[Known, ...]:
    """Return what is known about the exporters of a run.

    :param inspected: answers of all clients before anything was changed. The rate budget of an exporter is based on
        them.
    """
    mine = set(hosts)
    rows = []
    for exporter in fleet.exporters.values():
        if exporter.host not in mine or exporter.state == "stopped":
            continue
        host = answers.get(exporter.host)
        answer = None if host is None else host.exporters.get(exporter.name)
        intervals = [_interval(inspected.get(client.name), exporter) for client in fleet.clients_of(exporter.host)]
        intervals += [outsider.seconds for outsider in fleet.outsiders_of(exporter.name)]
        certain = [seconds for seconds in intervals if seconds]
        rows.append(
            Known(
                exporter.name,
                exporter.host,
                names.target(exporter.address, exporter.port),
                None if answer is None else answer.due_at,
                round(sum(60 / seconds for seconds in certain), 2)
                if certain and len(certain) == len(intervals)
                else None,
                None if answer is None else answer.rate_limit,
            )
        )
    return tuple(rows)


def _interval(answer: PrometheusAnswer | None, exporter: Exporter) -> float | None:
    """Return the seconds between a client's scrapes of an exporter."""
    if answer is None:
        return None
    of_job = [answer.scrape_intervals.get(names.on_port(exporter.name, spare)) for spare in (False, True)]
    return next((seconds for seconds in of_job if seconds), answer.scrape_interval)


def same_certificates(answers: Mapping[str, ExporterHostAnswer], asked_pairs: Iterable[Pair] = ()) -> list[str]:
    """Return a problem for each certificate that several exporters have. A cloned host brings its wallet along.

    Such exporters accept each other's clients.

    :param asked_pairs: pairs with the served certificates.
    """
    owners: dict[str, set[str]] = {}
    for pair in asked_pairs:
        if pair.served is not None:
            owners.setdefault(pair.served, set()).add(pair.exporter)
    for answer in answers.values():
        for name, exporter in answer.exporters.items():
            prints = {exporter.ca_sha256}
            if exporter.server_certificate is not None:
                prints.add(exporter.server_certificate.sha256)
            for sha256 in prints:
                if sha256 is not None and len(sha256) == 64:
                    owners.setdefault(sha256, set()).add(name)
    groups = sorted({tuple(sorted(named)) for named in owners.values() if len(named) > 1})
    return [
        f"{some(group)} have the same certificate, so each accepts the clients of the others: a wallet was copied, for example with a cloned host. "
        f"Give all but one a wallet of its own: ansible-playbook timesten.monitoring.rotate -e rotate_exporters={','.join(group[1:])}"
        for group in groups
    ]


def unscraped(fleet: Fleet, hosts: Iterable[str]) -> list[str]:
    """Return a problem if exporters of a run have no client, because then nothing proves them."""
    unproven = [
        exporter.name
        for host in hosts
        if host in fleet.exporter_hosts and not fleet.clients_of(host)
        for exporter in fleet.exporter_hosts[host].exporters
        if exporter.state != "stopped"
    ]
    if not unproven:
        return []
    return [
        f"No Prometheus scrapes {some(unproven)}, so nothing proves {'it' if len(unproven) == 1 else 'them'}: exporter_host_prometheus_hosts and "
        "prometheus_host_exporter_hosts have to name each other's hosts. Correct them, set the exporter's state to stopped "
        "(exporter_host_exporters), or take the host out of the inventory."
    ]


def exporter_hosts(fleet: Fleet, hosts: Iterable[str], answers: Mapping[str, ExporterHostAnswer]) -> list[Host]:
    """Return the outcomes of a run's exporter hosts."""
    rows = []
    for host in hosts:
        answer = answers.get(host)
        if answer is None:
            rows.append(Host(host, "exporter", (), NOT_BEGUN))
            continue
        changed = tuple(
            f"{name}: {'; '.join(exporter.why) or 'changed'}"
            for name, exporter in answer.exporters.items()
            if exporter.changed
        )
        failed = grouped((name, exporter.failed) for name, exporter in answer.exporters.items() if exporter.failed)
        # A reason that all exporters of a host share is the host's own reason.
        shared = len(failed) == 1 and len(failed[0][0]) == len(answer.exporters)
        told = [str(text) if shared else f"{some(found_for)}: {text}" for found_for, text in failed]
        reason = "; ".join(told) or answer.failed
        rows.append(Host(host, "exporter", changed or (("changed",) if answer.changed else ()), reason))
    return rows


def prometheus_hosts(
    fleet: Fleet,
    hosts: Iterable[str],
    answers: Mapping[str, PrometheusAnswer],
    only: Mapping[str, Sequence[str]] | None = None,
) -> list[Host]:
    """Return the outcomes of a run's Prometheus hosts.

    :param only: by host, the clients that the run concerns; None means all.
    """
    rows = []
    for host in hosts:
        clients = [
            client.name
            for client in fleet.clients.values()
            if client.host == host and (only is None or client.name in only[host])
        ]
        changed: list[str] = []
        reasons = []
        for client in clients:
            answer = answers.get(client)
            if answer is None:
                reasons.append(NOT_BEGUN if len(clients) == 1 else f"{client}: {NOT_BEGUN}")
                continue
            causes = [f"{name}: {'; '.join(proof.why)}" for name, proof in answer.exporters.items() if proof.why]
            removed = [f"{name}: removed" for name in answer.removed]
            if answer.changed:
                changed += causes + removed or ["changed"]
            asked = fleet.clients[client].is_asked
            # The fault of a single exporter is reported by its pairs.
            told = any(
                not _is_silent(proof, answer) and (proof.failed or proof_fault(proof, asked))
                for proof in answer.exporters.values()
            )
            if answer.failed and not told:
                reasons.append(answer.failed if len(clients) == 1 else f"{client}: {answer.failed}")
        rows.append(Host(host, "prometheus", tuple(changed), "; ".join(reasons) or None))
    return rows


def unattended(answers: Mapping[str, ExporterHostAnswer]) -> list[str]:
    """Return a note of the exporters that nothing starts after a reboot, although the choice was left to their hosts."""
    by_reason: dict[str, list[str]] = {}
    for answer in answers.values():
        for exporter in answer.exporters.values():
            if exporter.unattended is not None:
                by_reason.setdefault(exporter.unattended, []).append(exporter.name)
    return [
        f"Nothing starts {some(exporters)} after a reboot but the next run of timesten.monitoring.site: {reason}. "
        "exporter_host_boot: none says that this is meant so."
        for reason, exporters in by_reason.items()
    ]


def departed(fleet: Fleet, answers: Mapping[str, PrometheusAnswer]) -> list[str]:
    """Return a note of the exporters that a Prometheus still scrapes although they have left the inventory.

    Exporters that this run merely leaves out, or whose host failed, have not left.
    """
    listed = set(fleet.exporters)
    # For hosts that could not be read, the exporters' names are unknown, but their beginnings are known.
    unread = [host for host in fleet.inventory[0] if host not in fleet.exporter_hosts]
    scraped: dict[str, list[str]] = {}
    for client, answer in answers.items():
        for name in answer.unmentioned:
            exporter = names.exporter_of(name)
            if exporter in listed or any(exporter == host or exporter.startswith(f"{host}-") for host in unread):
                continue
            if client not in scraped.setdefault(exporter, []):
                scraped[exporter].append(client)
    if not scraped:
        return []
    told = [
        f"{some(gone)} ({some(clients)})"
        for gone, clients in grouped((n, tuple(c)) for n, c in sorted(scraped.items()))
    ]
    return [
        f"Prometheus also scrapes exporters that are not in this inventory: {'; '.join(told)}. Another inventory's exporters may stay. "
        "To remove one that has left this inventory, run timesten.monitoring.remove -e remove_exporter=<name>; to remove all of them, "
        "run timesten.monitoring.site -e prometheus_host_purge=true."
    ]


# --- text -------------------------------------------------------------------------------------------------------------


def _cells(pair: Pair) -> tuple[str, ...]:
    target = {True: "up", False: "DOWN", None: "-"}[pair.up]
    own = {True: "accepted", False: "REFUSED", None: "-"}[pair.accepted]
    others = {True: "refused", False: "NOT REFUSED", None: "-"}[pair.refused]
    return (target, own, others)


def some(listed: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    if len(listed) <= _NAMES:
        return ", ".join(listed)
    return f"{', '.join(listed[:_NAMES])} and {len(listed) - _NAMES} more"


def _fitting(listed: Sequence[str], everything: int) -> str:
    """Return names within the width of a column."""
    text = ", ".join(listed)
    if len(text) <= _WIDTH:
        return text
    if len(listed) == 1:
        # Names of hosts differ at the beginning, names of instances at the end.
        return f"{text[: _WIDTH // 2 - 2]}...{text[1 - _WIDTH // 2 :]}"
    if len(listed) == everything:
        return f"all {everything}"
    for count in range(len(listed) - 1, 0, -1):
        text = f"{', '.join(listed[:count])} and {len(listed) - count} more"
        if len(text) <= _WIDTH:
            return text
    return f"{len(listed)} of {everything}"


def _table(rows: Sequence[Pair]) -> list[str]:
    """Return the table. If there are many rows, equal rows are merged into one."""
    head = ("exporter", "Prometheus", "target", "own pair", "others", "serves", "first end", "result")
    individual = len(rows) <= _INDIVIDUAL
    groups: dict[tuple[Any, ...], list[Pair]] = {}
    for pair in rows:
        key: tuple[Any, ...] = (pair.client, _cells(pair), pair.state)
        groups.setdefault((*key, pair.exporter) if individual else key, []).append(pair)
    # Clients with the same result for the same exporters share a row.
    shared: dict[tuple[Any, ...], list[list[Pair]]] = {}
    for key, members in groups.items():
        own = (key[0],) if individual else ()
        shared.setdefault((own, key[1], key[2], tuple(pair.exporter for pair in members)), []).append(members)
    exporters, clients = len({pair.exporter for pair in rows}), len({pair.client for pair in rows})
    lines: list[tuple[str, ...]] = [head]
    for (_own, cells, state, named), alike in shared.items():
        members = [pair for group in alike for pair in group]
        served = sorted({pair.served for pair in members if pair.served})
        ends = sorted(pair.expires for pair in members if pair.expires)
        lines.append(
            (
                _fitting(named, exporters),
                _fitting([group[0].client for group in alike], clients),
                *cells,
                served[0][:16] if len(served) == 1 else (f"{len(served)} certificates" if served else "-"),
                ends[0][:10] if ends else "-",
                "NOT PROVEN" if state == "failed" else state,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


_Name = TypeVar("_Name")


def grouped(items: Iterable[tuple[_Name, Any]]) -> list[tuple[list[_Name], Any]]:
    """Return each value once, with the names that have it."""
    groups: dict[Any, list[_Name]] = {}
    for name, value in items:
        groups.setdefault(value, []).append(name)
    return [(members, value) for value, members in groups.items()]


_ALIKE = (
    (re.compile(r"(?<![\w.])/(?:[^\s/:;,()]+/){2,}(?=[^\s/:;,()])"), ".../"),
    (re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{8}(?:-\d+)?"), "..."),
    (re.compile(r"\bprocess \d+"), "the process"),
)
"""Parts of a text that differ from exporter to exporter although the same has happened."""


def _alike(text: str) -> str:
    for pattern, word in _ALIKE:
        text = pattern.sub(word, text)
    return plain(text, 160)


def changes(hosts: Iterable[Host]) -> list[tuple[list[str], str]]:
    """Return each change once, with the hosts that it happened on."""
    rows = []
    changed = [host for host in hosts if host.changed]
    for host in changed:
        texts = [(text.partition(": ")[0], _alike(text.partition(": ")[2] or text)) for text in host.changed]
        told = [f"{text} ({len(members)} exporters)" if len(members) > 1 else text for members, text in grouped(texts)]
        more = f"; {len(told) - 2} other changes" if len(told) > 3 else ""
        rows.append((host.host, "; ".join(told[:2] if more else told) + more))
    return grouped(rows)


def _changes(hosts: Sequence[Host], check_mode: bool) -> list[str]:
    changed = sum(bool(host.changed) for host in hosts)
    if not changed:
        return [f"Nothing {'would change' if check_mode else 'was changed'}."] if hosts else []
    lines = [f"  {some(members)}: {text}" for members, text in changes(hosts)]
    if len(lines) > _CHANGES:
        lines = [*lines[: _CHANGES - 1], f"  and {len(lines) - _CHANGES + 1} more such lines: --diff shows them"]
    return [f"{'Would change' if check_mode else 'Changed'} on {changed} of {len(hosts)} hosts:", *lines]


def _reasons(hosts: Sequence[Host], asked_pairs: Sequence[Pair], rotated: Sequence[str]) -> dict[str, list[str]]:
    told = {host.host: host.reason for host in hosts if host.reason is not None}
    concerned: dict[str, list[str]] = {}
    for names_, reason in grouped(told.items()):
        concerned[str(reason)] = [some(names_)]
    affected: dict[str, dict[str, list[str]]] = {}
    for pair in asked_pairs:
        if pair.state in SATISFIED or pair.reason is None:
            continue
        if pair.because_of in told and pair.reason in told[pair.because_of]:
            continue
        if any(pair.reason.removeprefix(NOT_ROTATED) in line for line in rotated):
            continue
        affected.setdefault(pair.reason, {}).setdefault(pair.exporter, []).append(pair.client)
    for reason, exporters in affected.items():
        for exporter_names, clients in grouped((name, tuple(clients)) for name, clients in exporters.items()):
            concerned.setdefault(reason, []).append(f"{some(exporter_names)} on {some(clients)}")
    return concerned


# --- of a whole run ---------------------------------------------------------------------------------------------------

OPERATIONS = ("site", "verify", "rotate", "rollback", "evict", "remove")
ROTATIONS = ("rotate", "rollback", "evict")


Outcome = Literal["switched", "planned", "left alone", "refused", "went back", "failed"]


@dataclasses.dataclass(frozen=True)
class Rotated:
    """The outcome of one exporter that was to be rotated.

    :ivar good: whether this outcome is what was asked for.
    :ivar pairs: what its clients have proven, if it was switched.
    :ivar evicted: the clients without access now, as far as its host says.
    """

    exporter: str
    host: str
    outcome: Outcome
    text: str
    good: bool
    changed: bool = False
    evicted: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    due: str | None = None
    """UTC time from which on the wallet that it was switched to is to be replaced."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Rotated:
        """Return the object for a result of :func:`dataclasses.asdict`."""
        kept = {**data, "evicted": tuple(data["evicted"]), "pairs": tuple(Pair(**pair) for pair in data["pairs"])}
        return cls(**kept)


def rotations(inventory: Inventory, check_mode: bool) -> list[Rotated]:
    """Return the outcomes of one wave's exporters."""
    fleet, run = inventory.fleet, inventory.run
    wave, only = inventory.wave(), inventory.rotated()
    staged = inventory.staged(wave)
    rows = inventory.rows("timesten_plan" if check_mode else "timesten_go")
    judged = {} if check_mode else inventory.verdicts()
    ended = inventory.exporters(wave, steps.ENDED)
    retired = inventory.exporters(wave, steps.RETIRED)
    left = {} if check_mode else inventory.leaving()
    seen = Seen(staged, inventory.clients(fleet.prometheus_hosts, steps.PROVEN), judged, handover.delivered(fleet))
    entries = []
    for exporter in fleet.exporters.values():
        if exporter.host not in wave or (only is not None and exporter.name not in only):
            continue
        host = staged.get(exporter.host)
        answer = None if host is None else host.exporters.get(exporter.name)
        reason = NOT_BEGUN if host is None else host.failed or "its host did not answer for it"
        if answer is None or answer.failed or answer.rotation is None:
            text = (answer.failed if answer is not None else None) or reason
            entries.append(Rotated(exporter.name, exporter.host, "failed", f"nothing was switched: {text}", False))
            continue
        evicted = tuple(answer.rotation.evicted)
        if answer.rotation.skipped is not None:
            # The inventory and the run decide whether an exporter may be left alone.
            may = exporter.insecure or exporter.state == "stopped" or run.rotate_only_due or bool(run.rotate_since)
            # An exporter without a pair of the evicted client has nothing to do, for example because the client was
            # evicted before.
            may = may or (bool(inventory.evicted) and not set(inventory.evicted).intersection(answer.pairs))
            text = f"left alone: {answer.rotation.skipped}"
            if not may:
                text = f"nothing was switched: its host left it alone although this run did not allow that ({answer.rotation.skipped})"
            outcome: Outcome = "left alone" if may else "failed"
            entries.append(Rotated(exporter.name, exporter.host, outcome, text, may, evicted=evicted))
            continue
        row = rows.get(exporter.name)
        if row is None:
            entries.append(Rotated(exporter.name, exporter.host, "failed", f"nothing was switched: {reason}", False))
            continue
        entries.append(
            dataclasses.replace(
                _rotated(row, judged.get(exporter.name), ended, retired, exporter.name in left, check_mode),
                evicted=evicted,
                due=answer.due_at,
                pairs=()
                if check_mode
                else pairs(fleet, inventory.hosts, seen, check_mode, [exporter.name], inventory.evicted),
            )
        )
    return entries


def _rotated(
    row: Row,
    verdict: Verdict | None,
    ended: Mapping[str, ExporterHostAnswer],
    retired: Mapping[str, ExporterHostAnswer],
    leaves: bool,
    check_mode: bool,
) -> Rotated:
    servers = f"servers {', '.join(row.servers) or 'none'}"
    new = LATER if row.new_sha256 in (None, LATER) else str(row.new_sha256)[:16]
    change = f"{str(row.old_sha256 or 'unknown')[:16]} -> {new}, {servers}"
    timing = f"{row.window:.2f} s expected, gap {'any' if row.gap >= 1e6 else f'{row.gap:.2f} s'}"
    if check_mode:
        if row.refused is not None:
            return Rotated(row.exporter, row.host, "refused", f"would be refused: {row.refused}", False)
        how = "on its other port" if row.strategy == SPARE_PORT else timing
        return Rotated(row.exporter, row.host, "planned", f"would be switched, {change}, {how}", True, True)
    if row.refused is not None:
        text = f"not switched, and nothing live was changed: {row.refused}"
        return Rotated(row.exporter, row.host, "refused", text, False)
    if verdict is None:
        return Rotated(row.exporter, row.host, "failed", "the outcome of its switch was not judged", False, True)
    said, silent = _last_word(row, ended)
    # With the strategy spare_port a rotation ends when one of the two processes ends.
    gone, unheard = _last_word(row, retired)
    if verdict.action == "confirm" and said == "confirmed":
        took = "" if verdict.window is None else f", took {verdict.window:.2f} s of {timing}"
        if verdict.leaves:
            port = "usual" if row.job == row.exporter else "spare"
            took = (
                "" if verdict.window is None else f", on its {port} port, where it served after {verdict.window:.2f} s"
            )
            if not leaves or gone != "confirmed":
                text = f"switched, {change}{took}, but the process on its other port may still run: {unheard}"
                return Rotated(row.exporter, row.host, "failed", text, False, True)
        return Rotated(row.exporter, row.host, "switched", f"switched, {change}{took}", True, True)
    if verdict.leaves and gone == "reverted":
        said = gone
    reason = verdict.reason or f"its host has not said that it keeps the switch ({silent})"
    if verdict.action == "release" and verdict.status == "missed":
        return Rotated(row.exporter, row.host, "refused", f"not switched: {reason}", False)
    if said == "reverted" or (verdict.action == "release" and verdict.status == "reverted"):
        text = f"went back to the generation before, as its host says: {reason}"
        return Rotated(row.exporter, row.host, "went back", text, False, True)
    if verdict.action == "release":
        text = f"the switch failed: {reason}; what it serves now was not seen: run timesten.monitoring.verify"
        return Rotated(row.exporter, row.host, "failed", text, False, True)
    text = f"{reason}; what it serves now was not seen: it goes back by itself, run timesten.monitoring.verify after {row.confirm:.0f} s"
    return Rotated(row.exporter, row.host, "failed", text, False, True)


def _last_word(row: Row, answers: Mapping[str, ExporterHostAnswer]) -> tuple[str | None, str]:
    """Return the status in a host's answer about an exporter, and what to report if it is not the expected one."""
    host = answers.get(row.host)
    answer = None if host is None else host.exporters.get(row.exporter)
    if answer is None:
        return None, (host.failed if host else None) or "its host did not answer"
    return answer.status, answer.failed or answer.error or f"its host says {answer.status}"


def of_run(operation: str, inventory: Inventory, check_mode: bool) -> Ledger:
    """Return the ledger of a run."""
    made = _of_run(operation, inventory, check_mode)
    # Ansible itself may have failed a task before any of ours began, for example because of a variable that says how to connect.
    unfinished = {host.host for host in made.failed_hosts if NOT_BEGUN in str(host.reason)}
    troubles = {host: reason for host in unfinished if (reason := inventory.trouble(host)) is not None}
    if not troubles:
        return made

    def why(reason: str | None, host: str | None) -> str | None:
        return reason if reason is None or host not in troubles else reason.replace(NOT_BEGUN, troubles[host])

    return dataclasses.replace(
        made,
        hosts=tuple(dataclasses.replace(host, reason=why(host.reason, host.host)) for host in made.hosts),
        pairs=tuple(dataclasses.replace(pair, reason=why(pair.reason, pair.because_of)) for pair in made.pairs),
    )


def _of_run(operation: str, inventory: Inventory, check_mode: bool) -> Ledger:
    fleet = inventory.fleet
    exporter_names = [host for host in fleet.exporter_hosts if host in inventory.hosts]
    prometheus_names = [host for host in fleet.prometheus_hosts if host in inventory.hosts]
    if operation in ROTATIONS:
        return _of_rotation(operation, inventory, check_mode)
    if operation == "remove":
        return _of_removal(inventory, check_mode)
    clients = inventory.clients(prometheus_names, steps.ANSWERED)
    if operation == "verify":
        known = Seen(None, clients, delivered=handover.delivered(fleet))
        asked_pairs = pairs(fleet, [*inventory.hosts, *fleet.exporter_hosts], known, check_mode=False)
        if not set(exporter_names) >= set(fleet.exporter_hosts):
            mine = {name for name, exporter in fleet.exporters.items() if exporter.host in inventory.hosts}
            asked_pairs = tuple(pair for pair in asked_pairs if not exporter_names or pair.exporter in mine)
        problems = [*same_certificates({}, asked_pairs), *unscraped(fleet, exporter_names or fleet.exporter_hosts)]
        hosts = prometheus_hosts(fleet, prometheus_names, clients)
        listed = {pair.exporter for pair in asked_pairs}
        facts = tuple(item for item in described(fleet, fleet.exporter_hosts, {}, {}) if item.exporter in listed)
        notes = tuple(of_itself(fleet, asked_pairs))
        return Ledger(operation, check_mode, asked_pairs, tuple(hosts), (), tuple(problems), notes, facts)
    converged = inventory.exporters(exporter_names, steps.CONVERGED)
    inspected = inventory.clients(prometheus_names, steps.INSPECTED)
    # A host that was not converged gave its reason when it was inspected.
    answered = {**{name: answer for name, answer in inspected.items() if answer.failed}, **clients}
    rotated = [Rotated.from_dict(item) for item in inventory.registered("timesten_rotated").get("entries") or []]
    seen = Seen(converged, answered, delivered=handover.delivered(fleet))
    asked_pairs = pairs(fleet, inventory.hosts, seen, check_mode)
    done = {entry.exporter for entry in rotated if entry.pairs or not entry.good}
    kept = [pair for pair in asked_pairs if pair.exporter not in done]
    for entry in rotated:
        kept += entry.pairs if entry.good else _unrotated(entry, asked_pairs)
    hosts = [*exporter_hosts(fleet, exporter_names, converged), *prometheus_hosts(fleet, prometheus_names, answered)]
    return Ledger(
        operation,
        check_mode,
        tuple(kept),
        tuple(hosts),
        tuple(f"{entry.exporter}: {entry.text}" for entry in rotated),
        (*same_certificates(converged, kept), *unscraped(fleet, exporter_names), *_unwritten(inventory)),
        (
            *unattended(converged),
            *of_itself(fleet, kept),
            *repointed(fleet, inspected),
            *departed(fleet, clients),
            *_left_behind(inventory, rotated, check_mode),
            *_around(inventory),
        ),
        _renewed(described(fleet, exporter_names, converged, inspected), rotated),
    )


def _renewed(known: Iterable[Known], entries: Iterable[Rotated]) -> tuple[Known, ...]:
    """Return what is known of exporters after a rotation: what was switched has another wallet since."""
    dues = {entry.exporter: entry.due for entry in entries if entry.outcome == "switched"}
    return tuple(dataclasses.replace(item, due=dues.get(item.exporter, item.due)) for item in known)


def _unwritten(inventory: Inventory) -> list[str]:
    """Return why a rotation could not write the outsiders' pairs."""
    return list(inventory.registered("timesten_rotated").get("problems") or [])


def _around(inventory: Inventory) -> list[str]:
    """Return notes about silences and annotations."""
    return list(inventory.registered("timesten_rotated").get("notes") or [])


def _left_behind(inventory: Inventory, rotated: Iterable[Rotated], check_mode: bool) -> list[str]:
    switched = [entry.exporter for entry in rotated if entry.outcome in ("switched", "planned")]
    return handover.down(inventory.fleet, switched, inventory.evicted, check_mode)


def _unrotated(entry: Rotated, asked_pairs: Iterable[Pair]) -> list[Pair]:
    return [
        dataclasses.replace(pair, state="failed", reason=f"{NOT_ROTATED}{entry.text}")
        for pair in asked_pairs
        if pair.exporter == entry.exporter
    ]


def repointed(fleet: Fleet, inspected: Mapping[str, PrometheusAnswer]) -> list[str]:
    """Return a note of the exporters that had another target before this run, because two inventories may use the same
    name.
    """
    moved: dict[tuple[str, str, str], list[str]] = {}
    exporters = fleet.exporters
    for client, answer in inspected.items():
        for name, known in answer.definitions.items():
            exporter = exporters.get(names.exporter_of(name))
            targets = None if exporter is None else moves.moved(exporter, known)
            if exporter is not None and targets is not None:
                moved.setdefault((exporter.name, *targets), []).append(client)
    return [
        f"{name} was scraped at {before} ({', '.join(clients)}), this inventory says {after}. If another inventory gives its own exporter this name, "
        "rename one"
        for (name, before, after), clients in sorted(moved.items())
    ]


def of_itself(fleet: Fleet, asked_pairs: Iterable[Pair]) -> list[str]:
    """Return a note of exporters that are not proven and whose address is that of whoever asks."""
    named: dict[str, list[str]] = {}
    exporters, clients = fleet.exporters, fleet.clients
    for pair in asked_pairs:
        exporter, client = exporters.get(pair.exporter), clients.get(pair.client)
        if exporter is None or client is None or pair.state in SATISFIED or exporter.host == client.host:
            continue
        if names.is_loopback(exporter.address):
            named.setdefault(exporter.address, []).append(pair.exporter)
    return [
        f"{some(list(dict.fromkeys(exporters)))}: {address} is for each Prometheus host that host itself. Set exporter_host_address to the name or address "
        "under which they reach the exporter host."
        for address, exporters in named.items()
    ]


def _of_rotation(operation: str, inventory: Inventory, check_mode: bool) -> Ledger:
    fleet, run = inventory.fleet, inventory.run
    entries = [Rotated.from_dict(item) for item in inventory.registered("timesten_rotated").get("entries") or []]
    told = {entry.exporter for entry in entries}
    only = inventory.rotated()
    waves = set(run.rotate_hosts or fleet.exporter_hosts)
    missing = [
        exporter
        for exporter in fleet.exporters.values()
        if exporter.name not in told
        and exporter.host in inventory.hosts
        and exporter.host in waves
        and (only is None or exporter.name in only)
    ]
    problems = []
    if missing:
        reason = "because an earlier one failed" if entries else "for no step of the rotation ran (--tags?)"
        problems.append(f"Not begun, {reason}: {some([exporter.name for exporter in missing])}.")
    if not entries and not missing:
        problems.append("Nothing was rotated: no exporter of this run was named.")
    evicted = inventory.evicted
    known = {client for entry in entries for client in entry.evicted}
    if operation == "evict" and entries and all(entry.good for entry in entries) and not set(evicted) <= known:
        problems.append(
            f"No exporter of this run has issued a pair to {', '.join(evicted)}, so it had no access. The clients are named after their hosts "
            f"({', '.join(fleet.prometheus_hosts)}), with the instance where a host has several (<host>-<instance>)."
        )
    by_host: dict[str, list[Rotated]] = {}
    for entry in entries:
        by_host.setdefault(entry.host, []).append(entry)
    hosts = [
        Host(
            host,
            "exporter",
            tuple(f"{entry.exporter}: {entry.outcome}" for entry in items if entry.changed),
            "; ".join(f"{entry.exporter} was not rotated" for entry in items if not entry.good) or None,
        )
        for host, items in by_host.items()
    ]
    hosts += _not_cleared(inventory)
    return Ledger(
        operation,
        check_mode,
        tuple(pair for entry in entries if entry.outcome == "switched" for pair in entry.pairs),
        tuple(hosts),
        tuple(f"{entry.exporter}: {entry.text}" for entry in entries),
        (*problems, *_unwritten(inventory)),
        (*_left_behind(inventory, entries, check_mode), *_around(inventory)),
        exporters=tuple(
            item
            for item in _renewed(
                described(fleet, by_host, {}, inventory.clients(fleet.prometheus_hosts, steps.INSPECTED)), entries
            )
            if item.exporter in told
        ),
    )


def _not_cleared(inventory: Inventory) -> list[Host]:
    """Return the Prometheus hosts on which the end of a rotation failed."""
    fleet, run, hosts = inventory.fleet, inventory.run, []
    left = inventory.clients(fleet.prometheus_hosts, steps.LEFT)
    released = inventory.clients(fleet.prometheus_hosts, steps.RELEASED)
    for host, known_host in fleet.prometheus_hosts.items():
        reasons = [
            text
            for client in known_host.clients
            if host in inventory.hosts
            and client.name not in run.rotate_optional
            and client.name not in inventory.evicted
            for text in (
                _failed(
                    left.get(client.name),
                    f"the exporters are on their new port, and {client.name} scrapes it, but it still has the job of the old one, whose target "
                    "is down. Mend this and run timesten.monitoring.site, which removes it",
                ),
                _failed(released.get(client.name), "what the rotation has left there was not cleared away"),
            )
            if text
        ]
        if reasons:
            hosts.append(Host(host, "prometheus", (), "; ".join(reasons)))
    return hosts


def _failed(answer: PrometheusAnswer | None, what: str) -> str | None:
    return None if answer is None or not answer.failed else f"{what}: {answer.failed}"


def _of_removal(inventory: Inventory, check_mode: bool) -> Ledger:
    fleet, removal = inventory.fleet, inventory.removal()
    exporters = inventory.exporters(removal.exporters, steps.CONVERGED)
    clients = inventory.clients(removal.clients, steps.ANSWERED)
    hosts = [
        *prometheus_hosts(
            fleet, [host for host, known in removal.clients.items() if known], clients, only=removal.clients
        ),
        *exporter_hosts(fleet, [host for host, known in removal.exporters.items() if known], exporters),
    ]
    problems = list(removal.problems)
    if removal.forget and removal.unlisted and not problems and exporters:
        known = [exporter for answer in exporters.values() for exporter in answer.exporters.values()]
        if not any(exporter.forgotten for exporter in known):
            have = sorted({client for exporter in known for client in exporter.clients})
            problems.append(
                f"there is no client {', '.join(removal.forget)}, neither in the inventory nor with a pair of an exporter of this run; nothing was "
                f"changed. Those with a pair are {', '.join(have) or 'none'}."
            )
    # Advice about further steps is given once the rest is done.
    done = not problems and all(host.reason is None for host in hosts)
    return Ledger("remove", check_mode, (), tuple(hosts), (), tuple(problems), removal.advice if done else ())
