# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that was set up by hand, as Oracle's manual says, with real Prometheus servers: found, refused, taken over."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from gates.doc_examples import example, plays
from integration import rotation_kit
from integration.exporter_kit import until
from integration.takeover_kit import ADOPT, TAKEOVER, ByHand, scrape

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BOTH = ("prom1", "prom2")
INTERVAL = 5.0
JOB = "tt_8888"
WALLETS = {"exp1": "mycertdir", "exp2": "."}
"""Where the owner's wallet is, from $HOME: in a directory, and in $HOME itself."""
JOBS = {"exp1": JOB, "exp2": "tt_8889"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ByHand]]:
    with rotation_kit.fleet(tmp_path_factory.mktemp("takeover"), INTERVAL, exporters=2, RATE="unlimited") as fleet:
        made = [ByHand(fleet, exporter, wallet, JOBS[exporter]) for exporter, wallet in WALLETS.items()]
        scrape(fleet, made)
        until(lambda: all(one.is_up(BOTH) for one in made), 4 * INTERVAL, "both servers scraping what was made by hand")
        yield made


@pytest.fixture
def by_hand(both: list[ByHand]) -> ByHand:
    return both[0]


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        (TAKEOVER, ["the hand-written job 'tt_8888' already scrapes", "set prometheus_host_on_existing to adopt"]),
        (ADOPT, ["is held by process", "mycertdir, set exporter_host_takeover to true"]),
    ],
    ids=["job", "process"],
)
def test_site_refuses_before_the_first_change(by_hand: ByHand, options: tuple[str, ...], reasons: list[str]) -> None:
    before = by_hand.everything()
    output = by_hand.fleet.play("site", *options, fails=True)
    said = " ".join(output.split())
    assert all(reason in said for reason in reasons), output
    assert by_hand.everything() == before
    assert by_hand.is_up(BOTH)


def test_discover_tells_what_is_there(by_hand: ByHand) -> None:
    """The table, and variables that are right: with these and nothing else, site takes it over."""
    before = by_hand.everything()
    [[playbook]] = plays("discover")
    output = by_hand.fleet.play(playbook)
    (pid,) = by_hand.pids()
    line = next(line for line in output.splitlines() if line.startswith("exp1") and str(pid) in line)
    assert f"{by_hand.folder}/mycertdir" in line and "by hand" in line and re.search(r"20\d\d-\d\d-\d\dT", line)
    assert "prom1: tt_8888 (by hand), prom2: tt_8888 (by hand)" in line
    inventory = yaml.safe_load(output[output.index("all:\n") : output.index("\n\n", output.index("all:\n"))])
    children = inventory["all"]["children"]
    variables = children["timesten_exporters"]["hosts"]["exp1"]
    alone = {key.removeprefix("exporter_host_"): value for key, value in variables.items()}
    # Exporters of other tests may run on this machine.
    elements = variables.get("exporter_host_exporters", [alone])
    [mine] = [element for element in elements if element["port"] == by_hand.port]
    assert {key: value for key, value in mine.items() if key not in ("instance", "owner")} == {
        "port": by_hand.port,
        "timesten_home": by_hand.fleet.instances["exp1"].home,
        "takeover": True,
        "address": "localhost",
    }
    servers = children["prometheus_servers"]["hosts"]
    assert {name: host["prometheus_host_on_existing"] for name, host in servers.items()} == dict.fromkeys(BOTH, "adopt")
    # Here both are on one machine, so that each sees the other one's, too.
    own = {str(by_hand.folder.parent / name / "prometheus.yml") for name in BOTH}
    for host in servers.values():
        assert own <= {item["config_file"] for item in host["prometheus_host_instances"]}
    assert by_hand.everything() == before


