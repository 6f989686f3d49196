# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: the last table of a run, and its exit status. No host is contacted."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.timesten.monitoring.plugins.plugin_utils import handover, ledger, reports
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Writes what outsiders get, prints the table, writes it as JSON where the run asks for that, and fails unless everything was seen."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the ledger; failed unless it is good."""
        super().run(tmp, task_vars)
        if not self._task.args.get("operation"):
            books = ", ".join(ledger.OPERATIONS)
            reason = f"it reads what another playbook has seen in the same run, and each of these ends with it: {books}. Run one of them"
            return {"failed": True, "msg": f"timesten.monitoring.report has nothing to report: {reason}."}
        _variables, arguments = self.validate_argument_spec(
            {"operation": {"type": "str", "required": True, "choices": list(ledger.OPERATIONS)}}
        )
        inventory = Inventory(self._templar, task_vars)
        notes: list[str] = []
        problems: list[str] = []
        if arguments["operation"] == "site":
            notes, problems = handover.at_the_end(inventory, self._task.check_mode)
        made = ledger.of_run(arguments["operation"], inventory, self._task.check_mode)
        made = dataclasses.replace(made, notes=(*made.notes, *notes), problems=(*made.problems, *problems))
        for line in ["", *made.lines(), ""]:
            display.display(line)
        unwritten = self._write(inventory.run.timesten_report, made)
        if unwritten or not made.good:
            # A failed result is shown whole, and the table has said it all.
            return {"failed": True, "msg": " ".join([made.verdict(), *unwritten])}
        return {"changed": bool(notes), "ledger": made.as_dict()}

    def _write(self, path: str | None, made: ledger.Ledger) -> list[str]:
        """Write the JSON form; return why that failed."""
        if not path:
            return []
        try:
            reports.write(path, made.as_dict())
        except OSError as error:
            return [f"timesten_report: {path} could not be written: {error.strerror}."]
        return []
