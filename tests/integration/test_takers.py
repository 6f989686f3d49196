# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tt_prometheus_host and the takers that are no plain Prometheus of a package: behind a proxy, in a container, under another role, vmagent."""

from __future__ import annotations

import functools
import getpass
import json
import os
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import reload
from integration import prometheus_kit as kit
from integration.takers_kit import (
    API_KEY,
    INSIDE,
    ROLE,
    TOKEN,
    Vmagent,
    behind_tls,
    contain,
    options,
    proxy,
    role,
    with_vmagent,
)
from integration.test_prometheus_host import Host
from integration.test_prometheus_host import make as make_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

__all__ = ["make_host"]


@pytest.fixture
def make(make_host: Any) -> Any:
    return functools.partial(make_host, running=False)


# --- its own interface ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.5"])
def test_tls_basic_auth_prefix_and_an_authenticating_proxy(make: Any, version: str) -> None:
    host = make(version)
    server, direct = behind_tls(host.prometheus)
    host.prometheus.start()
    wrong = {**direct, "url_password": "not-the-password"}
    refused = "asked as url_username 'admin'"
    # While it starts, it is not answering, and the key is made.
    kit.until(lambda: refused in host.call("inspected", **wrong).result.get("msg", ""), 90)
    element = host.exporter("exp1", kit.new_wallet(2)).element(host.call("inspected", **direct).result["transport_key"])
    done = host.call(exporters=[element], **direct)
    assert not done.failed and done.result["reloaded"] == "http" and done.result["exporters"][0]["up"], done.result
    before = host.config
    more = host.call(exporters=[{**kit.light(element), "labels": {"a": "b"}}], **wrong)
    assert more.failed and refused in more.result["msg"] and "not-the-password" not in more.output
    assert host.config == before
    again = host.call(exporters=[kit.light(element)], **direct)
    assert not again.failed and not again.result["changed"], again.result
    bare = host.call("verified", **{**direct, "url": direct["url"].replace("/prom", "")})
    assert bare.failed and "--web.route-prefix" in bare.result["msg"]

    wanted = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": API_KEY}
    with proxy(direct["url"].replace("/prom", ""), server.pem, wanted) as url:
        behind = options("taker-proxy", {"https://metrics.example.com/prometheus": f"{url}/prom"})
        behind.update(url_bearer_token=TOKEN, url_headers={**behind["url_headers"], "X-Api-Key": API_KEY})
        changed = host.call(exporters=[{**kit.light(element), "labels": {"a": "b"}}], diff=True, **behind)
        assert not changed.failed and changed.result["reloaded"] == "http", changed.result
        proven = host.call("verified", **behind)
        assert not proven.failed and proven.result["exporters"][0]["up"], proven.result
        wrong = host.call("verified", **{**behind, "url_headers": {"X-Api-Key": "something-else"}})
        assert wrong.failed and "url_bearer_token or url_headers" in wrong.result["msg"]
        for answer in (changed, proven, wrong):
            assert TOKEN not in answer.output and API_KEY not in answer.output
            assert "something-else" not in answer.output
    assert not host.call("absent", **direct).failed and "timesten" not in host.config


# --- a taker of a scrape file -----------------------------------------------------------------------------------------


@pytest.mark.alone
def test_vmagent_takes_part_in_everything(tmp_path: Path) -> None:
    with with_vmagent(tmp_path) as (fleet, agent):
        both = {("exp1", "prom1"): "proven", ("exp1", "vm1"): "not asked"}
        output = fleet.play("site")
        assert "1 of 2 pairs proven, 1 accepted from its host but not asked" in output
        assert fleet.states() == both
        kit.until(lambda: agent.targets().get("timesten-exp1") == "up", 20, "vmagent scraping the exporter")
        assert agent.targets()["itself"] == "up"

        since, failed, before = time.time(), agent.scrapes()[0], fleet.current()
        output = fleet.play("rotate")
        assert fleet.current() != before and "switched" in output, output
        assert fleet.states() == both
        assert f"/timesten/exp1/{fleet.current()}-" in agent.file.read_text()
        kit.until(lambda: agent.targets().get("timesten-exp1") == "up", 20, "vmagent scraping the new generation")
        lost, hole = fleet.losses(since)
        print(
            f"lost by Prometheus {lost}, longest hole {hole:.2f} intervals, lost by vmagent {agent.scrapes()[0] - failed}"
        )
        assert lost == 0 and agent.scrapes()[0] - failed <= 1

        fleet.play("evict", "-e", "evict=vm1", "-e", "rotate_force=true")
        assert fleet.states() == {("exp1", "prom1"): "proven"}
        kit.until(lambda: agent.targets().get("timesten-exp1") == "down", 20, "vmagent being refused")
        kit.until(lambda: agent.scrapes()[0] > failed + 1, 20, "the failed scrapes being counted")
        fleet.play("remove", "-e", "remove_exporter=exp1")
        assert agent.file.read_text() == agent.text
        kit.until(lambda: agent.targets() == {"itself": "up"}, 20, "vmagent having let go")


