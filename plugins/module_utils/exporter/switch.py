# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's side of a rotation: make a generation ready, switch to it at an agreed moment, keep it or go back.

The switch is made by a detached process that leads: the Prometheus hosts follow what the port serves. It goes back by itself if the new
generation does not work, if it is asked to, and if nobody has confirmed the switch by the deadline.

With the strategy ``spare_port`` nothing is restarted: the one that leads starts a second process on the other port. Confirmed, it makes that one's
generation current and, asked to retire the old process or when its time is up, stops that; else it stops the second one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
import signal
import time
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot as _exporter_boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import timing as _exporter_timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import (
    as_seen_by,
    note_served_certificate,
    over_all,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.plan import Plan, admitted
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    in_use,
    plan_process,
    ready,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.result import LATER, result, snapshot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    WalletPlan,
    due,
    plan_pair,
    plan_wallet,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease as _lease
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.detached import Record
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe

WAITING, SWITCHED = "waiting", "switched"
CONFIRMED, REVERTED, MISSED, FAILED = "confirmed", "reverted", "missed", "failed"
LOST = "lost"
"""The process that led is gone: killed, or its host was."""

SPARE_PORT = "spare_port"
"""The strategy that restarts nothing; the other one is ``gap``."""

UNKNOWN_WINDOW = 5.0
"""Seconds that a restart is expected to take where none was ever measured."""

_AHEAD = 0.5
"""Seconds before the moment at which everything but the switch itself is made ready."""
_LATE = 0.1
"""Seconds by which a moment may be missed, on a busy host, without leaving the margin that it was chosen with."""
_POLL = 0.05
_PROMPT = 30.0
"""Seconds within which a process answers a request, on top of what a restart takes."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What a rotation asks of one exporter.

    :ivar to: ``new`` or ``previous``.
    :ivar evict: clients that lose their access.
    :ivar optional: clients that may lose their access because this run does not reach them.
    :ivar only_due: leave an exporter alone that needs no rotation.
    :ivar since: leave an exporter alone whose generation was made after this time (2026-11-24T10:49:00Z).
    :ivar run: the run that asks, as :mod:`machine.lease` has it.
    :ivar strategy: ``gap``, or ``spare_port`` for the exporters that have one.
    """

    to: str = "new"
    evict: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    only_due: bool = False
    since: str | None = None
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strategy: str = "gap"


def record_of(wanted: Definition) -> Record:
    """The record of an exporter's last switch."""
    return Record(os.path.join(wanted.certificate_directory, "switch.json"))


# ---------------------------------------------------------------------------------------------------------------------
# Stage


def stage_host(
    exporters: Sequence[Definition], clients: Sequence[Client], order: Order, check_mode: bool
) -> dict[str, Any]:
    """Make a generation ready beside the current one of every exporter; nothing live changes."""

    def work(wanted: Definition) -> dict[str, Any]:
        wanted = _in_use(wanted)
        return stage(wanted, [as_seen_by(wanted.job, client) for client in clients], order, check_mode)

    return over_all(exporters, work)


def _in_use(wanted: Definition) -> Definition:
    return in_use(wanted, ExporterDirectory(wanted.certificate_directory, wanted.name))


def stage(wanted: Definition, clients: Sequence[Client], order: Order, check_mode: bool) -> dict[str, Any]:
    """Make a generation ready beside the current one, with a pair for every client.

    :returns: the exporter's result as :func:`exporter.host.converge` gives it, of the generation that is ready, with ``rotation``: what would
        be switched; its ``skipped`` says why this exporter takes no part.
    :raises TimesTenError: if the exporter cannot be rotated; nothing live was changed then.
    """
    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    if wanted.insecure or wanted.state == "stopped":
        reason = "it is insecure and has no certificate" if wanted.insecure else "it is stopped"
        return _skipped(wanted, reason)
    directory.check()
    current = directory.current_id()
    if current is None:
        raise TimesTenError(f"exporter {wanted.name} has no generation yet; run timesten.monitoring.site first")
    if check_mode:
        _lease.check(directory.path, order.run)
        return _stage(wanted, directory, clients, order, current, True)
    _lease.take(directory.path, order.run, _lease.STAGING)
    takes_part = False
    try:
        record = record_of(wanted)
        if record.is_alive():
            # The run that it belongs to is gone, else the lease would still be that one's.
            _ask(wanted, record, "revert")
            # One that is confirmed, and keeps an old process, stops that now.
            record.wait(lambda _now: False, wanted.stop_timeout + _PROMPT)
        with directory.locked():
            directory.clear_leftovers()
            found = _stage(
                in_use(wanted, directory), directory, clients, order, directory.current_id() or current, False
            )
        takes_part = "skipped" not in found["rotation"]
        return found
    finally:
        if not takes_part:
            _lease.give_back(directory.path)


def _skipped(wanted: Definition, reason: str, evicted: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "changed": False,
        "insecure": wanted.insecure,
        "port": wanted.port,
        "spare": wanted.spare,
        "generation": None,
        "pairs": [],
        "rotation": {"skipped": reason, "evicted": list(evicted)},
    }


def _stage(
    wanted: Definition,
    directory: ExporterDirectory,
    clients: Sequence[Client],
    order: Order,
    current: str,
    check_mode: bool,
) -> dict[str, Any]:
    now = _certificates.utcnow()
    utility = Utility(wanted.timesten_home, wanted.environment)
    utility.check()
    old = directory.manifest(current) or {"pairs": {}, "created": "", "ca_sha256": None, "leaf": None}
    found = plan_wallet(dataclasses.replace(wanted, regenerate="when_changed"), directory, utility, now)
    if order.only_due and not found.is_new:
        return _skipped(wanted, "its wallet is neither due nor changed")
    if order.since is not None and old["created"] >= order.since:
        return _skipped(wanted, f"its generation {current} was made after {order.since}")
    if order.evict and not any(directory.pairs_of(generation) & set(order.evict) for generation in directory.ids()):
        return _skipped(wanted, f"it has no pair of {', '.join(order.evict)}", old.get("evicted", []))
    process = plan_process(wanted, directory, utility, WalletPlan("keep", manifest=old))
    if process.action == "start":
        raise TimesTenError(
            f"exporter {wanted.name} is not running ({'; '.join(process.why)}), so there is nothing to switch without a loss: "
            "run timesten.monitoring.site, which starts it"
        )
    if not check_mode:
        stop_other(wanted, process)
    strategy = order.strategy if wanted.spare_port is not None else "gap"
    target = wanted.on_other_port() if strategy == SPARE_PORT else wanted
    if target is not wanted:
        _refuse_second(target, process)
    planned = Plan(wanted, directory, utility, now, WalletPlan("keep"))
    planned.process = ProcessPlan("none", [], process.wanted, process.state, process.rate_limit)
    evicted, clients = admitted(planned, clients)
    evicted = sorted({*evicted, *order.evict})
    clients = [client for client in clients if client.name not in evicted]
    _refuse_to_lose(wanted, old, clients, [*evicted, *order.optional])
    before = snapshot(planned, process.state)
    if order.to == "previous":
        generation: str | None = previous(directory, current, evicted, now)
    else:
        generation = _reusable(wanted, directory, evicted, now)
    if generation is None:
        planned.wallet.why = ["a new generation is made ready"]
        if check_mode:
            predicted = _predicted(planned, before, old, clients, evicted, strategy)
            return {**predicted, "port": target.port, "spare": target.spare}
        adopt = found.adopt_from if found.action == "adopt" else None
        asked = wanted.asked or Asked(None, (), None)
        generation = directory.build(utility, asked, list(clients), now, adopt, evicted, True, target.spare)[
            "generation"
        ]
    for other in directory.staged():
        if other != generation and not check_mode:
            shutil.rmtree(directory.generation(other))
    manifest = directory.manifest(generation)
    if manifest is None:
        raise TimesTenError(f"generation {generation} of exporter {wanted.name} has no manifest; it cannot be used")
    planned.wallet.manifest = manifest
    if manifest.get("evicted", []) != evicted and not check_mode:
        manifest["evicted"] = evicted
        directory.write_manifest(manifest)
    if not check_mode:
        # One that was made ready, or in use, for the other port.
        directory.set_spare(manifest, target.spare)
    for client in clients:
        pair = plan_pair(wanted, directory, planned.wallet, dataclasses.replace(client, stored={}), now)
        if pair.action == "issue" and not check_mode:
            directory.issue(utility, manifest, client)
        planned.pairs.append(
            PairPlan(client, "send" if pair.action == "issue" and not check_mode else pair.action, pair.why)
        )
    found_result = result(planned, before, snapshot(planned, process.state, generation))
    names = [client.name for client in clients]
    found_result["rotation"] = _rotation(planned, old, manifest, names, evicted, strategy)
    return {**found_result, "port": target.port, "spare": target.spare}


def _refuse_second(target: Definition, process: ProcessPlan) -> None:
    """:raises TimesTenError: if there cannot be a second process of this exporter on its other port."""
    manager = None if process.state is None else process.state.manager
    if target.boot == "systemd" or manager is not None:
        raise TimesTenError(
            f"exporter {target.name} is run by systemd ({manager or 'boot is systemd'}), which runs one process of it: the strategy spare_port needs "
            "boot none or cron. Rotate it with rotate_strategy=gap"
        )
    ours = process.other[1].process if process.other is not None else None
    everyone = _process.processes()
    members = [member.pid for member in _process.family(ours, everyone)] if ours is not None else []
    holder = _process.port_holder(target.port or 0, members)
    if holder is not None:
        raise TimesTenError(
            f"exporter {target.name}: port {target.port}, to which it has to change, is held by {holder}; end that, or choose another port"
        )


def _refuse_to_lose(wanted: Definition, old: dict[str, Any], clients: Sequence[Client], free: Sequence[str]) -> None:
    lost = sorted(set(old["pairs"]) - {PROBE} - {client.name for client in clients} - set(free))
    if lost:
        raise TimesTenError(
            f"exporter {wanted.name}: the clients {', '.join(lost)} have a pair and are not part of this run, so they would lose access; nothing was "
            "changed. Run it when they can be reached; or name those that may lose it in rotate_optional; one that is gone for good is removed "
            "by timesten.monitoring.evict",
            lost_clients=lost,
        )


def previous(directory: ExporterDirectory, current: str, evicted: Sequence[str], now: datetime.datetime) -> str:
    """The generation before the current one.

    :raises TimesTenError: if there is none, or it must not or cannot be used any more.
    """
    older = [generation for generation in directory.ids() if generation < current]
    if not older:
        raise TimesTenError(
            f"exporter {directory.exporter} has no generation before {current} (exporter_host_keep_generations says how many are kept)"
        )
    generation = older[-1]
    manifest = directory.manifest(generation)
    if manifest is None:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} has no manifest; it cannot be used"
        )
    held = sorted(directory.pairs_of(generation) & set(evicted))
    if held:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} holds a pair of {', '.join(held)}, evicted since: going back would give the "
            "access back. Rotate to a new generation instead"
        )
    try:
        touched = directory.wallet_touched(manifest)
    except FileNotFoundError:
        touched = True
    if touched:
        raise TimesTenError(
            f"the wallet of generation {generation} of exporter {directory.exporter} is not the one any more that its pairs were issued from; rotate to a "
            "new one instead"
        )
    ends = [item["not_after"] for item in [*manifest["ca"], manifest["leaf"]] if item]
    ended = [end for end in ends if now >= _certificates.parse_timestamp(end)]
    if ended:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} expired at {min(ended)}; rotate to a new one instead"
        )
    return generation


