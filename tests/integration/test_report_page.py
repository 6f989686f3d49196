# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report in a real Chromium: readable by axe-core's rules in light, dark and on a phone, and by keyboard."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.plugin_utils import page
from ansible_collections.timesten.monitoring.plugins.plugin_utils.ledger import Host, Known, Ledger, Pair
from integration.browser_kit import Browser

ENDS = ("2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z", "2026-12-20T00:00:00Z", "2027-06-01T00:00:00Z")
AXE = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


def fleet(exporters: int, clients: int) -> Ledger:
    """A ledger in which everything is to be seen: each state, reasons, ends, budgets, changes."""
    states = ("failed", "evicted", "kept", "not asked")
    pairs = tuple(
        Pair(
            f"exp{number:03}.example.com",
            f"prom{client}",
            state,
            "its target is down" if state == "failed" else None,
            expires=ENDS[number % 4],
        )
        for number in range(exporters)
        for client in range(clients)
        for state in [states[number] if number < 4 else "proven"]
    )
    known = tuple(
        Known(
            f"exp{n:03}.example.com",
            f"exp{n:03}",
            f"exp{n:03}:8888",
            ENDS[3],
            (9.5, 12.0, 4.0)[n % 3],
            (15, None)[n % 2],
        )
        for n in range(exporters)
    )
    hosts = tuple(Host(f"exp{n:03}", "exporter", (f"exp{n:03}: there is no wallet",)) for n in range(exporters))
    return Ledger("site", False, pairs, hosts, ("a: b",), ("c",), ("d",), known, "2026-11-24T10:49:00Z")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def faults(browser: Browser) -> list[Any]:
    """What axe-core finds on the page that is open."""
    browser.script(AXE)
    problems = browser.later(
        "const done = arguments[arguments.length - 1];"
        "axe.run().then(found => done(found.violations), error => done([String(error)]));"
    )
    return [(item["id"], [node["html"] for node in item["nodes"]][:3]) for item in problems]


@pytest.mark.parametrize(("exporters", "clients"), [(60, 3), (500, 4)])
def test_anybody_can_read_it(browser: Browser, tmp_path: Path, exporters: int, clients: int) -> None:
    made = fleet(exporters, clients)
    file = tmp_path / "report.html"
    file.write_text(page.render(made, fleet(exporters - 1, clients)), encoding="utf-8")
    looks = [(1200, False), (1200, True), (360, False), (360, True)] if exporters < 100 else [(360, False)]
    for width, dark in looks:
        browser.show(file, width, 800, dark)
        # axe-core's time grows with the square of the cells, and those of 500 exporters are like those of 60.
        wish = (
            "item.open = true" if exporters < 100 else "item.querySelectorAll('table').forEach(table => table.remove())"
        )
        browser.script(f"document.querySelectorAll('details').forEach(item => {{ {wish}; }})")
        assert browser.script("return matchMedia('(prefers-color-scheme: dark)').matches") is dark
        assert faults(browser) == [], (width, dark)
        # The page itself never scrolls sideways, only a table or drawing in it.
        assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth"), (width, dark)
    # Nothing is asked of anybody else, and no script of the page could run.
    assert browser.script("return performance.getEntriesByType('resource').length") == 0
    assert browser.script("return document.scripts.length") == 0


def test_the_test_sees_a_fault(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    text = page.render(fleet(3, 2))
    file.write_text(text.replace("--soft: #4b5563", "--soft: #b0b6bd").replace('<html lang="en">', "<html>"), "utf-8")
    browser.show(file)
    assert {"color-contrast", "html-has-lang"} <= {name for name, _nodes in faults(browser)}


def test_it_is_used_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page.render(fleet(60, 3)), encoding="utf-8")
    browser.show(file)
    browser.press("Tab")
    assert browser.script("return document.activeElement.textContent") == "Skip to content"
    assert browser.script("return document.activeElement.getBoundingClientRect().left") >= 0
    reached = []
    for _time in range(40):
        browser.press("Tab")
        reached.append(
            browser.script("const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent")
        )
        if browser.script("return document.activeElement.tagName") == "SUMMARY":
            break
    assert reached[:2] == ["What was said", "Pairs"] and "reason 1" in reached
    assert browser.script("const e = document.activeElement; return getComputedStyle(e).outlineStyle") == "solid"
    assert not browser.script("return document.activeElement.parentElement.open")
    browser.press("Enter")
    assert browser.script("return document.activeElement.parentElement.open")
