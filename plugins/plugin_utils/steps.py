# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one step of a run hands its answer to the next: by the name of the variable that its task registers.

An answer is registered after it was parsed, beside what was asked, and is parsed once more when it is read: whatever else has that name is no
answer. It stands below a key of its own, so that a host's failure does not fail the task, and with it the run.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer, PrometheusAnswer
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

REGISTERED = frozenset(
    (
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
        "timesten_plan",
        "timesten_go",
        "timesten_verdicts",
        "timesten_leaving",
    )
)
"""Names that tasks of this collection register: no variables of an inventory."""

Hostvars = Mapping[str, Mapping[str, Any]]


def exporter_answer(registered: Any, host: str) -> ExporterHostAnswer | None:
    """Return the answer in what a task of an exporter host has registered; None if there is none."""
    if not isinstance(registered, Mapping) or "asked" not in registered:
        return None
    asked = registered["asked"]
    try:
        return answers.parse_exporter_host(
            registered["answer"],
            phase=asked["phase"],
            host=host,
            exporters=asked["exporters"],
            clients=asked["clients"],
            check_mode=asked["check_mode"],
        )
    except answers.Nonsense:
        return None


def prometheus_answers(registered: Any, host: str) -> dict[str, PrometheusAnswer]:
    """Return the answers in what a task of a Prometheus host has registered, by client."""
    if not isinstance(registered, Mapping) or not isinstance(registered.get("clients"), list):
        return {}
    found = {}
    for item in registered["clients"]:
        asked = item["asked"]
        try:
            found[asked["client"]] = answers.parse_prometheus_host(
                item["answer"],
                state=asked["state"],
                host=host,
                client=asked["client"],
                exporters=asked["exporters"],
                check_mode=asked["check_mode"],
            )
        except answers.Nonsense:
            continue
    return found


def exporters(hostvars: Hostvars, hosts: Iterable[str], step: str) -> dict[str, ExporterHostAnswer]:
    """Return the answers of a step of the exporter hosts, by host; hosts that did not get there are left out."""
    found = {}
    for host in hosts:
        answer = exporter_answer(hostvars[host].get(step), host) if host in hostvars else None
        if answer is not None:
            found[host] = answer
    return found


def clients(hostvars: Hostvars, hosts: Iterable[str], step: str) -> dict[str, PrometheusAnswer]:
    """Return the answers of a step of the Prometheus hosts, by client; clients that did not get there are left out."""
    found: dict[str, PrometheusAnswer] = {}
    for host in hosts:
        if host in hostvars:
            found.update(prometheus_answers(hostvars[host].get(step), host))
    return found


def clock(hostvars: Hostvars, host: str, step: str) -> Clock:
    """Return the clock that a step has measured on a host; the controller's own where it has not."""
    registered = hostvars[host].get(step) if host in hostvars else None
    measured = registered.get("clock") if isinstance(registered, Mapping) else None
    return Clock(**measured) if measured else Clock()
