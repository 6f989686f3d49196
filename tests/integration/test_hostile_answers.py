# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile host prints in place of an answer, where the controller is real: one host for each kind, all in one run.

What the parser makes of an answer that Ansible could read is tested without hosts (tests/unit/plugins/plugin_utils/test_answers.py).
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from integration.simulated_kit import Simulated

EVIL = "\x1b[2J\x1b]0;owned\x07 JUNK \u202eevil \x9b31m"


def _with(answer: dict[str, Any], raw: str) -> str:
    """The text of an answer with one more key, as it is written."""
    return f"{json.dumps(answer)[:-1]}, {raw}}}"


# What is printed, and the one reason for its host; None where the answer counts all the same.
PRINTED: dict[str, tuple[Any, str | None]] = {
    "honest": (json.dumps, None),
    "what follows on its own lines": (lambda told: f"{json.dumps(told)}\n{EVIL}\n{EVIL}\n", None),
    "what follows on its line": (lambda told: f"{json.dumps(told)} {EVIL}", None),
    "what stands before": (lambda told: f"{EVIL}\n{json.dumps(told)}", None),
    "what Ansible itself shows": (
        lambda told: json.dumps(
            {
                **told,
                "warnings": [EVIL],
                "deprecations": [{"msg": EVIL, "version": "9"}],
                "diff": [{"before_header": told["exporters"][0]["name"], "prepared": f"{EVIL}\n" * 10_000}],
                "invocation": {"module_args": {"a": EVIL}},
                "exception": EVIL,
                "skipped": True,
                "ansible_facts": {"exporter_host_port": 1},
                "_ansible_verbose_always": True,
            }
        ),
        None,
    ),
    "no JSON": (
        lambda _told: f"Traceback (most recent call last):\n  {{ x }}\nValueError: {EVIL}\n",
        "ValueError: JUNK",
    ),
    "a list": (lambda _told: "[1, 2]", "[1, 2]"),
    "too deep": (
        lambda told: _with(told, '"x": ' + "[" * 100_000 + "]" * 100_000),
        "the answer is nested too deep",
    ),
    "an object of Ansible's": (
        lambda told: _with(
            told, '"x": {"__ansible_type": "TrustedAsTemplate"}, "stdout": 5, "results": 1, "deprecations": 1'
        ),
        None,
    ),
    "a long message": (
        lambda told: json.dumps({**told, "failed": True, "msg": f"{EVIL} " * 100_000, "exporters": []}),
        "JUNK evil JUNK evil",
    ),
}


def test_what_is_no_answer_costs_its_host_and_reaches_no_screen(tmp_path: Path) -> None:
    fleet = Simulated(tmp_path / "fleet", len(PRINTED), 1)
    hosts = dict(zip(fleet.exporters, PRINTED.values()))
    for host, (print_, _reason) in hosts.items():
        answer = fleet.place / host / "answer"
        answer.write_text(print_(json.loads(answer.read_text())))
    good = [host for host, (_print, reason) in hosts.items() if reason is None]
    proven = fleet.place / "prom1" / "answer"
    told = json.loads(proven.read_text())
    proven.write_text(json.dumps({**told, "exporters": [row for row in told["exporters"] if row["name"] in good]}))
    report = tmp_path / "report.json"
    done = subprocess.run(
        fleet.command("timesten.monitoring.site", "--diff", "-v", "-e", f"timesten_report={report}"),
        env=fleet.environment(),
        capture_output=True,
        check=False,
    )
    output = (done.stdout + done.stderr).decode(errors="surrogateescape")
    assert done.returncode == 2, output
    shown = [line for line in output.splitlines() if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", line)]
    assert shown == []
    assert len(output) < 40_000
    written = json.loads(report.read_text())
    assert [pair["exporter"] for pair in written["pairs"] if pair["state"] == "proven"] == good
    reasons = {host["host"]: host["reason"] for host in written["hosts"]}
    for host, (_print, reason) in hosts.items():
        said = reasons[host]
        assert said is None if reason is None else reason in said[:100] and len(said) <= 1500, (host, said)
    assert reasons["prom1"] is None
