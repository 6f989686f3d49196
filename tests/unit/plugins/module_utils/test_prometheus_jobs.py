# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job from one exporter, its text, durations and the rate budget."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Target

STORE = "/etc/prometheus/timesten"
properties = settings(max_examples=500, derandomize=True, database=None, deadline=None)


def build(**options: object) -> jobs.Job:
    return jobs.build({"name": "exp1", "address": "exp1.example.com", "port": 12345, **options}, STORE)


def test_the_plain_job() -> None:
    assert "\n".join(jobs.emit(build().config, 2, "x")) == (
        "  - job_name: timesten-exp1\n"
        "    scheme: https\n"
        "    tls_config:\n"
        "      ca_file: /etc/prometheus/timesten/exp1/current/ca.crt\n"
        "      cert_file: /etc/prometheus/timesten/exp1/current/client.crt\n"
        "      key_file: /etc/prometheus/timesten/exp1/current/client.key\n"
        "    static_configs:\n"
        "      - targets:\n"
        "          - exp1.example.com:12345"
    )


def test_every_option_has_its_key() -> None:
    job = build(
        scrape_interval="30s",
        scrape_timeout="10s",
        metrics_path="/m",
        labels={"b": "2", "a": "1"},
        job_label="timesten",
        honor_labels=True,
        extra={"sample_limit": 5, "params": {"x": ["y"]}},
    )
    assert list(job.config) == [
        "job_name",
        "honor_labels",
        "scrape_interval",
        "scrape_timeout",
        "metrics_path",
        "scheme",
        "tls_config",
        "static_configs",
        "relabel_configs",
        "params",
        "sample_limit",
    ]
    assert job.config["static_configs"] == [{"targets": ["exp1.example.com:12345"], "labels": {"a": "1", "b": "2"}}]
    assert job.config["relabel_configs"] == [{"target_label": "job", "replacement": "timesten"}]
    assert (job.name, job.target) == ("timesten-exp1", "exp1.example.com:12345")


def test_the_default_path_is_not_written() -> None:
    assert "metrics_path" not in build(metrics_path="/metrics").config


def test_insecure_is_plain_http() -> None:
    config = build(insecure=True).config
    assert config["scheme"] == "http"
    assert "tls_config" not in config


@pytest.mark.parametrize(
    ("address", "alt_names", "server_name"),
    [
        ("exp1.example.com", None, None),
        ("exp1.example.com", [], None),
        ("exp1.example.com", ["EXP1.example.com"], None),
        ("exp1.example.com", ["*.example.com"], None),
        ("10.0.0.1", ["exp1.example.com"], "exp1.example.com"),
        ("exp1", ["*.example.com", "exp1.example.com"], "exp1.example.com"),
        ("::1", ["0:0:0:0:0:0:0:1"], None),
    ],
)
def test_server_name_only_where_the_target_is_not_in_the_certificate(address, alt_names, server_name) -> None:
    assert build(address=address, alt_names=alt_names).config["tls_config"].get("server_name") == server_name


def test_ipv6_targets_are_bracketed_and_quoted() -> None:
    job = build(address="fe80::1")
    assert job.target == "[fe80::1]:12345"
    assert '          - "[fe80::1]:12345"' in jobs.emit(job.config, 2, "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "'a b' is not a usable name"),
        ({"address": "a b"}, "exporter exp1: address: 'a b'"),
        ({"port": 0}, "exporter exp1: port: 0"),
        ({"port": True}, "exporter exp1: port: True"),
        ({"scrape_interval": "15"}, "exporter exp1: scrape_interval: '15' is not a Prometheus duration"),
        ({"scrape_interval": "0s"}, "scrape_interval: '0s' is no time"),
        ({"scrape_interval": "10s", "scrape_timeout": "11s"}, "scrape_timeout 11s is longer than scrape_interval 10s"),
        ({"metrics_path": "m"}, "metrics_path: 'm'"),
        ({"labels": {"__x": "1"}}, "'__x' is not a label name"),
        ({"labels": {"9": "1"}}, "'9' is not a label name"),
        ({"labels": {"a": 1}}, "labels: a: 1 is not text"),
        ({"labels": {"a": "x\ny"}}, r"labels: a: 'x\\ny' holds the control character"),
        ({"labels": {"a": "\u2028"}}, "control character"),
        ({"job_label": "a$1"}, "job_label: 'a\\$1'"),
        ({"job_label": "x", "labels": {"job": "y"}}, "both set the label 'job'"),
        ({"job_label": "x", "extra": {"relabel_configs": []}}, "relabel_configs together with job_label"),
        ({"extra": {"tls_config": {}}}, "extra: tls_config is managed"),
        ({"extra": {"job_name": "x"}}, "extra: job_name is managed"),
        ({"extra": {"params": {1: "x"}}}, "extra: params holds what cannot be written"),
        ({"extra": {"x": float("nan")}}, "extra: x holds what"),
        ({"extra": {"x": object()}}, "cannot be written as YAML"),
    ],
)
def test_a_wrong_option_is_named(options, message) -> None:
    with pytest.raises(TimesTenError, match=message):
        build(**options)


