# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations with real Prometheus servers of two versions, judged by what those have stored."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import parse_timestamp
from integration import rotation_kit
from integration.exporter_kit import until
from integration.rotation_kit import said

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BOTH = ("prom1", "prom2")
PROVEN = {("exp1", name): "proven" for name in BOTH}
# Another host's name makes another controller.
ELSEWHERE = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rotation_kit.Fleet]:
    with rotation_kit.fleet(tmp_path_factory.mktemp("rotation"), 6.0, RATE="unlimited") as made:
        made.play("site")
        yield made


def all_up(fleet: rotation_kit.Fleet, *servers: str) -> None:
    """Wait until every server has scraped successfully from now on."""
    since = time.time() + 1
    for name in servers:

        def scraped(name: str = name) -> bool:
            samples = [sample for found in fleet.servers[name].up(since).values() for sample in found]
            return any(at >= since and value == 1 for at, value in samples)

        until(scraped, 60, f"a good scrape of {name}")


def is_on(fleet: rotation_kit.Fleet, generation: str, *servers: str) -> bool:
    """Whether both sides use a generation."""
    return fleet.current() == generation and all(fleet.delivery(name).startswith(generation) for name in servers)


def manifest(fleet: rotation_kit.Fleet) -> dict[str, Any]:
    return json.loads((fleet.directory() / "current" / "manifest.json").read_text())


def test_no_scrape_is_lost(fleet: rotation_kit.Fleet) -> None:
    # The first one measures how long a restart takes here: a first start says little of it.
    fleet.play("rotate", "-e", "rotate_force=true")
    counted = 0
    for _attempt in range(5):
        before = fleet.current()
        since = time.time() - 3 * fleet.interval
        output = fleet.play("rotate", fails=None)
        if "so a scrape could be lost" in output:
            assert is_on(fleet, before, *BOTH), "a refused rotation changed something"
            continue
        record = fleet.record()
        assert record["status"] == "confirmed", output
        assert is_on(fleet, record["generation"], *BOTH) and fleet.current() != before
        all_up(fleet, *BOTH)
        failed, hole = fleet.losses(since)
        planned = float(output.split(f"took {record['window']:.2f} s of ")[1].split()[0])
        if record["window"] > planned:
            continue  # a busy machine: the plan's word holds for switches that are as quick as the earlier ones
        assert failed == 0, record
        assert hole < 1.5, record
        counted += 1
        if counted == 2:
            break
    assert counted, f"no rotation could be judged; the machine is too busy for an interval of {fleet.interval:g} s"


def test_check_mode_shows_the_plan_and_changes_nothing(fleet: rotation_kit.Fleet) -> None:
    before = (
        sorted((fleet.directory() / "generations").iterdir()),
        fleet.current(),
        [fleet.delivery(name) for name in BOTH],
    )
    fleet.play("rotate", "--check", "-e", "rotate_force=true")
    report = fleet.report()
    [line] = report["rotations"]
    plan = r"exp1: would be switched, [0-9a-f]{16} -> known after apply, servers prom1, prom2, [0-9.]+ s expected, gap [0-9.]+ s"
    assert re.fullmatch(plan, line), line
    assert report["good"] and [host["changed"] for host in report["hosts"]] == [["exp1: planned"]]
    assert before == (
        sorted((fleet.directory() / "generations").iterdir()),
        fleet.current(),
        [fleet.delivery(name) for name in BOTH],
    )


def shows(server: rotation_kit.Server, query: str, value: float) -> None:
    """Wait until a query has one result, with this value."""
    until(lambda: [float(item["value"][1]) for item in server.query(query)] == [value], 30, query)


