# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus's own file and process: a candidate beside the file, promtool's word on it, the change, the reload."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from typing import Iterator

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api, ReloadRefused
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Account, take_on

_SIZE_LIMIT = 1 << 28
_KEPT_ATTRIBUTES = ("security.selinux", "system.posix_acl_access")
_PROMTOOL_TIMEOUT = 120
_RELOAD_TIMEOUT = 60.0
"""Seconds. A reload of 1,000 jobs takes less than one, but rules and service discovery may need more."""


class ConfigFile:
    """A configuration file that may be a link: the link stays, what it leads to is replaced.

    :param path: as Prometheus is told it; relative names in the file count from there.
    """

    def __init__(self, path: str) -> None:
        if not os.path.isabs(path):
            raise TimesTenError(f"config_file: {path!r} is not an absolute path")
        self.path = path
        self.real = os.path.realpath(path)

    def read(self) -> bytes | None:
        """The present content; None if there is no file.

        :raises TimesTenError: if it cannot be read.
        """
        try:
            return _files.read(self.real, _SIZE_LIMIT)
        except FileNotFoundError:
            return None

    def stage(self, data: bytes, fallback: tuple[int, int, int]) -> str:
        """Write a candidate into the file's own directory, with the file's owner, mode, access list and SELinux label.

        :param fallback: uid, gid and mode where there is no file yet.
        :returns: path of the candidate; the caller commits or discards it.
        :raises TimesTenError: naming the path and the system's reason.
        """
        directory, name = os.path.split(self.real)
        candidate = os.path.join(directory, f".{name}.{secrets.token_hex(6)}")
        try:
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
        attributes = {}
        try:
            info = os.stat(self.real)
            uid, gid, mode = info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)
            for name in _KEPT_ATTRIBUTES:
                with contextlib.suppress(OSError):
                    attributes[name] = os.getxattr(self.real, name)
        except FileNotFoundError:
            uid, gid, mode = fallback
        present = os.fstat(descriptor)
        if (present.st_uid, present.st_gid) != (uid, gid):
            try:
                os.fchown(descriptor, uid, gid)
            except PermissionError as error:
                raise TimesTenError(
                    f"{self.real} belongs to uid {uid} and gid {gid}, which uid {os.geteuid()} cannot give to its "
                    f"new content: run as root, or "
                    "give the file to this user and its group"
                ) from error
        os.fchmod(descriptor, mode)
        for name, value in attributes.items():
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP) or name == "system.posix_acl_access":
                    raise

    def commit(self, candidate: str) -> None:
        """Put a candidate in the file's place."""
        try:
            os.rename(candidate, self.real)
            _files.sync_directory(os.path.dirname(self.real))
        except OSError as error:
            raise TimesTenError(f"cannot replace {self.real}: {error.strerror}; it is untouched") from error

    def write(self, data: bytes | None, fallback: tuple[int, int, int]) -> None:
        """Replace the content; None removes the file."""
        if data is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.real)
            return
        candidate = self.stage(data, fallback)
        try:
            self.commit(candidate)
        except BaseException:
            discard(candidate)
            raise

    @contextlib.contextmanager
    def beside(self, candidate: str) -> Iterator[str]:
        """Give the path of a candidate in the directory that relative names in it count from."""
        if os.path.dirname(os.path.abspath(self.path)) == os.path.dirname(candidate):
            yield candidate
            return
        link = os.path.join(os.path.dirname(self.path), os.path.basename(candidate))
        try:
            os.symlink(candidate, link)
        except OSError as error:
            raise TimesTenError(
                f"cannot make a link in {os.path.dirname(self.path)} for the check: {error.strerror}"
            ) from error
        try:
            yield link
        finally:
            os.unlink(link)


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
        _files.write(path, data, 0o600, owner)
        if owner is not None:
            os.chown(directory, *owner)
        yield path
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def find_promtool(promtool: str | None) -> str | None:
    """Path of promtool: as given, or from PATH and where it usually is."""
    return shutil.which(
        promtool or "promtool", path=os.environ.get("PATH", os.defpath) + ":/usr/local/bin:/opt/prometheus"
    )


def check(promtool: str, path: str, identity: Account, syntax_only: bool = False) -> None:
    """Have promtool judge a file, as the Prometheus user.

    :raises TimesTenError: with promtool's own words.
    """
    command = [promtool, "check", "config", *(["--syntax-only"] if syntax_only else []), path]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            # Single-threaded here, so that this is safe; Python 3.8 has no user= and group=.
            preexec_fn=lambda: take_on(identity),
            timeout=_PROMTOOL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TimesTenError(
            f"cannot run {promtool} as {identity.name}: {error}; set promtool to the one of this Prometheus"
        ) from error
    if done.returncode != 0:
        text = done.stdout.decode("utf-8", "replace").replace(path, "the new configuration").strip()
        raise TimesTenError(
            f"promtool, run as {identity.name}, refuses the new configuration: {text[-2000:]}",
            cmd=command,
            rc=done.returncode,
        )


