# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a rotation: the moment is never over a scrape, and who proves an exporter is not for its host to say.

Answers are raw results of the modules, parsed as in a run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.plugins.plugin_utils import forge

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, rotation
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer, PrometheusAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Clock, Row, Scrape, Verdict

Raw = Any
pytestmark = pytest.mark.controller
NOW = 1_800_000_000.0
CLIENTS = ("prom1", "prom2")
TAKERS = {"exp1": {client: client for client in CLIENTS}}
GOOD = {"up": True, "accepted": True, "refused_without_certificate": True, "refused_plain_http": True}


# --- the moment


def scrape(phase: float, interval: float = 15.0, took: float = 0.02, uncertainty: float = 0.0) -> Scrape:
    return Scrape(NOW - interval + phase, took, interval, uncertainty)


@pytest.mark.parametrize(
    ("scrapes", "window", "first", "largest"),
    [
        ([scrape(3)], 5.0, 3.12, 14.83),
        ([scrape(3), scrape(5)], 5.0, 5.12, 12.83),
        ([scrape(0), scrape(5), scrape(10)], 4.5, 0.12, 4.83),
        ([scrape(3, uncertainty=0.5)], 5.0, 3.62, 13.83),
        ([scrape(3, took=2.0)], 5.0, 7.0, 10.95),
        ([scrape(0.5, interval=2), scrape(1.0, interval=2)], 1.0, 1.12, 1.33),
    ],
)
def test_begins_right_after_the_scrape_that_opens_the_largest_gap(
    scrapes: list[Scrape], window: float, first: float, largest: float
) -> None:
    moments, gap = rotation.switch_moments(scrapes, window, NOW)
    later = [moment for moment in moments if moment > NOW]
    assert later[0] - NOW == pytest.approx(first, abs=0.01)
    assert gap == pytest.approx(largest, abs=0.01)


def test_a_takeover_goes_between_the_scrapes_by_the_clock_of_its_host() -> None:
    """Two servers whose clocks differ, scraped at 1 s and 2 s of every 5: the gap begins after the second."""
    inspected = {
        client: dataclasses.replace(
            answers.PrometheusAnswer(client, "inspected", client, False),
            scrapes_by_hand={"exp1": answers.Scrape(NOW + phase + ahead, 0.02, 5.0, "up")},
        )
        for client, phase, ahead in (("prom1", 1.0, 0.0), ("prom2", 2.0, 30.0))
    }
    clocks = {"prom1": Clock(), "prom2": Clock(30.0)}
    order = rotation.takeover_order("exp1", inspected, clocks, Clock(-7.0), NOW)
    assert order["period"] == 5.0
    later = [moment + 7.0 - NOW for moment in order["moments"] if moment + 7.0 > NOW]
    assert later[:2] == pytest.approx([2.12, 7.12], abs=0.02)


def test_refused_where_it_does_not_fit() -> None:
    scrapes = [scrape(0), scrape(5), scrape(10)]
    assert rotation.switch_moments(scrapes, 5.0, NOW)[0] == []
    assert rotation.switch_moments(scrapes, 5.0, NOW, force=True)[0]


def test_nobody_scrapes() -> None:
    moments, gap = rotation.switch_moments([], 5.0, NOW)
    assert moments[0] == NOW and gap == float("inf")


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.builds(
            scrape,
            st.floats(0, 59),
            st.sampled_from([2.0, 5.0, 7.0, 15.0, 60.0, 900.0, 86400.0]),
            st.floats(0, 0.5),
            st.floats(0, 0.2),
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.05, 10),
)
def test_never_over_a_scrape_and_found_whenever_there_is_room(scrapes: list[Scrape], window: float) -> None:
    moments, largest = rotation.switch_moments(scrapes, window, NOW)
    for moment in moments:
        for item in scrapes:
            since = (moment - item.began) % item.interval
            if moment > NOW + 1e-6:
                assert since >= item.took + item.uncertainty - 1e-3, "it begins while a scrape may be under way"
            assert item.interval - since >= window + item.uncertainty - 1e-3, "it ends after the next scrape begins"
    assert moments or largest < window, "there was room, and no moment was found"


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.builds(Scrape, st.floats(1e9, 1e10), st.floats(0, 86400), st.floats(0.1, 86400), st.floats(0, 1e4)),
        max_size=4,
    ),
    st.floats(0, 86400),
)
def test_no_scrape_that_a_host_can_name_keeps_the_controller_busy(scrapes: list[Scrape], window: float) -> None:
    """The extremes of what the parser lets through."""
    began = time.process_time()
    moments, _largest = rotation.switch_moments([*scrapes, scrape(0, 0.1), scrape(0, 86400)], window, NOW)
    assert time.process_time() - began < 1.0
    assert len(moments) <= 12 and all(moment >= NOW for moment in moments)


