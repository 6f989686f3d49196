# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The border: what the modules really answer gets through unchanged, what is forged does not, whatever it is."""

from __future__ import annotations

import base64
import collections
import copy
import json
import math
import random
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unit.plugins.plugin_utils import forge

from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, checks, diffs, failures

Raw = Any
pytestmark = pytest.mark.controller
EXPORTER_HOST = forge.exporter_answers()
PROMETHEUS_HOST = forge.prometheus_answers()
ALL = [(answers.parse_exporter_host, *item) for item in EXPORTER_HOST] + [
    (answers.parse_prometheus_host, *item) for item in PROMETHEUS_HOST
]


def _ids(table: list[Any]) -> list[str]:
    return [f"{'exporter' if item[0] is answers.parse_exporter_host else 'prometheus'}: {item[-3]}" for item in table]


@pytest.mark.parametrize(("parse", "what", "raw", "call"), ALL, ids=_ids(ALL))
def test_real_answers_get_through_and_stay_the_same(parse: Callable[..., Any], what: str, raw: Raw, call: Raw) -> None:
    answer = parse(raw, **call)
    again = json.loads(json.dumps(answer.as_dict(), allow_nan=False))
    assert parse(again, **call) == answer
    assert parse(again, **call).as_dict() == again
    assert (answer.failed is not None) == bool(raw.get("failed") or raw.get("unreachable"))
    _check_answer(answer, call)


def test_all_phases_and_states_are_in_the_tables() -> None:
    assert {call["phase"] for _what, _raw, call in EXPORTER_HOST} == set(answers.get_args(answers.Phase))
    assert {call["state"] for _what, _raw, call in PROMETHEUS_HOST} == set(answers.get_args(answers.State))


def _exporter_raw(what: str) -> tuple[Raw, Raw]:
    return next((copy.deepcopy(raw), dict(call)) for name, raw, call in EXPORTER_HOST if name == what)


def _prometheus_raw(what: str) -> tuple[Raw, Raw]:
    return next((copy.deepcopy(raw), dict(call)) for name, raw, call in PROMETHEUS_HOST if name == what)


def test_values_of_a_converged_exporter() -> None:
    raw, call = _exporter_raw("converge")
    answer = answers.parse_exporter_host(raw, **call).exporters["exp1"]
    assert answer.pairs["prom2"].delivery == f"{forge.NEW}-1"
    assert answer.pairs["prom2"].bundle == raw["exporters"][0]["pairs"][1]["bundle"]
    assert answer.ca_certificate == raw["exporters"][0]["ca_certificate"]
    assert answer.process == answers.Process("started", 4711, None)
    assert answer.server_certificate is not None and answer.server_certificate.alt_names == ("exp1",)


def test_an_exporter_that_is_missing_has_failed_alone() -> None:
    raw, call = _exporter_raw("converge")
    del raw["exporters"][0]
    answer = answers.parse_exporter_host(raw, **call)
    assert answer.exporters["exp1"].failed == "its host did not answer for it"
    assert answer.exporters["exp2"].failed is None


def test_a_failed_call_without_exporters_fails_them_all_for_its_reason() -> None:
    raw, call = _exporter_raw("unreachable")
    answer = answers.parse_exporter_host(raw, **call)
    assert {found.failed for found in answer.exporters.values()} == {"Failed to connect to the host via ssh: no"}


def test_a_proof_that_is_missing_is_none() -> None:
    raw, call = _prometheus_raw("present")
    del raw["exporters"][0]
    proof = answers.parse_prometheus_host(raw, **call).exporters["exp1"]
    assert (proof.up, proof.failed) == (None, "its host did not answer for it")


@pytest.mark.parametrize("parse_and_more", ALL, ids=_ids(ALL))
def test_nothing_that_the_contract_does_not_name_survives(parse_and_more: Any) -> None:
    parse, _what, raw, call = parse_and_more
    forged = copy.deepcopy(raw)
    facts = {"exporter_host_port": 8890, "exporter_host_address": "evil", "exporter_host_owner": "root"}
    forged.update(
        ansible_facts=facts, _ansible_no_log=False, invocation={"evil": 1}, exception="evil", evil="evil", rc=0
    )
    for element in forged.get("exporters") or []:
        element.update(ansible_facts=facts, evil="evil", _ansible_verbose_always=True)
        for pair in element.get("pairs", []):
            pair["evil"] = "evil"
    assert parse(forged, **call) == parse(raw, **call)
    assert "evil" not in json.dumps(parse(forged, **call).as_dict())


