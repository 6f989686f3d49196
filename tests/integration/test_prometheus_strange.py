# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tt_prometheus_host beside what others do: odd ways to run Prometheus, and a file that changes under its hands."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Callable

import pytest
import yaml

from integration import prometheus_kit as kit
from integration.test_prometheus_edit import done, insecure, ours
from integration.test_prometheus_host import Host, make, promtool_that, writable

__all__ = ["make"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

RULES = "  - name: a\n    rules:\n      - record: 'a:b'\n        expr: 'vector(1)'\n"
EXTRA = {
    "body_size_limit": "10MB",
    "label_limit": 30,
    "label_name_length_limit": 200,
    "target_limit": 5,
    "sample_limit": 1000,
    "honor_timestamps": False,
    "follow_redirects": True,
    "enable_http2": True,
    "metric_relabel_configs": [{"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"}],
    "basic_auth": {"username": "u", "password": "hunter2"},
}
NEW = {
    "3.5": {
        "always_scrape_classic_histograms": True,
        "scrape_protocols": ["OpenMetricsText1.0.0", "PrometheusText0.0.4"],
        "fallback_scrape_protocol": "PrometheusText0.0.4",
    },
}


@pytest.mark.parametrize("version", ["2.42", "3.5"])
def test_what_a_job_may_hold_beside_ours_is_what_runs(make: Any, version: str) -> None:
    config = kit.CONFIG.replace("global:\n", "global:\n  external_labels: {replica: a}\n")
    host = make(version, config=config)
    [element] = insecure(host, "exp1")
    extra = {**EXTRA, **NEW.get(version, {})}
    answer = host.call(exporters=[{**element, "extra": extra, "honor_labels": True}], diff=True)
    assert done(answer)["exporters"][0]["up"] and "hunter2" not in answer.output
    dropping = [{"source_labels": ["__address__"], "action": "drop"}]
    before = host.config
    answer = host.call(exporters=[{**element, "extra": {"relabel_configs": dropping}}], wait_timeout=8)
    assert answer.failed and "Prometheus drops the target" in answer.result["msg"], answer.result
    assert host.config == before


def test_an_agent_evaluates_no_rules(make: Any) -> None:
    host = make("3.5", running=False)
    prometheus = host.prometheus
    config = kit.CONFIG + "remote_write: [{url: 'http://u:hunter2@127.0.0.1:9/x'}]\n"
    prometheus.config.write_text(config)
    data = prometheus.directory / "data"
    command = (
        f"--config.file={prometheus.config}",
        "--agent",
        f"--storage.agent.path={data}",
        "--web.enable-lifecycle",
    )
    with (prometheus.directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [prometheus.binaries.prometheus, *command, f"--web.listen-address=127.0.0.1:{prometheus.port}"],
            stdout=log,
            stderr=log,
            user=kit.USER,
        )
    try:
        prometheus.wait()
        elements = insecure(host, "exp1")
        refused = host.call(exporters=elements, rules=RULES)
        assert refused.failed and "runs as an agent, which evaluates no rules" in refused.result["msg"], refused.result
        assert host.config == config
        assert done(host.call(exporters=elements))["reloaded"] == "http"
        assert not host.call("verified").failed
        done(host.call("absent"))
        assert host.config == config
    finally:
        process.kill()
        process.wait()


def test_of_two_processes_the_one_that_is_asked_gets_the_signal(make: Any) -> None:
    host = make("2.53", lifecycle=False)
    other = kit.Prometheus(host.prometheus.binaries, kit.public_directory(), lifecycle=False)
    other.config = host.prometheus.config
    other.start()
    try:
        other.wait()
        elements = insecure(host, "exp1")
        done(host.call(exporters=elements, url=f"http://127.0.0.1:{other.port}"))
        assert "timesten-exp1" in other.targets() and not ours(host)
    finally:
        other.stop()


def test_prometheus_is_restarted_while_targets_are_awaited(make: Any) -> None:
    host = make("2.53")
    arguments = {**host.options, "exporters": insecure(host, "exp1"), "wait_timeout": 60}
    process = kit.start(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    process.stdin.close()
    kit.until(lambda: b"timesten-exp1" in (host.prometheus.answers("/api/v1/status/config") or b""), 40)
    host.prometheus.stop()
    host.prometheus.start()
    answer = json.loads(process.stdout.read())
    process.wait()
    assert not answer.get("failed") and answer["exporters"][0]["up"], answer


def test_a_tool_that_takes_all_comments_out(make: Any) -> None:
    """Its result has none of our marks; nothing of it is lost, and nothing of ours is left."""
    host = make("3.5")
    elements = insecure(host, "exp1", "exp2")
    done(host.call(exporters=elements))

    def dump() -> None:
        host.prometheus.config.write_text(yaml.safe_dump(yaml.safe_load(host.config)))

    dump()
    again = [elements[0], {**elements[1], "labels": {"site": "a"}}]
    done(host.call(exporters=again))
    assert host.config.count("job_name: timesten-") == 2 and "# END timesten.monitoring" in host.config
    dump()
    assert done(host.call("absent"))["removed"] == ["exp1", "exp2"]
    assert yaml.safe_load(host.config) == yaml.safe_load(kit.CONFIG)


def replaced_by(kind: str) -> Callable[[Host], str]:
    """A script that does something to the configuration once."""

    def script(host: Host) -> str:
        path = host.config_path
        act = {
            "a FIFO": f"mv {path} {path}.old; mkfifo {path}",
            "nothing": f"mv {path} {path}.old",
            "a link": f"mv {path} {path}.old; ln -s {path}.old {path}",
            "another mode": f"chmod 600 {path}",
            "another name": f"ln {path} {path}.old",
        }[kind]
        return f"test -e {path}.once || {{ touch {path}.once; {act}; }}"

    return script


@pytest.mark.parametrize("kind", ["a FIFO", "nothing", "a link", "another mode", "another name"])
def test_what_the_file_becomes_while_promtool_judges_stays(make: Any, kind: str) -> None:
    host = make("3.5", running=False)
    host.options["prometheus_running"] = False
    writable(host)
    answer = host.call(exporters=insecure(host, "exp1"), promtool=promtool_that(host, replaced_by(kind)(host)))
    config = host.prometheus.config
    if kind in ("a link", "another mode"):
        done(answer)
        assert "timesten-exp1" in host.config
        assert config.is_symlink() if kind == "a link" else config.stat().st_mode & 0o777 == 0o600
        return
    word = {"nothing": "does not exist", "another name": "more than one name"}.get(kind, "is not a regular file")
    assert answer.failed and word in answer.result["msg"], answer.result
    assert config.exists() == (kind != "nothing") and config.is_fifo() == (kind == "a FIFO")
    assert config.with_name("prometheus.yml.old").read_text() == kit.CONFIG
    assert [name for name in host.leftovers() if "once" not in name] == []
