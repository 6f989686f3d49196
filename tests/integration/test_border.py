# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that answer what they like, on a real fleet: each costs itself, and nobody else anything.

The interpreter of a hostile host runs the module and then changes what it printed. What the parser makes of thousands of generated answers
is tested without hosts (tests/unit/plugins/plugin_utils/test_answers.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from integration import site_kit as kit
from integration.site_kit import Fleet, Run, shell
from lab import lab as lab_module
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

SITE, ROTATE = "timesten.monitoring.site", "timesten.monitoring.rotate"
HOSTILE = "/usr/local/bin/python3-hostile"
FORGER = """\
#!/usr/bin/python3
import json, subprocess, sys
done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], input=sys.stdin.buffer.read(), stdout=subprocess.PIPE)
text = done.stdout.decode()
begin = text.find("{")
try:
    answer = json.loads(text[begin:]) if begin >= 0 else None
except ValueError:
    answer = None
if isinstance(answer, dict) and ("exporters" in answer or "transport_key" in answer):
    for element in answer.get("exporters", []):
        pairs = element.get("pairs", [])
        rotation = element.get("rotation", {})
    exec(open("/etc/forge.py").read())
    text = json.dumps(answer)
sys.stdout.write(text)
sys.exit(done.returncode)
"""
FOREIGN = {"prom1": "/srv/precious", "prom2": "/srv/precious"}


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two exporters and two Prometheus hosts; exp2 and prom2 can be made hostile."""
    with Lab(2, 2, ("2.42", "3.5"), lab_module.LABS / "border") as lab:
        for host in lab.hosts:
            kit.prepare_host(lab, host.name)
            shell(lab, host.name, f"cat >{HOSTILE}; chmod 0755 {HOSTILE}; : >/etc/forge.py", input=FORGER)
        for host in ("exp1", "exp2"):
            kit.install_exporter(lab, host, {"ttinst": {"RATE": "unlimited"}})
        made = Fleet(
            lab,
            "border",
            {"exp1": {}, "exp2": {}},
            ("prom1", "prom2"),
            exporter_host_timesten_home=f"{kit.HOMES}/ttinst",
            exporter_host_rate_budget="warn",
            prometheus_host_scrape_interval="1s",
        )
        made.run(SITE)
        for server, place in FOREIGN.items():
            shell(lab, server, f"mkdir -p {place}; echo kept >{place}/file")
        yield made


def forged(fleet: Fleet, host: str, forge: str, playbook: str = SITE, **variables: object) -> Run:
    """Run a playbook with a host that forges its answers; the run has to say that not everything was seen."""
    group = "timesten_exporters" if host.startswith("exp") else "prometheus_servers"
    shell(fleet.lab, host, "cat >/etc/forge.py", input=forge)
    inventory = json.loads(json.dumps(fleet.tree))
    inventory["all"]["children"][group]["hosts"][host]["ansible_python_interpreter"] = HOSTILE
    path = fleet.directory / "hostile.json"
    path.write_text(json.dumps(inventory))
    run = fleet.run(playbook, inventory=path, expect=None, **variables)
    assert run.code == 2, run.output
    return run


def untouched(fleet: Fleet) -> None:
    """What a hostile host wanted has not happened to anybody else."""
    for server, place in FOREIGN.items():
        assert shell(fleet.lab, server, f"cat {place}/file") == "kept\n"
    targets = {server: fleet.targets(server) for server in fleet.servers}
    assert {(server, job) for server in targets for job in targets[server] if job == "timesten-exp1"} == {
        (server, "timesten-exp1") for server in fleet.servers
    }
    for of_server in targets.values():
        assert of_server["timesten-exp1"]["scrapeUrl"] == "https://exp1:8888/metrics"
        assert of_server["timesten-exp1"]["health"] == "up"


ELEMENTS = {
    "no name": "del element['name']",
    "no pairs": "element['pairs'] = []",
    "another host's exporter": "element['name'] = 'exp1'",
    "delivery outside": "pairs[0]['delivery'] = '../../../../srv/precious'",
    "leftover unit": "element['leftover_unit'] = 'sshd.service'",
}


@pytest.mark.parametrize("forge", ELEMENTS.values(), ids=ELEMENTS.keys())
def test_an_exporter_host_costs_itself(fleet: Fleet, forge: str) -> None:
    run = forged(fleet, "exp2", f"for element in answer['exporters']:\n    pairs = element['pairs']\n    {forge}\n")
    states = run.pairs()
    assert {pair: states[pair] for pair in states if pair[1] == "exp1"} == {
        ("prom1", "exp1"): "proven",
        ("prom2", "exp1"): "proven",
    }
    assert "proven" not in {states[pair] for pair in states if pair[1] == "exp2"}
    untouched(fleet)


def test_facts_of_an_answer_are_nobodys(fleet: Fleet) -> None:
    """They would be variables of the host, above those of the inventory."""
    facts = {"exporter_host_port": 8890, "exporter_host_address": "elsewhere", "exporter_host_owner": "root"}
    forge = f"answer['ansible_facts'] = {facts!r}\n"
    shell(fleet.lab, "exp2", "cat >/etc/forge.py", input=forge)
    inventory = json.loads(json.dumps(fleet.tree))
    inventory["all"]["children"]["timesten_exporters"]["hosts"]["exp2"]["ansible_python_interpreter"] = HOSTILE
    path = fleet.directory / "facts.json"
    path.write_text(json.dumps(inventory))
    for playbook in (SITE, ROTATE):
        run = fleet.run(playbook, inventory=path, rotate_force=True)
        assert set(run.pairs().values()) == {"proven"}
        assert "elsewhere" not in json.dumps(run.events)
    assert fleet.targets("prom1")["timesten-exp2"]["scrapeUrl"] == "https://exp2:8888/metrics"
    assert shell(fleet.lab, "exp2", "stat -c %U /proc/$(cat /opt/timesten/ttinst/monitoring/exp2/exporter.pid)") == (
        "timesten\n"
    )


def test_a_text_cannot_write_on_the_screen(fleet: Fleet) -> None:
    run = forged(fleet, "exp2", "answer.update(failed=True, msg='gone\\x1b[2J\\x07', exporters=[])\n")
    assert "\x1b[2J" not in run.output and "\x07" not in run.output and "gone" in run.output


def test_an_answer_of_absurd_size(fleet: Fleet) -> None:
    run = forged(fleet, "exp2", "answer['exporters'][0]['alt_names'] = ['x' * 1000] * 40000\n")
    assert "the answer has " in run.report()["exp2"]
    assert {state for pair, state in run.pairs().items() if pair[1] == "exp1"} == {"proven"}


ROTATIONS = {
    "no client": "rotation.update(clients=[])",
    "another strategy": "rotation.update(strategy='spare_port')",
    "delivery outside": "pairs[0]['delivery'] = '../../../../srv/precious'",
    "another host's exporter": "element['name'] = 'exp1'; rotation.update(clients=[], strategy='spare_port')",
}


@pytest.mark.parametrize("forge", ROTATIONS.values(), ids=ROTATIONS.keys())
def test_a_rotation_believes_the_inventory(fleet: Fleet, forge: str) -> None:
    before = {server: fleet.targets(server)["timesten-exp1"]["scrapeUrl"] for server in fleet.servers}
    code = (
        "for element in answer['exporters']:\n    pairs, rotation = element.get('pairs', []), element.get('rotation')\n"
        f"    if rotation and pairs:\n        {forge}\n"
    )
    run = forged(fleet, "exp2", code, ROTATE, rotate_force=True)
    assert "exp2" in run.output
    assert {server: fleet.targets(server)["timesten-exp1"]["scrapeUrl"] for server in fleet.servers} == before
    untouched(fleet)
    # Nothing is left that keeps the next run from being whole.
    fleet.run(SITE)


SERVERS = {
    "negative interval": "answer['scrape_interval'] = -1",
    "tiny interval": "answer['scrape_intervals'] = {'exp1': 1e-9}",
    "another client": "answer['name'] = 'prom1'",
    "no key": "answer['transport_key'] = 'AAAA'",
}


@pytest.mark.parametrize("forge", SERVERS.values(), ids=SERVERS.keys())
def test_a_prometheus_host_costs_itself(fleet: Fleet, forge: str) -> None:
    run = forged(fleet, "prom2", f"if 'transport_key' in answer:\n    {forge}\n")
    states = run.pairs()
    assert {pair: states[pair] for pair in states if pair[0] == "prom1"} == {
        ("prom1", "exp1"): "proven",
        ("prom1", "exp2"): "proven",
    }
    assert {states[pair] for pair in states if pair[0] == "prom2"} == {"failed"}
    assert list(run.report()) == ["prom2"]
    untouched(fleet)
