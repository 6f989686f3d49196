# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration file of Prometheus: writes a candidate beside it and replaces it, and refuses if the file would lose
an attribute.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from typing import Iterator, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import patterns
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Account

_SIZE_LIMIT = 1 << 26
"""Bytes. 10,000 jobs are about 5 MB; a parser needs a hundred times as much memory as the file has."""
_ACCESS_LIST = "system.posix_acl_access"


class Moved(TimesTenError):
    """Somebody else changed a file after it was read, so the plan for it no longer fits."""


class ConfigFile:
    """A configuration file that may be a link: the link stays, and its target is replaced.

    :param path: its path on Prometheus's command line; relative names in it count from its directory.
    """

    def __init__(self, path: str, option: str = "config_file") -> None:
        if not os.path.isabs(path):
            raise TimesTenError(f"{option}: {path!r} is not an absolute path")
        self.path = path
        self._option = option
        self._looks: object = None

    @property
    def real(self) -> str:
        """What the path leads to now."""
        return os.path.realpath(self.path)

    def read(self) -> bytes | None:
        """Return the present content; None if there is no file.

        :raises TimesTenError: if it cannot be read.
        """
        try:
            return files.read(self.real, _SIZE_LIMIT)
        except FileNotFoundError:
            return None

    def _look(self) -> tuple[object, ...]:
        """Where it is, and all that a new version of it takes over."""
        real = self.real
        try:
            info = os.stat(real)
        except FileNotFoundError:
            return (real,)
        return (real, info.st_uid, info.st_gid, info.st_mode, info.st_nlink, _attributes(real))

    def refuse_loss(self) -> None:
        """:raises TimesTenError: naming what a new file in its place would lose."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.real).st_nlink > 1:
                raise TimesTenError(
                    f"{self._option}: {self.real} has more than one name (hard link): a new version would leave the "
                    f"other names with the old content. Make the others symbolic links, or remove them. Nothing was changed"
                )

    def stage(self, data: bytes, fallback: tuple[int, int, int], named: Sequence[str] = (), base: str = "/") -> str:
        """Write a candidate with the file's owner, mode, access list and other attributes.

        :param fallback: uid, gid and mode if there is no file yet.
        :param named: patterns of the files that Prometheus reads. A candidate must match none of them. They count from
            ``base``.
        :returns: path of the candidate, which the caller commits or discards.
        :raises TimesTenError: with the path and the system's error.
        """
        try:
            self._looks = self._look()
            candidate = patterns.temporary(self.real, named, base)
            descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    self._like_original(stream.fileno(), fallback)
                    os.fsync(stream.fileno())
            except BaseException:
                os.unlink(candidate)
                raise
        except OSError as error:
            raise TimesTenError(
                f"cannot write beside {self.real}: {error.strerror}; the file itself is untouched"
            ) from error
        return candidate

    def _like_original(self, descriptor: int, fallback: tuple[int, int, int]) -> None:
        attributes = None
        try:
            info = os.stat(self.real)
            uid, gid, mode = info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)
            attributes = _attributes(self.real)
        except FileNotFoundError:
            uid, gid, mode = fallback
        present = os.fstat(descriptor)
        if (present.st_uid, present.st_gid) != (uid, gid):
            try:
                os.fchown(descriptor, uid, gid)
            except PermissionError as error:
                raise TimesTenError(
                    f"{self.real} belongs to uid {uid} and gid {gid}, which uid {os.geteuid()} cannot give to its "
                    f"new content: run as root, or give the file to this user and its group"
                ) from error
        if attributes is not None:
            self._copy(attributes, descriptor)
        os.fchmod(descriptor, mode)

    def _copy(self, attributes: dict[str, bytes], descriptor: int) -> None:
        present = _attributes(descriptor)
        if _ACCESS_LIST in present and _ACCESS_LIST not in attributes:
            # The directory's default access list set this attribute. The mode alone has to decide, as it did before.
            os.removexattr(descriptor, _ACCESS_LIST)
        for name, value in attributes.items():
            if present.get(name) == value:
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                raise TimesTenError(
                    f"{self.real} has the attribute {name}, which its new content would lose ({error.strerror}): run as "
                    f"root, or remove it (setfattr -x {name})"
                ) from error

    def commit(self, candidate: str, expected: bytes | None) -> None:
        """Replace the file by a candidate.

        :param expected: the content from which the candidate was made.
        :raises Moved: if the file has another content, place, owner, mode, name or attribute now.
        """
        self.refuse_moved(expected)
        if self._look() != self._looks:
            raise Moved(
                f"owner, mode, names or attributes of {self.path} were changed by somebody else at the same time"
            )
        try:
            os.rename(candidate, self.real)
            files.sync_directory(os.path.dirname(self.real))
        except OSError as error:
            raise TimesTenError(f"cannot replace {self.real}: {error.strerror}; it is untouched") from error

    def refuse_moved(self, expected: bytes | None) -> None:
        """:raises Moved: if the file's content differs from the one read before."""
        if (self.read() or b"") != (expected or b""):
            raise Moved(f"{self.real} was changed by somebody else at the same time")

    def write(
        self,
        data: bytes | None,
        expected: bytes | None,
        fallback: tuple[int, int, int],
        named: Sequence[str] = (),
        base: str = "/",
    ) -> None:
        """Replace the content; None removes the file. See :meth:`stage`.

        :raises Moved: if the file does not have the expected content.
        """
        if data is None:
            self.refuse_moved(expected)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.real)
            return
        candidate = self.stage(data, fallback, named, base)
        try:
            self.commit(candidate, expected)
        finally:
            discard(candidate)

    @contextlib.contextmanager
    def beside(self, candidate: str) -> Iterator[str]:
        """Yield the path of a candidate in the directory that relative names in it count from."""
        directory = os.path.dirname(self.path)
        if os.path.realpath(directory) == os.path.dirname(candidate):
            yield candidate
            return
        link = os.path.join(directory, os.path.basename(candidate))
        try:
            os.symlink(candidate, link)
        except OSError as error:
            raise TimesTenError(f"cannot make a link in {directory} for the check: {error.strerror}") from error
        try:
            yield link
        finally:
            os.unlink(link)


