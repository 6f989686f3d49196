# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks single values in a managed host's answer: each function returns a plain Python value or raises Nonsense.

Lengths are checked before patterns, so the time grows only linearly with the answer's size.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age, seal

T = TypeVar("T")

CERTIFICATES_LIMIT = 65536
"""The largest number of characters of a CA file."""
CERTIFICATES_MOST = 16
"""The largest number of certificates in a CA file. A chain has three or four; a rotation that trusts old and new has
twice as many.
"""
NAMES_MOST = 10_000
"""The largest number of elements or keys if they may name exporters of other runs."""

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # cursor, colour, clear
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # title, clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Letters and marks without a visible shape. Other invisible characters have Unicode categories of their own."""

_GENERATION = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
_HOST = re.compile(r"[A-Za-z0-9*._:-]{1,253}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_TIMESTAMP = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,248}\.(?:service|scope|slice)\Z")
_PATH = re.compile(r"/[^\x00-\x1f\x7f]*\Z")
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----")
_BEGIN = "-----BEGIN "

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""The curve P-256: y² = x³ - 3x + b modulo p."""


class Nonsense(Exception):
    """A host's answer, or a part of it, that cannot be valid.

    :param where: the field, for example ``exporters[0].pairs[1].delivery``.
    :param what: what is wrong with it.
    """

    def __init__(self, where: str, what: str) -> None:
        self.reason = plain(f"{where} {what}", 400)
        super().__init__(self.reason)


def plain(text: str, limit: int) -> str:
    """Return one line of at most ``limit`` characters without anything that a terminal would interpret.

    Escape sequences, control characters, direction overrides and characters without width are removed. Applying the
    function to its result changes nothing.
    """
    cut = len(text) > 8 * limit + 4096
    if cut:
        text = text[: 8 * limit + 4096]
    if not text.isascii() or not text.isprintable():
        kept = []
        for character in _ESCAPE.sub("", text):
            if character.isspace():
                kept.append(" ")
            elif unicodedata.category(character)[0] != "C" and character not in _INVISIBLE:
                kept.append(character)
        text = "".join(kept)
    line = " ".join(text.split())
    if cut or len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    return line


def shown(value: object) -> str:
    """Return a short text that shows a value in a message; nested values are not shown."""
    if isinstance(value, str):
        text = str.__str__(value[:81])
        # An invisible character is shown as its escape.
        picture = ascii(text[:80])
        return picture if len(text) < 81 else f"{picture} ..."
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(int(value)) if value.bit_length() < 128 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'dict'} of {len(value)}"
    return f"a {type(value).__name__}"


def optional(check: Callable[..., T], value: Any, where: str, *arguments: Any) -> T | None:
    """Return the check's result, or None for null."""
    return None if value is None else check(value, where, *arguments)


def raw_text(value: Any, where: str, limit: int) -> str:
    """Return a text of limited length, unchanged."""
    if not isinstance(value, str):
        raise Nonsense(where, f"is no text: {shown(value)}")
    if len(value) > limit:
        raise Nonsense(where, f"has {len(value)} characters, more than {limit}")
    return str.__str__(value)


def text(value: Any, where: str, limit: int = 500) -> str:
    """Return a text for people."""
    if not isinstance(value, str):
        raise Nonsense(where, f"is no text: {shown(value)}")
    return plain(str.__str__(value), limit)


def matched(value: Any, where: str, pattern: re.Pattern[str], what: str, limit: int = 300) -> str:
    """Return a text that matches a pattern, which must be anchored at its end."""
    found = raw_text(value, where, limit)
    if not pattern.match(found):
        raise Nonsense(where, f"is {what}: {shown(found)}")
    return found


def one_of(value: Any, where: str, choices: tuple[str, ...]) -> Any:
    """Return one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise Nonsense(where, f"is none of {', '.join(choices)}: {shown(value)}")
    return choices[choices.index(value)]


def truth(value: Any, where: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise Nonsense(where, f"is neither true nor false: {shown(value)}")
    return value


def whole(value: Any, where: str, least: int, most: int) -> int:
    """Return a whole number within a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Nonsense(where, f"is no whole number from {least} to {most}: {shown(value)}")
    return int(value)


