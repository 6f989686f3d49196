# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what a Prometheus host is told about exporters: elements of ``exporters`` for tt_prometheus_host, and jobs for
a template.
"""

from __future__ import annotations

import posixpath
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Fleet
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import pair_of


def wanted(fleet: Fleet, client: str) -> list[dict[str, Any]]:
    """Return the exporters that a client has to scrape, as far as the inventory describes them."""
    return [
        {"name": exporter.name, "address": exporter.address, "port": exporter.port, "insecure": exporter.insecure}
        for host in fleet.exporter_hosts.values()
        if client in (item.name for item in fleet.clients_of(host.host))
        for exporter in host.exporters
        if exporter.state != "stopped"
    ]


def targets(fleet: Fleet) -> dict[str, list[str]]:
    """Return the targets of all exporters of the inventory, by name. An inventory without a name is recognized by them."""
    return {
        exporter.name: [names.target(exporter.address, port) for port in (exporter.port, exporter.spare_port) if port]
        for exporter in fleet.exporters.values()
    }


def exporters(
    fleet: Fleet, answered: Mapping[str, ExporterHostAnswer], client: str, only: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the exporters of one client, from their hosts' answers.

    Name, address and port come from the inventory, never from the answer. If an exporter's host failed or was not
    reached, the exporter is left out, so that what is stored of it stays.

    :param only: names of exporters; None means all.
    """
    found = []
    for exporter in fleet.exporters.values():
        host = answered.get(exporter.host)
        answer = None if host is None else host.exporters.get(exporter.name)
        if (
            answer is None
            or answer.failed
            or exporter.state == "stopped"
            or (only is not None and exporter.name not in only)
            or (answer.rotation is not None and answer.rotation.skipped is not None)
        ):
            continue
        item: dict[str, Any] = {"name": exporter.name, "address": exporter.address, "port": exporter.port}
        if answer.spare and exporter.spare_port is not None:
            item.update(name=names.on_port(exporter.name, True), port=exporter.spare_port, usual_port=exporter.port)
        item["insecure"] = exporter.insecure
        if not exporter.insecure:
            pair = pair_of(answer, client)
            if pair is None:
                continue
            material = {
                "generation": answer.generation,
                "previous": answer.previous or (answer.rotation.from_generation if answer.rotation else None),
                "ca_sha256": answer.ca_sha256,
                "alt_names": None if answer.alt_names is None else list(answer.alt_names),
                "delivery": pair.delivery,
                "sha256": pair.sha256,
                "certificate": pair.certificate,
                "bundle": pair.bundle,
                "ca_certificate": answer.ca_certificate if pair.bundle else None,
            }
            item.update({key: value for key, value in material.items() if value is not None})
        found.append(item)
    return found


def jobs(
    options: Mapping[str, Any],
    definitions: Mapping[str, Mapping[str, Any]],
    mentioned: Sequence[Mapping[str, Any]],
    remove: Sequence[str] = (),
    purge: bool = False,
    both_ports: bool = False,
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return one client's scrape jobs after a call, for a template of the whole configuration. The module makes them in
    the same way.

    :param options: the client's own options.
    :param definitions: the client's definitions, by exporter.
    :param others: its definitions of other fleets, which stay.
    :raises TimesTenError: if a job cannot be made.
    """
    defaults = {key: options.get(key) for key in prometheus_jobs.JOB_OPTIONS}
    merged = prometheus_jobs.merge(definitions, mentioned, defaults, remove, purge, both_ports)
    store = PathMap(options.get("path_map")).inside(posixpath.normpath(options["store"]), "store")
    return [
        dict(prometheus_jobs.build(definition, store).config) for definition in {**merged, **(others or {})}.values()
    ]
