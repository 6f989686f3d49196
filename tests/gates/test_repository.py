# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of this repository that no linter knows."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
import tomllib

from gates import checkout

# In pieces, else the line would be this file's own.
LICENSE = "SPDX-License-Identifier" + ": GPL-3.0-or-later"
ROLES = checkout.roles()


def test_every_file_names_its_license() -> None:
    """In its first lines, in a side-car ``FILE.license``, or by a pattern in REUSE.toml."""
    reuse = tomllib.loads((checkout.ROOT / "REUSE.toml").read_text(encoding="utf-8"))
    patterns = [
        path
        for annotation in reuse["annotations"]
        if "SPDX-License-Identifier" in annotation
        for path in annotation["path"]
    ]
    without = []
    for path in checkout.files():
        sidecar = checkout.ROOT / f"{path}.license"
        source = sidecar if sidecar.is_file() else checkout.ROOT / path
        first_lines = source.read_bytes().decode("utf-8", "replace").splitlines()[:12]
        by_pattern = any(fnmatch.fnmatch(path, pattern.replace("**", "*")) for pattern in patterns)
        if (
            path not in ("LICENSE", "LICENSES/GPL-3.0-or-later.txt")
            and not by_pattern
            and not any(LICENSE in line for line in first_lines)
        ):
            without.append(path)
    assert without == []


def test_license_is_whole() -> None:
    text = (checkout.ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text and "Version 3, 29 June 2007" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_action_group_is_all_modules() -> None:
    assert sorted(checkout.load("meta/runtime.yml")["action_groups"]["tt"]) == checkout.modules()


def test_requires_ansible_is_the_oldest_that_is_tested() -> None:
    pins = (checkout.ROOT / "requirements/core-oldest.txt").read_text(encoding="utf-8")
    oldest = checkout.load("meta/runtime.yml")["requires_ansible"].removeprefix(">=")
    assert f"\nansible-core=={oldest}\n" in pins


def test_requirements_are_pinned() -> None:
    for path in (checkout.ROOT / "requirements").glob("*.txt"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        assert lines, path
        assert [line for line in lines if "==" not in line] == [], path


def specification(role: str) -> dict[str, dict[str, Any]]:
    """Options of all entry points of a role."""
    entry_points = checkout.load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    return {name: option for entry in entry_points.values() for name, option in entry.get("options", {}).items()}


@pytest.mark.parametrize("role", ROLES)
def test_role_defaults_are_those_of_its_specification(role: str) -> None:
    """Same names, same values; an option without a default is in the specification alone."""
    documented = {name: option["default"] for name, option in specification(role).items() if "default" in option}
    defaults = checkout.load(f"roles/{role}/defaults/main.yml") or {}
    assert defaults == documented


@pytest.mark.parametrize("role", ROLES)
def test_role_variables_carry_its_name(role: str) -> None:
    assert [name for name in specification(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_role_readme_shows_every_variable(role: str) -> None:
    readme = (checkout.ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert [name for name in specification(role) if f"`{name}`" not in readme] == []


def test_roles_have_specifications() -> None:
    assert [role for role in ROLES if not (checkout.ROOT / f"roles/{role}/meta/argument_specs.yml").is_file()] == []
