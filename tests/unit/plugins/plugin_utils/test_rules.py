# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every alert fires, stays quiet on the other side of its threshold, and resolves: promtool evaluates the rule file itself."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import LATER as LATER_KNOWN
from ansible_collections.timesten.monitoring.plugins.plugin_utils import answers, fleet, rules
from gates.doc_examples import example
from lab import packages

pytestmark = pytest.mark.controller

DAY = 86400
EVERY_ALERT = dict.fromkeys(rules.all_alerts(), True)
TARGET = {"job": "timesten-exp1", "instance": "exp1:8888"}
DATABASE = {**TARGET, "exported_instance": "tt1", "dsn": "sales"}
INSTANCE = {**TARGET, "exported_instance": "tt1"}

QUIET, FIRES, RESOLVED = 20, 55, 90
"""Minutes: at the other side of the threshold until the first, beyond it until the second, and back again."""


def gauge(name, quiet, fires, labels=None):
    return name, labels or DATABASE, [quiet] * (QUIET + 1) + [fires] * (FIRES - QUIET) + [quiet] * (RESOLVED - FIRES)


def counter(name, quiet, fires, labels=None):
    """With what is added each minute."""
    total, values = 0.0, []
    for step in gauge(name, quiet, fires)[2]:
        total += step
        values.append(total)
    return name, labels or DATABASE, values


def steady(name, value, labels=None):
    return gauge(name, value, value, labels)


def steps(name, *parts):
    """A gauge that grows by so much every five minutes, so many times."""
    value, values = 0.0, []
    for times, start, step in parts:
        value = value if start is None else start
        for _time in range(times):
            values.append(value)
            value += step
    return name, DATABASE, values


def full(kind, quiet, fires):
    return [gauge(f"timesten_{kind}_in_use_bytes", quiet, fires), steady(f"timesten_{kind}_allocated_bytes", 1000)]


def fills_up(kind, watched):
    """From 60 % full it grows by 288 in a day, then by 720, then not at all."""
    growth = [(73, 600, 1), (84, None, 2.5), (96, None, 0)]
    return (
        360,
        780,
        1260,
        [
            steps(f"timesten_{kind}_allocated_bytes", (253, 1000, 0)),
            *(steps(metric, *growth) for metric in dict.fromkeys((watched, f"timesten_{kind}_in_use_bytes"))),
        ],
    )


def left(metric, quiet, fires):
    return [gauge(f"timesten_{metric}_avail_bytes", quiet, fires), steady(f"timesten_{metric}_size_bytes", 1000)]


def per_transaction(metric):
    return [counter(f"timesten_{metric}_total", 60, 120), counter("timesten_txn_commit_total", 60000, 60000)]


