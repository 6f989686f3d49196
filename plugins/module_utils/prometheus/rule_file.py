# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts our rule file together from groups that the controller rendered, and recognizes it. Each exporter has one group.

The texts have placeholders for a target's labels: only the host knows them, because an adopted job keeps its name.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import Settings, StateEntry
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import rules_beside

if TYPE_CHECKING:
    # The controller needs only the names of this module, and reads no configuration.
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import ConfigView

JOB, INSTANCE = "@job@", "@instance@"
HEADER = "# Written by timesten.monitoring: changes are lost with its next run.\n"
LIMITS = {"rules": 1 << 20, "exporters[].rules": 1 << 16}
"""Characters. All groups with every alert have 35,000, those of an exporter 2,000."""

_PLACES = re.compile(f"{JOB}|{INSTANCE}")
_GROUP = re.compile(r"^  - name: (.*)$", re.MULTILINE)
_GROUPS = re.compile(r"^(?=  - name: )", re.MULTILINE)
_RULES = re.compile(r"^(?=      - (?:record|alert): )", re.MULTILINE)
_EXPR = re.compile(r"^        expr: .*\n", re.MULTILINE)
_SCOPED = re.compile(r"^(        expr: ')(.*) # of: (target|exporter)'$", re.MULTILINE)
_MEMBERS = {
    "target": "on (job, instance) target:timesten_fleet:info",
    "exporter": "on (exporter) exporter:timesten_fleet:vector",
}
"""The join that limits an alert to a fleet's series, by the subject of the alert."""


def place(settings: Settings) -> str:
    """Return the path of our rule file on the host."""
    return settings.rules_file or rules_beside(settings.store)


def check(text: str, option: str) -> None:
    """:raises TimesTenError: if the text is not a list of groups, as far as that shows without promtool."""
    if len(text) > LIMITS[option]:
        raise TimesTenError(f"{option}: has {len(text)} characters, more than {LIMITS[option]}")
    if text and not text.startswith("  - name: "):
        raise TimesTenError(f"{option}: does not begin with '  - name: '; it has to be items of the list groups")
    if text and not text.endswith("\n"):
        raise TimesTenError(f"{option}: its last line has no line end")


def is_ours(data: bytes) -> bool:
    """Tell whether this collection wrote a rule file."""
    return data.startswith(HEADER.encode("ascii"))


def group_names(data: bytes) -> list[str]:
    """Return the names of the groups in a rule file of ours."""
    found: list[str] = _GROUP.findall(data.decode("utf-8", "replace"))
    return [json.loads(name) if name.startswith('"') else name for name in found]


def scoped(expr: str, of: str) -> str:
    """Mark an expression with the subject of its alert, which matters if fleets share a Prometheus. Prometheus reads
    the mark as a comment.
    """
    return f"{expr} # of: {of}" if of else expr


