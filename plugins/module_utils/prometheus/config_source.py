# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses one configuration file and finds positions in it: sections, lists, items, and our block between its marker
lines.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import functools
import json
import posixpath
import re
import traceback
from collections.abc import Mapping
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _jobs

YAML_IMPORT_ERROR: str | None = None
try:
    import yaml
except ImportError:
    YAML_IMPORT_ERROR = traceback.format_exc()

JOBS = "scrape_configs"
FILES = "scrape_config_files"
RULES = "rule_files"

_DEEPEST = 5_000
# Without brackets, two levels at most begin in one column.
_DEEP_LINE = re.compile(rf"^[ \t?-]{{{_DEEPEST // 2}}}", re.MULTILINE)

STR = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"


@dataclasses.dataclass(frozen=True)
class Marks:
    """The marker lines of one kind of block, and the lists that it may stand in. A file has at most one block of each
    kind.

    :ivar name: the text of the marker lines after BEGIN and END.
    """

    name: str
    keys: tuple[str, ...]

    @property
    def begin(self) -> str:
        return f"# BEGIN {self.name}"

    @property
    def end(self) -> str:
        return f"# END {self.name}"

    def lines(self) -> re.Pattern[str]:
        """Return a pattern that finds the marker lines in a text."""
        return re.compile(rf"^[ \t]*# (BEGIN|END) {re.escape(self.name)}(?!\S).*$", re.MULTILINE)


JOB_MARKS = Marks("timesten.monitoring", (JOBS, FILES))
RULE_MARKS = Marks("rules of timesten.monitoring", (RULES,))
_MARKER = re.compile(r"^[ \t]*# (?:BEGIN|END) (?:rules of )?timesten\.monitoring(?!\S).*$", re.MULTILINE)
# Blank lines and comments of others may have come before it.
_RESTORE = re.compile(
    r"(?:[ \t]*(?:#(?! restore: | exporter: )[^\n]*)?\n|[ \t]*\r\n)*?[ \t]*# restore: (\{.*\})[ \t]*\r?\n"
)
_EXPORTER = re.compile(r"^[ \t]*# exporter: (\S+)( \(adopted\))?[ \t]*\r?$", re.MULTILINE)
_DOCUMENT_END = re.compile(r"^\.\.\.(?=\s|\Z)", re.MULTILINE)
# PyYAML's two parsers accept all characters except these.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A file with only these bytes needs neither of the two searches.
_PLAIN_BYTES = bytes((9, 10, *range(32, 127)))
# For YAML 1.1 these characters end a line; for YAML 1.2 and for people they do not.
_ODD_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
BLANK = re.compile(r"[ \t]*(?:#.*)?\r?\Z")
_OUR_CA_FILE = re.compile(r"/([^/]+)/(?:current|[0-9]{8}T[0-9]{6}Z-[^/]*)/ca\.crt\Z")


@dataclasses.dataclass
class Chunk:
    """The job of one exporter inside our block: its comment line and its item, from ``start`` to ``end``."""

    exporter: str
    adopted: bool
    start: int
    body: int
    end: int
    node: Any


@dataclasses.dataclass
class Block:
    """Our block, from the start of the BEGIN line to the end of the END line. ``body`` begins after BEGIN, restore line
    and key line.
    """

    key: str
    begin: int
    body: int
    tail: int
    end: int
    restore: dict[str, Any]
    chunks: list[Chunk]


