# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slices of a fleet, one after the other and at once, by ansible-playbook, ansible-runner and ansible-pull: docs/scale.md as it stands."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml

from gates.doc_examples import commands, example
from integration import rotation_kit
from integration.exporter_kit import until

EXPORTERS = {f"exp{number}": "up" for number in range(1, 5)}
REFUSED = ("since it was inspected", "is held by another run")


class Fleet:
    """The fleet of the page: two slices with the same Prometheus hosts."""

    def __init__(self, fleet: rotation_kit.Fleet) -> None:
        self.fleet = fleet
        self.root = fleet.root
        inventory = self.root / "fleet" / "inventory"
        inventory.mkdir(parents=True)
        # The page's groups; how the hosts are reached and what they run comes from the fleet.
        tree = json.loads((self.root / "inventory.json").read_text())
        (inventory / "1-slices.ini").write_text(example("scale-inventory"))
        (inventory / "2-fleet.json").write_text(json.dumps(tree))

    def begin(self, command: str, directory: pathlib.Path | None = None, **more: str) -> subprocess.Popen[str]:
        """Start a command of the page."""
        environment = {
            **self.fleet.environment(),
            "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **more,
        }
        if "ansible-playbook" in command:
            command = command.replace("ansible-playbook", "ansible-playbook -i fleet/inventory", 1)
        return subprocess.Popen(
            ["/bin/sh", "-euc", command],
            cwd=directory or self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, directory: pathlib.Path | None = None, **more: str) -> str:
        """Run a command of the page, which has to succeed."""
        process = self.begin(command, directory, **more)
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{output}"
        return output

    def jobs(self, server: str) -> dict[str, str]:
        """Health of our jobs, by exporter, as the Prometheus itself says."""
        data = json.loads(self.fleet.servers[server].get("/api/v1/targets") or b"")["data"]["activeTargets"]
        return {item["scrapePool"].replace("timesten-", ""): item["health"] for item in data}

    def everything_is_up(self) -> bool:
        return all(self.jobs(server) == EXPORTERS for server in self.fleet.servers)

    def clear(self) -> None:
        """Take everything away, so that the next way starts from nothing."""
        self.run("ansible-playbook timesten.monitoring.remove -e remove_everything=true")
        assert all(self.jobs(server) == {} for server in self.fleet.servers)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with rotation_kit.fleet(tmp_path_factory.mktemp("scale"), 1.0, exporters=4, RATE="unlimited") as fleet:
        yield Fleet(fleet)


def hosts_of(output: str) -> set[str]:
    """Hosts of the recap."""
    return set(re.findall(r"^(\S+) +: ok=", output, re.MULTILINE))


def changed(output: str) -> int:
    return sum(int(count) for count in re.findall(r"changed=(\d+)", output))


def test_one_slice_after_the_other(made: Fleet) -> None:
    first, second = commands("scale-slices")
    assert hosts_of(made.run(first)) == {"exp1", "exp2", "prom1", "prom2"}
    assert set(made.jobs("prom1")) == {"exp1", "exp2"}
    assert hosts_of(made.run(second)) == {"exp3", "exp4", "prom1", "prom2"}
    assert made.everything_is_up()


def test_slices_at_once_lose_nothing(made: Fleet) -> None:
    made.clear()
    running = [made.begin(command) for command in commands("scale-slices")]
    said = [process.communicate(timeout=600)[0] for process in running]
    failed = [output for process, output in zip(running, said) if process.returncode != 0]
    # Both have looked before the first one stored: it takes longer to make wallets than to begin.
    assert failed, "both got through, so they did not meet"
    for output in failed:
        assert any(reason in " ".join(output.split()) for reason in REFUSED), output
        assert "Not finished" in output and "Traceback" not in output
    # Nobody got half of something: what is configured is up.
    for server in made.fleet.servers:
        jobs = made.jobs(server)
        assert set(jobs) in ({"exp1", "exp2"}, {"exp3", "exp4"}) and set(jobs.values()) == {"up"}, said
    (again,) = commands("scale-again")
    assert again == commands("scale-slices")[1]
    for command in commands("scale-slices"):
        made.run(command)
    assert made.everything_is_up()


def test_runner(made: Fleet) -> None:
    made.clear()
    (command,) = commands("scale-runner")
    settings = made.root / "fleet" / "env"
    settings.mkdir()
    (settings / "envvars").write_text(json.dumps({"ANSIBLE_CONFIG": str(made.root / "ansible.cfg")}))
    made.run(command)
    assert made.jobs("prom1") == made.jobs("prom2") == {"exp1": "up", "exp2": "up"}
    artifacts = b"".join(path.read_bytes() for path in (made.root / "fleet" / "artifacts").rglob("*") if path.is_file())
    assert b"ciphertext" in artifacts and b"PRIVATE KEY-----" not in artifacts


def test_pull(made: Fleet, tmp_path: pathlib.Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(made.root / "fleet" / "inventory", repository / "inventory")
    (repository / "fleet.yml").write_text(example("scale-pull-playbook"))
    for arguments in ("init -q", "add .", "-c user.name=owner -c user.email=owner@example.com commit -qm Fleet"):
        subprocess.run(["git", *shlex.split(arguments)], cwd=repository, check=True)
    (command,) = commands("scale-pull")
    output = made.run(command, tmp_path, REPOSITORY=repository.as_uri())
    assert hosts_of(output) >= {"exp1", "exp2", "prom1", "prom2"}
    assert made.jobs("prom1") == {"exp1": "up", "exp2": "up"}
    made.run(command.replace("'slice_1:prometheus_servers'", "all"), tmp_path, REPOSITORY=repository.as_uri())
    until(made.everything_is_up, 20, "all targets being up")


def test_execution_environment(tmp_path: pathlib.Path) -> None:
    """The definition makes a build context, and what the collection needs is read from it; to build the image takes a container engine."""
    (tmp_path / "execution-environment.yml").write_text(example("scale-execution-environment"))
    programs = pathlib.Path(sys.executable).parent
    (command,) = commands("scale-builder")
    done = subprocess.run(
        [programs / shlex.split(command)[0], *shlex.split(command)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    requirements = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())
    assert requirements == {"collections": ["timesten.monitoring"]}
    tree = tmp_path / "collections/ansible_collections/timesten"
    tree.mkdir(parents=True)
    (tree / "monitoring").symlink_to(rotation_kit.PROJECT)
    listed = subprocess.run(
        [programs / "ansible-builder", "introspect", tmp_path / "collections"],
        capture_output=True,
        text=True,
        check=True,
    )
    needs = yaml.safe_load(listed.stdout)
    assert any("cryptography>=3.3" in line for line in needs["python"])
    assert any("openssh-client " in line for line in needs["system"])
