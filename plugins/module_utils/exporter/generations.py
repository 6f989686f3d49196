# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of one exporter: generations, their manifests, and the pairs issued from them.

No function here replaces a wallet in its directory. A new generation is built beside the others, renamed when it is
complete, and made current by switching one symbolic link. A run that is interrupted at any point therefore leaves
either the old generation or the new one.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
import glob
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from typing import Any, Iterator, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    AskedNames,
    CertificateFacts,
    Described,
    Manifest,
    PairRecord,
    WalletRecord,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import (
    GENERATION_ID,
    Layout,
    is_file,
    is_half_written,
    is_lock,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility, wallets
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem as _pem
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import is_age, key_id

MANIFEST_VERSION = 1
_MANIFEST_KEYS = {"exporter", "created", "origin", "asked", "wallet", "ca", "ca_sha256", "leaf", "leaf_source", "pairs"}
_REMOVE_MANIFEST = "if you remove the file, the next run adopts the wallet and issues all pairs anew"


_LONGEST_RESTART = 600.0
"""Wait so many seconds for a restart whose run was killed."""

_EXPORT = "timesten-export-"
_EXPORT_TIME = 600.0
"""After so many seconds no process uses the directory of an export any more."""


@dataclasses.dataclass(frozen=True)
class Client:
    """A Prometheus instance or an outsider that gets a pair.

    :ivar recipient: its public transport key, or an outsider's age recipient; with None, the key stays on the exporter
        host in ``client.key``.
    :ivar scrape_interval: seconds, if known.
    :ivar stored: what it has stored of this exporter: ``delivery``, ``sha256``, ``ca_sha256`` and, if it says so,
        ``verifies``, the names that its job verifies.
    :ivar readmit: whether it gets pairs again after an eviction.
    :ivar exporters: names of the exporters that it scrapes; None means all.
    """

    name: str
    recipient: str | None = None
    scrape_interval: float | None = None
    stored: dict[str, Any] = dataclasses.field(default_factory=dict)
    readmit: bool = False
    exporters: tuple[str, ...] | None = None

    def takes(self, exporter: str) -> bool:
        """Tell whether it gets a pair of this exporter."""
        return self.exporters is None or exporter in self.exporters

    @property
    def verifies(self) -> tuple[str, ...] | None:
        """Return the names that its job verifies in the exporter's certificate; None if it does not say."""
        names = self.stored.get("verifies")
        return None if names is None else (names,) if isinstance(names, str) else tuple(names)


@dataclasses.dataclass(frozen=True)
class Asked:
    """The names and the key size to ask for in a server certificate. The utility chooses what is not set here.

    :ivar rsa_key_size: size in bits.
    """

    common_name: str | None
    alt_names: tuple[str, ...]
    rsa_key_size: int | None

    def as_dict(self) -> AskedNames:
        """Return the form for a manifest."""
        return {"common_name": self.common_name, "alt_names": list(self.alt_names), "rsa_key_size": self.rsa_key_size}


def wallet_file(directory: str) -> str | None:
    """Return the path of the one wallet file below a certificate directory, or None.

    :raises TimesTenError: if there are several, because it is unknown which one ttExporter would serve, or if ttExporter
        could not read it at its next start.
    """
    found = wallets(directory)
    if len(found) > 1:
        raise TimesTenError(f"{directory} holds {len(found)} wallets ({', '.join(found)}); move all but one away")
    if not found:
        return None
    try:
        _files.check_regular(found[0])
    except OSError as error:
        raise TimesTenError(
            f"the wallet file {found[0]} cannot be read: {error.strerror}; give it back to the user who runs ttExporter, as a regular file "
            "(chown, chmod)"
        ) from error
    return found[0]


def instance_guid(timesten_home: str) -> str | None:
    """Return the GUID of the instance, or None if it is unknown.

    ttExporter opens only the wallet whose name contains this GUID.
    """
    try:
        text = _files.read(os.path.join(timesten_home, "conf", "timesten.conf")).decode("utf-8", "replace")
    except (OSError, TimesTenError):
        return None
    given = [
        line.partition("=")[2].strip()
        for line in text.splitlines()
        if line.partition("=")[0].strip() == "instance_guid"
    ]
    return given[-1] if given and given[-1] else None


def described(pem: bytes, what: str) -> Described:
    """Return the part of a manifest that describes an exported server file: ``ca``, ``ca_sha256``, ``leaf``,
    ``leaf_source``.
    """
    # This import stands here because most calls read the facts of certificates from a manifest.
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates

    certificates = _certificates.load(pem, what)
    leaf = _certificates.find_leaf(certificates)
    return {
        "ca": [_certificates.facts(certificate) for certificate in certificates],
        "ca_sha256": _certificates.bundle_fingerprint(certificates),
        "leaf": None if leaf is None else _certificates.facts(leaf),
        "leaf_source": "none" if leaf is None else "export",
    }


def _clear_exports() -> None:
    """Remove temporary directories that killed runs have left behind."""
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), f"{_EXPORT}*")):
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            if info.st_uid == os.geteuid() and time.time() - info.st_mtime > _EXPORT_TIME:
                shutil.rmtree(path, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Request:
    """The source and the content of a new generation.

    :ivar clients: the clients that get a pair.
    :ivar adopt: a directory whose wallet is copied; None creates a new wallet.
    :ivar evicted: clients that lost their access; every generation records them.
    :ivar former: names that are no longer asked for, but that jobs still verify.
    :ivar staged: whether the generation waits for a rotation.
    :ivar spare: whether its exporter serves on the spare port.
    """

    asked: Asked
    clients: Sequence[Client] = ()
    adopt: str | None = None
    evicted: Sequence[str] = ()
    former: Sequence[str] = ()
    staged: bool = False
    spare: bool = False


def _read_certificate(path: str, sha256: str) -> bytes | None:
    """Return the PEM text of a file if its certificates have this fingerprint."""
    try:
        pem = _files.read(path)
    except (FileNotFoundError, TimesTenError):
        return None
    return _pem.certificates_of(pem) if _pem.bundle_fingerprint(pem) == sha256 else None


class ExporterDirectory(Layout):
    """The directory ``<directory>/<exporter>``, which holds everything of one exporter.

    It keeps what it has read until it writes that itself or takes the lock, so that a decision is based on one state of
    the directory. Callers must not change what it returns: they change a copy of a manifest.

    :ivar lock_descriptor: file descriptor of the lock while it is held, else -1.
    """

    def __init__(self, path: str, exporter: str) -> None:
        """:param path: absolute path of the directory, which may not exist yet."""
        super().__init__(path)
        self.exporter = exporter
        self.lock_descriptor = -1
        self._current: list[str | None] = []
        self._manifests: dict[str, Manifest | None] = {}

    def forget(self) -> None:
        """Forget what was read, so that everything is read again."""
        self._current.clear()
        self._manifests.clear()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this exporter, which keeps every other run away, while the block runs."""
        if os.path.lexists(self.restart_file):
            # A detached restart keeps the lock after its run was killed, and ends by itself.
            Record(self.restart_file).wait(lambda _now: False, _LONGEST_RESTART)
        with _files.lock(self.lock_file) as descriptor:
            self.lock_descriptor = descriptor
            # The previous holder of the lock may have changed everything.
            self.forget()
            try:
                yield
            finally:
                self.lock_descriptor = -1

    def current_id(self) -> str | None:
        """Return the id of the current generation; None if there is none or the link is dangling."""
        if not self._current:
            self._current.append(self._read_current())
        return self._current[0]

    def _read_current(self) -> str | None:
        target = _files.link_target(self.current_link)
        if target is None and not os.path.lexists(self.current_link):
            return None
        name = os.path.basename(target or "")
        if target != os.path.join("generations", name) or not GENERATION_ID.match(name):
            raise TimesTenError(
                f"{self.current_link} {'is no link' if target is None else f'points at {target!r}, which is no generation of this exporter'}; "
                "point it back at the generation that the exporter serves, or remove it: the next run makes a new wallet then"
            )
        return name if os.path.isdir(self.generation(name)) else None

    def ids(self) -> list[str]:
        """Return the ids of all complete generations, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.generations) if GENERATION_ID.match(name))
        return []

    def manifest(self, generation: str) -> Manifest | None:
        """Return the manifest of a generation; None if it is missing.

        :raises TimesTenError: if it is damaged or has an unknown version.
        """
        if generation not in self._manifests:
            self._manifests[generation] = self._read_manifest(generation)
        return self._manifests[generation]

    def current_manifest(self) -> Manifest | None:
        """Return the manifest of the current generation."""
        current = self.current_id()
        return None if current is None else self.manifest(current)

    def _read_manifest(self, generation: str) -> Manifest | None:
        path = self.manifest_file(generation)
        try:
            manifest: Any = _files.read_json(path)
        except TimesTenError as error:
            raise TimesTenError(f"{error.message}; {_REMOVE_MANIFEST}") from error
        if manifest is None:
            return None
        if manifest.get("version") != MANIFEST_VERSION:
            raise TimesTenError(
                f"{path} has version {manifest.get('version')!r}, this collection reads {MANIFEST_VERSION}; use the version "
                "of the collection that wrote it, or a newer one"
            )
        if manifest.get("generation") != generation or not _MANIFEST_KEYS <= set(manifest):
            raise TimesTenError(f"{path} is not the manifest of this generation; {_REMOVE_MANIFEST}")
        known: Manifest = manifest
        return known

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest of a generation."""
        _files.write_json(self.manifest_file(manifest["generation"]), dict(manifest))
        self._manifests[manifest["generation"]] = copy.deepcopy(manifest)

    def check(self) -> None:
        """:raises TimesTenError: if the directory belongs to another user, or another user could replace it."""
        self._check_ancestors()
        try:
            owner = os.stat(self.path).st_uid
        except FileNotFoundError:
            return
        except OSError as error:
            raise TimesTenError(f"certificate_directory: cannot look at {self.path}: {error.strerror}") from error
        if not os.path.isdir(self.path):
            raise TimesTenError(f"certificate_directory: {self.path} is not a directory; name another, or remove it")
        if owner != os.geteuid():
            raise TimesTenError(
                f"certificate_directory: {self.path} belongs to user id {owner}, not to the user who runs ttExporter (id "
                f"{os.geteuid()}); set become_user to its owner"
            )
        self._check_entries()

    def _check_entries(self) -> None:
        with os.scandir(self.path) as entries:
            for entry in entries:
                # Of links and FIFOs in place of other files, whoever reads them says what they are for.
                odd = entry.is_dir(follow_symlinks=False) or (
                    is_lock(entry.name) and not entry.is_file(follow_symlinks=False)
                )
                if odd and is_file(entry.name):
                    raise TimesTenError(
                        f"certificate_directory: {entry.path} is no regular file, as this collection keeps one there; move it away, then run again"
                    )

    def _check_ancestors(self) -> None:
        parent = os.path.dirname(self.path)
        ancestor = parent
        while ancestor != os.path.dirname(ancestor):
            mode = 0
            with contextlib.suppress(OSError):
                mode = os.stat(ancestor).st_mode
            # A sticky bit keeps other users from renaming our directory, but not from creating one with our name first.
            if mode & stat.S_IWOTH and (ancestor == parent or not mode & stat.S_ISVTX):
                raise TimesTenError(
                    f"certificate_directory: {self.path} lies below {ancestor}, in which every user may make and replace files (mode "
                    f"{stat.S_IMODE(mode):04o}); choose another directory, or take that right away: chmod o-w {ancestor}"
                )
            ancestor = os.path.dirname(ancestor)

    def check_parent(self) -> None:
        """:raises TimesTenError: if the directory is missing and this user cannot make it."""
        ancestor = self.path
        while not os.path.lexists(ancestor):
            ancestor = os.path.dirname(ancestor)
        if ancestor != self.path and not (os.path.isdir(ancestor) and os.access(ancestor, os.W_OK | os.X_OK)):
            raise TimesTenError(
                f"certificate_directory: {self.path} does not exist, and user id {os.geteuid()} may not make it in "
                f"{ancestor}; make it as root, owned by the user who runs ttExporter"
            )

    def is_prepared(self) -> bool:
        """Tell whether :meth:`prepare` has nothing to do."""
        return os.path.isdir(self.generations)

    def prepare(self) -> None:
        """Make the directory and its missing parents.

        :raises TimesTenError: if it cannot be made.
        """
        missing = []
        path = self.generations
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            _files.make_directory(path)

    def clear_leftovers(self) -> None:
        """Remove half-built generations and pairs that an interrupted run left; the caller holds the lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.restart_file)
        patterns = ("generations/.new-*", "generations/*/clients/.*")
        for pattern in patterns:
            for path in glob.glob(os.path.join(glob.escape(self.path), pattern)):
                # A utility may have outlived the run that called it and still write here; the next run then removes the
                # rest.
                shutil.rmtree(path, ignore_errors=True)
        for folder in (self.path, *(self.generation(generation) for generation in self.ids())):
            for name in filter(is_half_written, os.listdir(folder)):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))
        _clear_exports()

    def flat_wallet(self) -> str | None:
        """Return the directory of a wallet that was made by hand directly in this directory, as long as there is no
        generation.
        """
        return None if self.current_id() else wallet_file(self.path)

    def has_wallet(self) -> bool:
        """Tell whether there is a generation, or a wallet to adopt."""
        return self.current_id() is not None or self.flat_wallet() is not None

    def server_certificate(self, manifest: Manifest) -> bytes | None:
        """Return the exported server certificate of a generation as PEM, if it is the one in the manifest."""
        return _read_certificate(self.server_file(manifest["generation"]), manifest["ca_sha256"])

    def read_export_pem(self, utility: Utility, wallet_directory: str) -> bytes:
        """Export the server certificate of a wallet to a temporary place and return its text. Changes nothing."""
        with tempfile.TemporaryDirectory(prefix=_EXPORT) as temporary:
            file = os.path.join(temporary, "server.crt")
            utility.export_server_certificate(wallet_directory, file)
            return _files.read(file)

    def read_export(self, utility: Utility, wallet_directory: str) -> Described:
        """Export the server certificate as :meth:`read_export_pem` does, but return its facts (see :func:`described`)."""
        pem = self.read_export_pem(utility, wallet_directory)
        return described(pem, f"the server certificate exported from {wallet_directory}")

    def restore_export(self, utility: Utility, manifest: Manifest) -> None:
        """Write the missing ``server.crt`` of a generation again."""
        path = self.generation(manifest["generation"])
        _files.write(self.server_file(manifest["generation"]), self.read_export_pem(utility, path))

    def wallet_record(self, generation_path: str) -> WalletRecord:
        """Return size, times and digest of the wallet file. They only hint that the wallet may have changed; they are
        no verdict.
        """
        file = wallet_file(generation_path)
        if file is None:
            raise TimesTenError(
                f"ttExporter reported success, but there is no .ttwallet.*/cwallet.sso in {generation_path}"
            )
        info = os.lstat(file)
        return {
            "path": os.path.relpath(file, generation_path),
            "size": info.st_size,
            "mtime_ns": info.st_mtime_ns,
            "sha256": hashlib.sha256(_files.read(file)).hexdigest(),
        }

    def wallet_touched(self, manifest: Manifest) -> bool:
        """Tell whether the wallet file may differ from the one that the manifest describes.

        :raises FileNotFoundError: if the wallet file is gone.
        """
        path = self.generation(manifest["generation"])
        file = wallet_file(path)
        if file is None:
            raise FileNotFoundError(path)
        info, recorded = os.lstat(file), manifest["wallet"]
        if (info.st_size, info.st_mtime_ns) == (recorded["size"], recorded["mtime_ns"]):
            return False
        return bool(self.wallet_record(path)["sha256"] != recorded["sha256"])

    def build(self, utility: Utility, request: Request, now: datetime.datetime) -> Manifest:
        """Build a complete generation beside the others without making it current.

        :returns: the manifest.
        """
        generation = self._new_id(now)
        path = os.path.join(self.generations, f".new-{generation}")
        _files.make_directory(path)
        asked = request.asked
        if request.adopt is None:
            alt_names = [*asked.alt_names, *request.former]
            utility.create_server_certificate(path, asked.common_name, alt_names, asked.rsa_key_size)
        else:
            self._copy_wallet(request.adopt, path)
        server = os.path.join(path, "server.crt")
        wallet = self.wallet_record(path)
        utility.export_server_certificate(path, server)
        self._close_to_others(path)
        server_says = described(_files.read(server), server)
        manifest: Manifest = {
            "version": MANIFEST_VERSION,
            "exporter": self.exporter,
            "generation": generation,
            "created": _pem.timestamp(now),
            "origin": "created" if request.adopt is None else "adopted",
            "asked": asked.as_dict(),
            "wallet": wallet,
            "evicted": sorted(request.evicted),
            "pairs": {},
            "ca": server_says["ca"],
            "ca_sha256": server_says["ca_sha256"],
            "leaf": server_says["leaf"],
            "leaf_source": server_says["leaf_source"],
        }
        if request.former and request.adopt is None:
            manifest["former"] = list(request.former)
        if request.staged:
            manifest["staged"] = True
        if request.spare:
            manifest["spare"] = True
        _files.make_directory(os.path.join(path, "clients"))
        for client in [Client(PROBE), *request.clients]:
            manifest["pairs"][client.name] = self._issue(utility, path, manifest, client)
        _files.write_json(os.path.join(path, "manifest.json"), dict(manifest))
        os.rename(path, self.generation(generation))
        _files.sync_directory(self.generations)
        return manifest

    def _new_id(self, now: datetime.datetime) -> str:
        """Return a new id. Ids sort by age: time with microseconds first, then random digits, so that no two hosts make
        the same id.

        If the clock was set back, the new id is still later than the newest one.
        """
        newest = max(self.ids(), default=None)
        if newest is not None:
            last = datetime.datetime.strptime(newest[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
            last = last.replace(microsecond=int(newest[17:22], 16) % 1000000)
            now = max(now, last + datetime.timedelta(microseconds=1))
        return f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(4096):03x}"

    @staticmethod
    def _copy_wallet(directory: str, path: str) -> None:
        """Copy the wallet of a certificate directory: only regular files, and no link is followed."""
        source = os.path.dirname(wallet_file(directory) or "")
        target = os.path.join(path, os.path.basename(source))
        _files.make_directory(target)
        for name in sorted(os.listdir(source)):
            if os.path.isdir(os.path.join(source, name)) and not os.path.islink(os.path.join(source, name)):
                continue
            _files.write(os.path.join(target, name), _files.read(os.path.join(source, name)))

    def is_spare(self, generation: str | None) -> bool:
        """Tell whether the exporter of this generation serves on its spare port."""
        manifest = None if generation is None else self.manifest(generation)
        return manifest is not None and bool(manifest.get("spare"))

    def set_spare(self, generation: str, spare: bool) -> None:
        """Record in the manifest on which port the exporter serves."""
        manifest = self.manifest(generation)
        if manifest is None or bool(manifest.get("spare")) == spare:
            return
        changed = copy.copy(manifest)
        changed["spare"] = True
        if not spare:
            del changed["spare"]
        self.write_manifest(changed)

    def make_current(self, generation: str) -> None:
        """Switch the link to a generation, and thereby to its port, in one step."""
        _files.switch_link(self.current_link, os.path.join("generations", generation))
        self._current[:] = [generation]

    def make_none_current(self) -> None:
        """Remove the link; used to go back to a state without a current generation."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.current_link)
        self._current[:] = [None]

    def remove(self, generation: str) -> None:
        """Remove a generation that is not the current one."""
        self._manifests.pop(generation, None)
        shutil.rmtree(self.generation(generation), ignore_errors=True)

    def issue(self, utility: Utility, manifest: Manifest, client: Client) -> None:
        """Issue a new pair from a complete generation and record it in the manifest, which is the caller's copy."""
        manifest["pairs"][client.name] = self._issue(utility, self.generation(manifest["generation"]), manifest, client)
        self.write_manifest(manifest)

    def certificate(self, manifest: Manifest, client: str) -> bytes | None:
        """Return the certificate of a pair as PEM, if it is the one in the manifest."""
        path = self.pair_file(manifest["generation"], client, "client.crt")
        return _read_certificate(path, manifest["pairs"][client]["sha256"])

    def bundle(self, manifest: Manifest, client: str) -> str | None:
        """Return the encrypted private key of a pair, or None."""
        for name in ("bundle.json", "bundle.age"):
            with contextlib.suppress(FileNotFoundError, UnicodeDecodeError, TimesTenError):
                return _files.read(self.pair_file(manifest["generation"], client, name)).decode("ascii").strip()
        return None

    def staged(self) -> list[str]:
        """Return the ids of generations that wait for a rotation, oldest first: they are newer than the current one and
        were never in use.
        """
        current = self.current_id() or ""
        waiting = []
        for generation in self.ids():
            with contextlib.suppress(TimesTenError):
                manifest = self.manifest(generation) if generation > current else None
                if manifest is not None and manifest.get("staged"):
                    waiting.append(generation)
        return waiting

    def prune(self, keep: int) -> list[str]:
        """Remove old generations. The newest ones, the current one and those that wait for a rotation stay.

        :param keep: how many generations stay besides the current one.
        :returns: ids of the removed generations.
        """
        current = self.current_id()
        waiting = self.staged()
        others = [generation for generation in self.ids() if generation != current and generation not in waiting]
        gone = others[: len(others) - keep] if keep else others
        # A generation must not come back if an evicted client has a pair of it.
        manifest = self.current_manifest()
        evicted = set() if manifest is None else set(manifest.get("evicted", []))
        gone += [generation for generation in others if generation not in gone and self.pairs_of(generation) & evicted]
        for generation in gone:
            self._manifests.pop(generation, None)
            shutil.rmtree(self.generation(generation))
        return gone

    def pairs_of(self, generation: str) -> set[str]:
        """Return the names of all clients with a pair of this generation, forgotten ones too; an unreadable manifest
        gives none.
        """
        try:
            manifest = self.manifest(generation)
            return set() if manifest is None else {*manifest["pairs"], *manifest.get("forgotten", [])}
        except TimesTenError:
            return set()

    def remove_generations(self) -> None:
        """Remove the link ``current`` first, then every generation."""
        self.forget()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.current_link)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.generations)

    def _issue(self, utility: Utility, path: str, manifest: Manifest, client: Client) -> PairRecord:
        previous = manifest["pairs"].get(client.name)
        number = 1 if previous is None else int(previous["delivery"].rpartition("-")[2]) + 1
        clients = os.path.join(path, "clients")
        fresh = os.path.join(clients, f".new-{client.name}-{secrets.token_hex(4)}")
        _files.make_directory(fresh)
        try:
            certificate = self._export_pair(utility, path, fresh, manifest, client)
        except BaseException:
            # The client's private key may lie there in plain text.
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        final = os.path.join(clients, client.name)
        if os.path.isdir(final):
            # Between these two renames the pair's directory is missing. The manifest still names the old pair, so the
            # next run would issue it again.
            os.rename(final, os.path.join(clients, f".old-{client.name}-{secrets.token_hex(4)}"))
        os.rename(fresh, final)
        _files.sync_directory(clients)
        for old in glob.glob(os.path.join(glob.escape(clients), f".old-{glob.escape(client.name)}-*")):
            # Each run tries again what cannot be removed.
            shutil.rmtree(old, ignore_errors=True)
        return {
            "delivery": f"{manifest['generation']}-{number}",
            "sha256": certificate["sha256"],
            "not_before": certificate["not_before"],
            "not_after": certificate["not_after"],
            "recipient": None if client.recipient is None else key_id(client.recipient),
            "scrape_interval": client.scrape_interval,
        }

    def _export_pair(
        self, utility: Utility, path: str, fresh: str, manifest: Manifest, client: Client
    ) -> CertificateFacts:
        """Let the utility write a pair into a directory, encrypt its private key for the client, and return the facts
        of its certificate.
        """
        from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates

        certificate_file, key_file = os.path.join(fresh, "client.crt"), os.path.join(fresh, "client.key")
        utility.export_client_pair(path, certificate_file, key_file)
        self._close_to_others(fresh)
        exported = _files.read(certificate_file)
        own = _certificates.own_of(exported, _files.read(key_file))
        if own and own != exported:
            # Also so that no private key is taken for a part of the certificate, which is no secret.
            _files.write(certificate_file, own)
        _pem.check_pair(certificate_file, key_file)
        what = f"the certificate that ttExporter issued for client {client.name}"
        certificate = _certificates.facts(_certificates.load_one(_files.read(certificate_file), what))
        previous = manifest["pairs"].get(client.name)
        if previous is not None and previous["sha256"] == certificate["sha256"]:
            raise TimesTenError(
                f"ttExporter returned the same certificate for client {client.name} again; to replace it, the wallet has to be replaced (regenerate: always)"
            )
        if client.recipient is not None:
            key = _files.read(key_file)
            if is_age(client.recipient):
                from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age as _age

                name, bundle = "bundle.age", _age.armor(_age.encrypt(key, [client.recipient]))
            else:
                from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

                generation, sha256 = manifest["generation"], certificate["sha256"]
                bundle = _seal.seal(key, self.exporter, client.name, generation, sha256, client.recipient)
                name = "bundle.json"
            _files.write(os.path.join(fresh, name), bundle.encode("ascii") + b"\n")
            os.unlink(key_file)
        return certificate

    @staticmethod
    def _close_to_others(path: str) -> None:
        """Remove all rights of group and others, because ttExporter chooses the modes of its files itself."""
        for directory, _names, files in os.walk(path):
            for entry in [directory, *(os.path.join(directory, file) for file in files)]:
                mode = stat.S_IMODE(os.lstat(entry).st_mode)
                if mode & 0o077 and not os.path.islink(entry):
                    os.chmod(entry, mode & 0o700)
