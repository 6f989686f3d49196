# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tt_prometheus_host and the takers that are no plain Prometheus of a package: behind a proxy, in a container, under another role, vmagent."""

from __future__ import annotations

import http.server
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration import prometheus_kit as kit
from integration.test_prometheus_host import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Host] = []

    def build(version: str, *flags: str, **options: Any) -> Host:
        made.append(Host(version, *flags, **options))
        return made[-1]

    yield build
    for host in made:
        host.stop()


# --- its own interface ------------------------------------------------------------------------------------------------

# bcrypt of "test", as Prometheus's own documentation has it.
HASHED = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
TOKEN, API_KEY = "token-of-the-proxy", "key-of-the-proxy"


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Wants a token and a header, and passes on what comes with both, with the password that only it knows."""

    def do_GET(self) -> None:
        given = (self.headers.get("Authorization"), self.headers.get("X-Api-Key"))
        if given != (f"Bearer {TOKEN}", API_KEY):
            return self.reply(401, b"who are you?")
        behind: Any = self.server
        data = b"" if self.command == "POST" else None
        request = urllib.request.Request(behind.url + self.path, data, method=self.command)
        request.add_header("Authorization", "Basic YWRtaW46dGVzdA==")
        try:
            with urllib.request.urlopen(request, timeout=20, context=behind.trust) as answer:
                return self.reply(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return self.reply(error.code, error.read())

    do_POST = do_GET

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


def in_tls(place: Path, name: str) -> kit.Wallet:
    """Write a server certificate and its key."""
    wallet = kit.new_wallet()
    for suffix, data in (("crt", wallet.pem.encode()), ("key", wallet.key_pem)):
        (place / f"{name}.{suffix}").write_bytes(data)
        (place / f"{name}.{suffix}").chmod(0o644)
    return wallet


@pytest.mark.parametrize("version", ["3.5"])
def test_tls_basic_auth_prefix_and_an_authenticating_proxy(make: Any, version: str) -> None:
    host = make(version, "--web.route-prefix=/prom")
    place = host.prometheus.config.parent
    server = in_tls(place, "server")
    (place / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {place}/server.crt, key_file: {place}/server.key}}\n"
        f"basic_auth_users: {{admin: '{HASHED}'}}\n"
    )
    host.prometheus.flags.append(f"--web.config.file={place}/web.yml")
    host.prometheus.start()
    direct = {
        "url": f"https://127.0.0.1:{host.prometheus.port}/prom",
        "url_username": "admin",
        "url_password": "test",
        "url_ca_file": f"{place}/server.crt",
    }
    kit.until(lambda: host.call("inspected", **direct).result.get("version"), 30)
    element = host.exporter("exp1", kit.new_wallet(2)).element(host.call("inspected", **direct).result["transport_key"])
    done = host.call(exporters=[element], **direct)
    assert not done.failed and done.result["reloaded"] == "http" and done.result["exporters"][0]["up"], done.result
    again = host.call(exporters=[kit.light(element)], **direct)
    assert not again.failed and not again.result["changed"], again.result
    bare = host.call("verified", **{**direct, "url": direct["url"].replace("/prom", "")})
    assert bare.failed and "--web.route-prefix" in bare.result["msg"]

    proxy: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.url, proxy.trust = direct["url"].replace("/prom", ""), ssl.create_default_context(cadata=server.pem)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        behind = {
            "url": f"http://127.0.0.1:{proxy.server_address[1]}/prom",
            "url_bearer_token": TOKEN,
            "url_headers": {"X-Api-Key": API_KEY},
        }
        changed = host.call(exporters=[{**kit.light(element), "labels": {"a": "b"}}], diff=True, **behind)
        assert not changed.failed and changed.result["reloaded"] == "http", changed.result
        proven = host.call("verified", **behind)
        assert not proven.failed and proven.result["exporters"][0]["up"], proven.result
        wrong = host.call("verified", **{**behind, "url_headers": {"X-Api-Key": "something-else"}})
        assert wrong.failed and "url_bearer_token or url_headers" in wrong.result["msg"]
        for answer in (changed, proven, wrong):
            assert TOKEN not in answer.output and API_KEY not in answer.output
            assert "something-else" not in answer.output
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert not host.call("absent", **direct).failed and "timesten" not in host.config
