# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A configuration file of Prometheus: a candidate beside it, the change, and what the file has that a change could lose."""

from __future__ import annotations

import contextlib
import os
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
    """Somebody else changed a file after it was read: what was planned for it is not right any more."""


class ConfigFile:
    """A configuration file that may be a link: the link stays, what it leads to is replaced.

    :param path: as Prometheus is told it; relative names in the file count from there.
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
        """The present content; None if there is no file.

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
        """:raises TimesTenError: naming what a new file in this one's place would lose."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self.real).st_nlink > 1:
                raise TimesTenError(
                    f"{self._option}: {self.real} has more than one name (hard link): a new version would leave the "
                    f"other names with the old content. Make the others symbolic links, or remove them. Nothing was changed"
                )

    def stage(self, data: bytes, fallback: tuple[int, int, int], named: Sequence[str] = (), base: str = "/") -> str:
        """Write a candidate with the file's owner, mode, access list and other attributes.

        :param fallback: uid, gid and mode where there is no file yet.
        :param named: patterns of the files that Prometheus reads, which no candidate may match; they count from ``base``.
        :returns: path of the candidate; the caller commits or discards it.
        :raises TimesTenError: naming the path and the system's reason.
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
            # The directory's default list came with the new file; the mode alone has to decide as before.
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
        """Put a candidate in the file's place.

        :param expected: the content that the candidate was made from.
        :raises Moved: if the file has another one by now, is elsewhere, or has another owner, mode, name or attribute.
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
        """:raises Moved: if the file does not hold what was read before."""
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

        :raises Moved: if the file does not hold the expected content.
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
        """Give the path of a candidate in the directory that relative names in it count from."""
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


class ListFile(ConfigFile):
    """A file that is a bare list of scrape jobs, as VictoriaMetrics names it in its ``scrape_config_files``.

    To whoever edits it, it looks like a configuration that has this list alone.
    """

    _HEAD = b"scrape_configs:\n"

    def read(self) -> bytes:
        """The list below its key; an empty one where there is no file."""
        data = super().read() or b""
        return self._HEAD + (b"" if data.strip() == b"[]" else data)

    def stage(self, data: bytes, fallback: tuple[int, int, int], named: Sequence[str] = (), base: str = "/") -> str:
        """As :meth:`ConfigFile.stage`."""
        if data and not data.startswith(self._HEAD):
            raise TimesTenError(f"{self._option}: {self.real} is a list of jobs, which this change would not leave it")
        return super().stage(data[len(self._HEAD) :], fallback, named, base)


def _attributes(place: str | int) -> dict[str, bytes]:
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(place):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(place, name)
    return found


def discard(candidate: str) -> None:
    """Remove a candidate that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(candidate)


@contextlib.contextmanager
def scratch(data: bytes, identity: Account | None) -> Iterator[str]:
    """A file in a private directory outside the configuration, readable by the Prometheus user: for check mode, which
    leaves nothing behind."""
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
