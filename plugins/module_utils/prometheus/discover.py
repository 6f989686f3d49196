# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the programs on a host that scrape, and their jobs for certain ports, no matter who wrote them. Changes
nothing.
"""

from __future__ import annotations

import contextlib
import operator
import os
import pwd
import re
from typing import Any, Collection, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, reload
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import (
    ConfigFile,
    ListFile,
    is_list,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import others_of
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap

_MOST = 1000
"""The largest number of jobs that is returned for one host."""
_MOST_TAKERS = 20
_FIRST_USER = 1000
"""Smaller uids are root and system users."""
ALONE = "mounted alone"
CONTAINER_ALONE = "in the container alone"
UNREADABLE = "cannot be read"


def discover(configured: Sequence[Mapping[str, Any]], ports: Collection[int]) -> dict[str, list[dict[str, Any]]]:
    """Return the takers, and the jobs with a target on one of some ports with their owners.

    :param configured: the variables of each client: ``kind``, ``config_file``, ``scrape_file``, ``store`` and
        ``path_map``.
    :raises TimesTenError: if a configuration that the variables name cannot be read, or there is none at all.
    """
    takers = _takers()
    jobs: list[dict[str, Any]] = []
    seen = set()
    for given in configured:
        path = given["scrape_file"] if given["kind"] == "scrape_file" else given["config_file"]
        if path is None:
            raise TimesTenError("scrape_file: is not set, and kind 'scrape_file' has its jobs there; name the file")
        # A default path may well be empty if a taker with another configuration was found.
        if os.path.exists(path) or given["named"] or not takers:
            seen.add(os.path.realpath(path))
            jobs += _jobs(path, given, ports)
    for taker in takers:
        path = taker["config_file"]
        if path is None or os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        given = {"kind": taker["kind"], "scrape_file": None, "store": None, "path_map": taker["path_map"]}
        try:
            jobs += _jobs(path, given, ports)
        except TimesTenError:
            taker["problem"] = UNREADABLE
    return {"jobs": jobs[:_MOST], "takers": takers}


def _jobs(path: str, given: Mapping[str, Any], ports: Collection[int]) -> list[dict[str, Any]]:
    main = ConfigFile(path)
    paths = PathMap(given["path_map"])
    directory = os.path.dirname(path)
    own = ConfigFile(given["scrape_file"] or os.path.join(directory, "timesten.yml"), "scrape_file")
    source = main.read()
    if source is None and given["kind"] == "scrape_file":
        source = b""  # this collection will make it
    if source is None:
        raise TimesTenError(f"config_file: {path} does not exist; set config_file to where prometheus.yml is")
    if given["kind"] == "scrape_file" and is_list(source):
        source = ListFile(path).read()
    store = paths.inside(given["store"] or os.path.join(directory, "timesten"), "store")
    others = others_of(source, main, own, paths)
    view = config.read(config.Files(source, main.path, store, own.path, own.read(), others, paths=paths))
    rows = list(view.ours.items())
    found = []
    for exporter, job in [*rows, *((None, job) for job in view.foreign)]:
        targets = [target for target in job.targets if _port(target) in ports]
        if targets:
            row = {"job": job.job_name, "where": job.place, "targets": targets[:_MOST], "interval": job.interval}
            found.append({**row, "exporter": exporter})
    return found


def _port(target: str) -> int:
    port = target.rpartition(":")[2]
    return int(port) if re.fullmatch("[0-9]{1,5}", port) else 0


# --- what scrapes -------------------------------------------------------------------------------------------------------


def _takers() -> list[dict[str, Any]]:
    """Return the processes of Prometheus and VictoriaMetrics, by their configurations, as far as this user may see
    them.
    """
    found: dict[tuple[str, Any], tuple[tuple[bool, str, int], dict[str, Any]]] = {}
    for kind in ("prometheus", "scrape_file"):
        for process in reload.running(kind):
            taker = {"kind": kind, "pid": process.pid, **_place(process), "user": _user(process)}
            listens = "web.listen-address" if kind == "prometheus" else "httpListenAddr"
            default = ":9090" if kind == "prometheus" else ":8429" if _is_agent(process) else ":8428"
            port = _port(reload.argument(process.words, listens) or default)
            taker["port"] = port if 0 < port < 65536 and not reload.is_elsewhere(process.pid, "net") else None
            taker["lifecycle"] = any(word.lstrip("-") == "web.enable-lifecycle" for word in process.words)
            # If there are too many, those of ordinary users are left out first, because anybody may start any number.
            order = (process.uid >= _FIRST_USER, str(taker["config_file"]), process.pid)
            found.setdefault((kind, taker["config_file"] or process.pid), (order, taker))
    return [taker for _order, taker in sorted(found.values(), key=operator.itemgetter(0))[:_MOST_TAKERS]]


def _is_agent(process: reload.Process) -> bool:
    """Tell whether a program of VictoriaMetrics is vmagent, under any name."""
    return "agent" in os.path.basename(process.words[0])


def _user(process: reload.Process) -> str:
    """Return the name of the user who runs a process; the number if the host has no such user or the process has
    another one for it.
    """
    if not reload.is_elsewhere(process.pid, "user"):
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(process.uid).pw_name
    return str(process.uid)


def _place(process: reload.Process) -> dict[str, Any]:
    """Return where a process's configuration lies on the host, and the mount through which the process sees it."""
    inside, root = os.path.normpath(process.config), f"/proc/{process.pid}/root"
    nowhere: dict[str, Any] = {"config_file": None, "path_map": {}, "problem": CONTAINER_ALONE}
    if not reload.is_elsewhere(process.pid) or reload.is_same(root + inside, inside):
        return {"config_file": inside, "path_map": {}, "problem": None}
    inner = [mount for mount in reload.mounts(process.pid) if _is_below(inside, mount.point)]
    if not inner:
        return nowhere
    mount = max(reversed(inner), key=lambda one: len(one.point))
    for outer in reload.mounts("self"):
        if outer.device != mount.device or not _is_below(mount.root, outer.root):
            continue
        place = os.path.normpath(os.path.join(outer.point, os.path.relpath(mount.root, outer.root)))
        path = os.path.normpath(os.path.join(place, os.path.relpath(inside, mount.point)))
        if mount.point != "/" and reload.is_same(root + inside, path):
            if mount.point == inside:
                return {"config_file": path, "path_map": {}, "problem": ALONE}
            return {"config_file": path, "path_map": {place: mount.point}, "problem": None}
    return nowhere


def _is_below(path: str, directory: str) -> bool:
    return directory == "/" or path == directory or path.startswith(directory + "/")
