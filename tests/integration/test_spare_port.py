# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations to the spare port and back with real Prometheus servers of two versions, judged by what those have stored."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from integration import rotation_kit
from integration.exporter_kit import free_port, until
from integration.rotation_kit import changes_nothing

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BOTH = ("prom1", "prom2")
SPARE = ("-e", "rotate_strategy=spare_port")
INTERVAL = 2.0
USUAL = "timesten-exp1"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rotation_kit.Fleet]:
    root = tmp_path_factory.mktemp("spare")
    # A start takes half of the interval, or longer: between two scrapes there is no room for it.
    with rotation_kit.fleet(root, INTERVAL, spare=True, RATE="unlimited", START_DELAY="1") as made:
        made.play("site")
        yield made


@pytest.fixture
def job(fleet: rotation_kit.Fleet) -> str:
    """The job of the port that is in use now: no test relies on where the one before has left the exporter."""
    manifest = json.loads((fleet.directory() / "current/manifest.json").read_text())
    found = f"{USUAL}.spare" if manifest.get("spare") else USUAL
    serves(fleet, found)
    return found


def other(job: str) -> str:
    """The job of the port that a rotation over the spare port leads to."""
    return f"{USUAL}.spare" if job == USUAL else USUAL


def serves(fleet: rotation_kit.Fleet, job: str) -> None:
    """Check that the exporter runs once, on the port of a job, and that this is the only job, up everywhere."""
    port = fleet.port(job.removeprefix("timesten-"))
    [argv] = [process.argv for process in fleet.instances["exp1"].exporters()]
    assert argv[argv.index("-port") + 1] == str(port)
    for name in BOTH:
        assert fleet.targets(name) == {job: ("up", f"localhost:{port}")}


def series(fleet: rotation_kit.Fleet, server: str, since: float) -> set[tuple[str, str]]:
    """Labels job and instance of everything that was scraped since a moment."""
    seconds = max(1, round(time.time() - since))
    found = fleet.servers[server].query(f"count by (job, instance) (count_over_time(up[{seconds}s]))")
    return {(item["metric"]["job"], item["metric"]["instance"]) for item in found}


def usual(fleet: rotation_kit.Fleet) -> set[tuple[str, str]]:
    return {("timesten-exp1", f"localhost:{fleet.port('exp1')}")}


def holds_at_every_moment(fleet: rotation_kit.Fleet, server: str, since: float) -> bool:
    """Whether the exporter's ``up`` has a value at every moment: a job that ends must not end the series of the other one."""
    until_, step = time.time() - fleet.interval, 0.25
    asked = {"query": 'up{job="timesten-exp1"}', "start": since, "end": until_, "step": step}
    answer = fleet.servers[server].get("/api/v1/query_range?" + urllib.parse.urlencode(asked))
    assert answer is not None
    [found] = json.loads(answer)["data"]["result"]
    times = [at for at, _value in found["values"]]
    return times[0] - since < fleet.interval and all(b - a < 1.5 * step for a, b in zip(times, times[1:]))


def nothing_was_lost(fleet: rotation_kit.Fleet, since: float) -> None:
    time.sleep(2.2 * fleet.interval)
    failed, hole = fleet.losses(since)
    print(f"{failed} failed scrapes, longest hole {hole:.2f} intervals in {time.time() - since:.0f} s")
    assert failed == 0
    assert hole < 1.5
    for name in BOTH:
        assert series(fleet, name, since) == usual(fleet)
        assert holds_at_every_moment(fleet, name, since)


def test_there_and_back_without_a_lost_scrape(fleet: rotation_kit.Fleet, job: str) -> None:
    since = time.time()
    for options, said in (((), "not switched, and nothing live was changed"), (("--check",), "would be refused")):
        output = fleet.play("rotate", *options, fails=True)
        assert f"exp1: {said}: the switch may take" in output and "again with rotate_strategy=spare_port" in output
    for target in (other(job), job):
        before, running = fleet.current(), fleet.instances["exp1"].exporters()
        fleet.play("rotate", *SPARE, "--check")
        assert "would be switched, " in fleet.report()["rotations"][0]
        assert fleet.targets("prom1") == {other(target): ("up", f"localhost:{fleet.port(other(target)[9:])}")}
        assert fleet.current() == before and fleet.instances["exp1"].exporters() == running
        output = fleet.play("rotate", *SPARE)
        # Those of a restart, and: leave; let go; retire.
        assert rotation_kit.worker_tasks(output) == (4 + 6 * len(BOTH) + 5 + 1 + len(BOTH) + 1, 0, 0), output
        [line] = fleet.report()["rotations"]
        assert f"on its {'spare' if target.endswith('.spare') else 'usual'} port" in line
        assert fleet.current() != before
        serves(fleet, target)
        for options in (("--check",), ()):
            output = fleet.play("site", *options)
            assert changes_nothing(output), output
        fleet.play("verify")
    nothing_was_lost(fleet, since)


def test_rollback_to_the_other_port(fleet: rotation_kit.Fleet, job: str) -> None:
    since = time.time()
    before = fleet.current()
    fleet.play("rotate", *SPARE)
    fleet.play("rollback", *SPARE)
    assert fleet.current() == before
    serves(fleet, job)
    nothing_was_lost(fleet, since)


