# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus says, and what it means for a person."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import api

# Error texts of Prometheus 2.42 (2.53 and 3.5 put a prefix before most), and a word that the advice has to have.
SEEN = [
    ("x509: certificate relies on legacy Common Name field, use SANs instead", "alt_names"),
    (
        "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        "the target is an address",
    ),
    ("x509: certificate is not valid for any names, but wanted to match localhost", "does not hold the name"),
    ("x509: certificate is valid for exp.test, not localhost", "does not hold the name"),
    (
        'x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while '
        'trying to verify candidate authority certificate "localhost")',
        "does not vouch",
    ),
    ("x509: certificate signed by unknown authority", "does not vouch"),
    ("x509: certificate specifies an incompatible key usage", "extended key usage"),
    ("remote error: tls: error decrypting message", "refuses the client certificate"),
    ("remote error: tls: certificate required", "presents no client certificate"),
    ("remote error: tls: expired certificate", "client certificate has expired"),
    ("remote error: tls: bad certificate", "refuses the client certificate"),
    ("remote error: tls: unknown certificate authority", "refuses the client certificate"),
    ("remote error: tls: unsupported certificate", "refuses the client certificate"),
    ("x509: certificate has expired or is not yet valid: current time T is after T2", "has expired"),
    ("x509: certificate has expired or is not yet valid: current time T is before T2", "clocks"),
    ("dial tcp 127.0.0.1:22050: connect: connection refused", "start the exporter"),
    ("dial tcp: lookup exp1 on 10.0.0.1:53: no such host", "name service"),
    ("dial tcp 10.0.0.7:8888: connect: no route to host", "firewall"),
    ("context deadline exceeded", "scrape_timeout"),
    ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "refused client certificate"),
    ("write tcp 127.0.0.1:1->127.0.0.1:2: write: broken pipe", "refused client certificate"),
    ("EOF", "refused client certificate"),
    ("open /s/exp1/current/client.key: no such file or directory", "missing"),
    (
        "unable to read client key: unable to read file /s/k: open /s/k: no such file or directory",
        "missing",
    ),
    ("open /s/exp1/current/client.key: permission denied", "sandbox"),
    ("unable to read client key: unable to read file /s/k: permission denied", "sandbox"),
    (
        "unable to use specified client cert (/s/c) & key (/s/k): tls: private key does not match public key",
        "not one pair",
    ),
    ("unable to use specified CA cert /s/ca.crt", "ca.crt is missing, empty or damaged"),
    ("unable to use specified CA cert file /s/ca.crt", "ca.crt is missing, empty or damaged"),
    ("unable to read CA cert: unable to read file /s/ca.crt: is a directory", "ca.crt is missing, empty or damaged"),
    ("http: server gave HTTP response to HTTPS client", "-insecure"),
    ("server returned HTTP status 429 Too Many Requests", "rate limit"),
    ("server returned HTTP status 404 Not Found", "metrics_path"),
    ("server returned HTTP status 503 Service Unavailable", "answered with an error"),
    ("", "not scraped the target yet"),
    ("sample limit exceeded", "sample_limit"),
    ("body size limit exceeded", "body_size_limit"),
    ('label_limit exceeded (metric: "up", number of labels: 3, limit: 1)', "raise it"),
    (
        'received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target',
        "fallback_scrape_protocol",
    ),
    ("something new", "exporter's log"),
]


@pytest.mark.parametrize(("error", "word"), SEEN)
@pytest.mark.parametrize("prefix", ["", "tls: failed to verify certificate: "])
def test_each_error_leads_to_advice(error: str, word: str, prefix: str) -> None:
    assert word in api.advice(prefix + error if error else error)


