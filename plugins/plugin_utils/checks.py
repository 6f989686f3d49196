# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of single values that a managed host answered: each returns a plain Python value, or raises Nonsense.

Lengths are checked before patterns, so the time is linear in what the answer weighs.
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
"""Characters of a CA file."""
CERTIFICATES_MOST = 16
"""Certificates of a CA file: a chain has three or four, a rotation that trusts old and new twice that."""
NAMES_MOST = 10_000
"""Elements of a list or keys of a dict that may name exporters of other runs."""

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # cursor, colour, clear
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # title, clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Letters and marks without a shape; what else is invisible has a category of its own."""

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
    """What a host answered cannot be an answer.

    :param where: the field, for example ``exporters[0].pairs[1].delivery``.
    :param what: what is wrong with it.
    """

    def __init__(self, where: str, what: str) -> None:
        self.reason = plain(f"{where} {what}", 400)
        super().__init__(self.reason)


def plain(text: str, limit: int) -> str:
    """Return one line of at most ``limit`` characters that a terminal shows as it is.

    Escape sequences, control characters, direction overrides and what has no width are removed. The result stays the same
    when this is applied to it again.
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
    """A clipped picture of a value for a message; never deep, never long."""
    if isinstance(value, str):
        text = str.__str__(value[:81])
        # The picture of what cannot be seen is its escape.
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
    """The check's result, or None for null."""
    return None if value is None else check(value, where, *arguments)


def raw_text(value: Any, where: str, limit: int) -> str:
    """A text of limited length, as it is."""
    if not isinstance(value, str):
        raise Nonsense(where, f"is no text: {shown(value)}")
    if len(value) > limit:
        raise Nonsense(where, f"has {len(value)} characters, more than {limit}")
    return str.__str__(value)


def text(value: Any, where: str, limit: int = 500) -> str:
    """A text for a person."""
    if not isinstance(value, str):
        raise Nonsense(where, f"is no text: {shown(value)}")
    return plain(str.__str__(value), limit)


def matched(value: Any, where: str, pattern: re.Pattern[str], what: str, limit: int = 300) -> str:
    """A text of a pattern that is anchored at its end."""
    found = raw_text(value, where, limit)
    if not pattern.match(found):
        raise Nonsense(where, f"is {what}: {shown(found)}")
    return found


def one_of(value: Any, where: str, choices: tuple[str, ...]) -> Any:
    """One of some words."""
    if not isinstance(value, str) or value not in choices:
        raise Nonsense(where, f"is none of {', '.join(choices)}: {shown(value)}")
    return choices[choices.index(value)]


