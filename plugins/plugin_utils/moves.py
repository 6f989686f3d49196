# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds exporters whose target changes: which clients have to follow, and what happens if one cannot."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Exporter


def moved(exporter: Exporter, known: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the target of a job and that of the inventory, if they differ.

    :param known: what the client has stored about the exporter.
    """
    if "address" not in known or "port" not in known:
        return None
    if known["address"] == exporter.address and known["port"] in (exporter.port, exporter.spare_port):
        return None
    return names.target(known["address"], known["port"]), names.target(exporter.address, exporter.port)


def _differs(exporter: Exporter, known: Mapping[str, Any]) -> tuple[str, str] | None:
    targets = moved(exporter, known)
    if targets is None and known and bool(known.get("insecure")) != exporter.insecure:
        modes = ("over mutual TLS", "over plain http")
        targets = modes[not exporter.insecure], modes[exporter.insecure]
    return targets


def cannot_follow(
    exporters: Sequence[Exporter], away: Sequence[str], inspected: Mapping[str, PrometheusAnswer]
) -> dict[str, str]:
    """Return the exporters whose target would change while a client that has to follow is away, and why they are
    refused.

    If no client that scrapes an exporter could be asked, its host refuses by itself: it knows which clients have a
    pair, and is told which are away.

    :param away: clients of these exporters that could not be asked.
    """
    refused: dict[str, str] = {}
    for exporter in exporters if away else ():
        for client, answer in inspected.items():
            for name in (exporter.name, names.on_port(exporter.name, True)):
                targets = _differs(exporter, answer.definitions.get(name, {}))
                if targets is not None:
                    refused[exporter.name] = (
                        f"{client} scrapes it {_at(targets[0])}, the inventory says {targets[1]}, and {', '.join(away)}, which would have to "
                        f"follow, could not be looked at: nothing was changed. Run it again when {'it' if len(away) == 1 else 'they'} can be "
                        "reached, or take what is gone for good out of the inventory"
                    )
    return refused


def _at(target: str) -> str:
    return target if target.startswith("over ") else f"at {target}"
