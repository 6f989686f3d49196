# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees of a large fleet in which nothing is wrong: 60 exporters, 3 Prometheus servers, whose modules are simulated."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integration import site_kit

EXPORTERS = [f"exp{number}" for number in range(1, 61)]
SERVERS = ["prom1", "prom2", "prom3"]
GENERATION = "20261124T104900Z-1a2b3c4d"
ENDS = "2036-11-24T10:49:00Z"
PROOFS = ("up", "accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")
# In place of the interpreter of a host: prints what its module would answer.
HOST = """\
#!/bin/sh
payload=$(cat "$@")
case $payload in
*inspected*) cat {place}/inspected ;;
*'"stage"'* | *'\\"stage\\"'*) cat {place}/stage ;;
*staged*) cat {place}/staged ;;
*) cat {place}/answer ;;
esac
"""
SCREEN = """\

PLAY [Check inventory, variables and limit] *

TASK [Nothing is wrong] *

PLAY [Look at the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Look at the Prometheus instances] *
{servers}

PLAY [Converge the exporter hosts] *

TASK [timesten.monitoring.exporter_host : Make, issue, start, prove] *
{exporters}

PLAY [Converge the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Store, configure, reload, prove] *
{servers}

PLAY [Rotate what is due] *

TASK [Nothing is due] *

PLAY [Report] *

TASK [Say what was seen] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.

ok: [exp1]

PLAY RECAP *
"""
QUIET = """\

PLAY [Check inventory, variables and limit] *

PLAY [Verify] *

PLAY [Report] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.


PLAY RECAP *
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def exporter(name: str) -> dict[str, Any]:
    pairs = [
        {"client": client, "delivery": f"{GENERATION}-1", "sha256": sha(name + client), "not_after": ENDS}
        for client in SERVERS
    ]
    told = {"name": name, "changed": False, "why": [], "insecure": False, "port": 8888, "spare": False}
    return {**told, "generation": GENERATION, "pairs": pairs, "ca_sha256": sha(f"ca {name}")}


def left_alone(name: str) -> dict[str, Any]:
    told = {"name": name, "changed": False, "insecure": False, "port": 8888, "spare": False, "generation": None}
    return {**told, "pairs": [], "rotation": {"skipped": "its wallet is neither due nor changed", "evicted": []}}


def inspected(name: str) -> dict[str, Any]:
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    told = {"changed": False, "name": name, "stored": {}, "scrape_interval": 60.0, "scrape_intervals": {}}
    return {**told, "transport_key": site_kit.base64.b64encode(key).decode(), "definitions": {}, "revision": "empty"}


def proven(name: str) -> dict[str, Any]:
    rows = [
        {"name": item, **dict.fromkeys(PROOFS, True), "served_sha256": sha(item), "not_after": ENDS}
        for item in EXPORTERS
    ]
    told = {"changed": False, "name": name, "exporters": rows, "reloaded": False, "removed": [], "unmentioned": []}
    return {**told, "revision": "empty"}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    answers = {
        name: {
            "answer": {"changed": False, "exporters": [exporter(name)]},
            "stage": {"changed": False, "exporters": [left_alone(name)]},
        }
        for name in EXPORTERS
    }
    staged = {"changed": False, "exporters": [], "scrapes": {}, "revision": "empty"}
    answers |= {
        name: {"inspected": inspected(name), "answer": proven(name), "staged": {**staged, "name": name}}
        for name in SERVERS
    }
    interpreters = {}
    for name, files in answers.items():
        place = tmp_path / name
        place.mkdir()
        for file, content in files.items():
            (place / file).write_text(json.dumps(content))
        program = place / "python3"
        program.write_text(HOST.format(place=place))
        program.chmod(0o755)
        interpreters[name] = {"ansible_python_interpreter": str(program)}
    common = {"ansible_connection": "local", "ansible_become": False, "exporter_host_become": False}
    groups = {"timesten_exporters": EXPORTERS, "prometheus_servers": SERVERS}
    tree = {
        "all": {
            "vars": {**common, "exporter_host_timesten_home": "/opt/tt", "ansible_remote_tmp": str(tmp_path / "tmp")},
            "children": {group: {"hosts": {n: interpreters[n] for n in names}} for group, names in groups.items()},
        }
    }
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps(tree))
    return path


def screen(inventory: Path, playbook: str, *options: str, **settings: str) -> list[str]:
    """What a run prints, without the stars of its headings and its recap."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "-i", str(inventory), f"timesten.monitoring.{playbook}", *options],
        env={
            **environment,
            "ANSIBLE_COLLECTIONS_PATH": str(site_kit.ROOT / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "10",
            "LC_ALL": "C.UTF-8",
            **settings,
        },
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.rstrip("*").rstrip() + " *" if line.endswith("***") else line for line in done.stdout.splitlines()]
    return lines[: lines.index("PLAY RECAP *") + 1]


