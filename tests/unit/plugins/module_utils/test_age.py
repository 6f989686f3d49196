# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption in the age format: against age's own test vectors, and against the real program."""

from __future__ import annotations

import base64
import functools
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import age, transport_keys

RECIPIENT = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
"""From age's own README."""


class Identity:
    """What age-keygen has made: a file with the private key, and the recipient."""

    def __init__(self, program: Path, file: Path) -> None:
        self.program, self.file = program, file
        keygen = program.with_name("age-keygen")
        subprocess.run([keygen, "-o", str(file)], check=True, capture_output=True)
        public = subprocess.run([keygen, "-y", str(file)], check=True, capture_output=True, text=True)
        self.recipient = public.stdout.strip()

    def decrypt(self, encrypted: bytes) -> bytes:
        command = [self.program, "-d", "-i", str(self.file)]
        return subprocess.run(command, input=encrypted, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    # Where the oldest Python of a managed host is tried, there is no lab.
    from lab import packages

    directory = tmp_path_factory.mktemp("age")
    return [Identity(packages.age(), directory / f"{number}.txt") for number in range(3)]


# --- age's test vectors: the ephemeral key and the nonce are the beginning of this key stream ---------------------------

_RANDOMNESS = b"TEST RANDOMNESS TEST RANDOMNESS!"
_VECTOR_IDENTITY = "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6"
_VECTOR_HEADER = b"""age-encryption.org/v1
-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc
EmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U
--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0
"""


def test_the_vector_of_the_age_testkit_comes_out_byte_by_byte() -> None:
    stream = Cipher(algorithms.ChaCha20(_RANDOMNESS, bytes(16)), None).encryptor()
    drawn = iter([b"YELLOW SUBMARINE", stream.update(bytes(32)), stream.update(bytes(16))])
    values = [transport_keys._CHARSET.find(character) for character in _VECTOR_IDENTITY.lower()[16:-6]]
    number = functools.reduce(lambda sum_, value: sum_ << 5 | value, values, 0)
    private = X25519PrivateKey.from_private_bytes((number >> 4).to_bytes(32, "big"))
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    recipient = _bech32(private.public_key().public_bytes(*raw))

    encrypted = age.encrypt(b"age", [recipient], lambda _size: next(drawn))

    assert encrypted[: len(_VECTOR_HEADER)] == _VECTOR_HEADER
    assert (
        encrypted[len(_VECTOR_HEADER) :].hex()
        == "eecf62c7ce91b433274e68d4f2f9134cb74c5bfef7beaa52c8f0bc0e992c1e8331fb66"
    )


@pytest.mark.controller
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3 * 65536])
def test_the_real_program_decrypts(size: int, identities: list[Identity]) -> None:
    plaintext = bytes(index * 7 % 251 for index in range(size))
    encrypted = age.encrypt(plaintext, [identities[0].recipient])
    assert identities[0].decrypt(encrypted) == plaintext
    assert identities[0].decrypt(age.armor(encrypted).encode("ascii")) == plaintext


@pytest.mark.controller
def test_each_of_several_recipients_decrypts_and_nobody_else(identities: list[Identity]) -> None:
    encrypted = age.encrypt(b"secret", [identity.recipient for identity in identities[:2]])
    assert [identity.decrypt(encrypted) for identity in identities[:2]] == [b"secret", b"secret"]
    with pytest.raises(subprocess.CalledProcessError) as error:
        identities[2].decrypt(encrypted)
    assert b"no identity matched" in error.value.stderr


def test_no_two_encryptions_are_equal() -> None:
    assert age.encrypt(b"secret", [RECIPIENT]) != age.encrypt(b"secret", [RECIPIENT])


# --- recipients -------------------------------------------------------------------------------------------------------


def _bech32(point: bytes, prefix: str = "age") -> str:
    number = int.from_bytes(point, "big") << 4
    data = [number >> 5 * place & 31 for place in range(51, -1, -1)]
    expanded = [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix)]
    checksum = transport_keys._checksum([*expanded, *data, *[0] * 6]) ^ 1
    data += [checksum >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1" + "".join(transport_keys._CHARSET[value] for value in data)


@pytest.mark.controller
def test_a_recipient_is_the_same_as_the_program_says(identities: list[Identity]) -> None:
    for identity in identities:
        point = transport_keys.age_point(identity.recipient)
        assert _bech32(point) == identity.recipient
        transport_keys.check_public_key(identity.recipient)
        assert len(transport_keys.key_id(identity.recipient)) == 16
    assert len({transport_keys.key_id(identity.recipient) for identity in identities}) == 3


_SWAPPED = RECIPIENT[:20] + RECIPIENT[21] + RECIPIENT[20] + RECIPIENT[22:]
_LOW = ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "ed" + "ff" * 30 + "7f", "ee" + "ff" * 31]


