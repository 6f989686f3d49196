# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public transport keys: what can be told of them without the package ``cryptography``."""

from __future__ import annotations

import base64
import binascii
import hashlib

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError

# The curve P-256: y^2 = x^3 - 3x + b modulo p.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def check_public_key(public: str) -> None:
    """:raises TimesTenError: if this is no public transport key."""
    point = decode(public, "transport key")
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    on_curve = x < _P and y < _P and (y * y - x * x * x + 3 * x - _B) % _P == 0
    if len(point) != 65 or point[0] != 4 or not on_curve:
        raise TimesTenError(f"{public[:120]!r} is no transport key (an uncompressed P-256 point in base64)")


def key_id(public: str) -> str:
    """A short name for a transport key: the first 16 hexadecimal digits of the SHA-256 of its public point."""
    return hashlib.sha256(decode(public, "transport key")).hexdigest()[:16]


def decode(text: str, what: str) -> bytes:
    """Return the bytes of a base64 text.

    :param what: what the text is, for the message.
    :raises TimesTenError: if it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TimesTenError(f"{what} is not valid base64") from error
