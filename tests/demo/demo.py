# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on one machine, without root: reference exporters, two real Prometheus servers, the playbooks, a table of what was proven, the same as a
page, and an alert that fires and resolves.

Everything but that page lives in one directory below ``.cache`` and is gone at the end, also after a failure or an interrupt.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gates.environments import CACHE, ROOT
from lab import packages

VERSIONS = ("2.42", "2.53")
ALERT = "TimesTenRecoveryRequired"
SCRAPE_INTERVAL = "10s"  # two servers make 12 GETs a minute, within ttExporter's limit of 15


def say(text: str) -> None:
    """Print a heading of the demo, at once."""
    print(f"\n=== {text}", flush=True)


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody uses right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _number in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def prometheus(directory: Path, version: str, port: int) -> Iterator[packages.Prometheus]:
    """Run a real Prometheus with a configuration of its owner's, and stop it at the end."""
    unpacked = packages.prometheus(version)
    (directory / "prometheus.yml").write_text(
        f"# This file belongs to somebody else.\nglobal:\n  scrape_interval: {SCRAPE_INTERVAL}\n"
        "  evaluation_interval: 1s\n"
        f"scrape_configs:\n  - job_name: prometheus   # itself\n    static_configs:\n      - targets: ['127.0.0.1:{port}']\n",
        encoding="utf-8",
    )
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                unpacked.prometheus,
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-lifecycle",
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    print((directory / "prometheus.log").read_text(encoding="utf-8", errors="replace")[-2000:])
                    raise SystemExit(f"Prometheus {version} did not start on port {port}; its log is above") from None
                time.sleep(0.1)
        yield unpacked
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def write_inventory(run: Path, servers: dict[str, tuple[int, packages.Prometheus]]) -> None:
    """Write the inventory and the configuration of Ansible: every host is this machine."""
    home, interpreter = run / "timesten", sys.executable
    one, sales, stock = free_ports(3)
    exporters = {
        "exp1": [{"port": one, "timesten_home": f"{home}/exp1"}],
        "exp2": [
            {"instance": "sales", "port": sales, "timesten_home": f"{home}/sales"},
            {"instance": "stock", "port": stock, "timesten_home": f"{home}/stock"},
        ],
    }
    inventory = {
        "all": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": interpreter},
            "children": {
                "timesten_exporters": {
                    "vars": {
                        "exporter_host_become": False,
                        # Nothing of it is to come back when this machine is rebooted.
                        "exporter_host_boot": "none",
                        "exporter_host_address": "localhost",
                        "reference_exporter_python": interpreter,
                    },
                    "hosts": {host: {"exporter_host_exporters": items} for host, items in exporters.items()},
                },
                "prometheus_servers": {
                    "vars": {"prometheus_host_become": False, "prometheus_host_user": getpass.getuser()},
                    "hosts": {
                        name: {
                            "prometheus_host_config_file": f"{run}/{name}/prometheus.yml",
                            "prometheus_host_store": f"{run}/{name}/timesten",
                            "prometheus_host_url": f"http://127.0.0.1:{port}",
                            "prometheus_host_promtool": str(unpacked.promtool),
                        }
                        for name, (port, unpacked) in servers.items()
                    },
                },
            },
        }
    }
    # JSON is YAML, and Ansible reads it by its ending.
    (run / "inventory.json").write_text(json.dumps(inventory, indent=1), encoding="utf-8")
    (run / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {run}/collections\nlocal_tmp = {run}/tmp\nremote_tmp = {run}/tmp\n"
        "nocows = True\nretry_files_enabled = False\n",
        encoding="utf-8",
    )
    collection = run / "collections" / "ansible_collections" / "timesten"
    collection.mkdir(parents=True)
    (collection / "monitoring").symlink_to(ROOT)


