# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and writes the calling user's crontab, and sets our entry in it."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError


def with_entry(text: str, mark: str, lines: Sequence[str]) -> str:
    """Return a crontab with our entry instead of its earlier one. Everything else stays.

    :param mark: the comment that begins the entry; one more line follows it.
    :param lines: the whole entry; empty to remove it.
    """
    # splitlines would also split at other characters, which do not end a line of a crontab.
    before = [line for line in re.split("(?<=\n)", text) if line]
    kept: list[str] = []
    entries: list[list[str]] = []
    index = 0
    while index < len(before):
        if before[index].rstrip("\n") == mark:
            entries.append(before[index : index + 2])
            index += 2
            continue
        kept.append(before[index])
        index += 1
    entry = [line + "\n" for line in lines]
    if entries == ([entry] if lines else []):
        return text
    if entry and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join(kept + entry)


def read() -> str:
    """Return the crontab of the calling user; empty if there is none. Bytes that are not UTF-8 are escaped as in a
    path.

    :raises TimesTenError: if cron is missing, or does not allow this user a crontab.
    """
    done = _crontab(["-l"])
    if done.returncode != 0 and b"no crontab for" not in done.stderr:
        raise _failed("crontab -l", done)
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""


def write(text: str) -> None:
    """Replace the crontab of the calling user.

    :raises TimesTenError: if cron refuses it.
    """
    done = _crontab(["-"], text.encode("utf-8", "surrogateescape"))
    if done.returncode != 0:
        raise _failed("crontab -", done)


def _failed(command: str, done: subprocess.CompletedProcess[bytes]) -> TimesTenError:
    why = done.stderr.decode("utf-8", "replace").strip()[:300]
    return TimesTenError(f"boot: {command} failed with exit status {done.returncode}: {why}")


def _crontab(arguments: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["crontab", *arguments],
            input=data,
            env=environment,
            capture_output=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TimesTenError(
            f"boot: cannot run crontab: {error}; install cron, or set boot to systemd or none"
        ) from error