def test_rules_know_when_the_new_certificates_end(fleet: rotation_kit.Fleet) -> None:
    """The exported file is a CA alone here: only who sees the new certificate served knows its end."""
    before = fleet.served()
    fleet.play("rotate", "-e", "rotate_force=true")
    served = fleet.served()
    assert served["sha256"] != before["sha256"] and manifest(fleet)["leaf_source"] == "handshake"
    end = parse_timestamp(served["not_after"]).timestamp()
    laid = {name: (fleet.servers[name].directory / "timesten.rules.yml").read_bytes() for name in BOTH}
    for name in BOTH:
        assert set(fleet.ends(name)) == {"ca", "server", "client"} and fleet.ends(name)["server"] == end
        shows(fleet.servers[name], f'{rotation_kit.ENDS}{{exporter="exp1",client="{name}",kind="server"}}', end)
    # The first run after it finds nothing to renew.
    assert rotation_kit.changes_nothing(fleet.play("site"))
    assert laid == {name: (fleet.servers[name].directory / "timesten.rules.yml").read_bytes() for name in BOTH}
    # Back to a generation that was served before: what was seen of it then is still known.
    fleet.play("rollback", "-e", "rotate_force=true")
    assert fleet.served()["sha256"] == before["sha256"]
    ended = {parse_timestamp(before["not_after"]).timestamp()}
    assert {fleet.ends(name)["server"] for name in BOTH} == ended


def test_one_worker_task_for_each_host_and_step(fleet: rotation_kit.Fleet) -> None:
    """Forked processes of the controller; a task that is skipped is one, too."""
    output = fleet.play("rotate", "-e", "rotate_force=true")
    worked, skipped, included = rotation_kit.worker_tasks(output)
    exporters, servers = 1, len(BOTH)
    # join, stage, switch, confirm; join, inspected, staged, following, present, released; plan, go, judge, record, report.
    assert worked == 4 * exporters + 6 * servers + 5, output
    assert (skipped, included) == (0, 0), output
    all_up(fleet, *BOTH)