@pytest.mark.parametrize(
    ("probe", "word"),
    [
        ("accepted", "works now"),
        ("refused", "another wallet"),
        ("untrusted", "does not vouch"),
        ("unreachable", "no connection"),
        ("timed out", "nothing answers"),
    ],
)
def test_the_handshake_speaks_whatever_the_alert_says(probe: str, word: str) -> None:
    for error in ("remote error: tls: something else", "write: broken pipe", "never seen before"):
        assert word in api.advice(error, probe)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T02:00:00.123456789+02:00", 0.123456789),
        ("1969-12-31T19:00:00-05:00", 0.0),
        ("2026-11-24T11:17:42.313613173Z", 1795519062.313613173),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
    ],
)
def test_parse_time(text: str, seconds: float) -> None:
    assert api.parse_time(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9090", "file:///etc/passwd", "http://", "http://u:p@host:1", "http://h/?x=1"]
)
def test_bad_urls_are_named(url: str) -> None:
    with pytest.raises(TimesTenError, match=r"url: .* is not the address of a Prometheus"):
        api.Api(url)


def test_unusable_tls_files_are_named() -> None:
    with pytest.raises(TimesTenError, match="url_ca_file /nowhere"):
        api.Api("https://127.0.0.1:1", ca_file="/nowhere")


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        self.server.seen.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.server.headers = dict(self.headers)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made.seen = []
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("login", "named"),
    [
        ({"username": "admin", "password": "s3cret"}, "as url_username 'admin'"),
        ({"bearer_token": "s3cret"}, "with url_bearer_token"),
        ({"headers": {"X-Api-Key": "s3cret"}}, r"with url_headers \(X-Api-Key\)"),
        ({"bearer_token": "s3cret", "headers": {"X-Scope-OrgID": "7"}}, "with url_bearer_token"),
    ],
)
def test_a_wrong_login_is_named_and_not_shown(server: Any, status: int, login: dict[str, Any], named: str) -> None:
    server.answer = (status, {}, b"no")
    with pytest.raises(TimesTenError, match=rf"answered {status}, asked {named}: set url_username") as raised:
        api.Api(server.url, **login).flags()
    assert (
        "s3cret" not in raised.value.message and base64.b64encode(b"admin:s3cret").decode() not in raised.value.message
    )


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (401, b"Unauthorized", "asked without a login: set url_username"),
        (403, b"Forbidden", "asked without a login: set url_username"),
        (407, b"", "asked without a login: set url_username"),
        (503, b"Service Unavailable", "still starting"),
        (404, b"nothing", "was answered 404"),
        (200, b"<html>", "is url right"),
        (200, b'{"status": "success"}', "is url right"),
        (200, b'{"data": null}', "is url right"),
        (200, b'{"data": []}', "is url right"),
        (200, b'{"data": 1}', "is url right"),
        (200, b"[" * 100000, "is url right"),
        (200, gzip.compress(b'{"data": {}}', mtime=0), "is url right"),
        (200, b'{"data": {"activeTargets": [{}], "groups": [1], "yaml"', "is url right"),
        (204, b"", "is url right"),
    ],
)
def test_wrong_answers_are_explained(server: Any, status: int, body: bytes, word: str) -> None:
    server.answer = (status, {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}, body)
    asked = api.Api(server.url)
    for ask in (asked.flags, asked.version, asked.configuration, asked.targets, asked.rule_groups, asked.dropped):
        with pytest.raises(TimesTenError, match=word):
            ask()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"",
    ],
)
def test_what_is_no_whole_answer_is_no_traceback(raw: bytes) -> None:
    assert_not_answering(raw, r"no whole HTTP answer|does not answer")


def test_an_error_whose_text_is_cut_is_told_as_that_error() -> None:
    """A Prometheus that is ended while it starts; who waits for it asks again."""
    raw = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nService"
    assert_not_answering(raw, "was answered 503: Prometheus is still starting")


def test_an_error_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_LONGEST", 0.1)
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _peer = listener.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 500 No\r\n\r\n")
                    while time.monotonic() < begun + 20:
                        connection.sendall(b"x")
                        time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(TimesTenError, match="was answered 500"):
            api.Api(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1).flags()
    assert time.monotonic() < begun + 10


