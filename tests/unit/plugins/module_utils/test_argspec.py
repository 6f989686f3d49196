# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs that merge, and the rules that go with them."""

from __future__ import annotations

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import Options
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

FIRST = Options(
    {"state": {"type": "str", "default": "on"}, "port": {"type": "int"}},
    required_if=(("state", "on", ("port",)),),
    used_by={"state": {"port": ("on", "idle")}},
)
SECOND = Options(
    {"port": {"type": "int", "default": 80}, "labels": {"type": "dict", "default": {}}, "layout": {}},
    required_if=(("state", "off", ("labels",)),),
    used_by={"state": {"labels": ("off",)}, "layout": {"labels": ("files",)}},
)


def test_a_merged_spec_has_the_options_and_rules_of_both():
    assert (FIRST | SECOND).for_ansible() == {
        "argument_spec": {
            "state": {"type": "str", "default": "on"},
            "port": {"type": "int", "default": 80},
            "labels": {"type": "dict", "default": {}},
            "layout": {},
        },
        "required_if": [["state", "on", ["port"]], ["state", "off", ["labels"]]],
    }


def test_suboptions_keep_their_rules():
    spec = Options({"jobs": {"type": "list", "elements": "dict", "options": FIRST}}).for_ansible()["argument_spec"]
    assert spec["jobs"]["options"] == FIRST.for_ansible()["argument_spec"]
    assert spec["jobs"]["required_if"] == [["state", "on", ["port"]]]


def test_what_ansible_changes_is_a_copy():
    SECOND.for_ansible()["argument_spec"]["labels"]["default"]["a"] = "b"
    assert SECOND.options["labels"]["default"] == {}


def test_a_part_of_a_spec_has_no_rules():
    assert FIRST.only("port") == Options({"port": {"type": "int"}})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"state": "on", "port": 81}, None),
        ({"state": "idle", "port": 81}, None),
        ({"state": "off", "port": None}, None),
        ({"state": "off", "port": 80}, None),
        ({"state": "off", "port": 81}, "port: is not used by state off, only by on and idle; leave it out"),
        ({"state": "on", "labels": {"a": "b"}}, "labels: is not used by state on, only by off; leave it out"),
        ({"state": "off", "labels": {"a": "b"}}, "labels: is not used by layout None, only by files; leave it out"),
        ({"state": "off", "labels": {"a": "b"}, "layout": "files"}, None),
    ],
)
def test_an_option_that_is_set_but_not_used_is_refused(params, message):
    params = {"port": None, "labels": {}, "layout": None, **params}
    if message is None:
        (FIRST | SECOND).refuse_unused(params)
    else:
        with pytest.raises(TimesTenError) as caught:
            (FIRST | SECOND).refuse_unused(params)
        assert caught.value.message == message
