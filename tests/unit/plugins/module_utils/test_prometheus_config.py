# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edit of prometheus.yml: properties over generated files, real-world shapes, hand-made damage."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import (
    config,
    config_block,
    config_source,
    jobs,
    patterns,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "prometheus_yml"
DOC = Path(__file__).parents[4] / "docs" / "prometheus-yml.md"
STORE = "/etc/prometheus/timesten"
SCRAPE_FILE = "/etc/prometheus/timesten.yml"
PATH = "/etc/prometheus/prometheus.yml"
FILES = {"layout": "files"}

properties = settings(
    max_examples=500,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def job(name: str, **options: object) -> jobs.Job:
    return jobs.build({"name": name, "address": f"{name}.example.com", "port": 12345, **options}, STORE)


def files_of(source: bytes, scrape_file: bytes | None = None, **options: object) -> config.Files:
    return config.Files(source, PATH, STORE, **{"scrape_path": SCRAPE_FILE, "scrape_file": scrape_file, **options})


IN_FILES = ("scrape_file", "scrape_path", "others")


def edit(source: bytes, asked_jobs: list, **options: object) -> config.EditResult:
    files = files_of(source, **{name: options.pop(name) for name in IN_FILES if name in options})
    return config.edit(files, asked_jobs, **options)


def read(source: bytes, scrape_file: bytes | None = None, **options: object) -> config.ConfigView:
    return config.read(files_of(source, scrape_file, **options))


def removed(source: bytes, scrape_file: bytes | None = None) -> bytes:
    """The file as it was before us; adopted jobs stay as plain ones."""
    return edit(source, [], purge=True, scrape_file=scrape_file).config


JOBS = [job("exp1"), job("exp2", scrape_interval="1m30s", labels={"dc": "yes"}, job_label="timesten")]


def load(data: bytes) -> dict:
    return yaml.load(data.decode("utf-8-sig"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def foreign(data: bytes) -> dict:
    """The content without our jobs and our scrape file, an empty list being the same as none."""
    content = dict(load(data))
    for key, ours in (
        ("scrape_configs", lambda item: item["job_name"].startswith("timesten-")),
        ("scrape_config_files", SCRAPE_FILE.__eq__),
    ):
        content[key] = [item for item in content.get(key) or [] if not ours(item)]
    return content


def outside(data: bytes) -> str:
    """The text less the lines from BEGIN to END; independent of how the module finds them."""
    lines = data.decode().splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if "# BEGIN timesten.monitoring (managed" in line)
    end = next(number for number, line in enumerate(lines) if number > begin and "# END timesten.monitoring" in line)
    return "".join(lines[:begin] + lines[end + 1 :])


def only_gave_way(source: str, rest: str) -> bool:
    """Tell whether ``rest`` is ``source`` but for what may give way to a block: a null or empty value, a line end that
    was missing at the end of the file, a line break after an opening bracket."""
    ends = ["", "\n", "\r\n"] if not source.endswith("\n") else [""]
    if rest in [source + end for end in ends]:
        return True
    for match in re.finditer(r"(?<=:)\s*(?:~|null|Null|NULL|\[\s*\])", source):
        if rest in [source[: match.start()] + source[match.end() :] + end for end in ends]:
            return True
    bracket = next((at for at in range(len(rest)) if rest[:at] != source[:at]), len(rest)) - 1
    split = re.match(r"\r?\n {2,4}", rest[bracket:])
    return (
        bool(split)
        and source[:bracket].endswith("[")
        and any(
            rest == source[:bracket] + newline + " " * column + source[bracket:]
            for newline in ("\n", "\r\n")
            for column in (2, 4)
        )
    )


# --- generated files --------------------------------------------------------------------------------------------------

WORDS = [
    "a",
    "prod-1",
    "'single # not a comment'",
    '"double: [x"',
    "15s",
    "yes",
    "007",
    "http://x:9/a#b",
    "größe",
    "数据",
    "1e3",
    "{}",
    "[]",
]
COMMENTS = [
    "# plain",
    "#",
    "  # indented",
    "# scrape_configs:",
    "# - job_name: x",
    "#\ttab",
    "# ünïcode ✓",
    "",
    "",
    "    ",
]
BLOCKS = [
    ["|", "scrape_configs:", "  - job_name: no", "# BEGIN timesten.monitoring", "# END timesten.monitoring"],
    ["|+", "text", "", "# not a comment", "", ""],
    ["|-", "- a", "...x", "--- y"],
    [">", "folded", "", "  more", "rule_files:"],
    ["|2", "  deeper", "x: y"],
]


@st.composite
def value(draw, column: int, anchors: list) -> list:
    """The rest of a ``key:`` line and the lines that follow it."""
    kind = draw(st.sampled_from(["word", "word", "block", "flow", "map", "list", "alias", "anchor", "null", "multi"]))
    pad = " " * (column + draw(st.integers(1, 4)))
    comment = draw(st.sampled_from(["", "", "  # why", " #"]))
    if kind == "word":
        return [" " * draw(st.integers(1, 3)) + draw(st.sampled_from(WORDS)) + comment]
    if kind == "block":
        head, *lines = draw(st.sampled_from(BLOCKS))
        inner = " " * (column + 2) if head == "|2" else pad
        return [f" {head}{comment}"] + [inner + line if line else "" for line in lines]
    if kind == "flow":
        return [" {a: [1, {b: c}],", pad + '"d": ]e}'.replace("]", "") + comment]
    if kind == "map":
        return [comment, f"{pad}inner:   {draw(st.sampled_from(WORDS))}", f"{pad}'other': x"]
    if kind == "list":
        return [comment, f"{pad}- {draw(st.sampled_from(WORDS))}", f"{pad}-   b # c"]
    if kind == "alias" and anchors:
        return [f" *{draw(st.sampled_from(anchors))}{comment}"]
    if kind == "anchor":
        name = f"n{len(anchors)}"
        lines = [f" &{name}{comment}", f"{pad}k: v"]
        anchors.append(name)
        return lines
    if kind == "multi":
        return [' "spans', pad + "- lines", "", pad + '# x"' + comment]
    return [comment]


@st.composite
def section(draw, number: int, column: int, anchors: list) -> list:
    lines = [" " * column + line for line in draw(st.lists(st.sampled_from(COMMENTS), max_size=2))]
    key = draw(st.sampled_from([f"x{number}", f'"x{number}"', f"'x {number}' "]))
    first, *rest = draw(value(column, anchors))
    return [*lines, " " * column + key + ":" + first, *rest]


@st.composite
def item(draw, number: int, column: int, anchors: list) -> list:
    dash = " " * column + "-" + " " * draw(st.integers(1, 4))
    if draw(st.integers(0, 5)) == 0:
        return [f"{dash}{{job_name: job{number}, static_configs: [{{targets: ['h{number}:9']}}]}} # f"]
    keys = " " * len(dash)
    lines = []
    if draw(st.booleans()):
        lines = [" " * column + "-  # below", f"{keys}job_name: job{number}"]
    else:
        lines = [f"{dash}job_name: 'job{number}'"]
    lines += [f"{keys}static_configs:", f"{keys}- targets: [h{number}:9100]  # t"]
    if anchors and draw(st.booleans()):
        lines.append(f"{keys}<<: {{zz: *{draw(st.sampled_from(anchors))}}}")
    if draw(st.booleans()):
        first, *rest = draw(value(len(dash), anchors))
        lines += [f"{keys}last:{first}", *rest]
    return lines


@st.composite
def scrape_section(draw, column: int, anchors: list, only_list: bool) -> list:
    pad = " " * column
    key = pad + draw(st.sampled_from(["scrape_configs:", "scrape_configs :", '"scrape_configs":', "'scrape_configs':"]))
    kinds = ["absent", "null", "gives_way", "brackets", "flow", "list", "list", "list", "list"]
    kind = "list" if only_list else draw(st.sampled_from(kinds))
    comment = draw(st.sampled_from(["", " # mine", "   #"]))
    if kind == "absent":
        return []
    if kind == "null":
        return [key + comment]
    if kind == "gives_way":
        return [key + draw(st.sampled_from([" ~", " null", "  NULL", " []", " [ ]", "  []"])) + comment]
    if kind == "brackets":
        return draw(
            st.sampled_from(
                [
                    [f"{key} [", f"{pad} ]{comment}"],
                    [key, f"{pad}  []{comment}"],
                    [f"{key} [ # c", f"{pad} # d", f"{pad} ]"],
                ]
            )
        )
    if kind == "flow":
        return draw(
            st.sampled_from(
                [
                    [f"{key} [{{job_name: a}}, {{job_name: 'b'}}]{comment}"],
                    [f"{key} [ {{job_name: a,", f"{pad}  x: 'y'}},  # z", f"{pad} ]{comment}"],
                    [f"{key}", f"{pad}  [", f"{pad}    # c", f"{pad}    {{job_name: a}}", f"{pad}  ]"],
                ]
            )
        )
    dash = column + draw(st.sampled_from([0, 1, 2, 2, 4]))
    lines = [key + draw(st.sampled_from(["", " # list", " &all"]))]
    for number in range(draw(st.integers(1, 4))):
        lines += [" " * dash + line for line in draw(st.lists(st.sampled_from(COMMENTS), max_size=2))]
        lines += draw(item(number, dash, anchors))
    return lines


@st.composite
def sources(draw, only_list: bool = False) -> bytes:
    """A prometheus.yml as people and programs write it."""
    column = draw(st.sampled_from([0, 0, 0, 0, 2]))
    anchors: list = []
    lines = draw(st.sampled_from([[], [], ["---"], ["--- # start"], ["%YAML 1.1", "---"]]))[:]
    lines += draw(st.lists(st.sampled_from(COMMENTS), max_size=2))
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    for number in range(before):
        lines += draw(section(number, column, anchors))
    lines += draw(scrape_section(column, anchors, only_list))
    for number in range(before, before + after):
        lines += draw(section(number, column, anchors))
    lines += draw(st.lists(st.sampled_from(COMMENTS), max_size=3))
    if draw(st.integers(0, 4)) == 0:
        lines += ["...", "# after the end"][: draw(st.integers(1, 2))]
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = newline.join(lines)
    if draw(st.integers(0, 3)):
        text += newline
    source = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + text.encode()
    try:
        load(source)
    except yaml.YAMLError:
        assume(False)
    return source


def edited(source: bytes, asked_jobs: list, **options: object) -> config.EditResult:
    """Edit, or leave the example out where the file ends inside a block scalar that has no last line end."""
    try:
        return edit(source, asked_jobs, **options)
    except TimesTenError as error:
        assert "last line has no line end" in error.message, error.message
        assert not source.endswith(b"\n")
        assume(False)
        raise


LAYOUTS = st.sampled_from([{}, FILES])


@properties
@given(sources(), LAYOUTS)
def test_bytes_outside_the_block_stay(source: bytes, layout: dict) -> None:
    result = edited(source, JOBS, **layout)
    assert result.changed and result.added == ["exp1", "exp2"]
    assert only_gave_way(source.decode(), outside(result.config))


@properties
@given(sources(), LAYOUTS)
def test_foreign_content_means_the_same(source: bytes, layout: dict) -> None:
    result = edited(source, JOBS, **layout)
    assert foreign(result.config) == foreign(source)
    home = load(result.scrape_file if layout else result.config)
    ours = {entry["job_name"]: entry for entry in home["scrape_configs"] if entry["job_name"].startswith("timesten-")}
    assert ours == {one.name: one.config for one in JOBS}


@properties
@given(sources(), LAYOUTS)
def test_the_same_again_changes_nothing(source: bytes, layout: dict) -> None:
    result = edited(source, JOBS, **layout)
    again = edit(result.config, JOBS, scrape_file=result.scrape_file, **layout)
    assert not again.changed
    assert (again.config, again.scrape_file) == (result.config, result.scrape_file)
    assert not (again.added or again.changed_names or again.obsolete)


@properties
@given(sources(), LAYOUTS)
def test_removing_undoes_adding(source: bytes, layout: dict) -> None:
    result = edited(source, JOBS, **layout)
    assert removed(result.config, result.scrape_file) == source
    purged = edit(result.config, [], purge=True, scrape_file=result.scrape_file, **layout)
    assert (purged.config, purged.scrape_file) == (source, None)
    assert list(purged.obsolete) == ([SCRAPE_FILE] if layout else [])
    half = edit(result.config, [], remove=["exp2"], scrape_file=result.scrape_file, **layout)
    whole = edit(half.config, JOBS, scrape_file=half.scrape_file, **layout)
    assert (whole.config, whole.scrape_file) == (result.config, result.scrape_file)


@properties
@given(sources(), st.sampled_from(["exp0", "exp1", "exp2", "exp3"]))
def test_one_change_touches_its_own_lines_only(source: bytes, name: str) -> None:
    result = edited(source, JOBS)
    new = edit(result.config, [job(name, scrape_interval="30s", labels={"dc": "äöü"})])
    old_lines, new_lines = result.config.splitlines(keepends=True), new.config.splitlines(keepends=True)
    same = 0
    while old_lines[same] == new_lines[same]:
        same += 1
    old_rest, new_rest = old_lines[same:], new_lines[same:]
    while old_rest and new_rest and old_rest[-1] == new_rest[-1]:
        old_rest.pop()
        new_rest.pop()
    # What differs belongs to this exporter: no line in it names another one.
    for line in old_rest + new_rest:
        assert not set(re.findall(r"exp\d", line.decode())) - {name}
    if name in ("exp1", "exp2"):
        assert new.changed_names == [name] and not new.added
    else:
        assert new.added == [name] and not old_rest


@properties
@given(sources())
def test_moving_between_layouts_is_one_run(source: bytes) -> None:
    inline, files = edited(source, JOBS), edited(source, JOBS, **FILES)
    moved = edit(inline.config, [], **FILES)
    assert foreign(moved.config) == foreign(source)
    assert {entry["job_name"]: entry for entry in load(moved.scrape_file)["scrape_configs"]} == {
        one.name: one.config for one in JOBS
    }
    assert read(moved.config, moved.scrape_file).layout == "files"
    back = edit(moved.config, [], scrape_file=moved.scrape_file)
    assert back.scrape_file is None
    assert load(back.config) == load(inline.config)
    assert removed(back.config) == source == removed(files.config, files.scrape_file)


@properties
@given(sources(only_list=True), st.data())
def test_adopting_keeps_series_and_neighbours(source: bytes, data: st.DataObject) -> None:
    listed = [entry for entry in load(source).get("scrape_configs") or [] if "static_configs" in entry]
    old = data.draw(st.sampled_from(listed))
    host, port = old["static_configs"][0]["targets"][0].split(":")
    asked_jobs = [job("exp1"), jobs.build({"name": "adoptee", "address": host, "port": int(port)}, STORE)]
    with pytest.raises(TimesTenError, match="hand-written job"):
        edit(source, asked_jobs)
    try:
        result = edit(source, asked_jobs, on_existing="adopt")
    except TimesTenError as error:
        # Anchors inside the job that others need, or a file that ends in a block scalar.
        assert "anchors" in error.message or "last line has no line end" in error.message, error.message
        assume(False)
        raise
    assert read(result.config).ours["adoptee"].adopted
    before, after = load(source), load(result.config)
    new = {entry["job_name"]: entry for entry in after["scrape_configs"]}
    adopted = new[old["job_name"]]
    assert {**old, "scheme": "https", "tls_config": asked_jobs[1].config["tls_config"]} == adopted
    assert [new[entry["job_name"]] for entry in before["scrape_configs"] if entry != old] == [
        entry for entry in before["scrape_configs"] if entry != old
    ]
    again = edit(result.config, asked_jobs, on_existing="adopt")
    assert not again.changed
    free = removed(result.config)
    assert b"timesten.monitoring (managed" not in free
    assert sorted(entry["job_name"] for entry in load(free)["scrape_configs"]) == sorted(
        entry["job_name"] for entry in before["scrape_configs"]
    )


# --- real-world shapes ------------------------------------------------------------------------------------------------


def shapes() -> list[tuple[str, str]]:
    """File and outcome of each row of the table in the documentation."""
    rows = re.findall(r"^\| (\w+) \| .* \| (edited|refused: .*) \|$", DOC.read_text(), re.MULTILINE)
    assert len(rows) >= 25
    return rows


EDITED = [name for name, outcome in shapes() if outcome == "edited"]
REFUSED = [(name, outcome[len("refused: ") :]) for name, outcome in shapes() if outcome != "edited"]


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.yml").read_bytes()


@pytest.fixture(params=["libyaml", "python"])
def loader(request, monkeypatch):
    """Both of PyYAML's parsers; hosts may have either."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML was built without libyaml")


def test_the_table_names_every_shape() -> None:
    assert sorted(name for name, _outcome in shapes()) == sorted(path.stem for path in FIXTURES.iterdir())


@pytest.mark.parametrize("name", EDITED)
def test_a_shape_is_edited(name: str, loader: None) -> None:
    source = fixture(name)
    bare = removed(source)  # some shapes hold a block already
    for options in ({}, FILES):
        result = edit(source, JOBS, **options)
        assert foreign(result.config) == foreign(source)
        again = edit(result.config, JOBS, scrape_file=result.scrape_file, **options)
        assert not again.changed
        assert removed(result.config, result.scrape_file) == bare
        other = {} if options else FILES
        moved = edit(result.config, [], scrape_file=result.scrape_file, **other)
        assert removed(moved.config, moved.scrape_file) == bare
        assert set(read(moved.config, moved.scrape_file).ours) >= {"exp1", "exp2"}


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_a_shape_is_refused(name: str, message: str, loader: None) -> None:
    with pytest.raises(TimesTenError) as caught:
        edit(fixture(name), JOBS)
    assert f"prometheus.yml: {message}" in caught.value.message
    assert caught.value.details["line"] == int(re.match(r"line (\d+)", message).group(1))


@pytest.mark.controller
@pytest.mark.parametrize("version", ["2.42", "2.53", "3"])
def test_promtool_accepts_what_was_edited(version: str, tmp_path: Path) -> None:
    from lab import packages

    try:
        promtool = packages.prometheus(version).promtool
    except packages.PackageError as error:
        pytest.skip(str(error))
    names = [name for name in EDITED if version != "2.42" or b"scrape_config_files" not in fixture(name)]
    paths = []
    for name in names:
        files = {**FILES, "scrape_path": str(tmp_path / f"{name}.scrape.yml")}
        for suffix, options in (("inline", {}), ("files", files)):
            if suffix == "files" and version == "2.42":
                continue
            result = edit(fixture(name), JOBS, **options)
            paths.append(tmp_path / f"{name}.{suffix}.yml")
            paths[-1].write_bytes(result.config)
            if result.scrape_file:
                (tmp_path / f"{name}.scrape.yml").write_bytes(result.scrape_file)
    command = [str(promtool), "check", "config", "--syntax-only", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") >= len(paths)


# --- hand-written jobs ------------------------------------------------------------------------------------------------

BY_HAND = b"""\
global:
  scrape_interval: 20s
scrape_configs:
  - job_name: other
    static_configs: [{targets: ["x:1"]}]
  # the old database
  - job_name: 'tt'   # keep me
    scheme: http
    tls_config:
        insecure_skip_verify: true
        min_version: TLS12
    scrape_interval: 10s
    static_configs:
    - targets: ['exp1.example.com:12345']
      labels:
        dc: a
  # tail
  - job_name: last
    static_configs: [{targets: ["y:1"]}]
rule_files: []
"""


def test_a_hand_written_job_for_the_same_target_stops_the_run() -> None:
    with pytest.raises(
        TimesTenError, match=r"line 7: the hand-written job 'tt' already scrapes exp1\.example\.com:12345"
    ):
        edit(BY_HAND, JOBS)


def test_keep_leaves_the_hand_written_job_and_drops_ours() -> None:
    result = edit(BY_HAND, JOBS, on_existing="keep")
    assert (result.kept, result.added) == (["exp1"], ["exp2"])
    earlier = edit(BY_HAND.replace(b"exp1.example.com", b"elsewhere"), JOBS).config
    later = edit(earlier.replace(b"elsewhere", b"exp1.example.com"), JOBS, on_existing="keep")
    assert later.kept == ["exp1"]
    assert later.config == result.config


@pytest.mark.parametrize("layout", [{}, FILES])
def test_adopt_keeps_the_text_and_puts_our_tls_settings_in(layout: dict) -> None:
    result = edit(BY_HAND, JOBS, on_existing="adopt", **layout)
    home = (result.scrape_file or result.config).decode()
    assert (
        """\
  # exporter: exp1 (adopted)
  - job_name: 'tt'   # keep me
    scheme: https
    tls_config:
      min_version: TLS12
      ca_file: /etc/prometheus/timesten/exp1/current/ca.crt
      cert_file: /etc/prometheus/timesten/exp1/current/client.crt
      key_file: /etc/prometheus/timesten/exp1/current/client.key
    scrape_interval: 10s
    static_configs:
    - targets: ['exp1.example.com:12345']
      labels:
        dc: a
  # exporter: exp2
"""
        in home
    )
    assert b"job_name: other" in result.config and b"  # the old database\n  # tail\n" in result.config
    view = read(result.config, result.scrape_file)
    assert view.ours["exp1"].adopted and view.ours["exp1"].interval == 10.0
    assert not view.ours["exp2"].adopted and view.ours["exp2"].interval == 90.0


@pytest.mark.parametrize("layout", [{}, FILES])
def test_an_adopted_job_follows_its_exporters_port_and_stays_when_it_leaves(layout: dict) -> None:
    result = edit(BY_HAND, JOBS, on_existing="adopt", **layout)
    moved = edit(result.config, [job("exp1", port=9999)], scrape_file=result.scrape_file, **layout)
    assert moved.changed_names == ["exp1"]
    assert b'    - targets: ["exp1.example.com:9999"]\n      labels:\n        dc: a\n' in (
        moved.scrape_file or moved.config
    )
    left = edit(result.config, [], remove=["exp1"], scrape_file=result.scrape_file, **layout)
    assert list(read(left.config, left.scrape_file).ours) == ["exp2"]
    assert {"other", "last", "tt"} == {view.job_name for view in read(left.config, left.scrape_file).foreign}
    gone = edit(left.config, [], remove=["exp2"], scrape_file=left.scrape_file, **layout)
    assert gone.scrape_file is None
    assert gone.config == removed(result.config, result.scrape_file)
    assert [entry["job_name"] for entry in load(gone.config)["scrape_configs"]] == ["other", "last", "tt"]


@pytest.mark.parametrize("first", ["{}", "files"])
def test_an_adopted_job_moves_between_layouts(first: str) -> None:
    one, two = ({}, FILES) if first == "{}" else (FILES, {})
    result = edit(BY_HAND, JOBS, on_existing="adopt", **one)
    moved = edit(result.config, [], remove=["exp1"], scrape_file=result.scrape_file, **two)
    assert [entry["job_name"] for entry in load(moved.config)["scrape_configs"]][:3] == [
        "other",
        "last",
        "tt",
    ] or two == {}
    assert {view.job_name for view in read(moved.config, moved.scrape_file).foreign} == {"other", "last", "tt"}
    kept = edit(result.config, JOBS, scrape_file=result.scrape_file, **two)
    assert not kept.changed_names and read(kept.config, kept.scrape_file).ours["exp1"].adopted


def test_a_job_whose_settings_are_aliases_is_written_anew_with_the_same_content() -> None:
    source = b"""\
scrape_configs:
  - job_name: base
    tls_config: &tls {min_version: TLS12, insecure_skip_verify: true}
    static_configs: [{targets: ["x:1"]}]
  - job_name: tt
    tls_config: *tls
    honor_labels: true
    static_configs: [{targets: ["exp1.example.com:12345"]}]
"""
    result = edit(source, JOBS[:1], on_existing="adopt")
    base, adopted = load(result.config)["scrape_configs"]
    assert base == load(source)["scrape_configs"][0]
    assert adopted["tls_config"] == {"min_version": "TLS12", **jobs.pem_paths(STORE, "exp1")}
    assert (adopted["job_name"], adopted["honor_labels"], adopted["scheme"]) == ("tt", True, "https")
    assert not edit(result.config, JOBS[:1], on_existing="adopt").changed


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            BY_HAND.replace(b"['exp1.example.com:12345']", b"['exp1.example.com:12345', 'z:1']"),
            {},
            "line 7: .* among other targets",
        ),
        (
            BY_HAND.replace(b"'tt'", b"timesten-exp1").replace(b"exp1.example.com", b"z"),
            {},
            "line 7: .* another target: rename it",
        ),
        (
            b"scrape_configs: [{job_name: tt, static_configs: [{targets: ['exp1.example.com:12345']}]}]\n",
            {},
            "list in brackets",
        ),
        (
            BY_HAND.replace(b"scrape_interval: 10s", b"bearer_token_file: token"),
            {"layout": "files", "scrape_path": "conf/tt.yml"},
            "line 7: the job names the relative path 'token'",
        ),
        (
            BY_HAND.replace(b"tls_config:\n", b"tls_config: &tls\n").replace(
                b"job_name: last\n", b"job_name: last\n    tls_config: *tls\n"
            ),
            {},
            "the jobs of exp1 cannot be taken out, others use their anchors",
        ),
        (
            BY_HAND.replace(
                b'other\n    static_configs: [{targets: ["x:1"',
                b'other\n    static_configs: [{targets: ["EXP1.example.com:12345"',
            ),
            {},
            "by two hand-written jobs",
        ),
    ],
)
def test_what_cannot_be_adopted_is_refused(source: bytes, options: dict, message: str) -> None:
    with pytest.raises(TimesTenError, match=message):
        edit(source, JOBS, on_existing="adopt", **options)


def test_jobs_in_other_scrape_files_are_seen_but_not_adopted() -> None:
    others = {
        "conf.d/db.yml": b"scrape_configs:\n- job_name: db\n  static_configs:\n  - targets: [exp1.example.com:12345]\n"
    }
    for choice, message in (
        ("fail", "conf.d/db.yml: line 2: the hand-written job 'db'"),
        ("adopt", "conf.d/db.yml: line 2: .* cannot be adopted"),
    ):
        with pytest.raises(TimesTenError, match=message):
            edit(b"", JOBS, others=others, on_existing=choice)
    assert edit(b"", JOBS, others=others, on_existing="keep").kept == ["exp1"]
    assert [view.job_name for view in read(b"", others=others).foreign] == ["db"]


# --- our own file -----------------------------------------------------------------------------------------------------


def test_a_pattern_of_the_owner_makes_our_line_needless() -> None:
    source = b"scrape_config_files:\n  - /etc/prometheus/*.yml\n  - a/*.yml\n"
    result = edit(source, JOBS, **FILES)
    assert result.config == source and result.changed and result.scrape_file
    other = edit(source, JOBS, layout="files", scrape_path="/etc/prometheus/x/timesten.yml")
    assert b"- /etc/prometheus/x/timesten.yml\n" in other.config


def test_a_file_of_somebody_else_is_not_taken_for_ours() -> None:
    with pytest.raises(
        TimesTenError, match=r"/etc/prometheus/timesten\.yml: exists and was not written by this collection"
    ):
        edit(b"", JOBS, scrape_file=b"scrape_configs: []\n", **FILES)


def test_another_path_moves_our_line() -> None:
    first = edit(b"", JOBS, **FILES)
    second = edit(first.config, JOBS, scrape_file=first.scrape_file, layout="files", scrape_path="/etc/p/tt.yml")
    assert load(second.config) == {"scrape_config_files": ["/etc/p/tt.yml"]} and second.scrape_file == first.scrape_file


# --- template ---------------------------------------------------------------------------------------------------------


def rendered(asked_jobs: list, more: str = "") -> bytes:
    items = "".join("\n".join(jobs.emit(one.config, 2, one.name)) + "\n" for one in asked_jobs)
    return f"global: {{}}\nscrape_configs:\n  - job_name: prometheus\n{items}{more}".encode()


def test_a_rendered_file_with_our_jobs_passes() -> None:
    result = config.check_rendered(files_of(b"global: {}\n"), rendered(JOBS), JOBS)
    assert (result.config, result.added, result.changed) == (rendered(JOBS), ["exp1", "exp2"], True)
    again = config.check_rendered(files_of(rendered(JOBS)), rendered(JOBS), JOBS)
    assert not (again.changed or again.added or again.changed_names)
    new = [job("exp1", scrape_interval="30s"), job("exp3")]
    later = config.check_rendered(files_of(rendered(JOBS)), rendered(new), new)
    assert (later.added, later.changed_names) == (["exp3"], ["exp1"])
    assert read(rendered(JOBS)).layout == "template"
    assert sorted(read(rendered(JOBS)).ours) == ["exp1", "exp2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (rendered(JOBS[:1]), "no job for exporter exp2"),
        (rendered([*JOBS, JOBS[0]]), "a second job for exporter exp1"),
        (rendered([*JOBS, job("exp9")]), "a job for exporter exp9, which is not in this run"),
        (
            rendered([job("exp1", scrape_interval="1s"), JOBS[1]]),
            "the job of exporter exp1 is not what was handed to the template",
        ),
        (edit(b"", JOBS).config, "marker lines"),
        (rendered(JOBS, "  - job_name: [\n"), "not valid YAML"),
    ],
)
def test_a_rendered_file_that_differs_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(TimesTenError, match=message):
        config.check_rendered(files_of(b""), data, JOBS)


@pytest.mark.parametrize("layout", [{}, FILES])
def test_from_template_to_a_block_is_one_run(layout: dict) -> None:
    insecure = job("exp3", insecure=True)
    result = edit(rendered([*JOBS, insecure]), [*JOBS, insecure], **layout)
    assert removed(result.config, result.scrape_file) == rendered([])
    assert sorted(read(result.config, result.scrape_file).ours) == ["exp1", "exp2", "exp3"]


@pytest.mark.controller
def test_the_template_that_ships_holds_what_it_is_given() -> None:
    pytest.importorskip("ansible", reason="templates are rendered on the controller")
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    text = (Path(__file__).parents[4] / "roles" / "prometheus_host" / "templates" / "prometheus.yml.j2").read_text()
    try:
        from ansible.template import trust_as_template

        text = trust_as_template(text)
    except ImportError:  # before ansible-core 2.19 all text is a template
        pass
    for asked_jobs in ([], JOBS):
        templar = Templar(
            loader=DataLoader(), variables={"prometheus_host_jobs": [dict(one.config) for one in asked_jobs]}
        )
        data = str(templar.template(text)).encode()
        assert config.check_rendered(files_of(b""), data, asked_jobs).added == [one.exporter for one in asked_jobs]


# --- after our write --------------------------------------------------------------------------------------------------


def block_lines(text: str) -> tuple[list[str], list[str], list[str]]:
    lines = text.splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if "# BEGIN timesten.monitoring (managed" in line)
    end = next(number for number, line in enumerate(lines) if number > begin and "# END timesten.monitoring" in line)
    return lines[:begin], lines[begin : end + 1], lines[end + 1 :]


def reordered(text: str) -> str:
    before, block, after = block_lines(text)
    heads = [number for number, line in enumerate(block) if "# exporter: " in line] + [len(block) - 1]
    jobs_of_it = [block[one:two] for one, two in zip(heads, heads[1:])]
    return "".join(
        [*before, *block[: heads[0]], *[line for one in reversed(jobs_of_it) for line in one], block[-1], *after]
    )


def reindented(text: str) -> str:
    before, block, after = block_lines(text)
    return "".join(before + ["  " + line for line in block] + after)


def commented(text: str) -> str:
    before, block, after = block_lines(text)
    newline = "\r\n" if block[0].endswith("\r\n") else "\n"
    middle = [one for line in block[1:-1] for one in (line, "# by hand" + newline)]
    return "".join([*before, block[0], *middle, block[-1], *after])


def spread(text: str) -> str:
    before, block, after = block_lines(text)
    return "".join([*before, *[line + ("\r\n" if line.endswith("\r\n") else "\n") for line in block], *after])


def doubled(text: str) -> str:
    before, block, after = block_lines(text)
    return "".join(before + block + block + after)


def first_of_all(text: str) -> str:
    before, block, after = block_lines(text)
    return "".join(block + before + after)


def without_lines(what: str):
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if what not in line)


MUTATIONS = {
    "reorder": reordered,
    "reindent": reindented,
    "crlf": lambda text: re.sub("\r?\n", "\r\n", text),
    "lf": lambda text: text.replace("\r\n", "\n"),
    "comments": commented,
    "blank lines": spread,
    "dumped": lambda text: yaml.safe_dump(load(text.encode()), allow_unicode=True),
    "another name": lambda text: text.replace("timesten-exp2", "mine"),
    "another exporter": lambda text: text.replace("# exporter: exp2", "# exporter: exp9"),
    "twice": doubled,
    "front": first_of_all,
    "no exporter line": without_lines("# exporter: exp2"),
    "no restore line": without_lines("# restore: "),
    "no begin": without_lines("# BEGIN timesten.monitoring (managed"),
    "no end": without_lines("# END timesten.monitoring"),
    "no pem": without_lines("client.key"),
    "job grew": lambda text: (
        text.replace("scheme: https", "honor_labels: true, scheme: https", 1)
        if "{" in text
        else text.replace("scheme: https", "scheme: http", 1)
    ),
}


def foreign_text(data: bytes) -> str:
    content = {key: value for key, value in foreign(data).items() if value != []}
    return yaml.safe_dump(content, allow_unicode=True) if content else ""


def owners_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@properties
@given(sources(), st.sampled_from(sorted(MUTATIONS)), st.booleans())
def test_what_was_done_to_the_file_since_is_repaired_or_refused(source: bytes, name: str, purge: bool) -> None:
    text = edited(source, JOBS).config.decode("utf-8-sig")
    mutated = MUTATIONS[name](text).encode()
    try:
        load(mutated)
    except yaml.YAMLError:
        assume(False)
    try:
        result = edit(mutated, [] if purge else [job("exp1", scrape_interval="30s"), JOBS[1]], purge=purge)
    except TimesTenError as error:
        assert "line" in error.details, error.message
        return
    assert foreign(result.config) == foreign(source)
    if purge and name in ("crlf", "lf"):
        assert result.config == MUTATIONS[name](source.decode("utf-8-sig")).encode()
    # An empty value may have given way, and a line may have been split behind its opening bracket.
    gone = re.compile(r"(?<=:)\s*(?:~|null|Null|NULL|\[\s*\])")
    kept = "\n".join(owners_lines(gone.sub("", result.config.decode("utf-8-sig"))))
    # What a tool has made of the whole file is its owner's now.
    owners = foreign_text(mutated) if name == "dumped" else source.decode("utf-8-sig")
    for line in owners_lines(gone.sub("", owners)):
        assert all(part.strip() in kept for part in line.split("[", 1)), line
    names = [entry["job_name"] for entry in load(result.config).get("scrape_configs") or []]
    if not purge:
        assert names.count("timesten-exp1") == 1 and names.count("timesten-exp2") == 1


@st.composite
def changes_of_others(draw) -> object:
    """Something that somebody else does to the file in between."""
    kind = draw(st.sampled_from(["comment first", "section last", "nothing", "crlf", "comment above the block"]))

    def change(text: str) -> str:
        newline = "\r\n" if "\r\n" in text else "\n"
        before, block, after = block_lines(text)
        if kind == "comment first":
            return "# somebody" + newline + text
        if kind == "section last":
            return text + ("" if text.endswith("\n") else newline) + "# somebody" + newline
        if kind == "crlf":
            return re.sub("\r?\n", "\r\n", text)
        if kind == "comment above the block" and before[-1:] != ["["]:
            return "".join([*before, "# somebody" + newline, *block, *after])
        return text

    return change


@properties
@given(sources(), changes_of_others(), st.booleans())
def test_taking_back_takes_our_change_alone(source: bytes, change: object, first: bool) -> None:
    """``first``: the block is new; else one job was changed, one added and one removed."""
    before = source if first else edited(source, JOBS).config
    ours = edited(before, JOBS).config
    if not first:
        ours = edit(before, [job("exp1", scrape_interval="30s"), job("exp3")], purge=True).config
    current = change(ours.decode("utf-8-sig")).encode()
    if before.startswith(b"\xef\xbb\xbf"):
        current = b"\xef\xbb\xbf" + current
    try:
        load(current)
    except yaml.YAMLError:
        assume(False)
    try:
        result = config.take_back(current, ours, before, PATH)
    except TimesTenError as error:
        # The comment next to our own lines; a block scalar or an end mark at the end of the file.
        assert "by hand" in error.message
        return
    # A line end that somebody appends belongs to a block scalar that had none.
    last = b"\n" if current.endswith(b"# somebody\n") and not before.endswith(b"\n") else b""
    assert load(result) == load(before + last)
    assert (b"# somebody" in result) == (b"# somebody" in current)
    assert result.replace(b"# somebody\r\n", b"").replace(b"# somebody\n", b"").replace(b"\r", b"").rstrip(
        b"\n"
    ) == before.replace(b"\r", b"").rstrip(b"\n")


def test_taking_back_leaves_a_job_that_somebody_added_meanwhile() -> None:
    before = b"global: {}\nscrape_configs:\n  - job_name: a\nrule_files: []\n"
    ours = edit(before, JOBS).config
    theirs = b"  - job_name: b\nrule_files: [x.yml]\n"
    current = ours.replace(b"rule_files: []\n", theirs)
    assert config.take_back(current, ours, before, PATH) == before.replace(b"rule_files: []\n", theirs)
    for meddled in (current.replace(b"exp1.example.com", b"other.example.com"), ours.replace(b"# END", b"# end")):
        with pytest.raises(TimesTenError, match=r"line \d+: .* by hand"):
            config.take_back(meddled, ours, before, PATH)


# --- layouts: any to any ----------------------------------------------------------------------------------------------

INSECURE = job("exp3", insecure=True)
PATTERNS = {
    "line": b"",
    "absolute": b"scrape_config_files: [/etc/prometheus/*.yml]\n",
    "relative": b"scrape_config_files:\n- '[!-~]*.yml'\n- timesten.ym?\n",
}


def in_layout(layout: str, source: bytes) -> tuple[bytes, bytes | None]:
    if layout == "template":
        items = "".join("\n".join(jobs.emit(one.config, 2, one.name)) + "\n" for one in [*JOBS, INSECURE])
        return source + items.encode(), None
    result = edit(source, [*JOBS, INSECURE], layout=layout)
    return result.config, result.scrape_file


@pytest.mark.parametrize("owners", sorted(PATTERNS))
@pytest.mark.parametrize("old", ["inline", "files", "template"])
@pytest.mark.parametrize("new", ["inline", "files", "template"])
def test_any_layout_to_any_other(old: str, new: str, owners: str) -> None:
    source = PATTERNS[owners] + b"scrape_configs:\n  - job_name: mine\n"
    files = files_of(*in_layout(old, source))
    assert (config.read(files).layout, sorted(config.read(files).ours)) == (old, ["exp1", "exp2", "exp3"])
    if new == "template":
        result = config.check_rendered(files, in_layout("template", source)[0], [*JOBS, INSECURE])
    else:
        result = config.edit(files, [*JOBS, INSECURE], layout=new)
    assert result.changed == (old != new)
    assert not result.changed_names
    assert list(result.obsolete) == ([SCRAPE_FILE] if old == "files" != new else [])
    after = files_of(result.config, result.scrape_file)
    assert (config.read(after).layout, sorted(config.read(after).ours)) == (new, ["exp1", "exp2", "exp3"])
    assert [view.job_name for view in config.read(after).foreign] == ["mine"]
    if new != "template":
        assert removed(after.config, after.scrape_file) == source


@pytest.mark.parametrize("owners", sorted(PATTERNS))
def test_a_file_that_the_owners_pattern_names_needs_no_line(owners: str) -> None:
    source = PATTERNS[owners]
    result = edit(source, JOBS, **FILES)
    assert (result.config == source) == bool(source)
    assert sorted(read(result.config, result.scrape_file).ours) == ["exp1", "exp2"]
    again = edit(result.config, JOBS, scrape_file=result.scrape_file, **FILES)
    assert not again.changed and not again.added


def test_our_line_goes_when_the_owner_adds_a_pattern() -> None:
    ours = edit(b"scrape_config_files:\n- a.yml\n", JOBS, **FILES)
    grown = ours.config + b"- timesten*.yml\n"
    result = edit(grown, JOBS, scrape_file=ours.scrape_file, **FILES)
    assert result.config == b"scrape_config_files:\n- a.yml\n- timesten*.yml\n"


@pytest.mark.parametrize("source", [b"", b"scrape_config_files: ['*.yml', 'conf.d/*']\n"])
def test_a_scrape_file_that_moves_takes_its_jobs_along(source: bytes) -> None:
    first = edit(BY_HAND + source, JOBS, on_existing="adopt", **FILES)
    moved = edit(
        first.config,
        JOBS,
        layout="files",
        scrape_path="/etc/prometheus/conf.d/tt.yml",
        others={SCRAPE_FILE: first.scrape_file},
    )
    assert (moved.scrape_file, moved.obsolete) == (first.scrape_file, [SCRAPE_FILE])
    assert not moved.added and not moved.changed_names
    with pytest.raises(TimesTenError, match=r"timesten\.yml: line 1: this line is not ours"):
        edit(first.config, JOBS, scrape_file=b"# my notes\n" + first.scrape_file)


def test_store_is_not_an_option() -> None:
    with pytest.raises(TypeError):
        config.Files(b"", PATH, scrape_path=SCRAPE_FILE)


# --- patterns and temporary files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "named"),
    [
        ("/a/*", "/a/.b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/*.yml", "/a/b.yml", True),
        ("/a/[^b].yml", "/a/c.yml", True),
        ("/a/[^b].yml", "/a/b.yml", False),
        ("/a/[!b].yml", "/a/!.yml", True),
        ("/a/[b-d]?.yml", "/a/cx.yml", True),
        ("/a/\\*.yml", "/a/*.yml", True),
        ("/a/\\*.yml", "/a/b.yml", False),
        ("/a/[b.yml", "/a/[b.yml", False),
        ("b.yml", "/base/b.yml", True),
        ("./x/../b*", "/base/b.yml", True),
        ("*/b.yml", "/base/x/b.yml", True),
        ("../b.yml", "/b.yml", True),
    ],
)
def test_patterns_are_read_as_go_reads_them(pattern: str, path: str, named: bool) -> None:
    assert patterns.matches(pattern, path, "/base") is named


def test_a_directory_that_is_a_link_is_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for one, two in (("link", "real"), ("real", "link")):
        assert patterns.matches(f"{tmp_path}/{one}/*.yml", f"{tmp_path}/{two}/a.yml", "/")
    (tmp_path / "real" / ".a.yml").write_text("")
    assert patterns.expand("link/*", str(tmp_path)) == [f"{tmp_path}/link/.a.yml"]


def test_a_temporary_file_matches_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    target = tmp_path / "conf.d" / "tt.yml"
    for names, place in (([], "conf.d"), (["conf.d/*.yml"], "conf.d"), (["conf.d/*"], "."), (["conf.d/.*"], "conf.d")):
        path = patterns.temporary(str(target), names, str(tmp_path))
        assert not any(patterns.matches(name, path, str(tmp_path)) for name in names)
        assert Path(path).parent == (tmp_path / place).resolve()
    source = (
        b"rule_files: [r*]\nscrape_configs: [{file_sd_configs: [{files: ['t/*.json']}]}]\nscrape_config_files: [c]\n"
    )
    assert sorted(config.file_patterns(source, PATH)) == ["c", "r*", "t/*.json"]


@pytest.mark.controller
@pytest.mark.parametrize("version", ["2.53", "3"])
def test_promtool_judges_the_files_that_will_be_there(version: str, tmp_path: Path) -> None:
    from lab import packages

    try:
        promtool = packages.prometheus(version).promtool
    except packages.PackageError as error:
        pytest.skip(str(error))
    (tmp_path / "conf.d").mkdir()
    path, scrape = tmp_path / "prometheus.yml", tmp_path / "conf.d" / "tt.yml"
    (tmp_path / "conf.d" / "mine.yml").write_text("scrape_configs:\n- job_name: mine\n")
    for source in (
        "scrape_config_files:\n- conf.d/*  # all\n\n- other*.yml\nglobal: {}\n",
        "scrape_config_files: [conf.d/*,\n  other*.yml]\nglobal: {}\n",
        "global: {}\n",
    ):
        insecure = [job("exp1", insecure=True)]
        files = config.Files(source.encode(), str(path), STORE, str(scrape))
        first = config.edit(files, insecure, layout="files")
        scrape.write_bytes(first.scrape_file)
        # To the layout inline: the present file is still there, and would be the same jobs twice.
        back = config.edit(dataclasses.replace(files, config=first.config, scrape_file=first.scrape_file), insecure)
        judged = tmp_path / "judged.yml"
        for data, swaps in (
            (first.config, {str(scrape): str(tmp_path / "candidate")}),
            (back.config, dict.fromkeys(back.obsolete)),
        ):
            (tmp_path / "candidate").write_bytes(first.scrape_file)
            judged.write_bytes(config.for_promtool(data, str(path), swaps))
            assert judged.read_bytes().count(b"\n") == data.count(b"\n")
            done = subprocess.run(
                [str(promtool), "check", "config", str(judged)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        scrape.unlink()


# --- adoption: what a reader sees -------------------------------------------------------------------------------------

SCALARS = [
    "1.10",
    "010",
    "yes",
    "0x1F",
    "12:30:45",
    "2001-12-14",
    "2001-12-14 21:59:43",
    "=",
    "1e3",
    "~",
    "No",
    "'yes'",
    '"010"',
    "1_000",
    ".5",
    "0o17",
]


@pytest.mark.parametrize("shape", ["lines", "braces", "merged", "alias"])
@pytest.mark.parametrize("layout", [{}, FILES])
@pytest.mark.parametrize("text", SCALARS)
def test_adopting_keeps_every_scalar(text: str, layout: dict, shape: str, loader: None) -> None:
    flow = f"labels: {{dc: {text}, n: x}}"
    target = "targets: ['exp1.example.com:12345']"
    item = {
        "lines": f"  - job_name: tt\n    static_configs:\n    - {target}\n      labels:\n        dc: {text}\n        n: x\n",
        "braces": f"  - {{job_name: tt, static_configs: [{{{target}, {flow}}}]}}\n",
        "merged": "  - <<: *base\n    job_name: tt\n    tls_config:\n",
        "alias": "  - job_name: tt\n    static_configs: *list\n",
    }[shape]
    source = (
        f"x: &base\n  static_configs: &list\n  - {target}\n    labels:\n      dc: {text}\n      n: x\n"
        f"scrape_configs:\n{item}"
    ).encode()
    result = edit(source, JOBS[:1], on_existing="adopt", **layout)
    raw = yaml.load((result.scrape_file or result.config), Loader=yaml.BaseLoader)["scrape_configs"]
    labels = next(one for one in raw if one["job_name"] == "tt")["static_configs"][0]["labels"]
    expected = text.strip("'\"")
    assert labels == {"dc": expected, "n": "x"} or (expected == "~" and labels["dc"] in ("~", "null"))
    # Its port changes: it is written again.
    moved = edit(result.config, [job("exp1", port=9)], scrape_file=result.scrape_file, **layout)
    raw = yaml.load((moved.scrape_file or moved.config), Loader=yaml.BaseLoader)["scrape_configs"]
    again = next(one for one in raw if one["job_name"] == "tt")["static_configs"][0]
    assert (again["labels"], again["targets"]) == (labels, ["exp1.example.com:9"])


def test_the_proof_sees_what_the_writer_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that normalises is caught, since the proof does not go through it."""
    write = config_block._scalar
    monkeypatch.setattr(
        config_block, "_scalar", lambda node, where, flow: "1.1" if node.value == "1.10" else write(node, where, flow)
    )
    source = b"scrape_configs:\n- {job_name: tt, x: 1.10, static_configs: [{targets: ['exp1.example.com:12345']}]}\n"
    with pytest.raises(TimesTenError, match="the adopted job of exp1 would change its meaning"):
        edit(source, JOBS[:1], on_existing="adopt")


def test_odd_values_of_a_job_to_adopt_are_no_traceback() -> None:
    job_of = "scrape_configs:\n- job_name: tt\n  static_configs: [{targets: ['exp1.example.com:12345']}]\n  "
    for more in ("tls_config:\n", "tls_config: {}\n", "tls_config: ~\n", "x: =\n", "scheme:\n", "? [a, b]\n  : c\n"):
        result = edit((job_of + more).encode(), JOBS[:1], on_existing="adopt")
        assert read(result.config).ours["exp1"].adopted
    for more in ("tls_config: text\n", "tls_config: [a]\n", "tls_config: {a: !odd b}\n"):
        with pytest.raises(TimesTenError, match="exp1"):
            edit((job_of + more).encode(), JOBS[:1], on_existing="adopt")
    with pytest.raises(TimesTenError, match="readers disagree"):
        edit(
            (
                "x: &a {params: {q: [1]}}\n"
                + job_of.replace("- job_name: tt", "- job_name: tt\n  params: {}\n  <<: *a\n  scheme: http")
            )
            .encode()
            .replace(b"static_configs: ", b"static_configs: &s "),
            JOBS[:1],
            on_existing="adopt",
            **FILES,
        )


# --- comments, and what only PyYAML refuses ---------------------------------------------------------------------------


def test_keys_that_were_switched_off_stay_with_the_last_job() -> None:
    source = b"scrape_configs:\n  - job_name: last\n    # scrape_interval: 5s\n\n    # params: {}\n  # tail\nrule_files: []\n"
    result = edit(source, JOBS)
    begin = result.config.index(b"  # BEGIN")
    assert result.config[:begin].endswith(b"    # params: {}\n") and result.config.endswith(
        b"  # tail\nrule_files: []\n"
    )
    assert removed(result.config) == source
    by_hand = BY_HAND.replace(b"        dc: a\n", b"        dc: a\n    # honor_labels: true\n")
    adopted = edit(by_hand, JOBS, on_existing="adopt").config
    assert b"        dc: a\n    # honor_labels: true\n  # exporter: exp2\n" in adopted


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("adopted", [False, True])
def test_a_lost_comment_line_is_told_as_that(number: int, adopted: bool) -> None:
    source = edit(BY_HAND if adopted else b"", JOBS, on_existing="adopt").config
    line = re.search(rf".*# exporter: exp{number}.*\n".encode(), source).group()
    at = source[: source.index(line)].count(b"\n") + 1
    with pytest.raises(TimesTenError) as caught:
        edit(source.replace(line, b""), JOBS)
    assert f"line {at}: the comment '{line.decode().strip()}' above this job was lost" in caught.value.message


@pytest.mark.parametrize(
    "source",
    [
        b"x: &a 1\ny: &a 2\nz: *a\nscrape_configs:\n- job_name: m\n  x: *a\n",
        b"global:\n  scrape_interval:\t20s\t# c\nscrape_configs:\t# c\n  - job_name:\tm\n",
        b"scrape_configs:\n- job_name: m\n---\n",
        b"---\nscrape_configs:\n- job_name: m\n--- # end\n# c\n",
        b"global: {}\n---\n",
        b"---\n---\n",
    ],
)
@pytest.mark.parametrize("layout", [{}, FILES])
def test_what_prometheus_accepts_is_edited(source: bytes, layout: dict, loader: None) -> None:
    config_source.remembered.cache_clear()
    result = edit(source, JOBS, **layout)
    config_source.remembered.cache_clear()
    assert sorted(read(result.config, result.scrape_file).ours) == ["exp1", "exp2"]
    assert removed(result.config, result.scrape_file) == source


def test_no_word_of_promtool_where_yaml_is_refused(loader: None) -> None:
    for source in (b"a: [\n", b"a: b\n\tc: d\n", b"a: 'x\n"):
        with pytest.raises(TimesTenError) as caught:
            edit(source, JOBS)
        assert "promtool" not in caught.value.message


# --- damage, size, environment ----------------------------------------------------------------------------------------


def test_hand_made_comments_inside_the_block_stay_as_long_as_their_job() -> None:
    source = edit(b"global: {}\n", JOBS).config.replace(b"  # exporter: exp2\n", b"  # exporter: exp2\n  # ask Ann\n")
    assert not edit(source, JOBS).changed
    assert b"# ask Ann" in edit(source, [job("exp1", scrape_interval="1s")]).config
    assert b"# ask Ann" in edit(source, [job("exp2", scrape_interval="1s")]).config
    assert b"# ask Ann" not in edit(source, [], remove=["exp2"]).config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'{"key": "scrape_configs"}', b"{key}", "line 3: the restore line of the block was changed by hand"),
        (b'{"key": "scrape_configs"}', b'{"key": 1}', "line 3: the restore line of the block was changed by hand"),
        (b"scrape_configs:\n  # exporter: exp1", b"# exporter: exp1", "not valid YAML"),
        (b"# exporter: exp2", b"# exporter: exp1", "line 2: exporter exp1 has two jobs in the block"),
        (b"  # exporter: exp1\n", b"", "line 5: the comment '# exporter: exp1' above this job was lost"),
        (b"# exporter: exp2", b"# exporter: exp3", "line 16: the job 'timesten-exp2' stands below '# exporter: exp3'"),
        (b"job_name: timesten-exp1", b"job_name: mine", "line 6: the job 'mine' stands below '# exporter: exp1'"),
        (
            b"# END timesten.monitoring",
            b"# END timesten.monitoring\n    extra: 1",
            "line 2: the markers of the block cut through a job",
        ),
    ],
)
def test_damage_by_hand_is_named(old: bytes, new: bytes, message: str) -> None:
    source = edit(b"global: {}\n", JOBS).config
    assert old in source
    with pytest.raises(TimesTenError, match=message):
        edit(source.replace(old, new, 1), JOBS)


