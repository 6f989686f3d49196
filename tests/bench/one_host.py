# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Prometheus host that receives many exporters in one call of tt_prometheus_host: CPU and memory of the module.

    one_host.py 100 300 1000 --rounds 3

A real Prometheus scrapes all of them, every pair is delivered sealed and every refusal is proven. What is shared: ten
reference exporters (no rate limit) serve all targets, each under many addresses of 127.0.0.0/8, and each wallet issued
ten pairs, RSA 2048 as all of the utility's, that the exporters with the same wallet use in turn. So each exporter has a
job, a target, a generation, a delivery and a bundle of its own, but not a key of its own.

The CPU seconds are those of the module's process and of all its children, less promtool's, which is run through a
wrapper that writes down what promtool (and the wrapper itself) needed. The memory is the peak of the module's own
process, read from it at its end; rusage would count promtool's in.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from gates.collection import make_importable

    make_importable()
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config as _prometheus_config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import (
    config_source as _prometheus_config_source,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal
from bench.fleet import keeper, say
from integration import prometheus_kit as kit
from lab import packages

PROJECT = Path(__file__).resolve().parents[2]
COUNTS = (100, 300, 1000)
WALLETS = PAIRS = 10
FILES = PROJECT / "roles" / "reference_exporter" / "files"
CONFIG = "global: {scrape_interval: 30s, scrape_timeout: 20s}\n"

# Notes promtool's CPU seconds, and its own up to the last line. Prometheus's user has to be able to run it.
PROMTOOL = """#!/usr/bin/python3
import os, sys, time
pid = os.spawnv(os.P_NOWAIT, {promtool!r}, ["promtool", *sys.argv[1:]])
_pid, status, usage = os.wait4(pid, 0)
with open({log!r}, "a") as log:
    print(usage.ru_utime + usage.ru_stime, time.process_time(), file=log)
sys.exit(os.waitstatus_to_exitcode(status))
"""
# The module as Ansible runs it: arguments on standard input. At the end it writes what it cost, what it did to files.
DRIVER = """
import atexit, json, os, resource, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.timesten.monitoring.plugins.modules import tt_prometheus_host
report, config, me = sys.argv[1], sys.argv[2], os.getpid()
writes = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR) and os.path.dirname(arguments[0]) == os.path.dirname(config):
            writes.append(os.path.basename(arguments[0]))
sys.addaudithook(hook)
def end():
    if os.getpid() != me:
        return
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    json.dump({"peak": int(peak) << 10, "cpu": cpu, "writes": writes}, open(report, "w"))
atexit.register(end)
tt_prometheus_host.main()
"""


class Exporters:
    """Ten reference exporters with a wallet each, and the pairs that they issued."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "timesten"
        for name in ("bin", "conf", "metrics.d"):
            (self.home / name).mkdir(parents=True)
        (self.home / "conf" / "timesten.conf").write_text("instance_name=bench\ninstance_guid=BENCH\n")
        (self.home / "conf" / "reference_exporter.env").write_text("REFERENCE_EXPORTER_RATE=unlimited\n")
        for name in ("ttExporter", "ttenv"):
            text = (FILES / name).read_text().replace("#!/usr/bin/env python", f"#!{sys.executable}", 1)
            (self.home / "bin" / name).write_text(text)
            (self.home / "bin" / name).chmod(0o755)
        self.ports = [kit.free_port() for _number in range(WALLETS)]
        self.wallets = [directory / f"wallet{number}" for number in range(WALLETS)]
        self.processes: list[subprocess.Popen[bytes]] = []

    def _utility(self, wallet: Path, *arguments: str) -> list[str]:
        return [str(self.home / "bin" / "ttenv"), "ttExporter", *arguments, "-certificate-directory", str(wallet)]

    def __enter__(self) -> Exporters:
        def prepare(wallet: Path) -> None:
            wallet.mkdir()

            def run(*arguments: str) -> None:
                subprocess.run(self._utility(wallet, *arguments), check=True, cwd=wallet, stdout=subprocess.DEVNULL)

            names = ("-certificate-common-name", "localhost", "-certificate-alt-names", "localhost")
            run("-create-server-certificate", *names)
            run("-export-server-certificate", "server.crt")
            for pair in range(PAIRS):
                run("-export-client-certificate", f"{pair}.crt", "-export-client-private-key", f"{pair}.key")

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(prepare, self.wallets))
        for wallet, port in zip(self.wallets, self.ports):
            quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            self.processes.append(subprocess.Popen(self._utility(wallet, "-port", str(port)), **quiet))
        return self

    def __exit__(self, *_exception: object) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(10)

    def elements(self, count: int, key: str, delivery: int) -> list[dict[str, Any]]:
        """Return what the module gets for `count` exporters: all with a freshly sealed pair."""
        elements = []
        authorities, pairs = [], []
        for wallet in self.wallets:
            authority = (wallet / "server.crt").read_text()
            digest = _certificates.bundle_fingerprint(_certificates.load(authority.encode(), "server.crt"))
            authorities.append((authority, digest))
            pairs.append([])
            for number in range(PAIRS):
                certificate = (wallet / f"{number}.crt").read_text()
                sha256 = _certificates.fingerprint(_certificates.load_one(certificate.encode(), "client.crt"))
                pairs[-1].append((certificate, sha256, (wallet / f"{number}.key").read_bytes()))
        for number in range(count):
            name, generation = f"exp{number:04}", f"20261124T104900Z-{number:08x}"
            wallet, pair = number % WALLETS, number // WALLETS % PAIRS
            authority, ca_sha256 = authorities[wallet]
            certificate, sha256, private = pairs[wallet][pair]
            elements.append(
                {
                    "name": name,
                    "address": f"127.1.{number // 250}.{number % 250 + 1}",
                    "port": self.ports[wallet],
                    "generation": generation,
                    "delivery": f"{generation}-{delivery}",
                    "sha256": sha256,
                    "ca_sha256": ca_sha256,
                    "ca_certificate": authority,
                    "certificate": certificate,
                    "bundle": _seal.seal(private, name, "prom1", generation, sha256, key),
                    "alt_names": ["localhost"],
                }
            )
        return elements


class Host:
    """A Prometheus of its own, and the module run for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o755)
        binaries = packages.prometheus("2.53")
        self.promtool = str(binaries.promtool)
        self.prometheus = kit.Prometheus(binaries, directory, config=CONFIG)
        self.log = directory / "promtool.log"
        wrapper = directory / "promtool"
        wrapper.write_text(PROMTOOL.format(promtool=self.promtool, log=str(self.log)))
        wrapper.chmod(0o755)
        self.options = {
            "name": "prom1",
            "config_file": str(self.prometheus.config),
            "store": str(self.prometheus.store),
            "user": kit.USER,
            "promtool": str(wrapper),
            "url": f"http://127.0.0.1:{self.prometheus.port}",
            "wait_timeout": 300,
        }

    def __enter__(self) -> Host:
        self.prometheus.start()
        self.prometheus.wait()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.prometheus.stop()

    def call(self, state: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run the module; return its result and what it cost."""
        internal = {"_ansible_check_mode": False, "_ansible_diff": False, "_ansible_no_log": False}
        arguments = {"ANSIBLE_MODULE_ARGS": {**self.options, "state": state, **options, **internal}}
        report = self.directory / "report"
        # Written by whoever promtool runs as.
        self.log.write_text("")
        self.log.chmod(0o666)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(report), str(self.prometheus.config)],
            input=json.dumps(arguments).encode(),
            env={**os.environ, "PYTHONPATH": str(Path(_seal.__file__).parents[6])},
            capture_output=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode:
            raise SystemExit(
                f"tt_prometheus_host failed:\n{done.stdout.decode()[-3000:]}{done.stderr.decode()[-3000:]}"
            )
        result = json.loads(done.stdout.decode().splitlines()[-1])
        cost = json.loads(report.read_text())
        promtool = [[float(word) for word in line.split()] for line in self.log.read_text().splitlines()]
        return result, {
            "seconds": round(seconds, 2),
            "cpu": round(cost["cpu"] - sum(map(sum, promtool)), 3),
            "promtool_cpu": round(sum(line[0] for line in promtool), 3),
            "promtool_runs": len(promtool),
            "peak_mib": round(cost["peak"] / (1 << 20), 1),
            "writes_beside_prometheus_yml": len(cost["writes"]),
            "result_kib": round(len(done.stdout) / 1024),
            "argument_kib": round(len(json.dumps(arguments)) / 1024),
        }


def measure(exporters: Exporters, count: int, directory: Path) -> Iterator[dict[str, Any]]:
    """One round: first call, second call, one job changed; and what the edit and promtool cost by themselves."""
    with Host(directory) as host:
        key = host.call("inspected")[0]["transport_key"]
        elements = exporters.elements(count, key, 1)
        result, cost = host.call("present", exporters=elements)
        rows = result["exporters"]
        if len(rows) != count or not all(row["up"] and row["refused_foreign_pair"] for row in rows):
            raise SystemExit(f"{count} exporters: not everything is proven")
        yield {"call": "first", **cost}
        light = [kit.light(element) for element in elements]
        _result, cost = host.call("inspected")
        yield {"call": "inspected", **cost}
        result, cost = host.call("present", exporters=light)
        if result["changed"]:
            raise SystemExit("the second call changed something")
        yield {"call": "second", **cost}
        light[count // 2] = {**light[count // 2], "scrape_timeout": "15s"}
        result, cost = host.call("present", exporters=light)
        if not result["changed"]:
            raise SystemExit("the changed job changed nothing")
        yield {"call": "one job changed", **cost}
        yield {"call": "edit", **edit(host, light)}


def edit(host: Host, elements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What it costs to read, change and read again the file that the host has now, beside promtool alone on it."""
    path, store = host.prometheus.config, str(host.prometheus.store)
    source = path.read_bytes()
    names = {key: value for key, value in elements[0].items() if key == "scrape_timeout"}
    jobs = [_prometheus_jobs.build({**element, **names}, store) for element in elements]
    jobs[0] = _prometheus_jobs.build({**elements[0], "scrape_timeout": "10s"}, store)
    ours, alone = [], []
    for _attempt in range(5):
        # What a process of the module starts with.
        _prometheus_config_source.remembered.cache_clear()
        begun = time.process_time(), time.monotonic()
        files = _prometheus_config.Files(source, str(path), store, str(path.parent / "timesten.yml"))
        _prometheus_config.read(files)
        result = _prometheus_config.edit(files, jobs)
        _prometheus_config.read(dataclasses.replace(files, config=result.config))
        ours.append((time.process_time() - begun[0], time.monotonic() - begun[1]))
        if not result.changed:
            raise SystemExit("the edit changed nothing")
        wall = time.monotonic()
        process = subprocess.Popen([host.promtool, "check", "config", str(path)], stdout=subprocess.DEVNULL)
        _pid, process.returncode, usage = os.wait4(process.pid, 0)
        if process.returncode:
            raise SystemExit("promtool refused the file")
        alone.append((usage.ru_utime + usage.ru_stime, time.monotonic() - wall))
    cpu = [statistics.median(values) for values in zip(*ours)], [statistics.median(values) for values in zip(*alone)]
    return {
        "bytes": len(source),
        "edit_cpu": round(cpu[0][0], 3),
        "promtool_cpu": round(cpu[1][0], 3),
        "promtool_seconds": round(cpu[1][1], 3),
        "edit_and_promtool_to_promtool_cpu": round((cpu[0][0] + cpu[1][0]) / cpu[1][0], 2),
        "edit_and_promtool_to_promtool_seconds": round((cpu[0][1] + cpu[1][1]) / cpu[1][1], 2),
    }


def run(counts: Sequence[int] = COUNTS, rounds: int = 3) -> dict[str, Any]:
    """Measure all counts and return the result, which is also kept."""
    result: dict[str, Any] = {"runs": []}
    keep = keeper("one-host")
    with tempfile.TemporaryDirectory(prefix="timesten-bench-") as name:
        root = Path(name)
        root.chmod(0o755)
        with Exporters(root) as exporters:
            for number in range(rounds):
                for count in counts:
                    for cost in measure(exporters, count, root / f"{number}-{count}"):
                        record = {"round": number, "exporters": count, "load": round(os.getloadavg()[0], 2), **cost}
                        result["runs"].append(record)
                        say(str(record))
                result["summary"] = summary(result["runs"])
                keep(result)
    return result


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians over the rounds, one element for each number of exporters and call."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for record in runs:
        groups.setdefault((record["exporters"], record["call"]), []).append(record)
    return [
        {
            "exporters": count,
            "call": call,
            **{
                key: statistics.median(record[key] for record in records)
                for key in records[0]
                if key not in ("round", "exporters", "call", "load")
            },
        }
        for (count, call), records in groups.items()
    ]


def main() -> int:
    """Measure the numbers of exporters of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=list(COUNTS))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for row in run(arguments.counts, arguments.rounds)["summary"]:
        say(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
