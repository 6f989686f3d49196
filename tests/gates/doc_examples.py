# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples that the documentation shows, for the tests that run them.

A fenced block of a kind in ``KINDS`` has, as the last thing before it, either ``<!-- example: NAME -->``, and then a
test runs ``example("NAME")``, or ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gates.environments import ROOT

# Playbooks and their variables, inventories, commands.
KINDS = ("yaml", "ini", "console")

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<kind>[^`\s]*)[^`]*$")
_MARK = re.compile(r"^ *<!-- (?P<key>example|not run): (?P<value>\S.*?) -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block: ``text`` without the indentation of its fence; ``name`` or ``not_run`` from its mark."""

    path: str
    line: int
    kind: str
    text: str
    name: str | None
    not_run: str | None

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.path}:{self.line}"


def pages() -> list[Path]:
    """The pages whose examples are run."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
        *sorted((ROOT / "roles").glob("*/README.md")),
    ]


def blocks_of(text: str, path: str) -> Iterator[Block]:
    """The fenced blocks of one page, of every kind.

    Raises:
        ValueError: a fence is never closed.
    """
    lines = text.splitlines()
    mark: re.Match[str] | None = None
    number = 0
    while number < len(lines):
        line = lines[number]
        fence = _FENCE.match(line)
        if fence is None:
            # A mark holds until something else than an empty line comes.
            match = _MARK.match(line)
            if mark and match:
                raise ValueError(f"{path}:{number + 1}: two marks for one block")
            mark = match or (mark if not line.strip() else None)
            number += 1
            continue
        closing = re.compile(rf"^ *{re.escape(fence['fence'][0])}{{{len(fence['fence'])},}} *$")
        end = next((n for n in range(number + 1, len(lines)) if closing.match(lines[n])), None)
        if end is None:
            raise ValueError(f"{path}:{number + 1}: this fenced block is never closed")
        indent = len(fence["indent"])
        body = [row[indent:] if not row[:indent].strip() else row for row in lines[number + 1 : end]]
        yield Block(
            path=path,
            line=number + 1,
            kind=fence["kind"],
            text="".join(f"{row}\n" for row in body),
            name=mark["value"] if mark and mark["key"] == "example" else None,
            not_run=mark["value"] if mark and mark["key"] == "not run" else None,
        )
        mark = None
        number = end + 1


@functools.lru_cache(maxsize=None)
def blocks() -> tuple[Block, ...]:
    """The blocks of all pages."""
    return tuple(
        block
        for page in pages()
        if page.is_file()
        for block in blocks_of(page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix())
    )


def example(name: str) -> str:
    """The text of the one block that is marked with this name.

    Raises:
        LookupError: no block has the name, or several have it.
    """
    matches = [block for block in blocks() if block.name == name]
    if len(matches) != 1:
        have = ", ".join(sorted({block.name for block in blocks() if block.name})) or "none"
        places = " and ".join(block.place for block in matches) or "nowhere"
        raise LookupError(f"example {name!r} must be marked exactly once; it is {places} (marked: {have})")
    return matches[0].text


def commands(name: str) -> list[str]:
    """The commands of a ``console`` example: what follows ``$ ``, with continuation lines; output is left out."""
    result: list[str] = []
    continued = False
    for line in example(name).splitlines():
        if line.startswith("$ "):
            result.append(line[2:])
        elif continued:
            result[-1] += "\n" + line
        continued = bool(result) and result[-1].endswith("\\") and (line.startswith("$ ") or continued)
    return result


def used_names(sources: Iterable[str]) -> set[str]:
    """Names that Python sources ask for: ``example("NAME")`` and ``commands("NAME")``, also as attributes."""
    return {
        node.args[0].value
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", None)) in ("example", "commands", "plays")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def plays(name: str) -> list[list[str]]:
    """The playbooks of this collection that an example runs, each by its short name and with its options."""
    calls = [shlex.split(command)[1:] for command in commands(name)]
    return [[words[0].removeprefix("timesten.monitoring."), *words[1:]] for words in calls]
