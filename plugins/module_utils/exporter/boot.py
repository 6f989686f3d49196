# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts an exporter after a reboot: writes its start script, and lets the owner's crontab or systemd run it.

The script is ``<exporter>/run``. It starts the exporter from the current generation, exactly as
:func:`exporter.processes.start` would, so the next run of the collection finds nothing to change. It ends when the
exporter has written its pid file. That works for a utility that stays in the foreground and for one that detaches, so a
systemd unit of type ``forking`` fits both. Root installs the units, but is not needed afterwards: systemd runs the
service only while the script exists, and starts it when the owner writes ``<exporter>/start``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running import pid_file as _pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.identity import Wanted
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.log import LOG_LIMIT
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running.start_script import (
    remove_script,
    write_script,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import crontab, systemd

MARK = "# Managed by timesten.monitoring: "
"""The first line of every file that this collection wrote and may replace begins like this."""


def service_name(exporter: str) -> str:
    """Return the name of the systemd unit that runs an exporter."""
    return f"timesten-exporter-{exporter}.service"


def path_name(exporter: str) -> str:
    """Return the name of the systemd unit that lets the exporter's owner start the service."""
    return f"timesten-exporter-{exporter}.path"


def installed(unit: str) -> bool:
    """Tell whether our unit of this name is installed."""
    try:
        return files.read(os.path.join(systemd.UNIT_DIRECTORY, unit)).startswith(MARK.encode("utf-8"))
    except (FileNotFoundError, TimesTenError):
        return False


# ---------------------------------------------------------------------------------------------------------------------
# The start script

_SCRIPT = """\
#!/bin/sh
{mark}starts the exporter {name} after a reboot, from the generation that is current then.
# Ends when the exporter has written its pid file. If that does not happen: after 5 seconds more, with status 1.
set -u
# Nothing is inherited; and a value that is set below is in no command line.
[ "${{1-}}" = clean ] || exec env -i /bin/sh "$0" clean "${{1-}}"
# Of a unit, its argument: in the sandbox of a host that is a container, /proc tells that of the machine.
boot_id=$(echo "$2" | sed -E 's/^(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})$/\\1-\\2-\\3-\\4-\\5/')
[ -n "$boot_id" ] || boot_id=$(cat /proc/sys/kernel/random/boot_id)
umask 077
cd /
{exports}
pid_file={pid_file}
log_file={log_file}
state_file={state_file}

fail() {{
    echo "exporter {name}: $1; its log is $log_file" >&2
    sleep 5
    exit 1
}}

# Sets pid to what the pid file names; status 1 if it is missing or empty, 2 if it holds no pid. As the modules read it.
read_pid() {{
    pid=
    [ ! -L "$pid_file" ] || return 2
    [ -e "$pid_file" ] || return 1
    [ -f "$pid_file" ] && [ "$(wc -c <"$pid_file")" -le {pid_limit} ] || return 2
    text=$(tr '\\0\\t\\r\\n' '    ' <"$pid_file" 2>/dev/null)
    # Cut into words, but no word stands for names of files.
    set -f
    set -- $text
    set +f
    [ $# -gt 0 ] || return 1
    case $1 in *[!0-9]* | 0* | ???????????*) return 2 ;; esac
    case ${{2-}} in [0-9]*) return 2 ;; esac
    pid=$1
}}

alive() {{
    read_pid && kill -0 "$pid" 2>/dev/null
}}

# The start ticks of a process, whose name may contain anything.
ticks() {{
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    set -- ${{stat##*) }}
    echo "${{20}}"
}}

# A process of this user that began after this script. The number may be that of its parent, or of anybody else.
is_new() {{
    [ -O "/proc/$1" ] && [ "$(ticks "$1")" -ge "$began" ] 2>/dev/null
}}

has_our_pid_file() {{
    tr '\\0' '\\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF -e "$pid_file"
}}

is_recorded() {{
    case $(tr -d ' \\n' <"$state_file" 2>/dev/null) in
    *'"pid":'"$1"[,}}]*) ;; *) return 1 ;; esac
    case $(tr -d ' \\n' <"$state_file") in
    *'"start_ticks":'"$(ticks "$1")"[,}}]*) ;; *) return 1 ;; esac
    grep -qF "\\"$boot_id\\"" "$state_file"
}}

# Prints the processes of this user that were started with our pid file.
ours() {{
    for process in /proc/[0-9]*; do
        if [ -O "$process" ] && has_our_pid_file "${{process#/proc/}}"; then
            echo "${{process#/proc/}}"
        fi
    done
}}

began=$(ticks $$)
read_pid
[ $? -ne 2 ] || fail "$pid_file holds no pid; remove it if it is of no use"
if alive && {{ is_recorded "$pid" || has_our_pid_file "$pid"; }}; then
    {when_running}
fi
{wallet}[ ! -L "$log_file" ] || fail "$log_file is a link"
if [ -f "$log_file" ] && [ "$(wc -c <"$log_file")" -gt {log_limit} ]; then
    mv -f "$log_file" "$log_file.1"
fi
rm -f "$pid_file"
# Not put into the background by the shell, which would make it ignore SIGINT.
child=$(setsid --fork /bin/sh -c 'echo "$$"; exec "$@" </dev/null >>"$0" 2>&1' "$log_file" \\
    {command})
tries=0
gone=0
until alive && is_new "$pid"; do
    tries=$((tries + 1))
    if [ "$tries" -gt {tries} ]; then
        kill "$child" $(ours) 2>/dev/null
        fail "it has not written its pid to $pid_file within {timeout} s"
    fi
    # A command that has detached may end long before the pid file is there.
    kill -0 "$child" 2>/dev/null || [ -n "$(ours)" ] || gone=$((gone + 1))
    [ "$gone" -le 10 ] || fail "it ended, and has not written $pid_file"
    sleep 0.2
done
# Which process this is, as the modules note it: its name and its command line may become others.
printf '{{"pid": %s, "start_ticks": %s, "boot_id": "%s", %s\\n' "$pid" "$(ticks "$pid")" "$boot_id" \\
    {record} >{new_state_file} && mv -f {new_state_file} "$state_file"
{at_end}"""

_WALLET = """\
wallet=$(readlink -f {current})
[ -d "$wallet" ] || fail "{current_text} leads to no wallet; run the playbook"
generation=${{wallet##*/}}
"""

_UNIT_PID = """\
# systemd reads no pid file with blanks.
printf '%s\\n' "$pid" >{unit_pid_file}
"""


def unit_pid_file(directory: str) -> str:
    """Return the path of the pid file that the start script writes for systemd."""
    return os.path.join(directory, "run.pid")


def script(name: str, process: Wanted, timeout: int, by_unit: bool) -> str:
    """Return the text of the start script.

    :param timeout: seconds within which the exporter has to write its pid file.
    :param by_unit: whether systemd runs the script; the script then fails if something else has started the exporter.
    """
    directory = os.path.dirname(process.state_file)
    current = os.path.join(directory, "current")
    command = []
    shown = {"certificate-directory": '"$wallet"', "pid-file": '"$pid_file"'}
    following = None
    for argument in process.utility.argv(*process.arguments):
        command.append(shown.get(following or "") or shlex.quote(argument))
        following = argument[1:] if argument.startswith("-") else None
    running = 'fail "process $pid runs already, and not by its unit"' if by_unit else "exit 0"
    return _SCRIPT.format(
        mark=MARK,
        name=name,
        exports="\n".join(
            f"export {variable}={shlex.quote(value)}" for variable, value in process.utility.full_environment().items()
        ),
        pid_file=shlex.quote(process.pid_file),
        pid_limit=_pid_file.SIZE_LIMIT,
        log_file=shlex.quote(process.log_file),
        state_file=shlex.quote(process.state_file),
        # core.files names files like this before it renames them.
        new_state_file=shlex.quote(os.path.join(directory, ".state.json.000000000000")),
        when_running=running,
        wallet=_WALLET.format(current=shlex.quote(current), current_text=_in_double_quotes(current))
        if "certificate-directory" in process.options
        else "",
        log_limit=LOG_LIMIT,
        command=" ".join(command),
        tries=5 * timeout,
        timeout=timeout,
        record=_record(process),
        at_end=_UNIT_PID.format(unit_pid_file=shlex.quote(unit_pid_file(directory))) if by_unit else "",
    )


def _record(process: Wanted) -> str:
    """Return the rest of ``state.json`` as a shell word; the shell puts the generation in."""
    wallet = process.options.get("certificate-directory")
    command, directory = process.utility.argv(*process.arguments), None
    if wallet is not None:
        # A NUL marks the place of the generation, because no path contains one.
        directory = os.path.join(os.path.dirname(wallet), "\0")
        command = [directory if argument == wallet else argument for argument in command]
    record = {
        "argv": command,
        "certificate_directory": directory,
        "environment_sha256": process.utility.environment_sha256(),
    }
    parts = json.dumps(record)[1:].split(json.dumps("\0")[1:-1])
    return '"$generation"'.join(shlex.quote(part) for part in parts)


def _in_double_quotes(text: str) -> str:
    return re.sub(r'([$`"\\])', r"\\\1", text)


# ---------------------------------------------------------------------------------------------------------------------
# The crontab


def crontab_lines(exporter: str, run_file: str) -> list[str]:
    """Return the lines of the owner's crontab that start an exporter at boot.

    The line tries again until the exporter runs, because cron may start before TimesTen.

    :raises TimesTenError: if a crontab cannot hold the path.
    """
    if "\n" in run_file:
        raise TimesTenError(
            f"boot: cron cannot run {run_file!r}: there is a line break in it; choose another directory"
        )
    path = shlex.quote(run_file).replace("%", r"\%")
    return [crontab_mark(exporter), f"@reboot while [ -x {path} ] && ! {path}; do :; done"]


def crontab_mark(exporter: str) -> str:
    """Return the comment line that marks an exporter's line in the crontab."""
    return f"# timesten.monitoring: exporter {exporter}"


# ---------------------------------------------------------------------------------------------------------------------
# The owner's side: script and crontab of one exporter


@dataclasses.dataclass(frozen=True)
class BootPlan:
    """The changes of script and crontab, and the reasons.

    :ivar script: text of the script to write; None removes the existing script.
    :ivar crontab: text of the crontab to write; None leaves it as it is.
    """

    run_file: str
    why: list[str]
    script: str | None
    crontab: str | None


def plan_boot(wanted: Definition, run_file: str, process: Wanted | None, check_mode: bool) -> BootPlan:
    """Decide how script and crontab change.

    :param process: the process that should run; None if that cannot be known yet.
    :param check_mode: whether missing units are allowed, because an earlier task would install them.
    :raises TimesTenError: if boot is systemd and the units are not installed, or boot is cron and the host has no cron.
    """
    name, by_unit = wanted.name, installed(service_name(wanted.name))
    if wanted.boot == "systemd" and not by_unit and not check_mode:
        raise TimesTenError(
            f"exporter {name}: boot is systemd, but {service_name(name)} is not installed; install it first, as root, with tt_exporter_unit"
        )
    stopping = wanted.state == "stopped"
    there = os.path.lexists(run_file)
    needed = not stopping and (wanted.boot != "none" or by_unit)
    if not needed and not there:
        return BootPlan(run_file, [], None, None)
    text = None
    if needed and process is not None:
        text = process.script or script(name, process, wanted.start_timeout, by_unit=False)
    why = []
    if not needed:
        why.append(f"{run_file} has to go")
    elif text is None or text != _read(run_file):
        why.append(f"{run_file} {'differs' if there else 'is missing'}")
    lines = crontab_lines(name, run_file) if wanted.boot == "cron" and not stopping else []
    before = _crontab(bool(lines)) if lines or there else ""
    after = crontab.with_entry(before, crontab_mark(name), lines)
    if after != before:
        why.append("the crontab's line " + ("is missing or differs" if lines else "has to go"))
    return BootPlan(run_file, why, text, after if after != before else None)


def _crontab(needed: bool) -> str:
    """The crontab of the calling user. Where nothing has to be in it, a host without cron is none that keeps a script: a line that is left starts nothing."""
    try:
        return crontab.read()
    except TimesTenError:
        if needed:
            raise
        return ""


def _read(path: str) -> str | None:
    try:
        return files.read(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def apply_boot(plan: BootPlan, with_script: bool) -> None:
    """Write or remove the crontab's line and, if asked for, the script."""
    if plan.crontab is not None:
        crontab.write(plan.crontab)
    if not plan.why or not with_script:
        return
    if plan.script is None:
        remove_script(plan.run_file)
    else:
        write_script(plan.run_file, plan.script)
