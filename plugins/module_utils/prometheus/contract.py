# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the Prometheus side hand to each other: options, the store's state, rows of the answer."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Literal, Mapping, TypedDict

State = Literal["inspected", "present", "verified", "absent", "staged", "following", "released"]
Layout = Literal["inline", "files", "template"]
OnExisting = Literal["fail", "adopt", "keep"]
Kind = Literal["prometheus", "scrape_file"]
"""What takes the pairs: a Prometheus that is asked, or anything that reads a scrape file and is not."""
ReloadMethod = Literal["auto", "http", "systemd", "signal"]

LATER = "known after apply"
"""What check mode says of a value that only the real run can make."""

FILES = ("ca.crt", "client.crt", "client.key")
"""The files of a delivery."""

CURRENT = "current"
"""Name of the link to the delivery in use."""

Definition = Dict[str, Any]
"""What one job is made from: name, address, port and the job's options."""


class StateEntry(TypedDict, total=False):
    """One exporter in the store's state. ``files`` are the marks of the three files when they were last parsed, ``rules`` is
    its own group in our rule file."""

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
    """How often something else had taken our jobs out of the configuration."""

    times: int


class StoreState(TypedDict, total=False):
    """``.state.json``: whose store it is, and what is ours in it. ``rules`` are, by fleet, the groups of our rule file that are no
    exporter's; an older version has one text for all."""

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
    """What a delivery has to be, from the task's arguments."""

    exporter: str
    generation: str
    delivery: str
    sha256: str
    ca_sha256: str


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a stored delivery holds.

    :ivar certificate: facts of the client certificate; None where the files are those that were parsed before.
    :ivar files: marks of the three files, see :func:`store.Store.marks`.
    """

    delivery: str
    sha256: str
    ca_sha256: str
    not_after: str
    files: list[list[int]]
    certificate: Mapping[str, Any] | None = None

    def fits(self, expected: Expected) -> bool:
        """Whether it holds the expected certificate and CA file."""
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
    """A row of which nothing is known yet."""
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
"""Failures that are spelled out in a message; the answer holds all of them."""


def some(names: tuple[str, ...] | list[str]) -> str:
    """Names for a message, the first ten of them."""
    text = ", ".join(names[:MESSAGES])
    return text if len(names) <= MESSAGES else f"{text} and {len(names) - MESSAGES} more"


def several(sentences: list[str]) -> str:
    """Sentences for a message, the first ten of them."""
    text = "; ".join(sentences[:MESSAGES])
    if len(sentences) <= MESSAGES:
        return text
    return f"{text}; and {len(sentences) - MESSAGES} more, see exporters in the result"
