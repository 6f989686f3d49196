# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release has to pass: licences, spelling, workflow files, Galaxy's own importer, and the notes themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gates import checkout, environments, site

# Addresses that do not exist yet; whoever publishes the collection replaces them, and this line.
PLACEHOLDERS = {
    "repository": "https://github.com/timesten-monitoring/timesten.monitoring",
    "homepage": "https://github.com/timesten-monitoring/timesten.monitoring",
    "documentation": "https://github.com/timesten-monitoring/timesten.monitoring/tree/main/docs",
    "issues": "https://github.com/timesten-monitoring/timesten.monitoring/issues",
}
# Names of options, programs and units that only look misspelt; one that a person reads in a message is none.
WORDS = ["udo", "ure", "whats"]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The programs of requirements/release.txt."""
    return environments.environment("release", environments.interpreter((3, 11), (3, 13)))


def test_reuse(tools: Path) -> None:
    checkout.run([tools / "reuse", "lint", "--quiet"])


def test_spelling(tools: Path) -> None:
    paths = [path for path in checkout.files() if not path.startswith(checkout.DATA) and not path.startswith("LICENSE")]
    checkout.run([tools / "codespell", f"--ignore-words-list={','.join(WORDS)}", *paths])


@pytest.mark.parametrize(
    ("schema", "path"),
    [("vendor.github-workflows", ".github/workflows/test.yml"), ("vendor.gitlab-ci", ".gitlab-ci.yml")],
)
def test_workflow_files(tools: Path, schema: str, path: str) -> None:
    """Well-formed, and they run what everybody runs."""
    checkout.run([tools / "check-jsonschema", "--builtin-schema", schema, path])
    assert ".ci/run" in (checkout.ROOT / path).read_text(encoding="utf-8")


def test_galaxy_importer(tools: Path, tmp_path: Path) -> None:
    """The program that Galaxy and Automation Hub run on every upload; ansible-test has its own part here."""
    checkout.run(["ansible-galaxy", "collection", "build", "--output-path", tmp_path])
    (tarball,) = tmp_path.glob("*.tar.gz")
    settings = tmp_path / "importer.cfg"
    settings.write_text("[galaxy-importer]\nRUN_ANSIBLE_TEST=False\nCHECK_REQUIRED_TAGS=True\n", encoding="utf-8")
    out = checkout.run(
        [tools / "python", "-m", "galaxy_importer.main", tarball],
        cwd=tmp_path,
        env={"GALAXY_IMPORTER_CONFIG": str(settings), "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert "Importer processing completed successfully" in out, out
    assert re.findall(r"^(?:WARNING|ERROR).*", out, re.M) == [], out
    result = json.loads((tmp_path / "importer_result.json").read_text(encoding="utf-8"))
    assert result["requires_ansible"] == checkout.load("meta/runtime.yml")["requires_ansible"]


def test_the_site_builds_without_a_warning(tools: Path, tmp_path: Path) -> None:
    site.build(tools, tmp_path / "site")
    html = tmp_path / "site/html"
    assert (html / "tt_exporter_host_module.html").is_file()
    # A link of one guide to another, and one into the repository.
    page = (html / "docsite/pages/README.html").read_text(encoding="utf-8")
    assert 'href="docs/boot.html"' in page and f'href="{site.REPOSITORY}roles/exporter_host/README.md"' in page


def test_addresses_are_placeholders_that_are_known() -> None:
    galaxy = checkout.load("galaxy.yml")
    assert {key: galaxy[key] for key in PLACEHOLDERS} == PLACEHOLDERS


def test_links_of_the_readme_work_in_the_tarball() -> None:
    """Galaxy shows README.md alone, and an installed collection has only what is shipped."""
    ignored = set(checkout.load("galaxy.yml")["build_ignore"])
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (checkout.ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if link.split("/")[0] in ignored] == []


def release(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = directory / "tests/gates/release.py"
    return subprocess.run(
        [sys.executable, program, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with the files as they are, because a release commits and tags."""
    directory = tmp_path_factory.mktemp("release") / "clone"
    for path in checkout.files():
        if not path.startswith(checkout.DATA):
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((checkout.ROOT / path).read_bytes())
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["config", "user.name", "Somebody"],
        ["config", "user.email", "somebody@example.com"],
        ["add", "--all"],
        ["commit", "--quiet", "--message=All"],
    ):
        subprocess.run(["git", *words], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.mark.parametrize(
    ("version", "words"),
    [("1.0", "is no version"), ("v1.0.0", "is no version"), ("0.0.1", "is not above")],
)
def test_a_version_that_is_none(clone: Path, version: str, words: str) -> None:
    done = release(clone, version)
    assert done.returncode == 1 and words in done.stderr
    assert not (clone / "releases").exists()


def test_a_release_of_what_is_not_committed(clone: Path) -> None:
    (clone / "README.md").write_text("Changed\n", encoding="utf-8")
    done = release(clone, "1.0.1")
    subprocess.run(["git", "checkout", "--quiet", "README.md"], cwd=clone, check=True)
    assert done.returncode == 1 and "README.md" in done.stderr


def test_a_release(clone: Path) -> None:
    """Version, changelog, commit, tag, tarball and checksum; the fragments are used up."""
    version = checkout.load("galaxy.yml")["version"]
    done = release(clone, version)
    assert done.returncode == 0, done.stdout + done.stderr
    git = ["git", "-C", str(clone)]
    assert subprocess.check_output([*git, "tag", "--points-at", "HEAD"], text=True).split() == [f"v{version}"]
    assert subprocess.check_output([*git, "status", "--porcelain"], text=True) == ""
    assert list((clone / "changelogs/fragments").glob("*.yml")) == []
    assert f"## v{version}" in (clone / "CHANGELOG.md").read_text(encoding="utf-8").replace("\\", "")
    name = f"timesten-monitoring-{version}.tar.gz"
    assert (clone / "releases" / name).is_file()
    subprocess.run(["sha256sum", "--check", "--strict", f"{name}.sha256"], cwd=clone / "releases", check=True)
    # The same again is refused before anything is touched.
    again = release(clone, version)
    assert again.returncode == 1 and f"v{version} exists" in again.stderr
