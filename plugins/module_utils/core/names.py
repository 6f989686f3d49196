# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the names of exporters and clients, and the addresses that Prometheus connects to."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Iterable

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\$-]{0,255}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCOPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}\Z")
_HOST_LABEL = re.compile(r"(\*|[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)\Z")

PROBE = "probe"
"""The name of the pair that each generation keeps for local handshakes. No client may have it."""

SPARE = ".spare"
"""The suffix of an exporter's name for its job and deliveries while it serves on its spare port."""


def check_name(value: str, what: str) -> str:
    """Return the name of an exporter or client, if it can be a directory, a label and a YAML scalar.

    :param what: the option that holds the name, for the message (for example ``exporters[0].name``).
    :raises TimesTenError: naming the value and the rule.
    """
    if not _NAME.match(value) or ".." in value:
        raise TimesTenError(
            f"{what}: {value!r} is not a usable name: letters, digits, '.', '_' and '-', beginning with a letter or digit, "
            "without '..', at most 100 characters"
        )
    return value


def check_text(value: str, what: str) -> str:
    """:raises TimesTenError: if a text is empty or holds a control character."""
    if not value.strip():
        raise TimesTenError(f"{what}: {value!r} is empty; leave it out, or give it a value")
    if _CONTROL.search(value):
        raise TimesTenError(f"{what}: {value!r} holds a control character; take it out")
    return value


def check_path(value: str, what: str) -> str:
    """:raises TimesTenError: if a path is not absolute or cannot be a path."""
    if not os.path.isabs(value):
        raise TimesTenError(f"{what}: {value!r} is not an absolute path")
    if any(len(os.fsencode(part)) > 255 for part in value.split("/")) or len(value) > 4095:
        raise TimesTenError(f"{what}: {value[:50]!r}... is longer than a path can be")
    return check_text(value, what)


def check_account(value: str, what: str) -> str:
    """:raises TimesTenError: if this cannot be a user or group."""
    # For the system the highest number means "leave the owner unchanged".
    if not _ACCOUNT.match(value) or (value.isdigit() and int(value) >= 2**32 - 1):
        raise TimesTenError(f"{what}: {value!r} is not the name or the number of a user or a group")
    return value


def on_port(exporter: str, spare: bool) -> str:
    """Return the name of an exporter's job and deliveries for the usual or the spare port."""
    return exporter + SPARE if spare else exporter


def exporter_of(name: str) -> str:
    """Return the exporter whose job or deliveries have this name."""
    return name[: -len(SPARE)] if name.endswith(SPARE) else name


def other_port(name: str) -> str:
    """Return the name of the job and deliveries for the exporter's other port."""
    return on_port(exporter_of(name), not name.endswith(SPARE))


def check_distinct(names: Iterable[str], what: str) -> None:
    """:raises TimesTenError: if a name occurs twice, or two names differ only in case (some file systems have one
    directory for both).
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = name.lower()
        if folded in seen:
            raise TimesTenError(f"{what}: {seen[folded]!r} and {name!r} are the same name; give each one its own")
        seen[folded] = name


def is_address(value: str) -> bool:
    """Tell whether the value is an IPv4 or IPv6 address (without brackets) rather than a host name.

    The scope of an IPv6 address (``fe80::1%eth0``) has to be the name or number of an interface. Newer versions of
    ipaddress accept any text as scope, older ones none.
    """
    address, percent, scope = value.partition("%")
    if percent and not (_SCOPE.match(scope) and ":" in address):
        return False
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def check_host(value: str, what: str, wildcard: bool = False) -> str:
    """Return a host name or address unchanged, if it is valid.

    :param wildcard: whether a leading ``*.`` label is allowed (certificate names only).
    :raises TimesTenError: with the value and the option.
    """
    if is_address(value):
        return value
    labels = value.split(".")
    if (
        not value
        or len(value) > 253
        or not all(_HOST_LABEL.match(label) for label in labels)
        or "*" in labels[1:]
        or (labels[0] == "*" and not (wildcard and len(labels) > 1))
    ):
        raise TimesTenError(f"{what}: {value!r} is neither a host name nor an IP address")
    if labels[-1].isdigit():
        raise TimesTenError(f"{what}: {value!r} looks like an IP address but is not a valid one")
    return value


def covers(alt_names: Iterable[str], host: str) -> bool:
    """Tell whether a certificate with these alternative names is valid for a host.

    The rules are those of Go's verifier, which Prometheus uses: an address matches in any spelling of it, a wildcard stands for exactly
    one left-most label, and case does not matter.
    """
    if is_address(host):
        # No certificate contains a scope, so an address with one needs a server_name.
        return "%" not in host and canonical(host) in map(canonical, alt_names)
    host = host.rstrip(".").lower()
    for name in (given.rstrip(".").lower() for given in alt_names):
        if name == host:
            return True
        if name.startswith("*.") and "." in host and host.split(".", 1)[1] == name[2:]:
            return True
    return False


def canonical(host: str) -> str:
    """Return the one way to write an address or a host name of several."""
    if not is_address(host):
        return host.rstrip(".").lower()
    address, mark, scope = host.partition("%")
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return f"{mapped or parsed}{mark}{scope}"


def is_nobody(host: str) -> bool:
    """Tell whether this is an address that no host has: ``0.0.0.0``, a group, or the broadcast address."""
    if not is_address(host):
        return False
    parsed = ipaddress.ip_address(canonical(host).partition("%")[0])
    return parsed.is_unspecified or parsed.is_multicast or str(parsed) == "255.255.255.255"


def is_loopback(host: str) -> bool:
    """Tell whether a host that is asked for this answers itself."""
    if is_address(host):
        return ipaddress.ip_address(canonical(host).partition("%")[0]).is_loopback
    return canonical(host) == "localhost" or canonical(host).endswith(".localhost")


def target(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
