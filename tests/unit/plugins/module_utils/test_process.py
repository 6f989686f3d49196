# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's process: real processes of a stand-in, real signals, real sockets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes as _process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility as _ttexporter_cli
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.running import command_line, log, pid_file
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import processes as _kernel
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import systemd
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe
from waiting import free_port, until

STAND_IN = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "stand_in_exporter.py"
REFERENCE_EXPORTER = pathlib.Path(__file__).resolve().parents[4] / "roles/reference_exporter/files/ttExporter"
NOBODY = pwd.getpwnam("nobody").pw_uid
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


def failure(call, *arguments, **keywords):
    """Return the message of the error that a call has to end in."""
    with pytest.raises(TimesTenError) as caught:
        call(*arguments, **keywords)
    return caught.value.message


def spawn(*argv, **keywords):
    """Return a child that shows its command line: in the moment of its exec a process has none."""
    child = subprocess.Popen(argv, **keywords)
    until(lambda: _process.read_process(child.pid).argv == argv)
    return child


def as_nobody(call):
    """Return what a call returns, or the message of its error, when an unprivileged user makes it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 3)
            os.closerange(4, 256)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                answer = str(call())
            except TimesTenError as error:
                answer = error.message
            os.write(3, answer.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return text


@pytest.fixture(name="host")
def make_host(tmp_path):
    """Return a host with one instance; whatever was started with it is killed at the end."""
    host = Host(tmp_path)
    yield host
    for child in host.children:
        child.kill()
        child.wait()
    for pid in host.left():
        os.kill(pid, signal.SIGKILL)


class Host:
    """A home with the stand-in, an exporter's directory, and the process that is wanted."""

    def __init__(self, path):
        self.path = path
        self.home = path / "home"
        self.directory = path / "exporter"
        self.children = []
        (self.home / "bin").mkdir(parents=True)
        self.directory.mkdir(mode=0o700)
        for name in ("a", "b"):
            (self.directory / "generations" / name).mkdir(parents=True)
        program = self.home / "bin" / "ttExporter"
        program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
        program.chmod(0o755)
        self.write_ttenv('exec "$@"')
        self.port = free_port()
        self.pid_file = self.directory / "exporter.pid"
        self.state_file = self.directory / "state.json"
        self.log_file = self.directory / "exporter.log"
        self.wallet = self.directory / "generations" / "a"

    def write_ttenv(self, last):
        """Write the wrapper with this last line."""
        ttenv = self.home / "bin" / "ttenv"
        ttenv.write_text(f"#!/bin/sh\nexport TIMESTEN_HOME={self.home} PATH={self.home}/bin:$PATH\n{last}\n")
        ttenv.chmod(0o755)

    def wanted(self, environment=None, **settings):
        """Return what is wanted, the stand-in's settings as keywords."""
        variables = {f"STAND_IN_{name}": str(value) for name, value in settings.items()}
        return _process.Wanted(
            _ttexporter_cli.Utility(str(self.home), {**variables, **(environment or {})}),
            _ttexporter_cli.start_arguments(self.port, str(self.wallet), False, str(self.pid_file)),
            str(self.state_file),
            str(self.log_file),
        )

    def by_hand(self, arguments=None, **settings):
        """Start an exporter without the code under test, and wait until its pid file is there unless that is told to
        fail.
        """
        wanted = self.wanted(**settings)
        arguments = wanted.arguments if arguments is None else arguments
        child = subprocess.Popen(
            wanted.utility.argv(*arguments), env=wanted.utility.full_environment(), start_new_session=True
        )
        self.children.append(child)
        return child

    def serving(self, child):
        """Wait until a child listens."""
        until(lambda: child.poll() is not None or set(_kernel.listeners()) & _kernel.sockets(child.pid))
        assert child.poll() is None
        return child

    def left(self):
        """Return the pids of everything that was started here."""
        mark = str(self.path).encode()
        processes = []
        for pid in _process.processes():
            with contextlib.suppress(OSError):
                if pid != os.getpid() and mark in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                    processes.append(pid)
        return processes


# ---------------------------------------------------------------------------------------------------------------------
# Pure parts


@pytest.mark.parametrize("name", ["ttExporter", "a b", "x) Z 1 (y", ") S 9 9 9 ("])
def test_parse_stat_whatever_the_name(name):
    fields = " ".join(str(number) for number in range(4, 50))
    assert _kernel.parse_stat(f"17 ({name}) S {fields}\n") == ("S", 4, 6, 22)


def test_parse_status():
    assert _kernel.parse_status("Name:\tx\nTgid:\t12\nUid:\t1\t2\t3\t4\n") == (12, 2)
    with pytest.raises(ValueError, match="no Tgid or Uid"):
        _kernel.parse_status("Name:\tUid: 3\n")


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3039 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 501 1 0 100 0 0 10 0
   1: 0100007F:3039 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 502 1 0 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 503 1 0 100 0 0 10 0
   3: 00000000000000000000000000000000:3039 00000000000000000000000000000000:0000 0A 0:0 00:0 0 7 0 504 1 0 1 0 0 1 0
