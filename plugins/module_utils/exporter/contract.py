# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words and the shapes of what the exporter's side keeps on disk and answers (docs/on-disk.md, docs/contracts.md)."""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, TypedDict

LATER = "known after apply"
"""What check mode says of a value that only the real run can make."""

WalletAction = Literal["none", "keep", "create", "adopt"]
PairAction = Literal["keep", "send", "issue"]
LeafSource = Literal["export", "handshake", "none"]
Origin = Literal["created", "adopted"]
Strategy = Literal["gap", "spare_port"]

SwitchStatus = Literal["waiting", "switched", "confirmed", "reverted", "missed", "failed", "lost"]
"""``waiting``: for its moment; ``switched``: waits for the verdict; ``confirmed``: the new generation stays; ``reverted``: the old one is back;
``missed``: nothing was changed; ``failed``: the new one did not work, the old one is back; ``lost``: the leader is gone (never written)."""

SPARE_PORT: Strategy = "spare_port"
"""The strategy that restarts nothing; the other one is ``gap``."""

CertificateFacts = Dict[str, Any]
"""What a certificate says (docs/on-disk.md, Certificate facts)."""


class AskedNames(TypedDict):
    """What a server certificate was asked to say."""

    common_name: str | None
    alt_names: list[str]
    rsa_key_size: int | None


class WalletRecord(TypedDict):
    """The wallet file as it was when the manifest was written."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class PairRecord(TypedDict):
    """One pair that was issued from a generation; ``recipient`` is the id of the transport key that its key is sealed for."""

    delivery: str
    sha256: str
    not_before: str
    not_after: str
    recipient: str | None
    scrape_interval: float | None


class Described(TypedDict):
    """What an exported server file says."""

    ca: list[CertificateFacts]
    ca_sha256: str
    leaf: CertificateFacts | None
    leaf_source: LeafSource


class _Manifest(Described):
    version: int
    exporter: str
    generation: str
    created: str
    origin: Origin
    asked: AskedNames
    wallet: WalletRecord
    pairs: dict[str, PairRecord]


class Manifest(_Manifest, total=False):
    """``manifest.json`` of a generation.

    ``evicted``: clients that lost their access; ``forgotten``: clients that were removed and whose pairs are still accepted; ``former``: names that
    the certificate has beside those asked for, because jobs verified them when it was made; ``staged``: it waits for a rotation; ``spare``: its
    exporter serves on the spare port.
    """

    evicted: list[str]
    forgotten: list[str]
    former: list[str]
    staged: bool
    spare: bool


class _Switch(TypedDict):
    pid: int
    start_ticks: int
    boot_id: str
    token: str
    status: SwitchStatus
    generation: str
    previous: str
    strategy: Strategy


class SwitchRecord(_Switch, total=False):
    """``switch.json``: what the leader of a rotation says of itself. Moments and ``deadline`` are seconds since the epoch, ``window`` is seconds."""

    moments: list[float]
    deadline: float
    moment: float
    window: float
    error: str


class SwitchOrder(TypedDict, total=False):
    """What the controller orders of the leader: when to switch to which generation, and how long to wait for the verdict."""

    generation: str
    moments: list[float]
    deadline: float
    confirm: float
    period: float | None
    strategy: Strategy


RotationRow = TypedDict(
    "RotationRow",
    {
        "from": Optional[str],
        "to": str,
        "old_sha256": Optional[str],
        "new_sha256": Optional[str],
        "restart_seconds": float,
        "restart_measured": bool,
        "clients": List[str],
        "evicted": List[str],
        "strategy": Strategy,
        "has_spare_port": bool,
    },
)
"""``rotation`` in the answer of the phase ``stage``: what would be switched."""
