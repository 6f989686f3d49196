# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of an alert: an exporter serves, Prometheus evaluates the delivered rules, an Alertmanager is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates, pem
from ansible_collections.timesten.monitoring.plugins.plugin_utils import rules
from gates.environments import ROOT
from integration import prometheus_kit as kit
from integration.test_prometheus_host import Host
from waiting import fetch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

# Nobody waits for minutes here: only how long it has to be so is cut short, no expression.
AT_ONCE = re.sub(r"(?m)^        for: .*$", "        for: 0s", rules.common({}, {}))
LIFE = 30.0
"""Seconds that the client certificate of exp2 is valid: enough to deliver and prove it."""

SERIES = """\
# TYPE timesten_perm_in_use_bytes gauge
timesten_perm_in_use_bytes{dsn="sales",instance="tt1"} 950
# TYPE timesten_perm_allocated_bytes gauge
timesten_perm_allocated_bytes{dsn="sales",instance="tt1"} 1000
# TYPE timesten_required_recovery gauge
timesten_required_recovery{dsn="sales",instance="tt1"} 1
# TYPE timesten_replication_peer_connection gauge
timesten_replication_peer_connection{dsn="sales",instance="tt1"} 0
"""


@contextlib.contextmanager
def reference_exporter(home: Path, port: int) -> Iterator[int]:
    """Run the reference exporter without TLS, and give its process id; it may be dead at the end."""
    for name in ("bin", "conf", "metrics.d"):
        (home / name).mkdir(parents=True)
    files = ROOT / "roles" / "reference_exporter" / "files"
    program = (files / "ttExporter").read_text().split("\n", 1)[1]
    (home / "bin" / "ttExporter").write_text(f"#!{sys.executable}\n{program}")
    shutil.copy(files / "ttenv", home / "bin" / "ttenv")
    for name in ("ttExporter", "ttenv"):
        (home / "bin" / name).chmod(0o755)
    (home / "conf" / "timesten.conf").write_text(
        "instance_name=tt1\ninstance_guid=C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43\n"
    )
    (home / "metrics.d" / "sales.prom").write_text(SERIES)
    pid_file = home / "exporter.pid"
    command = [home / "bin" / "ttenv", "ttExporter", "-insecure", "-port", str(port), "-pid-file", str(pid_file)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "REFERENCE_EXPORTER_RATE": "unlimited"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kit.until(lambda: pid_file.exists() and pid_file.read_text().strip(), 20, "the exporter's pid file")
    pid = int(pid_file.read_text())
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        process.wait(20)


def active(address: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The alerts that the Alertmanager holds as active, by name and exporter or database."""
    alerts = json.loads(fetch(f"http://{address}/api/v2/alerts?active=true") or b"[]")
    return {
        (alert["labels"]["alertname"], alert["labels"].get("exporter") or alert["labels"].get("dsn", "")): alert
        for alert in alerts
    }


def test_alerts_reach_the_alertmanager_and_resolve() -> None:
    directory = kit.public_directory()
    with kit.alertmanager(directory / "alertmanager") as address, contextlib.ExitStack() as stack:
        config = kit.CONFIG.replace("global:\n", "global:\n  evaluation_interval: 1s\n")
        config += f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n"
        host = Host("3.5", "--rules.alert.resend-delay=1s", config=config)
        stack.callback(host.stop)
        port = kit.free_port()
        pid = stack.enter_context(reference_exporter(directory / "timesten", port))
        host.prometheus.start()
        host.prometheus.wait()
        key = host.key()
        short = host.exporter("exp2", kit.new_wallet(2)).element(key, days=(-1, LIFE / 86400))
        end = _end(short)
        plain = {"name": "exp1", "address": "127.0.0.1", "port": port, "insecure": True}
        plain["rules"] = rules.of_exporter(rules.Subject("exp1", "prom1"))
        done = host.call(exporters=[plain, {**short, "rules": _rules(end)}], rules=AT_ONCE)
        assert not done.failed, done.result

        expected = {
            ("TimesTenPermanentSpaceHigh", "sales"),
            ("TimesTenRecoveryRequired", "sales"),
            ("TimesTenReplicationPeerLost", "sales"),
        }
        kit.until(lambda: expected <= set(active(address)), 30, f"{expected}")
        full = active(address)["TimesTenPermanentSpaceHigh", "sales"]
        assert full["annotations"]["summary"] == (
            "Permanent space of database sales of instance tt1 (job timesten-exp1) is 95% full"
        )
        assert full["annotations"]["runbook_url"].endswith("/docs/alerts/TimesTenPermanentSpaceHigh.md")
        assert ("TimesTenCertificateHasEnded", "exp2") not in active(address) or time.time() > end

        os.kill(pid, signal.SIGKILL)
        kit.until(lambda: time.time() > end, LIFE, "the end of the certificate")
        host.exporters[0].server.cut()  # What was open before the end goes on.
        expected = {
            ("TimesTenExporterDown", "exp1"),
            ("TimesTenCertificateHasEnded", "exp2"),
            # Its client certificate is refused, so it is seen twice: by its end, and by its scrapes.
            ("TimesTenExporterDown", "exp2"),
        }
        kit.until(lambda: expected <= set(active(address)), 60, f"{expected}")
        ended = active(address)["TimesTenCertificateHasEnded", "exp2"]
        assert ended["labels"]["kind"] == "client" and ended["labels"]["severity"] == "critical"
        texts = json.dumps([alert["annotations"] for alert in active(address).values()])
        assert "error expanding" not in texts and "no value" not in texts

        # The next delivery ends it: the pair, and what the rules know of it.
        fresh = host.exporters[0].element(host.key(), number=2)
        done = host.call(exporters=[{**fresh, "rules": _rules(_end(fresh))}], rules=AT_ONCE)
        assert not done.failed, done.result
        gone = {("TimesTenCertificateHasEnded", "exp2"), ("TimesTenExporterDown", "exp2")}
        kit.until(lambda: not gone & set(active(address)), 30, "the alerts of exp2 being resolved")
        assert ("TimesTenExporterDown", "exp1") in active(address)


def _end(element: dict[str, Any]) -> float:
    certificate = certificates.load_one(element["certificate"].encode(), "test")
    return pem.parse_timestamp(certificates.validity(certificate)[1]).timestamp()


def _rules(end: float) -> str:
    return rules.of_exporter(rules.Subject("exp2", "prom1", not_after={"client": end, "ca": time.time() + 86400 * 365}))
