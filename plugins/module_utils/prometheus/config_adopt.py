# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds hand-written jobs that conflict with ours, adopts them, and proves that an adopted job keeps its meaning."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_block import (
    Entry,
    node_for,
    node_lines,
    pairs_of,
    stands_alone,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_source import (
    JOBS,
    NULL,
    STR,
    Chunk,
    Field,
    Source,
    child,
    column_of,
    dashes_of,
    item_region,
    only_target,
    parsed,
    says,
    targets_of,
    text_of,
    unmarked,
)

try:
    import yaml
except ImportError:
    pass  # config_source reports that

# These settings name keys or weaken the check of the server: they are never copied into a tls_config of ours.
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


# --- finding ----------------------------------------------------------------------------------------------------------


def clashes(
    wanted: Mapping[str, _jobs.Job], homes: Sequence[Source], on_existing: str, left_over: Mapping[str, Any]
) -> dict[str, tuple[Source, Any]]:
    """Return, by exporter, the hand-written job that has its name or its target.

    :raises TimesTenError: if that job makes it impossible to do what ``on_existing`` asks for.
    """
    by_name = {job.name: exporter for exporter, job in wanted.items()}
    by_target = {job.target.lower(): exporter for exporter, job in wanted.items()}
    found: dict[str, tuple[Source, Any]] = {}
    ours = {id(item) for item in left_over.values()}
    for home in homes:
        for item in home.foreign(JOBS):
            if id(item) in ours:
                continue
            name, targets = text_of(child(item, "job_name")), targets_of(item)
            hits = {by_target[target.lower()] for target in targets if target.lower() in by_target}
            if name in by_name:
                hits.add(by_name[name])
            for exporter in sorted(hits):
                _check_clash(home, item, wanted[exporter], on_existing)
                if exporter in found:
                    raise home.fail(
                        item.start_mark.index,
                        f"exporter {exporter} is scraped by two hand-written jobs: remove one of them",
                    )
                found[exporter] = (home, item)
    return found


def _check_clash(home: Source, item: Any, job: _jobs.Job, on_existing: str) -> None:
    at = item.start_mark.index
    about = f"the hand-written job {text_of(child(item, 'job_name'))!r}"
    targets = targets_of(item)
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
    if on_existing == "adopt" and (len(targets) != 1 or only_target(item) is None):
        raise home.fail(
            at, f"{about} scrapes {job.target} among other targets: give {job.target} a job of its own, then adopt it"
        )


def left_over(
    src: Source,
    wanted: Mapping[str, _jobs.Job],
    remove: Iterable[str],
    purge: bool,
    store: str,
    former: Mapping[str, _jobs.Job],
) -> dict[str, Any]:
    """Return, by exporter, its job outside a block, as the layout ``template`` or somebody who removed all comments leaves it."""
    found: dict[str, Any] = {}
    removed = set(remove)
    for item in src.foreign(JOBS):
        exporter = unmarked(item, store)
        if exporter is None or exporter in found:
            continue
        # An insecure job names no file of ours: what it says has to tell it.
        is_ours = child(child(item, "tls_config"), "ca_file") is not None or (
            exporter in former and says(item, former[exporter].config)
        )
        as_asked = exporter in wanted and says(item, wanted[exporter].config)
        if as_asked or (is_ours and (purge or exporter in removed or exporter in wanted)):
            found[exporter] = item
    return found


# --- cutting ----------------------------------------------------------------------------------------------------------


def take(
    src: Source,
    found: Mapping[str, tuple[Source, Any]],
    left: Mapping[str, Any],
    wanted: Mapping[str, _jobs.Job],
    scrape_path: str,
) -> tuple[Source, dict[str, Entry]]:
    """Cut jobs out of the list. Return the rest of the file, and the adopted jobs as entries.

    :param scrape_path: the file for the entries; empty if they stay in the same file.
    """
    if not found and not left:
        return src, {}
    for home, item in found.values():
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
    dashes, column, text = dashes_of(src, JOBS), column_of(src, value), src.text
    items = {exporter: item for exporter, (_home, item) in found.items()}
    numbers = {id(item): number for number, item in enumerate(value.value)}
    taken: dict[str, Entry] = {}
    for exporter, item in sorted([*items.items(), *left.items()], key=lambda pair: -numbers[id(pair[1])]):
        region = item_region(src, dashes, numbers[id(item)], JOBS)
        if exporter in items:
            taken[exporter] = _adopt(src, item, region, wanted[exporter], column)
            if scrape_path:
                _check_relative(src, item, scrape_path)
                if not stands_alone(taken[exporter].text or ""):
                    taken[exporter].text = None
        text = text[: region[0]] + text[region[1] :]
    try:
        return parsed(src.encode(text), src.path), taken
    except TimesTenError as error:
        raise TimesTenError(
            f"{src.path}: the jobs of {', '.join(sorted({**items, **left}))} cannot be taken out, others use "
            f"their anchors: {error.message}"
        ) from error


