# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small fleet on this machine for the tests and measurements of rotations: reference exporters, real Prometheus servers, the playbooks."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates, probe
from integration.exporter_kit import Instance, free_port, until
from lab import packages
from waiting import fetch

ENDS = "exporter:timesten_certificate_not_after_seconds:vector"
PROJECT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Server:
    """A real Prometheus of this fleet."""

    name: str
    directory: pathlib.Path
    binaries: packages.Prometheus
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "prometheus.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.binaries.prometheus,
                    f"--config.file={self.directory}/prometheus.yml",
                    f"--storage.tsdb.path={self.directory}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--web.enable-lifecycle",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: self.get("/-/ready"), 30, f"Prometheus {self.name} being ready")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, path: str) -> bytes | None:
        return fetch(f"http://127.0.0.1:{self.port}{path}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        assert answer is not None, f"Prometheus {self.name} does not answer"
        return json.loads(answer)["data"]["result"]

    def up(self, since: float) -> dict[str, list[tuple[float, float]]]:
        """The samples of ``up`` of the exporters since a moment, by job, as Prometheus has stored them."""
        seconds = max(1, round(time.time() - since))
        samples = self.query(f'up{{job=~"timesten-.*"}}[{seconds}s]')
        return {item["metric"]["job"]: [(float(at), float(value)) for at, value in item["values"]] for item in samples}


@dataclasses.dataclass
class Fleet:
    """Exporters exp1..n on this machine and Prometheus servers prom1..m."""

    root: pathlib.Path
    interval: float
    servers: dict[str, Server]
    instances: dict[str, Instance]
    variables: dict[str, Any] = dataclasses.field(default_factory=dict)
    spare: bool = False

    def directory(self, exporter: str = "exp1") -> pathlib.Path:
        return pathlib.Path(self.instances[exporter].home) / "monitoring" / exporter

    def current(self, exporter: str = "exp1") -> str:
        return (self.directory(exporter) / "current").resolve().name

    def record(self, exporter: str = "exp1") -> dict[str, Any]:
        try:
            return json.loads((self.directory(exporter) / "switch.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def delivery(self, server: str, job: str = "exp1") -> str:
        return os.readlink(self.servers[server].directory / "timesten" / job / "current")

    def command(self, *arguments: str) -> list[str]:
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        report = ["-e", f"timesten_report={self.root}/report.json"]
        return [str(program), "-i", str(self.root / "inventory.json"), *report, *arguments]

    def report(self) -> dict[str, Any]:
        """What the last run that came to its end has written of itself; it is read once."""
        path = self.root / "report.json"
        report = json.loads(path.read_text())
        path.unlink()
        return dict(report)

    def states(self) -> dict[tuple[str, str], str]:
        """What the last run saw of each pair, by exporter and client."""
        return {(pair["exporter"], pair["client"]): pair["state"] for pair in self.report()["pairs"]}

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {**kept, "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"), "LC_ALL": "C.UTF-8"}

    def play(self, name: str, *arguments: str, fails: bool | None = False, prefix: Sequence[str] = ()) -> str:
        """Run a playbook of the collection, and return what it said.

        :param fails: whether it has to fail; None takes either.
        :param prefix: a command that starts it.
        """
        command = [*prefix, *self.command(f"timesten.monitoring.{name}", *arguments)]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert fails is None or (done.returncode != 0) == fails, f"{name} ended with {done.returncode}:\n{output}"
        return output

    def begin(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a playbook and return at once."""
        with (self.root / "playbook.log").open("ab") as log:
            return subprocess.Popen(
                self.command(f"timesten.monitoring.{name}", *arguments),
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def served(self, exporter: str = "exp1") -> dict[str, Any]:
        """Facts of the certificate that an exporter serves."""
        outcome = probe.tls("127.0.0.1", self.port(exporter), None)
        assert outcome.certificate is not None, outcome
        return certificates.facts_of_der(outcome.certificate)

    def targets(self, server: str) -> dict[str, tuple[str, str]]:
        """Health and address of the targets of our jobs, by job, as a Prometheus tells them."""
        answer = self.servers[server].get("/api/v1/targets?state=active")
        assert answer is not None, f"Prometheus {server} does not answer"
        return {
            item["scrapePool"]: (item["health"], item["scrapeUrl"].split("/")[2])
            for item in json.loads(answer)["data"]["activeTargets"]
        }

    def ends(self, server: str, exporter: str = "exp1") -> dict[str, float]:
        """The ends of an exporter's certificates by kind, in seconds since the epoch, as the rules that a Prometheus runs have them."""
        answer = self.servers[server].get("/api/v1/rules?type=record")
        assert answer is not None, f"Prometheus {server} does not answer"
        return {
            rule["labels"]["kind"]: float(rule["query"][len("vector(") : -1])
            for group in json.loads(answer)["data"]["groups"]
            for rule in group["rules"]
            if rule["name"] == ENDS and rule["labels"]["exporter"] == exporter
        }

    def losses(self, since: float, until_: float | None = None) -> tuple[int, float]:
        """Failed scrapes and the longest hole between samples, in intervals, over all servers since a moment."""
        failed, longest = 0, 0.0
        for server in self.servers.values():
            for samples in server.up(since).values():
                kept = [sample for sample in samples if until_ is None or sample[0] <= until_]
                failed += sum(value == 0 for _at, value in kept)
                times = [at for at, _value in kept]
                longest = max([longest, *(after - before for before, after in zip(times, times[1:]))])
        return failed, longest / self.interval

    def write(self) -> None:
        """Write inventory and configuration."""
        interpreter = sys.executable
        exporters = {
            name: {"exporter_host_exporters": [{"port": self.port(name), "timesten_home": instance.home}]}
            for name, instance in self.instances.items()
        }
        if self.spare:
            for name, own in exporters.items():
                own["exporter_host_spare_port"] = self.port(f"{name}.spare")
        servers = {
            name: {
                "prometheus_host_config_file": f"{server.directory}/prometheus.yml",
                "prometheus_host_store": f"{server.directory}/timesten",
                "prometheus_host_url": f"http://127.0.0.1:{server.port}",
                "prometheus_host_promtool": str(server.binaries.promtool),
            }
            for name, server in self.servers.items()
        }
        inventory = {
            "all": {
                "vars": {"ansible_connection": "local", "ansible_python_interpreter": interpreter, **self.variables},
                "children": {
                    "timesten_exporters": {
                        "vars": {
                            "exporter_host_become": False,
                            # The crontab of this machine is not a test's.
                            "exporter_host_boot": "none",
                            "exporter_host_address": "localhost",
                            "exporter_host_rate_budget": "warn",
                        },
                        "hosts": exporters,
                    },
                    "prometheus_servers": {
                        "vars": {"prometheus_host_become": False, "prometheus_host_user": getpass.getuser()},
                        "hosts": servers,
                    },
                },
            }
        }
        (self.root / "inventory.json").write_text(json.dumps(inventory, indent=1))

    @contextlib.contextmanager
    def without(self, server: str) -> Iterator[None]:
        """Take a Prometheus out of the inventory; it runs on."""
        known = self.servers
        self.servers = {name: item for name, item in known.items() if name != server}
        self.write()
        try:
            yield
        finally:
            self.servers = known
            self.write()

    def quiet(self) -> bool:
        """Whether no detached process of a rotation runs any more."""
        records = [self.record(name) for name in self.instances]
        for server in self.servers.values():
            file = server.directory / "timesten/.follow.json"
            records.append(json.loads(file.read_text()) if file.exists() else {})
        return not any(lives(record) for record in records)

    def port(self, exporter: str) -> int:
        file = self.root / f"{exporter}.port"
        if not file.exists():
            file.write_text(str(free_port()))
        return int(file.read_text())

    def end_workers(self) -> None:
        """Kill what was started for this fleet."""
        for instance in self.instances.values():
            instance.end()
        for path in [
            *self.root.glob("home-*/home/monitoring/*/switch.json"),
            *self.root.glob("*/timesten/.follow.json"),
        ]:
            with contextlib.suppress(OSError, ValueError):
                record = json.loads(path.read_text())
                if lives(record):
                    os.kill(record["pid"], signal.SIGKILL)


META = (
    "Nothing is wrong",
    "Whoever has nothing to rotate is done",
    "Nothing is to be rotated",
    "That was the only wave",
    "Stop at the first failure",
)
"""Tasks that Ansible decides by itself."""


def said(output: str) -> str:
    """What a run said, in one line."""
    return " ".join(output.replace("\\n", " ").split())


def changes_nothing(output: str) -> bool:
    """Whether a run has changed nothing on one exporter's host and two servers'."""
    return output.partition("PLAY RECAP")[2].count("changed=0") == 3


def advised(text: str) -> list[list[str]]:
    """The commands that a text names: playbook and options."""
    commands = re.findall(r"ansible-playbook timesten\.monitoring\.(\w+)((?: -e [\w.-]+=[\w-]+)+)", text)
    return [[playbook, *options.split()] for playbook, options in commands]


def worker_tasks(output: str) -> tuple[int, int, int]:
    """Return how many tasks of a run worked, were skipped, and included others; each is a forked process of the controller."""
    worked = skipped = included = 0
    meta = False
    for line in output.splitlines():
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            meta = line.partition("[")[2].partition("]")[0] in META
        elif line.startswith(("ok: [", "changed: [", "fatal: [")):
            worked += 1
        elif line.startswith("skipping: [") and not meta:
            skipped += 1
        elif line.startswith("included: "):
            included += len(line.partition(" for ")[2].partition(" => ")[0].split(", "))
    return worked, skipped, included


def lives(record: dict[str, Any]) -> bool:
    """Whether the very process of a record still runs: its number may be used again."""
    try:
        stat = pathlib.Path(f"/proc/{record['pid']}/stat").read_text()
    except (OSError, KeyError):
        return False
    fields = stat[stat.rindex(")") + 1 :].split()
    return int(fields[19]) == record["start_ticks"] and fields[0] not in "ZX"


@contextlib.contextmanager
def fleet(
    root: pathlib.Path,
    interval: float = 2.0,
    versions: tuple[str, ...] = ("2.42", "3.5"),
    exporters: int = 1,
    variables: dict[str, Any] | None = None,
    spare: bool = False,
    **variants: str,
) -> Iterator[Fleet]:
    """Run Prometheus servers and install instances; the playbook site is for the caller to run.

    :param interval: scrape interval in seconds.
    :param spare: whether the exporters have spare ports.
    :param variants: of the reference exporter.
    """
    servers, instances = {}, {}
    for number, version in enumerate(versions, 1):
        directory = root / f"prom{number}"
        directory.mkdir(parents=True)
        # Without labels of its own, both would scrape at the same moments.
        (directory / "prometheus.yml").write_text(
            f"global:\n  scrape_interval: {interval:g}s\n  scrape_timeout: {interval:g}s\n  evaluation_interval: 5s\n"
            f"  external_labels: {{replica: 'number {number}'}}\nscrape_configs: []\n"
        )
        servers[f"prom{number}"] = Server(f"prom{number}", directory, packages.prometheus(version), free_port())
    for number in range(1, exporters + 1):
        instances[f"exp{number}"] = Instance(root / f"home-{number}").install(**variants)
    made = Fleet(root, interval, servers, instances, dict(variables or {}), spare)
    made.write()
    (root / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {root}/collections\nlocal_tmp = {root}/tmp\nremote_tmp = {root}/tmp\n"
        "nocows = True\nretry_files_enabled = False\n[connection]\npipelining = True\n"
    )
    collection = root / "collections/ansible_collections/timesten"
    collection.mkdir(parents=True)
    (collection / "monitoring").symlink_to(PROJECT)
    try:
        for server in servers.values():
            server.start()
        yield made
    finally:
        made.end_workers()
        for server in servers.values():
            server.stop()
