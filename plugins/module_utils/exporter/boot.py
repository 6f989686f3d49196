# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What brings an exporter back after a reboot: its start script, and who runs that: the owner's crontab, or systemd.

The script is ``<exporter>/run``. It starts the exporter exactly as :func:`exporter.processes.start` would, from the
generation that is current then, so that a run of the collection finds nothing to change. It ends as soon as the
exporter has written its pid file, whether the utility stays in the foreground or detaches, so a unit of type
``forking`` fits both. The units belong to root, but need root no more once they are there: the service runs only
while the script exists, and is started when its owner writes ``<exporter>/start``.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
from typing import Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition

UNIT_DIRECTORY = "/etc/systemd/system"

MARK = "# Managed by timesten.monitoring: "
"""How the first line begins of what this collection wrote and may replace."""


def service_name(exporter: str) -> str:
    """Name of the systemd unit that runs an exporter."""
    return f"timesten-exporter-{exporter}.service"


def path_name(exporter: str) -> str:
    """Name of the systemd unit that lets the exporter's owner start the service."""
    return f"timesten-exporter-{exporter}.path"


def installed(unit: str) -> bool:
    """Whether a unit of ours is installed."""
    return os.path.lexists(os.path.join(UNIT_DIRECTORY, unit))


# ---------------------------------------------------------------------------------------------------------------------
# The start script

_SCRIPT = """\
#!/bin/sh
{mark}starts the exporter {name} after a reboot, from the generation that is current then.
{environment_mark}{environment_sha256}
# Ends when the exporter has written its pid file. If that does not happen: after 5 seconds more, with status 1.
set -u
# Nothing is inherited; and a value that is set below is in no command line.
[ "${{1-}}" = clean ] || exec env -i /bin/sh "$0" clean
umask 077
cd /
{exports}
pid_file={pid_file}
log_file={log_file}

fail() {{
    echo "exporter {name}: $1; its log is $log_file" >&2
    sleep 5
    exit 1
}}

alive() {{
    pid=$(cat "$pid_file" 2>/dev/null)
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    kill -0 "$pid" 2>/dev/null
}}

if alive && tr '\\0' '\\n' <"/proc/$pid/cmdline" | grep -qxF -e "$pid_file"; then
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
until alive; do
    tries=$((tries + 1))
    if [ "$tries" -gt {tries} ]; then
        kill "$child" 2>/dev/null
        fail "it has not written $pid_file within {timeout} s"
    fi
    # A command that has detached may end a little before the pid file is there.
    kill -0 "$child" 2>/dev/null || gone=$((gone + 1))
    [ "$gone" -le 10 ] || fail "it ended, and has not written $pid_file"
    sleep 0.2
done
"""

_WALLET = """\
wallet=$(readlink -f {current})
[ -d "$wallet" ] || fail "{current_text} leads to no wallet; run the playbook"
"""


def script(name: str, process: _process.Wanted, timeout: int, by_unit: bool) -> str:
    """The text of the start script.

    :param timeout: seconds that the exporter has to write its pid file.
    :param by_unit: whether systemd runs it; an exporter that was started by anything else is then a failure.
    """
    current = os.path.join(os.path.dirname(process.state_file), "current")
    options, command = process.options, []
    shown = {"certificate-directory": '"$wallet"', "pid-file": '"$pid_file"'}
    following = None
    for argument in process.utility.argv(*process.arguments):
        command.append(shown.get(following or "") or shlex.quote(argument))
        following = argument[1:] if argument.startswith("-") else None
    running = 'fail "process $pid runs already, and not by its unit"' if by_unit else "exit 0"
    return _SCRIPT.format(
        mark=MARK,
        name=name,
        environment_mark=_process.ENVIRONMENT_MARK,
        environment_sha256=process.utility.environment_sha256(),
        exports="\n".join(
            f"export {variable}={shlex.quote(value)}" for variable, value in process.utility.full_environment().items()
        ),
        pid_file=shlex.quote(process.pid_file),
        log_file=shlex.quote(process.log_file),
        when_running=running,
        wallet=_WALLET.format(current=shlex.quote(current), current_text=_in_double_quotes(current))
        if "certificate-directory" in options
        else "",
        log_limit=_process.LOG_LIMIT,
        command=" ".join(command),
        tries=5 * timeout,
        timeout=timeout,
    )


