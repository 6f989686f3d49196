# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of README and docs/by-hand.md, run as they stand, on hosts of the lab.

The hosts get the names, homes and users that the pages speak of; only how Ansible reaches them comes from here.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gates.doc_examples import commands, example
from gates.environments import ROOT
from lab.lab import LABS, Lab

EXPORTERS = ("exp1.example.com", "exp2.example.com", "exp3.example.com")
SERVERS = ("prom1.example.com", "prom2.example.com")
HOMES = {
    "exp1.example.com": ["/opt/timesten/ttinst"],
    "exp2.example.com": ["/opt/timesten/ttinst"],
    "exp3.example.com": ["/opt/timesten/sales", "/opt/timesten/stock"],
}

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

INSTALL = """
- name: Put the reference exporter where TimesTen would be
  hosts: timesten_exporters
  gather_facts: false
  become: true
  tasks:
    - name: Make the parent
      ansible.builtin.file:
        path: /opt/timesten
        state: directory
        owner: timesten
        mode: "0755"
    - name: Install it
      ansible.builtin.include_role:
        name: timesten.monitoring.reference_exporter
      vars:
        reference_exporter_timesten_home: "{{ home }}"
        reference_exporter_owner: timesten
      loop: "{{ homes }}"
      loop_control:
        loop_var: home
"""


class Site:
    """The lab with the README's inventory."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        (directory / "inventory").mkdir()
        # Read in the order of their names: the page's inventory first, then how its hosts are reached.
        (directory / "inventory" / "1-readme.ini").write_text(example("inventory"), encoding="utf-8")
        hosts = {name: {"ansible_host": host.name} for name, host in zip(EXPORTERS, lab.exporters)}
        hosts.update({name: {"ansible_host": host.name} for name, host in zip(SERVERS, lab.prometheus)})
        for name, homes in HOMES.items():
            hosts[name]["homes"] = homes
        # The page's settings, and of the lab's only what its connections need.
        settings = configparser.ConfigParser()
        settings.read(lab.ansible_cfg, encoding="utf-8")
        for section in settings.sections():
            settings.remove_option(section, "pipelining")
            settings.remove_option(section, "forks")
        settings.read_string(example("configuration"))
        with (directory / "ansible.cfg").open("w", encoding="utf-8") as stream:
            settings.write(stream)
        original = yaml.safe_load(
            self.run("ansible-inventory", "-i", str(lab.inventory), "--list", "--export", "--yaml").stdout
        )
        reach = original["all"].get("vars", {})
        (directory / "inventory" / "2-lab.yml").write_text(
            yaml.safe_dump({"all": {"hosts": hosts, "vars": reach}}), encoding="utf-8"
        )
        collection = directory / "collections" / "ansible_collections" / "timesten"
        collection.mkdir(parents=True)
        (collection / "monitoring").symlink_to(ROOT)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program on the controller and return what it said."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = self.lab.run(
            [
                "env",
                f"ANSIBLE_CONFIG={self.directory}/ansible.cfg",
                f"ANSIBLE_COLLECTIONS_PATH={self.directory}/collections",
                f"PATH={path}",
                *argv,
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{shlex.join(argv)}\n{done.stdout}\n{done.stderr}"
        return done

    def playbook(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ansible-playbook on the inventory of the pages."""
        return self.run("ansible-playbook", "-i", "inventory", *argv, check=check)

    def write(self, name: str, text: str) -> str:
        """Put a playbook beside the inventory."""
        (self.directory / name).write_text(text, encoding="utf-8")
        return name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Lab(exporters=3, prometheus=2, directory=LABS / "docs") as lab:
        names = "".join(
            f"{host.address} {name}{' myhost' if name == EXPORTERS[0] else ''}\n"
            for name, host in zip((*EXPORTERS, *SERVERS), lab.hosts)
        )
        for host in lab.hosts:
            lab.run(["sh", "-c", f"printf %s {shlex.quote(names)} >> /etc/hosts"], host=host.name, check=True)
        made = Site(lab, tmp_path_factory.mktemp("docs"))
        made.playbook(made.write("install.yml", INSTALL))
        yield made