def _reusable(
    wanted: Definition, directory: ExporterDirectory, evicted: Sequence[str], now: datetime.datetime
) -> str | None:
    """A generation that an interrupted run made ready and that is still what is wanted."""
    for generation in reversed(directory.staged()):
        manifest = directory.manifest(generation)
        if manifest is None or directory.server_certificate(manifest) is None:
            continue
        with contextlib.suppress(FileNotFoundError, TimesTenError):
            fits = wanted.asked is None or manifest["asked"] == wanted.asked.as_dict()
            if (
                fits
                and not directory.wallet_touched(manifest)
                and not directory.pairs_of(generation) & set(evicted)
                and manifest.get("evicted") == list(evicted)
                and due(manifest, wanted.renew_before, now)[0] is None
            ):
                return generation
    return None


def _predicted(
    planned: Plan,
    before: dict[str, Any],
    old: dict[str, Any],
    clients: Sequence[Client],
    evicted: Sequence[str],
    strategy: str,
) -> dict[str, Any]:
    after = {**before, "generation": LATER, "ca_sha256": LATER, "pairs": {client.name: {} for client in clients}}
    found = result(planned, before, after)
    found["rotation"] = _rotation(planned, old, None, [client.name for client in clients], evicted, strategy)
    return found


def _rotation(
    planned: Plan,
    old: dict[str, Any],
    new: dict[str, Any] | None,
    clients: Sequence[str],
    evicted: Sequence[str],
    strategy: str,
) -> dict[str, Any]:
    measured = _exporter_timing.expected(planned.directory.path)
    return {
        "from": old.get("generation"),
        "to": LATER if new is None else new["generation"],
        "old_sha256": _shown(old),
        "new_sha256": LATER if new is None else _shown(new),
        "restart_seconds": UNKNOWN_WINDOW if measured is None else measured,
        "restart_measured": measured is not None,
        "clients": list(clients),
        "evicted": list(evicted),
        "strategy": strategy,
        "has_spare_port": planned.definition.spare_port is not None,
    }