# --- what the hosts answer


def staged(exporter: str = "exp1", spare: bool = False, **changes: Any) -> dict[str, ExporterHostAnswer]:
    """The answer of an exporter's host that has made a generation ready; ``changes`` are of its part on the rotation."""
    element = forge.staged(exporter)
    element["spare"] = spare
    element["rotation"].update(evicted=[], restart_seconds=0.4, **changes)
    raw = forge.host_result(element, diff=[], warnings=[])
    return {exporter: parsed(raw, "stage", exporter)}


def parsed(raw: Raw, phase: answers.Phase, exporter: str = "exp1") -> ExporterHostAnswer:
    """What is left of an answer; nonsense is a host that failed, as in a run."""
    try:
        return answers.parse_exporter_host(
            raw, phase=phase, host=exporter, exporters=[exporter], clients=CLIENTS, check_mode=False
        )
    except answers.Nonsense as error:
        failed = {"failed": True, "msg": str(error)}
        return answers.parse_exporter_host(
            failed, phase=phase, host=exporter, exporters=[exporter], clients=CLIENTS, check_mode=False
        )


def said(status: str | None, phase: answers.Phase = "status", **more: Any) -> dict[str, ExporterHostAnswer]:
    if status is None:
        return {}
    return {"exp1": parsed({"changed": True, "exporters": [forge.switched("exp1", status, **more)]}, phase)}


def client(name: str, state: answers.State, raw: Raw) -> PrometheusAnswer:
    usual: Raw = {"reloaded": False, "removed": [], "unmentioned": []} if state == "present" else {}
    full = {"changed": False, "name": name, "revision": "empty", "version": "2.42.0", **usual, **raw}
    jobs = [item["name"] for item in raw.get("exporters", [])] or None
    return answers.parse_prometheus_host(full, state=state, host=name, client=name, exporters=jobs, check_mode=False)


def delivered(job: str = "exp1", **scrapes: Raw) -> dict[str, PrometheusAnswer]:
    """The answers of the clients that have the new pairs; by client, its last scrape."""
    return {
        name: client(name, "staged", {"scrapes": {job: scrapes[name]} if name in scrapes else {}}) for name in CLIENTS
    }


def failed(name: str, state: answers.State, reason: str = "no answer") -> PrometheusAnswer:
    return client(name, state, {"failed": True, "msg": reason})


def scraped(at: float = NOW - 1, interval: float = 15.0) -> Raw:
    return {"scraped": at, "took": 0.02, "interval": interval, "health": "up"}


def planned(
    made: Mapping[str, ExporterHostAnswer] | None = None,
    ready: Mapping[str, PrometheusAnswer] | None = None,
    clocks: Mapping[str, Clock] | None = None,
    spare_ports: tuple[str, ...] = (),
    **options: Any,
) -> Row:
    made = staged() if made is None else made
    ready = delivered(prom1=scraped()) if ready is None else ready
    return rotation.plan(made, ready, clocks or {}, TAKERS, spare_ports, NOW, **options)["exp1"]


def proven(job: str = "exp1", **rows: Raw | None) -> dict[str, PrometheusAnswer]:
    """The answers of the clients after the switch; None is one that does not speak of the exporter."""
    proofs = {}
    for name in CLIENTS:
        row = rows.get(name, GOOD)
        proofs[name] = client(name, "present", {"exporters": [] if row is None else [{"name": job, **row}]})
    return proofs


# --- the plan


def test_clocks_are_taken_into_account() -> None:
    ready = delivered(prom1=scraped(NOW + 100 - 1))
    clocks = {"exp1": Clock(-40.0, 0.01), "prom1": Clock(100.0, 0.02)}
    row = planned(ready=ready, clocks=clocks, lead=2.0)
    assert row.moments[0] == NOW + 2.0, "the gap that is open when everybody is ready"
    assert row.moments[1] == pytest.approx(NOW + 14 + 0.12 + 0.03, abs=0.01)
    order = rotation.orders({"exp1": row}, clocks["exp1"])["exp1"]
    assert order["moments"][0] == row.moments[0] - 40
    assert order["deadline"] == pytest.approx(row.deadline - 40)


