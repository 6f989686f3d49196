# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of our block: finds its place, writes it, and removes it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_source import (
    BLANK,
    JOBS,
    MERGE,
    NULL,
    STR,
    Chunk,
    Source,
    child,
    column_of,
    dashes_of,
    item_region,
)

try:
    import yaml
except ImportError:
    pass  # config_source reports that

_MANAGED = " (managed by Ansible{}: what stands between BEGIN and END is replaced)"
_NOTHING = re.compile(r"(?:~|null|Null|NULL|\[\s*\])\Z")
_COLON = re.compile(r"[ \t]*:")
_LINE_END = re.compile(r"\r?\n\Z")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# Scalars of these kinds are written unchanged: YAML readers disagree about 010, 1.10, yes and 12:30:45.
_VERBATIM = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp", "value"))


# --- nodes as text ----------------------------------------------------------------------------------------------------


def node_for(value: Any) -> Any:
    """Return a node tree for a value of ours."""
    if isinstance(value, Mapping):
        pairs = [(node_for(key), node_for(item)) for key, item in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs)
    if isinstance(value, (list, tuple)):
        return yaml.SequenceNode("tag:yaml.org,2002:seq", [node_for(item) for item in value])
    if isinstance(value, str):
        return yaml.ScalarNode(STR, value)
    kind = "null" if value is None else type(value).__name__
    return yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", _jobs.scalar(value, "value"))


