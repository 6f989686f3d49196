# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the report as one self-contained page. It uses only the ledger, so the JSON form alone gives the same page.

The page grows with the number of exporters and clients, not with the number of pairs: equal rows are merged, and each
reason appears once. Everything that is drawn is also written in words.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from pathlib import Path
from typing import Iterable, Mapping, Sequence

import jinja2

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.budget import DOCUMENTED_RATE_LIMIT
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import parse_timestamp, timestamp, utcnow
from ansible_collections.timesten.monitoring.plugins.plugin_utils import reports
from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import Nonsense
from ansible_collections.timesten.monitoring.plugins.plugin_utils.ledger import (
    MEND,
    SATISFIED,
    Ledger,
    Pair,
    State,
    changes,
    grouped,
    some,
)

WORDS: dict[str, tuple[str, str, str]] = {
    "proven": ("good", "\u2713", "proven"),
    "predicted": ("good", "\u2713", "predicted"),
    "not asked": ("other", "\u2013", "not asked"),
    "kept": ("other", "\u25cb", "kept"),
    "evicted": ("bad", "\u2298", "evicted"),
    "failed": ("bad", "\u2717", "not proven"),
}
"""Class, sign and word of each state of a pair: no state is shown by colour alone."""

_OPEN_ROWS = 40
"""Up to so many exporters are shown at once. If there are more, only those with a fault are, and the others on request.
"""
_NODES = 12
"""Up to so many exporters or clients are drawn one by one; if there are more, similar ones are merged."""
_GROUPS = 14
"""At most so many groups are drawn; the rest is one more group."""
_LINES = 60
"""At most so many lines of a list are shown."""
_BARS = 24
_DAY = datetime.timedelta(days=1)


def read(path: str) -> Ledger | None:
    """Return the ledger of a JSON file; None if there is no such file.

    :raises TimesTenError: if the file holds no ledger.
    """
    path = reports.absolute(path)
    try:
        return Ledger.from_dict(json.loads(reports.read(path)))
    except FileNotFoundError:
        return None
    except Nonsense as error:
        raise TimesTenError(f"{path} is no JSON form of a ledger: {error}") from error
    except (ValueError, RecursionError) as error:
        raise TimesTenError(f"{path} is no JSON: {error}") from error


def render(made: Ledger, before: Ledger | None = None, trouble: str | None = None) -> str:
    """Return the page of a ledger.

    :param before: the previous report, if there is one.
    :param trouble: why the previous report could not be read.
    """
    now = parse_timestamp(made.time) if made.time else utcnow()
    reasons = [(f"reason-{number}", text, who) for number, (text, who) in enumerate(made.reasons().items(), 1)]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    text: str = template.render(
        made=made,
        verdict=made.verdict().removesuffix(MEND).rstrip(),
        time=_words(timestamp(now)),
        words=WORDS,
        tiles=_tiles(made, now),
        reasons=reasons,
        matrix=matrix(made.pairs, {text: number for number, (_id, text, _who) in enumerate(reasons, 1)}),
        topology=topology(made.pairs),
        expiry=expiry(made.pairs, now),
        budgets=budgets(made),
        changed=_cut([f"{some(hosts)}: {text}" for hosts, text in changes(made.hosts)]),
        changed_hosts=sum(bool(host.changed) for host in made.hosts),
        before=before,
        before_time=_words(before.time) if before is not None else "",
        trouble=trouble,
        since=_cut(since(before, made)) if before is not None else [],
        due=due(made, now),
    )
    return text.lstrip()


# --- summary ----------------------------------------------------------------------------------------------------------


def _words(time: str | None) -> str:
    """Return a moment in a form for people."""
    return "" if time is None else f"{time[:10]} {time[11:16]} UTC"


def _tiles(made: Ledger, now: datetime.datetime) -> list[tuple[str, str]]:
    satisfied = sum(pair.state in SATISFIED for pair in made.pairs)
    ends = min((pair.expires for pair in made.pairs if pair.expires), default=None)
    tiles = [("Exporters", str(len({pair.exporter for pair in made.pairs})))] if made.pairs else []
    if made.pairs:
        tiles.append(("Prometheus instances", str(len({pair.client for pair in made.pairs if not pair.outsider}))))
        tiles.append(("Pairs as they should be", f"{satisfied} of {len(made.pairs)}"))
    tiles.append(("Hosts finished", f"{len(made.hosts) - len(made.failed_hosts)} of {len(made.hosts)}"))
    if ends:
        tiles.append(("First certificate ends", f"{ends[:10]}, {_distance(ends, now)}"))
    return tiles


