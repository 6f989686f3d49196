# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action knows about its run: the inventory, the run's options, and the answers of earlier steps."""

from __future__ import annotations

import functools
from typing import Any, Collection, Iterable, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.plugin_utils import fleet as fleets
from ansible_collections.timesten.monitoring.plugins.plugin_utils import removal, rotation, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer, PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import ExporterHost, Fleet, PrometheusHost, Run


class Templated(Mapping[str, Any]):
    """A task's variables, each of which is templated only when it is read."""

    def __init__(self, templar: Any, variables: Mapping[str, Any]) -> None:
        self._templar = templar
        self._variables = variables

    def __getitem__(self, key: str) -> Any:
        return self._templar.template(self._variables[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class Inventory:
    """The inventory and the run, for one task of one host."""

    def __init__(self, templar: Any, task_vars: Mapping[str, Any]) -> None:
        self._variables = Templated(templar, task_vars)
        self._hostvars: Mapping[str, Mapping[str, Any]] = task_vars["hostvars"]
        self._groups: Mapping[str, Sequence[str]] = task_vars["groups"]
        self.host: str = task_vars["inventory_hostname"]
        self.hosts: list[str] = list(task_vars["ansible_play_hosts_all"])
        self._batch: Sequence[str] = task_vars.get("ansible_play_batch") or ()
        self.check_mode = bool(task_vars.get("ansible_check_mode"))

    @property
    def is_reported(self) -> bool:
        """Tell whether a report ends this run, that is, whether the run is one of this collection's playbooks."""
        return bool(self._variables.get("timesten_operation"))

    @functools.cached_property
    def fleet(self) -> Fleet:
        """Return the whole fleet, which was read once before the first host was touched."""
        return fleets.recall(self._hostvars, self._groups)

    @functools.cached_property
    def run(self) -> Run:
        """Return the run's options. Options that a playbook sets itself come with its tasks."""
        return fleets.read_run(self._variables)

    @property
    def evicted(self) -> tuple[str, ...]:
        """Return the clients that lose their access in this run."""
        return () if self.run.evict is None else (self.run.evict,)

    def exporter_host(self) -> ExporterHost:
        """Return this host as it was read before the first host was touched. If a role is used alone, its own variables
        are read.
        """
        if self.is_reported and self.host in self.fleet.exporter_hosts:
            return self.fleet.exporter_hosts[self.host]
        return fleets.exporter_host(self.host, self._variables, self._groups.get(fleets.SERVERS, ()))

    def prometheus_host(self) -> PrometheusHost:
        """Return this host, as :meth:`exporter_host` does."""
        if self.is_reported and self.host in self.fleet.prometheus_hosts:
            return self.fleet.prometheus_hosts[self.host]
        return fleets.prometheus_host(self.host, self._variables, self._groups.get(fleets.EXPORTERS, ()))

    # --- what earlier steps have answered

    def exporters(self, hosts: Iterable[str], step: str) -> dict[str, ExporterHostAnswer]:
        """Return the answers of exporter hosts, by host."""
        return steps.exporters(self._hostvars, hosts, step)

    def staged(self, hosts: Iterable[str]) -> dict[str, ExporterHostAnswer]:
        """Answers of the exporter hosts of a wave about the generations that are ready or, since the switch, served, by host."""
        return steps.staged(self._hostvars, hosts)

    def clients(
        self, hosts: Iterable[str], step: str, only: Collection[str] | None = None
    ) -> dict[str, PrometheusAnswer]:
        """Return the answers of Prometheus hosts, by client; see :func:`steps.clients` for ``only``."""
        return steps.clients(self._hostvars, hosts, step, only)

    def clock(self, host: str, step: str) -> rotation.Clock:
        """Return the clock that a step has measured."""
        return steps.clock(self._hostvars, host, step)

    def trouble(self, host: str) -> str | None:
        """Return why Ansible failed a task of a host without its answer; None if it did not."""
        return steps.trouble(self._hostvars, host)

    def too_many_failed(self) -> bool:
        """Tell whether so many exporter hosts of earlier batches have failed that no further batch may begin."""
        most = self.fleet.run.timesten_max_fail_percentage
        if most >= 100:
            return False
        answers = self.exporters([host for host in self.hosts if host not in self._batch], steps.CONVERGED).values()
        failed = sum(
            answer.failed is not None or any(exporter.failed for exporter in answer.exporters.values())
            for answer in answers
        )
        return failed * 100 > most * len(self.hosts)

    # --- a rotation

    def wave(self) -> list[str]:
        """Return the exporter hosts of the wave; empty if nothing is rotated."""
        hosts = self._variables.get("rotate_wave_hosts")
        return list(hosts) if hosts else []

    def rotated(self) -> list[str] | None:
        """Return the names of the exporters that are rotated; None means all."""
        due = self._variables.get("rotate_due")
        return list(due) if due is not None else (list(self.run.rotate_exporters or ()) or None)

    def registered(self, name: str) -> Mapping[str, Any]:
        """Return what a step on the controller has registered."""
        value = steps.current(self._variables.get(name))
        return value if isinstance(value, Mapping) else {}

    def rows(self, name: str) -> dict[str, rotation.Row]:
        """Return the plan of a rotation."""
        rows = self.registered(name).get("rows") or {}
        return {exporter: rotation.Row.from_dict(row) for exporter, row in rows.items()}

    def verdicts(self) -> dict[str, rotation.Verdict]:
        """Return the outcomes of the switches."""
        judged = self.registered("timesten_verdicts").get("verdicts") or {}
        return {exporter: rotation.Verdict(**item) for exporter, item in judged.items()}

    def leaving(self) -> dict[str, rotation.Leaving]:
        """Return the ports that exporters leave."""
        left = self.registered("timesten_leaving").get("leaving") or {}
        return {exporter: rotation.Leaving(**item) for exporter, item in left.items()}

    def switched(self) -> list[str]:
        """Return the names of the exporters that have switched, as far as their hosts say."""
        rows = self.rows("timesten_go")
        answers = self.exporters(self.wave(), steps.SWITCHED)
        return [
            name
            for name, row in rows.items()
            if row.host in answers
            and name in answers[row.host].exporters
            and answers[row.host].exporters[name].status == "switched"
        ]

    # --- a removal

    @functools.cached_property
    def _removal(self) -> removal.Removal:
        looked = self.clients(self.fleet.prometheus_hosts, steps.LOOKED)
        return removal.plan(self.fleet, self.hosts, looked or None)

    def removal(self) -> removal.Removal:
        """Return what has to be removed, and where."""
        return self._removal
