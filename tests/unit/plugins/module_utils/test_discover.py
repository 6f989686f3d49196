# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a host where anybody may have put anything: what cannot be read is left out, and the rest is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import discover

GENERATION = "20261124T104900Z-1a2b3c4d"
LEAF = {"not_after": "2027-01-01T00:00:00Z"}


def rows(place: Path) -> list[dict]:
    return [row for row in discover.discover([str(place)]) if str(row["certificate_directory"]).startswith(str(place))]


@pytest.mark.parametrize("port", ["²", "٣", "9" * 5000, "-1", "0", "65536", "1e3", ""])
def test_a_port_that_is_none_is_no_exporter(port: str, tmp_path: Path) -> None:
    code = "import time; print(flush=True); time.sleep(60)"
    argv = ["ttExporter", "-c", code, "-port", port]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            assert process.pid not in {row["pid"] for row in discover.discover([str(tmp_path)])}
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("manifest", "exporter", "end"),
    [
        ({"exporter": "exp1", "ca": [], "leaf": LEAF}, "exp1", LEAF["not_after"]),
        ({"exporter": 5, "ca": 5, "leaf": 5}, None, None),
        ({"exporter": "exp1", "ca": {"a": 1}, "leaf": {"not_after": 5}}, "exp1", None),
        ([1], None, None),
        ("[" * 200000, None, None),
        ("{", None, None),
        (b"\xff", None, None),
    ],
)
def test_a_manifest_may_be_anything(manifest: object, exporter: str | None, end: str | None, tmp_path: Path) -> None:
    home = tmp_path / "exp1" / "generations" / GENERATION
    home.mkdir(parents=True)
    (tmp_path / "exp1" / "current").symlink_to(home)
    data = manifest if isinstance(manifest, bytes) else manifest if isinstance(manifest, str) else json.dumps(manifest)
    (home / "manifest.json").write_bytes(data if isinstance(data, bytes) else data.encode())
    (row,) = rows(tmp_path)
    assert (row["exporter"], row["not_after"], row["listening"]) == (exporter, end, False)
    assert row["certificate_directory"] == str(tmp_path / "exp1")


def test_a_wallet_is_found_however_its_user_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without a home is nobody's reason to look into the directory of the caller."""
    wallet = tmp_path / "mycertdir" / ".ttwallet.1"
    wallet.mkdir(parents=True)
    (wallet / "cwallet.sso").touch()
    monkeypatch.chdir(tmp_path / "mycertdir")
    entry = discover.pwd.getpwuid(os.geteuid())
    homeless = type(entry)([*entry[:5], "", entry[6]])
    monkeypatch.setattr(discover.pwd, "getpwall", lambda: [homeless])
    assert not [row for row in discover.discover([]) if row["certificate_directory"] == str(tmp_path / "mycertdir")]
    assert [row["certificate_directory"] for row in rows(tmp_path)] == [str(tmp_path / "mycertdir")]
