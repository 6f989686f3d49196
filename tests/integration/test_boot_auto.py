# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``exporter_host_boot`` is not set: each host has its exporters brought back by what it has, or says that nothing does.

The tests of the file follow each other on one lab. exp1 has systemd, and its login user may become root; exp2 has systemd and cron, but its login user
may become the instance administrator only; exp3 has neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from integration import site_kit as kit
from integration.site_kit import HOMES, Fleet, shell
from lab import lab as lab_module
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

EXPORTERS = {
    "exp1": [
        {"instance": "sales", "port": 8888},
        # A unit would forbid its rotation by spare_port.
        {"instance": "stock", "port": 8889, "spare_port": 8890},
        {"instance": "plain", "port": 8891, "insecure": True},
    ],
    "exp2": [{"port": 8888}],
    "exp3": [{"port": 8888}],
}
NAMES = ["exp1-sales", "exp1-stock", "exp1-plain", "exp2", "exp3"]
UNITS = ["timesten-exporter-exp1-plain", "timesten-exporter-exp1-sales"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3, 1, ("2.53",), lab_module.LABS / "auto", systemd=("exp1", "exp2")) as running:
        for host in running.hosts:
            kit.prepare_host(running, host.name)
        yield running


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    hosts: dict[str, dict[str, object]] = {}
    for host, exporters in EXPORTERS.items():
        homes = [str(item.get("instance", "ttinst")) for item in exporters]
        kit.install_exporter(lab, host, {home: {"RATE": "unlimited"} for home in homes})
        listed = [{**item, "timesten_home": f"{HOMES}/{home}"} for item, home in zip(exporters, homes)]
        hosts[host] = {"exporter_host_exporters": listed}
    shell(lab, "exp2", "sed -i 's/^deploy .*/deploy ALL=(timesten) NOPASSWD: ALL/' /etc/sudoers")
    shell(lab, "exp3", "echo timesten >/etc/cron.deny")
    made = Fleet(lab, "fleet", hosts, ["prom1"], exporter_host_rate_budget="warn", prometheus_host_scrape_interval="1s")
    variables = made.tree["all"]["vars"]
    # The matter of these tests: nobody sets it.
    del variables["exporter_host_boot"]
    return made


def units(lab: Lab, host: str) -> list[str]:
    shown = shell(lab, host, "ls /etc/systemd/system")
    return sorted(name[:-8] for name in shown.split() if name.startswith("timesten-exporter-") and ".service" in name)


def crontab(lab: Lab, host: str) -> list[str]:
    """The exporters that a crontab starts."""
    text = shell(lab, host, "cat /var/spool/cron/crontabs/timesten 2>/dev/null || true")
    return [line.split()[-1] for line in text.splitlines() if line.startswith("# timesten.monitoring: exporter ")]


def installed(lab: Lab) -> dict[str, tuple[list[str], list[str]]]:
    return {host: (units(lab, host), crontab(lab, host)) for host in EXPORTERS}


NOTHING: dict[str, tuple[list[str], list[str]]] = {host: ([], []) for host in EXPORTERS}
CHOSEN = {"exp1": (UNITS, ["exp1-stock"]), "exp2": ([], ["exp2"]), "exp3": ([], [])}


def told(run: kit.Run) -> str:
    [note] = [note for note in run.ledger["notes"] if "after a reboot" in note]
    assert note in run.output.replace("\n", " ") or note[:60] in run.output
    return str(note)


def test_check_mode(lab: Lab, fleet: Fleet) -> None:
    run = fleet.run("timesten.monitoring.site", "--check", "--diff")
    assert "timesten-exporter-exp1-sales.service is missing" in run.output
    assert "timesten-exporter-exp1-stock" not in run.output and "timesten-exporter-exp2" not in run.output
    assert told(run).startswith("Nothing starts exp3 after a reboot but the next run of timesten.monitoring.site: ")
    assert {name: item["changed"] for name, item in run.exporters().items()} == dict.fromkeys(NAMES, True)
    assert installed(lab) == NOTHING


def test_first_run(lab: Lab, fleet: Fleet) -> None:
    run = fleet.run()
    assert installed(lab) == CHOSEN
    managers = {name: item["process"].get("manager") for name, item in run.exporters().items()}
    assert managers == {name: f"timesten-exporter-{name}.service" if name in UP_BY_UNIT else None for name in NAMES}
    note = told(run)
    assert note.startswith("Nothing starts exp3 after a reboot") and "systemd does not run this host" in note
    assert "crontab -l failed" in note and note.endswith("exporter_host_boot: none says that this is meant so.")
    # Root's call and one more, where root was asked; the exporters beside are asked once.
    assert run.calls == {"exp1": 3, "exp2": 2, "exp3": 1, "prom1": 2}


UP_BY_UNIT = ["exp1-sales", "exp1-plain"]


def test_second_run(lab: Lab, fleet: Fleet) -> None:
    """What was chosen stays, and costs no call."""
    run = fleet.run()
    assert run.changed() == set()
    assert run.calls == {"exp1": 1, "exp2": 1, "exp3": 1, "prom1": 2}
    assert "Nothing starts exp3 after a reboot" in told(run)
    assert installed(lab) == CHOSEN


def test_one_that_says_systemd_beside_others(lab: Lab, fleet: Fleet) -> None:
    """Its unit is looked at by root in every run; those of the others are none of its business."""
    plain = fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp1"]["exporter_host_exporters"][2]
    plain["boot"] = "systemd"
    run = fleet.run()
    del plain["boot"]
    assert (run.changed(), run.calls["exp1"]) == (set(), 2)
    assert installed(lab) == CHOSEN


def test_reboot(lab: Lab, fleet: Fleet) -> None:
    """What the hosts have started by themselves is up again, without a playbook."""
    for host in EXPORTERS:
        lab.kill(host)
    for host in EXPORTERS:
        lab.boot(host)
    fleet.await_health({("prom1", name): "up" if name != "exp3" else "down" for name in NAMES}, 60)
    run = fleet.run()
    assert {host for host, _task in run.changed() if host.startswith("exp")} == {"exp3"}
    fleet.await_health({("prom1", name): "up" for name in NAMES})


def test_rotation_by_spare_port(lab: Lab, fleet: Fleet) -> None:
    """The exporter with a spare port is not refused, and is started after a reboot as before."""
    limit = ("--limit", "exp1:prometheus_servers")
    options = {"rotate_strategy": "spare_port", "rotate_exporters": ["exp1-stock"]}
    assert fleet.run("timesten.monitoring.rotate", *limit, **options).ledger["good"]
    assert installed(lab) == CHOSEN


def test_a_spare_port_takes_the_unit_away(lab: Lab, fleet: Fleet) -> None:
    """The unit would be in the way of its rotation."""
    sales = fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp1"]["exporter_host_exporters"][0]
    sales["spare_port"] = 8892
    run = fleet.run()
    assert run.calls["exp1"] == 3
    assert installed(lab)["exp1"] == ([UNITS[0]], ["exp1-stock", "exp1-sales"])
    assert {name for name, item in run.exporters().items() if item["changed"]} == {"exp1-sales"}


def test_removal_and_another_value(lab: Lab, fleet: Fleet) -> None:
    fleet.run("timesten.monitoring.remove", remove_exporter="exp1-plain")
    assert installed(lab)["exp1"] == ([], ["exp1-stock", "exp1-sales"])
    fleet.run(exporter_host_boot="none", expect=None)
    assert installed(lab) == NOTHING