def _shown(manifest: dict[str, Any]) -> str | None:
    """Fingerprint of the server's own certificate where it is known, else of the exported file."""
    leaf = manifest.get("leaf")
    return manifest.get("ca_sha256") if leaf is None else leaf["sha256"]


# ---------------------------------------------------------------------------------------------------------------------
# Switch


def switch_host(
    exporters: Sequence[Definition], orders: dict[str, dict[str, Any]], run: Mapping[str, Any]
) -> dict[str, Any]:
    """Start the process that switches each exporter at its moment.

    :param orders: by exporter ``generation``, ``moments`` (this host's clock, seconds since the epoch), ``deadline``, ``confirm`` (seconds after
        the switch within which it has to be confirmed), ``period`` (seconds, None where the scrapes have no common one), ``strategy``.
    """
    return over_all(exporters, lambda wanted: _launch(wanted, orders[wanted.name], run))


def _launch(wanted: Definition, order: dict[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _in_use(wanted)
    record = record_of(wanted)
    if record.is_alive():
        raise TimesTenError(
            f"exporter {wanted.name} is being switched by another run ({_who(record)}); wait until its deadline has passed"
        )
    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    generation, old = order["generation"], directory.current_id()
    if old is None or generation not in directory.ids():
        raise TimesTenError(
            f"exporter {wanted.name}: generation {generation} is not there any more; run the rotation again"
        )
    if old == generation:
        raise TimesTenError(f"exporter {wanted.name} is on generation {generation} already; run the rotation again")
    changes = order.get("strategy") == SPARE_PORT
    if directory.is_spare(generation) != (wanted.spare != changes):
        raise TimesTenError(
            f"exporter {wanted.name}: generation {generation} was made ready for another port; run the rotation again"
        )
    leader = _Leader(wanted, directory, record, dict(order), old)
    _lease.take(directory.path, run, order["deadline"] - time.time() + 2 * _PROMPT)
    values = {"generation": generation, "previous": old, "strategy": order.get("strategy", "gap")}
    values.update({key: order[key] for key in ("moments", "deadline")})
    record.launch(leader.run, status=WAITING, **values)
    return {"name": wanted.name, "changed": True, "status": WAITING}


def _who(record: Record) -> str:
    values = record.read() or {}
    return f"process {values.get('pid')}, {values.get('status')}, deadline {_clock(values.get('deadline') or 0)}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


class _Served:
    """A look at the port, close enough to tell how long the exporter was away: whoever waits for its start looks less often.

    It is a process of its own, since one that starts others safely has one thread.

    :param directory: with the generation that should be served.
    """

    def __init__(self, wanted: Definition, directory: ExporterDirectory) -> None:
        self._began = time.monotonic()
        self._ready = ready(wanted, directory, settle=0.0)
        self._over = self._began + wanted.stop_timeout + wanted.start_timeout

    def watch(self) -> None:
        """Begin."""
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
        """End, and return the seconds from the beginning until the new certificate was served."""
        now = time.monotonic()
        if not served:
            os.kill(self._child, signal.SIGKILL)
        with os.fdopen(self._reader, encoding="ascii") as stream:
            text = stream.read()
        os.waitpid(self._child, 0)
        return min(now, float(text or now)) - self._began


class _Leader:
    """The detached process of one exporter."""

    def __init__(
        self,
        wanted: Definition,
        directory: ExporterDirectory,
        record: Record,
        order: dict[str, Any],
        old: str,
    ) -> None:
        self._wanted = wanted
        self._directory = directory
        self._record = record
        self._order = order
        self._old = old
        self._new = order["generation"]
        self._utility = Utility(wanted.timesten_home, wanted.environment)
        self._token = ""

    def run(self, token: str) -> None:
        """Wait for a moment, switch, wait for the verdict."""
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
            self._record.write(status=FAILED, error=system_error(error).message)
        except Exception as error:
            # Nobody reads a traceback of a process without a terminal.
            self._record.write(status=FAILED, error=f"{type(error).__name__}: {error}")

    def _wait_for_moment(self) -> float | None:
        for moment in sorted(self._order["moments"]):
            while time.time() < moment - _AHEAD:
                if self._record.asked(self._token) is not None:
                    self._record.write(status=REVERTED, error="it was called off before the switch")
                    return None
                time.sleep(min(_POLL, max(0.0, moment - _AHEAD - time.time())))
            if time.time() <= moment - _AHEAD / 2:
                return float(moment)
        self._record.write(status=MISSED, error="all its moments had passed before it could begin; nothing was changed")
        return None

    def _switch_and_wait(self, moment: float) -> None:
        wanted, directory = self._wanted, self._directory
        problem = self._unfit()
        if problem is not None:
            self._record.write(status=MISSED, error=f"{problem}; nothing was changed")
            return
        plan = plan_process(
            wanted, directory, self._utility, WalletPlan("keep", manifest=directory.manifest(self._old))
        )
        if plan.wanted is None or plan.state is None or plan.action == "start":
            self._record.write(status=MISSED, error=f"it does not run any more: {'; '.join(plan.why)}")
            return
        process = self._process_on(plan.wanted, self._new)
        moment = self._next(moment)
        while time.time() < moment:
            time.sleep(max(0.0, min(0.01, moment - time.time())))
        if time.time() > moment + _LATE:
            self._record.write(
                status=MISSED, error="this host was too busy to begin at the moment; nothing was changed"
            )
            return
        began = time.time()
        served = _Served(wanted, directory)
        # The record is written only where there is time: a flush to disk may take as long as the switch.
        directory.make_current(self._new)
        try:
            served.watch()
            self._restart(process, plan.state)
        except (TimesTenError, OSError) as error:
            failure = system_error(error).message
            served.end(False)
            self._go_back(FAILED, failure)
            return
        window = served.end(True)
        self._record.write(status=SWITCHED, moment=began, window=round(window, 3))
        _exporter_timing.note(directory.path, "restart", window)
        self._wait_for_verdict(moment)

    def _serve_beside(self) -> None:
        """Start a second process on the other port and, confirmed, stop the old one, else the second."""
        wanted, directory = self._wanted, self._directory
        other = wanted.on_other_port()
        problem = self._unfit()
        if problem is not None:
            self._record.write(status=MISSED, error=f"{problem}; nothing was changed")
            return
        old = plan_process(wanted, directory, self._utility, WalletPlan("keep", manifest=directory.manifest(self._old)))
        keep = WalletPlan("keep", manifest=directory.manifest(self._new))
        second = plan_process(other, directory, self._utility, keep, generation=self._new)
        if old.wanted is None or second.wanted is None or second.action != "start":
            self._record.write(status=MISSED, error=f"port {other.port} is in use already; nothing was changed")
            return
        began = time.time()
        proof = ready(other, directory, settle=0.0, generation=self._new)
        try:
            state = _process.start(second.wanted, proof, wanted.start_timeout)
        except (TimesTenError, OSError) as error:
            self._drop_new()
            self._record.write(status=FAILED, error=system_error(error).message)
            return
        window = time.time() - began
        self._record.write(status=SWITCHED, moment=began, window=round(window, 3))
        _exporter_timing.note(directory.path, "start", window)
        how_to_stop = (wanted.stop_signal, wanted.stop_timeout, wanted.force_kill)
        why = self._verdict()
        if why is not None:
            _process.stop(second.wanted, state, *how_to_stop)
            self._record.write(status=REVERTED, error=why)
            return
        directory.make_current(self._new)
        self._record.write(status=CONFIRMED)
        if second.boot is not None:
            # Where it cannot be written, the next run of site does it.
            with contextlib.suppress(TimesTenError, OSError):
                _exporter_boot.apply_boot(second.boot, True)
        self._request(("retire", "revert"))
        found = _process.inspect(old.wanted)
        if found.status == _process.RUNNING:
            _process.stop(old.wanted, found, *how_to_stop)

    def _next(self, moment: float) -> float:
        """The moment itself or, if getting ready took too long, the same one a period later."""
        period = self._order.get("period")
        while period and time.time() > moment + _LATE and moment + period < self._order["deadline"]:
            moment += period
        return moment

    def _unfit(self) -> str | None:
        """Why the switch must not be made, if the world has changed since it was planned."""
        if self._directory.current_id() != self._old:
            return f"another run has made generation {self._directory.current_id()} current"
        if self._new not in self._directory.ids():
            return f"generation {self._new} is gone"
        return None

    def _process_on(self, process: _process.Wanted, generation: str) -> _process.Wanted:
        """The same process, on another generation."""
        old, new = (os.path.realpath(self._directory.generation(name)) for name in (self._old, generation))
        return dataclasses.replace(process, arguments=[new if part == old else part for part in process.arguments])

    def _restart(self, process: _process.Wanted, state: _process.ProcessState) -> None:
        wanted = self._wanted
        proof = ready(wanted, self._directory, settle=0.0)
        _process.restart(
            process, state, proof, wanted.start_timeout, wanted.stop_signal, wanted.stop_timeout, wanted.force_kill
        )

    def _request(self, expected: Sequence[str]) -> tuple[str | None, float]:
        """Wait for one of these requests; return it, None if none came in time, and until when it was waited for."""
        deadline = min(self._order["deadline"], time.time() + self._order["confirm"])
        while True:
            request = self._record.asked(self._token)
            if request in expected or time.time() > deadline:
                return request if request in expected else None, deadline
            time.sleep(_POLL)

    def _verdict(self) -> str | None:
        """Wait for the verdict on the switch: why to go back, None to keep it."""
        request, deadline = self._request(("confirm", "revert"))
        if request is None:
            return f"nobody confirmed the switch by {_clock(deadline)}"
        return None if request == "confirm" else "it was asked to"

    def _wait_for_verdict(self, moment: float) -> None:
        why = self._verdict()
        if why is None:
            self._record.write(status=CONFIRMED)
            return
        self._wait_for_gap(moment)
        self._go_back(REVERTED, why)

    def _wait_for_gap(self, moment: float) -> None:
        """Go back in the same gap between scrapes in which the switch was made, where it comes again."""
        period = self._order.get("period")
        if period and period <= _PROMPT:
            time.sleep((moment - time.time()) % period)

    def _go_back(self, status: str, why: str) -> None:
        go_back(self._wanted, self._directory, self._utility, self._old)
        if status == FAILED:
            self._drop_new()
        self._record.write(status=status, error=why)

    def _drop_new(self) -> None:
        # It has shown that it does not work: the next rotation makes another one.
        shutil.rmtree(self._directory.generation(self._new), ignore_errors=True)


def go_back(wanted: Definition, directory: ExporterDirectory, utility: Utility, generation: str) -> None:
    """Make a generation current and have the exporter serve it, whatever it does now; the caller holds the lock."""
    directory.make_current(generation)
    wanted = in_use(wanted, directory)
    manifest = directory.manifest(generation)
    plan = plan_process(wanted, directory, utility, WalletPlan("keep", manifest=manifest))
    stop_other(wanted, plan)
    if plan.wanted is None or plan.state is None or plan.action == "none":
        return
    proof = ready(wanted, directory, settle=0.0)
    if plan.action == "start":
        _process.start(plan.wanted, proof, wanted.start_timeout)
    else:
        how_to_stop = (wanted.stop_signal, wanted.stop_timeout, wanted.force_kill)
        _process.restart(plan.wanted, plan.state, proof, wanted.start_timeout, *how_to_stop)


# ---------------------------------------------------------------------------------------------------------------------
# Status, confirm, revert


def status_host(exporters: Sequence[Definition]) -> dict[str, Any]:
    """Wait until every switch has been made or given up, and tell."""
    return over_all(exporters, _status)


def _status(wanted: Definition) -> dict[str, Any]:
    record = record_of(wanted)
    values = record.read()
    if values is None:
        raise TimesTenError(f"exporter {wanted.name}: there is no record of a switch; run the rotation again")
    last = max([*values.get("moments", []), time.time()]) - time.time()
    limit = last + wanted.stop_timeout + 2 * wanted.start_timeout + _PROMPT
    values = record.wait(lambda now: now.get("status") != WAITING, limit)
    return {"name": wanted.name, "changed": False, **_answer(record, values)}


def _answer(record: Record, values: dict[str, Any]) -> dict[str, Any]:
    status = values.get("status")
    if status in (WAITING, SWITCHED) and not record.is_alive():
        status = LOST
    return {
        "status": status,
        "generation": values.get("generation"),
        "previous": values.get("previous"),
        "moment": values.get("moment"),
        "window": values.get("window"),
        "error": values.get("error"),
    }


def confirm_host(exporters: Sequence[Definition], order: Order) -> dict[str, Any]:
    """Keep what was switched to; prove that the old generation's pairs are refused, and remove what is not kept."""
    return over_all(exporters, lambda wanted: _confirm(wanted, order))


def _confirm(wanted: Definition, order: Order) -> dict[str, Any]:
    record = record_of(wanted)
    _lease.check(wanted.certificate_directory, order.run)
    values = _ask(wanted, record, "confirm")
    if values.get("strategy") == SPARE_PORT and values.get("status") == CONFIRMED:
        # The one that leads keeps the old process until the Prometheus hosts have let go of it.
        return {"name": wanted.name, "changed": True, **_answer(record, values)}
    return _keep(wanted, order, values)


def retire_host(exporters: Sequence[Definition], order: Order) -> dict[str, Any]:
    """Stop the process on the port that was left, and do what :func:`confirm_host` does."""
    return over_all(exporters, lambda wanted: _retire(wanted, order))


def _retire(wanted: Definition, order: Order) -> dict[str, Any]:
    record, directory = record_of(wanted), ExporterDirectory(wanted.certificate_directory, wanted.name)
    _lease.check(directory.path, order.run)
    record.ask("retire")
    values = record.wait(lambda _now: False, wanted.stop_timeout + _PROMPT)
    wanted = in_use(wanted, directory)
    with directory.locked():
        # Where nobody leads any more.
        utility = Utility(wanted.timesten_home, wanted.environment)
        manifest = directory.manifest(directory.current_id() or "")
        stop_other(wanted, plan_process(wanted, directory, utility, WalletPlan("keep", manifest=manifest)))
    if directory.current_id() == values.get("generation"):
        values["status"] = CONFIRMED
    return _keep(wanted, order, values)


def _keep(wanted: Definition, order: Order, values: dict[str, Any]) -> dict[str, Any]:
    record, directory = record_of(wanted), ExporterDirectory(wanted.certificate_directory, wanted.name)
    wanted = in_use(wanted, directory)
    generation = values.get("generation")
    if values.get("status") not in (CONFIRMED, SWITCHED) or directory.current_id() != generation:
        raise TimesTenError(
            f"exporter {wanted.name} is not on generation {generation} any more ({values.get('status')}: {values.get('error')}); "
            "both sides are on the one before. Run the rotation again"
        )
    with directory.locked():
        record.write(status=CONFIRMED)
        manifest = directory.manifest(str(generation)) or {}
        if manifest.pop("staged", None):
            directory.write_manifest(manifest)
        note_served_certificate(wanted, directory)
        refused = _old_pair_refused(wanted, directory, str(values.get("previous")))
        if refused is False:
            raise TimesTenError(
                f"exporter {wanted.name} accepts the probe pair of generation {values.get('previous')} although it serves {generation}: "
                "its old pairs still give access"
            )
        removed = directory.prune(0 if order.evict else wanted.keep_generations)
        _lease.give_back(directory.path)
    return {
        "name": wanted.name,
        "changed": True,
        **_answer(record, record.read() or {}),
        "old_pair_refused": refused,
        "removed": removed,
    }


def _old_pair_refused(wanted: Definition, directory: ExporterDirectory, old: str) -> bool | None:
    """Whether the probe pair of an older generation, issued as its clients' pairs were, is refused now; None if it is gone."""
    certificate, key = (directory.pair_file(old, PROBE, file) for file in ("client.crt", "client.key"))
    if not os.path.isfile(certificate) or not os.path.isfile(key):
        return None
    for host in ("127.0.0.1", "::1", wanted.address):
        if host is not None:
            outcome = _tls_probe.tls(host, wanted.port or 0, None, certificate, key)
            if outcome.status != _tls_probe.UNREACHABLE:
                return outcome.status == _tls_probe.REFUSED
    return None


def revert_host(exporters: Sequence[Definition], run: Mapping[str, Any]) -> dict[str, Any]:
    """Go back to the generation before the switch."""
    return over_all(exporters, lambda wanted: _revert(wanted, run))


def _revert(wanted: Definition, run: Mapping[str, Any]) -> dict[str, Any]:
    record, directory = record_of(wanted), ExporterDirectory(wanted.certificate_directory, wanted.name)
    _lease.check(directory.path, run)
    values = _ask(wanted, record, "revert")
    if values.get("status") in (SWITCHED, WAITING):
        # Nobody leads any more.
        old = str(values.get("previous"))
        spare = values.get("strategy") == SPARE_PORT
        if spare or values.get("status") != WAITING or directory.current_id() != old:
            with directory.locked():
                go_back(wanted, directory, Utility(wanted.timesten_home, wanted.environment), old)
        values = record.write(status=REVERTED, error="the process that led was gone; this run went back")
    _lease.give_back(directory.path)
    return {"name": wanted.name, "changed": True, **_answer(record, values)}


def release_host(exporters: Sequence[Definition], run: Mapping[str, Any]) -> dict[str, Any]:
    """Give back what was leased for a rotation that was not begun."""
    return over_all(exporters, lambda wanted: _release(wanted, run))


def _release(wanted: Definition, run: Mapping[str, Any]) -> dict[str, Any]:
    _lease.check(wanted.certificate_directory, run)
    _lease.give_back(wanted.certificate_directory)
    return {"name": wanted.name, "changed": False}


def _ask(wanted: Definition, record: Record, request: str) -> dict[str, Any]:
    values = record.read()
    if values is None:
        raise TimesTenError(f"exporter {wanted.name}: there is no record of a switch; run the rotation again")
    if record.is_alive():
        record.ask(request)
    return record.wait(
        lambda now: now.get("status") not in (WAITING, SWITCHED),
        wanted.stop_timeout + 2 * wanted.start_timeout + 2 * _PROMPT,
    )