class Source:
    """One parsed file. ``text`` has no byte order mark; all positions are character positions in it."""

    def __init__(self, data: bytes, path: str, marks: Marks = JOB_MARKS) -> None:
        self.path = path
        self.marks = marks
        self.bom, self.text = _decode(data, path)
        newline = self.text.find("\n")
        self.newline = "\r\n" if newline > 0 and self.text[newline - 1] == "\r" else "\n"
        self.end = len(self.text)
        self._line_ends: list[int] | None = None
        self.root = self._compose()
        self._long_scalars: list[tuple[int, int]] = []
        self.fields: dict[str, tuple[Any, Any]] = {}
        if self.root is not None:
            self._walk(self.root)
            self.fields = {key.value: (key, value) for key, value in self.root.value if key.tag == STR}
        end = _DOCUMENT_END.search(self.text, self.root.start_mark.index if self.root else 0, self.end)
        if end:
            self.end = end.start()
        self.block = self._find_block()

    def encode(self, text: str) -> bytes:
        return self.bom + text.encode("utf-8")

    def after(self, text: str) -> Source:
        """Return the same file with another text.

        :raises TimesTenError: if that text is not valid: then there is no safe edit.
        """
        if text == self.text:
            return self
        try:
            return parsed(self.encode(text), self.path, self.marks)
        except TimesTenError as error:
            raise TimesTenError(
                f"{self.path}: there is no safe way to edit this file, the result would be refused ({error.message}): "
                "add or remove the jobs by hand",
                **error.details,
            ) from error

    def fail(self, index: int, message: str) -> TimesTenError:
        return _fail(self.path, self.line(index), message)

    def line(self, index: int) -> int:
        if self._line_ends is None:
            self._line_ends = [match.start() for match in re.finditer("\n", self.text)]
        return bisect.bisect_left(self._line_ends, index) + 1

    def line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Return the start of the next line, or the end of the text."""
        newline = self.text.find("\n", index)
        return len(self.text) if newline < 0 else newline + 1

    def items(self, key: str) -> list[Any]:
        """Return the nodes of a top-level list; empty if there is none."""
        value = self.fields.get(key, (None, None))[1]
        return value.value if isinstance(value, yaml.SequenceNode) else []

    def foreign(self, key: str) -> list[Any]:
        """Return the nodes of a top-level list that are outside our block."""
        block = self.block
        if block is None or block.key != key:
            return self.items(key)
        ours = {id(chunk.node) for chunk in block.chunks}
        return [item for item in self.items(key) if id(item) not in ours]

    def chunks(self) -> list[Chunk]:
        """Return our jobs in this file."""
        return self.block.chunks if self.block is not None and self.block.key == JOBS else []

    def in_scalar(self, index: int) -> bool:
        """Tell whether a position is inside a scalar of several lines, where "#" starts no comment."""
        at = bisect.bisect_right(self._long_scalars, (index, len(self.text) + 1)) - 1
        return at >= 0 and self._long_scalars[at][0] <= index < self._long_scalars[at][1]

    def comments(self, start: int, end: int) -> list[str]:
        """Return those lines between two positions that are only comments."""
        matches = re.compile(r"^[ \t]*(#[^\r\n]*)", re.MULTILINE).finditer(self.text, start, end)
        return [match.group(1).rstrip() for match in matches if not self.in_scalar(match.start(1))]

    def _compose(self) -> Any:
        if _is_deep(self.text):
            raise TimesTenError(
                f"{self.path}: this is nested deeper than {_DEEPEST:,} levels, which no configuration of Prometheus is; "
                f"look at it by hand"
            )
        try:
            root = self._only_document(_quick_loader())
        except yaml.composer.ComposerError as error:
            if "duplicate anchor" not in str(error.context):
                raise self._invalid(error) from error
            # YAML and Prometheus allow this; only PyYAML's composers refuse it.
            try:
                root = self._only_document(_tolerant_loader())
            except (yaml.YAMLError, RecursionError) as again:
                raise self._invalid(again) from again
        except (yaml.YAMLError, RecursionError) as error:
            raise self._invalid(error) from error
        if root is None or _is_nothing(root):
            return None
        if not isinstance(root, yaml.MappingNode):
            raise _fail(
                self.path,
                root.start_mark.line + 1,
                "the file is not a mapping of sections (global:, scrape_configs:, ...)",
            )
        return root

    def _only_document(self, loader_class: Any) -> Any:
        """Return the root of the first document. Prometheus reads only that one, so the rest must be empty."""
        loader = loader_class(self.text)
        try:
            root = loader.get_node() if loader.check_node() else None
            while loader.check_node():
                other = loader.get_node()
                mark = other.start_mark
                begins = re.compile(r"^---", re.MULTILINE).finditer(self.text, 0, mark.index)
                begin = max((match.start() for match in begins), default=mark.index)
                if not _is_nothing(other):
                    raise _fail(
                        self.path,
                        self.line(begin),
                        "a second document begins; Prometheus reads only the first: keep one document",
                    )
                self.end = min(self.end, begin)
            return root
        finally:
            loader.dispose()

    def _invalid(self, error: Exception) -> TimesTenError:
        if not isinstance(error, yaml.MarkedYAMLError):
            return TimesTenError(f"{self.path}: this is not valid YAML: {error}; repair it by hand")
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        lines = self.text.split("\n")
        hint = "repair this line, or write it more simply"
        if mark and mark.line < len(lines) and "\t" in lines[mark.line]:
            hint = "there is a tab in this line: replace it by spaces"
        began = ""
        if error.context_mark:
            began = f" ({error.context}, which began in line {error.context_mark.line + 1})"
        return _fail(self.path, line, f"this is not valid YAML: {error.problem or error.context}{began}; {hint}")

    def _walk(self, root: Any) -> None:
        """Refuse duplicate keys at any depth, which loading would hide, and record the scalars of several lines."""
        scalar = yaml.ScalarNode
        seen = set()
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, scalar):
                start, end = node.start_mark, node.end_mark
                if start.line != end.line:
                    self._long_scalars.append((start.index, end.index))
                continue
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                stack += node.value
                continue
            names: set[tuple[Any, str]] = set()
            for pair in node.value:
                stack += pair
                key = pair[0]
                names.add((key.tag, key.value) if isinstance(key, scalar) else (id(key), ""))
            if len(names) < len(node.value):
                self._refuse_twice(node)
        self._long_scalars.sort()

    def _refuse_twice(self, mapping: Any) -> None:
        """:raises TimesTenError: for the first key that a mapping has twice."""
        lines: dict[tuple[str, str], int] = {}
        for key, _value in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                first, second = sorted((lines[name], line))
                raise _fail(
                    self.path,
                    second,
                    f"the key {key.value!r} is there twice (first in line {first}): remove one of them",
                )
            lines[name] = line

    # --- our block

    def _find_block(self) -> Block | None:
        markers = [match for match in self.marks.lines().finditer(self.text) if not self.in_scalar(match.start(1))]
        if not markers:
            return None
        begin, tail = self._marker_pair(markers)
        end = self.line_end(tail)
        restore, body = self._restore_line(self.line_end(begin))
        for key in self.marks.keys:
            inside = [item for item in self.items(key) if begin <= item.start_mark.index < end]
            if not inside:
                continue
            field = self.fields[key]
            has_key = begin <= field[0].start_mark.index < end
            if has_key != ("key" in restore):
                raise self.fail(
                    begin, f"the line '{key}:' was moved {'into' if has_key else 'out of'} the block: move it back"
                )
            if has_key:
                body = self.line_end(field[0].start_mark.index)
            block = Block(key, begin, body, tail, end, restore, [])
            block.chunks = self._find_chunks(block, inside) if key == JOBS else self._find_line(block, inside)
            self._check_place(block, field)
            return block
        raise self.fail(
            begin,
            f"the block of {self.marks.name} is not in the list {self.marks.keys[0]} (or holds nothing): move it back, or "
            "delete it with its markers and run again",
        )

    def _marker_pair(self, markers: list[re.Match[str]]) -> tuple[int, int]:
        """:raises TimesTenError: if the marker lines are not exactly one BEGIN and one END."""
        lines = [(match.group(1), self.line(match.start())) for match in markers]
        if [kind for kind, _line in lines] != ["BEGIN", "END"]:
            listed = ", ".join(f"{kind} in line {line}" for kind, line in lines)
            raise _fail(
                self.path,
                lines[0][1],
                f"the marker lines of {self.marks.name} are not one BEGIN followed by one END ({listed}): restore "
                "the file, or delete "
                "everything that belongs to the block together with its markers and run again",
            )
        return markers[0].start(), markers[1].start()

    def _restore_line(self, at: int) -> tuple[dict[str, Any], int]:
        """Return what the block replaced, and where the block continues after the restore line."""
        match = _RESTORE.match(self.text, at)
        if not match:
            return {}, at
        restore: dict[str, Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            restore = json.loads(match.group(1))
        if not restore or any(
            not isinstance(value, int if name == "split" else str) for name, value in restore.items()
        ):
            raise self.fail(at, "the restore line of the block was changed by hand: restore it, or remove it")
        return restore, match.end()

    def _check_place(self, block: Block, field: tuple[Any, Any]) -> None:
        """Refuse markers at a wrong place: around another section, or in the middle of a job."""
        strange = [
            key
            for key, _value in self.root.value
            if key is not field[0] and block.begin <= key.start_mark.index < block.end
        ]
        if strange:
            raise self.fail(
                block.begin, f"the block reaches around {strange[0].value!r}: move its markers back around its jobs"
            )
        lines = self.text[block.body : block.chunks[0].start].split("\n")
        after = block.end
        while after < len(self.text) and BLANK.match(self.text[after : self.line_end(after)].rstrip("\n")):
            after = self.line_end(after)
        line = self.text[after : self.line_end(after)]
        behind = len(line) - len(line.lstrip(" "))
        if field[1].flow_style:
            cut = block.chunks[-1].node.end_mark.index > block.tail
        else:
            cut = after < self.end and behind > column_of(self, field[1])
        if cut or not all(map(BLANK.match, lines)):
            raise self.fail(
                block.begin, "the markers of the block cut through a job: move them back around the jobs of the block"
            )

    def _heads(self, block: Block) -> list[re.Match[str]]:
        matches = _EXPORTER.finditer(self.text, block.body, block.tail)
        return [match for match in matches if not self.in_scalar(match.start(1))]

    def _find_line(self, block: Block, inside: list[Any]) -> list[Chunk]:
        """Return the one entry of a block in ``scrape_config_files`` or ``rule_files``."""
        if len(inside) != 1 or self._heads(block):
            raise self.fail(
                block.begin,
                f"the block in {block.key} must hold one file name: restore it, or delete it with its markers",
            )
        return [Chunk("", False, block.body, block.body, block.tail, inside[0])]

    def _find_chunks(self, block: Block, inside: list[Any]) -> list[Chunk]:
        heads = self._heads(block)
        chunks = []
        at = [item.start_mark.index for item in inside]
        if not heads or at[0] < heads[0].start():
            raise self._without_head(inside[0], block, heads)
        for number, match in enumerate(heads):
            end = heads[number + 1].start() if number + 1 < len(heads) else block.tail
            first, last = bisect.bisect_left(at, match.start()), bisect.bisect_left(at, end)
            if last - first > 1:
                raise self._without_head(inside[first + 1], block, heads)
            if last == first:
                raise self.fail(
                    match.start(),
                    f"below '# exporter: {match.group(1)}' there is no job: move its job back below this line, or "
                    "remove the line",
                )
            body = self.line_end(match.start())
            chunks.append(Chunk(match.group(1), bool(match.group(2)), match.start(), body, end, inside[first]))
        names = [chunk.exporter for chunk in chunks]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.fail(block.begin, f"exporter {twice} has two jobs in the block: remove one of them")
        for chunk in chunks:
            self._check_name(chunk)
        return chunks

    def _check_name(self, chunk: Chunk) -> None:
        """:raises TimesTenError: if another job stands below the comment of one of ours: it would be taken for that."""
        name, expected = text_of(child(chunk.node, "job_name")), _jobs.job_name(chunk.exporter)
        if not chunk.adopted and name != expected:
            raise self.fail(
                chunk.node.start_mark.index,
                f"the job {name!r} stands below '# exporter: {chunk.exporter}' and is not {expected}: give both the same "
                "name again, or move a job that is not ours below the END line",
            )

    def _without_head(self, item: Any, block: Block, heads: list[re.Match[str]]) -> TimesTenError:
        """Return an error for a job without comment line: one of ours that lost it, or a hand-written one that was put
        into the block.
        """
        name = text_of(child(item, "job_name")) or ""
        ca_match = _OUR_CA_FILE.search(text_of(child(child(item, "tls_config"), "ca_file")) or "")
        exporter = ca_match.group(1) if ca_match else name[len(_jobs.JOB_PREFIX) :]
        lost = ca_match or name.startswith(_jobs.JOB_PREFIX)
        if lost and exporter not in [match.group(1) for match in heads]:
            adopted = " (adopted)" if name != _jobs.job_name(exporter) else ""
            return self.fail(
                item.start_mark.index,
                f"the comment '# exporter: {exporter}{adopted}' above this job was lost: write it back on a line of its "
                "own",
            )
        return self.fail(
            item.start_mark.index, "this job is inside the block but not one of ours: move it below the END line"
        )


def parsed(data: bytes, path: str, marks: Marks = JOB_MARKS) -> Source:
    """Parse a file, or return the earlier result: a plan parses the same bytes several times, and nothing changes the
    result.

    :param marks: the kind of block to look for; a block of the other kind is then just text.

    :raises TimesTenError: with file and line, if it is not one YAML mapping or somebody broke our markers.
    """
    if YAML_IMPORT_ERROR:
        raise TimesTenError(
            "The Python package PyYAML is missing on this host: install python3-pyyaml (Oracle Linux, Red Hat) "
            "or python3-yaml (Debian)",
            exception=YAML_IMPORT_ERROR,
        )
    return remembered(data, path, marks)


remembered = functools.lru_cache(maxsize=8)(Source)


@functools.lru_cache(maxsize=None)
def _quick_loader() -> Any:
    """Return libyaml's loader, which keeps the kind of each scalar: PyYAML would compute it anew for each of a thousand
    jobs, although most scalars are the same.
    """
    base: Any = getattr(yaml, "CSafeLoader", None)
    if base is None:
        return _tolerant_loader()

    class Loader(base):  # type: ignore[misc]
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is not yaml.ScalarNode:
                return super().resolve(kind, value, implicit)
            tag = tags.get((value, implicit))
            if tag is None:
                tag = tags[value, implicit] = super().resolve(kind, value, implicit)
            return tag

    tags: dict[Any, Any] = {}
    return Loader


@functools.lru_cache(maxsize=None)
def _tolerant_loader() -> Any:
    """Return PyYAML's Python loader, made to accept what libyaml or Prometheus accept."""

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            # A later anchor of the same name replaces the earlier one.
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if not isinstance(event, yaml.AliasEvent):
                self.anchors.pop(event.anchor, None)
            return super().compose_node(parent, index)

        def scan_to_next_token(self) -> None:
            super().scan_to_next_token()
            # Like libyaml, accept a tab as a separator if it cannot be indentation.
            while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
                self.forward()
                super().scan_to_next_token()

    return Loader


