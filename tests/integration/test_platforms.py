# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cheapest row of tests/bench/platforms.py: an interpreter that is too old is refused with what to install."""

from __future__ import annotations

import os

import pytest

from bench import platforms
from gates.environments import MissingInterpreter

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]


def test_python_3_6_is_refused_with_the_package_to_install() -> None:
    try:
        result = platforms.run_row("ol8-3.6")
    except MissingInterpreter as error:
        pytest.skip(str(error))
    assert result["done"] == ["refused"] and result["python"].startswith("3.6.")
