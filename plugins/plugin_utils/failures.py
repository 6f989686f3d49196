# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells why a module call failed: one line for people, with advice if the cause is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import plain

NO_ANSWER = "its host did not answer for it"

_KEYS = ("msg", "module_stderr", "module_stdout")
_LIMIT = 1500
_PRINTED = 500
"""Characters of what a module printed that is no answer."""
_READ = 65536
"""The number of characters that are searched, from the end of a text, because errors stand there."""
_TRACEBACK = "Traceback (most recent call last)"
_EMPTY_WORDS = re.compile(
    r"MODULE FAILURE|Module result deserialization failed|Task failed: Module failed", re.IGNORECASE
)
"""ansible-core's texts for a module that could not give a message itself."""
_CLOSED = re.compile(r"(?:Shared connection|Connection) to \S{1,300} closed\.\Z")

_PYTHON = (
    "The managed host needs Python 3.8 or later with the cryptography package (3.3 or later): on Debian "
    "'apt-get install python3 python3-cryptography', on Oracle Linux 8 'dnf install python39 python39-cryptography' (its "
    "own Python 3.6 is too old) and ansible_python_interpreter=/usr/bin/python3.9, on Oracle Linux 9 'dnf install python3 "
    "python3-cryptography'."
)
_UNPRIVILEGED = (
    "Becoming an unprivileged user needs pipelining, so that no file has to change hands: set 'pipelining = True' in the "
    "[ssh_connection] section of ansible.cfg, and have no requiretty in sudoers. With ansible_become_method=su, which cannot use "
    "pipelining, install the package acl on the host."
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
            r"python[0-9.]{0,20}: (?:command )?not found|python[0-9.]{0,20}: No such file|No python interpreters found|"
            r"interpreter .{0,300}not found",
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


def reason(raw: Mapping[str, Any]) -> str:
    """Return why a call failed, in one line, with advice if a package or a setting is the cause."""
    parts = [part for part in (_said(raw.get(key), key) for key in _KEYS) if part]
    # The last line of a traceback says more than the text that only announces a traceback.
    telling = [part for part in parts if not _EMPTY_WORDS.match(part)] or parts
    found = plain("; ".join(dict.fromkeys(telling)), _LIMIT) or "the module call failed without a message"
    if found.endswith(tuple(advice for _pattern, advice in _ADVICE)):
        return found
    everything = "\n".join([found, *(_end(raw.get(key)) for key in (*_KEYS, "exception"))])
    for pattern, advice in _ADVICE:
        if pattern.search(everything):
            return f"{plain(found, _LIMIT - 500).rstrip('.')}. {advice}"
    return found


def _end(value: object) -> str:
    return value[-_READ:] if isinstance(value, str) else ""


def _said(value: object, key: str) -> str:
    """Return a text as one line, without what ssh adds to the output. Of a traceback, return the last line, which holds
    the error.
    """
    text = _end(value)
    lines = [plain(line, _LIMIT) for line in text.splitlines()]
    lines = [line for line in lines if line and (key == "msg" or not _CLOSED.match(line))]
    if _TRACEBACK in text:
        lines = lines[-1:]
    return plain(" ".join(lines[:100]), _LIMIT if key == "msg" else _PRINTED)