UP = steady("up", 1, TARGET)
CASES = {
    "TimesTenExporterMissing": [
        ("up", TARGET, [1] * (QUIET + 1) + ["_"] * (FIRES - QUIET) + [1] * (RESOLVED - FIRES)),
    ],
    "TimesTenExporterDown": [gauge("up", 1, 0, TARGET)],
    "TimesTenExporterSlow": [gauge("timesten_metric_collection_seconds", 8, 8.1, INSTANCE)],
    "TimesTenCollectionsTimedOut": [gauge("timesten_collections_timedout", 0, 1, INSTANCE)],
    "TimesTenExporterRateLimited": [gauge("timesten_rate_limited", 0, 1, INSTANCE)],
    "TimesTenInstanceStatus": [gauge("timesten_instance_status", 1, 2, INSTANCE)],
    "TimesTenRecoveryRequired": [gauge("timesten_required_recovery", 0, 1)],
    "TimesTenDatabaseNotLoaded": [gauge("timesten_database_loaded", 1, 0)],
    "TimesTenDeadlocks": per_transaction("deadlock"),
    "TimesTenLockTimeouts": per_transaction("lock_timeout"),
    "TimesTenConnectionsAboveThreshold": [counter("timesten_connection_established_threshold_exceeded_total", 0, 1)],
    "TimesTenErrorsLogged": [counter("timesten_tterrors_file_bytes", 4369, 4400, INSTANCE)],
    "TimesTenPermanentSpaceHigh": full("perm", 900, 901),
    "TimesTenTemporarySpaceHigh": full("temp", 900, 901),
    "TimesTenCheckpointDirectoryFull": left("checkpoint", 100, 99),
    "TimesTenLogDirectoryFull": left("logdir", 100, 99),
    "TimesTenLogHeld": [gauge("timesten_log_file_latest", 120, 121), steady("timesten_replication_hold_log_file", 100)],
    "TimesTenLogBufferWaits": [counter("timesten_log_buffer_wait_total", 60, 61)],
    "TimesTenReplicationPeerLost": [gauge("timesten_replication_peer_connection", 1, 0)],
    "TimesTenReplicationConflicts": [counter("timesten_replication_conflict_total", 0, 1)],
    "TimesTenReplicationErrors": [counter("timesten_repl_receiver_permanent_error_total", 0, 1)],
    "TimesTenReplicationLag": [gauge("timesten_repl_transmitter_send_lag", 60, 61)],
    "TimesTenAwtRetries": [counter("timesten_cg_awt_oracle_retry_total", 6, 7)],
    "TimesTenAwtRollbacks": [counter("timesten_cg_awt_oracle_rollback_total", 6, 7)],
    "TimesTenAwtMasterRestarts": [counter("timesten_cg_parawt_auto_tx_master_restarts", 0.06, 0.08)],
    "TimesTenScaleoutNotLoaded": [
        gauge("timesten_grid_database_loaded", 4, 3),
        steady("timesten_grid_database_instances", 4),
    ],
    "TimesTenScaleoutReplicaSetLost": [gauge("timesten_grid_database_replica_sets", 2, 1)],
    "TimesTenScaleoutTunnelUnresponsive": [counter("timesten_tunnel_unresponsive_total", 0, 1)],
    "TimesTenPrometheusReloadFails": [gauge("prometheus_config_last_reload_successful", 1, 0, {"instance": "prom1"})],
}
"""By alert, the series that make it fire."""

SLOW_CASES = {
    "TimesTenPermanentSpaceFillsUp": fills_up("perm", "timesten_perm_in_use_high_water_bytes"),
    "TimesTenTemporarySpaceFillsUp": fills_up("temp", "timesten_temp_in_use_bytes"),
    "TimesTenCheckpointsStopped": (
        150,
        230,
        390,
        [
            steps("timesten_txn_commit_total", (80, 0, 1)),
            steps("timesten_checkpoint_total", (24, 0, 1), (24, None, 0), (32, None, 1)),
        ],
    ),
}
"""By alert, the minutes at which it is quiet, fires, and has resolved, and the series, one sample every five minutes."""

FRESH = rules.Subject(
    "exp1",
    "prom1",
    timeout=10,
    not_after={"ca": 900 * DAY, "server": 900 * DAY, "client": 900 * DAY},
    due=870 * DAY,
    created=0,
    evicted=0,
)
LATER = rules.Subject(
    "exp1",
    "prom1",
    not_after={"ca": 900 * DAY, "server": 900 * DAY, "client": 40 * DAY},
    due=10 * DAY,
    created=-360 * DAY,
    evicted=1,
)
CERTIFICATES = {
    # Days: quiet, firing, and quiet again with the same rules; None where only the next delivery resolves it.
    "TimesTenCertificateEndsSoon": (9.75, 10.25, 33.25),
    "TimesTenCertificateEndsThisWeek": (32.75, 33.25, 39.25),
    "TimesTenCertificateEndsToday": (38.75, 39.25, 40.25),
    "TimesTenCertificateHasEnded": (39.75, 40.25, None),
    "TimesTenRotationDue": (10.75, 11.5, None),
    "TimesTenGenerationOld": (39.75, 40.25, None),
    "TimesTenClientsEvicted": (None, 0.5, None),
}
"""Alerts that need no series, only time; of these the rules themselves are renewed with each delivery."""


def rule_file(*subjects, thresholds=None, switches=None):
    text = "".join(rules.of_exporter(subject) for subject in subjects)
    text = text.replace(rules.JOB, TARGET["job"]).replace(rules.INSTANCE, TARGET["instance"])
    return "groups:\n" + rules.common(thresholds or {}, EVERY_ALERT if switches is None else switches) + text


def firing(alert, count, when):
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {"expr": expr, "eval_time": when, "exp_samples": [{"labels": "{}", "value": count}]}


