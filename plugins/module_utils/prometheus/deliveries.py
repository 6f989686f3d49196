# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the content of a delivery before and after it is stored. Only calls that have to look into one load this."""

from __future__ import annotations

import os
from typing import Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files, names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import FILES, Expected, Stored
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates, seal


def parse(place: str, delivery: str, marks: list[list[int]]) -> Stored | None:
    """Return the content of a delivery; None if a file is missing or damaged, or certificate and key do not match."""
    try:
        certificate = certificates.load_one(files.read(os.path.join(place, "client.crt")), "client.crt")
        authorities = certificates.load(files.read(os.path.join(place, "ca.crt")), "ca.crt")
        certificates.check_pair(os.path.join(place, "client.crt"), os.path.join(place, "client.key"))
    except (TimesTenError, FileNotFoundError):
        return None
    facts = certificates.facts(certificate)
    authority = certificates.bundle_fingerprint(authorities)
    return Stored(delivery, facts["sha256"], authority, facts["not_after"], marks, facts)


def check_all(places: Sequence[tuple[str, Expected]]) -> dict[str, str]:
    """Check deliveries with the caller's rights: readable, matching, valid now, and the expected ones.

    :param places: directory and expected content of each delivery.
    :returns: by exporter, what is wrong.
    """
    now = certificates.timestamp(certificates.utcnow())
    faults = {}
    for place, expected in places:
        fault = _check_one(place, expected, now)
        if fault:
            faults[expected.exporter] = f"delivery {expected.delivery}: {fault}"
    return faults


def _check_one(place: str, expected: Expected, now: str) -> str | None:
    content = {}
    for name in FILES:
        path = os.path.join(place, name)
        try:
            content[name] = files.read(path)
        except FileNotFoundError:
            return f"{path} does not exist"
        except TimesTenError as error:
            return f"{error.message}{_blocked_at(path)}"
    try:
        certificate = certificates.load_one(content["client.crt"], os.path.join(place, "client.crt"))
        authorities = certificates.load(content["ca.crt"], os.path.join(place, "ca.crt"))
        if not certificates.belongs(certificate, content["client.key"]):
            certificates.check_pair(os.path.join(place, "client.crt"), os.path.join(place, "client.key"))
    except TimesTenError as error:
        return error.message
    fingerprint, authority = certificates.fingerprint(certificate), certificates.bundle_fingerprint(authorities)
    if fingerprint != expected.sha256:
        return f"client.crt has the fingerprint {fingerprint}, where {expected.sha256} is due"
    if authority != expected.ca_sha256:
        return f"ca.crt has the fingerprint {authority}, where {expected.ca_sha256} is due"
    return _validity_fault(certificates.validity(certificate), now)


def _validity_fault(validity: tuple[str, str], now: str) -> str | None:
    not_before, not_after = validity
    if now >= not_after:
        return f"client.crt expired at {not_after}; run timesten.monitoring.site, which renews what is due"
    if now < not_before:
        return (
            f"client.crt is not valid before {not_before} and this host's clock says {now}: set the clocks right (NTP)"
        )
    return None


def _blocked_at(path: str) -> str:
    """Return a text that names the first directory on the path that the caller may not enter."""
    place = ""
    for part in os.path.dirname(path).split("/")[1:]:
        place += "/" + part
        if not os.access(place, os.X_OK):
            return f" (the way is blocked at {place}: the Prometheus user needs the right to enter it)"
    return ""


def unseal(
    expected: Expected, client: str, bundle: str, certificate: bytes, authority: bytes, private: bytes
) -> tuple[bytes, bytes, bytes]:
    """Open a bundle and check that it holds exactly what the task names. Writes nothing.

    :returns: CA file, certificate and key, as they are to be stored.
    :raises TimesTenError: naming the exporter and the difference.
    """
    what = f"exporter {expected.exporter}: "
    found = certificates.fingerprint(certificates.load_one(certificate, what + "certificate"))
    if found != expected.sha256:
        raise TimesTenError(
            f"{what}the certificate has the fingerprint {found}, where {expected.sha256} is due; nothing was stored"
        )
    found = certificates.bundle_fingerprint(certificates.load(authority, what + "ca_certificate"))
    if found != expected.ca_sha256:
        raise TimesTenError(
            f"{what}the CA file has the fingerprint {found}, where {expected.ca_sha256} is due; nothing was stored"
        )
    key = seal.unseal(
        bundle, private, names.exporter_of(expected.exporter), client, expected.generation, expected.sha256
    )
    if key.count(b"-----BEGIN ") != 1 or b"PRIVATE KEY-----" not in key:
        raise TimesTenError(f"{what}the bundle does not hold exactly one private key; nothing was stored")
    return authority, certificate, key


def read_authority(place: str) -> bytes:
    """Return the CA file of a stored delivery: a renewed pair comes from the same CA."""
    with open(os.path.join(place, "ca.crt"), "rb") as stream:
        return stream.read()


def end_of(certificate: bytes) -> str:
    """Return the end of a certificate's validity.

    :raises TimesTenError: if it is not valid now.
    """
    validity = certificates.validity(certificates.load_one(certificate, "certificate"))
    fault = _validity_fault(validity, certificates.timestamp(certificates.utcnow()))
    if fault is not None:
        raise TimesTenError(f"{fault}; nothing was stored")
    return validity[1]
