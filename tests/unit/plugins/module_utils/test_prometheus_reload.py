# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the taker of a scrape file is told to read it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import reload


def way(method: reload.ReloadMethod, file: Path, pid_file: str | None = None, uid: int | None = None) -> reload.Way:
    processes = reload.find_processes(str(file), "scrape_file")
    user = os.geteuid() if uid is None else uid
    return reload.find_way_of_file(method, "no-such-unit", pid_file, str(file), user, processes)


def test_nobody_is_told_where_nothing_says_how(tmp_path: Path) -> None:
    assert way("auto", tmp_path / "scrape.yml") == reload.Way("none")
    assert way("http", tmp_path / "scrape.yml") == reload.Way("http")
    with pytest.raises(TimesTenError, match=r"no process of uid .* set reload_pid_file"):
        way("signal", tmp_path / "scrape.yml")
    with pytest.raises(TimesTenError, match="reload_unit: systemd has no active unit"):
        way("systemd", tmp_path / "scrape.yml")


@pytest.mark.parametrize("method", ["auto", "signal"])
@pytest.mark.parametrize("flag", ["-promscrape.config={}", "--promscrape.config={}", "-promscrape.config {}"])
def test_a_process_of_victoriametrics_is_known_by_its_flag(
    tmp_path: Path, method: reload.ReloadMethod, flag: str
) -> None:
    file = tmp_path / "scrape.yml"
    file.touch()
    words = flag.format(file).split(" ")
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert way(method, file) == reload.Way("signal", pid=process.pid)
        assert way("auto", tmp_path / "other.yml") == reload.Way("none")
        # Nobody else's process gets a signal.
        assert way("auto", file, uid=os.geteuid() + 1) == reload.Way("none")
        pid_file = tmp_path / "pid"
        pid_file.write_text(f"{os.getpid()}\n")
        assert way(method, file, str(pid_file)) == reload.Way("signal", pid=os.getpid())
        process.communicate(b"\n", 20)
