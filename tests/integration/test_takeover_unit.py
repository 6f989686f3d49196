# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter that a unit of its owner's runs, under a real systemd: refused with the way out, and taken over that way into a unit of ours.

Two servers scrape it by hand-written jobs all the time, also while its host gets another name.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.parse
from collections.abc import Iterator

import pytest
import yaml

from gates.doc_examples import example
from integration import site_kit as kit
from integration.site_kit import Fleet, shell
from lab import lab as lab_module
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.alone,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

BOTH = ("prom1", "prom2")
INTERVAL = 5.0
JOB = "tt_8888"
HOME = f"{kit.HOMES}/ttinst"
OWNER = "/home/timesten"
WALLET = f"{OWNER}/mycertdir"
OURS = "timesten-exporter-exp1.service"
UTILITY = f"{HOME}/bin/ttenv ttExporter"
EXPORTER = f"{UTILITY} -port 8888 -certificate-directory {WALLET} -pid-file {OWNER}/tt.pid"
AS_OWNER = f"setpriv --reuid timesten --regid timesten --clear-groups env HOME={OWNER}"
UNIT = f"[Service]\nUser=timesten\nExecStart={EXPORTER}\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"
PAIR = ("server.crt", "client.crt", "client.key")
BY_HAND = f"""\
scrape_configs:
  - job_name: {JOB}
    scrape_interval: {INTERVAL:g}s
    scheme: https
    tls_config: {{ca_file: by-hand/server.crt, cert_file: by-hand/client.crt, key_file: by-hand/client.key}}
    static_configs: [{{targets: ["exp1:8888"]}}]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(1, 2, ("2.53", "2.42"), lab_module.LABS / "takeover", systemd=("exp1",)) as running:
        for host in running.hosts:
            kit.prepare_host(running, host.name)
        kit.install_exporter(running, "exp1", {"ttinst": {"RATE": "unlimited", "NAME": "exec"}})
        names = "-certificate-common-name exp1 -certificate-alt-names exp1"
        script = f"install -d -o timesten -g timesten {OWNER} {WALLET}; cd {OWNER}\n"
        for options in (
            f"-create-server-certificate {names}",
            "-export-server-certificate server.crt",
            "-export-client-certificate client.crt -export-client-private-key client.key",
        ):
            script += f"{AS_OWNER} {UTILITY} {options} -certificate-directory {WALLET}\n"
        shell(running, "exp1", script)
        unit = "cat >/etc/systemd/system/hand.service; systemctl daemon-reload; systemctl enable --now hand.service"
        shell(running, "exp1", unit, input=UNIT)
        pair = {name: shell(running, "exp1", f"cat {OWNER}/{name}") for name in PAIR}
        for server in BOTH:
            shell(running, server, "install -d -m 0755 /etc/prometheus/by-hand")
            for name, text in pair.items():
                path = f"/etc/prometheus/by-hand/{name}"
                shell(running, server, f"cat >{path}; chown prometheus {path}; chmod 0400 {path}", input=text)
            shell(running, server, "cat >/etc/prometheus/prometheus.yml; pkill -HUP -x prometheus", input=BY_HAND)
        yield running


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    made = Fleet(
        lab,
        "fleet",
        {"exp1": {}},
        BOTH,
        exporter_host_timesten_home=HOME,
        exporter_host_boot="systemd",
        exporter_host_takeover=True,
        prometheus_host_on_existing="adopt",
        prometheus_host_scrape_interval=f"{INTERVAL:g}s",
        exporter_host_rate_budget="warn",
    )
    kit.until(lambda: is_up(made), 6 * INTERVAL, "both servers scraping what was made by hand")
    return made


def is_up(fleet: Fleet) -> bool:
    return all(fleet.targets(server).get(JOB, {}).get("health") == "up" for server in BOTH)


def pid(lab: Lab) -> int:
    """Wait until the exporter's port listens, and return the pid in the pid file that was made by hand."""
    kit.until(lambda: ":8888" in shell(lab, "exp1", "ss -ltn || true"), 20, lambda: "nothing listens")
    return int(shell(lab, "exp1", f"cat {OWNER}/tt.pid"))


