# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rule file: its name in rule_files, in every shape of that list, and what it holds."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs, rule_file

PATH = "/etc/prometheus/prometheus.yml"
RULES = "/etc/prometheus/timesten.rules.yml"
NO_YAML = {
    "broken",
    "carriage_returns",
    "duplicate_deep",
    "duplicate_section",
    "latin1",
    "tabs",
    "two_documents",
    "utf16",
}
FIXTURES = Path(__file__).parents[2] / "fixtures" / "prometheus_yml"
JOBS = [
    jobs.build({"name": name, "address": "exp.example.com", "port": port, "insecure": True}, "/store")
    for name, port in (("exp1", 1), ("exp2", 2))
]


def named(data: bytes, path: str | None = RULES) -> bytes:
    return config.name_rules(data, PATH, path)


def with_jobs(data: bytes, *, remove: bool = False) -> bytes:
    files = config.Files(data, PATH, "/store", "/etc/prometheus/timesten.yml")
    if remove:
        return config.edit(files, [], purge=True).config
    return config.edit(files, JOBS).config


def without_block(data: bytes) -> str:
    """The text less our block; independent of how the module finds it."""
    block = r"^[ \t]*# BEGIN rules of timesten\.monitoring \(managed.*?^[ \t]*# END rules of timesten\.monitoring\r?\n"
    text, count = re.subn(block, "", data.decode(), flags=re.MULTILINE | re.DOTALL)
    assert count == 1
    return text


SHAPES = {
    "absent": "global: {}\n",
    "empty file": "",
    "comments": "# nothing yet\n",
    "no line end": "global: {}",
    "nothing": "rule_files:\nglobal: {}\n",
    "null": "rule_files: null\n",
    "tilde at the end": "global: {}\nrule_files: ~",
    "empty list": "rule_files: []   # none\nglobal: {}\n",
    "empty list over lines": "rule_files: [\n]\nglobal: {}\n",
    "flow": "rule_files: [a.yml, 'b*.yml']\n",
    "flow over lines": "rule_files: [\n  a.yml,  # one\n  b.yml\n]\nglobal: {}\n",
    "flow with a comment alone": "rule_files: [\n  # none\n]\n",
    "block": "rule_files:\n  - a.yml\n  - b.yml\nglobal: {}\n",
    "block at column 0": "rule_files:\n- a.yml   # first\n\n# about the rest\nglobal: {}\n",
    "block at the end": "global: {}\nrule_files:\n    - a.yml",
    "commented entries": "rule_files:\n  # - first.yml\n  # - second.yml\n\nscrape_configs: []\n",
    "anchor on an entry": "rule_files:\n  - &first a.yml\nx-same: *first\n",
    "anchor on the list": "rule_files: &all\n  - a.yml\n",
    "crlf": "global: {}\r\nrule_files:\r\n  - a.yml\r\nscrape_configs:\r\n  - job_name: x\r\n",
    "before the jobs": "rule_files:\n  - a.yml\nscrape_configs:\n  - job_name: x\n",
    "behind the jobs": "scrape_configs:\n  - job_name: x\n    # end\nrule_files:\n  - a.yml\n  # end\n",
    "jobs alone": "scrape_configs:\n  - job_name: x\n    static_configs: [{targets: [a]}]\n# the end\n",
    "byte order mark": "\ufeffrule_files: [a.yml]\n",
    "a document's end": "rule_files:\n  - a.yml\n...\n",
    "quoted key": "'rule_files':\n  - a.yml\n",
    "scalar that looks like it": "x: |\n  rule_files:\n    - no\n  # BEGIN rules of timesten.monitoring\nrule_files:\n  - a.yml\n",
}


def check_all(source: bytes) -> None:
    """Named once, nothing else differs, and every byte comes back, with jobs of ours or without."""
    before = yaml.safe_load(source.decode("utf-8-sig")) or {}
    outcome = named(source)
    after = yaml.safe_load(outcome.decode("utf-8-sig"))
    assert sorted(after.pop("rule_files")) == sorted([*(before.pop("rule_files", None) or []), RULES])
    assert after == before
    assert named(outcome) == outcome
    assert named(outcome, None) == source
    moved = named(outcome, "/elsewhere/x.yml")
    assert b"/elsewhere/x.yml" in moved and RULES.encode() not in moved
    # The order of a run: the jobs first, and what came last goes first.
    full = named(with_jobs(source))
    assert named(with_jobs(full)) == full
    assert with_jobs(named(full, None), remove=True) == source
    # Rules that are switched on later, and jobs that go before them.
    assert yaml.safe_load(with_jobs(outcome).decode("utf-8-sig"))["rule_files"].count(RULES) == 1
    assert yaml.safe_load(with_jobs(full, remove=True).decode("utf-8-sig"))["rule_files"].count(RULES) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape: str) -> None:
    check_all(SHAPES[shape].encode())


def test_what_is_outside_keeps_every_byte() -> None:
    source = SHAPES["behind the jobs"].encode()
    assert without_block(named(source)) == source.decode()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.yml")), ids=lambda path: path.stem)
