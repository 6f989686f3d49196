# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers as the two modules give them, for every phase and state, with real certificates and sealed keys."""

from __future__ import annotations

import copy
import datetime
import functools
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates, seal

LATER = "known after apply"
OLD, NEW = "20261024T104900Z-0a1b2c3d", "20261124T104900Z-1a2b3c4d"
SHA = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
EXPORTERS = ("exp1", "exp2")
CLIENTS = ("prom1", "prom2")
TRANSPORT = seal.new_transport_key()[1]
RECIPIENTS = dict.fromkeys(CLIENTS, TRANSPORT)


@functools.lru_cache(maxsize=None)
def certificate(name: str) -> tuple[str, bytes]:
    """A certificate for a name, and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode("ascii"), private


def facts(pem: str) -> dict[str, Any]:
    return certificates.facts(certificates.load_one(pem.encode("ascii"), "test"))


@functools.lru_cache(maxsize=None)
def _pair(exporter: str, client: str, generation: str) -> dict[str, Any]:
    pem, key = certificate(f"{client}.{exporter}")
    found = facts(pem)
    return {
        "client": client,
        "delivery": f"{generation}-1",
        "sha256": found["sha256"],
        "not_before": found["not_before"],
        "not_after": found["not_after"],
        "certificate": pem,
        "bundle": seal.seal(key, exporter, client, generation, found["sha256"], TRANSPORT),
    }


def pair(exporter: str, client: str, generation: str = NEW) -> dict[str, Any]:
    return dict(_pair(exporter, client, generation))


def kept(exporter: str, client: str) -> dict[str, Any]:
    """A pair that its client has."""
    return {key: value for key, value in pair(exporter, client).items() if key not in ("certificate", "bundle")}


def made(name: str, **changes: Any) -> dict[str, Any]:
    """An element of the phase converge after a change."""
    pem, _key = certificate(name)
    leaf = facts(pem)
    return {
        "name": name,
        "changed": True,
        "why": ["there is no wallet"],
        "insecure": False,
        "port": 8888,
        "spare": False,
        "generation": NEW,
        "rotation_due": None,
        "pairs": [pair(name, client) for client in CLIENTS],
        "ca_sha256": leaf["sha256"],
        "server_certificate": leaf,
        "server_certificate_source": "export",
        "alt_names": leaf["alt_names"],
        "unfit": [],
        "due": None,
        "due_at": "2036-10-22T10:49:00Z",
        "ca_not_after": "2036-11-21T10:49:00Z",
        "wallet_directory": f"/opt/timesten/monitoring/{name}/generations/{NEW}",
        "ca_certificate": pem,
        "process": {"state": "started", "pid": 4711, "manager": None},
        "rate_limit": 15,
        **changes,
    }


def predicted(name: str) -> dict[str, Any]:
    later = dict.fromkeys(("delivery", "sha256", "not_before", "not_after"), LATER)
    found = made(
        name,
        generation=LATER,
        ca_sha256=LATER,
        server_certificate=None,
        server_certificate_source="none",
        due_at=None,
        ca_not_after=None,
        pairs=[{"client": client, **later} for client in CLIENTS],
        process={"state": "started", "pid": None, "manager": None},
    )
    del found["wallet_directory"], found["ca_certificate"]
    return found


def plain_http(name: str) -> dict[str, Any]:
    keys = ("name", "changed", "why", "port", "spare", "rotation_due", "process", "rate_limit")
    found = {key: value for key, value in made(name).items() if key in keys}
    return {**found, "insecure": True, "generation": None, "pairs": [], "rate_limit": None}


def removed(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "leftover_unit": f"timesten-exporter-{name}.service",
        "changed": True,
        "why": ["process 4711 has to stop"],
        "insecure": False,
        "port": 8888,
        "spare": False,
        "generation": None,
        "pairs": [],
        "process": {"state": "stopped", "pid": None, "manager": None},
        "removed": ["current", "generations", "exporter.log"],
        "left": ["notes.txt"],
    }


def failed(name: str) -> dict[str, Any]:
    return {
        "changed": False,
        "lost_clients": ["prom7"],
        "name": name,
        "failed": True,
        "msg": "port 8888 is taken by process 4711 (nginx)",
    }


def staged(name: str, check_mode: bool = False) -> dict[str, Any]:
    rotation = {
        "from": OLD,
        "to": LATER if check_mode else NEW,
        "old_sha256": SHA,
        "new_sha256": LATER if check_mode else SHA,
        "restart_seconds": 0.42,
        "restart_measured": True,
        "clients": list(CLIENTS),
        "evicted": ["prom9"],
        "strategy": "gap",
        "has_spare_port": False,
    }
    found = {**made(name), "rotation": rotation}
    if check_mode:
        found.update(generation=LATER, ca_sha256=LATER, pairs=[{"client": client} for client in CLIENTS])
        del found["ca_certificate"]
    return found


def skipped(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "changed": False,
        "insecure": False,
        "port": 8888,
        "spare": False,
        "generation": None,
        "pairs": [],
        "rotation": {"skipped": "its wallet is neither due nor changed", "evicted": []},
    }


def switched(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "changed": True,
        "status": status,
        "generation": NEW,
        "previous": OLD,
        "moment": 1795517344.52,
        "window": 0.39,
        "error": None,
        **more,
    }


def served(name: str, **more: Any) -> dict[str, Any]:
    """An element of the phase status once the new certificate was seen: only a handshake tells it here."""
    leaf = {**facts(certificate(name)[0]), "not_after": "2036-11-20T10:49:00Z"}
    known = {
        "server_certificate": leaf,
        "server_certificate_source": "handshake",
        "ca_not_after": "2036-11-21T10:49:00Z",
    }
    return switched(name, "switched", **{**known, "due": None, "due_at": "2036-10-21T10:49:00Z", **more})


def forgotten(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "changed": True,
        "why": [f"the pair of prom2 is forgotten in {NEW}"],
        "generation": NEW,
        "forgotten": {"prom2": [OLD, NEW]},
        "clients": ["prom1", "prom5"],
    }


def host_result(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The result of a call as the action plugin gets it."""
    after = {"generation": NEW, "pairs": {"prom1": {"delivery": f"{NEW}-1"}}, "process": {"state": "started"}}
    diff = [
        {
            "before_header": element["name"],
            "after_header": element["name"],
            "before": {"generation": None, "pairs": {}, "process": {"state": "stopped"}},
            "after": after,
        }
        for element in elements
    ]
    return {
        "changed": any(element["changed"] for element in elements),
        "exporters": list(elements),
        "diff": diff,
        "warnings": ["exporter exp1: the wallet ends at 2026-12-01T00:00:00Z; it stays, since regenerate is never"],
        "invocation": {"module_args": {"exporters": []}},
        **more,
    }


