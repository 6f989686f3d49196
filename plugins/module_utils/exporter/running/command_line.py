# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the command line of an exporter. The program's name proves nothing, because ttExporter may exec another
program.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility
from ansible_collections.timesten.monitoring.plugins.module_utils.machine.processes import Process, environment

_KNOWN = ("port", "certificate-directory", "pid-file", "insecure")


def exporter_options(argv: Sequence[str]) -> dict[str, str | None] | None:
    """Return the options of a command line that runs a ttExporter, None for any other.

    The name ttExporter may follow an interpreter or a wrapper (``/usr/bin/python3 /h/bin/ttExporter -port ...``,
    ``ttenv ttExporter ...``). A program of another name counts if it has a port, and a pid file or a wallet.
    """
    options = utility.parse_options(arguments(argv))
    known = is_named(argv) or options.get("pid-file") or options.get("certificate-directory")
    return options if known and (options.get("port") or "").isdigit() else None


def arguments(argv: Sequence[str]) -> list[str]:
    """Return the arguments of ttExporter in a command line: those after its name or, for a program of another name,
    from the first known option on.
    """
    for index, argument in enumerate(argv):
        if os.path.basename(argument) == utility.PROGRAM:
            return list(argv[index + 1 :])
    known = (index for index, argument in enumerate(argv) if argument[:1] == "-" and argument[1:] in _KNOWN)
    return list(argv[next(known, len(argv)) :])


def home_of(process: Process, argv: Sequence[str] = ()) -> str | None:
    """Return the home of the TimesTen instance whose utility a process runs; None if nothing shows it.

    :param argv: the command line at its start, if the process shows another one now.
    """
    programs = [argument for argument in argv or process.argv if os.path.isabs(argument)]
    with contextlib.suppress(OSError):
        programs.append(os.readlink(f"/proc/{process.pid}/exe"))
    for program in programs:
        directory = os.path.dirname(program)
        if os.path.basename(directory) == "bin" and os.path.lexists(os.path.join(directory, "ttenv")):
            return os.path.dirname(directory)
    return environment(process.pid).get("TIMESTEN_HOME")


def is_named(argv: Sequence[str]) -> bool:
    """Tell whether a command line names ttExporter itself."""
    return any(os.path.basename(argument) == utility.PROGRAM for argument in argv)


def described(process: Process) -> str:
    """Describe a command line for a message. For a program other than ttExporter, show only the parts that cannot be
    secret.
    """
    options = exporter_options(process.argv)
    if options is None:
        return process.command
    if is_named(process.argv):
        return shlex.join(process.argv)
    shown = [process.argv[0]]
    for name in _KNOWN:
        if name in options:
            shown += [f"-{name}", *filter(None, [options[name]])]
    return shlex.join(shown)


def compare_options(running: Mapping[str, str | None], expected: Mapping[str, str | None]) -> list[str]:
    """Return the differences between two command lines, for a message. Paths are compared as they are given."""
    running, expected = _canonical(running), _canonical(expected)
    differences = []
    if ("insecure" in running) != ("insecure" in expected):
        modes = ("mutual TLS", "insecure")
        differences.append(f"mode {modes['insecure' in running]} -> {modes['insecure' in expected]}")
    names = {"port": "port", "certificate-directory": "wallet", "pid-file": "pid file", "rate limit": "rate limit"}
    for key, name in names.items():
        if running.get(key) != expected.get(key):
            differences.append(f"{name} {running.get(key) or 'not given'} -> {expected.get(key) or 'not given'}")
    for key in sorted((set(running) | set(expected)) - set(names) - {"insecure"}):
        if key not in expected or key not in running or running[key] != expected[key]:
            differences.append(f"argument {_spelled(running, key)} -> {_spelled(expected, key)}")
    return differences


def of_target(differences: Iterable[str]) -> list[str]:
    """Return those differences between two command lines that every Prometheus has to follow: address, port and
    protocol.
    """
    return [text for text in differences if text.startswith(("port ", "mode "))]


def _canonical(options: Mapping[str, str | None]) -> dict[str, str | None]:
    rate = utility.find_rate_option(options)
    return {"rate limit" if name == rate else name: value for name, value in options.items()}


def _spelled(options: Mapping[str, str | None], name: str) -> str:
    if name not in options:
        return "not given"
    return f"-{name}" if options[name] is None else f"-{name} {options[name]}"


def located(process: Process, path: str) -> str:
    """Return a path of a process's command line as an absolute path; it may be relative to the process's directory.

    A process that detached has moved to /. The shell that started it has recorded the earlier directory. The path never counts
    from the directory of the caller.
    """
    if os.path.isabs(path):
        return path
    folders = [environment(process.pid).get("PWD", "")]
    with contextlib.suppress(OSError):
        now = os.readlink(f"/proc/{process.pid}/cwd")
        folders.insert(1 if now == "/" else 0, now)
    paths = [os.path.normpath(os.path.join(folder, path)) for folder in folders if os.path.isabs(folder)]
    paths.append(os.path.join(f"/proc/{process.pid}/cwd", path))
    return next((one for one in paths if os.path.lexists(one)), paths[0])


def resolved(process: Process, path: str) -> str:
    """Return a path of a process's command line as a real path."""
    return os.path.realpath(located(process, path))


def wallet_of(process: Process, options: Mapping[str, str | None]) -> str | None:
    """Return the real path of the certificate directory that a process serves; None for plain HTTP, or where nobody can tell.

    Unless it is given, ttExporter takes its user's home directory.
    """
    if "insecure" in options:
        return None
    given = options.get("certificate-directory") or environment(process.pid).get("HOME")
    return resolved(process, given) if given else None


def same_path(process: Process, path: str, other: str) -> bool:
    """Tell whether a path of a process's command line leads to the same file as another path."""
    return resolved(process, path) == os.path.realpath(other)
