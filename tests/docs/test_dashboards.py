# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboards: shipped as they are built, whole, and no query that a real Prometheus does not answer with data."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import itertools
import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gates import checkout, dashboards
from gates.doc_examples import example
from lab import packages
from waiting import fetch, free_port, until

# Metrics of Oracle's monitoring guide: {a,b} stands for each of them. A name that is not here was seen nowhere.
DOCUMENTED = """
timesten_{metric_collection_seconds,rate_limited,collections_timedout,instance_status,databases,database_loaded,required_recovery}
timesten_cg_awt_oracle_{call,commit,retry,rollback}_total timesten_cg_swt_row_{delete,insert,update}_total
timesten_cg_parawt_auto_tx_{applier_waits,applier_waits_timeouts,batches,master_oracle_connects,master_restarts,txns}
timesten_channel_{recv,send}_{bytes,messages}_total timesten_checkpoint_{avail_bytes,size_bytes,block_written_total,byte_written_total}
timesten_checkpoint_{fuzzy_total,total} timesten_connection_{cs_established,established,established_direct}
timesten_{connect,disconnect,deadlock,lock_timeout,table_scan,sort,merge_join,nested_loop_join,log_force}_total timesten_cursor_{open,close}_total
timesten_grid_database_{instances,loaded,opened,replica_sets} timesten_{global,local,remote_delete}_executes_total
timesten_lock_{grant_immediate,acquire_dml,acquire_table_scan}_total timesten_log_buffer_{insert,wait}_total timesten_log_bytes_to_log_buffer_total
timesten_log_file_{earliest,latest,generated_total,read_total,write_total} timesten_logdir_{avail,size}_bytes
timesten_perm_{allocated,in_use,in_use_high_water}_bytes timesten_temp_{allocated,in_use}_bytes timesten_{tterrors,ttmesg}_file_bytes
timesten_repl_log_{waits,wait_sleeps}_total timesten_repl_receiver_{commit,permanent_error}_total
timesten_repl_transmitter_{longest_batch,longest_running,send_lag} timesten_replication_{conflict,peer_retry,transaction}_total
timesten_replication_{hold_log_file,peer_connection} timesten_stmt_execute_{alter,create,delete,drop,insert,merge,select}_total
timesten_stmt_execute_total timesten_table_row_{read,insert,update}_total timesten_tunnel_{timedout_requests,unresponsive}_total
timesten_txn_commit_{durable,nondurable}_total timesten_txn_commit_total
"""
# Of the rules of this collection.
RECORDED = {
    f"exporter:timesten_{name}:vector"
    for name in (
        "certificate_not_after_seconds",
        "rotation_due_seconds",
        "generation_created_seconds",
        "evicted_clients",
    )
}
OF_INSTANCE = {"timesten_metric_collection_seconds", "timesten_rate_limited", "timesten_collections_timedout"} | {
    f"timesten_{name}" for name in ("instance_status", "databases", "tterrors_file_bytes", "ttmesg_file_bytes")
}
SPAN, STEP = 7200, 30


def documented() -> set[str]:
    documented_names = set()
    for word in DOCUMENTED.split():
        names = [""]
        for part in re.split(r"(\{[^}]*\})", word):
            choices = part[1:-1].split(",") if part.startswith("{") else [part]
            names = [name + choice for name in names for choice in choices]
        documented_names |= set(names)
    return documented_names


def queries() -> list[tuple[str, str]]:
    """Every query of every panel, and every one of a variable or annotation, with where it is."""
    expressions = [
        (f"{board.name}: {panel.title}", expr)
        for board in dashboards.ALL
        for panel in board.panels
        for expr, _legend in panel.queries
    ]
    return [*expressions, ("annotation", dashboards.ROTATED)]


def asked(expr: str) -> set[str]:
    return set(re.findall(r"\b(?:exporter:timesten_\w+:\w+|timesten_\w+)", expr))


@pytest.mark.parametrize("board", dashboards.ALL, ids=lambda board: board.name)
def test_what_is_shipped_is_what_is_built(board: dashboards.Dashboard) -> None:
    """``python tests/gates/dashboards.py`` writes it."""
    shipped = dashboards.FILES / f"timesten-{board.name}.json"
    assert shipped.read_text(encoding="utf-8") == dashboards.render(board)