def test_a_refused_certificate_is_named(server: Any) -> None:
    server.answer = (401, {}, b"")
    with pytest.raises(TimesTenError, match=r"asked with url_cert_file /x/client\.crt: set"):
        asked = api.Api(server.url, certificate_file="/x/client.crt", key_file="/x/client.key")
        asked.flags()


def assert_not_answering(raw: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(raw)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(api.NotAnswering, match=said):
            api.Api(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5).flags()


def test_an_answer_without_end_ends(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = (200, {}, b'{"data": {"a": "b"}}')
    assert api.Api(server.url).flags() == {"a": "b"}
    monkeypatch.setattr(api, "_LIMIT", 5)
    with pytest.raises(TimesTenError, match="more than 5 bytes"):
        api.Api(server.url).flags()
    monkeypatch.undo()
    monkeypatch.setattr(api, "_LONGEST", 0.1)
    with pytest.raises(api.NotAnswering, match=r"has not finished an answer within 0\.1 s"):
        api.Api(server.url, timeout=0.1)._body(_Drip())


class _Drip:
    """A byte whenever it is asked, and never the last one."""

    length = None

    def read1(self, _size: int) -> bytes:
        return b"x"


def test_a_redirection_never_gets_the_password(server: Any) -> None:
    server.answer = (302, {"Location": server.url + "/elsewhere"}, b"")
    with pytest.raises(TimesTenError, match="was answered 302"):
        api.Api(server.url + "/prefix/", "admin", "secret").flags()
    assert server.seen == [("/prefix/api/v1/status/flags", "Basic YWRtaW46c2VjcmV0")]


def test_token_and_headers_go_with_every_request(server: Any) -> None:
    server.answer = (200, {}, b"")
    api.Api(server.url, bearer_token="t0ken", headers={"X-Api-Key": "k3y", "X-Scope-OrgID": "1"}).reload()
    assert server.seen == [("/-/reload", "Bearer t0ken")]
    assert server.headers["X-Api-Key"] == "k3y" and server.headers["X-Scope-Orgid"] == "1"


def test_reload_refusal_has_its_own_kind(server: Any) -> None:
    server.answer = (500, {}, b"failed to reload config: one or more errors occurred")
    with pytest.raises(api.ReloadRefused, match="one or more errors occurred"):
        api.Api(server.url).reload()


def test_metrics_of_something_else(server: Any) -> None:
    server.answer = (200, {}, b"up 1\n")
    with pytest.raises(TimesTenError, match="has no prometheus_config_last_reload_successful"):
        api.Api(server.url).reloaded()


def test_nobody_there(server: Any) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(api.NotAnswering, match="is Prometheus running"):
        api.Api(url).version()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("dial tcp: lookup exp1.invalid on 127.0.0.53:53: no such host", "cannot resolve"),
        (
            "dial tcp: lookup exp1 on 10.0.0.1:53: read udp 10.0.0.2:1->10.0.0.1:53: read: connection refused",
            "cannot resolve",
        ),
        ("dial tcp: lookup exp1 on 10.0.0.1:53: read udp: i/o timeout", "cannot resolve"),
        ("dial tcp 10.0.0.1:8888: connect: connection refused", "nothing listens"),
        ("server returned HTTP status 404 Not Found", "metrics_path"),
        ("server returned HTTP status 301 Moved Permanently", "sends Prometheus elsewhere"),
        ("server returned HTTP status 302 Found", "sends Prometheus elsewhere"),
        ("stopped after 10 redirects", "sends Prometheus elsewhere"),
        ("server returned HTTP status 401 Unauthorized", "wants a login"),
        ("server returned HTTP status 403 Forbidden", "wants a login"),
        ("server returned HTTP status 429 Too Many Requests", "rate limit"),
        ("server returned HTTP status 500 Internal Server Error", "read its log"),
    ],
)
def test_each_kind_of_failure_has_advice_of_its_own(error: str, expected: str) -> None:
    assert expected in api.advice(error)
