# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outsiders: what the inventory may say of them, what their directories hold, and the texts there."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ansible", reason="used on the controller alone")


from unit.plugins.plugin_utils import forge
from unit.plugins.plugin_utils.test_ledger import ENDS, GENERATION, Site, entry, sha

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age, transport_keys
from ansible_collections.timesten.monitoring.plugins.plugin_utils import (
    answers,
    fleet,
    handover,
    ledger,
    outsider_texts,
    outsiders,
    steps,
)
from ansible_collections.timesten.monitoring.plugins.plugin_utils.outsiders import Entry, Outsider, Source
from gates.doc_examples import example

pytestmark = pytest.mark.controller

KEY = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
OTHER_KEY = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
PRIVATE = "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6"
GROUPS = {"timesten_exporters": ["exp1", "exp2"], "prometheus_servers": ["prom1"]}
ALL = ["exp1", "exp2", "prom1"]
TEAM_B = {"name": "team-b", "public_key": KEY}


def hostvars(taken: Any, **everywhere: Any) -> dict[str, dict[str, Any]]:
    variables = {name: {"exporter_host_timesten_home": "/opt/tt"} for name in GROUPS["timesten_exporters"]}
    variables["prom1"] = {}
    return {name: {**own, "timesten_outsiders": taken, **everywhere} for name, own in variables.items()}


def problems(taken: Any, **everywhere: Any) -> list[str]:
    return fleet.problems(hostvars(taken, **everywhere), GROUPS, ALL)


# --- the inventory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "taken", [[], None, [TEAM_B], [{**TEAM_B, "exporters": "exp1,exp2", "scrape_interval": "1m30s"}]]
)
def test_what_may_be_said(taken: Any) -> None:
    assert problems(taken) == []
    read_fleet, messages = fleet.read(hostvars(taken), GROUPS)
    assert messages == [] and [item.name for item in read_fleet.run.timesten_outsiders] == [
        item["name"] for item in taken or []
    ]
    if taken:
        assert [item.name for item in read_fleet.outsiders_of("exp1")] == ["team-b"]
        assert fleet.counts(read_fleet, ALL).endswith("2 pairs, 1 outsider")


def test_the_example_of_the_page_is_right() -> None:
    everything = yaml.safe_load(example("outsiders"))
    names = {"timesten_exporters": ["exp1.example.com"], "prometheus_servers": ["prom1"]}
    read_fleet, messages = fleet.read(
        {"exp1.example.com": {"exporter_host_timesten_home": "/opt/tt", **everything}, "prom1": everything}, names
    )
    assert messages == []
    assert read_fleet.run.timesten_outsiders == (Outsider("team-b", KEY, ("exp1.example.com",), "30s"),)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("team-b", "timesten_outsiders is not a list of mappings"),
        ({"name": "team-b"}, "is not a list"),
        (["team-b"], "is not a list of mappings"),
        ([{"name": "team-b"}], "public_key"),
        ([{"public_key": KEY}], "name"),
        ([{**TEAM_B, "pubkey": KEY}], "timesten_outsiders[0].pubkey is not a key that it has"),
        ([{**TEAM_B, "name": "../x"}], "is not a usable name"),
        ([{**TEAM_B, "name": ""}], "is not a usable name"),
        ([{**TEAM_B, "name": "Probe"}], "is reserved"),
        ([{**TEAM_B, "name": "prom1"}], "'prom1' is the name of a client of prom1"),
        ([{**TEAM_B, "name": "PROM1"}], "'PROM1' is the name of a client of prom1"),
        ([TEAM_B, {"name": "Team-B", "public_key": OTHER_KEY}], "have the same name"),
        ([TEAM_B, {"name": "team-c", "public_key": KEY}], "team-b, team-c have the same public_key"),
        ([{**TEAM_B, "public_key": KEY[:-1]}], "public_key of team-b: "),
        ([{**TEAM_B, "public_key": KEY[:-1] + "q"}], "checksum"),
        ([{**TEAM_B, "public_key": KEY.upper()}], "58 lower-case letters"),
        ([{**TEAM_B, "public_key": "ssh-ed25519 AAAA"}], "X25519"),
        ([{**TEAM_B, "public_key": True}], "is no text"),
        ([{**TEAM_B, "exporters": []}], "takes nothing"),
        ([{**TEAM_B, "exporters": ["exp3"]}], "exporters of team-b: 'exp3' is not an exporter; exp"),
        ([{**TEAM_B, "exporters": ["exp1", "exp1"]}], "are the same name"),
        ([{**TEAM_B, "scrape_interval": "0s"}], "no time at all"),
        ([{**TEAM_B, "scrape_interval": "often"}], "is not a Prometheus duration"),
        ([{**TEAM_B, "scrape_interval": 30}], "is not a Prometheus duration"),
    ],
)
def test_what_is_refused(taken: Any, said: str) -> None:
    refusals = problems(taken)
    assert refusals and any(said in message for message in refusals), refusals


