# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role prometheus_host: two Prometheus instances of different versions on one host, in each layout, through
ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration import prometheus_kit as kit
from lab import packages

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

PLAY = """\
- hosts: prom1
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: timesten.monitoring.prometheus_host, tasks_from: "{{ item }}"}
      loop: "{{ part.split('+') }}"
    - ansible.builtin.copy: {content: "{{ result | to_json }}", dest: "{{ answer }}", mode: "0600"}
      delegate_to: localhost
      check_mode: false
      vars:
        answers: "{{ prometheus_host_inspected if part == 'inspect' else prometheus_host_answer }}"
        result: {changed: "{{ answers.changed }}", results: "{{ answers.clients | map(attribute='answer') }}"}
"""


class Host:
    """A host with two Prometheus instances, and what the exporter hosts are said to have answered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.instances = {}
        for name, version in (("old", "2.42"), ("new", "3.5")):
            (directory / name).mkdir(mode=0o755)
            self.instances[name] = kit.Prometheus(packages.prometheus(version), directory / name)
            self.instances[name].start()
        for instance in self.instances.values():
            instance.wait()
        self.exporter = "exp1"
        self.variables: dict[str, Any] = {}

    def run(self, part: str, *options: str, **variables: Any) -> tuple[dict[str, Any], str]:
        """Run one part of the role; returns what it has registered, client by client, and the output."""
        answer = self.directory / "answer.json"
        answer.unlink(missing_ok=True)
        own = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "prometheus_host_become": False,
            "prometheus_host_user": kit.USER,
            "prometheus_host_instances": [
                {
                    "instance": name,
                    "config_file": str(instance.config),
                    "store": str(instance.store),
                    "url": f"http://127.0.0.1:{instance.port}",
                    "promtool": str(instance.binaries.promtool),
                }
                for name, instance in self.instances.items()
            ],
        }
        inventory = self.directory / "inventory.json"
        groups = {
            "timesten_exporters": {self.exporter: {"exporter_host_timesten_home": "/opt/timesten", **self.variables}},
            "prometheus_servers": {"prom1": {**own, **variables, "part": part, "answer": str(answer)}},
        }
        inventory.write_text(
            json.dumps({"all": {"children": {group: {"hosts": hosts} for group, hosts in groups.items()}}})
        )
        (self.directory / "play.yml").write_text(PLAY)
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i",
                inventory,
                *options,
                self.directory / "play.yml",
            ],
            env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        return (json.loads(answer.read_text()) if answer.exists() else {}), output

    def answered(self, exporter: kit.Exporter, results: list[dict[str, Any]]) -> None:
        """Let the exporter's host answer with a pair for each client."""
        pairs = []
        element: dict[str, Any] = {}
        for result in results:
            element = exporter.element(result["transport_key"], result["name"])
            known = {key: element[key] for key in ("delivery", "sha256", "certificate", "bundle")}
            ends = {"not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z"}
            pairs.append({"client": result["name"], **known, **ends})
        answer = {key: element[key] for key in ("name", "generation", "ca_sha256", "ca_certificate", "alt_names")}
        state = {"changed": True, "insecure": False, "spare": False, "port": exporter.port}
        asked = {
            "phase": "converge",
            "exporters": [exporter.name],
            "clients": [result["name"] for result in results],
            "check_mode": False,
        }
        call = {"changed": True, "exporters": [{**state, **answer, "pairs": pairs}]}
        self.mentions(exporter)
        self.variables["exporter_host_answer"] = {"changed": True, "calls": [{"asked": asked, "answer": call}]}

    def mentions(self, exporter: kit.Exporter) -> None:
        """Let this be the inventory's exporter."""
        self.exporter = exporter.name
        self.variables = {"exporter_host_address": "127.0.0.1", "exporter_host_port": exporter.port}


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = kit.public_directory()
    made = Host(directory)
    yield made
    for instance in made.instances.values():
        instance.stop()


