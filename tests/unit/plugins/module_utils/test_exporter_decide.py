# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run changes for one exporter, as tables: what was seen, what is wanted, what happens."""

from __future__ import annotations

import copy
import datetime
import os
import socket

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import observe, processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.boot import BootPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import decide
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Client
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.observe import Call, Observed
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import PairSeen, WalletSeen

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)
GOOD = {"not_before": "2026-11-01T00:00:00Z", "not_after": "2036-11-01T00:00:00Z"}
PAIR = {"delivery": "g1-1", "sha256": "aa", "recipient": None, "scrape_interval": None, **GOOD}
MANIFEST = {
    "generation": "g1",
    "origin": "created",
    "asked": {"common_name": "exp1", "alt_names": ["exp1"], "rsa_key_size": None},
    "ca": [{**GOOD, "alt_names": ["exp1"]}],
    "ca_sha256": "cc",
    "leaf": None,
    "pairs": {"probe": PAIR, "prom1": PAIR},
}
FITS = {"probe": PairSeen(), "prom1": PairSeen()}
PROM1 = Client("prom1")


def definition(**options):
    """An exporter as a test wants it."""
    given = {"timesten_home": "/tt", "certificate_directory": "/mon/exp1", "regenerate": "when_due", "port": 8888}
    return define({**given, "name": "exp1", "address": "exp1", **options})


def manifest(**more):
    """A manifest of its own for each test."""
    return {**copy.deepcopy(MANIFEST), **more}


def process(action="none", reasons=(), **more):
    """What the process needs by itself."""
    return ProcessPlan(action, list(reasons), None, None, 15, **more)


def plan(state="known", needs=None, clients=(PROM1,), call=None, known=None, options=None, **seen):
    """Decide for one exporter."""
    known = manifest() if known is None else known
    there = state not in ("missing", "made by hand", "no manifest")
    guids = ("OLD", "NEW") if state == "other instance" else ("", "")
    wallet = WalletSeen(state, "g1" if there else None, known if there else None, directory="/mon/exp1", guids=guids)
    observed = Observed(**{"wallet": wallet, "pairs": FITS, "process": needs or process(), **seen})
    return decide(definition(**(options or {})), observed, known if there else None, clients, call or Call(), NOW)


def test_nothing_to_do():
    decided = plan()
    assert (decided.changed, decided.wallet.action, decided.process.action) == (False, "keep", "none")
    assert [pair.action for pair in decided.all_pairs] == ["keep", "keep"] and decided.warnings == []


@pytest.mark.parametrize(
    ("state", "needs", "action", "why"),
    [
        ("known", process("none"), "none", []),
        ("known", process("start", ["it is not running"]), "start", ["it is not running"]),
        ("known", process("restart", ["environment"]), "restart", ["environment"]),
        ("missing", process("none"), "restart", ["the wallet is new"]),
        ("missing", process("start", ["it is not running"]), "start", ["it is not running"]),
        ("gone", process("restart", ["environment"]), "restart", ["the wallet is new"]),
        ("other instance", process("none"), "restart", ["the wallet is new"]),
        (
            "gone",
            process("none", ["run is missing"], boot=BootPlan("/run", ["run is missing"], None, None)),
            "restart",
            ["the wallet is new", "run is missing"],
        ),
        (
            "gone",
            process("none", ["process 7 has to stop"], other=("wanted", "state")),
            "restart",
            ["the wallet is new", "process 7 has to stop"],
        ),
    ],
)
def test_a_new_wallet_restarts_what_runs(state, needs, action, why):
    decided = plan(state, needs, clients=())
    assert (decided.process.action, decided.process.reasons) == (action, why)
    assert decided.wallet.is_new is (state != "known")


def test_a_restart_that_is_asked_for_is_named_beside_the_new_wallet():
    decided = plan("gone", process("restart", ["state is restarted"]), options={"state": "restarted"})
    assert decided.process.reasons == ["the wallet is new", "state is restarted"]


