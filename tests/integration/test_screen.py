# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a large fleet in which nothing is wrong: 60 exporters, 3 Prometheus servers, whose modules are simulated."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from integration.simulated_kit import Simulated

SCREEN = """\

PLAY [Check inventory, variables and limit] *

TASK [Nothing is wrong] *

PLAY [Look at the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Look at the Prometheus instances] *
{servers}

PLAY [Converge the exporter hosts] *

TASK [timesten.monitoring.exporter_host : Make, issue, start, prove] *
{exporters}

PLAY [Converge the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Store, configure, reload, prove] *
{servers}

PLAY [Rotate what is due] *

TASK [Nothing is due] *

PLAY [Report] *

TASK [Say what was seen] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.

ok: [exp1]

PLAY RECAP *
"""
QUIET = """\

PLAY [Check inventory, variables and limit] *

PLAY [Verify] *

PLAY [Report] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.


PLAY RECAP *
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("screen"), 60, 3)


def screen(fleet: Simulated, playbook: str, *options: str, **settings: str) -> list[str]:
    """What a run prints, without the stars of its headings and its recap."""
    done = subprocess.run(
        fleet.command(f"timesten.monitoring.{playbook}", *options),
        env=fleet.environment(**settings),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.rstrip("*").rstrip() + " *" if line.endswith("***") else line for line in done.stdout.splitlines()]
    return lines[: lines.index("PLAY RECAP *") + 1]


def test_a_clean_site_of_60_exporters(fleet: Simulated) -> None:
    hosts = {"servers": fleet.servers, "exporters": fleet.exporters}
    expected = SCREEN.format(**{key: "\n".join(f"ok: [{name}]" for name in names) for key, names in hosts.items()})
    seen = screen(fleet, "site")
    # Hosts come in the order in which they are done.
    assert sorted(seen) == sorted(expected.splitlines()), "\n".join(seen)
    table = next(number for number, line in enumerate(seen) if line.startswith("exporter  Prometheus"))
    # One line for each host and step, and nothing but headings beside that.
    assert table - (len(fleet.exporters) + 2 * len(fleet.servers)) <= 25


def test_who_wants_to_see_only_what_is_not_as_it_should_be(fleet: Simulated) -> None:
    seen = screen(fleet, "verify", ANSIBLE_DISPLAY_OK_HOSTS="0", ANSIBLE_DISPLAY_SKIPPED_HOSTS="0")
    assert seen == QUIET.splitlines(), "\n".join(seen)


def test_each_wave_costs_its_own_hosts_alone(fleet: Simulated, tmp_path: Path) -> None:
    """Three waves of two of five exporters: what each task of each host is, in its order. All exporters are left alone."""
    named = ["exp1", "exp2", "exp3", "exp4", "exp5"]
    record = tmp_path / "record.jsonl"
    seen = screen(
        fleet,
        "rotate",
        "--check",
        "--extra-vars",
        json.dumps({"rotate_wave": 2, "rotate_exporters": named, "rotate_only_due": True}),
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callbacks")),
        ANSIBLE_CALLBACKS_ENABLED="record",
        RECORD_FILE=str(record),
    )
    told = [line for line in seen if line.endswith("left alone: its wallet is neither due nor changed")]
    assert [line.split(":")[0].strip() for line in told] == named
    events = [json.loads(line) for line in record.read_text().splitlines()]
    forked = [(e["event"], e["task"], e["host"]) for e in events if not e["action"].endswith(("meta", "include_tasks"))]
    # Of one task, hosts come in the order in which they are done.
    steps: dict[tuple[str, str], dict[int, list[str]]] = {}
    last, number = None, 0
    for event, task, host in forked:
        last, number = task, number + (task != last)
        steps.setdefault((event, task), {}).setdefault(number, []).append(host)
    waves = [["exp1", "exp2"], ["exp3", "exp4"], ["exp5"]]
    assert {key: [sorted(hosts) for hosts in found.values()] for key, found in steps.items()} == {
        # Only in the first wave hosts of another one have to be told apart.
        ("skipped", "Take part in the wave"): [["exp3", "exp4", "exp5"]],
        ("ok", "Take part in the wave"): [sorted(wave + fleet.servers) for wave in waves],
        ("ok", "Look at the Prometheus hosts"): [fleet.servers] * 3,
        ("ok", "Make the new generations ready"): waves,
        ("ok", "Deliver the new pairs beside those in use"): [fleet.servers] * 3,
        ("ok", "Choose the moments"): [wave[:1] for wave in waves],
        ("ok", "Keep a record of the wave"): [wave[:1] for wave in waves],
        ("ok", "Say what was seen"): [["exp1"]],
    }
