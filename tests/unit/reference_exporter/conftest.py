# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installed reference exporter, run as a real program."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import importlib.machinery
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from typing import Iterator

import pytest

from waiting import free_port, until

FILES = pathlib.Path(__file__).resolve().parents[3] / "roles/reference_exporter/files"
GUID = "C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43"
PARTIAL_CHAIN = 0x80000


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@dataclasses.dataclass
class Pair:
    """What a client needs: paths of CA, certificate and key."""

    ca: pathlib.Path
    certificate: pathlib.Path
    key: pathlib.Path

    def context(self, version: ssl.TLSVersion | None = None, show: bool = True) -> ssl.SSLContext:
        """Return a client's context, which trusts what is in the CA file, a leaf too, as Prometheus does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= PARTIAL_CHAIN
        context.load_verify_locations(self.ca)
        if show:
            context.load_cert_chain(self.certificate, self.key)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context


@dataclasses.dataclass
class Running:
    """A serving exporter."""

    port: int
    pid: int
    pid_file: pathlib.Path
    process: subprocess.Popen | None

    def get(self, pair: Pair | None, path: str = "/metrics", method: str = "GET", **how):
        """Return status, headers and text of one request."""
        if pair is None:
            connection = http.client.HTTPConnection("localhost", self.port, timeout=5)
        else:
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=5, context=pair.context(**how))
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()

    def connect(self) -> socket.socket:
        """Return a TCP connection."""
        return socket.create_connection(("localhost", self.port), timeout=5)


class Home:
    """An instance's home with the reference exporter in it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        for name in ("bin", "conf", "metrics.d", "work"):
            (path / name).mkdir(parents=True)
        program = (FILES / "ttExporter").read_text().split("\n", 1)[1]
        (path / "bin/ttExporter").write_text(f"#!{sys.executable}\n{program}")
        shutil.copy(FILES / "ttenv", path / "bin/ttenv")
        for name in ("ttExporter", "ttenv"):
            (path / "bin" / name).chmod(0o755)
        (path / "conf/timesten.conf").write_text(f"instance_name=myinstance\ninstance_guid={GUID}\n")
        self.work = path / "work"
        self.wallet = self.work / f".ttwallet.{GUID}/cwallet.sso"
        self.running: list[Running] = []

    def environment(self, variants: dict[str, object]) -> dict[str, str]:
        """Return the environment with these variants set."""
        named = {f"REFERENCE_EXPORTER_{name}": str(value) for name, value in variants.items()}
        return {"PATH": os.environ["PATH"], "HOME": str(self.path), "LC_ALL": "C", **named}

    def argv(self, *arguments: object) -> list[str]:
        """Return a command line."""
        return [str(self.path / "bin/ttenv"), "ttExporter", *map(str, arguments)]

    def run(self, *arguments: object, status: int | None = 0, umask: int = 0o022, **variants: object) -> str:
        """Run to the end and return standard output, or standard error where another status than 0 is expected."""
        result = subprocess.run(
            self.argv(*arguments),
            env=self.environment(variants),
            cwd=self.work,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: os.umask(umask),
            check=False,
        )
        assert result.returncode == status, result
        if status == 0:
            assert result.stderr == ""
            return result.stdout
        assert result.stdout == ""
        assert result.stderr.startswith("ttExporter: "), result.stderr
        assert result.stderr.count("\n") == 1, f"not one line: {result.stderr}"
        return result.stderr

    def create(self, *arguments: object, **keywords) -> None:
        """Create a wallet for localhost in the working directory."""
        names = ("-certificate-common-name", "localhost") if "-certificate-common-name" not in arguments else ()
        self.run("-create-server-certificate", *names, *arguments, "-certificate-directory", self.work, **keywords)

    def export(self, name: str = "ca.crt", **keywords) -> pathlib.Path:
        """Export the server certificate."""
        self.run("-export-server-certificate", name, "-certificate-directory", self.work, **keywords)
        return self.work / name

    def pair(self, name: str = "client", **keywords) -> Pair:
        """Issue a pair."""
        pair = Pair(self.work / "ca.crt", self.work / f"{name}.crt", self.work / f"{name}.key")
        self.export(**keywords)
        files = ("-export-client-certificate", pair.certificate, "-export-client-private-key", pair.key)
        self.run(*files, "-certificate-directory", self.work, **keywords)
        return pair

    def serve(self, *arguments: object, port: int | None = None, ignore: int | None = None, **variants) -> Running:
        """Start an exporter and return it once its pid file is there."""
        port = port or free_port()
        pid_file = self.work / f"{port}.pid"
        if "-insecure" not in arguments:
            arguments = (*arguments, "-certificate-directory", self.work)
        argv = self.argv("-port", port, "-pid-file", pid_file, *arguments)
        process = None
        if variants.get("RUN") == "detach":
            subprocess.run(argv, env=self.environment(variants), cwd=self.work, check=True, timeout=60)
        else:
            with open(self.work / f"{port}.log", "w") as log:
                process = subprocess.Popen(
                    argv,
                    env=self.environment(variants),
                    cwd=self.work,
                    stdout=log,
                    stderr=log,
                    preexec_fn=lambda: ignore and signal.signal(ignore, signal.SIG_IGN),  # noqa: PLW1509
                )
            self.running.append(Running(port, process.pid, pid_file, process))
            until(lambda: process.poll() is not None or (pid_file.exists() and pid_file.read_text()), 20)
            assert process.poll() is None, (self.work / f"{port}.log").read_text()
        running = Running(port, int(pid_file.read_text()), pid_file, process)
        self.running.append(running)
        return running

    def processes(self) -> list[int]:
        """Return the pids of all exporters of this home."""
        processes = []
        for directory in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{self.path}/bin/ttExporter" in (directory / "cmdline").read_text():
                    processes.append(int(directory.name))
        return processes

    def stop_all(self) -> None:
        """Leave nothing behind."""
        for running in self.running:
            if running.process is not None:
                running.process.kill()
                running.process.wait()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def home(tmp_path) -> Iterator[Home]:
    """A fresh home."""
    made = Home(tmp_path / "home")
    yield made
    made.stop_all()


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Iterator[Home]:
    """A home with a wallet that no test changes."""
    made = Home(tmp_path_factory.mktemp("shared") / "home")
    made.create()
    yield made
    made.stop_all()


@pytest.fixture(scope="session")
def pair(shared) -> Pair:
    """A pair of the shared wallet."""
    return shared.pair()


@pytest.fixture(scope="session")
def served(shared) -> Running:
    """An exporter of the shared wallet, without a limit."""
    return shared.serve(RATE="unlimited")


@pytest.fixture(scope="session")
def program():
    """The program as a module, for what a test cannot wait for."""
    loader = importlib.machinery.SourceFileLoader("reference_exporter_program", str(FILES / "ttExporter"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.fixture(scope="session")
def tools():
    """The helpers of this file."""
    return sys.modules[__name__]