def test_what_a_formatter_puts_into_the_block_does_no_harm() -> None:
    for source in (b"", b"global: {}\n", b"scrape_configs: ~\nrule_files: []\n"):
        made = edit(source, JOBS).config
        restore = re.search(rb" *# restore: .*\n", made).group()
        for more in (b"\n", b"\r\n", b"\n \n  # by hand\n# restored in May\n"):
            spread = made.replace(restore, more + restore)
            assert not edit(spread, JOBS).changed
            assert removed(spread) == source


def test_what_a_formatter_puts_around_our_scrape_file_goes_with_it() -> None:
    first = edit(b"", JOBS, **FILES)
    for text in (b"---\n" + first.scrape_file, b"\xef\xbb\xbf" + first.scrape_file, b"\n" + first.scrape_file + b"\n"):
        assert not edit(first.config, JOBS, scrape_file=text, **FILES).changed
        for layout in ({}, FILES):
            gone = edit(first.config, [], purge=True, scrape_file=text, **layout)
            assert (gone.config, gone.scrape_file, gone.obsolete) == (b"", None, [SCRAPE_FILE])


@pytest.mark.parametrize("sort", [False, True])
def test_jobs_that_have_lost_all_comments_are_known_by_what_they_say(sort: bool) -> None:
    source = b"scrape_configs:\n- job_name: mine\n- job_name: timesten-theirs\n"
    former = [*JOBS, job("exp3", insecure=True)]
    dumped = yaml.dump(load(edit(source, former).config), sort_keys=sort).encode()
    names = [
        entry["job_name"]
        for entry in load(edit(dumped, [], remove=["exp1", "exp3"], former=former).config)["scrape_configs"]
    ]
    assert names == ["mine", "timesten-theirs", "timesten-exp2"]
    back = edit(dumped, [JOBS[0], JOBS[1], job("exp3", insecure=True, port=9)], former=former)
    assert sorted(read(back.config).ours) == ["exp1", "exp2", "exp3"] and read(back.config).layout == "inline"
    assert load(removed(back.config)) == load(source)
    meddled = dumped.replace(b"exp3.example.com", b"theirs.example.com")
    assert b"theirs.example.com" in edit(meddled, [], remove=["exp3"], former=former).config


