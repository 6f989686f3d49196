# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/report.md on a fleet that cannot be reached: what a run writes, and the page of its JSON form."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from gates import checkout
from gates.doc_examples import example

INVENTORY = """\
[timesten_exporters]
exp1 exporter_host_timesten_home=/opt/timesten exporter_host_owner=timesten
[prometheus_servers]
prom1
[all:vars]
ansible_host=127.0.0.1
ansible_port=1
"""


def play(directory: Path, command: str, *more: str) -> tuple[int, str]:
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(checkout.copy().parents[2]),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = [*shlex.split(command.removeprefix("$ ")), *more]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.controller
def test_a_run_writes_its_page_and_its_json_gives_the_same(tmp_path: Path) -> None:
    (tmp_path / "inventory.ini").write_text(INVENTORY, encoding="utf-8")
    data, html = tmp_path / "ledger.json", tmp_path / "report.html"
    status, said = play(tmp_path, example("report"), "-i", "inventory.ini")
    assert status == 2, said
    ledger = json.loads(data.read_text(encoding="utf-8"))
    assert not ledger["good"] and ledger["time"] and [pair["state"] for pair in ledger["pairs"]] == ["failed"]
    first = html.read_text(encoding="utf-8")
    assert "0 of 1 pairs proven" in first and "There was none: it is read" in first and "exp1" in first

    html.unlink()
    status, said = play(tmp_path, example("report-again"))
    assert status == 0 and "changed=1" in said, said
    assert html.read_text(encoding="utf-8") == first

    data.write_text("{}", encoding="utf-8")
    status, said = play(tmp_path, example("report-again"))
    assert status == 2 and "is no JSON form of a ledger" in said and html.read_text(encoding="utf-8") == first
    # A file that is no report keeps no run from writing its own.
    status, said = play(tmp_path, example("report"), "-i", "inventory.ini")
    assert json.loads(data.read_text(encoding="utf-8"))["version"] == 1
    assert "was of no use" in html.read_text(encoding="utf-8")
