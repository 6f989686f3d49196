# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The utility's command line: real processes of a stand-in."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import sys
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import utility as _ttexporter_cli
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.processes import read_process

STAND_IN = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "stand_in_exporter.py"


@pytest.fixture(name="home")
def make_home(tmp_path):
    """Return an instance's home with the stand-in."""
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "ttExporter").write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    (home / "bin" / "ttenv").write_text(f'#!/bin/sh\nexport TIMESTEN_HOME={home} PATH={home}/bin:$PATH\nexec "$@"\n')
    for name in ("ttExporter", "ttenv"):
        (home / "bin" / name).chmod(0o755)
    return home


@pytest.fixture(name="directory")
def make_directory(tmp_path):
    """Return a fresh directory for certificates."""
    path = tmp_path / "certificates"
    path.mkdir(mode=0o700)
    return path


def utility(home, **settings):
    """Return the stand-in with STAND_IN_* variables."""
    return _ttexporter_cli.Utility(str(home), {f"STAND_IN_{name}": value for name, value in settings.items()})


def failure(call, *arguments, **keywords):
    """Return the error that a call has to end in."""
    with pytest.raises(TimesTenError) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("no option here - only prose, well-known and mTLS-enabled", set()),
        ("ttExporter -h | -help", {"h", "help"}),
        ("-h|-help,-port", {"h", "help", "port"}),
        ("[-rsa-key-size bits] [-limitRate n]", {"rsa-key-size", "limitRate"}),
        ("  -port <p>     the port; see -insecure.\n  (-pid-file)", {"port", "insecure", "pid-file"}),
        ("the file pid-file is not -a-", {"a"}),
    ],
)
def test_parse_help(text, expected):
    assert _ttexporter_cli.parse_help(text) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), None),
        (("port", "limit", "rate", "limit-rates", "rate-limited", "certificate-directory"), None),
        (("port", "limit-rate"), "limit-rate"),
        (("limitRate",), "limitRate"),
        (("rate-limit",), "rate-limit"),
        (("RATE_LIMIT",), "RATE_LIMIT"),
        (("RateLimit",), "RateLimit"),
        (("limitrate",), "limitrate"),
        (("limitRate", "limit-rate"), "limit-rate"),
    ],
)
def test_find_rate_option(options, expected):
    assert _ttexporter_cli.find_rate_option(options) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["-port", "1", "-insecure", "-pid-file", "/p"], {"port": "1", "insecure": None, "pid-file": "/p"}),
        (["stray", "-insecure"], {"insecure": None}),
        (["-port", "1", "2", "-port", "3"], {"port": "3"}),
    ],
)
def test_parse_options(arguments, expected):
    assert _ttexporter_cli.parse_options(arguments) == expected


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({}, ["-port", "12345", "-certificate-directory", "/w", "-pid-file", "/p"]),
        ({"insecure": True}, ["-insecure", "-port", "12345", "-pid-file", "/p"]),
        ({"insecure": True, "certificate_directory": None}, ["-insecure", "-port", "12345", "-pid-file", "/p"]),
        (
            {"rate_option": "limitRate", "rate_limit": 15},
            ["-port", "12345", "-certificate-directory", "/w", "-pid-file", "/p", "-limitRate", "15"],
        ),
        ({"rate_option": "limitRate"}, ["-port", "12345", "-certificate-directory", "/w", "-pid-file", "/p"]),
    ],
)
def test_start_arguments(keywords, expected):
    given = {"port": 12345, "certificate_directory": "/w", "insecure": False, "pid_file": "/p", **keywords}
    assert _ttexporter_cli.start_arguments(**given) == expected
    assert _ttexporter_cli.parse_options(expected)["port"] == "12345"


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"certificate_directory": None}, "mutual TLS needs a certificate_directory"),
        ({"certificate_directory": "w"}, "certificate_directory: 'w' is not an absolute path"),
        ({"pid_file": "p"}, "pid_file: 'p' is not an absolute path"),
        ({"rate_limit": 3}, "rate_limit: 3 cannot be set"),
    ],
)
def test_start_arguments_refused(keywords, text):
    given = {"port": 12345, "certificate_directory": "/w", "insecure": False, "pid_file": "/p", **keywords}
    assert text in failure(_ttexporter_cli.start_arguments, **given).message


@pytest.mark.parametrize(
    ("settings", "listed"),
    [
        ({}, "limit-rate"),
        ({"HELP": "-port -limitRate"}, "limitRate"),
        ({"HELP": "-port p"}, None),
        ({"HELP_STDERR": "1", "HELP_EXIT": "2"}, "limit-rate"),
    ],
)
def test_help_by_either_stream_and_any_status(home, settings, listed):
    tool = utility(home, **settings)
    assert "port" in tool.options()
    assert tool.rate_option() == listed


