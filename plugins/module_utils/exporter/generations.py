# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of one exporter: its generations, their manifests, and the pairs issued from them.

Nothing here replaces a wallet in its directory. A generation is built beside the others, renamed when it is complete, and
made current by the switch of one symbolic link, so a run that is cut off at any point leaves the old generation or the new
one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from typing import Any, Iterator, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE, SPARE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility, wallets
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

MANIFEST_VERSION = 1
_MANIFEST_KEYS = {"exporter", "created", "origin", "asked", "wallet", "ca", "ca_sha256", "leaf", "leaf_source", "pairs"}
_REMOVE_MANIFEST = "if you remove the file, the next run adopts the wallet and issues all pairs anew"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}\Z")


@dataclasses.dataclass(frozen=True)
class Client:
    """One Prometheus instance that gets a pair.

    :ivar recipient: its public transport key; None leaves the key on the exporter host in ``client.key``.
    :ivar scrape_interval: seconds, where known.
    :ivar stored: what it has of this exporter: ``delivery``, ``sha256``, ``ca_sha256``.
    :ivar readmit: whether it gets pairs again although it was evicted.
    """

    name: str
    recipient: str | None = None
    scrape_interval: float | None = None
    stored: dict[str, Any] = dataclasses.field(default_factory=dict)
    readmit: bool = False


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a server certificate is asked to say; what is not given is left to the utility.

    :ivar rsa_key_size: bits.
    """

    common_name: str | None
    alt_names: tuple[str, ...]
    rsa_key_size: int | None

    def as_dict(self) -> dict[str, Any]:
        """The form that a manifest holds."""
        return {"common_name": self.common_name, "alt_names": list(self.alt_names), "rsa_key_size": self.rsa_key_size}


def wallet_file(directory: str) -> str | None:
    """Path of the one wallet file below a certificate directory, or None.

    :raises TimesTenError: if several are there, since nobody can tell which one ttExporter would serve.
    """
    found = wallets(directory)
    if len(found) > 1:
        raise TimesTenError(f"{directory} holds {len(found)} wallets ({', '.join(found)}); move all but one away")
    return found[0] if found else None


def exported(pem: bytes, what: str) -> dict[str, Any]:
    """What an exported server file says, as the part of a manifest: ``ca``, ``ca_sha256``, ``leaf``, ``leaf_source``."""
    certificates = _certificates.load(pem, what)
    leaf = _certificates.find_leaf(certificates)
    return {
        "ca": [_certificates.facts(certificate) for certificate in certificates],
        "ca_sha256": _certificates.bundle_fingerprint(certificates),
        "leaf": None if leaf is None else _certificates.facts(leaf),
        "leaf_source": "none" if leaf is None else "export",
    }


class ExporterDirectory:
    """``<directory>/<exporter>``: everything that belongs to one exporter."""

    def __init__(self, path: str, exporter: str) -> None:
        """:param path: absolute path of the directory; it need not exist yet."""
        self.path = path
        self.exporter = exporter

    def _in(self, *parts: str) -> str:
        return os.path.join(self.path, *parts)

    def state_file(self, spare: bool = False) -> str:
        """What the running process was started with."""
        return self._in("state.json" + (SPARE if spare else ""))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other run away from this exporter while the block runs."""
        with _files.lock(self._in("lock")):
            yield

    def current_id(self) -> str | None:
        """Id of the current generation; None if there is none, or the link leads nowhere."""
        target = _files.link_target(self._in("current"))
        if target is None:
            return None
        name = os.path.basename(target)
        if target != os.path.join("generations", name) or not _ID.match(name):
            raise TimesTenError(
                f"{self._in('current')} points at {target!r}, which is no generation of this exporter; remove the link or point it back"
            )
        return name if os.path.isdir(self.generation(name)) else None

    def generation(self, generation: str) -> str:
        """Path of a generation."""
        return self._in("generations", generation)

    def ids(self) -> list[str]:
        """Ids of all complete generations, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self._in("generations")) if _ID.match(name))
        return []

    def manifest(self, generation: str) -> dict[str, Any] | None:
        """The manifest of a generation; None if it is missing.

        :raises TimesTenError: if it is damaged, or of a version that is not known here.
        """
        path = os.path.join(self.generation(generation), "manifest.json")
        try:
            manifest = _files.read_json(path)
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
        return manifest

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace the manifest of a generation."""
        _files.write_json(os.path.join(self.generation(manifest["generation"]), "manifest.json"), manifest)

    def check(self) -> None:
        """:raises TimesTenError: if the directory belongs to somebody else."""
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

    def check_parent(self) -> None:
        """:raises TimesTenError: if the directory is missing and cannot be made."""
        ancestor = self.path
        while not os.path.lexists(ancestor):
            ancestor = os.path.dirname(ancestor)
        if ancestor != self.path and not (os.path.isdir(ancestor) and os.access(ancestor, os.W_OK | os.X_OK)):
            raise TimesTenError(
                f"certificate_directory: {self.path} does not exist, and user id {os.geteuid()} may not make it in "
                f"{ancestor}; make it as root, owned by the user who runs ttExporter"
            )

    def is_prepared(self) -> bool:
        """Tell whether :meth:`prepare` would do nothing."""
        return os.path.isdir(self._in("generations"))

    def prepare(self) -> None:
        """Make the directory with those of its parents that are missing.

        :raises TimesTenError: if it cannot be made.
        """
        missing = []
        path = self._in("generations")
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            _files.make_directory(path)

    def clear_leftovers(self) -> None:
        """Remove half-built generations and pairs of an interrupted run; the caller holds the lock."""
        patterns = ("generations/.new-*", "generations/*/clients/.*")
        for pattern in patterns:
            for path in glob.glob(os.path.join(glob.escape(self.path), pattern)):
                # A utility that outlived the run that had called it may still write here: then the next run removes it.
                shutil.rmtree(path, ignore_errors=True)

    def flat_wallet(self) -> str | None:
        """A wallet made by hand directly in the directory, while there is no generation yet."""
        return None if self.current_id() else wallet_file(self.path)

    def has_wallet(self) -> bool:
        """Tell whether there is a generation, or a wallet to adopt."""
        return self.current_id() is not None or self.flat_wallet() is not None

    def server_file(self, generation: str) -> str:
        """Path of the exported server certificate of a generation."""
        return os.path.join(self.generation(generation), "server.crt")

    def server_certificate(self, manifest: dict[str, Any]) -> bytes | None:
        """The exported server certificate of a generation as PEM, if it is the one that the manifest describes."""
        path = self.server_file(manifest["generation"])
        try:
            pem = _files.read(path)
            if _certificates.bundle_fingerprint(_certificates.load(pem, path)) == manifest["ca_sha256"]:
                return pem
        except (FileNotFoundError, TimesTenError):
            pass
        return None

    def read_export_pem(self, utility: Utility, wallet_directory: str) -> bytes:
        """Export the server certificate of a wallet to a temporary place, and return it. Changes nothing."""
        with tempfile.TemporaryDirectory(prefix="timesten-export-") as temporary:
            file = os.path.join(temporary, "server.crt")
            utility.export_server_certificate(wallet_directory, file)
            return _files.read(file)

    def read_export(self, utility: Utility, wallet_directory: str) -> dict[str, Any]:
        """As :meth:`read_export_pem`, but return what it says (see :func:`exported`)."""
        pem = self.read_export_pem(utility, wallet_directory)
        return exported(pem, f"the server certificate exported from {wallet_directory}")

    def restore_export(self, utility: Utility, manifest: dict[str, Any]) -> None:
        """Write server.crt of a generation again."""
        path = self.generation(manifest["generation"])
        _files.write(self.server_file(manifest["generation"]), self.read_export_pem(utility, path))

    def wallet_record(self, generation_path: str) -> dict[str, Any]:
        """Size, times and digest of the wallet file: a cheap hint that it may have changed, never the verdict."""
        file = wallet_file(generation_path)
        if file is None:
            raise TimesTenError(
                f"ttExporter reported success, but there is no .ttwallet.*/cwallet.sso in {generation_path}"
            )
        info = os.stat(file)
        return {
            "path": os.path.relpath(file, generation_path),
            "size": info.st_size,
            "mtime_ns": info.st_mtime_ns,
            "sha256": hashlib.sha256(_files.read(file)).hexdigest(),
        }

    def wallet_touched(self, manifest: dict[str, Any]) -> bool:
        """Tell whether the wallet file may differ from the one that the manifest describes.

        :raises FileNotFoundError: if it is gone.
        """
        path = self.generation(manifest["generation"])
        file = wallet_file(path)
        if file is None:
            raise FileNotFoundError(path)
        info, recorded = os.stat(file), manifest["wallet"]
        if (info.st_size, info.st_mtime_ns) == (recorded["size"], recorded["mtime_ns"]):
            return False
        return bool(self.wallet_record(path)["sha256"] != recorded["sha256"])

    def build(
        self,
        utility: Utility,
        asked: Asked,
        clients: list[Client],
        now: datetime.datetime,
        adopt: str | None = None,
        evicted: Sequence[str] = (),
        staged: bool = False,
        spare: bool = False,
    ) -> dict[str, Any]:
        """Build a complete generation beside the others; it is not current yet.

        :param adopt: directory with a wallet to copy; None creates a new wallet.
        :param evicted: clients that lost their access; every generation remembers them.
        :param staged: whether it waits for a rotation.
        :param spare: whether its exporter serves on the spare port.
        :returns: the manifest.
        """
        # Ids sort by age: the microseconds first, and random digits so that no two hosts make the same one.
        generation = f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(4096):03x}"
        path = self._in("generations", f".new-{generation}")
        _files.make_directory(path)
        if adopt is None:
            utility.create_server_certificate(path, asked.common_name, list(asked.alt_names), asked.rsa_key_size)
        else:
            source = os.path.dirname(wallet_file(adopt) or "")
            shutil.copytree(source, os.path.join(path, os.path.basename(source)))
        self._close_to_others(path)
        manifest: dict[str, Any] = {
            "version": MANIFEST_VERSION,
            "exporter": self.exporter,
            "generation": generation,
            "created": _certificates.timestamp(now),
            "origin": "created" if adopt is None else "adopted",
            "asked": asked.as_dict(),
            "wallet": self.wallet_record(path),
            "evicted": sorted(evicted),
            "pairs": {},
        }
        if staged:
            manifest["staged"] = True
        if spare:
            manifest["spare"] = True
        server = os.path.join(path, "server.crt")
        utility.export_server_certificate(path, server)
        manifest.update(exported(_files.read(server), server))
        _files.make_directory(os.path.join(path, "clients"))
        for client in [Client(PROBE), *clients]:
            manifest["pairs"][client.name] = self._issue(utility, path, manifest, client)
        _files.write_json(os.path.join(path, "manifest.json"), manifest)
        os.rename(path, self.generation(generation))
        _files.sync_directory(self._in("generations"))
        return manifest

    def is_spare(self, generation: str | None) -> bool:
        """Tell whether the exporter of a generation serves on its spare port."""
        return generation is not None and bool((self.manifest(generation) or {}).get("spare"))

    def set_spare(self, manifest: dict[str, Any], spare: bool) -> None:
        """Note in a manifest which port the exporter serves on."""
        if bool(manifest.get("spare")) != spare:
            manifest["spare"] = True
            if not spare:
                del manifest["spare"]
            self.write_manifest(manifest)

    def make_current(self, generation: str) -> None:
        """Switch to a generation in one step, and so to its port."""
        _files.switch_link(self._in("current"), os.path.join("generations", generation))

    def issue(self, utility: Utility, manifest: dict[str, Any], client: Client) -> None:
        """Issue a new pair from a complete generation, and record it in the manifest."""
        manifest["pairs"][client.name] = self._issue(utility, self.generation(manifest["generation"]), manifest, client)
        self.write_manifest(manifest)

    def pair_file(self, generation: str, client: str, file: str) -> str:
        """Path of a file of a pair: ``client.crt``, ``client.key`` or ``bundle.json``."""
        return os.path.join(self.generation(generation), "clients", client, file)

    def certificate(self, manifest: dict[str, Any], client: str) -> bytes | None:
        """The certificate of a pair as PEM, if it is the one that the manifest names."""
        path = self.pair_file(manifest["generation"], client, "client.crt")
        try:
            pem = _files.read(path)
            if _certificates.fingerprint(_certificates.load_one(pem, path)) == manifest["pairs"][client]["sha256"]:
                return pem
        except (FileNotFoundError, TimesTenError):
            pass
        return None

    def bundle(self, manifest: dict[str, Any], client: str) -> str | None:
        """The sealed key of a pair, if there is one."""
        try:
            return _files.read(self.pair_file(manifest["generation"], client, "bundle.json")).decode("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def staged(self) -> list[str]:
        """Ids of the generations that wait for a rotation, oldest first: newer than the current one, and never in use."""
        current = self.current_id() or ""
        waiting = []
        for generation in self.ids():
            with contextlib.suppress(TimesTenError):
                if generation > current and (self.manifest(generation) or {}).get("staged"):
                    waiting.append(generation)
        return waiting

    def prune(self, keep: int) -> list[str]:
        """Remove all but the newest generations; the current one always stays, and so do those that wait for a rotation.

        :param keep: how many to keep besides the current one.
        :returns: ids of those removed.
        """
        current = self.current_id()
        waiting = self.staged()
        others = [generation for generation in self.ids() if generation != current and generation not in waiting]
        gone = others[: len(others) - keep] if keep else others
        # What an evicted client has a pair of must not come back.
        evicted = set((self.manifest(current) or {}).get("evicted", [])) if current else set()
        gone += [generation for generation in others if generation not in gone and self.pairs_of(generation) & evicted]
        for generation in gone:
            shutil.rmtree(self.generation(generation))
        return gone

    def pairs_of(self, generation: str) -> set[str]:
        """Names of the clients that a generation has issued pairs to, forgotten ones too, as far as its manifest can be read."""
        try:
            manifest = self.manifest(generation) or {}
            return {*manifest.get("pairs", {}), *manifest.get("forgotten", [])}
        except TimesTenError:
            return set()

    def remove_generations(self) -> None:
        """Remove the current link first, then every generation."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._in("current"))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._in("generations"))

    def _issue(self, utility: Utility, path: str, manifest: dict[str, Any], client: Client) -> dict[str, Any]:
        previous = manifest["pairs"].get(client.name)
        number = 1 if previous is None else int(previous["delivery"].rpartition("-")[2]) + 1
        clients = os.path.join(path, "clients")
        fresh = os.path.join(clients, f".new-{client.name}-{secrets.token_hex(4)}")
        _files.make_directory(fresh)
        certificate_file, key_file = os.path.join(fresh, "client.crt"), os.path.join(fresh, "client.key")
        utility.export_client_pair(path, certificate_file, key_file)
        self._close_to_others(fresh)
        _certificates.check_pair(certificate_file, key_file)
        what = f"the certificate that ttExporter issued for client {client.name}"
        certificate = _certificates.facts(_certificates.load_one(_files.read(certificate_file), what))
        if previous is not None and previous["sha256"] == certificate["sha256"]:
            raise TimesTenError(
                f"ttExporter returned the same certificate for client {client.name} again; to replace it, the wallet has to be replaced (regenerate: always)"
            )
        if client.recipient is not None:
            bundle = _seal.seal(
                _files.read(key_file),
                self.exporter,
                client.name,
                manifest["generation"],
                certificate["sha256"],
                client.recipient,
            )
            _files.write(os.path.join(fresh, "bundle.json"), bundle.encode("ascii") + b"\n")
            os.unlink(key_file)
        final = os.path.join(clients, client.name)
        if os.path.isdir(final):
            # Between these renames there is no pair of that name: the manifest still names the old one, so the next run issues it again.
            os.rename(final, os.path.join(clients, f".old-{client.name}-{secrets.token_hex(4)}"))
        os.rename(fresh, final)
        _files.sync_directory(clients)
        for old in glob.glob(os.path.join(glob.escape(clients), f".old-{glob.escape(client.name)}-*")):
            shutil.rmtree(old)
        return {
            "delivery": f"{manifest['generation']}-{number}",
            "sha256": certificate["sha256"],
            "not_before": certificate["not_before"],
            "not_after": certificate["not_after"],
            "recipient": None if client.recipient is None else _seal.key_id(client.recipient),
            "scrape_interval": client.scrape_interval,
        }

    @staticmethod
    def _close_to_others(path: str) -> None:
        """Take every right of group and others away: ttExporter chooses the modes of its files itself."""
        for directory, _names, files in os.walk(path):
            for entry in [directory, *(os.path.join(directory, file) for file in files)]:
                mode = stat.S_IMODE(os.lstat(entry).st_mode)
                if mode & 0o077 and not os.path.islink(entry):
                    os.chmod(entry, mode & 0o700)
