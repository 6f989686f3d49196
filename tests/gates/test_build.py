# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball: built from this checkout as it is, with all that tests leave in it, and installed into an empty path."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from gates import checkout

# Whatever else stands at the top of the checkout is a tool of this repository or was left behind.
SHIPPED = {
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "changelogs",
    "docs",
    "examples",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
MADE_BY_THE_BUILD = {"FILES.json", "MANIFEST.json"}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("build")
    checkout.run(["ansible-galaxy", "collection", "build", "--output-path", directory])
    (built,) = directory.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def names(tarball: Path) -> set[str]:
    """Paths of the files in the tarball."""
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive.getmembers() if not member.isdir()}


def test_only_what_is_shipped_is_in_it(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} <= SHIPPED | MADE_BY_THE_BUILD


def test_exactly_the_files_of_the_repository_are_in_it(names: set[str]) -> None:
    """Neither caches nor leftovers; nothing forgotten."""
    ours = {path for path in checkout.files() if path.split("/")[0] in SHIPPED}
    assert names - MADE_BY_THE_BUILD == ours


def test_it_installs_into_an_empty_path_and_is_found_there(tarball: Path, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    checkout.run(
        ["ansible-galaxy", "collection", "install", "--offline", "--collections-path", tmp_path, tarball], env=env
    )
    installed = tmp_path / "ansible_collections" / "timesten" / "monitoring"
    checkout.run(["ansible-galaxy", "collection", "verify", "--offline", "timesten.monitoring"], env=env)

    out = checkout.run(["ansible-doc", "--list", "--json", "--type", "module", "timesten.monitoring"], env=env)
    assert sorted(json.loads(out[out.index("{") :])) == [f"timesten.monitoring.{name}" for name in checkout.modules()]
    for playbook in checkout.playbooks():
        name = f"timesten.monitoring.{playbook.removesuffix('.yml')}"
        out = checkout.run(["ansible-playbook", "--syntax-check", "-i", "localhost,", name], cwd=tmp_path, env=env)
        assert str(installed) in out, out
