# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start script ``<exporter>/run``, as a file."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files


def write_script(path: str, text: str) -> None:
    """Write a start script. It holds the values of the environment, so only its owner may read it."""
    data = text.encode("utf-8", "surrogateescape")
    with contextlib.suppress(FileNotFoundError):
        # A flush to disk may take as long as the restart that follows.
        if files.read(path) == data:
            return
    files.write(path, data, 0o700)


def remove_script(path: str) -> None:
    """Remove a start script. Afterwards nothing starts the exporter at boot, and its unit does not start it again."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