def _in_double_quotes(text: str) -> str:
    return re.sub(r'([$`"\\])', r"\\\1", text)


# ---------------------------------------------------------------------------------------------------------------------
# The crontab


def crontab_lines(exporter: str, run_file: str) -> list[str]:
    """The lines of the owner's crontab that start an exporter at boot: again until it runs, since cron may be there before TimesTen.

    :raises TimesTenError: for a path that no crontab can hold.
    """
    if "\n" in run_file:
        raise TimesTenError(
            f"boot: cron cannot run {run_file!r}: there is a line break in it; choose another directory"
        )
    path = shlex.quote(run_file).replace("%", r"\%")
    return [_crontab_mark(exporter), f"@reboot while [ -x {path} ] && ! {path}; do :; done"]


def _crontab_mark(exporter: str) -> str:
    return f"# timesten.monitoring: exporter {exporter}"


def crontab_with(text: str, exporter: str, lines: Sequence[str]) -> str:
    """Return a crontab with these lines for an exporter, in place of those that it has; everything else is kept."""
    before = text.splitlines(keepends=True)
    mark = _crontab_mark(exporter)
    kept, found, index = [], [], 0
    while index < len(before):
        if before[index].rstrip("\n") == mark:
            found.append(before[index : index + 2])
            index += 2
            continue
        kept.append(before[index])
        index += 1
    wanted = [line + "\n" for line in lines]
    if found == ([wanted] if lines else []):
        return text
    if wanted and kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join(kept + wanted)


def read_crontab() -> str:
    """Return the crontab of the calling user, which is empty where there is none.

    :raises TimesTenError: if there is no cron, or it does not let this user have one.
    """
    done = _crontab(["-l"])
    if done.returncode != 0 and "no crontab for" not in done.stderr:
        raise TimesTenError(f"boot: crontab -l failed with exit status {done.returncode}: {done.stderr.strip()[:300]}")
    return done.stdout if done.returncode == 0 else ""


def write_crontab(text: str) -> None:
    """Replace the crontab of the calling user.

    :raises TimesTenError: if cron refuses it.
    """
    done = _crontab(["-"], text)
    if done.returncode != 0:
        raise TimesTenError(f"boot: crontab - failed with exit status {done.returncode}: {done.stderr.strip()[:300]}")


def _crontab(arguments: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["crontab", *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TimesTenError(
            f"boot: cannot run crontab: {error}; install cron, or set boot to systemd or none"
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# The owner's side: script and crontab of one exporter


@dataclasses.dataclass(frozen=True)
class BootPlan:
    """What changes in script and crontab, and why.

    :ivar script: the script to write; None to remove the one that is there.
    :ivar crontab: the crontab to write; None where it stays as it is.
    """

    run_file: str
    why: list[str]
    script: str | None
    crontab: str | None


def plan_boot(wanted: Definition, run_file: str, process: _process.Wanted | None, check_mode: bool) -> BootPlan:
    """Decide what happens to script and crontab.

    :param process: None where it cannot be known yet.
    :param check_mode: units that are not there yet are then no error.
    :raises TimesTenError: if systemd is asked for and its units are not there, or cron is and there is none.
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
    before = read_crontab() if lines or there else ""
    after = crontab_with(before, name, lines)
    if after != before:
        why.append("the crontab's line " + ("is missing or differs" if lines else "has to go"))
    return BootPlan(run_file, why, text, after if after != before else None)


def _read(path: str) -> str | None:
    try:
        return _files.read(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def apply_boot(plan: BootPlan, with_script: bool) -> None:
    """Write or remove the crontab's line and, where asked for, the script."""
    if plan.crontab is not None:
        write_crontab(plan.crontab)
    if not plan.why or not with_script:
        return
    if plan.script is None:
        _process.remove_script(plan.run_file)
    else:
        _process.write_script(plan.run_file, plan.script)
