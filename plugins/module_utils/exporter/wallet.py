# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what happens to an exporter's wallet and to its pairs, and why: pure functions of the observation."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    CertificateFacts,
    Described,
    Manifest,
    PairAction,
    WalletAction,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Asked, Client
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem as _pem
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import key_id

WalletState = Literal[
    "missing", "made by hand", "taken over", "gone", "other instance", "no manifest", "changed", "touched", "known"
]
"""The state of a wallet. ``taken over``: a process that is taken over serves it. ``gone``: its generation exists, but
the wallet does not. ``other instance``: the instance has another GUID by now. ``no manifest``: its origin is unknown.
``changed``: somebody else changed it. ``touched``: the file differs, but the certificates are the same. ``known``: it
is as this collection made it.
"""


@dataclasses.dataclass(frozen=True)
class WalletSeen:
    """The wallet of the current generation, or the wallet to adopt.

    :ivar manifest: manifest of the current generation.
    :ivar described: the facts of a fresh export, if one was needed.
    :ivar directory: certificate directory that holds the wallet.
    :ivar exported: whether server.crt is the export of this wallet.
    :ivar guids: GUIDs of the wallet and of the instance, if they differ.
    """

    state: WalletState
    generation: str | None = None
    manifest: Manifest | None = None
    described: Described | None = None
    directory: str = ""
    exported: bool = True
    guids: tuple[str, str] = ("", "")

    @property
    def in_use(self) -> bool:
        """Tell whether the manifest's pairs were issued from this wallet."""
        return self.state in ("touched", "known")


@dataclasses.dataclass(frozen=True)
class PairSeen:
    """The state of one pair's files.

    :ivar certificate: whether the certificate is the one that was issued.
    :ivar problem: why certificate and key on this host do not match; None if they match or the key was sealed.
    :ivar bundle: whether the sealed key exists.
    """

    certificate: bool = True
    problem: str | None = None
    bundle: bool = False


@dataclasses.dataclass
class WalletPlan:
    """What happens to the wallet.

    :ivar action: ``none`` (no wallet is wanted), ``keep``, ``create``, ``adopt``.
    :ivar manifest: manifest of the generation that is current now.
    :ivar unfit: how it differs from what was asked for.
    :ivar due: why it has to be renewed, or None.
    :ivar adopt_from: directory of the wallet to adopt.
    :ivar usable: whether the pairs that were issued from it still give access.
    :ivar restore: whether server.crt has to be exported again.
    :ivar refresh: whether the manifest has to record new times of an unchanged wallet file.
    :ivar former: names that a new certificate needs because jobs still verify them, although they are no longer asked
        for.
    """

    action: WalletAction
    why: list[str] = dataclasses.field(default_factory=list)
    manifest: Manifest | None = None
    unfit: list[str] = dataclasses.field(default_factory=list)
    due: str | None = None
    adopt_from: str | None = None
    usable: bool = True
    restore: bool = False
    refresh: bool = False
    former: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Tell whether a new generation is made."""
        return self.action in ("create", "adopt")


@dataclasses.dataclass
class PairPlan:
    """What happens to one pair: ``keep`` (the client has it), ``send`` (again, unchanged) or ``issue`` (a new one)."""

    client: Client
    action: PairAction
    why: str | None = None


def decide_wallet(
    definition: Definition, seen: WalletSeen, clients: Sequence[Client], now: datetime.datetime
) -> WalletPlan:
    """Decide whether the wallet stays, or is replaced by an adopted or a new one.

    :raises TimesTenError: if the wallet cannot be used any more and this module may not make another one.
    """
    if definition.insecure or definition.state == "stopped" or (definition.asked is None and seen.state == "missing"):
        return WalletPlan("none")
    plan = _plan_for(seen)
    if plan.action != "create":
        described = seen.described or seen.manifest
        if described is not None:
            plan.due = due(described, definition.renew_before, now)[0]
            plan.unfit = _unfit(definition, seen.manifest if seen.in_use else None, described)
            plan.unfit += _verified_no_more(definition, seen.manifest, clients)
        # A takeover keeps the wallet, so that the present scrapes go on with their pairs. A rotation replaces it later,
        # if necessary.
        reasons = [] if seen.state == "taken over" else _reasons_to_replace(definition.regenerate, plan)
        if reasons:
            plan = WalletPlan("create", reasons, seen.manifest)
    elif definition.asked is None:
        raise TimesTenError(f"{seen.directory}: {'; '.join(plan.why)}; make a new one with tt_wallet")
    if plan.action == "create":
        plan.former = former_names(definition.asked, seen.manifest, clients)
    return plan


def _plan_for(seen: WalletSeen) -> WalletPlan:
    """Return the plan that follows from the wallet's state alone."""
    generation, manifest = seen.generation, seen.manifest
    if seen.state == "missing":
        return WalletPlan("create", ["there is no wallet"])
    if seen.state == "gone":
        return WalletPlan("create", [f"the wallet of generation {generation} is gone"], manifest, usable=False)
    if seen.state == "other instance":
        moved = f"the wallet is that of instance {seen.guids[0]}, and the instance is {seen.guids[1]} by now, which cannot open it"
        return WalletPlan("create", [moved], manifest, usable=False)
    if seen.state == "taken over":
        why = [f"takes over the wallet in {seen.directory}, which is served"]
        return WalletPlan("adopt", why, manifest, adopt_from=seen.directory, usable=False)
    adopted = {
        "made by hand": "adopts the wallet that was made by hand",
        "no manifest": f"generation {generation} has no manifest",
        "changed": "the wallet was changed by somebody else",
    }
    if seen.state in adopted:
        return WalletPlan("adopt", [adopted[seen.state]], manifest, adopt_from=seen.directory)
    why = [] if seen.exported else ["server.crt is missing or is not that of the wallet"]
    return WalletPlan("keep", why, manifest, restore=not seen.exported, refresh=seen.state == "touched")


