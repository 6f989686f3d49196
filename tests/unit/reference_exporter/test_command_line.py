# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line and the variants: what is accepted, and how the rest is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_help_lists_every_option_and_loads_no_library(shared):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", shared.path / "bin/ttExporter", "-help"],
        env={**shared.environment({}), "TIMESTEN_HOME": str(shared.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert " os\n" in result.stderr
    for library in ("cryptography", "prometheus_client", "ssl", "socket"):
        assert f" {library}\n" not in result.stderr
    for option in (
        "help",
        "create-server-certificate",
        "rsa-key-size",
        "certificate-common-name",
        "certificate-alt-names",
        "certificate-directory",
        "export-server-certificate",
        "export-client-certificate",
        "export-client-private-key",
        "port",
        "insecure",
        "pid-file",
        "limit-rate",
    ):
        assert f"-{option}" in result.stdout
    assert shared.run("-h") == result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to do"),
        (["-nonsense"], "'-nonsense' is not an option"),
        (["port"], "'port' is not an option"),
        (["--help"], "'--help' is not an option"),
        (["-port=1234"], "'-port=1234' is not an option"),
        (["-insecure"], "-port is missing beside -insecure"),
        (["-pid-file", "x"], "-port is missing beside -pid-file"),
        (["-port"], "-port needs a value"),
        (["-port", "-insecure"], "-port needs a value, not '-insecure'"),
        (["-port", ""], "-port needs a value"),
        (["-port", "1", "-port", "2"], "-port is given twice"),
        (["-port", "0"], "-port: '0' is not a number from 1 to 65535"),
        (["-port", "65536"], "-port: '65536' is not"),
        (["-port", "12x"], "-port: '12x' is not"),
        (["-port", "1234", "-limit-rate", "0"], "-limit-rate: '0' is not a number from 1 to 15"),
        (["-port", "1234", "-limit-rate", "16"], "-limit-rate: '16' is not a number from 1 to 15"),
        (["-port", "1234", "-limitRate", "5"], "'-limitRate' is not an option"),
        (["-port", "1234", "-rsa-key-size", "2048"], "-rsa-key-size does not belong to -port"),
        (["-create-server-certificate", "-port", "1"], "-create-server-certificate and -port cannot be combined"),
        (["-create-server-certificate", "-pid-file", "x"], "-pid-file does not belong to -create-server-certificate"),
        (["-create-server-certificate", "-rsa-key-size", "2047"], "-rsa-key-size: '2047' is not a number from 2048"),
        (["-create-server-certificate", "-rsa-key-size", "8193"], "-rsa-key-size: '8193' is not a number from 2048"),
        (["-create-server-certificate", "-rsa-key-size", "big"], "-rsa-key-size: 'big' is not a number"),
        (["-export-server-certificate"], "-export-server-certificate needs a value"),
        (["-export-client-certificate", "c"], "-export-client-certificate needs -export-client-private-key"),
        (["-export-client-private-key", "k"], "-export-client-private-key needs -export-client-certificate"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(shared, arguments, said):
    line = shared.run(*arguments, status=2)
    assert said in line
    assert "-help shows the syntax" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-certificate-common-name", "x" * 65], "more than the 64 characters"),
        (["-certificate-alt-names", "a.test,,b.test"], "-certificate-alt-names: '' is neither"),
        (["-certificate-alt-names", "DNS:a.test"], "-certificate-alt-names: 'DNS:a.test' is neither"),
        (["-certificate-alt-names", "a.test b.test"], "'a.test b.test' is neither"),
        (["-certificate-directory", "missing"], "missing is not a directory; make it first"),
    ],
)
def test_a_wrong_name_or_directory_is_refused(home, arguments, said):
    assert said in home.run("-create-server-certificate", *arguments, status=1)
    assert not home.wallet.exists()


def test_it_refuses_to_run_outside_an_instance(home):
    result = subprocess.run(
        [home.path / "bin/ttExporter", "-help"], env={}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "TIMESTEN_HOME is not set; run it as <timesten_home>/bin/ttenv ttExporter" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("instance_name=x\n", "instance_guid is ''"),
        ("instance_guid=../x\n", "instance_guid is '../x'"),
    ],
)
def test_a_broken_instance_is_refused(home, text, said):
    configuration = home.path / "conf/timesten.conf"
    configuration.unlink()
    if text is not None:
        configuration.write_text(text)
    line = home.run("-create-server-certificate", status=1)
    assert str(configuration) in line
    assert said in line


