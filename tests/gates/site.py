# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the documentation as a site: reference of modules, filters and roles, and the pages of README and docs as guides.

``make site`` builds it; ``html/index.html`` is its first page. A warning of either program is an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from pathlib import Path

from gates import checkout

REPOSITORY = "https://github.com/timesten-monitoring/timesten.monitoring/blob/main/"
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def pages() -> dict[str, Path]:
    """The guides by their place in the repository."""
    paths = [path for path in checkout.files() if path.endswith(".md") and path.split("/")[0] in ("docs", "examples")]
    return {path: checkout.ROOT / path for path in ("README.md", *paths)}


def guide(place: str, text: str, known: set[str]) -> str:
    """A page whose links lead to other guides, or else into the repository."""

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match[1]))
        if target in known or target.endswith((".png", ".svg")):
            return match[0]
        return f"]({REPOSITORY}{target}{match[2] or ''})"

    return LINK.sub(lead, text)


def build(programs: Path, directory: Path) -> None:
    """Build the site.

    Raises:
        AssertionError: a program ended with an error or had something to warn of; the message is what it said.
    """
    source = directory / "rst"
    shutil.rmtree(directory, ignore_errors=True)
    source.mkdir(parents=True, mode=0o755)
    collection = directory / "collections/ansible_collections/timesten"
    collection.mkdir(parents=True)
    (collection / "monitoring").symlink_to(checkout.copy())
    env = {
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    checkout.run(
        [programs / "antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"]
        + ["--dest-dir", source, "timesten.monitoring"],
        env=env,
    )
    known = pages()
    with (source / "docsite/guides.rst").open("a", encoding="utf-8") as stream:
        stream.write("\n.. toctree::\n   :maxdepth: 1\n\n")
        stream.writelines(f"   pages/{place.removesuffix('.md')}\n" for place in known)
    for place, path in known.items():
        target = source / "docsite/pages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(guide(place, path.read_text(encoding="utf-8"), set(known)), encoding="utf-8")
    for path in checkout.files():
        if path.startswith("docs/") and path.endswith((".png", ".svg")):
            target = source / "docsite/pages" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout.ROOT / path, target)
    checkout.run(
        [programs / "sphinx-build", "--builder=html", "--fail-on-warning", "--keep-going", "--quiet", "--jobs=auto"]
        + [f"--conf-dir={checkout.ROOT / 'docs/docsite'}", source, directory / "html"],
        env=env,
    )