@pytest.mark.parametrize("given", [PRIVATE, PRIVATE.lower(), [PRIVATE], {"key": PRIVATE}])
def test_a_private_key_given_by_mistake_is_not_shown(given: Any) -> None:
    messages = problems([{**TEAM_B, "public_key": given}])
    assert messages and PRIVATE[20:].lower() not in " ".join(messages).lower()


def test_a_host_that_cannot_be_read_does_not_lose_its_pairs() -> None:
    """Outside of a limit as well: the directories are written from the whole inventory."""
    variables = hostvars([TEAM_B])
    variables["exp2"]["exporter_host_port"] = 70000
    limited = ["exp1", "prom1"]
    (message,) = fleet.problems(variables, GROUPS, limited, limit="exp1:prom1")
    assert message.startswith(
        "timesten_outsiders: what they get is written from the whole inventory, and variables of exp2 are wrong"
    )
    assert "70000" in message
    for name in ALL:
        del variables[name]["timesten_outsiders"]
    assert fleet.problems(variables, GROUPS, limited, limit="exp1:prom1") == []


def test_one_list_for_all_hosts() -> None:
    variables = hostvars([TEAM_B])
    variables["exp2"]["timesten_outsiders"] = [{"name": "team-c", "public_key": OTHER_KEY}]
    assert any("differs from host to host" in text for text in fleet.problems(variables, GROUPS, ALL))
    del variables["exp2"]["timesten_outsiders"]
    assert fleet.problems(variables, GROUPS, ALL) == []


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert problems([TEAM_B], timesten_outsiders_dir=str(file / "below"))[0].endswith(
        "remove it, or choose another path"
    )
    assert problems([TEAM_B], timesten_outsiders_dir=str(tmp_path / "new" / "below")) == []
    assert problems(None, timesten_outsiders_dir=str(file)) == []


def test_an_outsider_may_be_evicted_and_readmitted_and_left_out() -> None:
    for variables in ({"evict": "team-b"}, {"exporter_host_readmit": ["team-b"]}, {"rotate_optional": ["team-b"]}):
        assert problems([TEAM_B], **variables) == []
        assert problems([], **variables) != []
    assert problems([TEAM_B], rotate_grace=-1) != []


# --- what a host answers ----------------------------------------------------------------------------------------------


def parsed(bundle: str, recipient: str | None = KEY) -> answers.ExporterHostAnswer:
    pair = {**forge.pair("exp1", "prom1"), "client": "team-b", "bundle": bundle}
    raw = {"changed": True, "exporters": [forge.made("exp1", pairs=[pair])]}
    recipients = {} if recipient is None else {"team-b": recipient}
    return answers.parse_exporter_host(
        raw,
        phase="converge",
        host="exp1",
        exporters=["exp1"],
        clients=["team-b"],
        check_mode=False,
        recipients=recipients,
    )


