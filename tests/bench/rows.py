# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are tried one after the other: what is noted of each, and the tables of a page that say it."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gates.environments import CACHE, ROOT

Results = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Book:
    """What was tried, and where it stands.

    :ivar name: of the file of results below docs.
    :ivar page: the page below docs that has the tables.
    :ivar rows: the names of all rows, in their order.
    :ivar run: tries one row and returns what is noted of it.
    :ivar tables: makes the tables, by the name that their marker in the page has.
    """

    name: str
    page: str
    rows: Iterable[str]
    run: Callable[[str], dict[str, Any]]
    tables: Callable[[Results], dict[str, str]]

    def results(self) -> dict[str, dict[str, Any]]:
        """What is noted so far."""
        file = ROOT / "docs" / f"{self.name}.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def text(self) -> str:
        """The page as it is."""
        return (ROOT / "docs" / self.page).read_text(encoding="utf-8")

    def written(self) -> str:
        """The page with the tables of the results."""
        page = self.text()
        for name, table in self.tables(self.results()).items():
            begin, end = f"<!-- tested: {name} -->\n", "<!-- end of tested -->"
            before, _begin, rest = page.partition(begin)
            assert rest, f"the page has no {begin.strip()}"
            page = before + begin + "\n" + table + "\n\n" + rest[rest.index(end) :]
        return page

    def note(self, row: str, found: dict[str, Any]) -> None:
        """Keep what a row came to. Several may run beside each other."""
        with (CACHE / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            results = {**self.results(), row: found}
            kept = {name: results[name] for name in self.rows if name in results}
            (ROOT / "docs" / f"{self.name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            (ROOT / "docs" / self.page).write_text(self.written(), encoding="utf-8")

    def main(self, description: str | None) -> int:
        """Run the rows that the command line names, all where it names none; return the exit status."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(self.rows)}; all where none is named")
        names = parser.parse_args().rows or list(self.rows)
        failed = []
        for name in names:
            try:
                found = self.run(name)
            except Exception:
                traceback.print_exc()
                failed.append(name)
                print(f"{name}: FAILED", flush=True)
                continue
            print(f"{name}: {found}", flush=True)
            self.note(name, found)
        print(
            f"{len(names) - len(failed)} rows worked, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}"
        )
        return 1 if failed else 0
