# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads certificates: their facts, whether a key belongs to one, and which one is the server's own."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import traceback
from typing import Any, Iterable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import (
    PEM_BLOCK,
    RenewBefore,
    certificates_of,
    check_pair,
    parse_timestamp,
    timestamp,
    utcnow,
)

__all__ = ["RenewBefore", "check_pair", "parse_timestamp", "timestamp", "utcnow"]

CRYPTOGRAPHY_IMPORT_ERROR: str | None = None
try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR = traceback.format_exc()


def load(pem: bytes, what: str) -> list[x509.Certificate]:
    """Parse every certificate in a PEM text, in order.

    :param what: the file or place of the text, for the message.
    :raises TimesTenError: if there is no certificate, or one cannot be parsed.
    """
    blocks = PEM_BLOCK.findall(pem)
    if not blocks:
        raise TimesTenError(f"{what} holds no PEM certificate")
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise TimesTenError(f"{what} holds a certificate that cannot be parsed: {error}") from error


def load_one(pem: bytes, what: str) -> x509.Certificate:
    """Return the one certificate in a PEM text.

    :raises TimesTenError: if the text has none or several.
    """
    certificates = load(pem, what)
    if len(certificates) != 1:
        raise TimesTenError(f"{what} holds {len(certificates)} certificates where exactly one belongs")
    return certificates[0]


def belongs(certificate: x509.Certificate, key: bytes) -> bool:
    """Tell quickly whether a private key is complete and belongs to a certificate; OpenSSL would take fifty times as
    long.

    False also means "unknown": then :func:`check_pair` decides, and says what is wrong.
    """
    try:
        private = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # cryptography before 39 does not have this parameter
        return False
    public = certificate.public_key()
    if isinstance(private, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey):
        numbers = private.private_numbers()
        p, q, d = numbers.p, numbers.q, numbers.d
        whole = (
            p * q == numbers.public_numbers.n
            and all(d * numbers.public_numbers.e % (prime - 1) == 1 for prime in (p, q))
            and (numbers.dmp1, numbers.dmq1) == (d % (p - 1), d % (q - 1))
            and numbers.iqmp * q % p == 1
        )
        return whole and numbers.public_numbers == public.public_numbers()
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(public, ec.EllipticCurvePublicKey):
        return private.public_key().public_numbers() == public.public_numbers()
    return False


def own_of(pem: bytes, key: bytes) -> bytes:
    """Return that certificate of a PEM text, as PEM, which belongs to a private key: its CA may stand beside it, or the key itself.

    Where none does, all certificates of the text: :func:`check_pair` then names what is wrong.
    """
    if len(PEM_BLOCK.findall(pem)) < 2:
        # Reading a key checks it, which takes a tenth of a second and more.
        return certificates_of(pem)
    try:
        public = _public(serialization.load_pem_private_key(key, None).public_key())
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return certificates_of(pem)
    for block in PEM_BLOCK.findall(pem):
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):
            if _public(x509.load_pem_x509_certificate(block).public_key()) == public:
                return certificates_of(block)
    return certificates_of(pem)


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER in lower-case hexadecimal."""
    return hashlib.sha256(_der(certificate)).hexdigest()


def bundle_fingerprint(certificates: Iterable[x509.Certificate]) -> str:
    """Return the SHA-256 over the DER of several certificates in order. It identifies a CA file however its PEM is
    formatted.
    """
    digest = hashlib.sha256()
    for certificate in certificates:
        digest.update(_der(certificate))
    return digest.hexdigest()


def _moment(certificate: x509.Certificate, which: str) -> datetime.datetime:
    # cryptography 42 added the aware properties and deprecated the naive ones.
    aware: datetime.datetime | None = getattr(certificate, which + "_utc", None)
    if aware is not None:
        return aware
    naive: datetime.datetime = getattr(certificate, which)
    return naive.replace(tzinfo=datetime.timezone.utc)


def validity(certificate: x509.Certificate) -> tuple[str, str]:
    """Return the first and last moment of a certificate, in the form of :func:`timestamp`."""
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
    """Return the facts of a certificate, in the form of all results, manifests and diffs (docs/on-disk.md, Certificate
    facts).
    """
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
    """Return the facts of a certificate from a handshake."""
    return facts(x509.load_der_x509_certificate(der))


def find_leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    """Return the server's own certificate from an exported file, which may hold CA, leaf or chain; None if it holds
    only a CA.

    A certificate with alternative names is the server's: Prometheus refuses a server certificate without them, and a
    private CA has none. A single self-signed certificate with names is both CA and server certificate.
    """
    named = [certificate for certificate in certificates if _alt_names(certificate)]
    leaves = [certificate for certificate in named if certificate.issuer != certificate.subject]
    if leaves:
        return leaves[0]
    return named[0] if named else next((item for item in certificates if not facts(item)["is_ca"]), None)
