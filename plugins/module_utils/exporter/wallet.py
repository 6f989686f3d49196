# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to an exporter's wallet and to the pairs issued from it, and why. Nothing is changed here."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Client,
    ExporterDirectory,
    wallet_file,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal


@dataclasses.dataclass
class WalletPlan:
    """What happens to the wallet.

    :ivar action: ``none`` (not wanted), ``keep``, ``create``, ``adopt``.
    :ivar manifest: describes the wallet that is there now, as far as it is known.
    :ivar unfit: how it differs from what is asked for.
    :ivar due: why it has to be renewed, or None.
    :ivar adopt_from: directory of the wallet to adopt.
    :ivar usable: whether pairs that were issued from it still give access.
    :ivar restore: whether server.crt has to be exported again.
    :ivar refresh: whether the manifest has to note new times of an unchanged wallet file.
    """

    action: str
    why: list[str] = dataclasses.field(default_factory=list)
    manifest: dict[str, Any] | None = None
    unfit: list[str] = dataclasses.field(default_factory=list)
    due: str | None = None
    adopt_from: str | None = None
    usable: bool = True
    restore: bool = False
    refresh: bool = False

    @property
    def is_new(self) -> bool:
        """Whether a new generation is made."""
        return self.action in ("create", "adopt")


@dataclasses.dataclass
class PairPlan:
    """What happens to one pair: ``keep`` (the client has it), ``send`` (as it is), ``issue``."""

    client: Client
    action: str
    why: str | None = None


def plan_wallet(
    wanted: Definition, directory: ExporterDirectory, utility: Utility, now: datetime.datetime
) -> WalletPlan:
    """Decide whether the wallet stays, is adopted, or a new one is made.

    :raises TimesTenError: if there was one, cannot be used any more, and it is not for this module to make another.
    """
    if wanted.insecure or wanted.state == "stopped" or (wanted.asked is None and not directory.has_wallet()):
        return WalletPlan("none")
    found = _find_wallet(directory, utility)
    if found.action == "create":
        if wanted.asked is None:
            raise TimesTenError(f"{directory.path}: {'; '.join(found.why)}; make a new one with tt_wallet")
        return found
    described = found.manifest or {}
    found.unfit = _unfit(wanted, described)
    found.due = due(described, wanted.renew_before, now)[0]
    reasons = _reasons_to_replace(wanted.regenerate, found)
    if reasons:
        return WalletPlan("create", reasons, found.manifest)
    return found


def _find_wallet(directory: ExporterDirectory, utility: Utility) -> WalletPlan:
    current = directory.current_id()
    if current is None:
        if directory.flat_wallet() is None:
            return WalletPlan("create", ["there is no wallet"])
        described = directory.read_export(utility, directory.path)
        return WalletPlan("adopt", ["adopts the wallet that was made by hand"], described, adopt_from=directory.path)
    path = directory.generation(current)
    manifest = directory.manifest(current)
    if wallet_file(path) is None:
        return WalletPlan("create", [f"the wallet of generation {current} is gone"], manifest, usable=False)
    if manifest is None:
        described = directory.read_export(utility, path)
        return WalletPlan("adopt", [f"generation {current} has no manifest"], described, adopt_from=path)
    refresh = False
    if directory.wallet_touched(manifest):
        described = directory.read_export(utility, path)
        if described["ca_sha256"] != manifest["ca_sha256"]:
            return WalletPlan("adopt", ["the wallet was changed by somebody else"], described, adopt_from=path)
        refresh = True
    found = WalletPlan("keep", manifest=manifest, refresh=refresh)
    if directory.server_certificate(manifest) is None:
        found.restore, found.why = True, ["server.crt is missing or is not that of the wallet"]
    return found


def _reasons_to_replace(regenerate: str, found: WalletPlan) -> list[str]:
    if regenerate == "always":
        return ["regenerate is always"]
    reasons = list(found.unfit) if regenerate == "when_changed" else []
    if found.due and regenerate in ("when_due", "when_changed"):
        reasons.append(f"the wallet {found.due}")
    return reasons


def _unfit(wanted: Definition, described: dict[str, Any]) -> list[str]:
    if wanted.asked is None:
        return []
    asked = described.get("asked")
    if asked is not None and described.get("origin") == "created":
        new = wanted.asked.as_dict()
        return [
            f"{option} {asked[option]} -> {new[option]}"
            for option in ("common_name", "alt_names", "rsa_key_size")
            if new[option] != asked[option] and not (option == "rsa_key_size" and new[option] is None)
        ]
    leaf = described.get("leaf")
    if leaf is None:
        return []
    missing = missing_names(wanted, leaf)
    reasons = [f"the certificate is not valid for {', '.join(missing)}"] if missing else []
    size = wanted.asked.rsa_key_size
    if size is not None and leaf["key"] != f"rsa {size}":
        reasons.append(f"rsa_key_size {leaf['key']} -> {size}")
    return reasons


def missing_names(wanted: Definition, leaf: dict[str, Any]) -> list[str]:
    """Return the names that were asked for and that a certificate (facts) is not valid for."""
    names = wanted.asked.alt_names if wanted.asked is not None else ()
    return [name for name in names if name not in leaf["alt_names"] and not _names.covers(leaf["alt_names"], name)]


def due(
    described: dict[str, Any], renew_before: _certificates.RenewBefore, now: datetime.datetime
) -> tuple[str | None, str | None]:
    """Tell why a wallet is due, and from when on: by whichever of its known certificates ends first."""
    known = list(described.get("ca") or [])
    if described.get("leaf") is not None:
        known.append(described["leaf"])
    if not known:
        return None, None
    first = min(known, key=lambda item: renew_before.moment(item["not_before"], item["not_after"]))
    moment = renew_before.moment(first["not_before"], first["not_after"])
    return renew_before.why_due(first, now), _certificates.timestamp(moment)


def plan_pair(
    wanted: Definition, directory: ExporterDirectory, wallet: WalletPlan, client: Client, now: datetime.datetime
) -> PairPlan:
    """Decide whether a client keeps its pair, gets the same bundle again, or a new pair."""
    manifest = wallet.manifest
    if wallet.action != "keep" or manifest is None:
        return PairPlan(client, "issue", "the wallet is new")
    pair = manifest["pairs"].get(client.name)
    if pair is None:
        return PairPlan(client, "issue", "there is no pair yet")
    reason = wanted.renew_before.why_due(pair, now)
    if reason is not None:
        return PairPlan(client, "issue", reason)
    if directory.certificate(manifest, client.name) is None:
        return PairPlan(client, "issue", "its certificate is missing or is not the one that was issued")
    if client.recipient is None:
        try:
            _certificates.check_pair(
                directory.pair_file(manifest["generation"], client.name, "client.crt"),
                directory.pair_file(manifest["generation"], client.name, "client.key"),
            )
        except TimesTenError as error:
            return PairPlan(client, "issue", error.message)
        return PairPlan(client, "keep")
    mine = (pair["delivery"], pair["sha256"], manifest["ca_sha256"])
    if tuple(client.stored.get(key) for key in ("delivery", "sha256", "ca_sha256")) == mine:
        return PairPlan(client, "keep")
    if pair["recipient"] == _seal.key_id(client.recipient) and directory.bundle(manifest, client.name) is not None:
        return PairPlan(client, "send")
    return PairPlan(
        client, "issue", "the client does not have it, and its key was not sealed for the client's transport key"
    )