def test_two_instances_from_nothing_and_back(host: Host) -> None:
    before = {name: instance.config.read_bytes() for name, instance in host.instances.items()}
    exporter = kit.Exporter("exp1", kit.new_wallet())

    predicted, output = host.run("inspect", "--check")
    assert [item["name"] for item in predicted["results"]] == ["prom1-old", "prom1-new"], output
    assert not any(instance.store.exists() for instance in host.instances.values())

    inspected, output = host.run("inspect")
    assert [item["version"] for item in inspected["results"]] == [
        packages.prometheus(version).version for version in ("2.42", "3.5")
    ], output
    host.answered(exporter, inspected["results"])

    predicted, output = host.run("main", "--check", "--diff")
    assert [item["changed"] for item in predicted["results"]] == [True, True], output
    assert "+  - job_name: timesten-exp1" in output
    done, output = host.run("main", "--diff", "-vvv")
    assert [item["exporters"][0]["up"] for item in done["results"]] == [True, True], output
    assert "PRIVATE KEY" not in output

    again, output = host.run("main")
    assert again["changed"] is False, output
    proven, output = host.run("verify")
    assert all(item["exporters"][0]["refused_foreign_pair"] for item in proven["results"]), output

    gone, output = host.run("absent")
    assert [item["removed"] for item in gone["results"]] == [["exp1"], ["exp1"]], output
    assert {name: instance.config.read_bytes() for name, instance in host.instances.items()} == before


def test_template_layout_holds_the_whole_file(host: Host) -> None:
    exporter = kit.Exporter("exp1", kit.new_wallet())
    template = host.directory / "whole.yml.j2"
    template.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n{{ prometheus_host_jobs | to_nice_yaml }}"
    )
    chosen = {"prometheus_host_layout": "template", "prometheus_host_template": str(template)}
    inspected, output = host.run("inspect", **chosen)
    assert inspected, output
    host.answered(exporter, inspected["results"])
    done, output = host.run("main", **chosen)
    assert [item["exporters"][0]["up"] for item in done["results"]] == [True, True], output
    assert host.run("main", **chosen)[0]["changed"] is False


@pytest.mark.parametrize("named", [True, False])
def test_two_inventories_share_a_prometheus(host: Host, named: bool) -> None:
    """None is reported, re-pointed, purged or removed by the other; the layout template has to know the jobs of both."""
    host.instances.pop("old").stop()
    template = host.directory / "whole.yml.j2"
    template.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n{{ prometheus_host_jobs | to_nice_yaml }}"
    )
    chosen = {"prometheus_host_layout": "template", "prometheus_host_template": str(template)}
    exporters = {"north": kit.Exporter("exp1", kit.new_wallet(1)), "south": kit.Exporter("exp2", kit.new_wallet(2))}
    config = host.instances["new"].config

    def run(fleet: str, part: str = "main", exporter: kit.Exporter | None = None, **more: Any) -> dict[str, Any]:
        host.mentions(exporter or exporters[fleet])
        own = {**chosen, **({"prometheus_host_fleet": fleet} if named else {})}
        inspected, output = host.run("inspect", **own)
        assert inspected, output
        host.answered(exporter or exporters[fleet], inspected["results"])
        done, output = host.run(f"inspect+{part}", **own, **more)
        return done["results"][0] if done else {"output": " ".join(output.split())}

    assert run("north")["exporters"][0]["up"]
    second = run("south", prometheus_host_purge=True)
    assert (
        "exporters" in second and second["exporters"][0]["up"] and second["unmentioned"] == second["removed"] == []
    ), second
    first = run("north", prometheus_host_purge=True)
    assert first["unmentioned"] == first["removed"] == [] and "exp2" not in str(first["warnings"]), first
    both = config.read_text()
    assert both.count("job_name: timesten-exp1\n") == both.count("job_name: timesten-exp2\n") == 1
    moved = run("south", exporter=kit.Exporter("exp1", kit.new_wallet(3)))
    whose = "fleet 'north'" if named else "another inventory"
    assert f"exp1 belongs to {whose}" in moved["output"], moved
    assert config.read_text() == both
    assert run("south", "absent")["removed"] == ["exp2"]
    assert "timesten-exp1" in config.read_text() and "exp2" not in config.read_text()


def test_purge_is_refused_where_an_exporter_host_did_not_answer(host: Host) -> None:
    answer, output = host.run("main", prometheus_host_purge=True)
    assert not answer
    assert "These did not: exp1" in " ".join(output.split())


def test_failure_names_the_client_and_the_reason(host: Host) -> None:
    host.instances["new"].stop()
    inspected, _output = host.run("inspect")
    host.answered(kit.Exporter("exp1", kit.new_wallet()), inspected["results"])
    answer, output = host.run("main")
    assert not answer
    assert f"http://127.0.0.1:{host.instances['new'].port} does not answer" in output
    assert "Nothing was changed" in output
