# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a release: version, changelog, commit, tag, tarball and checksum. Nothing leaves this machine.

``make release VERSION=1.0.0`` runs the checks first (``make test``), then this.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Refused(Exception):
    """The release was not begun; the message says why, and what to do."""


def output(*argv: str | Path) -> str:
    """What a program printed; its own words stand on the terminal where it fails."""
    return subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def numbers(version: str) -> tuple[int, ...]:
    """``1.2.3`` as (1, 2, 3).

    Raises:
        Refused: it is no version of the form that Galaxy takes.
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise Refused(f"VERSION={version} is no version: give MAJOR.MINOR.PATCH, for example VERSION=1.0.0")
    return tuple(map(int, version.split(".")))


def check(version: str) -> str:
    """Refuse what would make a wrong release; return the version that stands in galaxy.yml."""
    asked = numbers(version)
    match = re.search(r"^version: (\S+)$", (ROOT / "galaxy.yml").read_text(encoding="utf-8"), re.M)
    assert match is not None
    if asked < numbers(match[1]):
        raise Refused(f"VERSION={version} is not above {match[1]}, the version in galaxy.yml")
    if output("git", "tag", "--list", f"v{version}").strip():
        raise Refused(f"the tag v{version} exists: give a higher VERSION")
    changed = output("git", "status", "--porcelain").strip()
    if changed:
        raise Refused(f"not committed: {', '.join(line[2:].strip() for line in changed.splitlines())}")
    return match[1]


def release(version: str) -> Path:
    """Make it, and return the path of the tarball."""
    before = check(version)
    galaxy = ROOT / "galaxy.yml"
    text = galaxy.read_text(encoding="utf-8")
    galaxy.write_text(text.replace(f"\nversion: {before}\n", f"\nversion: {version}\n"), encoding="utf-8")
    programs = Path(sys.executable).parent
    output(programs / "antsibull-changelog", "release", "--version", version)
    output("git", "add", "--all")
    output("git", "commit", "--quiet", f"--message=Release {version}")
    directory = ROOT / "releases"
    output(programs / "ansible-galaxy", "collection", "build", "--force", "--output-path", directory)
    tarball = directory / f"timesten-monitoring-{version}.tar.gz"
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    tarball.with_name(f"{tarball.name}.sha256").write_text(f"{digest}  {tarball.name}\n", encoding="ascii")
    output("git", "tag", "--annotate", f"v{version}", f"--message=timesten.monitoring {version}")
    return tarball


def main() -> int:
    """Release the version on the command line."""
    if len(sys.argv) != 2:
        print("Say which: make release VERSION=1.0.0", file=sys.stderr)
        return 1
    try:
        tarball = release(sys.argv[1])
    except Refused as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"No release: {' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
        return 1
    print(
        f"{tarball.relative_to(ROOT)} and its .sha256; the commit has the tag. Publish them when you have looked at it:"
    )
    print(f"  git push --follow-tags && ansible-galaxy collection publish {tarball.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
