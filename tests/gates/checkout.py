# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in this checkout, a real copy of it where Ansible's tools want one, and a way to run those tools."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gates.environments import CACHE, ROOT

# Files with broken encodings, line ends and syntax, for the careful edit of prometheus.yml: data, that no linter judges.
DATA = "tests/unit/fixtures/"
NAMESPACE, NAME = "timesten", "monitoring"


def files() -> list[str]:
    """Paths of all files that git tracks or would track, relative to the checkout, sorted."""
    run = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return sorted(p for p in os.fsdecode(run.stdout).split("\0") if p and (ROOT / p).is_file())


def load(path: str | Path) -> Any:
    """The content of one YAML file, relative to the checkout."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def modules() -> list[str]:
    """Names of the collection's modules."""
    return sorted(p.stem for p in (ROOT / "plugins/modules").glob("*.py"))


def roles() -> list[str]:
    """Names of the collection's roles."""
    return sorted(p.name for p in (ROOT / "roles").glob("*") if p.is_dir())


def playbooks() -> list[str]:
    """File names of the collection's playbooks."""
    return sorted(p.name for p in (ROOT / "playbooks").glob("*.yml"))


def copy() -> Path:
    """A copy below a real ``ansible_collections/timesten/monitoring``; ansible-test refuses links.

    Its own (empty) git repository keeps the tools from asking the one around it, which ignores .cache.
    """
    target = CACHE / "copy" / "ansible_collections" / NAMESPACE / NAME
    target.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "copy.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".git").is_dir():
            subprocess.run(["git", "init", "--quiet", target], check=True)
        copied = {path for path in files() if not path.startswith(DATA)}
        for old in target.rglob("*"):
            relative = old.relative_to(target)
            if relative.parts[0] == ".git" or relative.parts[:2] == ("tests", "output") or old.is_dir():
                continue
            if str(relative) not in copied:
                old.unlink()
        for name in copied:
            source, destination = ROOT / name, target / name
            before = destination.stat() if destination.exists() else None
            now = source.stat()
            if before is None or (before.st_mtime_ns, before.st_size) != (now.st_mtime_ns, now.st_size):
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, destination)
    return target


def run(argv: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a tool to its end and return what it printed.

    Raises:
        AssertionError: it ended with another status than 0; the message is all that it printed.
    """
    result = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        words = " ".join(map(str, argv))
        raise AssertionError(f"{words}\nended with {result.returncode} and said:\n{result.stdout}")
    return result.stdout
