# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller costs by itself: a second run of timesten.monitoring.site beside the floor, over hosts that are simulated.

    controller.py 10x2 40x2 100x2 --rounds 3

The hosts' work is a shell script that prints what the module would answer, so the CPU is that of Ansible and of our plugins. Each round runs the
floor and right after it the site.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from integration.simulated_kit import Simulated

BENCH = Path(__file__).resolve().parent
SIZES = ("10x2", "40x2", "100x2")
PLAYBOOKS = {"floor": str(BENCH / "floor.yml"), "site": "timesten.monitoring.site"}


def run(fleet: Simulated, playbook: str) -> dict[str, float]:
    """Run a playbook; return seconds, CPU seconds, the peak of the main process in MiB, and the load before."""
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            fleet.command(playbook),
            env=fleet.environment(ANSIBLE_FORKS="20"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{playbook} ended with {process.returncode}:\n{output.read().decode()[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "mib": usage.ru_maxrss / 1024, "load": load}


def measure(size: str, rounds: int) -> dict[str, Any]:
    """Return medians of a size."""
    exporters, servers = map(int, size.split("x"))
    with tempfile.TemporaryDirectory() as place:
        fleet = Simulated(Path(place) / "fleet", exporters, servers)
        runs = [{way: run(fleet, playbook) for way, playbook in PLAYBOOKS.items()} for _round in range(rounds)]
    figures: dict[str, Any] = {"size": size, "hosts": exporters + servers, "rounds": rounds}
    for way in PLAYBOOKS:
        figures[way] = {key: statistics.median(item[way][key] for item in runs) for key in runs[0][way]}
    for key in ("cpu", "seconds"):
        figures[f"{key}_ratio"] = statistics.median(item["site"][key] / item["floor"][key] for item in runs)
    return figures


def main() -> int:
    """Measure the sizes of the command line, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    before = None
    print(
        "| size | load | floor, CPU s | site, CPU s | ratio | per added host | floor, s | site, s | ratio | peak, MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in arguments.sizes:
        figures = measure(size, arguments.rounds)
        floor, site = figures["floor"], figures["site"]
        added = "-"
        if before is not None:
            more = figures["hosts"] - before["hosts"]
            grown = {way: (figures[way]["cpu"] - before[way]["cpu"]) / more for way in PLAYBOOKS}
            added = f"{grown['site']:.3f} / {grown['floor']:.3f} s = {grown['site'] / grown['floor']:.2f}"
        cells = [
            size,
            f"{site['load']:.1f}",
            f"{floor['cpu']:.2f}",
            f"{site['cpu']:.2f}",
            f"{figures['cpu_ratio']:.2f}",
            added,
        ]
        cells += [
            f"{floor['seconds']:.1f}",
            f"{site['seconds']:.1f}",
            f"{figures['seconds_ratio']:.2f}",
            f"{site['mib']:.0f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
        print(json.dumps(figures), file=sys.stderr, flush=True)
        before = figures
    return 0


if __name__ == "__main__":
    sys.exit(main())
