# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action that shows what already monitors TimesTen: one host's answer, or the report of all answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, discovery, fleet
from ansible_collections.timesten.monitoring.plugins.plugin_utils.border import HostAction

display = Display()


class ActionModule(HostAction):
    """Parses the host's answer. A host that could not be asked is an answer too, which the report shows."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return what was found."""
        super().run(tmp, task_vars)
        look_for = str(self._task.args.get("look_for"))
        if look_for == "report":
            return self._report(task_vars)
        raw = self.call("tt_discover", dict(self._task.args), task_vars)
        if look_for not in ("exporters", "jobs"):
            return {"failed": True, "msg": answers.plain(answers.reason(raw), 1000)}
        if raw.get("failed"):
            return {"changed": False, "could_not": answers.plain(answers.reason(raw), 1000)}
        try:
            if look_for == "exporters":
                return {"changed": False, "exporters": [one.as_dict() for one in discovery.parse_exporters(raw)]}
            jobs, takers = discovery.parse_jobs(raw), discovery.parse_takers(raw)
        except answers.Nonsense as error:
            return {"changed": False, "could_not": str(error)}
        return {"changed": False, "jobs": [one.as_dict() for one in jobs], "takers": [one.as_dict() for one in takers]}

    def _report(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        hostvars, groups = task_vars["hostvars"], task_vars["groups"]
        exporters: dict[str, tuple[discovery.Found, ...]] = {}
        jobs: dict[str, tuple[discovery.Job, ...]] = {}
        takers: dict[str, tuple[discovery.Taker, ...]] = {}
        failed: dict[str, str] = {}
        sides: list[tuple[str, str, Any, Any]] = [
            (fleet.EXPORTERS, "exporters", exporters, discovery.parse_exporters),
            (fleet.SERVERS, "jobs", jobs, discovery.parse_jobs),
        ]
        looked = 0
        for group, key, found, parse in sides:
            for host in groups.get(group, ()):
                registered = hostvars[host].get(f"{discovery.REGISTERED}_{key}")
                if not isinstance(registered, Mapping):
                    continue
                looked += 1
                if "could_not" in registered:
                    found[host], failed[host] = (), answers.plain(str(registered["could_not"]), 1000)
                    continue
                try:
                    found[host] = parse(registered)
                    if key == "jobs":
                        takers[host] = discovery.parse_takers(registered)
                except answers.Nonsense as error:
                    failed[host] = str(error)
        known_as = {host: _names(hostvars[host], host) for host in exporters}
        rows, left = discovery.matched(exporters, jobs, known_as)
        for line in [
            "",
            *discovery.lines(rows, left, failed, takers),
            "",
            discovery.inventory(rows, list(jobs), takers),
        ]:
            display.display(line)
        if failed or not looked:
            told = "; ".join(f"{host}: {reason}" for host, reason in failed.items())
            nobody = "no host was looked at: the groups are timesten_exporters and prometheus_servers"
            return {"failed": True, "msg": told or nobody}
        return {"changed": False}


def _names(variables: Mapping[str, Any], host: str) -> list[str]:
    """Return names and addresses of an exporter host from the inventory."""
    given = [host, variables.get("ansible_host"), variables.get("exporter_host_address")]
    return [str(name) for name in given if name]
