# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The leader of a rotation on this host: a detached process that switches to another generation at an agreed moment,
and then keeps it or goes back.

The Prometheus hosts follow the certificate that the port serves. The leader goes back by itself if the new generation
does not work, if it is asked to, or if nobody confirms the switch by the deadline.

With the strategy ``spare_port`` nothing is restarted: the leader starts a second process on the other port. If the
switch is confirmed, the leader makes the second process's generation current, and stops the old process when it is
asked to or when its time is up. If not, it stops the second process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot, processes, timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    SPARE_PORT,
    SwitchOrder,
    SwitchStatus,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import over_all
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    in_use,
    plan_process,
    ready,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import (
    PROMPT,
    clock,
    record_of,
    who,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record

_AHEAD = 0.5
"""So many seconds before the moment, everything except the switch itself is made ready."""
_LATE = 0.1
"""A busy host may be so many seconds late and still stay within the margin of the moment."""
_POLL = 0.05


def switch_host(
    exporters: Sequence[Definition], orders: Mapping[str, SwitchOrder], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Start, for each exporter, the detached process that switches it at its moment.

    :param orders: by exporter: ``generation``; ``moments`` (this host's clock, seconds since the epoch); ``deadline``;
        ``confirm`` (the switch has to be confirmed within so many seconds); ``period`` (seconds; None if the scrapes
        have no common period); ``strategy``.
    """
    return over_all(exporters, lambda definition: _launch(definition, orders[definition.name], run))


def _launch(definition: Definition, order: SwitchOrder, run: Mapping[str, Any]) -> dict[str, Any]:
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    definition = in_use(definition, directory)
    record = record_of(directory)
    if record.is_alive():
        raise TimesTenError(
            f"exporter {definition.name} is being switched by another run ({who(record)}); wait until its deadline has passed"
        )
    generation, old = order["generation"], directory.current_id()
    if old is None or generation not in directory.ids():
        raise TimesTenError(
            f"exporter {definition.name}: generation {generation} is not there any more; run the rotation again"
        )
    if old == generation:
        raise TimesTenError(f"exporter {definition.name} is on generation {generation} already; run the rotation again")
    changes = order.get("strategy") == SPARE_PORT
    if directory.is_spare(generation) != (definition.spare != changes):
        raise TimesTenError(
            f"exporter {definition.name}: generation {generation} was made ready for another port; run the rotation again"
        )
    leader = _Leader(definition, directory, record, order, old)
    lease.take(directory.path, run, order["deadline"] - time.time() + 2 * PROMPT)
    values: dict[str, Any] = {"generation": generation, "previous": old, "strategy": order.get("strategy", "gap")}
    values.update(moments=order["moments"], deadline=order["deadline"])
    record.launch(leader.run, status="waiting", **values)
    return {"name": definition.name, "changed": True, "status": "waiting"}


class _Served:
    """Watches the port often enough to tell how long the exporter was away; the process that waits for the start looks
    less often.

    It is a separate process, because a process that starts others safely has only one thread.

    :param directory: its current generation is the one that should be served.
    """

    def __init__(self, definition: Definition, directory: ExporterDirectory) -> None:
        self._began = time.monotonic()
        self._ready = ready(definition, directory, settle=0.0)
        self._over = self._began + processes.longest_stop(*definition.how_to_stop) + definition.start_timeout

    def watch(self) -> None:
        """Start watching."""
        self._reader, writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                while self._ready() is not None and time.monotonic() < self._over:
                    time.sleep(0.02)
                # The monotonic clock is the same in all processes of a host.
                os.write(writer, repr(time.monotonic()).encode("ascii"))
            finally:
                os._exit(0)
        os.close(writer)

    def end(self, served: bool) -> float:
        """Stop watching, and return the seconds from the start until the new certificate was served."""
        now = time.monotonic()
        if not served:
            os.kill(self._child, signal.SIGKILL)
        with os.fdopen(self._reader, encoding="ascii") as stream:
            text = stream.read()
        os.waitpid(self._child, 0)
        return min(now, float(text or now)) - self._began


class _Leader:
    """The detached process that switches one exporter."""

    def __init__(
        self,
        definition: Definition,
        directory: ExporterDirectory,
        record: Record,
        order: SwitchOrder,
        old: str,
    ) -> None:
        self._definition = definition
        self._directory = directory
        self._record = record
        self._order = order
        self._old = old
        self._new = order["generation"]
        self._utility = Utility(definition.timesten_home, definition.environment)
        self._token = ""

    def run(self, token: str) -> None:
        """Wait for a moment, switch, and wait for the verdict."""
        self._token = token
        try:
            if self._order.get("strategy") == SPARE_PORT:
                with self._directory.locked():
                    self._serve_beside()
                return
            moment = self._wait_for_moment()
            if moment is None:
                return
            with self._directory.locked():
                self._switch_and_wait(moment)
        except (TimesTenError, OSError) as error:
            self._record.write(status="failed", error=system_error(error).message)
        except Exception as error:
            # A process without a terminal has nobody who reads a traceback, so the record gets the error.
            self._record.write(status="failed", error=f"{type(error).__name__}: {error}")

    def _wait_for_moment(self) -> float | None:
        for moment in sorted(self._order["moments"]):
            while time.time() < moment - _AHEAD:
                if self._record.asked(self._token) is not None:
                    self._record.write(status="reverted", error="it was called off before the switch")
                    return None
                time.sleep(min(_POLL, max(0.0, moment - _AHEAD - time.time())))
            if time.time() <= moment - _AHEAD / 2:
                return float(moment)
        self._record.write(
            status="missed", error="all its moments had passed before it could begin; nothing was changed"
        )
        return None

    def _switch_and_wait(self, moment: float) -> None:
        definition, directory = self._definition, self._directory
        problem = self._unfit()
        if problem is not None:
            self._record.write(status="missed", error=f"{problem}; nothing was changed")
            return
        plan = plan_process(
            definition, directory, self._utility, WalletPlan("keep", manifest=directory.manifest(self._old))
        )
        if plan.wanted is None or plan.state is None or plan.action == "start":
            self._record.write(status="missed", error=f"it does not run any more: {'; '.join(plan.why)}")
            return
        process = self._process_on(plan.wanted, self._new)
        moment = self._next(moment)
        while time.time() < moment:
            time.sleep(max(0.0, min(0.01, moment - time.time())))
        if time.time() > moment + _LATE:
            self._record.write(
                status="missed", error="this host was too busy to begin at the moment; nothing was changed"
            )
            return
        began = time.time()
        served = _Served(definition, directory)
        # Write the record only when there is time for it: a flush to disk may take as long as the switch.
        directory.make_current(self._new)
        try:
            served.watch()
            self._restart(process, plan.state)
        except (TimesTenError, OSError) as error:
            failure = system_error(error).message
            served.end(False)
            self._go_back("failed", failure)
            return
        window = served.end(True)
        self._record.write(status="switched", moment=began, window=round(window, 3))
        timing.note(directory.path, "restart", window)
        self._wait_for_verdict(moment)

    def _serve_beside(self) -> None:
        """Start a second process on the other port. If that is confirmed, stop the old process, else the second one."""
        definition, directory = self._definition, self._directory
        other = definition.on_other_port()
        problem = self._unfit()
        if problem is not None:
            self._record.write(status="missed", error=f"{problem}; nothing was changed")
            return
        old = plan_process(
            definition, directory, self._utility, WalletPlan("keep", manifest=directory.manifest(self._old))
        )
        keep = WalletPlan("keep", manifest=directory.manifest(self._new))
        second = plan_process(other, directory, self._utility, keep, generation=self._new)
        if old.wanted is None or second.wanted is None or second.action != "start":
            self._record.write(status="missed", error=f"port {other.port} is in use already; nothing was changed")
            return
        began = time.time()
        proof = ready(other, directory, settle=0.0, generation=self._new)
        try:
            state = processes.start(second.wanted, proof, definition.start_timeout)
        except (TimesTenError, OSError) as error:
            self._drop_new()
            self._record.write(status="failed", error=system_error(error).message)
            return
        window = time.time() - began
        self._record.write(status="switched", moment=began, window=round(window, 3))
        timing.note(directory.path, "start", window)
        why = self._verdict()
        if why is not None:
            processes.stop(second.wanted, state, *definition.how_to_stop)
            self._record.write(status="reverted", error=why)
            return
        directory.make_current(self._new)
        self._record.write(status="confirmed")
        if second.boot is not None:
            # If this cannot be written now, the next run of site writes it.
            with contextlib.suppress(TimesTenError, OSError):
                boot.apply_boot(second.boot, True)
        self._request(("retire", "revert"))
        left = processes.inspect(old.wanted)
        if left.status == processes.RUNNING:
            processes.stop(old.wanted, left, *definition.how_to_stop)

    def _next(self, moment: float) -> float:
        """Return the moment itself, or the same moment a period later if getting ready took too long."""
        period = self._order.get("period")
        while period and time.time() > moment + _LATE and moment + period < self._order["deadline"]:
            moment += period
        return moment

    def _unfit(self) -> str | None:
        """Return why the switch must not be made: something has changed since it was planned. None if nothing has."""
        if self._directory.current_id() != self._old:
            return f"another run has made generation {self._directory.current_id()} current"
        if self._new not in self._directory.ids():
            return f"generation {self._new} is gone"
        return None

    def _process_on(self, process: processes.Wanted, generation: str) -> processes.Wanted:
        """Return the same process on another generation."""
        old, new = (os.path.realpath(self._directory.generation(name)) for name in (self._old, generation))
        return dataclasses.replace(process, arguments=[new if part == old else part for part in process.arguments])

    def _restart(self, process: processes.Wanted, state: processes.ProcessState) -> None:
        definition = self._definition
        proof = ready(definition, self._directory, settle=0.0)
        processes.restart(process, state, proof, definition.start_timeout, *definition.how_to_stop)

    def _request(self, expected: Sequence[str]) -> tuple[str | None, float]:
        """Wait for one of these requests. Return it, or None if none came in time, and the time until which it waited."""
        deadline = min(self._order["deadline"], time.time() + self._order["confirm"])
        while True:
            request = self._record.asked(self._token)
            if request in expected or time.time() > deadline:
                return request if request in expected else None, deadline
            time.sleep(_POLL)

    def _verdict(self) -> str | None:
        """Wait for the verdict on the switch. Return why to go back, or None to keep it."""
        request, deadline = self._request(("confirm", "revert"))
        if request is None:
            return f"nobody confirmed the switch by {clock(deadline)}"
        return None if request == "confirm" else "it was asked to"

    def _wait_for_verdict(self, moment: float) -> None:
        why = self._verdict()
        if why is None:
            self._record.write(status="confirmed")
            return
        self._wait_for_gap(moment)
        self._go_back("reverted", why)

    def _wait_for_gap(self, moment: float) -> None:
        """Wait for the gap between scrapes in which the switch was made to come again, so that going back loses no
        scrape either.
        """
        period = self._order.get("period")
        if period and period <= PROMPT:
            time.sleep((moment - time.time()) % period)

    def _go_back(self, status: SwitchStatus, why: str) -> None:
        go_back(self._definition, self._directory, self._utility, self._old)
        if status == "failed":
            self._drop_new()
        self._record.write(status=status, error=why)

    def _drop_new(self) -> None:
        # This generation did not work: the next rotation makes another one.
        self._directory.remove(self._new)


def go_back(definition: Definition, directory: ExporterDirectory, utility: Utility, generation: str) -> None:
    """Make a generation current and make the exporter serve it, whatever the exporter does now. The caller holds the
    lock.
    """
    directory.make_current(generation)
    definition = in_use(definition, directory)
    manifest = directory.manifest(generation)
    plan = plan_process(definition, directory, utility, WalletPlan("keep", manifest=manifest))
    stop_other(definition, plan)
    if plan.wanted is None or plan.state is None or plan.action == "none":
        return
    proof = ready(definition, directory, settle=0.0)
    if plan.action == "start":
        processes.start(plan.wanted, proof, definition.start_timeout)
    else:
        processes.restart(plan.wanted, plan.state, proof, definition.start_timeout, *definition.how_to_stop)
