# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of a Prometheus that scrape certain ports, whoever has written them. Nothing is changed."""

from __future__ import annotations

import os
import re
from typing import Any, Collection

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import ConfigFile
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import others_of

_MOST = 1000
"""Jobs of one Prometheus."""


def discover(path: str, store: str, scrape_file: str | None, ports: Collection[int]) -> list[dict[str, Any]]:
    """Return the jobs with a target on one of some ports, and whose they are.

    :param path: prometheus.yml.
    :param scrape_file: of this collection, where the layout ``files`` is in use; ``timesten.yml`` beside prometheus.yml, if not given.
    :raises TimesTenError: if the configuration cannot be read.
    """
    main = ConfigFile(path)
    own = ConfigFile(scrape_file or os.path.join(os.path.dirname(path), "timesten.yml"), "scrape_file")
    source = main.read()
    if source is None:
        raise TimesTenError(f"config_file: {path} does not exist; set config_file to where prometheus.yml is")
    others = others_of(source, main, own)
    view = config.read(config.Files(source, main.path, store, own.path, own.read(), others))
    rows = list(view.ours.items())
    found = []
    for exporter, job in [*rows, *((None, job) for job in view.foreign)]:
        targets = [target for target in job.targets if _port(target) in ports]
        if targets:
            row = {"job": job.job_name, "where": job.place, "targets": targets[:_MOST], "interval": job.interval}
            found.append({**row, "exporter": exporter})
    return found[:_MOST]


def _port(target: str) -> int:
    port = target.rpartition(":")[2]
    return int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