"""


def test_parse_listeners():
    assert [dataclasses.astuple(one) for one in _kernel.parse_listeners(TCP)] == [
        (501, 12345, 1000),
        (503, 22, 0),
        (504, 12345, 7),
    ]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", None),
        ("0::/\n", None),
        ("0::/system.slice/ttexporter-exp1.service\n", "ttexporter-exp1.service"),
        ("0::/system.slice/system-ttexporter.slice/ttexporter@exp1.service/sub\n", "ttexporter@exp1.service"),
        ("12:cpu:/x.service\n1:name=systemd:/system.slice/ttexporter.service\n0::/\n", "ttexporter.service"),
        ("12:cpu,cpuacct:/x.service\n", None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/tt.service\n", "tt.service"),
        ("0::/system.slice/ssh.service\n", None),
        ("0::/system.slice/sshd@4-10.0.0.1:22-10.0.0.2:5.service\n", None),
        ("0::/system.slice/crond.service\n", None),
        ("0::/system.slice/cron-exporter.service\n", "cron-exporter.service"),
        ("0::/machine.slice/systemd-nspawn@exp1.service/payload\n", None),
    ],
)
def test_systemd_unit(text, unit):
    assert systemd.unit_of(text) == unit


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], None),
        (["vi", "/h/bin/ttExporter"], None),
        (["ttExporter", "-help"], None),
        (["ttExporter", "-port"], None),
        (["/bin/sh", "-c", "/h/bin/ttExporter -port 1"], None),
        (["/h/bin/ttExporter", "-port", "1", "-insecure"], {"port": "1", "insecure": None}),
        (["/usr/bin/python3", "-E", "/h/bin/ttExporter", "-insecure", "-port", "1"], {"port": "1", "insecure": None}),
        (["/bin/sh", "/h/bin/ttenv", "ttExporter", "-port", "1"], {"port": "1"}),
    ],
)
def test_exporter_options(argv, options):
    assert _process.exporter_options(argv) == options


BASE = {"port": "1", "certificate-directory": "/a", "pid-file": "/p"}


@pytest.mark.parametrize(
    ("running", "wanted", "expected"),
    [
        (BASE, BASE, []),
        (BASE, dict(reversed(list(BASE.items()))), []),
        (BASE, {**BASE, "port": "2"}, ["port 1 -> 2"]),
        (BASE, {**BASE, "certificate-directory": "/b"}, ["wallet /a -> /b"]),
        (BASE, {**BASE, "pid-file": "/q"}, ["pid file /p -> /q"]),
        ({"port": "1"}, {"port": "1", "pid-file": "/p"}, ["pid file not given -> /p"]),
        ({**BASE, "limitRate": "15"}, {**BASE, "limit-rate": "15"}, []),
        ({**BASE, "limitRate": "10"}, {**BASE, "limit-rate": "15"}, ["rate limit 10 -> 15"]),
        (BASE, {**BASE, "limit-rate": "15"}, ["rate limit not given -> 15"]),
        (
            BASE,
            {"insecure": None, "port": "1", "pid-file": "/p"},
            ["mode mutual TLS -> insecure", "wallet /a -> not given"],
        ),
        ({**BASE, "x": "1"}, {**BASE, "x": "2", "y": None}, ["argument -x 1 -> -x 2", "argument not given -> -y"]),
        ({**BASE, "y": None}, BASE, ["argument -y -> not given"]),
    ],
)
def test_compare_options(running, wanted, expected):
    assert command_line.compare_options(running, wanted) == expected


@pytest.mark.parametrize(
    ("data", "pid"),
    [
        (b"", None),
        (b" \n", None),
        (b"\0\0\0\0", None),
        (b"17", 17),
        (b"17\n", 17),
        (b" 4194304\r\n", 4194304),
        (b"17 ttExporter\n", 17),
        (b"17\r\n/h/bin\n18", 17),
    ],
)
def test_parse_pid(data, pid):
    assert pid_file.parse_pid(data, "/p") == pid


@pytest.mark.parametrize("data", [b"0", b"-1", b"12x", b"1 2", b"12345678901", b"\xff", b"root:x:0:0"])
def test_parse_pid_refuses_what_is_no_pid(data):
    assert "pid_file: /p holds b'" in failure(pid_file.parse_pid, data, "/p")


def status_of(mode, uid=None, gid=0):
    """Return a directory's status."""
    return os.stat_result((stat.S_IFDIR | mode, 1, 1, 2, os.geteuid() if uid is None else uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (status_of(0o700), None),
        (status_of(0o755), None),
        (status_of(0o755, uid=0), None),
        (status_of(0o775, gid=12345), "can be written to by its group (mode 0775)"),
        (status_of(0o775, gid=pwd.getpwuid(os.geteuid()).pw_gid), None),
        (status_of(0o1777, uid=0), "can be written to by every user (mode 1777)"),
        (status_of(0o777), "can be written to by every user"),
        (status_of(0o700, uid=os.geteuid() + 1), "belongs to "),
    ],
)
def test_check_private(status, problem):
    if problem is None:
        pid_file.check_private("/d", status)
    else:
        message = failure(pid_file.check_private, "/d", status)
        assert f"pid_file: /d {problem}" in message
        assert "leave pid_file out" in message


def test_is_recorded():
    process = _process.Process(pid=5, parent=1, session=5, start_ticks=77, uid=0, argv=())
    record = {"pid": 5, "start_ticks": 77, "boot_id": "b"}
    assert _process.is_recorded(process, record, "b")
    for other in ({**record, "pid": 6}, {**record, "start_ticks": 78}, {**record, "boot_id": "c"}, None):
        assert not _process.is_recorded(process, other, "b")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"pid": "1", "start_ticks": 2, "boot_id": "b"}', '{"pid": 1, "start_ticks": 2}']
)
def test_a_damaged_state_file_is_none(tmp_path, content):
    path = tmp_path / "state.json"
    assert _process.read_state(str(path)) is None
    path.write_text(content)
    assert _process.read_state(str(path)) is None


@pytest.mark.parametrize(("start", "members"), [(2, [2, 3, 4, 5, 6]), (4, [2, 3, 4, 5, 6]), (6, [6]), (8, [8, 9])])
def test_family(start, members):
    exporter = ("ttExporter", "-port", "1")
    tree = {1: (0, ("sh", "start_all")), 2: (1, ("sh", "ttenv", *exporter)), 3: (2, exporter), 4: (3, exporter)}
    tree.update({5: (3, ("worker",)), 6: (5, ("worker",)), 8: (1, exporter), 9: (8, ("worker",))})
    everyone = {pid: _process.Process(pid, parent, 1, 1, 0, tuple(argv)) for pid, (parent, argv) in tree.items()}
    assert [process.pid for process in _process.family(everyone[start], everyone)] == members


def test_a_terminal_is_no_wrapper():
    """screen, which was given the command line of an exporter, has other windows."""
    exporter = ("ttExporter", "-port", "1")
    tree = {2: (1, 2, ("SCREEN", "-dm", *exporter)), 3: (2, 3, exporter), 4: (2, 4, ("bash",)), 5: (3, 3, ("worker",))}
    everyone = {pid: _process.Process(pid, parent, one, 1, 0, argv) for pid, (parent, one, argv) in tree.items()}
    assert [process.pid for process in _process.family(everyone[3], everyone)] == [3, 5]


def test_wait_until():
    answers = iter(["a", "b", None])
    assert _process.wait_until(lambda: next(answers), 5) is None
    assert _process.wait_until(lambda: "never", 0) == "never"
    assert _process.wait_until(lambda: "over", 60, over=lambda: True) == "over"


# ---------------------------------------------------------------------------------------------------------------------
# What the kernel tells


def test_read_process_tells_living_processes_only():
    child = spawn("sleep", "600")
    try:
        process = _process.read_process(child.pid)
        assert (process.parent, process.session, process.uid) == (os.getpid(), os.getsid(0), os.geteuid())
        assert abs(_kernel.age(process)) < 60
        child.kill()
        until(lambda: pathlib.Path(f"/proc/{child.pid}/stat").read_text().split(")")[-1].split()[0] == "Z")
        assert _process.read_process(child.pid) is None
    finally:
        child.kill()
        child.wait()
    assert _process.read_process(child.pid) is None