def test_takeover_loses_no_scrape(both: list[ByHand]) -> None:
    """The same certificate, the same series, and pairs of this collection in place of those that were made by hand."""
    fleet = both[0].fleet
    check, run = plays("takeover")
    everything, before = [one.everything() for one in both], [one.pids() for one in both]
    fleet.play(*check, *TAKEOVER, *ADOPT)
    assert [one.everything() for one in both] == everything
    since = time.time() - 2 * INTERVAL
    output = fleet.play(*run, *TAKEOVER, *ADOPT)
    assert set(fleet.states().values()) == {"proven"}, output
    played = time.time()
    until(
        lambda: all(
            sum(at > played for at, _value in one.samples(server, since)) >= 2 for one in both for server in BOTH
        ),
        4 * INTERVAL,
        "two scrapes after the run",
    )
    losses = {}
    for one in both:
        samples = [one.samples(server, since) for server in BOTH]
        failed = sum(value == 0 for series in samples for _at, value in series)
        hole = max(b[0] - a[0] for series in samples for a, b in zip(series, series[1:])) / INTERVAL
        losses[one.wallet] = (failed, round(hole, 2))
    print(f"failed scrapes and longest hole in intervals, by wallet: {losses}")
    assert all(failed == 0 and hole < 1.5 for failed, hole in losses.values()), losses
    for one, pids in zip(both, before):
        (after,) = one.pids()
        assert [after] != pids
        manifest = json.loads((fleet.directory(one.exporter) / "current/manifest.json").read_text())
        assert manifest["origin"] == "adopted"
        for server in fleet.servers.values():
            text = (server.directory / "prometheus.yml").read_text()
            assert text.count(f"job_name: {one.job}") == 1 and str(one.folder) not in text
            assert str(pathlib.Path(server.directory, f"timesten/{one.exporter}/current/client.key")) in text
    # The next run, which may take nothing over any more, has nothing to do.
    output = fleet.play("site")
    assert output.partition("PLAY RECAP")[2].count("changed=0") == 4, output


def test_one_exporter_becomes_the_first_of_two(by_hand: ByHand) -> None:
    """exp1 becomes exp1-a: the same certificate, the series with their labels, and no scrape lost."""
    fleet = by_hand.fleet
    fleet.play("site", *TAKEOVER, *ADOPT)
    before = json.loads((fleet.directory() / "current/manifest.json").read_text())
    path = fleet.root / "inventory.json"
    tree_ = json.loads(path.read_text())
    tree_["all"]["vars"]["prometheus_host_job_label"] = JOB
    tree_["all"]["children"]["timesten_exporters"]["hosts"]["exp1"]["exporter_host_exporters"][0]["instance"] = "a"
    path.write_text(json.dumps(tree_))
    since = time.time() - INTERVAL
    site, remove = plays("rename")
    fleet.play(*site, *TAKEOVER)
    assert fleet.states() == {(name, server): "proven" for name in ("exp1-a", "exp2") for server in BOTH}
    after = json.loads((fleet.directory().parent / "exp1-a/current/manifest.json").read_text())
    assert (after["leaf"], after["ca_sha256"]) == (before["leaf"], before["ca_sha256"])
    fleet.play(*remove)
    play = fleet.root / "old-name.yml"
    home = fleet.instances["exp1"].home
    text = example("old-name").replace("/opt/timesten/ttinst", home).replace("8888", str(by_hand.port))
    play.write_text(text.replace("  become: true\n  become_user: timesten\n", ""))
    subprocess.run(fleet.command(str(play)), env=fleet.environment(), check=True, capture_output=True)
    assert not fleet.directory().exists()
    for server in BOTH:
        # The job that was adopted once is its owner's again, and goes by hand.
        assert set(fleet.targets(server)) == {*JOBS.values(), "timesten-exp1-a"}
        config = fleet.servers[server].directory / "prometheus.yml"
        lines = config.read_text().splitlines(keepends=True)
        begin = next(number for number, line in enumerate(lines) if f"job_name: {JOB}" in line)
        end = next((n for n in range(begin + 1, len(lines)) if not lines[n].startswith("    ")), len(lines))
        config.write_text("".join(lines[:begin] + lines[end:]))
        process = fleet.servers[server].process
        assert process is not None
        process.send_signal(signal.SIGHUP)
        until(lambda server=server: JOB not in fleet.targets(server), 20, "the adopted job being gone")
    fleet.play("site")
    assert fleet.states() == {(name, server): "proven" for name in ("exp1-a", "exp2") for server in BOTH}
    for server in BOTH:
        targets = fleet.targets(server)
        assert set(targets) == {"timesten-exp1-a", JOBS["exp2"]}
        assert targets["timesten-exp1-a"] == ("up", f"localhost:{by_hand.port}")
        samples = by_hand.samples(server, since)
        holes = [b[0] - a[0] for a, b in zip(samples, samples[1:])]
        print(server, [value for _at, value in samples].count(0), max(holes) / INTERVAL)
        assert all(value == 1 for _at, value in samples) and max(holes) < 1.5 * INTERVAL
