# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables for options and back, and the messages of hosts in the words of the roles."""

from __future__ import annotations

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

from ansible_collections.timesten.monitoring.plugins.modules import tt_prometheus_host
from ansible_collections.timesten.monitoring.plugins.plugin_utils import words
from ansible_collections.timesten.monitoring.plugins.plugin_utils.words import EXPORTER, PROMETHEUS

pytestmark = pytest.mark.controller


def test_what_is_wrong_with_an_answer_is_no_variable():
    said = "the answer's exporters[0].pairs has 2 elements, more than 1"
    assert words.in_words(said, words.EXPORTER) == said


@pytest.mark.parametrize("role", words.ROLES)
def test_both_directions(role):
    """Every variable that a module hears of is found by its option, and the other way round."""
    heard = {name: words.option(role, name) for name in words.specs(role)}
    assert {name for name, option in heard.items() if option is None} == {
        f"{role}_{key}"
        for key in {
            EXPORTER: ("become", "make_directory", "prometheus_hosts"),
            PROMETHEUS: ("become", "instances", "template", "exporter_hosts", "rules", "alerts", "alert_thresholds"),
        }[role]
    }
    for name, option in heard.items():
        if option is not None:
            assert words.variable(role, option) == name


def test_every_option_of_a_client_is_an_option_of_the_module():
    known = words.specs(PROMETHEUS)
    for name in known:
        option = words.option(PROMETHEUS, name)
        assert option is None or option in tt_prometheus_host.SPEC.options, name


@pytest.mark.parametrize(
    ("role", "option", "expected"),
    [
        (PROMETHEUS, "on_existing", "prometheus_host_on_existing"),
        (PROMETHEUS, "prometheus_running", "prometheus_host_running"),
        (PROMETHEUS, "port", "exporter_host_port"),
        (PROMETHEUS, "rendered", None),
        (PROMETHEUS, "name", None),
        (EXPORTER, "certificate_directory", "exporter_host_directory"),
        (EXPORTER, "after", "exporter_host_boot_after"),
        (EXPORTER, "strategy", "rotate_strategy"),
        (EXPORTER, "state", "exporter_host_exporters"),
        (EXPORTER, "phase", None),
    ],
)
def test_variable(role, option, expected):
    assert words.variable(role, option) == expected


@pytest.mark.parametrize(
    ("role", "message", "expected"),
    [
        (
            PROMETHEUS,
            "or set on_existing to adopt (it becomes ours) or keep",
            "or set prometheus_host_on_existing to adopt (it becomes ours) or keep",
        ),
        (
            PROMETHEUS,
            "systemctl reload prometheus failed: no; set reload_unit, or set reload to http or signal",
            "systemctl reload prometheus failed: no; set prometheus_host_reload_unit, or set prometheus_host_reload to http or signal",
        ),
        (PROMETHEUS, "exporters[0].port: 0 is no port", "exporter_host_port: 0 is no port"),
        (
            PROMETHEUS,
            "Set prometheus_running: false to store files without it",
            "Set prometheus_host_running: false to store files without it",
        ),
        (
            PROMETHEUS,
            "user: there is no user 'x' on this host; name the user that it runs as",
            "prometheus_host_user: there is no user 'x' on this host; name the user that it runs as",
        ),
        (PROMETHEUS, "group: there is no group 'x'", "prometheus_host_group: there is no group 'x'"),
        (
            PROMETHEUS,
            "exporter exp1: scrape_timeout 20s is longer than scrape_interval 15s",
            "exporter exp1: prometheus_host_scrape_timeout 20s is longer than prometheus_host_scrape_interval 15s",
        ),
        (
            PROMETHEUS,
            "exporter exp1: labels: '9x' is not a label name",
            "exporter exp1: prometheus_host_labels: '9x' is not a label name",
        ),
        (PROMETHEUS, "store: / cannot be a store", "prometheus_host_store: / cannot be a store"),
        (
            PROMETHEUS,
            "config_file: /etc/prometheus/prometheus.yml does not exist; set config_file to where it is",
            "prometheus_host_config_file: /etc/prometheus/prometheus.yml does not exist; set prometheus_host_config_file to where it is",
        ),
        (EXPORTER, "exporters[2].port: 0 is no port", "exporter_host_exporters[2].port: 0 is no port"),
        (
            EXPORTER,
            "exporters[0].certificate_directory: /root is the home directory; choose a directory of its own, or set allow_home: true",
            "exporter_host_exporters[0].directory: /root is the home directory; choose a directory of its own",
        ),
        (
            EXPORTER,
            "did not stop in 10 s (stop_timeout), or set force_kill to true",
            "did not stop in 10 s (exporter_host_stop_timeout), or set exporter_host_force_kill to true",
        ),
        (EXPORTER, "boot is systemd; set boot to cron", "boot is systemd; set exporter_host_boot to cron"),
        (EXPORTER, "after: 'x' is no unit", "exporter_host_boot_after: 'x' is no unit"),
        # Twice said is as good as once.
        (EXPORTER, "exporter_host_port: 0; exporter_host_exporters[0].port", None),
        (PROMETHEUS, "prometheus_host_url: set prometheus_host_url_ca_file", None),
        # What is nobody's option.
        (PROMETHEUS, "the user of the group runs a store at this url and port", None),
        (PROMETHEUS, "/srv/config_file/x and my-store_x, url_ca_files, http://user:1@url/", None),
        (PROMETHEUS, "invalid port: the address x is already in use, state unknown", None),
        (EXPORTER, "the port of the owner is not in this state; stop it after that", None),
        (EXPORTER, "cannot read /opt/timesten_home/x: no port", None),
    ],
)
def test_in_words(role, message, expected):
    assert words.in_words(message, role) == (message if expected is None else expected)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abcd", "abcd", False),
        ("abcd", "abc", True),
        ("abcd", "bcd", True),
        ("abcd", "abxcd", True),
        ("abcd", "abxd", True),
        ("abcd", "abdc", True),
        ("aab", "ab", True),
        ("abcd", "badc", False),
        ("abcd", "abcdef", False),
        ("rotate_stratgy", "rotate_strategy", True),
    ],
)
def test_one_letter_away(one, other, expected):
    # Neither of the two is the right one.
    both = {words.one_letter_away(*names) for names in ((one, other), (other, one))}
    assert both == {expected}


def test_nearest():
    assert words.nearest("EXP1", ["exp1", "exp2"]) == "exp1"
    assert words.nearest("nosuch", ["exp1", "exp2"]) is None