def test_marks_of_another_name_are_no_marks_of_ours() -> None:
    source = (
        b"scrape_configs:\n  # BEGIN timesten.monitoring-lab\n  - job_name: mine\n  # END timesten.monitoring-lab\n"
    )
    made = edit(source, JOBS)
    assert removed(made.config) == source and sorted(read(made.config).ours) == ["exp1", "exp2"]


def test_a_second_byte_order_mark_is_refused() -> None:
    with pytest.raises(TimesTenError, match="line 1: the file has a second byte order mark"):
        edit(b"\xef\xbb\xbf\xef\xbb\xbfscrape_configs:\n", JOBS)


def test_what_the_owner_wrote_around_the_block_survives_its_removal() -> None:
    for source in (b"", b"global: {}", b"scrape_configs: []\n", b"scrape_configs: ~"):
        made = edit(source, JOBS).config
        grown = made + b"  - job_name: mine\nrule_files: []\n"
        left = load(removed(grown))
        assert left == {**load(source), "scrape_configs": [{"job_name": "mine"}], "rule_files": []}


def test_intervals_are_the_jobs_else_the_files_else_prometheus_own() -> None:
    source = b"global: {scrape_interval: 20s}\nscrape_configs:\n  - job_name: a\n"
    view = read(edit(source, JOBS).config)
    assert (view.scrape_interval, view.ours["exp1"].interval, view.ours["exp2"].interval) == (20.0, 20.0, 90.0)
    assert read(b"").scrape_interval == 60.0
    assert read(b"").layout is None
    assert [(one.job_name, one.place) for one in view.foreign] == [("a", f"{PATH}: line 3")]


