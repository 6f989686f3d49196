# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand-written jobs of exporters that are to get a job of ours, as a table: found before anything is changed."""

from __future__ import annotations

import dataclasses

import pytest
from unit.plugins.module_utils.test_prometheus_decide import SETTINGS, STORE

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import by_hand, config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Target

SOURCE = """\
scrape_configs:
  - job_name: NAME
    scrape_interval: 5s
    static_configs: [{targets: [TARGETS]}]
  - job_name: other
    static_configs: [{targets: ["x:1"]}]
"""
FAILS = "the hand-written job"
EXPORTERS = tuple({"name": name, "address": name, "port": 8888} for name in ("exp1", "exp2"))


def seen(name="tt_8888", targets="'exp1:8888'", **settings):
    """The options, the files and what they say."""
    source = SOURCE.replace("NAME", name).replace("TARGETS", targets).encode()
    files = config.Files(source, "/etc/prometheus/prometheus.yml", STORE, "/etc/prometheus/timesten.yml")
    options = dataclasses.replace(SETTINGS, exporters=EXPORTERS, **settings)
    return options, files, config.read(files)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"exp1": f"line 2: {FAILS} 'tt_8888' already scrapes exp1:8888"}),
        ({"targets": "'EXP1:8888'"}, {"exp1": FAILS}),
        ({"targets": "'exp1:8888', 'exp2:8888'"}, {"exp1": FAILS, "exp2": FAILS}),
        ({"name": "timesten-exp2", "targets": "'y:1'"}, {"exp2": "has the name"}),
        ({"on_existing": "adopt"}, {}),
        ({"on_existing": "keep"}, {}),
        ({"on_existing": "adopt", "targets": "'exp1:8888', 'y:1'"}, {"exp1": "give exp1:8888 a job of its own"}),
        (
            {"on_existing": "keep", "name": "timesten-exp2", "targets": "'y:1'"},
            {"exp2": "but another target: rename it"},
        ),
        ({"targets": "'exp1:8889'"}, {}),
        ({"layout": "template"}, {}),
    ],
)
def test_what_is_in_the_way(given, expected):
    settings, files, view = seen(**given)
    problems = by_hand.in_the_way(settings, files, by_hand.candidates(settings, view, STORE))
    assert set(problems) == set(expected)
    assert all(text in problems[name] for name, text in expected.items())


@pytest.mark.parametrize("on_existing", ["fail", "adopt", "keep"])
@pytest.mark.parametrize(
    ("job", "url", "expected"),
    [
        ("other", "https://exp2:8888/metrics", {"exp2"}),
        ("other", "https://EXP2:8888/metrics", {"exp2"}),
        ("other", "http://blackbox:9115/probe?target=exp2:8888", set()),
        ("gone", "https://exp2:8888/metrics", set()),
        ("timesten-exp2", "https://exp2:8888/metrics", set()),
        # What static_configs name can be adopted.
        ("tt_8888", "https://exp1:8888/metrics", set()),
    ],
)
def test_a_target_that_no_job_names(on_existing, job, url, expected):
    """From a file, or by relabelling: Prometheus shows it, and nobody can make it ours."""
    settings, files, view = seen(on_existing=on_existing)
    assert by_hand.may_be_in_the_way(settings, view)
    others = by_hand.shown(view, [Target(job, url, "up", "", 100.0, 0.2, {"__address__": "elsewhere:1"})])
    asked_jobs = by_hand.candidates(settings, view, STORE, others)
    problems = by_hand.in_the_way(settings, files, asked_jobs, others)
    assert set(problems) - {"exp1"} == expected
    assert all(f"{job!r} scrapes {name}:8888 too, from a file or by relabelling" in problems[name] for name in expected)


def test_who_has_its_job_keeps_it_beside_a_newcomer():
    """The owner's job of a file came later."""
    settings, files, view = seen(targets="'y:1'")
    both = by_hand.jobs.merge({}, settings.exporters, {})
    made = config.edit(files, [by_hand.jobs.build(both["exp1"], STORE)])
    files = dataclasses.replace(files, config=made.config)
    view = config.read(files)
    shown = [Target("other", f"https://{name}:8888/metrics", "up", "", 100.0, 0.2, {}) for name in both]
    others = by_hand.shown(view, shown)
    assert set(others) == {"exp1:8888", "exp2:8888"} and by_hand.may_be_in_the_way(settings, view)
    asked_jobs = by_hand.candidates(settings, view, STORE, others)
    assert set(by_hand.in_the_way(settings, files, asked_jobs, others)) == {"exp2"}


def test_prometheus_is_not_asked_where_every_exporter_has_its_job():
    settings, files, view = seen(on_existing="adopt")
    both = by_hand.jobs.merge({}, settings.exporters, {})
    made = config.edit(files, [by_hand.jobs.build(both[name], STORE) for name in both], on_existing="adopt")
    view = config.read(dataclasses.replace(files, config=made.config))
    assert view.foreign and not by_hand.may_be_in_the_way(settings, view)


def test_an_exporter_with_a_job_of_ours_on_its_spare_port_is_left_out():
    settings, files, _view = seen()
    both = [{**EXPORTERS[0], "name": "exp1.spare", "port": 8889, "usual_port": 8888}]
    job = by_hand.jobs.build(by_hand.jobs.merge({}, both, {})["exp1.spare"], STORE)
    edited = dataclasses.replace(files, config=config.edit(files, [job]).config)
    assert by_hand.candidates(settings, config.read(edited), STORE) == {}


@pytest.mark.parametrize(
    ("job", "address", "scraped", "expected"),
    [
        ("tt_8888", "exp1:8888", 100.0, {"exp1"}),
        ("tt_8888", "y:1", 100.0, set()),
        ("elsewhere", "exp1:8888", 100.0, set()),
        ("tt_8888", "exp1:8888", 0.0, set()),
    ],
)
def test_when_it_was_scraped(job, address, scraped, expected):
    settings, _files, view = seen()
    target = Target(job, "https://exp1:8888/metrics", "up", "", scraped, 0.2, {"__address__": address})
    last_scrapes = by_hand.scrapes(view, by_hand.candidates(settings, view, STORE), [target])
    assert set(last_scrapes) == expected
    assert all(row == {"scraped": 100.0, "took": 0.2, "interval": 5.0, "health": "up"} for row in last_scrapes.values())
