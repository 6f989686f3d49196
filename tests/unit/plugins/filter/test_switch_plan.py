# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the moment: never over a scrape, and found whenever there is room."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.timesten.monitoring.plugins.filter import switch_plan as switch

NOW = 1_800_000_000.0


def scrape(phase: float, interval: float = 15.0, took: float = 0.02, uncertainty: float = 0.0) -> dict[str, float]:
    return {"scraped": NOW - interval + phase, "took": took, "interval": interval, "uncertainty": uncertainty}


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
    scrapes: list[dict[str, float]], window: float, first: float, largest: float
) -> None:
    moments, gap = switch.switch_moments(scrapes, window, NOW)
    later = [moment for moment in moments if moment > NOW]
    assert later[0] - NOW == pytest.approx(first, abs=0.01)
    assert gap == pytest.approx(largest, abs=0.01)


def test_refused_where_it_does_not_fit() -> None:
    scrapes = [scrape(0), scrape(5), scrape(10)]
    assert switch.switch_moments(scrapes, 5.0, NOW)[0] == []
    assert switch.switch_moments(scrapes, 5.0, NOW, force=True)[0]


def test_nobody_scrapes() -> None:
    moments, gap = switch.switch_moments([], 5.0, NOW)
    assert moments[0] == NOW and gap == float("inf")


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.builds(
            scrape,
            st.floats(0, 59),
            st.sampled_from([2.0, 5.0, 7.0, 15.0, 60.0]),
            st.floats(0, 0.5),
            st.floats(0, 0.2),
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.05, 10),
)
def test_never_over_a_scrape_and_found_whenever_there_is_room(scrapes: list[dict[str, float]], window: float) -> None:
    moments, largest = switch.switch_moments(scrapes, window, NOW)
    for moment in moments:
        for item in scrapes:
            since = (moment - item["scraped"]) % item["interval"]
            slack = item["uncertainty"]
            if moment > NOW + 1e-6:
                assert since >= item["took"] + slack - 1e-3, "it begins while a scrape may be under way"
            assert item["interval"] - since >= window + slack - 1e-3, "it ends after the next scrape begins"
    assert moments or largest < window, "there was room, and no moment was found"


def hostvars(**changes: Any) -> dict[str, dict[str, Any]]:
    rotation = {
        "from": "a",
        "to": "b",
        "old_sha256": "0" * 64,
        "new_sha256": "1" * 64,
        "restart_seconds": 0.4,
        "restart_measured": True,
        "clients": ["prom1", "prom2"],
    }
    scrapes = {"exp1": {"scraped": NOW + 100 - 1, "took": 0.02, "interval": 15.0, "health": "up"}}
    return {
        "exp1": {
            "rotate_clock": {"offset": -40.0, "uncertainty": 0.01},
            "rotate_staged": {"exporters": [{"name": "exp1", "rotation": rotation}]},
            "exporter_host_rotation": {"exporters": [{"name": "exp1", "status": "switched", "window": 0.4}]},
        },
        "prom1": {
            "rotate_clock": {"offset": 100.0, "uncertainty": 0.02},
            "prometheus_host_result": {"results": [{"name": "prom1", "scrapes": scrapes}]},
        },
        "prom2": {
            "rotate_clock": {"offset": 0.0, "uncertainty": 0.0},
            "prometheus_host_result": {"results": [{"name": "prom2", "scrapes": {}}]},
            **changes,
        },
    }


def test_clocks_are_taken_into_account() -> None:
    plan = switch.switch_plan(hostvars(), ["exp1"], ["prom1", "prom2"], now=NOW, lead=2.0)
    moment = plan["exp1"]["moments"][0]
    assert moment == NOW + 2.0, "the gap that is open when everybody is ready"
    assert plan["exp1"]["moments"][1] == pytest.approx(NOW + 14 + 0.12 + 0.03, abs=0.01)
    orders = switch.switch_orders(plan, {"offset": -40.0})
    assert orders["exp1"]["moments"][0] == moment - 40
    assert orders["exp1"]["deadline"] == pytest.approx(plan["exp1"]["deadline"] - 40)


def test_a_client_that_is_not_ready_stops_the_exporter_unless_it_is_optional() -> None:
    lost = hostvars(prometheus_host_result={"results": [{"prometheus_host_client": "prom2", "msg": "no answer"}]})
    plan = switch.switch_plan(lost, ["exp1"], ["prom1", "prom2"], now=NOW)
    assert "prom2 could not be made ready (no answer)" in plan["exp1"]["refused"]
    assert "moments" in switch.switch_plan(lost, ["exp1"], ["prom1", "prom2"], optional=["prom2"], now=NOW)["exp1"]


@pytest.mark.parametrize(
    ("row", "action"),
    [
        ({"up": True, "accepted": True, "refused_plain_http": True}, "confirm"),
        ({"up": True, "accepted": True, "refused_plain_http": False}, "revert"),
        ({"up": False, "last_error": "connection refused"}, "revert"),
        (None, "revert"),
    ],
)
def test_kept_only_if_every_client_has_proven_it(row: dict[str, Any] | None, action: str) -> None:
    good = {"name": "exp1", "up": True}
    variables = hostvars()
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    second = {} if row is None else {"exporters": [{"name": "exp1", **row}]}
    variables["prom1"]["prometheus_host_result"] = {"results": [{"name": "prom1", "exporters": [good]}]}
    variables["prom2"]["prometheus_host_result"] = {"results": [{"name": "prom2", **second}]}
    verdict = switch.switch_verdicts(plan, variables, ["prom1", "prom2"])["exp1"]
    assert verdict["action"] == action
    assert bool(verdict["why"]) == (action == "revert")


