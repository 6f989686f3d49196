# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action for the exporters of a host: takes arguments from the inventory and returns a parsed answer."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Mapping, Sequence

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.timesten.monitoring.plugins.lookup.this_run import this_run
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.automatic import AUTO
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.plugin_utils import (
    answers,
    diffs,
    moves,
    outsiders,
    rotation,
    steps,
    words,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer, PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.border import HostAction, Step, step_of
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Exporter, ExporterHost
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

UNIT_KEYS = (
    "name",
    "timesten_home",
    "certificate_directory",
    "boot",
    "pid_file",
    "log_file",
    "stop_signal",
    "stop_timeout",
    "start_timeout",
)


UNOFFERED = "its host asks for a unit of systemd although exporter_host_become is false, so root was not offered"


@dataclasses.dataclass(frozen=True)
class _AsRoot:
    """The outcome of calls as root: whether anything changed, why, and what went wrong."""

    changed: bool = False
    trouble: str | None = None
    why: tuple[str, ...] = ()

    def after(self, other: _AsRoot) -> _AsRoot:
        """Return both outcomes as one, in this order."""
        return _AsRoot(self.changed or other.changed, self.trouble or other.trouble, self.why + other.why)

    def within(self, answer: ExporterHostAnswer) -> ExporterHostAnswer:
        """Return the host's answer, extended by what root did for its exporters."""
        told = {
            name: tuple(text for text in self.why if f"timesten-exporter-{name}." in text) for name in answer.exporters
        }
        return dataclasses.replace(
            answer,
            changed=answer.changed or self.changed,
            exporters={
                name: dataclasses.replace(
                    exporter, changed=exporter.changed or bool(told[name]), why=told[name] + exporter.why
                )
                for name, exporter in answer.exporters.items()
            },
            diff={
                name: tuple(diffs.shorten([*told[name], *answer.diff.get(name, ())]))
                for name in answer.exporters
                if told[name] or name in answer.diff
            },
        )


class ActionModule(HostAction):
    """Calls the module once, as the exporters' owner. With ``from_inventory``, it first does what needs root, and only
    if something does.
    """

    MODULE = "tt_exporter_host"

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the parsed answer."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not boolean(arguments.pop("from_inventory", False)):
            return self._plain(arguments, task_vars)
        self.inventory = Inventory(self._templar, task_vars)
        host = self.inventory.exporter_host()
        steps_of_phases: dict[str, Step] = {
            "converge": self._converge,
            "stage": self._stage,
            "switch": self._switch,
            "confirm": self._end,
            "retire": self._retire,
            "forget": self._remove,
        }
        return step_of(steps_of_phases, "phase", arguments.get("phase", "converge"))(host, task_vars)

    def _plain(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        exporters = [item["name"] for item in _dicts(arguments.get("exporters")) if "name" in item]
        clients = [item["name"] for item in _dicts(arguments.get("clients")) if "name" in item]
        phase: answers.Phase = arguments.get("phase") or "converge"
        raw = self.call_or_raise(self.MODULE, arguments, task_vars)
        return self.public(
            lambda: answers.parse_exporter_host(
                raw,
                phase=phase,
                host=task_vars["inventory_hostname"],
                exporters=exporters,
                clients=clients,
                check_mode=self._task.check_mode,
            )
        )

    # --- steps

    def _converge(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        if self.inventory.too_many_failed():
            return {"changed": False, "skipped": True, "skip_reason": "too many hosts of earlier batches failed"}
        inspected = self.inventory.clients(host.prometheus_hosts, steps.INSPECTED, _jobs(host))
        inspected = {client: answer for client, answer in inspected.items() if answer.failed is None}
        away = [client.name for client in self.inventory.fleet.clients_of(host.host) if client.name not in inspected]
        refused = {**moves.cannot_follow(host.exporters, away, inspected), **_in_the_way(host, inspected)}
        exporters = [exporter for exporter in host.exporters if exporter.name not in refused]
        clients = self._takers(inspected, host)
        refused.update(self._foreseen(host, exporters, inspected, task_vars))
        exporters = [exporter for exporter in exporters if exporter.name not in refused]
        if not exporters:
            nothing = ExporterHostAnswer(host.host, "converge", False, None, (), {}, {})
            return self._registered([(steps.with_failures(nothing, refused), host.exporters, clients)])
        arguments = {
            "clients": clients,
            "hand_over": True,
            "away": away,
            "rate_budget": host.rate_budget,
            "run": this_run(),
        }
        moments = self._gaps(exporters, inspected)
        if moments:
            arguments["switch"] = moments
        prepared = self._prepare(host, exporters, task_vars)
        if prepared.trouble is not None:
            answer = steps.failed_host(host.host, "converge", [item.name for item in host.exporters], prepared.trouble)
            return self._registered([(answer, host.exporters, clients)])
        auto = [exporter for exporter in exporters if exporter.definition.get("boot") == AUTO]
        of_units = {"units": {"owner": host.owner, "after": list(host.boot_after)}} if auto and host.become else {}
        answer = self._ask(host, "converge", exporters, clients, {**arguments, **of_units}, task_vars)
        done = prepared
        waiting = [exporter for exporter in auto if answer.exporters[exporter.name].needs_unit]
        if waiting and not of_units:
            refused.update((exporter.name, UNOFFERED) for exporter in waiting)
        elif waiting:
            installed, made = self._with_units(host, waiting, clients, arguments, task_vars)
            done, answer = done.after(installed), steps.joined(answer, made)
        left = [exporter for exporter in exporters if answer.exporters[exporter.name].leftover_unit]
        if left:
            # The exporter runs on without its unit. The second call removes what the unit has started.
            removed = self._units(host, _booted_by(left, "none"), task_vars)
            done = done.after(removed)
            if removed.trouble is not None:
                answer = dataclasses.replace(answer, failed=answer.failed or removed.trouble)
            elif not self._task.check_mode:
                answer = steps.joined(answer, self._ask(host, "converge", left, clients, arguments, task_vars))
        return self._registered([(steps.with_failures(done.within(answer), refused), host.exporters, clients)])

    def _with_units(
        self,
        host: ExporterHost,
        exporters: Sequence[Exporter],
        clients: Sequence[Mapping[str, Any]],
        arguments: Mapping[str, Any],
        task_vars: dict[str, Any],
    ) -> tuple[_AsRoot, ExporterHostAnswer]:
        """Let root install the units that ``boot: auto`` waits for. If root cannot, the host chooses again without a
        unit, and the run says why.
        """
        with_unit = _booted_by(exporters, "systemd")
        installed = self._units(host, with_unit, task_vars)
        if installed.trouble is None:
            return installed, self._ask(host, "converge", with_unit, clients, arguments, task_vars)
        answer = self._ask(host, "converge", exporters, clients, arguments, task_vars)
        told = {
            name: dataclasses.replace(item, unattended=f"{item.unattended} ({installed.trouble})")
            for name, item in answer.exporters.items()
            if item.unattended
        }
        others = [name for name in answer.exporters if name not in told]
        warning = f"root could not install or mend the unit of {', '.join(others)}: {installed.trouble}"
        warnings = (*answer.warnings, warning) if others else answer.warnings
        return _AsRoot(), dataclasses.replace(answer, exporters={**answer.exporters, **told}, warnings=warnings)

    def _stage(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        run = self.inventory.run
        exporters = self._of_wave(host)
        if not exporters:
            return {"changed": False}
        inspected = self.inventory.clients(host.prometheus_hosts, steps.INSPECTED, _jobs(host))
        clients = self._takers(inspected, host)
        arguments = {
            "clients": clients,
            "to": run.rotate_to,
            "evict": list(self.inventory.evicted),
            "optional": list(run.rotate_optional),
            "only_due": run.rotate_only_due,
            "strategy": run.rotate_strategy,
            "run": this_run(running=True),
            **({"since": run.rotate_since} if run.rotate_since else {}),
        }
        answer = self._ask(host, "stage", exporters, clients, arguments, task_vars)
        return self._registered([(answer, exporters, clients)], clock=self.measured_clock())

    def _switch(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        rows = {name: row for name, row in self.inventory.rows("timesten_go").items() if row.host == host.host}
        orders = rotation.orders(rows, self.inventory.clock(host.host, steps.STAGED))
        exporters = [exporter for exporter in host.exporters if exporter.name in orders]
        if not exporters:
            return {"changed": False}
        run = {"run": this_run(running=True)}
        answer = self._ask(host, "switch", exporters, [], {"switch": orders, **run}, task_vars)
        if answer.failed is None:
            answer = self._ask(host, "status", exporters, [], run, task_vars)
        return self._registered([(answer, exporters, [])])

    def _end(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Keep, take back or end each switch, as its verdict says."""
        verdicts = self.inventory.verdicts()
        calls: list[tuple[ExporterHostAnswer, Sequence[Exporter], Sequence[Mapping[str, Any]]]] = []
        action: answers.Phase
        for action in ("revert", "release", "confirm"):
            exporters = [
                exporter
                for exporter in host.exporters
                if exporter.name in verdicts
                and verdicts[exporter.name].host == host.host
                and verdicts[exporter.name].now == action
            ]
            if exporters:
                arguments = {
                    "run": this_run(running=True),
                    **({"evict": list(self.inventory.evicted)} if action == "confirm" else {}),
                }
                calls.append((self._ask(host, action, exporters, [], arguments, task_vars), exporters, []))
        return self._registered(calls)

    def _retire(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """End the process on the port that no client scrapes any more."""
        leaving = self.inventory.leaving()
        calls: list[tuple[ExporterHostAnswer, Sequence[Exporter], Sequence[Mapping[str, Any]]]] = []
        action: answers.Phase
        for action in ("retire", "revert"):
            exporters = [
                exporter
                for exporter in host.exporters
                if exporter.name in leaving
                and leaving[exporter.name].host == host.host
                and leaving[exporter.name].action == action
            ]
            if exporters:
                arguments = {
                    "run": this_run(running=True),
                    **({"evict": list(self.inventory.evicted)} if action == "retire" else {}),
                }
                calls.append((self._ask(host, action, exporters, [], arguments, task_vars), exporters, []))
        return self._registered(calls)

    def _remove(self, host: ExporterHost, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Remove exporters, or let them forget clients, as planned by the playbook timesten.monitoring.remove."""
        removal = self.inventory.removal()
        exporters = [exporter for exporter in host.exporters if exporter.name in removal.exporters.get(host.host, ())]
        if not exporters:
            return {"changed": False}
        if removal.forget:
            arguments: dict[str, Any] = {"forget_clients": list(removal.forget)}
            forgotten = [{"name": client} for client in removal.forget]
            answer = self._ask(host, "forget", exporters, forgotten, arguments, task_vars)
            return self._registered([(answer, exporters, forgotten)])
        gone = [
            dataclasses.replace(exporter, definition={**exporter.definition, "state": "absent"})
            for exporter in _booted_by(exporters, "none")
        ]
        answer = self._ask(host, "converge", gone, [], {}, task_vars)
        if any(exporter.leftover_unit for exporter in answer.exporters.values()):
            removed = self._units(host, gone, task_vars)
            answer = dataclasses.replace(answer, failed=answer.failed or removed.trouble)
        return self._registered([(answer, exporters, [])])

    # --- calls

    def _ask(
        self,
        host: ExporterHost,
        phase: answers.Phase,
        exporters: Sequence[Exporter],
        clients: Sequence[Mapping[str, Any]],
        arguments: Mapping[str, Any],
        task_vars: dict[str, Any],
    ) -> ExporterHostAnswer:
        """Call the module as the owner and return the parsed answer. An invalid answer counts as a failure of the host."""
        full = {
            **arguments,
            "phase": phase,
            "exporters": [dict(exporter.definition) for exporter in exporters],
        }
        with self.as_user(host.owner if host.become else None):
            raw = self.call(self.MODULE, full, task_vars)
        asked = [exporter.name for exporter in exporters]
        try:
            return answers.parse_exporter_host(
                raw,
                phase=phase,
                host=host.host,
                exporters=asked,
                clients=[client["name"] for client in clients],
                check_mode=self._task.check_mode,
                recipients={client["name"]: client["recipient"] for client in clients if client.get("recipient")},
            )
        except answers.Nonsense as error:
            return steps.failed_host(host.host, phase, asked, steps.nonsense(error))

    def _registered(
        self,
        calls: Sequence[tuple[ExporterHostAnswer, Sequence[Exporter], Sequence[Mapping[str, Any]]]],
        clock: rotation.Clock | None = None,
    ) -> dict[str, Any]:
        handed_on = []
        for answer, exporters, clients in calls:
            asked = {
                "phase": answer.phase,
                "exporters": [exporter.name for exporter in exporters],
                "clients": [client["name"] for client in clients],
                "check_mode": self._task.check_mode,
            }
            handed_on.append({"asked": asked, "answer": answer.as_dict()})
        found = [answer for answer, _exporters, _clients in calls]
        return self.registered(found, {"calls": handed_on}, clock)

    # --- what takes root

    def _foreseen(
        self,
        host: ExporterHost,
        exporters: Sequence[Exporter],
        inspected: Mapping[str, PrometheusAnswer],
        task_vars: dict[str, Any],
    ) -> dict[str, str]:
        """Return the new exporters that would be refused, with the reason, before root makes anything for them. No
        Prometheus knows them yet.
        """
        known = {name for answer in inspected.values() for name in answer.definitions}
        new = [exporter for exporter in exporters if exporter.name not in known]
        if not new or self._task.check_mode or not self._needs_root(host, new):
            return {}
        self._task.check_mode = True
        try:
            answer = self._ask(host, "converge", new, [], {}, task_vars)
        finally:
            self._task.check_mode = False
        return {name: exporter.failed for name, exporter in answer.exporters.items() if exporter.failed}

    @staticmethod
    def _needs_root(host: ExporterHost, exporters: Sequence[Exporter]) -> bool:
        return host.make_directory or any(exporter.definition.get("boot") == "systemd" for exporter in exporters)

    def _prepare(self, host: ExporterHost, exporters: Sequence[Exporter], task_vars: dict[str, Any]) -> _AsRoot:
        """Do what the owner cannot do: make a directory that needs root, and install units."""
        done = _AsRoot()
        if host.make_directory:
            parents = sorted({str(e.definition["certificate_directory"]).rpartition("/")[0] for e in exporters})
            for parent in parents:
                arguments = {"path": parent, "state": "directory", "owner": host.owner, "mode": "0700"}
                done = done.after(self._root("ansible.builtin.file", arguments, task_vars))
                if done.trouble is not None:
                    return done
        if any(exporter.definition.get("boot") == "systemd" for exporter in exporters):
            # For exporters with ``auto`` the host has not yet said whether they want a unit.
            settled = [exporter for exporter in exporters if exporter.definition.get("boot") != AUTO]
            done = done.after(self._units(host, settled, task_vars))
        return done

    def _units(self, host: ExporterHost, exporters: Sequence[Exporter], task_vars: dict[str, Any]) -> _AsRoot:
        """Let systemd run the exporters that ask for it, and no others."""
        arguments = {
            "exporters": [
                {key: value for key, value in exporter.definition.items() if key in UNIT_KEYS} for exporter in exporters
            ],
            "owner": host.owner,
            "after": list(host.boot_after),
        }
        return self._root("tt_exporter_unit", arguments, task_vars)

    def _root(self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> _AsRoot:
        with self.as_user("root"):
            raw = self.call(module, arguments, task_vars)
        trouble = answers.plain(answers.reason(raw), 1000) if raw.get("failed") else None
        why = raw.get("why")
        listed = why[:100] if isinstance(why, list) else []
        texts = tuple(answers.plain(text, 200) for text in listed if isinstance(text, str))
        return _AsRoot(raw.get("changed") is True, trouble, texts)

    # --- facts from the inventory and the other hosts

    def _of_wave(self, host: ExporterHost) -> list[Exporter]:
        """Return the exporters of this host that take part in the rotation."""
        if host.host not in self.inventory.wave():
            return []
        only = self.inventory.rotated()
        return [exporter for exporter in host.exporters if only is None or exporter.name in only]

    def _gaps(self, exporters: Sequence[Exporter], inspected: Mapping[str, PrometheusAnswer]) -> dict[str, Any]:
        """Return the moments between the scrapes of hand-written jobs at which exporters may be taken over, by this
        host's clock.
        """
        by_hand = {
            exporter.name: {
                client: answer for client, answer in inspected.items() if exporter.name in answer.scrapes_by_hand
            }
            for exporter in exporters
            if exporter.definition.get("takeover")
        }
        by_hand = {name: found for name, found in by_hand.items() if found}
        if not by_hand:
            return {}
        own, clients = self.measured_clock(), self.inventory.fleet.clients
        clocks = {name: self.inventory.clock(clients[name].host, steps.INSPECTED) for name in inspected}
        return {name: rotation.takeover_order(name, found, clocks, own, time.time()) for name, found in by_hand.items()}

    def _takers(self, inspected: Mapping[str, Any], host: ExporterHost) -> list[dict[str, Any]]:
        """Return the clients of an exporter host, including outsiders, in the module's form."""
        found = _clients(inspected, host)
        run = self.inventory.fleet.run
        exporters = [exporter.name for exporter in host.exporters]
        for outsider in run.timesten_outsiders:
            if any(outsider.takes(exporter) for exporter in exporters):
                has = outsiders.read(run.folder_of(outsider), outsider.public_key, exporters)
                found.append(outsiders.client(outsider, has, exporters, outsider.name in host.readmit))
        return found


def _in_the_way(host: ExporterHost, inspected: Mapping[str, PrometheusAnswer]) -> dict[str, str]:
    """Return the exporters that a Prometheus could not scrape because of a hand-written job, and why they are refused."""
    return {
        exporter.name: f"{client}: {words.in_words(answer.in_the_way[exporter.name], words.PROMETHEUS)}. Nothing was changed"
        for exporter in host.exporters
        for client, answer in inspected.items()
        if exporter.name in answer.in_the_way
    }


def _booted_by(exporters: Sequence[Exporter], boot: str) -> list[Exporter]:
    return [dataclasses.replace(exporter, definition={**exporter.definition, "boot": boot}) for exporter in exporters]


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _jobs(host: ExporterHost) -> set[str]:
    """Return the names of the jobs of a host's exporters."""
    return {names.on_port(exporter.name, spare) for exporter in host.exporters for spare in (False, True)}


def _clients(inspected: Mapping[str, Any], host: ExporterHost) -> list[dict[str, Any]]:
    """Return the clients of an exporter host in the module's form, with what the Prometheus hosts have stored."""
    mine = _jobs(host)
    found = []
    for client, answer in inspected.items():
        stored: dict[str, dict[str, Any]] = {
            name: entry.as_dict() for name, entry in answer.stored.items() if name in mine
        }
        for name, interval in answer.scrape_intervals.items():
            if name in mine:
                stored.setdefault(name, {})["scrape_interval"] = interval
        for name, definition in answer.definitions.items():
            if name in stored and not definition.get("insecure"):
                # The certificate has to keep the name that Prometheus verifies now until the job has moved.
                tls = prometheus_jobs.build(definition, "/").config["tls_config"]
                stored[name]["verifies"] = tls.get("server_name", definition["address"])
        found.append(
            {
                "name": client,
                "recipient": answer.transport_key,
                "scrape_interval": answer.scrape_interval,
                "stored": stored,
                "readmit": client in host.readmit,
            }
        )
    return found