def pairs_of(node: Any, where: str) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping, including those from its merge keys (``<<``).

    :raises TimesTenError: if YAML readers disagree about the result.
    """
    pairs = [(key, value) for key, value in node.value if key.tag != MERGE]
    own = {key.value for key, _value in pairs if isinstance(key, yaml.ScalarNode)}
    seen: set[str] = set()
    merged: dict[str, tuple[Any, Any]] = {}
    for key, value in node.value:
        if key.tag != MERGE:
            seen.add(str(key.value))
            continue
        for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(other, yaml.MappingNode):
                raise TimesTenError(f"{where}: '<<' merges something that is no mapping: write its keys out")
            for pair in pairs_of(other, where):
                name = str(pair[0].value)
                if name in seen:
                    raise TimesTenError(
                        f"{where}: the key {name!r} stands before a '<<' that brings it too, and readers disagree which "
                        "one counts: move the '<<' line above it"
                    )
                if name not in own:
                    merged.setdefault(name, pair)
    return [*pairs, *merged.values()]


def _scalar(node: Any, where: str, flow: bool) -> str:
    value = node.value
    if node.tag == STR:
        try:
            text = _jobs.scalar(value, where)
        except TimesTenError:  # line breaks and similar characters
            text = _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))
        # Inside brackets some YAML readers split "a:b".
        return json.dumps(value, ensure_ascii=False) if flow and ":" in value and text[0] != '"' else text
    if node.tag not in _VERBATIM or "\n" in value or (flow and ":" in value):
        raise TimesTenError(
            f"{where}: a value of the kind {node.tag.rpartition(':')[2]} cannot be written again as it was read; put it in "
            "quotes, or write the job without braces, aliases and merge keys"
        )
    return "null" if node.tag == NULL and not value else str(value)


def _check_kind(node: Any, where: str) -> None:
    if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise TimesTenError(f"{where}: the tag {node.tag!r} cannot be written again: take it out")


def _flow_text(node: Any, where: str, depth: int = 0) -> str:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where, True)
    _check_kind(node, where)
    if depth > 50:
        raise TimesTenError(f"{where}: the value is nested too deeply, or holds itself")
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(_flow_text(item, where, depth + 1) for item in node.value) + "]"
    pairs = pairs_of(node, where)
    return (
        "{"
        + ", ".join(f"{_scalar_key(key, where, True)}: {_flow_text(value, where, depth + 1)}" for key, value in pairs)
        + "}"
    )


def _scalar_key(key: Any, where: str, flow: bool) -> str:
    if not isinstance(key, yaml.ScalarNode) or len(key.value) > 100:
        raise TimesTenError(f"{where}: a key that is not short text cannot be written again: write it more simply")
    return _scalar(key, where, flow)


def _value_lines(head: str, node: Any, column: int, where: str, depth: int) -> list[str]:
    """Return the lines of a value behind ``head`` (a key with its colon, or a dash). Nested lines start at ``column``."""
    if isinstance(node, yaml.ScalarNode):
        return [f"{head} {_scalar(node, where, False)}"]
    _check_kind(node, where)
    if depth > 50:
        raise TimesTenError(f"{where}: the value is nested too deeply, or holds itself")
    if not node.value:
        return [f"{head} {_flow_text(node, where)}"]
    lines: list[str] = []
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            lines += _value_lines(" " * column + "-", item, column + 2, where, depth + 1)
    else:
        for key, value in pairs_of(node, where):
            name = " " * column + _scalar_key(key, where, False) + ":"
            lines += _value_lines(name, value, column + 2, where, depth + 1)
    if head.endswith("-") and lines[0].startswith(" " * column):
        lines[0] = head + " " + lines[0][len(head) + 1 :]
        return lines
    return [head, *lines]


def node_lines(node: Any, column: int, where: str) -> list[str]:
    """Return a mapping as the lines (without line ends) of an item of a block list with its dashes at ``column``."""
    return _value_lines(" " * column + "-", node, column + 2, where, 0)


# --- entries ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Entry:
    """The future content of the block for one exporter.

    :ivar job: our job; for an adopted job, the job whose scheme, ``tls_config`` and target it gets.
    :ivar node: the intended meaning of an adopted or unchanged job.
    :ivar origin: an adopted job before the adoption.
    :ivar comments: lines that somebody wrote into the block beside a job that is now written anew.
    :ivar text: its present text if that can be kept; its dashes stand at ``column``.
    """

    exporter: str
    adopted: bool = False
    job: _jobs.Job | None = None
    node: Any = None
    origin: Any = None
    text: str | None = None
    column: int = 0
    comments: Sequence[str] = ()

    def render(self, column: int, flow: bool, newline: str) -> str:
        """Return the comment line and the item, each with its line end."""
        head = " " * column + f"# exporter: {self.exporter}" + (" (adopted)" if self.adopted else "") + newline
        head += "".join(" " * column + line + newline for line in self.comments)
        if self.text is not None and not flow:
            moved = _reindent(self.text, column - self.column)
            if moved is not None:
                return head + re.sub("\r?\n", newline, moved)
        where = f"exporter {self.exporter}"
        node = self.node if self.node is not None else node_for(self.job.config if self.job else {})
        if flow:
            return head + " " * column + _flow_text(node, where) + "," + newline
        return head + "".join(line + newline for line in node_lines(node, column, where))


def _reindent(text: str, delta: int) -> str | None:
    """Shift all lines; None if a line stands too far to the left for that."""
    if not delta:
        return text
    lines = text.splitlines(keepends=True)
    if delta > 0:
        return "".join(" " * delta + line if line.strip() else line for line in lines)
    if any(line.strip() and not line.startswith(" " * -delta) for line in lines):
        return None
    return "".join(line[-delta:] if line.strip() else line for line in lines)


# --- place ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Place:
    """The place of a new block: first ``cut`` is removed, then ``before`` + block + ``after`` is inserted at ``at``."""

    at: int
    column: int
    flow: bool = False
    cut: tuple[int, int] | None = None
    key_line: str = ""
    before: str = ""
    after: str = ""
    restore: dict[str, Any] = dataclasses.field(default_factory=dict)


def _place(src: Source, key: str) -> _Place:
    """Return the place for a new block.

    :raises TimesTenError: with the line and what to do, if there is no safe place.
    """
    if src.root is not None and src.root.flow_style:
        raise src.fail(
            src.root.start_mark.index,
            "the whole file is one mapping in braces; write its sections as lines ('global:', 'scrape_configs:'), "
            "then run again",
        )
    if key not in src.fields:
        return _place_key(src, key)
    name, value = src.fields[key]
    line = src.line_start(name.start_mark.index)
    root_column = name.start_mark.index - line
    colon = _COLON.match(src.text, name.end_mark.index)
    if not colon or src.text[line : name.start_mark.index].strip(" "):
        raise src.fail(name.start_mark.index, f"'{key}' is not written as '{key}:' at the start of a line: write it so")
    if value.start_mark.index < colon.end():
        raise src.fail(name.start_mark.index, f"{key} is an alias (*name): write the list itself here")
    is_list = isinstance(value, yaml.SequenceNode)
    if value.tag == NULL or (is_list and not value.value):
        place = _place_nothing(src, key, colon.end(), value)
        if place:
            return place
    if not is_list:
        raise src.fail(name.start_mark.index, f"{key} is not a list: write its entries as '- ' lines")
    if value.flow_style:
        return _place_flow(src, value, root_column)
    dashes = dashes_of(src, key)
    _start, end, _fields = item_region(src, dashes, len(dashes) - 1, key)
    return _at_line(src, end, column_of(src, value))


def _at_line(src: Source, at: int, column: int) -> _Place:
    """Return a place at the start of a line. If the file's last line has no line end, one is added and later removed
    again.
    """
    if at and src.text[at - 1 : at] != "\n":
        return _Place(at, column, before=src.newline, restore={"newline": src.newline})
    return _Place(at, column)


def _list_column(src: Source, root_column: int) -> int:
    """Return the column of the dashes in the file's own top-level lists, else two columns right of the keys."""
    for key, value in src.fields.values():
        if (
            isinstance(value, yaml.SequenceNode)
            and not value.flow_style
            and value.start_mark.index > key.end_mark.index
        ):
            return column_of(src, value)
    return root_column + 2


