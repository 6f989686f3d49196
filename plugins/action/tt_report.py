# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: the last table of a run, and its exit status. No host is contacted."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.timesten.monitoring.plugins.plugin_utils import ledger
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Prints the table, writes it as JSON where the run asks for that, and fails unless everything was seen."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return the ledger; failed unless it is good."""
        super().run(tmp, task_vars)
        _variables, arguments = self.validate_argument_spec(
            {"operation": {"type": "str", "required": True, "choices": list(ledger.OPERATIONS)}}
        )
        inventory = Inventory(self._templar, task_vars)
        made = ledger.of_run(arguments["operation"], inventory, self._task.check_mode)
        for line in ["", *made.lines(), ""]:
            display.display(line)
        if inventory.run.timesten_report:
            write(inventory.run.timesten_report, made.as_dict())
        if not made.good:
            # A failed result is shown whole, and the table has said it all.
            return {"failed": True, "msg": made.verdict()}
        return {"changed": False, "ledger": made.as_dict()}


def write(path: str, data: dict[str, Any]) -> None:
    """Write the ledger beside the file that it replaces, and rename it.

    :raises OSError: if that cannot be done.
    """
    path = os.path.abspath(os.path.expanduser(path))
    descriptor, beside = tempfile.mkstemp(prefix=".timesten-report-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
        # The ledger holds no secret; whoever may read the directory may read it, as with any file of this user.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