# --- forged ---------------------------------------------------------------------------------------------------------------


def _put(raw: Raw, path: str, value: Any) -> None:
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    target: Any = raw
    for step in steps:
        target = target[step]
    target[last] = value


REPLAYED = forge.pair("exp1", "prom1", forge.OLD)["bundle"]
OTHER = forge.certificate("somebody")[0]
CHAIN = OTHER * 10_000
CUT = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = forge.certificate("exp1")[1].decode("ascii")
DEEP = json.loads("[" * 900 + "]" * 900)
FOREVER = "a" * 5_000_000
OFF_CURVE = base64.b64encode(b"\x04" + b"\x01" * 64).decode("ascii")

FORGED_EXPORTER = [
    ("converge", "exporters/0/pairs/1/delivery", "/srv/precious", "exporters[0].pairs[1].delivery"),
    ("converge", "exporters/0/pairs/1/delivery", "../../../../srv/precious", "no delivery's name: '../../../../srv"),
    ("converge", "exporters/0/pairs/1/delivery", f"{forge.NEW}-1/..", "delivery"),
    ("converge", "exporters/0/pairs/1/delivery", f"{forge.NEW}-1\n", "delivery"),
    ("converge", "exporters/0/pairs/1/delivery", f"{forge.NEW}-٣", "delivery"),
    ("converge", "exporters/0/pairs/1/delivery", f"{forge.OLD}-1", "is not of generation"),
    ("converge", "exporters/0/pairs/1/delivery", "known after apply", "delivery"),
    ("converge", "exporters/0/pairs/1/delivery", None, "delivery is missing"),
    ("converge", "exporters/0/generation", "../..", "generation"),
    ("converge, nothing to do", "exporters/1/name", "exp1", "exporters[1].name is there twice"),
    ("converge", "exporters/1/name", "exp9", "did not ask for"),
    ("converge", "exporters/1/name", None, "exporters[1].name"),
    ("converge", "exporters/1/name", ["exp2"], "exporters[1].name"),
    ("converge", "exporters/1", None, "exporters[1] is no dict"),
    ("converge", "exporters/1", "exp2", "exporters[1] is no dict"),
    ("converge", "exporters", {}, "exporters is no list"),
    ("converge", "exporters", None, "exporters is missing"),
    ("converge", "exporters", [None] * 3, "exporters has 3 elements"),
    ("converge", "exporters/0/pairs", None, "pairs is no list"),
    ("converge", "exporters/0/pairs/0/client", "prom9", "did not ask for"),
    ("converge, nothing to do", "exporters/0/pairs/0/client", "prom2", "is there twice"),
    ("converge", "exporters/0/alt_names", ["exp1\n  evil: yaml"], "alt_names[0]"),
    ("converge", "exporters/0/alt_names", ["exp1: {a: b}"], "alt_names[0]"),
    ("converge", "exporters/0/alt_names", ["exp1\x00"], "alt_names[0]"),
    ("converge", "exporters/0/alt_names", ["fe80::1%\n  evil: yaml"], "alt_names[0]"),
    ("converge", "exporters/0/alt_names", ["fe80::1%eth0"], "alt_names[0]"),
    ("converge", "exporters/0/alt_names", ["a"] * 10_000, "alt_names has 10000 elements"),
    ("converge", "exporters/0/alt_names", "exp1", "alt_names is no list"),
    ("converge", "exporters/0/alt_names", [FOREVER], "alt_names[0]"),
    ("converge", "exporters/0/server_certificate/alt_names", ["exp1\x00"], "server_certificate.alt_names[0]"),
    ("converge", "exporters/0/server_certificate/not_after", "2026-02-30T00:00:00Z", "not_after"),
    ("converge", "exporters/0/server_certificate", [], "server_certificate is no dict"),
    ("converge", "exporters/0/ca_sha256", "0" * 64, "ca_certificate has not the fingerprint"),
    ("converge", "exporters/0/ca_sha256", forge.SHA.upper(), "ca_sha256"),
    ("converge", "exporters/0/pairs/0/sha256", "bad", "sha256"),
    ("converge", "exporters/0/pairs/0/sha256", forge.SHA, "certificate has not the fingerprint"),
    ("converge", "exporters/0/pairs/0/certificate", OTHER, "certificate has not the fingerprint"),
    ("converge", "exporters/0/pairs/0/certificate", OTHER * 2, "holds 2 certificates"),
    ("converge", "exporters/0/pairs/0/certificate", CUT, "cut or damaged"),
    ("converge", "exporters/0/pairs/0/certificate", KEY, "no PEM text of certificates alone"),
    ("converge", "exporters/0/ca_certificate", OTHER + KEY, "no PEM text of certificates alone"),
    ("converge", "exporters/0/ca_certificate", CHAIN, "ca_certificate has"),
    ("converge", "exporters/0/ca_certificate", OTHER * 17, "holds 17 certificates, more than 16"),
    ("converge", "exporters/0/pairs/0/bundle", REPLAYED, "bundle.generation is '20261024T104900Z-0a1b2c3d' where"),
    ("converge", "exporters/0/pairs/0/bundle", forge.pair("exp2", "prom1")["bundle"], "bundle.exporter"),
    ("converge", "exporters/0/pairs/0/bundle", forge.pair("exp1", "prom2")["bundle"], "bundle.client"),
    ("converge", "exporters/0/pairs/0/bundle", "[" * 60_000, "is no sealed bundle"),
    ("converge", "exporters/0/pairs/0/bundle", "{}", "is no sealed bundle"),
    ("converge", "exporters/0/pairs/0/bundle", "[1]", "bundle is no dict"),
    ("converge", "exporters/0/pairs/0/bundle", " " * 70_000, "bundle has 70000 characters"),
    ("converge", "exporters/0/pairs/0/bundle", {}, "bundle is no text"),
    ("converge", "exporters/0/pairs/0/key_file", "/etc/\x1b[2J", "key_file"),
    ("converge", "exporters/0/wallet_directory", "relative", "wallet_directory"),
    ("converge", "exporters/0/port", True, "port"),
    ("converge", "exporters/0/port", 0, "port"),
    ("converge", "exporters/0/port", 65536, "port"),
    ("converge", "exporters/0/port", "8888", "port"),
    ("converge", "exporters/0/port", 8888.0, "port"),
    ("converge", "exporters/0/port", 10**5000, "a whole number of"),
    ("converge", "exporters/0/spare", 1, "spare"),
    ("converge", "exporters/0/insecure", None, "insecure"),
    ("converge", "exporters/0/changed", "yes", "changed"),
    ("converge", "exporters/0/failed", "no", "failed"),
    ("converge", "exporters/0/why", "text", "why is no list"),
    ("converge", "exporters/0/why", [1], "why[0] is no text"),
    ("converge", "exporters/0/why", DEEP, "why[0] is no text"),
    ("converge", "exporters/0/process/pid", -1, "pid"),
    ("converge", "exporters/0/process/manager", "x; rm -rf /.service", "manager"),
    ("converge", "exporters/0/process/state", "running", "state"),
    ("converge", "exporters/0/rate_limit", math.inf, "rate_limit"),
    ("converge", "exporters/0/due_at", "tomorrow", "due_at"),
    ("absent", "exporters/0/leftover_unit", "timesten-exporter-exp2.service", "leftover_unit"),
    ("absent", "exporters/0/leftover_unit", "sshd.service", "leftover_unit is not timesten-exporter-exp1.service"),
    ("absent", "exporters/0/leftover_unit", ["x"], "leftover_unit"),
    ("converge", "exporters/0/needs_unit", "yes", "needs_unit"),
    ("converge", "exporters/0/unattended", ["x"], "unattended"),
    ("stage", "exporters/0/rotation/clients", ["prom9"], "rotation.clients[0]"),
    ("stage", "exporters/0/rotation/clients", ["prom1", "prom1"], "twice"),
    ("stage", "exporters/0/rotation/clients", None, "rotation.clients"),
    ("stage", "exporters/0/rotation/strategy", "leap", "strategy"),
    ("stage", "exporters/0/rotation/to", forge.OLD, "rotation.to is not the generation"),
    ("stage", "exporters/0/rotation/to", "known after apply", "rotation.to"),
    ("stage", "exporters/0/rotation/restart_seconds", math.nan, "restart_seconds"),
    ("stage", "exporters/0/rotation/restart_seconds", -1, "restart_seconds"),
    ("stage", "exporters/0/rotation/restart_measured", 1, "restart_measured"),
    ("stage", "exporters/0/rotation/evicted", ["../x"], "evicted[0]"),
    ("stage", "exporters/0/rotation", None, "rotation is no dict"),
    ("stage", "exporters/1/rotation/skipped", 1, "skipped"),
    ("status", "exporters/0/status", "confirmed ", "status"),
    ("status", "exporters/0/status", None, "status"),
    ("status", "exporters/0/moment", math.inf, "moment"),
    ("status", "exporters/0/moment", 0, "moment"),
    ("status", "exporters/0/window", -0.1, "window"),
    ("status", "exporters/0/generation", "x", "generation"),
    ("status, served", "exporters/0/server_certificate", [], "server_certificate is no dict"),
    ("status, served", "exporters/0/server_certificate/not_after", "9999-12-32T00:00:00Z", "not_after"),
    ("status, served", "exporters/0/server_certificate/not_after", None, "not_after"),
    ("status, served", "exporters/0/server_certificate_source", "rumour", "server_certificate_source"),
    ("status, served", "exporters/0/ca_not_after", 4e9, "ca_not_after"),
    ("status, served", "exporters/0/due_at", "never", "due_at"),
    ("confirm", "exporters/0/removed", ["../../etc"], "removed[0]"),
    ("confirm", "exporters/0/old_pair_refused", "yes", "old_pair_refused"),
    ("forget", "exporters/0/forgotten", {"prom9": []}, "did not ask for"),
    ("forget", "exporters/0/forgotten", {"prom1": ["x"]}, "forgotten.prom1[0]"),
    ("forget", "exporters/0/clients", ["\x1b[2J"], "clients[0]"),
    ("one failed", "exporters/1/msg", None, "msg"),
    ("one failed", "exporters/1/lost_clients", [{}], "lost_clients[0]"),
    ("converge", "changed", None, "changed"),
    ("converge", "failed", "false", "failed"),
    ("converge", "unreachable", 0, "unreachable"),
    ("converge", "warnings", {"a": 1}, "warnings is no list"),
    ("converge", "warnings", [7], "warnings[0]"),
    ("converge", "diff", "x", "diff is no list"),
    ("converge", "diff/0/before_header", "exp9", "diff[0].before_header"),
    ("converge", "diff/0/before", [1], "diff[0].before"),
    ("converge", "diff/0/prepared", 7, "diff[0].prepared"),
]