def _distance(time: str, now: datetime.datetime) -> str:
    """Return the distance of a moment, in days."""
    days = (parse_timestamp(time) - now).total_seconds() / 86400
    count = math.floor(abs(days))
    text = _plural(count, "day") if count else "less than a day"
    return f"{text} ago" if days < 0 else f"in {text}"


def _cut(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _LINES:
        return list(lines)
    return [*lines[: _LINES - 1], f"and {len(lines) - _LINES + 1} more such lines"]


# --- matrix -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Exporters in rows, clients in columns. A cell is None if the inventory asks for no such pair.

    :ivar shown: the rows that are always shown.
    :ivar folded: the rows that are shown on request.
    """

    clients: tuple[str, ...]
    shown: tuple[tuple[str, tuple[tuple[State, int | None] | None, ...]], ...]
    folded: tuple[tuple[str, tuple[tuple[State, int | None] | None, ...]], ...]


def matrix(pairs: Iterable[Pair], numbers: Mapping[str, int]) -> Matrix:
    """Return the matrix of all pairs, with faulty exporters first.

    :param numbers: the numbers of the reasons.
    """
    cells: dict[str, dict[str, tuple[State, int | None]]] = {}
    clients: dict[str, None] = {}
    for pair in pairs:
        clients[pair.client] = None
        cells.setdefault(pair.exporter, {})[pair.client] = (pair.state, _number(pair, numbers))
    rows = [(name, tuple(by_client.get(client) for client in clients)) for name, by_client in cells.items()]
    faulty = [row for row in rows if any(cell is not None and cell[0] not in SATISFIED for cell in row[1])]
    names = {row[0] for row in faulty}
    ordered = [*faulty, *(row for row in rows if row[0] not in names)]
    shown = len(ordered) if len(ordered) <= _OPEN_ROWS else min(len(faulty), _OPEN_ROWS)
    return Matrix(tuple(clients), tuple(ordered[:shown]), tuple(ordered[shown:]))


def _number(pair: Pair, numbers: Mapping[str, int]) -> int | None:
    """Return the number of a pair's reason. A host's reason may contain those of several of its exporters."""
    if pair.reason is None or pair.state in SATISFIED:
        return None
    own = numbers.get(pair.reason)
    return own or next((number for text, number in numbers.items() if pair.reason in text), None)


# --- topology ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Node:
    """One exporter or client, or several similar ones."""

    names: tuple[str, ...]
    what: str
    kind: str
    y: float

    @property
    def label(self) -> str:
        """Return the text that fits into its box."""
        if len(self.names) == 1:
            return _short(self.names[0], 30)
        text = f"{self.names[0]} \u2026 {self.names[-1]}"
        return text if len(text) <= 30 else f"{_short(self.names[0], 14)} \u2026 {_short(self.names[-1], 13)}"

    @property
    def title(self) -> str:
        """Return its names, as far as they fit."""
        return some(self.names)


@dataclasses.dataclass(frozen=True)
class Edge:
    """The pairs between two nodes."""

    source: Node
    target: Node
    kind: str
    word: str


@dataclasses.dataclass(frozen=True)
class Topology:
    """A drawing of exporters, clients and the pairs between them."""

    height: float
    exporters: tuple[Node, ...]
    clients: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def lines(self) -> list[str]:
        """Return the same in words."""
        return [
            f"{some(edge.target.names)} {'scrapes' if len(edge.target.names) == 1 else 'scrape'} {some(edge.source.names)}: {edge.word}"
            for edge in self.edges
        ]


_STEP = 54.0


def topology(pairs: Iterable[Pair]) -> Topology:
    """Return a drawing of exporters, clients and the pairs between them. It has at most 15 nodes on each side."""
    states: dict[str, dict[str, State]] = {}
    columns: dict[str, dict[str, State]] = {}
    for pair in pairs:
        states.setdefault(pair.exporter, {})[pair.client] = pair.state
        columns.setdefault(pair.client, {})[pair.exporter] = pair.state
    left, right = _groups(states), _groups(columns)
    size = max(len(left), len(right))
    exporters = _nodes(left, states, size, "exporter", "exporters")
    clients = _nodes(right, columns, size, "Prometheus", "Prometheus instances")
    edges = []
    for source in exporters:
        for target in clients:
            between = [
                states[exporter][client]
                for exporter in source.names
                for client in target.names
                if client in states[exporter]
            ]
            if between:
                edges.append(Edge(source, target, _worst(between)[0], _counted(between)))
    # Draw the failed ones last, so that they lie on top.
    edges.sort(key=lambda edge: edge.kind == "bad")
    return Topology(size * _STEP + 10, exporters, clients, tuple(edges))


def _groups(rows: Mapping[str, Mapping[str, State]]) -> list[tuple[str, ...]]:
    if len(rows) <= _NODES:
        return [(name,) for name in rows]
    groups = [tuple(names) for names, _row in grouped((name, tuple(sorted(row.items()))) for name, row in rows.items())]
    # Put the faulty ones first, because the rest is merged into one group.
    groups.sort(key=lambda names: (_worst(rows[names[0]].values())[0] != "bad", -len(names)))
    if len(groups) > _GROUPS + 1:
        groups = [*groups[:_GROUPS], tuple(name for names in groups[_GROUPS:] for name in names)]
    return groups


def _nodes(
    groups: Sequence[tuple[str, ...]], rows: Mapping[str, Mapping[str, State]], size: int, one: str, several: str
) -> tuple[Node, ...]:
    top = 5 + (size - len(groups)) * _STEP / 2
    nodes = []
    for index, names in enumerate(groups):
        states = [state for name in names for state in rows[name].values()]
        count = one if len(names) == 1 else f"{len(names)} {several}"
        nodes.append(Node(names, f"{count}: {_worst(states)[1]}", _worst(states)[0], top + index * _STEP))
    return tuple(nodes)


def _worst(states: Iterable[State]) -> tuple[str, str]:
    """Return the class and the words for several pairs."""
    listed = list(states)
    kinds = {WORDS[state][0] for state in listed}
    kind = next(kind for kind in ("bad", "other", "good") if kind in kinds)
    words = {WORDS[state][2] for state in listed}
    if len(words) == 1:
        return kind, words.pop()
    count = sum(WORDS[state][0] == kind for state in listed)
    return kind, f"{count} of {len(listed)} not proven" if kind == "bad" else "several states"


def _counted(states: Sequence[State]) -> str:
    told: dict[str, int] = {}
    for state in states:
        told[WORDS[state][2]] = told.get(WORDS[state][2], 0) + 1
    if len(states) == 1:
        return next(iter(told))
    return ", ".join(f"{count} {word}" for word, count in told.items())


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 2]}\u2026{text[len(text) - (width - width // 2 - 1) :]}"


# --- time -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bar:
    """The pairs whose first certificate ends within one part of the axis."""

    x: float
    width: float
    height: float
    kind: str
    count: int
    title: str


@dataclasses.dataclass(frozen=True)
class Expiry:
    """The ends of all pairs, on a time axis from 40 to 680."""

    bars: tuple[Bar, ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    now: float = 40.0
    words: str = ""
    unknown: int = 0


def expiry(pairs: Sequence[Pair], now: datetime.datetime) -> Expiry:
    """Return the ends of all pairs on a time axis."""
    ends = sorted(parse_timestamp(pair.expires) for pair in pairs if pair.expires)
    unknown = len(pairs) - len(ends)
    if not ends:
        return Expiry(unknown=unknown)
    # Seconds, because the axis may reach beyond the last possible date: a certificate that never ends, ends in the year 9999.
    first_end, last_end, moment = (item.timestamp() for item in (ends[0], ends[-1], now))
    # A bar holds either past or future ends, because the moment of the run lies between two bars.
    step = max(max(last_end, moment) - min(first_end, moment), 28 * 86400) * 1.02 / (_BARS - 1)
    begin = moment - math.ceil(max(moment - first_end, 0) / step) * step
    span = step * _BARS
    width = 640 / _BARS
    buckets: dict[int, list[datetime.datetime]] = {}
    for end in ends:
        buckets.setdefault(min(int((end.timestamp() - begin) / step), _BARS - 1), []).append(end)
    most = max(len(bucket) for bucket in buckets.values())
    bars = []
    for index, bucket in sorted(buckets.items()):
        first, last = (end.date().isoformat() for end in (bucket[0], bucket[-1]))
        when = first if first == last else f"{first} to {last}"
        title = f"{when}: {_plural(len(bucket), 'pair')} {'ends' if len(bucket) == 1 else 'end'}"
        kind = _urgency(bucket[0], now)
        bars.append(
            Bar(40 + index * width + 2, width - 4, max(5.0, 110 * len(bucket) / most), kind, len(bucket), title)
        )
    ticks = tuple((40 + 640 * part / 5, _date(begin + span * part / 5)) for part in range(6))
    told = [
        f"{count} {_URGENCY[kind]}" for kind in _URGENCY if (count := sum(_urgency(end, now) == kind for end in ends))
    ]
    return Expiry(tuple(bars), ticks, 40 + 640 * ((moment - begin) / span), ", ".join(told), unknown)


def _date(moment: float) -> str:
    """The day of a moment, or the first or last one that there is."""
    first, last = (end.replace(tzinfo=datetime.timezone.utc) for end in (datetime.datetime.min, datetime.datetime.max))
    within = min(max(moment, first.timestamp()), last.timestamp() - 1)
    return (first + datetime.timedelta(seconds=within - first.timestamp())).date().isoformat()


_URGENCY = {
    "ended": "ended already",
    "bad": "end within 7 days",
    "warn": "end within 30 days",
    "good": "end later",
}


def _urgency(end: datetime.datetime, now: datetime.datetime) -> str:
    left = end - now
    return "ended" if left <= 0 * _DAY else "bad" if left <= 7 * _DAY else "warn" if left <= 30 * _DAY else "good"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


@dataclasses.dataclass(frozen=True)
class Due:
    """One thing that has to be done or that ends."""

    date: str
    distance: str
    kind: str
    what: str
    who: str


_WALLET = (
    "the wallet is due: the next run of site or rotate replaces it",
    "the wallets are due: the next run of site or rotate replaces them",
)
_END = ("the first certificate ends", "the first certificates end")


def due(made: Ledger, now: datetime.datetime) -> list[Due]:
    """Return what is due next, earliest first, one line for all of a day."""
    firsts: dict[str, str] = {}
    for pair in made.pairs:
        if pair.expires:
            firsts[pair.exporter] = min(pair.expires, firsts.get(pair.exporter, pair.expires))
    wallets = {known.exporter: known.due for known in made.exporters if known.due}
    rows = []
    for moments, (what, whats) in ((wallets, _WALLET), (firsts, _END)):
        for names, date in grouped((exporter, time[:10]) for exporter, time in moments.items()):
            first = min(moments[name] for name in names)
            who = f"{len(names)} exporters: {some(names)}" if len(names) > 1 else names[0]
            kind = _urgency(parse_timestamp(first), now)
            rows.append(Due(date, _distance(first, now), kind, whats if len(names) > 1 else what, who))
    rows.sort(key=lambda item: item.date)
    return rows[:12]


# --- rate budget ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Budget:
    """Exporters with the same number of requests and the same limit."""

    who: str
    asked: str
    limit: str
    kind: str
    share: int
    word: str


def budgets(made: Ledger) -> list[Budget]:
    """Return how many GETs a minute the exporters get and accept, the fullest first."""
    known = [item for item in made.exporters if item.asked is not None]
    rows = []
    for names, (asked, limit) in grouped((item.exporter, (item.asked, item.limit)) for item in known):
        allowed = limit or DOCUMENTED_RATE_LIMIT
        share = math.ceil(asked / allowed * 100)
        kind, word = (
            ("bad", "too many") if asked > allowed else ("warn", "nearly full") if share > 90 else ("good", "fits")
        )
        who = _plural(len(names), "exporter") + f": {some(names)}" if len(names) > 1 else names[0]
        shown = f"{limit:g}" if limit else f"{DOCUMENTED_RATE_LIMIT} (documented, not set)"
        rows.append(Budget(who, f"{asked:g}", shown, kind, share, word))
    return sorted(rows, key=lambda item: -item.share)[:_LINES]


# --- since the report before ------------------------------------------------------------------------------------------


def since(before: Ledger, made: Ledger) -> list[str]:
    """Return what differs from the previous report."""
    old = {(pair.exporter, pair.client): pair for pair in before.pairs}
    new = {(pair.exporter, pair.client): pair for pair in made.pairs}
    lines = []
    both = [key for key in new if key in old]
    moved = [(key, (old[key].state, new[key].state)) for key in both if old[key].state != new[key].state]
    for keys, (was, now) in grouped(moved):
        lines.append(f"{WORDS[was][2]}, now {WORDS[now][2]}: {_named(keys)}")
    served = [key for key in both if old[key].served and new[key].served and old[key].served != new[key].served]
    if served:
        lines.append(f"another certificate is served: {_named(served)}")
    ends = [
        (key, (str(old[key].expires)[:10], str(new[key].expires)[:10]))
        for key in both
        if old[key].expires and new[key].expires and old[key].expires != new[key].expires
    ]
    for keys, (was, now) in grouped(ends):
        lines.append(
            f"ended {was}, now {now}: {_named(keys)}"
            if was != now
            else f"ends at another hour of {now}: {_named(keys)}"
        )
    added, gone = [key for key in new if key not in old], [key for key in old if key not in new]
    if added:
        lines.append(f"not in the report before: {_named(added)}")
    if gone:
        lines.append(f"not in this report, because they were removed or are outside its limit: {_named(gone)}")
    return lines


_Key = tuple[str, str]


def _named(keys: Sequence[_Key]) -> str:
    exporters, clients = list(dict.fromkeys(key[0] for key in keys)), list(dict.fromkeys(key[1] for key in keys))
    return f"{_plural(len(keys), 'pair')} ({some(exporters)} on {some(clients)})"
