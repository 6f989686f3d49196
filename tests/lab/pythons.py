# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpreters of other platforms for the hosts of a lab: a Python of this machine with the library versions that a platform has."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from gates import environments
from lab import lab, packages


def python_of(name: str, version: tuple[int, int], libraries: tuple[str, ...]) -> str:
    """Return where every host finds a Python of this version with exactly these libraries.

    :param libraries: requirements of pip, pinned.
    :raises MissingInterpreter: this machine has no such Python.
    """
    tree = packages.TREES / f"python-{name}"
    program = tree / "bin" / f"python{environments.text(version)}"
    mark = tree / "libraries"
    packages.TREES.mkdir(parents=True, exist_ok=True)
    with open(packages.CACHE / "pythons.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_text() != "\n".join(libraries):
            shutil.rmtree(tree, ignore_errors=True)
            # Homes of users are nothing that another host sees, so it is copied; a Python finds its modules by its own place.
            base = environments.interpreter(version, version).parents[1]
            shutil.copytree(base, tree, symlinks=True, ignore=shutil.ignore_patterns("test", "*.a", "share"))
            _look_beside_itself(program, f"{base}/lib")
            if libraries:
                pip = [program, "-I", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *libraries]
                subprocess.run([*pip, "--no-warn-script-location"], check=True)
            mark.write_text("\n".join(libraries))
    return str(lab.on_host(program))


def _look_beside_itself(program: Path, where: str) -> None:
    """Have the linker look for the shared library of a Python that moved by the program's place, not by the old one's."""
    before = program.resolve().read_bytes()
    old, new = where.encode() + b"\0", b"$ORIGIN/../lib"
    program.resolve().write_bytes(before.replace(old, new.ljust(len(old), b"\0")))