FORGED_PROMETHEUS = [
    ("inspected", "name", "prom2", "name is another client than prom1: 'prom2'"),
    ("inspected", "name", None, "name"),
    ("inspected", "transport_key", "AAAA", "transport_key is no transport key"),
    ("inspected", "transport_key", OFF_CURVE, "transport_key is no transport key"),
    ("inspected", "transport_key", "A" * 10_000, "transport_key has 10000 characters"),
    ("inspected", "transport_key", None, "transport_key is missing"),
    ("inspected", "transport_key", 7, "transport_key is no text"),
    ("inspected", "stored", [1], "stored is no dict"),
    ("inspected", "stored", {"exp1": [1]}, "stored.exp1 is no dict"),
    ("inspected", "stored", {"../x": {}}, "stored is no name"),
    ("inspected", "stored", {7: {}}, "stored has a key that is no text"),
    ("inspected", "stored/exp1/delivery", "/srv/precious", "stored.exp1.delivery"),
    ("inspected", "stored/exp1/ca_sha256", None, "stored.exp1.ca_sha256"),
    ("inspected", "stored", {f"e{number}": None for number in range(10_001)}, "stored has 10001 keys"),
    ("inspected", "scrape_interval", 0, "scrape_interval"),
    ("inspected", "scrape_interval", True, "scrape_interval"),
    ("inspected", "scrape_interval", math.nan, "scrape_interval"),
    ("inspected", "scrape_interval", "15s", "scrape_interval"),
    ("inspected", "scrape_intervals/exp1", 1e-9, "scrape_intervals.exp1"),
    ("inspected", "scrape_intervals/exp1", math.inf, "scrape_intervals.exp1"),
    ("inspected", "scrape_intervals/exp1", -1, "scrape_intervals.exp1"),
    ("inspected", "layout", "own", "layout"),
    ("inspected", "version", "2.42\x1b[2J", "version"),
    ("inspected", "revision", "x", "revision"),
    ("inspected", "in_the_way", [], "in_the_way is no dict"),
    ("inspected", "in_the_way", {"exp9": "line 7"}, "did not ask for"),
    ("inspected", "scrapes_by_hand", "x", "scrapes_by_hand is no dict"),
    ("inspected", "scrapes_by_hand", {"exp9": {}}, "did not ask for"),
    ("inspected", "definitions/exp1/address", "evil\n- job_name: x", "definitions.exp1.address"),
    ("inspected", "definitions/exp1/address", "fe80::1%\nevil", "definitions.exp1.address"),
    ("inspected", "definitions/exp1/port", True, "definitions.exp1.port"),
    ("inspected", "definitions/exp1/name", "exp3", "definitions.exp1.name is another one"),
    ("inspected", "definitions/exp1/labels", {"__x": "y"}, "makes no job"),
    ("inspected", "definitions/exp1/labels", {"x\ny": "y"}, "labels"),
    ("inspected", "definitions/exp1/labels", {"x": 1}, "makes no job"),
    ("inspected", "definitions/exp1/extra", {"job_name": "x"}, "makes no job"),
    ("inspected", "definitions/exp1/extra", {"x": DEEP}, "nested too deep"),
    ("inspected", "definitions/exp1/extra", {"x": "a\x00"}, "control character"),
    ("inspected", "definitions/exp1/extra", [], "extra is no dict"),
    ("inspected", "definitions/exp1/scrape_interval", "0s", "makes no job"),
    ("inspected", "definitions/exp1/scrape_interval", 15, "scrape_interval"),
    ("inspected", "definitions/exp1/metrics_path", "metrics", "makes no job"),
    ("inspected", "definitions/exp1", None, "definitions.exp1 is no dict"),
    ("staged", "scrapes/exp1/interval", -1, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/interval", 0, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/interval", math.inf, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/interval", math.nan, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/interval", 1e-9, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/interval", None, "scrapes.exp1.interval"),
    ("staged", "scrapes/exp1/scraped", 1e300, "scrapes.exp1.scraped"),
    ("staged", "scrapes/exp1/scraped", 0, "scrapes.exp1.scraped"),
    ("staged", "scrapes/exp1/took", 1e9, "scrapes.exp1.took"),
    ("staged", "scrapes/exp1/health", "UP", "scrapes.exp1.health"),
    ("staged", "scrapes", {"exp9": {}}, "did not ask for"),
    ("staged", "scrapes", [], "scrapes is no dict"),
    ("following", "following", ["exp9"], "did not ask for"),
    ("following", "following", ["exp1", "exp1"], "twice"),
    ("released", "followed/exp1/0/delivery", "../x", "followed.exp1[0].delivery"),
    ("released", "followed/exp1/0/moment", "now", "followed.exp1[0].moment"),
    ("released", "followed/exp1/0", None, "followed.exp1[0] is no dict"),
    ("present", "exporters/0/name", "exp9", "did not ask for"),
    ("present", "exporters/0/name", "exp2", "is there twice"),
    ("present", "exporters/0/up", 1, "exporters[0].up"),
    ("present", "exporters/0/up", "true", "exporters[0].up"),
    ("present", "exporters/0/served_sha256", "x", "served_sha256"),
    ("present", "exporters/0", None, "exporters[0] is no dict"),
    ("present", "exporters", [{}] * 3, "exporters has 3 elements"),
    ("present", "reloaded", True, "reloaded"),
    ("present", "removed", ["../../x"], "removed[0]"),
    ("present", "unmentioned", ["a\nb"], "unmentioned[0]"),
    ("present", "diff", {}, "diff is no list"),
    ("present failed", "exporters/0/last_error", None, "last_error"),
    ("present failed", "name", "prom2", "name is another client"),
    ("verified", "exporters/1/name", "..", "exporters[1].name"),
]


def _refused(parse: Callable[..., Any], raw: Any, call: Raw, reason: str) -> None:
    with pytest.raises(answers.Nonsense) as caught:
        parse(raw, **call)
    assert reason in caught.value.reason
    assert str(caught.value) == caught.value.reason
    _check_text(caught.value.reason, 400)


@pytest.mark.parametrize(
    ("what", "path", "value", "reason"),
    FORGED_EXPORTER,
    ids=[f"{item[1]}-{n}" for n, item in enumerate(FORGED_EXPORTER)],
)
def test_a_forged_answer_of_an_exporter_host_is_nonsense(what: str, path: str, value: Any, reason: str) -> None:
    raw, call = _exporter_raw(what)
    _put(raw, path, value)
    _refused(answers.parse_exporter_host, raw, call, reason)


@pytest.mark.parametrize(
    ("what", "path", "value", "reason"),
    FORGED_PROMETHEUS,
    ids=[f"{item[1]}-{n}" for n, item in enumerate(FORGED_PROMETHEUS)],
)
def test_a_forged_answer_of_a_prometheus_host_is_nonsense(what: str, path: str, value: Any, reason: str) -> None:
    raw, call = _prometheus_raw(what)
    _put(raw, path, value)
    _refused(answers.parse_prometheus_host, raw, call, reason)


@pytest.mark.parametrize("raw", [None, [], "x", 7, {7: 8}, {str(number): 1 for number in range(2000)}])
def test_an_answer_that_is_no_result_is_nonsense(raw: Any) -> None:
    _refused(answers.parse_exporter_host, raw, _exporter_raw("converge")[1], "the answer")
    _refused(answers.parse_prometheus_host, raw, _prometheus_raw("present")[1], "the answer")


def test_a_bundle_for_another_recipient_is_nonsense() -> None:
    raw, call = _exporter_raw("converge")
    call["recipients"] = {"prom1": base64.b64encode(b"another point").decode("ascii")}
    _refused(answers.parse_exporter_host, raw, call, "exporters[0].pairs[0].bundle.recipient")


def test_more_than_certificates_in_a_ca_file_goes() -> None:
    raw, call = _exporter_raw("converge")
    pem = raw["exporters"][0]["ca_certificate"]
    raw["exporters"][0]["ca_certificate"] = f"Bag Attributes\x1b[2J\r\n{pem}\nsubject=x"
    assert answers.parse_exporter_host(raw, **call).exporters["exp1"].ca_certificate == pem


def test_warnings_of_ansible_core_2_19_are_read() -> None:
    raw, call = _exporter_raw("converge")
    event = type("Event", (), {"msg": "one\n"})
    raw["warnings"] = [{"event": {"msg": "two\x1b[2J"}}, type("Summary", (), {"event": event})(), "three"]
    assert answers.parse_exporter_host(raw, **call).warnings == ("two", "one", "three")


# --- size -----------------------------------------------------------------------------------------------------------------


def test_the_size_of_an_answer_is_checked_before_it_is_parsed() -> None:
    answers.check_size(json.dumps(EXPORTER_HOST[0][1]))
    answers.check_size(json.dumps(EXPORTER_HOST[0][1]).encode("ascii"))
    for raw in ("x" * (answers.SIZE_LIMIT + 1), b"x" * (answers.SIZE_LIMIT + 1), "{}," * 1_000_000, b"[" * 2_000_000):
        with pytest.raises(answers.Nonsense, match="the answer has"):
            answers.check_size(raw)


def test_300_new_exporters_for_10_clients_are_no_larger_than_the_limit() -> None:
    """With RSA keys, whose pairs are 2 KB larger than those of the test."""
    raw = forge.host_result(forge.made("exp1"))
    one = len(json.dumps(raw["exporters"][0])) - 2 * len(json.dumps(raw["exporters"][0]["pairs"][0]))
    pair = len(json.dumps(raw["exporters"][0]["pairs"][0])) + 2000
    assert 300 * (one + len(json.dumps(raw["diff"])) + 10 * pair) < answers.SIZE_LIMIT


# --- texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x1b[2Jb", "ab"),
        ("a\x1b[31;1mb\x1b[0m", "ab"),
        ("\x1b]0;title\x07a", "a"),
        ("\x1b]52;c;ZXZpbA==\x1b\\a", "a"),
        ("\x9b2Ja", "a"),
        ("\x1bca", "a"),
        ("a\x00\x08\x7f\x85b", "a b"),
        ("a\r\n\tb  c\u2028d", "a b c d"),
        ("\u202eab\u2066c\u200b\u200dd\ufeff", "abcd"),
        ("a\ud800b", "ab"),
        ("\U000e0041a\u00adb\u3164", "ab"),
        ("größer 数据", "größer 数据"),
        ("x" * 30, "x" * 19 + "…"),
        ("", ""),
    ],
)
def test_plain(given: str, shown: str) -> None:
    assert checks.plain(given, 20) == shown
    assert checks.plain(checks.plain(given, 20), 20) == shown


