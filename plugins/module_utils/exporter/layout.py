# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of all files in an exporter's directory (docs/on-disk.md)."""

from __future__ import annotations

import os
import re

from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import SPARE

GENERATION_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}\Z")

_LOCK = "lock"
_NAMES = frozenset(
    (
        "current",
        "generations",
        "exporter.pid",
        f"exporter.pid{SPARE}",
        "exporter.log",
        "exporter.log.1",
        "state.json",
        f"state.json{SPARE}",
        "timing.json",
        "switch.json",
        "switch.json.request",
        "restart.json",
        "lease.json",
        "run",
        "run.pid",
        "start",
    )
)
"""Everything that this collection makes in an exporter's directory, without the lock."""

_HALF_WRITTEN = re.compile(r"(\..+|current)\.[0-9a-f]{12}\Z")
"""core.files gives these names to files that it has not renamed yet."""


class Layout:
    """Paths below ``<directory>/<exporter>``.

    :ivar path: the directory.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def inside(self, *parts: str) -> str:
        """Return a path in the directory."""
        return os.path.join(self.path, *parts)

    @property
    def lock_file(self) -> str:
        """The lock: a run holds it while it changes something."""
        return self.inside(_LOCK)

    @property
    def current_link(self) -> str:
        """The link to the current generation."""
        return self.inside("current")

    @property
    def generations(self) -> str:
        """The directory of all generations."""
        return self.inside("generations")

    @property
    def switch_file(self) -> str:
        """The record of the last switch."""
        return self.inside("switch.json")

    @property
    def restart_file(self) -> str:
        """The record of a restart, while that is under way."""
        return self.inside("restart.json")

    @property
    def run_file(self) -> str:
        """The script that starts the exporter after a reboot."""
        return self.inside("run")

    def state_file(self, spare: bool = False) -> str:
        """What the running process was started with."""
        return self.inside("state.json" + (SPARE if spare else ""))

    def generation(self, generation: str) -> str:
        """Directory of a generation."""
        return os.path.join(self.generations, generation)

    def manifest_file(self, generation: str) -> str:
        """The manifest of a generation."""
        return os.path.join(self.generation(generation), "manifest.json")

    def server_file(self, generation: str) -> str:
        """The exported server certificate of a generation."""
        return os.path.join(self.generation(generation), "server.crt")

    def clients(self, generation: str) -> str:
        """The directory of all pairs of a generation."""
        return os.path.join(self.generation(generation), "clients")

    def pair_file(self, generation: str, client: str, file: str) -> str:
        """Return the path of a file of a pair: ``client.crt``, ``client.key``, ``bundle.json`` or ``bundle.age``."""
        return os.path.join(self.clients(generation), client, file)


def timing_file(directory: str) -> str:
    """Return the path of the file with the durations of the last starts and restarts."""
    return os.path.join(directory, "timing.json")


OLD_LOG = ".1"
"""What a start appends to the name of a large log, before it begins a new one."""


def is_lock(name: str) -> bool:
    """Tell whether this name in the directory is that of the lock."""
    return name == _LOCK


def is_file(name: str) -> bool:
    """Tell whether a name is that of a file which this collection makes in every exporter's directory, the lock among them."""
    return is_lock(name) or name in _NAMES - {"current", "generations"}


def is_half_written(name: str) -> bool:
    """Tell whether this is the name of a file or link that an interrupted run had not renamed yet."""
    return bool(_HALF_WRITTEN.match(name))


def is_ours(name: str) -> bool:
    """Tell whether this collection makes a file of this name in every exporter's directory. The lock does not count."""
    return name in _NAMES or is_half_written(name)
