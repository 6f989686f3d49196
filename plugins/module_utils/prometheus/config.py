# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text-preserving edit of prometheus.yml: bytes in, bytes out.

The file belongs to somebody else. A YAML parser finds places and proves the outcome; it never writes. Our jobs stand
between two marker lines, each below a comment line with its exporter's name; everything else keeps its bytes. Where
that cannot be done, the edit is refused with the line and the way out, before anything is written.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
import dataclasses
import fnmatch
import functools
import gc
import json
import posixpath
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _jobs

YAML_IMPORT_ERROR: str | None = None
try:
    import yaml
except ImportError:
    YAML_IMPORT_ERROR = traceback.format_exc()

_Function = TypeVar("_Function", bound="Callable[..., Any]")

JOBS = "scrape_configs"
FILES = "scrape_config_files"

_BEGIN = "# BEGIN timesten.monitoring (managed by Ansible: what stands between BEGIN and END is replaced)"
_END = "# END timesten.monitoring"
_MARKER = re.compile(r"^[ \t]*# (BEGIN|END) timesten\.monitoring\b.*$", re.MULTILINE)
_RESTORE = re.compile(r"[ \t]*# restore: (\{.*\})[ \t]*\r?\n")
_EXPORTER = re.compile(r"^[ \t]*# exporter: (\S+)( \(adopted\))?[ \t]*\r?$", re.MULTILINE)
_DOCUMENT_END = re.compile(r"^\.\.\.(?=\s|\Z)", re.MULTILINE)
# The set of characters that both of PyYAML's parsers accept.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Where there is nothing else, neither this nor the next has to be looked for.
_PLAIN_BYTES = bytes((9, 10, *range(32, 127)))
# YAML 1.1 ends a line at these, YAML 1.2 and people do not.
_ODD_BREAK = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
_NOTHING = re.compile(r"(?:~|null|Null|NULL|\[\s*\])\Z")
_BLANK = re.compile(r"[ \t]*(?:#.*)?\r?\Z")
_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
# These hold keys or weaken the check of the other side: never carried over into a tls_config of ours.
_TLS_OURS = frozenset(
    (
        "ca",
        "cert",
        "key",
        "ca_ref",
        "cert_ref",
        "key_ref",
        "ca_file",
        "cert_file",
        "key_file",
        "insecure_skip_verify",
        "server_name",
    )
)


# --- results ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class JobView:
    """A job as it stands in a file. ``interval`` in seconds is the job's own, else the file's ``global``, else 60."""

    job_name: str
    targets: tuple[str, ...]
    interval: float
    place: str
    adopted: bool = False


@dataclasses.dataclass(frozen=True)
class ConfigView:
    """What :func:`read` found.

    ``ours`` maps exporters to their jobs; ``layout`` is ``inline``, ``files``, ``template``, or None where nothing of
    ours is there (a caller who remembers having written a block then knows that somebody wiped it).
    """

    ours: dict[str, JobView]
    foreign: list[JobView]
    scrape_interval: float
    layout: str | None


@dataclasses.dataclass(frozen=True)
class EditResult:
    """What :func:`edit` would write.

    ``scrape_file`` is the content of our own file in the layout ``files``, else None: then an existing one goes, after
    the reload. ``adopted`` and ``kept`` name exporters whose job was written by hand; ``line`` is where the block
    begins, None without one.
    """

    config: bytes
    scrape_file: bytes | None
    changed: bool
    added: list[str]
    removed: list[str]
    changed_names: list[str]
    adopted: list[str]
    kept: list[str]
    line: int | None


