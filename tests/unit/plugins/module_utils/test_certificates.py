# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as facts, pairs, and when something is due."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys

import cryptography
import pytest
from cryptography.hazmat.primitives import serialization

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates

_PATH = pathlib.Path(__file__).resolve().parents[2] / "fixtures/certificate_kit.py"
_SPEC = importlib.util.spec_from_file_location("certificate_kit", _PATH)
kit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(kit)

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def ca():
    key = kit.new_key()
    return kit.certify(key, "A CA", alt_names=(), ca=True), key


def test_facts(ca):
    certificate = kit.certify(kit.new_key("rsa"), alt_names=["exp1", "10.0.0.1", "::1"], issuer=ca)
    found = _certificates.facts(certificate)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert found == {
        "subject": "CN=exp1",
        "issuer": "CN=A CA",
        "common_name": "exp1",
        "alt_names": ["exp1", "10.0.0.1", "::1"],
        "not_before": "2026-11-24T10:49:00Z",
        "not_after": "2027-03-04T10:49:00Z",
        "sha256": hashlib.sha256(der).hexdigest(),
        "is_ca": False,
        "self_signed": False,
        "key": "rsa 2048",
    }
    assert _certificates.facts_of_der(der) == found


def test_facts_of_a_bare_certificate():
    found = _certificates.facts(kit.certify(kit.new_key(), name=None, alt_names=(), basic=False))
    assert (found["common_name"], found["alt_names"], found["is_ca"], found["self_signed"]) == (None, [], False, True)
    assert found["key"] == "ec secp256r1"
    assert _certificates.facts(kit.certify(kit.new_key("ed25519")))["key"] == "ed25519publickey"


def test_load(ca):
    leaf = kit.certify(kit.new_key(), issuer=ca)
    text = b"# comment\n" + kit.pem(leaf) + b"\n" + kit.pem(ca[0]).replace(b"\n", b"\r\n")
    assert [_certificates.fingerprint(item) for item in _certificates.load(text, "x")] == [
        _certificates.fingerprint(leaf),
        _certificates.fingerprint(ca[0]),
    ]
    assert _certificates.load_one(kit.pem(leaf), "x").serial_number == leaf.serial_number


def wrapped(text, **changes):
    """The ways in which a utility may write the same certificates."""
    ways = {
        "plain": text,
        "crlf": text.replace(b"\n", b"\r\n"),
        "blanks": text.replace(b"\n", b"  \n"),
        "no line end": text.rstrip(b"\n"),
        "remarks": "Attributes: \xe9\n".encode() + text + b"the end\n",
        "byte order mark": b"\xef\xbb\xbf" + text,
        "beside a key": kit.key_pem(changes["key"]) + text,
    }
    return ways[changes["way"]]


WAYS = ("plain", "crlf", "blanks", "no line end", "remarks", "byte order mark", "beside a key")


@pytest.mark.parametrize("way", WAYS)
def test_certificates_alone(ca, way):
    chain = kit.pem(kit.certify(kit.new_key(), issuer=ca)) + kit.pem(ca[0])
    assert _certificates.certificates_of(wrapped(chain, key=ca[1], way=way)) == chain
    assert _certificates.certificates_of(b"0\x82\x01") == b""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_the_certificate_of_a_key(ca, way, kind):
    """Whatever stands beside it: its CA before or after it, remarks, the key itself."""
    key = kit.new_key(kind)
    own = kit.pem(kit.certify(key, issuer=ca))
    secret = kit.key_pem(key)
    for text in (own, own + kit.pem(ca[0]), kit.pem(ca[0]) + own):
        assert _certificates.own_of(wrapped(text, key=key, way=way), secret + own) == own
    # The pair is then judged as a whole.
    assert _certificates.own_of(kit.pem(ca[0]), secret) == kit.pem(ca[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "server.crt holds no PEM certificate"),
        (b"\xff\0", "server.crt holds no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "server.crt holds no PEM certificate"),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "server.crt holds a certificate that cannot be parsed",
        ),
    ],
)
def test_load_refuses(text, message):
    with pytest.raises(TimesTenError) as caught:
        _certificates.load(text, "server.crt")
    assert caught.value.message.startswith(message)


def test_load_one_takes_exactly_one(ca):
    with pytest.raises(TimesTenError, match=r"client\.crt holds 2 certificates where exactly one belongs"):
        _certificates.load_one(kit.pem(ca[0]) * 2, "client.crt")


def test_bundle_fingerprint_is_of_content_and_order(ca):
    leaf = kit.certify(kit.new_key(), issuer=ca)
    both = [leaf, ca[0]]
    text = kit.pem(leaf) + kit.pem(ca[0])
    again = _certificates.load(b"comment\n" + text.replace(b"\n", b"\r\n"), "x")
    assert _certificates.bundle_fingerprint(both) == _certificates.bundle_fingerprint(again)
    assert _certificates.bundle_fingerprint(both) != _certificates.bundle_fingerprint(both[::-1])
    assert _certificates.bundle_fingerprint([leaf]) == _certificates.fingerprint(leaf)


def test_find_leaf(ca):
    leaf = kit.certify(kit.new_key(), issuer=ca)
    nameless = kit.certify(kit.new_key(), alt_names=(), issuer=ca)
    self_signed = kit.certify(kit.new_key(), ca=True)
    for certificates, expected in [
        ([leaf], leaf),
        ([ca[0]], None),
        ([ca[0], leaf], leaf),
        ([leaf, ca[0]], leaf),
        ([self_signed], self_signed),
        ([self_signed, leaf], leaf),
        ([nameless], nameless),
        ([ca[0], nameless], nameless),
        ([], None),
    ]:
        assert _certificates.find_leaf(certificates) is expected