def test_help_that_is_none(home):
    error = failure(utility(home, EXIT="3", STDERR="\nlibtten.so: not found\nmore\n").options)
    assert "ttExporter -help listed no -port (exit status 3): libtten.so: not found;" in error.message
    assert error.details["rc"] == 3


@pytest.mark.parametrize("settings", [{"HELP": " "}, {"EXIT": "3"}, {"HANG": "1"}], ids=lambda value: next(iter(value)))
def test_without_help_there_is_no_rate_option(home, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(_ttexporter_cli, "_HELP_TIMEOUT", 1.0)
    settings = {name: str(tmp_path / "pid") if name == "HANG" else value for name, value in settings.items()}
    if "HANG" in settings:
        script = home / "bin" / "ttExporter"
        script.write_text(
            script.read_text().replace('if "-help" in sys.argv:', 'if "-help" in sys.argv and not setting("HANG"):')
        )
    assert utility(home, **settings).rate_option() is None
    shutil.rmtree(home / "bin")
    assert "ttenv does not exist" in failure(utility(home).rate_option).message


PERL = """\
perl: warning: Setting locale failed.
perl: warning: Please check that your locale settings:
\tLANGUAGE = (unset),
\tLC_ALL = "xx_XX",
    are supported and installed on your system.
perl: warning: Falling back to the standard locale ("C").
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("one\ntwo\n", "one"),
        ("/bin/sh: warning: setlocale: LC_ALL: cannot change locale (xx)\n15002: busy\n", "15002: busy"),
        (f"{PERL}15002: busy\nsecond\n", "15002: busy"),
        ("starting\n12345: cannot open the wallet\nUsage: ttExporter\n", "12345: cannot open the wallet"),
        ("Traceback (most recent call last):\n  File x\nOSError: denied\n", "OSError: denied"),
        ("warning: odd\n", "warning: odd"),
    ],
)
def test_the_line_that_says_what_failed(text, line):
    assert _ttexporter_cli.telling_line(text) == line
    assert _ttexporter_cli.telling_line("", text) == line


def test_run_gives_a_clean_world(home, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SSH_CONNECTION", "somewhere")
    tool = _ttexporter_cli.Utility(str(home), {"TNS_ADMIN": "/some/where; echo $HOME", "PATH": "/usr/bin:/bin"})
    seen = json.loads(tool.run(["-say", "a b;$(c)"], cwd=str(home)))
    assert seen["argv"] == ["-say", "a b;$(c)"]
    assert seen["cwd"] == str(home)
    assert (seen["umask"], seen["stdin"]) == (0o077, "")
    assert seen["environment"]["LC_ALL"] == "C"
    assert seen["environment"]["TNS_ADMIN"] == "/some/where; echo $HOME"
    assert seen["environment"]["TIMESTEN_HOME"] == str(home)
    assert seen["environment"]["PATH"] == f"{home}/bin:/usr/bin:/bin"
    assert "SSH_CONNECTION" not in seen["environment"]
    assert json.loads(tool.run([], umask=0o022))["umask"] == 0o022


def test_run_fails_with_the_first_line(home):
    error = failure(
        utility(home, EXIT="4", STDERR="\n  12345: no such wallet\nsecond\n").run, ["-export-server-certificate", "/x"]
    )
    assert "ttExporter -export-server-certificate failed with exit status 4: 12345: no such wallet;" in error.message
    assert f"{home}/bin/ttenv ttExporter -export-server-certificate /x" in error.message
    assert error.details["cmd"] == [f"{home}/bin/ttenv", "ttExporter", "-export-server-certificate", "/x"]
    assert (error.details["rc"], error.details["stdout"]) == (4, "")
    assert error.details["stderr"].endswith("second\n")
    assert "it printed nothing" in failure(utility(home, EXIT="1").run, ["-x"]).message


def test_a_hanging_command_is_killed_with_its_children(home, tmp_path):
    mark = tmp_path / "pid"
    began = time.monotonic()
    error = failure(utility(home, HANG=str(mark), STDERR="working\n").run, ["-x"], timeout=2.0)
    assert time.monotonic() - began < 30
    assert "did not end within 2 s and was killed: working" in error.message
    deadline = time.monotonic() + 5
    while read_process(int(mark.read_text())) is not None:
        assert time.monotonic() < deadline, "the child of the command lives on"
        time.sleep(0.02)


def test_what_is_missing_is_named(home, tmp_path):
    def message(path):
        return failure(utility(path).run, ["-help"]).message

    assert "timesten_home: 'relative' is not an absolute path" in message("relative")
    assert f"timesten_home: {tmp_path}/nowhere is not a directory" in message(tmp_path / "nowhere")
    (home / "bin" / "ttExporter").rename(home / "bin" / "other")
    assert f"{home}/bin/ttExporter cannot be used: No such file" in message(home)
    (home / "bin" / "ttenv").chmod(0o644)
    assert f"{home}/bin/ttenv cannot be executed by" in message(home)
    (home / "bin" / "ttenv").unlink()
    assert f"{home}/bin/ttenv does not exist" in message(home)


def test_a_ttenv_that_the_system_cannot_execute(home):
    (home / "bin" / "ttenv").write_text("#!/no/such/interpreter\n")
    assert f"cannot run {home}/bin/ttenv ttExporter -help in /: " in failure(utility(home).options).message


@pytest.mark.parametrize("environment", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}, {"A\0": "x"}])
def test_impossible_variables_are_refused(home, environment):
    assert "environment: " in failure(_ttexporter_cli.Utility(str(home), environment).options).message


def test_fingerprint_of_the_environment(home):
    def fingerprint(**environment):
        return _ttexporter_cli.Utility(str(home), environment).environment_sha256()

    assert fingerprint(A="1", B="2") == fingerprint(B="2", A="1")
    assert len({fingerprint(), fingerprint(A="1"), fingerprint(A="2"), fingerprint(B="1")}) == 4


def test_executable_identity_tells_an_upgrade(home):
    before = utility(home).executable_identity()
    assert before == utility(home).executable_identity()
    program = home / "bin" / "ttExporter"
    program.rename(home / "bin" / "new")
    program.symlink_to("new")
    assert utility(home).executable_identity() == (str(home / "bin" / "new"), *before[1:])
    os.utime(program, ns=(1, 1))
    assert utility(home).executable_identity()[1] == 1


def test_create_passes_only_what_is_given(home, directory):
    tool = utility(home)
    seen = {}

    def run(self, arguments, **keywords):
        seen.update(json.loads(original(self, arguments, **keywords)))
        return ""

    original = _ttexporter_cli.Utility.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ttexporter_cli.Utility, "run", run)
        wallet = tool.create_server_certificate(str(directory))
        assert seen["argv"] == ["-create-server-certificate", "-certificate-directory", str(directory)]
        other = directory / "other"
        other.mkdir()
        tool.create_server_certificate(str(other), "exp1.example.com", ["exp1.example.com", "10.0.0.1"], 3072)
    assert wallet == str(directory / ".ttwallet.G" / "cwallet.sso")
    assert seen["argv"] == [
        "-create-server-certificate",
        *("-rsa-key-size", "3072"),
        *("-certificate-common-name", "exp1.example.com"),
        *("-certificate-alt-names", "exp1.example.com,10.0.0.1"),
        *("-certificate-directory", str(other)),
    ]
    assert seen["cwd"] == str(other)
    assert stat.S_IMODE(os.stat(wallet).st_mode) == 0o600
    assert (
        "is only ever created in a fresh directory" in failure(tool.create_server_certificate, str(directory)).message
    )


def test_exports(home, directory):
    tool = utility(home)
    names = [str(directory / name) for name in ("server.crt", "client.crt", "client.key")]
    tool.export_server_certificate(str(directory), names[0])
    tool.export_client_pair(str(directory), names[1], names[2])
    for name in names:
        assert pathlib.Path(name).read_text() == "content"
        assert stat.S_IMODE(os.stat(name).st_mode) == 0o600
    assert f"{names[0]} exists already" in failure(tool.export_server_certificate, str(directory), names[0]).message
    assert (
        "exists already"
        in failure(tool.export_client_pair, str(directory), str(directory / "new.crt"), names[2]).message
    )
    assert not (directory / "new.crt").exists()
    assert (
        "'relative' is not an absolute path"
        in failure(tool.export_server_certificate, str(directory), "relative").message
    )


@pytest.mark.parametrize(
    ("content", "text"), [("nothing", "cannot be found: No such file"), ("empty", "is empty; is the file system full?")]
)
def test_success_without_the_file_is_none(home, directory, content, text):
    tool = utility(home, WRITE=content)
    certificate, key = str(directory / "client.crt"), str(directory / "client.key")
    assert f"{certificate} {text}" in failure(tool.export_server_certificate, str(directory), certificate).message
    (directory / "client.crt").unlink() if content == "empty" else None
    message = failure(tool.export_client_pair, str(directory), certificate, key).message
    assert "-export-client-certificate reported success, but" in message
    assert text in message
    wallet = "left 0 wallets" if content == "nothing" else text
    assert wallet in failure(tool.create_server_certificate, str(directory)).message


def test_wallets(tmp_path):
    assert _ttexporter_cli.wallets(str(tmp_path / "nowhere")) == []
    for name in (".ttwallet.b", ".ttwallet.a", ".ttwallet.without", "ttwallet.c"):
        (tmp_path / name).mkdir()
        if not name.endswith("without"):
            (tmp_path / name / "cwallet.sso").touch()
    expected = [str(tmp_path / name / "cwallet.sso") for name in (".ttwallet.a", ".ttwallet.b")]
    assert _ttexporter_cli.wallets(str(tmp_path)) == expected
    assert "Not a directory" in failure(_ttexporter_cli.wallets, str(tmp_path / ".ttwallet.a" / "cwallet.sso")).message
