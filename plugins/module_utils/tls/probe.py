# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes handshakes with an exporter, with its own pair or as somebody without access. No request is sent."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import select
import socket
import ssl
import time
from typing import Callable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files

ACCEPTED = "accepted"
REFUSED = "refused"
UNTRUSTED = "untrusted"
UNREACHABLE = "unreachable"
TIMED_OUT = "timed out"
CLOSED = "closed"

_PARTIAL_CHAIN = 0x80000
"""X509_V_FLAG_PARTIAL_CHAIN: OpenSSL then trusts a leaf in the CA file, as Go does."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of one probe.

    :ivar status: ``accepted``; ``refused`` by the exporter (alert, end of file or reset, during the handshake or after
        it); ``untrusted``: we refused the exporter's certificate; ``unreachable``: no TCP connection; ``timed out``:
        neither accepted nor refused; ``closed``: it ended, but :func:`refusal` saw that the exporter's own pair does
        not stay connected longer.
    :ivar detail: the library's text for people; no decision may depend on it.
    :ivar certificate: DER of the certificate that the exporter served, if it was seen.
    :ivar alert: whether it ended with a TLS alert, which alone proves a refusal.
    :ivar lasted: seconds from the connection to its end.
    """

    status: str
    detail: str = ""
    certificate: bytes | None = None
    alert: bool = False
    lasted: float = 0.0

    @property
    def sha256(self) -> str | None:
        """Return the fingerprint of the served certificate."""
        return None if self.certificate is None else hashlib.sha256(self.certificate).hexdigest()


