# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package cache, with the machine's real mirror."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from lab import packages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# comment\ndeb http://mirror.example/debian bookworm main contrib # why\n",
            [
                {
                    "types": "deb",
                    "uris": "http://mirror.example/debian",
                    "suites": "bookworm",
                    "components": "main contrib",
                }
            ],
        ),
        (
            """deb [signed-by=/k.gpg arch=amd64,arm64] https://mirror.example/d bookworm-updates main
            deb-src https://mirror.example/d bookworm main
            #deb https://mirror.example/d sid main
            """,
            [
                {
                    "types": "deb",
                    "uris": "https://mirror.example/d",
                    "suites": "bookworm-updates",
                    "components": "main",
                    "signed-by": "/k.gpg",
                    "architectures": "amd64 arm64",
                }
            ],
        ),
    ],
)
def test_one_line_sources(text: str, expected: list[dict[str, str]]) -> None:
    assert packages.parse_one_line(text) == expected


def test_deb822_sources() -> None:
    text = (
        "Types: deb deb-src\n# remark\nURIs: http://mirror.example/debian\nSuites: bookworm\n bookworm-updates\n"
        "Components: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://source.example\nSuites: bookworm\nComponents: main\n"
    )
    [source] = packages.parse_deb822(text)
    assert source["types"] == "deb"
    assert source["uris"] == "http://mirror.example/debian"
    assert source["suites"].split() == ["bookworm", "bookworm-updates"]
    assert source["signed-by"] == "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc"


@pytest.mark.parametrize("version", ["2.42", "2.53", "3"])
def test_prometheus_and_its_promtool_run(version: str) -> None:
    place = packages.prometheus(version)
    assert place.version.startswith(version + ".")
    for program in (place.prometheus, place.promtool):
        done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        assert f"version {place.version}" in done.stdout + done.stderr


def test_version_that_no_release_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "RELEASES", packages.RELEASES[:1])  # fetching the lists of all takes long
    with pytest.raises(packages.PackageError, match=r"no Prometheus 2\.4 on .*it has 2\.42\.0 \(bookworm\)"):
        packages.prometheus("2.4")


def test_host_layer_can_be_laid_over_the_machine() -> None:
    layer = packages.host_layer()
    assert (layer / "usr/bin/tini").exists() or Path("/usr/bin/tini").exists()
    for path in layer.rglob("*"):
        assert not (path.is_file() and path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)), path
    for link in ("bin", "lib", "sbin"):
        if Path("/", link).is_symlink():
            assert not (layer / link).exists() or (layer / link).is_symlink(), f"{link} would hide the machine's"
