# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypts in the age format (age-encryption.org/v1) for X25519 recipients, so that an outsider needs only the program
age.

A file key is wrapped for each recipient. It authenticates the header, and the payload is encrypted in chunks of 64 KiB.
There is no decryption here, because only the outsiders have the private keys.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Callable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import age_point

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, hmac, serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    pass  # reported by _certificates.CRYPTOGRAPHY_IMPORT_ERROR

CHUNK = 65536
LIMIT = 65536
"""Characters of an encrypted and armored private key. An RSA key of 16384 bits needs 17,700."""

_VERSION = "age-encryption.org/v1"
_BEGIN, _END = "-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----"
# The form of encrypt()'s result for one recipient: the header, a nonce of 16 bytes, and one chunk of at least one byte
# with its tag of 16 bytes.
_SHAPE = re.compile(
    rb"age-encryption\.org/v1\n-> X25519 [A-Za-z0-9+/]{43}\n[A-Za-z0-9+/]{43}\n--- [A-Za-z0-9+/]{43}\n.{33,}\Z",
    re.DOTALL,
)


def encrypt(plaintext: bytes, recipients: Sequence[str], randomness: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the plaintext encrypted for the holders of some private keys.

    :param randomness: source of file key, ephemeral keys and nonce, in this order.
    :raises TimesTenError: if a recipient is invalid, or this host's OpenSSL lacks the algorithms (FIPS mode).
    """
    points = [age_point(recipient) for recipient in recipients]
    try:
        return _encrypt(plaintext, points, randomness)
    except UnsupportedAlgorithm as error:
        raise TimesTenError(
            f"encrypting a key for an outsider takes X25519 and ChaCha20-Poly1305, which this host's OpenSSL does not have ({error}; in FIPS "
            "mode it has not); take this host's exporters out of timesten_outsiders (exporters)"
        ) from error


def _encrypt(plaintext: bytes, points: Sequence[bytes], randomness: Callable[[int], bytes]) -> bytes:
    file_key = randomness(16)
    lines = [_VERSION]
    for point in points:
        ephemeral = X25519PrivateKey.from_private_bytes(randomness(32))
        share = ephemeral.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(point))
        wrapping = _derive(secret, share + point, f"{_VERSION}/X25519".encode("ascii"))
        lines += [f"-> X25519 {_base64(share)}", _base64(ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None))]
    header = "\n".join([*lines, "---"]).encode("ascii")
    authenticator = hmac.HMAC(_derive(file_key, b"", b"header"), hashes.SHA256())
    authenticator.update(header)
    nonce = randomness(16)
    mark = f" {_base64(authenticator.finalize())}\n".encode("ascii")
    return header + mark + nonce + _stream(_derive(file_key, nonce, b"payload"), plaintext)


def _stream(key: bytes, plaintext: bytes) -> bytes:
    cipher = ChaCha20Poly1305(key)
    chunks = [plaintext[start : start + CHUNK] for start in range(0, len(plaintext), CHUNK)] or [b""]
    last = len(chunks) - 1
    return b"".join(
        cipher.encrypt(number.to_bytes(11, "big") + bytes([number == last]), chunk, None)
        for number, chunk in enumerate(chunks)
    )


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(secret)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def armor(encrypted: bytes) -> str:
    """Return an encrypted file as text, which age also reads, without the last line end."""
    text = base64.b64encode(encrypted).decode("ascii")
    return "\n".join([_BEGIN, *(text[start : start + 64] for start in range(0, len(text), 64)), _END])


def is_armored(value: object) -> bool:
    """Tell whether this begins like a result of :func:`armor`."""
    return isinstance(value, str) and value.startswith(_BEGIN)


def check_armored(text: str) -> None:
    """:raises ValueError: if this is not a result of :func:`armor` for a file with one recipient."""
    lines = text.split("\n")
    if lines[0] != _BEGIN or lines[-1] != _END:
        raise ValueError(f"does not stand between {_BEGIN} and {_END}")
    encrypted = base64.b64decode("".join(lines[1:-1]), validate=True)
    if armor(encrypted) != text:
        raise ValueError("is not written in lines of 64 characters")
    if not _SHAPE.match(encrypted):
        raise ValueError(f"holds no file of {_VERSION} for one X25519 recipient")
