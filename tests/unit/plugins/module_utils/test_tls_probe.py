# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Handshakes against real servers: who is accepted, what a refusal looks like with each version of TLS."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import socket
import ssl
import threading
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe

_PATH = pathlib.Path(__file__).resolve().parents[2] / "fixtures/certificate_kit.py"
_SPEC = importlib.util.spec_from_file_location("certificate_kit", _PATH)
kit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(kit)


class Files:
    """A CA, the server's certificate, a client's pair, and the pair of somebody else."""

    def __init__(self, folder):
        # Around today: the handshakes judge by the clock.
        start = _certificates.utcnow() - kit.datetime.timedelta(hours=1)
        self.folder = folder
        ca_key, key, client_key = kit.new_key(), kit.new_key(), kit.new_key()
        ca = kit.certify(ca_key, "A CA", (), ca=True, start=start)
        leaf = kit.certify(key, "localhost", ["localhost", "127.0.0.1"], (ca, ca_key), start=start)
        client = kit.certify(client_key, "client", (), (ca, ca_key), start=start)
        self.ca, self.leaf = self.write("ca.crt", kit.pem(ca)), self.write("leaf.crt", kit.pem(leaf))
        self.server_key = self.write("server.key", kit.key_pem(key))
        self.pair = (self.write("client.crt", kit.pem(client)), self.write("client.key", kit.key_pem(client_key)))
        self.stranger = _tls_probe.stranger_pair(str(folder))
        self.sha256 = _certificates.fingerprint(leaf)

    def write(self, name, data):
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


@contextlib.contextmanager
def listening(handle):
    """Serve connections with a function in a thread of their own; returns the port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        open_ones, stop = [], threading.Event()

        def serve():
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    raw = server.accept()[0]
                    raw.settimeout(10)
                    open_ones.append(raw)
                    threading.Thread(target=handle, args=(raw,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            with contextlib.suppress(OSError):
                socket.create_connection(server.getsockname(), timeout=1).close()
            thread.join()
            for raw in open_ones:
                raw.close()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def port(request, files):
    """A server that requires a client certificate, as the exporter does, and waits for a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = request.param
    context.load_cert_chain(files.leaf, files.server_key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED

    def handle(raw):
        try:
            secured = context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        with contextlib.suppress(OSError):
            secured.recv(1)
        secured.close()

    with listening(handle) as number:
        yield number


@pytest.mark.parametrize("trust", ["ca", "leaf", None])
def test_accepted(files, port, trust):
    """A leaf as the only trust anchor works, as it does with Go."""
    ca_file = getattr(files, trust) if trust else None
    outcome = _tls_probe.tls("127.0.0.1", port, ca_file, *files.pair, server_name="localhost")
    assert (outcome.status, outcome.sha256) == (_tls_probe.ACCEPTED, files.sha256)
    assert outcome.detail.startswith("TLSv1.")


def test_refused_without_pair_and_with_another(files, port):
    for pair in ((None, None), files.stranger):
        outcome = _tls_probe.tls("127.0.0.1", port, files.ca, *pair, server_name="localhost")
        assert outcome.status == _tls_probe.REFUSED


def test_untrusted(files, port, tmp_path):
    key = kit.new_key()
    other = tmp_path / "other.crt"
    other.write_bytes(kit.pem(kit.certify(key, "A CA", (), ca=True)))
    assert _tls_probe.tls("127.0.0.1", port, str(other), *files.pair).status == _tls_probe.UNTRUSTED
    outcome = _tls_probe.tls("127.0.0.1", port, files.ca, *files.pair, server_name="other.example.com")
    assert outcome.status == _tls_probe.UNTRUSTED


def test_address_as_server_name(files, port):
    outcome = _tls_probe.tls("127.0.0.1", port, files.ca, *files.pair, server_name="127.0.0.1")
    assert outcome.status == _tls_probe.ACCEPTED


def test_settle_zero_only_looks(files, port):
    began = time.monotonic()
    outcome = _tls_probe.tls("127.0.0.1", port, None, *files.pair, settle=0)
    assert (outcome.status, outcome.sha256) == (_tls_probe.ACCEPTED, files.sha256)
    assert time.monotonic() - began < 10


def test_plain_http_is_refused_by_tls(port):
    assert _tls_probe.plain_http("127.0.0.1", port).status == _tls_probe.REFUSED


def test_unreachable(files):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert _tls_probe.tls("127.0.0.1", free, files.ca, *files.pair).status == _tls_probe.UNREACHABLE
    assert _tls_probe.plain_http("127.0.0.1", free).status == _tls_probe.UNREACHABLE
    assert _tls_probe.tls("no-such-host.invalid", free).status == _tls_probe.UNREACHABLE


def test_a_silent_server_is_no_refusal():
    with listening(lambda raw: None) as port:
        assert _tls_probe.tls("127.0.0.1", port, timeout=0.3).status == _tls_probe.TIMED_OUT
        assert _tls_probe.plain_http("127.0.0.1", port, settle=0.3).status == _tls_probe.ACCEPTED


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", _tls_probe.REFUSED),
        (b"\x15\x03\x03\0\x02\x02\x0a", _tls_probe.REFUSED),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", _tls_probe.REFUSED),
        (b"HTTP/1.1 200 OK\r\n\r\n", _tls_probe.ACCEPTED),
        (b"HTTP/1.1 408 Request Timeout\r\n\r\n", _tls_probe.ACCEPTED),
    ],
)
def test_plain_http_verdict(answer, status):
    received = []

    def handle(raw):
        # The last connection is the one that ends the server.
        with contextlib.suppress(OSError):
            received.append(raw.recv(1000))
            raw.sendall(answer)
            raw.shutdown(socket.SHUT_WR)

    with listening(handle) as port:
        assert _tls_probe.plain_http("127.0.0.1", port).status == status
    # Never a complete request: it would count against the exporter's limit.
    assert b"\r\n\r\n" not in received[0]


