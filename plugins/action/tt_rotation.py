# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action for the controller's decisions between the steps of a rotation. It contacts no host."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.timesten.monitoring.plugins.lookup.this_run import this_run
from ansible_collections.timesten.monitoring.plugins.plugin_utils import around, handover, ledger, rotation, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

display = Display()
STEPS = ("plan", "go", "judge", "leave", "record")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Makes the plan of a wave, judges the outcome, and keeps the record of all waves."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return what the next step needs."""
        super().run(tmp, task_vars)
        _variables, arguments = self.validate_argument_spec(
            {
                "step": {"type": "str", "required": True, "choices": ["join", *STEPS]},
                "hosts": {"type": "list", "elements": "str", "default": []},
            }
        )
        if arguments["step"] == "join":
            return {"changed": False, "hosts": arguments["hosts"]}
        self.inventory = Inventory(self._templar, task_vars)
        step = {"plan": self._plan, "go": self._go, "judge": self._judge, "leave": self._leave, "record": self._record}
        return {"changed": False, "reading": steps.reading(), **step[arguments["step"]]()}

    def _plan(self) -> dict[str, Any]:
        """Choose the moments."""
        inventory, fleet, run, began = self.inventory, self.inventory.fleet, self.inventory.run, time.time()
        staged = inventory.staged(inventory.wave())
        takers = {
            exporter.name: {
                client.name: client.host
                for client in fleet.clients_of(exporter.host)
                if client.name not in inventory.evicted
            }
            for exporter in fleet.exporters.values()
        }
        rows = rotation.plan(
            staged,
            inventory.clients(fleet.prometheus_hosts, steps.DELIVERED),
            {
                **{host: inventory.clock(host, steps.STAGED) for host in staged},
                **{host: inventory.clock(host, steps.DELIVERED) for host in fleet.prometheus_hosts},
            },
            takers,
            [exporter.name for exporter in fleet.exporters.values() if exporter.spare_port is not None],
            time.time(),
            run.rotate_strategy == rotation.SPARE_PORT,
            run.rotate_optional,
            run.rotate_confirm,
            run.rotate_force,
            grace={name: run.rotate_grace for name in fleet.exporters if run.rotate_grace and self._gets_grace(name)},
        )
        unwritten = {} if self._task.check_mode else handover.before_the_switch(inventory)
        for name, reason in unwritten.items():
            if name in rows and rows[name].refused is None:
                rows[name] = dataclasses.replace(rows[name], refused=reason)
        done = around.before(fleet.run, rows, this_run()["name"], self._task.check_mode)
        told = {"began": began, "silence": done.silence, "notes": list(done.notes)}
        return {"rows": {name: dataclasses.asdict(row) for name, row in done.rows.items()}, **told}

    def _gets_grace(self, exporter: str) -> bool:
        """Tell whether an exporter serves both ports for a while, because an outsider that keeps its access cannot
        follow at once.
        """
        found = self.inventory.fleet.outsiders_of(exporter)
        return not self.inventory.evicted and bool(found)

    def _go(self) -> dict[str, Any]:
        """Refuse the exporters that a client does not follow."""
        inventory = self.inventory
        following = inventory.clients(inventory.fleet.prometheus_hosts, steps.FOLLOWING)
        rows = rotation.go(inventory.rows("timesten_plan"), following, inventory.run.rotate_optional)
        return {"rows": {name: dataclasses.asdict(row) for name, row in rows.items()}}

    def _judge(self) -> dict[str, Any]:
        """Keep the switches that were proven, and take the others back."""
        inventory = self.inventory
        judged = rotation.verdicts(
            inventory.rows("timesten_go"),
            inventory.exporters(inventory.wave(), steps.SWITCHED),
            inventory.clients(inventory.fleet.prometheus_hosts, steps.PROVEN),
            inventory.run.rotate_optional,
            [client.name for client in inventory.fleet.clients.values() if not client.is_asked],
        )
        return {
            "verdicts": {name: dataclasses.asdict(verdict) for name, verdict in judged.items()},
        }

    def _leave(self) -> dict[str, Any]:
        """Say which of their two ports exporters leave, after the time that outsiders have to follow."""
        inventory = self.inventory
        ended = inventory.exporters(inventory.wave(), steps.ENDED)
        left = rotation.leaving(inventory.verdicts(), ended)
        grace, names = inventory.run.rotate_grace, [name for name in left if left[name].action == "retire"]
        waiting = [name for name in names if self._gets_grace(name)]
        if grace and waiting:
            display.display(
                f"Both ports of {', '.join(waiting)} serve for {grace:g} s, so that outsiders can take their new pairs."
            )
            time.sleep(grace)
        return {"leaving": {name: dataclasses.asdict(item) for name, item in left.items()}}

    def _record(self) -> dict[str, Any]:
        """Add the outcomes of this wave to the record of the run."""
        inventory, check_mode = self.inventory, self._task.check_mode
        run, planned = inventory.fleet.run, inventory.registered("timesten_plan")
        notes = [*planned.get("notes", []), *around.end(run, planned.get("silence", ""))]
        before = inventory.registered("timesten_rotated")
        entries, problems = ledger.rotations(inventory, check_mode), []
        if not check_mode and inventory.run.timesten_outsiders:
            switched = [entry.exporter for entry in entries if entry.outcome == "switched"]
            problems = handover.after_the_switch(inventory, switched)
            # The outsiders' directories now hold the new pairs.
            entries = ledger.rotations(inventory, False)
        touched = {entry.exporter: entry.outcome for entry in entries if entry.changed}
        notes += around.annotate(run, planned.get("began", 0.0), touched, check_mode)
        return {
            "entries": [*(before.get("entries") or []), *(dataclasses.asdict(entry) for entry in entries)],
            "problems": [*(before.get("problems") or []), *problems],
            "notes": [*(before.get("notes") or []), *notes],
            "stop": bool(problems) or any(not entry.good for entry in entries),
        }
