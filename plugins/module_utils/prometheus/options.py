# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of one client of ``tt_prometheus_host``, checked before anything is touched: here, and on the controller."""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import Any, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.jobs import JOB_OPTIONS

_PATHS = (
    "config_file",
    "scrape_file",
    "rules_file",
    "store",
    "url_ca_file",
    "url_cert_file",
    "url_key_file",
    "reload_pid_file",
)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\Z")


def check(options: Mapping[str, Any]) -> None:
    """Check what can be told without the host. What is None or missing is not set.

    :raises TimesTenError: naming the option, its value and what is allowed.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in _PATHS:
        if name in given:
            _names.check_path(given[name], name)
    if os.path.normpath(given.get("store", "/x")).strip("/") == "":
        raise TimesTenError("store: '/' cannot be a store, which is a directory of its own; choose another")
    if "promtool" in given:
        _names.check_text(given["promtool"], "promtool")
    for name in ("user", "group"):
        if name in given:
            _names.check_account(given[name], name)
    if not _UNIT.match(given.get("reload_unit", "x")):
        raise TimesTenError(f"reload_unit: {given['reload_unit']!r} is not the name of a systemd unit")
    _number(given, "keep_deliveries", 0, 100)
    _number(given, "wait_timeout", 0.1, 86400)
    if "url" in given:
        check_url(given["url"])
    _credentials(given)
    probe = {name: given[name] for name in JOB_OPTIONS if name in given}
    check_job(probe)


def _number(given: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = given.get(name, low)
    # Not a number compares with nothing.
    if not low <= value <= high:
        raise TimesTenError(f"{name}: {value} is not between {low} and {high}")


def _credentials(given: Mapping[str, Any]) -> None:
    name = given.get("url_username")
    if name is not None and ":" in _names.check_text(name, "url_username"):
        raise TimesTenError(f"url_username: {name!r} holds a ':', which basic authentication does not allow")
    if re.search(r"[\x00-\x1f\x7f]", given.get("url_password", "")):
        raise TimesTenError("url_password holds a control character, perhaps the end of a line; take it out")


def check_url(url: str) -> None:
    """:raises TimesTenError: if this is not the address of a Prometheus."""
    try:
        parts = urllib.parse.urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        right = False
    if (
        not right
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
        or re.search(r"[\s\x00-\x1f\x7f]", url)
    ):
        # A password that stands in the address is not repeated.
        shown = re.sub(r"//.*@", "//...@", url, flags=re.DOTALL)
        raise TimesTenError(
            f"url: {shown!r} is not the address of a Prometheus (http://host:port, with a path where it has a "
            f"route prefix; user and password belong in url_username and url_password)"
        )


def check_job(options: Mapping[str, Any]) -> None:
    """Check the options of jobs by making one of them. No value of ``extra`` is repeated: it may be a secret.

    :raises TimesTenError: naming the option.
    """
    sample = {"name": "exporter", "address": "exporter", "port": 8888}
    where = "exporter exporter: "

    def build(**more: Any) -> str | None:
        try:
            _prometheus_jobs.build({**sample, **options, **more}, "/store")
        except TimesTenError as error:
            return error.message[len(where) :] if error.message.startswith(where) else error.message
        return None

    fault = build(extra={})
    if fault is not None:
        raise TimesTenError(fault)
    for key, value in (options.get("extra") or {}).items():
        fault = build(extra={key: None})
        if fault is None and build(extra={key: value}) is not None:
            fault = f"extra: {key} holds what cannot be written as YAML (a control character, or no text, number, list or mapping)"
        if fault is not None:
            raise TimesTenError(fault if fault.startswith("extra: ") else f"extra: {fault}")