@pytest.mark.parametrize(
    ("ready", "reason"),
    [
        ({"prom1": failed("prom1", "staged"), "prom2": failed("prom2", "staged")}, "(no answer)"),
        ({}, "(it was not reached)"),
    ],
    ids=["failed", "not reached"],
)
def test_a_client_that_is_not_ready_stops_the_exporter_unless_it_is_optional(
    ready: dict[str, PrometheusAnswer], reason: str
) -> None:
    one = {**delivered(prom1=scraped()), **{name: answer for name, answer in ready.items() if name == "prom2"}}
    if not ready:
        del one["prom2"]
    row = planned(ready=one)
    assert row.refused == f"prom2 could not be made ready {reason}" and not row.moments
    assert planned(ready=one, optional=["prom2"]).moments


def test_several_rows_do_not_touch_each_other() -> None:
    """A host that fails in the stage costs its own exporter alone."""
    made = {**staged("exp1"), **staged("exp2")}
    broken = {"failed": True, "msg": "no space left"}
    made["exp2"] = parsed(broken, "stage", "exp2")
    rows = rotation.plan(made, delivered(prom1=scraped()), {}, {**TAKERS, "exp2": TAKERS["exp1"]}, (), NOW)
    assert list(rows) == ["exp1"] and rows["exp1"].refused is None


@pytest.mark.parametrize(
    ("spare_ports", "advice"),
    [
        (("exp1",), "Run again with rotate_strategy=spare_port"),
        ((), "Define a spare_port for it (exporter_host_spare_port)"),
    ],
)
def test_a_refusal_offers_the_spare_port(spare_ports: tuple[str, ...], advice: str) -> None:
    # What the host says of having one decides nothing.
    made = staged(has_spare_port=not spare_ports)
    row = planned(made, delivered(prom1=scraped(NOW, 0.5)), spare_ports=spare_ports)
    assert row.refused is not None and "so a scrape could be lost" in row.refused and advice in row.refused


# --- the strategy spare_port


def beside(spare: bool = True) -> Row:
    """The plan of a rotation to the other port, with a scrape interval that no restart fits into."""
    made = staged(spare=spare, strategy="spare_port", has_spare_port=True)
    job = "exp1.spare" if spare else "exp1"
    ready = delivered(job, prom1=scraped(NOW, 0.5))
    return planned(made, ready, spare_ports=("exp1",), beside=True)


@pytest.mark.parametrize(("spare_port", "more"), [(True, 600.0), (False, 0.0)])
def test_a_grace_time_lengthens_what_both_ports_are_served_for(spare_port: bool, more: float) -> None:
    made = staged(spare=True, strategy="spare_port", has_spare_port=True) if spare_port else staged()
    ready = delivered("exp1.spare" if spare_port else "exp1", prom1=scraped(NOW, 15.0))
    plain, graceful = (
        planned(made, ready, spare_ports=("exp1",), beside=spare_port, grace=grace) for grace in (None, {"exp1": 600.0})
    )
    assert graceful.refused is None and graceful.confirm == plain.confirm + more
    assert graceful.deadline == plain.deadline + 3 * more


def test_the_spare_port_needs_no_moment_and_nobody_who_follows() -> None:
    row = beside()
    assert row.refused is None and row.job == "exp1.spare" and row.servers == ("prom1",)
    order = rotation.orders({"exp1": row}, Clock(5.0))["exp1"]
    assert (order["strategy"], order["moments"]) == ("spare_port", [])
    assert order["deadline"] > NOW + order["confirm"]
    assert rotation.orders({"exp1": row}, Clock(), following=True) == {}
    assert rotation.go({"exp1": row}, {}) == {"exp1": row}