def series(name, labels, values, alert=None):
    """In the notation of promtool; where an alert is given, of a database and an instance of its own."""
    own = {key: alert if alert and key in ("dsn", "exported_instance") else value for key, value in labels.items()}
    text = ",".join(f"{key}={json.dumps(value)}" for key, value in own.items())
    return {"series": f"{name}{{{text}}}", "values": " ".join(str(value) for value in values)}


def judge(promtool, directory, files):
    """Have promtool run test files, with the rule files that they name beside them."""
    for name, content in files.items():
        (directory / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    tests = [name for name, content in files.items() if not isinstance(content, str)]
    return subprocess.run(
        [promtool, "test", "rules", *tests], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", params=["2.42", "3.5"])
def promtool(request):
    return packages.prometheus(request.param).promtool


def minutes_files():
    """All cases at once, because a test costs seconds; those of ``up`` by themselves."""
    together = [alert for alert, given in CASES.items() if not any(name == "up" for name, _labels, _values in given)]
    groups = [together, *([alert] for alert in CASES if alert not in together)]
    tests = []
    for group in groups:
        given = [series(*one, alert) for alert in group for one in CASES[alert]]
        given += [series(*UP)] if group is together else []
        checks = [(alert, 0, QUIET) for alert in group] + [(alert, 1, FIRES) for alert in group]
        checks += [(alert, 0, RESOLVED) for alert in group]
        tests.append(
            {
                "interval": "1m",
                "input_series": given,
                "promql_expr_test": [firing(alert, count, f"{when}m") for alert, count, when in checks],
            }
        )
    slow = {"interval": "5m", "input_series": [], "promql_expr_test": []}
    for alert, (quiet, fires, resolved, given) in SLOW_CASES.items():
        slow["input_series"] += [series(*one, alert) for one in given]
        slow["promql_expr_test"] += [
            firing(alert, count, f"{when}m") for count, when in ((0, quiet), (1, fires), (0, resolved))
        ]
    return {
        "minutes.test": {"rule_files": ["fresh.yml"], "evaluation_interval": "1m", "tests": tests},
        "slow.test": {"rule_files": ["fresh.yml"], "evaluation_interval": "5m", "tests": [slow]},
    }


def days_files():
    old, renewed = [], []
    for alert, (quiet, fires, resolved) in CERTIFICATES.items():
        old += [firing(alert, 0, _hours(when)) for when in (quiet, resolved) if when is not None]
        old.append(firing(alert, 1, _hours(fires)))
        renewed.append(firing(alert, 0, _hours(fires)))
    up = [series("up", TARGET, [1])]
    return {
        "old.test": {
            "rule_files": ["later.yml"],
            "evaluation_interval": "6h",
            "group_eval_order": ["timesten exporter exp1", "timesten certificates"],
            "tests": [{"interval": "6h", "input_series": up, "promql_expr_test": old}],
        },
        "renewed.test": {
            "rule_files": ["fresh.yml"],
            "evaluation_interval": "6h",
            "group_eval_order": ["timesten exporter exp1", "timesten certificates"],
            "tests": [{"interval": "6h", "input_series": up, "promql_expr_test": renewed}],
        },
    }


def _hours(days):
    return f"{int(days * 24)}h"


def test_every_alert_fires_stays_quiet_and_resolves(promtool, tmp_path):
    files = {
        "fresh.yml": rule_file(FRESH),
        "later.yml": rule_file(LATER),
        **minutes_files(),
        **days_files(),
    }
    done = judge(promtool, tmp_path, files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_certificate_that_ends_is_one_alert(promtool, tmp_path):
    """A certificate that is its own CA, and one whose CA lives longer."""
    own = dataclasses.replace(LATER, exporter="exp1", not_after={"server": 40 * DAY, "client": 900 * DAY})
    signed = dataclasses.replace(LATER, exporter="exp2", not_after={**own.not_after, "ca": 900 * DAY})
    checks = []
    for alert, (_quiet, fires, _resolved) in CERTIFICATES.items():
        if alert.startswith("TimesTenCertificate"):
            told = f'count by (exporter, kind) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
            samples = [{"labels": f'{{exporter="{name}", kind="server"}}', "value": 1} for name in ("exp1", "exp2")]
            checks.append({"expr": told, "eval_time": _hours(fires), "exp_samples": samples})
    order = ["timesten exporter exp1", "timesten exporter exp2", "timesten certificates"]
    test = {"interval": "6h", "input_series": [series(*UP)], "promql_expr_test": checks}
    given = {"rule_files": ["two.yml"], "evaluation_interval": "6h", "group_eval_order": order, "tests": [test]}
    done = judge(promtool, tmp_path, {"two.yml": rule_file(own, signed), "two.test": given})
    assert done.returncode == 0 and len(checks) == 4, done.stdout + done.stderr


def test_no_alert_of_the_file_is_without_a_case(tmp_path):
    """Counted from the rule file itself."""
    content = yaml.safe_load(rule_file(FRESH))
    alerts = [rule["alert"] for group in content["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) == len(set(alerts)) and set(alerts) == {*CASES, *SLOW_CASES, *CERTIFICATES}


def test_a_healthy_exporter_fires_nothing(promtool, tmp_path):
    """With none of the metrics that only some configurations have, and everything switched on."""
    check = {"expr": "ALERTS", "eval_time": f"{RESOLVED}m", "exp_samples": []}
    given = {"interval": "1m", "input_series": [series(*UP)], "promql_expr_test": [check]}
    done = judge(
        promtool,
        tmp_path,
        {"fresh.yml": rule_file(FRESH), "healthy.test": {"rule_files": ["fresh.yml"], "tests": [given]}},
    )
    assert done.returncode == 0, done.stdout + done.stderr


TEXTS = {
    "TimesTenPermanentSpaceHigh": (
        full("perm", 900, 950),
        DATABASE,
        "Permanent space of database sales of instance tt1 (job timesten-exp1) is 95% full",
    ),
    "TimesTenExporterMissing": (
        [("up", TARGET, ["_"])],
        {**TARGET, "exporter": "exp1", "client": "prom1"},
        "Prometheus prom1 does not scrape exporter exp1",
    ),
}


@pytest.mark.parametrize("alert", TEXTS)
def test_texts(promtool, tmp_path, alert):
    """What a person reads names database, instance, exporter and client, and leads to the page of the alert."""
    given, labels, summary = TEXTS[alert]
    test = {
        "interval": "1m",
        "input_series": [series(*one) for one in given],
        "alert_rule_test": [
            {
                "eval_time": f"{FIRES}m",
                "alertname": alert,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": rules.all_alerts()[alert].severity, **labels},
                        "exp_annotations": {
                            "summary": summary,
                            "description": "?",
                            "runbook_url": f"{rules.RUNBOOKS}{alert}.md",
                        },
                    }
                ],
            }
        ],
    }
    files = {"fresh.yml": rule_file(FRESH), "text.test": {"rule_files": ["fresh.yml"], "tests": [test]}}
    done = judge(promtool, tmp_path, files)
    # The description alone differs; what promtool got says the rest.
    said = (done.stdout + done.stderr).replace("\\", "")
    got = said[said.index("got:") :]
    assert summary in got and f"{alert}.md" in got and all(value in got for value in labels.values())
    assert "error expanding" not in said


# --- what is rendered, and from which variables -------------------------------------------------------------------------


def test_unverified_alerts_are_off_until_they_are_switched_on():
    unverified = {name for name, alert in rules.all_alerts().items() if alert.unverified}
    assert {"TimesTenInstanceStatus", "TimesTenExporterRateLimited", "TimesTenAwtRetries"} <= unverified
    text = rules.common({}, {})
    assert not [name for name in unverified if f"alert: {name}\n" in text]
    text = rules.common({}, {"TimesTenAwtRetries": True, "TimesTenDeadlocks": False})
    assert "alert: TimesTenAwtRetries\n" in text and rules.ONLY_26 in text
    assert "alert: TimesTenDeadlocks\n" not in text and "alert: TimesTenLockTimeouts\n" in text


def test_metrics_of_unverified_pages_are_in_unverified_alerts_alone():
    for alert in rules.all_alerts().values():
        only_new = re.search(
            r"timesten_(?:aging|cg_awt|repl_receiver|repl_log|instance_status|rate_limited)", alert.expr
        )
        assert not only_new or alert.unverified, alert.name


def test_every_threshold_is_used():
    text = "".join(alert.expr for alert in rules.all_alerts().values())
    assert {name for name in rules.THRESHOLDS if f"{{{name}}}" in text} == set(rules.THRESHOLDS)
    assert not re.search(r"(?<!\{)\{\w+\}(?!\})", rules.common({}, EVERY_ALERT))


def test_thresholds_and_durations_are_put_in():
    text = rules.common({"permanent_space_share": 0.75, "checkpoint_window": "2h"}, {})
    assert "dsn:timesten_perm_in_use:ratio > 0.75" in text
    assert "(timesten_checkpoint_total[2h])" in text and "for 2h" in text


@pytest.mark.parametrize(
    ("thresholds", "switches", "message"),
    [
        (
            {"permanent_space": 1},
            {},
            "prometheus_host_alert_thresholds: there is no 'permanent_space'; permanent_space_share is one",
        ),
        ({"log_files_held": "many"}, {}, "prometheus_host_alert_thresholds: log_files_held: 'many' is not a number"),
        ({"log_files_held": True}, {}, "prometheus_host_alert_thresholds: log_files_held: True is not a number"),
        ({"log_files_held": float("nan")}, {}, "prometheus_host_alert_thresholds: log_files_held: nan is not a number"),
        ({"log_files_held": float("-inf")}, {}, "log_files_held: -inf is not a number"),
        ({"log_files_held": 10**400}, {}, "000 is not a number"),
        ({"log_files_held": None}, {}, "log_files_held: None is not a number"),
        ({"log_files_held": [20]}, {}, "log_files_held: [20] is not a number"),
        ({7: 1}, {}, "prometheus_host_alert_thresholds: there is no 7"),
        ({"permanent_space_share": 90}, {}, "permanent_space_share: 90 is not a share from 0 to 1; 90 % is 0.9"),
        ({"slow_share_of_timeout": -0.1}, {}, "slow_share_of_timeout: -0.1 is not a share from 0 to 1"),
        (
            {"checkpoint_window": 3600},
            {},
            "prometheus_host_alert_thresholds: checkpoint_window: 3600 is not a time such as '1h'",
        ),
        ({"checkpoint_window": "soon"}, {}, "checkpoint_window"),
        (
            {},
            {"TimesTenDeadlock": False},
            "prometheus_host_alerts: there is no 'TimesTenDeadlock'; TimesTenDeadlocks is one",
        ),
        (
            {},
            {"TimesTenDeadlocks": "off"},
            "prometheus_host_alerts: TimesTenDeadlocks: 'off' is neither true nor false",
        ),
    ],
)
def test_what_cannot_be_is_refused(thresholds, switches, message):
    with pytest.raises(TimesTenError, match=re.escape(message)):
        rules.check(thresholds, switches)


def test_variables_of_a_host():
    """Read with the inventory: off and on for each instance, and what is wrong is said before any host is touched."""
    variables = {
        "prometheus_host_alerts": {"TimesTenDeadlocks": False},
        "prometheus_host_instances": [
            {"instance": "a", "rules": False},
            {
                "instance": "b",
                "store": "/b",
                "config_file": "/b.yml",
                "url": "http://b:1",
                "alert_thresholds": {"log_files_held": 5},
            },
        ],
    }
    one, two = fleet.prometheus_host("prom1", variables).clients
    assert (one.rules, two.rules) == (False, True) and two.alerts == {"TimesTenDeadlocks": False}
    assert two.alert_thresholds == {"log_files_held": 5} and not {"rules", "alerts", "alert_thresholds"} & set(
        two.options
    )
    with pytest.raises(fleet.Problems, match="prometheus_host_alert_thresholds: there is no 'logs'"):
        fleet.prometheus_host("prom1", {"prometheus_host_alert_thresholds": {"logs": 1}})


def test_the_example_of_the_page():
    variables = yaml.safe_load(example("alerts"))
    rules.check(variables["prometheus_host_alert_thresholds"], variables["prometheus_host_alerts"])
    text = rules.common(variables["prometheus_host_alert_thresholds"], variables["prometheus_host_alerts"])
    assert "timesten_perm_in_use:ratio > 0.8" in text and "alert: TimesTenAwtRetries" in text


def test_defaults_are_fine():
    rules.check(rules.THRESHOLDS, EVERY_ALERT)


def test_rules_of_an_exporter():
    content = yaml.safe_load("groups:\n" + rules.of_exporter(LATER))
    (group,) = content["groups"]
    assert group["name"] == "timesten exporter exp1"
    found = {(rule["record"], rule["labels"].get("kind")): rule for rule in group["rules"]}
    assert found["exporter:up:absent", None]["expr"] == 'absent(up{job="@job@",instance="@instance@"})'
    ends = found["exporter:timesten_certificate_not_after_seconds:vector", "client"]
    assert ends["expr"] == f"vector({40 * DAY})"
    assert ends["labels"] == {"exporter": "exp1", "client": "prom1", "kind": "client"}


PAIR = answers.Pair("prom1", not_after="2027-01-03T00:00:00Z")
SERVER = answers.Certificate("s", "i", None, (), "", "2027-01-02T00:00:00Z", "", True, True, "ec")
ANSWER = answers.ExporterAnswer(
    "exp1",
    "converge",
    True,
    generation="20261124T104900Z-0000000a",
    evicted=("prom9",),
    pairs={"prom1": PAIR},
    server_certificate=SERVER,
    server_certificate_source="export",
    due_at="2027-01-01T00:00:00Z",
    ca_not_after="2027-01-04T00:00:00Z",
)


def client(**options):
    return fleet.Client("prom1", "prom1", "inline", options)


def test_subject_of_an_answer():
    found = rules.subject(client(), ANSWER, 15.0)
    assert found.not_after == {"ca": 1799020800.0, "server": 1798848000.0, "client": 1798934400.0}
    assert (found.due, found.created, found.evicted) == (1798761600.0, 1795517340.0, 1)
    assert found.timeout == 10.0 and not found.honors_labels


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"server_certificate_source": "handshake"}, {"ca", "server", "client"}),
        ({"server_certificate": None, "server_certificate_source": "none"}, {"ca", "client"}),
        # Its own CA, or the file holds nothing else: one certificate, which ends once.
        ({"ca_not_after": None}, {"server", "client"}),
        ({"pairs": {}}, {"ca", "server"}),
        ({"insecure": True}, set()),
    ],
)
def test_kinds_of_certificates_that_are_known(changes, kinds):
    assert set(rules.subject(client(), dataclasses.replace(ANSWER, **changes), 15.0).not_after) == kinds