def commons(rules: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return the groups that belong to no exporter, by fleet, from the store's state. An older state has one text for
    all.
    """
    if isinstance(rules, str):
        return {"": rules} if rules else {}
    return dict(rules or {})


def compose(common: Mapping[str, str], entries: Mapping[str, StateEntry], view: ConfigView) -> bytes:
    """Return the content of the file. If several fleets share it, each has alerts about its own exporters with its own
    thresholds.

    :param common: by fleet, the groups that belong to no exporter; "" if a fleet wants no rules.
    :param entries: the store's entries of all exporters.
    :param view: the future configuration.
    """
    shared = len(common) > 1
    parts = [HEADER, "groups:\n", _of_fleets(common) if shared else _SCOPED.sub(r"\1\2'", "".join(common.values()))]
    for name, entry in sorted(entries.items()):
        fleet = entry.get("fleet", "")
        # During a rotation an exporter has jobs on both ports, whose series have the same labels.
        twin = name != _names.exporter_of(name) and _names.exporter_of(name) in entries
        if not entry.get("rules") or twin or common.get(fleet) == "":
            continue
        job, instance = (_inside(label) for label in target_labels(name, entry, view))
        labels = {JOB: job, INSTANCE: instance}
        parts.append(_PLACES.sub(functools.partial(_put, labels), entry["rules"]))
        if shared:
            target = f'job="{job}",instance="{instance}"'
            if entry["definition"].get("honor_labels") or (name in view.ours and view.ours[name].adopted):
                # The label instance of its series may come from TimesTen.
                target = f'job="{job}",__name__=~"up|timesten_.+"'
            parts.append(_members(_names.exporter_of(name), fleet, target))
    return "".join(parts).encode("utf-8")


def _put(labels: Mapping[str, str], place: re.Match[str]) -> str:
    return labels[place.group()]


def _of_fleets(common: Mapping[str, str]) -> str:
    """Return the recording rules once for all fleets, and each fleet's alerts about its own exporters."""
    once: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    seen = set()
    for fleet, text in sorted(common.items()):
        for group in filter(None, _GROUPS.split(text)):
            head, *rules = _RULES.split(group)
            once.setdefault(head, [])
            named = _GROUP.sub(functools.partial(_named, fleet), head, 1)
            for rule in rules:
                sign = (head, _EXPR.sub("", rule))
                if _SCOPED.search(rule):
                    own.setdefault(named, []).append(_SCOPED.sub(functools.partial(_limited, fleet), rule))
                elif sign not in seen:
                    seen.add(sign)
                    once[head].append(rule)
    return "".join(head + "".join(rules) for groups in (once, own) for head, rules in groups.items() if rules)


def _limited(fleet: str, found: re.Match[str]) -> str:
    return f"""{found[1]}({found[2]}) and {_MEMBERS[found[3]]}{{fleet="{_inside(fleet)}"}}'"""


def _named(fleet: str, found: re.Match[str]) -> str:
    return "  - name: " + json.dumps(f"{found[1]} of {fleet or 'nobody'}", ensure_ascii=False)


def _members(exporter: str, fleet: str, target: str) -> str:
    """Return two more rules of an exporter's group, which say to which fleet it belongs."""
    quoted = fleet.replace("'", "''")
    label = f"          fleet: '{quoted}'\n"
    return (
        "      - record: exporter:timesten_fleet:vector\n        expr: 'vector(1)'\n"
        f"        labels:\n          exporter: '{exporter}'\n{label}"
        f"      - record: target:timesten_fleet:info\n        expr: 'group by (job, instance) ({{{target}}})'\n"
        f"        labels:\n{label}"
    )


def target_labels(name: str, entry: StateEntry, view: ConfigView) -> tuple[str, str]:
    """Return the labels ``job`` and ``instance`` of the series of an exporter's target."""
    definition = entry["definition"]
    config = jobs.build(definition, "/").config
    static = config["static_configs"][0]
    address = str(static["targets"][0])
    labels = {"job": str(config["job_name"]), "instance": address, **(static.get("labels") or {})}
    found = view.ours.get(name)
    if found is None:
        # A job of the owner may scrape it and stay.
        found = next((job for job in view.foreign if address in job.targets), None)
        if found is not None:
            return found.job_name, address
    elif found.adopted:
        return found.job_name, found.targets[0] if found.targets else address
    return definition.get("job_label") or labels["job"], labels["instance"]


def _inside(text: str) -> str:
    """Return a label's value escaped for a PromQL string in a YAML text in single quotes."""
    escaped = argspec.CONTROL.sub(_escaped, json.dumps(text, ensure_ascii=False)[1:-1])
    return escaped.replace("'", "''")


def _escaped(character: re.Match[str]) -> str:
    """Return a character that YAML takes for the end of a line, or refuses, as an escape of PromQL."""
    return f"\\u{ord(character.group()):04x}"


def unhealthy(groups: Iterable[Mapping[str, object]], wanted: Iterable[str]) -> str | None:
    """Return what is wrong with our groups as Prometheus reports them; None if nothing is."""
    running = {str(group.get("name")): group for group in groups}
    missing = [name for name in wanted if name not in running]
    if missing:
        return f"it does not run the group {missing[0]!r}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
    for name in wanted:
        rules = running[name].get("rules")
        for rule in rules if isinstance(rules, list) else ():
            if rule.get("health") == "err":
                return f"rule {rule.get('name')!r} of group {name!r} fails: {str(rule.get('lastError'))[:300]}"
    return None