def test_check_pair(tmp_path, ca):
    key, other = kit.new_key("rsa"), kit.new_key()
    certificate, private = tmp_path / "client.crt", tmp_path / "client.key"
    certificate.write_bytes(kit.pem(kit.certify(key, issuer=ca)))
    private.write_bytes(kit.key_pem(key))
    _certificates.check_pair(str(certificate), str(private))
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for content in (kit.key_pem(other), b"", b"no key", locked, kit.key_pem(key)[:300]):
        private.write_bytes(content)
        with pytest.raises(TimesTenError) as caught:
            _certificates.check_pair(str(certificate), str(private))
        assert f"certificate {certificate} and key {private} do not make a pair" in caught.value.message
    private.unlink()
    with pytest.raises(TimesTenError):
        _certificates.check_pair(str(certificate), str(private))


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_key_belongs_to_one_certificate(kind, ca):
    key = kit.new_key(kind)
    certificate = _certificates.load_one(kit.pem(kit.certify(key, issuer=ca)), "test")
    modern = int(cryptography.__version__.partition(".")[0]) >= 39
    assert _certificates.belongs(certificate, kit.key_pem(key)) is modern
    for wrong in (kit.new_key("ec"), kit.new_key("rsa"), kit.new_key("ed25519")):
        assert not _certificates.belongs(certificate, kit.key_pem(wrong))
    for damaged in (b"", b"no key", kit.key_pem(key)[:200]):
        assert not _certificates.belongs(certificate, damaged)


def test_an_encrypted_key_asks_nobody(tmp_path):
    """OpenSSL would ask on the terminal for the passphrase."""
    key = kit.new_key()
    (tmp_path / "client.crt").write_bytes(kit.pem(kit.certify(key)))
    (tmp_path / "client.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"x"),
        )
    )
    code = (
        "from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as c\n"
        f"c.check_pair({str(tmp_path / 'client.crt')!r}, {str(tmp_path / 'client.key')!r})"
    )
    # script gives it a terminal.
    done = subprocess.run(
        ["script", "-qec", f'{sys.executable} -c "{code}"', "/dev/null"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert b"do not make a pair" in done.stdout and b"pass phrase" not in done.stdout


@pytest.mark.parametrize(
    ("text", "lifetime", "before_end"),
    [
        ("30d", 100 * DAY, 30 * DAY),
        ("0s", 100 * DAY, 0 * DAY),
        ("12h", 100 * DAY, DAY / 2),
        ("90m", 100 * DAY, DAY / 16),
        ("45s", 100 * DAY, datetime.timedelta(seconds=45)),
        ("20%", 100 * DAY, 20 * DAY),
        ("99%", 100 * DAY, 99 * DAY),
        ("0%", 100 * DAY, 0 * DAY),
        # Never in the first half: else each run would renew a certificate that lives shorter than that.
        ("30d", 40 * DAY, 20 * DAY),
        ("30d", DAY, DAY / 2),
        ("99999999d", 100 * DAY, 50 * DAY),
    ],
)
def test_due(text, lifetime, before_end):
    rule = _certificates.RenewBefore(text)
    start, end = kit.NOW, kit.NOW + lifetime
    certificate = {"not_before": _certificates.timestamp(start), "not_after": _certificates.timestamp(end)}
    moment = end - before_end
    assert rule.moment(certificate["not_before"], certificate["not_after"]) == moment
    second = datetime.timedelta(seconds=1)
    if before_end:
        assert rule.why_due(certificate, moment - second) is None
        assert rule.why_due(certificate, moment) == f"ends at {certificate['not_after']}, within renew_before {text}"
    assert rule.why_due(certificate, end - second) is None or before_end
    assert rule.why_due(certificate, end) == f"expired at {certificate['not_after']}"


@pytest.mark.parametrize("text", ["", "30", "30w", "-1d", "1.5d", "100%", "30 d", "d", "%", "30d\n", "30D", "1d12h"])
def test_renew_before_refuses(text):
    with pytest.raises(TimesTenError) as caught:
        _certificates.RenewBefore(text, "exporters[1].")
    assert caught.value.message.startswith(f"exporters[1].renew_before: {text!r} is neither a duration")


def test_timestamps():
    assert _certificates.timestamp(kit.NOW) == "2026-11-24T10:49:00Z"
    assert _certificates.parse_timestamp("2026-11-24T10:49:00Z") == kit.NOW
    for text in ("2026-11-24", "2026-11-24T10:49:00+00:00", "soon"):
        with pytest.raises(ValueError, match="does not match"):
            _certificates.parse_timestamp(text)
    assert _certificates.utcnow().tzinfo is datetime.timezone.utc


def test_a_fleet_is_not_due_in_one_hour() -> None:
    start, end = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
    plain = _certificates.RenewBefore("30d").moment(start, end)
    moments = [_certificates.RenewBefore("30d", name=f"exp{number}").moment(start, end) for number in range(200)]
    earliest = plain - datetime.timedelta(days=3)
    assert all(earliest <= moment <= plain for moment in moments)
    assert len({moment.replace(minute=0, second=0) for moment in moments}) > 60
    assert moments[7] == _certificates.RenewBefore("30d", name="exp7").moment(start, end)