def test_a_restart_on_the_spare_port_is_followed_under_its_name() -> None:
    """An exporter that is on its spare port stays there, whatever the strategy of this run is."""
    row = planned(staged(spare=True), delivered("exp1.spare", prom1=scraped()), spare_ports=("exp1",))
    assert (row.job, row.strategy, row.servers) == ("exp1.spare", "gap", ("prom1",))
    assert list(rotation.orders({"exp1": row}, Clock(), following=True)) == ["exp1.spare"]
    follows = {name: client(name, "following", {"following": ["exp1.spare"]}) for name in CLIENTS}
    assert rotation.go({"exp1": row}, follows) == {"exp1": row}


@pytest.mark.parametrize(
    ("up", "kept", "now", "leaving"),
    [
        (True, "confirmed", "confirm", ("exp1", "retire")),
        (True, "reverted", "confirm", ("exp1.spare", "revert")),
        (True, None, "confirm", None),
        (False, None, "none", ("exp1.spare", "revert")),
    ],
    ids=["kept", "gone back before it was confirmed", "no answer", "not proven"],
)
def test_one_of_two_ports_is_left(up: bool, kept: str | None, now: str, leaving: tuple[str, str] | None) -> None:
    row = {**GOOD, "up": up}
    judged = rotation.verdicts({"exp1": beside()}, said("switched"), proven("exp1.spare", prom1=row, prom2=row))
    assert judged["exp1"].now == now
    left = rotation.leaving(judged, said(kept, "confirm"))
    assert {name: (item.job, item.action) for name, item in left.items()} == ({"exp1": leaving} if leaving else {})


def test_nothing_is_left_where_nothing_was_switched() -> None:
    judged = rotation.verdicts({"exp1": beside()}, said("failed"), proven("exp1.spare"))
    assert judged["exp1"].action == "release" and rotation.leaving(judged, {}) == {}


# --- go and the verdict


def test_whom_nobody_follows_is_not_switched() -> None:
    row = planned()
    follows = {"prom1": client("prom1", "following", {"following": ["exp1"]})}
    decided = rotation.go({"exp1": row}, {**follows, "prom2": failed("prom2", "following", "disk full")})["exp1"]
    assert decided.refused == "prom2 does not follow (disk full)"
    assert (
        rotation.go({"exp1": row}, follows)["exp1"].refused
        == "prom2 does not follow (it could not be reached any more)"
    )
    assert rotation.orders({"exp1": decided}, Clock()) == {}
    assert rotation.go({"exp1": row}, follows, optional=["prom2"]) == {"exp1": row}
    judged = rotation.verdicts({"exp1": decided}, {}, {})["exp1"]
    assert (judged.action, judged.leaves) == ("release", False)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GOOD, None),
        ({"up": True, "accepted": None}, None),
        ({**GOOD, "accepted": False}, "prom2: the handshake with the delivered pair was not accepted"),
        ({**GOOD, "refused_without_certificate": False}, "prom2: a connection without a certificate was not refused"),
        ({**GOOD, "refused_foreign_pair": False}, "prom2: a connection with a foreign pair was not refused"),
        ({**GOOD, "refused_plain_http": False}, "prom2: a connection over plain http was not refused"),
        ({"up": False, "last_error": "connection refused"}, "prom2: connection refused"),
        ({"up": None}, "prom2: its target is not up"),
        (None, "prom2: it did not answer for it"),
    ],
)
def test_kept_only_if_every_client_has_proven_it(row: Raw | None, reason: str | None) -> None:
    verdict = rotation.verdicts({"exp1": planned()}, said("switched"), proven(prom2=row))["exp1"]
    assert (verdict.action, verdict.reason) == ("revert" if reason else "confirm", reason)
    optional = rotation.verdicts({"exp1": planned()}, said("switched"), proven(prom2=row), optional=["prom2"])
    assert optional["exp1"].action == "confirm"


UNASKED = {"up": None, "accepted": True, "refused_without_certificate": True, "refused_plain_http": True}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (UNASKED, None),
        ({**UNASKED, "accepted": None}, "prom2: no handshake with the delivered pair was made"),
        ({**UNASKED, "accepted": False}, "prom2: the handshake with the delivered pair was not accepted"),
        (
            {**UNASKED, "refused_without_certificate": False},
            "prom2: a connection without a certificate was not refused",
        ),
        (None, "prom2: it did not answer for it"),
    ],
)
def test_a_handshake_proves_who_is_not_asked(row: Raw | None, reason: str | None) -> None:
    verdict = rotation.verdicts({"exp1": planned()}, said("switched"), proven(prom2=row), unasked=["prom2"])["exp1"]
    assert (verdict.action, verdict.reason) == ("revert" if reason else "confirm", reason)
    # Who is asked has to tell.
    asked = rotation.verdicts({"exp1": planned()}, said("switched"), proven(prom2=row), unasked=["prom1"])["exp1"]
    assert asked.action == "revert"


