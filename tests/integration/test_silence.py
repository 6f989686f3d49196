# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is around a rotation: silences of a real Alertmanager, and what community.grafana sends where a Grafana would be."""

from __future__ import annotations

import datetime
import http.server
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from integration import prometheus_kit, rotation_kit
from lab import packages
from waiting import fetch, free_port, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="the Alertmanager gets a mount namespace of its own, which needs root"
    ),
]

FORCE = ("-e", "rotate_force=true")
TOKEN = "glsa-s3cr3t"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rotation_kit.Fleet]:
    root = tmp_path_factory.mktemp("silence")
    with rotation_kit.fleet(root, 2.0, ("2.42",), exporters=2, RATE="unlimited") as made:
        made.play("site")
        yield made


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with prometheus_kit.alertmanager(prometheus_kit.public_directory() / "alertmanager") as started:
        yield f"http://{started}"


class Grafana:
    """Plays /api/annotations: keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.status = 200
        grafana = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                grafana.requests.append((self.path, dict(self.headers), body))
                self.send_response(grafana.status, f"said {TOKEN}")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    made = Grafana()
    yield made
    made.server.shutdown()
    made.server.server_close()


def silences(address: str, *states: str) -> list[dict[str, Any]]:
    """The silences that the Alertmanager has, the oldest first."""
    listed = json.loads(fetch(f"{address}/api/v2/silences") or b"[]")
    listed = [item for item in listed if not states or item["status"]["state"] in states]
    return sorted(listed, key=lambda item: str(item["startsAt"]))


def exporters(silence: dict[str, Any]) -> str:
    [value] = [matcher["value"] for matcher in silence["matchers"] if matcher["name"] == "exporter"]
    return str(value)


def seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def alert(address: str, **labels: str) -> None:
    body = json.dumps([{"labels": {"alertname": "TimesTenExporterDown", **labels}}]).encode()
    request = urllib.request.Request(f"{address}/api/v2/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5):
        pass


def silenced(address: str) -> set[tuple[str, str]]:
    """Exporter and client of the alerts that a silence is in effect for."""
    return {
        (one["labels"]["exporter"], one["labels"].get("client", ""))
        for one in json.loads(fetch(f"{address}/api/v2/alerts") or b"[]")
        if one["status"]["silencedBy"]
    }


def test_check_mode_makes_none_and_says_what_it_would_do(fleet: rotation_kit.Fleet, address: str) -> None:
    fleet.play(
        "rotate",
        "--check",
        *FORCE,
        "-e",
        f"rotate_silence={address}",
        "-e",
        "rotate_annotation=http://127.0.0.1:1",
        "-e",
        f"rotate_annotation_token={TOKEN}",
    )
    assert fleet.report()["notes"] == [
        f"rotate_silence: {address} would be asked to silence exp1, exp2 as prom1 see them, while they are rotated.",
        "rotate_annotation: http://127.0.0.1:1 would get an annotation of exp1, exp2.",
    ]
    assert silences(address) == []


@pytest.mark.parametrize("operation", ["rotate", "site"])
def test_nobody_is_touched_where_the_alertmanager_cannot_be_used(fleet: rotation_kit.Fleet, operation: str) -> None:
    port = free_port()
    before = sorted(fleet.directory().iterdir()), fleet.current()
    url = f"http://127.0.0.1:{port}"
    output = fleet.play(operation, *FORCE, "-e", f"rotate_silence={url}", fails=True)
    assert f"rotate_silence: {url} does not answer (Connection refused)" in output
    assert "TASK [Take part" not in output and "TASK [Inspect" not in output and "exporter_host" not in output
    assert before == (sorted(fleet.directory().iterdir()), fleet.current())


def test_a_killed_run_leaves_one_that_ends_and_the_next_run_takes_its_place(
    fleet: rotation_kit.Fleet, address: str, grafana: Grafana
) -> None:
    for labels in ({"exporter": "exp1", "client": "prom1"}, {"exporter": "exp2", "client": "prom1"}):
        alert(address, **labels)
    alert(address, exporter="exp1", client="prom-of-others")
    alert(address, exporter="exp11", client="prom1")
    on = ("-e", f"rotate_silence={address}")
    run = fleet.begin("rotate", *FORCE, *on, "-e", "rotate_exporters=exp1", "-e", "rotate_confirm=5")
    until(lambda: silences(address, "active"), 120, "a silence")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    [left] = silences(address)
    assert exporters(left) == "exp1" and left["createdBy"] == "timesten.monitoring"
    # The last of the moments, the time to confirm and to come back: some minutes.
    assert 60 < seconds(left["endsAt"]) - time.time() < 600
    until(lambda: silenced(address) == {("exp1", "prom1")}, 30, lambda: str(silenced(address)))

    collection = fleet.root / "collections/ansible_collections/community"
    collection.mkdir()
    (collection / "grafana").symlink_to(packages.grafana_collection())
    annotated = ("-e", f"rotate_annotation={grafana.url}/", "-e", f"rotate_annotation_token={TOKEN}")
    output = fleet.play("rotate", *FORCE, *on, *annotated, "-vv")
    assert TOKEN not in output
    # Not one task more: as in test_rotation, for two exporters and one server.
    assert rotation_kit.worker_tasks(output) == (4 * 2 + 6 * 1 + 5, 0, 0), output
    report = fleet.report()
    assert report["good"] and report["notes"] == [], report
    assert silences(address, "active", "pending") == []
    old, mine = silences(address)
    assert old["id"] == left["id"] and exporters(mine) == "exp1|exp2"
    [(path, headers, annotation)] = grafana.requests
    assert path == "/api/annotations" and headers["Authorization"] == f"Bearer {TOKEN}"
    assert annotation["text"] == "Rotation of certificates. switched: exp1, exp2"
    assert annotation["tags"] == ["timesten.monitoring", "rotation", "switched"]
    # Made before an exporter was switched, ended after that was judged.
    for switch in (fleet.record(name)["moment"] for name in ("exp1", "exp2")):
        assert seconds(mine["startsAt"]) < switch < seconds(mine["endsAt"])
        assert annotation["time"] / 1000 < switch < annotation["timeEnd"] / 1000


def test_a_failed_wave_ends_its_silence_and_nothing_hides_what_became_of_it(
    fleet: rotation_kit.Fleet, address: str, grafana: Grafana
) -> None:
    count = len(silences(address))
    previous = fleet.record().get("token")
    grafana.status = 403
    extra = ("-e", "rotate_exporters=exp1", "-e", "exporter_host_start_timeout=4")
    around = (
        "-e",
        f"rotate_silence={address}",
        "-e",
        f"rotate_annotation={grafana.url}",
        "-e",
        f"rotate_annotation_token={TOKEN}",
    )
    run = fleet.begin("rotate", *FORCE, *extra, *around)
    until(lambda: fleet.record().get("token") != previous, 120, "the leader")
    new = fleet.directory() / "generations" / fleet.record()["generation"]
    next(new.glob(".ttwallet.*/cwallet.sso")).write_bytes(b"no wallet")
    assert run.wait(200) != 0
    report = fleet.report()
    [line] = report["rotations"]
    assert line.startswith("exp1: the switch failed: "), line
    [note] = report["notes"]
    assert (
        note.startswith(f"rotate_annotation: {grafana.url}/api/annotations has not taken the annotation: ")
        and "403" in note
    )
    assert TOKEN not in note and TOKEN not in (fleet.root / "playbook.log").read_text()
    *_before, silence = silences(address)
    assert len(silences(address)) == count + 1 and silences(address, "active", "pending") == []
    assert exporters(silence) == "exp1"
    assert grafana.requests[0][2]["tags"] == ["timesten.monitoring", "rotation", "failed"]
