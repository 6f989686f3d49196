# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks promtool, as the Prometheus user, about a configuration."""

from __future__ import annotations

import os
import shutil
import subprocess

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import redact
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Account, take_on

_TIMEOUT = 120
ROOT = Account("root", 0, 0, ())
"""Runs promtool on a configuration for a container, whose user may have no access to the host's paths."""


def find(promtool: str | None) -> str | None:
    """Return the path of promtool: the given one, or one from PATH and the usual directories."""
    return shutil.which(
        promtool or "promtool", path=os.environ.get("PATH", os.defpath) + ":/usr/local/bin:/opt/prometheus"
    )


def require(promtool: str | None) -> str:
    """Return the path of promtool as :func:`find` does.

    :raises TimesTenError: if there is none.
    """
    tool = find(promtool)
    if tool is None:
        raise TimesTenError(
            f"promtool: {promtool or 'promtool'} was not found; it comes with Prometheus (Debian 13: package "
            f"promtool). Set its path"
        )
    return tool


def complaint(
    promtool: str, path: str, identity: Account, syntax_only: bool = False, what: str = "config"
) -> str | None:
    """Return what promtool, run as the Prometheus user, reports against a file; None if it accepts the file.

    :param what: ``config`` or ``rules``.
    :raises TimesTenError: if promtool cannot be run.
    """
    command = [promtool, "check", what, *(["--syntax-only"] if syntax_only else []), path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            # This is safe because the process has one thread here. Python 3.8 has no user= and group=.
            preexec_fn=lambda: take_on(identity),
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TimesTenError(
            f"cannot run {promtool} as {identity.name}: {error}; set promtool to the one of this Prometheus"
        ) from error
    return None if done.returncode == 0 else redact.said(done.stdout.decode("utf-8", "replace").strip())[-2000:]


def check(promtool: str, path: str, identity: Account, original: str | None = None, syntax_only: bool = False) -> None:
    """Let promtool check a candidate.

    :param original: the file that the candidate replaces; None if there is none.
    :raises TimesTenError: with promtool's message; about the original, if promtool refuses that as well.
    """
    text = complaint(promtool, path, identity, syntax_only)
    if text is None:
        return
    before = None if original is None else complaint(promtool, original, identity, syntax_only)
    if before is not None:
        raise TimesTenError(
            f"promtool, run as {identity.name}, refuses {original} as it is, before any change of ours: {before}. "
            f"Repair that first"
        )
    raise TimesTenError(
        f"promtool, run as {identity.name}, refuses the new configuration: {text.replace(path, 'the new configuration')}"
    )


def check_rules(promtool: str, path: str, identity: Account) -> None:
    """Let promtool check a candidate of our rule file.

    :raises TimesTenError: with promtool's message.
    """
    text = complaint(promtool, path, identity, what="rules")
    if text is not None:
        text = text.replace(path, "the new rule file")
        raise TimesTenError(f"promtool, run as {identity.name}, refuses the new rule file: {text}")
