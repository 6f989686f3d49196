# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share, in one place; the documentation fragments describe them."""

from __future__ import annotations

from typing import Any

WALLET: dict[str, Any] = {
    "common_name": {"type": "str"},
    "alt_names": {"type": "list", "elements": "str"},
    "rsa_key_size": {"type": "int"},
    "renew_before": {"type": "str", "default": "30d"},
    "regenerate": {
        "type": "str",
        "choices": ["never", "when_due", "when_changed", "always"],
        "default": "when_due",
    },
    "allow_home": {"type": "bool", "default": False},
}

PROCESS: dict[str, Any] = {
    "insecure": {"type": "bool", "default": False},
    "rate_limit": {"type": "int", "default": 15},
    "pid_file": {"type": "path"},
    "log_file": {"type": "path"},
    "stop_signal": {"type": "str", "choices": ["TERM", "INT"], "default": "TERM"},
    "stop_timeout": {"type": "int", "default": 10},
    "start_timeout": {"type": "int", "default": 30},
    "force_kill": {"type": "bool", "default": False},
    "boot": {"type": "str", "choices": ["none", "cron", "systemd"], "default": "none"},
    "takeover": {"type": "bool", "default": False},
}

UTILITY: dict[str, Any] = {
    "timesten_home": {"type": "path", "required": True},
    "certificate_directory": {"type": "path", "required": True},
    "environment": {"type": "dict", "default": {}},
}

CLIENT: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "recipient": {"type": "str"},
}


RUN: dict[str, Any] = {
    "type": "dict",
    "default": {},
    "options": {
        "name": {"type": "str", "default": ""},
        "controller": {"type": "str", "default": ""},
        "process": {"type": "str", "default": ""},
        "running": {"type": "list", "elements": "str"},
    },
}


def exporter(**options: dict[str, Any]) -> dict[str, Any]:
    """The options of one exporter: those of the utility, and what the module adds."""
    return {**UTILITY, **options}
