# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations with one host that answers what it likes: the others are rotated and proven, and nothing of theirs is touched.

The interpreter of the hostile host runs the module and then changes what it printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from integration import rotation_kit
from integration.exporter_kit import until

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BOTH = ("prom1", "prom2")
FORCE = ("-e", "rotate_force=true")
FORGER = """\
#!{python}
import json, pathlib, subprocess, sys
done = subprocess.run([{python!r}, *sys.argv[1:]], input=sys.stdin.buffer.read(), stdout=subprocess.PIPE)
text = done.stdout.decode()
begin = text.find("{{")
try:
    answer = json.loads(text[begin:]) if begin >= 0 else None
except ValueError:
    answer = None
if isinstance(answer, dict) and "invocation" in answer:
    elements = answer.get("exporters", [])
    for element in elements or [{{}}]:
        pairs, rotation = element.get("pairs") or [], element.get("rotation") or {{}}
        exec(pathlib.Path({forge!r}).read_text())
    text = json.dumps(answer)
sys.stdout.write(text)
sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rotation_kit.Fleet]:
    """exp2 and prom2 can be made hostile. Beside the stores lies what is nobody's business."""
    with rotation_kit.fleet(tmp_path_factory.mktemp("forged"), 2.0, exporters=2, RATE="unlimited") as made:
        (made.root / "precious").mkdir()
        (made.root / "precious/file").write_text("kept")
        made.play("site")
        yield made


def play(
    fleet: rotation_kit.Fleet, hostile: str, forge: str, name: str, *options: str, fails: bool | None = True
) -> str:
    """Run a playbook with a hostile host."""
    forger, code = fleet.root / "forger", fleet.root / "forge.py"
    forger.write_text(FORGER.format(python=sys.executable, forge=str(code)))
    forger.chmod(0o755)
    code.write_text(forge)
    path = fleet.root / "inventory.json"
    tree = json.loads(path.read_text())
    group = "timesten_exporters" if hostile.startswith("exp") else "prometheus_servers"
    tree["all"]["children"][group]["hosts"][hostile]["ansible_python_interpreter"] = str(forger)
    path.write_text(json.dumps(tree))
    try:
        return fleet.play(name, *options, fails=fails)
    finally:
        fleet.write()


def heals(fleet: rotation_kit.Fleet) -> None:
    """Nobody has lost anything, and nothing is left that keeps the next run from being whole."""
    assert (fleet.root / "precious/file").read_text() == "kept"
    until(fleet.quiet, 200, "the end of the detached processes")
    fleet.play("site")
    assert set(fleet.states().values()) == {"proven"}
    for server in BOTH:
        until(lambda server=server: all(up == "up" for up, _at in fleet.targets(server).values()), 30, "all being up")
        assert sorted(fleet.targets(server)) == ["timesten-exp1", "timesten-exp2"]


BROKEN = """\
for wallet in pathlib.Path("HOME").glob(f"monitoring/exp2/generations/{rotation.get('to')}/.ttwallet.*/cwallet.sso"):
    wallet.write_bytes(b"no wallet")
if "status" in element and element["status"] != "waiting":
    element.update(status="switched", error=None)
"""
EXPORTER_HOSTS = {
    "no client": "if rotation: rotation.update(clients=[])",
    "another strategy": "if rotation: rotation.update(strategy='spare_port'); element['spare'] = True",
    "another host's exporter": "if rotation: element['name'] = 'exp1'; rotation.update(clients=[], strategy='spare_port')",
    "delivery outside": "if pairs: pairs[0]['delivery'] = '../../../precious'",
    "says that it has switched": BROKEN,
    "says nothing of the switch": "if 'status' in element: answer['exporters'] = []",
}


@pytest.mark.parametrize("forge", EXPORTER_HOSTS.values(), ids=EXPORTER_HOSTS.keys())
def test_an_exporter_host_costs_itself(fleet: rotation_kit.Fleet, forge: str) -> None:
    before = fleet.current("exp1")
    code = forge.replace("HOME", str(fleet.instances["exp2"].home))
    output = play(fleet, "exp2", code + "\n", "rotate", *FORCE, "-e", "rotate_confirm=5")
    report = fleet.report()
    lines = {line.partition(": ")[0]: line.partition(": ")[2] for line in report["rotations"]}
    assert lines["exp1"].startswith("switched, "), output
    assert not lines["exp2"].startswith("switched, "), output
    assert {(pair["exporter"], pair["state"]) for pair in report["pairs"]} == {("exp1", "proven")}
    assert fleet.current("exp1") != before
    assert all(fleet.delivery(server, "exp1").startswith(fleet.current("exp1")) for server in BOTH)
    heals(fleet)
    assert all(fleet.delivery(server, "exp2").startswith(fleet.current("exp2")) for server in BOTH)


PROMETHEUS_HOSTS = {
    "negative interval": "for scrape in answer.get('scrapes', {}).values(): scrape['interval'] = -1",
    "another client": "if 'scrapes' in answer: answer['name'] = 'prom1'",
    "says that nothing is up": "for key in ('up', 'accepted'): element.update({key: False} if key in element else {})",
}


@pytest.mark.parametrize("forge", PROMETHEUS_HOSTS.values(), ids=PROMETHEUS_HOSTS.keys())
def test_a_prometheus_host_that_may_be_missing_costs_itself(fleet: rotation_kit.Fleet, forge: str) -> None:
    """Where it has to take part, it can keep exporters from being rotated, but from nothing else."""
    before = {name: fleet.current(name) for name in fleet.instances}
    play(fleet, "prom2", forge + "\n", "rotate", *FORCE)
    report = fleet.report()
    assert report["pairs"] == [] and all("prom2" in line for line in report["rotations"])
    assert {name: fleet.current(name) for name in fleet.instances} == before
    options = ("-e", "rotate_optional=prom2", "-e", "rotate_exporters=exp1")
    play(fleet, "prom2", forge + "\n", "rotate", *FORCE, *options, fails=None)
    report = fleet.report()
    assert report["rotations"][0].startswith("exp1: switched, ")
    proven = {(pair["exporter"], pair["client"]) for pair in report["pairs"] if pair["state"] == "proven"}
    # It may have told the truth in the end.
    assert ("exp1", "prom1") in proven and report["good"] == (("exp1", "prom2") in proven)
    assert fleet.current("exp1") != before["exp1"] and fleet.current("exp2") == before["exp2"]
    heals(fleet)