def playbook(run: Path, *arguments: str) -> None:
    """Run ansible-playbook and show what it does.

    :raises SystemExit: with its exit status, if it failed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_CONFIG=str(run / "ansible.cfg"), LC_ALL="C.UTF-8", PYTHONUNBUFFERED="1")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run([program, "-i", run / "inventory.json", *arguments], env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"ansible-playbook {' '.join(arguments)} ended with {done.returncode}; what it said is above")


def proven(report: Path, expected: int) -> bool:
    """Tell whether the ledger of the last run proves all pairs; the run has printed its table."""
    ledger = json.loads(report.read_text(encoding="utf-8"))
    good = [
        pair
        for pair in ledger["pairs"]
        if pair["state"] == "proven" and pair["up"] and pair["accepted"] and pair["refused"]
    ]
    print(f"\n{len(good)} of {expected} pairs of exporter and Prometheus proven")
    return len(good) == len(ledger["pairs"]) == expected and bool(ledger["good"])


def alert(port: int) -> dict[str, Any] | None:
    """Return the alert ``ALERT`` as a Prometheus tells it; None where it has none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as answer:
        alerts = json.load(answer)["data"]["alerts"]
    return next((item for item in alerts if item["labels"]["alertname"] == ALERT), None)


def seen(port: int, state: str) -> bool:
    """Wait until the alert is in a state, or for ``resolved`` gone, and say what Prometheus says of it."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        current = alert(port)
        if (current["state"] if current else "resolved") == state:
            text = f": {current['annotations']['summary']}" if current else ""
            print(f"{ALERT} is {state} after {time.monotonic() - began:.0f} s{text}", flush=True)
            return True
        time.sleep(0.2)
    print(f"{ALERT} was not {state} within a minute; Prometheus says {current}")
    return False


def fires_and_resolves(home: Path, port: int) -> bool:
    """Have an exporter say that its database needed recovery, and no more; tell whether the delivered rule was seen firing, and resolved."""
    file = home / "metrics.d" / "sales.prom"
    file.write_text('timesten_required_recovery{dsn="sales",instance="exp1"} 1\n', encoding="utf-8")
    fires = seen(port, "firing")
    file.unlink()
    return fires and seen(port, "resolved")


def stop_exporters(run: Path) -> None:
    """Stop the exporters of this demo, whatever became of the playbooks; they are told by their directory."""
    mine = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"ttExporter" in (line := entry.read_bytes()) and os.fsencode(run) in line:
                mine.append(int(entry.parent.name))
    for pid in mine:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)


def main() -> int:
    """Run the demo; return 0 if everything was proven."""
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(143))
    began = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    run = Path(tempfile.mkdtemp(prefix="demo-", dir=CACHE))
    try:
        with contextlib.ExitStack() as stack:
            servers = {}
            for index, (version, port) in enumerate(zip(VERSIONS, free_ports(len(VERSIONS))), 1):
                say(f"A real Prometheus {version}, with a prometheus.yml that belongs to somebody else")
                (run / f"prom{index}").mkdir()
                servers[f"prom{index}"] = port, stack.enter_context(prometheus(run / f"prom{index}", version, port))
            stack.callback(stop_exporters, run)
            write_inventory(run, servers)
            say("The main job: playbook timesten.monitoring.site on three exporters and two Prometheus servers")
            playbook(run, str(ROOT / "tests" / "demo" / "play.yml"))
            say("Again: a second run changes nothing")
            playbook(run, "timesten.monitoring.site")
            say("The proof: playbook timesten.monitoring.verify")
            reports = {"timesten_report": run / "ledger.json", "timesten_report_html": run / "report.html"}
            options = [word for name, path in reports.items() for word in ("-e", f"{name}={path}")]
            playbook(run, "timesten.monitoring.verify", *options)
            say("What was proven")
            good = proven(run / "ledger.json", 3 * len(servers))
            page = shutil.copy(run / "report.html", CACHE / "demo-report.html")
            say(f"The same as a page for people, to open in a browser (docs/report.md): {page}")
            say(f"An alert of the rules that were delivered: {ALERT} fires and resolves on Prometheus {VERSIONS[0]}")
            good = fires_and_resolves(run / "timesten" / "exp1", servers["prom1"][0]) and good
            say("Cleaning up")
    finally:
        shutil.rmtree(run, ignore_errors=True)
    print(f"Nothing but that page is left behind. The demo took {time.monotonic() - began:.0f} s.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
