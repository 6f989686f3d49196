# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start script, crontab and units, as far as no reboot is needed."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import boot as _exporter_boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import units as _exporter_units
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility as _ttexporter_cli
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running import log, pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import crontab
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import processes as _kernel
from waiting import until

STAND_IN = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "stand_in_exporter.py"
REFERENCE_EXPORTER = pathlib.Path(__file__).resolve().parents[4] / "roles/reference_exporter/files/ttExporter"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
ODD_VALUE = 'it\'s $(touch /nowhere) \\ "`x`" %s\nsecond line'
ODD_NAME = "an 'exporter' of $HOME \"here\" `x`"


class Host:
    """A home with the stand-in, and an exporter's directory whose name is a trial for every shell."""

    def __init__(self, path):
        self.home = path / "it's home"
        self.directory = path / ODD_NAME
        (self.home / "bin").mkdir(parents=True)
        self.directory.mkdir(mode=0o700)
        for name in ("a", "b"):
            (self.directory / "generations" / name).mkdir(parents=True)
        self.make_current("a")
        program = self.home / "bin" / "ttExporter"
        program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
        ttenv = self.home / "bin" / "ttenv"
        ttenv.write_text(
            '#!/bin/sh\nTIMESTEN_HOME="${0%/bin/ttenv}"; export TIMESTEN_HOME\nPATH="$TIMESTEN_HOME/bin:$PATH"\nexec "$@"\n'
        )
        for path in (program, ttenv):
            path.chmod(0o755)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port = unused.getsockname()[1]
        self.pid_file = self.directory / "exporter.pid"
        self.log_file = self.directory / "exporter.log"
        self.run_file = self.directory / "run"

    def use_reference(self, variants):
        """Put the reference exporter in the place of the stand-in."""
        pytest.importorskip("prometheus_client", reason="the reference exporter needs prometheus_client")
        (self.home / "bin" / "ttExporter").write_text(f"#!{sys.executable}\n{REFERENCE_EXPORTER.read_text()}")
        conf = self.home / "conf"
        conf.mkdir()
        (conf / "timesten.conf").write_text("instance_guid=C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43\n")
        lines = [f"REFERENCE_EXPORTER_{name}={value}\n" for name, value in variants.items()]
        (conf / "reference_exporter.env").write_text("".join(lines))

    def make_current(self, generation):
        """Point ``current`` at a generation."""
        link = self.directory / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"generations/{generation}")

    def wanted(self, generation="a", **settings):
        """What is wanted, the stand-in's settings as keywords."""
        variables = {f"STAND_IN_{name}": str(value) for name, value in settings.items()}
        return _process.Wanted(
            _ttexporter_cli.Utility(str(self.home), {**variables, "ODD": ODD_VALUE}),
            _ttexporter_cli.start_arguments(
                self.port, str(self.directory / "generations" / generation), False, str(self.pid_file), "limit-rate", 15
            ),
            str(self.directory / "state.json"),
            str(self.log_file),
        )

    def write(self, wanted, timeout=20, by_unit=False):
        """Write the start script, which does not wait where it fails."""
        text = _exporter_boot.script("exp1", wanted, timeout, by_unit)
        assert text.count("sleep 5\n") == 1
        _process.write_script(str(self.run_file), text.replace("sleep 5\n", "sleep 0\n"))

    def start(self, shell=None, *arguments):
        """Run the script as cron or systemd do."""
        command = [str(self.run_file), *arguments]
        if shell is not None:
            command = ([shell, "sh"] if shell == "busybox" else [shell]) + command
        environment = {"PATH": "/usr/bin:/bin", "STRANGE": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def host(tmp_path):
    made = Host(tmp_path)
    yield made
    for process in _process.processes().values():
        if str(made.pid_file) in process.argv or _kernel.sockets(process.pid) & set(_kernel.listeners(made.port)):
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("shell", [None, *SHELLS])
@pytest.mark.parametrize("settings", [{}, {"DETACH": 1, "DELAY": 0.3}], ids=["foreground", "detach"])
def test_a_run_finds_nothing_to_change(host, settings, shell):
    wanted = host.wanted(**settings)
    host.write(wanted)
    done = host.start(shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    state = _process.inspect(wanted, settle=20)
    assert (state.status, state.drift, state.adopted) == (_process.RUNNING, (), False)
    by_script = _kernel.environment(state.pid)
    status = pathlib.Path(f"/proc/{state.pid}/status").read_text()
    _process.stop(wanted, state)
    started = _process.start(wanted)
    by_module = _kernel.environment(started.pid)
    _process.stop(wanted, started)
    # What a shell on the way adds differs from shell to shell.
    own = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name: by_script[name] for name in set(by_script) - own} == {
        name: by_module[name] for name in set(by_module) - own
    }
    assert by_script["ODD"] == ODD_VALUE
    assert "STRANGE" not in by_script
    # What these tests were started with, in the background or under nohup, nobody on the way can take back.
    ignored = ignored_signals(status) - ignored_signals(pathlib.Path("/proc/self/status").read_text())
    assert not ignored & {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    assert "Umask:\t0077" in status
    assert (host.run_file.stat().st_mode & 0o777, host.log_file.stat().st_mode & 0o777) == (0o700, 0o600)


def ignored_signals(status):
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


def test_it_starts_what_is_current_then(host):
    host.write(host.wanted())
    host.make_current("b")
    assert host.start().returncode == 0
    assert _process.inspect(host.wanted("b"), settle=20).drift == ()


def test_one_that_runs_already(host):
    wanted = host.wanted()
    host.write(wanted)
    assert host.start().returncode == 0
    pid = host.pid_file.read_text()
    assert host.start().returncode == 0
    host.write(wanted, by_unit=True)
    done = host.start()
    assert done.returncode == 1
    assert (
        done.stderr
        == f"exporter exp1: process {pid.strip()} runs already, and not by its unit; its log is {host.log_file}\n"
    )
    assert host.pid_file.read_text() == pid
    # The number of a pid file that was left belongs to somebody else by now.
    os.kill(int(pid), signal.SIGKILL)
    host.pid_file.write_text(f"{os.getpid()}\n")
    host.write(wanted)
    until(lambda: not _kernel.listeners(host.port))
    assert host.start().returncode == 0
    assert int(host.pid_file.read_text()) not in (int(pid), os.getpid())


def test_failures(host):
    host.write(host.wanted(EXIT=3, STDERR="no license"))
    done = host.start()
    assert done.returncode == 1
    assert done.stderr == f"exporter exp1: it ended, and has not written {host.pid_file}; its log is {host.log_file}\n"
    assert host.log_file.read_text() == "no license"
    host.write(host.wanted(NO_PID_FILE=1), timeout=1)
    done = host.start()
    assert done.returncode == 1
    assert "it has not written" in done.stderr and "within 1 s" in done.stderr
    until(lambda: not _kernel.listeners(host.port))
    (host.directory / "current").unlink()
    done = host.start()
    assert (done.returncode, done.stderr.split(";")[0]) == (
        1,
        f"exporter exp1: {host.directory}/current leads to no wallet",
    )
    host.make_current("a")
    host.log_file.unlink()
    host.log_file.symlink_to(host.directory / "elsewhere")
    done = host.start()
    assert (done.returncode, done.stderr.split(";")[0]) == (1, f"exporter exp1: {host.log_file} is a link")


def test_a_large_log_is_renamed(host):
    host.log_file.write_bytes(b"x" * (log.LOG_LIMIT + 1))
    host.write(host.wanted())
    assert host.start().returncode == 0
    assert host.log_file.stat().st_size == 0
    assert (host.directory / "exporter.log.1").stat().st_size == log.LOG_LIMIT + 1


def test_another_environment_of_one_that_was_started_at_boot(host):
    wanted = host.wanted()
    host.write(wanted)
    assert host.start().returncode == 0
    other = host.wanted()
    other.utility.environment["ODD"] = "another"
    assert _process.inspect(other, settle=20).drift == ("environment",)


def test_insecure_needs_no_wallet(host):
    wanted = host.wanted()
    arguments = _ttexporter_cli.start_arguments(host.port, None, True, str(host.pid_file))
    wanted = _process.Wanted(wanted.utility, arguments, wanted.state_file, wanted.log_file)
    (host.directory / "current").unlink()
    host.write(wanted)
    assert host.start().returncode == 0
    assert _process.inspect(wanted, settle=20).drift == ()


PID_FILES = [
    b"",
    b" \n",
    b"\0\0\0\0",
    b"{pid}",
    b"{pid}\n",
    b"  {pid} \n",
    b"\t{pid}\r\n",
    b"\0{pid}\n\n",
    b"0{pid}",
    b"-{pid}",
    b"{pid}x",
    b"{pid} 1",
    b"{pid} ttExporter\n",
    b"{pid}\r\n/h/bin/ttExporter -port 8888\n",
    b"{pid} *",
    b"{pid} \xc3\xa9 1",
    b"ttExporter {pid}",
    b"1\n{pid}",
    b"{pid}\x0b",
    b"{pid}\0{pid}",
    b"*",
    b"12345678901",
    b"\xff",
    b" " * 1000 + b"{pid}",
    b" " * 2000 + b"{pid}",
    b"4194305",
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("content", PID_FILES)
def test_one_parser_for_pid_files(host, shell, content):
    """The script and the modules take the same for a pid, for an empty file, and for something else."""
    data = content.replace(b"{pid}", str(os.getpid()).encode())
    text = _exporter_boot.script("exp1", host.wanted(), 20, False)
    functions = text[text.index("pid_file=") : text.index("# The start ticks")]
    code = f"set -u\n{functions}\nread_pid\necho $? $pid\n"
    host.pid_file.write_bytes(data)
    command = [shell, "sh", "-c", code] if shell == "busybox" else [shell, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    try:
        pid, _why = pid_file.read_pid_file(str(host.pid_file))
        expected = ["1"] if pid is None else ["0", str(pid)]
    except TimesTenError:
        expected = ["2"]
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize("number", [1, os.getpid()], ids=["init", "who has run the script"])
def test_a_pid_file_that_names_somebody_else(host, number):
    """It was there before the start: nobody records it, and so nobody signals it later."""
    ttenv = host.home / "bin" / "ttenv"
    lines = ttenv.read_text().replace("exec ", f"echo {number} >{shlex.quote(str(host.pid_file))}\nexec ")
    ttenv.write_text(lines)
    host.write(host.wanted(NO_PID_FILE=1), timeout=1)
    done = host.start()
    assert (done.returncode, "has not written" in done.stderr) == (1, True)
    assert not (host.directory / "state.json").exists()


@pytest.mark.parametrize(
    "variants",
    [
        {"NAME": "exec", "PID_FILE": "blanks"},
        {"NAME": "exec", "RUN": "detach", "PID_FILE_DELAY": "4"},
        {"NAME": "rewritten"},
        {"RUN": "child"},
        {"NOISE": "locale"},
    ],
    ids=lambda variants: "-".join(variants.values()),
)
def test_whatever_it_calls_itself(host, variants):
    """After a boot a run finds nothing to change, and the script starts no second one."""
    host.use_reference(variants)
    wanted = host.wanted()
    arguments = _ttexporter_cli.start_arguments(host.port, None, True, str(host.pid_file))
    wanted = _process.Wanted(wanted.utility, arguments, wanted.state_file, wanted.log_file)
    host.write(wanted)
    done = host.start()
    assert (done.returncode, done.stderr) == (0, "")
    state = _process.inspect(wanted, settle=20)
    assert (state.status, state.drift) == (_process.RUNNING, ())
    assert "the one that was started and recorded" in state.why
    assert host.start().returncode == 0
    assert _process.inspect(wanted).pid == state.pid
    assert _process.stop(wanted, state).startswith("stopped by SIGTERM")
    assert not _kernel.listeners(host.port)


def test_the_record_of_the_script(host):
    """It is what a start by the modules notes, less the executable, whatever the paths hold."""
    wanted = host.wanted("a")
    host.write(wanted)
    host.make_current("b")
    assert host.start().returncode == 0
    state = _process.inspect(host.wanted("b"), settle=20)
    by_script = _process.read_state(wanted.state_file)
    _process.stop(host.wanted("b"), state)
    _process.start(host.wanted("b"))
    by_module = _process.read_state(wanted.state_file)
    differing = {"pid", "start_ticks", "executable"}
    assert {**by_module, **dict.fromkeys(differing)} == {**by_script, **dict.fromkeys(differing)}
    assert by_script["certificate_directory"] == str(host.directory / "generations" / "b")


def test_a_pid_file_that_is_none_is_left(host):
    host.write(host.wanted())
    host.pid_file.write_text("precious")
    done = host.start()
    assert (done.returncode, done.stderr.split(";")[0]) == (1, f"exporter exp1: {host.pid_file} holds no pid")
    assert host.pid_file.read_text() == "precious"


def test_systemd_gets_a_pid_file_without_blanks(host):
    host.use_reference({"PID_FILE": "blanks"})
    arguments = _ttexporter_cli.start_arguments(host.port, None, True, str(host.pid_file))
    wanted = host.wanted()
    wanted = _process.Wanted(wanted.utility, arguments, wanted.state_file, wanted.log_file)
    host.write(wanted, by_unit=True)
    boot_id = "0123456789abcdef0123456789abcdef"
    assert host.start(None, boot_id).returncode == 0
    assert _process.read_state(wanted.state_file)["boot_id"] == "01234567-89ab-cdef-0123-456789abcdef"
    pid = _process.inspect(wanted, settle=20).pid
    assert host.pid_file.read_text() == f"  {pid} \n"
    assert (host.directory / "run.pid").read_text() == f"{pid}\n"


@pytest.mark.parametrize("name", ["A;touch X;B", "FOO-BAR", "A B", "1A", "", "A\nB", "A=B"])
def test_names_of_variables_are_checked(host, name):
    wanted = host.wanted()
    wanted.utility.environment[name] = "1"
    with pytest.raises(TimesTenError, match="is not the name of a variable"):
        _exporter_boot.script("exp1", wanted, 20, False)


# --- crontab ----------------------------------------------------------------------------------------------------------

LINES = _exporter_boot.crontab_lines("exp1", "/d/exp1/run")
BLOCK = "".join(f"{line}\n" for line in LINES)
OTHER = "".join(f"{line}\n" for line in _exporter_boot.crontab_lines("exp1-b", "/d/exp1-b/run"))


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        ("", [], ""),
        ("", LINES, BLOCK),
        ("# mine\n1 2 * * * x", LINES, f"# mine\n1 2 * * * x\n{BLOCK}"),
        (f"# a\n{BLOCK}# b\n", LINES, f"# a\n{BLOCK}# b\n"),
        (f"# a\n{BLOCK}# b\n", [], "# a\n# b\n"),
        (f"{OTHER}{BLOCK}", [], OTHER),
        (f"{LINES[0]}\n@reboot /old/run\n# b\n", LINES, f"# b\n{BLOCK}"),
        (f"{BLOCK}# b\n{BLOCK}", LINES, f"# b\n{BLOCK}"),
        (LINES[0], LINES, BLOCK),
        ("# a\n", [], "# a\n"),
        ("# a", [], "# a"),
        # What ends no line to cron ends none here.
        (f"# a\x85{BLOCK}# b\r\n", [], f"# a\x85{BLOCK}# b\r\n"),
    ],
)
def test_the_crontab_of_others_is_kept(before, lines, after):
    assert crontab.with_entry(before, _exporter_boot.crontab_mark("exp1"), lines) == after
    assert crontab.with_entry(after, _exporter_boot.crontab_mark("exp1"), lines) == after


def test_the_line_is_run_by_a_shell(host):
    """Cron takes a percent sign for a line break unless there is a backslash before it, which it removes."""
    script = host.directory / "100% run"
    script.write_text(
        f"#!/bin/sh\necho >>'{host.directory.parent}/tried'\n[ $(wc -l <'{host.directory.parent}/tried') -gt 2 ]\n"
    )
    script.chmod(0o700)
    line = _exporter_boot.crontab_lines("exp1", str(script))[1]
    command = line.split(" ", 1)[1].replace("\\%", "%")
    assert line.split(" ", 1)[0] == "@reboot"
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=20, env={"PATH": "/usr/bin:/bin"})
    assert (host.directory.parent / "tried").read_text() == "\n\n\n"
    script.unlink()
    subprocess.run(["/bin/sh", "-c", command], check=False, timeout=20, env={"PATH": "/usr/bin:/bin"})
    with pytest.raises(TimesTenError, match="line break"):
        _exporter_boot.crontab_lines("exp1", "/a\nb/run")


def test_no_cron(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TimesTenError, match=r"cannot run crontab: .*; install cron, or set boot to systemd or none"):
        crontab.read()
    (tmp_path / "crontab").write_text(
        "#!/bin/sh\necho 'You (x) are not allowed to use this program (crontab)' >&2\nexit 1\n"
    )
    (tmp_path / "crontab").chmod(0o755)
    with pytest.raises(TimesTenError, match=r"crontab -l failed with exit status 1: You .* not allowed"):
        crontab.read()
    with pytest.raises(TimesTenError, match=r"crontab - failed with exit status 1: You .* not allowed"):
        crontab.write("")


@pytest.mark.parametrize("program", [None, "#!/bin/sh\necho 'not allowed' >&2\nexit 1\n"], ids=["missing", "refused"])
@pytest.mark.parametrize("options", [{}, {"state": "stopped"}, {"boot": "cron", "state": "stopped"}], ids=str)
def test_a_script_is_left_where_there_is_no_cron(monkeypatch, tmp_path, program, options):
    """Whoever needs no crontab is not refused because there is none; whoever needs one is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if program is not None:
        (tmp_path / "crontab").write_text(program)
        (tmp_path / "crontab").chmod(0o755)
    run_file = tmp_path / "run"
    run_file.write_text("#!/bin/sh\n")
    plan = _exporter_boot.plan_boot(definition(**{"boot": "none", **options}), str(run_file), None, False)
    assert (plan.why, plan.script, plan.crontab) == ([f"{run_file} has to go"], None, None)
    with pytest.raises(TimesTenError, match="boot: "):
        _exporter_boot.plan_boot(definition(boot="cron"), str(run_file), None, False)


def test_the_bytes_of_others_stay(monkeypatch, tmp_path):
    before = b"# gr\xfcn\r\n1 2 * * * x\r\n"
    (tmp_path / "tab").write_bytes(before)
    (tmp_path / "crontab").write_text(
        f"#!/bin/sh\n[ $1 = -l ] && exec /bin/cat {tmp_path}/tab\nexec /bin/cat >{tmp_path}/tab\n"
    )
    (tmp_path / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    crontab.write(crontab.with_entry(crontab.read(), LINES[0], LINES))
    assert (tmp_path / "tab").read_bytes() == before + BLOCK.encode()
    (tmp_path / "crontab").write_text("#!/bin/sh\nprintf 'gr\\374n' >&2\nexit 1\n")
    with pytest.raises(TimesTenError, match="exit status 1: gr\ufffdn"):
        crontab.read()


# --- units ------------------------------------------------------------------------------------------------------------


def definition(**options):
    return define(
        {
            "name": "exp1",
            "timesten_home": "/opt/tt",
            "certificate_directory": "/opt/m/exp1",
            "boot": "systemd",
            **options,
        }
    )


def test_units_hold_what_is_asked_for():
    wanted = definition(
        pid_file="/run/tt/exp1.pid",
        log_file="/var/log/tt/exp1.log",
        stop_signal="INT",
        stop_timeout=7,
        start_timeout=60,
    )
    texts = _exporter_units.unit_texts(wanted, "timesten", ["tt_inst.service"])
    assert list(texts) == ["timesten-exporter-exp1.service", "timesten-exporter-exp1.path"]
    lines = texts["timesten-exporter-exp1.service"].splitlines()
    for line in (
        "After=network-online.target tt_inst.service",
        "ConditionPathExists=/opt/m/exp1/run",
        "ExecStart=/opt/m/exp1/run %b",
        "KillSignal=SIGINT",
        "PIDFile=/opt/m/exp1/run.pid",
        "ReadWritePaths=/opt/m/exp1 /run/tt /var/log/tt",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "TimeoutStartSec=75",
        "TimeoutStopSec=7",
        "User=timesten",
    ):
        assert line in lines
    assert "PathChanged=/opt/m/exp1/start" in texts["timesten-exporter-exp1.path"].splitlines()


@pytest.mark.parametrize("option", ["timesten_home", "certificate_directory", "pid_file", "log_file"])
@pytest.mark.parametrize("path", ["/a b/exp1", "/a%n/exp1", "/a\nUser=root/exp1", "/a$b/exp1", "/a'b/exp1"])
def test_what_a_unit_cannot_hold(option, path):
    with pytest.raises(
        TimesTenError,
        match=r"exporter exp1: .* has characters that a systemd unit cannot hold|holds a control character",
    ):
        _exporter_units.unit_texts(definition(**{option: path}), "timesten")


@pytest.mark.parametrize("unit", ["a.service\nUser=root", "a b.service", "", "timesten"])
def test_after_names_units(unit):
    with pytest.raises(TimesTenError, match="is no name of a systemd unit"):
        _exporter_units.unit_texts(definition(), "timesten", [unit])


@pytest.mark.parametrize("owner", ["root user", "a\nUser=root", ""])
def test_owner_is_a_name(owner):
    with pytest.raises(TimesTenError, match=r"owner: .* is no name of a user"):
        _exporter_units.unit_texts(definition(), owner)


def test_a_file_of_somebody_elses(monkeypatch, tmp_path):
    monkeypatch.setattr(_exporter_boot.systemd, "UNIT_DIRECTORY", str(tmp_path))
    (tmp_path / "timesten-exporter-exp1.service").write_text("[Service]\n")
    with pytest.raises(TimesTenError, match="was not written by this collection; move it away"):
        _exporter_units.converge_units([definition()], "timesten", [], True)


@pytest.mark.parametrize(("state", "now"), [("active", []), ("activating", ["--now"]), ("inactive", ["--now"])])
def test_a_removed_unit_leaves_its_exporter(monkeypatch, tmp_path, state, now):
    """A run that is killed then has stopped nothing; what the unit is about to start must not come beside another one."""
    asked = []
    monkeypatch.setattr(_exporter_boot.systemd, "UNIT_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(_exporter_boot.systemd, "active_state", lambda unit: state)
    monkeypatch.setattr(_exporter_boot.systemd, "systemctl", lambda *arguments: asked.append(list(arguments)))
    service, path = "timesten-exporter-exp1.service", "timesten-exporter-exp1.path"
    for unit in (service, path):
        (tmp_path / unit).write_text(_exporter_boot.MARK)
    assert _exporter_units.converge_units([definition(boot="none")], "timesten", [], False)["changed"]
    assert asked == [["disable", "--now", path], ["disable", *now, service], ["daemon-reload"]]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs this machine")
def test_no_systemd(monkeypatch, tmp_path):
    monkeypatch.setattr(_exporter_boot.systemd, "UNIT_DIRECTORY", str(tmp_path))
    with pytest.raises(TimesTenError, match="systemd does not run this host; set boot to cron or none"):
        _exporter_units.converge_units([definition()], "timesten", [], False)
    assert list(tmp_path.iterdir()) == []
    answer = _exporter_units.converge_units([definition(boot="cron")], "timesten", [], False)
    assert answer == {"changed": False, "why": [], "units": [], "diff": []}
