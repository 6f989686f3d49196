# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about wallet and pairs, as tables: what is there, what is wanted, what happens."""

from __future__ import annotations

import copy
import dataclasses
import datetime

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import result, wallet
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Client
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairSeen,
    WalletPlan,
    WalletSeen,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)
RECIPIENT = "BAwPZVGHH/UkHdOK5ecLDKRtRUdVMe0RKWM8wkRV3Kdw3ddkCRe2iDJMZW2f5QbpQJPRt0NDTtMd7DXBbyXp9K4="


def certificate(start=-10, end=100, **more):
    """Facts of a certificate, valid from and to a day from now."""
    return {
        "not_before": pem.timestamp(NOW + datetime.timedelta(days=start)),
        "not_after": pem.timestamp(NOW + datetime.timedelta(days=end)),
        "alt_names": ["exp1"],
        "key": "rsa 2048",
        **more,
    }


def manifest(start=-10, end=100, pairs=("probe", "prom1"), **more):
    """The manifest of a generation that was made for exp1."""
    pair = {"delivery": "g1-1", "sha256": "aa", "recipient": None, "scrape_interval": None, **certificate()}
    return {
        "generation": "g1",
        "origin": "created",
        "asked": {"common_name": "exp1", "alt_names": ["exp1"], "rsa_key_size": None},
        "ca": [certificate(start, end)],
        "ca_sha256": "cc",
        "leaf": certificate(start, end),
        "pairs": {name: copy.deepcopy(pair) for name in pairs},
        **more,
    }


def definition(**options):
    """An exporter as a test wants it."""
    given = {"timesten_home": "/tt", "certificate_directory": "/mon/exp1", "regenerate": "when_due"}
    return define({**given, "common_name": "exp1", **options})


ROOT, ISSUING, OWN = (certificate(-100, end, sha256=str(end)) for end in (100, 50, 20))


def verifying(*names, name="prom1"):
    """A client whose job verifies some names; none of them where it does not tell."""
    return Client(name, stored={"verifies": list(names)} if names else {})


@pytest.mark.parametrize(
    ("ca", "leaf", "due", "due_at"),
    [
        (100, 100, False, "2027-02-02T00:00:00Z"),
        (100, 20, True, "2026-11-14T00:00:00Z"),
        (20, 100, True, "2026-11-14T00:00:00Z"),
        (20, None, True, "2026-11-14T00:00:00Z"),
        (100, None, False, "2027-02-02T00:00:00Z"),
        (None, 20, True, "2026-11-14T00:00:00Z"),
        (None, None, False, None),
    ],
)
def test_due_is_by_whatever_ends_first(ca, leaf, due, due_at):
    described = {
        "ca": [] if ca is None else [certificate(-100, ca)],
        "leaf": None if leaf is None else certificate(-100, leaf),
    }
    why, moment = wallet.due(described, pem.RenewBefore("30d"), NOW)
    assert (why is not None, moment) == (due, due_at)


@pytest.mark.parametrize(
    ("exported", "seen", "ca_not_after"),
    [
        ((ROOT,), True, "2027-03-04T00:00:00Z"),
        ((ROOT,), False, "2027-03-04T00:00:00Z"),
        ((ROOT, ISSUING), True, "2027-01-13T00:00:00Z"),
        ((OWN, ROOT), True, "2027-03-04T00:00:00Z"),
        ((OWN,), True, None),
    ],
    ids=["ca alone", "not seen yet", "two", "chain", "self-signed, or without its ca"],
)
def test_a_certificate_is_told_once_as_what_it_is(exported, seen, ca_not_after):
    known = manifest(ca=list(exported), leaf=OWN if seen else None, leaf_source="handshake" if seen else "none")
    found = result.known_certificates(definition(), known, NOW)
    assert (found["ca_not_after"], found["server_certificate"]) == (ca_not_after, known["leaf"])
    assert (found["due"] is not None) == seen and (found["due_at"] < pem.timestamp(NOW)) == seen


@pytest.mark.parametrize(
    ("ca", "leaf", "reason"),
    [
        ((-1, 100), (-1, 100), None),
        ((0, 100), (0, 100), None),
        ((1, 100), (1, 100), "is not valid before 2026-11-25T00:00:00Z"),
        ((-1, 50), (1, 100), "is not valid before 2026-11-25T00:00:00Z"),
        ((1, 100), (-1, 50), "is not valid before 2026-11-25T00:00:00Z"),
    ],
)
def test_what_is_not_yet_valid_is_due(ca, leaf, reason):
    """A clock that was ahead, and was mended."""
    described = {"ca": [certificate(*ca)], "leaf": certificate(*leaf)}
    assert wallet.due(described, pem.RenewBefore("30d"), NOW)[0] == reason