def _is_deep(text: str) -> bool:
    """Tell whether a text nests deeper than libyaml's composer bears: about 20,000 levels end the process. Its parser bears any depth,
    and only a text that may be deep is parsed for this.
    """
    if text.count("[") + text.count("{") <= _DEEPEST and not _DEEP_LINE.search(text):
        return False
    depth = 0
    with contextlib.suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=_quick_loader()):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    return True
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    return False


def _fail(path: str, line: int, message: str) -> TimesTenError:
    return TimesTenError(f"{path}: line {line}: {message}", line=line)


def _is_nothing(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == NULL and bool(node.start_mark.index == node.end_mark.index)


def _decode(data: bytes, path: str) -> tuple[bytes, str]:
    bom = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\x00\x00\xfe\xff":
        raise _fail(path, 1, "the file is in UTF-16 or UTF-32; save it as UTF-8 (for example with iconv -t UTF-8)")
    try:
        text = data[len(bom) :].decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, len(bom) + error.start) + 1
        raise _fail(
            path, line, f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    if text.startswith("\ufeff"):
        raise _fail(path, 1, "the file has a second byte order mark; save it with one, or with none")
    if not data.translate(None, _PLAIN_BYTES):
        return bom, text
    for pattern, what in (
        (_UNPRINTABLE, "YAML does not allow the character"),
        (_ODD_BREAK, "readers disagree whether a line ends at"),
    ):
        match = pattern.search(text)
        if match:
            line = text.count("\n", 0, match.start()) + 1
            raise _fail(path, line, f"{what} {match.group()!r}; remove it, or write it as an escape in double quotes")
    return bom, text


# --- nodes ------------------------------------------------------------------------------------------------------------


def child(node: Any, name: str) -> Any:
    """Return the value of a mapping's key, including merge keys (``<<``); None if there is none."""
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[Any] = []
    for key, value in node.value:
        if key.tag == STR and key.value == name:
            return value
        if key.tag == MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    for other in merged:
        inherited = child(other, name)
        if inherited is not None:
            return inherited
    return None


def text_of(node: Any) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def targets_of(item: Any) -> tuple[str, ...]:
    groups = child(item, "static_configs")
    addresses = []
    for group in groups.value if isinstance(groups, yaml.SequenceNode) else []:
        targets = child(group, "targets")
        addresses += [
            target.value
            for target in (targets.value if isinstance(targets, yaml.SequenceNode) else [])
            if text_of(target) is not None
        ]
    return tuple(addresses)


def only_target(item: Any) -> Any:
    """Return the node of a job's target, if it has exactly one."""
    groups = child(item, "static_configs")
    if isinstance(groups, yaml.SequenceNode) and len(groups.value) == 1:
        targets = child(groups.value[0], "targets")
        if isinstance(targets, yaml.SequenceNode) and len(targets.value) == 1:
            return targets.value[0]
    return None


def whose_files(item: Any, store: str) -> str | None:
    """Return the exporter to which a job's ``ca_file`` in our store belongs."""
    ca_file = text_of(child(child(item, "tls_config"), "ca_file"))
    match = _OUR_CA_FILE.search(posixpath.normpath(ca_file)) if ca_file else None
    if match and ca_file and posixpath.normpath(ca_file)[: match.start()] == posixpath.normpath(store):
        return match.group(1)
    return None


def unmarked(item: Any, store: str) -> str | None:
    """Return the exporter of a job of ours that has no markers. Its name shows it, and a ``ca_file`` in our store,
    unless it has none (insecure). A job that was adopted and then released keeps its own name and belongs to its owner.
    """
    name = text_of(child(item, "job_name")) or ""
    if not name.startswith(_jobs.JOB_PREFIX):
        return None
    exporter = name[len(_jobs.JOB_PREFIX) :]
    if child(child(item, "tls_config"), "ca_file") is None:
        return exporter or None
    return exporter if whose_files(item, store) == exporter else None


def equal(left: Any, right: Any, seen: set[tuple[int, int]]) -> bool:
    """Compare two node trees: kinds, tags, values, order. ``seen`` is needed because aliases can make them graphs."""
    stack = [(left, right)]
    while stack:
        one, two = stack.pop()
        if one is two:
            continue
        if type(one) is not type(two) or one.tag != two.tag:
            return False
        if isinstance(one, yaml.ScalarNode):
            if one.value != two.value:
                return False
            continue
        if (id(one), id(two)) in seen:
            continue
        seen.add((id(one), id(two)))
        if len(one.value) != len(two.value):
            return False
        if isinstance(one, yaml.SequenceNode):
            stack += zip(one.value, two.value)
        else:
            for (key_one, value_one), (key_two, value_two) in zip(one.value, two.value):
                stack += ((key_one, key_two), (value_one, value_two))
    return True


def says(node: Any, value: Any) -> bool:
    """Tell whether a node means exactly this value, in any style and with any order of keys."""
    if isinstance(value, Mapping):
        if not isinstance(node, yaml.MappingNode) or len(node.value) != len(value):
            return False
        return all(key.tag == STR and key.value in value and says(item, value[key.value]) for key, item in node.value)
    if isinstance(value, (list, tuple)):
        return (
            isinstance(node, yaml.SequenceNode) and len(node.value) == len(value) and all(map(says, node.value, value))
        )
    if not isinstance(node, yaml.ScalarNode):
        return False
    if isinstance(value, str):
        return bool(node.tag == STR and node.value == value)
    kind = "null" if value is None else type(value).__name__
    return bool(node.tag == f"tag:yaml.org,2002:{kind}" and node.value == _jobs.scalar(value, "value"))


# --- outline of one item ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Field:
    """One key of an item: start of the key, start of its value, end of the value's content."""

    start: int
    value: int
    end: int


class _Outline:
    """The keys of the only item of a block list, and the end of its content without trailing comments and blank lines.

    It reads events, not nodes: a block node's end mark is the start of the next token, and a node does not know where
    its alias stands.
    """

    def __init__(self, text: str) -> None:
        self.fields: dict[str, Field] = {}
        self.last = 0
        self._flow: list[bool] = []
        self._name: str | None = None
        self._key_start = 0
        self._is_key = True
        loader = getattr(yaml, "CSafeLoader", _tolerant_loader())(text)
        try:
            while loader.check_event():
                self._see(loader.get_event())
        finally:
            loader.dispose()

    def _see(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        opens = isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent))
        closes = isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent))
        leaf = isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent))
        if leaf or (closes and self._flow.pop()):
            self.last = end
        # Depth 2 is inside the item's own mapping.
        if len(self._flow) == 2:
            self._see_part(event, start, opens, closes, leaf)
        if opens:
            self._flow.append(bool(event.flow_style))
            self.last = max(self.last, start + 1 if event.flow_style else start)

    def _see_part(self, event: Any, start: int, opens: bool, closes: bool, leaf: bool) -> None:
        if leaf or opens:
            if self._is_key:
                self._name = event.value if isinstance(event, yaml.ScalarEvent) else None
                self._key_start = start
            elif self._name is not None:
                self.fields[self._name] = Field(self._key_start, start, start)
        if leaf or closes:
            if not self._is_key and self._name is not None:
                self.fields[self._name].end = self.last
            self._is_key = not self._is_key