def _without_collector(function: _Function) -> _Function:
    """Run without the garbage collector: node trees are many new objects and no garbage, and it would take half of the
    time walking them again and again."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        collecting = gc.isenabled()
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            if collecting:
                gc.enable()

    return cast(_Function, wrapper)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Chunk:
    """The job of one exporter inside our block: comment line and item, from ``start`` to ``end``."""

    exporter: str
    adopted: bool
    start: int
    body: int
    end: int
    node: Any


@dataclasses.dataclass
class _Block:
    """Our block: from the start of the BEGIN line to the end of the END line. ``body`` begins after BEGIN, restore and
    key line."""

    key: str
    begin: int
    body: int
    tail: int
    end: int
    restore: dict[str, Any]
    chunks: list[_Chunk]


class _Source:
    """One file, parsed. ``text`` is without the byte order mark; all positions are characters in it."""

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self.bom, self.text = _decode(data, path)
        newline = self.text.find("\n")
        self.newline = "\r\n" if newline > 0 and self.text[newline - 1] == "\r" else "\n"
        self.root = self._compose()
        self._long_scalars: list[tuple[int, int]] = []
        self.fields: dict[str, tuple[Any, Any]] = {}
        if self.root is not None:
            self._walk(self.root)
            self.fields = {key.value: (key, value) for key, value in self.root.value if key.tag == _STR}
        end = _DOCUMENT_END.search(self.text, self.root.start_mark.index if self.root else 0)
        self.end = end.start() if end else len(self.text)
        self.block = self._find_block()

    def encode(self, text: str) -> bytes:
        return self.bom + text.encode("utf-8")

    def after(self, text: str) -> _Source:
        """The same file with another text.

        :raises TimesTenError: if that text is not sound any more: then there is no safe edit.
        """
        if text == self.text:
            return self
        try:
            return _parsed(self.encode(text), self.path)
        except TimesTenError as error:
            raise TimesTenError(
                f"{self.path}: there is no safe way to edit this file, the result would be refused ({error.message}): "
                "add or remove the jobs by hand",
                **error.details,
            ) from error

    def fail(self, index: int, message: str) -> TimesTenError:
        return _fail(self.path, self.text.count("\n", 0, index) + 1, message)

    def line(self, index: int) -> int:
        return self.text.count("\n", 0, index) + 1

    def line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """The start of the next line, or the end of the text."""
        newline = self.text.find("\n", index)
        return len(self.text) if newline < 0 else newline + 1

    def items(self, key: str) -> list[Any]:
        """The nodes of a list at the top, empty where there is none."""
        value = self.fields.get(key, (None, None))[1]
        return value.value if isinstance(value, yaml.SequenceNode) else []

    def foreign(self, key: str) -> list[Any]:
        """The nodes of a list at the top that are not in our block."""
        block = self.block
        if block is None or block.key != key:
            return self.items(key)
        ours = {id(chunk.node) for chunk in block.chunks}
        return [item for item in self.items(key) if id(item) not in ours]

    def in_scalar(self, index: int) -> bool:
        """Tell whether a position is inside a scalar of several lines, where nothing is a comment."""
        at = bisect.bisect_right(self._long_scalars, (index, len(self.text) + 1)) - 1
        return at >= 0 and self._long_scalars[at][0] <= index < self._long_scalars[at][1]

    def _compose(self) -> Any:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self.text)
        try:
            root = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            if "single document" in str(error.context) or "another document" in str(error.problem):
                raise _fail(
                    self.path, line, "a second document begins; Prometheus reads only the first: keep one document"
                ) from error
            lines = self.text.split("\n")
            hint = "repair it (promtool check config shows it too)"
            if mark and mark.line < len(lines) and "\t" in lines[mark.line]:
                hint = "there is a tab in this line: replace it by spaces"
            began = ""
            if error.context_mark:
                began = f" ({error.context}, which began in line {error.context_mark.line + 1})"
            raise _fail(
                self.path, line, f"this is not valid YAML: {error.problem or error.context}{began}; {hint}"
            ) from error
        except (yaml.YAMLError, RecursionError) as error:
            raise TimesTenError(f"{self.path}: this is not valid YAML: {error}; repair it by hand") from error
        finally:
            loader.dispose()
        if root is None or (
            isinstance(root, yaml.ScalarNode) and root.tag == _NULL and root.start_mark.index == root.end_mark.index
        ):
            return None
        if not isinstance(root, yaml.MappingNode):
            raise _fail(
                self.path,
                root.start_mark.line + 1,
                "the file is not a mapping of sections (global:, scrape_configs:, ...)",
            )
        return root

    def _walk(self, root: Any) -> None:
        """Refuse duplicate keys at any depth (loading would hide them) and note the scalars that span lines."""
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
            for key, value in node.value:
                stack += (key, value)
                if isinstance(key, scalar):
                    names.add((key.tag, key.value))
                else:
                    names.add((id(key), ""))
            if len(names) < len(node.value):
                self._refuse_twice(node)
        self._long_scalars.sort()

    def _refuse_twice(self, mapping: Any) -> None:
        """:raises TimesTenError: for the first key of a mapping that is there a second time."""
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

    def _find_block(self) -> _Block | None:
        markers = [match for match in _MARKER.finditer(self.text) if not self.in_scalar(match.start(1))]
        if not markers:
            return None
        lines = [(match.group(1), self.line(match.start())) for match in markers]
        if [kind for kind, _line in lines] != ["BEGIN", "END"]:
            found = ", ".join(f"{kind} in line {line}" for kind, line in lines)
            raise _fail(
                self.path,
                lines[0][1],
                f"the marker lines of timesten.monitoring are not one BEGIN followed by one END ({found}): restore "
                "the file, or delete "
                "everything that belongs to the block together with its markers and run again",
            )
        begin, tail = (match.start() for match in markers)
        end = self.line_end(tail)
        body = self.line_end(begin)
        restore: dict[str, Any] = {}
        match = _RESTORE.match(self.text, body)
        if match:
            with contextlib.suppress(ValueError):
                restore = json.loads(match.group(1))
            if not restore or any(
                not isinstance(value, int if name == "split" else str) for name, value in restore.items()
            ):
                raise self.fail(body, "the restore line of the block was changed by hand: restore it, or remove it")
            body = match.end()
        for key in (JOBS, FILES):
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
            block = _Block(key, begin, body, tail, end, restore, [])
            block.chunks = self._chunks(block, inside)
            self._check_place(block, field)
            return block
        raise self.fail(
            begin,
            "the block of timesten.monitoring is not in the list scrape_configs (or holds no job): move it back, or "
            "delete it with its markers and run again",
        )

    def _check_place(self, block: _Block, field: tuple[Any, Any]) -> None:
        """Refuse markers that cut through something: another section, a job before or after the block."""
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
        while after < len(self.text) and _BLANK.match(self.text[after : self.line_end(after)].rstrip("\n")):
            after = self.line_end(after)
        line = self.text[after : self.line_end(after)]
        behind = len(line) - len(line.lstrip(" "))
        if field[1].flow_style:
            cut = block.chunks[-1].node.end_mark.index > block.tail
        else:
            cut = after < self.end and behind > _column(self, field[1])
        if cut or not all(map(_BLANK.match, lines)):
            raise self.fail(
                block.begin, "the markers of the block cut through a job: move them back around the jobs of the block"
            )

    def _chunks(self, block: _Block, inside: list[Any]) -> list[_Chunk]:
        heads = [
            match
            for match in _EXPORTER.finditer(self.text, block.body, block.tail)
            if not self.in_scalar(match.start(1))
        ]
        if block.key == FILES:
            if len(inside) != 1 or heads:
                raise self.fail(
                    block.begin,
                    "the block in scrape_config_files must hold one file name: restore it, or delete it with its "
                    "markers",
                )
            return [_Chunk("", False, block.body, block.body, block.tail, inside[0])]
        chunks = []
        at = [item.start_mark.index for item in inside]
        for number, match in enumerate(heads):
            end = heads[number + 1].start() if number + 1 < len(heads) else block.tail
            first, last = bisect.bisect_left(at, match.start()), bisect.bisect_left(at, end)
            if last - first != 1:
                raise self.fail(
                    match.start(),
                    f"below '# exporter: {match.group(1)}' there are {last - first} jobs instead of one: "
                    "move hand-written jobs out of the block",
                )
            body = self.line_end(match.start())
            chunks.append(_Chunk(match.group(1), bool(match.group(2)), match.start(), body, end, inside[first]))
        if not chunks or at[0] < chunks[0].start:
            raise self.fail(at[0], "this job is inside the block but not one of ours: move it below the END line")
        names = [chunk.exporter for chunk in chunks]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise self.fail(block.begin, f"exporter {twice} has two jobs in the block: remove one of them")
        return chunks


def _parsed(data: bytes, path: str) -> _Source:
    """Parse a file, or remember it: a plan looks at the same bytes several times, and nothing changes what it gets.

    :raises TimesTenError: with file and line where it cannot be read as one YAML mapping or our markers were broken.
    """
    if YAML_IMPORT_ERROR:
        raise TimesTenError(
            "The Python package PyYAML is missing on this host: install python3-pyyaml (Oracle Linux, Red Hat) "
            "or python3-yaml (Debian)",
            exception=YAML_IMPORT_ERROR,
        )
    return _remembered(data, path)


_remembered = functools.lru_cache(maxsize=4)(_Source)


def _fail(path: str, line: int, message: str) -> TimesTenError:
    return TimesTenError(f"{path}: line {line}: {message}", line=line)


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
    if not data.translate(None, _PLAIN_BYTES):
        return bom, text
    for pattern, what in (
        (_UNPRINTABLE, "YAML does not allow the character"),
        (_ODD_BREAK, "readers disagree whether a line ends at"),
    ):
        found = pattern.search(text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            raise _fail(path, line, f"{what} {found.group()!r}; remove it, or write it as an escape in double quotes")
    return bom, text


def _child(node: Any, name: str) -> Any:
    """The value of a key of a mapping, merge keys (``<<``) included; None where there is none."""
    if not isinstance(node, yaml.MappingNode):
        return None
    merged: list[Any] = []
    for key, value in node.value:
        if key.tag == _STR and key.value == name:
            return value
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
    for other in merged:
        found = _child(other, name)
        if found is not None:
            return found
    return None


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _targets(item: Any) -> tuple[str, ...]:
    groups = _child(item, "static_configs")
    found = []
    for group in groups.value if isinstance(groups, yaml.SequenceNode) else []:
        targets = _child(group, "targets")
        found += [
            target.value
            for target in (targets.value if isinstance(targets, yaml.SequenceNode) else [])
            if _text(target) is not None
        ]
    return tuple(found)


def _view(src: _Source, item: Any, interval: float, adopted: bool = False) -> JobView:
    name = _text(_child(item, "job_name")) or ""
    own = _text(_child(item, "scrape_interval"))
    line = item.start_mark.line + 1
    if own is not None:
        interval = _jobs.parse_duration(own, f"{src.path}: line {line}: scrape_interval") or interval
    return JobView(name, _targets(item), interval, f"{src.path}: line {line}", adopted)


def _global_interval(src: _Source) -> float:
    text = _text(_child(_child(src.root, "global"), "scrape_interval"))
    if not text or src.root is None:
        return _jobs.DEFAULT_INTERVAL
    return _jobs.parse_duration(text, f"{src.path}: global: scrape_interval") or _jobs.DEFAULT_INTERVAL


@_without_collector
def read(
    source: bytes,
    scrape_file: bytes | None = None,
    *,
    others: Mapping[str, bytes] | None = None,
    store: str | None = None,
    path: str = "prometheus.yml",
) -> ConfigView:
    """Read what a configuration says about scraping.

    :param source: prometheus.yml.
    :param scrape_file: our own scrape file, where one exists.
    :param others: path to content of the scrape files of other people.
    :param store: the PEM store; jobs outside a block whose ``ca_file`` is in it count as ours too (layout
        ``template``).
    :raises TimesTenError: with file and line where a file cannot be read as one YAML mapping or our markers were
        broken.
    """
    src = _parsed(source, path)
    interval = _global_interval(src)
    ours: dict[str, JobView] = {}
    foreign: list[JobView] = []
    layout = None
    homes = [src]
    if src.block:
        layout = "inline" if src.block.key == JOBS else "files"
        if layout == "files":
            homes.append(_parsed(scrape_file or b"", "the scrape file"))
    for home in homes:
        if home.block and home.block.key == JOBS:
            ours.update(
                {chunk.exporter: _view(home, chunk.node, interval, chunk.adopted) for chunk in home.block.chunks}
            )
    for home in homes + [_parsed(data, name) for name, data in sorted((others or {}).items())]:
        for item in home.foreign(JOBS):
            exporter = _unmarked(item, store) if store and not src.block else None
            if exporter:
                layout = "template"
                ours[exporter] = _view(home, item, interval)
            else:
                foreign.append(_view(home, item, interval))
    return ConfigView(ours, foreign, interval, layout)


def scrape_patterns(source: bytes, path: str = "prometheus.yml") -> list[str]:
    """Return the file patterns of other people in ``scrape_config_files``, as they are written there."""
    return [item.value for item in _parsed(source, path).foreign(FILES) if isinstance(item, yaml.ScalarNode)]


def _unmarked(item: Any, store: str) -> str | None:
    """Tell whose job this is where there are no markers: by a ``ca_file`` in our store, else (insecure) by the job's
    name."""
    ca_file = _text(_child(_child(item, "tls_config"), "ca_file"))
    if ca_file is not None:
        match = re.match(re.escape(store.rstrip("/")) + r"/([^/]+)/current/ca\.crt\Z", posixpath.normpath(ca_file))
        return match.group(1) if match else None
    name = _text(_child(item, "job_name")) or ""
    return (
        name[len(_jobs.JOB_PREFIX) :]
        if name.startswith(_jobs.JOB_PREFIX) and len(name) > len(_jobs.JOB_PREFIX)
        else None
    )


# --- comparing --------------------------------------------------------------------------------------------------------


def _equal(left: Any, right: Any, seen: set[tuple[int, int]]) -> bool:
    """Compare two node trees: kinds, tags, values, order. Aliases may make them graphs, hence ``seen``."""
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


def _says(node: Any, value: Any) -> bool:
    """Tell whether a node means exactly this value of ours, whatever its style and the order of its keys."""
    if isinstance(value, Mapping):
        if not isinstance(node, yaml.MappingNode) or len(node.value) != len(value):
            return False
        return all(key.tag == _STR and key.value in value and _says(item, value[key.value]) for key, item in node.value)
    if isinstance(value, (list, tuple)):
        return (
            isinstance(node, yaml.SequenceNode) and len(node.value) == len(value) and all(map(_says, node.value, value))
        )
    if not isinstance(node, yaml.ScalarNode):
        return False
    if isinstance(value, str):
        return bool(node.tag == _STR and node.value == value)
    kind = "null" if value is None else type(value).__name__
    return bool(node.tag == f"tag:yaml.org,2002:{kind}" and node.value == _jobs.scalar(value, "value"))


# --- outline of one item ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Field:
    """One key of an item: where the key starts, where its value starts, where the content of the value ends."""

    start: int
    key_end: int
    value: int
    end: int
    block: bool


def _outline(text: str) -> tuple[dict[str, _Field], int]:
    """Find the keys of the only item of a block list and the end of its last content, comments and blank lines aside.

    Events, not nodes: the end of a block node is where the next thing begins, and an alias has no place of its own in
    a node.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    fields: dict[str, _Field] = {}
    last = 0
    depth = 0
    flow: list[bool] = []
    name = None
    is_key = True
    key_mark = (0, 0)
    try:
        while loader.check_event():
            event = loader.get_event()
            start, end = event.start_mark.index, event.end_mark.index
            opens = isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent))
            closes = isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent))
            leaf = isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent))
            if not (opens or closes or leaf):
                continue
            if closes:
                depth -= 1
                if flow.pop():
                    last = end
            elif leaf:
                last = end
            # Depth 2 is inside the item's own mapping.
            if depth == 2 and not closes:
                if is_key:
                    name = event.value if isinstance(event, yaml.ScalarEvent) else None
                    key_mark = (start, end)
                elif name is not None:
                    fields[name] = _Field(key_mark[0], key_mark[1], start, end, opens and not event.flow_style)
            if depth == 2 and (leaf or closes):
                if not is_key and name is not None:
                    fields[name].end = last
                is_key = not is_key
            if opens:
                depth += 1
                flow.append(bool(event.flow_style))
                last = max(last, start + 1 if event.flow_style else start)
    finally:
        loader.dispose()
    return fields, last


