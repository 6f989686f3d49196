# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the texts in an outsider's directory: configurations for programs that it may run, and how to decrypt its
keys.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.plugin_utils.outsiders import Entry, Outsider

PLACE = "/etc/timesten"
"""The texts expect the decrypted files here, each exporter's in its own directory."""
FILES = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}
_MADE = "Written by the collection timesten.monitoring; the next run writes it anew."


def job(entry: Entry, interval: str) -> dict[str, Any]:
    """Return the scrape job of one exporter, for Prometheus or an OpenTelemetry collector."""
    definition: dict[str, Any] = {
        "name": entry.exporter,
        "address": entry.address,
        "port": entry.port,
        "usual_port": entry.usual_port,
        "insecure": entry.insecure,
        "alt_names": entry.alt_names,
        "scrape_interval": interval,
    }
    config = dict(jobs.build(definition, PLACE).config)
    if "tls_config" in config:
        own = {option: f"{PLACE}/{entry.exporter}/{file}" for option, file in FILES.items()}
        config["tls_config"] = {**config["tls_config"], **own}
    return config


def texts(outsider: Outsider, entries: Sequence[Entry], material: Mapping[str, str]) -> dict[str, str]:
    """Return the texts by file name.

    :param material: certificates, by file name below the directory.
    """
    configs = [job(entry, outsider.scrape_interval) for entry in entries]
    return {
        "README.md": _readme(outsider, entries),
        "scrape_config.yml": _yaml({"scrape_configs": configs}),
        "otel-collector.yml": _yaml(_collector(configs)),
        "config.alloy": _alloy(configs),
        "kubernetes.yml": _kubernetes(entries, configs, material),
    }


def _yaml(*documents: Any) -> str:
    return f"# {_MADE}\n" + yaml.safe_dump_all(
        documents, sort_keys=False, default_flow_style=False, width=1000, explicit_start=len(documents) > 1
    )


def _unique(found: Sequence[str], spell: Callable[[str], str]) -> dict[str, str]:
    """Return another spelling for each name; equal spellings get a number."""
    spelt: dict[str, str] = {}
    for name in found:
        base = spell(name)
        wanted, number = base, 2
        while wanted in spelt.values():
            wanted, number = f"{base}-{number}" if "_" not in base else f"{base}_{number}", number + 1
        spelt[name] = wanted
    return spelt


# --- OpenTelemetry, Alloy ---------------------------------------------------------------------------------------------


def _collector(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a receiver. The collector expands dollar signs, but these values contain none."""
    return {"receivers": {"prometheus/timesten": {"config": {"scrape_configs": list(configs)}}}}


def _alloy(configs: Sequence[Mapping[str, Any]]) -> str:
    labels = _unique([config["job_name"] for config in configs], lambda name: re.sub(r"[^A-Za-z0-9_]", "_", name))
    return f"// {_MADE}\n" + "".join(_alloy_scrape(labels[config["job_name"]], config) for config in configs)


def _alloy_scrape(label: str, config: Mapping[str, Any]) -> str:
    static = config["static_configs"][0]
    target = {"__address__": static["targets"][0], **static.get("labels", {})}
    pairs = ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in target.items())
    lines = [
        f'\nprometheus.scrape "{label}" {{',
        f"  job_name        = {json.dumps(config['job_name'])}",
        f"  scrape_interval = {json.dumps(config['scrape_interval'])}",
        f"  scheme          = {json.dumps(config['scheme'])}",
        f"  targets         = [{{{pairs}}}]",
        "  forward_to      = [prometheus.remote_write.default.receiver] // yours",
    ]
    if "tls_config" in config:
        lines += ["", "  tls_config {"]
        lines += [f"    {key.ljust(11)} = {json.dumps(value)}" for key, value in config["tls_config"].items()]
        lines += ["  }"]
    return "\n".join([*lines, "}", ""])


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def object_names(exporters: Sequence[str]) -> dict[str, str]:
    """Return the name of an exporter's Kubernetes objects: lower-case letters, digits and hyphens, with no hyphen at
    either end.
    """

    def spell(name: str) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"timesten-{name.lower()}").strip("-")

    return _unique(exporters, spell)


def _kubernetes(entries: Sequence[Entry], configs: Sequence[Mapping[str, Any]], material: Mapping[str, str]) -> str:
    """Return a Secret with the public parts, and a ScrapeConfig. The key's Secret is made from the decrypted key."""
    found = object_names([entry.exporter for entry in entries])
    documents: list[dict[str, Any]] = []
    for entry, config in zip(entries, configs):
        name = found[entry.exporter]
        if not entry.insecure:
            documents.append(_secret(name, entry.exporter, material))
        documents.append(_scrape_config(name, config))
    return _yaml(*documents)


def _secret(name: str, exporter: str, material: Mapping[str, str]) -> dict[str, Any]:
    data = {
        file: base64.b64encode(material.get(f"pairs/{exporter}/{file}", "").encode("utf-8")).decode("ascii")
        for file in ("ca.crt", "client.crt")
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}


def _scrape_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "jobName": config["job_name"],
        "scrapeInterval": config["scrape_interval"],
        "scheme": config["scheme"].upper(),
        "staticConfigs": config["static_configs"],
    }
    if "tls_config" in config:
        spec["tlsConfig"] = {
            "ca": {"secret": {"name": name, "key": "ca.crt"}},
            "cert": {"secret": {"name": name, "key": "client.crt"}},
            "keySecret": {"name": f"{name}-key", "key": "client.key"},
        }
        if "server_name" in config["tls_config"]:
            spec["tlsConfig"]["serverName"] = config["tls_config"]["server_name"]
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "timesten-monitoring"}}
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "ScrapeConfig",
        "metadata": metadata,
        "spec": spec,
    }


