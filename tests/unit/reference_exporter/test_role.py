# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role, run by ansible-playbook."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROLES = pathlib.Path(__file__).resolve().parents[3] / "roles"
ANSIBLE = shutil.which("ansible-playbook", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = [pytest.mark.controller, pytest.mark.skipif(ANSIBLE is None, reason="needs ansible-playbook")]


@pytest.fixture
def play(tmp_path):
    """Apply the role to two hosts with one home each, and return what was changed, or the whole output on failure."""
    (tmp_path / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  roles: [reference_exporter]\n")

    def run(*arguments, status=0, **variables):
        values = {
            "ansible_python_interpreter": sys.executable,
            "reference_exporter_timesten_home": f"{tmp_path}/{{{{ inventory_hostname }}}}/home",
            "reference_exporter_python": sys.executable,
            **variables,
        }
        result = subprocess.run(
            [ANSIBLE, "-i", "one,two,", "-c", "local", "play.yml", "-e", json.dumps(values), *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "ANSIBLE_ROLES_PATH": str(ROLES),
                "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (result.returncode != 0) == (status != 0), result.stdout + result.stderr
        if status:
            return result.stdout
        return {
            host: int(count)
            for host, count in re.findall(r"^(\w+) +: ok=.* changed=(\d+)", result.stdout, re.MULTILINE)
        }

    return run


def installed(tmp_path):
    """Return content and mode of every file below the homes."""
    return {
        str(path.relative_to(tmp_path)): (path.stat().st_mode & 0o777, path.read_text())
        for host in ("one", "two")
        for path in (tmp_path / host).rglob("*")
        if path.is_file()
    }


def test_install_again_change_and_check(play, tmp_path):
    variants = {"RUN": "detach", "START_DELAY": 0.5, "RATE_OPTION": "limitRate"}
    predicted = play("--check", "--diff", "--limit", "one", reference_exporter_variants=variants)
    assert installed(tmp_path) == {}
    assert play(reference_exporter_variants=variants) == {"one": 2, "two": 2}
    assert predicted == {"one": 2}
    first = installed(tmp_path)
    assert {name: mode for name, (mode, _text) in first.items()} == {
        f"{host}/home/{name}": mode
        for host in ("one", "two")
        for name, mode in (
            ("bin/ttExporter", 0o755),
            ("bin/ttenv", 0o755),
            ("conf/timesten.conf", 0o644),
            ("conf/reference_exporter.env", 0o644),
        )
    }
    configurations = [first[f"{host}/home/conf/timesten.conf"][1] for host in ("one", "two")]
    guids = [re.search(r"^instance_guid=([0-9A-F-]{36})$", text, re.MULTILINE).group(1) for text in configurations]
    assert guids[0] != guids[1]
    assert first["one/home/conf/reference_exporter.env"][1].splitlines()[1:] == [
        "REFERENCE_EXPORTER_RATE_OPTION=limitRate",
        "REFERENCE_EXPORTER_RUN=detach",
        "REFERENCE_EXPORTER_START_DELAY=0.5",
    ]
    ttenv = tmp_path / "one/home/bin/ttenv"
    result = subprocess.run([ttenv, "ttExporter", "-help"], capture_output=True, text=True, check=True, env={})
    assert "-limitRate" in result.stdout

    assert play("--limit", "one", reference_exporter_variants=variants) == {"one": 0}
    assert installed(tmp_path) == first

    assert play("--limit", "one", reference_exporter_instance_guid="G-1") == {"one": 1}
    changed = installed(tmp_path)
    assert "REFERENCE" not in changed["one/home/conf/reference_exporter.env"][1]
    assert "instance_guid=G-1\n" in changed["one/home/conf/timesten.conf"][1]


def test_an_interpreter_that_will_not_do_is_named(play, tmp_path):
    for interpreter in ("/no/such/python", "/bin/false"):
        output = play("--limit", "one", status=2, reference_exporter_python=interpreter)
        assert f"reference_exporter_python: {interpreter} is not an absolute path to Python 3.8 or later" in output
        assert "Install python3-prometheus-client and python3-cryptography" in output
    assert installed(tmp_path) == {}
