# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet set up by the book and by timesten.monitoring.site, side by side, and the floor under both.

    fleet.py 5x2 20x4 --rounds 3

One lab per size, with one exporter host and one Prometheus host more than the size, to be added. A round does for each
way: everything away, first rollout, second run, one exporter more, one Prometheus more. Right before each of them runs
the floor (floor.yml), on connections that are warm, so that a load that comes and goes weighs on both numbers of a
ratio. The ways take turns in being first. Every run must end well, and every target must be up, or there is no result.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from lab import lab

BENCH = Path(__file__).resolve().parent
PROJECT = BENCH.parents[1]
RESULTS = PROJECT / ".cache" / "bench"
SIZES = ((5, 2), (10, 2), (20, 4), (40, 4))
HOME = "/opt/timesten/ttinst"
# Five servers, with the one that is added, at 20 s make 15 GETs a minute: what ttExporter accepts at most.
SCRAPE_INTERVAL = 20
OPERATIONS = ("first", "second", "exporter", "prometheus")
WAYS = ("book", "ours")
PLAYBOOKS = {"book": str(BENCH / "by_the_book" / "site.yml"), "ours": "timesten.monitoring.site"}

PROMETHEUS_YML = f"""\
global:
  scrape_interval: {SCRAPE_INTERVAL}s

scrape_configs:
  - job_name: prometheus
    static_configs:
      - targets: ["127.0.0.1:9090"]
"""

# Run on the hosts, as root.
CLEAR_EXPORTER = f"""
for file in {HOME}/mycertdir/exporter.pid {HOME}/monitoring/*/exporter.pid; do
    test -f "$file" || continue
    pid=$(cat "$file")
    kill "$pid" && timeout 20 tail --pid="$pid" -f /dev/null
done
rm -rf {HOME}/mycertdir {HOME}/monitoring
"""
CLEAR_PROMETHEUS = f"""
rm -rf /etc/prometheus/timesten
cat > /etc/prometheus/prometheus.yml <<'END'
{PROMETHEUS_YML}END
python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:9090/-/reload", data=b"")'
"""
# All jobs away and back again: prints the seconds from the reload until every target is up.
SCRAPED = """
import json, sys, time, urllib.request
def reload(text):
    open("/etc/prometheus/prometheus.yml", "w").write(text)
    urllib.request.urlopen("http://127.0.0.1:9090/-/reload", data=b"").read()
def targets():
    answer = json.load(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/targets?state=active"))
    return [target for target in answer["data"]["activeTargets"] if target["scrapePool"] != "prometheus"]
base, full, count = sys.argv[1], open("/etc/prometheus/prometheus.yml").read(), int(sys.argv[2])
reload(base)
while targets():
    time.sleep(0.05)
start = time.monotonic()
reload(full)
while [target["health"] for target in targets()] != ["up"] * count:
    time.sleep(0.05)
    if time.monotonic() - start > 120:
        sys.exit("not every target came up")
print(time.monotonic() - start)
"""
# What the utility itself costs on one exporter host, in CPU seconds: wallet, export, one pair per server.
UTILITY = f"""
import os, resource, subprocess, sys, tempfile
with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    def utility(*arguments):
        command = ["{HOME}/bin/ttenv", "ttExporter", *arguments, "-certificate-directory", directory]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    utility("-create-server-certificate", "-certificate-common-name", "myhost", "-certificate-alt-names", "myhost")
    utility("-export-server-certificate", "server.crt")
    for number in range(int(sys.argv[1])):
        utility("-export-client-certificate", f"{{number}}.crt", "-export-client-private-key", f"{{number}}.key")
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime)
"""


class BenchError(Exception):
    """A run failed; the message says which, and ends with what it said."""