def test_who_is_not_asked_has_no_scrape_and_hinders_no_moment() -> None:
    with_both = planned(ready=delivered(prom1=scraped()))
    assert with_both.clients == CLIENTS and with_both.servers == ("prom1",) and with_both.refused is None
    nobody = planned(ready=delivered())
    assert nobody.refused is None and nobody.servers == () and nobody.moments and nobody.period is None


@pytest.mark.parametrize(
    ("status", "action", "reason"),
    [
        ("lost", "revert", "the process that made the switch was killed"),
        ("missed", "release", "too late"),
        ("failed", "release", "too late"),
        ("reverted", "release", "too late"),
        ("waiting", "none", "too late"),
        (None, "none", "its host could not be reached any more"),
    ],
)
def test_what_has_not_switched_is_not_kept(status: str | None, action: str, reason: str) -> None:
    """Whatever the clients say: they may still speak of the generation before."""
    verdict = rotation.verdicts({"exp1": planned()}, said(status, error="too late"), proven())["exp1"]
    assert (verdict.action, verdict.reason) == (action, reason)


def test_a_host_that_only_waits_is_named_so() -> None:
    verdict = rotation.verdicts({"exp1": planned()}, said("waiting"), proven())["exp1"]
    assert (verdict.action, verdict.reason) == ("none", "its host says no more than waiting")


def test_what_is_handed_on_is_the_same_when_it_is_read() -> None:
    for row in (planned(), beside(), planned(ready={})):
        assert Row.from_dict(json.loads(json.dumps(dataclasses.asdict(row)))) == row
    verdict = Verdict("exp1", "exp1", "revert", "why", "switched", 0.4, True, "exp1.spare")
    assert Verdict(**json.loads(json.dumps(dataclasses.asdict(verdict)))) == verdict


# --- hosts that answer what they like


@pytest.mark.parametrize("clients", [[], ["prom1"], ["prom2"]], ids=["nobody", "one of two", "the other one"])
def test_who_proves_an_exporter_is_for_the_inventory_to_say(clients: list[str]) -> None:
    row = planned(staged(clients=clients))
    assert row.clients == CLIENTS
    assert row.refused is not None and "has issued no pair for" in row.refused and not row.moments


def test_switched_counts_for_nothing_where_no_client_has_proven_it() -> None:
    row = {"exp1": planned()}
    for unproven in ({}, proven(prom1=None, prom2=None), {"prom1": failed("prom1", "present")}):
        verdict = rotation.verdicts(row, said("switched"), unproven)["exp1"]
        assert verdict.action == "revert" and verdict.reason is not None and "prom1" in verdict.reason


def test_another_exporters_proof_proves_nothing() -> None:
    answer = client("prom1", "present", {"exporters": [{"name": "exp2", **GOOD}]})
    assert rotation.unproven("exp1", "prom1", answer) == "prom1: it did not answer for it"
    # The one on the other port is another process.
    assert rotation.unproven("exp1.spare", "prom1", proven()["prom1"]) is not None


@pytest.mark.parametrize(
    ("asked", "answered", "spare_ports"),
    [
        (False, "spare_port", ("exp1",)),
        (False, "spare_port", ()),
        (True, "spare_port", ()),
        (True, "gap", ("exp1",)),
    ],
)
def test_the_strategy_is_for_the_run_to_say(asked: bool, answered: str, spare_ports: tuple[str, ...]) -> None:
    made = staged(strategy=answered, spare=answered == "spare_port", has_spare_port=True)
    row = planned(made, spare_ports=spare_ports, beside=asked)
    assert row.refused is not None and f"its host wants the strategy {answered}" in row.refused
    assert rotation.orders({"exp1": row}, Clock()) == {}
    verdict = rotation.verdicts({"exp1": row}, said("switched"), proven())["exp1"]
    assert (verdict.action, verdict.leaves) == ("release", False), "the job of no port may go"
    assert rotation.leaving({"exp1": verdict}, said("confirmed", "confirm")) == {}


