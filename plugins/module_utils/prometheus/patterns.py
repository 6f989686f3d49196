# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Matches file name patterns as Prometheus does, with Go's ``filepath.Match`` and ``filepath.Glob``.

Python's ``fnmatch`` and ``glob`` differ: in Go, a star matches names that begin with a dot, ``[^a]`` negates, and a
backslash escapes the next character.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import secrets
from collections.abc import Iterable

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

_SPECIAL = re.compile(r"[*?\[\\]")
_RANGE = re.compile(r"(\\.|[^\\\]-])(?:-(\\.|[^\\\]-]))?", re.DOTALL)


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Return one component of a path as a regular expression; None if Go calls the pattern malformed."""
    parts = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append(".*")
        elif char == "?":
            parts.append(".")
        elif char == "\\":
            if at == len(pattern):
                return None
            parts.append(re.escape(pattern[at]))
            at += 1
        elif char == "[":
            negated = pattern[at : at + 1] == "^"
            at += negated
            ranges: list[str] = []
            while pattern[at : at + 1] != "]" or not ranges:
                found = _RANGE.match(pattern, at)
                if not found:
                    return None
                low, high = found.group(1)[-1], (found.group(2) or found.group(1))[-1]
                if low <= high:
                    ranges.append(f"{re.escape(low)}-{re.escape(high)}")
                else:
                    ranges.append("")
                at = found.end()
            inside = "".join(ranges)
            at += 1
            parts.append(f"[{'^' if negated else ''}{inside}]" if inside else "." if negated else r"(?!)")
        else:
            parts.append(re.escape(char))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def _match(pattern: str, name: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is not None and compiled.match(name) is not None


def _absolute(name: str, base: str) -> str:
    return posixpath.normpath(posixpath.join(base, name))


def _resolved(pattern: str) -> str:
    """Return the pattern with links resolved in the directories before its first special character."""
    parts = pattern.split("/")
    literal = next((number for number, part in enumerate(parts) if _SPECIAL.search(part)), len(parts) - 1)
    head = "/".join(parts[:literal]) or "/"
    return posixpath.join(os.path.realpath(head), *parts[literal:])


def matches(pattern: str, path: str, base: str) -> bool:
    """Tell whether a pattern in a configuration names this file, which may not exist yet.

    :param base: directory of prometheus.yml on Prometheus's command line; relative names count from there.
    """
    pattern, path = _absolute(pattern, base), _absolute(path, base)
    for one, two in ((pattern, path), (_resolved(pattern), _resolved(path))):
        patterns, parts = one.split("/"), two.split("/")
        if len(patterns) == len(parts) and all(map(_match, patterns, parts)):
            return True
    return False


def expand(pattern: str, base: str) -> list[str]:
    """Return the files that a pattern names now, sorted."""
    found = ["/"]
    for part in _absolute(pattern, base).strip("/").split("/"):
        if not _SPECIAL.search(part):
            found = [path for path in (posixpath.join(one, part) for one in found) if os.path.lexists(path)]
            continue
        deeper = []
        for one in found:
            try:
                names = os.listdir(one)
            except OSError:
                continue
            deeper += [posixpath.join(one, name) for name in names if _match(part, name)]
        found = deeper
    return sorted(found)


def temporary(path: str, patterns: Iterable[str], base: str) -> str:
    """Return a path for a temporary file that can be renamed to ``path`` and that no pattern names.

    Prometheus may reload at any moment, and ``conf.d/*`` names every file in that directory. If a pattern names every
    file there, use the nearest directory above on the same file system.

    :param path: the file to be replaced; a link is followed.
    :param patterns: all patterns of the configuration, see ``config.file_patterns``.
    :raises TimesTenError: if there is no such place.
    """
    real = os.path.realpath(path)
    patterns = list(patterns)
    name = os.path.basename(real)
    directory = os.path.dirname(real)
    device = os.stat(directory).st_dev
    if not os.access(directory, os.W_OK | os.X_OK):
        raise TimesTenError(
            f"cannot write beside {real}: {directory} is read-only, or not writable for uid {os.geteuid()}; the file itself is "
            "untouched. Run as root, or make the directory writable"
        )
    while os.stat(directory).st_dev == device and os.access(directory, os.W_OK):
        suffix = secrets.token_hex(6)
        for choice in (f".{name}.{suffix}", f".timesten-{suffix}~", suffix):
            candidate = os.path.join(directory, choice)
            if not any(matches(pattern, candidate, base) for pattern in patterns):
                return candidate
        if directory == "/":
            break
        directory = os.path.dirname(directory)
    raise TimesTenError(
        f"cannot write a temporary file for {path}: the file patterns of the configuration name every file in its "
        "directory, and no directory above it on the same file system can be written; narrow the patterns, for "
        "example to '*.yml'"
    )
