# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses, and which host a certificate is valid for."""

from __future__ import annotations

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError


@pytest.mark.parametrize("name", ["exp1", "Exp-1.example.com", "0", "a_b", "a" * 100, "exp1-sales"])
def test_usable_names(name):
    assert _names.check_name(name, "name") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", "-a", ".a", "_a", "a/b", "a b", "a\n", "a\0", "ä", "a:b", "a" * 101, "{{ a }}", "a'b", "٣"],
)
def test_unusable_names(name):
    with pytest.raises(TimesTenError) as caught:
        _names.check_name(name, "exporters[3].name")
    assert caught.value.message.startswith(f"exporters[3].name: {name!r} is not a usable name")


def test_distinct_names():
    _names.check_distinct(["a", "b"], "clients")
    with pytest.raises(TimesTenError, match="clients: 'Prom' and 'prom' are the same name"):
        _names.check_distinct(["Prom", "x", "prom"], "clients")


@pytest.mark.parametrize(
    "host",
    [
        "exp1",
        "exp1.example.com",
        "10.1.2.3",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%2",
        "fe80::1%br-lan.10",
        "a_b.example.com",
        "x" * 63,
        "1a.b",
        "xn--bcher-kva.example",
    ],
)
def test_hosts(host):
    assert _names.check_host(host, "address") == host


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("", "is neither"),
        ("exp 1", "is neither"),
        ("exp1:8888", "is neither"),
        ("https://exp1", "is neither"),
        ("[::1]", "is neither"),
        ("exp1,exp2", "is neither"),
        ("-a", "is neither"),
        ("a-", "is neither"),
        ("a..b", "is neither"),
        ("a.", "is neither"),
        ("x" * 64, "is neither"),
        (".".join(["x" * 60] * 5), "is neither"),
        ("*.example.com", "is neither"),
        ("10.1.2.300", "looks like an IP address but"),
        ("1234", "looks like an IP address but"),
        ("10.1.2", "looks like an IP address but"),
    ],
)
def test_what_is_no_host(host, reason):
    with pytest.raises(TimesTenError) as caught:
        _names.check_host(host, "exporters[0].address")
    assert caught.value.message.startswith(f"exporters[0].address: {host!r} {reason} ")


NO_SCOPES = [
    "",
    "%",
    "25eth0%",
    "a\nevil",
    "a\n",
    "\n",
    "a b",
    " a",
    "a\tb",
    "a\0",
    "a\x1b[2J",
    "a\x7f",
    'a"',
    "a'",
    "a: b",
    "a#b",
    " #",
    "{{ a }}",
]
NO_SCOPES += [
    "[a",
    "a]",
    "a,b",
    "a/../b",
    "../b",
    "-a",
    ".a",
    "a;b",
    "$(a)",
    "`a`",
    "a\\n",
    "é",
    "٣",
    "a\u2028b",
    "a\x85",
    "x" * 16,
    "!a",
    "&a",
    "*a",
]


@pytest.mark.parametrize("address", ["fe80::1", "::1", "::ffff:10.0.0.1", "10.0.0.1", "exp1"])
@pytest.mark.parametrize("scope", NO_SCOPES)
@pytest.mark.parametrize("wildcard", [False, True])
def test_what_is_no_scope_of_an_address(address, scope, wildcard):
    with pytest.raises(TimesTenError, match="is neither a host name nor an IP address"):
        _names.check_host(f"{address}%{scope}", "address", wildcard)


@pytest.mark.parametrize(
    "host", ["10.0.0.1%eth0", "exp1%eth0", "%eth0", "fe80::1%%eth0", "fe80::1%eth0%eth1", "fe80::1%eth0\n"]
)
def test_scopes_are_for_one_kind_of_address(host):
    assert not _names.is_address(host)


def test_wildcards_are_for_certificates():
    assert _names.check_host("*.example.com", "common_name", wildcard=True) == "*.example.com"
    for name in ("*", "a.*.com", "a*.example.com"):
        with pytest.raises(TimesTenError):
            _names.check_host(name, "common_name", wildcard=True)


@pytest.mark.parametrize(
    ("alt_names", "host", "valid"),
    [
        (["exp1.example.com"], "exp1.example.com", True),
        (["exp1.example.com"], "EXP1.example.COM.", True),
        (["EXP1.example.com."], "exp1.example.com", True),
        (["exp1"], "exp1.example.com", False),
        (["*.example.com"], "exp1.example.com", True),
        (["*.example.com"], "a.exp1.example.com", False),
        (["*.example.com"], "example.com", False),
        (["*.com"], "localhost", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["::1"], "0:0:0:0:0:0:0:1", True),
        (["10.0.0.1"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.1"], "10.0.0.1", True),
        (["*.0.0.1"], "10.0.0.1", False),
        (["a,b"], "a", False),
        ([], "exp1", False),
        (["fe80::1"], "fe80::1%eth0", False),
        (["fe80::1%eth0"], "fe80::1%eth0", False),
        (["fe80::1%eth0"], "fe80::1", False),
    ],
)
def test_covers(alt_names, host, valid):
    assert _names.covers(alt_names, host) is valid


@pytest.mark.parametrize(
    ("host", "target"), [("exp1", "exp1:8888"), ("10.0.0.1", "10.0.0.1:8888"), ("::1", "[::1]:8888")]
)
def test_target(host, target):
    assert _names.target(host, 8888) == target


def test_names_of_both_ports():
    assert (_names.on_port("exp1", False), _names.on_port("exp1", True)) == ("exp1", "exp1.spare")
    for name in ("exp1", "exp1.spare"):
        assert _names.exporter_of(name) == "exp1"
        assert _names.other_port(_names.other_port(name)) == name
        assert _names.other_port(name) != name


@pytest.mark.parametrize("value", ["4294967295", "4294967296", "9" * 200, "", "a b", "-x"])
def test_what_is_no_account(value: str) -> None:
    """To the system, the highest number means "leave it as it is": a file would stay root's, and a process root."""
    with pytest.raises(TimesTenError, match=r"user: .* is not the name or the number"):
        _names.check_account(value, "user")


@pytest.mark.parametrize("value", ["prometheus", "65534", "0", "4294967294"])
def test_accounts_by_name_and_by_number(value: str) -> None:
    assert _names.check_account(value, "user") == value
