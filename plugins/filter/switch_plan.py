# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: when each exporter of a wave may switch to its new generation without losing a scrape."""

from __future__ import annotations

DOCUMENTATION = r"""
name: switch_plan
short_description: When each exporter may switch to its new generation without losing a scrape
version_added: 0.1.0
description:
  - From the last scrape and the interval of every Prometheus server, the measured time of a restart, and the differences between the
    hosts' clocks, finds the moments at which the switch fits between two scrapes.
  - An exporter for which there is none is refused, with the numbers.
positional: exporter_hosts, prometheus_hosts
options:
  _input:
    description: The magic variable C(hostvars), with the facts that the steps of the playbook C(timesten.monitoring.rotate) have set.
    type: dict
    required: true
  exporter_hosts:
    description: Names of the exporter hosts of the wave.
    type: list
    elements: str
    required: true
  prometheus_hosts:
    description: Names of the Prometheus hosts of the run.
    type: list
    elements: str
    required: true
  optional:
    description: Clients that may fail to take part.
    type: list
    elements: str
    default: []
  lead:
    description: Seconds until the first moment, for the hosts to get ready.
    type: float
    default: 2.0
  confirm:
    description: Seconds after the switch at which it is taken back if nobody has confirmed it, on top of three scrape intervals.
    type: float
    default: 120.0
"""

EXAMPLES = r"""
- name: Choose the moments
  ansible.builtin.set_fact:
    plan: "{{ hostvars | timesten.monitoring.switch_plan(['exp1'], groups['prometheus_servers']) }}"
"""

RETURN = r"""
_value:
  description:
    - By name of the exporter C(host), C(generation), C(window) (seconds that the switch may take), C(gap) (seconds of the largest gap between
      scrapes), C(servers), C(strategy), C(job) (its name on the Prometheus hosts), and either C(moments) and C(deadline) by the clock of the
      controller, and C(period); or C(refused), the reason. With the strategy C(spare_port) there is no moment to wait for.
  type: dict
  sample: {"exp1": {"host": "exp1", "generation": "20261124T104900Z-1a2b3c4d", "window": 0.7, "gap": 7.2, "moments": [1795517344.52]}}
"""

import time
from typing import Any, Callable, Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names

Hostvars = Mapping[str, Mapping[str, Any]]
Plan = Mapping[str, Mapping[str, Any]]

SPARE_PORT = "spare_port"
"""The strategy that restarts nothing; the other one is ``gap``."""

_BEFORE = 0.05
"""Seconds kept free before a scrape begins."""
_AFTER = 0.1
"""Seconds kept free after a scrape should have ended."""
_REACTION = 0.2
"""Seconds that a Prometheus host needs to see the new certificate and to make its delivery current."""
_LONGER = 1.5
"""The next restart may take longer than those that were measured by this factor."""
_MOMENTS = 12


