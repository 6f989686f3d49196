# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration file that belongs to somebody else: what is kept, what is refused, whose change survives."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import (
    ConfigFile,
    ListFile,
    Moved,
    is_list,
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


@pytest.mark.parametrize("what", ["mode", "owner", "name", "link", "attribute", "fifo", "directory", "gone"])
def test_what_becomes_of_the_file_while_it_is_judged_is_noticed(file: ConfigFile, what: str) -> None:
    path = Path(file.path)
    candidate = file.stage(b"ours\n", OWN)
    if what == "mode":
        path.chmod(0o600)
    elif what == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(path, 2, 3)
    elif what == "name":
        os.link(path, f"{path}.other")
    elif what == "attribute":
        try:
            os.setxattr(path, "user.owner", b"somebody")
        except OSError:
            pytest.skip("the file system of the temporary directory keeps no attributes")
    else:
        path.rename(f"{path}.old")
        if what == "link":
            path.symlink_to(f"{path}.old")
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "directory":
            path.mkdir()
    before = os.lstat(path) if what != "gone" else None
    with pytest.raises(TimesTenError) as caught:
        file.commit(candidate, b"old\n")
    assert isinstance(caught.value, Moved) or "is not a regular file" in caught.value.message
    assert (os.lstat(path) if path.exists() else None) == before
    if what == "link":
        # Planned anew, it is the link's file that changes.
        file.write(b"ours\n", b"old\n", OWN)
        assert path.is_symlink() and Path(f"{path}.old").read_bytes() == b"ours\n"


def test_a_directory_that_cannot_be_written_is_named(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    with pytest.raises(TimesTenError, match=r"cannot write beside .*: .* is read-only, or not writable for uid"):
        file.stage(b"ours\n", OWN, ["*"], os.path.dirname(file.path))


def test_a_huge_file_is_refused(file: ConfigFile) -> None:
    os.truncate(file.path, (1 << 26) + 1)
    with pytest.raises(TimesTenError, match="is larger than 67108864 bytes"):
        file.read()


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
    file = ConfigFile(str(tmp_path / "scrape_configs/timesten.yml"), "scrape_file")
    candidate = file.stage(b"ours\n", OWN, ["scrape_configs/*"], str(tmp_path))
    assert list((tmp_path / "scrape_configs").iterdir()) == []
    file.commit(candidate, None)
    assert file.read() == b"ours\n"


MINE = b"- job_name: mine\n"


@pytest.mark.parametrize(
    "before",
    [
        None,
        b"",
        b"[]\n",
        b"[ ]  # none yet\n",
        b"# own: []\n[]\n# to come\n",
        MINE,
        b"# comment\n\n" + MINE,
        b"---\n" + MINE,
        b"# comment\n--- # the list\n\n" + MINE,
        b"---\n# comment\n",
        b"---\n",
        b"---\n[]\n",
        b"\xef\xbb\xbf" + MINE,
        b"\xef\xbb\xbf---\r\n- job_name: mine\r\n",
        b"%YAML 1.1\n---\n" + MINE,
        b"---\n  - job_name: mine\n",
        b"-\n  job_name: mine\n",
        MINE + b"...\n",
        b"---\n" + MINE + b"---\n",
        b"- job_name: mine",
    ],
)
def test_a_bare_list_is_edited_as_one_and_stays_one(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "jobs.yml"
    if before is not None:
        path.write_bytes(before)
    file = ListFile(str(path), "scrape_file")
    job = jobs.build({"name": "exp1", "address": "exp1", "port": 1, "insecure": True}, "/store")

    def edit(asked_jobs: list[jobs.Job], **options: Any) -> None:
        source = file.read()
        files = config.Files(source, str(path), "/store", f"{path}.none")
        file.write(config.edit(files, asked_jobs, **options).config, source, OWN)

    edit([job])
    names = [item["job_name"] for item in next(yaml.safe_load_all(path.read_bytes()))]
    assert names == (["mine"] if b"mine" in (before or b"") else []) + ["timesten-exp1"]
    assert is_list(path.read_bytes())
    edit([], remove=["exp1"])
    # An empty list in brackets gives way; all else stays, and means the same.
    assert path.read_bytes() == re.sub(rb"^\[ ?\] *\n?", b"", before or b"", flags=re.MULTILINE)


def test_a_marker_alone_begins_a_list(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yml"
    for text in (b"---", b"--- # to come"):
        path.write_bytes(text)
        assert is_list(text) is None
        assert yaml.safe_load(ListFile(str(path), "scrape_file").read()) == {"scrape_configs": None}


@pytest.mark.parametrize("before", [b"[{job_name: mine}]\n", b"---\n[\n{job_name: mine}]\n", b"[\n]\n"])
def test_a_list_in_brackets_is_refused_with_the_way_out(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "jobs.yml"
    path.write_bytes(before)
    assert is_list(before)
    with pytest.raises(TimesTenError, match=rf"^scrape_file: the list in {path} stands in brackets.*write each job"):
        ListFile(str(path), "scrape_file").read()


@pytest.mark.parametrize("before", [b"scrape_configs:\n", b"---\nglobal: {}\n", b"-job: x\n", b"'- ': x\n", b"{}\n"])
def test_a_mapping_is_no_list(before: bytes) -> None:
    assert is_list(before) is False
