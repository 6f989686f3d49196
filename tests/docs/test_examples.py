# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example inventories: complete as they stand, and with the commands of their page."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gates.doc_examples import commands
from gates.environments import ROOT

COUNTS = {
    "small": "2 exporter hosts, 2 exporters, 1 Prometheus host, 1 client, 2 pairs",
    "ha-pair": "4 exporter hosts, 4 exporters, 2 Prometheus hosts, 2 clients, 8 pairs",
    "several-instances": "2 exporter hosts, 3 exporters, 1 Prometheus host, 2 clients, 6 pairs",
}


def test_every_example_is_named() -> None:
    directories = {path.parent.name for path in (ROOT / "examples").glob("*/inventory.yml")}
    assert directories == set(COUNTS)
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [name for name in COUNTS if f"({name}/inventory.yml)" not in page] == []


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_preflight_accepts_it(name: str, tmp_path: Path) -> None:
    """Copied as the page says, with the collection where Ansible looks for it."""
    collections = tmp_path / "collections/ansible_collections/timesten"
    collections.mkdir(parents=True)
    (collections / "monitoring").symlink_to(ROOT)
    copy, preflight, look, rollout = commands("examples-first")[1:]
    assert "/timesten/monitoring/examples/small fleet" in copy
    assert [line.split()[:2] for line in (preflight, look, rollout)] == [
        ["ansible-playbook", f"timesten.monitoring.{playbook}"] for playbook in ("preflight", "site", "site")
    ]
    shutil.copytree(ROOT / "examples" / name, tmp_path / "fleet")
    done = subprocess.run(
        shlex.split(preflight),
        cwd=tmp_path / "fleet",
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert COUNTS[name] in re.sub(r"\s+", " ", done.stdout), done.stdout
