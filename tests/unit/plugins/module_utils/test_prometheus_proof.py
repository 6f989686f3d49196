# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as proven: the job that runs is the one that was written, and the target is its target."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs, proof
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Target

DEFINITION = {
    "name": "exp1",
    "address": "exp1.example.com",
    "port": 8888,
    "labels": {"site": "a"},
    "scrape_interval": "90s",
    "extra": {"sample_limit": 5, "params": {"x": ["1"]}, "follow_redirects": False},
}
JOB = jobs.build(DEFINITION, "/store")
FILES = config.Files(b"", "/p.yml", "/store", "/t.yml")
SOURCE = config.edit(FILES, [JOB]).config
VIEW = config.read(dataclasses.replace(FILES, config=SOURCE))
LABELS = {
    "__address__": "exp1.example.com:8888",
    "__scheme__": "https",
    "__metrics_path__": "/metrics",
    "__scrape_interval__": "1m30s",
    "__param_x": "1",
    "job": "timesten-exp1",
    "site": "a",
}
RUNNING = """\
global:
  scrape_interval: 15s
scrape_configs:
- job_name: theirs
  static_configs:
  - targets:
    - t:1
- job_name: timesten-exp1
  honor_timestamps: true
  params:
    x:
    - "1"
  scrape_interval: 1m30s
  scrape_timeout: 10s
  metrics_path: /metrics
  scheme: https
  sample_limit: 5
  tls_config:
    ca_file: /store/exp1/current/ca.crt
    cert_file: /store/exp1/current/client.crt
    key_file: /store/exp1/current/client.key
    insecure_skip_verify: false
  follow_redirects: false
  enable_http2: true
  static_configs:
  - targets:
    - exp1.example.com:8888
    labels:
      site: a
remote_write:
- url: http://elsewhere
"""


class Plan:
    """The part of a plan that is compared."""

    unfinished = False

    def __init__(self, added: tuple[str, ...] = ("exp1",), removed: tuple[str, ...] = ()) -> None:
        self.edit = config.EditResult(SOURCE, changed=True, added=added)
        self.jobs = {"exp1": JOB}
        self.present = VIEW
        self.removed = removed
        self.named_files: frozenset[str] = frozenset()


CLAIMS = proof.claims(["exp1"], VIEW, {"exp1": JOB}, {"exp1": 100.0})


def test_what_runs_is_what_was_written() -> None:
    assert proof.running_differs(RUNNING, Plan(), CLAIMS) == {}  # type: ignore[arg-type]
    as_proxied = RUNNING.replace("- job_name: timesten-exp1", '- job_name: "timesten-exp1"')
    assert proof.running_differs(as_proxied, Plan(), CLAIMS) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("metrics_path: /metrics", "metrics_path: /wrong", None),
        ("site: a", "site: b", "static_configs"),
        ("    labels:\n      site: a\n", "", "static_configs"),
        ("scrape_interval: 1m30s", "scrape_interval: 15s", "scrape_interval"),
        ("scheme: https", "scheme: http", "scheme"),
        ("sample_limit: 5", "sample_limit: 6", "sample_limit"),
        ("  sample_limit: 5\n", "", "sample_limit"),
        ("follow_redirects: false", "follow_redirects: true", "follow_redirects"),
        ("exp1.example.com:8888", "exp1.example.com:8889", "static_configs"),
        ("/store/exp1/current/client.key", "/other/client.key", "tls_config"),
    ],
)
def test_another_job_is_noticed(old: str, new: str, key: str | None) -> None:
    text = RUNNING.replace(old, new)
    assert text != RUNNING
    if key is None:
        # The path is the default, which is not written; the target's labels tell it.
        assert not proof.claims(["exp1"], VIEW, {"exp1": JOB}, {})["exp1"].is_about(target(__metrics_path__="/wrong"))
        return
    with pytest.raises(TimesTenError, match=rf"runs another job timesten-exp1 than was written \({key} differs\)"):
        proof.running_differs(text, Plan(), CLAIMS)  # type: ignore[arg-type]


def test_a_configuration_that_was_never_read() -> None:
    old = RUNNING[: RUNNING.index("- job_name: timesten")]
    with pytest.raises(TimesTenError, match=r"does not run what was written: .* has no job timesten-exp1.* mount"):
        proof.running_differs(old, Plan(), CLAIMS)  # type: ignore[arg-type]
    with pytest.raises(TimesTenError, match="still has the jobs of exp1"):
        proof.running_differs(RUNNING, Plan((), ("exp1",)), {})  # type: ignore[arg-type]
    assert proof.running_differs(old, Plan((), ("exp1",)), {}) == {}  # type: ignore[arg-type]


def target(health: str = "up", scraped: float = 101.0, **labels: Any) -> Target:
    merged = {**LABELS, **labels}
    kept = {key: value for key, value in merged.items() if value is not None}
    return Target("timesten-exp1", "https://exp1.example.com:8888/metrics", health, "", scraped, 0.1, kept)


@pytest.mark.parametrize(
    ("seen", "proven"),
    [
        (target(), True),
        (target("down"), False),
        (target("unknown"), False),
        (target(scraped=99.0), False),
        (target(__metrics_path__="/wrong0"), False),
        (target(__scheme__="http"), False),
        (target(__address__="exp1.example.com:1"), False),
        (target(__param_x="2"), False),
        (target(site="b"), False),
        (target(site=None), False),
        (target(rack="7"), False),
    ],
)
def test_only_the_written_target_proves_it(seen: Target, proven: bool) -> None:
    assert CLAIMS["exp1"].holds(seen) is proven


def test_a_target_of_before_that_looks_the_same_is_given_time_to_go() -> None:
    def waits(changed: tuple[str, ...], added: tuple[str, ...] = (), unfinished: bool = False, **options: Any) -> bool:
        with_rule = config.read(
            dataclasses.replace(
                FILES, config=config.edit(FILES, [jobs.build({**DEFINITION, **options}, "/store")]).config
            )
        )
        found = set()
        for present, view in ((VIEW, with_rule), (with_rule, VIEW)):
            plan = Plan(added)
            plan.edit = dataclasses.replace(plan.edit, changed_names=changed)
            plan.present, plan.view, plan.unfinished = present, view, unfinished  # type: ignore[attr-defined]
            found.add(proof._unseen("exp1", plan) > 5.0)  # type: ignore[arg-type]
        assert len(found) == 1
        return found.pop()

    assert waits(("exp1",), job_label="all")
    assert waits(("exp1",), extra={"relabel_configs": [{"action": "drop", "regex": "x"}]})
    assert not waits((), job_label="all") and not waits((), ("exp1",), job_label="all")
    assert waits((), unfinished=True, job_label="all")
    assert not waits(("exp1",), port=9)


def test_an_adopted_job_has_labels_of_its_owner() -> None:
    claim = proof.Claim("mine", None, ("exp1.example.com:8888",), 15.0, 0.0)
    assert claim.holds(target(site="whatever", rack="7"))
    assert not claim.holds(target(__address__="elsewhere:1"))
