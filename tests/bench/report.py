# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the results of the benchmarks into docs/: the tables of performance.md, its plot, and the results as JSON.

What stands in the page between ``<!-- table: NAME -->`` and ``<!-- end -->`` is replaced; everything else is the author's.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = PROJECT / ".cache" / "bench"
DOCS = PROJECT / "docs"
OPERATIONS = {
    "first": "first rollout",
    "second": "second run",
    "exporter": "one exporter more",
    "prometheus": "one Prometheus more",
}
WAYS = {"book": "by the book", "ours": "timesten.monitoring.site", "floor": "the floor"}
COLOURS = {"book": "#c0504d", "ours": "#1f6fb2", "floor": "#8a8a8a"}


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def seconds(value: float) -> str:
    """Return seconds to read."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def fleet_table(fleets: Sequence[dict[str, Any]]) -> str:
    """Return seconds and ratios of all sizes and operations."""
    rows = []
    for fleet in fleets:
        for operation, title in OPERATIONS.items():
            row = fleet["summary"][operation]
            book, ours, floor = row["book"], row["ours"], row["floor"]
            cells = [
                fleet["size"],
                title,
                seconds(book["seconds"]),
                seconds(ours["seconds"]),
                seconds(floor["seconds"]),
            ]
            rows.append([*cells, f"{row['faster']:.1f}", f"{ours['to_floor']:.2f}", f"{book['to_floor']:.1f}"])
    head = ("size", "operation", "by the book, s", "site, s", "floor, s", "faster by", "site / floor", "book / floor")
    return table(head, rows)


def calls_table(fleets: Sequence[dict[str, Any]]) -> str:
    """Return the numbers of module calls."""
    rows = []
    for fleet in fleets:
        row = [fleet["size"]]
        for operation in OPERATIONS:
            cells = fleet["summary"][operation]
            row.append(f"{cells['book']['calls']:g} / {cells['ours']['calls']:g}")
        rows.append(row)
    return table(("size", *(f"{title}, book / site" for title in OPERATIONS.values())), rows)


def first_table(fleets: Sequence[dict[str, Any]]) -> str:
    """Return the first rollout against what nobody can take away."""
    rows = []
    for fleet in fleets:
        parts = fleet["summary"]["first_floor"]
        pings = fleet["summary"]["first"]["floor"]["seconds"]
        row = [fleet["size"], parts["utility"], parts["until_scraped"], pings, parts["seconds"]]
        rows.append([row[0], *(seconds(value) for value in row[1:]), f"{parts['ours']:.2f}", f"{parts['book']:.2f}"])
    head = (
        "size",
        "the utility's CPU over the cores, s",
        "until scraped, s",
        "pings, s",
        "sum, s",
        "site / sum",
        "book / sum",
    )
    return table(head, rows)


def per_host_table(fleets: Sequence[dict[str, Any]]) -> str:
    """Return what a host of the fleet costs."""
    rows = []
    for fleet in fleets:
        hosts = sum(map(int, fleet["size"].split("x")))
        summary = fleet["summary"]
        cells = [summary["second"][way]["seconds"] / hosts for way in ("ours", "floor", "book")]
        rows.append([fleet["size"], *(f"{value:.2f}" for value in cells)])
    return table(("size", "site, s per host", "floor, s per host", "by the book, s per host"), rows)


def one_host_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what one Prometheus host with many exporters costs."""
    cells = []
    for row in rows:
        if row["call"] != "edit":
            cells.append(
                [
                    f"{row['exporters']:,}",
                    row["call"],
                    f"{row['cpu']:.2f}",
                    f"{row['peak_mib']:.0f}",
                    f"{row['promtool_cpu']:.2f}",
                    f"{row['writes_beside_prometheus_yml']:g}",
                    f"{row['seconds']:.1f}",
                ]
            )
    head = (
        "exporters",
        "call",
        "CPU, s",
        "peak, MiB",
        "promtool's CPU, s",
        "files written beside prometheus.yml",
        "wall, s",
    )
    return table(head, cells)