@pytest.mark.parametrize(
    ("recipient", "reason"),
    [
        ("", "58 lower-case letters"),
        ("age1", "58 lower-case letters"),
        (RECIPIENT[:-1], "58 lower-case letters"),
        (RECIPIENT + "q", "58 lower-case letters"),
        (RECIPIENT.upper(), "58 lower-case letters"),
        (RECIPIENT + "\n", "58 lower-case letters"),
        (" " + RECIPIENT, "58 lower-case letters"),
        (RECIPIENT.replace("q", "b"), "58 lower-case letters"),
        (RECIPIENT[:10] + RECIPIENT[10].upper() + RECIPIENT[11:], "58 lower-case letters"),
        (RECIPIENT[:-1] + "q", "checksum"),
        (_SWAPPED, "checksum"),
        (_bech32(bytes(range(32)), "agf"), "58 lower-case letters"),
        ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "of the kind X25519"),
        ("age1pq1" + "q" * 1900, "of the kind X25519"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW", "of the kind X25519"),
        *((_bech32(bytes.fromhex(point)), "low order") for point in _LOW),
    ],
)
def test_bad_recipients_are_refused(recipient: str, reason: str) -> None:
    with pytest.raises(TimesTenError, match=reason):
        transport_keys.age_point(recipient)


def test_bits_beyond_the_point_are_refused() -> None:
    number = int.from_bytes(bytes(range(32)), "big") << 4 | 1
    data = [number >> 5 * place & 31 for place in range(51, -1, -1)]
    checksum = transport_keys._checksum([3, 3, 3, 0, 1, 7, 5, *data, *[0] * 6]) ^ 1
    data += [checksum >> 5 * (5 - place) & 31 for place in range(6)]
    with pytest.raises(TimesTenError, match="does not hold 32 bytes"):
        transport_keys.age_point("age1" + "".join(transport_keys._CHARSET[value] for value in data))


@pytest.mark.parametrize("text", [_VECTOR_IDENTITY, _VECTOR_IDENTITY.lower(), f" {_VECTOR_IDENTITY}\n"])
def test_a_private_key_given_by_mistake_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(TimesTenError, match="private key") as error:
        transport_keys.age_point(text)
    assert text.strip()[20:].lower() not in error.value.message.lower()


# --- what a host answers ----------------------------------------------------------------------------------------------


def _armored(content: bytes) -> str:
    return age.armor(content)


_FILE = age.encrypt(b"key", [RECIPIENT])
_TWO = age.encrypt(b"key", [RECIPIENT, RECIPIENT])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN AGE ENCRYPTED FILE-----",
        _armored(_FILE)[:-1],
        _armored(_FILE) + "\n",
        "x\n" + _armored(_FILE),
        _armored(_FILE).replace("\n", "\r\n"),
        _armored(_FILE).replace("AGE ENCRYPTED FILE", "PRIVATE KEY"),
        "-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----",
        _armored(b"-----BEGIN PRIVATE KEY-----\n" + bytes(300)),
        _armored(_FILE[:200]),
        _armored(_TWO),
        _armored(age.encrypt(b"", [RECIPIENT])),
        _armored(_FILE.replace(b"X25519", b"scrypt")),
        _armored(_FILE).replace("YWdl", "YWd=", 1),
        "-----BEGIN AGE ENCRYPTED FILE-----\n"
        + base64.b64encode(_FILE).decode()
        + "\n-----END AGE ENCRYPTED FILE-----",
    ],
)
def test_only_what_armor_makes_is_taken(text: str) -> None:
    with pytest.raises(ValueError):
        age.check_armored(text)


def test_what_armor_makes_is_taken() -> None:
    for size in (1, 1700, 13000):
        text = age.armor(age.encrypt(bytes(size), [RECIPIENT]))
        age.check_armored(text)
        assert len(text) < age.LIMIT
