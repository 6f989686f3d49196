# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of what was tried say what ran, as tests/bench/platforms.py and takers.py have noted it, and nothing else."""

from __future__ import annotations

import pytest

from bench import platforms, takers
from bench.rows import Book


@pytest.mark.parametrize("book", [platforms.BOOK, takers.BOOK], ids=lambda book: book.name)
def test_the_page_has_the_tables_of_the_results(book: Book) -> None:
    assert book.text() == book.written(), f"run make {book.name}, which writes the tables"


@pytest.mark.parametrize("name", platforms.BOOK.results())
def test_a_result_is_of_its_row(name: str) -> None:
    """A row that was renamed or changed has to run again."""
    row, found = platforms.ROWS[name], platforms.BOOK.results()[name]
    assert (found["kind"], found["what"]) == (row.kind, row.what)
    assert (found["done"] == ["refused"]) == (row.refused is not None)
    if row.core is not None:
        assert found["core"] == row.core[0]
    if row.python is not None and row.refused is None:
        assert f"cryptography=={found['cryptography']}" in row.python[2]


@pytest.mark.parametrize("name", takers.BOOK.results())
def test_a_taker_was_tried_as_its_row_says_and_to_the_end(name: str) -> None:
    row, found = takers.ROWS[name], takers.BOOK.results()[name]
    assert (found["what"], found["with"]) == (row.what, row.program)
    assert list(found["done"]) == (["site"] if row.refused else takers.STEPS)
