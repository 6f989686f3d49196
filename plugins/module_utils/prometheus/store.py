# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deliveries of one client on its Prometheus host, and who may read them.

A delivery is written into a directory of its own and never changes; which one is used is told by the link ``current``.
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
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

FILES = ("ca.crt", "client.crt", "client.key")
_DELIVERY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)-(\d+)\Z")
_NEW = ".new-"
_LOCK = ".lock"
_OURS = (".transport", ".state.json", ".follow.json", ".follow.json.request")
NO_REVISION = "empty"
"""Revision of a store that holds nothing yet."""


@dataclasses.dataclass(frozen=True)
class Account:
    """The user that Prometheus runs as.

    :ivar groups: all of its groups, by number.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def account(user: str, group: str | None) -> Account:
    """Look up the Prometheus user.

    :param group: owner group of what it may read; None takes the user's own.
    :raises TimesTenError: if one of them does not exist, or we are neither root nor that user.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise TimesTenError(
            f"user: there is no user {user!r} on this host; install Prometheus first, or name the user that it runs as"
        ) from None
    try:
        gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise TimesTenError(
            f"group: there is no group {group!r} on this host; leave it out to take the user's own"
        ) from None
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


def take_on(identity: Account) -> None:
    """Become that user for good, in a child process; does nothing where we are not root."""
    if os.geteuid() == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)


def as_user(identity: Account, work: Callable[[], Any]) -> Any:
    """Run something as the Prometheus user and return its (JSON) result. Not to be called while threads run.

    :raises TimesTenError: as ``work`` does, or if the child dies.
    """
    if os.geteuid() == identity.uid:
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
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


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a delivery has to be, from the task's arguments."""

    exporter: str
    generation: str
    delivery: str
    sha256: str
    ca_sha256: str


def delivery_order(name: str) -> tuple[str, int]:
    """Sort key of deliveries: generations begin with their time, and pairs are counted within one."""
    match = _DELIVERY.match(name)
    return (match.group(1), int(match.group(2))) if match else ("", 0)


