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
  - Returns the message of a failed result. Where the call failed because the managed host has no Python that fits, or
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

import re
from typing import Any, Callable, Mapping

_PYTHON = (
    "The managed host needs Python 3.8 or later with the cryptography package (3.3 or later): on Debian "
    "'apt-get install python3 python3-cryptography', on Oracle Linux 8 'dnf install python39 python39-cryptography' (its "
    "own Python 3.6 is too old) and ansible_python_interpreter=/usr/bin/python3.9, on Oracle Linux 9 'dnf install python3 "
    "python3-cryptography'."
)
_UNPRIVILEGED = (
    "Becoming an unprivileged user needs pipelining, so that no file has to change hands: set 'pipelining = True' in the "
    "[ssh_connection] section of ansible.cfg, and have no requiretty in sudoers."
)
_SUDO = (
    "Becoming another user failed: the login user needs sudo (or another method, ansible_become_method) for the owner of "
    "the exporters and, on Prometheus hosts, for root; without a password, or with -K."
)
_ADVICE = (
    (
        re.compile(
            r"No module named '?cryptography|Failed to import the required Python library \(cryptography", re.IGNORECASE
        ),
        _PYTHON,
    ),
    (
        re.compile(
            r"python[0-9.]*: (?:command )?not found|python[0-9.]*: No such file|No python interpreters found|interpreter .*not found",
            re.IGNORECASE,
        ),
        _PYTHON,
    ),
    (
        re.compile(
            r"future feature annotations is not defined|requires? (?:a )?(?:minimum of )?Python|Python 2\.7|unsupported python",
            re.IGNORECASE,
        ),
        _PYTHON,
    ),
    (
        re.compile(r"\bsudo: |Missing sudo password|not in the sudoers file|Incorrect sudo password", re.IGNORECASE),
        _SUDO,
    ),
    (re.compile(r"Failed to set permissions on the temporary files|unprivileged user", re.IGNORECASE), _UNPRIVILEGED),
)


def failure_advice(result: Mapping[str, Any]) -> str:
    """Return the message of a failed result, with advice where a package or a setting is the cause."""
    parts = [str(result.get(key)).strip() for key in ("msg", "module_stderr", "module_stdout") if result.get(key)]
    text = "\n".join(dict.fromkeys(parts)) or "the module call failed without a message"
    for pattern, advice in _ADVICE:
        if pattern.search(text) or pattern.search(str(result.get("exception", ""))):
            return f"{text}\n{advice}"
    return text


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"failure_advice": failure_advice}
