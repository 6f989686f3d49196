# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shortens the modules' diffs to a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import plain

LINES = 10
"""The largest number of lines for each exporter."""

_VALUE = 120
_LINE = 1000
_KEY = 120
_DEPTH = 6
_INDENT = 20
_FACTS = 5000
"""The largest number of facts of one side that are compared."""


def diff_lines(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, most: int = LINES) -> list[str]:
    """Return the facts that change, one per line: ``generation: 20261124T104900Z-1a2b3c4d -> known after apply``.

    :param most: the largest number of lines; the last line then says how many more there are.
    """
    old, new = dict(_facts(before or {})), dict(_facts(after or {}))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key, "none") != new.get(key, "none")]
    return shorten([f"{key}: {old.get(key, 'none')} -> {new.get(key, 'none')}" for key in keys], most)


def text_lines(text: str, most: int = LINES) -> list[str]:
    """Return the changed lines of a unified diff. For other text return all lines, so that a result of this function
    stays as it is.
    """
    lines = text.splitlines()
    if text.startswith("--- "):
        changed = [line for line in lines if line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- "))]
        lines = [line[0] + _indented(line[1:], _VALUE) for line in changed]
    return shorten([line for line in (_indented(line, _LINE) for line in lines[:_FACTS]) if line.strip()], most)


def _indented(line: str, limit: int) -> str:
    """Return a plain line with its indentation, which shows its place in a configuration."""
    mark, rest = (line[:1], line[1:]) if line[:1] in ("+", "-") else ("", line)
    indent = len(rest) - len(rest.lstrip(" "))
    return mark + " " * min(indent, _INDENT) + plain(rest, limit)


def shorten(lines: Sequence[str], most: int = LINES) -> list[str]:
    """Return at most so many lines; the last one then says how many more there are."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"... and {len(lines) - most + 1} more"]


def _facts(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every fact with its path. There is no recursion, so any depth is safe."""
    waiting: list[tuple[str, int, object]] = [("", 0, value)]
    count = 0
    while waiting and count < _FACTS:
        where, depth, found = waiting.pop()
        count += 1
        if isinstance(found, dict) and depth < _DEPTH:
            # Reversed, because the last one is taken first.
            keys = [key for key in found if isinstance(key, str)][: _FACTS - count]
            waiting += [(f"{where}.{key[:_KEY]}" if where else key[:_KEY], depth + 1, found[key]) for key in keys[::-1]]
        else:
            # A line that begins with such a mark would look like a line of a text's diff.
            yield plain(where, 4 * _KEY).lstrip("-+@ ") or "?", _value(found)


def _value(value: object) -> str:
    if isinstance(value, str):
        return plain(value, _VALUE) or "''"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, int):
        return str(int(value)) if value.bit_length() < 128 else "..."
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return (
            plain(
                ", ".join(_value(item) if not isinstance(item, (list, dict)) else "..." for item in value[:20]), _VALUE
            )
            or "none"
        )
    return "..."
