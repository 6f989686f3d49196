# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as facts: what they say, whether a pair fits, when something is due."""

from __future__ import annotations

import datetime
import hashlib
import re
import ssl
import traceback
from typing import Any, Iterable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

CRYPTOGRAPHY_IMPORT_ERROR: str | None = None
try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR = traceback.format_exc()

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n.+?-----END CERTIFICATE-----\r?\n?", re.DOTALL)
_DURATION = re.compile(r"(\d{1,8})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def timestamp(moment: datetime.datetime) -> str:
    """Write a UTC moment the way all results do: ``2026-11-24T10:49:00Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime.datetime:
    """Read what :func:`timestamp` wrote, as an aware UTC moment.

    :raises ValueError: if the text has another form.
    """
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)


def utcnow() -> datetime.datetime:
    """The present moment, aware, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def load(pem: bytes, what: str) -> list[x509.Certificate]:
    """Parse every certificate in a PEM text, in order.

    :param what: the file or place it came from, for the message.
    :raises TimesTenError: if there is none, or one cannot be parsed.
    """
    blocks = _PEM.findall(pem)
    if not blocks:
        raise TimesTenError(f"{what} holds no PEM certificate")
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise TimesTenError(f"{what} holds a certificate that cannot be parsed: {error}") from error


def load_one(pem: bytes, what: str) -> x509.Certificate:
    """Parse a PEM text that has to hold exactly one certificate.

    :raises TimesTenError: if there is another number of them.
    """
    certificates = load(pem, what)
    if len(certificates) != 1:
        raise TimesTenError(f"{what} holds {len(certificates)} certificates where exactly one belongs")
    return certificates[0]


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, lower-case hexadecimal."""
    return hashlib.sha256(_der(certificate)).hexdigest()


def bundle_fingerprint(certificates: Iterable[x509.Certificate]) -> str:
    """SHA-256 over the DER of several certificates in their order: the identity of a CA file whatever its PEM looks like."""
    digest = hashlib.sha256()
    for certificate in certificates:
        digest.update(_der(certificate))
    return digest.hexdigest()


def _moment(certificate: x509.Certificate, which: str) -> datetime.datetime:
    # The aware properties came with cryptography 42, the naive ones are deprecated there.
    aware: datetime.datetime | None = getattr(certificate, which + "_utc", None)
    if aware is not None:
        return aware
    naive: datetime.datetime = getattr(certificate, which)
    return naive.replace(tzinfo=datetime.timezone.utc)


def validity(certificate: x509.Certificate) -> tuple[str, str]:
    """First and last moment of a certificate, as :func:`timestamp` writes them."""
    return (
        timestamp(_moment(certificate, "not_valid_before")),
        timestamp(_moment(certificate, "not_valid_after")),
    )


def _key_name(key: Any) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ec {key.curve.name}"
    return type(key).__name__.lstrip("_").lower()


def _alt_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in extension if isinstance(name, (x509.DNSName, x509.IPAddress))]


def facts(certificate: x509.Certificate) -> dict[str, Any]:
    """What a certificate says, as the one dict that results, manifests and diffs use (docs/architecture.md, Certificate facts)."""
    try:
        is_ca = bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        is_ca = False
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    not_before, not_after = validity(certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "common_name": str(names[0].value) if names else None,
        "alt_names": _alt_names(certificate),
        "not_before": not_before,
        "not_after": not_after,
        "sha256": fingerprint(certificate),
        "is_ca": is_ca,
        "self_signed": certificate.issuer == certificate.subject,
        "key": _key_name(certificate.public_key()),
    }


def facts_of_der(der: bytes) -> dict[str, Any]:
    """Facts of a certificate that a handshake returned."""
    return facts(x509.load_der_x509_certificate(der))


def find_leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Pick the server's own certificate from an exported file that may hold CA, leaf or chain; None if only a CA is there.

    A certificate with alternative names is the server's: Prometheus refuses a server certificate without them, and a private CA has none. A single
    self-signed certificate with names is both.
    """
    named = [certificate for certificate in certificates if _alt_names(certificate)]
    leaves = [certificate for certificate in named if certificate.issuer != certificate.subject]
    if leaves:
        return leaves[0]
    return named[0] if named else next((item for item in certificates if not facts(item)["is_ca"]), None)


def check_pair(certificate_path: str, key_path: str) -> None:
    """Check that a certificate and a private key on disk belong together.

    OpenSSL does it through ssl, which is forty times faster than loading an RSA key with ``cryptography``.

    :raises TimesTenError: naming both files.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_path, key_path, password=_no_password)
    except (OSError, ValueError) as error:
        raise TimesTenError(f"certificate {certificate_path} and key {key_path} do not make a pair: {error}") from error


def _no_password() -> bytes:
    # Without this, OpenSSL would ask on the terminal for the passphrase of an encrypted key.
    raise ValueError("the key is encrypted")


class RenewBefore:
    """How long before its end a certificate is due: a duration, at most half of its lifetime, or a share of its lifetime.

    Half: else a certificate whose whole lifetime is shorter than the duration would be renewed by every run.
    """

    def __init__(self, text: str, place: str = "", name: str | None = None) -> None:
        """Read the option.

        :param place: prefix for the message, for example ``exporters[2].``.
        :param name: whose certificates they are: up to a tenth earlier, always the same for a name, so that a fleet that
            was set up in one hour is not due in one hour.
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
        """The moment from which a certificate with this validity is due."""
        start, end = parse_timestamp(not_before), parse_timestamp(not_after)
        if self._share is not None:
            return end - (end - start) * min(self._share * self._longer, 99.0) / 100
        return end - min(datetime.timedelta(seconds=self._seconds * self._longer), (end - start) / 2)

    def why_due(self, certificate: dict[str, Any], now: datetime.datetime) -> str | None:
        """The reason why a certificate (facts) has to be renewed now, or None."""
        if now >= parse_timestamp(certificate["not_after"]):
            return f"expired at {certificate['not_after']}"
        if now >= self.moment(certificate["not_before"], certificate["not_after"]):
            return f"ends at {certificate['not_after']}, within renew_before {self.text}"
        return None
