# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wallet and the certificates, judged by independent programs."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import socket
import stat
import subprocess
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")


def certificates(path):
    """Return the certificates in a PEM file."""
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", path.read_bytes(), re.DOTALL)
    return [x509.load_pem_x509_certificate(block) for block in blocks]


def mode(path):
    """Return the permission bits of a file."""
    return stat.S_IMODE(os.stat(path).st_mode)


def extension(certificate, kind):
    """Return the value of an extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def lifetime(certificate):
    """Return how long a certificate is valid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return certificate.not_valid_after - certificate.not_valid_before


def unwrap(data):
    """Return password and PKCS#12 of a wallet, read without the program's own reader."""
    assert data[:4] == b"\xa1\xf8\x4e6"
    assert data[4:8] == b"\0\0\0\x06"
    if data[12] == 6:
        assert data[8:12] == (33).to_bytes(4, "big")
        iv = bytes.fromhex("C034D8311C02CEF851F0144B81ED4BF2")
        decryptor = Cipher(algorithms.AES(data[13:29]), modes.CBC(iv)).decryptor()
        return decryptor.update(data[29:45]) + decryptor.finalize(), data[45:]
    assert data[8:13] == (65).to_bytes(4, "big") + b"5"
    triple_des = pytest.importorskip("cryptography.hazmat.decrepit.ciphers.algorithms").TripleDES
    key, ciphertext = bytes.fromhex(data[13:29].decode()), bytes.fromhex(data[29:77].decode())
    decryptor = Cipher(triple_des(key * 3), modes.CBC(bytes(8))).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    assert padded[16:] == bytes([8] * 8)
    return padded[:16], data[77:]


@pytest.mark.parametrize("kind", ["aes", "des"])
def test_an_independent_reader_verifies_the_mac_of_the_wallet(home, kind):
    pkcs12 = pytest.importorskip("cryptography.hazmat.primitives.serialization.pkcs12")
    if not hasattr(pkcs12, "load_pkcs12"):
        pytest.skip("needs cryptography 36 or later")
    home.create(WALLET=kind)
    data = home.wallet.read_bytes()
    assert (data[12] == 6) is (kind == "aes")
    password, pfx = unwrap(data)
    assert re.fullmatch(rb"[A-Za-z0-9]{16}", password)
    opened = pkcs12.load_pkcs12(pfx, password)
    assert (opened.key, opened.cert, opened.additional_certs) == (None, None, [])
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(pfx, password[:-1] + bytes([password[-1] ^ 1]))
    for secret in (b"BEGIN", b"SERVERKEY", b"localhost"):
        assert secret not in data


@with_openssl
@pytest.mark.parametrize("kind", ["aes", "des"])
def test_the_openssl_program_opens_the_wallet(home, kind):
    home.create(WALLET=kind)
    password, pfx = unwrap(home.wallet.read_bytes())
    (home.work / "p12").write_bytes(pfx)

    def openssl(word):
        return subprocess.run(
            ["openssl", "pkcs12", "-in", home.work / "p12", "-passin", "env:WORD", "-info", "-nokeys"],
            env={"PATH": os.environ["PATH"], "WORD": word},
            capture_output=True,
            text=True,
            check=False,
        )

    result = openssl(password.decode())
    assert result.returncode == 0, result.stderr
    assert (result.stdout + result.stderr).count("1.2.840.113549.1.16.12.12") == 4
    assert openssl("AAAAAAAAAAAAAAAA").returncode != 0


@pytest.mark.parametrize("kind", ["aes", "des"])
def test_the_reader_returns_what_was_written_and_notices_damage(program, kind):
    entries = {"SERVERCERT": "a|b|", "SERVERKEY": "x" * 300, "CACERT": "", "CAKEY": "é"}
    data = program.seal_wallet(entries, kind)
    assert program.open_wallet(data) == entries
    for size in range(0, len(data), 29):
        with pytest.raises(ValueError):
            program.open_wallet(data[:size])
    refused = 0
    for position in range(0, len(data), 13):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        try:
            assert program.open_wallet(bytes(damaged)) == entries, f"byte {position}"
        except ValueError:
            refused += 1
    # The rest are identifiers outside of what the MAC covers.
    assert refused > len(range(0, len(data), 13)) * 0.9
    with pytest.raises(ValueError, match="larger than"):
        program.open_wallet(data + bytes(1 << 20))