def forged(change: Any) -> Raw:
    raw = forge.host_result(forge.staged("exp2"), diff=[], warnings=[])
    change(raw["exporters"][0])
    return raw


FORGED = {
    "another host's exporter": lambda e: e.update(name="exp1"),
    "delivery outside": lambda e: e["pairs"][0].update(delivery="../../../../srv/precious"),
    "absolute delivery": lambda e: e["pairs"][0].update(delivery="/srv/precious"),
    "delivery of another generation": lambda e: e["pairs"][0].update(delivery=f"{forge.OLD}-1"),
    "client of nobody": lambda e: e["rotation"].update(clients=["prom1", "prom7"]),
    "client twice": lambda e: e["rotation"].update(clients=["prom1", "prom1"]),
    "no rotation": lambda e: e.pop("rotation"),
    "rotation of text": lambda e: e.update(rotation="all"),
    "unknown strategy": lambda e: e["rotation"].update(strategy="none"),
    "endless restart": lambda e: e["rotation"].update(restart_seconds=float("inf")),
    "negative restart": lambda e: e["rotation"].update(restart_seconds=-1),
    "generation outside": lambda e: e["rotation"].update(to="../../../../srv"),
    "two generations": lambda e: e["rotation"].update(to=forge.OLD),
    "null": lambda e: e.clear(),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_hostile_exporter_host_costs_itself(change: Any) -> None:
    answer = parsed(forged(change), "stage", "exp2")
    assert answer.failed is not None
    made = {**staged("exp1"), "exp2": answer}
    rows = rotation.plan(made, delivered(prom1=scraped()), {}, {**TAKERS, "exp2": TAKERS["exp1"]}, (), NOW)
    assert list(rows) == ["exp1"] and rows["exp1"] == planned()
    judged = rotation.verdicts(rows, {**said("switched"), "exp2": answer}, proven())
    assert list(judged) == ["exp1"] and judged["exp1"].action == "confirm"


@pytest.mark.parametrize("interval", [-1, 0, float("inf"), float("nan"), 1e-9, "15s", None, True])
@pytest.mark.parametrize("key", ["interval", "scraped", "took"])
def test_a_hostile_prometheus_host_is_no_client(key: str, interval: Any) -> None:
    """Its answer is refused as a whole; whether it may be missing is for rotate_optional to say."""
    if key == "took" and interval in (0, 1e-9):
        pytest.skip("a scrape may take no time")
    raw = {"scrapes": {"exp1": {**scraped(), key: interval}}}
    with pytest.raises(answers.Nonsense) as caught:
        client("prom2", "staged", raw)
    ready = {**delivered(prom1=scraped()), "prom2": failed("prom2", "staged", str(caught.value))}
    refused = planned(ready=ready).refused
    assert refused is not None and refused.startswith(f"prom2 could not be made ready (scrapes.exp1.{key} ")
    assert planned(ready=ready, optional=["prom2"]).refused is None


def test_a_client_cannot_speak_for_another() -> None:
    with pytest.raises(answers.Nonsense):
        client("prom2", "following", {"name": "prom1", "following": ["exp1"]})
    with pytest.raises(answers.Nonsense):
        client("prom2", "present", {"name": "prom1", "exporters": [{"name": "exp1", **GOOD}]})


def test_check_mode_knows_for_whom_pairs_would_be_made() -> None:
    raw = forge.host_result(forge.staged("exp1", check_mode=True), diff=[], warnings=[])

    def pairs(made: list[Raw], clients: tuple[str, ...] = CLIENTS) -> list[answers.Pair | None]:
        raw["exporters"][0].update(pairs=made)
        raw["exporters"][0]["rotation"].update(clients=list(clients))
        answer = answers.parse_exporter_host(
            raw, phase="stage", host="exp1", exporters=["exp1"], clients=CLIENTS, check_mode=True
        )
        return [rotation.pair_of(answer.exporters["exp1"], name) for name in CLIENTS]

    later = [answers.Pair(name, answers.LATER, answers.LATER) for name in CLIENTS]
    assert pairs([]) == later
    assert pairs([{"client": "prom1"}]) == later
    assert pairs([], ("prom2",)) == [None, later[1]]
    real = staged()["exp1"].exporters["exp1"]
    assert [rotation.pair_of(real, name) for name in CLIENTS] == [real.pairs[name] for name in CLIENTS]
