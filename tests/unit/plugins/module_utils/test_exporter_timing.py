# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of starts and restarts, and what is expected of the next."""

from __future__ import annotations

import json
import pathlib

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import timing as _exporter_timing


def test_nothing_is_known_before_the_first_start(tmp_path: pathlib.Path) -> None:
    assert _exporter_timing.expected(str(tmp_path)) is None


def test_a_restart_counts_more_than_a_start(tmp_path: pathlib.Path) -> None:
    _exporter_timing.note(str(tmp_path), "start", 1.0)
    assert _exporter_timing.expected(str(tmp_path)) == pytest.approx(1.2)
    _exporter_timing.note(str(tmp_path), "restart", 0.4)
    assert _exporter_timing.expected(str(tmp_path)) == 0.4


def test_one_slow_restart_is_not_the_rule_and_old_ones_are_forgotten(tmp_path: pathlib.Path) -> None:
    for seconds in (9.0, 0.4, 3.0, 0.5):
        _exporter_timing.note(str(tmp_path), "restart", seconds)
    assert _exporter_timing.expected(str(tmp_path)) == 0.5
    assert json.loads((tmp_path / "timing.json").read_text())["restart"] == [0.4, 3.0, 0.5]


def test_what_failed_is_not_measured(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ZeroDivisionError), _exporter_timing.measured(str(tmp_path), "start"):
        raise ZeroDivisionError
    assert _exporter_timing.expected(str(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "[]", '{"start": "soon"}', '{"restart": [-1]}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "timing.json").write_text(text)
    assert _exporter_timing.expected(str(tmp_path)) is None
    _exporter_timing.note(str(tmp_path), "restart", 0.4)
    assert _exporter_timing.expected(str(tmp_path)) == 0.4
