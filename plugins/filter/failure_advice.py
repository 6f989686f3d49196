# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a failed module call in words, with the package to install where that is the cause."""

from __future__ import annotations

DOCUMENTATION = r"""
name: failure_advice
short_description: Say why a module call failed, and which package to install
version_added: 0.1.0
description:
  - Returns the message of a failed result in one line, without control characters; of a Python traceback its last line.
  - Where the call failed because the managed host has no Python that fits, or
    a package is missing, the advice comes with it.
  - So no call of its own is needed to look for them beforehand.
options:
  _input:
    description: The registered result of a failed module call.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what went wrong
  ansible.builtin.fail:
    msg: "{{ exporter_host_result | timesten.monitoring.failure_advice }}"
"""

RETURN = r"""
_value:
  description: The message, and the advice.
  type: str
  sample: "/usr/bin/python3: not found. The managed host has no Python 3.8 or later: ..."
"""

from typing import Any, Callable, Mapping

from ansible_collections.timesten.monitoring.plugins.plugin_utils.failures import reason


def failure_advice(result: Mapping[str, Any]) -> str:
    """Return the message of a failed result, with advice where a package or a setting is the cause."""
    return reason(result)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"failure_advice": failure_advice}