def test_every_file_that_jobs_can_go_into(path: Path) -> None:
    """Whoever refuses one of these says what to do."""
    source = path.read_bytes()
    try:
        outcome = named(source)
    except TimesTenError as error:
        # Files that cannot be read as YAML at all are said to be so.
        assert "switch the rules off" in error.message or path.stem in NO_YAML
        return
    assert outcome != source and named(outcome) == outcome and named(outcome, None) == source


@pytest.mark.parametrize("pattern", ["*.yml", "/etc/prometheus/*.rules.yml", "timesten.rules.yml", RULES])
@pytest.mark.parametrize(
    "shape", ["rule_files: ['%s']\n", "rule_files:\n  - a.yml\n  - '%s'\n", "x: &x ['%s']\nrule_files: *x\n"]
)
def test_a_pattern_that_matches_our_place_needs_no_line(shape: str, pattern: str) -> None:
    source = (shape % pattern).encode()
    assert named(source) == source


def test_a_line_of_ours_goes_where_the_owner_names_the_place() -> None:
    outcome = named(b"rule_files:\n  - a.yml\n")
    assert named(outcome.replace(b"- a.yml", b"- '*.rules.yml'")) == b"rule_files:\n  - '*.rules.yml'\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x: &x [a.yml]\nrule_files: *x\n", "line 2: rule_files is an alias"),
        ("rule_files: &x [a.yml]\n", "has an anchor or a tag"),
        ("rule_files: a.yml\n", "rule_files is not a list"),
        ("{rule_files: [a.yml]}\n", "the whole file is one mapping in braces"),
        ("? rule_files\n: [a.yml]\n", "rule_files"),
    ],
)
def test_refused_with_the_way_out(source: str, message: str) -> None:
    with pytest.raises(TimesTenError) as refused:
        named(source.encode())
    assert message in refused.value.message
    assert f"name {RULES} in rule_files yourself, or switch the rules off" in refused.value.message


def test_broken_markers_are_refused() -> None:
    with pytest.raises(TimesTenError, match=r"the marker lines of rules of .* are not one BEGIN followed by one END"):
        named(b"rule_files: [a.yml]\n# BEGIN rules of timesten.monitoring\n")


def test_a_path_that_is_a_pattern_is_refused() -> None:
    with pytest.raises(TimesTenError, match=r"rules_file: .* reads as a pattern"):
        named(b"", "/etc/prometheus/[a].yml")


# --- generated files ----------------------------------------------------------------------------------------------------

ENTRIES = st.lists(st.sampled_from(["a.yml", "'b c.yml'", '"d*.yml"', "rules/*.yml", "größe.yml"]), max_size=4)
NOISE = st.lists(st.sampled_from(["", "# plain", "  # indented", "# rule_files:", "#\ttab", "    ", "# ✓"]), max_size=3)


@st.composite
def rule_lists(draw: st.DrawFn) -> list[str]:
    entries = draw(ENTRIES)
    kind = draw(st.sampled_from(["block", "flow", "lines", "nothing", "absent"]))
    comment = draw(st.sampled_from(["", "  # why"]))
    if kind == "absent":
        return []
    if kind == "nothing" or not entries:
        return [
            draw(st.sampled_from(["rule_files:", "rule_files: ~", "rule_files:   []", "rule_files: null"])) + comment
        ]
    if kind == "flow":
        return [f"rule_files: [{', '.join(entries)}]{comment}"]
    if kind == "lines":
        return ["rule_files: [" + comment, *(f"  {entry},{comment}" for entry in entries), "]"]
    pad = " " * draw(st.integers(0, 4))
    lines = [f"rule_files:{comment}"]
    for entry in entries:
        lines += [*(line for line in draw(NOISE)), f"{pad}- {entry}{comment}"]
    return lines


@st.composite
def sources(draw: st.DrawFn) -> bytes:
    scrape = draw(
        st.sampled_from(
            [[], ["scrape_configs:"], ["scrape_configs: []"], ["scrape_configs:", "- job_name: x", "  # tail"]]
        )
    )
    sections = [["global:", "  scrape_interval:   15s"], scrape, draw(rule_lists()), ["alerting: {}"]]
    lines: list[str] = []
    for section in draw(st.permutations(sections)):
        lines += [*draw(NOISE), *section]
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return (newline.join(lines) + draw(st.sampled_from(["", newline, newline * 2]))).encode()


@given(sources())
@settings(max_examples=60, deadline=None)
def test_any_shape(source: bytes) -> None:
    check_all(source)


@given(sources(), st.sampled_from(["# somebody", "x-new: 1"]))
@settings(max_examples=20, deadline=None)
def test_what_others_add_is_kept_when_ours_is_taken_back(source: bytes, line: str) -> None:
    outcome = named(with_jobs(source))
    newline = b"\r\n" if b"\r\n" in outcome else b"\n"
    current = line.encode() + newline + outcome
    try:
        back = config.take_back(current, outcome, source, PATH)
    except TimesTenError:
        return  # Said with the line; nothing is changed then.
    assert back == line.encode() + newline + source