@pytest.mark.alone
def test_vmagent_follows_over_the_spare_port(tmp_path: Path) -> None:
    with with_vmagent(tmp_path, spare=True) as (fleet, agent):
        fleet.play("site")
        kit.until(lambda: agent.targets().get("timesten-exp1") == "up", 20, "vmagent scraping the exporter")
        before = fleet.current()
        output = fleet.play("rotate", "-e", "rotate_strategy=spare_port")
        assert fleet.current() != before and "switched" in output, output
        assert fleet.states() == {("exp1", "prom1"): "proven", ("exp1", "vm1"): "not asked"}
        kit.until(lambda: agent.targets() == {"itself": "up", "timesten-exp1": "up"}, 20, "one job on the spare port")
        text = agent.file.read_text()
        assert f"localhost:{fleet.port('exp1.spare')}" in text and text.count("cert_file") == 1


def test_vmagent_whose_configuration_names_a_list_of_jobs(tmp_path: Path) -> None:
    """A file in its scrape_config_files has another form than Prometheus's, also before there is one."""
    agent = Vmagent(tmp_path, 1.0)
    (tmp_path / "jobs.d").mkdir()
    agent.file.write_text(f"scrape_config_files: [jobs.d/*.yml]\n{agent.text}")
    exporter = kit.Exporter("exp1", kit.new_wallet())
    jobs = tmp_path / "jobs.d" / "timesten.yml"
    given = {
        "name": "prom1",
        "kind": "scrape_file",
        "scrape_file": str(jobs),
        "store": str(tmp_path / "timesten"),
        "user": getpass.getuser(),
    }
    agent.start()
    try:
        key = kit.call({**given, "state": "inspected"}).result["transport_key"]
        done = kit.call({**given, "exporters": [exporter.element(key)]})
        assert not done.failed and done.result["reloaded"] == "signal" and done.result["exporters"][0]["accepted"], (
            done.result
        )
        assert isinstance(yaml.safe_load(jobs.read_text()), list)
        kit.until(lambda: agent.targets().get("timesten-exp1") == "up", 20, "vmagent scraping the exporter")
        key = kit.call({**given, "state": "inspected"}).result["transport_key"]
        renewed = exporter.element(key, number=2)
        done = kit.call({**given, "exporters": [renewed]})
        assert not done.failed and f"/{renewed['delivery']}/" in jobs.read_text(), done.result
        again = kit.call({**given, "exporters": [kit.light(renewed)]})
        assert not again.failed and not again.result["changed"], again.result
        assert not kit.call({**given, "state": "verified"}).failed
        gone = kit.call({**given, "state": "absent"})
        assert not gone.failed and not yaml.safe_load(jobs.read_text() or "[]"), gone.result
        kit.until(lambda: list(agent.targets()) == ["itself"], 20, "vmagent having let go")
    finally:
        agent.stop()
        exporter.stop()