def test_all_pairs_of_a_new_wallet_are_issued_and_no_reason_of_their_own_is_shown():
    decided = plan("gone", clients=(PROM1, Client("prom2")))
    assert [(pair.client.name, pair.action) for pair in decided.all_pairs] == [
        ("probe", "issue"),
        ("prom1", "issue"),
        ("prom2", "issue"),
    ]
    assert decided.reasons == ["the wallet of generation g1 is gone", "the wallet is new"]


def test_a_pair_that_is_missing_touches_neither_wallet_nor_process():
    decided = plan(clients=(PROM1, Client("prom2")))
    assert decided.reasons == ["pair prom2: there is no pair yet"]
    assert (decided.wallet.action, decided.process.action) == ("keep", "none")


@pytest.mark.parametrize(
    ("options", "state", "wallet", "pairs"),
    [
        ({"insecure": True}, None, "none", []),
        ({"state": "stopped"}, None, "none", []),
        ({}, "known", "keep", ["prom1"]),
    ],
)
def test_no_pairs_where_no_wallet_is_wanted(options, state, wallet, pairs):
    observed = Observed(
        wallet=None if state is None else WalletSeen(state, "g1", manifest()), pairs=FITS, process=process()
    )
    decided = decide(definition(**options), observed, manifest(), [PROM1], Call(), NOW)
    assert (decided.wallet.action, [pair.client.name for pair in decided.pairs]) == (wallet, pairs)


@pytest.mark.parametrize(
    ("state", "action", "known", "left"),
    [
        ("known", "none", manifest(ca=[{**GOOD, "not_after": "2026-11-25T00:00:00Z"}]), True),
        ("known", "restart", manifest(ca=[{**GOOD, "not_after": "2026-11-25T00:00:00Z"}]), True),
        ("known", "start", manifest(ca=[{**GOOD, "not_after": "2026-11-25T00:00:00Z"}]), False),
        ("known", "none", manifest(ca=[{**GOOD, "not_after": "2026-11-25T00:00:00Z"}], pairs={"probe": PAIR}), False),
        ("changed", "none", manifest(), True),
        ("gone", "none", manifest(), False),
        ("other instance", "none", manifest(), False),
        ("missing", "none", manifest(), False),
        ("known", "none", manifest(), False),
    ],
)
def test_what_is_left_to_a_rotation(state, action, known, left):
    described = {"ca": known["ca"], "ca_sha256": "dd", "leaf": None, "leaf_source": "none"}
    there = state != "missing"
    seen = WalletSeen(
        state, "g1" if there else None, known if there else None, described if state == "changed" else None
    )
    observed = Observed(wallet=seen, pairs=FITS, process=process(action))
    call = Call(True, True, hand_over=True)
    decided = decide(definition(), observed, known if there else None, [PROM1], call, NOW)
    assert (decided.rotation_due is not None) is left
    if left:
        assert decided.wallet.action == "keep" and decided.process.action == action


def test_only_who_has_its_pair_keeps_one_until_the_rotation():
    known = manifest(ca=[{**GOOD, "not_after": "2026-11-25T00:00:00Z"}])
    decided = plan(known=known, clients=(PROM1, Client("prom2")), call=Call(hand_over=True))
    assert [pair.client.name for pair in decided.pairs] == ["prom1"]


@pytest.mark.parametrize(
    ("clients", "whole_host", "state", "lost"),
    [
        ((), True, "known", ["prom1"]),
        ((Client("prom2"),), True, "touched", ["prom1"]),
        ((PROM1,), True, "known", None),
        ((), False, "known", None),
        ((), True, "gone", None),
        ((), True, "other instance", None),
    ],
)
def test_a_new_wallet_takes_no_access_from_who_is_not_there(clients, whole_host, state, lost):
    arguments = {
        "state": state,
        "clients": clients,
        "call": Call(True, whole_host),
        "options": {"regenerate": "always"},
    }
    if lost is None:
        assert plan(**arguments).wallet.action == "create"
        return
    with pytest.raises(TimesTenError, match="are not part of this run and would lose access") as caught:
        plan(**arguments)
    assert caught.value.details["lost_clients"] == lost
    # The way out for who is gone: whatever the inventory says, this playbook takes the name.
    assert "ansible-playbook timesten.monitoring.remove -e remove_prometheus=prom1" in caught.value.message


