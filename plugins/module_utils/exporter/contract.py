# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of the values that the exporter's side keeps on disk and returns (docs/on-disk.md, docs/contracts.md)."""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, TypedDict

LATER = "known after apply"
"""Check mode returns this text for a value that only the real run can make."""

WalletAction = Literal["none", "keep", "create", "adopt"]
PairAction = Literal["keep", "send", "issue"]
LeafSource = Literal["export", "handshake", "none"]
Origin = Literal["created", "adopted"]
Strategy = Literal["gap", "spare_port"]

SwitchStatus = Literal["waiting", "switched", "confirmed", "reverted", "missed", "failed", "lost"]
"""``waiting``: the leader waits for its moment. ``switched``: it waits for the verdict. ``confirmed``: the new
generation stays. ``reverted``: the old generation is back. ``missed``: nothing was changed. ``failed``: the new
generation did not work and the old one is back. ``lost``: the leader is gone (never written, only reported).
"""

SPARE_PORT: Strategy = "spare_port"
"""This strategy restarts nothing; the other one is ``gap``."""

CertificateFacts = Dict[str, Any]
"""The facts of one certificate (docs/on-disk.md, Certificate facts)."""


class AskedNames(TypedDict):
    """The names that were asked for in a server certificate."""

    common_name: str | None
    alt_names: list[str]
    rsa_key_size: int | None


class WalletRecord(TypedDict):
    """Size, times and digest of the wallet file at the time when the manifest was written."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class PairRecord(TypedDict):
    """One pair that was issued from a generation.

    ``recipient`` is the id of the transport key for which the private key is sealed.
    """

    delivery: str
    sha256: str
    not_before: str
    not_after: str
    recipient: str | None
    scrape_interval: float | None


class Described(TypedDict):
    """The facts of an exported server file."""

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
    """The content of ``manifest.json`` of a generation.

    ``evicted``: clients that lost their access. ``forgotten``: clients that were removed, but whose pairs are still
    accepted. ``former``: further names in the certificate, because jobs still verified them when it was made.
    ``staged``: the generation waits for a rotation. ``spare``: its exporter serves on the spare port.
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
    """The content of ``switch.json``: the state of a rotation's leader, written by the leader.

    Moments and ``deadline`` are seconds since the epoch, ``window`` is seconds.
    """

    moments: list[float]
    deadline: float
    moment: float
    window: float
    error: str


class SwitchOrder(TypedDict, total=False):
    """The controller's order to the leader: when to switch, to which generation, and how long to wait for the verdict."""

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
"""``rotation`` in the answer of the phase ``stage``: what the rotation would switch."""
