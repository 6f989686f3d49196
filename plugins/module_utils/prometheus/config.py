# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits the text of prometheus.yml and keeps every byte that is not ours: bytes in, bytes out.

The file belongs to somebody else. A YAML parser finds positions and proves the outcome, but never writes. Our jobs
stand between two marker lines, each below a comment line with its exporter's name. Everything else keeps its bytes. If
that is impossible, the edit is refused before anything is written, with the line and what to do.

Other modules import only this one. ``config_source`` finds positions, ``config_block`` writes, ``config_adopt`` adopts
jobs.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, TypeVar, cast

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config_adopt, patterns
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_block import (
    Entry,
    carried,
    insert,
    rewrite,
    set_free,
    without,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_source import (
    FILES,
    JOBS,
    RULE_MARKS,
    RULES,
    Chunk,
    Source,
    child,
    equal,
    first_dash,
    parsed,
    says,
    targets_of,
    text_of,
    unmarked,
    whose_files,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap

try:
    import yaml
except ImportError:
    pass  # config_source reports that

_Function = TypeVar("_Function", bound=Callable[..., Any])
NOWHERE_ELSE = PathMap()
"""Prometheus sees the same paths as the host."""


# --- input and output -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Files:
    """The configuration of one Prometheus as it was read, and the place for our jobs.

    :ivar config: content of prometheus.yml.
    :ivar path: its path on Prometheus's command line; relative names in it count from its directory.
    :ivar store: the PEM store, as Prometheus sees it.
    :ivar scrape_path: path of our own scrape file (layout ``files``).
    :ivar scrape_file: present content of that file in any layout; None if there is no such file.
    :ivar others: content of the other files of :func:`scrape_files`, by path. One of them may be our scrape file at an
        earlier path.
    :ivar client: the client's name, written into a new block.
    :ivar paths: how Prometheus sees the host's paths. All paths here except ``store`` are the host's.
    """

    config: bytes
    path: str
    store: str
    scrape_path: str
    scrape_file: bytes | None = None
    others: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    client: str = ""
    paths: PathMap = NOWHERE_ELSE

    @property
    def base(self) -> str:
        """Return the directory that relative names count from."""
        return posixpath.dirname(self.path)


@dataclasses.dataclass(frozen=True)
class JobView:
    """A job as it stands in a file.

    ``interval`` (seconds) is the job's own interval, else that of the file's ``global``, else 60. ``relabels`` tells whether
    relabelling rules decide what becomes of its targets.
    """

    job_name: str
    targets: tuple[str, ...]
    interval: float
    place: str
    adopted: bool = False
    relabels: bool = False


@dataclasses.dataclass(frozen=True)
class ConfigView:
    """The result of :func:`read`.

    ``ours`` holds our jobs by exporter. ``layout`` is ``inline``, ``files``, ``template``, or None if nothing of ours
    is there; a caller that has written a block before then knows that somebody removed it. ``patterns`` are the owner's
    own ``scrape_config_files`` as paths of the host.
    """

    ours: dict[str, JobView]
    foreign: list[JobView]
    scrape_interval: float
    layout: str | None
    patterns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class EditResult:
    """The result of :func:`edit`.

    :ivar config: the new prometheus.yml.
    :ivar scrape_file: the new content of our scrape file in the layout ``files``, otherwise None.
    :ivar obsolete: paths of our scrape files that have to be removed before Prometheus reads the new configuration.
    :ivar kept: exporters whose hand-written job stays instead of ours.
    """

    config: bytes
    scrape_file: bytes | None = None
    changed: bool = False
    added: Sequence[str] = ()
    changed_names: Sequence[str] = ()
    kept: Sequence[str] = ()
    obsolete: Sequence[str] = ()


def _without_collector(function: _Function) -> _Function:
    """Run a function without the garbage collector.

    Node trees are many new objects without garbage; walking them again and again would take half of the time.
    """

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


class _Parsed:
    """All files of a configuration, parsed.

    :ivar home: the file with our block; None if there is none.
    :ivar stale: other files with a block that only repeats jobs of ``home``, left by an interrupted run.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.src = parsed(files.config, files.path)
        self.file = parsed(files.scrape_file or b"", files.scrape_path)
        self.others = [parsed(data, path) for path, data in sorted(files.others.items())]
        self.is_named = any(
            patterns.matches(name, files.scrape_path, files.base) for name in _names(self.src, FILES, files.paths)
        )
        homes = [self.src, *([self.file] if self.is_named else []), *self.others]
        self.live = [home for home in homes if home.chunks()]
        known = self.live + ([self.file] if self.file.chunks() and not self.is_named else [])
        self.home = known[0] if known else None
        self.stale = known[1:]

    def chunks(self) -> dict[str, Chunk]:
        """Return the jobs in our block by exporter."""
        return {chunk.exporter: chunk for chunk in (self.home.chunks() if self.home else [])}

    def obsolete(self, file: Source | None, base: Source | None = None) -> list[str]:
        """Return the paths of our scrape files that have to be removed.

        :param file: our future scrape file, made from ``base``.
        :raises TimesTenError: if one of them holds something that is not ours.
        """
        homes = [home for home in (self.home, *self.stale) if home is not None and home is not self.src]
        for home in homes:
            if home is not base and not (file and file.text and home is self.file):
                _refuse_rest(home, without(home))
        stays = self.files.scrape_path if file and file.text else None
        return sorted(home.path for home in homes if home.path != stays)

    def check_stale(self) -> None:
        """:raises TimesTenError: if a second block has a job that no other block has."""
        first = self.chunks()
        for home in self.stale:
            for chunk in home.chunks():
                same = first.get(chunk.exporter)
                if same is None or (chunk.adopted and not equal(same.node, chunk.node, set())):
                    raise home.fail(
                        chunk.start,
                        f"a second block of timesten.monitoring, with a job of exporter {chunk.exporter} that the one "
                        f"in {self.home.path if self.home else ''} does not have: delete one of the two blocks with "
                        "its markers",
                    )


def _names(src: Source, key: str, paths: PathMap, ours: bool = True) -> list[str]:
    """Return the patterns in a list of files as paths of the host, with or without our own line."""
    items = src.items(key) if ours else src.foreign(key)
    return paths.names([item.value for item in items if isinstance(item, yaml.ScalarNode) and item.value])


def _view(src: Source, item: Any, interval: float, adopted: bool = False) -> JobView:
    name = text_of(child(item, "job_name")) or ""
    own = text_of(child(item, "scrape_interval"))
    line = src.line(item.start_mark.index)
    if own is not None:
        interval = _jobs.parse_duration(own, f"{src.path}: line {line}: scrape_interval") or interval
    relabels = child(item, "relabel_configs") is not None
    return JobView(name, targets_of(item), interval, f"{src.path}: line {line}", adopted, relabels)


def _global_interval(src: Source) -> float:
    text = text_of(child(child(src.root, "global"), "scrape_interval"))
    if not text or src.root is None:
        return _jobs.DEFAULT_INTERVAL
    return _jobs.parse_duration(text, f"{src.path}: global: scrape_interval") or _jobs.DEFAULT_INTERVAL


@_without_collector
def read(files: Files) -> ConfigView:
    """Read what a configuration says about scraping.

    :raises TimesTenError: with file and line, if a file is not one YAML mapping or somebody broke our markers.
    """
    at = _Parsed(files)
    interval = _global_interval(at.src)
    ours: dict[str, JobView] = {}
    foreign: list[JobView] = []
    layout = None
    if at.live or at.src.block:
        layout = "inline" if at.src.chunks() else "files"
    for home in reversed(at.live):
        ours.update({chunk.exporter: _view(home, chunk.node, interval, chunk.adopted) for chunk in home.chunks()})
    for home in [at.src, *([at.file] if at.is_named else []), *at.others]:
        for item in home.foreign(JOBS):
            exporter = unmarked(item, files.store) if layout in (None, "template") else None
            if exporter:
                layout = "template"
                ours[exporter] = _view(home, item, interval)
            else:
                foreign.append(_view(home, item, interval))
    return ConfigView(ours, foreign, interval, layout, tuple(_names(at.src, FILES, files.paths, False)))


def scrape_names(source: bytes, path: str) -> list[str]:
    """Return the patterns in ``scrape_config_files`` as written, including our own line."""
    return _names(parsed(source, path), FILES, NOWHERE_ELSE) if FILES.encode("ascii") in source else []


def scrape_files(source: bytes, path: str, paths: PathMap = NOWHERE_ELSE) -> list[str]:
    """Return the files that ``scrape_config_files`` names now, including our own line.

    :param path: path of prometheus.yml on Prometheus's command line.
    """
    named: set[str] = set()
    if FILES.encode("ascii") in source:
        for name in _names(parsed(source, path), FILES, paths):
            named.update(patterns.expand(name, posixpath.dirname(path)))
    return sorted(named)


def file_patterns(source: bytes, path: str, paths: PathMap = NOWHERE_ELSE) -> list[str]:
    """Return all patterns of files that Prometheus reads. A temporary file must match none of them (see
    ``patterns.temporary``).
    """
    globs: list[str] = []
    if b"files" not in source:
        return globs
    stack = [parsed(source, path).root]
    seen = set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                stack.append(value)
                if key.value in (FILES, RULES, "files") and isinstance(value, yaml.SequenceNode):
                    globs += [item.value for item in value.value if isinstance(item, yaml.ScalarNode) and item.value]
    return paths.names(globs)


def for_promtool(config: bytes, path: str, swaps: Mapping[str, str | None], paths: PathMap = NOWHERE_ELSE) -> bytes:
    """Return the text of a configuration that promtool can check before any file is in its place.

    Patterns are replaced by the files that they name, and each file by its candidate. Lines keep their numbers.

    :param swaps: path of a file to the path of its candidate, or to None if the file is to be removed.
    """
    src = parsed(config, path)
    keys = [FILES]
    # promtool would refuse a rule file that does not exist yet. If no rule file of ours changes, promtool checks the
    # owner's list as it is.
    base = posixpath.dirname(path)
    if any(patterns.matches(name, old, base) for old in swaps for name in _names(src, RULES, paths)):
        keys.append(RULES)
    places = [(*place, key) for key in keys for place in _list_places(src, key)]
    text = src.text
    for start, end, key in sorted(places, reverse=True):
        text = text[:start] + _written_out(src, key, start, end, swaps, base, paths) + text[end:]
    return src.encode(text)


def _list_places(src: Source, key: str) -> list[tuple[int, int]]:
    """Return start and end of a key's list; nothing for an alias, which promtool checks as it is."""
    value = src.fields.get(key, (None, None))[1]
    if not isinstance(value, yaml.SequenceNode) or not value.value:
        return []
    start, end = value.start_mark.index, min(value.end_mark.index, src.end)
    if src.text[start] not in "[-&!" or start < src.fields[key][0].end_mark.index:
        return []
    return [(start if value.flow_style else first_dash(src, value), end)]


def _written_out(
    src: Source, key: str, start: int, end: int, swaps: Mapping[str, str | None], base: str, paths: PathMap
) -> str:
    """Return the files of a list one by one, each replaced by its candidate."""
    names: list[str] = []
    for name in _names(src, key, paths):
        expanded = [one for one in patterns.expand(name, base) if one not in swaps]
        expanded += [new for old, new in swaps.items() if new and patterns.matches(name, old, base)]
        names += [one for one in expanded if one not in names]
    old = src.text[start:end]
    tail = old[len(old.rstrip()) :]
    text = json.dumps(names) + "\n" * (old.count("\n") - tail.count("\n")) + tail
    return " " + text if start == src.line_start(start) else text


# --- the edit ---------------------------------------------------------------------------------------------------------


@_without_collector
def edit(
    files: Files,
    jobs: Iterable[_jobs.Job],
    *,
    layout: str = "inline",
    remove: Iterable[str] = (),
    purge: bool = False,
    on_existing: str = "fail",
    former: Iterable[_jobs.Job] = (),
) -> EditResult:
    """Put jobs into a configuration and remove jobs from it; keep every other byte. The present layout may be any.

    :param jobs: jobs to set; the jobs of other exporters stay byte for byte.
    :param layout: ``inline`` (block in prometheus.yml) or ``files`` (own file, Prometheus 2.43 or later).
    :param remove: exporters whose jobs are removed; an adopted job stays in the file as a hand-written one.
    :param purge: whether to remove the jobs of all exporters that are not in ``jobs``.
    :param on_existing: ``fail``, ``adopt`` or ``keep``, if a hand-written job has the name or the target of one of
        ours.
    :param former: jobs as they were written last. They identify jobs of ours that have lost all comments.
    :raises TimesTenError: with the line and what to do, if a safe edit is impossible; nothing has been changed then.
    """
    at = _Parsed(files)
    at.check_stale()
    if layout == "files" and files.scrape_file and at.file.block is None:
        raise TimesTenError(
            f"{files.scrape_path}: exists and was not written by this collection, or has lost its marker lines: choose another path, "
            "or move it away",
            line=1,
        )
    asked_jobs = {job.exporter: job for job in jobs}
    removed = set(remove)
    known = {job.exporter: job for job in former}
    left = config_adopt.left_over(at.src, asked_jobs, removed, purge, files.store, known)
    by_hand = config_adopt.clashes(asked_jobs, [at.src, at.file, *at.others], on_existing, left)
    kept = sorted(by_hand) if on_existing == "keep" else []
    for exporter in kept:
        del asked_jobs[exporter], by_hand[exporter]
    rest, taken = config_adopt.take(at.src, by_hand, left, asked_jobs, files.scrape_path if layout == "files" else "")
    chunks = at.chunks()
    gone = (set(chunks) if purge else removed.union(kept)) - set(asked_jobs)
    entries, changed = _entries(at.home or at.src, chunks, gone, asked_jobs, taken)
    released = [chunk for name, chunk in chunks.items() if name in gone and chunk.adopted]
    outcome = _write(at, rest, entries, released, layout)
    cut = set(map(id, [*left.values(), *(entry.origin for entry in taken.values())]))
    _prove(at, outcome, {entry.exporter: entry for entry in entries}, cut, released)
    return outcome.result(files, added=sorted(set(asked_jobs) - set(chunks)), changed_names=sorted(changed), kept=kept)


def _entries(
    home: Source,
    chunks: Mapping[str, Chunk],
    gone: set[str],
    asked_jobs: Mapping[str, _jobs.Job],
    taken: Mapping[str, Entry],
) -> tuple[list[Entry], list[str]]:
    """Return the future entries of the block, and the exporters whose jobs change. The present order is kept; new jobs
    are sorted in by name.
    """
    twice = sorted(set(taken).intersection(chunks))
    if twice:
        raise home.fail(
            chunks[twice[0]].start,
            f"exporter {twice[0]} has a job of ours and a hand-written one: remove the hand-written one",
        )
    entries = [_entry(home, chunk, asked_jobs.get(name)) for name, chunk in chunks.items() if name not in gone]
    changed = [entry.exporter for entry in entries if entry.job is not None]
    new = [taken.get(name) or Entry(name, job=job) for name, job in asked_jobs.items() if name not in chunks]
    names = [entry.exporter for entry in entries]
    new.sort(key=lambda entry: entry.exporter)
    if names == sorted(names):
        return sorted(entries + new, key=lambda entry: entry.exporter), changed
    return entries + new, changed


def _entry(home: Source, chunk: Chunk, job: _jobs.Job | None) -> Entry:
    """Return the entry of an existing job: its present text or, if it has to change, the new job."""
    same = carried(home, chunk)
    if job is None:
        return same
    if not chunk.adopted:
        if says(chunk.node, job.config):
            return same
        return Entry(chunk.exporter, job=job, comments=home.comments(chunk.body, chunk.end))
    entry = config_adopt.adopt_again(home, chunk, job)
    return same if config_adopt.same_view(chunk.node, entry.node) else entry


@dataclasses.dataclass
class _Outcome:
    """The files as they will be. ``base`` is the text from which the scrape file was made; ``stays`` says whether there will be one."""

    config: Source
    file: Source | None
    obsolete: list[str]
    base: Source
    stays: bool = False

    def result(self, files: Files, **names: Sequence[str]) -> EditResult:
        config = self.config.encode(self.config.text)
        data = self.file.encode(self.file.text) if self.file and self.stays else None
        rewritten = self.file is not None and (data or b"") != (files.scrape_file or b"")
        changed = config != files.config or bool(self.obsolete) or rewritten
        return EditResult(config, data, changed, obsolete=self.obsolete, **names)


def _write(at: _Parsed, rest: Source, entries: list[Entry], released: Sequence[Chunk], layout: str) -> _Outcome:
    """Write the files. ``rest`` is prometheus.yml without the jobs that were cut from its list."""
    home = at.home or at.src
    free = ""
    if at.src.chunks():
        free = "".join(at.src.text[chunk.body : chunk.end] for chunk in released)
        if layout == "files":
            rest = rest.after(without(rest, free))
    elif released:
        rest = set_free(rest, home, released)
    elif layout == "inline":
        rest = rest.after(without(rest))
    if layout == "inline":
        text = rewrite(rest, entries, free, at.files.client)
        return _Outcome(rest.after(text), None, at.obsolete(None), at.file)
    base = at.file
    if home in at.others and not at.file.text:
        base = home  # the block only moves, so what its owner wrote into it moves too
    elif home is not at.file:
        base = at.file.after(without(at.file))
    file = base.after(rewrite(base, entries, "", at.files.client))
    if not entries:
        _refuse_rest(base, file.text)
    obsolete = at.obsolete(file if entries else None, base)
    return _Outcome(_name_scrape_file(rest, at.files, bool(entries)), file, obsolete, base, stays=bool(entries))


def _refuse_rest(src: Source, text: str) -> None:
    """:raises TimesTenError: if a scrape file that has to be removed holds something that is not ours."""
    line = next((line for line in text.splitlines() if line.strip() not in ("", "---", "...")), None)
    if line is not None:
        raise src.fail(
            max(src.text.find(line), 0),
            "this line is not ours, and our scrape file has to go: move what is not ours to a file of your own",
        )


def _name_scrape_file(src: Source, files: Files, needed: bool) -> Source:
    """Put the path of our scrape file into ``scrape_config_files``, unless a pattern of the owner already names it."""
    if src.block and src.block.key != FILES:
        return src
    return _name_file(
        src, FILES, files.scrape_path if needed else None, files.base, "scrape_file", files.paths, files.client
    )


def _name_file(
    src: Source, key: str, path: str | None, base: str, option: str, paths: PathMap, client: str = ""
) -> Source:
    """Put a path into a list of files, in a block of ours, unless a pattern of the owner already names it.

    :param path: the path on the host; None removes the block.
    :param base: the directory that relative names count from.
    """
    owners = _names(src, key, paths, False)
    if path is not None and any(patterns.matches(name, path, base) for name in owners):
        path = None
    if src.block:
        line = paths.outside(src.block.chunks[0].node.value) or ""
        if path is not None and patterns.matches(line, path, base):
            return src
        src = src.after(without(src))
    if path is None:
        return src
    if not patterns.matches(path, path, base):
        raise TimesTenError(f"{option}: {path!r} holds characters that Prometheus reads as a pattern: use another name")
    name = _jobs.scalar(paths.inside(path, option), option)

    def render(column: int, flow: bool) -> str:
        return " " * column + (name + "," if flow else "- " + name) + src.newline

    return src.after(insert(src, key, render, client))


def has_rule_line(data: bytes) -> bool:
    """Tell whether a configuration has the marked line that names a rule file of ours."""
    return RULE_MARKS.begin.encode("ascii") in data


def name_rules(data: bytes, path: str, rules_path: str | None, paths: PathMap = NOWHERE_ELSE) -> bytes:
    """Put the name of our rule file into ``rule_files`` or remove it; every other byte stays.

    :param path: path of prometheus.yml on Prometheus's command line.
    :param rules_path: None if there is no rule file of ours.
    :raises TimesTenError: with the line and what to do, if a safe edit is impossible.
    """
    if rules_path is None and not has_rule_line(data):
        return data
    old = parsed(data, path, RULE_MARKS)
    try:
        new = _name_file(old, RULES, rules_path, posixpath.dirname(path), "rules_file", paths)
        if new is not old:
            proof = _Proof(old, new)
            proof.sections()
            proof.lists(set(), [])
            proof.check(without(new) == without(old), old.root, "the text outside the block")
    except TimesTenError as error:
        if rules_path is None:
            raise
        way = f"or name {rules_path} in {RULES} yourself, or switch the rules off"
        raise TimesTenError(f"{error.message}, {way}", **error.details) from error
    return new.encode(new.text)


# --- proof ------------------------------------------------------------------------------------------------------------


class _Proof:
    """Compares a result, parsed anew, with the former content."""

    def __init__(self, old: Source, new: Source, keys: Sequence[str] | None = None) -> None:
        """:param keys: the lists that may change; None means the lists of this kind of block."""
        self.old, self.new = old, new
        self.keys = old.marks.keys if keys is None else keys
        self._seen: set[tuple[int, int]] = set()

    def check(self, good: bool, node: Any, what: str) -> None:
        if not good:
            hint = ""
            if self.old.text and not self.old.text.endswith("\n"):
                hint = "; the file's last line has no line end: add one"
            raise self.old.fail(
                node.start_mark.index if node is not None and node.start_mark else 0,
                f"{what} would change its meaning{hint}, or add the jobs by hand",
            )

    def same(self, one: Any, two: Any) -> bool:
        return equal(one, two, self._seen)

    def sections(self) -> None:
        """Check that everything stays except the lists that may change."""
        old, new = (
            [pair for pair in (src.root.value if src.root else []) if pair[0].value not in self.keys]
            for src in (self.old, self.new)
        )
        self.check(len(old) == len(new), self.old.root, "the file")
        for before, after in zip(old, new):
            good = self.same(before[0], after[0]) and self.same(before[1], after[1])
            self.check(good, before[0], f"{before[0].value!r}")

    def lists(self, cut: set[int], released: Sequence[Chunk]) -> None:
        """Check that in these lists everything stays that is not ours, except jobs that were cut or released."""
        names = {text_of(child(chunk.node, "job_name")) for chunk in released}
        for key in self.keys:
            before = [item for item in self.old.foreign(key) if id(item) not in cut]
            after = self.new.foreign(key)
            if key == JOBS and released:
                free = [item for item in after if text_of(child(item, "job_name")) in names]
                after = [item for item in after if text_of(child(item, "job_name")) not in names]
                good = len(free) == len(released) and all(
                    config_adopt.same_view(chunk.node, item) for chunk, item in zip(released, free)
                )
                self.check(good, self.old.root, "an adopted job")
            self.check(len(before) == len(after), self.old.fields.get(key, (None,))[0], key)
            for one, two in zip(before, after):
                self.check(self.same(one, two), one, f"an entry of {key}")

    def block(self, expected: Mapping[str, Entry]) -> None:
        """Check that our block holds the expected entries."""
        by_exporter = {chunk.exporter: chunk for chunk in self.new.chunks()}
        self.check(sorted(by_exporter) == sorted(expected), self.old.root, "the block")
        for name, entry in expected.items():
            node = by_exporter[name].node
            if entry.origin is not None and entry.job is not None:
                good = config_adopt.is_adopted_as(entry.origin, node, entry.job)
                self.check(good, entry.origin if self.old.path == self.new.path else None, f"the adopted job of {name}")
            elif entry.job is not None:
                self.check(says(node, entry.job.config), self.old.root, f"the job of {name}")
            else:
                good = self.same(entry.node, node) or config_adopt.same_view(entry.node, node)
                self.check(good, None, f"the job of {name}")


def _prove(
    at: _Parsed, outcome: _Outcome, expected: Mapping[str, Entry], cut: set[int], released: Sequence[Chunk]
) -> None:
    """:raises TimesTenError: if the meaning of anything that is not ours would change, or our part is not as asked for."""
    steps = [(at.src, outcome.config, expected if outcome.file is None else {}, cut, released)]
    if outcome.file is not None:
        steps.append((outcome.base, outcome.file, expected, set(), []))
    for old, new, jobs, taken, free in steps:
        proof = _Proof(old, new)
        proof.sections()
        proof.lists(taken, free)
        proof.block(jobs)
        same_place = new.block is None or old.block is None or old.block.key == new.block.key
        if not taken and not free and same_place:
            proof.check(without(new) == without(old), old.root, "the text outside the block")


# --- template ---------------------------------------------------------------------------------------------------------


@_without_collector
def check_rendered(files: Files, rendered: bytes, jobs: Iterable[_jobs.Job]) -> EditResult:
    """Check a file rendered from the user's template: it must hold exactly our jobs, as they were given to the
    template.

    :param files: the present files, in any layout.
    :param rendered: the template's result.
    :param jobs: all jobs that the template was given.
    :raises TimesTenError: naming every job that is missing, different, duplicate or left over.
    """
    asked_jobs = {job.exporter: job for job in jobs}
    src = parsed(rendered, f"the template's result for {files.path}")
    if src.block:
        raise src.fail(
            src.block.begin, "the template contains the marker lines of a block: remove them, or use the layout inline"
        )
    problems = _rendered_problems(src, asked_jobs, files.store)
    if problems:
        raise TimesTenError(
            f"{src.path} does not hold exactly the jobs it was given: {'; '.join(problems)}. Loop over "
            "prometheus_host_jobs as the "
            "template that ships with the role prometheus_host does, and leave the jobs as they are"
        )
    at = _Parsed(files)
    before = read(files).ours
    nodes = {text_of(child(item, "job_name")): item for home in (at.src, *at.live) for item in home.items(JOBS)}
    obsolete = at.obsolete(None)
    present = set(asked_jobs).intersection(before)
    return EditResult(
        config=rendered,
        changed=rendered != files.config or bool(obsolete),
        added=sorted(set(asked_jobs) - present),
        changed_names=sorted(
            name for name in present if not says(nodes.get(asked_jobs[name].name), asked_jobs[name].config)
        ),
        obsolete=obsolete,
    )


def _rendered_problems(src: Source, asked_jobs: Mapping[str, _jobs.Job], store: str) -> list[str]:
    """Return what is wrong with our jobs in a rendered file."""
    problems = []
    seen: dict[str, int] = {}
    by_name = {job.name: exporter for exporter, job in asked_jobs.items()}
    for item in src.items(JOBS):
        exporter = by_name.get(text_of(child(item, "job_name")) or "") or whose_files(item, store) or ""
        line = src.line(item.start_mark.index)
        if exporter in seen:
            problems.append(f"line {line}: a second job for exporter {exporter} (first in line {seen[exporter]})")
        elif exporter in asked_jobs:
            seen[exporter] = line
            if not says(item, asked_jobs[exporter].config):
                problems.append(f"line {line}: the job of exporter {exporter} is not what was handed to the template")
        elif exporter:
            problems.append(f"line {line}: a job for exporter {exporter}, which is not in this run")
    return problems + [f"no job for exporter {name}" for name in sorted(set(asked_jobs) - set(seen))]


# --- undoing our change in a file that has changed since --------------------------------------------------------------


def take_back(current: bytes, ours: bytes, before: bytes, path: str) -> bytes:
    """Remove only our change from a file that somebody else has written since.

    :param current: the present content.
    :param ours: the content that our last edit produced.
    :param before: the content before our last edit.
    :returns: the content with the others' changes and without ours.
    :raises TimesTenError: with the line, if the two changes cannot be told apart; nothing has been changed then.
    """
    if current == ours:
        return before
    lines, mine, old = (data.splitlines(keepends=True) for data in _same_line_ends(current, ours, before))
    theirs = _hunks(mine, lines)
    result: list[bytes] = []
    at = 0  # position in ``current``
    shift = 0  # lines by which ``current`` is ahead of or behind ``ours``
    waiting = list(theirs)
    for start, end, new in _hunks(mine, old):
        while waiting and (waiting[0][1] < start or (waiting[0][1] == start and waiting[0][0] < start)):
            one_start, one_end, one_new = waiting.pop(0)
            shift += len(one_new) - (one_end - one_start)
        if waiting and waiting[0][0] <= end and (waiting[0][0] < end or start == end or waiting[0][0] == start):
            line = waiting[0][0] + shift + 1
            raise TimesTenError(
                f"{path}: line {line}: somebody else changed the lines that this run had written, so its change cannot "
                "be taken out alone; the file was left as it is: take the jobs of timesten.monitoring out by hand",
                line=line,
            )
        result += lines[at : start + shift] + new
        at = end + shift
    data = b"".join(result + lines[at:])
    _prove_taken_back(current, ours, before, data, path)
    return data


def _same_line_ends(current: bytes, *others: bytes) -> tuple[bytes, ...]:
    """Return the files with the line ends of the first, if that has only one kind: an editor may have converted them."""
    crlf, all_ends = current.count(b"\r\n"), current.count(b"\n")
    if all_ends and crlf in (0, all_ends):
        newline = b"\r\n" if crlf else b"\n"
        return (current, *(data.replace(b"\r\n", b"\n").replace(b"\n", newline) for data in others))
    return (current, *others)


def _hunks(old: list[bytes], new: list[bytes]) -> list[tuple[int, int, list[bytes]]]:
    """Return the difference between ``old`` and ``new``: from line, to line in ``old``, and the new lines."""
    import difflib  # imported here because most calls change nothing

    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(i1, i2, new[j1:j2]) for tag, i1, i2, j1, j2 in codes if tag != "equal"]


def _prove_taken_back(current: bytes, ours: bytes, before: bytes, data: bytes, path: str) -> None:
    """:raises TimesTenError: if a change of others would be lost, or a change of ours would stay."""
    now, mine, old, new = (parsed(one, path) for one in (current, ours, before, data))
    good = True
    try:
        # In rule_files, everything stays that is not ours; our own line may have been added or removed by this run.
        proof = _Proof(now, new, (JOBS, FILES, RULES))
        if {key.value for key, _value in (mine.root.value if mine.root else [])} - {JOBS, FILES, RULES}:
            proof.sections()
    except TimesTenError:
        good = False

    def jobs(src: Source) -> dict[str | None, Any]:
        return {text_of(child(item, "job_name")): item for item in src.items(JOBS)}

    have, did, was, will = jobs(now), jobs(mine), jobs(old), jobs(new)
    for name in {*have, *did, *was, *will}:
        touched = not _equal_or_none(have.get(name), did.get(name))
        good = good and _equal_or_none(will.get(name), (have if touched else was).get(name))
    if not good:
        raise TimesTenError(
            f"{path}: somebody else changed the file after this run had written it, and the two changes cannot be told "
            "apart; the file was left as it is: take the jobs of timesten.monitoring out by hand"
        )


def _equal_or_none(one: Any, two: Any) -> bool:
    """Compare two nodes; either may be missing."""
    return one is two if one is None or two is None else equal(one, two, set())
