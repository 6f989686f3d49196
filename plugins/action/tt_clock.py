# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action that measures how far a host's clock is from the controller's."""

from __future__ import annotations

import dataclasses
from typing import Any

from ansible_collections.timesten.monitoring.plugins.plugin_utils.border import HostAction


class ActionModule(HostAction):
    """Asks for the host's date over the open connection. Transfers nothing and needs no Python on the host."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return offset and uncertainty in seconds."""
        result = super().run(tmp, task_vars)
        _variables, arguments = self.validate_argument_spec({"rounds": {"type": "int", "default": 4}})
        result.update(changed=False, **dataclasses.asdict(self.clock(arguments["rounds"])))
        return dict(result)