def _reasons_to_replace(regenerate: str, plan: WalletPlan) -> list[str]:
    if regenerate == "always":
        return ["regenerate is always"]
    reasons = list(plan.unfit) if regenerate == "when_changed" else []
    if plan.due and regenerate in ("when_due", "when_changed"):
        reasons.append(f"the wallet {plan.due}")
    return reasons


def _unfit(definition: Definition, manifest: Manifest | None, described: Described) -> list[str]:
    """Return how a wallet differs from what was asked for.

    :param manifest: None if it does not describe this wallet.
    """
    if definition.asked is None:
        return []
    if manifest is not None and manifest["origin"] == "created":
        asked, new = manifest["asked"], definition.asked.as_dict()
        reasons = [
            f"{option} {asked[option]} -> {new[option]}"
            for option in ("common_name", "alt_names")
            if new[option] != asked[option]
        ]
        if new["rsa_key_size"] not in (None, asked["rsa_key_size"]):
            reasons.append(f"rsa_key_size {asked['rsa_key_size']} -> {new['rsa_key_size']}")
        return reasons
    leaf = described["leaf"]
    if leaf is None:
        return []
    missing = missing_names(definition, leaf)
    reasons = [f"the certificate is not valid for {', '.join(missing)}"] if missing else []
    size = definition.asked.rsa_key_size
    if size is not None and leaf["key"] != f"rsa {size}":
        reasons.append(f"rsa_key_size {leaf['key']} -> {size}")
    return reasons


def missing_names(definition: Definition, leaf: CertificateFacts) -> list[str]:
    """Return the names that were asked for, but for which a certificate (given as facts) is not valid."""
    names = definition.asked.alt_names if definition.asked is not None else ()
    return [name for name in names if name not in leaf["alt_names"] and not _names.covers(leaf["alt_names"], name)]


# ---------------------------------------------------------------------------------------------------------------------
# Names that jobs verify


def _verified(manifest: Manifest | None, clients: Sequence[Client]) -> set[str] | None:
    """Return the names that the clients' jobs verify; None if a client with a pair does not say which."""
    told = {client.name: client.verifies for client in clients if client.verifies is not None}
    if manifest is not None and set(manifest["pairs"]) - {PROBE} - set(told):
        return None
    return {name for names in told.values() for name in names}


def former_names(asked: Asked | None, manifest: Manifest | None, clients: Sequence[Client]) -> tuple[str, ...]:
    """Return the names that a new certificate needs in addition to those asked for, until the jobs have moved.

    If a client does not say which name its job verifies, it may be any name of the certificate that it knows.
    """
    if asked is None:
        return ()
    names = {name for client in clients for name in client.verifies or ()}
    if manifest is not None and _verified(manifest, clients) is None:
        names.update(manifest["asked"]["alt_names"] if manifest["origin"] == "created" else [])
        names.update(manifest.get("former", []))
    return tuple(
        sorted(name for name in names if not _names.covers(asked.alt_names, name) and name not in asked.alt_names)
    )


def _verified_no_more(definition: Definition, manifest: Manifest | None, clients: Sequence[Client]) -> list[str]:
    former = [] if manifest is None or definition.asked is None else manifest.get("former", [])
    verified = _verified(manifest, clients) if former else None
    gone = [] if verified is None else sorted(set(former) - verified)
    return [f"no job verifies {', '.join(gone)} any more"] if gone else []


# ---------------------------------------------------------------------------------------------------------------------
# When, and pairs


def due(described: Described, renew_before: _pem.RenewBefore, now: datetime.datetime) -> tuple[str | None, str | None]:
    """Return why a wallet is due, and since when. The certificate of the wallet that ends first decides."""
    known = list(described["ca"])
    if described["leaf"] is not None:
        known.append(described["leaf"])
    if not known:
        return None, None
    known.sort(key=lambda item: renew_before.moment(item["not_before"], item["not_after"]))
    moment = renew_before.moment(known[0]["not_before"], known[0]["not_after"])
    reasons = (renew_before.why_due(item, now) for item in known)
    return next((reason for reason in reasons if reason is not None), None), _pem.timestamp(moment)


def decide_pair(
    definition: Definition,
    manifest: Manifest,
    client: Client,
    seen: Mapping[str, PairSeen],
    now: datetime.datetime,
) -> PairPlan:
    """Decide for a generation that stays whether a client keeps its pair, gets the same bundle again, or gets a new
    pair.
    """
    pair = manifest["pairs"].get(client.name)
    if pair is None:
        return PairPlan(client, "issue", "there is no pair yet")
    reason = definition.renew_before.why_due(dict(pair), now)
    if reason is not None:
        return PairPlan(client, "issue", reason)
    files = seen[client.name]
    if not files.certificate:
        return PairPlan(client, "issue", "its certificate is missing or is not the one that was issued")
    if client.recipient is None:
        return PairPlan(client, "keep" if files.problem is None else "issue", files.problem)
    mine = (pair["delivery"], pair["sha256"], manifest["ca_sha256"])
    if tuple(client.stored.get(key) for key in ("delivery", "sha256", "ca_sha256")) == mine:
        return PairPlan(client, "keep")
    if pair["recipient"] == key_id(client.recipient) and files.bundle:
        return PairPlan(client, "send")
    return PairPlan(
        client, "issue", "the client does not have it, and its key was not sealed for the client's transport key"
    )