def test_a_missing_pyyaml_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_source, "YAML_IMPORT_ERROR", "Traceback")
    with pytest.raises(TimesTenError, match="PyYAML is missing on this host: install python3-pyyaml"):
        read(b"")


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="this PyYAML was built without libyaml")
def test_a_thousand_jobs_take_less_than_a_second() -> None:
    many = [job(f"exp{number:04}") for number in range(1000)]
    foreign_jobs = b"".join(
        b'  - job_name: f%d\n    static_configs: [{targets: ["f:%d"]}]\n' % (n, n) for n in range(1000)
    )
    source = edit(b"scrape_configs:\n" + foreign_jobs, many).config
    many[500] = job("exp0500", scrape_interval="30s")
    best = min(timed(lambda: edit(source, many)) for _attempt in range(3))
    assert best < 1.0, f"{best:.2f} s of CPU"


def timed(call) -> float:
    """CPU seconds: what others do on this machine does not count."""
    config_source.remembered.cache_clear()
    start = time.process_time()
    assert call().changed_names == ["exp0500"]
    return time.process_time() - start


@pytest.mark.parametrize("opens", [b"[", b"{a: ", b"- ", b"? ", b"- ? "])
@pytest.mark.parametrize("levels", [6_000, 200_000])
def test_what_libyaml_would_not_survive_is_refused_at_once(opens: bytes, levels: int) -> None:
    with pytest.raises(TimesTenError, match=r"prometheus\.yml: this is nested deeper than 5,000 levels"):
        read(b"scrape_configs:\n  " + opens * levels)


def test_no_line_has_to_be_deep_by_itself() -> None:
    lines = [b" " * (2 * 900 * number) + b"- " * 900 + b"\n" for number in range(30)]
    with pytest.raises(TimesTenError, match="nested deeper"):
        read(b"scrape_configs:\n" + b"".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        b"# " + b"- " * 4_000 + b"[" * 9_000,
        b"a: '" + b"[]{}" * 5_000 + b"'",
        b"a:\n" + b"- {regex: '\\[(.*)'}\n" * 3_000,
        b"a: [" + b"[], " * 6_000 + b"]",
    ],
)
def test_many_brackets_and_dashes_are_no_depth(text: bytes) -> None:
    read(text + b"\nscrape_configs: []\n")