ENCRYPTED = age.armor(age.encrypt(b"-----BEGIN PRIVATE KEY-----\n...", [KEY]))
SEALED = forge.pair("exp1", "prom1")["bundle"]


def test_an_encrypted_key_passes_and_is_read_again() -> None:
    for recipient in (KEY, None):
        answer = parsed(ENCRYPTED, recipient)
        assert answer.exporters["exp1"].pairs["team-b"].bundle == ENCRYPTED


@pytest.mark.parametrize(
    ("bundle", "recipient"),
    [
        (SEALED, KEY),
        (ENCRYPTED, forge.TRANSPORT),
        (ENCRYPTED + "\n", KEY),
        (ENCRYPTED + "\nmore", None),
        (ENCRYPTED.replace("AGE ENCRYPTED FILE", "PRIVATE KEY"), KEY),
        (ENCRYPTED[:200], KEY),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n" + "A" * 70000, KEY),
        (age.armor(age.encrypt(b"key", [KEY, OTHER_KEY])), KEY),
        ("\x1b[31m", KEY),
    ],
    # Keys are made anew in each process.
    ids=range(9),
)
def test_anything_else_is_nonsense(bundle: str, recipient: str | None) -> None:
    with pytest.raises(answers.Nonsense):
        parsed(bundle, recipient)


# --- the directory ----------------------------------------------------------------------------------------------------

TAKER = Outsider("team-b", KEY, None, "30s")


def parse(element: dict[str, Any], check_mode: bool = False) -> answers.ExporterAnswer:
    """The answer of an exporter host about its one exporter."""
    name = element["name"]
    return answers.parse_exporter_host(
        {"changed": True, "exporters": [element]},
        phase="converge",
        host=name,
        exporters=[name],
        clients=["team-b"],
        check_mode=check_mode,
    ).exporters[name]


def answered(name: str = "exp1", **changes: Any) -> answers.ExporterAnswer:
    pair = {**forge.pair(name, "prom1"), "client": "team-b", "bundle": ENCRYPTED}
    return parse(forge.made(name, **{"pairs": [pair], **changes}))


def kept(name: str = "exp1", **changes: Any) -> answers.ExporterAnswer:
    """The answer of an exporter host that knows that the outsider has its pair."""
    pair = {key: value for key, value in forge.pair(name, "prom1").items() if key not in ("certificate", "bundle")}
    return answered(name, **{"pairs": [{**pair, "client": "team-b"}], "ca_certificate": None, **changes})


def source(answer: answers.ExporterAnswer | None, name: str = "exp1", **changes: Any) -> Source:
    return dataclasses.replace(Source(name, name, 8888, 8889, False, answer), **changes)


def files(directory: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_text())
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "outsiders" / "team-b"
    both = [source(answered()), source(answered("exp2"), "exp2")]
    assert outsiders.converge(str(made), TAKER, both, True) == ["exp1", "exp2"] and not made.exists()
    assert outsiders.converge(str(made), TAKER, both, False) == ["exp1", "exp2"]
    return made


def known(directory: Path) -> dict[str, Entry]:
    return outsiders.read(str(directory), KEY)


def test_a_first_run_writes_all_and_a_second_nothing(directory: Path) -> None:
    before = files(directory)
    assert before["pairs/exp1/client.key.age"][1] == ENCRYPTED + "\n"
    assert before["pairs/exp1/client.crt"][1] == forge.pair("exp1", "prom1")["certificate"]
    again = [source(kept()), source(kept("exp2"), "exp2")]
    for check_mode in (True, False):
        assert outsiders.converge(str(directory), TAKER, again, check_mode) == []
        assert files(directory) == before
    assert "PRIVATE KEY" not in "".join(text for _time, text in before.values())


