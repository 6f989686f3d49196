# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about wallet and pairs, as tables: what is there, what is wanted, what happens."""

from __future__ import annotations

import copy
import datetime

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import wallet as _exporter_wallet
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc)


def certificate(start=-10, end=100, **more):
    """Facts of a certificate, valid from and to a day from now."""
    return {
        "not_before": _certificates.timestamp(NOW + datetime.timedelta(days=start)),
        "not_after": _certificates.timestamp(NOW + datetime.timedelta(days=end)),
        "alt_names": ["exp1"],
        "key": "rsa 2048",
        **more,
    }


def test_due_is_by_whatever_ends_first():
    rule = _certificates.RenewBefore("30d")
    for ca, leaf, due, due_at in [
        (100, 100, False, "2027-02-02T00:00:00Z"),
        (100, 20, True, "2026-11-14T00:00:00Z"),
        (20, 100, True, "2026-11-14T00:00:00Z"),
        (20, None, True, "2026-11-14T00:00:00Z"),
        (100, None, False, "2027-02-02T00:00:00Z"),
        (None, 20, True, "2026-11-14T00:00:00Z"),
    ]:
        described = {
            "ca": [] if ca is None else [certificate(-100, ca)],
            "leaf": None if leaf is None else certificate(-100, leaf),
        }
        why, moment = _exporter_wallet.due(described, rule, NOW)
        assert (why is not None, moment) == (due, due_at)
    assert _exporter_wallet.due({}, rule, NOW) == (None, None)


def wanted(**options):
    return define({"timesten_home": "/tt", "certificate_directory": "/mon/exp1", "common_name": "exp1", **options})


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
    described = {
        "origin": origin,
        "asked": {"common_name": "exp1", "alt_names": ["exp1"], "rsa_key_size": None},
        "leaf": leaf,
    }
    before = copy.deepcopy(described)
    assert _exporter_wallet._unfit(wanted(**options), described) == expected
    assert described == before


@pytest.mark.parametrize("policy", ["never", "when_due", "when_changed", "always"])
@pytest.mark.parametrize("due", [None, "expired at 2026-01-01T00:00:00Z"])
@pytest.mark.parametrize("unfit", [[], ["common_name a -> b"]])
def test_reasons_to_replace(policy, due, unfit):
    found = _exporter_wallet.WalletPlan("keep", due=due, unfit=unfit)
    expected = {
        "never": [],
        "when_due": [f"the wallet {due}"] if due else [],
        "when_changed": unfit + ([f"the wallet {due}"] if due else []),
        "always": ["regenerate is always"],
    }[policy]
    assert _exporter_wallet._reasons_to_replace(policy, found) == expected
