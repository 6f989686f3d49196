# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as ``ansible_collections.timesten.monitoring``: the only use of pytest-ansible.

Its own tree of links is made once and never again, so that a directory that is new would be missing and one that is
gone would dangle; hence the links are kept here, and pytest-ansible finds them ready.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gates.collection import link_collection
from gates.environments import CACHE, ROOT

# On the oldest and newest Python there is no controller; whoever runs the tests there has set PYTHONPATH.
try:
    from pytest_ansible.units import inject
except ImportError:
    inject = None

# Through the link that .cache may be, an interpreter would have the very path that CACHE avoids.
if ROOT / ".cache" in Path(sys.executable).parents:
    sys.executable = str(CACHE / Path(sys.executable).relative_to(ROOT / ".cache"))

if inject is not None:
    link_collection()
    inject(ROOT)