def test_a_thread_is_no_process():
    numbers, release = [], threading.Event()

    def body():
        numbers.append(threading.get_native_id())
        release.wait(30)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        until(lambda: numbers)
        assert os.path.exists(f"/proc/{numbers[0]}/stat")
        assert _process.read_process(numbers[0]) is None
    finally:
        release.set()
        thread.join()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_port_holder(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert _process.port_holder(port) is None
        listener.listen()
        holder = _process.port_holder(port)
        assert f"process {os.getpid()} of user {_process.user_name(os.geteuid())} (" in holder
        assert _process.port_holder(port, but_not=[os.getpid()]) is None
        if os.geteuid() == 0:
            assert as_nobody(lambda: _process.port_holder(port)) == (
                "a process of user root (which one is visible to root and root only)"
            )
    assert _process.port_holder(port) is None


def test_commands_of_others_are_shown_without_their_options():
    process = _process.Process(1, 1, 1, 1, 0, ("/usr/bin/python3", "server.py", "--password", "secret"))
    assert process.command == "/usr/bin/python3 server.py"
    exporter = dataclasses.replace(process, argv=("ttExporter", "-port", "1", "-x", "y"))
    assert _process.described(exporter) == "ttExporter -port 1 -x y"
    renamed = dataclasses.replace(process, argv=("worker", "-port", "1", "-pid-file", "/p", "-password", "secret"))
    assert _process.described(renamed) == "worker -port 1 -pid-file /p"
    assert dataclasses.replace(process, argv=()).command == "a process without a command line"


# ---------------------------------------------------------------------------------------------------------------------
# Start and stop


@pytest.mark.parametrize("wrapper", ['exec "$@"', '"$@"'])
@pytest.mark.parametrize(
    "settings",
    [{}, {"DETACH": "1"}, {"DETACH": "1", "DELAY": "0.3"}, {"CHILD": "named"}, {"DETACH": "1", "CHILD": "named"}],
    ids=lambda value: "-".join(value) or "foreground",
)
def test_start_inspect_stop(host, wrapper, settings):
    host.write_ttenv(wrapper)
    wanted = host.wanted(**settings)
    before = _process.inspect(wanted)
    assert (before.status, before.stale_pid_file, before.port_holder) == ("stopped", False, None)
    assert before.reason == f"there is no pid file {host.pid_file}"

    state = _process.start(wanted)
    assert (state.status, state.drift, state.adopted, state.manager) == ("running", (), False, None)
    assert state.listening
    assert state.pid == int(host.pid_file.read_text())
    assert state.certificate_directory == str(host.wallet)
    again = _process.inspect(wanted)
    assert (again.pid, again.drift, again.reason) == (
        state.pid,
        (),
        f"process {state.pid} is the one that was started and recorded",
    )
    record = json.loads(host.state_file.read_text())
    assert (record["pid"], record["argv"]) == (state.pid, wanted.utility.argv(*wanted.arguments))
    for path in (host.state_file, host.log_file, host.pid_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert failure(_process.start, wanted).startswith(
        f"cannot start the exporter on port {host.port}: process {state.pid}"
    )

    assert _process.stop(wanted, again) == ("stopped by SIGTERM")
    assert _process.port_holder(host.port) is None
    assert not host.pid_file.exists()
    assert not host.state_file.exists()
    until(lambda: not host.left())
    assert "there is no pid file" in failure(_process.stop, wanted, _process.inspect(wanted))


def test_the_world_of_the_exporter(host):
    with open(os.devnull) as inherited:
        os.set_inheritable(inherited.fileno(), True)
        state = _process.start(host.wanted())
    proc = pathlib.Path(f"/proc/{state.pid}")
    assert os.readlink(proc / "cwd") == "/"
    assert "Umask:\t0077" in (proc / "status").read_text()
    assert state.process.session == state.pid
    files = {name: os.readlink(proc / "fd" / name) for name in os.listdir(proc / "fd")}
    assert files.pop("0") == "/dev/null"
    assert (files.pop("1"), files.pop("2")) == (str(host.log_file), str(host.log_file))
    assert all(target.startswith(("socket:", "pipe:")) for target in files.values()), files


@pytest.mark.parametrize("stop_signal", ["INT", "TERM"])
def test_it_outlives_who_started_it(host, stop_signal):
    """The starter has a terminal session of its own, ignores SIGINT like a background job, and gets a hang-up when it
    is done.
    """
    reading, writing = os.pipe()
    starter = os.fork()
    if starter == 0:
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.write(writing, str(_process.start(host.wanted()).pid).encode())
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.killpg(0, signal.SIGHUP)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as stream:
        pid = int(stream.read())
    assert os.waitpid(starter, 0)[1] == signal.SIGHUP
    state = _process.inspect(host.wanted())
    assert (state.pid, state.status, state.drift) == (pid, "running", ())
    assert state.process.parent != starter
    assert _process.stop(host.wanted(), state, stop_signal) == f"stopped by SIG{stop_signal}"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"EXIT": "3", "STDERR": "first\n\n\x1b[1mport in use\n"},
            "it ended with exit status 3; it said: first | [1mport in use;",
        ),
        ({"DIE_BY": "9"}, "it was ended by signal 9 (Killed); it said nothing;"),
    ],
)
def test_one_that_dies_at_once(host, settings, text):
    host.log_file.write_text("a word of yesterday\n")
    began = time.monotonic()
    message = failure(_process.start, host.wanted(**settings), timeout=60)
    assert time.monotonic() - began < 30
    assert f"the exporter on port {host.port} did not start: {text} the log is {host.log_file}" in message
    assert host.log_file.read_text().startswith("a word of yesterday\n")
    assert not host.state_file.exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"DELAY": "60"}, "it has not written its pid file"),
        ({"DELAY": "60", "DETACH": "1"}, "it has not written its pid file"),
        ({"NO_PID_FILE": "1"}, "it has not written its pid file"),
        ({"EXIT": "0"}, "it ended with exit status 0, and no exporter runs: there is no pid file"),
        ({"DETACH": "1", "CHILD": "kept"}, "no handshake yet"),
        ({"CHILD": "named", "IGNORE": "1"}, "no handshake yet"),
    ],
)
def test_one_that_is_not_ready_in_time_is_stopped_again(host, settings, text):
    wanted = host.wanted(STDERR="warming up\n", **settings)
    message = failure(_process.start, wanted, lambda: "no handshake yet", timeout=1.0)
    assert f"the exporter on port {host.port} was not ready within 1 s and was stopped again: " in message
    assert text in message
    assert "it said: warming up;" in message
    assert host.left() == []
    assert not host.pid_file.exists()
    assert not host.state_file.exists()
    assert _process.inspect(wanted).port_holder is None


def test_ready_is_asked_until_it_holds(host):
    answers = ["no", "not yet", None]
    state = _process.start(host.wanted(), lambda: answers.pop(0))
    assert (state.status, answers) == ("running", [])


def test_a_failing_proof_leaves_nothing_running(host):
    def ready():
        raise OSError("no such CA file")

    with pytest.raises(OSError, match="no such CA file"):
        _process.start(host.wanted(), ready)
    assert host.left() == []


def test_a_taken_port_is_named_before_anything_starts(host):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", host.port))
        listener.listen()
        wanted = host.wanted()
        state = _process.inspect(wanted)
        assert f"port {host.port} is held by process {os.getpid()} of user" in state.reason
        assert f"held by process {os.getpid()} of user" in failure(_process.start, wanted)
    assert not host.log_file.exists()