def test_a_reset_is_a_refusal(files):
    def handle(raw):
        # The last connection is the one that ends the server.
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            raw.recv(1)
            raw.close()

    with listening(handle) as port:
        assert _tls_probe.tls("127.0.0.1", port, files.ca, *files.pair).status == _tls_probe.REFUSED
        assert _tls_probe.plain_http("127.0.0.1", port).status == _tls_probe.REFUSED


def test_unreadable_files_are_an_error(files, port):
    with pytest.raises(OSError, match="No such file"):
        _tls_probe.tls("127.0.0.1", port, files.ca, "/nonexistent/client.crt", "/nonexistent/client.key")
    with pytest.raises(OSError, match=r"."):
        _tls_probe.tls("127.0.0.1", port, files.server_key)


def test_stranger_pair_is_private(files):
    certificate, key = files.stranger
    _certificates.check_pair(certificate, key)
    assert os.stat(key).st_mode & 0o777 == 0o600


# --- what counts as a refusal -------------------------------------------------------------------------------------------


def server(files, versions, demand=True, idle=None, delay=0.0):
    """A function that serves one connection.

    :param demand: whether a client certificate of the wallet is asked for.
    :param idle: seconds after which an idle connection is closed, whoever it is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = versions
    context.load_cert_chain(files.leaf, files.server_key)
    if demand:
        context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_REQUIRED

    def handle(raw):
        with contextlib.suppress(OSError):
            raw.settimeout(idle or 10)
            try:
                with context.wrap_socket(raw, server_side=True) as secured:
                    secured.recv(1)
            finally:
                raw.close()

    return handle


def attempts(files, port):
    """The three who have no business there, with as much patience as the module has."""
    nobody, stranger = _tls_probe.client_context(), _tls_probe.client_context(None, *files.stranger)
    return {
        "nobody": lambda: _tls_probe.tls("127.0.0.1", port, settle=3.0, context=nobody),
        "stranger": lambda: _tls_probe.tls("127.0.0.1", port, settle=3.0, context=stranger),
        "plain": lambda: _tls_probe.plain_http("127.0.0.1", port, settle=3.0),
    }


def verdicts(files, port):
    def own():
        return _tls_probe.Companion("127.0.0.1", port, files.ca, *files.pair)

    all_three = attempts(files, port)
    plain = all_three.pop("plain")
    seen = {who: _tls_probe.refusal(attempt, own) for who, attempt in all_three.items()}
    seen["plain"] = _tls_probe.plain_refusal(plain, own, list(seen.values()))
    return {who: outcome.status for who, outcome in seen.items()}


VERSIONS = pytest.mark.parametrize("versions", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
def test_a_server_that_demands_a_pair_refuses_all_others(files, versions):
    with listening(server(files, versions)) as port:
        assert set(verdicts(files, port).values()) == {_tls_probe.REFUSED}


@VERSIONS
def test_a_server_that_demands_a_pair_and_closes_idle_connections_refuses(files, versions):
    with listening(server(files, versions, idle=1.0)) as port:
        assert set(verdicts(files, port).values()) == {_tls_probe.REFUSED}


@VERSIONS
def test_a_server_that_accepts_all_and_closes_idle_connections_refuses_nobody(files, versions):
    with listening(server(files, versions, demand=False, idle=0.8)) as port:
        seen = verdicts(files, port)
        assert (seen["nobody"], seen["stranger"]) == (_tls_probe.CLOSED, _tls_probe.CLOSED)
        # Plain http is really refused there: at once, and the own pair lasts longer.
        assert seen["plain"] == _tls_probe.REFUSED


def test_a_plain_port_that_closes_idle_connections_refuses_nobody(files):
    def handle(raw):
        with contextlib.suppress(OSError):
            raw.settimeout(0.8)
            try:
                while raw.recv(1000):
                    pass
            finally:
                raw.close()

    with listening(handle) as port:
        assert _tls_probe.REFUSED not in verdicts(files, port).values()


def test_a_plain_server_that_complains_refuses_nobody(files):
    def handle(raw):
        with contextlib.suppress(OSError):
            raw.recv(1000)
            raw.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            raw.close()

    with listening(handle) as port:
        assert set(verdicts(files, port).values()) == {_tls_probe.CLOSED}


def test_a_port_that_also_speaks_plain_http_does_not_refuse_it(files):
    """It demands a pair over TLS, and closes whatever is idle for a while."""
    secure = server(files, ssl.TLSVersion.TLSv1_3, idle=0.8)

    def handle(raw):
        with contextlib.suppress(OSError):
            raw.settimeout(0.8)
            if raw.recv(1, socket.MSG_PEEK) == b"\x16":
                secure(raw)
                return
            try:
                while raw.recv(1000):
                    pass
            finally:
                raw.close()

    with listening(handle) as port:
        seen = verdicts(files, port)
    assert (seen["nobody"], seen["stranger"]) == (_tls_probe.REFUSED, _tls_probe.REFUSED)
    assert seen["plain"] == _tls_probe.CLOSED


def test_the_stranger_has_a_key_that_is_cheap_to_sign_with(files):
    assert (
        "ec secp256r1"
        in _certificates.facts(_certificates.load_one(pathlib.Path(files.stranger[0]).read_bytes(), ""))["key"]
    )
