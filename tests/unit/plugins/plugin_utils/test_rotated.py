# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table says of an exporter that was to be rotated: no more than what was seen. And whom a run rotates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("ansible", reason="the ledger is kept on the controller")

from unit.plugins.plugin_utils import forge

from ansible_collections.timesten.monitoring.plugins.filter.rotation_waves import rotation_waves
from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, fleet, ledger, rotation, rules, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory

Raw = Any
pytestmark = pytest.mark.controller
PROOF = ("up", "accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")


class Templar:
    """Of variables that hold no template."""

    def template(self, value: Any) -> Any:
        return value


class Wave:
    """A rotation of exp1, in one wave with two clients, as its tasks register it: one that went well, until a test changes it."""

    def __init__(self, spare: bool = False, check_mode: bool = False, **run: Any) -> None:
        self.check_mode = check_mode
        own = {"exporter_host_timesten_home": "/opt/tt", **({"exporter_host_spare_port": 8889} if spare else {})}
        self.hostvars: dict[str, dict[str, Any]] = {"exp1": own, "prom1": {}, "prom2": {}}
        for variables in self.hostvars.values():
            variables.update(run)
        self.groups = {"timesten_exporters": ["exp1"], "prometheus_servers": ["prom1", "prom2"]}
        self.controller: dict[str, Any] = {"rotate_wave_hosts": ["exp1"], **run}
        self.job = "exp1.spare" if spare else "exp1"
        self.staged()
        self.row = rotation.Row(
            "exp1", "exp1", forge.NEW, forge.SHA, forge.SHA, forge.CLIENTS, "spare_port" if spare else "gap", self.job,
            0.8, 7.2, forge.CLIENTS, confirm=165.0,
        )  # fmt: skip
        self.status: str | None = "switched"
        self.host(steps.SWITCHED, "status", "switched")
        self.proven()
        self.host(steps.ENDED, "confirm", "confirmed")
        if spare:
            self.host(steps.RETIRED, "retire", "confirmed")

    def staged(self, **changes: Any) -> None:
        element = forge.staged("exp1", self.check_mode)
        element.update(spare=self.job != "exp1", evicted=[], **changes)
        raw = {"changed": True, "exporters": [element]}
        self.hostvars["exp1"][steps.STAGED] = {"calls": [{"asked": self.asked("stage"), "answer": raw}]}

    def asked(self, phase: str) -> Raw:
        return {"phase": phase, "exporters": ["exp1"], "clients": list(forge.CLIENTS), "check_mode": self.check_mode}

    def host(self, step: str, phase: answers.Phase, status: str | None, **more: Any) -> None:
        """Have the exporter's host answer with a status in a step; None is a host that could not be reached."""
        raw: Raw = {"changed": True, "exporters": [forge.switched("exp1", str(status), **more)]}
        if status is None:
            raw = {"unreachable": True, "msg": "no route to host"}
        self.hostvars["exp1"][step] = {"calls": [{"asked": self.asked(phase), "answer": raw}]}

    def proven(self, **rows: Raw | None) -> None:
        """Have the clients prove the exporter; None is one that has nothing of it."""
        for name in forge.CLIENTS:
            row = rows.get(name, {})
            found = [] if row is None else [{"name": self.job, **dict.fromkeys(PROOF, True), **row}]
            asked = {"state": "present", "client": name, "exporters": None, "check_mode": False}
            raw = {"changed": False, "name": name, "exporters": found, "reloaded": False, "revision": "empty"}
            raw.update(removed=[], unmentioned=[], version="2.42.0")
            self.hostvars[name][steps.PROVEN] = {"clients": [{"asked": asked, "answer": raw}]}

    def inventory(self) -> Inventory:
        fleet._remembered.clear()
        return Inventory(
            Templar(),
            {
                **self.controller,
                "hostvars": self.hostvars,
                "groups": self.groups,
                "inventory_hostname": "exp1",
                "ansible_play_hosts_all": list(self.hostvars),
                "ansible_check_mode": self.check_mode,
            },
        )

    def entry(self) -> ledger.Rotated:
        """What the record says in the end, all decided as in a run."""
        rows = {"exp1": dataclasses.asdict(self.row)}
        self.controller.update(timesten_plan={"rows": rows}, timesten_go={"rows": rows})
        before = self.inventory()
        judged = rotation.verdicts(
            before.rows("timesten_go"),
            before.exporters(["exp1"], steps.SWITCHED),
            before.clients(forge.CLIENTS, steps.PROVEN),
            before.run.rotate_optional,
        )
        left = rotation.leaving(judged, before.exporters(["exp1"], steps.ENDED))
        self.controller["timesten_verdicts"] = {"verdicts": _taken_apart(judged)}
        self.controller["timesten_leaving"] = {"leaving": _taken_apart(left)}
        (entry,) = ledger.rotations(self.inventory(), self.check_mode)
        assert ledger.Rotated.from_dict(dataclasses.asdict(entry)) == entry
        return entry

    def told(self, operation: str = "rotate") -> ledger.Ledger:
        """What the run says in the end."""
        self.controller["timesten_rotated"] = {"entries": [dataclasses.asdict(self.entry())]}
        return ledger.of_run(operation, self.inventory(), self.check_mode)

    def good(self, operation: str = "rotate") -> bool:
        """Whether the run ends with status 0."""
        return self.told(operation).good