def test_no_other_file_is_shipped() -> None:
    names = {f"timesten-{board.name}.json" for board in dashboards.ALL}
    assert {path.name for path in dashboards.FILES.iterdir()} == names


def test_every_panel_is_whole() -> None:
    """In the JSON, as Grafana reads it."""
    pages = {path.stem for path in (checkout.ROOT / "docs" / "alerts").glob("TimesTen*.md")}
    for board in dashboards.ALL:
        made: dict[str, Any] = json.loads(
            (dashboards.FILES / f"timesten-{board.name}.json").read_text(encoding="utf-8")
        )
        variables = {item["name"] for item in made["templating"]["list"]}
        assert {"datasource", "job", "instance"} < variables and (variables & {"dsn", "exporter"})
        panels = [panel for panel in made["panels"] if panel["type"] != "row"]
        numbers = [panel["id"] for panel in made["panels"]]
        assert len(panels) == len(board.panels) and len(set(numbers)) == len(numbers)
        assert made["uid"] == f"timesten-{board.name}" and made["annotations"]["list"][0]["expr"] == dashboards.ROTATED
        for panel in panels:
            assert panel["title"] and panel["description"].endswith((".", ")")), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] and panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]
            for link in panel.get("links") or []:
                assert link["url"] == f"{dashboards.RUNBOOKS}{link['title']}.md"
                assert link["title"] in pages
            for target in panel["targets"]:
                assert target["datasource"]["uid"] == "${datasource}"
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
                assert used <= variables, (panel["title"], used)


def test_metrics_are_documented_and_their_metrics_of_26_are_marked() -> None:
    allowed = documented() | RECORDED
    assert {metric for _where, expr in queries() for metric in asked(expr)} <= allowed
    for board in dashboards.ALL:
        for panel in board.panels:
            names = {metric for expr, _legend in panel.queries for metric in asked(expr)}
            recent = {
                name
                for name in names
                if name.startswith(("timesten_cg_awt_", "timesten_repl_log_", "timesten_repl_receiver_"))
            }
            assert bool(recent) == (dashboards.ONLY_26 in panel.description), panel.title


# --- on a real Prometheus ---------------------------------------------------------------------------------------------


def reference_exporter() -> ModuleType:
    """The program itself, for its classes."""
    path = checkout.ROOT / "roles" / "reference_exporter" / "files" / "ttExporter"
    loader = importlib.machinery.SourceFileLoader("reference_exporter", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def exposition(names: list[str], number: int, begin: int) -> str:
    """What TimesTen's metrics of two databases are at a moment, as a file of ``metrics.d``. Without a type, so that any name is allowed."""
    lines = []
    for name in names:
        labels = ['instance="tt"'] if name in OF_INSTANCE else [f'instance="tt",dsn="d{d}"' for d in (1, 2)]
        lines += [f"{name}{{{label}}} {value(name, number, begin)}" for label in labels]
    return "\n".join(lines) + "\n"


def series(begin: int, home: Path) -> Iterator[str]:
    """Two hours of two exporters with two databases each, in OpenMetrics: what the reference exporter serves, as Prometheus stores it."""
    program = reference_exporter()
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "timesten.conf").write_text("instance_name=tt\ninstance_guid=1\n")
    (home / "metrics.d").mkdir()
    metrics = program.Metrics(program.Instance(str(home)), program.RateLimit(10))
    own = {
        sample.name for family in text_string_to_metric_families(metrics.render().decode()) for sample in family.samples
    }
    names = sorted({metric for _where, expr in queries() for metric in asked(expr)})
    of_databases = [
        name for name in names if name.startswith("timesten_") and name not in {*own, "timesten_database_loaded"}
    ]
    samples: dict[str, list[str]] = {}
    for number, moment in enumerate(range(begin, begin + SPAN + 1, STEP)):
        (home / "metrics.d" / "databases.prom").write_text(exposition(of_databases, number, begin))
        scraped = [
            # The label of the target wins, as it does without honor_labels.
            ({("exported_instance" if key == "instance" else key): text for key, text in sample.labels.items()}, sample)
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
        ]
        for instance in ("db1:8888", "db2:8888"):
            target = {"job": "timesten", "instance": instance}
            for labels, sample in scraped:
                key = sample.name + selector({**target, **labels})
                samples.setdefault(key, []).append(f"{sample.value} {moment}")
            for name in ("up", "scrape_duration_seconds"):
                samples.setdefault(name + selector(target), []).append(f"1 {moment}")
        for name in sorted(RECORDED):
            kinds = ("ca", "server", "client") if "certificate" in name else ("",)
            for exporter, kind in itertools.product(("db1", "db2"), kinds):
                key = name + selector({"exporter": exporter, "client": "prom1", **({"kind": kind} if kind else {})})
                samples.setdefault(key, []).append(f"{value(name, number, begin)} {moment}")
    for key, lines in samples.items():
        for line in lines:
            yield f"{key} {line}"
    yield "# EOF"


