# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the scrape job of one exporter and its text. Touches no file."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import CURRENT

JOB_PREFIX = "timesten-"
JOB_OPTIONS = (
    "scrape_interval",
    "scrape_timeout",
    "metrics_path",
    "labels",
    "job_label",
    "honor_labels",
    "extra",
)
"""Options of a job, set for one exporter or as the task's default for all."""
_DEFINITION = ("name", "address", "port", "usual_port", "insecure", "alt_names", *JOB_OPTIONS)
DEFAULT_INTERVAL = 60.0
"""Prometheus's default: seconds between scrapes if neither the job nor ``global`` sets them."""

MANAGED = (
    "job_name",
    "honor_labels",
    "scrape_interval",
    "scrape_timeout",
    "metrics_path",
    "scheme",
    "tls_config",
    "static_configs",
)
_UNITS = (("y", 31536000000), ("w", 604800000), ("d", 86400000), ("h", 3600000), ("m", 60000), ("s", 1000), ("ms", 1))
_DURATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit, _ms in _UNITS) + r"\Z")
_LONGEST_MS = (2**63 - 1) // 1000000
_LONGEST_LABEL = 1000
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./-]|:(?=[A-Za-z0-9_]))*\Z")
# YAML 1.1 reads these words as something else than text.
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


@dataclasses.dataclass(frozen=True)
class Job:
    """The scrape job of one exporter.

    :param exporter: the exporter's name; an exporter has one job.
    :param config: the entry of ``scrape_configs``, with its keys in writing order.
    """

    exporter: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the ``job_name``."""
        return str(self.config["job_name"])

    @property
    def target(self) -> str:
        """Return the only target, ``host:port``."""
        return str(self.config["static_configs"][0]["targets"][0])


def job_name(exporter: str) -> str:
    """Return the ``job_name`` for an exporter. It never changes while the exporter keeps its name, so its series
    continue.
    """
    return JOB_PREFIX + exporter


def pem_paths(store: str, exporter: str, delivery: str = CURRENT) -> dict[str, str]:
    """Return the ``tls_config`` paths of an exporter in a store: ``ca_file``, ``cert_file``, ``key_file``."""
    place = f"{store.rstrip('/')}/{exporter}/{delivery}"
    return {"ca_file": f"{place}/ca.crt", "cert_file": f"{place}/client.crt", "key_file": f"{place}/client.key"}


def build(exporter: Mapping[str, Any], store: str, delivery: str = CURRENT) -> Job:
    """Return the job of one exporter.

    :param exporter: an element of ``exporters`` of ``tt_prometheus_host``: ``name``, ``address``, ``port`` and
        optionally ``usual_port`` (if it is on its spare port), ``insecure``, ``alt_names``, ``scrape_interval``,
        ``scrape_timeout``, ``metrics_path``, ``labels``, ``job_label``, ``honor_labels``, ``extra``.
    :param store: absolute path of the client's PEM store, as the taker sees it.
    :param delivery: the name that the job uses in the store. Prometheus reads the files behind a link anew at every
        scrape. Other takers read a CA file once, and read again only if its name changes.
    :raises TimesTenError: naming the exporter, the option and its value.
    """
    name = _names.check_name(exporter["name"], "exporter")
    where = f"exporter {name}"
    address = _names.check_host(exporter.get("address") or "", f"{where}: address")
    port = exporter.get("port")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise TimesTenError(f"{where}: port: {port!r} is not a port; give a whole number from 1 to 65535")
    if not store.startswith("/"):
        raise TimesTenError(f"{where}: store: {store!r} is not an absolute path")

    config: dict[str, Any] = {"job_name": job_name(name)}
    if exporter.get("honor_labels") is not None:
        config["honor_labels"] = bool(exporter["honor_labels"])
    seconds = {}
    for option in ("scrape_interval", "scrape_timeout"):
        value = exporter.get(option)
        if value is not None:
            seconds[option] = parse_duration(value, f"{where}: {option}")
            if not seconds[option]:
                raise TimesTenError(f"{where}: {option}: {value!r} is no time at all; give for example '15s'")
            config[option] = value
    if seconds.get("scrape_timeout", 0) > seconds.get("scrape_interval", math.inf):
        raise TimesTenError(
            f"{where}: scrape_timeout {config['scrape_timeout']} is longer than scrape_interval "
            f"{config['scrape_interval']}; "
            "Prometheus refuses that: shorten the one or lengthen the other"
        )
    path = exporter.get("metrics_path")
    if path is not None and not path.startswith("/"):
        raise TimesTenError(f"{where}: metrics_path: {path!r} does not begin with '/'")
    scalar(path, f"{where}: metrics_path")
    if path not in (None, "/metrics"):
        config["metrics_path"] = path
    if exporter.get("insecure"):
        config["scheme"] = "http"
    else:
        config["scheme"] = "https"
        config["tls_config"] = pem_paths(store, name, delivery)
        server_name = _server_name(address, exporter.get("alt_names"))
        if server_name:
            config["tls_config"]["server_name"] = server_name
    static: dict[str, Any] = {"targets": [_names.target(address, port)]}
    labels = {**_usual_labels(exporter, address), **(exporter.get("labels") or {})}
    if labels:
        static["labels"] = {label: _label(label, value, where) for label, value in sorted(labels.items())}
    config["static_configs"] = [static]
    _add_job_label(config, exporter, where)
    _add_extra(config, exporter, where)
    emit(config, 0, where)  # checks every value here, long before the file is touched
    return Job(name, config)


def merge(
    previous: Mapping[str, Mapping[str, Any]],
    exporters: Iterable[Mapping[str, Any]],
    defaults: Mapping[str, Any],
    remove: Iterable[str] = (),
    purge: bool = False,
    both_ports: bool = False,
) -> dict[str, dict[str, Any]]:
    """Merge the stored definitions with the task's. The controller uses this too, for the layout ``template``.

    :param previous: the stored definitions, by exporter.
    :param exporters: elements of the task's ``exporters``.
    :param defaults: the task's own job options.
    :param remove: exporters to remove.
    :param purge: whether to remove all exporters that the task does not mention.
    :param both_ports: whether the job on a mentioned exporter's other port stays.
    """
    merged = {} if purge else {name: dict(definition) for name, definition in previous.items()}
    for exporter in exporters:
        definition = {key: exporter[key] for key in _DEFINITION if exporter.get(key) is not None}
        for key in JOB_OPTIONS:
            if key not in definition and defaults.get(key) is not None:
                definition[key] = defaults[key]
        name = exporter["name"]
        known = previous.get(name, previous.get(_names.other_port(name), {})).get("alt_names")
        # If the task does not know the certificate's names, the job keeps what it has.
        if "alt_names" not in definition and known is not None and not exporter.get("insecure"):
            definition["alt_names"] = known
        merged[name] = definition
    for name in [*remove, *([] if both_ports else left_ports(exporters))]:
        merged.pop(name, None)
    return dict(sorted(merged.items()))


def left_ports(exporters: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the jobs on these exporters' other ports."""
    names = {exporter["name"] for exporter in exporters}
    return {_names.other_port(name) for name in names} - names