def _taken_apart(items: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dataclasses.asdict(item) for name, item in items.items()}


# --- what was seen


@pytest.mark.parametrize("spare", [False, True])
def test_switched(spare: bool) -> None:
    wave = Wave(spare)
    entry = wave.entry()
    assert (entry.outcome, entry.good) == ("switched", True)
    assert {(pair.client, pair.state) for pair in entry.pairs} == {("prom1", "proven"), ("prom2", "proven")}
    assert ("on its spare port" if spare else "took 0.39 s of 0.80 s expected") in entry.text
    assert wave.good()


@pytest.mark.parametrize(
    ("served", "known"),
    [
        ({}, True),
        ({"generation": forge.OLD}, False),
        ({"server_certificate": None}, False),
    ],
)
def test_the_end_of_the_server_s_certificate_is_known_once_it_is_served(served: Raw, known: bool) -> None:
    """Where the exported file is a CA alone: rules and report take what the host saw, of the very generation that was made ready."""
    wave = Wave()
    wave.staged(server_certificate=None, server_certificate_source="none", alt_names=None)
    assert wave.inventory().staged(["exp1"])["exp1"].exporters["exp1"].server_certificate is None
    wave.hostvars["exp1"][steps.SWITCHED] = {
        "calls": [
            {"asked": wave.asked("status"), "answer": {"changed": True, "exporters": [forge.served("exp1", **served)]}}
        ]
    }
    answer = wave.inventory().staged(["exp1"])["exp1"].exporters["exp1"]
    ends = rules.subject(wave.inventory().fleet.clients["prom1"], answer, 15.0)
    assert ("server" in ends.not_after) == known
    assert answer.due_at == ("2036-10-21T10:49:00Z" if known else "2036-10-22T10:49:00Z")
    assert set(answer.pairs) == set(forge.CLIENTS) and answer.phase == "stage"
    assert ({pair.expires for pair in wave.entry().pairs} == {"2036-11-20T10:49:00Z"}) == known
    assert wave.told().exporters[0].due == answer.due_at
    _unproven(wave)
    # It went back: when the wallet is due that it has now, nobody said.
    assert wave.told().exporters[0].due is None


@pytest.mark.parametrize("row", [{"up": False, "last_error": "refused"}, None])
def test_who_may_be_left_out_keeps_nobody_from_the_switch_and_the_run_from_its_end(row: Raw | None) -> None:
    """The inventory asks for the pair, and it was not seen working: the run says so, and its status is not 0."""
    wave = Wave(rotate_optional=["prom2"])
    wave.proven(prom2=row)
    entry = wave.entry()
    assert (entry.outcome, entry.good) == ("switched", True)
    assert {(pair.client, pair.state) for pair in entry.pairs} == {("prom1", "proven"), ("prom2", "failed")}
    assert not wave.good()
    strict = Wave()
    strict.proven(prom2=row)
    assert (strict.entry().outcome, strict.good()) != ("switched", True)


@pytest.mark.parametrize(
    ("run", "own", "good"),
    [
        ({}, {}, False),
        ({"rotate_force": True}, {}, False),
        ({"rotate_only_due": True}, {}, True),
        ({"rotate_since": "2026-11-24T10:49:00Z"}, {}, True),
        ({}, {"exporter_host_insecure": True}, True),
        ({}, {"exporter_host_exporters": [{"state": "stopped"}]}, True),
    ],
)
def test_who_is_left_alone_says_the_run_and_not_its_host(run: Raw, own: Raw, good: bool) -> None:
    wave = Wave(**run)
    wave.hostvars["exp1"].update(own)
    raw = {"changed": False, "exporters": [forge.skipped("exp1")]}
    wave.hostvars["exp1"][steps.STAGED] = {"calls": [{"asked": wave.asked("stage"), "answer": raw}]}
    entry = wave.entry()
    assert (entry.outcome, entry.good) == ("left alone" if good else "failed", good)
    assert "its wallet is neither due nor changed" in entry.text
    assert wave.good() is good