def exporter_answers() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What it is, the raw result, and how the parser is called."""
    both = EXPORTERS

    def of(phase: str, check_mode: bool = False) -> dict[str, Any]:
        return {
            "phase": phase,
            "host": "db1",
            "exporters": both,
            "clients": CLIENTS,
            "recipients": RECIPIENTS,
            "check_mode": check_mode,
        }

    unreachable = {"unreachable": True, "changed": False, "msg": "Failed to connect to the host via ssh: \x1b[31mno\n"}
    crashed = {
        "failed": True,
        "msg": "MODULE FAILURE: see stdout/stderr for the exact error",
        "module_stdout": "",
        "module_stderr": "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'cryptography'\n",
        "rc": 1,
    }
    found = [
        ("converge", host_result(*map(made, both)), of("converge")),
        (
            "converge, nothing to do",
            host_result(
                *(made(name, changed=False, why=[], pairs=[kept(name, client) for client in CLIENTS]) for name in both)
            ),
            of("converge"),
        ),
        ("converge --check", host_result(*map(predicted, both)), of("converge", True)),
        ("insecure", host_result(*map(plain_http, both)), of("converge")),
        ("absent", host_result(*map(removed, both)), of("converge")),
        ("one failed", host_result(made("exp1"), failed("exp2"), failed=True, msg="exporter exp2: no"), of("converge")),
        ("stage", host_result(staged("exp1"), skipped("exp2")), of("stage")),
        ("stage --check", host_result(staged("exp1", True), skipped("exp2")), of("stage", True)),
        ("stage failed", host_result(staged("exp1"), failed("exp2"), failed=True, msg="exp2: no"), of("stage")),
        (
            "switch",
            {
                "changed": True,
                "exporters": [{"name": n, "changed": True, "status": "waiting"} for n in both],
                "diff": [],
            },
            of("switch"),
        ),
        ("release", {"changed": False, "exporters": [{"name": n, "changed": False} for n in both]}, of("release")),
        ("forget", host_result(*map(forgotten, both)), of("forget")),
        ("forget --check", host_result(*map(forgotten, both)), of("forget", True)),
        ("status, served", host_result(served("exp1"), served("exp2")), of("status")),
        ("unreachable", unreachable, of("status")),
        ("crashed", crashed, of("converge")),
    ]
    for phase in ("status", "confirm", "revert", "retire"):
        more = {"old_pair_refused": True, "removed": [OLD]} if phase in ("confirm", "retire") else {}
        raw = host_result(switched("exp1", "switched", **more), switched("exp2", "failed", error="no\n", **more))
        found.append((phase, {**raw, "diff": []}, of(phase)))
    for phase in ("switch", "status", "confirm", "revert", "retire", "release"):
        found.append((f"{phase} --check", {"changed": False, "exporters": []}, of(phase, True)))
    return [(what, copy.deepcopy(raw), call) for what, raw, call in found]


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "up": True,
        "last_error": "",
        "advice": "",
        "accepted": True,
        "refused_without_certificate": True,
        "refused_foreign_pair": True,
        "refused_plain_http": True,
        "served_sha256": SHA,
        **changes,
    }


def definition(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "address": f"{name}.example.com",
        "port": 8888,
        "insecure": False,
        "alt_names": [f"{name}.example.com", "10.0.0.7", "::1"],
        "scrape_interval": "15s",
        "labels": {"team": "db"},
        "extra": {"sample_limit": 1000, "relabel_configs": [{"target_label": "x", "replacement": "y"}]},
        **changes,
    }


def inspected() -> dict[str, Any]:
    names = ("exp1", "exp2.spare", "other7")
    entry = {"delivery": f"{NEW}-1", "sha256": SHA, "ca_sha256": SHA, "not_after": "2027-11-24T10:49:00Z"}
    return {
        "changed": False,
        "name": "prom1",
        "transport_key": TRANSPORT,
        "stored": {name: dict(entry) for name in names},
        "scrape_interval": 15.0,
        "scrape_intervals": dict.fromkeys(names, 15.0),
        "definitions": {name: definition(name) for name in names},
        "layout": "inline",
        "version": "2.42.0",
        "revision": "5f0c8e6a91d2b374",
        "warnings": [],
    }


def prometheus_answers() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What it is, the raw result, and how the parser is called."""

    def of(state: str, check_mode: bool = False, exporters: Any = EXPORTERS) -> dict[str, Any]:
        return {
            "state": state,
            "host": "mon1",
            "client": "prom1",
            "exporters": exporters,
            "check_mode": check_mode,
        }

    present = {
        "changed": True,
        "name": "prom1",
        "exporters": [row(name, why=["no pair is stored", "it has no job yet"]) for name in EXPORTERS],
        "reloaded": "http",
        "removed": ["old7"],
        "unmentioned": ["other7"],
        "warnings": ["not mentioned by this run and left as they are: other7"],
        "revision": "5f0c8e6a91d2b374",
        "version": "2.42.0",
        "diff": [
            {"prepared": "--- /etc/p.yml\n+++ /etc/p.yml\n@@ -1 +1,2 @@\n-a: 1\n+a: 2\n+  - job_name: timesten-exp1\n"},
            {
                "before_header": "certificates of client prom1",
                "after_header": "certificates of client prom1",
                "before": {"exp1": None},
                "after": {"exp1": {"delivery": f"{NEW}-1", "sha256": SHA, "alt_names": ["a", "b"]}},
            },
        ],
    }
    down = row("exp1", up=False, last_error="connection refused\x1b[2J", advice="look at it", why=["a"])
    scrape = {"scraped": 1795517344.52, "took": 0.012, "interval": 15.0, "health": "up"}
    event = {"moment": 1795517344.9, "delivery": f"{NEW}-1", "away": 0.31}
    untried = dict.fromkeys(list(row("exp1"))[4:])
    found = [
        ("inspected", inspected(), of("inspected", exporters=())),
        (
            "inspected, virgin",
            {
                **inspected(),
                "stored": {},
                "definitions": {},
                "scrape_intervals": {},
                "layout": None,
                "version": None,
                "revision": "empty",
            },
            of("inspected", True, ()),
        ),
        ("present", present, of("present")),
        (
            "present --check",
            {
                **present,
                "reloaded": False,
                "exporters": [row(name, up=None, why=[], **untried) for name in EXPORTERS],
            },
            of("present", True),
        ),
        (
            "present failed",
            {"failed": True, "msg": "exporter exp1: not up", "exporters": [down, row("exp2")]},
            of("present"),
        ),
        ("present refused", {"failed": True, "msg": "on_existing: no", "line": 7}, of("present")),
        (
            "verified",
            {
                "changed": False,
                "name": "prom1",
                "exporters": [row("exp1"), row("exp9")],
                "revision": "empty",
                "version": None,
            },
            of("verified", exporters=None),
        ),
        ("verified failed", {"failed": True, "msg": "no", "exporters": [down]}, of("verified", exporters=None)),
        ("absent", {"changed": True, "name": "prom1", "removed": ["a", "b"], "reloaded": "signal"}, of("absent")),
        (
            "staged",
            {"changed": True, "name": "prom1", "scrapes": {"exp1": scrape}, "revision": "5f0c8e6a91d2b374"},
            of("staged"),
        ),
        ("following", {"changed": True, "name": "prom1", "following": ["exp1"]}, of("following")),
        ("following --check", {"changed": False, "name": "prom1", "following": []}, of("following", True)),
        (
            "released",
            {
                "changed": False,
                "name": "prom1",
                "followed": {"exp1": [event, {"moment": 1795517345.0, "error": "no"}], "exp2": []},
            },
            of("released"),
        ),
        ("unreachable", {"unreachable": True, "msg": "no route"}, of("inspected", exporters=())),
    ]
    return [(what, copy.deepcopy(raw), call) for what, raw, call in found]
