# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks certificate files without the package ``cryptography``, whose import takes longer than most calls."""

from __future__ import annotations

import datetime
import hashlib
import re
import ssl
from typing import Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

PEM_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n.+?-----END CERTIFICATE-----[ \t]*\r?\n?", re.DOTALL)
_DURATION = re.compile(r"(\d{1,8})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def timestamp(moment: datetime.datetime) -> str:
    """Return a UTC moment in the form of all results: ``2026-11-24T10:49:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime.datetime:
    """Return the aware UTC moment of a text written by :func:`timestamp`.

    :raises ValueError: if the text has another form.
    """
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def utcnow() -> datetime.datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def certificates_of(pem: bytes) -> bytes:
    """Return the certificates of a PEM text with plain line ends, and nothing else of it: no remarks, no private key."""
    blocks = (b"\n".join(block.split()) for block in PEM_BLOCK.findall(pem))
    return b"".join(block.replace(b"\nCERTIFICATE-----", b" CERTIFICATE-----") + b"\n" for block in blocks)


def bundle_fingerprint(pem: bytes) -> str | None:
    """Return the SHA-256 over the DER of every certificate in a PEM text, in order; None if there is none or one is
    damaged.

    For a text with one certificate this is its fingerprint.
    """
    blocks = PEM_BLOCK.findall(pem)
    digest = hashlib.sha256()
    try:
        for block in blocks:
            digest.update(ssl.PEM_cert_to_DER_cert(block.decode("ascii").strip()))
    except ValueError:
        return None
    return digest.hexdigest() if blocks else None


def check_pair(certificate_path: str, key_path: str) -> None:
    """Check that a certificate file and a private key file match.

    OpenSSL checks this through ssl, forty times faster than ``cryptography`` loads an RSA key.

    :raises TimesTenError: naming both files.
    """
    try:
        for path in (certificate_path, key_path):
            _files.check_regular(path)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_path, key_path, password=_no_password)
    except (OSError, ValueError) as error:
        raise TimesTenError(f"certificate {certificate_path} and key {key_path} do not make a pair: {error}") from error


def _no_password() -> bytes:
    # Without this function OpenSSL would ask on the terminal for the passphrase of an encrypted key.
    raise ValueError("the key is encrypted")


class RenewBefore:
    """How long before its end a certificate is due: a duration, limited to half of its lifetime, or a share of its
    lifetime.

    Without that limit, every run would renew a certificate whose lifetime is shorter than the duration.
    """

    def __init__(self, text: str, place: str = "", name: str | None = None) -> None:
        """Parse the option.

        :param place: prefix for the message, for example ``exporters[2].``.
        :param name: the owner of the certificates. Its certificates are due up to a tenth earlier, always the same for
            a name, so that a fleet that was set up in one hour is not due in one hour.
        :raises TimesTenError: if the text is neither a duration such as ``30d`` nor a share such as ``20%``.
        """
        self.text = text
        self._share: int | None = None
        self._seconds = 0
        self._longer = 1.0
        if name is not None:
            self._longer += int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:2], "big") / 655360
        match = _DURATION.match(text)
        if match:
            self._seconds = int(match.group(1)) * _SECONDS[match.group(2)]
        elif re.match(r"\d{1,2}%\Z", text):
            self._share = int(text[:-1])
        else:
            raise TimesTenError(
                f"{place}renew_before: {text!r} is neither a duration (30d, 12h, 90m, 45s) nor a share of the lifetime (0% to 99%)"
            )

    def moment(self, not_before: str, not_after: str) -> datetime.datetime:
        """Return the moment from which a certificate with this validity is due."""
        start, end = parse_timestamp(not_before), parse_timestamp(not_after)
        if self._share is not None:
            return end - (end - start) * min(self._share * self._longer, 99.0) / 100
        return end - min(datetime.timedelta(seconds=self._seconds * self._longer), (end - start) / 2)

    def why_due(self, certificate: dict[str, Any], now: datetime.datetime) -> str | None:
        """Return why a certificate (given as facts) has to be renewed now, or None."""
        if now < parse_timestamp(certificate["not_before"]):
            # It was made while the clock was wrong, and nobody accepts it.
            return f"is not valid before {certificate['not_before']}"
        if now >= parse_timestamp(certificate["not_after"]):
            return f"expired at {certificate['not_after']}"
        if now >= self.moment(certificate["not_before"], certificate["not_after"]):
            return f"ends at {certificate['not_after']}, within renew_before {self.text}"
        return None
