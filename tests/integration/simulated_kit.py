# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in which nothing is wrong, of any size: the controller is real, and what its hosts answer is written down beforehand."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parents[2]
GENERATION = "20261124T104900Z-1a2b3c4d"
ENDS = "2036-11-24T10:49:00Z"
PROOFS = ("up", "accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")
# In place of the interpreter of a host: prints what its module would answer.
HOST = """\
#!/bin/sh
payload=$(cat "$@")
case $payload in
*ansible.modules.ping*) echo '{{"ping": "pong"}}' ;;
*inspected*) cat {place}/inspected ;;
*'"stage"'* | *'\\\\"stage\\\\"'*) cat {place}/stage ;;
*staged*) cat {place}/staged ;;
*) cat {place}/answer ;;
esac
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Simulated:
    """The inventory, and what each host answers in each step."""

    def __init__(self, place: Path, exporters: int, servers: int) -> None:
        self.place = place
        self.exporters = [f"exp{number}" for number in range(1, exporters + 1)]
        self.servers = [f"prom{number}" for number in range(1, servers + 1)]
        self.inventory = place / "inventory.json"
        answers = {
            name: {
                "answer": {"changed": False, "exporters": [self._exporter(name)]},
                "stage": {"changed": False, "exporters": [_left_alone(name)]},
            }
            for name in self.exporters
        }
        staged = {"changed": False, "exporters": [], "scrapes": {}, "revision": "empty"}
        answers |= {
            name: {"inspected": self._inspected(name), "answer": self._proven(name), "staged": {**staged, "name": name}}
            for name in self.servers
        }
        for name, files in answers.items():
            self._write(name, files)
        groups = {"timesten_exporters": self.exporters, "prometheus_servers": self.servers}
        common = {"ansible_connection": "local", "ansible_become": False, "exporter_host_become": False}
        # The crontab of this machine is not a test's.
        common |= {"exporter_host_boot": "none"}
        common |= {"exporter_host_timesten_home": "/opt/tt", "ansible_remote_tmp": str(place / "tmp")}
        hosts = {
            group: {"hosts": {name: {"ansible_python_interpreter": str(place / name / "python3")} for name in names}}
            for group, names in groups.items()
        }
        self.inventory.write_text(json.dumps({"all": {"vars": common, "children": hosts}}))

    def command(self, playbook: str, *options: str) -> list[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), "-i", str(self.inventory), playbook, *options]

    @staticmethod
    def environment(**settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": "10",
            "LC_ALL": "C.UTF-8",
            **settings,
        }

    def _write(self, name: str, files: dict[str, Any]) -> None:
        place = self.place / name
        place.mkdir(parents=True)
        for file, content in files.items():
            (place / file).write_text(json.dumps(content))
        program = place / "python3"
        program.write_text(HOST.format(place=place))
        program.chmod(0o755)

    def _exporter(self, name: str) -> dict[str, Any]:
        pairs = [
            {"client": client, "delivery": f"{GENERATION}-1", "sha256": sha(name + client), "not_after": ENDS}
            for client in self.servers
        ]
        told = {"name": name, "changed": False, "why": [], "insecure": False, "port": 8888, "spare": False}
        return {**told, "generation": GENERATION, "pairs": pairs, "ca_sha256": sha(f"ca {name}")}

    def _inspected(self, name: str) -> dict[str, Any]:
        point = ec.generate_private_key(ec.SECP256R1()).public_key()
        key = base64.b64encode(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).decode()
        pair = {"delivery": f"{GENERATION}-1", "not_after": ENDS}
        stored = {item: {**pair, "sha256": sha(item + name), "ca_sha256": sha(f"ca {item}")} for item in self.exporters}
        jobs = {item: {"name": item, "address": item, "port": 8888, "insecure": False} for item in self.exporters}
        told = {"changed": False, "name": name, "stored": stored, "scrape_interval": 60.0, "definitions": jobs}
        intervals = dict.fromkeys(self.exporters, 60.0)
        return {**told, "scrape_intervals": intervals, "transport_key": key, "revision": "empty"}

    def _proven(self, name: str) -> dict[str, Any]:
        proofs = {**dict.fromkeys(PROOFS, True), "not_after": ENDS}
        rows = [{"name": item, **proofs, "served_sha256": sha(item)} for item in self.exporters]
        told = {"changed": False, "name": name, "exporters": rows, "reloaded": False}
        return {**told, "removed": [], "unmentioned": [], "revision": "empty"}


def _left_alone(name: str) -> dict[str, Any]:
    told = {"name": name, "changed": False, "insecure": False, "port": 8888, "spare": False, "generation": None}
    return {**told, "pairs": [], "rotation": {"skipped": "its wallet is neither due nor changed", "evicted": []}}
