# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter that a unit of its owner's runs, under a real systemd: refused with the way out, and taken over that way into a unit of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from integration import site_kit as kit
from integration.site_kit import Fleet, shell
from lab import lab as lab_module
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

HOME = f"{kit.HOMES}/ttinst"
WALLET = "/home/timesten/mycertdir"
OURS = "timesten-exporter-exp1.service"
UTILITY = f"{HOME}/bin/ttenv ttExporter"
EXPORTER = f"{UTILITY} -port 8888 -certificate-directory {WALLET} -pid-file /home/timesten/tt.pid"
AS_OWNER = "setpriv --reuid timesten --regid timesten --clear-groups env HOME=/home/timesten"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1, 1, ("2.53",), lab_module.LABS / "takeover", systemd=("exp1",)) as running:
        for host in running.hosts:
            kit.prepare_host(running, host.name)
        kit.install_exporter(running, "exp1", {"ttinst": {"RATE": "unlimited", "NAME": "exec"}})
        names = "-certificate-common-name exp1 -certificate-alt-names exp1"
        shell(running, "exp1", f"install -d -o timesten -g timesten /home/timesten {WALLET}")
        shell(
            running, "exp1", f"{AS_OWNER} {UTILITY} -create-server-certificate {names} -certificate-directory {WALLET}"
        )
        shell(running, "exp1", f"systemd-run --quiet --unit=hand.service --uid=timesten {EXPORTER}")
        yield running


def pid(lab: Lab) -> int:
    """Wait until the exporter's port listens, and return the pid in the pid file that was made by hand."""
    kit.until(lambda: ":8888" in shell(lab, "exp1", "ss -ltn || true"), 20, lambda: "nothing listens")
    return int(shell(lab, "exp1", "cat /home/timesten/tt.pid"))


def test_a_unit_of_the_owners(lab: Lab) -> None:
    fleet = Fleet(
        lab,
        "fleet",
        {"exp1": {}},
        ["prom1"],
        exporter_host_timesten_home=HOME,
        exporter_host_boot="systemd",
        exporter_host_takeover=True,
        prometheus_host_scrape_interval="1s",
        exporter_host_rate_budget="warn",
    )
    before = pid(lab)
    run = fleet.run(expect=None)
    assert run.code != 0
    told = run.report()["exp1"]
    assert "systemctl disable --now hand.service" in told and "exporter_host_takeover to true" in told
    assert pid(lab) == before
    # Not even a unit was made, which takes root and comes first.
    assert "timesten-exporter" not in shell(lab, "exp1", "ls /etc/systemd/system")
    assert not lab.disk_file("exp1", f"{HOME}/monitoring").exists()
    # The way out: without the unit, and with the same wallet.
    shell(lab, "exp1", "systemctl stop hand.service")
    shell(lab, "exp1", f"setsid {AS_OWNER} {EXPORTER} >/dev/null 2>&1 </dev/null &")
    kit.until(lambda: pid(lab) != before, 20, lambda: "it was not started by hand")
    found = fleet.run().exporters()["exp1"]
    assert f"takes over the wallet in {WALLET}, which is served" in found["why"]
    assert found["process"]["manager"] == OURS
    assert fleet.health() == {("prom1", "exp1"): "up"}
    assert not fleet.run().changed()
