# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what already monitors TimesTen: parses the hosts' answers, matches them, and prints a table and an inventory."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from ansible_collections.timesten.monitoring.plugins.plugin_utils import checks
from ansible_collections.timesten.monitoring.plugins.plugin_utils.checks import Nonsense, optional

REGISTERED = "timesten_discovered"
"""The names of the variables that the tasks register: this, followed by what was looked for."""

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?\Z")
_MOST_EXPORTERS = 100
_MOST_JOBS = 1000
_MOST_TAKERS = 20
_MOST_MOUNTS = 10
CONFIG, STORE, URL_PORT = "/etc/prometheus/prometheus.yml", "/etc/prometheus/timesten", 9090
"""The role's defaults, which an inventory need not repeat."""
PROBLEMS = {
    "mounted alone": "is seen through a mount of that file alone: mount its directory",
    "in the container alone": "is not on the host: mount a directory that has it",
    "cannot be read": "was not understood",
}


@dataclasses.dataclass(frozen=True)
class Found:
    """One exporter, or one wallet that no process serves; see the module tt_discover."""

    owner: str
    listening: bool
    insecure: bool
    pid: int | None = None
    port: int | None = None
    unit: str | None = None
    timesten_home: str | None = None
    certificate_directory: str | None = None
    exporter: str | None = None
    not_after: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the element that this was parsed from."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Job:
    """One job; see the module tt_discover."""

    job: str
    where: str
    targets: tuple[str, ...]
    interval: float
    exporter: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the element that this was parsed from."""
        return {**dataclasses.asdict(self), "targets": list(self.targets)}


@dataclasses.dataclass(frozen=True)
class Taker:
    """One process that scrapes; see the module tt_discover."""

    kind: str
    pid: int
    user: str
    lifecycle: bool
    config_file: str | None = None
    path_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    port: int | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the element that this was parsed from."""
        return {**dataclasses.asdict(self), "path_map": dict(self.path_map)}


