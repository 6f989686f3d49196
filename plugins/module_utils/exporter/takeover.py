# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a ttExporter on an exporter's port that this collection has not started, and refuses it or lets it be taken
over.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import is_number
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import wallet_file
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import Layout
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd

_LONGEST_WAIT = 120.0
_SHORTEST_PERIOD = 0.001
"""Both are seconds."""


@dataclasses.dataclass(frozen=True)
class Stranger:
    """The foreign process that serves the port.

    :ivar process: the process to signal.
    :ivar command: its command line at its start, for messages.
    :ivar wallet: real path of the certificate directory that it serves; None if it serves plain HTTP.
    :ivar home: home of its TimesTen instance; None if unknown.
    :ivar unit: the systemd unit that runs it.
    :ivar neighbour: whether this collection has started it, as another exporter.
    """

    process: processes.Process
    command: str
    wallet: str | None
    home: str | None
    unit: str | None
    neighbour: bool


@dataclasses.dataclass(frozen=True)
class Gap:
    """The moments between the scrapes at which a process may be replaced, by this host's clock.

    :ivar period: seconds after which the scrapes repeat; None if they do not.
    """

    moments: Sequence[float]
    period: float | None

    @classmethod
    def of(cls, order: Mapping[str, Any] | None) -> Gap | None:
        """Return the moments of the controller's order; None if it has none that can be waited for."""
        moments, period = (order.get("moments"), order.get("period")) if isinstance(order, Mapping) else (None, None)
        if not isinstance(moments, list) or not moments or not all(map(is_number, moments)):
            return None
        repeats = period is not None and is_number(period) and period >= _SHORTEST_PERIOD
        return cls(sorted(moments), period if repeats else None)

    def next(self, now: float) -> float:
        """Return the next moment, or the present time if none is left."""
        for moment in self.moments:
            if moment >= now:
                return moment
        if self.period is None:
            return now
        return self.moments[-1] + math.ceil((now - self.moments[-1]) / self.period) * self.period

    def wait(self) -> None:
        """Wait for the next moment, but not so long that this call seems to hang."""
        now = time.time()
        time.sleep(min(max(0.0, self.next(now) - now), _LONGEST_WAIT))


def find(definition: Definition, snapshot: processes.Snapshot) -> Stranger | None:
    """Return the exporter of the same user that serves the port and is not this one, if its command line shows an
    exporter.
    """
    port = definition.port
    if port is None:
        return None
    everyone = snapshot.processes
    for holder in snapshot.holders(port)[0]:
        process: processes.Process | None = holder
        # A child may have another name than the process that was started.
        while process is not None and process.uid == os.geteuid():
            options = processes.exporter_options(process.argv)
            if options is not None:
                if process.pid == os.getpid() or _is_own(definition, process, options, snapshot.boot_id):
                    return None
                return _stranger(definition, process, options)
            process = everyone.get(process.parent)
    return None


def _is_own(
    definition: Definition, process: processes.Process, options: Mapping[str, str | None], boot_id: str
) -> bool:
    """Tell whether a process serves one of this exporter's generations or, without a wallet, was started as this
    exporter.
    """
    directory = Layout(definition.certificate_directory)
    wallet = processes.wallet_of(process, options)
    if wallet is not None:
        return wallet.startswith(os.path.realpath(directory.generations) + os.sep)
    record = processes.read_state(directory.state_file(definition.spare))
    pid_file = options.get("pid-file")
    return processes.is_recorded(process, record, boot_id) or (
        pid_file is not None and processes.same_path(process, pid_file, definition.pid_file)
    )


def _stranger(definition: Definition, process: processes.Process, options: Mapping[str, str | None]) -> Stranger:
    return Stranger(
        process,
        processes.described(process),
        processes.wallet_of(process, options),
        processes.home_of(process),
        systemd.manager(process.pid),
        processes.is_neighbour(process, options.get("pid-file"), definition.certificate_directory),
    )


def check(definition: Definition, stranger: Stranger) -> None:
    """Refuse a takeover that was not asked for, or that cannot work.

    :raises TimesTenError: naming the process, and what to do.
    """
    process, name = stranger.process, definition.name
    what = (
        f"exporter {name}: port {definition.port} is held by process {process.pid} of user {process.owner} ({stranger.command}), which was "
        f"not started as this exporter"
    )
    if stranger.unit is not None:
        raise TimesTenError(
            f"{what} but by the systemd unit {stranger.unit}, which would bring it back. Nothing was changed. To have {name} take its place, as root: "
            f"systemctl disable --now {stranger.unit}; then, to keep its wallet, start it once as {process.owner}, with the same arguments and without "
            f"the unit, and set takeover to true"
        )
    if not definition.takeover:
        wallet = "" if stranger.wallet is None else f", with its wallet in {stranger.wallet}"
        raise TimesTenError(
            f"{what}. Nothing was changed. To have it taken over{wallet}, set takeover to true; else end that, or choose another port"
        )
    if stranger.home is not None and os.path.realpath(stranger.home) != os.path.realpath(definition.timesten_home):
        raise TimesTenError(
            f"{what}: it belongs to the TimesTen instance {stranger.home}, not to {definition.timesten_home}; set timesten_home to that. Nothing was changed"
        )
    if stranger.wallet is not None and not definition.insecure and wallet_file(stranger.wallet) is None:
        raise TimesTenError(
            f"{what}: it serves a wallet that is not in {stranger.wallet} any more, so it cannot be taken over; put the wallet back, or end the process. "
            "Nothing was changed"
        )
