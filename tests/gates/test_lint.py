# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The linters, each with its configuration file at the top of the checkout."""

from __future__ import annotations

import ast
from pathlib import Path

from gates import checkout

LONGEST = 60


def test_ruff_check() -> None:
    checkout.run(["ruff", "check", "--no-cache", "."])


def test_ruff_format() -> None:
    checkout.run(["ruff", "format", "--no-cache", "--check", "."])


def test_no_function_is_long() -> None:
    """At most 60 lines below the docstring, in what we ship; ruff counts the branches (C901)."""
    too_long = []
    for path in sorted((checkout.ROOT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > LONGEST:
                    too_long.append(f"{path.relative_to(checkout.ROOT)}: {node.name} has {lines} lines")
    assert too_long == []


def test_mypy(collections_path: Path) -> None:
    """Typed: what runs on managed hosts, the controller's half, and the filters."""
    package = "ansible_collections.timesten.monitoring.plugins"
    parts = [
        p
        for p in ("module_utils", "modules", "plugin_utils", "action", "callback", "filter", "lookup")
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


def test_import_contracts(collections_path: Path) -> None:
    """The layers of docs/architecture.md; pyproject.toml has them as contracts."""
    checkout.run(
        ["lint-imports", "--no-cache", "--no-logo", checkout.ROOT / "pyproject.toml"],
        cwd=collections_path,
        env={"PYTHONPATH": str(collections_path)},
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
