# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: what is proven and what is not, why, and what a person reads. Answers are raw results, parsed as in a run."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, fleet, ledger, reports, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils import page as pages
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import (
    ExporterAnswer,
    ExporterHostAnswer,
    PrometheusAnswer,
    Proof,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory
from ansible_collections.timesten.monitoring.plugins.plugin_utils.ledger import Host, Ledger, Pair

Raw = dict[str, Any]
PROJECT = Path(__file__).resolve().parents[4]
GENERATION = "20261124T104900Z-1a2b3c4d"
ENDS = "2027-11-24T10:49:00Z"
DEAD = "Failed to connect to the host via ssh: connect to host exp2 port 22: No route to host"


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Templar:
    """Of variables that hold no template."""

    def template(self, value: Any) -> Any:
        return value


class Site:
    """An inventory, and the answers of its hosts as the tasks of a run register them."""

    def __init__(self, exporters: int | list[str] = 2, servers: int = 2, check_mode: bool = False, **variables: Any):
        listed = exporters if isinstance(exporters, list) else [f"exp{n}" for n in range(1, exporters + 1)]
        self.exporters, self.servers = listed, [f"prom{n}" for n in range(1, servers + 1)]
        self.check_mode = check_mode
        self.hostvars: dict[str, dict[str, Any]] = {}
        for host in self.exporters:
            self.hostvars[host] = {
                "exporter_host_timesten_home": "/opt/timesten",
                "exporter_host_owner": "timesten",
                **variables,
            }
        for host in self.servers:
            self.hostvars[host] = {**variables}
        self.groups = {"timesten_exporters": self.exporters, "prometheus_servers": self.servers}
        self.hosts = [*self.exporters, *self.servers]
        self.extra: dict[str, Any] = {}

    def set(self, host: str, **variables: Any) -> None:
        self.hostvars[host].update(variables)

    def converged(self, host: str, answer: Raw | None = None, **changes: Any) -> None:
        asked = {"phase": "converge", "exporters": [host], "clients": self.servers, "check_mode": self.check_mode}
        raw = answer or {"changed": False, "exporters": [self.made(host, **changes)]}
        raw = {"changed": any(item.get("changed") for item in raw.get("exporters", [])), **raw}
        self.hostvars[host][steps.CONVERGED] = {"calls": [{"asked": asked, "answer": raw}]}

    def made(self, name: str, **changes: Any) -> Raw:
        pairs = [
            {"client": c, "delivery": f"{GENERATION}-1", "sha256": sha(name + c), "not_after": ENDS}
            for c in self.servers
        ]
        return {
            "name": name,
            "changed": False,
            "why": [],
            "insecure": False,
            "port": 8888,
            "spare": False,
            "generation": GENERATION,
            "pairs": pairs,
            "ca_sha256": sha(f"ca {name}"),
            **changes,
        }

    def row(self, name: str, **changes: Any) -> Raw:
        tried = ("up", "accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")
        return {"name": name, **dict.fromkeys(tried, True), "served_sha256": sha(name), "not_after": ENDS, **changes}

    def inspected(self, host: str, **changes: Any) -> None:
        raw = {
            "changed": False,
            "name": host,
            "transport_key": answers.seal.new_transport_key()[1],
            "stored": {},
            "scrape_interval": 15.0,
            "scrape_intervals": {},
            "definitions": {},
            "revision": "empty",
            **changes,
        }
        self._client(host, steps.INSPECTED, "inspected", None, raw)

    def answered(self, host: str, answer: Raw | None = None, state: str = "present", **rows: Raw) -> None:
        asked = None if state == "verified" else self.asked(host)
        named = asked if asked is not None else self.exporters
        raw = {
            "changed": False,
            "name": host,
            "exporters": [self.row(name, **rows.get(name, {})) for name in named],
            "reloaded": False,
            "removed": [],
            "unmentioned": [],
            "revision": "empty",
            **(answer or {}),
        }
        if raw.get("exporters") is None:
            del raw["exporters"]
        self._client(host, steps.ANSWERED, state, asked, raw)

    def asked(self, _host: str) -> list[str]:
        by_host = steps.exporters(self.hostvars, self.exporters, steps.CONVERGED)
        return [name for a in by_host.values() for name, item in a.exporters.items() if not item.failed]

    def _client(self, host: str, step: str, state: str, exporters: list[str] | None, raw: Raw) -> None:
        asked = {"state": state, "client": host, "exporters": exporters, "check_mode": self.check_mode}
        self.hostvars[host][step] = {"clients": [{"asked": asked, "answer": raw}]}

    def clean(self) -> Site:
        for host in self.exporters:
            self.converged(host)
        for host in self.servers:
            self.inspected(host)
            self.answered(host)
        return self

    def inventory(self) -> Inventory:
        variables = {
            **self.extra,
            "hostvars": self.hostvars,
            "groups": self.groups,
            "inventory_hostname": "localhost",
            "ansible_play_hosts_all": self.hosts,
            "ansible_check_mode": self.check_mode,
        }
        fleet._remembered.clear()
        return Inventory(Templar(), variables)

    def ledger(self, operation: str = "site") -> Ledger:
        return ledger.of_run(operation, self.inventory(), self.check_mode)

    def states(self, operation: str = "site") -> dict[tuple[str, str], str]:
        return {(pair.exporter, pair.client): pair.state for pair in self.ledger(operation).pairs}


def screen(made: Ledger) -> str:
    return "\n".join(made.lines())


def entry(name: str, **changes: Any) -> Raw:
    """An exporter's part of the record of a rotation."""
    rotated = ledger.Rotated(name, name, "switched", "switched, 0a1b -> 1a2b, servers prom1", True, True)
    return dataclasses.asdict(dataclasses.replace(rotated, **changes))


# --- batches


@pytest.mark.parametrize(
    ("most", "failed", "batch", "ends"),
    [
        (100, ["exp1", "exp2", "exp3"], ["exp4"], False),
        (0, [], ["exp4"], False),
        (0, ["exp1"], ["exp4"], True),
        (25, ["exp1"], ["exp4"], False),
        (25, ["exp1", "exp2"], ["exp4"], True),
        # What fails in the batch itself ends the next one.
        (0, ["exp3"], ["exp3", "exp4"], False),
        (0, ["exp1", "exp3"], ["exp3", "exp4"], True),
    ],
)
def test_no_further_batch_is_begun_once_too_many_failed(
    most: int, failed: list[str], batch: list[str], ends: bool
) -> None:
    site = Site(4, 1, timesten_max_fail_percentage=most)
    for host in ("exp1", "exp2", "exp3"):
        site.converged(host, {"unreachable": True, "msg": DEAD} if host in failed else None)
    site.hosts = site.exporters
    site.extra = {"ansible_play_batch": batch, "timesten_max_fail_percentage": most}
    assert site.inventory().too_many_failed() is ends


# --- a pair


def test_a_clean_site_is_proven() -> None:
    made = Site().clean().ledger()
    assert made.good and {pair.state for pair in made.pairs} == {"proven"} and len(made.pairs) == 4
    pair = made.pairs[0]
    assert (pair.up, pair.accepted, pair.refused, pair.served, pair.expires) == (True, True, True, sha("exp1"), ENDS)
    assert made.verdict() == "4 of 4 pairs proven."


@pytest.mark.parametrize("end", ["2027-01-01T00:00:00Z", "2036-01-01T00:00:00Z"])
def test_a_pair_ends_with_the_first_of_its_certificates(end: str) -> None:
    """Prometheus accepts no certificate whose CA has ended."""
    site = Site().clean()
    site.converged("exp1", ca_not_after=end)
    assert {pair.expires for pair in site.ledger().pairs if pair.exporter == "exp1"} == {min(end, ENDS)}


UP_ONLY = {"up": True, "accepted": None, "refused_without_certificate": None}
PAIR_FAULTS = [
    (
        {"up": False, "last_error": "connection refused", "advice": "look at its log"},
        "connection refused -> look at its log",
    ),
    ({"up": None}, "its target is not up"),
    ({"accepted": False}, "the handshake with the delivered pair was not accepted"),
    ({"refused_without_certificate": False}, "a connection without a certificate was not refused"),
    ({"refused_foreign_pair": False}, "a connection with a foreign pair was not refused"),
    ({"refused_plain_http": False}, "a connection over plain http was not refused"),
    (UP_ONLY, "the handshakes that prove it were not made"),
    ({"refused_foreign_pair": None}, "the handshakes that prove it were not made"),
    ({"failed": "its job was wiped"}, "its job was wiped"),
    ({"up": False, "last_error": "x", "advice": "set reload_unit"}, "x -> set prometheus_host_reload_unit"),
]


@pytest.mark.parametrize(("changes", "reason"), PAIR_FAULTS, ids=[reason for _changes, reason in PAIR_FAULTS])
@pytest.mark.parametrize("operation", ["site", "verify"])
def test_a_fault_costs_its_pair_alone(operation: str, changes: Raw, reason: str) -> None:
    site = Site().clean()
    state = "present" if operation == "site" else "verified"
    for host in site.servers:
        site.answered(host, state=state, **({"exp2": changes} if host == "prom2" else {}))
    made = site.ledger(operation)
    failed = [pair for pair in made.pairs if pair.state != "proven"]
    assert [(pair.exporter, pair.client, pair.state, pair.reason) for pair in failed] == [
        ("exp2", "prom2", "failed", reason)
    ]
    assert not made.good and made.verdict().startswith("3 of 4 pairs proven, 1 not proven. ")


def test_an_insecure_exporter_is_proven_by_its_target_alone() -> None:
    site = Site(1, 1)
    site.set("exp1", exporter_host_insecure=True)
    site.converged("exp1", insecure=True, generation=None, pairs=[], ca_sha256=None)
    tried = dict.fromkeys(("accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http"))
    site.inspected("prom1")
    site.answered("prom1", exp1=tried)
    assert site.ledger().good


def test_not_asked_and_kept_satisfy() -> None:
    site = Site(1, 2).clean()
    site.set("prom1", prometheus_host_running=False)
    site.set("prom2", prometheus_host_on_existing="keep")
    site.answered("prom1", exp1={"up": None})
    site.answered("prom2", exp1=dict.fromkeys(list(site.row("x"))[1:6]))
    made = site.ledger()
    assert [pair.state for pair in made.pairs] == ["not asked", "kept"]
    assert made.good


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize(
    ("says", "lost"),
    [
        # Whether it was so decided or its host lies: the inventory asks for a pair that does not work.
        (["prom2"], ["prom2"]),
        (["prom1", "prom2"], ["prom1", "prom2"]),
        # One that left the inventory, and one that was never there: nobody asks for them.
        (["prom9"], []),
        (["prom9", "prom1", "exp1"], ["prom1"]),
        ([], []),
    ],
)
def test_who_is_evicted_and_still_asked_for_is_not_forgotten(
    says: list[str], lost: list[str], check_mode: bool
) -> None:
    site = Site(check_mode=check_mode).clean()
    kept = [pair for pair in site.made("exp1")["pairs"] if pair["client"] not in says]
    site.converged("exp1", evicted=says, pairs=kept)
    for host in site.servers:
        site.answered(host)
    made = site.ledger()
    assert len(made.pairs) == 4
    assert [pair.client for pair in made.pairs if pair.state == "evicted"] == lost
    assert all(pair.exporter == "exp1" for pair in made.pairs if pair.state == "evicted")
    assert made.good == (not lost)
    for client in lost:
        (reason,) = [text for text in made.reasons() if text.startswith(f"{client} was evicted from it")]
        assert f"take {client} out of the inventory, or readmit it: name it in exporter_host_readmit" in reason
    assert (f"{len(lost)} evicted" in made.verdict()) == bool(lost)


def test_verify_says_what_to_do_about_one_that_may_be_evicted() -> None:
    """No exporter host is asked: the client's own pair is refused as everybody else's, which an eviction does, too."""
    site = Site(1, 2).clean()
    refused = {"up": False, "accepted": False, "last_error": "remote error: tls: bad certificate"}
    site.answered("prom1", state="verified")
    site.answered("prom2", state="verified", exp1=refused)
    made = site.ledger("verify")
    assert not made.good and [pair.state for pair in made.pairs] == ["proven", "failed"]
    assert "If it was evicted: take prom2 out of the inventory, or readmit it" in str(made.pairs[1].reason)
    site.answered("prom2", state="verified", exp1={**refused, "failed": "exporter exp1: tls: failed to verify"})
    [reason] = list(site.ledger("verify").reasons())
    assert reason.startswith("exporter exp1: tls: failed to verify. If it was evicted: take prom2 out of")
    # Nothing answers there at all: no eviction does that.
    site.answered("prom2", state="verified", exp1={**refused, "refused_foreign_pair": None})
    assert "evicted" not in str(site.ledger("verify").pairs[1].reason)
    # Out of the inventory, as the reason says.
    site.servers.remove("prom2")
    del site.hostvars["prom2"]
    site.hosts.remove("prom2")
    assert site.ledger("verify").good


@pytest.mark.parametrize("own", [{"prometheus_host_running": False}, {"prometheus_host_kind": "scrape_file"}])
@pytest.mark.parametrize(
    ("row", "state", "reason"),
    [
        ({"up": None}, "not asked", None),
        ({"up": None, "accepted": False}, "failed", "the handshake with the delivered pair was not accepted"),
        ({"up": None, "accepted": None}, "failed", "no handshake with the delivered pair was made"),
        ({"up": None, "refused_plain_http": False}, "failed", "a connection over plain http was not refused"),
    ],
)
def test_who_is_not_asked_is_proven_by_handshakes(own, row, state, reason) -> None:
    site = Site(1, 1).clean()
    site.set("prom1", prometheus_host_scrape_file="/etc/vmagent/scrape.yml", **own)
    site.answered("prom1", exp1=row)
    made = site.ledger()
    assert [(pair.state, pair.reason) for pair in made.pairs] == [(state, reason)]
    assert made.good == (reason is None)


def test_check_mode_predicts_and_refuses() -> None:
    site = Site(check_mode=True).clean()
    made = site.ledger()
    assert made.good and {pair.state for pair in made.pairs} == {"predicted"}
    assert made.verdict() == "4 of 4 pairs predicted."
    site.answered("prom2", {"failed": True, "msg": "store: /x is not ours", "exporters": None})
    made = site.ledger()
    assert not made.good and [pair.state for pair in made.pairs] == ["predicted", "failed"] * 2


def test_check_mode_tells_an_exporter_that_would_be_refused() -> None:
    site = Site(check_mode=True).clean()
    site.converged("exp2", failed=True, msg="port 8888 is taken by process 4711 (nginx)")
    for host in site.servers:
        site.answered(host)
    made = site.ledger()
    assert not made.good
    assert screen(made).count("port 8888 is taken") == 1


# --- nothing is proven by silence


def test_verify_of_a_virgin_fleet() -> None:
    site = Site()
    for host in site.servers:
        site.answered(host, {"exporters": []}, state="verified")
    made = site.ledger("verify")
    assert not made.good and len(made.pairs) == 4
    assert {pair.reason for pair in made.pairs if pair.client == "prom1"} == {
        "prom1 has nothing of it: run timesten.monitoring.site"
    }


def test_verify_of_exporters_that_were_never_rolled_out() -> None:
    site = Site()
    for host in site.servers:
        site.answered(host, {"exporters": [site.row("exp1")]}, state="verified")
    assert site.states("verify")["exp2", "prom1"] == "failed"
    assert site.states("verify")["exp1", "prom1"] == "proven"
    assert not site.ledger("verify").good


def test_verify_after_a_first_run_that_failed() -> None:
    site = Site()
    site.answered("prom1", state="verified")
    site.answered("prom2", {"failed": True, "msg": "there is no store", "exporters": None}, state="verified")
    made = site.ledger("verify")
    assert not made.good and [host.host for host in made.failed_hosts] == ["prom2"]
    assert screen(made).count("there is no store") == 1


def test_the_only_prometheus_is_dead() -> None:
    site = Site(2, 1)
    for host in site.exporters:
        site.converged(host)
    site._client("prom1", steps.INSPECTED, "inspected", None, {"unreachable": True, "msg": DEAD})
    made = site.ledger()
    assert not made.good and made.verdict().startswith("0 of 2 pairs proven, 2 not proven, 2 of 3 hosts finished.")
    assert screen(made).count(DEAD) == 1


@pytest.mark.parametrize("operation", ["site", "verify", "rotate", "rollback", "evict", "remove"])
def test_a_run_whose_steps_were_left_out_is_not_good(operation: str) -> None:
    site = Site()
    site.extra = {"evict": "prom2"} if operation == "evict" else {}
    for host in site.hosts:
        site.set(host, remove_exporter="exp1")
    made = site.ledger(operation)
    assert not made.good
    assert "Mend what is named above" in made.verdict()


def test_a_run_without_hosts_is_not_good() -> None:
    site = Site()
    site.hosts = []
    for operation in ledger.OPERATIONS:
        assert not dataclasses.replace(site.ledger("site"), operation=operation).good
    assert "no host took part" in site.ledger().verdict()


def test_a_host_that_left_the_play_has_not_begun() -> None:
    site = Site().clean()
    del site.hostvars["exp2"][steps.CONVERGED]
    made = site.ledger()
    assert [(host.host, host.reason) for host in made.failed_hosts] == [("exp2", ledger.NOT_BEGUN)]
    assert site.states()["exp2", "prom1"] == "failed"


@pytest.mark.parametrize("operation", ["site", "verify"])
def test_an_exporter_without_any_client_is_not_proven(operation: str) -> None:
    site = Site().clean()
    site.set("exp2", exporter_host_prometheus_hosts=[])
    for host in site.servers:
        site.answered(host, state="present" if operation == "site" else "verified")
    made = site.ledger(operation)
    assert not made.good and len(made.pairs) == 2
    assert made.problems[0].startswith(
        "No Prometheus scrapes exp2, so nothing proves it: exporter_host_prometheus_hosts"
    )
    site.set("exp2", exporter_host_exporters=[{"state": "stopped"}])
    assert site.ledger(operation).good


def test_what_an_exporter_host_says_proves_nothing() -> None:
    site = Site(1, 1)
    site.converged("exp1")
    site.inspected("prom1")
    site.answered("prom1", {"failed": True, "msg": "promtool refused it", "exporters": None})
    made = site.ledger()
    assert [pair.state for pair in made.pairs] == ["failed"] and not made.good


# --- certificates, targets, exporters of others


def test_copied_wallets_are_a_problem() -> None:
    site = Site(3).clean()
    site.converged("exp3", ca_sha256=sha("ca exp1"))
    made = site.ledger()
    assert not made.good and made.problems[0].startswith("exp1, exp3 have the same certificate")
    assert made.problems[0].endswith("-e rotate_exporters=exp3")
    verify = Site(2).clean()
    for host in verify.servers:
        verify.answered(host, state="verified", exp2={"served_sha256": sha("exp1")})
    assert not verify.ledger("verify").good


def test_targets_that_another_inventory_may_want_are_noted() -> None:
    site = Site().clean()
    definition = {"name": "exp1", "address": "other.example.com", "port": 8888, "insecure": False, "alt_names": []}
    site.inspected("prom1", definitions={"exp1": definition})
    made = site.ledger()
    assert made.good and made.notes[0].startswith("exp1 was scraped at other.example.com:8888 (prom1), this inventory")
    site.inspected("prom1", definitions={"exp1": {**definition, "address": "exp1"}})
    assert site.ledger().notes == ()


def test_only_what_the_inventory_has_not_is_noted_as_another_one() -> None:
    site = Site(3).clean()
    site.answered("prom1", {"unmentioned": ["other7", "other7.spare"]})
    (note,) = site.ledger().notes
    assert note.startswith("Prometheus also scrapes exporters that are not in this inventory: other7 (prom1). Another")
    # A limit, or a failure.
    site.answered("prom1", {"unmentioned": ["exp3"]})
    site.hosts = ["exp1", "exp2", *site.servers]
    assert site.ledger().notes == ()
    # A host outside of the limit whose variables cannot be read.
    site.set("exp3", exporter_host_port="abc")
    limited = site.inventory()
    read, _messages = fleet.read(site.hostvars, site.groups)
    fleet.remember(read)
    assert ledger.departed(limited.fleet, limited.clients(site.servers, steps.ANSWERED)) == []


# --- rotations


@pytest.mark.parametrize("operation", ["rotate", "rollback"])
def test_a_rotation_is_good_only_if_each_exporter_is(operation: str) -> None:
    site = Site()
    site.extra = {"timesten_rotated": {"entries": [entry("exp1"), entry("exp2")]}}
    assert site.ledger(operation).good
    refused = entry("exp2", outcome="refused", text="not switched: prom2 could not be made ready (gone)", good=False)
    site.extra = {"timesten_rotated": {"entries": [entry("exp1"), refused]}}
    assert not site.ledger(operation).good
    site.extra = {"timesten_rotated": {"entries": [entry("exp1")]}}
    made = site.ledger(operation)
    assert not made.good and made.problems == ("Not begun, because an earlier one failed: exp2.",)


def test_a_refused_rotation_of_site_is_told_once() -> None:
    site = Site().clean()
    text = "not switched, and nothing live was changed: the largest gap between the scrapes is 0.10 s"
    refused = entry("exp2", outcome="refused", text=text, good=False, changed=False)
    site.extra = {"timesten_rotated": {"entries": [refused]}}
    made = site.ledger()
    assert not made.good and screen(made).count(text) == 1
    assert [pair.state for pair in made.pairs] == ["proven"] * 2 + ["failed"] * 2


# --- the screen


def many(servers: int = 3) -> Site:
    return Site([f"exp{n:02}" for n in range(1, 61)], servers)


def test_screen_of_a_clean_site_of_60x3() -> None:
    made = many().clean().ledger()
    assert (
        screen(made)
        == """\
exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2027-11-24  proven

Nothing was changed.

180 of 180 pairs proven."""
    )


def test_screen_of_a_first_run() -> None:
    site = many().clean()
    for number, host in enumerate(site.exporters):
        reasons = [
            "there is no wallet",
            f"it is not running: there is no pid file /opt/timesten/monitoring/{host}/exporter.pid",
        ]
        site.converged(host, changed=True, why=[*reasons, f"process {number} has to stop"])
    for host in site.servers:
        added = {name: {"why": ["no pair is stored", "it has no job yet"]} for name in site.exporters}
        site.answered(host, {"changed": True}, **added)
    assert screen(site.ledger()).split("\n")[3:6] == [
        "Changed on 63 of 63 hosts:",
        "  exp01, exp02, exp03, exp04, exp05, exp06 and 54 more: there is no wallet; it is not running: there is no pid file "
        ".../exporter.pid; the process has to stop",
        "  prom1, prom2, prom3: no pair is stored; it has no job yet (60 exporters)",
    ]


def test_screen_with_one_dead_host() -> None:
    site = many().clean()
    site.converged("exp02", {"unreachable": True, "msg": DEAD})
    for host in site.servers:
        site.answered(host)
    assert (
        screen(site.ledger())
        == f"""\
exporter               Prometheus           target  own pair  others   serves           first end   result
exp01, exp03, exp04 and 56 more  prom1, prom2, prom3  up      accepted  refused  59 certificates  2027-11-24  proven
exp02                  prom1, prom2, prom3  -       -         -        -                -           NOT PROVEN

Nothing was changed.

Not finished, and why:
  exp02: {DEAD}

177 of 180 pairs proven, 3 not proven, 62 of 63 hosts finished. Mend what is named above and run it again.""".replace(
            "exporter               Prom", "exporter                         Prom"
        ).replace("exp02                  prom", "exp02                            prom")
    )


def test_screen_with_one_exporter_down() -> None:
    site = Site(2, 2).clean()
    down = {"up": False, "last_error": "dial tcp: connection refused", "advice": "start it", "accepted": None}
    for host in site.servers:
        msg = "exporter exp2: dial tcp: connection refused -> start it. Nothing of these was changed by this run"
        site.answered(host, {"failed": True, "msg": msg}, exp2={**down, "refused_plain_http": None})
    assert (
        screen(site.ledger())
        == f"""\
exporter  Prometheus  target  own pair  others   serves            first end   result
exp1      prom1       up      accepted  refused  {sha("exp1")[:16]}  2027-11-24  proven
exp1      prom2       up      accepted  refused  {sha("exp1")[:16]}  2027-11-24  proven
exp2      prom1       DOWN    -         -        {sha("exp2")[:16]}  2027-11-24  NOT PROVEN
exp2      prom2       DOWN    -         -        {sha("exp2")[:16]}  2027-11-24  NOT PROVEN

Nothing was changed.

Not finished, and why:
  exp2 on prom1, prom2: dial tcp: connection refused -> start it

2 of 4 pairs proven, 2 not proven. Mend what is named above and run it again."""
    )


def test_screen_of_a_refused_takeover() -> None:
    site = many(1).clean()
    msg = (
        "/etc/prometheus/prometheus.yml: line 7: the hand-written job 'db' has the target of exporter exp01: remove it, "
        "or set on_existing to adopt (it becomes ours) or keep (it stays, without our TLS settings)"
    )
    site.answered("prom1", {"failed": True, "msg": msg, "exporters": None})
    text = screen(site.ledger())
    assert text.count("hand-written") == 1
    assert "or set prometheus_host_on_existing to adopt" in text and " on_existing" not in text
    assert len(text.splitlines()) == 9


def test_screen_of_a_rotation_with_one_refusal() -> None:
    site = Site(2, 1)
    pairs = [Pair("exp1", "prom1", "proven", None, None, True, True, True, sha("exp1"), ENDS)]
    refused = entry(
        "exp2", outcome="refused", text="not switched, and nothing live was changed: no gap", good=False, changed=False
    )
    site.extra = {"timesten_rotated": {"entries": [entry("exp1", pairs=pairs), refused]}}
    assert (
        screen(site.ledger("rotate"))
        == f"""\
Rotation:
  exp1: switched, 0a1b -> 1a2b, servers prom1
  exp2: not switched, and nothing live was changed: no gap

exporter  Prometheus  target  own pair  others   serves            first end   result
exp1      prom1       up      accepted  refused  {sha("exp1")[:16]}  2027-11-24  proven

Changed on 1 of 2 hosts:
  exp1: switched

Not finished, and why:
  exp2: exp2 was not rotated

1 of 1 pairs proven, 1 of 2 hosts finished. Mend what is named above and run it again."""
    )


def test_screen_of_check_mode() -> None:
    site = Site(1, 1, check_mode=True)
    site.converged(
        "exp1",
        changed=True,
        why=["there is no wallet"],
        generation=answers.LATER,
        ca_sha256=answers.LATER,
        pairs=[{"client": "prom1"}],
    )
    untried = dict.fromkeys(list(site.row("x"))[1:])
    site.inspected("prom1")
    site.answered("prom1", {"changed": True}, exp1={**untried, "why": ["it has no job yet"]})
    assert (
        screen(site.ledger())
        == """\
exporter  Prometheus  target  own pair  others  serves  first end  result
exp1      prom1       -       -         -       -       -          predicted

Would change on 2 of 2 hosts:
  exp1: there is no wallet
  prom1: it has no job yet

1 of 1 pairs predicted."""
    )


def test_long_names_keep_the_columns() -> None:
    long = ["db" + "x" * 90 + f"-{number}" for number in range(30)]
    rows = [Pair(name, "prom1", "proven", up=True) for name in long[:3]]
    for asked_pairs in (rows, rows * 10, [Pair(name, "prom1", "proven", up=n % 2 == 0) for n, name in enumerate(long)]):
        lines = ledger._table(asked_pairs)
        assert max(map(len, lines)) <= 140
        assert len({line.rindex("  ") for line in lines}) <= 2
    assert len({line.split()[0] for line in ledger._table(rows)}) == 4


def test_the_table_of_500x4_takes_less_than_a_second() -> None:
    site = Site(500, 4)
    read = site.inventory().fleet
    names = [f"exp{n}" for n in range(1, 501)]
    exporters = {
        name: ExporterHostAnswer(
            name, "converge", False, None, (), {name: ExporterAnswer(name, "converge", False, ca_sha256=sha(name))}, {}
        )
        for name in names
    }
    proof = Proof("x", (), True, "", "", True, True, True, True, sha("x"), ENDS)
    clients = {
        client: PrometheusAnswer(
            client,
            "present",
            client,
            False,
            exporters={name: dataclasses.replace(proof, name=name, served_sha256=sha(name)) for name in names},
        )
        for client in site.servers
    }
    began = time.process_time()
    asked_pairs = ledger.pairs(read, site.hosts, ledger.Seen(exporters, clients), check_mode=False)
    hosts = [*ledger.exporter_hosts(read, names, exporters), *ledger.prometheus_hosts(read, site.servers, clients)]
    problems = ledger.same_certificates(exporters, asked_pairs)
    notes = [*ledger.departed(read, clients), *ledger.repointed(read, clients)]
    made = Ledger("site", False, asked_pairs, tuple(hosts), (), tuple(problems), tuple(notes))
    lines = made.lines()
    assert time.process_time() - began < 1
    assert made.good and len(made.pairs) == 2000 and len(lines) < 10


# --- the JSON form

TEXT, NULL, TRUTH = {"type": "string"}, {"type": ["string", "null"]}, {"type": ["boolean", "null"]}


def schema_of(properties: Raw) -> Raw:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def listed(items: Raw) -> Raw:
    return {"type": "array", "items": items}


PAIR = {
    "exporter": TEXT,
    "client": TEXT,
    "state": {"enum": ["proven", "predicted", "not asked", "kept", "evicted", "failed"]},
    **dict.fromkeys(("reason", "because_of", "served", "expires"), NULL),
    **dict.fromkeys(("up", "accepted", "refused"), TRUTH),
    "outsider": {"type": "boolean"},
}
KNOWN = {
    **dict.fromkeys(("exporter", "host", "target"), TEXT),
    "due": NULL,
    "asked": {"type": ["number", "null"]},
    "limit": {"type": ["integer", "null"]},
}
HOST = {"host": TEXT, "kind": {"enum": ["exporter", "prometheus"]}, "changed": listed(TEXT), "reason": NULL}
SCHEMA = schema_of(
    {
        "version": {"const": 1},
        "time": NULL,
        "operation": {"enum": list(ledger.OPERATIONS)},
        "check_mode": {"type": "boolean"},
        "good": {"type": "boolean"},
        "verdict": TEXT,
        "pairs": listed(schema_of(PAIR)),
        "hosts": listed(schema_of(HOST)),
        "exporters": listed(schema_of(KNOWN)),
        **{key: listed(TEXT) for key in ("rotations", "problems", "notes")},
    }
)


def example() -> Raw:
    site = Site(2, 1).clean()
    site.converged(
        "exp1", changed=True, why=["there is no wallet"], due_at="2027-10-25T10:49:00Z", rate_limit=15, unfit=[]
    )
    site.converged("exp2", {"unreachable": True, "msg": DEAD})
    site.answered("prom1")
    return dataclasses.replace(site.ledger(), time="2026-11-24T10:52:00Z").as_dict()


def test_the_json_form_has_its_schema(tmp_path: Path) -> None:
    for made in (
        example(),
        Site().clean().ledger().as_dict(),
        Site().ledger("verify").as_dict(),
        Site().ledger("rotate").as_dict(),
    ):
        reports.write(str(tmp_path / "ledger.json"), made)
        jsonschema.validate(json.loads((tmp_path / "ledger.json").read_text(encoding="utf-8")), SCHEMA)
    wrong = copy.deepcopy(example())
    wrong["pairs"][0]["state"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_the_page_documents_every_key_and_its_example_is_true() -> None:
    page = (PROJECT / "docs" / "ledger.md").read_text(encoding="utf-8")
    for key in (*SCHEMA["properties"], *PAIR, *HOST, *KNOWN):
        assert f"| `{key}` |" in page
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert json.loads(shown) == json.loads(json.dumps(example()))
    assert len(page.splitlines()) < 120


def test_a_report_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    reports.write(str(path), {"a": 1})
    with pytest.raises(TypeError):
        reports.write(str(path), {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["ledger.json"]


def test_what_is_written_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert reports.write_text(str(path), "a", check_mode=True) and not path.exists()
    assert reports.write_text(str(path), "a") and path.read_text(encoding="utf-8") == "a"
    inode = path.stat().st_ino
    assert not reports.write_text(str(path), "a") and path.stat().st_ino == inode
    assert reports.write_text(str(path), "b") and path.read_text(encoding="utf-8") == "b"


@pytest.mark.parametrize("variable", ["timesten_report", "timesten_report_html"])
def test_a_path_that_cannot_be_written_is_refused_beforehand(tmp_path: Path, variable: str) -> None:
    assert reports.fault(str(tmp_path / "ledger.json")) is None
    site = Site()
    link, pipe, theirs = tmp_path / "link", tmp_path / "pipe", tmp_path / "theirs"
    theirs.write_text("theirs")
    link.symlink_to(theirs)
    os.mkfifo(pipe)
    for wrong, reason in (
        (tmp_path / "none" / "ledger.json", "there is no directory"),
        (tmp_path, "is a directory"),
        (link, f"is a link to {theirs}; name the file itself"),
        (pipe, "is there and no file"),
        (Path(os.devnull), "is there and no file"),
    ):
        for host in site.hosts:
            site.set(host, **{variable: str(wrong)})
        texts = fleet.problems(site.hostvars, site.groups, site.hosts)
        assert len(texts) == 1 and texts[0].startswith(f"{variable}: ") and reason in texts[0]


def test_nobody_waits_for_what_a_pipe_may_say(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (reports.read, pages.read):
        with pytest.raises(TimesTenError, match="is not a regular file"):
            read(str(pipe))
    assert reports.write_text(str(pipe), "a", check_mode=True)


@pytest.mark.parametrize("page", ["report", "./report", "x/../report", "/report"])
def test_two_reports_in_one_file_are_refused_beforehand(page: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    site = Site()
    for host in site.hosts:
        site.set(host, timesten_report=f"{tmp_path}/report", timesten_report_html=f"{tmp_path}/{page}")
    (text,) = fleet.problems(site.hostvars, site.groups, site.hosts)
    assert text.startswith("timesten_report and timesten_report_html both name ")


def test_what_is_known_of_exporters() -> None:
    site = Site(3, 2, exporter_host_rate_budget="warn").clean()
    site.converged("exp1", due_at="2027-10-25T10:49:00Z", rate_limit=15, unfit=[])
    site.inspected("prom1", scrape_intervals={"exp1": 30.0, "exp2.spare": 60.0})
    site.set("exp2", exporter_host_port=9999)
    assert site.ledger().exporters == (
        ledger.Known("exp1", "exp1", "exp1:8888", "2027-10-25T10:49:00Z", 6.0, 15),
        ledger.Known("exp2", "exp2", "exp2:9999", None, 5.0, None),
        ledger.Known("exp3", "exp3", "exp3:8888", None, 8.0, None),
    )
    # Who is missing may ask too: a sum without it would be too small.
    site.hostvars["prom2"].pop(steps.INSPECTED)
    assert {item.asked for item in site.ledger().exporters} == {None}
    site.hosts = ["exp1", *site.servers]
    assert [item.exporter for item in site.ledger("verify").exporters] == ["exp1"]
    assert site.ledger("remove").exporters == ()


def test_a_host_alone_has_its_reason() -> None:
    made = Ledger("remove", False, (), (Host("exp1", "exporter", (), "it is busy"), Host("prom1", "prometheus")))
    assert made.verdict() == "1 of 2 hosts finished. Mend what is named above and run it again."


# --- an address that is everybody's own


@pytest.mark.parametrize("operation", ["site", "verify"])
@pytest.mark.parametrize(
    ("address", "up", "told"),
    [
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("localhost", False, True),
        # Both may be one machine of two names.
        ("localhost", True, False),
        ("10.0.0.1", False, False),
    ],
)
def test_a_loopback_address_that_is_not_proven(operation: str, address: str, up: bool, told: bool) -> None:
    site = Site(1, 1)
    site.set("exp1", exporter_host_address=address)
    site.clean()
    state = "verified" if operation == "verify" else "present"
    site.answered("prom1", state=state, exp1={"up": up, "last_error": "" if up else "connection refused"})
    made = site.ledger(operation)
    assert made.good is up
    said = f"exp1: {address} is for each Prometheus host that host itself. Set exporter_host_address"
    assert any(note.startswith(said) for note in made.notes) is told, made.notes


# --- a task that Ansible could not begin


def test_why_ansible_could_not_begin_is_the_reason() -> None:
    """A variable that says how to connect is wrong: the task failed before anything of ours ran."""
    site = Site(2, 2).clean()
    failed = {"failed": True, "msg": "Task failed: the connection plugin 'nosuch' was not found\x1b[2J"}
    site.hostvars["exp2"][steps.CONVERGED] = failed
    site.hostvars["prom2"][steps.INSPECTED] = site.hostvars["prom2"][steps.ANSWERED] = failed
    for server in site.servers[:1]:
        site.answered(server)
    made = site.ledger()
    reason = "Task failed: the connection plugin 'nosuch' was not found"
    assert {host.host: host.reason for host in made.hosts} == {
        "exp1": None,
        "exp2": reason,
        "prom1": None,
        "prom2": reason,
    }
    assert site.states() == {
        ("exp1", "prom1"): "proven",
        ("exp1", "prom2"): "failed",
        ("exp2", "prom1"): "failed",
        ("exp2", "prom2"): "failed",
    }
    assert screen(made).count(reason) == 1


def test_a_host_that_ansible_did_not_come_to_was_not_begun() -> None:
    site = Site(2, 1).clean()
    del site.hostvars["exp2"][steps.CONVERGED]
    assert {host.host: host.reason for host in site.ledger().hosts}["exp2"] == ledger.NOT_BEGUN
