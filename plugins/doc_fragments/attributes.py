# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that all modules of the collection share."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.8 or later
  - cryptography 3.3 or later
attributes:
  check_mode:
    description: Can run in C(check_mode) and tell what would change without changing it.
  diff_mode:
    description: Shows what changes as facts (names, validity, fingerprints), never as key bytes.
  idempotent:
    description: A second run with the same options changes nothing.
  action_group:
    description: Use C(group/timesten.monitoring.tt) in C(module_defaults) to set options for this module.
    support: full
    membership:
      - timesten.monitoring.tt
  platform:
    description: Target systems.
    platforms: posix
    support: full
author:
  - The timesten.monitoring contributors (!UNKNOWN)
"""
