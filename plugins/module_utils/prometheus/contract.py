# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types that the parts of the Prometheus side share: options, the store's state, rows of the answer."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Literal, Mapping, TypedDict

State = Literal["inspected", "present", "verified", "absent", "staged", "following", "released"]
Layout = Literal["inline", "files", "template"]
OnExisting = Literal["fail", "adopt", "keep"]
Kind = Literal["prometheus", "scrape_file"]
"""The taker of the pairs: a Prometheus with its interface, or any program that reads a scrape file and is never asked.
"""
ReloadMethod = Literal["auto", "http", "systemd", "signal"]

LATER = "known after apply"
"""Check mode returns this text for a value that only the real run can make."""

FILES = ("ca.crt", "client.crt", "client.key")
"""The files of a delivery."""

CURRENT = "current"
"""Name of the link to the delivery in use."""

Definition = Dict[str, Any]
"""The source of one job: name, address, port and the job's options."""


class StateEntry(TypedDict, total=False):
    """One exporter in the store's state.

    ``files``: the marks of the three files when they were last parsed. ``rules``: the exporter's own group in our rule
    file.
    """

    definition: Definition
    fleet: str
    generation: str | None
    delivery: str | None
    sha256: str | None
    ca_sha256: str | None
    not_after: str
    files: list[list[int]]
    rules: str


class Rewritten(TypedDict):
    """How often something else had removed our jobs from the configuration."""

    times: int


class StoreState(TypedDict, total=False):
    """``.state.json``: the store's owner and our exporters in it.

    ``rules``: by fleet, the groups of our rule file that belong to no exporter; an older version wrote one text for
    all.
    """

    version: int
    revision: str
    by: str
    client: str
    exporters: dict[str, StateEntry]
    unfinished: bool
    rewritten: Rewritten
    rules: str | dict[str, str]


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a delivery has to contain, from the task's arguments."""

    exporter: str
    generation: str
    delivery: str
    sha256: str
    ca_sha256: str


@dataclasses.dataclass(frozen=True)
class Stored:
    """The content of a stored delivery.

    :ivar certificate: facts of the client certificate; None if the files are the ones that were parsed before.
    :ivar files: marks of the three files, see :func:`store.Store.marks`.
    """

    delivery: str
    sha256: str
    ca_sha256: str
    not_after: str
    files: list[list[int]]
    certificate: Mapping[str, Any] | None = None

    def fits(self, expected: Expected) -> bool:
        """Tell whether it holds the expected certificate and CA file."""
        return self.sha256 == expected.sha256 and self.ca_sha256 == expected.ca_sha256


class Row(TypedDict, total=False):
    """One element of ``exporters`` in an answer."""

    name: str
    why: list[str]
    up: bool | None
    last_error: str
    advice: str
    accepted: bool | None
    refused_without_certificate: bool | None
    refused_foreign_pair: bool | None
    refused_plain_http: bool | None
    served_sha256: str | None
    not_after: str
    failed: bool
    msg: str


def new_row(name: str) -> Row:
    """Return a row without any knowledge yet."""
    return {
        "name": name,
        "up": None,
        "last_error": "",
        "advice": "",
        "accepted": None,
        "refused_without_certificate": None,
        "refused_foreign_pair": None,
        "refused_plain_http": None,
        "served_sha256": None,
    }


@dataclasses.dataclass(frozen=True)
class Settings:
    """The task's options; the module's documentation describes them."""

    name: str
    config_file: str
    store: str
    user: str
    group: str | None
    promtool: str | None
    layout: Layout
    scrape_file: str
    rendered: str | None
    on_existing: OnExisting
    reload: ReloadMethod
    reload_unit: str
    reload_pid_file: str | None
    running: bool
    purge: bool
    remove: tuple[str, ...] | None
    keep_deliveries: int
    wait_timeout: float | None
    revision: str | None
    run: Mapping[str, Any]
    exporters: tuple[Mapping[str, Any], ...]
    defaults: Mapping[str, Any]
    both_ports: bool = False
    fleet: str | None = None
    fleet_exporters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kind: Kind = "prometheus"
    path_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rules: str | None = None
    rules_file: str | None = None


MESSAGES = 10
"""A message lists so many failures; the answer holds all of them."""


def some(names: tuple[str, ...] | list[str]) -> str:
    """Return names for a message, at most the first ten."""
    text = ", ".join(names[:MESSAGES])
    return text if len(names) <= MESSAGES else f"{text} and {len(names) - MESSAGES} more"


def several(sentences: list[str]) -> str:
    """Return sentences for a message, at most the first ten."""
    text = "; ".join(sentences[:MESSAGES])
    if len(sentences) <= MESSAGES:
        return text
    return f"{text}; and {len(sentences) - MESSAGES} more, see exporters in the result"