STORED = {"delivery": "g1-1", "sha256": "aa"}


@pytest.mark.parametrize(
    ("clients", "known", "drift", "options", "moves"),
    [
        ((), None, ("port 8888 -> 8899",), {}, "port 8888 -> 8899"),
        ((Client("prom2", stored=STORED),), None, ("environment", "port 8888 -> 8899"), {}, "port 8888 -> 8899"),
        ((), None, ("mode mutual TLS -> insecure",), {"insecure": True}, "mode mutual TLS -> insecure"),
        ((), None, (), {"address": "exp1.new"}, "address exp1 -> exp1.new"),
        ((), None, ("port 1 -> 2",), {"address": "exp1.new"}, "port 1 -> 2; address exp1 -> exp1.new"),
        # Everybody who has a pair is there, or has lost it.
        ((PROM1,), None, ("port 8888 -> 8899",), {}, None),
        ((PROM1,), None, (), {"address": "exp1.new"}, None),
        ((), {"evicted": ["prom1"]}, ("port 8888 -> 8899",), {}, None),
        ((), {"pairs": {"probe": PAIR}}, ("port 8888 -> 8899",), {}, None),
        # Where another Prometheus scrapes it, its job says whether the address has changed.
        ((Client("prom2", stored=STORED),), None, (), {"address": "exp1.new"}, None),
        # A name of its own says nothing of the address.
        ((), None, (), {"address": "10.0.0.7", "common_name": "exp1"}, None),
        ((), None, (), {"address": "exp1", "common_name": "other"}, None),
        ((), None, ("environment",), {}, None),
    ],
)
def test_a_target_does_not_move_while_who_has_a_pair_is_away(clients, known, drift, options, moves):
    state = processes.ProcessState(processes.RUNNING, "", drift=drift)
    needs = ProcessPlan("restart" if drift else "none", list(drift), None, state, 15)
    arguments = {"needs": needs, "clients": clients, "known": manifest(**(known or {})), "options": options}
    for call in (Call(True, True, hand_over=True), Call(True, True, hand_over=True, check_mode=True)):
        if moves is None:
            assert plan(call=call, **arguments).process is not None
            continue
        with pytest.raises(TimesTenError) as caught:
            plan(call=call, **arguments)
        assert f"{moves} is for its clients to follow, and prom1, which has a pair" in caught.value.message
        assert caught.value.details["lost_clients"] == ["prom1"]
    # Who calls the module alone has no other hosts.
    assert plan(call=Call(True, True), **arguments).process is not None