@pytest.mark.parametrize("unit", ["\x1b", "\x1b]", "\x1b[", "\x1b[0;", "\x9b", " ", "\u200b", "a\n", "\x1b[2J"])
def test_plain_is_fast(unit: str) -> None:
    started = time.process_time()
    _check_text(checks.plain(unit * 5_000_000, 500), 500)
    assert time.process_time() - started < 2


def _check_text(text: str, limit: int = 5000) -> None:
    assert isinstance(text, str) and len(text) <= limit
    bad = [character for character in text if unicodedata.category(character)[0] == "C"]
    assert not bad and text.isprintable() and text == " ".join(text.split()), ascii(text)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"msg": "port 8888 is held by nginx"}, "port 8888 is held by nginx"),
        ({}, "the module call failed without a message"),
        ({"msg": ["x"]}, "the module call failed without a message"),
        (
            {
                "msg": "MODULE FAILURE\nSee stdout",
                "module_stderr": "Traceback (most recent call last):\n  x\nOSError: y\n",
            },
            "OSError: y",
        ),
        ({"msg": "MODULE FAILURE\nSee stdout"}, "MODULE FAILURE See stdout"),
        ({"msg": "a", "module_stderr": "Shared connection to exp1 closed.\r\n"}, "a"),
        ({"msg": "\x1b[2Ja\nb"}, "a b"),
    ],
)
def test_reason(raw: Raw, reason: str) -> None:
    assert failures.reason(raw) == reason