def test_what_the_module_is_told(directory: Path) -> None:
    has = outsiders.client(TAKER, known(directory), ["exp1", "exp3"], False)
    pair = forge.pair("exp1", "prom1")
    stored = {
        "delivery": pair["delivery"],
        "sha256": pair["sha256"],
        "ca_sha256": forge.made("exp1")["ca_sha256"],
        "verifies": "exp1",
    }
    assert has == {
        "name": "team-b",
        "recipient": KEY,
        "scrape_interval": 30.0,
        "exporters": ["exp1", "exp3"],
        "stored": {"exp1": stored, "exp1.spare": stored},
        "readmit": False,
    }
    assert outsiders.client(dataclasses.replace(TAKER, exporters=("exp2",)), {}, ["exp1"], True)["exporters"] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "pairs/exp1/client.key.age").unlink(),
        lambda path: (path / "pairs/exp1/client.key.age").write_text("damaged"),
        lambda path: (path / "pairs/exp1/client.key.age").write_text(age.armor(age.encrypt(b"another", [KEY])) + "\n"),
        lambda path: (path / "pairs/exp1/client.crt").write_text((path / "pairs/exp2/client.crt").read_text()),
        lambda path: (path / "pairs/exp1/ca.crt").write_text(""),
    ],
)
def test_an_entry_whose_files_are_not_its_own_is_not_there(directory: Path, damage: Any) -> None:
    damage(directory)
    assert set(known(directory)) == {"exp2"}
    # An answer that says that the outsider has its pair does not make it whole.
    assert outsiders.converge(str(directory), TAKER, [source(kept()), source(None, "exp2")], False) == []
    assert set(known(directory)) == {"exp2"}
    assert outsiders.converge(str(directory), TAKER, [source(answered()), source(None, "exp2")], False) == ["exp1"]
    assert set(known(directory)) == {"exp1", "exp2"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 2}', '{"version": 1, "recipient": "x", "exporters": [1]}']
)
def test_a_damaged_state_is_none(directory: Path, text: str) -> None:
    (directory / "pairs.json").write_text(text)
    assert known(directory) == {}


@pytest.mark.parametrize(
    "change",
    [{"port": "8888"}, {"port": None}, {"address": 5}, {"not_after": 5}, {"not_after": "soon"}, {"alt_names": 5}],
)
def test_a_state_of_which_no_job_can_be_made_is_none(directory: Path, change: dict[str, Any]) -> None:
    """It is there, and well-formed: the next run writes all of it anew, and does not fail."""
    state = json.loads((directory / "pairs.json").read_text())
    state["exporters"][0].update(change)
    (directory / "pairs.json").write_text(json.dumps(state))
    assert known(directory) == {}
    both = [source(answered()), source(answered("exp2"), "exp2")]
    assert outsiders.converge(str(directory), TAKER, both, False) == ["exp1", "exp2"]
    assert set(known(directory)) == {"exp1", "exp2"}


def test_a_state_that_is_nested_too_deep_is_none(directory: Path) -> None:
    (directory / "pairs.json").write_text("[" * 200000)
    assert known(directory) == {}


def test_another_key_has_nothing(directory: Path) -> None:
    assert outsiders.read(str(directory), OTHER_KEY) == {}


def test_what_is_not_told_stays(directory: Path) -> None:
    before = files(directory)
    failed = answers.ExporterAnswer("exp1", "converge", False, "its host is dead")
    for answer in (None, failed, answered(pairs=[], ca_certificate=None)):
        assert outsiders.converge(str(directory), TAKER, [source(answer), source(None, "exp2")], False) == []
    assert files(directory) == before


def test_evicted_it_has_nothing_of_the_exporter(directory: Path) -> None:
    gone = answered(pairs=[], ca_certificate=None, evicted=["team-b"])
    assert outsiders.converge(str(directory), TAKER, [source(gone), source(None, "exp2")], False) == ["exp1"]
    assert set(known(directory)) == {"exp2"} and not (directory / "pairs/exp1").exists()
    (directory / "notes").write_text("somebody's")
    gone = answered("exp2", pairs=[], ca_certificate=None, evicted=["team-b"])
    assert outsiders.converge(str(directory), TAKER, [source(gone, "exp2")], False) == ["exp2"]
    assert set(files(directory)) == {"notes"}
    assert outsiders.converge(str(directory), TAKER, [source(gone, "exp2")], False) == []


