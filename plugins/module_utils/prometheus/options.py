# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the options of one client of ``tt_prometheus_host`` before anything is touched, on the host and on the
controller.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import check_order
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.jobs import JOB_OPTIONS
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap, cleaned, rules_beside

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
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}\Z")
_OWN_HEADERS = ("connection", "content-length", "host", "transfer-encoding")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}\Z")


def check(options: Mapping[str, Any]) -> None:
    """Check what can be checked without the host. An option that is None or missing is not set.

    :raises TimesTenError: naming the option, its value and the allowed values.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in _PATHS:
        if name in given:
            _names.check_path(given[name], name)
    _kind(given)
    _path_map(given)
    if os.path.normpath(given.get("store", "/x")).strip("/") == "":
        raise TimesTenError("store: '/' cannot be a store, which is a directory of its own; choose another")
    if "promtool" in given:
        _names.check_text(given["promtool"], "promtool")
    if "fleet" in given:
        _names.check_text(given["fleet"], "fleet")
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


def _path_map(given: Mapping[str, Any]) -> None:
    mounts = given.get("path_map", {})
    for path in (*mounts, *mounts.values()):
        if not isinstance(path, str):
            raise TimesTenError(
                f"path_map: {path!r} is no path; give host paths with the container paths that they are mounted at"
            )
        _names.check_path(path, "path_map")
    for side, given_paths in (("host", list(mounts)), ("container", list(mounts.values()))):
        spelt = [cleaned(path) for path in given_paths]
        for path in given_paths:
            if spelt.count(cleaned(path)) > 1:
                raise TimesTenError(
                    f"path_map: the {side} path {path!r} stands there twice, and only one of the two can hold; keep the one "
                    f"that the container has"
                )
    paths = PathMap(mounts)
    unread = ("config_file", "rules_file") if given.get("kind") == "scrape_file" else ()
    for name in ("config_file", "scrape_file", "rules_file", "store"):
        if name in given and name not in unread:
            paths.inside(given[name], name)
    # If rules are wanted without a rules_file, their place follows from the store, which may be a mount of its own.
    if given.get("rules") and "store" in given and "rules_file" not in given and not unread:
        paths.inside(rules_beside(given["store"]), "rules_file")


def _kind(given: Mapping[str, Any]) -> None:
    if given.get("kind") != "scrape_file":
        return
    if "scrape_file" not in given:
        raise TimesTenError(
            "scrape_file: is not set, and kind 'scrape_file' has its jobs there; name the file that the taker reads"
        )
    layout = given.get("layout", "inline")
    if layout != "inline":
        raise TimesTenError(
            f"layout: {layout} is not used by kind 'scrape_file', whose jobs are a marked block in scrape_file; leave it out"
        )


def _number(given: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = given.get(name, low)
    # This form also refuses nan, for which every comparison is false.
    if not low <= value <= high:
        raise TimesTenError(f"{name}: {value} is not between {low} and {high}")


def _credentials(given: Mapping[str, Any]) -> None:
    name = given.get("url_username")
    if name is not None and ":" in _names.check_text(name, "url_username"):
        raise TimesTenError(f"url_username: {name!r} holds a ':', which basic authentication does not allow")
    for option in ("url_password", "url_bearer_token"):
        if re.search(r"[\x00-\x1f\x7f]", given.get(option, "")):
            raise TimesTenError(f"{option} holds a control character, perhaps the end of a line; take it out")
    if not re.match(r"[\x21-\x7e]+\Z", given.get("url_bearer_token", "x")):
        raise TimesTenError(
            "url_bearer_token is empty, or holds a blank or a character that is not ASCII, which no token has"
        )
    headers = given.get("url_headers", {})
    _headers(headers)
    logins = [option for option in ("url_username", "url_bearer_token") if option in given]
    if any(header.lower() == "authorization" for header in headers):
        logins.append("the header Authorization of url_headers")
    if len(logins) > 1:
        raise TimesTenError(
            f"{logins[-1]}: cannot be used together with {logins[0]}: both say who asks; keep one of them"
        )


def _headers(headers: Mapping[str, Any]) -> None:
    """Check the headers. No message repeats a value, because it may be a secret."""
    for header, value in headers.items():
        if not isinstance(header, str) or not _HEADER.match(header):
            raise TimesTenError(f"url_headers: {str(header)[:40]!r} is not the name of an HTTP header")
        if header.lower() in _OWN_HEADERS:
            raise TimesTenError(f"url_headers: {header} cannot be set: it belongs to the connection; leave it out")
        if not isinstance(value, str) or not re.match(r"[\x20-\x7e]*\Z", value):
            raise TimesTenError(
                f"url_headers: the value of {header} is not text of printable ASCII characters; quote it, and take the end "
                f"of a line out"
            )
        if value != value.strip():
            raise TimesTenError(
                f"url_headers: the value of {header} begins or ends with a blank, which no server keeps; take it out"
            )
        if [name.lower() for name in headers if isinstance(name, str)].count(header.lower()) > 1:
            raise TimesTenError(f"url_headers: {header} stands there twice, in small and in capital letters; keep one")


def is_address(url: str) -> bool:
    """Tell whether this is the address of an HTTP server without user and password in it."""
    try:
        parts = urllib.parse.urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        return False
    rest = parts.username or parts.password or parts.query or parts.fragment
    return bool(right) and not rest and not re.search(r"[\s\x00-\x1f\x7f]", url)


def shown_address(url: str) -> str:
    """Return the address for a message, without a password in it."""
    return repr(re.sub(r"//.*@", "//...@", url, flags=re.DOTALL))


def check_url(url: str) -> None:
    """:raises TimesTenError: if this is not the address of a Prometheus."""
    if not is_address(url):
        raise TimesTenError(
            f"url: {shown_address(url)} is not the address of a Prometheus (http://host:port, with a path where it has a "
            f"route prefix; user and password belong in url_username and url_password)"
        )


def check_job(options: Mapping[str, Any]) -> None:
    """Check the options of jobs by making a job. No message repeats a value of ``extra``, because it may be a secret.

    :raises TimesTenError: naming the option.
    """
    sample = {"name": "exporter", "address": "exporter", "port": 8888}
    try:
        _prometheus_jobs.build({**sample, **options}, "/store")
    except TimesTenError as error:
        raise TimesTenError(re.sub(r"\Aexporter exporter: ", "", error.message)) from error


def check_call(
    exporters: Sequence[Mapping[str, Any]],
    remove: Sequence[str],
    switch: Mapping[str, Any],
    fleet_exporters: Mapping[str, Any],
) -> None:
    """Check what only a task has: exporters to remove, the orders of a rotation, and all exporters of the inventory.

    :raises TimesTenError: naming the option.
    """
    for name, targets in fleet_exporters.items():
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise TimesTenError(
                f"fleet_exporters: {str(name)[:100]!r}: give each exporter a list of its targets (host:port)"
            )
    for index, name in enumerate(remove):
        _names.check_name(name, f"remove[{index}]")
    for item in exporters:
        if item["name"] in switch:
            check_order(switch[item["name"]], f"switch.{item['name']}")