# --- for people -------------------------------------------------------------------------------------------------------


def _decryption(secure: Sequence[str]) -> list[str]:
    """Return how the owner of the key decrypts the pairs of these exporters."""
    return [
        "",
        "## Decrypt",
        "",
        "`key.txt` is the file that `age-keygen` has made. Run this here, as the user who scrapes:",
        "",
        "```sh",
        "umask 077",
        f"for exporter in {' '.join(secure)}; do",
        f"  mkdir -p {PLACE}/$exporter",
        f"  age -d -i key.txt -o {PLACE}/$exporter/client.key pairs/$exporter/client.key.age",
        f"  cp pairs/$exporter/ca.crt pairs/$exporter/client.crt {PLACE}/$exporter/",
        "done",
        "```",
        "",
        "Encryption does not tell who encrypted. What shows that a key is the right one is that it belongs to its certificate:",
        "",
        "```sh",
        f"for exporter in {' '.join(secure)}; do",
        f"  openssl x509 -in {PLACE}/$exporter/client.crt -noout -pubkey > {PLACE}/$exporter/pub",
        f"  openssl pkey -in {PLACE}/$exporter/client.key -pubout | cmp - {PLACE}/$exporter/pub && echo $exporter: fits",
        "done",
        "```",
    ]


def _readme(outsider: Outsider, entries: Sequence[Entry]) -> str:
    rows = [
        f"| {entry.exporter} | {names.target(entry.address, entry.port)} | "
        f"{'no pair: plain http' if entry.insecure else entry.sha256} | {entry.not_after or '-'} |"
        for entry in entries
    ]
    secure = [entry.exporter for entry in entries if not entry.insecure]
    found = object_names([entry.exporter for entry in entries])
    lines = [
        f"# Exporters of TimesTen for {outsider.name}",
        "",
        _MADE,
        "",
        "Each private key is encrypted (age, X25519) for the owner of",
        "",
        f"    {outsider.public_key}",
        "",
        "and nobody else can open it. The certificates are public.",
        "",
        "| exporter | target | SHA-256 of the client certificate | valid until |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Do not scrape more often than every {outsider.scrape_interval}: an exporter accepts few requests a minute, from all together.",
    ]
    if secure:
        lines += _decryption(secure)
    lines += [
        "",
        "## Scrape",
        "",
        "- Prometheus: `scrape_config.yml`, below `scrape_config_files` or copied into `scrape_configs`.",
        "- Grafana Alloy: `config.alloy`; write your own `forward_to`.",
        "- OpenTelemetry collector: `otel-collector.yml`; name the receiver `prometheus/timesten` in a pipeline of yours.",
        "- Kubernetes with the Prometheus operator: `kubernetes.yml`; add the labels that your Prometheus selects (`scrapeConfigSelector`).",
        "  Its Secrets hold the certificates alone. The keys go from age to the API server without touching a disk:",
        "",
        "```sh",
        *(
            f"age -d -i key.txt pairs/{exporter}/client.key.age | kubectl create secret generic {found[exporter]}-key "
            "--from-file=client.key=/dev/stdin --dry-run=client -o yaml | kubectl apply -f -"
            for exporter in secure
        ),
        "kubectl apply -f kubernetes.yml",
        "```",
        "",
    ]
    return "\n".join(lines)
