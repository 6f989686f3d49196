# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtualenvs under .cache, each built once from one pinned file in requirements/, and the interpreters they need.

Standard library only: it runs before anything is installed. ``environments.py NAME`` builds that one.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class BadCache(Exception):
    """The directory for what is built cannot be used; the message says why and what to do."""


def cache_of(checkout: Path, elsewhere: Path = Path("/var/tmp")) -> Path:
    """The directory for all that is built from a checkout: its ``.cache``.

    Interpreter lines and ssh options hold no blank, other users start programs that lie there, and a lab has a /run and
    a /dev/shm of its own. Where the checkout's path forbids one of these, ``.cache`` is a link to a directory below
    ``elsewhere``; what a real ``.cache`` held already moves there.

    Raises:
        BadCache: that directory is there and belongs to somebody else.
    """
    link = checkout / ".cache"
    if not link.is_symlink() and _is_usable(checkout):
        return link
    key = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:16]
    target = Path(os.readlink(link)) if link.is_symlink() else elsewhere / f"timesten-monitoring-{os.geteuid()}-{key}"
    target = checkout / target
    # Several processes may come here at once.
    target.mkdir(mode=0o755, exist_ok=True)
    status = target.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise BadCache(f"{target} is no directory that only this user may change: remove it, and {link} if it is there")
    if link.is_dir() and not link.is_symlink():
        for path in link.iterdir():
            shutil.move(path, target / path.name)
        link.rmdir()
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target)
    return target


def _is_usable(checkout: Path) -> bool:
    if re.search(r"[^\w./@+-]", str(checkout)) or {Path("/run"), Path("/dev")} & set(checkout.parents):
        return False
    # Without root nobody else starts anything.
    return os.geteuid() != 0 or all(path.stat().st_mode & 0o001 for path in [checkout, *checkout.parents])


ROOT = Path(__file__).resolve().parents[2]
CACHE = cache_of(ROOT)


class MissingInterpreter(Exception):
    """No interpreter of the versions that an environment needs is on this machine."""


def text(version: tuple[int, ...]) -> str:
    """A version as people write it: ``3.11``."""
    return ".".join(map(str, version))


def _candidates() -> Iterator[Path]:
    """Every file that looks like a Python 3 interpreter: on PATH, then below pyenv."""
    for directory in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        if directory and os.path.isdir(directory):
            names = sorted(os.listdir(directory))
            yield from (Path(directory, n) for n in names if re.fullmatch(r"python3(\.[0-9]+)?", n))
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from sorted(pyenv.glob("versions/3.*/bin/python3"))


@functools.lru_cache(maxsize=None)
def interpreters() -> dict[tuple[int, int], Path]:
    """Version -> an interpreter of this machine that can make virtualenvs. A pyenv shim counts as what it starts."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
    paths: dict[tuple[int, int], Path] = {}
    asked: set[Path] = set()
    for candidate in _candidates():
        # An interpreter is asked once, under whichever of its names comes first; a shim is not the same file.
        real = candidate.resolve()
        if real.name != "pyenv" and real in asked:
            continue
        asked.add(real)
        run = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True, check=False)
        if run.returncode == 0:
            major, minor, path = run.stdout.split(maxsplit=2)
            paths.setdefault((int(major), int(minor)), Path(path.strip()))
    return paths


def interpreter(oldest: tuple[int, int], newest: tuple[int, int], *, prefer_newest: bool = False) -> Path:
    """An interpreter between two versions, both included.

    Raises:
        MissingInterpreter: none was found; the message says which were.
    """
    fitting = sorted(v for v in interpreters() if oldest <= v <= newest)
    if not fitting:
        have = ", ".join(text(v) for v in sorted(interpreters())) or "none"
        versions = text(oldest) if oldest == newest else f"{text(oldest)} to {text(newest)}"
        raise MissingInterpreter(f"no Python {versions} with venv on PATH or under pyenv (found: {have})")
    return interpreters()[fitting[-1 if prefer_newest else 0]]


def environment(name: str, python: Path) -> Path:
    """The ``bin`` directory of the virtualenv ``.cache/NAME`` holding exactly requirements/NAME.txt.

    Built anew where the requirements, the interpreter or its own place have changed, else returned as it is.
    """
    # One interpreter has several names; another name must not mean another environment.
    python = python.resolve()
    directory = (CACHE / name).resolve()
    requirements = ROOT / "requirements" / f"{name}.txt"
    version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=True).stdout
    stamp = hashlib.sha256(f"{python}\n{version}\n".encode() + requirements.read_bytes()).hexdigest()
    mark = directory / "stamp"
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        activate = directory / "bin/activate"
        if mark.is_file() and mark.read_text() == stamp and str(directory) in activate.read_text(encoding="utf-8"):
            return directory / "bin"
        print(f"== building .cache/{name} with {version.split('(')[0].strip()} ({python})", file=sys.stderr, flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", directory], check=True)
        pip = [directory / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        # pip's warnings are of interest only where it fails.
        install = [*pip, "--requirement", requirements]
        run = subprocess.run(install, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode != 0:
            print(run.stdout, file=sys.stderr)
            raise SystemExit(
                f"pip could not install {requirements.relative_to(ROOT)} (its words are above). It needs a package "
                "index; pip.conf or PIP_INDEX_URL name another one."
            )
        mark.write_text(stamp)
    return directory / "bin"


if __name__ == "__main__":
    environment(sys.argv[1], Path(getattr(sys, "_base_executable", sys.executable)))