def test_another_port_changes_the_texts_alone(directory: Path) -> None:
    changed = outsiders.converge(
        str(directory), TAKER, [source(kept(spare=True, port=8889)), source(None, "exp2")], False
    )
    assert changed == ["exp1"]
    first = yaml.safe_load((directory / "scrape_config.yml").read_text())["scrape_configs"][0]
    assert first["static_configs"] == [
        {"targets": ["exp1:8889"], "labels": {"instance": "exp1:8888", "job": "timesten-exp1"}}
    ]


def test_insecure_it_needs_no_pair(directory: Path) -> None:
    plain = parse(forge.plain_http("exp1"))
    assert outsiders.converge(str(directory), TAKER, [source(plain, insecure=True), source(None, "exp2")], False) == [
        "exp1"
    ]
    assert not (directory / "pairs/exp1").exists() and known(directory)["exp1"].insecure
    first = yaml.safe_load((directory / "scrape_config.yml").read_text())["scrape_configs"][0]
    assert first["scheme"] == "http" and "tls_config" not in first


def test_check_mode_predicts_what_is_made_anew(directory: Path) -> None:
    later = dict.fromkeys(("delivery", "sha256", "not_before", "not_after"), forge.LATER)
    answer = parse({**forge.predicted("exp1"), "pairs": [{"client": "team-b", **later}]}, check_mode=True)
    before = files(directory)
    assert outsiders.converge(str(directory), TAKER, [source(answer), source(None, "exp2")], True) == ["exp1"]
    assert files(directory) == before


# --- the texts --------------------------------------------------------------------------------------------------------


def entries(*names: str, **changes: Any) -> list[Entry]:
    return [Entry(name, "db.example.com", 8888, sha256="0" * 64, not_after=ENDS, **changes) for name in names]


def texts(listed: list[Entry]) -> dict[str, str]:
    material = {f"pairs/{item.exporter}/{file}": file for item in listed for file in ("ca.crt", "client.crt")}
    return outsider_texts.texts(TAKER, listed, material)


def test_manifests_have_the_shape_of_their_kinds() -> None:
    listed = entries("Exp_1.a", "exp-1-a", alt_names=("other.example.com",))
    documents = list(yaml.safe_load_all(texts(listed)["kubernetes.yml"]))
    assert [item["kind"] for item in documents] == ["Secret", "ScrapeConfig"] * 2
    names = [item["metadata"]["name"] for item in documents]
    assert names[0] == names[1] and names[2] == names[3] and names[0] != names[2]
    for item in documents:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", item["metadata"]["name"])
        if item["kind"] == "Secret":
            assert set(item) == {"apiVersion", "kind", "metadata", "type", "data"} and item["apiVersion"] == "v1"
            data = {key: base64.b64decode(value, validate=True).decode() for key, value in item["data"].items()}
            assert data == {"ca.crt": "ca.crt", "client.crt": "client.crt"}
            continue
        assert item["apiVersion"] == "monitoring.coreos.com/v1alpha1"
        secret = item["metadata"]["name"]
        assert item["spec"] == {
            "jobName": item["spec"]["jobName"],
            "scrapeInterval": "30s",
            "scheme": "HTTPS",
            "staticConfigs": [{"targets": ["db.example.com:8888"]}],
            "tlsConfig": {
                "ca": {"secret": {"name": secret, "key": "ca.crt"}},
                "cert": {"secret": {"name": secret, "key": "client.crt"}},
                "keySecret": {"name": f"{secret}-key", "key": "client.key"},
                "serverName": "other.example.com",
            },
        }
        assert f"generic {secret}-key --from-file=client.key=" in texts(listed)["README.md"]


