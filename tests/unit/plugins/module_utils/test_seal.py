# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed bundles: who can open them, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import transport_keys

KEY = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END PRIVATE KEY-----\n"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
NAMED = ("exp1", "prom1", "20261124T104900Z-1a2b3c4d", "ab" * 32)


@pytest.fixture(scope="module")
def transport():
    return _seal.new_transport_key()


def failure(bundle, private, *named):
    with pytest.raises(TimesTenError) as caught:
        _seal.unseal(bundle, private, *(named or NAMED))
    return caught.value.message


def test_round_trip(transport):
    private, public = transport
    bundle = _seal.seal(KEY, *NAMED, public)
    assert _seal.unseal(bundle, private, *NAMED) == KEY
    assert _seal.public_key(private) == public
    assert json.loads(bundle)["recipient"] == _seal.key_id(public)
    assert len(base64.b64decode(public)) == 65
    assert "\n" not in bundle and bundle.isascii()


def test_the_public_half_is_read_without_cryptography(transport):
    """Loading cryptography costs a call that changes nothing as much as all its other work."""
    private, public = transport
    code = (
        "import sys; from ansible_collections.timesten.monitoring.plugins.module_utils.tls import transport_keys as keys; "
        "print(keys.public_key(sys.stdin.buffer.read()), 'cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=private, capture_output=True, check=True, env=ENVIRONMENT)
    assert done.stdout.decode().split() == [public, "False"]


def test_a_private_key_of_another_form_is_read_all_the_same(transport):
    private, public = transport
    key = serialization.load_pem_private_key(private, None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    other = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    assert transport_keys.public_key(other) is None and _seal.public_key(other) == public
    for damaged in (KEY, b"", b"x", b"\xff", private[:90], private.replace(private[40:60], private[60:80])):
        assert transport_keys.public_key(damaged) is None
        with pytest.raises(TimesTenError):
            _seal.public_key(damaged)


def test_two_bundles_of_one_key_have_nothing_in_common(transport):
    one, two = (json.loads(_seal.seal(KEY, *NAMED, transport[1])) for _round in range(2))
    assert all(one[name] != two[name] for name in ("ephemeral", "nonce", "ciphertext"))


def test_no_plaintext_in_it(transport):
    bundle = _seal.seal(KEY, *NAMED, transport[1])
    for line in KEY.decode().splitlines()[1:-1]:
        for shift in range(3):
            inner = base64.b64encode(line.encode()[shift:])[:-4].decode()
            assert inner not in bundle
        assert line not in bundle


def test_every_single_changed_character_is_noticed(transport):
    private, public = transport
    bundle = _seal.seal(KEY, *NAMED, public)
    fields = json.loads(bundle)
    for name, value in fields.items():
        changed = value + 1 if isinstance(value, int) else ("A" if value[0] != "A" else "B") + value[1:]
        assert "nothing was stored" in failure(json.dumps({**fields, name: changed}), private) or name == "ephemeral"
    raw = bytearray(base64.b64decode(fields["ciphertext"]))
    for position in range(0, len(raw), 7):
        raw[position] ^= 1
        text = json.dumps({**fields, "ciphertext": base64.b64encode(bytes(raw)).decode()})
        assert "was changed or cut on its way; nothing was stored" in failure(text, private)
        raw[position] ^= 1


def test_cut_anywhere(transport):
    private, public = transport
    bundle = _seal.seal(KEY, *NAMED, public)
    for length in range(0, len(bundle), 11):
        assert "nothing was stored" in failure(bundle[:length], private)


@pytest.mark.parametrize(("position", "field"), [(0, "exporter"), (1, "client"), (2, "generation"), (3, "fingerprint")])
def test_replayed_for_another(transport, position, field):
    private, public = transport
    bundle = _seal.seal(KEY, *NAMED, public)
    expected = list(NAMED)
    expected[position] = "other"
    message = failure(bundle, private, *expected)
    assert f"is for another {field}: {NAMED[position]!r} where 'other' is due; nothing was stored" in message
    # Rewriting the label does not help: the labels are part of what was encrypted.
    fields = {**json.loads(bundle), field: "other"}
    assert "was changed or cut on its way" in failure(json.dumps(fields), private, *expected)


def test_for_another_recipient(transport):
    bundle = _seal.seal(KEY, *NAMED, transport[1])
    other, public = _seal.new_transport_key()
    assert "is for another recipient" in failure(bundle, other)
    relabelled = json.dumps({**json.loads(bundle), "recipient": _seal.key_id(public)})
    assert "was changed or cut on its way" in failure(relabelled, other)


@pytest.mark.parametrize("text", ["null", "[]", "1", '"x"', "{}", "\x00", "{" * 100])
def test_what_is_no_bundle(transport, text):
    assert "nothing was stored" in failure(text, transport[0])


def test_size_is_capped(transport):
    assert "has 70000 characters, more than 65536; nothing was stored" in failure("x" * 70000, transport[0])
    large = _seal.seal(b"k" * 13000, *NAMED, transport[1])
    assert len(large) < _seal.BUNDLE_LIMIT
    assert _seal.unseal(large, transport[0], *NAMED) == b"k" * 13000


@pytest.mark.parametrize("recipient", ["", "AAAA", "!", "ä", base64.b64encode(b"\4" + b"\1" * 64).decode()])
def test_recipient_that_is_no_key(recipient):
    for call in (_seal.check_public_key, lambda text: _seal.seal(KEY, *NAMED, text)):
        with pytest.raises(TimesTenError, match="transport key"):
            call(recipient)


def test_private_key_of_another_kind():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for pem, reason in [(other, "is no P-256 key"), (b"", "cannot be parsed"), (KEY, "cannot be parsed")]:
        with pytest.raises(TimesTenError, match=f"transport key {reason}; remove its file"):
            _seal.public_key(pem)