def gaps(scrapes: Iterable[Mapping[str, Any]], start: float, end: float) -> list[tuple[float, float]]:
    """Return the times between scrapes as (begin, end), in order.

    :param scrapes: dicts with ``scraped`` (start of one scrape), ``took``, ``interval``, ``uncertainty`` (seconds each, one clock).
    :param start: seconds since the epoch, by that clock.
    """
    busy = []
    for scrape in scrapes:
        interval, slack = scrape["interval"], scrape.get("uncertainty", 0.0)
        length = max(2 * scrape["took"], scrape["took"] + _AFTER) + slack
        number = int((start - scrape["scraped"]) // interval)
        while scrape["scraped"] + number * interval < end + interval:
            begin = scrape["scraped"] + number * interval
            busy.append((begin - _BEFORE - slack, begin + length))
            number += 1
    found, free_from = [], start
    for begin, finish in sorted(busy):
        if begin > free_from:
            found.append((free_from, begin))
        free_from = max(free_from, finish)
    return [gap for gap in found if gap[0] < end]


def switch_moments(
    scrapes: Sequence[Mapping[str, Any]], window: float, start: float, force: bool = False, count: int = _MOMENTS
) -> tuple[list[float], float]:
    """Return up to ``count`` moments from ``start`` on at which ``window`` seconds are free, and the seconds of the largest gap.

    The moments are the beginnings of the gaps that are nearly as large as the largest, so that a switch that takes longer than it should has
    the most room.
    """
    if not scrapes:
        return [start + number * 5.0 for number in range(count)], float("inf")
    longest = max(scrape["interval"] for scrape in scrapes)
    horizon = start + max(60.0, 4 * longest)
    found = gaps(scrapes, start, horizon)
    # The first one begins at start, in the middle of a gap.
    largest = max((end - begin for begin, end in found[1:]), default=0.0)
    needed = 0.8 * largest if force else max(window, 0.8 * largest)
    moments = [begin for begin, end in found if end - begin >= needed]
    return moments[:count], largest


def _refusal(
    window: float, largest: float, scrapes: Mapping[str, Mapping[str, Any]], has_spare_port: bool | None
) -> str:
    intervals = ", ".join(f"{name} every {scrape['interval']:g} s" for name, scrape in sorted(scrapes.items()))
    return (
        f"the switch may take {window:.2f} s, and the largest gap between the scrapes ({intervals}) is {largest:.2f} s, so a scrape could be lost. "
        + ("" if has_spare_port else "Define a spare_port for it (exporter_host_spare_port) and run")
        + ("Run" if has_spare_port else "")
        + " again with rotate_strategy=spare_port, which restarts nothing; or choose a longer scrape_interval, or fewer servers; or accept the loss "
        "with rotate_force=true"
    )


def _by_client(hostvars: Hostvars, prometheus_hosts: Sequence[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The last answer of each client, with its host."""
    found = {}
    for host in prometheus_hosts:
        for item in (hostvars[host].get("prometheus_host_result") or {}).get("results") or []:
            found[item.get("name") or item.get("prometheus_host_client")] = (host, item)
    return found


def switch_plan(
    hostvars: Hostvars,
    exporter_hosts: Sequence[str],
    prometheus_hosts: Sequence[str],
    optional: Sequence[str] = (),
    lead: float = 2.0,
    confirm: float = 120.0,
    force: bool = False,
    now: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Return what each exporter of the wave may do when."""
    start = (time.time() if now is None else now) + lead
    clients = _by_client(hostvars, prometheus_hosts)
    plan: dict[str, dict[str, Any]] = {}
    for host in exporter_hosts:
        clock = hostvars[host].get("rotate_clock") or {}
        for answer in (hostvars[host].get("rotate_staged") or {}).get("exporters") or []:
            if answer.get("failed") or "skipped" in answer["rotation"]:
                continue
            rotation = answer["rotation"]
            row = plan[answer["name"]] = {"host": host, "generation": rotation["to"], "rotation": rotation}
            row["strategy"] = rotation.get("strategy", "gap")
            job = row["job"] = _names.on_port(answer["name"], bool(answer.get("spare")))
            scrapes, missing = {}, []
            for name in rotation["clients"]:
                client_host, item = clients.get(name, ("", {}))
                if "scrapes" not in item:
                    if name not in optional:
                        missing.append(f"{name} could not be made ready ({item.get('msg', 'it was not reached')})")
                    continue
                scrape = item["scrapes"].get(job)
                if scrape is not None:
                    own = hostvars[client_host].get("rotate_clock") or {}
                    slack = own.get("uncertainty", 0.0) + clock.get("uncertainty", 0.0)
                    scrapes[name] = {
                        **scrape,
                        "scraped": scrape["scraped"] - own.get("offset", 0.0),
                        "uncertainty": slack,
                    }
            window = rotation["restart_seconds"] * _LONGER + _REACTION
            moments, largest = switch_moments(list(scrapes.values()), window, start, force)
            beside = row["strategy"] == SPARE_PORT
            row.update(window=round(window, 3), gap=round(min(largest, 1e6), 3), servers=sorted(scrapes))
            if missing:
                row["refused"] = "; ".join(missing)
            elif not moments and not beside:
                row["refused"] = _refusal(window, largest, scrapes, rotation.get("has_spare_port"))
            else:
                intervals = {scrape["interval"] for scrape in scrapes.values()}
                longest = max(intervals, default=0.0)
                # Where nothing is restarted, there is nothing to wait for.
                row["moments"] = [] if beside else [round(moment, 4) for moment in moments]
                row["period"] = intervals.pop() if len(intervals) == 1 else None
                row["confirm"] = confirm + 3 * longest
                last = start + 2 * row["confirm"] if beside else moments[-1]
                row["deadline"] = round(last + row["confirm"], 3)
    return plan


def switch_orders(plan: Plan, clock: Mapping[str, Any], following: bool = False) -> dict[str, dict[str, Any]]:
    """Return what one host has to know of a plan, by its own clock.

    :param following: for a Prometheus host, which knows the exporters by their jobs, and follows only those that are restarted.
    """
    offset = (clock or {}).get("offset", 0.0)
    return {
        (row["job"] if following else name): {
            "generation": row["generation"],
            "moments": [round(moment + offset, 4) for moment in row["moments"]],
            "deadline": row["deadline"] + offset,
            "confirm": row["confirm"],
            "period": row["period"],
            "strategy": row["strategy"],
        }
        for name, row in plan.items()
        if "moments" in row and not (following and row["strategy"] == SPARE_PORT)
    }


def switch_go(
    plan: Plan, hostvars: Hostvars, prometheus_hosts: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the plan with those exporters refused that a client does not follow."""
    following = {name: item for name, (_host, item) in _by_client(hostvars, prometheus_hosts).items()}
    go = {}
    for name, row in plan.items():
        go[name] = dict(row)
        if "refused" in row or row["strategy"] == SPARE_PORT:
            continue
        silent = [
            f"{client} does not follow ({following.get(client, {}).get('msg', 'it could not be reached any more')})"
            for client in row["rotation"]["clients"]
            if client not in optional and row["job"] not in (following.get(client, {}).get("following") or [])
        ]
        if silent:
            go[name]["refused"] = "; ".join(silent)
            del go[name]["moments"]
    return go


def switch_verdicts(
    plan: Plan, hostvars: Hostvars, prometheus_hosts: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return for each exporter of a plan what became of it, and whether to ``confirm``, ``revert`` or ``release`` it."""
    clients = {name: item for name, (_host, item) in _by_client(hostvars, prometheus_hosts).items()}
    verdicts: dict[str, dict[str, Any]] = {}
    for name, row in plan.items():
        verdict = verdicts[name] = {
            "host": row["host"],
            "action": "none",
            "now": "none",
            "why": row.get("refused") or "",
        }
        if "refused" in row:
            verdict["action"] = verdict["now"] = "release"
            continue
        answers = (hostvars[row["host"]].get("exporter_host_rotation") or {}).get("exporters") or []
        answer: Mapping[str, Any] = next((item for item in answers if item["name"] == name), {})
        verdict.update({key: answer.get(key) for key in ("status", "window", "moment")})
        if answer.get("status") == "lost":
            verdict.update(action="revert", why="the process that made the switch was killed")
        elif answer.get("status") != "switched":
            verdict["why"] = answer.get("error") or answer.get("msg") or "its host could not be reached any more"
            if answer.get("status") in ("missed", "failed", "reverted"):
                # It has ended by itself.
                verdict["action"] = "release"
        else:
            faults = [
                fault
                for client in row["rotation"]["clients"]
                if client not in optional
                for fault in [_fault(row["job"], client, clients.get(client) or {})]
                if fault
            ]
            verdict.update(action="revert" if faults else "confirm", why="; ".join(faults))
        verdict["now"] = verdict["action"]
        if row["strategy"] == SPARE_PORT and verdict["action"] in ("confirm", "revert"):
            verdict.update(then="retire", job=row["job"])
            # The new process serves until nobody scrapes it any more.
            verdict["now"] = "confirm" if verdict["action"] == "confirm" else "none"
    return verdicts


def switch_leaving(verdicts: Plan, hostvars: Hostvars) -> dict[str, dict[str, Any]]:
    """Return, for each exporter that serves on both ports now, its ``host``, the ``job`` that has to go, and what its host has to do
    then (``action``): ``retire`` the old process, or ``revert`` and stop the new one.

    An exporter whose host did not answer whether it keeps the new one is left out: both jobs stay, until the next run.
    """
    leaving = {}
    for name, verdict in verdicts.items():
        if "then" not in verdict:
            continue
        answers = (hostvars[verdict["host"]].get("exporter_host_rotation") or {}).get("exporters") or []
        answer: Mapping[str, Any] = next((item for item in answers if item["name"] == name), {})
        if verdict["action"] == "revert" or (answer and answer.get("status") != "confirmed"):
            leaving[name] = {"host": verdict["host"], "job": verdict["job"], "action": "revert"}
        elif answer:
            leaving[name] = {"host": verdict["host"], "job": _names.other_port(verdict["job"]), "action": "retire"}
    return leaving


def _fault(exporter: str, client: str, item: Mapping[str, Any]) -> str | None:
    """Why a client has not proven an exporter; None if it has."""
    found: Mapping[str, Any] = next(
        (element for element in item.get("exporters") or [] if element["name"] == exporter), {}
    )
    proofs = ("accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")
    if found.get("up") and not any(found.get(proof) is False for proof in proofs):
        return None
    return f"{client}: {found.get('last_error') or item.get('msg') or 'it did not answer any more'}"


def rotation_report(verdicts: Plan, plan: Plan) -> list[str]:
    """Return a line for each exporter, for people."""
    lines = []
    for name, verdict in sorted(verdicts.items()):
        row = plan[name]
        old, new = (str(row["rotation"][key] or "unknown")[:16] for key in ("old_sha256", "new_sha256"))
        outcome = verdict.get("outcome") or verdict.get("status") or "not begun"
        line = f"{name}: {outcome}, {old} -> {new}, servers {', '.join(row['servers']) or 'none'}"
        if verdict.get("window") is not None and row["strategy"] == SPARE_PORT:
            port = "usual" if row["job"] == name else "spare"
            line += f", on its {port} port, where it served after {verdict['window']:.2f} s"
        elif verdict.get("window") is not None:
            line += f", took {verdict['window']:.2f} s of {row['window']:.2f} s expected, gap {row['gap']:.2f} s"
        lines.append(line + (f": {verdict['why']}" if verdict["why"] else ""))
    return lines


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {
            "switch_plan": switch_plan,
            "switch_go": switch_go,
            "switch_orders": switch_orders,
            "switch_verdicts": switch_verdicts,
            "switch_leaving": switch_leaving,
            "rotation_report": rotation_report,
        }