def test_reason_gives_advice_once() -> None:
    found = failures.reason(
        {"msg": "x" * 5000, "module_stderr": "ModuleNotFoundError: No module named 'cryptography'\n"}
    )
    assert found.count("The managed host needs") == 1 and found.endswith("python3-cryptography'.")
    assert failures.reason({"msg": found}) == found
    _check_text(found)


# --- diffs ----------------------------------------------------------------------------------------------------------------


def test_diff_lines_show_what_changes() -> None:
    before = {"generation": forge.OLD, "pairs": {"prom1": {"delivery": "a", "sha256": "b"}}, "process": {"pid": None}}
    after = {"generation": "known after apply", "pairs": {"prom1": {"delivery": "c", "sha256": "b"}}, "x": [1, True]}
    assert diffs.diff_lines(before, after) == [
        f"generation: {forge.OLD} -> known after apply",
        "pairs.prom1.delivery: a -> c",
        "x: none -> 1, true",
    ]
    assert diffs.diff_lines(before, before) == [] == diffs.diff_lines(None, None)
    many = diffs.diff_lines({}, {str(number): number for number in range(50)})
    assert len(many) == 10 and many[-1] == "... and 41 more"
    assert diffs.diff_lines({"a": DEEP}, {"a\x1b[2J": "\x1b[2Jb", "--- c": 10**5000}) == [
        "a: ... -> b",
        "c: none -> ...",
    ]