def selector(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{text}"' for name, text in labels.items()) + "}"


def value(name: str, number: int, begin: int) -> float:
    if name.endswith(("_total", "_file_bytes")) or "parawt_auto_tx" in name:
        return 30 * number
    if name == "exporter:timesten_generation_created_seconds:vector":
        # The last minute has seen a rotation.
        return begin + SPAN - 60 if number > SPAN // STEP - 2 else begin - 86400
    if name.startswith("exporter:") and "seconds" in name:
        return begin + SPAN + 86400 * 20
    return {"timesten_perm_allocated_bytes": 8e9, "timesten_temp_allocated_bytes": 2e9}.get(name, 1 + number % 5)


@contextlib.contextmanager
def prometheus(version: str, directory: Path, begin: int) -> Iterator[str]:
    """A real Prometheus that holds the series; yields its address."""
    program = packages.prometheus(version)
    directory.mkdir()
    (directory / "series.txt").write_text("\n".join(series(begin, directory / "home")) + "\n", encoding="utf-8")
    data = directory / "data"
    backfill = [program.promtool, "tsdb", "create-blocks-from", "openmetrics", directory / "series.txt", data]
    done = subprocess.run(backfill, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (directory / "prometheus.yml").write_text("scrape_configs: []\n", encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    options = {"config.file": directory / "prometheus.yml", "storage.tsdb.path": data, "web.listen-address": address}
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(
            [program.prometheus, *(f"--{key}={word}" for key, word in options.items())], stdout=log, stderr=log
        )

    def is_ready() -> bool:
        assert server.poll() is None, (directory / "log").read_text()
        return fetch(f"http://{address}/-/ready") is not None

    try:
        until(is_ready, 30, (directory / "log").read_text)
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def ask(address: str, path: str, **parameters: Any) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
        return json.load(answer)["data"]


@pytest.mark.controller
@pytest.mark.parametrize("version", ["2.42", "3"])
def test_every_query_of_every_panel_returns_data(version: str, tmp_path: Path) -> None:
    end = int(time.time()) // STEP * STEP
    begin = end - SPAN
    empty, faulty = [], []
    with prometheus(version, tmp_path / "prometheus", begin) as address:
        for where, expr in queries():
            filled = expr.replace("$__rate_interval", "2m")
            for variable in ("job", "instance", "dsn", "exporter", "client"):
                filled = filled.replace(f"${variable}", ".*")
            assert "$" not in filled
            try:
                result = ask(address, "query_range", query=filled, start=begin + 600, end=end, step=STEP)["result"]
                found_now = ask(address, "query", query=filled, time=end)["result"]
            except urllib.error.HTTPError as error:
                faulty.append((where, expr, error.read().decode()[:300]))
                continue
            if not result or not found_now:
                empty.append((where, expr))
        # What the variables offer comes from a series as well.
        for board in dashboards.ALL:
            for name, _label, query in board.variables:
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
                assert match is not None
                selector = re.sub(r"\$\w+", ".*", match[1])
                values = ask(address, f"label/{match[2]}/values", **{"match[]": selector, "start": begin, "end": end})
                assert len(values) == {"job": 1, "client": 1}.get(name, 2), (name, values)
    assert faulty == []
    assert empty == []


def test_provisioning_names_what_is_shipped() -> None:
    (provider,) = yaml.safe_load(example("dashboards-provider"))["providers"]
    assert provider["type"] == "file" and provider["options"]["path"]
    (play,) = yaml.safe_load(example("dashboards-play"))
    (task,) = play["tasks"]
    assert task["ansible.builtin.copy"]["dest"].rstrip("/") == provider["options"]["path"].rstrip("/")
    # From the root of the collection, where the files of a role lie.
    assert "collections/ansible_collections/timesten/monitoring/roles/prometheus_host/files/dashboards/" in json.dumps(
        play
    )
