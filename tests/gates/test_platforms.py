# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/platforms.md say what ran, as tests/bench/platforms.py has noted it, and nothing else."""

from __future__ import annotations

import json

import pytest

from bench import platforms

RESULTS = json.loads(platforms.RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_the_results() -> None:
    page = platforms.PAGE.read_text(encoding="utf-8")
    assert page == platforms.written(page, RESULTS), "run make platforms, which writes the tables"


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_of_its_row(name: str) -> None:
    """A row that was renamed or changed has to run again."""
    row, found = platforms.ROWS[name], RESULTS[name]
    assert (found["kind"], found["what"]) == (row.kind, row.what)
    assert (found["done"] == ["refused"]) == (row.refused is not None)
    if row.core is not None:
        assert found["core"] == row.core[0]
    if row.python is not None and row.refused is None:
        assert f"cryptography=={found['cryptography']}" in row.python[2]