def test_restart_on_the_spare_port(fleet: rotation_kit.Fleet, job: str) -> None:
    if job == USUAL:
        fleet.play("rotate", *SPARE)
        serves(fleet, other(job))
    fleet.play("rotate", "-e", "rotate_force=true")
    serves(fleet, other(USUAL))
    fleet.play("rollback", "-e", "rotate_force=true")
    serves(fleet, other(USUAL))


def test_spare_port_that_is_taken_away(fleet: rotation_kit.Fleet, job: str) -> None:
    if job == USUAL:
        fleet.play("rotate", *SPARE)
    fleet.spare = False
    fleet.write()
    try:
        output = fleet.play("site", "-v")
        assert "it has to go back to its usual port" in output
        serves(fleet, USUAL)
        output = fleet.play("site")
        assert changes_nothing(output), output
    finally:
        fleet.spare = True
        fleet.write()


def test_one_prometheus_cannot_reach_the_spare_port(fleet: rotation_kit.Fleet, job: str) -> None:
    before, since = fleet.current(), time.time()
    rule = {
        "source_labels": ["__address__"],
        "regex": f"localhost:{fleet.port(other(job).removeprefix('timesten-'))}",
        "target_label": "__address__",
        "replacement": f"localhost:{free_port()}",
    }
    inventory = fleet.root / "inventory.json"
    tree = json.loads(inventory.read_text())
    own = tree["all"]["children"]["prometheus_servers"]["hosts"]["prom2"]
    own.update(prometheus_host_extra={"relabel_configs": [rule]}, prometheus_host_wait_timeout=10)
    inventory.write_text(json.dumps(tree))
    try:
        output = fleet.play("rotate", *SPARE, fails=True)
    finally:
        fleet.write()
    assert fleet.record()["status"] == "reverted", output
    [line] = fleet.report()["rotations"]
    assert line.startswith("exp1: went back to the generation before, as its host says: prom2: "), line
    assert fleet.current() == before
    serves(fleet, job)
    time.sleep(2.2 * fleet.interval)
    for name in BOTH:
        assert series(fleet, name, since) == usual(fleet)
    fleet.play("site")
    serves(fleet, job)


def test_a_prometheus_that_does_not_let_go_is_named(fleet: rotation_kit.Fleet, job: str) -> None:
    """The old process stops all the same, so its job is red: the run must not end as if all were well."""
    previous = fleet.record().get("token")
    run = fleet.begin("rotate", *SPARE)
    until(
        lambda: fleet.record().get("token") != previous and fleet.record().get("status") == "confirmed",
        300,
        "the confirmation",
    )
    fleet.servers["prom2"].stop()
    try:
        assert run.wait(400) != 0
    finally:
        fleet.servers["prom2"].start()
    said = (fleet.root / "playbook.log").read_text()
    assert "prom2 scrapes it, but it still has the job of the old one" in " ".join(said.split())
    fleet.play("site")
    until(lambda: set(fleet.targets("prom2")) == {other(job)}, 30, "the job of the old port going")
    until(lambda: fleet.targets("prom2")[other(job)][0] == "up", 30, "prom2 scraping again")
    serves(fleet, other(job))
    assert changes_nothing(fleet.play("site"))


def test_controller_killed_between_switch_and_confirmation(fleet: rotation_kit.Fleet, job: str) -> None:
    before, token = fleet.current(), fleet.record().get("token")
    run = fleet.begin("rotate", *SPARE, "-e", "rotate_confirm=5")
    until(
        lambda: fleet.record().get("token") != token and fleet.record().get("status") == "switched",
        300,
        "the second process",
    )
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    until(lambda: fleet.record().get("status") == "reverted", 120, "the second process being stopped again")
    assert "nobody confirmed" in fleet.record()["error"]
    assert fleet.current() == before
    until(fleet.quiet, 60, "the end of the one that leads")
    fleet.play("site")
    serves(fleet, job)
    output = fleet.play("site")
    assert changes_nothing(output), output


def test_leader_killed_with_two_processes_running(fleet: rotation_kit.Fleet, job: str) -> None:
    before, token = fleet.current(), fleet.record().get("token")
    run = fleet.begin("rotate", *SPARE)
    until(
        lambda: fleet.record().get("token") != token and fleet.record().get("status") == "switched",
        300,
        "the second process",
    )
    os.kill(fleet.record()["pid"], signal.SIGKILL)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert len(fleet.instances["exp1"].exporters()) == 2
    output = fleet.play("site", "-v")
    assert "which is not in use, has to stop" in output
    assert fleet.current() == before
    serves(fleet, job)


def test_evict_over_the_spare_port_and_remove(fleet: rotation_kit.Fleet, job: str) -> None:
    fleet.play("evict", "-e", "evict=prom2", *SPARE)
    assert [path.name for path in (fleet.directory() / "generations").iterdir()] == [fleet.current()]
    port = fleet.port(other(job).removeprefix("timesten-"))
    assert fleet.targets("prom1") == {other(job): ("up", f"localhost:{port}")}
    fleet.play("site", "-e", json.dumps({"exporter_host_readmit": ["prom2"]}))
    serves(fleet, other(job))
    fleet.play("remove", "-e", "remove_exporter=exp1")
    assert fleet.instances["exp1"].exporters() == []
    assert not fleet.directory().exists()
    for name in BOTH:
        assert fleet.targets(name) == {}