class Store:
    """The directory of one client.

    :param path: absolute.
    :param reader: who has to be able to read; None where that user does not exist (check mode before Prometheus
        is installed).
    """

    def __init__(self, path: str, reader: Account | None) -> None:
        if not os.path.isabs(path):
            raise TimesTenError(f"store: {path!r} is not an absolute path")
        self.path = os.path.normpath(path)
        self._reader = reader
        self._key_file = os.path.join(self.path, ".transport", "key.pem")
        self._state_file = os.path.join(self.path, ".state.json")

    def _shared(self) -> tuple[int, int] | None:
        """Owner of what the Prometheus user reads but must not change."""
        return (0, self._reader.gid) if self._reader is not None and os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the directory itself, with what is above it left alone.

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
        """Hold the store for this run; nothing is made where it does not exist yet.

        :raises TimesTenError: naming the process that holds it.
        """
        if not os.path.isdir(self.path):
            yield
            return
        with _files.lock(os.path.join(self.path, _LOCK)):
            yield

    # --- transport key

    def transport_key(self) -> bytes | None:
        """The private key (PEM) that bundles for this client are sealed for; None if there is none yet."""
        try:
            return _files.read(self._key_file)
        except FileNotFoundError:
            return None

    def renew_transport_key(self) -> str:
        """Replace the transport key, so that what was sealed for the old one can never be opened again.

        :returns: the new public key.
        """
        _files.make_directory(os.path.dirname(self._key_file), 0o700)
        private, public = _seal.new_transport_key()
        _files.write(self._key_file, private, 0o400)
        return public

    # --- state

    def state(self) -> dict[str, Any]:
        """What is ours: ``revision`` and, by exporter name, ``exporters``."""
        try:
            value = _files.read_json(self._state_file, _STATE_LIMIT)
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
        return value

    def write_state(self, state: dict[str, Any]) -> str:
        """Write the state with a new revision, and return that."""
        state = dict(state, version=1, revision=secrets.token_hex(8), by=_files.identity())
        _files.write_json(self._state_file, state, 0o600)
        return str(state["revision"])

    # --- deliveries

    def directory(self, exporter: str, delivery: str | None = None) -> str:
        """Path of an exporter's deliveries, or of one of them."""
        return os.path.join(self.path, exporter, *([delivery] if delivery else []))

    def current(self, exporter: str) -> str | None:
        """Name of the delivery in use, if its link is there and leads to one of this exporter's own directories."""
        name = _files.link_target(os.path.join(self.path, exporter, "current"))
        if name is None or not _DELIVERY.match(name) or not os.path.isdir(self.directory(exporter, name)):
            return None
        return name

    def facts(self, exporter: str, delivery: str) -> dict[str, Any] | None:
        """Read what a delivery holds; None if anything is missing, damaged or no pair: then it has to be delivered
        anew.

        :returns: ``delivery``, ``sha256``, ``ca_sha256``, ``not_after`` and ``certificate`` (facts).
        """
        place = self.directory(exporter, delivery)
        try:
            certificate = _certificates.load_one(_files.read(os.path.join(place, "client.crt")), "client.crt")
            authorities = _certificates.load(_files.read(os.path.join(place, "ca.crt")), "ca.crt")
            _certificates.check_pair(os.path.join(place, "client.crt"), os.path.join(place, "client.key"))
        except (TimesTenError, FileNotFoundError):
            return None
        found = _certificates.facts(certificate)
        return {
            "delivery": delivery,
            "sha256": found["sha256"],
            "ca_sha256": _certificates.bundle_fingerprint(authorities),
            "not_after": found["not_after"],
            "certificate": found,
        }

    def stage(self, expected: Expected, authority: bytes, certificate: bytes, key: bytes) -> None:
        """Write a delivery beside the one in use. It is complete or absent, and its key was never readable by others.

        :raises TimesTenError: naming the path and the system's reason.
        """
        home = self.directory(expected.exporter)
        _files.make_directory(home, 0o750, self._shared())
        fresh = os.path.join(home, _NEW + secrets.token_hex(6))
        owner = self._shared()
        key_owner = None if owner is None or self._reader is None else (self._reader.uid, self._reader.gid)
        try:
            _files.make_directory(fresh, 0o750, owner)
            # The directory is flushed once for all three, not after each.
            for name, data, mode, whose in (
                ("ca.crt", authority, 0o440, owner),
                ("client.crt", certificate, 0o440, owner),
                ("client.key", key, 0o400, key_owner),
            ):
                _create(os.path.join(fresh, name), data, mode, whose)
            _files.sync_directory(fresh)
            place = self.directory(expected.exporter, expected.delivery)
            if os.path.lexists(place):
                # Only an incomplete or damaged one is replaced; nothing reads it, or what reads it fails anyway.
                os.rename(place, os.path.join(home, _NEW + secrets.token_hex(6)))
            os.rename(fresh, place)
            _files.sync_directory(home)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise TimesTenError(
                f"cannot store the delivery in {home}: {error.strerror}; what is in use is untouched"
            ) from error
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def switch(self, exporter: str, delivery: str | None) -> None:
        """Make a delivery the one in use, or none."""
        link = os.path.join(self.path, exporter, "current")
        if delivery is not None:
            _files.switch_link(link, delivery)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)

    def switch_all(self, wanted: Mapping[str, str | None]) -> None:
        """Switch many exporters; each one in one step."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda item: self.switch(*item), sorted(wanted.items())))

    def deliveries(self, exporter: str) -> list[str]:
        """Names of all complete deliveries of an exporter, oldest first."""
        try:
            names = os.listdir(self.directory(exporter))
        except OSError:
            return []
        return sorted((name for name in names if _DELIVERY.match(name)), key=delivery_order)

    def prune(self, exporter: str, keep: int) -> None:
        """Remove what a killed run left half done, and all older deliveries but the last ``keep``."""
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

    def drop(self, exporter: str, delivery: str) -> None:
        """Remove one delivery that is not in use, and the exporter's directory if it was the only one."""
        shutil.rmtree(self.directory(exporter, delivery), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory(exporter))

    def _holds_deliveries_alone(self, exporter: str) -> bool:
        place = self.directory(exporter)
        if not os.path.isdir(place) or os.path.islink(place):
            return False
        names = os.listdir(place)
        return all(name == "current" or _DELIVERY.match(name) or name.startswith(_NEW) for name in names)

    def forget(self, exporter: str) -> None:
        """Remove everything of an exporter."""
        self.switch(exporter, None)
        shutil.rmtree(self.directory(exporter), ignore_errors=True)

    def remains(self, is_kept: Callable[[str], bool]) -> list[str]:
        """Names of what is ours in the directory, the lock aside; also of what the state does not know, as a killed run may leave it.

        :param is_kept: exporters whose deliveries do not count.
        """
        return [
            name
            for name in (os.listdir(self.path) if os.path.isdir(self.path) else ())
            if name in _OURS or (self._holds_deliveries_alone(name) and not is_kept(name))
        ]

    def destroy(self, is_kept: Callable[[str], bool]) -> None:
        """Remove what is ours; the directory itself only if nothing else is in it.

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
"""Bytes. 10,000 exporters are about 5 MB."""


def _create(path: str, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        if owner is not None:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())


def check_files(places: Sequence[tuple[str, Expected]], now: str) -> list[str]:
    """Check deliveries with the rights of whoever calls this: readable, a pair, valid now, and the expected ones.

    :param places: directory of each delivery and what it has to be.
    :param now: as :func:`tls.certificates.timestamp` writes it.
    :returns: one sentence for each fault.
    """
    faults = []
    for place, expected in places:
        fault = _check_one(place, expected, now)
        if fault:
            faults.append(f"exporter {expected.exporter}, delivery {expected.delivery}: {fault}")
    return faults


def _check_one(place: str, expected: Expected, now: str) -> str | None:
    content = {}
    for name in FILES:
        path = os.path.join(place, name)
        try:
            content[name] = _files.read(path)
        except FileNotFoundError:
            return f"{path} does not exist"
        except TimesTenError as error:
            return f"{error.message}{_blocked_at(path)}"
    try:
        certificate = _certificates.load_one(content["client.crt"], os.path.join(place, "client.crt"))
        authorities = _certificates.load(content["ca.crt"], os.path.join(place, "ca.crt"))
        _certificates.check_pair(os.path.join(place, "client.crt"), os.path.join(place, "client.key"))
    except TimesTenError as error:
        return error.message
    found, authority = _certificates.fingerprint(certificate), _certificates.bundle_fingerprint(authorities)
    if found != expected.sha256:
        return f"client.crt has the fingerprint {found}, where {expected.sha256} is due"
    if authority != expected.ca_sha256:
        return f"ca.crt has the fingerprint {authority}, where {expected.ca_sha256} is due"
    not_before, not_after = _certificates.validity(certificate)
    if now >= not_after:
        return f"client.crt expired at {not_after}; run timesten.monitoring.site, which renews what is due"
    if now < not_before:
        return (
            f"client.crt is not valid before {not_before} and this host's clock says {now}: set the clocks right (NTP)"
        )
    return None


def _blocked_at(path: str) -> str:
    """Name the first directory on the way that the caller may not enter."""
    place = ""
    for part in os.path.dirname(path).split("/")[1:]:
        place += "/" + part
        if not os.access(place, os.X_OK):
            return f" (the way is blocked at {place}: the Prometheus user needs the right to enter it)"
    return ""


def unseal(
    expected: Expected, client: str, bundle: str, certificate: bytes, authority: bytes, private: bytes
) -> tuple[bytes, bytes, bytes]:
    """Open a bundle and check that what came is exactly what the task names; nothing is written.

    :returns: CA file, certificate and key, as they are to be stored.
    :raises TimesTenError: naming the exporter and what differs.
    """
    what = f"exporter {expected.exporter}: "
    found = _certificates.fingerprint(_certificates.load_one(certificate, what + "certificate"))
    if found != expected.sha256:
        raise TimesTenError(
            f"{what}the certificate has the fingerprint {found}, where {expected.sha256} is due; nothing was stored"
        )
    found = _certificates.bundle_fingerprint(_certificates.load(authority, what + "ca_certificate"))
    if found != expected.ca_sha256:
        raise TimesTenError(
            f"{what}the CA file has the fingerprint {found}, where {expected.ca_sha256} is due; nothing was stored"
        )
    key = _seal.unseal(
        bundle, private, _names.exporter_of(expected.exporter), client, expected.generation, expected.sha256
    )
    if key.count(b"-----BEGIN ") != 1 or b"PRIVATE KEY-----" not in key:
        raise TimesTenError(f"{what}the bundle does not hold exactly one private key; nothing was stored")
    return authority, certificate, key


def check_delivery_name(delivery: str, generation: str, what: str) -> None:
    """:raises TimesTenError: if a delivery's name is not ``<generation>-<n>``: it becomes a directory here."""
    match = _DELIVERY.match(delivery)
    _names.check_name(generation, f"{what}: generation")
    if not match or match.group(1) != generation:
        raise TimesTenError(
            f"{what}: delivery {delivery!r} is not one of generation {generation!r} (<generation>-<number>)"
        )