def test_names_that_do_not_exist_are_refused(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    for option in ("rotate_exporters=nosuch", "rotate_exporters=exp", "rotate_exporters=exp12"):
        output = fleet.play("rotate", "-e", option, "-e", "rotate_force=true", fails=True)
        assert f"rotate_exporters: '{option.partition('=')[2]}' is not an exporter; " in output, output
    assert is_on(fleet, before, *BOTH)


def test_controller_killed_in_the_switch(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    run = fleet.begin("rotate", "-e", "rotate_force=true", "-e", "rotate_confirm=5")
    until(lambda: fleet.record().get("status") == "switched", 300, "the switch")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    new = fleet.record()["generation"]
    until(lambda: fleet.record().get("status") == "reverted", 120, "the exporter going back by itself")
    assert "nobody confirmed" in fleet.record()["error"]
    until(lambda: is_on(fleet, before, *BOTH), 30, "both sides on the generation before")
    all_up(fleet, *BOTH)
    assert (fleet.directory() / "generations" / new).is_dir()
    until(fleet.quiet, 200, "the end of the following")
    fleet.play("rotate", "-e", "rotate_force=true")
    assert fleet.states() == PROVEN
    assert is_on(fleet, new, *BOTH), "the generation that was ready is used by the next run"


def test_who_comes_second_is_told_and_who_was_killed_goes_on(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    run = fleet.begin("rotate", "-e", "rotate_force=true", "-e", "rotate_confirm=600")
    until(lambda: fleet.record().get("status") == "switched" and run.poll() is None, 300, "the switch")
    os.killpg(run.pid, signal.SIGSTOP)
    for prefix in ((), ELSEWHERE):
        output = fleet.play("rotate", "-e", "rotate_force=true", fails=True, prefix=prefix)
        assert re.search(rf"is being rotated by \S+ \(process {run.pid}\), until \S+Z at the latest", output), output
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    new = fleet.record()["generation"]
    elsewhere = fleet.play("rotate", "-e", "rotate_force=true", fails=True, prefix=ELSEWHERE)
    assert "is being rotated by" in elsewhere, "another controller cannot know that the run is gone"
    began = time.monotonic()
    fleet.play("rotate", "-e", "rotate_force=true")
    assert time.monotonic() - began < 300, "it waited for the deadline of the run that is gone"
    assert fleet.record()["status"] == "confirmed"
    assert is_on(fleet, new, *BOTH) and new != before
    assert not (fleet.directory() / "lease.json").exists()
    all_up(fleet, *BOTH)


def test_prometheus_cut_off_before_the_switch(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    fleet.servers["prom2"].stop()
    try:
        output = fleet.play("rotate", "-e", "rotate_force=true", fails=True)
    finally:
        fleet.servers["prom2"].start()
    assert "exp1: not switched, and nothing live was changed: prom2 could not be made ready" in output
    report = fleet.report()
    assert (report["good"], report["pairs"]) == (False, [])
    assert is_on(fleet, before, *BOTH)
    all_up(fleet, *BOTH)


def test_prometheus_cut_off_in_the_switch(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    run = fleet.begin("rotate", "-e", "rotate_force=true")
    previous = fleet.record().get("token")
    until(lambda: fleet.record().get("token") != previous, 300, "the leader")
    fleet.servers["prom2"].stop()
    try:
        assert run.wait(400) != 0
    finally:
        fleet.servers["prom2"].start()
    assert fleet.record()["status"] == "reverted"
    [line] = fleet.report()["rotations"]
    assert line.startswith("exp1: went back to the generation before, as its host says: prom2: "), line
    assert is_on(fleet, before, *BOTH)
    all_up(fleet, *BOTH)


def test_new_generation_that_does_not_work(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    previous = fleet.record().get("token")
    run = fleet.begin("rotate", "-e", "rotate_force=true", "-e", "exporter_host_start_timeout=10")
    until(lambda: fleet.record().get("token") != previous, 300, "the leader")
    new = fleet.directory() / "generations" / fleet.record()["generation"]
    next(new.glob(".ttwallet.*/cwallet.sso")).write_bytes(b"no wallet")
    assert run.wait(400) != 0
    record = fleet.record()
    assert record["status"] == "failed" and record["generation"] == new.name
    assert not new.exists(), "what has failed is not tried again"
    assert not (fleet.directory() / "lease.json").exists()
    [line] = fleet.report()["rotations"]
    assert line.startswith("exp1: the switch failed: ") and "nothing" not in line and "went back" not in line, line
    assert is_on(fleet, before, *BOTH)
    all_up(fleet, *BOTH)


def test_rollback(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    fleet.play("rotate", "-e", "rotate_force=true")
    assert fleet.current() != before
    fleet.play("rollback", "--check", "-e", "rotate_force=true")
    [line] = fleet.report()["rotations"]
    assert "exp1: would be switched, " in line and "servers prom1, prom2" in line and "known after" not in line
    fleet.play("rollback", "-e", "rotate_force=true")
    assert fleet.states() == PROVEN
    assert is_on(fleet, before, *BOTH)
    all_up(fleet, *BOTH)


def test_site_rotates_what_does_not_fit(fleet: rotation_kit.Fleet) -> None:
    before = fleet.current()
    wanted = {
        "exporter_host_regenerate": "when_changed",
        "exporter_host_alt_names": ["localhost", "exp1.example.com"],
        "rotate_force": True,
    }
    fleet.play("site", "--check", "-e", json.dumps(wanted))
    report = fleet.report()
    assert {pair["state"] for pair in report["pairs"]} == {"predicted"} and len(report["pairs"]) == 2
    assert "exp1: would be switched, " in report["rotations"][0] and fleet.current() == before
    fleet.play("site", "-e", json.dumps(wanted))
    report = fleet.report()
    assert {(pair["exporter"], pair["client"]): pair["state"] for pair in report["pairs"]} == PROVEN
    assert report["rotations"][0].startswith("exp1: switched, ")
    assert fleet.record()["status"] == "confirmed" and fleet.current() != before
    assert manifest(fleet)["leaf"]["alt_names"] == ["localhost", "exp1.example.com"]
    all_up(fleet, *BOTH)
    again = fleet.play("site", "-e", json.dumps(wanted))
    assert "changed=0" in again and "changed=1" not in again
    assert fleet.report()["rotations"] == []


def test_a_client_that_left_the_inventory_is_forgotten_as_advised(fleet: rotation_kit.Fleet) -> None:
    """Its name is one letter away from one of the inventory: no slip. Each command is run as the one before has said it."""
    taker = {"name": "pram1", "public_key": "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"}
    with_it = {"timesten_outsiders": [taker], "timesten_outsiders_dir": str(fleet.root / "outsiders")}
    fleet.play("site", "-e", json.dumps(with_it))
    before = fleet.current()
    for _again in range(2):
        refused = said(fleet.play("rotate", "-e", "rotate_force=true", fails=True))
        assert "the clients pram1 have a pair and are not part of this run" in refused and fleet.current() == before
    assert "evict: 'pram1' is not a client; prom1 is" in said(fleet.play("evict", "-e", "evict=pram1", fails=True))
    advised = rotation_kit.advised(refused)
    assert [playbook for playbook, *_options in advised] == ["remove"]
    forgotten = said(fleet.play(*advised[0]))
    advised = rotation_kit.advised(forgotten)
    assert [playbook for playbook, *_options in advised] == ["rotate"]
    fleet.play(*advised[0], "-e", "rotate_force=true")
    assert fleet.current() != before and "pram1" not in manifest(fleet)["pairs"]
    assert [path.name for path in (fleet.directory() / "generations").iterdir()] == [fleet.current()]
    assert fleet.states() == PROVEN


def test_evict_and_readmit(fleet: rotation_kit.Fleet) -> None:
    output = fleet.play("evict", "-e", "evict=prom2", "-e", "rotate_force=true")
    assert "prom2 " not in output.partition("PLAY RECAP")[2], "the evicted host was contacted"
    assert manifest(fleet)["evicted"] == ["prom2"] and "prom2" not in manifest(fleet)["pairs"]
    assert [path.name for path in (fleet.directory() / "generations").iterdir()] == [fleet.current()]
    since = time.time()
    until(
        lambda: any(value == 0 for samples in fleet.servers["prom2"].up(since).values() for _at, value in samples),
        20,
        "the evicted Prometheus being refused",
    )
    all_up(fleet, "prom1")
    for options in (("--check",), ()):
        assert "has no generation before" in fleet.play("rollback", *options, fails=True)
        assert not fleet.report()["good"]
    # The inventory asks for prom2 still: everything else is done, and the run says what to do, until it is taken out or readmitted.
    evicted = {("exp1", "prom1"): "proven", ("exp1", "prom2"): "evicted"}
    for name, options in (("site", ()), ("rotate", ("-e", "rotate_force=true"))):
        assert "take prom2 out of the inventory, or readmit it" in said(fleet.play(name, *options, fails=True))
        assert fleet.states() == evicted
        assert "prom2" not in manifest(fleet)["pairs"]
    assert "If it was evicted: take prom2 out of the inventory" in said(fleet.play("verify", fails=True))
    with fleet.without("prom2"):
        for name in ("site", "verify"):
            fleet.play(name)
            assert fleet.states() == {("exp1", "prom1"): "proven"}
    all_up(fleet, "prom1")
    # The generation before holds no pair of prom2: going back gives it nothing.
    fleet.play("rollback", "-e", "rotate_force=true", fails=True)
    assert fleet.states() == evicted and "prom2" not in manifest(fleet)["pairs"]
    fleet.play("site", "-e", json.dumps({"exporter_host_readmit": ["prom2"]}))
    assert fleet.states() == PROVEN
    all_up(fleet, *BOTH)