# Each line fits one way alone: anybody may have written the file, and two ways would double with each line.
_EMPTY_LINES = rb"(?:[ \t]*(?:#[^\n]*|\r)?\n)*"
_BEGIN = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:[ \t]*(?:#[^\n]*|\r)?\n|%[^\n]*\n)*---[ \t]*(?:#[^\n]*|\r)?(?:\n|\Z))?")
"""What stands before the first document of a file: a byte order mark, and all to the line ``---``."""
_FIRST = re.compile(_BEGIN.pattern + _EMPTY_LINES + rb"[ \t]*([^\n]*)")
_NOTHING = re.compile(rb"(?:\[[ \t]*\][ \t]*)?(?:#.*)?\r?")


def _begin(data: bytes) -> int:
    match = _BEGIN.match(data)
    return match.end() if match else 0


def _first(data: bytes) -> bytes:
    """The first line that is neither empty nor a comment."""
    match = _FIRST.match(data)
    return match[1] if match else b""


def is_list(data: bytes | None) -> bool | None:
    """Whether a scrape file is a bare list of jobs; None where nothing is in it that tells."""
    first = _first(data or b"")
    if _NOTHING.fullmatch(first):
        return None
    return first.rstrip() == b"-" or first.startswith((b"- ", b"-\t", b"["))


class ListFile(ConfigFile):
    """A file that is just a list of scrape jobs, as VictoriaMetrics reads it from ``scrape_config_files``.

    For the editing functions it looks like a configuration with this one list.
    """

    _HEAD = b"scrape_configs:\n"

    def read(self) -> bytes:
        """Return the list below its key; an empty list if there is no file."""
        data = super().read() or b""
        end = _begin(data)
        if end == len(data) and b"---" in data and not data.endswith(b"\n"):
            data += b"\n"
            end += 1
        in_brackets = _first(data).startswith(b"[")
        if in_brackets and is_list(data):
            raise TimesTenError(
                f"{self._option}: the list in {self.real} stands in brackets, where ours has no place: write each job of it on "
                f"lines of its own, the first beginning with '- '"
            )
        if not in_brackets:
            return data[:end] + self._HEAD + data[end:]
        # An empty one gives way; comments around it stay.
        match = _FIRST.match(data)
        at = match.start(1) if match else end
        rest = re.sub(rb"\A[ \t]*(?:\r?\n)?", b"", data[data.index(b"]", at) + 1 :])
        return data[:end] + self._HEAD + data[end:at] + rest

    def stage(self, data: bytes, fallback: tuple[int, int, int], named: Sequence[str] = (), base: str = "/") -> str:
        """As :meth:`ConfigFile.stage`."""
        end = _begin(data)
        if data and not data.startswith(self._HEAD, end):
            raise TimesTenError(f"{self._option}: {self.real} is a list of jobs, which this change would not leave it")
        return super().stage(data[:end] + data[end + len(self._HEAD) :], fallback, named, base)


def _attributes(place: str | int) -> dict[str, bytes]:
    attributes = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(place):
            with contextlib.suppress(OSError):
                attributes[name] = os.getxattr(place, name)
    return attributes


def discard(candidate: str) -> None:
    """Remove a candidate, if it still exists."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(candidate)


@contextlib.contextmanager
def scratch(data: bytes, identity: Account | None) -> Iterator[str]:
    """Yield a file in a private directory outside the configuration that the Prometheus user can read. Check mode uses
    it, because it leaves nothing behind.
    """
    directory = tempfile.mkdtemp(prefix="timesten-check-")
    try:
        path = os.path.join(directory, "prometheus.yml")
        owner = (identity.uid, identity.gid) if identity is not None and os.geteuid() == 0 else None
        files.write(path, data, 0o600, owner)
        if owner is not None:
            os.chown(directory, *owner)
        yield path
    finally:
        shutil.rmtree(directory, ignore_errors=True)
