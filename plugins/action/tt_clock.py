# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: how far a host's clock is from the controller's."""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_COMMAND = "date +%s.%N"


class ActionModule(ActionBase):
    """Asks the host's date over the open connection; nothing is transferred, and no Python is needed there."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return offset and uncertainty in seconds."""
        result = super().run(tmp, task_vars)
        _variables, arguments = self.validate_argument_spec({"rounds": {"type": "int", "default": 4}})
        best = None
        for _round in range(max(1, arguments["rounds"])):
            before, clock = time.time(), time.monotonic()
            answer = self._low_level_execute_command(_COMMAND, sudoable=False)
            took = time.monotonic() - clock
            match = re.search(r"^(\d+\.\d+)\s*$", answer.get("stdout", ""), re.MULTILINE)
            if answer.get("rc") != 0 or match is None:
                raise AnsibleActionFail(
                    f"{_COMMAND!r} on {task_vars['inventory_hostname']} answered {answer.get('stdout', '').strip()!r} "
                    f"{answer.get('stderr', '').strip()!r} (status {answer.get('rc')}), no time with a fraction of a second"
                )
            if best is None or took < best[1]:
                best = float(match.group(1)) - (before + took / 2), took
        result.update(changed=False, offset=round(best[0], 4), uncertainty=round(best[1] / 2, 4))
        return result