@pytest.mark.parametrize(
    ("options", "interval", "timeout"),
    [
        ({}, None, 10.0),
        ({}, 5.0, 5.0),
        ({"scrape_interval": "6s"}, 60.0, 6.0),
        ({"scrape_timeout": "20s", "scrape_interval": "1m"}, 15.0, 20.0),
    ],
)
def test_timeout(options, interval, timeout):
    assert rules.subject(client(**options), ANSWER, interval).timeout == timeout


def test_subject_in_check_mode_and_of_an_insecure_exporter():
    later = dataclasses.replace(ANSWER, generation=LATER_KNOWN, ca_not_after=None, due_at=None, pairs={})
    found = rules.subject(client(), later, None)
    assert found.created is None and found.due is None and set(found.not_after) == {"server"}
    plain = rules.subject(client(), dataclasses.replace(ANSWER, insecure=True), None)
    assert plain.not_after == {} and plain.due is None


def test_an_exporter_of_which_only_the_name_is_known():
    content = yaml.safe_load("groups:\n" + rules.of_exporter(rules.Subject("exp1", "prom1", 10.0, True)))
    exprs = [rule["expr"] for rule in content["groups"][0]["rules"]]
    assert exprs[-1] == 'max by (job) (timesten_metric_collection_seconds{job="@job@"}) / 10' and len(exprs) == 3


# --- pages --------------------------------------------------------------------------------------------------------------

PAGES = Path(__file__).resolve().parents[4] / "docs" / "alerts"


def test_every_recording_rule_is_in_the_index():
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    content = yaml.safe_load(rule_file(FRESH))
    records = {rule["record"] for group in content["groups"] for rule in group["rules"] if "record" in rule}
    assert records == set(re.findall(r"^\| `([^`]*:[^`]*)` ", index, re.MULTILINE))


def test_every_alert_has_a_page_and_every_page_an_alert():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md") if path.stem != "README"}
    assert set(pages) == set(rules.all_alerts())
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    for name, alert in rules.all_alerts().items():
        page = pages[name]
        assert re.findall(r"^## (.*)", page, re.MULTILINE) == [
            "What it means",
            "What to look at",
            "What to do",
            "How to tune it",
        ], name
        assert alert.severity in page and all(
            f"`{word}`" in page for word in re.findall(r"(?<!\{)\{(\w+)\}", alert.expr)
        ), name
        assert ("unverified" in page) == bool(alert.unverified), name
        assert f"[{name}]({name}.md)" in index, name