def _dashes(src: _Source, key: str) -> list[int]:
    """The line starts of the items of a block list, in order.

    :raises TimesTenError: if they cannot be told apart (an item that shares its line with something else).
    """
    node = src.fields[key][1]
    column = _column(src, node)
    pattern = re.compile(rf"^ {{{column}}}-(?=[ \t\r\n]|\Z)", re.MULTILINE)
    limit = min(node.end_mark.index, src.end)
    found = [
        match.start()
        for match in pattern.finditer(src.text, src.line_start(node.start_mark.index), limit)
        if not src.in_scalar(match.end() - 1)
    ]
    if len(found) != len(node.value):
        raise src.fail(
            node.start_mark.index,
            f"the items of {key} do not begin on lines of their own: write each '- ' at the start of a line",
        )
    return found


def _column(src: _Source, node: Any) -> int:
    """The column of the dashes of a block list; an anchor or a tag may stand before the first one."""
    at = int(node.start_mark.index)
    while src.text[at] != "-":
        skip = re.compile(r"[&!]\S*|\s+|#.*").match(src.text, at)
        if not skip:
            raise src.fail(at, "the beginning of this list was not understood: put its first '- ' on a line of its own")
        at = skip.end()
    return at - src.line_start(at)


def _item_region(src: _Source, dashes: list[int], number: int, key: str) -> tuple[int, int, dict[str, _Field]]:
    """Start, end (of the last line with content) and keys of an item, all as positions in the file."""
    start = dashes[number]
    node = src.fields[key][1]
    limit = dashes[number + 1] if number + 1 < len(dashes) else min(node.end_mark.index, src.end)
    try:
        fields, end = _outline(src.text[start:limit])
    except yaml.YAMLError as error:
        raise src.fail(
            start, f"this item cannot be understood by itself ({error}): write it without tag shorthands"
        ) from error
    for field in fields.values():
        for name in ("start", "key_end", "value", "end"):
            setattr(field, name, getattr(field, name) + start)
    end += start
    return start, end if src.text[end - 1] == "\n" else src.line_end(end), fields


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Entry:
    """What the block shall hold for one exporter: a job, or (where ``text`` is set) text that is carried along."""

    exporter: str
    adopted: bool = False
    job: _jobs.Job | None = None
    text: str | None = None
    column: int = 0
    flow: bool = False
    node: Any = None

    def render(self, column: int, flow: bool, newline: str) -> str:
        """The comment line and the item, each line ended."""
        head = " " * column + f"# exporter: {self.exporter}" + (" (adopted)" if self.adopted else "") + newline
        if self.text is not None and not flow and not self.flow:
            moved = _reindent(self.text, column - self.column)
            if moved is not None:
                return head + re.sub("\r?\n", newline, moved)
        config = self.job.config if self.job else _plain(self.node)
        where = f"exporter {self.exporter}"
        if flow:
            return head + " " * column + _jobs.emit_flow(config, where) + "," + newline
        return head + "".join(line + newline for line in _jobs.emit(config, column, where))


