# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rule file: groups that the controller rendered, one of them for each exporter, put together and recognized.

Only the host knows the labels of a target, since an adopted job keeps its name; the texts hold places for them.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import Settings, StateEntry

if TYPE_CHECKING:
    # The controller needs the rule file's names alone, and reads no configuration.
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import ConfigView

JOB, INSTANCE = "@job@", "@instance@"
HEADER = "# Written by timesten.monitoring: changes are lost with its next run.\n"
LIMITS = {"rules": 1 << 20, "exporters[].rules": 1 << 16}
"""Characters. All groups with every alert are 35,000, those of an exporter 2,000."""

_GROUP = re.compile(r"^  - name: (.*)$", re.MULTILINE)


def place(settings: Settings) -> str:
    """The path of our rule file on the host."""
    return settings.rules_file or f"{posixpath.normpath(settings.store)}.rules.yml"


def check(text: str, option: str) -> None:
    """:raises TimesTenError: if this is not a text of groups, as far as can be told without promtool."""
    if len(text) > LIMITS[option]:
        raise TimesTenError(f"{option}: has {len(text)} characters, more than {LIMITS[option]}")
    if text and not text.startswith("  - name: "):
        raise TimesTenError(f"{option}: does not begin with '  - name: '; it has to be items of the list groups")
    if text and not text.endswith("\n"):
        raise TimesTenError(f"{option}: its last line has no line end")


def is_ours(data: bytes) -> bool:
    """Whether this collection wrote a rule file."""
    return data.startswith(HEADER.encode("ascii"))


def group_names(data: bytes) -> list[str]:
    """Names of the groups in a rule file of ours."""
    return _GROUP.findall(data.decode("utf-8", "replace"))


def compose(common: str, entries: Mapping[str, StateEntry], view: ConfigView) -> bytes:
    """Put the file together.

    :param entries: what the store's state says of each exporter.
    :param view: the configuration as it will be.
    """
    parts = [HEADER, "groups:\n", common]
    for name, entry in sorted(entries.items()):
        # While a rotation has a job on both ports, their series have the same labels.
        if entry.get("rules") and (name == _names.exporter_of(name) or _names.exporter_of(name) not in entries):
            job, instance = target_labels(name, entry, view)
            parts.append(entry["rules"].replace(JOB, _inside(job)).replace(INSTANCE, _inside(instance)))
    return "".join(parts).encode("utf-8")


def target_labels(name: str, entry: StateEntry, view: ConfigView) -> tuple[str, str]:
    """The labels ``job`` and ``instance`` that the series of an exporter's target have."""
    definition = entry["definition"]
    config = jobs.build(definition, "/").config
    static = config["static_configs"][0]
    address = str(static["targets"][0])
    labels = {"job": str(config["job_name"]), "instance": address, **(static.get("labels") or {})}
    found = view.ours.get(name)
    if found is None:
        # A job that its owner wrote may scrape it, and stay.
        found = next((job for job in view.foreign if address in job.targets), None)
        if found is not None:
            return found.job_name, address
    elif found.adopted:
        return found.job_name, found.targets[0] if found.targets else address
    return definition.get("job_label") or labels["job"], labels["instance"]


def _inside(text: str) -> str:
    """A label's value as it stands between quotes of PromQL, in a text between YAML's single quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "''")


def unhealthy(groups: Iterable[Mapping[str, object]], wanted: Iterable[str]) -> str | None:
    """What is wrong with our groups as Prometheus tells them, for a message; None where nothing is."""
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
