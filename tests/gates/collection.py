# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout under the name by which its parts import each other: ``ansible_collections.timesten.monitoring``."""

from __future__ import annotations

import sys

from gates.environments import ROOT

COLLECTIONS = ROOT / "collections"
LINKED = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")


def link_collection() -> None:
    """Bring ``collections/ansible_collections/timesten/monitoring`` in line with the checkout."""
    tree = COLLECTIONS / "ansible_collections" / "timesten" / "monitoring"
    tree.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        link = tree / name
        if link.is_symlink() and link.resolve() != ROOT / name:
            link.unlink(missing_ok=True)
        if (ROOT / name).exists():
            try:
                link.symlink_to(ROOT / name)
            except FileExistsError:
                # It was there, or another run of pytest has just made it.
                continue


def make_importable() -> None:
    """For programs that pytest does not run."""
    link_collection()
    sys.path.insert(1, str(COLLECTIONS))