def test_the_collector_gets_what_prometheus_gets() -> None:
    by_file = texts(entries("exp1", "exp2"))
    receiver = yaml.safe_load(by_file["otel-collector.yml"])["receivers"]["prometheus/timesten"]
    assert receiver["config"] == yaml.safe_load(by_file["scrape_config.yml"])
    assert receiver["config"]["scrape_configs"][0]["tls_config"] == {
        "ca_file": "/etc/timesten/exp1/ca.crt",
        "cert_file": "/etc/timesten/exp1/client.crt",
        "key_file": "/etc/timesten/exp1/client.key",
    }


def test_alloy_has_a_component_for_each_exporter() -> None:
    text = texts(entries("exp-1", "exp_1", "exp.1", usual_port=8889))["config.alloy"]
    labels = re.findall(r'^prometheus\.scrape "([A-Za-z_][A-Za-z0-9_]*)" \{$', text, re.MULTILINE)
    assert len(labels) == len(set(labels)) == 3
    assert text.count("{") == text.count("}") and text.count("tls_config {") == 3
    targets = '[{"__address__" = "db.example.com:8888", "instance" = "db.example.com:8889", "job" = "timesten-exp-1"}]'
    assert f"  targets         = {targets}\n" in text


# --- the ledger -------------------------------------------------------------------------------------------------------


def site(tmp_path: Path, check_mode: bool = False, **changes: Any) -> Site:
    made = Site(1, 1, check_mode, timesten_outsiders=[TEAM_B], timesten_outsiders_dir=str(tmp_path))
    made.inspected("prom1")
    has = {"client": "team-b", "delivery": f"{GENERATION}-1", "sha256": sha("b"), "not_after": ENDS}
    pairs = [*made.made("exp1")["pairs"], *([] if changes.get("evicted") else [has])]
    asked = {"phase": "converge", "exporters": ["exp1"], "clients": ["prom1", "team-b"], "check_mode": check_mode}
    raw = {"changed": False, "exporters": [{**made.made("exp1"), "pairs": pairs, **changes}]}
    made.hostvars["exp1"][steps.CONVERGED] = {"calls": [{"asked": asked, "answer": raw}]}
    made.answered("prom1")
    return made


def write_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    row = {**dataclasses.asdict(Entry("exp1", "exp1", 8888, sha256=sha("b"), not_after=ENDS)), **changes}
    folder = tmp_path / "team-b"
    folder.mkdir()
    state = {"version": 1, "recipient": transport_keys.key_id(KEY), "exporters": [row]}
    (folder / "pairs.json").write_text(json.dumps(state))
    # Whether its files are the ones that it names has tests of its own.
    monkeypatch.setattr(outsiders, "_is_whole", lambda _directory, _row: True)


@pytest.mark.parametrize("operation", ["site", "verify"])
def test_a_pair_of_an_outsider_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    write_entry(tmp_path, monkeypatch)
    made = site(tmp_path).ledger(operation)
    row = {pair.client: pair for pair in made.pairs}["team-b"]
    assert (row.state, row.expires, row.up, row.accepted) == ("not asked", ENDS, None, None)
    assert made.good and made.verdict() == "1 of 2 pairs proven, 1 encrypted for outsiders, who are not asked."
    form = made.as_dict()
    assert [(pair["client"], pair["outsider"]) for pair in form["pairs"]] == [("prom1", False), ("team-b", True)]
    assert ledger.Ledger.from_dict(json.loads(json.dumps(form))).verdict() == made.verdict()


