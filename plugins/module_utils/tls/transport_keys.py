# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks public keys for which private keys are encrypted, without the package ``cryptography``.

A transport key (P-256) belongs to a Prometheus host; an age recipient (X25519, ``age1...``) belongs to an outsider.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

# The curve P-256: y^2 = x^3 - 3x + b modulo p.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

# A private P-256 key in PKCS #8, as new_transport_key writes it: version and curve, the secret, the public point.
_KEY_LENGTH = 138
_KEY_BEGINS = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_POINT_FOLLOWS = bytes.fromhex("a144034200")

_AGE = "age"
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_P25519 = 2**255 - 19
# Points of small order: with these the shared secret is zero, whatever the other key is.
_LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    _P25519 - 1,
)


def check_public_key(public: str) -> None:
    """:raises TimesTenError: if this is neither a public transport key nor an age recipient."""
    if is_age(public):
        age_point(public)
        return
    point = decode(public, "transport key")
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    on_curve = x < _P and y < _P and (y * y - x * x * x + 3 * x - _B) % _P == 0
    if len(point) != 65 or point[0] != 4 or not on_curve:
        raise TimesTenError(f"{public[:120]!r} is no transport key (an uncompressed P-256 point in base64)")


def public_key(private_pem: bytes) -> str | None:
    """Return the public half of a private transport key: base64 of the uncompressed point at the end of its file.

    None if the file does not have new_transport_key's form; :func:`tls.seal.public_key` then reads it with
    ``cryptography``.

    :raises TimesTenError: if the public half is not a point of the curve.
    """
    lines = private_pem.decode("ascii", "replace").split("-----")
    if len(lines) == 5 and lines[1] == "BEGIN PRIVATE KEY":
        try:
            der = base64.b64decode("".join(lines[2].split()), validate=True)
        except (binascii.Error, ValueError):
            der = b""
        if len(der) == _KEY_LENGTH and der.startswith(_KEY_BEGINS) and der[-70:-65] == _POINT_FOLLOWS:
            public = base64.b64encode(der[-65:]).decode()
            check_public_key(public)
            return public
    return None


def key_id(public: str) -> str:
    """Return a short name for a public key: the first 16 hexadecimal digits of the SHA-256 of its point."""
    point = age_point(public) if is_age(public) else decode(public, "transport key")
    return hashlib.sha256(point).hexdigest()[:16]


def is_age(public: str) -> bool:
    """Tell whether this looks like an age recipient."""
    return public.startswith(f"{_AGE}1")


def age_point(public: str) -> bytes:
    """Return the X25519 point of an age recipient.

    :raises TimesTenError: if it is not one. The message does not show a private key that was given by mistake.
    """
    if public.strip().upper().startswith("AGE-SECRET-KEY-"):
        raise TimesTenError(
            "this is a private key (AGE-SECRET-KEY-...), which must stay with its owner: have a new one made with age-keygen, and give "
            "the line after 'public key:', which begins with age1"
        )
    what = f"{public[:120]!r} is no age recipient"
    other = re.match(r"ssh-|age1([a-z]+)1", public)
    if other and len(public) != 62:
        raise TimesTenError(
            f"{what} of the kind X25519, the only one that is known here: make one with age-keygen (age1 and 58 more characters)"
        )
    values = [_CHARSET.find(character) for character in public[len(_AGE) + 1 :]]
    if not is_age(public) or len(public) != 62 or -1 in values:
        raise TimesTenError(f"{what}: age1 and 58 lower-case letters and digits, as age-keygen prints it")
    if _checksum([*(ord(c) >> 5 for c in _AGE), 0, *(ord(c) & 31 for c in _AGE), *values]) != 1:
        raise TimesTenError(f"{what}: its checksum is wrong; a character was lost or changed, copy it again")
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    # 52 characters hold 260 bits: 32 bytes, and 4 bits that must be zero.
    if number & 15:
        raise TimesTenError(f"{what}: it does not hold 32 bytes")
    point = (number >> 4).to_bytes(32, "big")
    if (int.from_bytes(point, "little") & (2**255 - 1)) % _P25519 in _LOW_ORDER:
        raise TimesTenError(f"{what}: nobody can hold its private key (a point of low order)")
    return point


def _checksum(values: list[int]) -> int:
    """Return the checksum of bech32 (BIP 173)."""
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate(_GENERATOR):
            found ^= generator if top >> index & 1 else 0
    return found


def decode(text: str, what: str) -> bytes:
    """Return the bytes of a base64 text.

    :param what: name of the text, for the message.
    :raises TimesTenError: if it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TimesTenError(f"{what} is not valid base64") from error
