# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that runs before a restart. It is stopped only for a new process that works, and comes back if the new
one fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from typing import Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import Layout
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan, ready
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.drift import is_replaced
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import environment

_PATIENCE = 30.0
"""The former process gets at least so many seconds to start again: it did work, and there is no other way left."""


@dataclasses.dataclass(frozen=True)
class FormerProcess:
    """The facts needed to start the process again as it was.

    :ivar generation: the current generation.
    :ivar port: the port that it serves; 0 if unknown.
    :ivar script: text of the start script; None if there is none.
    :ivar environment_sha256: digest of the variables that it was started with, from its state file.
    :ivar replaced: whether its program was replaced, so that it could not come back as it is.
    """

    wanted: processes.Wanted
    pid: int
    generation: str | None
    port: int
    script: str | None
    environment_sha256: str | None
    replaced: bool = False

    @classmethod
    def of(cls, process: ProcessPlan, directory: ExporterDirectory) -> FormerProcess | None:
        """Return the process that a plan restarts; None if it is unknown how that process was started."""
        new, state = process.wanted, process.state
        if new is None or state is None or state.process is None:
            return None
        record = processes.read_state(new.state_file)
        if record is None or not processes.is_recorded(state.process, record, processes.boot_id()):
            record = {}
        command = [str(argument) for argument in record.get("argv") or state.process.argv]
        options, home = processes.exporter_options(command), processes.home_of(state.process, command)
        if options is None or home is None:
            return None
        script = _read(new.run_file)
        utility = Utility(home, environment(state.process.pid))
        wanted = dataclasses.replace(
            new,
            utility=utility,
            arguments=_arguments(state.process, command, new.pid_file),
            script=None if new.unit is None else script or new.script,
        )
        port = int(options.get("port") or 0)
        replaced = is_replaced(state.process, utility, record)
        return cls(
            wanted, state.process.pid, directory.current_id(), port, script, record.get("environment_sha256"), replaced
        )

    def rehearses(self, process: ProcessPlan) -> bool:
        """Tell whether the new process is tried while this one still serves: because it has another port, or because this
        one could not come back.
        """
        new = process.wanted
        if process.action != "restart" or new is None:
            return False
        return self.replaced or (new.unit is None and self.port not in (0, new.port))

    def rehearse(self, definition: Definition, directory: ExporterDirectory, new: processes.Wanted) -> None:
        """Show that the new process works while this one still serves: on the new port, or on one that is free.

        The trial uses the pid file and the state file that belong to the other port, where no process may run. If this
        run is killed, the next run finds the trial there and stops it.

        :raises TimesTenError: if the new process does not work; this process was not touched.
        """
        other, stop = definition.on_other_port(), definition.how_to_stop
        port = _free_port() if new.port == self.port else new.port
        arguments = [other.pid_file if argument == new.pid_file else argument for argument in new.arguments]
        arguments[arguments.index("-port") + 1] = str(port)
        state_file = Layout(os.path.dirname(new.state_file)).state_file(other.spare)
        trial = dataclasses.replace(new, arguments=arguments, state_file=state_file, unit=None, script=None, takes=None)
        tried = dataclasses.replace(definition, usual_port=port, spare_port=port)
        state = processes.start(trial, ready(tried, directory, settle=0.0), definition.start_timeout)
        processes.stop(trial, state, *stop)

    def come_back(self, definition: Definition, directory: ExporterDirectory, failed: TimesTenError) -> TimesTenError:
        """After a failed restart, start the former process again with its wallet and port.

        :returns: the failure, extended by what happened to the former process.
        """
        new = directory.current_id()
        try:
            if self.generation is None:
                directory.make_none_current()
            elif new != self.generation:
                directory.make_current(self.generation)
            self._restore_script()
            outcome = self._start_again(definition)
        except (TimesTenError, OSError) as error:
            again = system_error(error).message
            return TimesTenError(
                f"{failed.message}. The former process could not be started again either, so nothing serves port {self.port}: {again}",
                **failed.details,
            )
        if new is not None and new != self.generation:
            # This generation did not work: the next run makes another one.
            directory.remove(new)
        return TimesTenError(f"{failed.message}. {outcome}", **failed.details)

    def _restore_script(self) -> None:
        if self.script is None:
            processes.remove_script(self.wanted.run_file)
        else:
            processes.write_script(self.wanted.run_file, self.script)

    def _start_again(self, definition: Definition) -> str:
        state = processes.inspect(self.wanted)
        if state.status == processes.RUNNING and state.pid == self.pid:
            return f"The former process {self.pid} is still there, on port {self.port}"
        timeout = max(definition.start_timeout, _PATIENCE)
        if state.status == processes.RUNNING:
            now = processes.restart(self.wanted, state, None, timeout, *definition.how_to_stop)
        else:
            now = processes.start(self.wanted, None, timeout)
        if self.wanted.takes is None:
            # It was started with all variables of the former process, and only some of them are options.
            processes.write_state(self.wanted, now, self.environment_sha256)
        else:
            # With a state file it would count as started by this collection.
            os.unlink(self.wanted.state_file)
        return f"The former arguments and wallet are back: process {now.pid} serves on port {self.port}"


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("", 0))
        return int(unused.getsockname()[1])


def _arguments(process: processes.Process, command: Sequence[str], pid_file: str) -> list[str]:
    """Return the arguments that a command line gives to ttExporter, with absolute paths because the working directory
    will be another.

    :param pid_file: replaces a pid file that cannot be trusted, or is added where there is none.
    """
    arguments = processes.arguments(command)
    for option in ("-certificate-directory", "-pid-file"):
        if option in arguments[:-1]:
            index = arguments.index(option) + 1
            arguments[index] = processes.located(process, arguments[index])
    if "-pid-file" not in arguments[:-1]:
        return [*arguments, "-pid-file", pid_file]
    try:
        processes.read_pid_file(arguments[arguments.index("-pid-file") + 1])
    except TimesTenError:
        arguments[arguments.index("-pid-file") + 1] = pid_file
    return arguments


def _read(path: str) -> str | None:
    with contextlib.suppress(FileNotFoundError, TimesTenError):
        return files.read(path).decode("utf-8", "surrogateescape")
    return None