# --- in a container ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "version"), [("inline", "2.42"), ("files", "3.5")])
def test_in_a_container(make: Any, layout: str, version: str) -> None:
    host = make(version, lifecycle=False)
    host.options.update(contain(host.prometheus), layout=layout)
    etc = host.prometheus.config.parent
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    original = host.config
    for wrong, named in (
        ({"path_map": {"/srv": INSIDE}}, "path_map: config_file"),
        ({"path_map": {str(etc): "/etc/prometheus"}}, f"reads {INSIDE}/prometheus.yml"),
        ({"path_map": {str(etc): INSIDE, f"{etc}/timesten": "/mnt/other"}}, "has another directory than"),
        ({"user": "1"}, "runs as uid"),
    ):
        answer = host.call(exporters=[element], **wrong)
        assert answer.failed and named in answer.result["msg"], answer.result
        assert host.config == original
    done = host.call(exporters=[element])
    assert not done.failed and done.result["exporters"][0]["up"] and done.result["reloaded"] == "signal", done.result
    # A Prometheus of the host whose configuration has the same path is another one.
    assert [process.pid for process in reload.find_processes(host.config_path)] == [host.prometheus.process.pid]
    assert reload.find_processes(f"{INSIDE}/prometheus.yml") == []
    written = host.config + "".join(path.read_text() for path in etc.glob("timesten.yml"))
    assert f"ca_file: {INSIDE}/timesten/exp1/current/ca.crt" in written and str(etc) not in written
    assert (f"- {INSIDE}/timesten.yml" in host.config) == (layout == "files")
    again = host.call(exporters=[kit.light(element)])
    assert not again.failed and not again.result["changed"], again.result
    proven = host.call("verified")
    assert not proven.failed and proven.result["exporters"][0]["accepted"], proven.result
    gone = host.call("absent")
    assert not gone.failed and host.config == original and not host.prometheus.store.exists(), gone.result


# --- beside a role that writes the whole configuration ----------------------------------------------------------------


def samples(host: Host, since: float) -> list[tuple[float, float]]:
    """The samples of ``up`` of the exporter, as Prometheus has stored them."""
    query = urllib.parse.quote(f'up{{job="timesten-exp1"}}[{round(time.time() - since) + 1}s]')
    (found,) = json.loads(host.prometheus.answers(f"/api/v1/query?query={query}") or b"")["data"]["result"]
    return [(at, float(value)) for at, value in found["values"] if at >= since]


def test_beside_a_role_that_writes_the_whole_file(make: Any) -> None:
    host = make("2.53", config=ROLE.format(files="", interval="1s"))
    host.prometheus.start()
    host.prometheus.wait()
    place = host.prometheus.config.parent / "scrape.d"
    place.mkdir()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    assert not host.call(exporters=[element]).failed
    host.prometheus.config.write_text(ROLE.format(files="", interval="1s"))
    wiped = host.call("verified")
    assert wiped.failed and f"scrape_config_files: [{place}/*.yml]" in wiped.result["msg"], wiped.result
    for times in (1, 2):
        put_back = host.call(exporters=[kit.light(element)])
        (warning,) = put_back.result["warnings"]
        assert f"scrape_config_files: [{place}/*.yml]" in warning and ("2 times so far" in warning) == (times == 2)
        state = json.loads((host.prometheus.store / ".state.json").read_text())
        assert state["rewritten"]["times"] == times
        files = f"scrape_config_files:\n- {place}/*.yml\n\n" if times == 2 else ""
        assert role(host.prometheus, files)
    named = host.call(exporters=[kit.light(element)], check=True).result["warnings"][0]
    assert f"set layout to files and scrape_file to {place}/timesten.yml" in named

    host.options.update(options("taker-role", {"/etc/prometheus": str(host.prometheus.config.parent)}))
    assert host.options["scrape_file"] == f"{place}/timesten.yml"
    assert not host.call(exporters=[kit.light(element)]).failed
    since = time.time()
    for _order in ("ours first", "the role first"):
        assert not role(host.prometheus, files)
        again = host.call(exporters=[kit.light(element)])
        assert not again.failed and not again.result["changed"] and not again.result.get("warnings"), again.result
    # Both have something to change, one after the other, in both orders.
    assert role(host.prometheus, files + "rule_files: []\n\n")
    changed = host.call(exporters=[{**kit.light(element), "honor_labels": True}])
    assert not changed.failed and changed.result["reloaded"], changed.result
    assert role(host.prometheus, files)
    last = host.call(exporters=[{**kit.light(element), "honor_labels": True}])
    assert not last.failed and not last.result["changed"]
    kit.until(lambda: len(samples(host, since)) >= 4, 20)
    seen = samples(host, since)
    holes = [after[0] - before[0] for before, after in zip(seen, seen[1:])]
    print(f"{len(seen)} samples, longest hole {max(holes):.2f} s")
    assert all(value == 1 for _at, value in seen) and max(holes) < 1.9
    host.call("absent")
    assert host.config == ROLE.format(files=files, interval="1s") and not list(place.iterdir())
