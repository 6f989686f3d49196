# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several of these tests need."""

from __future__ import annotations

import pathlib
import shutil
import sys

import pytest

REFERENCE_EXPORTER = pathlib.Path(__file__).resolve().parents[4] / "roles/reference_exporter/files/ttExporter"


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """An instance with the reference exporter, run by this very Python."""
    path = tmp_path_factory.mktemp("home")
    for name in ("bin", "conf"):
        (path / name).mkdir()
    (path / "conf/timesten.conf").write_text("instance_guid=C76FCD9A\n")
    shutil.copy(REFERENCE_EXPORTER, path / "bin/ttExporter")
    (path / "bin/ttenv").write_text(
        f'#!/bin/sh\nexport TIMESTEN_HOME={path}\nshift\nexec {sys.executable} {path}/bin/ttExporter "$@"\n'
    )
    (path / "bin/ttenv").chmod(0o755)
    return path
