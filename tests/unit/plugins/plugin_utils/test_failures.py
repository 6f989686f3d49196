# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a module call failed, in one line, with the package to install where that is the cause."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.plugin_utils.failures import reason

pytestmark = pytest.mark.controller


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        (
            {"msg": "Failed to import the required Python library (cryptography >= 3.3) on exp1's Python"},
            "python3-cryptography",
        ),
        ({"msg": "MODULE FAILURE", "module_stderr": "/bin/sh: /usr/bin/python3: not found"}, "Python 3.8 or later"),
        ({"msg": "x", "module_stderr": "SyntaxError: future feature annotations is not defined"}, "Oracle Linux 8"),
        (
            {"msg": "ansible-core requires a minimum of Python version 3.8. Current version: 3.6.8"},
            "Python 3.8 or later",
        ),
        ({"msg": "Failed to set permissions on the temporary files Ansible needs to create"}, "pipelining = True"),
        (
            {"msg": "Failed to set permissions on the temporary files Ansible needs to create"},
            "With ansible_become_method=su, ",
        ),
        ({"msg": "x", "exception": "ModuleNotFoundError: No module named 'cryptography'"}, "python3-cryptography"),
    ],
)
def test_advice(raw: dict[str, Any], advice: str) -> None:
    found = reason(raw)
    assert advice in found and "\n" not in found


def test_there_is_none_to_give() -> None:
    assert reason({"msg": "port 8888 is held by nginx"}) == "port 8888 is held by nginx"
    assert reason({"msg": "a", "module_stdout": "b", "module_stderr": "a"}) == "a; b"
    assert reason({}) == "the module call failed without a message"
