# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL in the middle of a restart, at moments that are observed and not timed: what was stopped comes back, without another run."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import read_process
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe
from integration import exporter_kit as kit

NAMES = ("-certificate-common-name", "localhost", "-certificate-alt-names", "localhost")


class Killed:
    """An exporter that was started by hand, and modules that are killed while they replace it."""

    def __init__(self, root: pathlib.Path) -> None:
        # So long that whoever is killed after the stop is killed before the start.
        self.instance = kit.Instance(root / "instance").install(START_DELAY="1")
        self.folder = root / "home"
        (self.folder / "mycertdir").mkdir(parents=True)
        self.directory = root / "monitoring" / "exp1"
        self.port = kit.free_port()
        for options in (
            ("-create-server-certificate", *NAMES),
            ("-export-server-certificate", "server.crt"),
            ("-export-client-certificate", "client.crt", "-export-client-private-key", "client.key"),
        ):
            self.instance.by_hand(*options, "-certificate-directory", "mycertdir", folder=self.folder)

    def by_hand_again(self) -> None:
        """Undo what modules have made, and start the exporter as its owner does."""
        with contextlib.suppress(KeyError, ProcessLookupError):
            os.kill(int(str(self.record()["pid"])), signal.SIGKILL)
        self.instance.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        kit.until(lambda: not self.instance.processes(), 20, "the end of all that ran")
        self.instance.serve_by_hand(self.folder, "mycertdir", self.port)
        kit.until(self.serves, 20, "the exporter that was started by hand")

    def serves(self) -> bool:
        """Whether the certificate that was made by hand is served, to the pair that was made by hand."""
        files = [str(self.folder / name) for name in ("server.crt", "client.crt", "client.key")]
        return probe.tls("localhost", self.port, *files).status == probe.ACCEPTED

    def arguments(self, **more: object) -> dict[str, object]:
        exporter = {
            "name": "exp1",
            "timesten_home": self.instance.home,
            "certificate_directory": str(self.directory),
            "address": "localhost",
            "port": self.port,
            "takeover": True,
            **more,
        }
        return {"exporters": [exporter], "clients": []}

    def record(self) -> dict[str, object]:
        """What the process that restarts says of itself."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.directory / "restart.json").read_text()))
        return {}

    def serving(self) -> int:
        """The one process that serves."""
        (pid,) = {process.pid for process in self.instance.exporters()}
        return pid

    def begin(self, **more: object) -> subprocess.Popen[bytes]:
        """Start a module that replaces the process, and return once the old one is gone and no new one is there."""
        old = self.serving()
        run = kit.spawn("tt_exporter_host", self.arguments(**more))
        kit.until(lambda: read_process(old) is None, 30, "the old process being gone")
        assert not self.serves()
        return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    made = Killed(tmp_path_factory.mktemp("killed"))
    yield made
    made.instance.end()


@pytest.fixture
def killed(made: Killed) -> Killed:
    made.by_hand_again()
    return made


def kill(run: subprocess.Popen[bytes]) -> None:
    run.send_signal(signal.SIGKILL)
    run.communicate()


def ends_well(killed: Killed) -> None:
    """Another run finds or makes what is wanted, and the one after it has nothing to do."""
    kit.succeed("tt_exporter_host", killed.arguments())
    assert killed.serves()
    assert str(killed.directory) in kit.succeed("tt_exporter_host", killed.arguments(), changed=False).output
    assert killed.serving() and not killed.record()


def test_module_killed_between_stop_and_start_of_a_takeover(killed: Killed) -> None:
    kill(killed.begin())
    kit.until(killed.serves, 20, "the new process, which nobody waits for")
    # The next run waits for the end of what the killed one began, and has no process to replace.
    kit.until(lambda: killed.record().get("status") != "restarting", 20, "the end of the restart")
    new = killed.serving()
    ends_well(killed)
    assert killed.serving() == new


def test_module_killed_between_stop_and_start_of_a_changed_option(killed: Killed) -> None:
    kit.succeed("tt_exporter_host", killed.arguments())
    kill(killed.begin(environment={"TZ": "UTC"}))
    # At once: the next run is not refused for the lock, which the restart holds.
    found = kit.succeed("tt_exporter_host", killed.arguments(environment={"TZ": "UTC"}))
    assert found["exporters"][0]["process"]["pid"] == killed.serving()
    kit.succeed("tt_exporter_host", killed.arguments(environment={"TZ": "UTC"}), changed=False)
    assert killed.serves()


def test_module_killed_before_the_new_process_fails(killed: Killed) -> None:
    """The old one is back with its own wallet and arguments, and is still its owner's."""
    utility = pathlib.Path(killed.instance.home, "bin/ttExporter")
    works = utility.read_text()
    head, _newline, rest = works.partition("\n")
    broken = (
        "import sys, time\nif any('/generations/' in a for a in sys.argv) and '-port' in sys.argv:\n"
        "    time.sleep(1)\n    sys.exit('no such wallet')\n"
    )
    utility.write_text(f"{head}\n{broken}{rest.replace('from __future__ import annotations', '')}")
    kill(killed.begin())
    kit.until(killed.serves, 20, "the old process coming back")
    kit.until(lambda: killed.record().get("status") == "failed", 20, "the end of the restart")
    assert "The former arguments and wallet are back" in str(killed.record()["error"])
    assert "set takeover to true" in kit.failure("tt_exporter_host", killed.arguments(takeover=False))
    utility.write_text(works)
    ends_well(killed)


