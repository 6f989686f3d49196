# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff shows of a configuration: every secret that Prometheus knows, in every spelling that YAML knows."""

from __future__ import annotations

import json

import pytest
import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import diff, redact

SECRET = "hunter2"
SECRETS = (
    ("basic_auth", "password"),
    ("bearer_token",),
    ("authorization", "credentials"),
    ("oauth2", "client_secret"),
    ("oauth2", "endpoint_params", "assertion"),
    ("oauth2", "tls_config", "key"),
    ("tls_config", "key"),
    ("tls_config", "cert"),
    ("params", "auth"),
    ("http_headers", "X-Any", "secrets"),
    ("http_headers", "X-Any", "values"),
    ("proxy_connect_header", "X-Any"),
    ("headers", "X-Scope-OrgID"),
    ("sigv4", "secret_key"),
    ("sigv4", "access_key"),
    ("azuread", "oauth", "client_secret"),
    ("ec2_sd_configs", "secret_key"),
    ("consul_sd_configs", "token"),
    ("openstack_sd_configs", "application_credential_secret"),
)
SPELLINGS = {
    "plain": " hunter2",
    "double": ' "hunter2"',
    "single": " 'hunter2'",
    "escaped": ' "\\x68unter2"',
    "next line": "\n@  hunter2",
    "comment between": " # why\n@  hunter2",
    "several lines": "\n@  xx\n@  hunter2\n@  hunter2",
    "quotes over lines": ' "xx\n@  hunter2\n\n@  hunter2"',
    "cut in quotes": ' "xx\\\n@  hunter2"',
    "literal": " |\n@  hunter2\n@   hunter2\n",
    "folded": " >-\n@  xx\n\n@  hunter2",
    "indented literal": " |2\n@    hunter2\n@  hunter2",
    "list": "\n@- hunter2",
    "deeper list": "\n@  - xx\n@  -   hunter2",
    "brackets": " [xx, hunter2]",
    "brackets over lines": " [xx,\n@  hunter2\n@  ]",
    "braces": " {any: {thing: hunter2}}",
    "braces over lines": " {\n@  any:\n@  hunter2}",
    "anchor": " &a hunter2",
    "tag": " !!str hunter2",
    "tag on a line of its own": " !!str\n@  hunter2",
    "mapping": "\n@  any: hunter2 # c\n@  # of old: x\n@  thing: x",
    "key of a mapping": "\n@  hunter2: x",
    "question": "\n@  ? hunter2\n@  : x",
}


def shown(text: str, before: str = "") -> str:
    return diff.file_diff("/p", before.encode(), (before + text).encode())


@pytest.mark.parametrize("place", SECRETS, ids=".".join)
@pytest.mark.parametrize("comment", [False, True])
def test_every_secret_in_every_spelling(place: tuple[str, ...], comment: bool) -> None:
    for number, (name, spelling) in enumerate(SPELLINGS.items()):
        for quote in ("", ("'", '"')[number % 2]):
            head = "".join(f"\n{'  ' * (depth + 1)}{quote}{key}{quote}:" for depth, key in enumerate(place))
            value = spelling.replace("@", "  " * len(place))
            text = f"scrape_configs:\n- job_name: shown{head}{value}\n  honor_labels: true # shown too\n"
            yaml.compose(text)
            if comment:
                if "cut" in name or "escaped" in name:
                    continue
                text = "".join(f"# {line}\n" for line in text.splitlines())
            for one in (shown(text, "global: {}\n"), diff.file_diff("/p", text.encode(), b"")):
                assert SECRET not in one and "nter2" not in one, (name, one)
                assert redact.HIDDEN in one and "job_name: shown" in one and "shown too" in one, (name, one)
                assert one.count("\n") >= text.count("\n")


@pytest.mark.parametrize(
    "key", ['"pass\\u0077ord"', "? password\n  ", "PASSWORD", "!!str password", "&k password", "password "]
)
def test_a_key_in_every_spelling(key: str) -> None:
    assert SECRET not in shown(
        f"a:\n  {key}: hunter2\n  b: {{{key.replace('? password', 'password').strip()}: hunter2}}\n"
    )


def test_what_an_alias_or_a_merge_key_leads_to() -> None:
    for text in (
        "global: {external_labels: {a: &x hunter2}}\nscrape_configs: [{basic_auth: {password: *x}}]\n",
        "x: &x\n  u: hunter2\nscrape_configs:\n- basic_auth:\n    <<: *x\n",
        "x: &x {any: hunter2}\nscrape_configs:\n- params: *x\n",
        "x: &x\n- hunter2\nscrape_configs:\n- params:\n    a: *x\n",
        "x: &x {y: *x, z: hunter2}\nscrape_configs:\n- headers: *x\n",
    ):
        assert SECRET not in shown(text), text


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host/x",
        "http://hunter2@host",
        "http://user:p@hunter2@host:9/x",
        "http://user:it's%20hunter2@host",
        "//user:hunter2@proxy:3128",
        "https://host/write?token=hunter2&x=y",
        "https://host/write?x=a/b@hunter2",
        "/metrics?auth=hunter2",
    ],
)
@pytest.mark.parametrize("quote", ["", "double", "single", "lines", "comment"])
def test_urls_show_neither_login_nor_query(url: str, quote: str) -> None:
    for key in ("proxy_url", "url", "metrics_path", "replacement"):
        value = {
            "double": json.dumps(url).replace("/", "\\/"),
            "single": "'" + url.replace("'", "''") + "'",
            "lines": "\n      " + url,
        }.get(quote, url)
        text = f"remote_write:\n  - {key}: {value}\n    shown: 1\n  - [{json.dumps(url)}]\n"
        if quote == "comment":
            text = text.replace("\n  ", "\n#  ")
        redacted = shown(text)
        assert SECRET not in redacted and redact.HIDDEN in redacted and "shown: 1" in redacted, redacted


def test_what_is_no_secret_is_shown() -> None:
    text = (
        "rule_files:\n  - /etc/prometheus/timesten.rules.yml\nscrape_configs:\n- job_name: key-token:x\n"
        "  bearer_token_file: /etc/prometheus/token\n  tls_config:\n    key_file: /store/exp1/current/client.key\n"
        "    ca_file: /etc/prometheus/timesten/abcdefghijklmnopqrstuvwxyz/current/ca.crt\n"
        "  metrics_path: /averylongpathofnothingbutlettersandslashes/metrics\n  static_configs:\n  - targets: ['a:1']\n"
    )
    assert redact.HIDDEN not in shown(text.replace("key-token:x", "x"))
    assert shown(text).count("\n") == text.count("\n") + 3


@pytest.mark.parametrize("text", ['a: {u: v, "password"\n   : hunter2}\nb: [\n', "? password\n: hunter2\n- x\n"])
def test_nothing_is_shown_of_what_cannot_be_read(text: str) -> None:
    assert redact.lines(text.encode(), "x.yml") == [redact.HIDDEN] * text.count("\n")


@pytest.mark.parametrize(
    "said",
    [
        'line 3: parse "http://u:p/hunter2@host": invalid port ":p" after host',
        "line 3: parse: cannot unmarshal !!str `hunter2` into config.plain",
        'line 3: parse "http://h:80a/w?token=hunter2": invalid port ":80a" after host',
    ],
)
def test_words_of_a_program(said: str) -> None:
    assert SECRET not in redact.said(said) and "line 3: parse" in redact.said(said)