def test_the_diff_of_a_configuration_keeps_its_changed_lines() -> None:
    text = "--- p\n+++ p\n@@ -1 +1,2 @@\n-a: 1\n+a:   2\x1b[2J\n+  - job_name: x\n"
    assert diffs.text_lines(text) == ["-a: 1", "+a: 2", "+  - job_name: x"]
    assert diffs.text_lines("--- p\n" + "+x\n" * 40)[-1] == "... and 31 more"


# --- fuzz -----------------------------------------------------------------------------------------------------------------

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    10**400,
    10**5000,
    1.5,
    -0.0,
    1e-9,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "exp1",
    "exp2",
    "exp9",
    "prom2",
    "known after apply",
    "\x1b[2J",
    "a\x00b",
    "\u202eevil",
    "\ud800",
    "../../../../srv/precious",
    "/srv/precious",
    f"{forge.NEW}-1",
    f"{forge.OLD}-2",
    forge.SHA,
    OTHER,
    REPLAYED,
    "x" * 200_000,
    "\x1b" * 200_000,
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"exp1": {}},
    {1: 2},
    {None: 2},
    b"bytes",
    (1, 2),
    object,
    json.loads("[" * 200 + "]" * 200),
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}},
    ["x"] * 20_000,
    {f"k{number}": number for number in range(20_000)},
    [{"name": "exp1"}, {"name": "exp1"}],
)


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every container of an answer with each key or index in it."""
    if depth > 12:
        return
    if isinstance(value, dict) and len(value) < 100:
        for key in list(value):
            yield value, key
            yield from _places(value[key], depth + 1)
    elif isinstance(value, list) and len(value) < 100:
        for index in range(len(value)):
            yield value, index
            yield from _places(value[index], depth + 1)


def _mutate(raw: Raw, chance: random.Random) -> None:
    for _time in range(chance.choice((1, 1, 1, 2, 3, 6))):
        places = list(_places(raw))
        if not places:
            return
        container, key = chance.choice(places)
        how = chance.randrange(6)
        if how == 0 and isinstance(container, list):
            container.insert(chance.randrange(len(container) + 1), copy.deepcopy(container[key]))
        elif how == 1:
            del container[key]
        elif how == 2 and isinstance(container, dict):
            container[chance.choice(("ansible_facts", "evil", "failed", "msg", "name", "exporters", "\x1b[2J", 7))] = (
                copy.deepcopy(chance.choice(_ODD))
            )
        elif how == 3 and isinstance(container[key], str):
            text = container[key]
            at = chance.randrange(len(text) + 1)
            piece = chance.choice(("\x1b[2J", "\n", "\x00", "/", "..", "٣", "\u202e", "x" * 1000, "%", " ", "A"))
            container[key] = text[:at] + piece + text[at + chance.randrange(3) :]
        elif how == 4:
            other, its = chance.choice(places)
            container[key] = copy.deepcopy(other[its])
        else:
            container[key] = copy.deepcopy(chance.choice(_ODD))


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            assert isinstance(name, str)
            yield "key", name
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, str):
        yield key, value
    else:
        assert value is None or type(value) in (bool, int, float), value


_LINES = ("certificate", "ca_certificate", "prepared")


def _check_answer(answer: Any, call: Raw) -> None:
    """Whatever got through is plain, and speaks of nobody else."""
    found = answer.as_dict()
    json.dumps(found, allow_nan=False).encode("utf-8")
    for definition in found.get("definitions", {}).values():
        for _key, text in _texts(definition):
            assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text)
    for key, text in _texts({key: value for key, value in found.items() if key != "definitions"}):
        for line in text.split("\n") if key in _LINES else [text]:
            if key != "bundle":
                # A line of a diff keeps its mark and its indentation.
                _check_text(line.lstrip("+-").lstrip(" ") if key in _LINES else line, 70_000)
    if isinstance(answer, answers.PrometheusAnswer):
        assert answer.client == call["client"]
        asked = call["exporters"]
        if asked is not None:
            assert {*answer.scrapes, *answer.following, *answer.followed, *answer.exporters} <= set(asked)
        for name in (*answer.stored, *answer.removed, *answer.unmentioned, *answer.definitions, *answer.exporters):
            checks.name(name, "x")
        for seconds in (*answer.scrape_intervals.values(), *(scrape.interval for scrape in answer.scrapes.values())):
            assert 0.1 <= seconds <= 86400
        assert len(answer.diff) <= 10 * max(1, len(asked or ()))
        return
    assert set(answer.exporters) <= set(call["exporters"])
    for name, exporter in answer.exporters.items():
        assert exporter.name == name and set(exporter.pairs) <= set(call["clients"])
        for pair in exporter.pairs.values():
            if pair.delivery not in (None, answers.LATER):
                assert pair.delivery.startswith(f"{exporter.generation}-") and "/" not in pair.delivery
            assert pair.bundle is None or json.loads(pair.bundle)["exporter"] == name
    assert all(len(lines) <= 10 for lines in answer.diff.values())


def test_fuzz() -> None:
    """Seeded, so that a failure can be looked at again."""
    chance = random.Random(20261124)
    counts: collections.Counter[str] = collections.Counter()
    started = time.process_time()
    for _turn in range(100):
        for parse, what, raw, call in ALL:
            forged = copy.deepcopy(raw)
            _mutate(forged, chance)
            began = time.process_time()
            try:
                answer = parse(forged, **call)
            except answers.Nonsense as error:
                _check_text(error.reason, 400)
                counts["nonsense"] += 1
            else:
                _check_answer(answer, call)
                again = parse(json.loads(json.dumps(answer.as_dict())), **call)
                assert again.as_dict() == answer.as_dict() and again == answer, what
                counts["parsed"] += 1
            counts[parse.__name__] += 1
            assert time.process_time() - began < 2, what
    spent = time.process_time() - started
    print(f"{dict(counts)} in {spent:.1f} s of processor time")
    assert counts["parsed"] + counts["nonsense"] >= 2000
    assert min(counts["parsed"], counts["nonsense"]) > 500
    assert spent < 120


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('banner {\n  {"a": 1} junk\n}', {"a": 1}),
        ('{"a": 1}\n{"a": 2}', {"a": 1}),
        ('{"a": {"__ansible_type": "TrustedAsTemplate"}}', {"a": {"__ansible_type": "TrustedAsTemplate"}}),
        ("", None),
        ("[1]", None),
        ("no { here", None),
        ("{ x }", None),
        ('{"a": 1', None),
        ('{"a": ' + "9" * 5000 + "}", None),
    ],
)
def test_the_answer_in_what_was_printed(printed, found):
    assert answers.decoded(printed) == found


def test_an_answer_that_is_nested_too_deep():
    with pytest.raises(answers.Nonsense, match="the answer is nested too deep"):
        answers.decoded('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
