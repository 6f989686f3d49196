# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from gates import checkout


@pytest.fixture(scope="session")
def copy() -> Path:
    """The real copy of the collection, in line with the checkout."""
    return checkout.copy()


@pytest.fixture(scope="session")
def collections_path(copy: Path) -> Path:
    """What ANSIBLE_COLLECTIONS_PATH has to be for that copy, and nothing else, to be found."""
    return copy.parents[2]