class Fleet:
    """A lab with room for one exporter host and one Prometheus host more than `exporters` and `servers`."""

    def __init__(self, exporters: int, servers: int) -> None:
        self.exporters, self.servers = exporters, servers
        self.name = f"{exporters}x{servers}"
        self.lab = lab.Lab(exporters + 1, servers + 1, ("2.53",), lab.LABS / f"bench-{self.name}")
        self.work = self.lab.directory / "bench"

    def __enter__(self) -> Fleet:
        self.lab.up()
        try:
            self._prepare()
        except BaseException:
            self.lab.down()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.lab.down()

    def _prepare(self) -> None:
        collection = self.work / "collections" / "ansible_collections" / "timesten" / "monitoring"
        collection.parent.mkdir(parents=True)
        collection.symlink_to(PROJECT)
        (self.work / "fetched").mkdir(mode=0o700)
        self.play(str(BENCH / "install.yml"), self.exporters + 1, self.servers + 1)

    def inventory(self, exporters: int, servers: int) -> Path:
        """Write the lab's inventory, cut down to the first hosts of each group, with what both ways need to know."""
        variables = {
            "timesten_home": HOME,
            "book_port": 8888,
            "scrape_interval": f"{SCRAPE_INTERVAL}s",
            "fetched": self.work / "fetched",
            "exporter_host_timesten_home": HOME,
            "exporter_host_boot": "none",
            "exporter_host_port": 8888,
        }
        names = {host.name for host in [*self.lab.exporters[:exporters], *self.lab.prometheus[:servers]]}
        known = {host.name for host in self.lab.hosts}
        lines = self.lab.inventory.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not (words := line.split()) or words[0] in names or words[0] not in known]
        path = self.work / f"inventory-{exporters}x{servers}.ini"
        path.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in variables.items()), ""]), "utf-8")
        return path

    def play(self, playbook: str, exporters: int, servers: int) -> dict[str, Any]:
        """Run a playbook and return seconds, CPU seconds and peak memory of the controller, module calls by name, changed and load.

        :raises BenchError: it did not end well.
        """
        calls = self.work / "calls"
        calls.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment.update(
            ANSIBLE_COLLECTIONS_PATH=str(self.work / "collections"),
            ANSIBLE_CALLBACK_PLUGINS=str(BENCH / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="module_calls",
            BENCH_CALLS=str(calls),
            LC_ALL="C.UTF-8",
        )
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.inventory(exporters, servers)), playbook]
        load = os.getloadavg()[0]
        log = self.work / "log"
        with log.open("wb") as output:
            started = time.monotonic()
            process = subprocess.Popen(
                [*self.lab.enter(), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise BenchError(f"{playbook} on {exporters}x{servers} ended with {process.returncode}:\n{end}")
        recap = json.loads(Path(f"{calls}.recap").read_text(encoding="utf-8"))
        names = calls.read_text(encoding="utf-8").split() if calls.exists() else []
        return {
            "seconds": round(seconds, 2),
            "controller_cpu": round(usage.ru_utime + usage.ru_stime, 2),
            "controller_mib": round(usage.ru_maxrss / 1024),
            "calls": dict(collections.Counter(name.rpartition(".")[2] for name in names).most_common()),
            "changed": sum(host["changed"] for host in recap.values()),
            "load": round(load, 2),
        }

    def clear(self) -> None:
        """Take away what either way has set up, so that the next rollout is a first one."""
        for script, hosts in ((CLEAR_EXPORTER, self.lab.exporters), (CLEAR_PROMETHEUS, self.lab.prometheus)):
            self._on([host.name for host in hosts], ["sh", "-euc", script])
        for path in (self.work / "fetched").glob("*/*"):
            path.unlink()

    def until_scraped(self) -> float:
        """Return the seconds from a reload that brings all jobs until the slowest server has every target up."""
        *others, added = [host.name for host in self.lab.prometheus]
        # With one server more the exporters are at their limit, and a scrape that comes early is refused.
        self._on([added], ["sh", "-euc", CLEAR_PROMETHEUS])
        jobs = str(self.exporters + 1)
        return max(float(out) for out in self._on(others, ["python3", "-c", SCRAPED, PROMETHEUS_YML, jobs]))

    def utility(self, pairs: int) -> float:
        """Return the CPU seconds that the utility itself needs on one exporter host, with `pairs` client pairs."""
        return float(self._on([self.lab.exporters[0].name], ["python3", "-c", UTILITY, str(pairs)])[0])

    def _on(self, hosts: Sequence[str], argv: Sequence[str]) -> list[str]:
        def run(host: str) -> str:
            done = self.lab.run(argv, host, capture_output=True, text=True, timeout=180)
            if done.returncode:
                raise BenchError(
                    f"{host}: {textwrap.shorten(argv[-1], 60)} ended with {done.returncode}: {done.stderr}"
                )
            return done.stdout

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            return list(threads.map(run, hosts))


def measure(
    exporters: int, servers: int, rounds: int, keep: Callable[[dict[str, Any]], None], ways: Sequence[str] = WAYS
) -> dict[str, Any]:
    """Measure one size and return the result; `keep` gets what there is after each round."""
    fleets = {
        "first": (exporters, servers),
        "second": (exporters, servers),
        "exporter": (exporters + 1, servers),
        "prometheus": (exporters + 1, servers + 1),
    }
    result: dict[str, Any] = {"size": f"{exporters}x{servers}", "runs": [], "utility_cpu": [], "until_scraped": []}
    with Fleet(exporters, servers) as fleet:
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                fleet.clear()
                for operation in OPERATIONS:
                    size = fleets[operation]
                    fleet.play(str(BENCH / "floor.yml"), *size)
                    runs = {"floor": fleet.play(str(BENCH / "floor.yml"), *size)}
                    runs[way] = fleet.play(PLAYBOOKS[way], *size)
                    if operation == "second" and runs[way]["changed"]:
                        raise BenchError(f"the second run ({way}) changed {runs[way]['changed']} things")
                    for who, run in runs.items():
                        record = {"round": number, "way": way, "who": who, "operation": operation, **run}
                        result["runs"].append(record)
                        say(f"{fleet.name} {record}")
            result["utility_cpu"].append(round(fleet.utility(servers), 3))
            result["until_scraped"].append(round(fleet.until_scraped(), 2))
            result["summary"] = summary(result, exporters, servers)
            keep(result)
    return result


def summary(result: dict[str, Any], exporters: int, servers: int) -> dict[str, Any]:
    """Return medians of seconds, calls and ratios by operation; a ratio to the floor is that of neighbours in time."""
    table: dict[str, Any] = {}
    for operation in OPERATIONS:
        row: dict[str, Any] = {}
        mine = [run for run in result["runs"] if run["operation"] == operation]
        row["floor"] = {"seconds": _median([run["seconds"] for run in mine if run["who"] == "floor"])}
        row["floor"]["calls"] = _median([_calls(run) for run in mine if run["who"] == "floor"])
        for way in WAYS:
            runs = [run for run in mine if run["who"] == way]
            if not runs:
                continue
            floors = {run["round"]: run for run in mine if run["who"] == "floor" and run["way"] == way}
            row[way] = {
                "seconds": _median([run["seconds"] for run in runs]),
                "calls": _median([_calls(run) for run in runs]),
                "controller_cpu": _median([run["controller_cpu"] for run in runs]),
                "to_floor": _median([run["seconds"] / floors[run["round"]]["seconds"] for run in runs]),
            }
        if all(way in row for way in WAYS):
            row["faster"] = round(row["book"]["seconds"] / row["ours"]["seconds"], 2)
        table[operation] = row
    utility = _median(result["utility_cpu"]) * exporters / (os.cpu_count() or 1)
    wait = _median(result["until_scraped"])
    floor = utility + wait + table["first"]["floor"]["seconds"]
    table["first_floor"] = {"utility": round(utility, 2), "until_scraped": wait, "seconds": round(floor, 2)}
    for way in WAYS:
        if way in table["first"]:
            table["first_floor"][way] = round(table["first"][way]["seconds"] / floor, 2)
    return table


def _calls(run: dict[str, Any]) -> int:
    return sum(run["calls"].values())


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2)


def say(text: str) -> None:
    """Print progress, at once."""
    print(text, flush=True)


def keeper(name: str) -> Callable[[dict[str, Any]], None]:
    """Return a function that writes a result as ``.cache/bench/<name>.json``."""

    def keep(result: dict[str, Any]) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{name}.json"
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)

    return keep


def main() -> int:
    """Measure the sizes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=[f"{n}x{m}" for n, m in SIZES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        exporters, servers = map(int, size.split("x"))
        result = measure(exporters, servers, arguments.rounds, keeper(f"fleet-{size}"), arguments.ways)
        say(json.dumps(result["summary"], indent=1))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
