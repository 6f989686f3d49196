# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restart by a process of its own, and who brings the former exporter back where that process cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import apply
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.former import FormerProcess
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import Wanted
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import WorkFailed, unattended


@pytest.fixture
def directory(tmp_path: Path) -> ExporterDirectory:
    found = ExporterDirectory(str(tmp_path / "exp1"), "exp1")
    found.prepare()
    return found


class Former:
    """A former process that only notes what is asked of it."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def rehearses(self, process: ProcessPlan) -> bool:
        return process.action == "restart"

    def come_back(self, _definition: object, _directory: object, failed: TimesTenError) -> TimesTenError:
        self.failed.append(failed.message)
        return TimesTenError(f"{failed.message}. It is back")


def planned() -> ProcessPlan:
    there: Any = object()
    return ProcessPlan("restart", [], there, there, None)


def ended() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refused() -> None:
    raise TimesTenError("refused")


def unforeseen() -> None:
    raise KeyError("unforeseen")


def restart(
    monkeypatch: pytest.MonkeyPatch,
    directory: ExporterDirectory,
    work: Callable[[], None],
    former: Former | None,
    plan_again: Callable[..., ProcessPlan] = lambda *_arguments: planned(),
) -> str:
    """The message of a restart that fails."""
    definition = define(
        {"timesten_home": "/opt/tt", "certificate_directory": directory.path, "address": "exp1", "port": 8888}
    )
    monkeypatch.setattr(apply, "_replace", lambda *_arguments: work())
    monkeypatch.setattr(apply, "plan_process", plan_again)
    given: Any = former
    with directory.locked(), pytest.raises(TimesTenError) as caught:
        nothing: Any = None
        apply._apply_to_process(definition, directory, nothing, planned(), given)
    return caught.value.message


def no_plan(*_arguments: object) -> ProcessPlan:
    raise TimesTenError("no plan")


@pytest.mark.parametrize(
    ("work", "plan_again", "message", "by_itself"),
    [
        (refused, None, "refused", True),
        (unforeseen, None, "KeyError: 'unforeseen'", False),
        (ended, None, "was ended twice", False),
        (ended, no_plan, "no plan", False),
    ],
)
def test_who_brings_the_former_process_back(
    monkeypatch: pytest.MonkeyPatch,
    directory: ExporterDirectory,
    work: Callable[[], None],
    plan_again: Any,
    message: str,
    by_itself: bool,
) -> None:
    former, again = Former(), {} if plan_again is None else {"plan_again": plan_again}
    found = restart(monkeypatch, directory, work, former, **again)
    assert message in found and found.endswith("It is back") is not by_itself
    assert len(former.failed) == (0 if by_itself else 1)
    assert message in restart(monkeypatch, directory, work, None, **again)


def test_it_comes_back_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, directory: ExporterDirectory
) -> None:
    former = Former()

    def fork() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fork)
        assert restart(patched, directory, ended, former) == "Resource temporarily unavailable. It is back"
    os.mkdir(directory.restart_file)
    assert restart(monkeypatch, directory, ended, former).endswith("It is back")


def test_the_rehearsal_of_a_process_that_was_ended_gives_its_port_back(
    monkeypatch: pytest.MonkeyPatch, directory: ExporterDirectory
) -> None:
    first, second = planned(), planned()
    stopped: list[ProcessPlan] = []
    monkeypatch.setattr(apply, "stop_other", lambda _definition, plan: stopped.append(plan))
    monkeypatch.setattr(apply, "_replace", lambda *_arguments: ended())
    monkeypatch.setattr(apply, "plan_process", lambda *_arguments: second)
    nothing: Any = None
    former: Any = Former()
    definition = define({"timesten_home": "/opt/tt", "certificate_directory": directory.path, "port": 8888})
    with directory.locked(), pytest.raises(TimesTenError):
        apply._apply_to_process(definition, directory, nothing, first, former)
    # The last one is the trial of the second process, which was ended too.
    assert [id(plan) for plan in stopped] == [id(first), id(second), id(second)]


@pytest.mark.parametrize(
    ("action", "former_port", "unit", "replaced", "tried"),
    [
        ("restart", 8888, None, False, False),
        ("restart", 8887, None, False, True),
        ("restart", 0, None, False, False),
        # A unit runs one process, and its owner cannot have another port tried by it.
        ("restart", 8887, "exp1.service", False, False),
        # Whose program is gone could not come back.
        ("restart", 8888, None, True, True),
        ("restart", 8888, "exp1.service", True, True),
        ("start", 8888, None, True, False),
    ],
)
def test_whether_the_new_process_is_tried_first(
    action: str, former_port: int, unit: str | None, replaced: bool, tried: bool
) -> None:
    nothing: Any = None
    new = Wanted(nothing, ["-port", "8888", "-pid-file", "/d/exporter.pid"], "/d/state.json", "/d/log", unit)
    former = FormerProcess(new, 1, None, former_port, None, None, replaced)
    assert former.rehearses(ProcessPlan(action, [], new, nothing, None)) is tried


def test_a_detail_that_no_file_holds(directory: ExporterDirectory) -> None:
    def work() -> None:
        raise TimesTenError("refused", stdout=b"bytes")

    with directory.locked(), pytest.raises(WorkFailed, match="refused"):
        unattended(directory, work)


def test_the_caller_may_ignore_its_children(monkeypatch: pytest.MonkeyPatch, directory: ExporterDirectory) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with directory.locked():
            assert unattended(directory, lambda: None)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_the_lock_nothing_goes_on_by_itself(directory: ExporterDirectory) -> None:
    with directory.locked():
        assert directory.lock_descriptor >= 0
    with pytest.raises(ValueError, match="the lock is not held"):
        unattended(directory, lambda: None)


@pytest.mark.parametrize(
    ("before", "after", "previous"),
    [
        ("2", "3", "2"),
        ("2", "2", "1"),
        ("1", "1", None),
        (None, "1", None),
        (None, None, None),
        ("2", "known after apply", "2"),
    ],
)
def test_the_generation_before(
    directory: ExporterDirectory, before: str | None, after: str | None, previous: str | None
) -> None:
    """A Prometheus that failed in the run which made a generation still has the one before at the next run."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import result

    def name(number: str | None) -> str | None:
        return f"2026112{number}T104900Z-00000000" if number and number.isdigit() else number

    for number in "123":
        os.makedirs(os.path.join(directory.generations, str(name(number))))
    expected = {} if previous is None else {"previous": name(previous)}
    assert result._previous(directory, name(before), name(after)) == expected
