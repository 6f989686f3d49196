# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance with the reference exporter, and the modules as Ansible runs them: for the tests of the exporter side."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import waiting
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import processes as _kernel

free_port, until = waiting.free_port, waiting.until
FILES = pathlib.Path(__file__).resolve().parents[2] / "roles/reference_exporter/files"
# Where another process finds ``ansible_collections``.
COLLECTIONS = str(pathlib.Path(_process.__file__).parents[6])

_DRIVER = """
import importlib, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module("ansible_collections.timesten.monitoring.plugins.modules." + sys.argv[1]).main()
"""

# Notes every call, so that a test can tell that there was none.
_TTENV = """#!/bin/sh
echo "$(umask) $*" >> {log}
TIMESTEN_HOME={home}
export TIMESTEN_HOME
shift
exec {python} {home}/bin/ttExporter "$@"
"""


@dataclasses.dataclass
class Instance:
    """A TimesTen instance whose ttExporter is the reference exporter."""

    root: pathlib.Path

    @property
    def home(self) -> str:
        return str(self.root / "home")

    @property
    def log(self) -> pathlib.Path:
        return self.root / "calls"

    def install(self, **variants: str) -> Instance:
        """Make the instance, or give it other variants."""
        home = pathlib.Path(self.home)
        for name in ("bin", "conf"):
            (home / name).mkdir(parents=True, exist_ok=True)
        guid = "C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43"
        (home / "conf/timesten.conf").write_text(f"instance_name=ttinst\ninstance_guid={guid}\n")
        if not (home / "bin/ttExporter").exists():
            shutil.copy(FILES / "ttExporter", home / "bin/ttExporter")
            ttenv = home / "bin/ttenv"
            ttenv.write_text(_TTENV.format(log=self.log, home=home, python=sys.executable))
            ttenv.chmod(0o755)
        lines = [f"REFERENCE_EXPORTER_{name}={value}\n" for name, value in variants.items()]
        (home / "conf/reference_exporter.env").write_text("".join(lines))
        return self

    def calls(self) -> list[str]:
        """Return what the utility was called with so far, and forget it."""
        try:
            lines = self.log.read_text().splitlines()
        except FileNotFoundError:
            return []
        self.log.unlink()
        return lines

    def by_hand(self, *arguments: str, folder: pathlib.Path | None = None) -> str:
        """Run the utility as a person would."""
        command = [f"{self.home}/bin/ttenv", "ttExporter", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    def serve_by_hand(self, folder: pathlib.Path, wallet: str, port: int) -> None:
        """Start the exporter as its owner would: all paths begin in his directory."""
        command = [f"{self.home}/bin/ttenv", "ttExporter", "-port", str(port), "-pid-file", "tt.pid"]
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        environment = {**os.environ, "PWD": str(folder)}
        subprocess.Popen(
            [*command, "-certificate-directory", wallet], cwd=folder, env=environment, start_new_session=True, **nothing
        )

    def exporters(self) -> list[_process.Process]:
        """Return the exporters of this instance that run, whatever they call themselves."""
        listening = set(_kernel.listeners())
        return [
            process
            for process in self.processes()
            if _process.exporter_options(process.argv) is not None or _kernel.sockets(process.pid) & listening
        ]

    def processes(self) -> list[_process.Process]:
        """Return everything that runs in the environment of this instance."""
        return [
            process
            for process in _process.processes().values()
            if _kernel.environment(process.pid).get("TIMESTEN_HOME") == self.home
        ]

    def end(self) -> None:
        """Kill what was left running."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@dataclasses.dataclass
class Answer:
    """What a module said."""

    result: dict
    output: str
    seconds: float

    def __getitem__(self, key: str):
        return self.result[key]

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    def __repr__(self) -> str:
        return json.dumps(self.result, indent=1)[:6000]


def spawn(module: str, arguments: dict, check: bool = False, verbosity: int = 3, uid: int | None = None, **options):
    """Start a module in a process of its own, as Ansible does."""
    internal = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_verbosity": verbosity}
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": COLLECTIONS},
        user=uid,
        **options,
    )
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **internal}}))
    process.stdin.close()
    process.stdin = None
    return process


def answer(process, began: float) -> Answer:
    """Wait for a module, and return what it said."""
    output = process.communicate(timeout=180)[0]
    lines = [line for line in output.splitlines() if line.startswith("{")]
    assert lines, f"the module gave no answer:\n{output}"
    result = json.loads(lines[-1])
    # From ansible-core 2.19 on a warning is an event.
    warnings = result.get("warnings", [])
    result["warnings"] = [item["event"]["msg"] if isinstance(item, dict) else item for item in warnings]
    return Answer(result, output, time.monotonic() - began)


def call(module: str, arguments: dict, check: bool = False, verbosity: int = 3, uid: int | None = None) -> Answer:
    """Run a module to its end."""
    began = time.monotonic()
    return answer(spawn(module, arguments, check, verbosity, uid), began)


def succeed(module: str, arguments: dict, check: bool = False, changed: bool | None = None) -> Answer:
    """Run a module that has to succeed."""
    result = call(module, arguments, check)
    assert not result.failed, result
    assert changed is None or result.changed is changed, result
    return result


def failure(module: str, arguments: dict, check: bool = False) -> str:
    """Run a module that has to fail, and return its message."""
    result = call(module, arguments, check)
    assert result.failed, result
    assert "Traceback" not in result.output, result.output
    return result["msg"]


def private_keys(directory: str) -> dict[str, bytes]:
    """Return every private key that lies in plaintext below a directory, by its path."""
    keys = {}
    for folder, _folders, files in os.walk(directory):
        for name in files:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError), open(path, "rb") as stream:
                data = stream.read()
                if b"PRIVATE KEY-----" in data:
                    keys[path] = data
    return keys


def key_lines(pem: bytes) -> list[str]:
    """Return the lines of a private key: none of them may be seen anywhere."""
    return [line for line in pem.decode().splitlines() if line and not line.startswith("-----")]


def tree(directory: str) -> dict[str, object]:
    """Return all that is below a directory, with its times and modes."""
    entries = {}
    for folder, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            info = os.lstat(os.path.join(folder, name))
            entries[os.path.relpath(os.path.join(folder, name), directory)] = (
                info.st_mode,
                info.st_mtime_ns,
                info.st_ino,
            )
    return entries