def edit_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return edit and validation of the file beside promtool alone."""
    cells = [
        [
            f"{row['exporters']:,}",
            f"{row['bytes'] / 1000:.0f}",
            f"{row['edit_cpu']:.3f}",
            f"{row['promtool_cpu']:.3f}",
            f"{row['edit_and_promtool_to_promtool_cpu']:.2f}",
            f"{row['edit_and_promtool_to_promtool_seconds']:.2f}",
        ]
        for row in rows
        if row["call"] == "edit"
    ]
    head = ("jobs", "file, kB", "edit, CPU s", "promtool, CPU s", "both / promtool, CPU", "both / promtool, wall")
    return table(head, cells)


def load_text(fleets: Sequence[dict[str, Any]], one_host: dict[str, Any]) -> str:
    """Return what else the machine was doing, in words."""
    lines = []
    for name, runs in [*((fleet["size"], fleet["runs"]) for fleet in fleets), ("one host", one_host["runs"])]:
        loads = [run["load"] for run in runs]
        rounds = max(run["round"] for run in runs) + 1
        lines.append([name, rounds, f"{min(loads):.1f} to {max(loads):.1f}"])
    return table(("size", "rounds", "load average at the start of each measurement"), lines)


def plot(fleets: Sequence[dict[str, Any]]) -> str:
    """Return a plot as SVG: one group of bars per size, one panel per operation, on a logarithmic axis."""
    width, height, left, top, bottom = 420, 250, 46, 34, 34
    panels = []
    values = [f["summary"][o][w]["seconds"] for f in fleets for o in OPERATIONS for w in WAYS]
    low, high = 1.0, 10.0
    while high < max(values):
        high *= 10
    steps = len(str(int(high))) - 1

    def y(value: float) -> float:
        share = math.log10(max(value, low) / low) / steps
        return top + (height - top - bottom) * (1 - share)

    for number, (operation, title) in enumerate(OPERATIONS.items()):
        x0, y0 = number % 2 * width, number // 2 * height
        parts = [f'<text x="{left}" y="20" class="title">{title}</text>']
        for step in range(steps + 1):
            value = 10**step
            parts.append(f'<line x1="{left}" x2="{width - 8}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>')
            parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" class="axis" text-anchor="end">{value} s</text>')
        group = (width - left - 8) / len(fleets)
        column = group / 4
        for index, fleet in enumerate(fleets):
            for place, way in enumerate(WAYS):
                value = fleet["summary"][operation][way]["seconds"]
                x = left + index * group + column * (place + 0.5)
                parts.append(
                    f'<rect x="{x:.1f}" y="{y(value):.1f}" width="{column - 2:.1f}" height="{height - bottom - y(value):.1f}" '
                    f'fill="{COLOURS[way]}"><title>{fleet["size"]}, {title}, {WAYS[way]}: {value} s</title></rect>'
                )
                parts.append(
                    f'<text x="{x + column / 2 - 1:.1f}" y="{y(value) - 3:.1f}" class="value" text-anchor="middle">{value:.0f}</text>'
                )
            middle = left + (index + 0.5) * group
            parts.append(
                f'<text x="{middle:.1f}" y="{height - 16}" class="axis" text-anchor="middle">{fleet["size"]}</text>'
            )
        panels.append(f'<g transform="translate({x0},{y0})">{"".join(parts)}</g>')
    legend = "".join(
        f'<rect x="{left + 190 * place}" y="{2 * height + 6}" width="12" height="12" fill="{COLOURS[way]}"/>'
        f'<text x="{left + 190 * place + 18}" y="{2 * height + 16}" class="axis">{text}</text>'
        for place, (way, text) in enumerate(WAYS.items())
    )
    style = (
        "text{font-family:sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}.axis{font-size:11px}"
        ".value{font-size:9px}.grid{stroke:#ddd;stroke-width:1}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {2 * height + 28}" role="img">'
        "<!-- " + "SPDX-License-Identifier" + ": GPL-3.0-or-later\n-->"
        "<title>Seconds by size of the fleet (exporter hosts x Prometheus hosts), logarithmic</title>"
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(panels)}{legend}</svg>\n'
    )


def main() -> int:
    """Write tables, plot and results."""
    fleets = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("fleet-*.json")]
    fleets.sort(key=lambda fleet: int(fleet["size"].split("x")[0]))
    one_host = json.loads((RESULTS / "one-host.json").read_text(encoding="utf-8"))
    tables = {
        "fleet": fleet_table(fleets),
        "calls": calls_table(fleets),
        "first": first_table(fleets),
        "per host": per_host_table(fleets),
        "one host": one_host_table(one_host["summary"]),
        "edit": edit_table(one_host["summary"]),
        "load": load_text(fleets, one_host),
    }
    page = DOCS / "performance.md"
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, content=content: f"{match[1]}\n{content}\n\n{match[2]}", text)
        if count != 1:
            raise SystemExit(f"{page}: the table {name!r} has {count} places")
    page.write_text(text, encoding="utf-8")
    (DOCS / "performance.svg").write_text(plot(fleets), encoding="utf-8")
    results = {"fleets": fleets, "one_host": one_host}
    (DOCS / "performance.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