def _place_key(src: Source, key: str) -> _Place:
    root_column = 0
    if src.root is not None:
        for name, _value in src.root.value:
            if name.tag == MERGE and child(src.root, key) is not None:
                raise src.fail(
                    name.start_mark.index, f"{key} comes from a merge key (<<): write the list itself as '{key}:'"
                )
        first = src.root.value[0][0].start_mark.index if src.root.value else 0
        root_column = first - src.line_start(first)
        if src.text[first - root_column : first].strip(" "):
            raise src.fail(first, "the first section does not begin a line: write it as 'name:' on a line of its own")
    place = _at_line(src, src.end, root_column)
    place.key_line = " " * root_column + key + ":"
    place.restore["key"] = key
    place.column = _list_column(src, root_column)
    return place


def _place_nothing(src: Source, key: str, colon: int, value: Any) -> _Place | None:
    """Return the place below a key without entries; None if it has brackets with comments inside that have to stay."""
    text = src.text
    start, end = value.start_mark.index, value.end_mark.index
    column = _list_column(src, src.fields[key][0].start_mark.column)
    if not value.value and isinstance(value, yaml.ScalarNode):
        return _at_line(src, src.line_end(end), column)
    between = text[colon:start]
    if not _NOTHING.match(text[start:end]) or between.strip():
        if isinstance(value, yaml.SequenceNode) and text[start] == "[":
            return None
        raise src.fail(
            start, f"the empty value of {key} is written in a way that cannot be put back: write just '{key}:'"
        )
    place = _at_line(src, src.line_end(end), column)
    place.cut = (colon, end)
    place.restore["value"] = text[colon:end]
    return place


def _place_flow(src: Source, value: Any, root_column: int) -> _Place:
    """Return the place right after the opening bracket, where the existing items need no extra comma."""
    at = value.start_mark.index
    if src.text[at] != "[":
        raise src.fail(at, "this list in brackets has an anchor or a tag: write it without")
    at += 1
    column = root_column + 2
    end = src.line_end(at)
    if BLANK.match(src.text[at:end].rstrip("\n")):
        return _Place(end, column, flow=True)
    return _Place(
        at, column, flow=True, before=src.newline, after=" " * column, restore={"split": column, "newline": src.newline}
    )


# --- writing ----------------------------------------------------------------------------------------------------------


def insert(src: Source, key: str, render: Callable[[int, bool], str], client: str = "") -> str:
    """Return the text with a new block, which names its client."""
    place = _place(src, key)
    newline = src.newline
    lead = " " * (len(place.key_line) - len(place.key_line.lstrip()) if place.key_line else place.column)
    whose = f" for client {client}" if client else ""
    block = lead + src.marks.begin + _MANAGED.format(whose) + newline
    if place.restore:
        block += f"{lead}# restore: {json.dumps(place.restore, sort_keys=True)}{newline}"
    if place.key_line:
        block += place.key_line + newline
    block += render(place.column, place.flow) + lead + src.marks.end + newline
    cut = place.cut or (place.at, place.at)
    return src.text[: cut[0]] + src.text[cut[1] : place.at] + place.before + block + place.after + src.text[place.at :]