def _not_ready(wave: Wave) -> None:
    wave.row = dataclasses.replace(wave.row, refused="prom2 could not be made ready (gone)")


def _missed(wave: Wave) -> None:
    wave.host(steps.SWITCHED, "status", "missed", error="this host was too busy; nothing was changed")


def _broken(wave: Wave) -> None:
    wave.host(steps.SWITCHED, "status", "failed", error="it does not start")


def _reverted_before(wave: Wave) -> None:
    wave.host(steps.SWITCHED, "status", "reverted", error="it was called off before the switch")


def _unproven(wave: Wave) -> None:
    wave.proven(prom2={"up": False, "last_error": "connection refused"})
    wave.host(steps.ENDED, "revert", "reverted")


def _unproven_and_cut_off(wave: Wave) -> None:
    wave.proven(prom2={"up": False, "last_error": "connection refused"})
    wave.host(steps.ENDED, "revert", None)


def _cut_off(wave: Wave) -> None:
    wave.host(steps.SWITCHED, "status", None)
    del wave.hostvars["exp1"][steps.ENDED]


def _late(wave: Wave) -> None:
    wave.host(steps.ENDED, "confirm", "reverted", error="nobody confirmed the switch by 10:00:00Z")


def _unkept(wave: Wave) -> None:
    wave.host(steps.ENDED, "confirm", None)


WRONG = {
    "not ready": (_not_ready, "refused", "not switched, and nothing live was changed: prom2 could not be made ready"),
    "missed": (_missed, "refused", "not switched: this host was too busy; nothing was changed"),
    "broken": (_broken, "failed", "the switch failed: it does not start; what it serves now was not seen"),
    "called off": (_reverted_before, "went back", "went back to the generation before, as its host says: it was called"),
    "unproven": (_unproven, "went back", "went back to the generation before, as its host says: prom2: connection re"),
    "unproven, cut off": (_unproven_and_cut_off, "failed", "prom2: connection refused; what it serves now was not seen"),
    "cut off": (_cut_off, "failed", "no route to host; what it serves now was not seen"),
    "confirmed too late": (_late, "went back", "its host says: its host has not said that it keeps the switch (nobody confirmed"),
    "not kept": (_unkept, "failed", "its host has not said that it keeps the switch (no route to host); what it"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "outcome", "text"), WRONG.values(), ids=WRONG.keys())
def test_nothing_is_said_that_was_not_seen(change: Any, outcome: str, text: str) -> None:
    wave = Wave()
    change(wave)
    entry = wave.entry()
    assert text in entry.text
    assert (entry.outcome, entry.good) == (outcome, False)
    assert ("went back" in entry.text) == (outcome == "went back")
    assert not wave.good() and not wave.good("site")


@pytest.mark.parametrize(
    ("retired", "outcome", "text"),
    [
        ("reverted", "went back", "went back to the generation before, as its host says: prom2: connection refused"),
        (None, "failed", "prom2: connection refused; what it serves now was not seen"),
    ],
)
def test_the_second_process_is_what_goes(retired: str | None, outcome: str, text: str) -> None:
    """With the strategy spare_port it is stopped in the last step, after nobody scrapes it any more."""
    wave = Wave(spare=True)
    wave.proven(prom2={"up": False, "last_error": "connection refused"})
    del wave.hostvars["exp1"][steps.ENDED]
    wave.host(steps.RETIRED, "revert", retired)
    entry = wave.entry()
    assert (entry.outcome, entry.text[: len(text)]) == (outcome, text)


@pytest.mark.parametrize("retired", [None, "switched"])
def test_an_old_process_that_may_still_run_is_told(retired: str | None) -> None:
    wave = Wave(spare=True)
    wave.host(steps.RETIRED, "retire", retired)
    entry = wave.entry()
    assert "but the process on its other port may still run: " in entry.text and not entry.good
    assert ("no route to host" in entry.text) == (retired is None)


def test_a_client_that_lost_its_proof_is_not_proven() -> None:
    wave = Wave()
    wave.proven(prom2=None)
    # Its host keeps it, against the verdict.
    assert not wave.good()


