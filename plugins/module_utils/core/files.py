# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and writes files safely: a file is complete or absent, no link is followed, and no secret is readable too
early.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import secrets
import stat
import time
from typing import Any, Iterator

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

SIZE_LIMIT = 1 << 20
"""Bytes. All files that are read here (certificates, keys, manifests, pid files) are far smaller."""

_NOT_REGULAR = "it is not a regular file"


def _open_regular(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a regular file. A link in the last component is not followed, and a FIFO does not block.

    :raises OSError: with a readable text, if it is a link or not a regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, "it is a symbolic link; it has to be a file of its own, remove the link", path
            ) from error
        if error.errno == errno.ENXIO:
            raise OSError(errno.EINVAL, _NOT_REGULAR, path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _NOT_REGULAR, path)
    return descriptor


def check_regular(path: str) -> None:
    """Check a file before a library opens it by path, because the library would follow a link and wait for a FIFO.

    :raises OSError: if it cannot be opened for reading, or is a link or not a regular file.
    """
    os.close(_open_regular(path, os.O_RDONLY))


def read(path: str, limit: int = SIZE_LIMIT) -> bytes:
    """Read a regular file without following a link in its last component.

    :raises FileNotFoundError: if there is no file.
    :raises TimesTenError: if it is a link, not a regular file, larger than ``limit`` bytes, or unreadable.
    """
    try:
        descriptor = _open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TimesTenError(
                f"{path} is a symbolic link; it has to be a file of its own, remove the link"
            ) from error
        if error.strerror == _NOT_REGULAR:
            raise TimesTenError(f"{path} is not a regular file; it has to be one") from error
        raise TimesTenError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise TimesTenError(
            f"{path} is larger than {limit} bytes, which is more than anything this collection writes there"
        )
    return data


def read_json(path: str, limit: int = SIZE_LIMIT) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no file.

    :param limit: bytes.
    :raises TimesTenError: if the file is not a JSON object, because it was truncated or edited by hand.
    """
    try:
        value = json.loads(read(path, limit).decode("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise TimesTenError(f"{path} is damaged ({error})") from error
    if not isinstance(value, dict):
        raise TimesTenError(f"{path} is damaged (no JSON object)")
    return value


def write(path: str, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file beside the old one, set owner and mode, flush it to disk, and rename it. A reader sees the old file
    or the new one.

    :param owner: (uid, gid), set before the rename; None keeps the caller's.
    :raises TimesTenError: with the path and the system's error; the old file is then unchanged.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                if owner is not None:
                    os.fchown(stream.fileno(), *owner)
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_directory(directory)
    except OSError as error:
        raise TimesTenError(f"cannot write {path}: {error.strerror}; the old content, if any, is untouched") from error


def write_json(path: str, value: dict[str, Any], mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a JSON object as :func:`write` does, formatted for people and diffs."""
    write(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode("utf-8"), mode, owner)


def sync_directory(path: str) -> None:
    """Flush a directory to disk, so that a rename in it survives a power failure."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: str, mode: int = 0o700, owner: tuple[int, int] | None = None) -> None:
    """Create one directory if it is missing, and set its mode and owner. Its parent has to exist.

    :raises TimesTenError: with the path and what to do.
    """
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if owner is not None and (info.st_uid, info.st_gid) != owner:
                os.fchown(descriptor, *owner)
            if stat.S_IMODE(info.st_mode) != mode:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TimesTenError(f"cannot make the directory {path}: {error.strerror}") from error


def switch_link(link: str, destination: str) -> None:
    """Point a symbolic link to another destination in one step.

    :raises TimesTenError: with the link and the system's error; the old link is then unchanged.
    """
    temporary = f"{link}.{secrets.token_hex(6)}"
    try:
        os.symlink(destination, temporary)
        try:
            os.rename(temporary, link)
        except BaseException:
            os.unlink(temporary)
            raise
        sync_directory(os.path.dirname(link))
    except OSError as error:
        raise TimesTenError(f"cannot point {link} at {destination}: {error.strerror}") from error


def link_target(link: str) -> str | None:
    """Return the text of a symbolic link, or None if there is no link."""
    try:
        return os.readlink(link)
    except OSError:
        return None


@dataclasses.dataclass
class _Identity:
    run: str = ""


_IDENTITY = _Identity()


def identify(run: str) -> None:
    """Set the name of the playbook run for which this process works. Others see it when they find a lock held or a
    change made.
    """
    _IDENTITY.run = run


def identity() -> str:
    """Return the run for which this process works; empty if it gave no name."""
    return _IDENTITY.run


@contextlib.contextmanager
def lock(path: str, timeout: float = 10.0) -> Iterator[int]:
    """Hold an exclusive lock on a file while the block runs. The kernel releases it when the process ends in any way.

    The block gets the descriptor. A child process that keeps it also holds the lock, until the child ends.

    :param timeout: seconds to wait for the present holder.
    :raises TimesTenError: naming the process that holds it.
    """
    try:
        descriptor = _open_regular(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise TimesTenError(f"cannot lock {path}: {error.strerror}; mend that, or move away what is there") from error
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 300, 0).decode("utf-8", "replace").strip() or "unknown"
                    raise TimesTenError(
                        f"{path} is held by another run (process {holder}) for more than {timeout:g} s; wait for it or end it, then run again"
                    ) from None
                time.sleep(0.05)
        holder = f"{os.getpid()} of {identity()}" if identity() else str(os.getpid())
        # Even if a full disk cannot store the name, the lock is held.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{holder}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