def _check_relative(src: Source, item: Any, scrape_path: str) -> None:
    relative = _relative(item)
    if relative:
        raise src.fail(
            item.start_mark.index,
            f"the job names the relative path {relative!r}, which would mean another file from "
            f"{scrape_path}: make it absolute",
        )


def _relative(item: Any) -> str | None:
    """Return the first relative path in a job. Prometheus reads relative paths from the directory of the file that has
    them.
    """
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


# --- adopting ---------------------------------------------------------------------------------------------------------


def adopt_again(home: Source, chunk: Chunk, job: _jobs.Job) -> Entry:
    """Return the entry of a job that was adopted before, with our present scheme, tls_config and target."""
    value = home.fields[JOBS][1]
    if value.flow_style:
        return _adopt(home, chunk.node, (chunk.body, chunk.end, {}), job, 0)
    number = next(number for number, item in enumerate(value.value) if item is chunk.node)
    _start, _end, fields = item_region(home, dashes_of(home, JOBS), number, JOBS)
    return _adopt(home, chunk.node, (chunk.body, chunk.end, fields), job, column_of(home, value))


def _adopt(src: Source, node: Any, region: tuple[int, int, dict[str, Field]], job: _jobs.Job, column: int) -> Entry:
    """Turn a hand-written job into an entry of ours: its own text, with our scheme and tls_config."""
    where = f"{src.path}: line {src.line(node.start_mark.index)}: exporter {job.exporter}"
    settings = {key: value for key, value in _settings(node, job, where).items() if value is not None}
    target = only_target(node)
    if target is None:
        raise TimesTenError(f"{where}: an adopted job must have exactly one target: give the others a job of their own")
    moved = target.value.lower() != job.target.lower()
    entry = Entry(job.exporter, True, job, None, node, None, column)
    fields = region[2]
    if not fields or node.flow_style or _shared(node, fields):
        entry.node = _with(node, settings, job.target if moved else None, where)
        return entry
    entry.text = _adopted_text(src, region, settings, (target, job.target) if moved else None, where)
    # If its text cannot be used (the list is in brackets, or stands too far to the left), the entry is written from
    # this node.
    entry.node = _with(node, settings, job.target if moved else None, where)
    return entry


def _adopted_text(
    src: Source,
    region: tuple[int, int, dict[str, Field]],
    settings: Mapping[str, Any],
    target: tuple[Any, str] | None,
    where: str,
) -> str:
    """Return the text of a job with these settings and, if given, with another target instead of its own."""
    start, end, fields = region
    inner = min(field.start - src.line_start(field.start) for field in fields.values())
    edits: list[tuple[int, int, str]] = []
    tail = ""
    for key, value in settings.items():
        pair = yaml.MappingNode("tag:yaml.org,2002:map", [(yaml.ScalarNode(STR, key), value)])
        lines = [" " * inner + line[2:] for line in node_lines(pair, 0, where)]
        if key in fields:
            lines[0] = lines[0].lstrip()
            field = fields[key]
            stop = field.end
            while src.text[stop - 1] in "\r\n":
                stop -= 1
            edits.append((field.start, stop, src.newline.join(lines)))
        else:
            tail += "".join(line + src.newline for line in lines)
    if target is not None:
        edits.append((target[0].start_mark.index, target[0].end_mark.index, json.dumps(target[1])))
    text = src.text[start:end]
    for left, right, new in sorted(edits, reverse=True):
        text = text[: left - start] + new + text[right - start :]
    if not text.endswith("\n"):
        text += src.newline
    return text + tail