def test_modes_do_not_depend_on_a_lax_umask(home):
    home.create(umask=0)
    assert mode(home.wallet) == 0o600
    assert mode(home.wallet.parent) == 0o700
    assert os.listdir(home.wallet.parent) == ["cwallet.sso"]


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600)])
def test_output_files_get_the_mode_that_the_umask_leaves(shared, tmp_path, umask, expected):
    directory = ("-certificate-directory", shared.work)
    files = [tmp_path / name for name in ("s.crt", "c.crt", "c.key")]
    shared.run("-export-server-certificate", files[0], *directory, umask=umask)
    shared.run("-export-client-certificate", files[1], "-export-client-private-key", files[2], *directory, umask=umask)
    assert [mode(file) for file in files] == [expected] * 3


def test_the_default_directory_is_the_users_home(home):
    home.run("-create-server-certificate")
    assert (home.path / home.wallet.relative_to(home.work)).exists()
    home.run("-export-server-certificate", "x.crt", EXPORT="leaf")
    (leaf,) = certificates(home.work / "x.crt")
    name = socket.gethostname()
    assert leaf.subject.rfc4514_string() == f"CN={name}"
    assert extension(leaf, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == [name]


def test_alternative_names_are_separated_by_commas(home):
    names = "a.test,*.b.test,short,10.1.2.3,fe80::1"
    home.create("-certificate-common-name", "cn.test", "-certificate-alt-names", names)
    (leaf,) = certificates(home.export(EXPORT="leaf"))
    alternatives = extension(leaf, x509.SubjectAlternativeName)
    assert alternatives.get_values_for_type(x509.DNSName) == ["a.test", "*.b.test", "short"]
    assert [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)] == ["10.1.2.3", "fe80::1"]
    assert leaf.subject.rfc4514_string() == "CN=cn.test"


@pytest.mark.parametrize("pki", ["ca", "self-signed"])
@pytest.mark.parametrize("export", ["ca", "leaf", "chain"])
def test_what_the_exported_file_holds(home, pki, export):
    home.create(PKI=pki)
    chain = certificates(home.export(EXPORT=export))
    subjects = [certificate.subject.rfc4514_string() for certificate in chain]
    if pki == "self-signed":
        assert subjects == ["CN=localhost"]
        assert chain[0].issuer == chain[0].subject
    else:
        expected = {"ca": ["CN=TimesTen Exporter CA"], "leaf": ["CN=localhost"]}
        expected["chain"] = expected["leaf"] + expected["ca"]
        assert [subject.partition(" CA")[0] + subject.partition(" CA")[1] for subject in subjects] == expected[export]
        assert all(certificate.issuer.rfc4514_string().startswith("CN=TimesTen") for certificate in chain)
    pair = home.pair(EXPORT=export)
    assert home.serve().get(pair)[0] == 200


@pytest.mark.parametrize("pki", ["ca", "self-signed"])
def test_extensions_satisfy_strict_clients_and_servers(home, pki):
    home.create(PKI=pki)
    pair = home.pair()
    (leaf,) = certificates(home.export("leaf.crt", EXPORT="leaf"))
    (ca,), (client,) = certificates(pair.ca), certificates(pair.certificate)
    assert extension(ca, x509.BasicConstraints).ca
    assert extension(ca, x509.KeyUsage).key_cert_sign
    assert extension(ca, x509.ExtendedKeyUsage) is None
    assert extension(leaf, x509.SubjectAlternativeName) is not None
    assert extension(leaf, x509.BasicConstraints).ca is (pki == "self-signed")
    assert list(extension(client, x509.ExtendedKeyUsage)) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extension(client, x509.BasicConstraints).ca
    for certificate in (ca, leaf, client):
        own = extension(certificate, x509.SubjectKeyIdentifier)
        assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        issuer = extension(certificate, x509.AuthorityKeyIdentifier)
        assert issuer.key_identifier == extension(ca, x509.SubjectKeyIdentifier).digest
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    assert key.public_key().public_numbers() == client.public_key().public_numbers()


@with_openssl
@pytest.mark.parametrize("pki", ["ca", "self-signed"])
def test_the_openssl_program_finds_nothing_wrong(home, pki):
    home.create("-certificate-alt-names", "localhost,127.0.0.1", PKI=pki)
    pair = home.pair()
    leaf = home.export("leaf.crt", EXPORT="leaf")

    def verify(*arguments):
        command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", pair.ca, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr

    for names in (["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"]):
        assert verify("-purpose", "sslserver", *names, leaf)[0] == 0, verify("-purpose", "sslserver", *names, leaf)
    assert verify("-purpose", "sslclient", pair.certificate)[0] == 0
    assert verify("-purpose", "sslserver", "-verify_hostname", "other.test", leaf)[0] != 0
    assert verify("-purpose", "sslserver", pair.certificate)[0] != 0