def _plain(node: Any) -> Any:
    # Merging changes the nodes, which are still needed for the proof.
    constructor = yaml.constructor.SafeConstructor()
    return constructor.construct_document(copy.deepcopy(node))


def _reindent(text: str, delta: int) -> str | None:
    """Shift all lines; None where a line stands too far left for that."""
    if not delta:
        return text
    lines = text.splitlines(keepends=True)
    if delta > 0:
        return "".join(" " * delta + line if line.strip() else line for line in lines)
    if any(line.strip() and not line.startswith(" " * -delta) for line in lines):
        return None
    return "".join(line[-delta:] if line.strip() else line for line in lines)


@dataclasses.dataclass
class _Place:
    """Where a new block goes: ``cut`` is given up first, then ``before`` + block + ``after`` is put in at ``at``."""

    at: int
    column: int
    flow: bool = False
    cut: tuple[int, int] | None = None
    key_line: str = ""
    before: str = ""
    after: str = ""
    restore: dict[str, Any] = dataclasses.field(default_factory=dict)


def _place(src: _Source, key: str) -> _Place:
    """Find the place for a new block.

    :raises TimesTenError: with the line and the way out where there is no safe one.
    """
    text = src.text
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
    colon = re.compile(r"[ \t]*:").match(text, name.end_mark.index)
    if not colon or text[line : name.start_mark.index].strip(" "):
        raise src.fail(name.start_mark.index, f"'{key}' is not written as '{key}:' at the start of a line: write it so")
    if value.start_mark.index < colon.end():
        raise src.fail(name.start_mark.index, f"{key} is an alias (*name): write the list itself here")
    is_list = isinstance(value, yaml.SequenceNode)
    if value.tag == _NULL or (is_list and not value.value):
        place = _place_nothing(src, key, colon.end(), value)
        if place:
            return place
    if not is_list:
        raise src.fail(name.start_mark.index, f"{key} is not a list: write its entries as '- ' lines")
    if value.flow_style:
        return _place_flow(src, value, root_column)
    dashes = _dashes(src, key)
    _start, end, _fields = _item_region(src, dashes, len(dashes) - 1, key)
    return _at_line(src, end, _column(src, value))


def _at_line(src: _Source, at: int, column: int) -> _Place:
    """A place at a line start; at the end of a file without a last line end, one has to be made and taken away again
    later."""
    if at and src.text[at - 1 : at] != "\n":
        return _Place(at, column, before=src.newline, restore={"newline": src.newline})
    return _Place(at, column)


def _list_column(src: _Source, root_column: int) -> int:
    """The dash column that the file uses for its own lists at the top, else two more than the keys."""
    for key, value in src.fields.values():
        if (
            isinstance(value, yaml.SequenceNode)
            and not value.flow_style
            and value.start_mark.index > key.end_mark.index
        ):
            return _column(src, value)
    return root_column + 2


def _place_key(src: _Source, key: str) -> _Place:
    root_column = 0
    if src.root is not None:
        for name, _value in src.root.value:
            if name.tag == _MERGE and _child(src.root, key) is not None:
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


def _place_nothing(src: _Source, key: str, colon: int, value: Any) -> _Place | None:
    """The place below a key that has no entries yet; None where brackets with comments inside have to stay."""
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


