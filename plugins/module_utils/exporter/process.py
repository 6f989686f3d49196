# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what happens to an exporter's process, and why, from its definition, its wallet and the running process."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes, takeover
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.boot import (
    BootPlan,
    installed,
    plan_boot,
    script,
    service_name,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import (
    Utility,
    find_rate_option,
    parse_options,
    start_arguments,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

SETTLE = 5.0
"""A process that has just started gets so many seconds to listen before it counts as broken."""

REFUSAL_WAIT = 0.3
"""Seconds to wait for a refusal after a handshake: on the same host a refusal comes at once or not at all."""


@dataclasses.dataclass
class ProcessPlan:
    """What happens to the process: ``none``, ``start``, ``restart`` or ``stop``.

    :ivar wanted: the process that should run; None if it cannot be known yet (check mode before the utility is
        installed).
    :ivar state: the process as it is now.
    :ivar rate_limit: GETs per minute that the utility is told to accept; None if it has no option for that.
    :ivar boot: the changes of script and crontab, which start the exporter after a reboot; they do not depend on the
        action.
    :ivar other: a process on the other port that a rotation left and that has to stop.
    """

    action: str
    reasons: list[str]
    wanted: processes.Wanted | None
    state: processes.ProcessState | None
    rate_limit: int | None
    boot: BootPlan | None = None
    other: tuple[processes.Wanted, processes.ProcessState] | None = None

    @property
    def takes_over(self) -> bool:
        """Tell whether it replaces a process that was not started as this exporter."""
        return self.wanted is not None and self.wanted.takes is not None


def in_use(definition: Definition, directory: ExporterDirectory) -> Definition:
    """Return the definition with the port that the current generation uses.

    If there is no spare port any more, or it cannot be used, that is the usual port.
    """
    possible = definition.spare or definition.spare_port is not None or definition.port is None
    by_unit = definition.boot == "systemd" or installed(service_name(definition.name))
    spare = possible and not definition.insecure and not by_unit and directory.is_spare(directory.current_id())
    return definition if definition.spare == spare else definition.on_other_port()


def plan_process(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    wallet: WalletPlan,
    check_mode: bool = False,
    generation: str | None = None,
    snapshot: processes.Snapshot | None = None,
) -> ProcessPlan:
    """Decide what happens to the process and to its start after a reboot. Callers ask again after they made a new
    generation.

    :param check_mode: whether a missing utility, wallet or unit is allowed.
    :param generation: a generation other than the current one.
    :param snapshot: processes and sockets that were read a moment ago for all exporters of the host.
    :raises TimesTenError: if another process holds the port, the pid file cannot be trusted, there is no wallet, or the
        exporter cannot be started after a reboot as asked.
    """
    snapshot = snapshot or processes.Snapshot()
    planned = _plan_process(definition, directory, utility, wallet, check_mode, generation, snapshot)
    planned.boot = plan_boot(definition, os.path.join(directory.path, "run"), planned.wanted, check_mode)
    planned.reasons += planned.boot.reasons
    planned.other = _other_process(definition, directory, utility, snapshot)
    if planned.other is not None:
        process, state = planned.other
        planned.reasons.append(f"process {state.pid} on port {process.port}, which is not in use, has to stop")
    return planned


def _other_process(
    definition: Definition, directory: ExporterDirectory, utility: Utility, snapshot: processes.Snapshot
) -> tuple[processes.Wanted, processes.ProcessState] | None:
    other = definition.on_other_port()
    # One that was left while it started has no pid file yet.
    starts = any(other.pid_file in process.argv for process in snapshot.processes.values())
    if not starts and not os.path.lexists(other.pid_file):
        return None
    # A unit and its start script always belong to the process on the usual port.
    process = dataclasses.replace(wanted_process(other, directory, utility), unit=None, script=None)
    state = processes.inspect(process, snapshot=snapshot)
    return (process, state) if state.status == processes.RUNNING else None


def stop_other(definition: Definition, planned: ProcessPlan) -> None:
    """Stop the process that a rotation left on the other port; the caller holds the lock."""
    if planned.other is not None:
        wanted, state = planned.other
        processes.stop(wanted, state, *definition.how_to_stop)
        planned.other = None


def _plan_process(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    wallet: WalletPlan,
    check_mode: bool,
    generation: str | None,
    snapshot: processes.Snapshot,
) -> ProcessPlan:
    stopping = definition.state == "stopped"
    no_wallet = not definition.insecure and wallet.action == "none" and not stopping
    if no_wallet and not check_mode:
        raise TimesTenError(f"{directory.path} holds no wallet; make it with tt_wallet first, or set insecure: true")
    try:
        rate_option = None if stopping else _rate_option(utility, directory.state_file(definition.spare))
    except TimesTenError:
        if not check_mode:
            raise
        return ProcessPlan("start", ["it is not running"], None, None, definition.rate_limit)
    rate_limit = None if rate_option is None else definition.rate_limit
    process = wanted_process(definition, directory, utility, rate_option, rate_limit, generation)
    stranger = takeover.find(definition, snapshot)
    if stranger is not None and (definition.takeover or not stranger.neighbour):
        takeover.check(definition, stranger)
        process = dataclasses.replace(process, takes=stranger.process)
    state = processes.inspect(process, 0.0 if stopping else min(SETTLE, definition.start_timeout), snapshot)
    if state.status == processes.FOREIGN:
        raise TimesTenError(f"exporter {definition.name}: {state.reason}")
    running = state.status == processes.RUNNING
    if stopping:
        # Another exporter of this collection may have taken the port meanwhile.
        if not running and state.port_holder is not None and not state.held_by_neighbour:
            raise TimesTenError(
                f"exporter {definition.name}: its port {definition.port} is still served, by {state.port_holder}, which cannot be identified as "
                f"this exporter ({state.reason}); end that process"
            )
        return ProcessPlan("stop" if running else "none", ["it has to stop"] if running else [], process, state, None)
    if state.port_holder is not None:
        user = processes.user_name(os.geteuid())
        raise TimesTenError(
            f"exporter {definition.name}: port {definition.port} is held by {state.port_holder}; end that, or choose another port"
            + (f". It is not taken over: it shows no ttExporter that {user} runs" if definition.takeover else "")
        )
    if not running:
        start_reasons = [f"it is not running: {state.reason}"]
        if not definition.spare and directory.is_spare(directory.current_id()):
            start_reasons = ["it has to go back to its usual port, because no spare_port can be used any more"]
        return ProcessPlan("start", start_reasons, process, state, rate_limit)
    reasons = ["the wallet is new"] if wallet.is_new else list(state.drift)
    if process.takes is not None:
        reasons = [f"it takes the place of process {process.takes.pid}, which was not started as this exporter"]
    if definition.state == "restarted":
        reasons.append("state is restarted")
    if not reasons and not no_wallet:
        problem = processes.wait_until(ready(definition, directory, settle=0.0, without_pair=None), 2.0)
        reasons = [] if problem is None else [problem]
    return ProcessPlan("restart" if reasons else "none", reasons, process, state, rate_limit)


def _rate_option(utility: Utility, state_file: str) -> str | None:
    # The state of the running process holds the option as long as the utility is the same; otherwise -help is asked.
    record = processes.read_state(state_file)
    if record is not None and record.get("executable") == list(utility.executable_identity()) and record.get("argv"):
        return find_rate_option(parse_options(record["argv"]))
    return utility.rate_option()


def wanted_process(
    definition: Definition,
    directory: ExporterDirectory,
    utility: Utility,
    rate_option: str | None = None,
    rate_limit: int | None = None,
    generation: str | None = None,
) -> processes.Wanted:
    """Return the process that should run on a generation; without a name, on the current one."""
    port = definition.port
    if port is None:
        # A stop needs no port: the state file has the port of the start.
        record = processes.read_state(directory.state_file(definition.spare)) or {}
        port = int(parse_options(record.get("argv") or []).get("port") or 0)
    wallet_directory = None
    if not definition.insecure:
        wallet_directory = os.path.realpath(directory.generation(generation or directory.current_id() or "none"))
    arguments = start_arguments(
        port, wallet_directory, definition.insecure, definition.pid_file, rate_option, rate_limit
    )
    process = processes.Wanted(utility, arguments, directory.state_file(definition.spare), definition.log_file)
    unit = service_name(definition.name)
    if definition.boot == "systemd" or installed(unit):
        process = dataclasses.replace(process, unit=unit)
        text = script(definition.name, process, definition.start_timeout, by_unit=True)
        process = dataclasses.replace(process, script=text)
    return process


def ready(
    definition: Definition,
    directory: ExporterDirectory,
    settle: float = REFUSAL_WAIT,
    generation: str | None = None,
    without_pair: str | None = "no handshake is possible",
) -> processes.Ready:
    """Return the proof that the exporter serves a generation's certificate: a handshake with the probe pair.

    Without a name, the current generation is meant.

    :param settle: seconds to wait for a refusal; 0 compares only the served certificate.
    :param without_pair: what is missing if the probe pair cannot be used; None if it is going to be issued again, which costs no restart.
    """

    def missing() -> str | None:
        if definition.insecure:
            return None
        try:
            outcome, manifest = handshake(definition, directory, settle, generation)
        except OSError as error:
            return without_pair and f"{without_pair}: {error}"
        if outcome.status != probe.ACCEPTED:
            return f"a handshake with the probe pair was {outcome.status}: {outcome.detail}"
        leaf = manifest["leaf"]
        if leaf is not None and outcome.sha256 != leaf["sha256"]:
            return f"it serves another certificate ({outcome.sha256}) than the wallet's ({leaf['sha256']})"
        return None

    return missing


def handshake(
    definition: Definition, directory: ExporterDirectory, settle: float = 0.0, generation: str | None = None
) -> tuple[probe.Outcome, dict[str, Any]]:
    """Shake hands with the exporter, using the probe pair. Return the outcome and the manifest of the generation.

    Without a name, the current generation is meant.

    If the server's own certificate is known, the caller compares its fingerprint; otherwise the handshake trusts the
    exported file only.

    :raises OSError: if the probe pair or the exported file cannot be read.
    """
    generation = generation or directory.current_id() or ""
    manifest: Any = directory.manifest(generation) or {}
    ca_file = None if manifest.get("leaf") else directory.server_file(generation)
    outcome = probe.Outcome(probe.UNREACHABLE)
    # It is not documented on which of its addresses the utility listens.
    for host in ("127.0.0.1", "::1", definition.address):
        if host is not None and outcome.status == probe.UNREACHABLE:
            outcome = probe.tls(
                host,
                definition.port or 0,
                ca_file,
                directory.pair_file(generation, PROBE, "client.crt"),
                directory.pair_file(generation, PROBE, "client.key"),
                settle=settle,
            )
    return outcome, manifest