def discovered_labels(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the job's target before relabelling: its URL, and the labels of its series.

    Prometheus 2.42 shows the series' labels only after relabelling, so they are left out for a job that relabels.
    """
    static = config["static_configs"][0]
    params = (config.get("params") or {}).items()
    url = {
        "__address__": str(static["targets"][0]),
        "__scheme__": str(config.get("scheme", "http")),
        "__metrics_path__": str(config.get("metrics_path", "/metrics")),
        **{f"__param_{key}": str(values[0]) for key, values in params if isinstance(values, (list, tuple)) and values},
    }
    if config.get("relabel_configs"):
        return url
    own = {str(key): str(value) for key, value in (static.get("labels") or {}).items()}
    return {**url, "job": str(config["job_name"]), **own}


def _usual_labels(exporter: Mapping[str, Any], address: str) -> dict[str, str]:
    """Return the labels that an exporter on its spare port keeps from its usual port, so that its series continue.

    Prometheus does not overwrite labels that a target already has, and relabels for ``job_label`` afterwards.
    """
    port = exporter.get("usual_port")
    if port is None:
        return {}
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise TimesTenError(
            f"exporter {exporter['name']}: usual_port: {port!r} is not a port; give a whole number from 1 to 65535"
        )
    job = {} if exporter.get("job_label") else {"job": job_name(_names.exporter_of(exporter["name"]))}
    return {**job, "instance": _names.target(address, port)}


def _server_name(address: str, alt_names: Sequence[str] | None) -> str | None:
    """Return the name to check the certificate against, if the address is not one of its names.

    Take the first name without a wildcard, because a wildcard is no valid server name.
    """
    if not alt_names or _names.covers(alt_names, address):
        return None
    return next((name for name in alt_names if not name.startswith("*")), None)


def _label(name: str, value: Any, where: str) -> str:
    if not isinstance(name, str) or not _LABEL.match(name) or name.startswith("__"):
        raise TimesTenError(
            f"{where}: labels: {name!r} is not a label name: letters, digits and '_', not beginning with a digit or "
            "'__'"
        )
    if not isinstance(value, str):
        raise TimesTenError(f"{where}: labels: {name}: {value!r} is not text; quote it")
    scalar(value, f"{where}: labels: {name}")
    return value


def _add_job_label(config: dict[str, Any], exporter: Mapping[str, Any], where: str) -> None:
    job_label = exporter.get("job_label")
    if job_label is None:
        return
    if not job_label.strip() or "$" in job_label or len(job_label) > _LONGEST_LABEL:
        raise TimesTenError(
            f"{where}: job_label: {job_label[:80]!r} must not be empty, hold a '$' (relabelling would expand it) or be longer "
            f"than {_LONGEST_LABEL} characters"
        )
    scalar(job_label, f"{where}: job_label")
    if "job" in (exporter.get("labels") or {}):
        raise TimesTenError(f"{where}: job_label and labels both set the label 'job'; keep one of them")
    if "relabel_configs" in (exporter.get("extra") or {}):
        raise TimesTenError(
            f"{where}: extra: relabel_configs together with job_label; leave job_label out and add the rule "
            f"{{target_label: job, replacement: {job_label}}} to relabel_configs"
        )
    config["relabel_configs"] = [{"target_label": "job", "replacement": job_label}]


def _add_extra(config: dict[str, Any], exporter: Mapping[str, Any], where: str) -> None:
    where = f"{where}: extra"
    for key, value in sorted((exporter.get("extra") or {}).items()):
        if key in MANAGED:
            raise TimesTenError(f"{where}: {key} is managed by this collection; use the option meant for it")
        _key(key, where)
        try:
            emit({key: value}, 0, where)
        except TimesTenError:
            # The value is not shown because it may be a secret.
            raise TimesTenError(
                f"{where}: {key} holds what cannot be written as YAML (a control character, a key that is no text, or no text, number, list or mapping)"
            ) from None
        config[key] = value


# --- text -------------------------------------------------------------------------------------------------------------


def scalar(value: Any, where: str) -> str:
    """Write a YAML scalar that every reader of YAML 1.1 or 1.2 reads as the same value.

    :param where: the place of the value, for the message.
    :raises TimesTenError: for control characters and for values without a plain form.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        text = repr(value)
        # YAML 1.1 requires a dot in a number with an exponent.
        return text if "e" not in text or "." in text else text.replace("e", ".0e", 1)
    if isinstance(value, str):
        text = str(value)
        found = argspec.CONTROL.search(text)
        if found:
            raise TimesTenError(f"{where}: {value!r} holds the control character {found.group()!r}; take it out")
        if (_PLAIN.match(value) and value.lower() not in _WORDS) or (_DURATION.match(value) and value[-1:].isalpha()):
            return value
        return str(json.dumps(value, ensure_ascii=False))
    raise TimesTenError(
        f"{where}: {value!r} ({type(value).__name__}) cannot be written as YAML; use text, numbers, lists or mappings"
    )


def emit(value: Mapping[str, Any], column: int, where: str) -> list[str]:
    """Return a mapping as the lines (without line ends) of one item of a block list with its dashes at ``column``."""
    lines = _mapping(value, column + 2, where)
    lines[0] = " " * column + "- " + lines[0][column + 2 :]
    return lines


def emit_flow(value: Any, where: str) -> str:
    """Return a value in flow style, on one line."""
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{scalar(_key(key, where), where)}: {emit_flow(item, where)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(emit_flow(item, where) for item in value) + "]"
    text = scalar(value, where)
    # Inside brackets some YAML readers split "a:b", so text with a colon is always quoted there.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and ":" in value and text[0] != '"' else text


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str) or not key or len(key) > 100:
        raise TimesTenError(f"{where}: {key!r} is not a usable key; use text of at most 100 characters")
    return key


def _mapping(value: Mapping[str, Any], column: int, where: str) -> list[str]:
    lines = []
    for key, item in value.items():
        head = " " * column + scalar(_key(key, where), where) + ":"
        inner = f"{where}: {key}"
        if isinstance(item, Mapping) and item:
            lines += [head, *_mapping(item, column + 2, inner)]
        elif isinstance(item, (list, tuple)) and item:
            lines += [head, *_sequence(item, column + 2, inner)]
        else:
            lines.append(
                f"{head} {emit_flow(item, inner) if isinstance(item, (Mapping, list, tuple)) else scalar(item, inner)}"
            )
    return lines


def _sequence(value: Sequence[Any], column: int, where: str) -> list[str]:
    lines = []
    for item in value:
        if isinstance(item, Mapping) and item:
            lines += emit(item, column, where)
        elif isinstance(item, (Mapping, list, tuple)):
            lines.append(" " * column + "- " + emit_flow(item, where))
        else:
            lines.append(" " * column + "- " + scalar(item, where))
    return lines


# --- time -------------------------------------------------------------------------------------------------------------


def parse_duration(text: str, what: str) -> float:
    """Return a Prometheus duration such as ``1m30s``, ``15s`` or ``500ms`` as seconds.

    The syntax is Prometheus's own: units y, w, d, h, m, s, ms in this order, each at most once; only ``0`` needs no
    unit.

    :param what: the origin of the text, for the message.
    :raises TimesTenError: naming the text and the syntax.
    """
    match = _DURATION.match(text) if isinstance(text, str) else None
    if text == "0":
        return 0.0
    if not text or not match:
        raise TimesTenError(f"{what}: {text!r} is not a Prometheus duration; write for example 15s, 1m30s, 500ms or 1h")
    milliseconds = sum(int(count) * size for count, (_unit, size) in zip(match.groups(), _UNITS) if count)
    if milliseconds > _LONGEST_MS:
        raise TimesTenError(f"{what}: {text!r} is longer than the 292 years that Prometheus can count")
    return milliseconds / 1000