@pytest.mark.parametrize(
    ("has", "changes", "state", "reason"),
    [
        ({"sha256": sha("old")}, {}, "failed", "does not hold what team-b needs"),
        ({"exporter": "exp2"}, {}, "failed", "does not hold what team-b needs"),
        ({"not_after": "2020-01-01T00:00:00Z"}, {}, "failed", "its pair ended at 2020-01-01T00:00:00Z"),
        ({}, {"evicted": ["team-b"]}, "evicted", "take team-b out of timesten_outsiders, or readmit it"),
        ({}, {"pairs": []}, "failed", "its host has issued no pair for team-b"),
        ({}, {"rotation_due": "the wallet is due"}, "failed", "its wallet has to be replaced"),
    ],
)
def test_a_pair_that_is_not_as_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: Any, changes: Any, state: str, reason: str
) -> None:
    write_entry(tmp_path, monkeypatch, **has)
    made = site(tmp_path, **changes).ledger()
    row = {pair.client: pair for pair in made.pairs}["team-b"]
    assert row.state == state and reason in str(row.reason)
    assert not made.good


def test_check_mode_predicts_a_pair(tmp_path: Path) -> None:
    assert site(tmp_path, check_mode=True).states()[("exp1", "team-b")] == "predicted"


# --- when a run writes ------------------------------------------------------------------------------------------------


def registered(element: dict[str, Any], phase: str = "converge") -> dict[str, Any]:
    name = element["name"]
    asked = {"phase": phase, "exporters": [name], "clients": ["prom1", "team-b"], "check_mode": False}
    return {"calls": [{"asked": asked, "answer": {"changed": True, "exporters": [element]}}]}


def encrypted(name: str, element: dict[str, Any]) -> dict[str, Any]:
    pair = {**forge.pair(name, "prom1"), "client": "team-b", "bundle": ENCRYPTED}
    row = {**element, "pairs": [pair]}
    if "rotation" in row:
        row["rotation"] = {**row["rotation"], "clients": ["team-b"]}
    return row


def rotating(tmp_path: Path) -> Site:
    made = Site(2, 1, timesten_outsiders=[TEAM_B], timesten_outsiders_dir=str(tmp_path))
    made.extra = {"rotate_wave_hosts": ["exp1", "exp2"]}
    for name in ("exp1", "exp2"):
        made.hostvars[name][steps.STAGED] = registered(encrypted(name, forge.staged(name)), "stage")
    return made


def test_new_pairs_first_and_only_what_was_switched_stays(tmp_path: Path) -> None:
    inventory = rotating(tmp_path).inventory()
    own, following = tmp_path / "team-b", tmp_path / "team-b" / "next"
    assert handover.before_the_switch(inventory) == {}
    assert set(known(following)) == {"exp1", "exp2"} and not (own / "pairs.json").exists()
    assert handover.after_the_switch(inventory, ["exp2"]) == []
    assert set(known(own)) == {"exp2"} and not following.exists()


def test_what_cannot_be_written_is_not_switched(tmp_path: Path) -> None:
    made = rotating(tmp_path)
    made.hostvars["exp2"][steps.STAGED] = registered(forge.skipped("exp2"), "stage")
    inventory = made.inventory()
    (tmp_path / "team-b").write_text("in the way")
    failed = handover.before_the_switch(inventory)
    assert set(failed) == {"exp1"} and "could not be written" in failed["exp1"]
    assert len(handover.after_the_switch(inventory, ["exp1"])) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_a_run_clears_what_no_rotation_needs(tmp_path: Path, fails: bool) -> None:
    made = rotating(tmp_path)
    handover.before_the_switch(made.inventory())
    for name in ("exp1", "exp2"):
        made.hostvars[name][steps.CONVERGED] = registered(encrypted(name, forge.made(name)))
    if fails:
        # As the host of an exporter answers that another run rotates.
        made.hostvars["exp2"][steps.CONVERGED] = registered(forge.failed("exp2"))
    assert handover.at_the_end(made.inventory(), True)[0] and not (tmp_path / "team-b" / "pairs.json").exists()
    notes, problems = handover.at_the_end(made.inventory(), False)
    assert len(notes) == 1 and problems == []
    assert set(known(tmp_path / "team-b")) == ({"exp1"} if fails else {"exp1", "exp2"})
    assert (tmp_path / "team-b" / "next").exists() == fails
    assert handover.at_the_end(made.inventory(), False) == ([], [])


