# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are complete or absent."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


def failure(call, *arguments, **keywords):
    """Return the message of the error that a call has to end in."""
    with pytest.raises(TimesTenError) as caught:
        call(*arguments, **keywords)
    return caught.value.message


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_write_and_read(tmp_path):
    path = str(tmp_path / "file")
    _files.write(path, b"one")
    assert (_files.read(path), mode(path)) == (b"one", 0o600)
    _files.write(path, b"two", 0o644)
    assert (_files.read(path), mode(path)) == (b"two", 0o644)
    assert os.listdir(tmp_path) == ["file"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path):
    previous = os.umask(0o077)
    try:
        _files.write(str(tmp_path / "file"), b"", 0o644)
        _files.make_directory(str(tmp_path / "folder"), 0o750)
    finally:
        os.umask(previous)
    assert mode(tmp_path / "file") == 0o644
    assert mode(tmp_path / "folder") == 0o750


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path = str(tmp_path / "file")
    contents = [b"a" * 100_000, b"b" * 200_000]
    _files.write(path, contents[0])
    stop, seen, modes = threading.Event(), set(), set()

    def watch():
        while not stop.is_set():
            seen.add(_files.read(path))
            for name in os.listdir(tmp_path):
                with contextlib.suppress(FileNotFoundError):
                    modes.add(mode(tmp_path / name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for round_ in range(100):
        _files.write(path, contents[round_ % 2])
    stop.set()
    watcher.join()
    assert seen <= set(contents) and modes == {0o600}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    _files.write(path, b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = failure(_files.write, path, b"new")
    assert message == f"cannot write {path}: No space left on device; the old content, if any, is untouched"
    assert _files.read(path) == b"old" and os.listdir(tmp_path) == ["file"]


def test_write_replaces_a_link_instead_of_following_it(tmp_path):
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "link").symlink_to("target")
    _files.write(str(tmp_path / "link"), b"ours")
    assert (tmp_path / "target").read_text() == "theirs"
    assert not (tmp_path / "link").is_symlink()


def test_read_takes_regular_files_only(tmp_path):
    with pytest.raises(FileNotFoundError):
        _files.read(str(tmp_path / "none"))
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert "is a symbolic link" in failure(_files.read, str(tmp_path / "link"))
    os.mkfifo(str(tmp_path / "fifo"))
    assert "is not a regular file" in failure(_files.read, str(tmp_path / "fifo"))
    assert "is not a regular file" in failure(_files.read, str(tmp_path))


def test_read_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 11)
    assert _files.read(str(tmp_path / "file"), 11) == b"x" * 11
    assert "is larger than 10 bytes" in failure(_files.read, str(tmp_path / "file"), 10)


def test_json(tmp_path):
    path = str(tmp_path / "file")
    assert _files.read_json(path) is None
    _files.write_json(path, {"b": 1, "a": [None, "ü"]})
    assert _files.read_json(path) == {"b": 1, "a": [None, "ü"]}
    for text in (b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000):
        pathlib.Path(path).write_bytes(text)
        assert failure(_files.read_json, path).startswith(f"{path} is damaged (")


def test_make_directory(tmp_path):
    path = str(tmp_path / "folder")
    _files.make_directory(path)
    assert mode(path) == 0o700
    os.chmod(path, 0o777)
    _files.make_directory(path)
    assert mode(path) == 0o700
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link", "none/below"):
        assert f"cannot make the directory {tmp_path / name}" in failure(_files.make_directory, str(tmp_path / name))


@root_only
def test_owner(tmp_path):
    _files.write(str(tmp_path / "file"), b"", owner=(65534, 65534))
    _files.make_directory(str(tmp_path / "folder"), owner=(65534, 65534))
    for name in ("file", "folder"):
        info = os.stat(tmp_path / name)
        assert (info.st_uid, info.st_gid) == (65534, 65534)


def test_switch_link_is_one_step(tmp_path):
    link = str(tmp_path / "current")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert _files.link_target(link) is None
    _files.switch_link(link, "a")
    stop, seen = threading.Event(), set()

    def watch():
        while not stop.is_set():
            seen.add(_files.link_target(link))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for round_ in range(200):
        _files.switch_link(link, "ab"[round_ % 2])
    stop.set()
    watcher.join()
    assert seen <= {"a", "b"}
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "current"]


def test_switch_link_does_not_replace_a_directory(tmp_path):
    (tmp_path / "current").mkdir()
    message = failure(_files.switch_link, str(tmp_path / "current"), "a")
    assert f"cannot point {tmp_path / 'current'} at a" in message
    assert os.listdir(tmp_path) == ["current"]


def test_lock_excludes_names_the_holder_and_ends_with_it(tmp_path):
    path = str(tmp_path / "lock")
    code = (
        "import fcntl, os, time\n"
        f"descriptor = os.open({path!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "os.write(descriptor, str(os.getpid()).encode())\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        try:
            holder.stdout.readline()
            began = time.monotonic()
            with pytest.raises(TimesTenError) as caught, _files.lock(path, timeout=0.2):
                pytest.fail("it was held")
            assert f"{path} is held by another run (process {holder.pid})" in caught.value.message
            assert time.monotonic() - began < 20
        finally:
            holder.kill()
    with _files.lock(path, timeout=10):
        assert pathlib.Path(path).read_text() == f"{os.getpid()}\n"


def test_lock_is_not_inherited(tmp_path):
    path = str(tmp_path / "lock")
    with _files.lock(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with _files.lock(path, timeout=0):
            pass
    finally:
        child.communicate(b"\n")


def test_lock_follows_no_link(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TimesTenError, match="cannot lock"), _files.lock(str(tmp_path / "lock")):
        pytest.fail("it was a link")
    assert not (tmp_path / "elsewhere").exists()


def test_lock_is_no_fifo(tmp_path):
    os.mkfifo(str(tmp_path / "lock"))
    with pytest.raises(TimesTenError, match=r"cannot lock .* not a regular file"), _files.lock(str(tmp_path / "lock")):
        pytest.fail("it was a FIFO")


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "missing"])
def test_what_a_library_opens_is_checked_first(tmp_path, kind):
    path = str(tmp_path / "client.key")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink("/etc/passwd", path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    with pytest.raises(OSError):
        _files.check_regular(path)
    (tmp_path / "regular").write_text("")
    _files.check_regular(str(tmp_path / "regular"))
