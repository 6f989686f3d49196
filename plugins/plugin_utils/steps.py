# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes a step's answer to the next step, by the name of the variable that its task registers.

An answer is registered after it was parsed, together with what was asked, and parsed again when it is read. A variable
of the same name from elsewhere is therefore no answer. The answer has a key of its own, so a host's failure does not
fail the task and the run.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Collection, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, words
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import (
    ExporterAnswer,
    ExporterHostAnswer,
    PrometheusAnswer,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Clock

INSPECTED = "prometheus_host_inspected"
CONVERGED = "exporter_host_answer"
ANSWERED = "prometheus_host_answer"
STAGED = "exporter_host_staged"
DELIVERED = "prometheus_host_delivered"
FOLLOWING = "prometheus_host_following"
SWITCHED = "exporter_host_switched"
PROVEN = "prometheus_host_proven"
ENDED = "exporter_host_ended"
RELEASED = "prometheus_host_released"
LEFT = "prometheus_host_left"
RETIRED = "exporter_host_retired"
LOOKED = "prometheus_host_looked"

ANSWERS = (
    INSPECTED,
    CONVERGED,
    ANSWERED,
    STAGED,
    DELIVERED,
    FOLLOWING,
    SWITCHED,
    PROVEN,
    ENDED,
    RELEASED,
    LEFT,
    RETIRED,
    LOOKED,
)
REGISTERED = frozenset(
    (
        *ANSWERS,
        "timesten_wave",
        "timesten_plan",
        "timesten_go",
        "timesten_verdicts",
        "timesten_leaving",
        "timesten_rotated",
    )
)
"""Names that tasks of this collection register. They are not variables of an inventory."""

Hostvars = Mapping[str, Mapping[str, Any]]

_readings = [0]


def begin() -> None:
    """Begin a playbook of this collection; what earlier ones of the same ansible-playbook have registered is no answer any more.

    Called in Ansible's main process, where the inventory is read; the processes of the tasks are forked from that and inherit it.
    """
    _readings[0] += 1


def reading() -> int:
    """Return the number of the playbook that runs, as each task registers it."""
    return _readings[0]


def current(registered: Any) -> Any:
    """Return what a task has registered; None if that was in an earlier playbook of the same ansible-playbook."""
    if isinstance(registered, Mapping) and registered.get("reading", _readings[0]) != _readings[0]:
        return None
    return registered


def exporter_answer(registered: Any, host: str) -> ExporterHostAnswer | None:
    """Return the answer that a task of an exporter host has registered; None if there is none.

    If a task called the module several times for different exporters, the answers are merged into one.
    """
    if not isinstance(registered, Mapping) or not isinstance(registered.get("calls"), list):
        return None
    whole: ExporterHostAnswer | None = None
    for call in registered["calls"]:
        try:
            answer = answers.parse_exporter_host(call["answer"], host=host, **call["asked"])
        except answers.Nonsense:
            continue
        whole = answer if whole is None else joined(whole, answer)
    return None if whole is None else _exporters_in_words(whole)


def _exporters_in_words(answer: ExporterHostAnswer) -> ExporterHostAnswer:
    """Return an answer whose reasons use the role's variables instead of options."""

    def said(text: str | None) -> str | None:
        return None if text is None else words.in_words(text, words.EXPORTER)

    named = {
        name: dataclasses.replace(
            item, failed=said(item.failed), error=said(item.error), unattended=said(item.unattended)
        )
        if item.failed or item.error or item.unattended
        else item
        for name, item in answer.exporters.items()
    }
    return dataclasses.replace(answer, failed=said(answer.failed), exporters=named)


def _client_in_words(answer: PrometheusAnswer) -> PrometheusAnswer:
    """Return an answer whose reasons use the role's variables instead of options."""

    def said(text: str) -> str:
        return words.in_words(text, words.PROMETHEUS)

    named = {
        name: dataclasses.replace(proof, failed=proof.failed and said(proof.failed), advice=said(proof.advice))
        if proof.failed or proof.advice
        else proof
        for name, proof in answer.exporters.items()
    }
    return dataclasses.replace(answer, failed=answer.failed and said(answer.failed), exporters=named)


def joined(one: ExporterHostAnswer, other: ExporterHostAnswer) -> ExporterHostAnswer:
    """Return two answers of one host as one. If both contain an exporter, the later one counts."""
    return dataclasses.replace(
        other,
        changed=one.changed or other.changed,
        failed="; ".join(dict.fromkeys(text for text in (one.failed, other.failed) if text)) or None,
        warnings=one.warnings + other.warnings,
        exporters={**one.exporters, **other.exporters},
        diff={**one.diff, **other.diff},
    )


def nonsense(error: answers.Nonsense) -> str:
    """Return what is wrong with an answer, so that nobody takes it for a variable of the inventory."""
    return str(error) if str(error).startswith("the answer") else f"the answer's {error}"


def failed_host(host: str, phase: answers.Phase, exporters: Iterable[str], reason: str) -> ExporterHostAnswer:
    """Return an answer for an exporter host that could not answer itself."""
    named = {name: ExporterAnswer(name, phase, False, reason) for name in exporters}
    return ExporterHostAnswer(host, phase, False, reason, (), named, {})


def with_failures(answer: ExporterHostAnswer, refused: Mapping[str, str]) -> ExporterHostAnswer:
    """Return an answer in which some exporters failed because they were not called at all."""
    failed = {name: ExporterAnswer(name, answer.phase, False, reason) for name, reason in refused.items()}
    told = "; ".join(
        [*([answer.failed] if answer.failed else []), *(f"{name}: {text}" for name, text in refused.items())]
    )
    return dataclasses.replace(answer, failed=told or None, exporters={**answer.exporters, **failed})


def failed_client(host: str, state: answers.State, client: str, reason: str) -> PrometheusAnswer:
    """Return an answer for a client that could not answer itself."""
    return PrometheusAnswer(host, state, client, False, reason)


def prometheus_answers(registered: Any, host: str, only: Collection[str] | None = None) -> dict[str, PrometheusAnswer]:
    """Return the answers that a task of a Prometheus host has registered, by client; see :func:`clients` for ``only``."""
    if not isinstance(registered, Mapping) or not isinstance(registered.get("clients"), list):
        return {}
    by_client = {}
    for item in registered["clients"]:
        try:
            told = item["answer"] if only is None else _of(item["answer"], only)
            answer = answers.parse_prometheus_host(told, host=host, **item["asked"])
            by_client[item["asked"]["client"]] = _client_in_words(answer)
        except answers.Nonsense:
            continue
    return by_client


def _registered(hostvars: Hostvars, host: str, step: str) -> Any:
    """Return what a task has registered on a host.

    It contains no template, but Ansible's hostvars would search each value for one, each time a host reads it.
    """
    if host not in hostvars:
        return None
    raw = getattr(hostvars, "raw_get", None)
    variables = hostvars[host] if raw is None else raw(host)
    return current(variables.get(step)) if isinstance(variables, Mapping) else None


def trouble(hostvars: Hostvars, host: str) -> str | None:
    """Return why a task of ours failed although it never does: Ansible could not begin it; None if none failed."""
    for step in ANSWERS:
        registered = _registered(hostvars, host, step)
        if isinstance(registered, Mapping) and (registered.get("failed") or registered.get("unreachable")):
            return answers.reason(registered)
    return None


def exporters(hostvars: Hostvars, hosts: Iterable[str], step: str) -> dict[str, ExporterHostAnswer]:
    """Return the answers of a step of the exporter hosts, by host. Hosts that did not reach the step are left out."""
    by_host = {}
    for host in hosts:
        answer = exporter_answer(_registered(hostvars, host, step), host)
        if answer is not None:
            by_host[host] = answer
    return by_host


def staged(hostvars: Hostvars, hosts: Iterable[str]) -> dict[str, ExporterHostAnswer]:
    """Return what the exporter hosts of a wave made ready, with what is known of its certificates since it is served."""
    seen = exporters(hostvars, hosts, SWITCHED)
    return {
        host: answer if host not in seen else dataclasses.replace(answer, exporters=_as_served(answer, seen[host]))
        for host, answer in exporters(hostvars, hosts, STAGED).items()
    }


def _as_served(ready: ExporterHostAnswer, seen: ExporterHostAnswer) -> dict[str, ExporterAnswer]:
    rows = dict(ready.exporters)
    for name, served in seen.exporters.items():
        # A host that is silent about it has said before what it knows.
        if name in rows and served.generation == rows[name].generation and served.server_certificate is not None:
            told = {key: getattr(served, key) for key in answers.CERTIFICATES}
            rows[name] = dataclasses.replace(rows[name], **told)
    return rows


def _of(answer: Mapping[str, Any], only: Collection[str]) -> dict[str, Any]:
    """Return the part of a fleet's answer that concerns some jobs."""
    parts = {
        key: answer.get(key) for key in ("stored", "definitions", "scrape_intervals", "in_the_way", "scrapes_by_hand")
    }
    return {
        **answer,
        **{
            key: {name: part[name] for name in only if name in part}
            for key, part in parts.items()
            if isinstance(part, Mapping)
        },
        "other_definitions": {},
    }


def clients(
    hostvars: Hostvars, hosts: Iterable[str], step: str, only: Collection[str] | None = None
) -> dict[str, PrometheusAnswer]:
    """Return the answers of a step of the Prometheus hosts, by client. Clients that did not reach the step are left
    out.

    :param only: the jobs of the host that asks. Otherwise every host would read the answers about all other hosts.
    """
    by_client: dict[str, PrometheusAnswer] = {}
    for host in hosts:
        by_client.update(prometheus_answers(_registered(hostvars, host, step), host, only))
    return by_client


def clock(hostvars: Hostvars, host: str, step: str) -> Clock:
    """Return the clock that a step has measured on a host; the controller's own if it has measured none."""
    registered = _registered(hostvars, host, step)
    measured = registered.get("clock") if isinstance(registered, Mapping) else None
    return Clock(**measured) if measured else Clock()
