# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores the deliveries of one client on its Prometheus host, and decides who may read them.

A delivery is written into its own directory and never changes. The link ``current`` says which one is in use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import json
import os
import pwd
import re
import secrets
import shutil
import stat
from typing import Any, Callable, Iterator, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    CURRENT,
    FILES,
    Expected,
    StateEntry,
    Stored,
    StoreState,
)

_DELIVERY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})-([0-9]{1,9})\Z")
_NEW = ".new-"
_LOCK, _TRANSPORT, _STATE, _FOLLOW = ".lock", ".transport", ".state.json", ".follow.json"
_OURS = (_TRANSPORT, _STATE, _FOLLOW, f"{_FOLLOW}.request")
# A killed atomic write leaves files with these names.
_LEFT_OVER = re.compile(r"(?:\.\.?(?:state\.json|follow\.json|follow\.json\.request)|current)\.[0-9a-f]{12}\Z")
NO_REVISION = "empty"
"""The revision of a store that holds nothing yet."""


@dataclasses.dataclass(frozen=True)
class Account:
    """The user that Prometheus runs as.

    :ivar groups: numbers of all its groups.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account(user: str, group: str | None) -> Account:
    """Return the Prometheus user.

    :param group: group of the files that it may read; None uses the user's own group.
    :raises TimesTenError: if the user or group does not exist, or we are neither root nor that user.
    """
    if user.isdigit():
        return _account_by_number(int(user), group)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise TimesTenError(
            f"user: there is no user {user!r} on this host; install Prometheus first, or name the user that it runs as, by "
            f"number where it runs in a container"
        ) from None
    gid = entry.pw_gid if group is None else _group(group)
    if os.geteuid() not in (0, entry.pw_uid):
        raise TimesTenError(
            f"this runs as uid {os.geteuid()}, which can neither read nor write for {user}: run it as root "
            f"(become) or as {user} itself"
        )
    groups = set(os.getgrouplist(user, entry.pw_gid))
    if gid not in groups:
        raise TimesTenError(
            f"group: {user} is not a member of {group}, so it could not read what belongs to that group"
        )
    return Account(user, entry.pw_uid, gid, tuple(sorted(groups)))


def _group(group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise TimesTenError(
            f"group: there is no group {group!r} on this host; leave it out to take the user's own"
        ) from None


def _account_by_number(uid: int, group: str | None) -> Account:
    """Return the user of a container. The host need not know this user; the number is enough."""
    if os.geteuid() not in (0, uid):
        raise TimesTenError(
            f"this runs as uid {os.geteuid()}, which can neither read nor write for uid {uid}: run it as root (become) or as "
            f"that user itself"
        )
    gid = uid if group is None else _group(group)
    if group is None:
        with contextlib.suppress(KeyError):
            gid = pwd.getpwuid(uid).pw_gid
    return Account(str(uid), uid, gid, (gid,))


def take_on(identity: Account) -> None:
    """Become that user for good, in a child process. Does nothing if we are not root."""
    if os.geteuid() == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)


def as_user(identity: Account, work: Callable[[], Any], directory: str | None = None) -> Any:
    """Run a function as the Prometheus user and return its result, which must be valid JSON. Must not be called while
    threads run.

    :param directory: working directory, entered with our own rights; used only if we are root.
    :raises TimesTenError: if ``work`` raises it, or the child dies.
    """
    if os.geteuid() == identity.uid and directory is None:
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            if directory is not None:
                os.chdir(directory)
            take_on(identity)
            try:
                answer: Any = {"result": work()}
            except TimesTenError as error:
                answer = {"error": error.message}
            except Exception as error:
                answer = {"error": f"the check as user {identity.name} failed: {type(error).__name__}: {error}"}
            with os.fdopen(writer, "w", encoding="utf-8") as stream:
                json.dump(answer, stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as stream:
        text = stream.read()
    _pid, status = os.waitpid(child, 0)
    if status != 0:
        raise TimesTenError(f"the check as user {identity.name} (uid {identity.uid}) died with status {status}")
    answer = json.loads(text)
    if "error" in answer:
        raise TimesTenError(answer["error"])
    return answer["result"]


def _is_name(name: str) -> bool:
    with contextlib.suppress(TimesTenError):
        return bool(_names.check_name(name, "name"))
    return False


def is_delivery_name(name: str) -> bool:
    """Tell whether a name is that of a delivery, ``<generation>-<number>``, and therefore not another path."""
    return _DELIVERY.match(name) is not None and ".." not in name


def delivery_order(name: str) -> tuple[str, int]:
    """Return the sort key of a delivery: a generation begins with its time, and its pairs are numbered."""
    match = _DELIVERY.match(name)
    return (match.group(1), int(match.group(2))) if match else ("", 0)


class Store:
    """The directory of one client. Only this class knows the names of its files.

    :param path: absolute.
    :param reader: the user that has to be able to read; None if it does not exist (check mode before Prometheus is
        installed).
    """

    def __init__(self, path: str, reader: Account | None) -> None:
        if not os.path.isabs(path):
            raise TimesTenError(f"store: {path!r} is not an absolute path")
        self.path = os.path.normpath(path)
        self._reader = reader
        self._key_file = os.path.join(self.path, _TRANSPORT, "key.pem")
        self._state_file = os.path.join(self.path, _STATE)
        self.follow_file = os.path.join(self.path, _FOLLOW)

    def _shared(self) -> tuple[int, int] | None:
        """Return the owner of files that the Prometheus user may read but not change."""
        return (0, self._reader.gid) if self._reader is not None and os.geteuid() == 0 else None

    def exists(self) -> bool:
        """Tell whether the directory exists."""
        return os.path.isdir(self.path)

    def strangers(self) -> list[str]:
        """Return the names in the directory that are not ours."""
        if not self.exists():
            return []
        present = os.listdir(self.path)
        # A killed run of ours leaves empty directories. If nothing else there is ours, an empty directory is somebody
        # else's.
        known = not set(present).isdisjoint(_OURS)
        return sorted(name for name in present if not self._is_ours(name) or (not known and self._is_empty(name)))

    def _is_empty(self, name: str) -> bool:
        path = os.path.join(self.path, name)
        return os.path.isdir(path) and not os.listdir(path)

    def _is_ours(self, name: str) -> bool:
        if name == _LOCK or name in _OURS or _LEFT_OVER.match(name):
            return True
        return _is_name(name) and self._holds_deliveries_alone(name)

    def refuse_strangers(self, config_file: str) -> None:
        """Refuse a directory that holds anything that is not ours, before it is touched.

        :raises TimesTenError: naming what the directory holds.
        """
        directory = os.path.realpath(os.path.dirname(config_file))
        if f"{directory}/".startswith(f"{os.path.realpath(self.path).rstrip('/')}/"):
            raise TimesTenError(
                f"store: {self.path} is the directory of {config_file} or above it; give the store a directory of its own, "
                f"for example {directory}/timesten. Nothing was changed"
            )
        if os.path.islink(self.path) or (os.path.lexists(self.path) and not self.exists()):
            raise TimesTenError(f"store: {self.path} is not a directory of its own; set store to another place")
        found = self.strangers()
        if found:
            raise TimesTenError(
                f"store: {self.path} holds {found[0]!r}, which is not of this collection: give the store a directory of its "
                f"own, or move what is not of it. Nothing was changed"
            )
        if os.path.lexists(os.path.join(os.path.dirname(self.path), _STATE)):
            raise TimesTenError(f"store: {self.path} lies in the store of another client; set store to another place")

    def prepare(self) -> None:
        """Make the directory itself, but none of its parents.

        :raises TimesTenError: if its parent is missing, or others may write to it.
        """
        parent = os.path.dirname(self.path)
        try:
            info = os.stat(parent)
        except OSError as error:
            raise TimesTenError(
                f"store: {parent} does not exist ({error.strerror}); make it, or set store to another place"
            ) from error
        if info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX:
            raise TimesTenError(
                f"store: others may write to {parent}, so they could replace {self.path}; take that right away"
            )
        _files.make_directory(self.path, 0o750, self._shared())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock for this run. If the store does not exist yet, nothing is made.

        :raises TimesTenError: naming the process that holds it.
        """
        if not self.exists():
            yield
            return
        with _files.lock(os.path.join(self.path, _LOCK)):
            yield

    # --- transport key

    def transport_key(self) -> bytes | None:
        """Return the private key (PEM) for which this client's bundles are sealed; None if there is none yet."""
        try:
            return _files.read(self._key_file)
        except FileNotFoundError:
            return None

    def renew_transport_key(self) -> str:
        """Replace the transport key, so that bundles sealed for the old key can never be opened again.

        :returns: the new public key.
        """
        from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal

        _files.make_directory(os.path.dirname(self._key_file), 0o700)
        private, public = seal.new_transport_key()
        _files.write(self._key_file, private, 0o400)
        return public

    # --- state

    def state(self) -> StoreState:
        """Return our state: ``revision`` and, by exporter name, ``exporters``."""
        try:
            value: Any = _files.read_json(self._state_file, _STATE_LIMIT)
        except TimesTenError as error:
            raise TimesTenError(
                f"{error.message}; remove it, and the next run of timesten.monitoring.site writes it again from "
                f"the inventory"
            ) from error
        if value is None:
            return {"version": 1, "revision": NO_REVISION, "exporters": {}}
        if value.get("version") != 1:
            raise TimesTenError(
                f"{self._state_file} was written by another version of this collection; use that one or a newer one"
            )
        exporters = value.get("exporters")
        if not isinstance(exporters, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get("definition"), dict) for entry in exporters.values()
        ):
            raise TimesTenError(
                f"{self._state_file} is damaged; remove it, and the next run of timesten.monitoring.site writes it again "
                f"from the inventory"
            )
        for name in exporters:
            _names.check_name(name, self._state_file)
        state: StoreState = value
        return state

    def write_state(self, state: StoreState) -> str:
        """Write the state with a new revision, and return the revision."""
        values = dict(state, version=1, revision=secrets.token_hex(8), by=_files.identity())
        _files.write_json(self._state_file, values, 0o600)
        return str(values["revision"])

    def owner(self) -> str | None:
        """Return the name of the client that owns this store; None if nothing says it."""
        try:
            return str((_files.read_json(self._state_file, _STATE_LIMIT) or {})["client"])
        except (TimesTenError, KeyError):
            return None

    # --- deliveries

    def directory(self, exporter: str, delivery: str | None = None) -> str:
        """Return the path of an exporter's deliveries, or of one of them.

        :raises TimesTenError: if a name could lead to another path.
        """
        home = os.path.join(self.path, _names.check_name(exporter, "exporter"))
        if delivery is None:
            return home
        if not is_delivery_name(delivery):
            raise TimesTenError(
                f"exporter {exporter}: {delivery!r} is not the name of a delivery (<generation>-<number>); nothing was done"
            )
        return os.path.join(home, delivery)

    def in_use(self, exporter: str) -> str:
        """Return the path of the link to the delivery in use, even if it does not exist."""
        return os.path.join(self.directory(exporter), CURRENT)

    def current(self, exporter: str) -> str | None:
        """Return the name of the delivery in use, if its link exists and leads to one of this exporter's own
        directories.
        """
        name = _files.link_target(self.in_use(exporter))
        if name is None or not is_delivery_name(name) or not os.path.isdir(self.directory(exporter, name)):
            return None
        return name

    def marks(self, exporter: str, delivery: str) -> list[list[int]] | None:
        """Return marks that change whenever one of the three files changes; None if a file is missing."""
        place = self.directory(exporter, delivery)
        try:
            found = [os.lstat(os.path.join(place, name)) for name in FILES]
        except OSError:
            return None
        return [[info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns] for info in found]

    def facts(self, exporter: str, delivery: str, entry: StateEntry | None = None) -> Stored | None:
        """Return the content of a delivery; None if a file is missing or damaged or the pair does not match, so that it
        has to be delivered again.

        :param entry: the state's entry of the exporter; files with the marks in it are not parsed again.
        """
        marks = self.marks(exporter, delivery)
        if marks is None:
            return None
        if entry is not None and entry.get("delivery") == delivery and entry.get("files") == marks:
            return Stored(delivery, str(entry["sha256"]), str(entry["ca_sha256"]), entry["not_after"], marks)
        from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import deliveries

        return deliveries.parse(self.directory(exporter, delivery), delivery, marks)

    def stage(self, expected: Expected, authority: bytes, certificate: bytes, key: bytes) -> str:
        """Write a delivery into a directory that nothing names yet. At no moment can others read its key.

        :returns: that directory, for :func:`settle` or :func:`discard`.
        :raises TimesTenError: with the path and the system's error.
        """
        home = self.directory(expected.exporter)
        _files.make_directory(home, 0o750, self._shared())
        fresh = os.path.join(home, _NEW + secrets.token_hex(6))
        owner = self._shared()
        key_owner = None if owner is None or self._reader is None else (self._reader.uid, self._reader.gid)
        try:
            _files.make_directory(fresh, 0o750, owner)
            # Flush the directory once for all three files, not after each.
            for name, data, mode, whose in (
                ("ca.crt", authority, 0o440, owner),
                ("client.crt", certificate, 0o440, owner),
                ("client.key", key, 0o400, key_owner),
            ):
                _create(os.path.join(fresh, name), data, mode, whose)
            _files.sync_directory(fresh)
        except OSError as error:
            self.discard(expected.exporter, fresh)
            raise TimesTenError(
                f"cannot store the delivery in {home}: {error.strerror}; what is in use is untouched"
            ) from error
        except BaseException:
            self.discard(expected.exporter, fresh)
            raise
        return fresh

    def discard(self, exporter: str, fresh: str) -> None:
        """Remove a staged delivery, and the exporter's directory if it is empty then."""
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory(exporter))

    def settle(self, expected: Expected, fresh: str) -> str | None:
        """Give a staged delivery its name.

        :returns: where a former delivery of this name is now, for :func:`drop`. Only an incomplete, damaged or wrong
            one is ever replaced.
        """
        home, place = self.directory(expected.exporter), self.directory(expected.exporter, expected.delivery)
        displaced = None
        try:
            if os.path.lexists(place):
                displaced = os.path.join(home, _NEW + secrets.token_hex(6))
                os.rename(place, displaced)
            os.rename(fresh, place)
            _files.sync_directory(home)
        except OSError as error:
            raise TimesTenError(f"cannot store the delivery in {home}: {error.strerror}") from error
        return displaced

    def switch(self, exporter: str, delivery: str | None) -> None:
        """Make a delivery the one in use, or none."""
        link = self.in_use(exporter)
        if delivery is not None:
            _files.switch_link(link, os.path.basename(self.directory(exporter, delivery)))
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)

    def switch_all(self, wanted: Mapping[str, str | None]) -> None:
        """Switch many exporters, each in one step."""
        if len(wanted) <= 1:
            for item in wanted.items():
                self.switch(*item)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda item: self.switch(*item), sorted(wanted.items())))

    def deliveries(self, exporter: str) -> list[str]:
        """Return the names of all complete deliveries of an exporter, oldest first."""
        try:
            names = os.listdir(self.directory(exporter))
        except OSError:
            return []
        return sorted(filter(is_delivery_name, names), key=delivery_order)

    def prune(self, exporter: str, keep: int) -> None:
        """Remove what a killed run left half done, and older deliveries except the last ``keep``."""
        home = self.directory(exporter)
        current = self.current(exporter)
        others = [name for name in self.deliveries(exporter) if name != current]
        older = [name for name in others if current is None or delivery_order(name) < delivery_order(current)]
        for name in older[: len(older) - keep] if keep else older:
            shutil.rmtree(os.path.join(home, name), ignore_errors=True)
        with contextlib.suppress(OSError):
            for name in os.listdir(home):
                if name.startswith(_NEW):
                    shutil.rmtree(os.path.join(home, name), ignore_errors=True)

    def drop(self, exporter: str, delivery: str, displaced: str | None = None) -> None:
        """Remove one delivery, and the exporter's directory if it was the only one.

        :param displaced: a former delivery of this name, which gets its name back.
        """
        place = self.directory(exporter, delivery)
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):
            if displaced is not None:
                os.rename(displaced, place)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory(exporter))

    def _holds_deliveries_alone(self, exporter: str) -> bool:
        place = self.directory(exporter)
        if not os.path.isdir(place) or os.path.islink(place):
            return False
        return all(
            (name == CURRENT and os.path.islink(os.path.join(place, name)))
            or is_delivery_name(name)
            or name.startswith(_NEW)
            or _LEFT_OVER.match(name)
            for name in os.listdir(place)
        )

    def forget(self, exporter: str) -> None:
        """Remove everything of an exporter."""
        self.switch(exporter, None)
        shutil.rmtree(self.directory(exporter), ignore_errors=True)

    def remains(self, is_kept: Callable[[str], bool]) -> list[str]:
        """Return the names of everything of ours in the directory except the lock, even of exporters that the state
        lacks: a killed run may have left them.

        :param is_kept: exporters whose deliveries are left out.
        """
        return [
            name
            for name in (os.listdir(self.path) if self.exists() else ())
            if name != _LOCK and self._is_ours(name) and not is_kept(name)
        ]

    def destroy(self, is_kept: Callable[[str], bool]) -> None:
        """Remove everything that is ours. Remove the directory itself only if it is empty then.

        :param is_kept: exporters whose deliveries stay.
        """
        for name in [*self.remains(is_kept), _LOCK]:
            path = os.path.join(self.path, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


_STATE_LIMIT = 1 << 26
"""Bytes. 10,000 exporters have about 5 MB."""


def _create(path: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        if owner is not None:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())


def check_delivery_name(delivery: str, generation: str, what: str) -> None:
    """:raises TimesTenError: if a delivery's name is not ``<generation>-<n>``. The name becomes a directory here."""
    match = _DELIVERY.match(delivery)
    _names.check_name(generation, f"{what}: generation")
    if not match or not is_delivery_name(delivery) or match.group(1) != generation:
        raise TimesTenError(
            f"{what}: delivery {delivery!r} is not one of generation {generation!r} (<generation>-<number>)"
        )
