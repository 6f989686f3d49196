# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The linters, each with its configuration file at the top of the checkout."""

from __future__ import annotations

from pathlib import Path

from gates import checkout


def test_ruff_check() -> None:
    checkout.run(["ruff", "check", "--no-cache", "."])


def test_ruff_format() -> None:
    checkout.run(["ruff", "format", "--no-cache", "--check", "."])


def test_mypy(collections_path: Path) -> None:
    """Typed: what runs on managed hosts, the controller's half, and the filters."""
    package = "ansible_collections.timesten.monitoring.plugins"
    parts = [
        p
        for p in ("module_utils", "plugin_utils", "action", "callback", "filter", "lookup")
        if any((checkout.ROOT / "plugins" / p).rglob("*.py"))
    ]
    checkout.run(
        [
            "mypy",
            f"--config-file={checkout.ROOT / 'pyproject.toml'}",
            f"--cache-dir={checkout.CACHE / 'mypy'}",
            *(word for part in parts for word in ("--package", f"{package}.{part}")),
        ],
        cwd=collections_path,
    )


def test_yamllint() -> None:
    checkout.run(["yamllint", "--strict", "."])


def test_ansible_lint(copy: Path, collections_path: Path) -> None:
    """In the copy, which lies where ansible-core looks for the collection's own roles, modules and playbooks."""
    out = checkout.run(
        ["ansible-lint", "--offline", "--strict", "--profile=production"],
        cwd=copy,
        env={"ANSIBLE_COLLECTIONS_PATH": str(collections_path)},
    )
    assert "Passed" in out, out


def test_ansible_lint_skips_nothing() -> None:
    """Neither the configuration nor a comment takes a rule away."""
    configuration = checkout.load(".ansible-lint")
    assert set(configuration) == {"profile", "offline", "exclude_paths"}
    word = "no" + "qa"
    taken_away = [
        f"{path}:{number}: {line.strip()}"
        for path in checkout.files()
        if path.endswith((".yml", ".yaml")) and not path.startswith(checkout.DATA)
        for number, line in enumerate((checkout.ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if f"# {word}" in line or "yamllint disable" in line
    ]
    assert taken_away == []


def test_changelog_fragments(copy: Path) -> None:
    checkout.run(["antsibull-changelog", "lint"], cwd=copy)