def _place_flow(src: _Source, value: Any, root_column: int) -> _Place:
    """The place right after the opening bracket: there no comma of somebody else's is needed."""
    at = value.start_mark.index
    if src.text[at] != "[":
        raise src.fail(at, "this list in brackets has an anchor or a tag: write it without")
    at += 1
    column = root_column + 2
    end = src.line_end(at)
    if _BLANK.match(src.text[at:end].rstrip("\n")):
        return _Place(end, column, flow=True)
    return _Place(
        at, column, flow=True, before=src.newline, after=" " * column, restore={"split": column, "newline": src.newline}
    )


def _insert(src: _Source, key: str, render: Callable[[int, bool], str]) -> str:
    """Return the text with a new block."""
    place = _place(src, key)
    newline = src.newline
    lead = " " * (len(place.key_line) - len(place.key_line.lstrip()) if place.key_line else place.column)
    block = lead + _BEGIN + newline
    if place.restore:
        block += f"{lead}# restore: {json.dumps(place.restore, sort_keys=True)}{newline}"
    if place.key_line:
        block += place.key_line + newline
    block += render(place.column, place.flow) + lead + _END + newline
    cut = place.cut or (place.at, place.at)
    return src.text[: cut[0]] + src.text[cut[1] : place.at] + place.before + block + place.after + src.text[place.at :]


def _without(src: _Source, released: str = "") -> str:
    """Return the text without our block, as it was before us; ``released`` are items that stay as plain ones."""
    block = src.block
    if block is None:
        return src.text
    before, after = src.text[: block.begin], src.text[block.end :]
    restore = block.restore
    alone = not src.foreign(block.key) and not released
    if "split" in restore:
        if released:
            return before + released + after
        if before.endswith(restore["newline"]) and after.startswith(" " * restore["split"]):
            before, after = before[: -len(restore["newline"])], after[restore["split"] :]
        return before + after
    if "key" in restore and not alone:
        name = src.fields[block.key][0].start_mark.index
        released = src.text[src.line_start(name) : src.line_end(name)] + released
    if "newline" in restore and not released and not after and before.endswith(restore["newline"]):
        before = before[: -len(restore["newline"])]
    if "value" in restore and alone:
        colon = re.compile(r"[ \t]*:").match(before, src.fields[block.key][0].end_mark.index)
        if not colon or not _BLANK.match(before[colon.end() : src.line_end(colon.end())].rstrip("\n")):
            raise src.fail(
                block.begin,
                f"{restore['value']!r} cannot be put back behind '{block.key}:': clear the rest of that line",
            )
        before = before[: colon.end()] + restore["value"] + before[colon.end() :]
    return before + released + after


def _rewrite(src: _Source, entries: list[_Entry], released: str) -> str:
    """Return the text with the block's entries replaced; entries that carry their own unchanged text keep every
    byte."""
    block = src.block
    if block is None:
        return (
            _insert(
                src, JOBS, lambda column, flow: "".join(entry.render(column, flow, src.newline) for entry in entries)
            )
            if entries
            else src.text
        )
    if not entries:
        return _without(src, released)
    node = src.fields[JOBS][1]
    flow = bool(node.flow_style)
    first = block.chunks[0]
    column = first.node.start_mark.index - src.line_start(first.node.start_mark.index) if flow else _column(src, node)
    kept = {id(chunk.node): src.text[chunk.start : chunk.end] for chunk in block.chunks}
    body = "".join(
        kept[id(entry.node)]
        if entry.job is None and id(entry.node) in kept
        else entry.render(column, flow, src.newline)
        for entry in entries
    )
    return src.text[: first.start] + body + src.text[block.tail : block.end] + released + src.text[block.end :]


# --- adopting ---------------------------------------------------------------------------------------------------------


def _adopt(src: _Source, node: Any, region: tuple[int, int, dict[str, _Field]], job: _jobs.Job, column: int) -> _Entry:
    """Turn a hand-written job into an entry of ours: its text, with our scheme and tls_config put in."""
    start, end, fields = region
    tls_ours = job.config.get("tls_config")
    scheme = job.config["scheme"]
    tls = None
    if tls_ours is not None:
        old = _child(node, "tls_config")
        tls = {} if old is None else {key: value for key, value in _plain(old).items() if key not in _TLS_OURS}
        server_name = tls_ours.get("server_name") or _text(_child(old, "server_name"))
        tls.update(tls_ours, **({"server_name": server_name} if server_name else {}))
    if _text(_child(node, "scheme")) == scheme or (scheme == "http" and _child(node, "scheme") is None):
        scheme = None
    if tls is not None and _says(_child(node, "tls_config"), tls):
        tls = None
    config = _plain(node)
    config.update({key: value for key, value in (("scheme", scheme), ("tls_config", tls)) if value is not None})
    old_target = _only_target(node)
    moved = old_target is None or old_target.value.lower() != job.target.lower()
    if moved:
        config["static_configs"] = [dict(config["static_configs"][0], targets=[job.target])]
    entry = _Entry(job.exporter, True, _jobs.Job(job.exporter, config), None, column, False, node)
    if not fields or node.flow_style or _shared(node, fields):
        return entry
    where = f"exporter {job.exporter}"
    inner = min(field.start - src.line_start(field.start) for field in fields.values())
    edits: list[tuple[int, int, str]] = []
    tail = ""
    for key, value in (("scheme", scheme), ("tls_config", tls)):
        if value is None:
            continue
        lines = _jobs.emit({key: value}, 0, where)
        lines = [" " * inner + line[2:] for line in lines]
        if key in fields:
            lines[0] = lines[0].lstrip()
            field = fields[key]
            stop = field.end
            while src.text[stop - 1] in "\r\n":
                stop -= 1
            edits.append((field.start, stop, src.newline.join(lines)))
        else:
            tail += "".join(line + src.newline for line in lines)
    if moved:
        edits.append((old_target.start_mark.index, old_target.end_mark.index, json.dumps(job.target)))
    text = src.text[start:end]
    for left, right, new in sorted(edits, reverse=True):
        text = text[: left - start] + new + text[right - start :]
    if not text.endswith("\n"):
        text += src.newline
    entry.text = text + tail
    return entry


def _only_target(node: Any) -> Any:
    groups = _child(node, "static_configs")
    if isinstance(groups, yaml.SequenceNode) and len(groups.value) == 1:
        targets = _child(groups.value[0], "targets")
        if isinstance(targets, yaml.SequenceNode) and len(targets.value) == 1:
            return targets.value[0]
    return None


def _shared(node: Any, fields: Mapping[str, _Field]) -> bool:
    """Tell whether what would have to be changed is an alias or comes by a merge key, so that its text stands
    elsewhere."""
    for name in ("scheme", "tls_config", "static_configs"):
        value = _child(node, name)
        if value is not None and (
            name not in fields or not fields[name].value <= value.start_mark.index <= fields[name].end
        ):
            return True
    target = _only_target(node)
    field = fields.get("static_configs")
    return target is None or field is None or not field.value <= target.start_mark.index < field.end