def _safe(check: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """Return a check that also refuses templates: its value goes into an inventory, where a template would be run."""

    def safe(value: Any, where: str) -> str:
        found = check(value, where)
        if any(mark in found for mark in ("{{", "{%", "{#")):
            raise Nonsense(where, f"looks like a template: {checks.shown(value)}")
        return found

    return safe


_text, _path = _safe(checks.text), _safe(checks.path)


def parse_exporters(raw: object) -> tuple[Found, ...]:
    """Return the exporters in the raw result of looking for exporters.

    :raises Nonsense: naming the field.
    """
    elements = checks.items(checks.fields(raw, "the answer", 1000).get("exporters"), "exporters", _MOST_EXPORTERS)
    return tuple(_found(element, f"exporters[{index}]") for index, element in enumerate(elements))


def _found(element: Any, where: str) -> Found:
    given = checks.fields(element, where, 100)
    return Found(
        owner=_text(given.get("owner"), f"{where}.owner"),
        listening=checks.truth(given.get("listening"), f"{where}.listening"),
        insecure=checks.truth(given.get("insecure"), f"{where}.insecure"),
        pid=optional(checks.whole, given.get("pid"), f"{where}.pid", 1, 1 << 22),
        port=optional(checks.port, given.get("port"), f"{where}.port"),
        unit=optional(checks.unit, given.get("unit"), f"{where}.unit"),
        timesten_home=optional(_path, given.get("timesten_home"), f"{where}.timesten_home"),
        certificate_directory=optional(_path, given.get("certificate_directory"), f"{where}.certificate_directory"),
        exporter=optional(checks.name, given.get("exporter"), f"{where}.exporter"),
        not_after=optional(checks.timestamp, given.get("not_after"), f"{where}.not_after"),
    )


def parse_jobs(raw: object) -> tuple[Job, ...]:
    """Return the jobs in the raw result of looking for jobs.

    :raises Nonsense: naming the field.
    """
    elements = checks.items(checks.fields(raw, "the answer", 1000).get("jobs"), "jobs", _MOST_JOBS)
    found = []
    for index, element in enumerate(elements):
        where = f"jobs[{index}]"
        given = checks.fields(element, where, 100)
        targets = checks.items(given.get("targets"), f"{where}.targets", _MOST_JOBS)
        found.append(
            Job(
                job=_text(given.get("job"), f"{where}.job"),
                where=_text(given.get("where"), f"{where}.where"),
                targets=tuple(_text(target, f"{where}.targets") for target in targets),
                interval=checks.interval(given.get("interval"), f"{where}.interval"),
                exporter=optional(checks.name, given.get("exporter"), f"{where}.exporter"),
            )
        )
    return tuple(found)


def parse_takers(raw: object) -> tuple[Taker, ...]:
    """Return the scraping processes in the raw result of looking for jobs.

    :raises Nonsense: naming the field.
    """
    elements = checks.items(checks.fields(raw, "the answer", 1000).get("takers") or [], "takers", _MOST_TAKERS)
    found = []
    for index, element in enumerate(elements):
        where = f"takers[{index}]"
        given = checks.fields(element, where, 100)
        mounts = checks.fields(given.get("path_map"), f"{where}.path_map", _MOST_MOUNTS)
        found.append(
            Taker(
                kind=checks.one_of(given.get("kind"), f"{where}.kind", ("prometheus", "scrape_file")),
                pid=checks.whole(given.get("pid"), f"{where}.pid", 1, 1 << 22),
                user=checks.matched(given.get("user"), f"{where}.user", _USER, "no user", 100),
                lifecycle=checks.truth(given.get("lifecycle"), f"{where}.lifecycle"),
                config_file=optional(_path, given.get("config_file"), f"{where}.config_file"),
                path_map={
                    _path(host, f"{where}.path_map"): _path(inside, f"{where}.path_map")
                    for host, inside in mounts.items()
                },
                port=optional(checks.port, given.get("port"), f"{where}.port"),
                problem=optional(checks.one_of, given.get("problem"), f"{where}.problem", tuple(PROBLEMS)),
            )
        )
    return tuple(found)


# --- put together -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Scraped:
    """An exporter with its jobs, each with its Prometheus host and the host name in its target."""

    host: str
    found: Found
    jobs: tuple[tuple[str, Job], ...] = ()
    address: str | None = None


def matched(
    exporters: Mapping[str, Sequence[Found]],
    jobs: Mapping[str, Sequence[Job]],
    known_as: Mapping[str, Sequence[str]],
) -> tuple[list[Scraped], list[tuple[str, Job]]]:
    """Match jobs and exporters.

    :param exporters: the exporters by exporter host.
    :param jobs: the jobs by Prometheus host.
    :param known_as: names and addresses by exporter host.
    :returns: the exporters with their jobs, and the jobs that match no exporter.
    """
    rows = []
    used = set()
    for host, found in exporters.items():
        names = {name.lower() for name in known_as[host]}
        for one in found:
            fitting, addresses = [], []
            for server, listed in jobs.items():
                for job in listed:
                    mine = [address for address in map(_address(one.port), job.targets) if address in names]
                    if mine and one.port is not None:
                        fitting.append((server, job))
                        addresses += mine
                        used.add((server, job))
            rows.append(Scraped(host, one, tuple(fitting), addresses[0] if len(set(addresses)) == 1 else None))
    left = [(server, job) for server, listed in jobs.items() for job in listed if (server, job) not in used]
    return rows, left


def _address(port: int | None) -> Callable[[str], str | None]:
    """Return a function that returns the host part of a target on this port, or None for another port."""

    def address(target: str) -> str | None:
        host, _colon, given = target.rpartition(":")
        return host.strip("[]").lower() if given == str(port) else None

    return address


# --- the table --------------------------------------------------------------------------------------------------------

_COLUMNS = ("host", "port", "owner", "process", "wallet", "valid until", "exporter", "jobs")


def lines(
    rows: Sequence[Scraped],
    left: Sequence[tuple[str, Job]],
    failed: Mapping[str, str],
    takers: Mapping[str, Sequence[Taker]] | None = None,
) -> list[str]:
    """Return the table with a line for each exporter, and notes about what the table does not show.

    :param failed: by host, why nothing could be read.
    :param takers: by Prometheus host, the processes that scrape.
    """
    table = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_COLUMNS))]
    said = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in table]
    said = said if rows else ["No ttExporter runs, and no wallet was found."]
    said += [
        f"{server}: {job.job} ({job.where}) scrapes {', '.join(job.targets)}, which is none of these"
        for server, job in left
    ]
    said += [
        f"{server}: the configuration of process {taker.pid} ({taker.config_file or taker.kind}) {PROBLEMS[taker.problem]}"
        for server, listed in (takers or {}).items()
        for taker in listed
        if taker.problem is not None
    ]
    return said + [f"{host} could not be looked at: {reason}" for host, reason in failed.items()]


def _cells(row: Scraped) -> tuple[str, ...]:
    found = row.found
    process = "stopped" if found.pid is None else f"{found.pid}" + (f" ({found.unit})" if found.unit else "")
    wallet = "none: plain http" if found.insecure else found.certificate_directory or "unknown"
    return (
        row.host,
        "" if found.port is None else str(found.port),
        found.owner,
        process,
        wallet,
        found.not_after or "unknown",
        found.exporter or "by hand",
        ", ".join(f"{server}: {job.job}" + ("" if job.exporter else " (by hand)") for server, job in row.jobs)
        or "none",
    )


# --- the inventory ----------------------------------------------------------------------------------------------------


