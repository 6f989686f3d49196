# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs parts of the tests with pytest, each by itself, and ends with one table and one line that counts them all."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

if not __package__:
    # Run as a program: its directory is no package's then.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from gates.environments import CACHE, ROOT

# Two or three files at a time: a test that plays a playbook or waits for a scrape leaves half of a machine idle. The tests of a
# file stay together, because they share what took long to make.
SIDE_BY_SIDE = ["-n2", "--dist=loadfile"]
# Quick ones first. The value is what pytest gets.
PARTS = {
    "lint": ["tests/gates/test_lint.py", "tests/gates/test_repository.py", "tests/gates/test_environments.py"],
    "docs": ["tests/gates/test_docs.py", "tests/gates/test_platforms.py", "tests/docs"],
    "sanity": ["tests/gates/test_sanity.py"],
    "unit": ["tests/unit", *SIDE_BY_SIDE],
    "build": ["tests/gates/test_build.py", "tests/gates/test_release.py"],
    # One by one: the first two take longest, and would else go to one worker.
    "compat": ["tests/gates/test_compat.py", "-n2", "--dist=loadgroup"],
    "integration": ["tests/integration", "-m", "not alone", "-n3", "--dist=loadfile"],
    "rotation": ["tests/integration", "-m", "alone", *SIDE_BY_SIDE],
    "lab": ["tests/lab", "-m", "lab"],
    "bench": ["tests/bench"],
}
NOT_IN_ALL = {"bench"}
# In a run of all parts these go in lanes, beside each other, first of all; what they print comes part by part. A rotation
# is judged by the scrapes that it loses, but waits most of its time: the others take what it leaves (see _yield_to_all).
FIRST = (("rotation",), ("sanity", "build"), ("lint", "docs", "unit", "compat"))
NEEDS_THE_MACHINE = "rotation"
# Sessions of parts that run now: a terminal's Ctrl-C does not reach them.
SESSIONS: set[int] = set()
# The lab makes network and mount namespaces.
NEED_ROOT = {"integration", "rotation", "lab"}


@dataclass
class Outcome:
    """What one part came to; ``note`` says why it did not run, or what else is to be known."""

    part: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def run(part: str, arguments: Sequence[str], *, at_once: bool = False) -> Outcome:
    """Run one part and count its tests; a part that could not even start counts as one failure.

    ``at_once`` prints what it said in one piece at its end, for parts that run beside others.
    """
    outcome = Outcome(part)
    if part in NEED_ROOT and os.geteuid() != 0:
        outcome.note = "left out: needs root"
        return outcome
    report = CACHE / "results" / f"{part}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    targets = [word for word in PARTS[part] if not word.startswith("tests/") or (ROOT / word).exists()]
    if not any(word.startswith("tests/") for word in targets):
        outcome.note = f"{PARTS[part][0]} is not there"
        outcome.failed = 1
        return outcome
    title = f"\n== {part}: pytest {' '.join([*targets, *arguments])}\n"
    if not at_once:
        print(title, end="", flush=True)
    started = time.monotonic()
    pytest = [sys.executable, "-m", "pytest", f"--junitxml={report}", *targets, *arguments]
    # Programs of the virtualenv (ansible-playbook, ruff) are found by their names.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    env = {**os.environ, "PATH": path}
    where: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if at_once else {}
    # A session of its own, because Linux weighs sessions against each other before it looks at the priority of a process.
    yields = at_once and part != NEEDS_THE_MACHINE
    with subprocess.Popen(pytest, cwd=ROOT, env=env, start_new_session=yields, **where) as process:
        if yields:
            SESSIONS.add(process.pid)
            _yield_to_all(process.pid)
        said = process.communicate()[0]
        SESSIONS.discard(process.pid)
    code = process.returncode
    outcome.seconds = time.monotonic() - started
    if at_once:
        print(title + said, flush=True)
    if report.is_file():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            count = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
            outcome.failed += count["failures"] + count["errors"]
            outcome.skipped += count["skipped"]
            outcome.passed += count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
        outcome.note = f"pytest ended with {code}"
    return outcome


def _yield_to_all(session: int) -> None:
    """Give a session the lowest priority, against others (sched(7), autogroups) and within."""
    with contextlib.suppress(OSError):  # over already, or a kernel without autogroups
        os.setpriority(os.PRIO_PGRP, session, 19)
        Path(f"/proc/{session}/autogroup").write_text("19", encoding="ascii")


def run_all(parts: Sequence[str], arguments: Sequence[str]) -> list[Outcome]:
    """Run parts in their order, but those of FIRST beside each other, first of all."""
    lanes = [[part for part in lane if part in parts] for lane in FIRST]
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        begun = pool.map(lambda lane: [run(part, arguments, at_once=True) for part in lane], lanes)
        try:
            outcomes = [outcome for lane in begun for outcome in lane]
        except KeyboardInterrupt:
            for session in list(SESSIONS):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(session, signal.SIGINT)
            os._exit(130)  # no lane begins with its next part
    outcomes += [run(part, arguments) for part in parts if not any(part in lane for lane in lanes)]
    return sorted(outcomes, key=lambda outcome: parts.index(outcome.part))


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--all", action="store_true", help="all parts but bench")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    arguments = sys.argv[split + 1 :]
    unknown = sorted(set(options.part) - set(PARTS))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are: {', '.join(PARTS)})")
    parts = [part for part in PARTS if part not in NOT_IN_ALL] if options.all else options.part

    outcomes = run_all(parts, arguments) if options.all else [run(part, arguments) for part in parts]
    left_out = [outcome for outcome in outcomes if outcome.note.startswith("left out")]
    if len(outcomes) == 1 and not left_out and not outcomes[0].note:
        return 1 if outcomes[0].failed else 0

    print(f"\n{'part':<12}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    for o in outcomes:
        print(f"{o.part:<12}{o.passed:>8}{o.failed:>8}{o.skipped:>8}{o.seconds:>9.1f}  {o.note}".rstrip())
    failed = sum(o.failed for o in outcomes)
    print(f"{sum(o.passed for o in outcomes)} passed, {failed} failed, {sum(o.skipped for o in outcomes)} skipped")
    # Asked for by name, a part that cannot run is a failure; among all parts it is only named.
    return 1 if failed or (left_out and not options.all) else 0


if __name__ == "__main__":
    sys.exit(main())
