# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps host paths to the paths in a container: this collection opens files by host paths, and Prometheus's
configuration names container paths.
"""

from __future__ import annotations

import posixpath
from typing import Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError


def rules_beside(store: str) -> str:
    """Return the path of the rule file if no option sets it: beside the store."""
    return f"{posixpath.normpath(store)}.rules.yml"


def cleaned(path: str) -> str:
    """The path without what spells it another way: slashes at its end or several of them, ``.`` and ``..``."""
    return posixpath.normpath("/" + path.lstrip("/"))


class PathMap:
    """Host paths, and the container paths of the same directories.

    :param pairs: container path by host path; empty if the process sees the host's paths.
    """

    def __init__(self, pairs: Mapping[str, str] | None = None) -> None:
        given = [(cleaned(host), cleaned(inside)) for host, inside in (pairs or {}).items()]
        # The nearest mount decides, as in the container.
        self._out = sorted(given, key=lambda pair: len(pair[0]), reverse=True)
        self._in = sorted(given, key=lambda pair: len(pair[1]), reverse=True)

    def __bool__(self) -> bool:
        return bool(self._out)

    def inside(self, path: str, what: str = "path") -> str:
        """Return the process's path for a host path.

        :param what: the option of the path, for the message.
        :raises TimesTenError: if it is below none of the host paths.
        """
        if not self:
            return path
        found = _moved(path, self._out)
        if found is None:
            hosts = ", ".join(host for host, _inside in self._out)
            raise TimesTenError(
                f"path_map: {what} {path} is below none of its host paths ({hosts}), so the container would not see it: add "
                f"the mount that has it, or set {what} to a place below one of them"
            )
        seen = self.outside(found)
        if seen != cleaned(path):
            raise TimesTenError(
                f"path_map: {what} {path} would be {found} in the container, where another mount hides it (that is {seen} "
                f"on the host): set {what} to a place below that mount"
            )
        return found

    def outside(self, path: str) -> str | None:
        """Return the host path for an absolute path of the process; None if it exists in the container only."""
        if not self or not posixpath.isabs(path):
            return path
        return _moved(path, [(inside, host) for host, inside in self._in])

    def names(self, names: Sequence[str]) -> list[str]:
        """Return the names in a configuration as host paths, without those that exist in the container only."""
        return [found for name in names for found in (self.outside(name),) if found is not None]


def _moved(path: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    whole = cleaned(path)
    for start, end in pairs:
        if whole == start:
            return end
        head = start.rstrip("/") + "/"
        if whole.startswith(head):
            return posixpath.join(end, whole[len(head) :])
    return None