# --- the edit ---------------------------------------------------------------------------------------------------------


@_without_collector
def edit(
    source: bytes,
    jobs: Iterable[_jobs.Job],
    *,
    remove: Iterable[str] = (),
    purge: bool = False,
    layout: str = "inline",
    scrape_file: bytes | None = None,
    scrape_file_path: str | None = None,
    on_existing: str = "fail",
    others: Mapping[str, bytes] | None = None,
    store: str | None = None,
    path: str = "prometheus.yml",
) -> EditResult:
    """Put jobs into a configuration, take jobs out, keep every other byte.

    :param source: prometheus.yml.
    :param jobs: jobs to set; those of exporters that are not mentioned stay byte for byte.
    :param remove: exporters whose jobs go; an adopted job stays in the file as a plain one.
    :param purge: whether the jobs of all exporters that are not in ``jobs`` go.
    :param layout: ``inline`` (block in prometheus.yml) or ``files`` (own file, Prometheus 2.43 or later).
    :param scrape_file: present content of our own file, also when the layout is changed.
    :param scrape_file_path: its path as prometheus.yml shall name it; needed for ``files``.
    :param on_existing: ``fail``, ``adopt`` or ``keep`` where a hand-written job has the name or the target of one of
        ours.
    :param others: path to content of other people's scrape files, searched for such jobs.
    :param store: the PEM store; jobs outside the block whose ``ca_file`` is in it (left by the layout ``template``)
        become ours again.
    :raises TimesTenError: with line and way out where a safe edit is impossible; nothing has been changed then.
    """
    src = _parsed(source, path)
    wanted = {job.exporter: job for job in jobs}
    in_files = bool(src.block and src.block.key == FILES)
    file_src = _parsed(scrape_file or b"", scrape_file_path or "the scrape file")
    if scrape_file and file_src.block is None and layout == "files":
        raise TimesTenError(
            f"{file_src.path}: exists and was not written by this collection: choose another path, or move it away"
        )
    old_home = file_src if in_files else src
    chunks = {chunk.exporter: chunk for chunk in (old_home.block.chunks if old_home.block else [])}
    left_over = _left_over(src, wanted, store)
    homes = [src, file_src, *(_parsed(data, name) for name, data in sorted((others or {}).items()))]
    clashes = _clashes(wanted, homes, on_existing, left_over)
    kept = sorted(clashes) if on_existing == "keep" else []
    for exporter in kept:
        del wanted[exporter]
    gone = {name for name in chunks if name in set(remove) or name in kept or (purge and name not in wanted)} - set(
        wanted
    )
    rest = src
    taken: dict[str, _Entry] = {}
    if left_over or (clashes and not kept):
        target_path = (scrape_file_path or "") if layout == "files" else ""
        rest, taken = _take(src, {} if kept else clashes, left_over, wanted, target_path)
    entries, changed = _entries(old_home, chunks, gone, wanted, taken)
    released = [chunks[name] for name in chunks if name in gone and chunks[name].adopted]

    # From here on ``rest`` is prometheus.yml on its way to the outcome.
    free = "".join(old_home.text[chunk.body : chunk.end] for chunk in released)
    if in_files and released:
        rest = _set_free(rest, old_home, released)
    elif old_home is src and layout == "files":
        rest = rest.after(_without(rest, free))
    elif in_files and layout == "inline":
        rest = rest.after(_without(rest))
    taken_nodes = {id(item) for item in left_over.values()} | {id(entry.node) for entry in taken.values()}
    expected = {entry.exporter: entry for entry in entries}
    if layout == "files":
        home = file_src.after(_rewrite(file_src, entries, ""))
        final = _line_for_file(rest, scrape_file_path, bool(entries))
        _prove(file_src, home, expected, set(), [])
        _prove(src, final, {}, taken_nodes, released)
        result_file = home.encode(home.text) or None
    else:
        home = final = rest.after(_rewrite(rest, entries, "" if in_files else free))
        _prove(src, final, expected, taken_nodes, released)
        result_file = None
    config = final.encode(final.text)
    return EditResult(
        config=config,
        scrape_file=result_file,
        changed=config != source or (result_file or b"") != (scrape_file or b""),
        added=sorted(name for name in wanted if name not in chunks),
        removed=sorted(gone),
        changed_names=sorted(changed),
        adopted=sorted(taken),
        kept=kept,
        line=home.line(home.block.begin) if home.block else None,
    )


def _set_free(src: _Source, home: _Source, released: Sequence[_Chunk]) -> _Source:
    """Return prometheus.yml without our line, but with the adopted jobs of our scrape file as plain ones."""
    column = _column(home, home.fields[JOBS][1])
    entries = [
        _Entry(chunk.exporter, True, None, home.text[chunk.body : chunk.end], column, False, chunk.node)
        for chunk in released
    ]
    bare = src.after(_without(src))
    inline = bare.after(_rewrite(bare, entries, ""))
    text = "".join(inline.text[chunk.body : chunk.end] for chunk in (inline.block.chunks if inline.block else []))
    return inline.after(_without(inline, text))


@_without_collector
def remove(source: bytes, scrape_file: bytes | None = None, path: str = "prometheus.yml") -> bytes:
    """Return the configuration as it was before us, byte for byte; adopted jobs stay as plain ones.

    :param scrape_file: our own file, in the layout ``files``: it goes, and what it holds of adopted jobs comes back.
    """
    src = _parsed(source, path)
    if src.block is None:
        return source
    home = src if src.block.key == JOBS else _parsed(scrape_file or b"", "the scrape file")
    adopted = [chunk for chunk in home.block.chunks if chunk.adopted] if home.block else []
    if home is not src and adopted:
        new = _set_free(src, home, adopted)
    else:
        new = src.after(_without(src, "".join(src.text[chunk.body : chunk.end] for chunk in adopted)))
    _prove(src, new, {}, set(), adopted)
    return new.encode(new.text)


def _clashes(
    wanted: Mapping[str, _jobs.Job], homes: Sequence[_Source], on_existing: str, left_over: Mapping[str, Any]
) -> dict[str, tuple[_Source, Any]]:
    """Exporter to the hand-written job that has its name or its target.

    :raises TimesTenError: where that job is in the way of what ``on_existing`` asks for.
    """
    by_name = {job.name: exporter for exporter, job in wanted.items()}
    by_target = {job.target.lower(): exporter for exporter, job in wanted.items()}
    found: dict[str, tuple[_Source, Any]] = {}
    ours = {id(item) for item in left_over.values()}
    for home in homes:
        for item in home.foreign(JOBS):
            if id(item) in ours:
                continue
            name, targets = _text(_child(item, "job_name")), _targets(item)
            hits = {by_target[target.lower()] for target in targets if target.lower() in by_target}
            if name in by_name:
                hits.add(by_name[name])
            for exporter in sorted(hits):
                _check_clash(home, item, name, targets, wanted[exporter], on_existing)
                if exporter in found:
                    raise home.fail(
                        item.start_mark.index,
                        f"exporter {exporter} is scraped by two hand-written jobs: remove one of them",
                    )
                found[exporter] = (home, item)
    return found