# --- for promtool -------------------------------------------------------------------------------------------------------


def test_promtool_judges_the_candidate(tmp_path: Path) -> None:
    """Lines keep their numbers, other files stay named, and a file that is not there yet is not missed."""
    path, rules = str(tmp_path / "prometheus.yml"), str(tmp_path / "t.rules.yml")
    other = tmp_path / "a.yml"
    other.write_text("groups: []\n")
    source = config.name_rules(b"rule_files:\n  - a.yml\n  # why\nglobal:\n  scrape_interval: 1s\n", path, rules)
    judged = config.for_promtool(source, path, {rules: "/candidate"})
    assert yaml.safe_load(judged)["rule_files"] == [str(other), "/candidate"]
    assert judged.split(b"\n").index(b"global:") == source.split(b"\n").index(b"global:")
    gone = config.for_promtool(source, path, {rules: None})
    assert yaml.safe_load(gone)["rule_files"] == [str(other)]
    assert config.for_promtool(source, path, {}) == source


# --- the file itself ----------------------------------------------------------------------------------------------------


def entry(name: str, **definition: object) -> dict[str, object]:
    target = {"name": name, "address": "exp1.example.com", "port": 8888, "insecure": True, **definition}
    return {"definition": target, "rules": f"  - name: {name}\n    rules: ['@job@ @instance@']\n"}


def composed(entries: dict[str, object], text: str = "") -> list[str]:
    files = config.Files(text.encode(), PATH, "/store", "/etc/prometheus/timesten.yml")
    data = rule_file.compose({}, entries, config.read(files))
    assert rule_file.is_ours(data)
    groups = yaml.safe_load(data)["groups"] or []
    assert rule_file.group_names(data) == [group["name"] for group in groups]
    return [group["rules"][0] for group in groups]


@pytest.mark.parametrize(
    ("definition", "text", "labels"),
    [
        ({}, "", "timesten-exp1 exp1.example.com:8888"),
        ({"job_label": "timesten"}, "", "timesten exp1.example.com:8888"),
        (
            {"extra": {"relabel_configs": [{"target_label": "a", "replacement": "b"}]}},
            "",
            "timesten-exp1 exp1.example.com:8888",
        ),
        ({"labels": {"instance": "it's"}}, "", "timesten-exp1 it's"),
        ({"labels": {"job": 'a "b"'}}, "", "timesten-exp1 exp1.example.com:8888".replace("timesten-exp1", 'a \\"b\\"')),
        (
            {},
            "scrape_configs: [{job_name: theirs, static_configs: [{targets: ['exp1.example.com:8888']}]}]\n",
            "theirs exp1.example.com:8888",
        ),
        (
            {},
            "scrape_configs: [{job_name: \"@instance@ it's \\x7f\\N\\\"\\\\ \u00f6\", static_configs: [{targets: ['exp1.example.com:8888']}]}]\n",
            "@instance@ it's \\u007f\\u0085\\\"\\\\ \u00f6 exp1.example.com:8888",
        ),
    ],
)
def test_labels_of_the_target(definition: dict[str, object], text: str, labels: str) -> None:
    assert composed({"exp1": entry("exp1", **definition)}, text) == [labels]


def test_both_ports_are_one_exporter() -> None:
    spare = entry("exp1.spare", usual_port=8888, port=8889)
    assert len(composed({"exp1": entry("exp1"), "exp1.spare": spare})) == 1
    assert composed({"exp1.spare": spare}) == ["timesten-exp1 exp1.example.com:8888"]
    labelled = entry("exp1.spare", usual_port=8888, port=8889, job_label="timesten")
    assert composed({"exp1.spare": labelled}) == ["timesten exp1.example.com:8888"]


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        ([{"name": "a", "rules": [{"name": "r", "health": "ok"}, {"name": "s", "health": "unknown"}]}], None),
        ([], "does not run the group 'a'"),
        (
            [{"name": "a", "rules": [{"name": "r", "health": "err", "lastError": "many-to-many"}]}],
            "rule 'r' of group 'a' fails: many-to-many",
        ),
    ],
)
def test_health(groups: list[dict[str, object]], fault: str | None) -> None:
    found = rule_file.unhealthy(groups, ["a"])
    assert found == fault or (fault and found and fault in found)


# Here the line of the key and its value is ours as well.
ONE_LINE = {"empty file", "no line end", "null", "empty list", "empty list over lines", "flow", "byte order mark"}


@pytest.mark.parametrize("line", [b"# somebody", b"x-new: 1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_who_may_add_a_line_and_who_is_refused(shape: str, line: bytes) -> None:
    source = SHAPES[shape].encode()
    ours = named(with_jobs(source))
    added = line + (b"\r\n" if b"\r\n" in ours else b"\n")
    if shape in ONE_LINE:
        with pytest.raises(TimesTenError, match="somebody else changed the line"):
            config.take_back(added + ours, ours, source, PATH)
    else:
        assert config.take_back(added + ours, ours, source, PATH) == added + source