def changed(output: str) -> dict[str, int]:
    """Number of changed tasks by host, from the recap."""
    rows = [line for line in output.splitlines() if " changed=" in line and " unreachable=" in line]
    assert rows, output
    return {row.split()[0]: int(row.split("changed=")[1].split()[0]) for row in rows}


def test_the_two_commands_are_there() -> None:
    for command in commands("commands"):
        program, target = command.split()
        assert program == "make"
        known = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert known.returncode == 0, known.stderr


def test_the_daily_tasks_of_the_readme(site: Site) -> None:
    """A look ahead, a rollout, the proof, one exporter: each as it stands on the page."""
    words = [shlex.split(command) for command in commands("tasks")]
    assert [word[0] for word in words] == ["ansible-playbook"] * 4
    look, rollout, proof, one = (site.playbook(*word[1:]).stdout for word in words)
    every = {*EXPORTERS, *SERVERS}
    assert {host for host, count in changed(look).items() if count} == every
    assert {host for host, count in changed(rollout).items() if count} == every
    assert not any(changed(proof).values())
    assert not any(changed(one).values())
    assert set(changed(one)) == {"exp2.example.com", *SERVERS}
    for host in site.lab.prometheus:
        answer = site.lab.run(
            [sys.executable, "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"]
            + [f"http://{host.address}:9090/api/v1/targets?state=active"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        targets = {
            target["scrapeUrl"]: target["health"]
            for target in json.loads(answer)["data"]["activeTargets"]
            if ".example.com" in target["scrapeUrl"]
        }
        assert targets == {
            "https://exp1.example.com:8888/metrics": "up",
            "https://exp2.example.com:8888/metrics": "up",
            "https://exp3.example.com:8888/metrics": "up",
            "https://exp3.example.com:8889/metrics": "up",
        }


def test_by_hand(site: Site) -> None:
    """The manual's steps with the four small modules, twice, then a scrape with the page's job, then the stop."""
    page = site.write("by_hand.yml", example("by-hand-exporter"))
    first = site.playbook(page, "--limit", EXPORTERS[0]).stdout
    again = site.playbook(page, "--limit", EXPORTERS[0]).stdout
    assert changed(first) == {EXPORTERS[0]: 4}
    assert changed(again) == {EXPORTERS[0]: 0}
    host, server = site.lab.exporters[0], site.lab.prometheus[0]
    job = yaml.safe_load(example("by-hand-prometheus"))["scrape_configs"][0]
    assert job["static_configs"] == [{"targets": ["myhost:12345"]}]
    pair = "/opt/timesten/mycertdir/current/clients/prometheus1"
    sources = {
        "ca_file": "/opt/timesten/server.crt",
        "cert_file": f"{pair}/client.crt",
        "key_file": f"{pair}/client.key",
    }
    for option, source in sources.items():
        content = site.lab.run(["cat", source], host=host.name, capture_output=True, check=True).stdout
        site.lab.run(
            ["sh", "-c", f"umask 077; cat > {job['tls_config'][option]}"],
            host=server.name,
            input=content,
            check=True,
        )
    scraped = site.lab.run(
        ["/usr/bin/python3", "-c", SCRAPE, job["static_configs"][0]["targets"][0], job["metrics_path"]]
        + [job["tls_config"][option] for option in sources],
        host=server.name,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "timesten_databases" in scraped
    stopped = site.playbook(site.write("stop.yml", example("by-hand-stop")), "--limit", EXPORTERS[0]).stdout
    assert changed(stopped) == {EXPORTERS[0]: 1}
    left = site.lab.run(["pgrep", "-f", "--", "-port 12345"], host=host.name, capture_output=True, text=True)
    assert left.stdout == ""


SCRAPE = """
import ssl, sys, urllib.request
target, path, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= 0x80000  # a leaf may be the trust anchor, as for Prometheus
context.load_cert_chain(certificate, key)
print(urllib.request.urlopen(f"https://{target}{path}", context=context, timeout=10).read().decode())
"""
