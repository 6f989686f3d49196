# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call on a Prometheus host would change, as a table: no file, no process, no root."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    LATER,
    Settings,
    Stored,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.decide import Plan, decide
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import (
    Deliveries,
    Observation,
    neighbours,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.owner import fleet_of

STORE = "/etc/prometheus/timesten"
GENERATION = "20261124T104900Z-00000001"
SOURCE = (
    b"global: {scrape_interval: 15s}\nscrape_configs:\n- job_name: theirs\n  static_configs: [{targets: ['t:1']}]\n"
)
SETTINGS = Settings(
    name="prom1",
    config_file="/etc/prometheus/prometheus.yml",
    store=STORE,
    user="prometheus",
    group=None,
    promtool=None,
    layout="inline",
    scrape_file="/etc/prometheus/timesten.yml",
    rendered=None,
    on_existing="fail",
    reload="auto",
    reload_unit="prometheus",
    reload_pid_file=None,
    running=True,
    purge=False,
    remove=None,
    keep_deliveries=2,
    wait_timeout=None,
    revision=None,
    run={},
    exporters=(),
    defaults={},
)


def element(name: str = "exp1", number: int = 1, **changes: Any) -> dict[str, Any]:
    """An element as it comes with a new pair."""
    return {
        "name": name,
        "address": f"{name}.example.com",
        "port": 8888,
        "insecure": False,
        "generation": GENERATION,
        "delivery": f"{GENERATION}-{number}",
        "sha256": f"{number}" * 64,
        "ca_sha256": "c" * 64,
        "ca_certificate": "CA",
        "certificate": "CERTIFICATE",
        "bundle": "BUNDLE",
        "alt_names": None,
        **changes,
    }


def light(**changes: Any) -> dict[str, Any]:
    """An element as it comes when nothing has to be transferred."""
    return element(**{"ca_certificate": None, "certificate": None, "bundle": None, **changes})


def stored(number: int = 1, **changes: Any) -> Stored:
    values = {"sha256": f"{number}" * 64, "ca_sha256": "c" * 64, **changes}
    return Stored(f"{GENERATION}-{number}", not_after="2027-01-01T00:00:00Z", files=[[number]] * 3, **values)


def in_use(number: int = 1, **changes: Any) -> Deliveries:
    return Deliveries(f"{GENERATION}-{number}", stored(number, **changes))


def definition(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "address": f"{name}.example.com", "port": 8888, "insecure": False, **changes}


def entry(name: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    pair = {
        key: value
        for key, value in element(name, number).items()
        if key in ("generation", "delivery", "sha256", "ca_sha256")
    }
    marks = {"not_after": "2027-01-01T00:00:00Z", "files": [[number]] * 3}
    return {"definition": definition(name), **pair, **marks, **changes}


def with_jobs(*names: str, source: bytes = SOURCE) -> bytes:
    return config.edit(files(source), [jobs.build(definition(name), STORE) for name in names]).config


def files(source: bytes, scrape_file: bytes | None = None, **others: bytes) -> config.Files:
    return config.Files(source, SETTINGS.config_file, STORE, SETTINGS.scrape_file, scrape_file, others)


def look(
    *known: str,
    running: bool = True,
    source: bytes | None = None,
    entries: dict[str, Any] | None = None,
    **changes: Any,
) -> Observation:
    """A host on which the known exporters are in place."""
    source = with_jobs(*known) if source is None else source
    seen = files(source)
    view = config.read(seen)
    values: dict[str, Any] = {
        "state": {
            "revision": "r1",
            "client": "prom1",
            "exporters": {**{name: entry(name) for name in known}, **(entries or {})},
        },
        "files": seen,
        "view": view,
        "neighbours": {},
        "deliveries": {name: in_use() for name in known},
        "jobs": frozenset(job.job_name for job in view.ours.values()) if running else None,
    }
    return Observation(**{**values, **changes})


def plan(seen: Observation, *elements: dict[str, Any], check: bool = False, rejected: Any = (), **changes: Any) -> Plan:
    settings = dataclasses.replace(SETTINGS, exporters=elements, **changes)
    return decide(settings, seen, dict(rejected), check, STORE)


# --- one exporter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "deliveries", "reasons", "switches", "carried"),
    [
        pytest.param(element(), Deliveries(), ["no pair is stored"], True, True, id="new"),
        pytest.param(light(), in_use(), [], False, False, id="in use"),
        pytest.param(element(), in_use(), [], False, False, id="in use, carried all the same"),
        pytest.param(
            element(number=2), in_use(), [f"delivery {GENERATION}-2 replaces {GENERATION}-1"], True, True, id="renewed"
        ),
        pytest.param(
            light(number=2),
            Deliveries(f"{GENERATION}-1", stored(), stored(2)),
            [f"delivery {GENERATION}-2 replaces {GENERATION}-1"],
            True,
            False,
            id="staged before",
        ),
        pytest.param(
            element(number=2),
            Deliveries(f"{GENERATION}-1", stored(), stored(2, sha256="d" * 64)),
            [f"delivery {GENERATION}-2 replaces {GENERATION}-1"],
            True,
            True,
            id="staged before, but another one",
        ),
        pytest.param(
            element(),
            Deliveries(f"{GENERATION}-1", None),
            [f"the stored delivery {GENERATION}-1 is damaged"],
            True,
            True,
            id="damaged",
        ),
        pytest.param(
            element(),
            in_use(sha256="d" * 64),
            [f"the stored delivery {GENERATION}-1 is another one than the exporter's of that name"],
            True,
            True,
            id="another one of that name",
        ),
        pytest.param(
            element(),
            in_use(ca_sha256="d" * 64),
            [f"the stored delivery {GENERATION}-1 is another one than the exporter's of that name"],
            True,
            True,
            id="another CA",
        ),
    ],
)
def test_pair(item: Any, deliveries: Deliveries, reasons: list[str], switches: bool, carried: bool) -> None:
    made = plan(look("exp1", deliveries={"exp1": deliveries}), item)
    assert made.reasons["exp1"] == reasons and not made.rejected
    assert ("exp1" in made.switch, "exp1" in made.deliver) == (switches, carried)
    assert made.changed == switches and not made.reloads
    assert made.before == {"exp1": deliveries.current}


def test_new_exporter_gets_a_job() -> None:
    made = plan(look(), element())
    assert made.reasons["exp1"] == ["no pair is stored", "it has no job yet"]
    assert made.configures and made.reloads and b"job_name: timesten-exp1" in made.edit.config
    assert made.edit.config.startswith(SOURCE)


def test_insecure_exporter_needs_no_pair() -> None:
    made = plan(look("exp1"), {"name": "exp1", "address": "a", "port": 1, "insecure": True})
    assert made.switch == {"exp1": None}
    assert made.reasons["exp1"] == ["it is insecure now and needs no pair", "its job differs"]
    assert made.entries["exp1"]["delivery"] is None and "files" not in made.entries["exp1"]


def test_changed_job() -> None:
    made = plan(look("exp1"), light(port=9999))
    assert made.reasons["exp1"] == ["its job differs"] and made.reloads and not made.switch


def test_followed_in_a_rotation() -> None:
    seen = look("exp1", deliveries={"exp1": in_use(2)})
    made = plan(seen, light(number=2))
    assert made.followed == ("exp1",) and made.changed and not made.reloads and not made.switch
    assert made.reasons["exp1"] == [f"delivery {GENERATION}-2 replaced {GENERATION}-1 in a rotation"]


def test_job_that_prometheus_does_not_run() -> None:
    made = plan(look("exp1", jobs=frozenset()), light())
    assert made.absent == ("exp1",) and made.reloads
    assert made.reasons["exp1"] == ["Prometheus does not have its job although the configuration does"]
    assert not plan(look("exp1", running=False), light()).absent
    assert not plan(look("exp1", jobs=frozenset()), light(port=9999)).absent, "the reload comes anyway"


def test_unfinished_run_is_reloaded() -> None:
    seen = look("exp1")
    state = {**seen.state, "unfinished": True}
    assert plan(dataclasses.replace(seen, state=state), light()).reloads


def test_unchanged_files_are_remembered() -> None:
    made = plan(look("exp1"), light())
    assert made.entries["exp1"]["files"] == [[1]] * 3 and made.entries == {"exp1": entry("exp1")}


# --- one bad element costs that exporter only ----------------------------------------------------------------------------


BAD = [
    ("name", "../../etc", "not a usable name"),
    ("name", ".transport", "not a usable name"),
    ("name", "a\0b", "not a usable name"),
    ("address", None, "address"),
    ("address", "a b", "neither a host name"),
    ("port", None, "not a port"),
    ("port", 0, "not a port"),
    ("port", 65536, "not a port"),
    ("alt_names", ["a\0b"], "alt_names"),
    ("alt_names", ["x\n- job_name: evil"], "alt_names"),
    ("alt_names", ["{a: b}"], "alt_names"),
    ("alt_names", ["${HOME}"], "alt_names"),
    ("alt_names", ["a"] * 201, "201 names"),
    ("sha256", "xyz", "not a SHA-256"),
    ("sha256", "A" * 64, "not a SHA-256"),
    ("ca_sha256", "../..", "not a SHA-256"),
    ("delivery", "/srv/precious", "not one of generation"),
    ("delivery", "../../../../srv/precious", "not one of generation"),
    ("delivery", f"{GENERATION}-x", "not one of generation"),
    ("delivery", "20270101T000000Z-00000009-1", "not one of generation"),
    ("delivery", "current", "not one of generation"),
    ("generation", "../x", "not a usable name"),
    ("generation", None, "must be given"),
    ("delivery", None, "must be given"),
    ("sha256", "", "must be given"),
    ("ca_sha256", None, "must be given"),
    ("bundle", None, "carries no certificate and bundle"),
    ("certificate", None, "carries no certificate and bundle"),
    ("ca_certificate", None, "carries no ca_certificate"),
    ("ca_certificate", "-----BEGIN CERTIFICATE-----\n" * 10000, "ca_certificate"),
    ("ca_certificate", "-----BEGIN" * 33, "more than 32 certificates"),
    ("certificate", "x" * 65537, "characters"),
    ("bundle", "x" * 65537, "characters"),
    ("delivery", LATER, "answer of check mode"),
    ("labels", {"a-b": "c"}, "label name"),
    ("labels", {"a": 1}, "quote it"),
    ("scrape_interval", "soon", "duration"),
    ("scrape_interval", "0s", "no time at all"),
    ("metrics_path", "metrics", "does not begin with"),
    ("job_label", "$1", "job_label"),
    ("extra", {"tls_config": {}}, "managed by this collection"),
    ("extra", {"a": "\x1b[2J"}, "control character"),
]


@pytest.mark.parametrize(
    ("key", "value", "reason"), BAD, ids=[f"{key}-{number}" for number, (key, *_rest) in enumerate(BAD)]
)
def test_a_bad_element_costs_its_exporter_only(key: str, value: Any, reason: str) -> None:
    bad = element("exp2", **{key: value}) if key != "name" else {**element("exp2"), "name": value}
    made = plan(look(), bad, element("exp1"), light(name="exp3"), rejected={})
    assert set(made.rejected) == {bad["name"], "exp3"} and reason in made.rejected[bad["name"]]
    assert made.accepted == ("exp1",) and made.switch == {"exp1": f"{GENERATION}-1"}
    assert sorted(made.definitions) == ["exp1"] and b"exp2" not in made.edit.config


@pytest.mark.parametrize("purge", [False, True])
def test_a_refused_exporter_keeps_its_job_and_delivery(purge: bool) -> None:
    seen = look("exp1", "exp2")
    made = plan(seen, element("exp1", delivery="/srv"), light(name="exp2"), purge=purge)
    assert not made.changed and not made.removed and made.edit.config == seen.files.config
    assert made.entries == {"exp1": entry("exp1"), "exp2": entry("exp2")}
    assert made.unmentioned == () and not made.warnings


def test_a_refused_exporter_whose_entry_was_lost_keeps_its_job_under_purge() -> None:
    seen = look(source=with_jobs("exp1"))
    made = plan(seen, element("exp1", port=0), purge=True)
    assert made.edit.config == seen.files.config and made.removed == ()


def test_a_delivery_that_turned_out_bad_is_taken_out() -> None:
    made = plan(look("exp1"), element("exp1", 2), element("exp2"), rejected={"exp1": "forged"})
    assert made.rejected == {"exp1": "forged"} and list(made.deliver) == ["exp2"]
    assert made.entries["exp1"]["delivery"] == f"{GENERATION}-1"


def test_check_mode_predicts_what_is_known_after_apply() -> None:
    later = element(**dict.fromkeys(("generation", "delivery", "sha256", "ca_sha256"), LATER), alt_names=[LATER])
    made = plan(look(running=False), later, check=True)
    assert made.changed and not made.rejected and not made.deliver


# --- exporters that are not mentioned, removed, or another's ---------------------------------------------------------------


def test_what_is_not_mentioned_stays() -> None:
    made = plan(look("exp1", "exp2"), light())
    assert not made.changed and made.unmentioned == ("exp2",)
    assert "not mentioned by this run and left as they are: exp2" in made.warnings[0]


def test_purge_and_remove() -> None:
    assert plan(look("exp1", "exp2"), light(), purge=True).removed == ("exp2",)
    assert plan(look("exp1", "exp2"), remove=("exp2", "exp9")).removed == ("exp2",)
    with pytest.raises(TimesTenError, match="cannot be in both remove and exporters"):
        plan(look("exp1"), light(), remove=("exp1",))


def test_the_job_of_the_other_port_goes() -> None:
    spare = element("exp1.spare", usual_port=8888)
    assert plan(look("exp1"), spare).removed == ("exp1",)
    assert plan(look("exp1"), spare, both_ports=True).removed == ()
    assert plan(look("exp1"), {**spare, "delivery": "/srv"}).removed == ()


@pytest.mark.parametrize("purge", [False, True])
def test_another_fleets_exporters_are_left_alone(purge: bool) -> None:
    seen = look(
        "exp1", "exp2", "exp3", entries={"exp2": entry("exp2", fleet="other"), "exp3": entry("exp3", fleet="ours")}
    )
    made = plan(seen, light(), light(name="exp2", port=1), fleet="ours", purge=purge)
    assert "exp2 belongs to fleet 'other'; this run speaks for 'ours'" in made.rejected["exp2"]
    assert made.removed == (("exp3",) if purge else ())
    assert made.unmentioned == (() if purge else ("exp3",))
    assert made.entries["exp1"]["fleet"] == "ours" and made.entries["exp2"] == entry("exp2", fleet="other")
    with pytest.raises(TimesTenError, match="exp2 belongs to fleet 'other'"):
        plan(seen, fleet="ours", remove=("exp2",))


def test_the_fleet_of_what_is_mentioned_is_the_default() -> None:
    seen = look("exp1", entries={"exp1": entry("exp1", fleet="ours")})
    assert plan(seen, light(), element("exp2")).entries["exp2"]["fleet"] == "ours"


@pytest.mark.parametrize(
    ("given", "mentioned", "known", "fleet"),
    [
        ("north", ["exp1"], {"exp1": "south"}, "north"),
        (None, [], {"exp1": "south", "exp2": "south"}, "south"),
        (None, ["exp1"], {"exp1": "south", "exp2": "north"}, "south"),
        (None, ["exp9"], {"exp1": "south"}, ""),
        (None, [], {"exp1": "south", "exp2": ""}, ""),
        (None, ["exp1", "exp2"], {"exp1": "south", "exp2": "north"}, ""),
        (None, [], {}, ""),
    ],
)
def test_whom_a_call_speaks_for(given: str | None, mentioned: list[str], known: dict[str, str], fleet: str) -> None:
    settings = dataclasses.replace(SETTINGS, fleet=given, exporters=tuple({"name": name} for name in mentioned))
    state = {"exporters": {name: entry(name, fleet=owner) for name, owner in known.items()}}
    assert fleet_of(settings, state).name == fleet


def inventory(*exporters: str, port: int = 8888) -> dict[str, list[str]]:
    return {name: [f"{name}.example.com:{port}"] for name in exporters}


def owned(fleet: str, *exporters: str) -> dict[str, Any]:
    return {name: entry(name, fleet=fleet, generation=f"{fleet}-{name}") for name in exporters}


AUTO = "auto-0123456789ab"


@pytest.mark.parametrize(
    ("exporters", "known", "fleet"),
    [
        pytest.param(inventory("a", "b"), owned(AUTO, "a", "b"), AUTO, id="the same again"),
        pytest.param(inventory("a", "x", "y", "z"), owned(AUTO, "a"), AUTO, id="it has grown"),
        pytest.param(inventory("a", "b"), owned(AUTO, "a", "b", "c"), AUTO, id="it has shrunk"),
        pytest.param(inventory("a"), owned(AUTO, "a", "b", "c"), AUTO, id="it has shrunk to one"),
        pytest.param(inventory("a"), owned("north", "a", "b", "c"), None, id="nobody shrinks into a given name"),
        pytest.param(inventory("a", "x", "y", "z"), owned(AUTO, "a", "b"), None, id="one is shared with a small one"),
        pytest.param(inventory("a", "x", "y", "z"), owned("north", "a"), None, id="nobody grows into a given name"),
        pytest.param(inventory("a", "x"), owned(AUTO, "a", "b"), AUTO, id="half is new"),
        pytest.param(inventory("a", "b"), owned("north", "a", "b"), "north", id="a name is kept"),
        pytest.param(inventory("x"), owned(AUTO, "a", "b"), None, id="nothing is shared"),
        pytest.param(inventory("a", "x", "y"), owned(AUTO, "a", "b", "c"), None, id="one of three is shared"),
        pytest.param(inventory("a", port=1), owned(AUTO, "a"), None, id="the same name elsewhere"),
        pytest.param(
            inventory("a", "x", "y"),
            {**owned(AUTO, "a", "b"), **owned("south", "x", "y")},
            "south",
            id="the larger part",
        ),
        pytest.param(inventory("a"), {"a": entry("a")}, None, id="nobody's so far"),
    ],
)
def test_an_inventory_without_a_name_is_recognized_by_its_exporters(
    exporters: dict[str, Any], known: dict[str, Any], fleet: str | None
) -> None:
    settings = dataclasses.replace(SETTINGS, fleet_exporters=exporters)
    found = fleet_of(settings, {"exporters": known})
    if fleet is None:
        assert found.name.startswith("auto-") and found.name != AUTO and found.former == ""
        # The same for every client, and whoever runs it.
        assert found == fleet_of(settings, {"exporters": {}})
    else:
        assert found.name == fleet


@pytest.mark.parametrize(
    ("pair", "recognized"),
    [
        ({"generation": f"{AUTO}-a"}, True),
        ({"generation": "new", "previous": f"{AUTO}-a"}, True),
        ({"generation": "new"}, False),
        ({"insecure": True}, False),
    ],
)
def test_an_exporter_that_moved_is_known_by_its_wallet(pair: dict[str, Any], recognized: bool) -> None:
    known = {"exporters": owned(AUTO, "a")}
    settings = dataclasses.replace(SETTINGS, fleet_exporters=inventory("a", port=1), exporters=({"name": "a", **pair},))
    assert (fleet_of(settings, known).name == AUTO) is recognized
    assert fleet_of(settings, known, generous=True).name == AUTO


def test_most_of_a_fleet_is_removed_by_name_alone() -> None:
    """An inventory of one exporter may as well be another one, which shares it."""
    mine = {"fleet_exporters": inventory("exp1")}
    seen = look("exp1", "exp2", "exp3", entries=owned(AUTO, "exp1", "exp2", "exp3"))
    assert plan(seen, light(), **mine).unmentioned == ("exp2", "exp3")
    assert plan(seen, remove=("exp2",), **mine).removed == ("exp2",)
    doubt = (
        f"purge: exp2, exp3, which is most of fleet '{AUTO}', is not in this inventory.*prometheus_host_fleet: {AUTO}"
    )
    for wholesale in ({"purge": True}, {"remove": ("exp2", "exp3")}):
        with pytest.raises(TimesTenError, match=doubt):
            plan(seen, light(), **wholesale, **mine)
        assert plan(seen, light(), fleet=AUTO, **wholesale, **mine).removed == ("exp2", "exp3")
    with pytest.raises(TimesTenError, match=doubt):
        plan(seen, purge=True, **mine)
    # Nor does a name take them over.
    assert "exp1 belongs to another inventory" in plan(seen, light(), fleet="north", **mine).rejected["exp1"]


def test_an_insecure_exporter_is_known_by_its_address() -> None:
    """It has no wallet, and may move to another port of the same host."""
    known = {"exporters": {"a": entry("a", fleet=AUTO, generation=None)}}
    item = {"name": "a", "insecure": True, "generation": None, "previous": None}
    settings = dataclasses.replace(SETTINGS, fleet_exporters=inventory("a", port=1), exporters=(item,))
    assert fleet_of(settings, known).name == AUTO
    settings = dataclasses.replace(settings, fleet_exporters={"a": ["elsewhere.example.com:8888"]})
    assert fleet_of(settings, known).name != AUTO


def test_a_name_replaces_the_derived_one() -> None:
    seen = look("exp1", "exp2", entries=owned(AUTO, "exp1", "exp2"))
    mine = {"fleet": "north", "fleet_exporters": inventory("exp1", "exp3")}
    made = plan(seen, light(), element("exp3"), **mine)
    assert {name: kept["fleet"] for name, kept in made.entries.items()} == dict.fromkeys(made.entries, "north")
    assert made.unmentioned == ("exp2",) and not made.rejected
    seen = look("exp1", "exp2", entries={**owned("south", "exp1"), **owned(AUTO, "exp2")})
    made = plan(seen, light(), element("exp3"), **mine)
    assert "exp1 belongs to fleet 'south'" in made.rejected["exp1"] and made.entries["exp2"]["fleet"] == AUTO


@pytest.mark.parametrize("purge", [False, True])
def test_two_inventories_without_a_name(purge: bool) -> None:
    north = {"fleet_exporters": inventory("exp1", "exp2"), "purge": purge}
    south = {
        "fleet_exporters": {"exp3": ["exp3.example.com:8888"], "exp1": ["elsewhere:1"], "exp4": ["x:1"]},
        "purge": purge,
    }
    first = plan(look(), element("exp1"), element("exp2"), **north)
    seen = look("exp1", "exp2", entries=dict(first.entries))
    others = "20261124T104900Z-00000009"
    theirs = element("exp1", address="elsewhere", port=1, generation=others, delivery=f"{others}-1")
    second = plan(seen, element("exp3"), theirs, **south)
    assert second.removed == second.unmentioned == ()
    assert "exp1 belongs to another inventory, which also has exp2 (fleet 'auto-" in second.rejected["exp1"]
    assert second.entries["exp1"] == first.entries["exp1"] and second.definitions["exp1"]["port"] == 8888
    seen = look("exp1", "exp2", "exp3", entries=dict(second.entries))
    third = plan(seen, light(), **north)
    assert third.removed == (("exp2",) if purge else ()) and third.unmentioned == (() if purge else ("exp2",))


def test_what_goes_is_told_with_its_content() -> None:
    both = config.edit(files(SOURCE), [jobs.build(definition("exp1"), STORE)], layout="files")
    seen = look(
        "exp1", files=files(both.config, both.scrape_file), view=config.read(files(both.config, both.scrape_file))
    )
    made = plan(seen, light())
    assert made.obsolete == {SETTINGS.scrape_file: both.scrape_file} and made.edit.scrape_file is None
    assert plan(seen, light(), layout="files").obsolete == {}


# --- the task as a whole -------------------------------------------------------------------------------------------------


def test_refusals_of_the_whole_task() -> None:
    with pytest.raises(TimesTenError, match=r"changed by another run since it was inspected \(revision r1, not r0\)"):
        plan(look(), element(), revision="r0")
    with pytest.raises(TimesTenError, match="the same name"):
        plan(look(), element("exp1"), element("EXP1"))
    with pytest.raises(TimesTenError, match="the jobs of client 'prom2'"):
        plan(look(neighbours={"/other": "prom2"}), element())
    plan(look(neighbours={"/moved": "prom1"}), element())
    with pytest.raises(TimesTenError, match="layout template needs the whole file"):
        plan(look(), element(), layout="template")
    foreign = SOURCE + b"- job_name: mine\n  static_configs: [{targets: ['exp1.example.com:8888']}]\n"
    with pytest.raises(TimesTenError, match="on_existing"):
        plan(look(source=foreign), element())


def test_a_wiped_block_is_put_back() -> None:
    made = plan(look("exp1", source=SOURCE, deliveries={"exp1": in_use()}), light())
    assert "no longer held the jobs of exp1" in made.warnings[0]
    assert made.reasons["exp1"] == ["it has no job yet", "its job was wiped from the configuration"]


@pytest.mark.parametrize(
    ("owner", "changes", "way"),
    [
        (b"", {}, "scrape_config_files: [/etc/prometheus/scrape.d/*.yml], set layout to files"),
        (b"", {"layout": "files"}, "write scrape_config_files: [/etc/prometheus/timesten.yml]"),
        (b"", {"kind": "scrape_file"}, "a scrape_file that nothing else writes"),
        (
            b"scrape_config_files: [/etc/other.yml, conf.d/x-*.yml]\n",
            {},
            "set layout to files and scrape_file to /etc/prometheus/conf.d/x-timesten.yml",
        ),
        (b"scrape_config_files: [/a/*/b.yml]\n", {}, "have that role write"),
    ],
)
def test_the_way_beside_another_role_is_named(owner: bytes, changes: dict[str, Any], way: str) -> None:
    source = owner + SOURCE
    made = plan(look("exp1", source=source, deliveries={"exp1": in_use()}), light(), **changes)
    assert made.rewritten and way.lower() in made.warnings[0].lower(), made.warnings
    state = {"revision": "r1", "client": "prom1", "exporters": {"exp1": entry("exp1")}, "rewritten": {"times": 2}}
    again = plan(look("exp1", source=source, deliveries={"exp1": in_use()}, state=state), light(), **changes)
    assert "3 times so far" in again.warnings[0]
    assert not plan(look("exp1"), light()).rewritten


def test_a_scrape_file_names_the_delivery_itself() -> None:
    made = plan(look(), element(), kind="scrape_file")
    place = f"{STORE}/exp1/{GENERATION}-1/"
    assert made.jobs["exp1"].config["tls_config"]["key_file"] == f"{place}client.key"
    assert place.encode() in made.edit.config and b"/current/" not in made.edit.config
    seen = look("exp1", source=made.edit.config)
    assert not plan(seen, light(), kind="scrape_file").changed
    renewed = plan(seen, element(number=2), kind="scrape_file")
    assert renewed.edit.changed_names == ["exp1"] and f"/{GENERATION}-2/".encode() in renewed.edit.config
    unmentioned = plan(seen, kind="scrape_file")
    assert not unmentioned.changed
    asked = plan(seen, light())
    assert b"/current/ca.crt" in asked.edit.config


def test_template_to_inline_takes_the_plain_jobs_back() -> None:
    block = with_jobs("exp1")
    plain = b"".join(line for line in block.splitlines(keepends=True) if not line.lstrip().startswith(b"# "))
    made = plan(look("exp1", source=plain), light())
    assert (
        made.edit.config.count(b"job_name: timesten-exp1") == 1 and b"# BEGIN timesten.monitoring" in made.edit.config
    )


@pytest.mark.parametrize("place", ["config", "scrape_file", "others"])
@pytest.mark.parametrize(("client", "found"), [("prom2", "prom2"), ("prom1", "prom1"), ("", None)])
def test_a_block_names_its_client(place: str, client: str, found: str | None) -> None:
    job = jobs.build({"name": "exp1", "address": "exp1", "port": 1, "insecure": True}, STORE)
    text = config.edit(config.Files(b"", "/p.yml", STORE, "/s.yml", client=client), [job]).config
    given = config.Files(
        text if place == "config" else b"",
        "/p.yml",
        STORE,
        "/s.yml",
        text if place == "scrape_file" else None,
        {"/o.yml": text} if place == "others" else {},
    )
    path = {"config": "/p.yml", "scrape_file": "/s.yml", "others": "/o.yml"}[place]
    assert neighbours(STORE, given) == ({path: found} if found else {})


# --- rules --------------------------------------------------------------------------------------------------------------

COMMON, OWN = "  - name: all\n    rules: []\n", "  - name: exp1\n    rules: ['@instance@']\n"
RULES_PATH = f"{STORE}.rules.yml"


def with_rules(seen: Observation, **changes: Any) -> Plan:
    return decide(dataclasses.replace(SETTINGS, **changes), seen, {}, False, STORE)


def after_rules() -> tuple[Observation, Plan]:
    """What a run with rules leaves behind, and its plan."""
    seen = look()
    made = with_rules(seen, exporters=(element(rules=OWN),), rules=COMMON)
    state = {**seen.state, "exporters": dict(made.entries), "rules": dict(made.common_rules)}
    stored_now = {"exp1": in_use()}
    view = config.read(files(made.edit.config))
    return dataclasses.replace(
        seen, state=state, files=files(made.edit.config), view=view, deliveries=stored_now, rules=made.rules
    ), made


def test_rules_are_laid_and_named() -> None:
    seen, made = after_rules()
    assert made.configures and made.rules is not None and b"exp1.example.com:8888" in made.rules
    assert made.edit.config.count(RULES_PATH.encode()) == 1
    for changes in ({"rules": COMMON}, {}):
        again = with_rules(seen, exporters=(light(rules=OWN),), **changes)
        assert not again.configures and again.rules == made.rules
    assert with_rules(seen, exporters=(light(),), rules=COMMON).rules == made.rules


def test_a_wiped_rule_file_is_named_again_with_the_way_out() -> None:
    seen, made = after_rules()
    wiped = config.name_rules(made.edit.config, SETTINGS.config_file, None)
    assert RULES_PATH.encode() not in wiped
    again = with_rules(dataclasses.replace(seen, files=files(wiped)), exporters=(light(rules=OWN),), rules=COMMON)
    assert again.rewritten and again.edit.config == made.edit.config
    (warning,) = again.warnings
    assert f"no longer named {RULES_PATH} in rule_files" in warning
    assert (
        "rule_files: [/etc/prometheus/rules.d/*.yml] and set rules_file to /etc/prometheus/rules.d/timesten.yml"
        in warning
    )
    # A role that wipes everything gets both ways in one warning.
    everything = dataclasses.replace(seen, files=files(SOURCE), view=config.read(files(SOURCE)))
    (warning,) = with_rules(everything, exporters=(light(rules=OWN),), rules=COMMON).warnings
    assert "held the jobs of exp1 and no longer named" in warning and "scrape.d" in warning and "rules.d" in warning
    # Nobody has wiped anything: a pattern of the owner names it, or it is not there yet, or moves.
    pattern = files(b"rule_files: [/etc/prometheus/*.rules.yml]\n" + wiped)
    for quiet in ({"files": pattern}, {"files": files(wiped), "rules": None}, {}):
        calm = with_rules(dataclasses.replace(seen, **quiet), exporters=(light(rules=OWN),), rules=COMMON)
        assert not calm.rewritten and not calm.warnings


def test_rules_change_alone() -> None:
    seen, _made = after_rules()
    changed = with_rules(
        seen, exporters=(light(rules=OWN.replace("rules:", "interval: 1m\n    rules:")),), rules=COMMON
    )
    assert changed.configures and changed.reloads and not changed.edit.changed


@pytest.mark.parametrize("changes", [{"rules": "", "exporters": (light(),)}, {"purge": True}, {"remove": ("exp1",)}])
def test_rules_go(changes: dict[str, Any]) -> None:
    seen, _made = after_rules()
    gone = with_rules(seen, **changes)
    assert gone.configures and gone.rules is None and not any(gone.common_rules.values())
    assert RULES_PATH.encode() not in gone.edit.config


def test_each_fleet_keeps_its_rules() -> None:
    seen, made = after_rules()
    state = {"exporters": {"exp1": {**made.entries["exp1"], "fleet": "north"}}, "revision": "r", "rules": COMMON}
    seen = dataclasses.replace(seen, state=state)
    north = with_rules(seen, exporters=(light(),), rules=COMMON, fleet="north")
    assert north.common_rules == {"north": COMMON} and not north.configures
    seen = dataclasses.replace(seen, state={**state, "rules": {"north": COMMON}})
    other = COMMON.replace("all", "others")
    south = with_rules(seen, exporters=(element("exp2"),), rules=other, fleet="south")
    assert south.common_rules == {"north": COMMON, "south": other} and not south.rejected
    both = {**state, "exporters": dict(south.entries), "rules": dict(south.common_rules)}
    seen = dataclasses.replace(seen, state=both, rules=south.rules)
    gone = with_rules(seen, remove=("exp2",), fleet="south")
    assert gone.common_rules == {"north": COMMON} and gone.rules == made.rules
    named = with_rules(seen, exporters=(light(),), rules="", fleet="north")
    assert named.common_rules == {"north": "", "south": other} and named.rules is not None


def test_without_rules_nothing_of_them_is_looked_at() -> None:
    seen = dataclasses.replace(look(), rules=b"groups: []\n")
    made = with_rules(seen, exporters=(element(),))
    assert made.rules == made.rules_source == b"groups: []\n" and b"rule_files" not in made.edit.config
    with pytest.raises(TimesTenError, match="was not written by this collection"):
        with_rules(seen, exporters=(element(rules=OWN),), rules=COMMON)


def test_a_group_that_is_none_costs_its_exporter() -> None:
    made = with_rules(look(), exporters=(element(rules="groups:\n"), element("exp2")), rules=COMMON)
    assert "does not begin with" in made.rejected["exp1"] and made.accepted == ("exp2",)
    made = with_rules(look(), exporters=(element(rules=OWN.rstrip("\n")), element("exp2")), rules=COMMON)
    assert "no line end" in made.rejected["exp1"] and made.accepted == ("exp2",)