def test_every_create_and_every_pair_is_a_new_one(home):
    names, serials = set(), set()
    for _index in range(2):
        home.create(SECOND_CREATE="overwrite")
        pair = home.pair()
        names.add(certificates(pair.ca)[0].subject)
        for name in ("one", "two"):
            home.pair(name)
            (certificate,) = certificates(home.work / f"{name}.crt")
            names.add(certificate.subject)
            serials.add(certificate.serial_number)
    assert len(names) == 6
    assert len(serials) == 4


def test_a_second_create_refuses(home):
    home.create()
    before = home.wallet.read_bytes()
    line = home.run("-create-server-certificate", "-certificate-directory", home.work, status=1)
    assert f"there is a wallet already, {home.wallet}" in line
    assert home.wallet.read_bytes() == before


def test_a_second_create_overwrites(home):
    home.create()
    before = home.wallet.read_bytes()
    home.create("-certificate-common-name", "other.test", SECOND_CREATE="overwrite")
    assert home.wallet.read_bytes() != before
    assert certificates(home.export(EXPORT="leaf"))[0].subject.rfc4514_string() == "CN=other.test"


def test_a_second_create_silently_keeps(home):
    home.create()
    before = home.wallet.read_bytes()
    home.create("-certificate-common-name", "other.test", SECOND_CREATE="keep")
    assert home.wallet.read_bytes() == before


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, datetime.timedelta(days=3650)),
        ("90s", datetime.timedelta(seconds=90)),
        ("10m", datetime.timedelta(minutes=10)),
        ("2d", datetime.timedelta(days=2)),
    ],
)
def test_how_long_certificates_are_valid(home, value, expected):
    variants = {} if value is None else {"VALIDITY": value}
    home.create(**variants)
    pair = home.pair(EXPORT="chain", **variants)
    chain = certificates(pair.ca) + certificates(pair.certificate)
    assert [lifetime(certificate) for certificate in chain] == [expected] * 3


def test_a_life_beyond_the_calendar_is_refused(home):
    line = home.run("-create-server-certificate", status=1, VALIDITY="9999999999d")
    assert "REFERENCE_EXPORTER_VALIDITY: 9999999999d ends after the year 9999" in line


def test_the_key_size_is_that_of_all_keys(home):
    home.create("-rsa-key-size", 3072)
    pair = home.pair(EXPORT="chain")
    chain = certificates(pair.ca) + certificates(pair.certificate)
    assert [certificate.public_key().key_size for certificate in chain] == [3072] * 3


def test_the_default_key_size(shared, pair):
    assert certificates(pair.ca)[0].public_key().key_size == 2048


def test_no_wallet(home):
    for arguments in (
        ["-export-server-certificate", "x"],
        ["-export-client-certificate", "x", "-export-client-private-key", "y"],
        ["-port", 1],
    ):
        line = home.run(*arguments, "-certificate-directory", home.work, status=1)
        assert f"there is no wallet {home.wallet}; make one with -create-server-certificate" in line
    assert os.listdir(home.work) == []


def test_a_wallet_of_another_instance_is_no_wallet(home):
    home.create()
    (home.path / "conf/timesten.conf").write_text("instance_guid=ANOTHER\n")
    line = home.run("-export-server-certificate", "x", "-certificate-directory", home.work, status=1)
    assert ".ttwallet.ANOTHER/cwallet.sso" in line


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "directory"])
def test_an_unreadable_wallet(home, damage):
    home.create()
    data = home.wallet.read_bytes()
    if damage == "directory":
        home.wallet.unlink()
        home.wallet.mkdir()
    else:
        flipped = data[:3000] + bytes([data[3000] ^ 1]) + data[3001:]
        home.wallet.write_bytes({"empty": b"", "cut": data[:-20], "flipped": flipped}[damage])
    line = home.run("-port", 1, "-certificate-directory", home.work, status=1)
    assert f"the wallet {home.wallet} cannot be" in line
    assert {"empty": "no auto-login wallet", "flipped": "MAC is wrong"}.get(damage, "") in line


def test_an_output_file_that_cannot_be_written_is_named(shared):
    line = shared.run("-export-server-certificate", "no/x", "-certificate-directory", shared.work, status=1)
    assert "-export-server-certificate: no/x cannot be written: No such file or directory" in line
