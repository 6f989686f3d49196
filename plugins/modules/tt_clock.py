#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_clock
short_description: How far a host's clock is from the controller's
version_added: 1.0.0
description:
  - Asks the host for its time with C(date) over the open connection, several times, and uses the fastest answer.
  - No Python is needed on the host, and nothing is transferred.
extends_documentation_fragment:
  - timesten.monitoring.attributes
requirements: []
attributes:
  action:
    description: Runs on the controller.
    support: full
  check_mode:
    support: full
    details:
      - It changes nothing, and measures in check mode too.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  rounds:
    description:
      - How many times to ask.
    type: int
    default: 4
"""

EXAMPLES = r"""
- name: Compare the clocks
  timesten.monitoring.tt_clock:
  register: clock

- name: Show how much they differ
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} is {{ clock.offset }} s ahead of the controller, give or take {{ clock.uncertainty }} s"
"""

RETURN = r"""
offset:
  description: Seconds by which the host's clock is ahead of the controller's, negative if it is behind.
  returned: success
  type: float
  sample: -0.0021
uncertainty:
  description: Uncertainty in seconds, half of the time that the answer took.
  returned: success
  type: float
  sample: 0.0083
"""
