# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins refuse before a host is called."""

from __future__ import annotations

import pytest

pytest.importorskip("ansible", reason="used on the controller alone")

from ansible.errors import AnsibleError

from ansible_collections.timesten.monitoring.plugins.plugin_utils import border

pytestmark = pytest.mark.controller


@pytest.mark.parametrize("value", ["status", "nosuch", None, ["stage"]])
def test_a_phase_that_needs_more_than_the_inventory(value: object) -> None:
    steps: dict[str, border.Step] = {"stage": lambda _host, _variables: {}, "switch": lambda _host, _variables: {}}
    with pytest.raises(AnsibleError, match=r"phase: .* is none that from_inventory can do \(stage, switch\)"):
        border.step_of(steps, "phase", value)
    assert border.step_of(steps, "phase", "stage") is steps["stage"]
