# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Silences alerts in an Alertmanager during a rotation: exactly those of a wave's exporters, as long as the wave lasts.

Alerts about an exporter have the labels ``exporter`` and ``client`` (see ``rules``), and a silence matches these: an
exporter of the same name in another fleet has other clients. Alerts about a database have neither label, so no silence
covers them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Row
from ansible_collections.timesten.monitoring.plugins.plugin_utils.web import Server

CREATED_BY = "timesten.monitoring"
"""Our silences are recognized by this name and by the form of their matchers."""
AFTERWARDS = 120.0
"""If nobody ends a silence, it ends so many seconds after the last deadline of its wave. By then both sides have gone
back and are scraped again.
"""
LONGEST = 86400.0
"""The longest time of a silence in seconds, if nobody ends it. A deadline depends on the scrape interval that a
Prometheus host reports, so it needs a bound.
"""
_EARLY = 600.0
"""A silence starts so many seconds in the past, because the Alertmanager's clock may be behind and the silence has to
be active at once.
"""

_ID = re.compile(r"[A-Za-z0-9-]{1,100}\Z")
_PATH = "/api/v2/silences"


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is silenced: alerts of some clients about some exporters."""

    exporters: tuple[str, ...]
    clients: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.exporters)} as {', '.join(self.clients)} see them"


@dataclasses.dataclass(frozen=True)
class Silence:
    """One of our silences that is active or pending."""

    id: str
    subject: Subject


# --- pure ---------------------------------------------------------------------------------------------------------------


def subject_of(rows: Iterable[Row]) -> Subject | None:
    """Return the subject of a wave's silence: the exporters that may be switched, and their clients; None if there are
    none.
    """
    switched = [row for row in rows if row.refused is None]
    exporters = sorted({row.exporter for row in switched})
    clients = sorted({client for row in switched for client in row.clients})
    return Subject(tuple(exporters), tuple(clients)) if exporters and clients else None


def end_of(rows: Iterable[Row], now: float) -> float:
    """Return when a wave's silence ends if nobody ends it, in seconds since the epoch."""
    return min(max(row.deadline for row in rows if row.refused is None) + AFTERWARDS, now + LONGEST)


def body(subject: Subject, now: float, end: float, who: str) -> dict[str, Any]:
    """Return a silence in the Alertmanager's form."""
    return {
        "matchers": [
            {"name": name, "value": _pattern(values), "isRegex": True, "isEqual": True}
            for name, values in (("exporter", subject.exporters), ("client", subject.clients))
        ],
        "startsAt": _time(now - _EARLY),
        "endsAt": _time(end),
        "createdBy": CREATED_BY,
        "comment": f"Rotation by {who}; it ends with the wave.",
    }


def _pattern(values: Iterable[str]) -> str:
    """Return a regular expression, which the Alertmanager anchors. In a valid name only the dot has a special meaning."""
    return "|".join(value.replace(".", r"\.") for value in values)


def _values(pattern: str) -> tuple[str, ...] | None:
    values = tuple(value.replace(r"\.", ".") for value in pattern.split("|"))
    try:
        for value in values:
            names.check_name(value, "matcher")
    except TimesTenError:
        return None
    return values


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ours(listed: Any) -> list[Silence]:
    """Return those silences of an Alertmanager that rotations have made and that are not over. Other silences are
    ignored.

    :raises ValueError: if this is not a list of silences.
    """
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError
    found = []
    for item in listed:
        status = item.get("status")
        state = status.get("state") if isinstance(status, dict) else None
        name, subject = item.get("id"), _subject(item.get("matchers"))
        if (
            item.get("createdBy") == CREATED_BY
            and state in ("active", "pending")
            and subject is not None
            and isinstance(name, str)
            and _ID.match(name)
        ):
            found.append(Silence(name, subject))
    return found


def _subject(matchers: Any) -> Subject | None:
    if not isinstance(matchers, list) or len(matchers) != 2:
        return None
    found: dict[str, tuple[str, ...] | None] = {}
    for matcher in matchers:
        if (
            not isinstance(matcher, dict)
            or matcher.get("isRegex") is not True
            or matcher.get("isEqual", True) is not True
        ):
            return None
        name, value = matcher.get("name"), matcher.get("value")
        if name not in ("exporter", "client") or not isinstance(value, str):
            return None
        found[name] = _values(value)
    exporters, clients = found.get("exporter"), found.get("client")
    return Subject(exporters, clients) if exporters and clients else None