def dashes_of(src: Source, key: str) -> list[int]:
    """Return the starts of the lines with the items of a block list, in order.

    :raises TimesTenError: if an item does not begin on a line of its own.
    """
    node = src.fields[key][1]
    column = column_of(src, node)
    pattern = re.compile(rf"^ {{{column}}}-(?=[ \t\r\n]|\Z)", re.MULTILINE)
    limit = min(node.end_mark.index, src.end)
    line_starts = [
        match.start()
        for match in pattern.finditer(src.text, src.line_start(node.start_mark.index), limit)
        if not src.in_scalar(match.end() - 1)
    ]
    if len(line_starts) != len(node.value):
        raise src.fail(
            node.start_mark.index,
            f"the items of {key} do not begin on lines of their own: write each '- ' at the start of a line",
        )
    return line_starts


def first_dash(src: Source, node: Any) -> int:
    """Return the position of a block list's first dash; an anchor or a tag may stand before it."""
    at = int(node.start_mark.index)
    while src.text[at] != "-":
        skip = re.compile(r"[&!]\S*|\s+|#.*").match(src.text, at)
        if not skip:
            raise src.fail(at, "the beginning of this list was not understood: put its first '- ' on a line of its own")
        at = skip.end()
    return at


def column_of(src: Source, node: Any) -> int:
    """Return the column of a block list's dashes."""
    at = first_dash(src, node)
    return at - src.line_start(at)


def item_region(src: Source, dashes: list[int], number: int, key: str) -> tuple[int, int, dict[str, Field]]:
    """Return start, end and keys of an item as positions in the file.

    Comments below it that are indented deeper than its dash belong to it: they are keys that somebody switched off.
    """
    start = dashes[number]
    node = src.fields[key][1]
    limit = dashes[number + 1] if number + 1 < len(dashes) else min(node.end_mark.index, src.end)
    try:
        outline = _Outline(src.text[start:limit])
    except yaml.YAMLError as error:
        raise src.fail(
            start, f"this item cannot be understood by itself ({error}): write it without tag shorthands"
        ) from error
    for field in outline.fields.values():
        field.start += start
        field.value += start
        field.end += start
    end = outline.last + start
    end = end if src.text[end - 1] == "\n" else src.line_end(end)
    deeper = re.compile(rf"(?:[ \t]*\r?\n)*[ ]{{{column_of(src, node) + 1},}}#(?P<text>.*)(?:\n|\Z)")
    while end < limit:
        comment = deeper.match(src.text, end)
        if not comment or comment.end() > limit or _MARKER.match(src.text, src.line_start(comment.start("text"))):
            break
        end = comment.end()
    return start, end, outline.fields