def client_context(
    ca_file: str | None = None, certificate_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """Return the SSL context of some files, for several handshakes: reading a pair takes as long as a handshake.

    :raises OSError: as :func:`tls`.
    """
    for path in (ca_file, certificate_file, key_file):
        if path is not None:
            _files.check_regular(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE if ca_file is None else ssl.CERT_REQUIRED
    context.verify_flags |= _PARTIAL_CHAIN
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if certificate_file is not None:
        context.load_cert_chain(certificate_file, key_file)
    return context


def tls(
    host: str,
    port: int,
    ca_file: str | None = None,
    certificate_file: str | None = None,
    key_file: str | None = None,
    server_name: str | None = None,
    timeout: float = 5.0,
    settle: float = 0.5,
    context: ssl.SSLContext | None = None,
) -> Outcome:
    """Make a handshake and tell whether the exporter accepts us.

    With TLS 1.3 the client's handshake succeeds before the server has checked the client's certificate. Only a read
    afterwards shows the verdict: an exporter that refuses closes the connection, one that accepts waits for our
    request.

    :param ca_file: trust exactly this file (CA, leaf or chain). None trusts any certificate, to see which one is
        served.
    :param server_name: name that the certificate has to contain; None checks no name.
    :param timeout: seconds for connection and handshake.
    :param settle: seconds to wait for a refusal after the handshake; 0 only looks at the served certificate.
    :param context: result of :func:`client_context` for the three files, which are not read then.
    :raises OSError: if a file cannot be read, is not a regular file or is not PEM (ssl.SSLError is an OSError).
    """
    if context is None:
        context = client_context(ca_file, certificate_file, key_file)
        context.check_hostname = ca_file is not None and server_name is not None
    certificate = None
    try:
        raw = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        return Outcome(UNREACHABLE, str(error))
    with raw:
        try:
            with context.wrap_socket(raw, server_hostname=server_name) as secured:
                certificate = secured.getpeercert(binary_form=True)
                if not settle:
                    return Outcome(ACCEPTED, str(secured.version()), certificate)
                secured.settimeout(settle)
                try:
                    data = secured.recv(1)
                except socket.timeout:
                    return Outcome(ACCEPTED, str(secured.version()), certificate)
                if data:
                    return Outcome(ACCEPTED, str(secured.version()), certificate)
                return Outcome(REFUSED, "end of file", certificate)
        except ssl.SSLCertVerificationError as error:
            return Outcome(UNTRUSTED, error.verify_message, certificate)
        except socket.timeout as error:
            return Outcome(TIMED_OUT, str(error), certificate)
        except (OSError, ssl.SSLError) as error:
            return Outcome(REFUSED, str(error), certificate, "ALERT" in (getattr(error, "reason", None) or ""))


def plain_http(host: str, port: int, timeout: float = 5.0, settle: float = 1.0) -> Outcome:
    """Send the start of a plain HTTP request, but never a complete one. A TLS server refuses it; an HTTP server waits
    for the rest.

    :param settle: seconds to wait for a refusal.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as raw:
            raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: probe\r\n")
            raw.settimeout(settle)
            try:
                data = raw.recv(16)
            except socket.timeout:
                return Outcome(ACCEPTED, "the server waits for the rest of a plain request")
            # A TLS alert (record type 21) or the end of the connection is a refusal. Go's server answers the plain text
            # "HTTP/1.0 400" and closes.
            if data and data[0] == 21:
                return Outcome(REFUSED, "alert", alert=True)
            if not data or data.startswith(b"HTTP/1.0 400"):
                return Outcome(REFUSED, "HTTP/1.0 400" if data else "end of file")
            return Outcome(ACCEPTED, repr(data))
    except (ConnectionResetError, BrokenPipeError) as error:
        return Outcome(REFUSED, str(error))
    except OSError as error:
        return Outcome(UNREACHABLE, str(error))


class Companion:
    """A connection with the exporter's own pair, open at the same time as an attempt without access.

    :raises OSError: if one of the files cannot be used, or the exporter cannot be reached.
    """

    def __init__(self, host: str, port: int, ca_file: str, certificate_file: str, key_file: str) -> None:
        context = client_context(ca_file, certificate_file, key_file)
        raw = socket.create_connection((host, port), timeout=5.0)
        try:
            self._socket = context.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise

    def stays_open(self, seconds: float) -> bool:
        """Tell whether it is open now and stays open for some seconds."""
        self._socket.settimeout(0.0)
        deadline = time.monotonic() + seconds
        while True:
            try:
                return bool(self._socket.recv(1))
            except (ssl.SSLWantReadError, BlockingIOError):
                pass  # session tickets of TLS 1.3 arrive, but are no data
            except OSError:
                return False
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return True

    def close(self) -> None:
        """Close it."""
        self._socket.close()


_LONGER = 0.2
"""To prove a refusal, the exporter's own pair has to stay open at least so many seconds longer than the refused
attempt.
"""
_AT_ONCE = 0.5
"""Seconds. Every HTTP server waits longer than this for the rest of a request."""


def refusal(probe: Callable[[], Outcome], companion: Callable[[], Companion]) -> Outcome:
    """Try to get access, and distinguish a refusal from a server that closes every idle connection.

    An alert is a refusal. An end of file or a reset is a refusal only if the exporter's own pair, connected before it
    and at the same time, stays connected for longer.

    :param probe: one attempt without access.
    :param companion: opens a connection with the exporter's own pair.
    """
    outcome = _timed(probe)
    return outcome if outcome.status != REFUSED or outcome.alert else _beside(probe, companion, outcome)


def plain_refusal(
    probe: Callable[[], Outcome], companion: Callable[[], Companion], refused: Sequence[Outcome]
) -> Outcome:
    """Do what :func:`refusal` does, for plain HTTP.

    :param refused: the outcomes of attempts with TLS on the same port. If all of them got an alert, the port belongs to
        a TLS server that demands certificates. If it then ends plain HTTP at once, no companion is needed, which would
        take longer than all attempts together.
    """
    outcome = _timed(probe)
    if outcome.status != REFUSED or outcome.alert:
        return outcome
    if outcome.lasted < _AT_ONCE and all(other.status == REFUSED and other.alert for other in refused):
        return outcome
    return _beside(probe, companion, outcome)


def _timed(probe: Callable[[], Outcome]) -> Outcome:
    begun = time.monotonic()
    outcome = probe()
    return dataclasses.replace(outcome, lasted=time.monotonic() - begun)


def _beside(probe: Callable[[], Outcome], companion: Callable[[], Companion], outcome: Outcome) -> Outcome:
    """Repeat an attempt that ended without an alert, while the exporter's own pair is connected."""
    try:
        own = companion()
    except OSError as error:
        detail = f"{outcome.detail}; it is unknown whether that is a refusal, because the exporter's own pair fails too: {error}"
        return dataclasses.replace(outcome, status=CLOSED, detail=detail)
    try:
        outcome = _timed(probe)
        if outcome.status != REFUSED or outcome.alert or own.stays_open(max(outcome.lasted, _LONGER)):
            return outcome
        detail = f"{outcome.detail} after {outcome.lasted:.1f} s; the exporter's own pair was not kept open for longer"
        return dataclasses.replace(outcome, status=CLOSED, detail=detail)
    finally:
        own.close()


def stranger_pair(directory: str) -> tuple[str, str]:
    """Make a temporary pair that no exporter has issued, for an attempt that must be refused.

    :param directory: a private directory that the caller removes.
    :returns: paths of the certificate and the key.
    :raises TimesTenError: if the files cannot be written.
    """
    # This import stands here because most calls do not need it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # One hour back, so that a slow clock of the exporter gives no other reason to refuse.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    paths = os.path.join(directory, "stranger.crt"), os.path.join(directory, "stranger.key")
    _files.write(paths[0], certificate.public_bytes(serialization.Encoding.PEM))
    _files.write(
        paths[1],
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return paths