def test_a_clean_site_of_60_exporters(inventory: Path) -> None:
    hosts = {"servers": SERVERS, "exporters": EXPORTERS}
    expected = SCREEN.format(**{key: "\n".join(f"ok: [{name}]" for name in names) for key, names in hosts.items()})
    seen = screen(inventory, "site")
    # Hosts come in the order in which they are done.
    assert sorted(seen) == sorted(expected.splitlines()), "\n".join(seen)
    table = next(number for number, line in enumerate(seen) if line.startswith("exporter  Prometheus"))
    # One line for each host and step, and nothing but headings beside that.
    assert table - (len(EXPORTERS) + 2 * len(SERVERS)) <= 25


def test_who_wants_to_see_only_what_is_not_as_it_should_be(inventory: Path) -> None:
    seen = screen(inventory, "verify", ANSIBLE_DISPLAY_OK_HOSTS="0", ANSIBLE_DISPLAY_SKIPPED_HOSTS="0")
    assert seen == QUIET.splitlines(), "\n".join(seen)


def test_each_wave_costs_its_own_hosts_alone(inventory: Path, tmp_path: Path) -> None:
    """Three waves of two of five exporters: what each task of each host is, in its order. All exporters are left alone."""
    named = ["exp1", "exp2", "exp3", "exp4", "exp5"]
    record = tmp_path / "record.jsonl"
    seen = screen(
        inventory,
        "rotate",
        "--check",
        "--extra-vars",
        json.dumps({"rotate_wave": 2, "rotate_exporters": named, "rotate_only_due": True}),
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callbacks")),
        ANSIBLE_CALLBACKS_ENABLED="record",
        RECORD_FILE=str(record),
    )
    told = [line for line in seen if line.endswith("left alone: its wallet is neither due nor changed")]
    assert [line.split(":")[0].strip() for line in told] == named
    events = [json.loads(line) for line in record.read_text().splitlines()]
    forked = [(e["event"], e["task"], e["host"]) for e in events if not e["action"].endswith(("meta", "include_tasks"))]
    # Of one task, hosts come in the order in which they are done.
    steps: dict[tuple[str, str], dict[int, list[str]]] = {}
    last, number = None, 0
    for event, task, host in forked:
        last, number = task, number + (task != last)
        steps.setdefault((event, task), {}).setdefault(number, []).append(host)
    waves = [["exp1", "exp2"], ["exp3", "exp4"], ["exp5"]]
    assert {key: [sorted(hosts) for hosts in found.values()] for key, found in steps.items()} == {
        # Only in the first wave hosts of another one have to be told apart.
        ("skipped", "Take part in the wave"): [["exp3", "exp4", "exp5"]],
        ("ok", "Take part in the wave"): [sorted(wave + SERVERS) for wave in waves],
        ("ok", "Look at the Prometheus hosts"): [SERVERS] * 3,
        ("ok", "Make the new generations ready"): waves,
        ("ok", "Deliver the new pairs beside those in use"): [SERVERS] * 3,
        ("ok", "Choose the moments"): [wave[:1] for wave in waves],
        ("ok", "Keep a record of the wave"): [wave[:1] for wave in waves],
        ("ok", "Say what was seen"): [["exp1"]],
    }
