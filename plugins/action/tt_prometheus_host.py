# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action for the Prometheus instances of a host: takes arguments from the inventory and returns parsed answers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Mapping, Sequence

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.loader import lookup_loader

from ansible_collections.timesten.monitoring.plugins.lookup.this_run import this_run
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, rotation, rules, steps, templates
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer, PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.border import HostAction, Step, step_of
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Client, Problems, PrometheusHost
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

ROLE = os.path.join(os.path.dirname(__file__), "..", "..", "roles", "prometheus_host")
RENDERED = ("present", "absent", "staged")
"""The states that may write the configuration."""


class ActionModule(HostAction):
    """Calls the module once for each Prometheus instance of the host."""

    MODULE = "tt_prometheus_host"

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the parsed answers."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not boolean(arguments.pop("from_inventory", False)):
            return self._plain(arguments, task_vars)
        self.inventory = Inventory(self._templar, task_vars)
        host = self.inventory.prometheus_host()
        steps_of_states: dict[str, Step] = {
            "inspected": self._inspect,
            "verified": self._verify,
            "present": self._present,
            "absent": self._absent,
            "staged": self._deliver,
            "following": self._follow,
            "released": self._release,
        }
        return step_of(steps_of_states, "state", arguments.get("state", "present"))(host, task_vars)

    def _plain(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        raw = self.call_or_raise(self.MODULE, arguments, task_vars)
        exporters = arguments.get("exporters")
        asked = (
            [item["name"] for item in exporters if isinstance(item, Mapping) and "name" in item]
            if isinstance(exporters, list) and exporters
            else None
        )
        return self.public(
            lambda: answers.parse_prometheus_host(
                raw,
                state=arguments.get("state") or "present",
                host=task_vars["inventory_hostname"],
                client=str(arguments.get("name")),
                exporters=asked,
                check_mode=self._task.check_mode,
            )
        )

    # --- steps

    def _present(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        return (self._prove if self.inventory.wave() else self._converge)(host, task_vars)

    def _absent(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        return (self._leave if self.inventory.wave() else self._clear)(host, task_vars)

    def _verify(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        return self._each(host, "verified", {client.name: {} for client in host.clients}, task_vars)

    def _inspect(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        calls: dict[str, dict[str, Any] | str] = {client.name: {} for client in host.clients}
        # If the role is used alone, the other hosts' variables were not checked. The step that needs them reports what
        # is wrong.
        with contextlib.suppress(Problems):
            for client in host.clients:
                calls[client.name] = {"exporters": templates.wanted(self.inventory.fleet, client.name)}
        result = self._each(host, "inspected", calls, task_vars)
        if any(answer.scrapes_by_hand for answer in steps.prometheus_answers(result, host.host).values()):
            # A takeover happens between the scrapes of hand-written jobs, so it needs the clock.
            result["clock"] = dataclasses.asdict(self.measured_clock())
        return result

    def _converge(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        exporter_answers = self.inventory.exporters(host.exporter_hosts, steps.CONVERGED)
        before = self.inventory.clients([host.host], steps.INSPECTED)
        silent = [name for name in host.exporter_hosts if name not in exporter_answers or exporter_answers[name].failed]
        calls: dict[str, dict[str, Any] | str] = {}
        for client in host.clients:
            looked = before.get(client.name)
            # If the role is used alone without its part inspect, nothing is known about the client, and nothing has to
            # be.
            if looked is None and self.inventory.is_reported:
                calls[client.name] = "it was not looked at"
                continue
            if looked is not None and looked.failed:
                calls[client.name] = looked.failed
                continue
            if host.purge and silent:
                calls[client.name] = (
                    "prometheus_host_purge removes every exporter that is not in the inventory, which can only be told where all exporter hosts "
                    f"answered in this run. These did not: {', '.join(silent)}. Run without --limit, or without purge"
                )
                continue
            exporters = templates.exporters(self.inventory.fleet, exporter_answers, client.name)
            remove = self._departed(looked) if host.purge and looked is not None else list(host.remove or ())
            calls[client.name] = {
                "exporters": exporters,
                **self._rules(client, exporters, exporter_answers, looked),
                **({"remove": remove} if remove else {}),
                **({"revision": looked.revision} if looked is not None and looked.revision else {}),
            }
        return self._each(host, "present", calls, task_vars, looked=before)

    def _prove(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """After a switch, deliver to the clients of the switched exporters and prove these exporters."""
        switched = self.inventory.switched()
        if not switched:
            return {"changed": False}
        beside = self.inventory.run.rotate_strategy == rotation.SPARE_PORT
        return self._with_staged(host, "present", switched, {"both_ports": beside} if beside else {}, task_vars)

    def _deliver(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        beside = self.inventory.run.rotate_strategy == rotation.SPARE_PORT
        result = self._with_staged(host, "staged", None, {"both_ports": beside} if beside else {}, task_vars)
        return {**result, "clock": dataclasses.asdict(self.measured_clock())}

    def _follow(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        rows = self.inventory.rows("timesten_plan")
        orders = rotation.orders(rows, self.inventory.clock(host.host, steps.DELIVERED), following=True)
        run = this_run(running=True)
        return self._with_staged(host, "following", _going(rows), {"switch": orders, "run": run}, task_vars)

    def _release(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        keep = {"keep_deliveries": 0} if self.inventory.evicted else {}
        rows = self.inventory.rows("timesten_plan")
        return self._with_staged(host, "released", _going(rows), keep, task_vars)

    def _leave(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """With the strategy spare_port, remove the jobs of the ports that exporters leave."""
        jobs = sorted(leaving.job for leaving in self.inventory.leaving().values())
        if not jobs:
            return {"changed": False}
        inspected = self._each(host, "inspected", {client.name: {} for client in host.clients}, task_vars)
        before = steps.prometheus_answers(inspected, host.host)
        calls: dict[str, dict[str, Any] | str] = {}
        for client in host.clients:
            looked = before.get(client.name)
            failed = "it did not answer any more" if looked is None else looked.failed
            calls[client.name] = failed or {"remove": jobs, "run": this_run(running=True)}
        return self._each(host, "absent", calls, task_vars, looked=before)

    def _clear(self, host: PrometheusHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Remove what the playbook timesten.monitoring.remove has planned or, if the role is used alone, what its
        variables say.
        """
        if not self.inventory.is_reported:
            named = {} if host.remove is None else {"remove": list(host.remove)}
            before = self.inventory.clients([host.host], steps.INSPECTED)
            return self._each(host, "absent", {client.name: named for client in host.clients}, task_vars, looked=before)
        removal = self.inventory.removal()
        mine = removal.clients.get(host.host, ())
        run = this_run(running=True)
        remove = {"remove": list(removal.jobs)} if removal.jobs else {}
        calls: dict[str, dict[str, Any] | str] = {
            client.name: {**remove, "run": run} for client in host.clients if client.name in mine
        }
        return self._each(host, "absent", calls, task_vars, looked=self.inventory.clients([host.host], steps.LOOKED))

    def _with_staged(
        self,
        host: PrometheusHost,
        state: answers.State,
        only: Sequence[str] | None,
        arguments: Mapping[str, Any],
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """Call the module with the generations that are ready."""
        inventory = self.inventory
        staged = inventory.staged([name for name in host.exporter_hosts if name in inventory.wave()])
        before = inventory.clients([host.host], steps.INSPECTED)
        calls: dict[str, dict[str, Any] | str] = {}
        for client in host.clients:
            looked = before.get(client.name)
            if looked is None or looked.failed:
                calls[client.name] = looked.failed if looked is not None and looked.failed else "it was not looked at"
                continue
            exporters = templates.exporters(inventory.fleet, staged, client.name, only)
            more = self._rules(client, exporters, staged, looked) if state == "present" else {}
            calls[client.name] = {"exporters": exporters, **arguments, **more}
        return self._each(host, state, calls, task_vars, looked=before)

    def _rules(
        self,
        client: Client,
        exporters: Sequence[dict[str, Any]],
        answered: Mapping[str, ExporterHostAnswer],
        looked: PrometheusAnswer | None,
    ) -> dict[str, Any]:
        """Put each exporter's rule group into its element, and return the other groups as the module's option."""
        if not client.rules or client.options.get("kind") == "scrape_file":
            return {"rules": ""}
        listed = self.inventory.fleet.exporters
        for item in exporters:
            name = names.exporter_of(item["name"])
            answer = answered[listed[name].host].exporters[name]
            interval = None if looked is None else looked.scrape_interval
            item["rules"] = rules.of_exporter(rules.subject(client, answer, interval))
        return {"rules": rules.common(client.alert_thresholds, client.alerts)}

    # --- calls

    def _each(
        self,
        host: PrometheusHost,
        state: answers.State,
        calls: Mapping[str, dict[str, Any] | str],
        task_vars: dict[str, Any],
        looked: Mapping[str, PrometheusAnswer] | None = None,
    ) -> dict[str, Any]:
        """Call the module for each client. A text instead of arguments is the reason why that client is not called."""
        parsed, handed_on = [], []
        for client in host.clients:
            arguments = calls.get(client.name)
            if arguments is None:
                continue
            if isinstance(arguments, str):
                answer: PrometheusAnswer = steps.failed_client(host.host, state, client.name, arguments)
                asked: list[str] | None = None
            else:
                answer, asked = self._ask(host, client, state, arguments, (looked or {}).get(client.name), task_vars)
            parsed.append(answer)
            named = {"state": state, "client": client.name, "exporters": asked, "check_mode": self._task.check_mode}
            handed_on.append({"asked": named, "answer": answer.as_dict()})
        return self.registered(parsed, {"clients": handed_on})

    def _ask(
        self,
        host: PrometheusHost,
        client: Client,
        state: answers.State,
        arguments: Mapping[str, Any],
        looked: PrometheusAnswer | None,
        task_vars: dict[str, Any],
    ) -> tuple[PrometheusAnswer, list[str] | None]:
        full = {**client.options, "name": client.name, "state": state, "run": this_run(), **arguments}
        # If the role is used alone, the other hosts' variables were not checked.
        with contextlib.suppress(Problems):
            full["fleet_exporters"] = templates.targets(self.inventory.fleet)
        asked = [item["name"] for item in arguments["exporters"]] if "exporters" in arguments else None
        if client.layout == "template" and state in RENDERED:
            try:
                full["rendered"] = self._rendered(host, client, arguments, state, looked, task_vars)
            except (TimesTenError, Exception) as error:  # a template can raise anything
                reason = answers.plain(f"prometheus_host_template: {host.template}: {error}", 1000)
                return steps.failed_client(host.host, state, client.name, reason), asked
        if not host.become:
            with self.as_user(None):
                raw = self.call(self.MODULE, full, task_vars)
        else:
            raw = self.call(self.MODULE, full, task_vars)
        try:
            answer = answers.parse_prometheus_host(
                raw,
                state=state,
                host=host.host,
                client=client.name,
                exporters=asked or None,
                check_mode=self._task.check_mode,
            )
        except answers.Nonsense as error:
            answer = steps.failed_client(host.host, state, client.name, steps.nonsense(error))
        return answer, asked or None

    def _rendered(
        self,
        host: PrometheusHost,
        client: Client,
        arguments: Mapping[str, Any],
        state: str,
        looked: PrometheusAnswer | None,
        task_vars: dict[str, Any],
    ) -> str:
        """Return the whole configuration for the layout template."""
        jobs = templates.jobs(
            client.options,
            looked.definitions if looked is not None else {},
            arguments.get("exporters", ()),
            arguments.get("remove", ()),
            purge=state == "absent" and "remove" not in arguments,
            both_ports=bool(arguments.get("both_ports")),
            others=looked.other_definitions if looked is not None else {},
        )
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        paths = [*task_vars.get("ansible_search_path", ()), ROLE]
        variables = {**task_vars, "ansible_search_path": paths}
        (text,) = lookup.run([host.template], variables=variables, template_vars={"prometheus_host_jobs": jobs})

        return str(text)

    def _departed(self, looked: PrometheusAnswer) -> list[str]:
        """Return the exporters that the client has and the inventory has not."""
        listed = self.inventory.fleet.exporters
        return [name for name in looked.definitions if names.exporter_of(name) not in listed]


def _going(rows: Mapping[str, rotation.Row]) -> list[str]:
    return [name for name, row in rows.items() if row.refused is None]
