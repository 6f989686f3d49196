# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outsiders with the real age, a real Prometheus and the reference exporter: site, rotations, eviction, as an outsider sees them."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gates.doc_examples import plays
from integration import rotation_kit
from integration.exporter_kit import until
from lab import packages

pytestmark = [pytest.mark.slow]

GRACE = 15
TEXTS = {"README.md", "config.alloy", "kubernetes.yml", "otel-collector.yml", "pairs.json", "scrape_config.yml"}


class Outsider:
    """Somebody who has nothing but an age identity, and the directory that was handed over."""

    def __init__(self, root: Path, name: str, age: Path | None = None) -> None:
        self.name = name
        self.age = age or packages.age()
        self.directory = root / "outsiders" / name
        self.own = root / f"at-{name}"
        self.own.mkdir()
        keygen = self.age.with_name("age-keygen")
        subprocess.run([keygen, "-o", str(self.own / "key.txt")], check=True, capture_output=True)
        public = subprocess.run([keygen, "-y", str(self.own / "key.txt")], check=True, capture_output=True, text=True)
        self.public_key = public.stdout.strip()

    def follow(self, directory: Path) -> str:
        """Do what README.md of a directory says, with /etc/timesten in a place of its own; return what its check says."""
        blocks = re.findall(r"```sh\n(.*?)```", (directory / "README.md").read_text(), re.DOTALL)
        script = "\n".join(blocks[:2]).replace("/etc/timesten", str(self.own / "timesten"))
        script = script.replace("key.txt", str(self.own / "key.txt"))
        path = f"{self.age.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=directory,
            env={**os.environ, "PATH": path},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def scrape(self, exporter: str, port: int) -> str:
        """Ask an exporter for its metrics with the decrypted files; return the first line of the answer, or how it was refused."""
        files = self.own / "timesten" / exporter
        context = ssl.create_default_context(cafile=str(files / "ca.crt"))
        context.verify_flags |= 0x80000
        context.load_cert_chain(str(files / "client.crt"), str(files / "client.key"))
        try:
            raw = socket.create_connection(("localhost", port), 10)
            with context.wrap_socket(raw, server_hostname="localhost") as connection:
                connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                found = b""
                while chunk := connection.recv(65536):
                    found += chunk
            assert b"\n# TYPE " in found, found[:300]
            return found.decode("latin-1").splitlines()[0]
        except (ssl.SSLError, ConnectionError) as error:
            return f"refused: {type(error).__name__}"

    def files(self) -> dict[str, tuple[int, bytes]]:
        """The files of the directory, with times and content."""
        found = [path for path in self.directory.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.directory)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outsiders")


@pytest.fixture(scope="module")
def team_b(root: Path) -> Outsider:
    return Outsider(root, "team-b")


@pytest.fixture(scope="module")
def team_c(root: Path) -> Outsider:
    """Takes one exporter only."""
    return Outsider(root, "team-c")


@pytest.fixture(scope="module")
def fleet(root: Path, team_b: Outsider, team_c: Outsider) -> Iterator[rotation_kit.Fleet]:
    variables = {
        "timesten_outsiders": [
            {"name": "team-b", "public_key": team_b.public_key, "scrape_interval": "30s"},
            {"name": "team-c", "public_key": team_c.public_key, "exporters": ["exp2"]},
        ],
        "timesten_outsiders_dir": str(root / "outsiders"),
    }
    with rotation_kit.fleet(
        root, 2.0, ("2.42",), exporters=2, variables=variables, spare=True, RATE="unlimited"
    ) as made:
        yield made