def test_the_store_must_be_absolute() -> None:
    with pytest.raises(TimesTenError, match="'store' is not an absolute path"):
        jobs.build({"name": "a", "address": "a", "port": 1}, "store")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")),
    st.sampled_from(
        [
            "yes",
            "No",
            "null",
            "~",
            "1e3",
            "0x1f",
            "12:30:45",
            "1_000",
            "=",
            "<<",
            "- a",
            "a: b",
            "a #b",
            "*x",
            "&x",
            "!t",
            "%d",
            "@",
            "`",
        ]
    ),
    st.sampled_from(
        [
            "2026-11-24",
            ".inf",
            "",
            " x",
            "x ",
            "a:",
            ":a",
            "15s",
            "1m30s",
            "{a}",
            "[a]",
            "a,b",
            "?",
            "|",
            ">",
            "'",
            '"',
            "\\",
            "---",
            "...",
        ]
    ),
)
KEYS = st.text("abc_ :#-'\"ä", min_size=1, max_size=6)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@properties
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), st.integers(0, 5))
def test_any_content_survives_the_writing(content, column) -> None:
    """What is written reads back as the same value and type, in both styles, and each list item keeps to its lines."""
    block = "\n".join(jobs.emit(content, column, "x"))
    flow = "x: [" + jobs.emit_flow(content, "x") + ",]"
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        assert yaml.load(block, Loader=loader) == [content]
        assert yaml.load(flow, Loader=loader) == {"x": [content]}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("500ms", 0.5),
        ("1d", 86400.0),
        ("1w2d", 777600.0),
        ("1y", 31536000.0),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(text, seconds) -> None:
    assert jobs.parse_duration(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "15", "s", "1.5s", "30s1m", "1s1s", "-1s", "1 s", "1S", "1s\n", "300y", None, 15])
def test_what_is_not_a_duration(text) -> None:
    with pytest.raises(TimesTenError, match="x: "):
        jobs.parse_duration(text, "x")


def test_a_job_does_not_depend_on_the_order_of_options() -> None:
    options = {
        "labels": {"a": "1", "b": "2"},
        "extra": {"z": 1, "y": {"b": 1}},
        "job_label": "x",
        "scrape_interval": "15s",
    }
    first = jobs.emit(build(**options).config, 0, "x")
    for seed in range(5):
        keys = list(options)
        random.Random(seed).shuffle(keys)
        assert jobs.emit(build(**{key: options[key] for key in keys}).config, 0, "x") == first


def test_on_the_spare_port_the_labels_are_those_of_the_usual_one() -> None:
    spare = {"name": "exp1.spare", "port": 2, "usual_port": 1}
    job = build(**spare)
    assert (job.name, job.target) == ("timesten-exp1.spare", "exp1.example.com:2")
    usual = {"instance": "exp1.example.com:1", "job": "timesten-exp1"}
    assert job.config["static_configs"][0]["labels"] == usual
    assert job.config["tls_config"]["ca_file"] == f"{STORE}/exp1.spare/current/ca.crt"
    assert build(**spare, labels={"site": "s", "job": "mine"}).config["static_configs"][0]["labels"] == {
        **usual,
        "job": "mine",
        "site": "s",
    }
    labelled = build(**spare, job_label="timesten").config
    assert labelled["static_configs"][0]["labels"] == {"instance": "exp1.example.com:1"}
    assert labelled["relabel_configs"] == build(job_label="timesten").config["relabel_configs"]
    assert build(**{**spare, "address": "::1"}).config["static_configs"][0]["labels"]["instance"] == "[::1]:1"


@pytest.mark.parametrize("shown", ["timesten-exp1", "tt_8888"], ids=["before relabelling", "as 2.42 shows it"])
def test_a_target_is_recognized_whatever_is_relabelled(shown):
    """Prometheus 2.42 shows the label job after relabelling where the one before it belongs."""
    definition = {"name": "exp1", "address": "exp1", "port": 8888, "job_label": "tt_8888", "labels": {"dc": "a"}}
    labels = jobs.discovered_labels(jobs.build(definition, "/store").config)
    seen = {"__address__": "exp1:8888", "__scheme__": "https", "__metrics_path__": "/metrics", "job": shown, "dc": "a"}
    assert Target("timesten-exp1", "", "up", "", 1.0, 0.1, seen).is_of(labels)
    assert not Target("timesten-exp1", "", "up", "", 1.0, 0.1, {**seen, "__address__": "exp1:8889"}).is_of(labels)