@pytest.mark.parametrize(
    ("origin", "leaf", "options", "expected"),
    [
        ("created", None, {}, []),
        ("created", None, {"common_name": "b"}, ["common_name exp1 -> b", "alt_names ['exp1'] -> ['b']"]),
        ("created", None, {"alt_names": ["exp1", "b"]}, ["alt_names ['exp1'] -> ['exp1', 'b']"]),
        ("created", None, {"rsa_key_size": 4096}, ["rsa_key_size None -> 4096"]),
        ("adopted", None, {"common_name": "b", "rsa_key_size": 4096}, []),
        ("adopted", certificate(), {}, []),
        ("adopted", certificate(), {"common_name": "b"}, ["the certificate is not valid for b"]),
        ("adopted", certificate(alt_names=["*.example.com"]), {"common_name": "a.example.com"}, []),
        ("adopted", certificate(alt_names=["*.example.com"]), {"common_name": "*.example.com"}, []),
        ("adopted", certificate(), {"rsa_key_size": 2048}, []),
        ("adopted", certificate(), {"rsa_key_size": 4096}, ["rsa_key_size rsa 2048 -> 4096"]),
    ],
)
def test_fit(origin, leaf, options, expected):
    known = {**manifest(), "origin": origin, "leaf": leaf}
    before = copy.deepcopy(known)
    found = wallet.decide_wallet(definition(**options), WalletSeen("known", "g1", known), [], NOW)
    assert (found.action, found.unfit) == ("keep", expected)
    assert known == before


@pytest.mark.parametrize("policy", ["never", "when_due", "when_changed", "always"])
@pytest.mark.parametrize("due", [False, True])
@pytest.mark.parametrize("unfit", [False, True])
def test_reasons_to_replace(policy, due, unfit):
    seen = WalletSeen("known", "g1", manifest(-100, 20 if due else 100))
    found = wallet.decide_wallet(definition(regenerate=policy, rsa_key_size=4096 if unfit else None), seen, [], NOW)
    ends = ["the wallet ends at 2026-12-14T00:00:00Z, within renew_before 30d"] if due else []
    expected = {
        "never": [],
        "when_due": ends,
        "when_changed": (["rsa_key_size None -> 4096"] if unfit else []) + ends,
        "always": ["regenerate is always"],
    }[policy]
    assert (found.action, found.why) == ("create" if expected else "keep", expected)


DESCRIBED = {"ca": [certificate()], "ca_sha256": "dd", "leaf": certificate(), "leaf_source": "export"}
SEEN = {
    "missing": WalletSeen("missing", directory="/mon/exp1"),
    "made by hand": WalletSeen("made by hand", described=DESCRIBED, directory="/mon/exp1"),
    "gone": WalletSeen("gone", "g1", manifest(), directory="/mon/exp1/generations/g1"),
    "other instance": WalletSeen("other instance", "g1", manifest(), directory="/g1", guids=("OLD", "NEW")),
    "no manifest": WalletSeen("no manifest", "g1", None, DESCRIBED, "/g1"),
    "changed": WalletSeen("changed", "g1", manifest(), DESCRIBED, "/g1"),
    "touched": WalletSeen("touched", "g1", manifest(), directory="/g1"),
    "known": WalletSeen("known", "g1", manifest(), directory="/g1"),
    "not exported": WalletSeen("known", "g1", manifest(), directory="/g1", exported=False),
}


@pytest.mark.parametrize(
    ("state", "action", "why", "usable", "adopt_from"),
    [
        ("missing", "create", "there is no wallet", True, None),
        ("made by hand", "adopt", "adopts the wallet that was made by hand", True, "/mon/exp1"),
        ("gone", "create", "the wallet of generation g1 is gone", False, None),
        ("other instance", "create", "the wallet is that of instance OLD, and the instance is NEW by now", False, None),
        ("no manifest", "adopt", "generation g1 has no manifest", True, "/g1"),
        ("changed", "adopt", "the wallet was changed by somebody else", True, "/g1"),
        ("touched", "keep", None, True, None),
        ("known", "keep", None, True, None),
        ("not exported", "keep", "server.crt is missing or is not that of the wallet", True, None),
    ],
)
@pytest.mark.parametrize("policy", ["never", "when_due", "when_changed"])
def test_each_state_of_a_wallet(state, action, why, usable, adopt_from, policy):
    found = wallet.decide_wallet(definition(regenerate=policy), SEEN[state], [], NOW)
    assert (found.action, found.usable, found.adopt_from) == (action, usable, adopt_from)
    assert (why is None and found.why == []) or found.why[0].startswith(why)
    assert (found.refresh, found.restore) == (state == "touched", state == "not exported")


@pytest.mark.parametrize("state", sorted(SEEN))
@pytest.mark.parametrize("options", [{"insecure": True}, {"state": "stopped"}])
def test_no_wallet_is_wanted(state, options):
    assert wallet.decide_wallet(definition(**options), SEEN[state], [], NOW) == WalletPlan("none")