def plaintext_keys(root: Path) -> set[str]:
    """Files that hold a private key in plain text, less the outsiders' own."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(root))
        for path in files
        if not path.relative_to(root).parts[0].startswith("at-")
        and path.suffix not in (".py", ".md")
        and b"PRIVATE KEY" in path.read_bytes()
    }


def quiet(output: str) -> bool:
    return "changed=0" in output and not re.search(r"changed=[1-9]", output)


def test_an_outsider_gets_what_only_it_can_open(
    fleet: rotation_kit.Fleet, root: Path, team_b: Outsider, team_c: Outsider
) -> None:
    output = fleet.play("site", "--check")
    assert "Outsider team-b: " in output and "would change" in output and not team_b.directory.parent.exists()
    assert fleet.states()[("exp1", "team-b")] == "predicted"

    output = fleet.play("site", "-vvv", "--diff")
    assert "PRIVATE KEY" not in output
    assert "2 of 5 pairs proven, 3 encrypted for outsiders, who are not asked." in output
    pairs = {(pair["exporter"], pair["client"]): pair for pair in fleet.report()["pairs"]}
    assert {key: pair["state"] for key, pair in pairs.items()} == {
        ("exp1", "prom1"): "proven",
        ("exp2", "prom1"): "proven",
        ("exp1", "team-b"): "not asked",
        ("exp2", "team-b"): "not asked",
        ("exp2", "team-c"): "not asked",
    }
    assert all(pair["expires"] for pair in pairs.values())
    material = {f"pairs/{exporter}/{file}" for exporter in ("exp1", "exp2") for file in _FILES}
    assert set(team_b.files()) == TEXTS | material
    assert set(team_c.files()) == TEXTS | {name for name in material if "exp2" in name}

    # Nowhere but in the store of the Prometheus host and the probe pair, which never leaves its host, is there a key in plain text.
    kept = {name for name in plaintext_keys(root) if "/clients/probe/" not in name}
    assert kept and all(name.startswith("prom1/timesten/") for name in kept), kept
    folder = fleet.directory() / "current" / "clients" / "team-b"
    assert {path.name for path in folder.iterdir()} == {"client.crt", "bundle.age"}

    assert team_b.follow(team_b.directory) == "exp1: fits\nexp2: fits\n"
    assert team_c.follow(team_c.directory) == "exp2: fits\n"
    for exporter in ("exp1", "exp2"):
        assert team_b.scrape(exporter, fleet.port(exporter)).endswith(" 200 OK")
    with pytest.raises(subprocess.CalledProcessError, match="exit status"):
        # Somebody else's key opens nothing.
        team_c.follow(team_b.directory)


_FILES = ("ca.crt", "client.crt", "client.key.age")


def test_promtool_takes_the_scrape_configuration(fleet: rotation_kit.Fleet, team_b: Outsider) -> None:
    text = (team_b.directory / "scrape_config.yml").read_text()
    file = team_b.own / "prometheus.yml"
    file.write_text(text.replace("/etc/timesten", str(team_b.own / "timesten")))
    for version in ("2.42", "3.5"):
        done = subprocess.run(
            [packages.prometheus(version).promtool, "check", "config", str(file)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    jobs = yaml.safe_load(text)["scrape_configs"]
    assert [(job["job_name"], job["scrape_interval"]) for job in jobs] == [
        ("timesten-exp1", "30s"),
        ("timesten-exp2", "30s"),
    ]


def test_a_second_run_changes_nothing(fleet: rotation_kit.Fleet, team_b: Outsider) -> None:
    before = team_b.files()
    assert quiet(fleet.play("site"))
    assert team_b.files() == before


def test_what_is_lost_on_the_controller_comes_again(fleet: rotation_kit.Fleet, team_b: Outsider) -> None:
    before = team_b.files()
    key = team_b.directory / "pairs/exp1/client.key.age"
    key.write_text("damaged\n")
    fleet.play("verify", fails=True)
    assert "does not hold what team-b needs" in str(fleet.report())
    assert not quiet(fleet.play("site"))
    # The same file: nothing was encrypted again.
    assert {name: content for name, (_time, content) in team_b.files().items()} == {
        name: content for name, (_time, content) in before.items()
    }


def test_rotation_between_scrapes_tells_who_is_down(fleet: rotation_kit.Fleet, team_b: Outsider) -> None:
    before = team_b.files()
    only = ("-e", "rotate_exporters=exp1", "-e", "rotate_force=true")
    told = fleet.play("rotate", *only, "--check")
    assert "Outsider team-b would be down for exp1 until it takes the new pairs" in told
    assert team_b.files() == before
    told = fleet.play("rotate", *only)
    assert re.search(
        r"Outsider team-b is down, .*for exp1 until it takes the new pairs from \S+/outsiders/team-b ", told
    )
    assert fleet.states()[("exp1", "team-b")] == "not asked"
    assert team_b.scrape("exp1", fleet.port("exp1")).startswith("refused")
    assert team_b.scrape("exp2", fleet.port("exp2")).endswith(" 200 OK")
    assert not (team_b.directory / "next").exists()
    team_b.follow(team_b.directory)
    assert team_b.scrape("exp1", fleet.port("exp1")).endswith(" 200 OK")


def test_rotation_over_the_spare_port_serves_both_for_a_while(fleet: rotation_kit.Fleet, team_b: Outsider) -> None:
    [[playbook, *written]] = plays("outsiders-grace")
    # What comes last counts: an hour is too long.
    running = fleet.begin(playbook, *written, "-e", "rotate_exporters=exp1", "-e", f"rotate_grace={GRACE}")
    usual, spare = fleet.port("exp1"), fleet.port("exp1.spare")
    until((team_b.directory / "next/pairs.json").exists, 120, "the new bundle before the switch")
    until(
        lambda: (fleet.record().get("strategy"), fleet.record().get("status")) == ("spare_port", "confirmed"),
        120,
        "the switch being confirmed",
    )
    assert team_b.scrape("exp1", usual).endswith(" 200 OK")
    team_b.follow(team_b.directory / "next")
    assert team_b.scrape("exp1", spare).endswith(" 200 OK")
    assert f"localhost:{spare}" in (team_b.directory / "next/scrape_config.yml").read_text()
    assert running.poll() is None and running.wait(GRACE + 120) == 0
    assert f"both ports were served for {GRACE} s" in (fleet.root / "playbook.log").read_text()
    assert team_b.scrape("exp1", usual).startswith("refused")
    assert team_b.scrape("exp1", spare).endswith(" 200 OK")
    jobs = yaml.safe_load((team_b.directory / "scrape_config.yml").read_text())["scrape_configs"]
    assert jobs[0]["static_configs"] == [
        {"targets": [f"localhost:{spare}"], "labels": {"instance": f"localhost:{usual}", "job": "timesten-exp1"}}
    ]
    assert not (team_b.directory / "next").exists()


def test_evicted_it_gets_in_nowhere(fleet: rotation_kit.Fleet, team_b: Outsider, team_c: Outsider) -> None:
    team_c.follow(team_c.directory)
    [[playbook, *written]] = plays("outsiders-evict")
    fleet.play(playbook, *written, "-e", "rotate_force=true")
    assert not team_b.directory.exists()
    assert {client for _exporter, client in fleet.states()} == {"prom1", "team-c"}
    for exporter, port in (("exp1", fleet.port("exp1.spare")), ("exp2", fleet.port("exp2"))):
        assert team_b.scrape(exporter, port).startswith("refused")
    team_c.follow(team_c.directory)
    assert team_c.scrape("exp2", fleet.port("exp2")).endswith(" 200 OK")
    fleet.play("site", fails=True)
    states = fleet.states()
    assert states[("exp1", "team-b")] == "evicted" and states[("exp2", "team-c")] == "not asked"
    assert not team_b.directory.exists()


def test_removed_it_has_nothing(fleet: rotation_kit.Fleet, team_c: Outsider) -> None:
    assert (team_c.directory / "pairs.json").exists()
    (team_c.directory / "notes.txt").write_text("theirs")
    output = fleet.play("remove", "-e", "remove_everything=true")
    assert "Outsider team-c: the pairs of exp2 in" in output and "What else lies there stays." in output
    assert [path.name for path in team_c.directory.iterdir()] == ["notes.txt"]
