# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity, all tests, no ignore lines."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from gates import checkout

# Takes the place of the bootstrap script that ansible-test would download. It is run in the empty virtualenv with the
# packages as arguments; in that process itself ensurepip would find ansible-test's hooks, hence the children.
GET_PIP = """\
import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
packages = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--upgrade", *packages]).returncode)
"""


def make_home(home: Path) -> None:
    """A home directory for ansible-test, so that nobody's own ``~/.ansible`` is used or changed."""
    from ansible_test._internal import python_requirements

    # The name of the script is that of the pip version which this ansible-core asks for.
    source = Path(python_requirements.__file__).read_text(encoding="utf-8")
    (version,) = {
        keyword.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "pip" and isinstance(keyword.value, ast.Constant)
    }
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP, encoding="utf-8")

    # ansible-test takes PIP_* out of the environment: what pip is told on this machine has to be in a file. It may
    # hold the password of an index, hence 0600.
    settings = {}
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        key, value = line.split("=", maxsplit=1)
        section, option = key.rsplit(".", maxsplit=1)
        if section in ("global", ":env:"):
            settings[option] = ast.literal_eval(value)
    configuration = home / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{option} = {' '.join(value.split())}\n" for option, value in settings.items()]
    with open(configuration, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        file.write("[global]\n" + "".join(lines))


def test_no_ignore_files() -> None:
    assert [p for p in checkout.files() if p.startswith("tests/sanity/")] == []


def test_sanity(copy: Path) -> None:
    home = checkout.CACHE / "home"
    make_home(home)
    version = ".".join(map(str, sys.version_info[:2]))
    log = checkout.CACHE / "results" / "sanity.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        code = subprocess.run(
            ["ansible-test", "sanity", "--venv", "--python", version, "--requirements", "--color", "no"],
            cwd=copy,
            env={**os.environ, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    lines = log.read_text(encoding="utf-8").splitlines()
    faults = [line for line in lines if line.startswith(("ERROR:", "FATAL:"))]
    # The last lines say what went wrong where ansible-test did not get as far as an error of its own.
    assert code == 0 and faults == [], "\n".join([f"exit status {code}, all in {log}", *(faults or lines[-40:])])
    # A run that finds no files, or no tests, ends well too.
    started = [line for line in lines if line.startswith("Running sanity test")]
    assert len(started) >= 20, "\n".join(started)
