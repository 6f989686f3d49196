# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look for what scrapes: in a container, several on a host, vmagent; and the variables that it proposes work."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import discover
from ansible_collections.timesten.monitoring.plugins.plugin_utils import discovery, fleet
from integration import prometheus_kit as kit
from integration.takers_kit import INSIDE, Vmagent, contain
from integration.test_prometheus_host import make as make_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks at processes of other users, which needs root")

__all__ = ["make_host"]
NOTHING_NAMED = {
    "kind": "prometheus",
    "config_file": "/nonexistent/prometheus.yml",
    "scrape_file": None,
    "store": "/nonexistent/timesten",
    "path_map": {},
    "named": False,
}


@pytest.fixture
def make(make_host: Any) -> Any:
    return functools.partial(make_host, running=False)


def look(*pids: int) -> tuple[list[discovery.Taker], dict[str, Any]]:
    """What is said of some processes, and the variables for their host; others may run on this machine."""
    found = discover.discover([NOTHING_NAMED], [8888])
    takers = [taker for taker in discovery.parse_takers({"takers": found["takers"]}) if taker.pid in pids]
    text = discovery.inventory([], ["prom1"], {"prom1": takers})
    variables = yaml.safe_load(text)["all"]["children"]["prometheus_servers"]["hosts"]["prom1"]
    # The preflight takes them.
    fleet.prometheus_host("prom1", variables)
    return takers, variables


@pytest.fixture
def all_takers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many run on this machine."""
    monkeypatch.setattr(discover, "_MOST_TAKERS", 1000)
    monkeypatch.setattr(discovery, "_MOST_TAKERS", 1000)


@pytest.mark.usefixtures("all_takers")
def test_a_prometheus_in_a_container(make: Any) -> None:
    host = make("3.5", lifecycle=False)
    host.options.update(contain(host.prometheus))
    etc = host.prometheus.config.parent
    [taker], variables = look(host.prometheus.process.pid)
    assert variables == {
        "prometheus_host_config_file": f"{etc}/prometheus.yml",
        "prometheus_host_path_map": {str(etc): INSIDE},
        "prometheus_host_store": f"{etc}/timesten",
        "prometheus_host_user": kit.USER,
        "prometheus_host_url": f"http://127.0.0.1:{host.prometheus.port}",
    }
    assert not taker.lifecycle and taker.problem is None
    proposed = {key.removeprefix("prometheus_host_"): value for key, value in variables.items()}
    element = host.exporter("exp1", kit.new_wallet()).element(
        host.call("inspected", **proposed).result["transport_key"]
    )
    done = host.call(exporters=[element], **proposed)
    assert not done.failed and done.result["exporters"][0]["up"], done.result


@pytest.mark.usefixtures("all_takers")
def test_a_configuration_that_is_mounted_alone(make: Any) -> None:
    host = make("3.5")
    config = host.prometheus.config
    host.prometheus.start(
        f"mount -t tmpfs tmpfs /mnt; touch /mnt/p.yml; mount --bind {config} /mnt/p.yml", Path("/mnt/p.yml")
    )
    host.prometheus.wait()
    takers, variables = look(host.prometheus.process.pid)
    assert variables == {} and takers[0].problem == "mounted alone"
    [said] = [line for line in discovery.lines([], [], {}, {"prom1": takers}) if "mount its directory" in line]
    assert str(config) in said


@pytest.mark.usefixtures("all_takers")
def test_two_of_them_and_a_vmagent(make: Any, tmp_path: Path) -> None:
    hosts = [make("2.42"), make("3.5", lifecycle=False)]
    agent = Vmagent(tmp_path, 1.0)
    agent.file.write_text(agent.text + "- job_name: tt\n  static_configs: [{targets: ['exp1:8888']}]\n")
    agent.start()
    try:
        for host in hosts:
            host.prometheus.start()
        for host in hosts:
            host.prometheus.wait()
        assert agent.process is not None
        _takers, variables = look(*(host.prometheus.process.pid for host in hosts), agent.process.pid)
        instances = {element["instance"]: element for element in variables["prometheus_host_instances"]}
        assert set(instances) == {"vmagent", *(str(host.prometheus.port) for host in hosts)}
        assert instances["vmagent"]["kind"] == "scrape_file" and instances["vmagent"]["scrape_file"] == str(agent.file)
        for host in hosts:
            element = instances[str(host.prometheus.port)]
            assert element["config_file"] == str(host.prometheus.config)
            assert element["url"] == f"http://127.0.0.1:{host.prometheus.port}"
        assert [instances[str(host.prometheus.port)].get("reload") for host in hosts] == [None, "signal"]
        jobs = discover.discover([NOTHING_NAMED], [8888])["jobs"]
        [job] = [job for job in jobs if str(tmp_path) in job["where"]]
        assert job["job"] == "tt" and job["targets"] == ["exp1:8888"]
    finally:
        agent.stop()
