# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takers that are no plain Prometheus of a package: behind a proxy, in a container, under another role, vmagent."""

from __future__ import annotations

import contextlib
import getpass
import http.server
import json
import re
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gates.doc_examples import example
from integration import prometheus_kit as kit
from integration import rotation_kit
from lab import packages
from waiting import fetch


def variables(name: str, places: dict[str, str]) -> dict[str, Any]:
    """The variables of an example of docs/which-prometheus.md, with places of this machine in it."""
    text = example(name)
    for old, new in places.items():
        text = text.replace(old, new)
    return dict(yaml.safe_load(text))


def options(name: str, places: dict[str, str]) -> dict[str, Any]:
    """The same, as options of the module."""
    return {key.removeprefix("prometheus_host_"): value for key, value in variables(name, places).items()}


# --- its own interface ------------------------------------------------------------------------------------------------

# bcrypt of "test", as Prometheus's own documentation has it.
HASHED = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
TOKEN, API_KEY = "token-of-the-proxy", "key-of-the-proxy"


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Wants some headers, and passes on what comes with them, with the password that only it knows."""

    def do_GET(self) -> None:
        behind: Any = self.server
        if any(self.headers.get(name) != value for name, value in behind.wanted.items()):
            return self.reply(401, b"who are you?")
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


@contextlib.contextmanager
def proxy(url: str, trusted: str, wanted: dict[str, str]) -> Iterator[str]:
    """Run an authenticating proxy before a Prometheus behind TLS and a password; give its address.

    :param trusted: the certificate of that Prometheus.
    :param wanted: the headers that it wants.
    """
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.url, server.wanted, server.trust = url, wanted, ssl.create_default_context(cadata=trusted)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def behind_tls(prometheus: kit.Prometheus) -> tuple[kit.Wallet, dict[str, Any]]:
    """Give a Prometheus that does not run yet TLS, a password and a route prefix.

    :returns: its certificate, and the options of the module.
    """
    place = prometheus.config.parent
    wallet = in_tls(place, "server")
    (place / "web.yml").write_text(
        f"tls_server_config: {{cert_file: {place}/server.crt, key_file: {place}/server.key}}\n"
        f"basic_auth_users: {{admin: '{HASHED}'}}\n"
    )
    prometheus.flags += [f"--web.config.file={place}/web.yml", "--web.route-prefix=/prom"]
    own = options("taker-web", {"prom1.example.com:9090": f"127.0.0.1:{prometheus.port}", ": ansible": ": admin"})
    return wallet, {**own, "url_password": "test", "url_ca_file": f"{place}/server.crt"}


def in_tls(place: Path, name: str) -> kit.Wallet:
    """Write a server certificate and its key."""
    wallet = kit.new_wallet()
    for suffix, data in (("crt", wallet.pem.encode()), ("key", wallet.key_pem)):
        (place / f"{name}.{suffix}").write_bytes(data)
        (place / f"{name}.{suffix}").chmod(0o644)
    return wallet


# --- a taker of a scrape file -----------------------------------------------------------------------------------------


class Vmagent:
    """A real vmagent, whose own configuration has a job of its owner."""

    def __init__(self, root: Path, interval: float, program: Path | None = None) -> None:
        self.directory = root
        self.program = program or packages.vmagent()
        self.port = kit.free_port()
        self.file = root / "scrape.yml"
        self.text = (
            f"global: {{scrape_interval: {interval:g}s}}\nscrape_configs:\n"
            f"- job_name: itself\n  stream_parse: true  # Prometheus has no such key\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{self.port}']}}]\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    f"-promscrape.config={self.file}",
                    f"-httpListenAddr=127.0.0.1:{self.port}",
                    f"-remoteWrite.tmpDataPath={self.directory}/data",
                    "-remoteWrite.url=http://127.0.0.1:1/",
                    *flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        kit.until(self.targets, 30, "vmagent being ready")

    def get(self, path: str) -> bytes | None:
        return fetch(f"http://127.0.0.1:{self.port}{path}")

    def targets(self) -> dict[str, str]:
        data = json.loads(self.get("/api/v1/targets") or b'{"data": {"activeTargets": []}}')["data"]
        return {item["labels"]["job"]: item["health"] for item in data["activeTargets"]}

    def scrapes(self) -> tuple[int, int]:
        """How many scrapes failed, and how many there were."""
        text = self.get("/metrics") or b""
        failed, everything = (
            re.search(rb"^vm_promscrape_scrapes_%stotal(?:{.*})? (\d+)$" % name, text, re.M)
            for name in (b"failed_", b"")
        )
        return int(failed[1]) if failed else 0, int(everything[1]) if everything else 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def with_vmagent(
    root: Path, spare: bool = False, version: str = "2.53", interval: float = 6.0, program: Path | None = None
) -> Iterator[tuple[rotation_kit.Fleet, Vmagent]]:
    """One exporter, one Prometheus and one vmagent."""
    with rotation_kit.fleet(root, interval, versions=(version,), spare=spare, RATE="unlimited") as fleet:
        (root / "vm1").mkdir()
        agent = Vmagent(root / "vm1", fleet.interval, program)
        agent.file.write_text(agent.text)
        inventory = json.loads((root / "inventory.json").read_text())
        own = variables("taker-vmagent", {"/etc/vmagent": f"{root}/vm1", ": vmagent": f": {getpass.getuser()}"})
        inventory["all"]["children"]["prometheus_servers"]["hosts"]["vm1"] = own
        (root / "inventory.json").write_text(json.dumps(inventory, indent=1))
        agent.start()
        try:
            yield fleet, agent
        finally:
            agent.stop()


# --- in a container ---------------------------------------------------------------------------------------------------

INSIDE = "/mnt/prometheus"
"""Where the container has its configuration; on the host there is no such directory."""


def contain(prometheus: kit.Prometheus) -> dict[str, Any]:
    """Start a Prometheus that has its configuration at another place than the host, below a directory that only root may enter there.

    :returns: the options of the module.
    """
    private = prometheus.directory / "private"
    private.mkdir(0o700)
    etc = private / "etc"
    prometheus.config.parent.rename(etc)
    prometheus.config, prometheus.store = etc / "prometheus.yml", etc / "timesten"
    places = {
        "/srv/prometheus/etc": str(etc),
        ": /etc/prometheus": f": {INSIDE}",
        "65534": str(prometheus.entry.pw_uid),
    }
    own = options("taker-container", places)
    assert own["config_file"] == str(prometheus.config)
    prometheus.start(
        f"mount -t tmpfs tmpfs /mnt; mkdir {INSIDE}; mount --bind {etc} {INSIDE}; mount -t tmpfs tmpfs {private}",
        Path(INSIDE, "prometheus.yml"),
    )
    prometheus.wait()
    return own


# --- beside a role that writes the whole configuration ----------------------------------------------------------------

ROLE = """\
# Ansible managed
global:
  scrape_interval: {interval}
  scrape_timeout: 1s

{files}scrape_configs:
- job_name: prometheus
  metrics_path: /metrics
  static_configs:
  - targets: [127.0.0.1:9]
"""


def role(prometheus: kit.Prometheus, files: str = "", interval: str = "1s") -> bool:
    """What another role does: its template replaces the whole file, and a change is followed by a reload.

    :returns: whether it changed anything.
    """
    text = ROLE.format(files=files, interval=interval)
    if prometheus.config.read_text() == text:
        return False
    prometheus.config.write_text(text)
    url = f"http://127.0.0.1:{prometheus.port}/-/reload"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20).close()
    return True