def inventory(
    rows: Sequence[Scraped], servers: Sequence[str], takers: Mapping[str, Sequence[Taker]] | None = None
) -> str:
    """Return the variables that describe the present state, as an inventory to paste.

    :param takers: by Prometheus host, the processes that scrape.
    """
    exporters: dict[str, dict[str, Any]] = {}
    for host in dict.fromkeys(row.host for row in rows):
        running = [row for row in rows if row.host == host and row.found.pid is not None]
        if running:
            exporters[host] = _variables(host, running)
    by_hand = {server for row in rows for server, job in row.jobs if job.exporter is None}
    hosts = {
        server: {
            **({"prometheus_host_on_existing": "adopt"} if server in by_hand else {}),
            **_of_takers((takers or {}).get(server, ())),
        }
        for server in servers
    }
    children = {"timesten_exporters": {"hosts": exporters}, "prometheus_servers": {"hosts": hosts}}
    return yaml.safe_dump({"all": {"children": children}}, sort_keys=False, allow_unicode=True, width=1000)


def _of_takers(takers: Sequence[Taker]) -> dict[str, Any]:
    """Return the variables of a Prometheus host for the processes that can be given jobs."""
    usable = [taker for taker in takers if taker.config_file is not None and taker.problem is None]
    if len(usable) <= 1:
        return {f"prometheus_host_{key}": value for taker in usable for key, value in _client(taker, "").items()}
    instances = {_name_of(taker, usable): taker for taker in usable}
    return {
        "prometheus_host_instances": [{"instance": name, **_client(taker, name)} for name, taker in instances.items()]
    }


def _name_of(taker: Taker, takers: Sequence[Taker]) -> str:
    """Return a name for one of several processes: its kind if that is unique, else with its port, else with its pid."""
    if [other.kind for other in takers].count(taker.kind) == 1:
        return {"prometheus": "prometheus", "scrape_file": "vmagent"}[taker.kind]
    ports = [other.port for other in takers]
    return str(taker.port) if taker.port is not None and ports.count(taker.port) == 1 else f"process-{taker.pid}"


def _client(taker: Taker, instance: str) -> dict[str, Any]:
    """Return the variables of one client without their prefix, as far as they differ from the defaults."""
    path = str(taker.config_file)
    # If there are several clients, each needs its own store.
    store = posixpath.join(posixpath.dirname(path), f"timesten-{instance}" if instance else "timesten")
    client: dict[str, Any] = {}
    if taker.kind == "scrape_file":
        client.update(kind="scrape_file", scrape_file=path)
    elif instance or path != CONFIG:
        client["config_file"] = path
    if taker.path_map:
        client["path_map"] = dict(taker.path_map)
    if store != STORE:
        client["store"] = store
    if taker.user != "prometheus":
        client["user"] = taker.user
    if taker.kind == "prometheus" and taker.port is not None and (instance or taker.port != URL_PORT):
        client["url"] = f"http://127.0.0.1:{taker.port}"
    if instance and taker.kind == "prometheus" and not taker.lifecycle:
        # The unit prometheus belongs to at most one of several.
        client["reload"] = "signal"
    return client


def _variables(host: str, running: Sequence[Scraped]) -> dict[str, Any]:
    elements = [_element(host, row) for row in running]
    owners = {row.found.owner for row in running}
    variables: dict[str, Any] = {}
    if len(owners) == 1:
        variables["exporter_host_owner"] = owners.pop()
    if len(elements) == 1:
        return {**variables, **{f"exporter_host_{key}": value for key, value in elements[0].items()}}
    for row, element in zip(running, elements):
        element["instance"] = _instance(host, row, running)
    return {**variables, "exporter_host_exporters": elements}


def _element(host: str, row: Scraped) -> dict[str, Any]:
    found = row.found
    element: dict[str, Any] = {"port": found.port}
    if found.timesten_home is not None:
        element["timesten_home"] = found.timesten_home
    if row.address is not None and row.address != host.lower():
        element["address"] = row.address
    if found.insecure:
        element["insecure"] = True
    if found.exporter is None:
        element["takeover"] = True
    elif found.certificate_directory is not None:
        # <directory>/<exporter>/generations/<generation>
        directory = found.certificate_directory.rsplit("/", 3)[0]
        if directory != posixpath.join(found.timesten_home or "/", "monitoring"):
            element["directory"] = directory
    return element


def _instance(host: str, row: Scraped, running: Sequence[Scraped]) -> str:
    """Return a name for one of several exporters of a host: its own, else that of its instance, else its port."""
    named = (row.found.exporter or "").removeprefix(f"{host}-")
    if row.found.exporter and named != row.found.exporter:
        return named
    homes = [posixpath.basename(other.found.timesten_home or "") for other in running]
    mine = posixpath.basename(row.found.timesten_home or "")
    return mine if mine and homes.count(mine) == 1 else str(row.found.port)
