# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection at the ends of what it supports: Pythons of managed hosts, ansible-cores of controllers.

Interpreters are taken where this machine has them; what is not found is skipped with the reason.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import ansible
import pytest

from gates import checkout
from gates.environments import MissingInterpreter, environment, interpreter

# Name of the requirements file, oldest and newest version of its interpreter.
PYTHONS = {"python-oldest": ((3, 8), (3, 8)), "python-newest": ((3, 12), (3, 14))}
CORES = {"core-oldest": ((3, 10), (3, 12)), "core-newest": ((3, 12), (3, 14))}
# Property tests take most of the time and find nothing about a newer Python that the others do not.
SELECTED = {"python-oldest": "not controller", "python-newest": "not controller and not hypothesis"}
# What never leaves the controller.
CONTROLLER_ONLY = ("filter", "lookup", "action", "callback", "plugin_utils")
# What these need depends on from_inventory, or on what the run did before, so their argument specification requires less.
NEEDED = {
    "tt_exporter_host": "exporters is empty",
    "tt_prometheus_host": "name is not set",
    "tt_report": "has nothing to report",
}


def programs(name: str, oldest: tuple[int, int], newest: tuple[int, int]) -> Path:
    """The ``bin`` of an environment, or a skip with the reason."""
    try:
        python = interpreter(oldest, newest, prefer_newest=True)
    except MissingInterpreter as exc:
        pytest.skip(f"{name}: {exc}")
    return environment(name, python)


def payload_tree(directory: Path, copy: Path) -> Path:
    """What a managed host gets of Ansible: this collection and ``ansible.module_utils``, without the controller."""
    (directory / "ansible").mkdir()
    (directory / "ansible" / "__init__.py").touch()
    source = Path(ansible.__file__).parent
    for name in ("module_utils", "release.py"):
        (directory / "ansible" / name).symlink_to(source / name)
    (directory / "ansible_collections").symlink_to(copy.parents[1])
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", PYTHONS)
def test_unit_tests_on_the_python_of_a_managed_host(name: str, copy: Path, tmp_path: Path) -> None:
    binaries = programs(name, *PYTHONS[name])
    out = checkout.run(
        [
            binaries / "python",
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "--override-ini=addopts=",
            "--import-mode=importlib",
            "-pno:cacheprovider",
            f"--basetemp={tmp_path / 'base'}",
            f"-m{SELECTED[name]}",
            *(f"--ignore=tests/unit/plugins/{kind}" for kind in CONTROLLER_ONLY),
            "tests/unit",
        ],
        env={
            "PYTHONPATH": str(payload_tree(tmp_path, copy)),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Programs that a test starts by name come from the same environment.
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        },
    )
    print(out)
    counted = re.search(r"(\d+) passed", out)
    assert counted is not None and int(counted[1]) > 0, out


@pytest.fixture(scope="module", params=CORES)
def core(request: pytest.FixtureRequest) -> Path:
    """The ``bin`` of one ansible-core."""
    return programs(request.param, *CORES[request.param])


@pytest.fixture
def env(core: Path, collections_path: Path, tmp_path: Path) -> dict[str, str]:
    # Empty, so that no configuration of this machine or checkout has a say.
    configuration = tmp_path / "ansible.cfg"
    configuration.touch()
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_CONFIG": str(configuration),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": str(core / "python"),
        "PATH": f"{core}{os.pathsep}{os.environ['PATH']}",
    }


def quiet(output: str) -> None:
    """Nothing of ours is deprecated or doubtful for this ansible-core."""
    doubtful = [line for line in output.splitlines() if re.search(r"\[[A-Z ]*WARNING\]|DEPRECAT", line)]
    assert doubtful == [], output


def test_documentation_of_everything(core: Path, env: dict[str, str]) -> None:
    for kind, names in {"module": checkout.modules(), "role": checkout.roles()}.items():
        full = [f"timesten.monitoring.{name}" for name in names]
        out = checkout.run([core / "ansible-doc", "--json", "--type", kind, *full], env=env)
        assert set(json.loads(out[out.index("{") :])) == set(full), out


@pytest.mark.parametrize("playbook", checkout.playbooks())
def test_syntax_of_playbooks(playbook: str, core: Path, env: dict[str, str], tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[timesten_exporters]\nexp1\n[prometheus_servers]\nprom1\n")
    name = f"timesten.monitoring.{playbook.removesuffix('.yml')}"
    out = checkout.run([core / "ansible-playbook", "--syntax-check", "-i", inventory, name], env=env, cwd=tmp_path)
    assert playbook in out, out
    quiet(out)


def test_every_module_starts(core: Path, env: dict[str, str], tmp_path: Path) -> None:
    """Each as a real task in check mode without options: it names those that it requires, or does its work."""
    full = [f"timesten.monitoring.{name}" for name in checkout.modules()]
    out = checkout.run([core / "ansible-doc", "--json", "--type", "module", *full], env=env)
    documented = json.loads(out[out.index("{") :])
    tasks: list[dict[str, Any]] = []
    for name in full:
        required = sorted(key for key, option in documented[name]["doc"]["options"].items() if option.get("required"))
        expected = ["result is not failed"]
        if required:
            expected = [
                "result is failed",
                f"result.msg is search('missing required arguments: {', '.join(required)}')",
            ]
        needed = NEEDED.get(name.rpartition(".")[2])
        if needed:
            expected = ["result is failed", f"result.msg is search('{needed}')"]
        tasks += [
            {"name": name, name: {}, "check_mode": True, "register": "result", "ignore_errors": True},
            {"name": f"{name} answers", "ansible.builtin.assert": {"that": expected}},
        ]
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    quiet(checkout.run([core / "ansible-playbook", "-i", "localhost,", "--connection=local", play], env=env))


def test_a_read_only_module_runs(core: Path, env: dict[str, str], tmp_path: Path) -> None:
    """Through the whole module, on a host where nothing is installed yet: it reports, it does not fail."""
    module = "timesten.monitoring.tt_exporter_info"
    options = {"timesten_home": str(tmp_path / "home"), "certificate_directory": str(tmp_path / "exporter")}
    tasks = [{"name": "Read", module: options, "check_mode": True, "register": "result"}]
    tasks.append({"name": "Unchanged", "ansible.builtin.assert": {"that": ["result is not changed"]}})
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    quiet(checkout.run([core / "ansible-playbook", "-i", "localhost,", "--connection=local", play], env=env))
    assert not (tmp_path / "exporter").exists()