def test_what_was_rotated_after_it_had_answered_is_not_taken_back(tmp_path: Path) -> None:
    made = rotating(tmp_path)
    handover.after_the_switch(made.inventory(), ["exp1", "exp2"])
    before = files(tmp_path)
    made.hostvars["exp1"][steps.CONVERGED] = registered(
        {**encrypted("exp1", forge.made("exp1")), "alt_names": ["old.example.com"]}
    )
    made.extra["timesten_rotated"] = {"entries": [entry("exp1")]}
    assert handover.at_the_end(made.inventory(), False) == ([], [])
    assert files(tmp_path) == before


def removing(tmp_path: Path, **order: Any) -> Site:
    """After a run of site, the hosts have removed what the order says."""
    made = Site(2, 1, timesten_outsiders=[TEAM_B], timesten_outsiders_dir=str(tmp_path), **order)
    for name in ("exp1", "exp2"):
        made.hostvars[name][steps.CONVERGED] = registered(encrypted(name, forge.made(name)))
    handover.at_the_end(made.inventory(), False)
    assert set(known(tmp_path / "team-b")) == {"exp1", "exp2"}
    for name in ("exp1", "exp2"):
        made.hostvars[name][steps.CONVERGED] = registered(forge.removed(name))
    return made


def test_a_removal_takes_everything_out_of_the_directory(tmp_path: Path) -> None:
    made = removing(tmp_path, remove_everything=True)
    before = files(tmp_path)
    [note], problems = handover.after_removal(made.inventory(), True)
    assert "the pairs of exp1, exp2" in note and "would go" in note and problems == [] and files(tmp_path) == before
    (tmp_path / "team-b" / "notes.txt").write_text("theirs")
    (tmp_path / "team-b" / "pairs" / "exp9").mkdir()
    [note], problems = handover.after_removal(made.inventory(), False)
    assert "opens nothing any more. What else lies there stays." in note and problems == []
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["team-b", "team-b/notes.txt", "team-b/pairs", "team-b/pairs/exp9"]
    [note], problems = handover.after_removal(made.inventory(), False)
    assert note.endswith("does not hold what was written there, and stays.")


def test_a_removal_leaves_no_directory_of_ours(tmp_path: Path) -> None:
    handover.after_removal(removing(tmp_path, remove_everything=True).inventory(), False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", [{"remove_everything": True}, {"remove_exporter": "exp2"}])
def test_only_what_was_removed_leaves_the_directory(tmp_path: Path, order: dict[str, Any]) -> None:
    made = removing(tmp_path, **order)
    made.hostvars["exp1"][steps.CONVERGED] = registered(forge.failed("exp1"))
    [note], _problems = handover.after_removal(made.inventory(), False)
    assert "the pairs of exp2 in" in note and set(known(tmp_path / "team-b")) == {"exp1"}


def test_a_removal_that_was_refused_or_of_a_prometheus_takes_nothing_from_outsiders(tmp_path: Path) -> None:
    for order in ({"remove_prometheus": "prom1"}, {"remove_everything": True, "remove_exporter": "exp1"}):
        made = removing(tmp_path, **order)
        assert handover.after_removal(made.inventory(), False) == ([], [])


def test_the_run_says_who_is_down(tmp_path: Path) -> None:
    read = rotating(tmp_path).inventory().fleet
    assert handover.down(read, [], (), False) == [] == handover.down(read, ["exp1"], ("team-b",), False)
    [note] = handover.down(read, ["exp1"], (), True)
    assert note.startswith("Outsider team-b would be down for exp1 until it takes the new pairs from ")
    graceful = dataclasses.replace(
        read, run=dataclasses.replace(read.run, rotate_strategy="spare_port", rotate_grace=60.0)
    )
    assert "both ports were served for 60 s" in handover.down(graceful, ["exp1"], (), False)[0]