def test_one_that_ignores_the_signal(host):
    wanted = host.wanted(IGNORE="1")
    state = _process.start(wanted)
    message = failure(_process.stop, wanted, state, "INT", 0.5)
    assert f"the exporter did not end within 0.5 s of SIGINT: process {state.pid}" in message
    assert "set force_kill to true" in message
    assert _process.inspect(wanted).drift == ()
    assert (
        _process.stop(wanted, state, "TERM", 0.5, force_kill=True) == "killed: it did not end within 0.5 s of SIGTERM"
    )
    assert not host.pid_file.exists()
    assert host.left() == []


@pytest.mark.parametrize(
    ("ttenv", "settings"),
    [
        ('"$@"', {}),
        ('while :; do "$@"; done', {}),
        ('while :; do "$@"; export STAND_IN_DELAY=4; done', {}),
        ('echo $$ >{pid_file}; "$@"', {"NO_PID_FILE": 1}),
        ('exec "$@"', {"CHILD": "kept"}),
    ],
    ids=[
        "a wrapper that waits",
        "a supervisor",
        "a supervisor of one that starts slowly",
        "a wrapper in the pid file",
        "a child that keeps the port",
    ],
)
def test_the_whole_family_ends(host, ttenv, settings):
    """Whoever of it the signal does not reach by itself."""
    host.write_ttenv(ttenv.format(pid_file=host.pid_file))
    wanted = host.wanted(**settings)
    state = _process.start(wanted)
    assert _process.stop(wanted, state).startswith("stopped by SIGTERM")
    assert _process.port_holder(host.port) is None
    assert host.left() == []


def test_a_child_that_keeps_the_port(host):
    host.write_ttenv('trap "" TERM\nexec "$@"')
    wanted = host.wanted(CHILD="kept")
    state = _process.start(wanted)
    message = failure(_process.stop, wanted, state, timeout=0.5)
    assert "(worker), which it started, still listens" in message
    _process.port_holder(host.port)
    host2 = _process.inspect(wanted)
    assert (host2.status, host2.stale_pid_file) == ("stopped", False)
    assert "(worker)" in host2.port_holder


def test_a_child_that_keeps_the_port_is_killed_on_request(host):
    wanted = host.wanted(CHILD="kept")
    state = _process.start(wanted)
    assert _process.stop(wanted, state, timeout=0.5, force_kill=True).startswith("killed: ")
    assert _process.port_holder(host.port) is None
    assert host.left() == []


def test_force_kills_nobody_else_of_a_start_script(host):
    """A script that starts two exporters leaves both in its own process group."""
    other = host.path / "other.pid"
    second = _ttexporter_cli.start_arguments(free_port(), str(host.wallet), False, str(other))
    wanted = host.wanted(IGNORE="1")
    tool = wanted.utility
    script = f"{' '.join(tool.argv(*wanted.arguments))} & {' '.join(tool.argv(*second))} & wait"
    host.children.append(subprocess.Popen(["sh", "-c", script], env=tool.full_environment(), start_new_session=True))
    until(lambda: other.exists() and _process.inspect(wanted).listening)
    state = _process.inspect(wanted)
    assert _process.stop(wanted, state, timeout=0.2, force_kill=True).startswith("killed: ")
    assert _process.read_process(int(other.read_text())) is not None


@pytest.mark.parametrize("kind", ["text", "link", "directory"])
def test_what_is_no_pid_file_is_no_failure_of_the_end(host, kind):
    """A takeover would go back to the former exporter, again and again."""
    wanted = host.wanted()
    state = _process.start(wanted)
    host.pid_file.unlink()
    {
        "text": lambda: host.pid_file.write_text(f"pid={state.pid}\n"),
        "link": lambda: host.pid_file.symlink_to("/etc/passwd"),
        "directory": host.pid_file.mkdir,
    }[kind]()
    assert _process.stop(wanted, state).startswith("stopped by SIGTERM")
    assert not host.state_file.exists() and host.left() == []


def test_a_pid_file_that_stays_behind_is_removed(host):
    wanted = host.wanted(KEEP_PID_FILE="1")
    _process.stop(wanted, _process.start(wanted))
    assert not host.pid_file.exists()


def test_the_log_is_appended_and_rotated(host):
    wanted = host.wanted(STDERR="hello\n")
    for count in (1, 2):
        _process.stop(wanted, _process.start(wanted))
        assert host.log_file.read_text() == "hello\n" * count
    os.truncate(host.log_file, log.LOG_LIMIT + 1)
    _process.stop(wanted, _process.start(wanted))
    assert host.log_file.read_text() == "hello\n"
    assert (host.directory / "exporter.log.1").stat().st_size == log.LOG_LIMIT + 1


def test_logs_that_are_refused(host):
    host.log_file.symlink_to(host.path / "elsewhere")
    assert f"log_file: cannot open {host.log_file}: Too many levels of symbolic links" in failure(
        _process.start, host.wanted()
    )
    host.log_file.unlink()
    os.mkfifo(host.log_file)
    assert "log_file: " in failure(_process.start, host.wanted())
    assert not (host.path / "elsewhere").exists()
    assert host.left() == []


# ---------------------------------------------------------------------------------------------------------------------
# Whose process it is


@pytest.mark.parametrize("content", ["{pid}\n", "", "\0\0\0", "4194304\n"])
def test_a_stale_pid_file_is_replaced_and_nobody_signalled(host, content):
    innocent = spawn("sleep", "600")
    host.children.append(innocent)
    host.pid_file.write_text(content.format(pid=innocent.pid))
    # The same number, recorded for a process of another time.
    host.state_file.write_text(json.dumps({"pid": innocent.pid, "start_ticks": 1, "boot_id": _process.boot_id()}))
    wanted = host.wanted()
    state = _process.inspect(wanted)
    assert (state.status, state.stale_pid_file) == ("stopped", True)
    if "{" in content:
        assert (
            state.reason
            == f"{host.pid_file} names process {innocent.pid}: that is sleep 600, the number was used again"
        )
    failure(_process.stop, wanted, state)
    assert _process.start(wanted).pid == int(host.pid_file.read_text())
    assert innocent.poll() is None


def test_the_pid_of_another_exporter_is_stale(host):
    """After a boot the pids of two exporters may be swapped."""
    other = host.path / "other"
    other.mkdir()
    arguments = _ttexporter_cli.start_arguments(free_port(), str(host.wallet), False, str(other / "exporter.pid"))
    child = host.serving(host.by_hand(arguments))
    host.pid_file.write_text(str(child.pid))
    state = _process.inspect(host.wanted())
    assert (state.status, state.stale_pid_file) == ("stopped", True)
    assert "that is another exporter" in state.reason
    assert child.poll() is None


