# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action that prints the last table of a run and sets its exit status. It contacts no host."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import timestamp, utcnow
from ansible_collections.timesten.monitoring.plugins.plugin_utils import handover, ledger, page, reports
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Problems, Run
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Writes the outsiders' files, prints the table, writes the JSON form and the page if the run asks for them, and
    fails unless everything was seen.
    """

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the ledger. The result is failed unless the ledger is good."""
        super().run(tmp, task_vars)
        inventory = Inventory(self._templar, task_vars)
        if not self._task.args.get("operation"):
            return self._again(inventory)
        _variables, arguments = self.validate_argument_spec(
            {"operation": {"type": "str", "required": True, "choices": list(ledger.OPERATIONS)}}
        )
        notes: list[str] = []
        problems: list[str] = []
        if arguments["operation"] == "site":
            notes, problems = handover.at_the_end(inventory, self._task.check_mode)
        elif arguments["operation"] == "remove":
            notes, problems = handover.after_removal(inventory, self._task.check_mode)
        made = ledger.of_run(arguments["operation"], inventory, self._task.check_mode)
        made = dataclasses.replace(
            made,
            notes=(*made.notes, *notes),
            problems=(*made.problems, *problems),
            time=timestamp(utcnow()),
        )
        for line in ["", *made.lines(), ""]:
            display.display(line)
        unwritten = _write(inventory.run, made)
        if unwritten or not made.good:
            # Ansible shows a failed result as a whole, and the table has already said everything.
            return {"failed": True, "msg": " ".join([made.verdict(), *unwritten])}
        return {"changed": bool(notes), "ledger": made.as_dict()}

    def _again(self, inventory: Inventory) -> dict[str, Any]:
        """Write the page of an earlier run from its JSON form."""
        try:
            run = inventory.run
        except Problems as error:
            return {"failed": True, "msg": str(error)}
        if not run.timesten_report or not run.timesten_report_html:
            books = ", ".join(ledger.OPERATIONS)
            reason = f"it only reports what another playbook has seen in the same run. Run one of these playbooks, which all end with it: {books}"
            page_of = "with -e timesten_report=FILE -e timesten_report_html=PAGE it makes the page of an earlier report"
            return {"failed": True, "msg": f"timesten.monitoring.report has nothing to report: {reason}; {page_of}."}
        in_the_way = reports.fault(run.timesten_report_html, "timesten_report_html") or reports.same(
            run.timesten_report, run.timesten_report_html
        )
        if in_the_way:
            return {"failed": True, "msg": in_the_way}
        try:
            made = page.read(run.timesten_report)
            if made is None:
                raise TimesTenError(f"there is no file {run.timesten_report}")
            changed = reports.write_text(run.timesten_report_html, page.render(made), self._task.check_mode)
        except TimesTenError as error:
            return {"failed": True, "msg": f"timesten_report: {error.message}"}
        except OSError as error:
            return {"failed": True, "msg": _unwritten("timesten_report_html", run.timesten_report_html, error)}
        return {"changed": changed, "ledger": made.as_dict()}


def _write(run: Run, made: ledger.Ledger) -> list[str]:
    """Write the report files that the run asks for. Return why that failed."""
    # The page tells what is new since the report that this one replaces.
    before, trouble = None, None
    if run.timesten_report and run.timesten_report_html:
        try:
            before = page.read(run.timesten_report)
        except TimesTenError as error:
            trouble = error.message
    json_form = run.timesten_report
    html = run.timesten_report_html
    unwritten = []
    if json_form:
        unwritten += _tried("timesten_report", json_form, lambda: reports.write(json_form, made.as_dict()))
    if html:
        unwritten += _tried(
            "timesten_report_html", html, lambda: reports.write_text(html, page.render(made, before, trouble))
        )
    return unwritten


def _tried(variable: str, path: str, write: Callable[[], Any]) -> list[str]:
    try:
        write()
    except OSError as error:
        return [_unwritten(variable, path, error)]
    return []


def _unwritten(variable: str, path: str, error: OSError) -> str:
    return f"{variable}: {path} could not be written: {error.strerror}."
