# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a checkout keeps what is built: what runs from there has to start from wherever the checkout lies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gates.environments import CACHE, ROOT, BadCache, cache_of


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A directory for checkouts and one for what they cannot hold; both open to everybody, unlike pytest's own."""
    for path in [tmp_path, *list(tmp_path.parents)[:2]]:
        path.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path, tmp_path / "elsewhere"


def test_a_plain_checkout_keeps_it(places: tuple[Path, Path]) -> None:
    checkout = places[0] / "plain"
    checkout.mkdir()
    assert cache_of(checkout, places[1]) == checkout / ".cache"
    assert list(places[1].iterdir()) == []


@pytest.mark.parametrize("name", ["a blank", "quote'", "colon:", "closed"])
def test_a_checkout_where_programs_would_not_start_links_it(places: tuple[Path, Path], name: str) -> None:
    checkout = places[0] / name
    # What is there already comes along.
    (checkout / ".cache" / "packages").mkdir(parents=True)
    if name == "closed":
        if os.geteuid():
            pytest.skip("only root has programs started by others")
        checkout.chmod(0o700)
    place = cache_of(checkout, places[1])
    assert place.parent == places[1]
    assert place == cache_of(checkout, places[1]) == (checkout / ".cache").resolve()
    assert (place / "packages").is_dir()
    # Removed with the link's target gone, it comes back.
    (place / "packages").rmdir()
    place.rmdir()
    assert cache_of(checkout, places[1]).is_dir()


def test_a_directory_that_others_may_change_is_refused(places: tuple[Path, Path]) -> None:
    checkout = places[0] / "a blank"
    checkout.mkdir()
    place = cache_of(checkout, places[1])
    place.chmod(0o777)
    with pytest.raises(BadCache, match="no directory that only this user may change"):
        cache_of(checkout, places[1])


def test_the_programs_of_this_checkout_start() -> None:
    first = (CACHE / "venv/bin/ansible-playbook").read_bytes().splitlines()[0]
    assert b" " not in first
    done = subprocess.run(
        [CACHE / "venv/bin/ansible-playbook", "--version"], check=True, capture_output=True, text=True
    )
    assert "ansible-playbook" in done.stdout
    assert (ROOT / ".cache").resolve() == CACHE.resolve()