def _settings(node: Any, job: _jobs.Job, where: str) -> dict[str, Any]:
    """Return the text to write for the keys ``scheme`` and ``tls_config``; None for a key that the job already has as
    needed.
    """
    scheme, ours = job.config["scheme"], job.config.get("tls_config")
    present = child(node, "scheme")
    same_scheme = text_of(present) == scheme or (scheme == "http" and present is None)
    tls = None
    if ours is not None:
        old = child(node, "tls_config")
        kept = []
        if isinstance(old, yaml.MappingNode):
            kept = [pair for pair in pairs_of(old, where) if pair[0].value not in _TLS_OURS]
        elif old is not None and old.tag != NULL:
            raise TimesTenError(f"{where}: its tls_config is not a mapping: repair it")
        server_name = ours.get("server_name") or text_of(child(old, "server_name"))
        mine = {**ours, **({"server_name": server_name} if server_name else {})}
        tls = node_for(mine)
        tls.value = [*kept, *tls.value]
        if isinstance(old, yaml.MappingNode) and _view(old) == _view(tls):
            tls = None
    return {"scheme": None if same_scheme else node_for(scheme), "tls_config": tls}


def _with(node: Any, settings: Mapping[str, Any], target: str | None, where: str) -> Any:
    """Return a job's node with these settings and, if given, another target. It shares its other parts with the old
    node.
    """

    def replaced(mapping: Any, new: Mapping[str, Any]) -> Any:
        rest = dict(new)
        pairs = [(key, rest.pop(text_of(key) or "", value)) for key, value in pairs_of(mapping, where)]
        pairs += [(yaml.ScalarNode(STR, key), value) for key, value in rest.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs)

    new = dict(settings)
    if target is not None:
        group = child(node, "static_configs").value[0]
        new["static_configs"] = node_for([{}])
        new["static_configs"].value[0] = replaced(group, {"targets": node_for([target])})
    return replaced(node, new)


def _shared(node: Any, fields: Mapping[str, Field]) -> bool:
    """Tell whether a part to be changed comes from an alias or a merge key, so that its text stands elsewhere."""
    for name in ("scheme", "tls_config", "static_configs"):
        value = child(node, name)
        if value is not None and (
            name not in fields or not fields[name].value <= value.start_mark.index <= fields[name].end
        ):
            return True
    target = only_target(node)
    field = fields.get("static_configs")
    return target is None or field is None or not field.value <= target.start_mark.index < field.end


# --- proof ------------------------------------------------------------------------------------------------------------


def _view(node: Any) -> Any:
    """Return what a YAML reader sees: kinds and texts. Merge keys are resolved by PyYAML, not by the code that wrote
    the result.
    """
    constructor = yaml.constructor.SafeConstructor()

    def see(one: Any, depth: int) -> Any:
        if depth > 50:
            raise TimesTenError("the value is nested too deeply, or holds itself")
        if isinstance(one, yaml.ScalarNode):
            return (one.tag, "") if one.tag == NULL else (one.tag, one.value)
        if isinstance(one, yaml.SequenceNode):
            return [see(item, depth + 1) for item in one.value]
        constructor.flatten_mapping(one)
        return {(key.tag, text_of(key) or repr(see(key, depth + 1))): see(value, depth + 1) for key, value in one.value}

    try:
        # Flattening changes the nodes, and they are used later.
        return see(copy.deepcopy(node), 0)
    except yaml.YAMLError as error:
        raise TimesTenError(f"this job was not understood: {error}") from error


def same_view(left: Any, right: Any) -> bool:
    """Tell whether a YAML reader sees the same in two nodes."""
    return bool(_view(left) == _view(right))


def is_adopted_as(origin: Any, outcome: Any, job: _jobs.Job) -> bool:
    """Tell whether an adopted job is unchanged except for our scheme, tls_config and target."""
    before, after = _view(origin), _view(outcome)
    old, new = ({name: view.pop((STR, name), None) for name in _CHANGED} for view in (before, after))
    if before != after or new["scheme"] not in [(STR, job.config["scheme"])] + [None] * (
        job.config["scheme"] == "http"
    ):
        return False
    first = old["static_configs"][0]
    if first[STR, "targets"][0][1].lower() != job.target.lower():
        first[STR, "targets"] = [(STR, job.target)]
    if old["static_configs"] != new["static_configs"]:
        return False
    ours = job.config.get("tls_config")
    if ours is None:
        return bool(old["tls_config"] == new["tls_config"])
    old_tls = old["tls_config"] if isinstance(old["tls_config"], dict) else {}
    expected = {key: value for key, value in old_tls.items() if key[1] not in _TLS_OURS}
    server_name = old_tls.get((STR, "server_name"), (NULL, ""))[1]
    if server_name:
        expected[STR, "server_name"] = (STR, server_name)
    expected.update({(STR, key): (STR, value) for key, value in ours.items()})
    return bool(new["tls_config"] == expected)


_CHANGED = ("scheme", "tls_config", "static_configs")