@pytest.mark.parametrize("with_module", [False, True], ids=["alone", "with the module"])
def test_the_process_that_restarts_is_killed(killed: Killed, with_module: bool) -> None:
    """The module goes on from what it has left; where both are killed, the next run does."""
    run = killed.begin()
    restarts = int(str(killed.record()["pid"]))
    if with_module:
        kill(run)
    os.kill(restarts, signal.SIGKILL)
    if not with_module:
        found = kit.answer(run, time.monotonic())
        assert not found.failed, found.output
    ends_well(killed)


def test_the_process_that_restarts_is_killed_twice_in_its_rehearsal(killed: Killed) -> None:
    """Its trials go with it, though they have not written their pid file yet; whoever served serves on."""
    kit.succeed("tt_exporter_host", killed.arguments())
    old, known = killed.serving(), {process.pid for process in killed.instance.processes()}

    def trial() -> set[int]:
        return {process.pid for process in killed.instance.processes()} - known

    run = kit.spawn("tt_exporter_host", killed.arguments(port=kit.free_port()))
    for _attempt in range(2):
        kit.until(trial, 30, "the trial")
        restarts = int(str(killed.record()["pid"]))
        known |= trial()
        os.kill(restarts, signal.SIGKILL)
    found = kit.answer(run, time.monotonic())
    assert found.failed and "was ended twice" in found["msg"] and f"process {old} is still there" in found["msg"], found
    assert [process.pid for process in killed.instance.processes()] == [old] and killed.serves()
    ends_well(killed)


def test_module_killed_while_it_waits_for_the_gap(killed: Killed) -> None:
    """Nothing was stopped, and nothing is stopped later."""
    old = killed.serving()
    gap = {"moments": [time.time() + 100], "period": None}
    run = kit.spawn("tt_exporter_host", {**killed.arguments(), "switch": {"exp1": gap}})
    kit.until((killed.directory / "current").exists, 30, "the wallet being adopted")
    kill(run)
    assert killed.serving() == old and killed.serves() and not killed.record()
    ends_well(killed)


def test_exporter_killed_in_a_takeover(killed: Killed) -> None:
    """The new process dies before it serves: the old one is back, and the run says so."""
    run = killed.begin()
    new: list[int] = []

    def began() -> bool:
        new[:] = [process.pid for process in killed.instance.processes() if str(process.pid) in _children(killed)]
        return bool(new)

    kit.until(began, 20, "the new process")
    os.kill(new[0], signal.SIGKILL)
    found = kit.answer(run, time.monotonic())
    assert found.failed and "The former arguments and wallet are back" in found["msg"], found.output
    assert killed.serves()
    ends_well(killed)


def _children(killed: Killed) -> list[str]:
    pid = killed.record().get("pid")
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []
