# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals private keys for transport, so that only the host that is to use them can read them.

It uses ECDH on P-256 with a new key for each bundle, HKDF-SHA256 and AES-256-GCM, which FIPS mode allows too. The
associated data bind a bundle to one exporter, client, generation, certificate and recipient. Sealing does not prove who
sealed: ssh does.
"""

from __future__ import annotations

import base64
import functools
import json
import os

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import (
    check_public_key,
    decode,
    key_id,
)

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    pass  # reported by _certificates.CRYPTOGRAPHY_IMPORT_ERROR

__all__ = ["check_public_key", "key_id"]

VERSION = 1
BUNDLE_LIMIT = 65536
"""Characters. An RSA key of 16384 bits makes a bundle of 18,000."""


def new_transport_key() -> tuple[bytes, str]:
    """Make a transport key pair.

    :returns: the private key as PEM, and the public key in the form of :func:`public_key`.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, _encode(private.public_key())


def public_key(private_pem: bytes) -> str:
    """Return the public half of a transport key: base64 of the uncompressed point.

    :raises TimesTenError: if this is not a P-256 private key.
    """
    return _opened(private_pem)[1]


def seal(key_pem: bytes, exporter: str, client: str, generation: str, fingerprint: str, recipient: str) -> str:
    """Encrypt a private key for the holder of a transport key.

    :param fingerprint: SHA-256 of the pair's certificate.
    :param recipient: the public transport key.
    :returns: the bundle, one line of JSON.
    :raises TimesTenError: if the recipient's key is not a point on P-256.
    """
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    shared = ephemeral.exchange(ec.ECDH(), _public(recipient))
    sender = _encode(ephemeral.public_key())
    nonce = os.urandom(12)
    named = _named(exporter, client, generation, fingerprint, key_id(recipient))
    text = AESGCM(_derive(shared, sender, recipient)).encrypt(nonce, key_pem, _associated(named))
    return json.dumps(
        dict(
            named,
            ephemeral=sender,
            nonce=base64.b64encode(nonce).decode("ascii"),
            ciphertext=base64.b64encode(text).decode("ascii"),
        ),
        sort_keys=True,
        separators=(",", ":"),
    )


def unseal(bundle: str, private_pem: bytes, exporter: str, client: str, generation: str, fingerprint: str) -> bytes:
    """Decrypt a bundle, which has to be for exactly this exporter, client, generation, certificate and recipient.

    :returns: the private key as PEM.
    :raises TimesTenError: naming the field that differs, or saying that the bundle was truncated or changed.
    """
    what = f"the sealed bundle of exporter {exporter} for client {client}"
    if len(bundle) > BUNDLE_LIMIT:
        raise TimesTenError(f"{what} has {len(bundle)} characters, more than {BUNDLE_LIMIT}; nothing was stored")
    try:
        fields = json.loads(bundle)
    except (ValueError, RecursionError) as error:
        raise TimesTenError(f"{what} is cut or damaged ({error}); nothing was stored") from error
    if not isinstance(fields, dict):
        raise TimesTenError(f"{what} is damaged (no JSON object); nothing was stored")
    private, recipient = _opened(private_pem)
    named = _named(exporter, client, generation, fingerprint, key_id(recipient))
    for name, expected in named.items():
        if fields.get(name) != expected:
            raise TimesTenError(
                f"{what} is for another {name}: {str(fields.get(name))[:120]!r} where {expected!r} is due; nothing was stored"
            )
    sender = str(fields.get("ephemeral"))
    shared = private.exchange(ec.ECDH(), _public(sender))
    try:
        nonce = decode(str(fields.get("nonce")), f"nonce of {what}")
        text = decode(str(fields.get("ciphertext")), f"ciphertext of {what}")
        return AESGCM(_derive(shared, sender, recipient)).decrypt(nonce, text, _associated(named))
    except (InvalidTag, ValueError) as error:
        raise TimesTenError(f"{what} was changed or cut on its way; nothing was stored") from error


def _named(exporter: str, client: str, generation: str, fingerprint: str, recipient: str) -> dict[str, object]:
    return {
        "version": VERSION,
        "exporter": exporter,
        "client": client,
        "generation": generation,
        "fingerprint": fingerprint,
        "recipient": recipient,
    }


def _associated(named: dict[str, object]) -> bytes:
    return json.dumps(named, sort_keys=True, separators=(",", ":")).encode("utf-8")


def _derive(shared: bytes, sender: str, recipient: str) -> bytes:
    info = b"timesten.monitoring key bundle 1" + decode(sender, "ephemeral key") + decode(recipient, "transport key")
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(shared)


@functools.lru_cache(maxsize=1)
def _opened(pem: bytes) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """Return a transport key and its public half. The result is cached, because parsing the key takes longer than the
    rest of opening a bundle.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise TimesTenError(
            "the transport key cannot be parsed; remove its file, and the next run makes a new one"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise TimesTenError("the transport key is no P-256 key; remove its file, and the next run makes a new one")
    return key, _encode(key.public_key())


def _encode(key: ec.EllipticCurvePublicKey) -> str:
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return base64.b64encode(point).decode("ascii")


def _public(text: str) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(text, "transport key"))
    except ValueError as error:
        raise TimesTenError(f"{text[:120]!r} is no transport key (an uncompressed P-256 point in base64)") from error