def left_over(silences: Iterable[Silence], subject: Subject) -> list[Silence]:
    """Return the silences that earlier runs left for exporters that this run rotates now.

    Only one run at a time rotates an exporter, so an earlier run no longer needs its silence.
    """
    return [
        silence
        for silence in silences
        if set(silence.subject.exporters) & set(subject.exporters)
        and set(silence.subject.clients) & set(subject.clients)
    ]


# --- the Alertmanager ---------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def fault(server: Server) -> str | None:
    """Return why an Alertmanager cannot be used, or None. It is asked once per run, and nothing is created there."""
    try:
        _list(server)
        # An empty silence is refused with an error, which shows that this user may make silences. Another user is
        # denied access.
        status, answer = server.request("POST", _PATH, b"{}")
        if status not in (400, 422):
            raise _refused(server, "POST", _PATH, status, answer)
    except TimesTenError as error:
        return error.message
    return None


def make(server: Server, subject: Subject, now: float, end: float, who: str) -> tuple[str, list[str]]:
    """Make a silence that replaces those of earlier runs. Return its id, and notes for the report.

    :raises TimesTenError: if the silence was not made.
    """
    before = left_over(_list(server), subject)
    data = json.dumps(body(subject, now, end, who)).encode()
    status, answer = server.request("POST", _PATH, data)
    found = _json(answer) if status == 200 else None
    made = found.get("silenceID") if isinstance(found, Mapping) else None
    if not isinstance(made, str) or not _ID.match(made):
        raise _refused(server, "POST", _PATH, status, answer)
    return made, [note for silence in before if silence.id != made for note in end_all(server, [silence.id])]


def end_all(server: Server, silences: Collection[str]) -> list[str]:
    """End silences. Return why that failed, one text each."""
    notes = []
    for silence in silences:
        path = f"/api/v2/silence/{silence}"
        try:
            status, answer = server.request("DELETE", path)
            # It is fine if the silence is already over, by itself or because somebody ended it.
            if status != 200 and not _is_over(server, path):
                raise _refused(server, "DELETE", path, status, answer)
        except TimesTenError as error:
            notes.append(f"{error.message}. The silence {silence} could not be ended; it ends by itself.")
    return notes


def _is_over(server: Server, path: str) -> bool:
    status, answer = server.request("GET", path)
    found = _json(answer)
    state = found.get("status") if isinstance(found, Mapping) else None
    return status == 404 or (status == 200 and isinstance(state, Mapping) and state.get("state") == "expired")


def _list(server: Server) -> list[Silence]:
    status, answer = server.request("GET", _PATH)
    try:
        return ours(_json(answer) if status == 200 else None)
    except ValueError:
        raise _refused(server, "GET", _PATH, status, answer) from None


def _json(answer: bytes) -> Any:
    """Return the JSON value of an answer; None if it is not JSON."""
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _refused(server: Server, method: str, path: str, status: int, answer: bytes) -> TimesTenError:
    advice = f"is that the address of an Alertmanager, with its route prefix where it has one? It said: {_said(server, answer)}"
    if status in (401, 403, 407):
        advice = f"it does not let us in; set {server.variable}_username and {server.variable}_password, or {server.variable}_headers, to what it wants"
    elif 300 <= status < 400:
        advice = "it leads elsewhere, where nobody follows; name the address at which the Alertmanager itself answers"
    elif status in (400, 422) and method == "POST":
        advice = f"it said: {_said(server, answer)}. Are the clocks right?"
    return TimesTenError(f"{server.variable}: {server.url} answered {method} {path} with {status}: {advice}")


def _said(server: Server, answer: bytes) -> str:
    found = _json(answer)
    text = found.get("message") if isinstance(found, Mapping) else found
    return server.told(text if isinstance(text, str) else answer[:2000].decode("utf-8", "replace")) or "nothing"