@pytest.mark.parametrize("state", sorted(SEEN))
def test_who_asks_for_no_names_makes_no_wallet(state):
    nameless = dataclasses.replace(definition(), asked=None, regenerate="never")
    if state in ("gone", "other instance"):
        with pytest.raises(TimesTenError, match="make a new one with tt_wallet"):
            wallet.decide_wallet(nameless, SEEN[state], [], NOW)
    else:
        expected = {"missing": "none", "made by hand": "adopt", "no manifest": "adopt", "changed": "adopt"}
        assert wallet.decide_wallet(nameless, SEEN[state], [], NOW).action == expected.get(state, "keep")


@pytest.mark.parametrize(
    ("asked", "clients", "known", "former"),
    [
        # The address changes, and the jobs still verify the old one.
        ("new", [verifying("exp1")], {}, ("exp1",)),
        ("new", [verifying("exp1", "other")], {}, ("exp1", "other")),
        ("new", [verifying("new")], {}, ()),
        ("*.example.com", [verifying("a.example.com")], {}, ()),
        ("::1", [verifying("0:0:0:0:0:0:0:1")], {}, ()),
        ("::1", [verifying("127.0.0.1")], {}, ("127.0.0.1",)),
        # Who does not tell may verify any name that the certificate has.
        ("new", [verifying()], {}, ("exp1",)),
        ("new", [], {}, ("exp1",)),
        ("new", [], {"former": ["oldest"]}, ("exp1", "oldest")),
        ("new", [verifying("new"), verifying(name="prom2")], {"pairs": {"prom1": {}, "prom2": {}}}, ("exp1",)),
        ("new", [], {"pairs": {"probe": {}}}, ()),
        ("exp1", [verifying("exp1")], {}, ()),
    ],
)
def test_names_that_jobs_still_verify_stay_in_a_new_certificate(asked, clients, known, former):
    options = definition(common_name=asked, regenerate="always")
    found = wallet.decide_wallet(options, WalletSeen("known", "g1", manifest(**known)), clients, NOW)
    assert (found.action, found.former) == ("create", former)


@pytest.mark.parametrize(
    ("clients", "unfit"),
    [
        ([verifying("old")], []),
        ([verifying()], []),
        ([], []),
        ([verifying("exp1")], ["no job verifies old any more"]),
        ([verifying("exp1"), verifying("old", name="prom2")], []),
    ],
)
def test_former_names_go_when_no_job_verifies_them(clients, unfit):
    seen = WalletSeen("known", "g1", manifest(former=["old"]))
    assert wallet.decide_wallet(definition(), seen, clients, NOW).unfit == unfit
    found = wallet.decide_wallet(definition(regenerate="when_changed"), seen, clients, NOW)
    assert (found.action, found.former) == (("create", ()) if unfit else ("keep", ()))


@pytest.mark.parametrize(("value", "names"), [(None, None), ([], ()), (["a", "b"], ("a", "b")), ("a", ("a",))])
def test_names_that_a_client_verifies(value, names):
    assert Client("prom1", stored={"verifies": value}).verifies == names


STORED = {"delivery": "g1-1", "sha256": "aa", "ca_sha256": "cc"}
SEALED = "the client does not have it, and its key was not sealed for the client's transport key"


@pytest.mark.parametrize(
    ("client", "pair", "seen", "action", "why"),
    [
        (Client("new"), {}, PairSeen(), "issue", "there is no pair yet"),
        (Client("prom1"), {}, PairSeen(), "keep", None),
        (Client("prom1"), {}, PairSeen(problem="no pair"), "issue", "no pair"),
        (
            Client("prom1"),
            {},
            PairSeen(certificate=False),
            "issue",
            "its certificate is missing or is not the one that was",
        ),
        (Client("prom1"), certificate(-100, 20), PairSeen(), "issue", "ends at 2026-12-14T00:00:00Z, within"),
        (Client("prom1"), certificate(-100, -1), PairSeen(), "issue", "expired at 2026-11-23T00:00:00Z"),
        (Client("prom1"), certificate(1, 100), PairSeen(), "issue", "is not valid before 2026-11-25T00:00:00Z"),
        (Client("prom1", RECIPIENT, stored=STORED), {}, PairSeen(), "keep", None),
        (Client("prom1", RECIPIENT, stored={**STORED, "ca_sha256": "x"}), {}, PairSeen(bundle=True), "issue", SEALED),
        (Client("prom1", RECIPIENT), {"recipient": "ours"}, PairSeen(bundle=True), "send", None),
        (Client("prom1", RECIPIENT), {"recipient": "ours"}, PairSeen(), "issue", SEALED),
        (Client("prom1", RECIPIENT), {"recipient": "other"}, PairSeen(bundle=True), "issue", SEALED),
    ],
)
def test_each_state_of_a_pair(monkeypatch, client, pair, seen, action, why):
    monkeypatch.setattr(wallet, "key_id", lambda _key: "ours")
    known = manifest()
    known["pairs"]["prom1"].update(pair)
    found = wallet.decide_pair(definition(), known, client, {client.name: seen}, NOW)
    assert found.action == action
    assert found.why is None if why is None else found.why.startswith(why)