def test_whom_nobody_follows_is_not_switched() -> None:
    variables = hostvars()
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    variables["prom1"]["prometheus_host_result"] = {"results": [{"name": "prom1", "following": ["exp1"]}]}
    go = switch.switch_go(plan, variables, ["prom1", "prom2"])
    assert "prom2 does not follow" in go["exp1"]["refused"]
    assert switch.switch_orders(go, {}) == {}


def beside(status: str = "switched", spare: bool = True) -> dict[str, dict[str, Any]]:
    """Hosts in a rotation to the spare port, with a scrape interval that no restart fits into."""
    variables = hostvars()
    staged = variables["exp1"]["rotate_staged"]["exporters"][0]
    staged["spare"] = spare
    staged["rotation"].update(strategy="spare_port", has_spare_port=True)
    variables["exp1"]["exporter_host_rotation"]["exporters"][0]["status"] = status
    scrape = {"scraped": NOW, "took": 0.02, "interval": 0.5, "health": "up"}
    variables["prom1"]["prometheus_host_result"]["results"][0]["scrapes"] = {"exp1.spare": scrape}
    return variables


@pytest.mark.parametrize(
    ("has_spare_port", "advice"),
    [
        (True, "Run again with rotate_strategy=spare_port"),
        (False, "Define a spare_port for it (exporter_host_spare_port)"),
    ],
)
def test_a_refusal_offers_the_spare_port(has_spare_port: bool, advice: str) -> None:
    variables = beside(spare=False)
    variables["exp1"]["rotate_staged"]["exporters"][0]["rotation"].update(strategy="gap", has_spare_port=has_spare_port)
    scrapes = variables["prom1"]["prometheus_host_result"]["results"][0]["scrapes"]
    scrapes["exp1"] = scrapes.pop("exp1.spare")
    refused = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)["exp1"]["refused"]
    assert "so a scrape could be lost" in refused and advice in refused


def test_the_spare_port_needs_no_moment_and_nobody_who_follows() -> None:
    variables = beside()
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    assert "refused" not in plan["exp1"] and plan["exp1"]["job"] == "exp1.spare"
    assert plan["exp1"]["servers"] == ["prom1"]
    order = switch.switch_orders(plan, {"offset": 5.0})["exp1"]
    assert (order["strategy"], order["moments"]) == ("spare_port", [])
    assert order["deadline"] > NOW + order["confirm"]
    assert switch.switch_orders(plan, {}, following=True) == {}
    assert switch.switch_go(plan, variables, ["prom1", "prom2"]) == plan


def test_a_restart_on_the_spare_port_is_followed_under_its_name() -> None:
    variables = beside()
    variables["exp1"]["rotate_staged"]["exporters"][0]["rotation"]["strategy"] = "gap"
    variables["prom1"]["prometheus_host_result"]["results"][0]["scrapes"] = {}
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    assert list(switch.switch_orders(plan, {}, following=True)) == ["exp1.spare"]
    for name in ("prom1", "prom2"):
        variables[name]["prometheus_host_result"] = {"results": [{"name": name, "following": ["exp1.spare"]}]}
    assert switch.switch_go(plan, variables, ["prom1", "prom2"]) == plan


@pytest.mark.parametrize(
    ("up", "confirmed", "now", "leaving"),
    [
        (True, "confirmed", "confirm", ("exp1", "retire")),
        (True, "reverted", "confirm", ("exp1.spare", "revert")),
        (True, None, "confirm", None),
        (False, None, "none", ("exp1.spare", "revert")),
    ],
    ids=["kept", "gone back before it was confirmed", "no answer", "not proven"],
)
def test_one_of_two_ports_is_left(up: bool, confirmed: str | None, now: str, leaving: tuple[str, str] | None) -> None:
    variables = beside()
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    for name in ("prom1", "prom2"):
        answer = {"name": name, "exporters": [{"name": "exp1.spare", "up": up}]}
        variables[name]["prometheus_host_result"] = {"results": [answer]}
    verdicts = switch.switch_verdicts(plan, variables, ["prom1", "prom2"])
    assert verdicts["exp1"]["now"] == now
    answers = [] if confirmed is None else [{"name": "exp1", "status": confirmed}]
    variables["exp1"]["exporter_host_rotation"] = {"exporters": answers}
    found = switch.switch_leaving(verdicts, variables)
    expected = {} if leaving is None else {"exp1": {"host": "exp1", "job": leaving[0], "action": leaving[1]}}
    assert found == expected


def test_nothing_is_left_where_nothing_was_switched() -> None:
    variables = beside("failed")
    plan = switch.switch_plan(variables, ["exp1"], ["prom1", "prom2"], now=NOW)
    verdicts = switch.switch_verdicts(plan, variables, ["prom1", "prom2"])
    assert verdicts["exp1"]["action"] == "release" and switch.switch_leaving(verdicts, variables) == {}