def test_a_signal_reaches_only_the_process_that_was_seen(monkeypatch):
    child = spawn("sleep", "600")
    try:
        process = _process.read_process(child.pid)
        assert not _kernel.send_signal(
            dataclasses.replace(process, start_ticks=process.start_ticks + 1), signal.SIGKILL
        )
        assert not _kernel.send_signal(dataclasses.replace(process, uid=process.uid + 1), signal.SIGKILL)
        assert child.poll() is None
        if os.geteuid() == 0:
            message = as_nobody(lambda: _kernel.send_signal(process, signal.SIGKILL))
            assert f"nobody may not signal process {child.pid} of root (sleep 600); run as root" in message
            assert child.poll() is None
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        assert _kernel.send_signal(process, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        assert not _kernel.send_signal(process, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()


@root_only
def test_an_exporter_of_another_user_is_left_alone(host):
    arguments = ["/bin/sh", "-c", "sleep 600; :", "ttExporter", *host.wanted().arguments]
    child = spawn(
        *arguments,
        preexec_fn=lambda: os.setuid(NOBODY),
        start_new_session=True,
    )
    try:
        host.pid_file.write_text(str(child.pid))
        state = _process.inspect(host.wanted())
        assert state.status == "foreign"
        assert "that exporter is run by nobody, not by root; stop it as nobody (or root)" in state.reason
        for call in (lambda: _process.start(host.wanted()), lambda: _process.stop(host.wanted(), state)):
            assert "that exporter is run by nobody" in failure(call)
        assert child.poll() is None
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def test_pid_files_that_are_refused(host):
    wanted = host.wanted()
    host.pid_file.write_text("x" * 2000)
    assert f"pid_file: {host.pid_file} is larger than 1024 bytes" in failure(_process.inspect, wanted)
    host.pid_file.write_text("no pid")
    assert f"pid_file: {host.pid_file} holds b'no pid', no pid; remove it" in failure(_process.start, wanted)
    assert host.pid_file.read_text() == "no pid"
    host.pid_file.unlink()
    host.pid_file.symlink_to("/etc/passwd")
    assert f"pid_file: {host.pid_file} is a symbolic link" in failure(_process.inspect, wanted)
    host.pid_file.unlink()
    host.pid_file.mkdir()
    assert f"pid_file: {host.pid_file} is not a regular file" in failure(_process.inspect, wanted)
    host.pid_file.rmdir()
    os.mkfifo(host.pid_file)
    assert f"pid_file: {host.pid_file} is not a regular file" in failure(_process.inspect, wanted)
    host.pid_file.unlink()
    host.directory.chmod(0o1777)
    assert f"pid_file: {host.directory} can be written to by every user (mode 1777)" in failure(
        _process.inspect, wanted
    )
    host.directory.chmod(0o700)
    host.pid_file = host.directory / "nowhere" / "exporter.pid"
    assert _process.inspect(host.wanted()).status == "stopped"


@root_only
def test_a_pid_file_that_cannot_be_read(host):
    # The way down to it is open, the file is not.
    top = pathlib.Path(tempfile.mkdtemp())
    top.chmod(0o755)
    try:
        host.pid_file = top / "exporter.pid"
        host.pid_file.touch(mode=0o600)
        wanted = host.wanted()
        message = as_nobody(lambda: _process.inspect(wanted))
        assert (
            f"pid_file: {host.pid_file} belongs to root and cannot be read by nobody: root may run the exporter"
            in message
        )
        closed = top / "closed"
        closed.mkdir(mode=0o700)
        elsewhere = dataclasses.replace(wanted, arguments=["-port", "1", "-pid-file", str(closed / "x/p")])
        assert f"pid_file: cannot look into {closed}" in as_nobody(lambda: _process.inspect(elsewhere))
    finally:
        shutil.rmtree(top)


def test_without_a_record_owner_and_command_line_decide(host):
    child = host.serving(host.by_hand())
    until(host.pid_file.exists)
    state = _process.inspect(host.wanted())
    assert (state.status, state.pid, state.drift, state.adopted) == ("running", child.pid, (), False)
    assert state.reason.endswith("told by owner and command line")


@pytest.mark.parametrize("recorded", [True, False])
def test_an_exporter_whose_pid_file_was_lost_is_found(host, recorded):
    host.write_ttenv('"$@"')
    wanted = host.wanted()
    pid = _process.start(wanted).pid
    host.pid_file.unlink()
    if not recorded:
        host.state_file.unlink()
    state = _process.inspect(wanted)
    assert (state.status, state.pid, state.drift) == ("running", pid, ())
    assert state.adopted
    assert f"there is no pid file {host.pid_file}; process {pid} " in state.reason
    new = _process.restart(wanted, state)
    assert (new.adopted, new.pid == pid) == (False, False)
    assert len(host.pid_file.read_text()) > 1


def test_one_started_by_hand_with_another_pid_file_is_adopted(host):
    """The utility's manual starts it with a pid file in /tmp."""
    other = host.path / "hand.pid"
    arguments = _ttexporter_cli.start_arguments(host.port, str(host.wallet), False, str(other))
    child = host.serving(host.by_hand(arguments))
    until(other.exists)
    wanted = host.wanted(KEEP_PID_FILE="1")
    state = _process.inspect(wanted)
    assert (state.status, state.pid, state.adopted) == ("running", child.pid, True)
    assert f"pid file {other} -> {host.pid_file}" in state.drift
    threading.Thread(target=child.wait).start()
    assert _process.restart(wanted, state).drift == ()
    assert not other.exists()


def test_the_exporter_of_another_directory_or_instance_is_not_adopted(host):
    other = host.path / "other"
    other.mkdir()
    (other / "state.json").write_text("{}")
    arguments = _ttexporter_cli.start_arguments(host.port, str(other), False, str(other / "exporter.pid"))
    child = host.serving(host.by_hand(arguments))
    state = _process.inspect(host.wanted())
    assert (state.status, state.held_by_neighbour) == ("stopped", True)
    assert f"port {host.port} is held by process {child.pid} of user" in state.reason
    (other / "state.json").unlink()
    assert _process.inspect(host.wanted()).status == "running"
    moved = dataclasses.replace(host.wanted().utility, timesten_home=str(host.path / "second"))
    assert _process.inspect(dataclasses.replace(host.wanted(), utility=moved)).status == "stopped"


def test_two_that_share_a_port(host):
    wanted = host.wanted(REUSEPORT="1")
    state = _process.start(wanted)
    other = host.path / "other.pid"
    arguments = _ttexporter_cli.start_arguments(host.port, str(host.wallet), False, str(other))
    second = host.serving(host.by_hand(arguments, REUSEPORT="1"))
    now = _process.inspect(wanted)
    assert (now.pid, now.listening) == (state.pid, True)
    assert now.drift == (f"port {host.port} is held by {now.port_holder}",)
    assert f"process {second.pid} of user" in now.port_holder
    assert f"process {state.pid} was left as it is" in failure(_process.restart, wanted, now)
    assert _process.inspect(wanted).pid == state.pid
    host.pid_file.unlink()
    host.state_file.unlink()
    message = failure(_process.inspect, wanted)
    assert "several processes may be this exporter: " in message
    assert str(second.pid) in message


# ---------------------------------------------------------------------------------------------------------------------
# Drift and restart


def test_drift_of_everything(host):
    wanted = host.wanted({"TNS_ADMIN": "/one"})
    state = _process.start(wanted)

    def drift(**changes):
        return _process.inspect(dataclasses.replace(wanted, **changes)).drift

    def arguments(port=host.port, wallet=host.wallet, **keywords):
        return _ttexporter_cli.start_arguments(
            port, str(wallet), pid_file=str(host.pid_file), **{"insecure": False, **keywords}
        )

    assert drift() == ()
    assert drift(arguments=[*wanted.arguments[2:], *wanted.arguments[:2]]) == ()
    port = free_port()
    assert drift(arguments=arguments(port)) == (f"port {host.port} -> {port}", f"it does not listen on port {port}")
    second = host.directory / "generations" / "b"
    assert drift(arguments=arguments(wallet=second)) == (f"wallet {host.wallet} -> {second}",)
    (host.directory / "current").symlink_to("generations/a")
    assert drift(arguments=arguments(wallet=host.directory / "current")) == ()
    assert drift(arguments=arguments(rate_option="limit-rate", rate_limit=15)) == ("rate limit not given -> 15",)
    assert drift(arguments=arguments(insecure=True))[0] == "mode mutual TLS -> insecure"
    assert drift(utility=_ttexporter_cli.Utility(str(host.home), {"TNS_ADMIN": "/two"})) == ("environment",)
    moved = host.path / "moved"
    shutil.copytree(host.home, moved)
    assert drift(utility=_ttexporter_cli.Utility(str(moved), wanted.utility.environment)) == (
        f"timesten_home {host.home} -> {moved}",
        "ttExporter was replaced since the start",
    )
    os.utime(host.home / "bin" / "ttExporter", (1, 1))
    assert drift() == ("ttExporter was replaced since the start",)
    shutil.rmtree(host.home)
    assert _process.stop(wanted, _process.inspect(wanted)) == "stopped by SIGTERM"
    assert state.drift == ()


def test_drift_without_a_record(host):
    (host.directory / "current").symlink_to("generations/a")
    arguments = [
        "-port",
        str(host.port),
        "-certificate-directory",
        "exporter/current",
        "-pid-file",
        "exporter/exporter.pid",
    ]
    tool = host.wanted().utility
    child = subprocess.Popen(tool.argv(*arguments), env=tool.full_environment(), cwd=host.path, start_new_session=True)
    host.children.append(child)
    host.serving(child)
    until(host.pid_file.exists)
    state = _process.inspect(host.wanted({"TNS_ADMIN": "/x"}))
    assert (state.pid, state.certificate_directory) == (child.pid, str(host.wallet))
    assert state.drift == (
        "wallet: it was started through the link exporter/current, so what it serves cannot be told",
        "environment: TNS_ADMIN not set",
    )


def test_restart_moves_it(host):
    wanted = host.wanted()
    old = _process.start(wanted)
    host.port, host.wallet = free_port(), host.directory / "generations" / "b"
    wanted = host.wanted(DETACH="1")
    state = _process.inspect(wanted)
    assert len(state.drift) == 4
    new = _process.restart(wanted, state)
    assert (new.drift, new.certificate_directory) == ((), str(host.wallet))
    assert new.pid != old.pid
    assert [pid for pid in host.left() if pid != new.pid] == []


def test_restart_to_a_taken_port_leaves_the_old_one_running(host):
    old = _process.start(host.wanted())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        host.port = listener.getsockname()[1]
        wanted = host.wanted()
        message = failure(_process.restart, wanted, _process.inspect(wanted))
    assert f"held by process {os.getpid()} of user" in message
    assert _process.inspect(wanted).pid == old.pid


def test_a_starting_process_is_given_time(host):
    child = host.by_hand(DELAY="1.5")
    host.pid_file.write_text(str(child.pid))
    until(lambda: _process.exporter_options(_process.read_process(child.pid).argv) is not None)
    wanted = host.wanted()
    assert _process.inspect(wanted).drift == (f"it does not listen on port {host.port}",)
    assert _process.inspect(wanted, settle=30).drift == ()


def supervise(host, monkeypatch, wanted, rounds=2):
    """Keep an exporter running as a unit with Restart=always does; that /proc names the unit and systemd calls it active
    is pretended.
    """
    monkeypatch.setattr(systemd, "manager", lambda pid: "ttexporter-exp1.service")
    monkeypatch.setattr(systemd, "active_state", lambda unit: "active")
    # The command is in a file: systemd's own command line is no exporter's, which would end with it.
    loop = host.directory / "unit.sh"
    numbers = " ".join(str(number) for number in range(rounds))
    loop.write_text(f"for round in {numbers}; do {shlex.join(wanted.utility.argv(*wanted.arguments))}; done")
    child = subprocess.Popen(
        ["/bin/sh", str(loop)],
        env=wanted.utility.full_environment(),
        start_new_session=True,
    )
    host.children.append(child)
    until(lambda: _process.inspect(wanted).listening)
    return _process.inspect(wanted)


def test_a_managed_exporter_is_restarted_by_its_unit(host, monkeypatch):
    wanted = host.wanted()
    old = supervise(host, monkeypatch, wanted)
    assert old.manager == "ttexporter-exp1.service"
    assert "systemctl disable --now ttexporter-exp1.service" in failure(_process.stop, wanted, old)
    answers = ["no handshake", None]
    new = _process.restart(wanted, old, lambda: answers.pop(0))
    assert (new.status, new.drift, answers) == ("running", (), [])
    assert new.pid not in (old.pid, None)
    assert json.loads(host.state_file.read_text())["pid"] == new.pid
    message = failure(_process.restart, wanted, new, start_timeout=0.5)
    assert "the systemd unit ttexporter-exp1.service did not bring it back as wanted within 0.5 s: " in message


def test_a_unit_that_starts_something_else_is_told(host, monkeypatch):
    wanted = host.wanted()
    old = supervise(host, monkeypatch, wanted)
    arguments = _ttexporter_cli.start_arguments(
        host.port, str(host.directory / "generations" / "b"), False, str(host.pid_file)
    )
    changed = dataclasses.replace(wanted, arguments=arguments)
    message = failure(_process.restart, changed, old, start_timeout=1.0)
    assert f"differs: wallet {host.wallet} -> {host.directory}/generations/b" in message


def test_a_snapshot_is_read_once(host, monkeypatch):
    """One look at /proc serves the questions about all exporters of a host."""
    wanted = host.wanted()
    state = _process.start(wanted)
    snapshot = _process.Snapshot()
    monkeypatch.setattr(_kernel, "processes", lambda: pytest.fail("/proc was scanned again"))
    monkeypatch.setattr(_kernel, "all_listeners", lambda: pytest.fail("the sockets were read again"))
    host.port, host.pid_file = free_port(), host.directory / "other.pid"
    host.state_file = host.directory / "state.json.other"
    assert _process.inspect(wanted, snapshot=snapshot).pid == state.pid
    assert _process.inspect(host.wanted(), snapshot=snapshot).status == "stopped"


@pytest.mark.parametrize("state", ["activating", "failed"])
def test_a_unit_has_to_be_active(host, monkeypatch, state):
    """systemd may have the process and still wait for its pid file, or count it as failed."""
    wanted = dataclasses.replace(host.wanted(), unit="ttexporter-exp1.service")
    supervise(host, monkeypatch, wanted)
    assert _process.inspect(wanted).drift == ()
    monkeypatch.setattr(systemd, "active_state", lambda unit: state)
    now = _process.inspect(wanted)
    assert (now.drift, now.starting) == ((f"ttexporter-exp1.service is {state}",), state == "activating")


def test_our_own_unit_is_no_manager(host):
    state = _process.start(host.wanted())
    assert state.manager is None
    assert systemd.manager(os.getpid()) is None


@pytest.mark.parametrize(
    ("booted", "file", "said", "managed"),
    [
        (True, True, "not-found", True),
        (True, False, "loaded", True),
        (True, False, "not-found", False),
        (True, False, None, True),
        (False, False, "not-found", True),
    ],
)
def test_a_removed_unit_is_no_manager(host, monkeypatch, tmp_path, booted, file, said, managed):
    """What a unit has started runs on when its file is removed, and nobody brings it back."""
    state = _process.start(host.wanted())

    def systemctl(*arguments):
        if said is None:
            raise TimesTenError("no answer")
        return f"{said}\n"

    monkeypatch.setattr(systemd, "UNIT_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(systemd, "runs_this_host", lambda: booted)
    monkeypatch.setattr(systemd, "systemctl", systemctl)
    monkeypatch.setattr(systemd, "proc_text", lambda pid, name: f"0::/system.slice/of-{pid}.service\n")
    unit = f"of-{state.pid}.service"
    if file:
        (tmp_path / unit).touch()
    assert systemd.manager(state.pid) == (unit if managed else None)
    # What a user's own systemd, or that of a container, runs is not this host's systemd's to know.
    for above in ("/user.slice/user-1000.slice/user@1000.service/app.slice", "/machine.slice/c1.scope"):
        monkeypatch.setattr(systemd, "proc_text", lambda pid, name, above=above: f"0::{above}/of-{pid}.service\n")
        assert systemd.manager(state.pid) == unit


# ---------------------------------------------------------------------------------------------------------------------
# With the reference exporter: real wallets, real handshakes


@pytest.mark.parametrize(
    ("run", "rate_option"), [("foreground", "limit-rate"), ("detach", "limitRate"), ("foreground", "absent")]
)
def test_with_the_reference_exporter(host, run, rate_option):
    pytest.importorskip("prometheus_client", reason="the reference exporter needs prometheus_client")
    (host.home / "conf").mkdir()
    (host.home / "conf" / "timesten.conf").write_text("instance_guid=C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43\n")
    (host.home / "bin" / "ttExporter").write_text(f"#!{sys.executable}\n{REFERENCE_EXPORTER.read_text()}")
    variants = {"RUN": run, "RATE_OPTION": rate_option, "START_DELAY": "0.3"}
    tool = _ttexporter_cli.Utility(
        str(host.home), {f"REFERENCE_EXPORTER_{name}": value for name, value in variants.items()}
    )
    option = tool.rate_option()
    assert option == (None if rate_option == "absent" else rate_option)

    wanted = {}
    for name in ("a", "b"):
        wallet = host.directory / "generations" / name
        wallet.chmod(0o700)
        tool.create_server_certificate(str(wallet), "localhost", ["localhost", "exp1.example.com"])
        tool.export_server_certificate(str(wallet), str(wallet / "server.crt"))
        tool.export_client_pair(str(wallet), str(wallet / "client.crt"), str(wallet / "client.key"))
        assert stat.S_IMODE((wallet / "client.key").stat().st_mode) == 0o600
        arguments = _ttexporter_cli.start_arguments(
            host.port, str(wallet), False, str(host.pid_file), option, 15 if option else None
        )
        wanted[name] = _process.Wanted(tool, arguments, str(host.state_file), str(host.log_file))

    def handshake(name):
        files = [
            str(host.directory / "generations" / name / file) for file in ("server.crt", "client.crt", "client.key")
        ]
        outcome = _tls_probe.tls("127.0.0.1", host.port, *files, server_name="localhost")
        return None if outcome.status == _tls_probe.ACCEPTED else f"{outcome.status}: {outcome.detail}"

    state = _process.start(wanted["a"], lambda: handshake("a"))
    assert (state.status, state.drift) == ("running", ())
    assert handshake("b").startswith("untrusted: ")
    now = _process.inspect(wanted["b"])
    assert now.drift == (f"wallet {host.directory}/generations/a -> {host.directory}/generations/b",)
    new = _process.restart(wanted["b"], now, lambda: handshake("b"))
    assert (new.drift, new.pid != state.pid) == ((), True)
    message = failure(_process.restart, wanted["a"], _process.inspect(wanted["a"]), lambda: handshake("b"), 2.0)
    assert "was not ready within 2 s and was stopped again: untrusted: " in message
    assert (host.left(), _process.port_holder(host.port)) == ([], None)
    for stop_signal in ("TERM", "INT"):
        state = _process.start(wanted["a"], lambda: handshake("a"))
        assert _process.stop(wanted["a"], state, stop_signal) == f"stopped by SIG{stop_signal}"
    shutil.rmtree(host.wallet / ".ttwallet.C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43")
    message = failure(_process.start, wanted["a"], lambda: handshake("a"), 10)
    assert "did not start: it ended with exit status 1; it said: " in message or run == "detach"
    assert host.left() == []


def reference(host, **variants):
    """Return what is wanted, insecure and of the reference exporter, its variants as keywords."""
    pytest.importorskip("prometheus_client", reason="the reference exporter needs prometheus_client")
    conf = host.home / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "timesten.conf").write_text("instance_guid=C76FCD9A-E5C8-4AC5-A73D-7DAB72203E43\n")
    lines = [f"REFERENCE_EXPORTER_{name}={value}\n" for name, value in variants.items()]
    (conf / "reference_exporter.env").write_text("".join(lines))
    (host.home / "bin" / "ttExporter").write_text(f"#!{sys.executable}\n{REFERENCE_EXPORTER.read_text()}")
    arguments = _ttexporter_cli.start_arguments(host.port, None, True, str(host.pid_file))
    mark = {"MARK": str(host.path)}
    return _process.Wanted(
        _ttexporter_cli.Utility(str(host.home), mark), arguments, str(host.state_file), str(host.log_file)
    )


WAYS = [
    {"NAME": "exec"},
    {"NAME": "exec", "RUN": "detach"},
    {"NAME": "rewritten"},
    {"NAME": "rewritten", "RUN": "detach", "PID_FILE_DELAY": "0.5"},
    {"NAME": "exec", "RUN": "detach", "PID_FILE_DELAY": "3", "PID_FILE": "blanks"},
    {"RUN": "child", "PID_FILE": "blanks"},
    {"NAME": "exec", "RUN": "child"},
    {"NOISE": "locale", "PID_FILE": "blanks"},
]


def way(variants):
    """Name a way in the list of tests."""
    return "-".join(variants.values())


@pytest.mark.parametrize("variants", WAYS, ids=way)
def test_whatever_it_calls_itself(host, variants):
    wanted = reference(host, **variants)
    state = _process.start(wanted)
    assert (state.status, state.drift, state.adopted) == ("running", (), False)
    again = _process.inspect(wanted)
    assert (again.pid, again.drift) == (state.pid, ())
    new = _process.restart(wanted, again)
    assert new.pid != state.pid
    # As after a boot, or by hand: nothing is recorded.
    host.state_file.unlink()
    by_hand = _process.inspect(wanted)
    assert (by_hand.status, by_hand.pid) == ("running", new.pid)
    assert _process.stop(wanted, by_hand).startswith("stopped by SIGTERM")
    assert _process.port_holder(host.port) is None
    until(lambda: not host.left())
    assert not host.pid_file.exists()


@pytest.mark.parametrize("variants", [{"NAME": "exec"}, {"NAME": "exec", "RUN": "detach"}], ids=way)
def test_one_of_another_name_whose_pid_file_was_lost(host, variants):
    wanted = reference(host, **variants)
    state = _process.start(wanted)
    host.state_file.unlink()
    host.pid_file.unlink()
    now = _process.inspect(wanted)
    assert (now.status, now.pid, now.adopted) == ("running", state.pid, True)
    _process.stop(wanted, now)
    assert _process.port_holder(host.port) is None


def test_one_that_nobody_can_tell_is_named(host):
    wanted = reference(host, NAME="rewritten")
    state = _process.start(wanted)
    host.state_file.unlink()
    host.pid_file.unlink()
    now = _process.inspect(wanted)
    assert (now.status, now.held_by_neighbour) == ("stopped", False)
    assert f"port {host.port} is held by process {state.pid} of user" in now.reason


def test_who_has_started_it_is_not_taken_for_it(host):
    """The pid file names the parent, a shell for example, which is of our user and older than the file, too."""
    child = host.serving(host.by_hand(NO_PID_FILE=1))
    host.pid_file.write_text(f"{os.getpid()}\n")
    state = _process.inspect(host.wanted())
    assert (state.status, state.pid) == ("running", child.pid)


@pytest.mark.parametrize("content", ["0", "-1", "99999999999", "pid"])
def test_a_start_that_fails_leaves_no_pid_file(host, content):
    """Else the next start would be told that it is somebody's."""
    host.write_ttenv(f'echo {content} >{host.pid_file}; exec "$@"')
    assert f"holds b'{content}', no pid" in failure(_process.start, host.wanted(NO_PID_FILE=1), timeout=0.5)
    assert not host.pid_file.exists()
    assert host.left() == []


@root_only
def test_a_start_that_fails_ends_what_has_become_another_users(host):
    host.write_ttenv('setpriv --reuid 65534 --clear-groups sleep 600 &\nexec "$@"')
    failure(_process.start, host.wanted(DELAY=600), timeout=1)
    assert host.left() == []


def test_an_old_pid_file_does_not_make_a_process_ours(host):
    """It has our port and is of our user, but the file that has its number was written before it began."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", host.port))
        listener.listen()
        host.pid_file.write_text(f"{os.getpid()}\n")
        os.utime(host.pid_file, (1, 1))
        assert _process.inspect(host.wanted()).status == "stopped"


def test_a_slow_end_is_followed(host):
    wanted = reference(host, STOP_DELAY="2")
    old = _process.start(wanted)
    new = _process.restart(wanted, old, stop_timeout=0.5)
    assert new.pid != old.pid
    assert _process.inspect(wanted).pid == new.pid
    began = time.monotonic()
    how = _process.stop(wanted, _process.inspect(wanted), timeout=0.5)
    assert re.fullmatch(r"stopped by SIGTERM, which took [2-9] s", how)
    assert 1.5 < time.monotonic() - began < 30


def test_a_signal_without_effect_names_the_other(host):
    wanted = host.wanted(IGNORE="1")
    message = failure(_process.stop, wanted, _process.start(wanted), "TERM", 0.3)
    assert (
        "give it longer (stop_timeout), use the other signal (stop_signal: INT), or set force_kill to true" in message
    )


def test_what_comes_back_after_the_stop_is_named(host):
    """A script that starts the exporter again whenever it ends."""
    wanted = host.wanted()
    loop = f"while :; do {shlex.join(wanted.utility.argv(*wanted.arguments))}; done"
    variables = wanted.utility.full_environment()
    host.children.append(subprocess.Popen(["sh", "-c", loop], env=variables, start_new_session=True))
    until(lambda: _process.inspect(wanted).listening)
    state = _process.inspect(wanted)
    # Whichever comes first: it is back when the stop looks, or at the next look.
    try:
        _process.stop(wanted, state)
    except TimesTenError as error:
        assert f"port {host.port} is served by process" in error.message
        assert error.details["changed"] is True
    until(lambda: _process.inspect(wanted).listening)


# ---------------------------------------------------------------------------------------------------------------------
# The log


def lines_of(path):
    """Return how many lines a log has."""
    return path.read_text().count("\n")


def refuse_a_client(host, wanted_lines, path):
    """Have the exporter write a line, about a client that is refused, until the log has some."""

    def refused():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", host.port), 5) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            client.recv(1)
        return lines_of(path) >= wanted_lines

    until(refused)


def test_the_log_and_logrotate(host):
    """copytruncate and a file that was renamed: nothing is lost but what was copied, and no hole comes into being."""
    wanted = reference(host)
    tool = wanted.utility
    tool.create_server_certificate(str(host.wallet), "localhost", ["localhost"])
    host.wallet.chmod(0o700)
    arguments = _ttexporter_cli.start_arguments(host.port, str(host.wallet), False, str(host.pid_file))
    wanted = dataclasses.replace(wanted, arguments=arguments)
    state = _process.start(wanted)
    refuse_a_client(host, 3, host.log_file)
    shutil.copy(host.log_file, host.directory / "exporter.log-1")
    os.truncate(host.log_file, 0)
    refuse_a_client(host, 1, host.log_file)
    assert "\0" not in host.log_file.read_text()
    renamed = host.directory / "exporter.log-2"
    host.log_file.rename(renamed)
    refuse_a_client(host, lines_of(renamed) + 1, renamed)
    assert not host.log_file.exists()
    new = _process.restart(wanted, state)
    assert new.drift == ()
    refuse_a_client(host, 2, host.log_file)