def number(value: Any, where: str, least: float, most: float) -> float:
    """Return a finite number within a range."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise Nonsense(where, f"is no number from {least:g} to {most:g}: {shown(value)}")
    return float(value)


def seconds(value: Any, where: str) -> float:
    """Return a duration in seconds, at most a day."""
    return number(value, where, 0.0, 86400.0)


def interval(value: Any, where: str) -> float:
    """Return the seconds between two scrapes. ttExporter accepts at most 15 a minute, so 0.1 s is far below any
    sensible value.
    """
    return number(value, where, 0.1, 86400.0)


def moment(value: Any, where: str) -> float:
    """Return a moment in seconds since the epoch, from 2001 to 2286. A clock outside that range is of no use."""
    return number(value, where, 1e9, 1e10)


def port(value: Any, where: str) -> int:
    """Return a TCP port."""
    return whole(value, where, 1, 65535)


def items(value: Any, where: str, most: int) -> list[Any]:
    """Return a list of limited length."""
    if not isinstance(value, list):
        raise Nonsense(where, f"is no list: {shown(value)}")
    if len(value) > most:
        raise Nonsense(where, f"has {len(value)} elements, more than {most}")
    return value


def fields(value: Any, where: str, most: int = NAMES_MOST) -> Mapping[str, Any]:
    """Return a dict of limited size whose keys are texts."""
    if not isinstance(value, dict):
        raise Nonsense(where, f"is no dict: {shown(value)}")
    if len(value) > most:
        raise Nonsense(where, f"has {len(value)} keys, more than {most}")
    for key in value:
        if not isinstance(key, str):
            raise Nonsense(where, f"has a key that is no text: {shown(key)}")
    return value


def texts(value: Any, where: str, most: int = 50, limit: int = 500) -> tuple[str, ...]:
    """Return texts for people. For a longer list, the last text says how many more there are."""
    found = items(value, where, NAMES_MOST)
    kept = found if len(found) <= most else found[: most - 1]
    lines = [text(item, f"{where}[{index}]", limit) for index, item in enumerate(kept)]
    if kept is not found:
        lines.append(f"... and {len(found) - len(kept)} more")
    return tuple(lines)


def name(value: Any, where: str) -> str:
    """Return the name of an exporter, a job or a client."""
    found = raw_text(value, where, 100)
    try:
        return names.check_name(found, where)
    except TimesTenError:
        raise Nonsense(where, f"is no name: {shown(found)}") from None


def asked_name(value: Any, where: str, asked: frozenset[str]) -> str:
    """Return a name that the call asked for: a host speaks for no other name."""
    found = name(value, where)
    if found not in asked:
        raise Nonsense(where, f"is a name that this call did not ask for: {shown(found)}")
    return found


def distinct_names(
    value: Any, where: str, asked: frozenset[str] | None = None, most: int = NAMES_MOST
) -> tuple[str, ...]:
    """Return names without duplicates. If ``asked`` is given, the call must have asked for all of them."""
    found: list[str] = []
    for index, item in enumerate(items(value, where, most)):
        place = f"{where}[{index}]"
        found.append(name(item, place) if asked is None else asked_name(item, place, asked))
    if len(set(found)) != len(found):
        raise Nonsense(where, "names one of them twice")
    return tuple(found)


def host(value: Any, where: str, wildcard: bool = True) -> str:
    """Return a host name or an address without scope, because ipaddress accepts any text as scope."""
    found = matched(value, where, _HOST, "neither a host name nor an address")
    try:
        return names.check_host(found, where, wildcard)
    except TimesTenError:
        raise Nonsense(where, f"is neither a host name nor an address: {shown(found)}") from None


def hosts(value: Any, where: str) -> tuple[str, ...]:
    """Return the alternative names of a certificate."""
    return tuple(host(item, f"{where}[{index}]") for index, item in enumerate(items(value, where, 100)))


def sha256(value: Any, where: str) -> str:
    """Return a SHA-256 fingerprint."""
    return matched(value, where, _SHA256, "no SHA-256 in lower-case hexadecimal")


_GENERATION_NAME = re.compile(_GENERATION + r"\Z")
_DELIVERY_NAME = re.compile(_GENERATION + r"-[1-9][0-9]{0,8}\Z")


def generation(value: Any, where: str) -> str:
    """Return the id of a generation."""
    return matched(value, where, _GENERATION_NAME, "no generation's name")


def delivery(value: Any, where: str) -> str:
    """Return the name of a delivery."""
    return matched(value, where, _DELIVERY_NAME, "no delivery's name")


def timestamp(value: Any, where: str) -> str:
    """Return a moment in UTC in the form of all results."""
    found = matched(value, where, _TIMESTAMP, "no moment like 2026-11-24T10:49:00Z")
    match = _TIMESTAMP.match(found)
    try:
        datetime.datetime(*(int(part) for part in match.groups()) if match else (0, 0, 0))
    except ValueError:
        raise Nonsense(where, f"is no moment like 2026-11-24T10:49:00Z: {shown(found)}") from None
    return found


def unit(value: Any, where: str) -> str:
    """Return the name of a systemd unit."""
    return matched(value, where, _UNIT, "no systemd unit's name")


def path(value: Any, where: str) -> str:
    """Return an absolute path without characters that a terminal does not show."""
    found = matched(value, where, _PATH, "no absolute path", 4096)
    if plain(found, 4096) != found:
        raise Nonsense(where, f"is no absolute path: {shown(found)}")
    return found


def base64_bytes(value: Any, where: str, limit: int) -> bytes:
    """Return the bytes of a base64 text."""
    found = raw_text(value, where, limit)
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):
        raise Nonsense(where, f"is no base64: {shown(found)}") from None


def transport_key(value: Any, where: str) -> str:
    """Return a public transport key: an uncompressed point on P-256."""
    point = base64_bytes(value, where, 88)
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    fits = len(point) == 65 and point[0] == 4 and x < _P and y < _P
    if not fits or (y * y - x * x * x + 3 * x - _B) % _P:
        raise Nonsense(where, f"is no transport key (an uncompressed P-256 point in base64): {shown(value)}")
    return base64.b64encode(point).decode("ascii")


def certificates(value: Any, where: str, most: int = CERTIFICATES_MOST) -> tuple[str, tuple[bytes, ...]]:
    """Return the certificates of a PEM text: the text without anything else in it, and the DER of each."""
    found = raw_text(value, where, CERTIFICATES_LIMIT)
    blocks = _BLOCK.findall(found)
    if not blocks or found.count(_BEGIN) != len(blocks):
        raise Nonsense(where, f"is no PEM text of certificates alone: {shown(found)}")
    if len(blocks) > most:
        raise Nonsense(where, f"holds {len(blocks)} certificates, more than {most}")
    ders = []
    for block in blocks:
        der = base64_bytes(block.replace("\r", "").replace("\n", ""), where, CERTIFICATES_LIMIT)
        if not _is_sequence(der):
            raise Nonsense(where, "holds a certificate that is cut or damaged")
        ders.append(der)
    return "".join(map(_pem, ders)), tuple(ders)


def _is_sequence(der: bytes) -> bool:
    """Tell whether this is exactly one DER sequence."""
    if len(der) < 128 or der[0] != 0x30 or der[1] not in (0x81, 0x82, 0x83):
        return False
    size = der[1] & 0x0F
    return len(der) == 2 + size + int.from_bytes(der[2 : 2 + size], "big")


def _pem(der: bytes) -> str:
    encoded = base64.b64encode(der).decode("ascii")
    lines = "\n".join(encoded[start : start + 64] for start in range(0, len(encoded), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


REVISION = re.compile(r"(?:[0-9a-f]{16}|empty)\Z")
VERSION = re.compile(r"[0-9A-Za-z._+~-]{1,64}\Z")

_KEY_ID = re.compile(r"[0-9a-f]{16}\Z")
_NAMED = ("exporter", "client", "generation", "fingerprint", "recipient")


def bundle(value: Any, where: str, expected: Mapping[str, str]) -> str:
    """Return a sealed key for exactly the expected fields, in the form of :func:`tls.seal.seal`.

    :param expected: the fields that it must name, with their values.
    """
    found = raw_text(value, where, seal.BUNDLE_LIMIT)
    try:
        content = json.loads(found)
    except (ValueError, RecursionError):
        raise Nonsense(where, f"is no sealed bundle: {shown(found)}") from None
    content = fields(content, where, 20)
    if set(content) != {"version", "ephemeral", "nonce", "ciphertext", *_NAMED}:
        raise Nonsense(where, f"is no sealed bundle: {shown(found)}")
    whole(content["version"], f"{where}.version", 1, 1)
    matched(content["recipient"], f"{where}.recipient", _KEY_ID, "no key id")
    for key, value_due in expected.items():
        if content[key] != value_due:
            raise Nonsense(f"{where}.{key}", f"is {shown(content[key])} where {shown(value_due)} is due")
    transport_key(content["ephemeral"], f"{where}.ephemeral")
    if len(base64_bytes(content["nonce"], f"{where}.nonce", 16)) != 12:
        raise Nonsense(f"{where}.nonce", "has another length than 12 bytes")
    if len(base64_bytes(content["ciphertext"], f"{where}.ciphertext", seal.BUNDLE_LIMIT)) <= 16:
        raise Nonsense(f"{where}.ciphertext", "is empty")
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def age_bundle(value: Any, where: str) -> str:
    """Return a private key encrypted in the age format for one X25519 recipient, in the form of :func:`tls.age.armor`."""
    found = raw_text(value, where, age.LIMIT)
    try:
        age.check_armored(found)
    except ValueError as error:
        raise Nonsense(where, f"{error}: {shown(found)}") from None
    return found


def json_value(value: Any, where: str, depth: int = 8, most: int = 200) -> Any:
    """Return plain JSON of limited depth and size without control characters, for parts that a user adds to a job."""
    if depth < 0:
        raise Nonsense(where, "is nested too deep")
    if isinstance(value, str):
        found = raw_text(value, where, 4096)
        if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in found):
            raise Nonsense(where, f"holds a control character: {shown(found)}")
        return found
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return whole(value, where, -(2**63), 2**63 - 1)
    if isinstance(value, float):
        return number(value, where, -1e300, 1e300)
    if isinstance(value, list):
        return [
            json_value(item, f"{where}[{index}]", depth - 1) for index, item in enumerate(items(value, where, most))
        ]
    return {
        json_value(key, where): json_value(item, f"{where}.{plain(key, 60)}", depth - 1)
        for key, item in fields(value, where, most).items()
    }