def without(src: Source, released: str = "") -> str:
    """Return the text without our block, as it was before. ``released`` are items that stay as hand-written ones.

    The restore line says where we added a line end, but not which kind: an editor may have turned LF into CRLF since.
    """
    block = src.block
    if block is None:
        return src.text
    before, after = src.text[: block.begin], src.text[block.end :]
    restore = block.restore
    alone = not src.foreign(block.key) and not released
    if "split" in restore:
        if released:
            return before + released + after
        if _LINE_END.search(before) and after.startswith(" " * restore["split"]):
            before, after = _LINE_END.sub("", before), after[restore["split"] :]
        return before + after
    if "key" in restore and not alone:
        name = src.fields[block.key][0].start_mark.index
        released = src.text[src.line_start(name) : src.line_end(name)] + released
    if "newline" in restore and not released and not after:
        before = _LINE_END.sub("", before)
    if "value" in restore and alone:
        before = _put_back(src, before)
    return before + released + after


def _put_back(src: Source, before: str) -> str:
    """Write the former empty value behind its key again, with the file's present line ends."""
    block = src.block
    if block is None:
        return before
    value = str(block.restore["value"])
    if "\r\n" not in src.text or not re.search(r"(?<!\r)\n", src.text):
        value = re.sub(r"\r?\n", src.newline, value)
    colon = _COLON.match(before, src.fields[block.key][0].end_mark.index)
    if not colon or not BLANK.match(before[colon.end() : src.line_end(colon.end())].rstrip("\n")):
        raise src.fail(block.begin, f"{value!r} cannot be put back behind '{block.key}:': clear the rest of that line")
    return before[: colon.end()] + value + before[colon.end() :]


def rewrite(src: Source, entries: list[Entry], released: str, client: str = "") -> str:
    """Return the text with new entries in the block. An entry with its own unchanged text keeps every byte."""
    block = src.block
    if block is None:
        if not entries:
            return src.text

        def render(column: int, flow: bool) -> str:
            return "".join(entry.render(column, flow, src.newline) for entry in entries)

        return insert(src, JOBS, render, client)
    if not entries:
        return without(src, released)
    node = src.fields[JOBS][1]
    flow = bool(node.flow_style)
    first = block.chunks[0]
    column = first.node.start_mark.index - src.line_start(first.node.start_mark.index) if flow else column_of(src, node)
    kept = {id(chunk.node): src.text[chunk.start : chunk.end] for chunk in block.chunks}
    body = "".join(
        kept[id(entry.node)]
        if entry.job is None and id(entry.node) in kept
        else entry.render(column, flow, src.newline)
        for entry in entries
    )
    return src.text[: first.start] + body + src.text[block.tail : block.end] + released + src.text[block.end :]


def carried(home: Source, chunk: Chunk) -> Entry:
    """Return the entry of an unchanged job. It keeps its text, unless that stands in brackets or uses an anchor from
    elsewhere.
    """
    value = home.fields[JOBS][1]
    entry = Entry(chunk.exporter, chunk.adopted, node=chunk.node)
    text = home.text[chunk.body : chunk.end]
    if not value.flow_style and stands_alone(text):
        entry.text, entry.column = text, column_of(home, value)
    return entry


def stands_alone(text: str) -> bool:
    """Tell whether an item uses no anchor that is defined outside it."""
    if "*" not in text:
        return True
    try:
        yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.composer.ComposerError:
        return False
    return True


def set_free(src: Source, home: Source, released: Sequence[Chunk]) -> Source:
    """Return prometheus.yml without our line, and with the adopted jobs of our scrape file as hand-written ones."""
    bare = src.after(without(src))
    inline = bare.after(rewrite(bare, [carried(home, chunk) for chunk in released], ""))
    text = "".join(inline.text[chunk.body : chunk.end] for chunk in inline.chunks())
    return inline.after(without(inline, text))
