# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration file that belongs to somebody else: what is kept, what is refused, whose change survives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import (
    ConfigFile,
    Moved,
    carry_over,
)

OWN = (os.geteuid(), os.getegid(), 0o640)


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    (tmp_path / "prometheus.yml").write_bytes(b"old\n")
    return ConfigFile(str(tmp_path / "prometheus.yml"))


def test_only_what_was_read_is_replaced(file: ConfigFile) -> None:
    candidate = file.stage(b"ours\n", OWN)
    Path(file.path).write_bytes(b"old\ntheirs\n")
    with pytest.raises(Moved, match=r"prometheus\.yml was changed by somebody else"):
        file.commit(candidate, b"old\n")
    assert file.read() == b"old\ntheirs\n"
    file.commit(candidate, b"old\ntheirs\n")
    assert file.read() == b"ours\n"
    for data in (b"next", None):
        with pytest.raises(Moved):
            file.write(data, b"old\n", OWN)
    file.write(None, b"ours\n", OWN)
    assert os.listdir(os.path.dirname(file.path)) == []


def test_a_file_that_is_not_there_may_not_appear(file: ConfigFile) -> None:
    os.unlink(file.path)
    candidate = file.stage(b"ours\n", OWN)
    Path(file.path).write_bytes(b"theirs\n")
    with pytest.raises(Moved):
        file.commit(candidate, None)


def test_hard_links_are_refused_by_name(file: ConfigFile) -> None:
    file.refuse_loss()
    os.link(file.path, file.path + ".other")
    with pytest.raises(TimesTenError, match=r"config_file: .*prometheus\.yml has more than one name"):
        file.refuse_loss()


def test_attributes_are_kept(file: ConfigFile) -> None:
    try:
        os.setxattr(file.path, "user.owner", b"somebody")
    except OSError:
        pytest.skip("the file system of the temporary directory keeps no attributes")
    file.write(b"ours\n", b"old\n", OWN)
    assert os.getxattr(file.path, "user.owner") == b"somebody"


def test_an_attribute_that_cannot_be_kept_is_named(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        os.setxattr(file.path, "user.owner", b"somebody")
    except OSError:
        pytest.skip("the file system of the temporary directory keeps no attributes")

    def refuse(*_args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(TimesTenError, match=r"has the attribute user\.owner, which its new content would lose"):
        file.write(b"ours\n", b"old\n", OWN)
    assert file.read() == b"old\n" and os.listdir(os.path.dirname(file.path)) == ["prometheus.yml"]


def test_a_directory_that_is_a_link_is_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/prometheus.yml").write_bytes(b"old\n")
    (tmp_path / "link").symlink_to("real")
    file = ConfigFile(str(tmp_path / "link/prometheus.yml"))
    candidate = file.stage(b"ours\n", OWN)
    with file.beside(candidate) as place:
        assert Path(place).read_bytes() == b"ours\n"
    assert Path(candidate).exists()


def test_candidates_of_a_scrape_file_lie_where_no_pattern_matches(tmp_path: Path) -> None:
    (tmp_path / "scrape_configs").mkdir()
    file = ConfigFile(str(tmp_path / "scrape_configs/timesten.yml"), "scrape_file", str(tmp_path))
    candidate = file.stage(b"ours\n", OWN)
    assert list((tmp_path / "scrape_configs").iterdir()) == []
    file.commit(candidate, None)
    assert file.read() == b"ours\n"


BASE = b"a\nb\nc\n"
OURS = b"a\nb\nBEGIN\njob\nEND\nc\n"


@pytest.mark.parametrize(
    ("now", "target", "outcome"),
    [
        (OURS, BASE, BASE),
        (OURS + b"theirs\n", BASE, BASE + b"theirs\n"),
        (b"theirs\n" + OURS, BASE, b"theirs\n" + BASE),
        (OURS.replace(b"c\n", b"d\n"), BASE, b"a\nb\nd\n"),
        (OURS.replace(b"END\n", b"END\ntheirs\n"), BASE, b"a\nb\ntheirs\nc\n"),
        (OURS.replace(b"a\n", b""), BASE, b"b\nc\n"),
        (OURS.replace(b"job", b"their job"), BASE, None),
        (OURS.replace(b"job\n", b"job\ntheirs\n"), BASE, None),
        (BASE, BASE, BASE),
        (OURS + b"theirs\n", OURS.replace(b"job", b"other"), OURS.replace(b"job", b"other") + b"theirs\n"),
    ],
)
def test_the_way_back_keeps_what_others_wrote(now: bytes, target: bytes, outcome: bytes | None) -> None:
    assert carry_over(OURS, now, target) == outcome


LINES = st.lists(st.sampled_from([b"x\n", b"y\n", b"z\n"]), max_size=8)


@given(LINES, LINES, LINES)
def test_a_change_elsewhere_is_never_lost(head: list[bytes], tail: list[bytes], theirs: list[bytes]) -> None:
    """Our block stands between head and tail; somebody else writes at one end."""
    block = [b"BEGIN\n", b"job\n", b"END\n"]
    ours = b"".join([*head, b"1\n", *block, b"2\n", *tail])
    before = b"".join([*head, b"1\n", b"2\n", *tail])
    assert carry_over(ours, ours + b"".join(theirs), before) == before + b"".join(theirs)
    assert carry_over(ours, b"".join(theirs) + ours, before) == b"".join(theirs) + before
