# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a playbook: the same for all its workers, another one for every run."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

from ansible_collections.timesten.monitoring.plugins.lookup import this_run as lookup


def test_a_worker_answers_as_its_run_does():
    own = lookup.this_run()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(lookup.this_run) == own
    assert own["process"].startswith(f"{os.getpid()}/")
    assert f"(process {os.getpid()})" in own["name"]
    assert "running" not in own


def test_runs_that_are_under_way():
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "ansible-playbook"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        process = lookup._process(other.pid)
        told = lookup.this_run(running=True)
        assert process in told["running"]
        assert told["process"] in told["running"]
        other.stdin.close()
    assert process not in lookup.this_run(running=True)["running"]