def find_process(config_file: str, uid: int | None = None) -> int | None:
    """Process id of the Prometheus that was started with a configuration file, by its command line; None if there is
    none.

    :param uid: only processes of this user.
    """
    wanted = os.path.realpath(config_file)
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if uid is not None and os.stat(f"/proc/{name}").st_uid != uid:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = [word.decode("utf-8", "replace") for word in stream.read().split(b"\0")]
            program, given = os.path.basename(words[0]), _config_argument(words)
            # An exporter such as prometheus-node-exporter has no such flag.
            if not program.startswith("prometheus") or (given is None and program != "prometheus"):
                continue
            place = os.readlink(f"/proc/{name}/cwd")
        except OSError:
            continue
        if os.path.realpath(os.path.join(place, given or "prometheus.yml")) == wanted:
            return int(name)
    return None


def _config_argument(words: list[str]) -> str | None:
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in ("--config.file", "-config.file"):
            return value if equals else (words + [""])[number + 1]
    return None


def _unit_is_active(unit: str) -> bool:
    if shutil.which("systemctl") is None:
        return False
    return (
        subprocess.run(["systemctl", "is-active", "--quiet", unit], stdin=subprocess.DEVNULL, check=False).returncode
        == 0
    )


def reload(api: Api, method: str, unit: str, pid_file: str | None, config_file: str, uid: int) -> str:
    """Make Prometheus read its configuration, and have its own metrics confirm it.

    :param method: ``auto``, ``http``, ``systemd`` or ``signal``; auto takes the lifecycle endpoint where it is
        enabled, else the unit where it is
        active, else the signal.
    :param unit: systemd unit.
    :param pid_file: where the process id stands; None looks for the process that was started with ``config_file``.
    :param uid: the Prometheus user; nobody else's process gets a signal.
    :returns: the method that was used.
    :raises TimesTenError: if Prometheus refuses, or does not confirm in time.
    """
    if method == "auto":
        if api.flags().get("web.enable-lifecycle") == "true":
            method = "http"
        elif os.geteuid() == 0 and _unit_is_active(unit):
            method = "systemd"
        else:
            method = "signal"
    before = api.reloaded()
    if method == "http":
        try:
            api.reload()
        except ReloadRefused:
            raise
        except TimesTenError as error:
            raise TimesTenError(
                f"{error.message}; Prometheus has this endpoint only with --web.enable-lifecycle, else set reload "
                f"to systemd or signal"
            ) from error
    elif method == "systemd":
        done = subprocess.run(
            ["systemctl", "reload", unit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            text = done.stdout.decode("utf-8", "replace").strip()
            raise TimesTenError(
                f"systemctl reload {unit} failed: {text}; set reload_unit, or set reload to http or signal",
                rc=done.returncode,
            )
    else:
        _hang_up(pid_file, config_file, uid)
    deadline = time.monotonic() + _RELOAD_TIMEOUT
    while True:
        now = api.reloaded()
        if now.successful and now.moment > before.moment:
            return method
        # A failure leaves no time behind, so it can only be told from an older one where there was none.
        if not now.successful and before.successful:
            raise ReloadRefused(
                "Prometheus refused the configuration at the reload; its log has the reason (level=error, "
                "component of the configuration)"
            )
        if time.monotonic() > deadline:
            raise TimesTenError(
                f"Prometheus did not confirm the reload ({method}) within {_RELOAD_TIMEOUT:g} s "
                f"(prometheus_config_last_reload_successful is {int(now.successful)}); its log has the reason"
            )
        time.sleep(0.05)


def _hang_up(pid_file: str | None, config_file: str, uid: int) -> None:
    if pid_file is not None:
        try:
            text = _files.read(pid_file, 100).decode("ascii", "replace").strip()
        except FileNotFoundError:
            raise TimesTenError(
                f"reload_pid_file: {pid_file} does not exist; leave it out to have the process looked for"
            ) from None
        pid = int(text) if text.isdigit() else 0
        try:
            owner = os.stat(f"/proc/{pid}").st_uid if pid > 1 else None
        except OSError:
            owner = None
        if owner != uid:
            raise TimesTenError(
                f"reload_pid_file: {pid_file} says {text!r}, which is not a process of the Prometheus user; no "
                f"signal was sent"
            )
    else:
        found = find_process(config_file, uid)
        if found is None:
            raise TimesTenError(
                f"no Prometheus process of uid {uid} was started with --config.file={config_file}; set "
                f"reload_pid_file, or set reload to http "
                "or systemd"
            )
        pid = found
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise TimesTenError(f"cannot signal Prometheus (process {pid}): {error.strerror}") from error