@pytest.mark.parametrize(
    ("clients", "away", "drift", "insecure", "moves"),
    [
        ((), ["prom1"], ("port 8888 -> 8899",), True, "port 8888 -> 8899"),
        ((Client("prom2"),), ["prom3", "prom1"], ("port 8888 -> 8899",), True, "port 8888 -> 8899"),
        ((), ["prom1"], ("mode insecure -> mutual TLS",), False, "mode insecure -> mutual TLS"),
        (
            (),
            ["prom1"],
            ("mode insecure -> mutual TLS", "port 1 -> 2"),
            False,
            "mode insecure -> mutual TLS; port 1 -> 2",
        ),
        # Nobody is away, nothing moves, or they have no pair of what serves with TLS.
        ((PROM1,), [], ("port 8888 -> 8899",), True, None),
        ((PROM1,), ["prom1"], ("port 8888 -> 8899",), True, None),
        ((), [], ("port 8888 -> 8899",), True, None),
        ((), ["prom1"], ("environment",), True, None),
        ((), ["prom1"], (), True, None),
        ((), ["prom1"], ("mode mutual TLS -> insecure",), True, None),
        ((), ["prom1"], ("port 8888 -> 8899",), False, None),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_plain_http_does_not_move_while_who_scrapes_it_is_away(clients, away, drift, insecure, moves, check_mode):
    """There is no pair, and so nobody is in the exporter's files: the caller says who is away."""
    state = processes.ProcessState(processes.RUNNING, "", drift=drift)
    needs = ProcessPlan("restart" if drift else "none", list(drift), None, state, 15)
    wallet = None if insecure else WalletSeen("missing", None, None, directory="/mon/exp1", guids=("", ""))
    observed = Observed(wallet=wallet, pairs={}, process=needs)
    call = Call(True, True, hand_over=True, check_mode=check_mode, away=away)
    exporter = definition(insecure=insecure)
    if moves is None:
        assert decide(exporter, observed, None, clients, call, NOW).process is not None
        return
    with pytest.raises(TimesTenError) as caught:
        decide(exporter, observed, None, clients, call, NOW)
    gone = sorted(away)
    scrape = f"{', '.join(gone)}, which {'scrapes' if len(gone) == 1 else 'scrape'} it, could not be looked at"
    assert f"{moves} is for its clients to follow, and {scrape}" in caught.value.message
    assert caught.value.details["lost_clients"] == gone


def test_an_exporter_that_is_down_is_started_on_its_new_port():
    assert plan(needs=process("start", ["it is not running"]), clients=(), call=Call(hand_over=True)).changed


@pytest.mark.parametrize(("readmit", "evicted", "pairs"), [(False, ["prom1"], []), (True, [], ["prom1"])])
def test_who_was_evicted_gets_no_pair_until_readmitted(readmit, evicted, pairs):
    decided = plan(known=manifest(evicted=["prom1"]), clients=(Client("prom1", readmit=readmit),))
    assert (decided.evicted, [pair.client.name for pair in decided.pairs]) == (evicted, pairs)
    assert len(decided.warnings) == len(evicted)


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_an_earlier_task_may_bring_is_a_warning_in_check_mode(check_mode):
    problem = TimesTenError("there is no ttExporter")
    if not check_mode:
        with pytest.raises(TimesTenError, match="there is no ttExporter"):
            plan(problems=(problem,))
        return
    decided = plan(problems=(problem,), call=Call(check_mode=True))
    assert decided.warnings == ["there is no ttExporter (a real run stops here unless an earlier task of it does that)"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_process_that_cannot_be_dealt_with_stops_the_run_in_both_modes(check_mode):
    with pytest.raises(TimesTenError, match="port 8888 is held"):
        plan(process_problem=TimesTenError("port 8888 is held"), call=Call(check_mode=check_mode))


def test_no_wallet_is_a_warning_in_check_mode_alone():
    observed = Observed(wallet=WalletSeen("missing"), process=process("start", ["it is not running"]))
    nameless = define({"timesten_home": "/tt", "certificate_directory": "/mon/exp1", "port": 8888})
    decided = decide(nameless, observed, None, [], Call(check_mode=True), NOW)
    assert decided.warnings == ["/mon/exp1 holds no wallet; make it with tt_wallet first"]


@pytest.mark.parametrize(
    ("intervals", "known", "limit", "policy", "fits"),
    [
        ([15.0], None, 15, "refuse", True),
        ([1.0], None, 15, "refuse", False),
        ([1.0], None, 15, "warn", False),
        ([15.0], 5.0, 15, "refuse", False),
        ([6.0], None, None, "refuse", True),
        ([5.0], None, None, "refuse", False),
    ],
)
def test_scrapes_have_to_fit(intervals, known, limit, policy, fits):
    clients = [Client(f"prom{number}", scrape_interval=interval) for number, interval in enumerate(intervals, 1)]
    record = manifest(pairs={"probe": PAIR, "away": {**PAIR, "scrape_interval": known}})
    needs = ProcessPlan("none", [], None, None, limit)
    arguments = {"needs": needs, "clients": clients, "known": record, "call": Call(rate_budget=policy)}
    if fits or policy == "warn":
        assert bool(plan(**arguments).warnings) is not fits
        return
    with pytest.raises(TimesTenError, match="scrapes a minute"):
        plan(**arguments)


# ---------------------------------------------------------------------------------------------------------------------
# What would be found out too late


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo", "file", "nothing"])
def test_a_log_that_cannot_be_opened_is_found_before_anything_is_stopped(tmp_path, kind):
    log = tmp_path / "exporter.log"
    make = {
        "directory": log.mkdir,
        "link": lambda: log.symlink_to("/etc/passwd"),
        "dangling link": lambda: log.symlink_to("nowhere"),
        "fifo": lambda: os.mkfifo(log),
        "file": log.touch,
        "nothing": lambda: None,
    }
    make[kind]()
    exporter = definition(certificate_directory=str(tmp_path), log_file=str(log))
    if kind in ("file", "nothing"):
        observe._check_log(exporter)
        return
    with pytest.raises(TimesTenError, match=r"log_file: .* is no regular file"):
        observe._check_log(exporter)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("log_file", "/a\0b", "exporters[0].log_file: '/a\\x00b'"),
        ("pid_file", "/a\0b", "exporters[0].pid_file: '/a\\x00b'"),
        ("environment", {"A=B": "1"}, "exporters[0].environment: 'A=B' is not the name of an environment variable"),
        ("environment", {"": "1"}, "exporters[0].environment: '' is not the name of an environment variable"),
        ("environment", {"1A": "1"}, "exporters[0].environment: '1A' is not the name of an environment variable"),
        ("environment", {"A": "1\0"}, "exporters[0].environment: the value of A holds a NUL"),
    ],
)
def test_what_no_process_can_be_started_with_is_refused(option, value, message):
    with pytest.raises(TimesTenError) as caught:
        define({"timesten_home": "/tt", "certificate_directory": "/mon/exp1", option: value}, "exporters[0].")
    assert caught.value.message.startswith(message)


def running(port, wanted_port, action="restart"):
    """What is planned for a process that serves a port."""
    argv = ("/tt/bin/ttExporter", "-port", str(port), "-pid-file", "/mon/exp1/exporter.pid")
    seen = processes.Process(4711, 1, 4711, 5, os.geteuid(), argv)
    arguments = ("-port", str(wanted_port), "-pid-file", "/mon/exp1/exporter.pid")
    wanted = processes.Wanted(Utility("/tt"), arguments, "/mon/exp1/state.json", "/mon/exp1/exporter.log")
    return ProcessPlan(action, ["x"], wanted, processes.ProcessState(processes.RUNNING, "", seen), 15)


def test_a_port_that_cannot_be_had_is_found_before_anything_is_stopped():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        problem = observe._port_problem(definition(), running(8888, port))
        assert f"cannot have port {port}: Address already in use" in problem.message
        assert "Process 4711 was left as it is, on port 8888" in problem.message
        # It serves there itself, or is not stopped for it.
        assert observe._port_problem(definition(), running(port, port)) is None
        assert observe._port_problem(definition(), running(8888, port, "none")) is None
    assert observe._port_problem(definition(), running(8888, port)) is None


@pytest.mark.parametrize(
    ("text", "guids"),
    [
        ("instance_guid=C76F\n", None),
        ("instance_guid = c76f\n", None),
        ("instance_guid=OTHER\n", ("C76F", "OTHER")),
        ("instance_name=x\n", None),
        (None, None),
    ],
)
def test_a_wallet_of_another_instance(tmp_path, text, guids):
    (tmp_path / "conf").mkdir()
    if text is not None:
        (tmp_path / "conf/timesten.conf").write_text(text)
    assert observe._guids("/mon/exp1/.ttwallet.C76F/cwallet.sso", Utility(str(tmp_path))) == guids
