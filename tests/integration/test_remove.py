# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves: an exporter, a Prometheus, everything; and what stays as it was before us, byte for byte.

One fleet on this machine, in order: prom1 has the layout inline, prom2 files, and prom3 a job that was adopted.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe
from integration import rotation_kit
from integration.exporter_kit import until
from integration.rotation_kit import said

REMOVE, SITE = "remove", "site"
OWN = """\
# The owner's own file:   odd   spacing stays.
global:
  scrape_interval:     1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: 'itself'   # a comment
    static_configs: [{targets: ["127.0.0.1:9"]}]
"""
ADOPTED = """\
  - job_name: hand-written
    scheme: https
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: ["localhost:PORT"]}]
"""


class Site:
    """The fleet, and an inventory that changes."""

    def __init__(self, fleet: rotation_kit.Fleet) -> None:
        self.fleet = fleet
        self.before = {
            name: server.directory.joinpath("prometheus.yml").read_bytes() for name, server in fleet.servers.items()
        }

    def inventory(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the groups of the inventory."""
        path = self.fleet.root / "inventory.json"
        tree = json.loads(path.read_text())
        change(tree["all"]["children"])
        path.write_text(json.dumps(tree))

    def forget_host(self, group: str, *names: str) -> None:
        """Take hosts out of the inventory."""

        def change(children: dict[str, Any]) -> None:
            for name in names:
                del children[group]["hosts"][name]

        self.inventory(change)

    def jobs(self, server: str) -> dict[str, str]:
        """Health of our jobs, by exporter, as the Prometheus itself says."""
        data = json.loads(self.fleet.servers[server].get("/api/v1/targets") or b"")["data"]["activeTargets"]
        pools = {item["scrapePool"]: item["health"] for item in data}
        return {name.replace("timesten-", ""): health for name, health in pools.items() if name != "itself"}

    def config(self, server: str) -> bytes:
        return self.fleet.servers[server].directory.joinpath("prometheus.yml").read_bytes()

    def is_as_before(self, server: str) -> bool:
        return hashlib.sha256(self.config(server)).digest() == hashlib.sha256(self.before[server]).digest()

    def store(self, server: str) -> pathlib.Path:
        return self.fleet.servers[server].directory / "timesten"

    def manifest(self, exporter: str) -> dict[str, Any]:
        return json.loads((self.fleet.directory(exporter) / "current/manifest.json").read_text())

    def state(self) -> dict[str, Any]:
        """Everything that a removal could change, less times."""
        places = [self.store(server).parent for server in self.fleet.servers]
        places += [self.fleet.directory(exporter) for exporter in self.fleet.instances]
        state = {}
        for place in places:
            for folder, _folders, files in os.walk(place):
                if "data" not in pathlib.Path(folder).relative_to(place).parts[:1]:
                    names = [name for name in files if name not in (".lock", "lock") and not name.endswith(".log")]
                    state.update(
                        {os.path.join(folder, name): pathlib.Path(folder, name).read_bytes() for name in names}
                    )
        return state


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    versions = ("2.42", "3.5", "2.42")
    with rotation_kit.fleet(tmp_path_factory.mktemp("remove"), 1.0, versions, exporters=4, RATE="unlimited") as fleet:
        for name, server in fleet.servers.items():
            text = OWN + (ADOPTED.replace("PORT", str(fleet.port("exp3"))) if name == "prom3" else "")
            (server.directory / "prometheus.yml").write_text(text)
        made = Site(fleet)

        def change(children: dict[str, Any]) -> None:
            hosts = children["prometheus_servers"]["hosts"]
            hosts["prom2"]["prometheus_host_layout"] = "files"
            hosts["prom3"]["prometheus_host_on_existing"] = "adopt"

        made.inventory(change)
        fleet.play(SITE)
        yield made


def changed(output: str) -> int:
    """Number of changed tasks of a run."""
    return sum(
        int(line.split("changed=")[1].split()[0])
        for line in output.splitlines()
        if "changed=" in line and "unreachable=" in line
    )


def test_before(site: Site) -> None:
    every = {f"exp{number}": "up" for number in range(1, 5)}
    assert site.jobs("prom1") == site.jobs("prom2") == every
    assert site.jobs("prom3") == {**{name: "up" for name in every if name != "exp3"}, "hand-written": "up"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-e", "remove_exporter=exp9"],
            "there is no exporter 'exp9', neither in the inventory nor on a Prometheus host; there are exp1, exp2, exp3, exp4",
        ),
        (
            ["-e", "remove_prometheus=prom9"],
            "there is no client prom9, neither in the inventory nor with a pair of an exporter of this run; "
            "nothing was changed. Those with a pair are prom1, prom2, prom3",
        ),
        (
            ["-e", "remove_exporter=exp1", "--limit", "exp1:prom1"],
            "--limit leaves out prom2, prom3, where something has to be removed",
        ),
    ],
    ids=["unknown exporter", "unknown client", "limit"],
)
def test_wrong_orders_change_nothing(site: Site, options: list[str], message: str) -> None:
    before = site.state()
    output = site.fleet.play(REMOVE, *options, fails=True)
    assert message in said(output)
    assert "Traceback" not in output
    assert site.state() == before


def test_one_exporter(site: Site) -> None:
    before = site.state()
    plan = site.fleet.play(REMOVE, "-e", "remove_exporter=exp1", "--check", "--diff")
    assert "-  - job_name: timesten-exp1" in plan and "generations" in plan and changed(plan) == 4
    assert site.state() == before and site.jobs("prom1")["exp1"] == "up"

    directory = site.fleet.directory("exp1")
    output = site.fleet.play(REMOVE, "-e", "remove_exporter=exp1")
    assert changed(output) == 4
    assert "Take exp1 out of the inventory, or the next run of timesten.monitoring.site brings it back" in said(output)
    assert not site.fleet.instances["exp1"].exporters()
    assert not directory.exists()
    for server in site.fleet.servers:
        assert "exp1" not in site.jobs(server) and not (site.store(server) / "exp1").exists()
        assert set(site.jobs(server).values()) == {"up"}
    assert changed(site.fleet.play(REMOVE, "-e", "remove_exporter=exp1")) == 0
    site.forget_host("timesten_exporters", "exp1")


def test_exporters_that_left_the_inventory(site: Site) -> None:
    """Named at the end of site; one is removed by its name, the other by purge, which needs every exporter's host."""
    site.forget_host("timesten_exporters", "exp2", "exp4")
    output = said(site.fleet.play(SITE))
    assert "exp2, exp4 (prom1, prom2, prom3)" in output and "not in this inventory" in output

    output = said(site.fleet.play(REMOVE, "-e", "remove_exporter=exp4"))
    assert "exp4 is not in the inventory, so nothing was done on its host" in output
    assert site.fleet.instances["exp4"].exporters()
    assert all("exp4" not in site.jobs(server) and "exp2" in site.jobs(server) for server in site.fleet.servers)

    output = said(site.fleet.play(SITE, "-e", "prometheus_host_purge=true"))
    assert "not in this inventory" not in output
    for server in site.fleet.servers:
        assert set(site.jobs(server)) == {"hand-written" if server == "prom3" else "exp3"}
        assert not (site.store(server) / "exp2").exists()


def test_one_prometheus(site: Site, tmp_path: pathlib.Path) -> None:
    """Its configuration is as before us; the exporters forget it; its pair still works until it is evicted."""
    pair = shutil.copytree(site.store("prom2") / "exp3" / "current", tmp_path / "pair")
    files = [str(pair / name) for name in ("ca.crt", "client.crt", "client.key")]
    plan = site.fleet.play(REMOVE, "-e", "remove_prometheus=prom2", "--check", "--diff")
    assert "-scrape_config_files:" in plan
    assert site.manifest("exp3")["pairs"]["prom2"]["delivery"] and changed(plan) == 2

    output = said(site.fleet.play(REMOVE, "-e", "remove_prometheus=prom2"))
    assert site.is_as_before("prom2")
    assert not site.store("prom2").exists()
    assert f"clients.{site.manifest('exp3')['generation']}: prom1, prom2, prom3 -> prom1, prom3" in plan
    assert sorted(os.listdir(site.store("prom2").parent)) == ["data", "prometheus.log", "prometheus.yml"]
    assert site.jobs("prom2") == {}
    assert sorted(site.manifest("exp3")["pairs"]) == ["probe", "prom1", "prom3"]
    assert site.jobs("prom1") == {"exp3": "up"}

    port = site.fleet.port("exp3")
    assert _tls_probe.tls("localhost", port, *files).status == _tls_probe.ACCEPTED
    assert "only new wallets take that access away: ansible-playbook timesten.monitoring.evict -e evict=prom2" in output
    # The manifests know of it although its pair was forgotten and its host has left the inventory, so that it can still be evicted.
    site.forget_host("prometheus_servers", "prom2")
    site.fleet.play("evict", "-e", "evict=prom2", "-e", "rotate_force=true")
    assert _tls_probe.tls("localhost", port, None, *files[1:]).status == _tls_probe.REFUSED
    until(lambda: site.jobs("prom1") == {"exp3": "up"}, 20, "prom1 scraping exp3")
    generation = site.manifest("exp3")["generation"]
    site.fleet.play("evict", "-e", "evict=prom2", "-e", "rotate_force=true")
    assert site.manifest("exp3")["generation"] == generation, "it has no access any more that could be taken away"
    typo = said(site.fleet.play("evict", "-e", "evict=prom22", "-e", "rotate_force=true", fails=True))
    assert "has issued a pair to prom22, so it had no access" in typo
    # One that left the inventory is known by the exporters alone; now no longer.
    assert "there is no client prom2" in said(site.fleet.play(REMOVE, "-e", "remove_prometheus=prom2", fails=True))


def test_a_dead_prometheus_keeps_its_exporters(site: Site) -> None:
    """Else it would go on scraping what is gone; once it is out of the inventory, the exporters can go."""
    server = site.fleet.servers["prom1"]
    server.stop()
    before = site.state()
    output = said(site.fleet.play(REMOVE, "-e", "remove_everything=true", fails=True))
    assert "does not answer" in output and "prometheus_host_running: false" in output
    assert site.fleet.instances["exp3"].exporters()
    assert "exp3: it was not begun" in output and "Take the hosts out of the inventory" not in output
    # The other one has let go of it; that is for the next run to find done.
    after = site.state()
    server.start()
    assert {path: data for path, data in after.items() if "prom3" not in path} == {
        path: data for path, data in before.items() if "prom3" not in path
    }


def test_everything(site: Site) -> None:
    site.fleet.play(REMOVE, "-e", "remove_everything=true")
    assert site.is_as_before("prom1") and not site.store("prom1").exists()
    assert not site.fleet.instances["exp3"].exporters() and not site.fleet.directory("exp3").exists()
    # The adopted job is a plain one now, with the files that it names.
    left = site.config("prom3").decode()
    assert "BEGIN timesten.monitoring" not in left and "job_name: hand-written" in left
    assert os.listdir(site.store("prom3")) == ["exp3"] and str(site.store("prom3") / "exp3/current") in left
    assert changed(site.fleet.play(REMOVE, "-e", "remove_everything=true")) == 0