def truth(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Nonsense(where, f"is neither true nor false: {shown(value)}")
    return value


def whole(value: Any, where: str, least: int, most: int) -> int:
    """A whole number within a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Nonsense(where, f"is no whole number from {least} to {most}: {shown(value)}")
    return int(value)


def number(value: Any, where: str, least: float, most: float) -> float:
    """A finite number within a range."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise Nonsense(where, f"is no number from {least:g} to {most:g}: {shown(value)}")
    return float(value)


def seconds(value: Any, where: str) -> float:
    """How long something took or takes; at most a day."""
    return number(value, where, 0.0, 86400.0)


def interval(value: Any, where: str) -> float:
    """Seconds between two scrapes. ttExporter takes 15 a minute at most, so 0.1 s is far below what anybody could want."""
    return number(value, where, 0.1, 86400.0)


def moment(value: Any, where: str) -> float:
    """Seconds since the epoch, from 2001 to 2286: no clock that is older or newer can be reasoned with."""
    return number(value, where, 1e9, 1e10)


def port(value: Any, where: str) -> int:
    """A TCP port."""
    return whole(value, where, 1, 65535)


def items(value: Any, where: str, most: int) -> list[Any]:
    """A list of limited length."""
    if not isinstance(value, list):
        raise Nonsense(where, f"is no list: {shown(value)}")
    if len(value) > most:
        raise Nonsense(where, f"has {len(value)} elements, more than {most}")
    return value


def fields(value: Any, where: str, most: int = NAMES_MOST) -> Mapping[str, Any]:
    """A dict of limited size whose keys are texts."""
    if not isinstance(value, dict):
        raise Nonsense(where, f"is no dict: {shown(value)}")
    if len(value) > most:
        raise Nonsense(where, f"has {len(value)} keys, more than {most}")
    for key in value:
        if not isinstance(key, str):
            raise Nonsense(where, f"has a key that is no text: {shown(key)}")
    return value


def texts(value: Any, where: str, most: int = 50, limit: int = 500) -> tuple[str, ...]:
    """Texts for a person; of a longer list, the last one says how many more there are."""
    found = items(value, where, NAMES_MOST)
    kept = found if len(found) <= most else found[: most - 1]
    lines = [text(item, f"{where}[{index}]", limit) for index, item in enumerate(kept)]
    if kept is not found:
        lines.append(f"... and {len(found) - len(kept)} more")
    return tuple(lines)


def name(value: Any, where: str) -> str:
    """The name of an exporter, a job or a client."""
    found = raw_text(value, where, 100)
    try:
        return names.check_name(found, where)
    except TimesTenError:
        raise Nonsense(where, f"is no name: {shown(found)}") from None


def asked_name(value: Any, where: str, asked: frozenset[str]) -> str:
    """A name that the call asked for; what comes from a host names nobody else."""
    found = name(value, where)
    if found not in asked:
        raise Nonsense(where, f"is a name that this call did not ask for: {shown(found)}")
    return found


def distinct_names(
    value: Any, where: str, asked: frozenset[str] | None = None, most: int = NAMES_MOST
) -> tuple[str, ...]:
    """Names, each once; all of them asked for, if ``asked`` is given."""
    found: list[str] = []
    for index, item in enumerate(items(value, where, most)):
        place = f"{where}[{index}]"
        found.append(name(item, place) if asked is None else asked_name(item, place, asked))
    if len(set(found)) != len(found):
        raise Nonsense(where, "names one of them twice")
    return tuple(found)


def host(value: Any, where: str, wildcard: bool = True) -> str:
    """A host name or an address, without the scope of an address: ipaddress lets any text be one."""
    found = matched(value, where, _HOST, "neither a host name nor an address")
    try:
        return names.check_host(found, where, wildcard)
    except TimesTenError:
        raise Nonsense(where, f"is neither a host name nor an address: {shown(found)}") from None


def hosts(value: Any, where: str) -> tuple[str, ...]:
    """The alternative names of a certificate."""
    return tuple(host(item, f"{where}[{index}]") for index, item in enumerate(items(value, where, 100)))


def sha256(value: Any, where: str) -> str:
    """A fingerprint."""
    return matched(value, where, _SHA256, "no SHA-256 in lower-case hexadecimal")


_GENERATION_NAME = re.compile(_GENERATION + r"\Z")
_DELIVERY_NAME = re.compile(_GENERATION + r"-[1-9][0-9]{0,8}\Z")


def generation(value: Any, where: str) -> str:
    """The id of a generation."""
    return matched(value, where, _GENERATION_NAME, "no generation's name")


def delivery(value: Any, where: str) -> str:
    """The name of a delivery."""
    return matched(value, where, _DELIVERY_NAME, "no delivery's name")


def timestamp(value: Any, where: str) -> str:
    """A moment in UTC, as all results write it."""
    found = matched(value, where, _TIMESTAMP, "no moment like 2026-11-24T10:49:00Z")
    match = _TIMESTAMP.match(found)
    try:
        datetime.datetime(*(int(part) for part in match.groups()) if match else (0, 0, 0))
    except ValueError:
        raise Nonsense(where, f"is no moment like 2026-11-24T10:49:00Z: {shown(found)}") from None
    return found


def unit(value: Any, where: str) -> str:
    """The name of a systemd unit."""
    return matched(value, where, _UNIT, "no systemd unit's name")


def path(value: Any, where: str) -> str:
    """An absolute path without anything that a terminal would not show."""
    found = matched(value, where, _PATH, "no absolute path", 4096)
    if plain(found, 4096) != found:
        raise Nonsense(where, f"is no absolute path: {shown(found)}")
    return found


def base64_bytes(value: Any, where: str, limit: int) -> bytes:
    """What a base64 text holds."""
    found = raw_text(value, where, limit)
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):
        raise Nonsense(where, f"is no base64: {shown(found)}") from None


def transport_key(value: Any, where: str) -> str:
    """A public transport key: an uncompressed point that is on P-256."""
    point = base64_bytes(value, where, 88)
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    fits = len(point) == 65 and point[0] == 4 and x < _P and y < _P
    if not fits or (y * y - x * x * x + 3 * x - _B) % _P:
        raise Nonsense(where, f"is no transport key (an uncompressed P-256 point in base64): {shown(value)}")
    return base64.b64encode(point).decode("ascii")


def certificates(value: Any, where: str, most: int = CERTIFICATES_MOST) -> tuple[str, tuple[bytes, ...]]:
    """Certificates of a PEM text: the text without anything else that was in it, and the DER of each."""
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
    """Whether this is one DER sequence, no byte less or more."""
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
    """A sealed key, for exactly what is expected, written as :func:`tls.seal.seal` does.

    :param expected: the fields that it has to name.
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
    """A key that is encrypted in the age format for one X25519 recipient, written as :func:`tls.age.armor` does."""
    found = raw_text(value, where, age.LIMIT)
    try:
        age.check_armored(found)
    except ValueError as error:
        raise Nonsense(where, f"{error}: {shown(found)}") from None
    return found


def json_value(value: Any, where: str, depth: int = 8, most: int = 200) -> Any:
    """Plain JSON of limited depth and size, without control characters: what a user adds to a job of his own."""
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