def _check_clash(
    home: _Source, item: Any, name: str | None, targets: tuple[str, ...], job: _jobs.Job, on_existing: str
) -> None:
    at = item.start_mark.index
    about = f"the hand-written job {name!r}"
    same_target = job.target.lower() in {target.lower() for target in targets}
    if on_existing == "fail":
        raise home.fail(
            at,
            f"{about} already {'scrapes ' + job.target if same_target else 'has the name'} of exporter "
            f"{job.exporter}: remove it, "
            "or set on_existing to adopt (it becomes ours) or keep (it stays, without our TLS settings)",
        )
    if not same_target:
        raise home.fail(at, f"{about} has the name of the job of exporter {job.exporter} but another target: rename it")
    if on_existing == "adopt" and (len(targets) != 1 or _only_target(item) is None):
        raise home.fail(
            at, f"{about} scrapes {job.target} among other targets: give {job.target} a job of its own, then adopt it"
        )


def _left_over(src: _Source, wanted: Mapping[str, _jobs.Job], store: str | None) -> dict[str, Any]:
    """Exporter to its job outside of a block, as the layout ``template`` leaves it."""
    found = {}
    for item in src.foreign(JOBS) if store else []:
        exporter = _unmarked(item, store or "") or ""
        if exporter in wanted and (_child(item, "tls_config") is not None or _says(item, wanted[exporter].config)):
            found[exporter] = item
    return found


def _take(
    src: _Source,
    clashes: Mapping[str, tuple[_Source, Any]],
    left_over: Mapping[str, Any],
    wanted: Mapping[str, _jobs.Job],
    scrape_file_path: str,
) -> tuple[_Source, dict[str, _Entry]]:
    """Cut jobs out of the list and return the rest of the file, and those that are adopted as entries.

    :param scrape_file_path: where the entries go, empty for the file they come from.
    """
    for home, item in clashes.values():
        if home is not src:
            raise home.fail(
                item.start_mark.index,
                "a job in a scrape file cannot be adopted: move it into prometheus.yml, or remove it",
            )
    value = src.fields[JOBS][1]
    if value.flow_style:
        raise src.fail(
            value.start_mark.index, "a job in a list in brackets cannot be taken out: write the list as '- ' lines"
        )
    dashes, column, text = _dashes(src, JOBS), _column(src, value), src.text
    items = {exporter: item for exporter, (_home, item) in clashes.items()}
    numbers = {id(item): number for number, item in enumerate(value.value)}
    taken: dict[str, _Entry] = {}
    for exporter, item in sorted([*items.items(), *left_over.items()], key=lambda pair: -numbers[id(pair[1])]):
        region = _item_region(src, dashes, numbers[id(item)], JOBS)
        if exporter in items:
            relative = _relative(item) if posixpath.dirname(scrape_file_path) else None
            if relative:
                raise src.fail(
                    item.start_mark.index,
                    f"the job names the relative path {relative!r}, which would mean another file from "
                    f"{scrape_file_path}: make it absolute",
                )
            taken[exporter] = _adopt(src, item, region, wanted[exporter], column)
        text = text[: region[0]] + text[region[1] :]
    try:
        return _parsed(src.encode(text), src.path), taken
    except TimesTenError as error:
        raise TimesTenError(
            f"{src.path}: the jobs of {', '.join(sorted({**items, **left_over}))} cannot be taken out, others use "
            f"their anchors: {error.message}"
        ) from error


def _relative(item: Any) -> str | None:
    """The first relative path in a job; Prometheus reads those from the directory of the file that names them."""
    stack = [item]
    while stack:
        node = stack.pop()
        if isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                names = value.value if isinstance(value, yaml.SequenceNode) else [value]
                if isinstance(key, yaml.ScalarNode) and (key.value.endswith("_file") or key.value == "files"):
                    for name in names:
                        if isinstance(name, yaml.ScalarNode) and name.value and not name.value.startswith("/"):
                            return str(name.value)
                stack.append(value)
    return None


def _entries(
    home: _Source,
    chunks: Mapping[str, _Chunk],
    gone: set[str],
    wanted: Mapping[str, _jobs.Job],
    taken: Mapping[str, _Entry],
) -> tuple[list[_Entry], list[str]]:
    """What the block shall hold, and whose jobs differ from before. Present order is kept; new jobs go where their
    name belongs."""
    entries: list[_Entry] = []
    changed = []
    value = home.fields[JOBS][1] if chunks else None
    flow = bool(value and value.flow_style)
    column = _column(home, value) if value and not flow else 0
    for name, chunk in chunks.items():
        if name in gone:
            continue
        text = home.text[chunk.body : chunk.end]
        same = _Entry(name, chunk.adopted, None, text, column, flow, chunk.node)
        entry = same
        if name in taken:
            raise home.fail(
                chunk.start, f"exporter {name} has a job of ours and a hand-written one: remove the hand-written one"
            )
        if name in wanted and chunk.adopted:
            entry = _readopt(home, chunk, wanted[name], column)
            if entry.text == text or (entry.text is None and entry.job and _says(chunk.node, entry.job.config)):
                entry = same
        elif name in wanted and not _says(chunk.node, wanted[name].config):
            entry = _Entry(name, job=wanted[name], node=chunk.node)
        if entry is not same:
            changed.append(name)
        entries.append(entry)
    new = [
        taken[name] if name in taken else _Entry(name, job=job) for name, job in wanted.items() if name not in chunks
    ]
    names = [entry.exporter for entry in entries]
    if names == sorted(names):
        entries = sorted(entries + new, key=lambda entry: entry.exporter)
    else:
        entries += sorted(new, key=lambda entry: entry.exporter)
    return entries, changed


def _readopt(home: _Source, chunk: _Chunk, job: _jobs.Job, column: int) -> _Entry:
    """The entry of a job that was adopted before, with our scheme, tls_config and target as they are now."""
    if home.fields[JOBS][1].flow_style:
        return _adopt(home, chunk.node, (chunk.body, chunk.end, {}), job, column)
    dashes = _dashes(home, JOBS)
    number = next(number for number, item in enumerate(home.fields[JOBS][1].value) if item is chunk.node)
    _start, _end, fields = _item_region(home, dashes, number, JOBS)
    return _adopt(home, chunk.node, (chunk.body, chunk.end, fields), job, column)