def samples(fleet: Fleet, server: str, since: float) -> list[tuple[float, float]]:
    """Time and value of each scrape since a moment, of the one series that there is."""
    query = urllib.parse.urlencode({"query": f"up[{max(1, round(time.time() - since))}s]"})
    [series] = json.loads(fleet.get(server, f"/api/v1/query?{query}"))["data"]["result"]
    assert (series["metric"]["job"], series["metric"]["instance"]) == (JOB, "exp1:8888")
    return [(float(at), float(value)) for at, value in series["values"]]


def losses(fleet: Fleet, since: float) -> tuple[int, float]:
    """Failed scrapes, and the longest hole in intervals, until two scrapes from now."""
    played = time.time()
    kit.until(
        lambda: all(sum(at > played for at, _value in samples(fleet, server, since)) >= 2 for server in BOTH),
        4 * INTERVAL,
        "two scrapes after the run",
    )
    series = [samples(fleet, server, since) for server in BOTH]
    holes = [b[0] - a[0] for one in series for a, b in zip(one, one[1:])]
    return sum(value == 0 for one in series for _at, value in one), round(max(holes) / INTERVAL, 2)


def test_a_unit_of_the_owners(lab: Lab, fleet: Fleet) -> None:
    before = pid(lab)
    run = fleet.run(expect=None)
    assert run.code != 0
    told = run.report()["exp1"]
    assert "exporter_host_takeover to true" in told
    command = re.search(r"systemctl disable --now \S+\.service", told)
    assert command is not None and command[0].endswith(" hand.service"), told
    assert pid(lab) == before
    # Not even a unit was made, which takes root and comes first.
    assert "timesten-exporter" not in shell(lab, "exp1", "ls /etc/systemd/system")
    assert not lab.disk_file("exp1", f"{HOME}/monitoring").exists()
    # The way out: without the unit, and with the same wallet.
    shell(lab, "exp1", command[0])
    shell(lab, "exp1", f"setsid {AS_OWNER} {EXPORTER} >/dev/null 2>&1 </dev/null &")
    kit.until(lambda: pid(lab) != before, 20, lambda: "it was not started by hand")
    kit.until(lambda: is_up(fleet), 4 * INTERVAL, "both servers scraping what was started by hand")
    since = time.time()
    row = fleet.run().exporters()["exp1"]
    assert f"takes over the wallet in {WALLET}, which is served" in row["why"]
    assert row["process"]["manager"] == OURS
    failed, hole = losses(fleet, since)
    print(f"{failed} failed scrapes, longest hole {hole} intervals")
    assert failed == 0 and hole < 1.5
    assert not fleet.run().changed()


def test_the_host_gets_another_name(lab: Lab, fleet: Fleet) -> None:
    """The inventory keeps its name, and the old name stays an alias: wallet, job and series stay."""
    [address] = [host.address for host in lab.hosts if host.name == "exp1"]
    manifest = lab.disk_file("exp1", f"{HOME}/monitoring/exp1/current").resolve().name
    shell(lab, "exp1", "hostname newname")
    for server in BOTH:
        shell(lab, server, "sed -i 's/[[:space:]]exp1$/ newname.example.com exp1/' /etc/hosts")
        assert shell(lab, server, "getent hosts newname.example.com").split()[0] == address
    variables = yaml.safe_load(example("renamed-host"))["exp1"]
    new = variables["ansible_host"]
    with (lab.directory / "hosts").open("a") as hosts:
        hosts.write(f"{address} {new}\n")
    with (lab.directory / "ssh/known_hosts").open("r+") as known:
        keys = [line.partition(" ")[2] for line in known if address in line.partition(" ")[0].split(",")]
        known.write("".join(f"{new} {key}" for key in keys))
    fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp1"] = variables
    fleet.tree["all"]["vars"]["exporter_host_takeover"] = False
    since = time.time() - 2 * INTERVAL
    run = fleet.run()
    assert not run.changed()
    assert set(run.pairs().values()) == {"proven"}
    assert lab.disk_file("exp1", f"{HOME}/monitoring/exp1/current").resolve().name == manifest
    failed, hole = losses(fleet, since)
    assert failed == 0 and hole < 1.5