def test_an_evicted_client_is_shown_as_that() -> None:
    """It is in the inventory still, which asks for a pair that nothing proves: the wave is done, and the run is not good."""
    wave = Wave()
    wave.staged()
    element = wave.hostvars["exp1"][steps.STAGED]["calls"][0]["answer"]["exporters"][0]
    element.update(evicted=["prom2"], pairs=element["pairs"][:1])
    element["rotation"].update(evicted=["prom2"], clients=["prom1"])
    wave.row = dataclasses.replace(wave.row, clients=("prom1",))
    wave.proven(prom2=None)
    states = {pair.client: pair.state for pair in wave.entry().pairs}
    assert states == {"prom1": "proven", "prom2": "evicted"}
    assert wave.entry().good and not wave.good()


def test_a_client_that_only_the_rotation_calls_evicted_is_missed() -> None:
    """Nobody asked for its eviction: a host that leaves it out so has not switched what the inventory asks for."""
    wave = Wave()
    wave.staged()
    element = wave.hostvars["exp1"][steps.STAGED]["calls"][0]["answer"]["exporters"][0]
    element.update(evicted=[], pairs=element["pairs"][:1])
    element["rotation"].update(evicted=["prom2"], clients=["prom1"])
    wave.row = dataclasses.replace(wave.row, clients=("prom1",))
    wave.proven(prom2=None)
    assert {pair.client: pair.state for pair in wave.entry().pairs} == {"prom1": "proven", "prom2": "failed"}
    assert not wave.good()


@pytest.mark.parametrize("refused", [None, "prom2 could not be made ready (gone)"])
def test_check_mode_predicts_or_refuses(refused: str | None) -> None:
    wave = Wave(check_mode=True)
    wave.row = dataclasses.replace(wave.row, refused=refused, new_sha256=answers.LATER)
    entry = wave.entry()
    if refused is None:
        assert entry.text == (
            f"would be switched, {forge.SHA[:16]} -> known after apply, servers prom1, prom2, 0.80 s expected, gap 7.20 s"
        )
    else:
        assert entry.text == f"would be refused: {refused}"
    assert entry.outcome == ("refused" if refused else "planned")
    assert wave.good() == (refused is None)


@pytest.mark.parametrize("operation", ["rotate", "site"])
def test_what_is_around_a_wave_has_no_say_in_what_became_of_it(operation: str) -> None:
    wave = Wave()
    wave.controller["timesten_rotated"] = {"entries": [dataclasses.asdict(wave.entry())], "notes": ["not ended"]}
    made = ledger.of_run(operation, wave.inventory(), False)
    assert "not ended" in made.notes and "not ended" in made.lines()
    assert made.good or operation == "site"  # whose other steps did not run here


# --- whom a run rotates


@pytest.mark.parametrize(
    ("named", "waves", "rotated"),
    [
        (["exp12"], [["exp12"]], ["exp12"]),
        (["exp1"], [["exp1"]], ["exp1"]),
        ("exp12", [["exp12"]], ["exp12"]),
        ("exp3-sales,exp1", [["exp1", "exp3"]], ["exp3-sales", "exp1"]),
        (None, [["exp1", "exp12"], ["exp3"]], None),
    ],
)
def test_a_name_is_no_part_of_another(named: Any, waves: list[list[str]], rotated: list[str] | None) -> None:
    run = {"rotate_wave": 2, **({"rotate_exporters": named} if named is not None else {})}
    instances = [{"instance": "sales", "port": 1}, {"instance": "stock", "port": 2}]
    hostvars = {name: {"exporter_host_timesten_home": "/opt/tt", **run} for name in ("exp1", "exp12", "exp3")}
    hostvars["exp3"]["exporter_host_exporters"] = instances
    hostvars["prom1"] = dict(run)
    groups = {"timesten_exporters": ["exp1", "exp12", "exp3"], "prometheus_servers": ["prom1"]}
    fleet._remembered.clear()
    assert rotation_waves(hostvars, groups, list(hostvars)) == waves
    variables = {**run, "hostvars": hostvars, "groups": groups, "inventory_hostname": "exp1"}
    assert Inventory(Templar(), {**variables, "ansible_play_hosts_all": list(hostvars)}).rotated() == rotated
    # Of a rotation of site, only what is due.
    assert rotation_waves(hostvars, groups, list(hostvars), ["exp12"]) == [["exp12"]]
    assert rotation_waves(hostvars, groups, list(hostvars), []) == []