def _line_for_file(src: _Source, scrape_file_path: str | None, needed: bool) -> _Source:
    """Put the path of our scrape file into ``scrape_config_files``, unless a pattern of the owner names it already."""
    if not scrape_file_path:
        raise TimesTenError("layout files: the path of the scrape file is missing (scrape_file_path)")
    if src.block and src.block.key == FILES:
        if needed and src.block.chunks[0].node.value == scrape_file_path:
            return src
        src = src.after(_without(src))
    named = [item.value for item in src.items(FILES) if isinstance(item, yaml.ScalarNode)]
    if not needed or any(_matches(pattern, scrape_file_path) for pattern in named):
        return src
    name = _jobs.scalar(scrape_file_path, "scrape_file_path")

    def render(column: int, flow: bool) -> str:
        return " " * column + (name + "," if flow else "- " + name) + src.newline

    return src.after(_insert(src, FILES, render))


def _matches(pattern: str, path: str) -> bool:
    """Go's filepath.Match: a star does not cross a slash."""
    patterns, parts = posixpath.normpath(pattern).split("/"), posixpath.normpath(path).split("/")
    return len(patterns) == len(parts) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _prove(
    old: _Source, new: _Source, expected: Mapping[str, _Entry], taken: set[int], released: Sequence[_Chunk]
) -> None:
    """Compare the outcome, parsed anew, with what was there before.

    :raises TimesTenError: if anything that is not ours would mean something else, or ours is not what was asked for.
    """

    def check(good: bool, node: Any, what: str) -> None:
        if not good:
            hint = ""
            if old.text and not old.text.endswith("\n"):
                hint = "; the file's last line has no line end: add one"
            raise old.fail(
                node.start_mark.index if node is not None else 0,
                f"{what} would change its meaning{hint}, or add the jobs by hand",
            )

    seen: set[tuple[int, int]] = set()
    lists = (JOBS, FILES)
    if old.root is not None or new.root is not None:
        old_pairs = [pair for pair in (old.root.value if old.root else []) if pair[0].value not in lists]
        new_pairs = [pair for pair in (new.root.value if new.root else []) if pair[0].value not in lists]
        check(len(old_pairs) == len(new_pairs), old.root, "the file")
        for before, after in zip(old_pairs, new_pairs):
            check(
                _equal(before[0], after[0], seen) and _equal(before[1], after[1], seen),
                before[0],
                f"{before[0].value!r}",
            )
    names = {_text(_child(chunk.node, "job_name")) for chunk in released}
    for key in lists:
        before = [item for item in old.foreign(key) if id(item) not in taken]
        after = new.foreign(key)
        if key == JOBS and released:
            free = [item for item in after if _text(_child(item, "job_name")) in names]
            after = [item for item in after if _text(_child(item, "job_name")) not in names]
            check(
                len(free) == len(released)
                and all(_equal(chunk.node, item, seen) for chunk, item in zip(released, free)),
                old.root,
                "an adopted job",
            )
        check(len(before) == len(after), old.fields.get(key, (None,))[0], key)
        for one, two in zip(before, after):
            check(_equal(one, two, seen), one, f"an entry of {key}")
    found = {chunk.exporter: chunk for chunk in (new.block.chunks if new.block and new.block.key == JOBS else [])}
    check(sorted(found) == sorted(expected), old.root, "the block")
    for name, entry in expected.items():
        node = found[name].node
        if entry.adopted and entry.job is not None:
            check(_plain(node) == entry.job.config, entry.node, f"the adopted job of {name}")
        elif entry.job is not None:
            check(_says(node, entry.job.config), old.root, f"the job of {name}")
        else:
            check(
                _equal(entry.node, node, seen) or _plain(entry.node) == _plain(node), entry.node, f"the job of {name}"
            )
    if not taken and not released and (new.block is None or old.block is None or old.block.key == new.block.key):
        check(_without(new) == _without(old), old.root, "the text outside the block")


# --- template ---------------------------------------------------------------------------------------------------------


@_without_collector
def check_rendered(
    source: bytes,
    rendered: bytes,
    jobs: Iterable[_jobs.Job],
    store: str,
    path: str = "prometheus.yml",
    scrape_file: bytes | None = None,
) -> EditResult:
    """Check a whole file that was rendered from the user's template: it must hold each of our jobs, as asked for, and
    no other of ours.

    :param source: the present file, for the comparison; it may be of any layout.
    :param rendered: what the template made.
    :param jobs: all jobs that the template was given.
    :param store: the PEM store; a ``ca_file`` in it tells a job of ours.
    :raises TimesTenError: naming every job that is missing, different, double or left over.
    """
    wanted = {job.exporter: job for job in jobs}
    src = _parsed(rendered, f"the template's result for {path}")
    if src.block:
        raise src.fail(
            src.block.begin, "the template contains the marker lines of a block: remove them, or use the layout inline"
        )
    problems = []
    seen: dict[str, int] = {}
    by_name = {job.name: exporter for exporter, job in wanted.items()}
    for item in src.items(JOBS):
        exporter = by_name.get(_text(_child(item, "job_name")) or "") or _unmarked(item, store)
        line = item.start_mark.line + 1
        if exporter in seen:
            problems.append(f"line {line}: a second job for exporter {exporter} (first in line {seen[exporter]})")
        elif exporter in wanted:
            seen[exporter] = line
            if not _says(item, wanted[exporter].config):
                problems.append(f"line {line}: the job of exporter {exporter} is not what was handed to the template")
        elif exporter and _child(_child(item, "tls_config"), "ca_file") is not None:
            problems.append(f"line {line}: a job for exporter {exporter}, which is not in this run")
    problems += [f"no job for exporter {name}" for name in sorted(set(wanted) - set(seen))]
    if problems:
        raise TimesTenError(
            f"{src.path} does not hold exactly the jobs it was given: {'; '.join(problems)}. Loop over "
            "prometheus_host_jobs as the "
            "template that ships with the role prometheus_host does, and leave the jobs as they are"
        )
    before = read(source, scrape_file, store=store, path=path).ours
    nodes = {
        _text(_child(item, "job_name")): item
        for data in (source, scrape_file or b"")
        for item in _parsed(data, path).items(JOBS)
    }
    return EditResult(
        config=rendered,
        scrape_file=None,
        changed=rendered != source or scrape_file is not None,
        added=sorted(set(wanted) - set(before)),
        removed=sorted(set(before) - set(wanted)),
        changed_names=sorted(
            name for name, job in wanted.items() if name in before and not _says(nodes.get(job.name), job.config)
        ),
        adopted=[],
        kept=[],
        line=None,
    )