def test_ttenv_sets_the_environment_for_one_command(home):
    moved = home.path.with_name("a home with blanks")
    os.rename(home.path, moved)
    script = 'printf "%s\\n" "$TIMESTEN_HOME" "${PATH%%:*}" "$LD_LIBRARY_PATH" "$1"'
    for ttenv, cwd in ((moved / "bin/ttenv", "/"), ("bin/ttenv", moved), ("./ttenv", moved / "bin")):
        lines = subprocess.run(
            [ttenv, "sh", "-c", script, "sh", "an argument"],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "CDPATH": "/usr"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert lines == [str(moved), f"{moved}/bin", f"{moved}/ttclasses/lib:{moved}/install/lib", "an argument"]
    assert subprocess.run([moved / "bin/ttenv"], capture_output=True, check=False).returncode == 1
    assert subprocess.run([moved / "bin/ttenv", "sh", "-c", "exit 7"], check=False).returncode == 7


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RUN", "background", "'background' is not one of foreground, detach"),
        ("PKI", "none", "'none' is not one of ca, self-signed"),
        ("EXPORT", "", "'' is not one of ca, leaf, chain"),
        ("SECOND_CREATE", "fail", "'fail' is not one of refuse, overwrite, keep"),
        ("RATE_OPTION", "rate", "'rate' is not one of limit-rate, limitRate, absent"),
        ("RATE", "5", "'5' is not one of limited, unlimited"),
        ("WALLET", "3des", "'3des' is not one of aes, des"),
        ("START_DELAY", "-1", "'-1' is not a number of seconds"),
        ("START_DELAY", "soon", "'soon' is not a number of seconds"),
        ("VALIDITY", "0s", "'0s' is not a number of seconds, minutes or days"),
        ("VALIDITY", "5", "'5' is not a number of seconds, minutes or days"),
        ("VALIDITY", "1y", "'1y' is not a number of seconds, minutes or days"),
        ("COLOUR", "red", "is not a variant; there are REFERENCE_EXPORTER_EXPORT, REFERENCE_EXPORTER_HELP"),
    ],
)
def test_a_wrong_variant_is_refused_with_its_place(home, name, value, said):
    line = home.run("-help", status=1, **{name: value})
    assert f"REFERENCE_EXPORTER_{name}, set in the environment" in line
    assert said in line

    settings = home.path / "conf/reference_exporter.env"
    settings.write_text(f"# a comment\n\nREFERENCE_EXPORTER_{name}={value}\n")
    line = home.run("-help", status=1)
    assert f"REFERENCE_EXPORTER_{name}, set in {settings} line 3" in line
    assert said in line


def test_variants_of_a_home_and_the_environment_that_wins(home):
    settings = home.path / "conf/reference_exporter.env"
    settings.write_text("REFERENCE_EXPORTER_RATE_OPTION=limitRate\n")
    assert "[-limitRate requests]" in home.run("-help")
    assert "[-limit-rate requests]" in home.run("-help", RATE_OPTION="limit-rate")
    settings.write_text("RATE_OPTION\n")
    assert f"{settings} line 1: 'RATE_OPTION' is not NAME=VALUE" in home.run("-help", status=1)


@pytest.mark.parametrize(("spelling", "others"), [("limit-rate", ["limitRate"]), ("limitRate", ["limit-rate"])])
def test_each_spelling_of_the_rate_option(home, spelling, others):
    text = home.run("-help", RATE_OPTION=spelling)
    assert f"-{spelling}" in text
    for other in others:
        assert f"-{other}" not in text
        line = home.run("-port", 1234, "-insecure", f"-{other}", 5, status=2, RATE_OPTION=spelling)
        assert f"'-{other}' is not an option" in line
    running = home.serve("-insecure", f"-{spelling}", 1, RATE_OPTION=spelling)
    assert [running.get(None)[0] for _index in range(2)] == [200, 429]


def test_no_rate_option(home):
    assert "rate" not in home.run("-help", RATE_OPTION="absent").lower()
    for option in ("-limit-rate", "-limitRate"):
        assert f"'{option}' is not an option" in home.run("-port", 1, option, 5, status=2, RATE_OPTION="absent")
    running = home.serve("-insecure", RATE_OPTION="absent")
    assert [running.get(None)[0] for _index in range(11)] == [200] * 10 + [429]
