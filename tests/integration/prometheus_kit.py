# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus, exporters with real TLS, and the module as Ansible runs it: what the tests of the Prometheus
side need."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import http.server
import ipaddress
import json
import os
import pwd
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal
from lab import packages
from waiting import fetch, free_port, until

COLLECTIONS = str(Path(_certificates.__file__).parents[6])
USER = "nobody"
GENERATION = "20261124T104900Z-0000000{}"


def public_directory() -> Path:
    """A directory that another user may enter, gone when the interpreter ends; pytest's own are private to root."""
    holder = tempfile.TemporaryDirectory(prefix="timesten-test-")
    _HOLDERS.append(holder)
    path = Path(holder.name)
    path.chmod(0o755)
    return path


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []


# --- certificates -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Wallet:
    """A certificate authority that is its own server certificate, as one generation of an exporter."""

    key: Any
    certificate: x509.Certificate
    generation: str

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> bytes:
        return _key_pem(self.key)


def _key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(name: str, key: Any, issuer: Any, sign: Any, days: tuple[float, float], *extensions: Any) -> Any:
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(sign, hashes.SHA256())


def new_wallet(number: int = 1, alt_names: tuple[str, ...] = ("127.0.0.1",)) -> Wallet:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in alt_names
    ]
    certificate = _certificate(
        alt_names[0] if alt_names else "nameless",
        key,
        None,
        key,
        (-1, 365),
        x509.BasicConstraints(ca=True, path_length=None),
        *([x509.SubjectAlternativeName(names)] if names else []),
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
    )
    return Wallet(key, certificate, GENERATION.format(number))


def issue(wallet: Wallet, client: str, days: tuple[float, float] = (-1, 90)) -> tuple[str, bytes]:
    """A client certificate (PEM) and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(client, key, wallet.certificate.subject, wallet.key, days)
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), _key_pem(key)


# --- exporters --------------------------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        context = self.server.context
        if context is not None:
            self.request.settimeout(10)
            self.request = context.wrap_socket(self.request, server_side=True)
            self.request.settimeout(self.server.idle)
        self.server.connections.append(self.request)
        super().setup()

    def do_GET(self) -> None:
        self.server.gets += 1
        body = b"# TYPE timesten_databases gauge\ntimesten_databases 1\n"
        known = self.path == "/metrics"
        self.send_response(self.server.status if known else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def log_message(self, *_args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext | None = None
    connections: list[socket.socket]
    gets = 0
    status = 200
    idle = 60.0

    def cut(self) -> None:
        """Break off what is open, as the end of a process does."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_args: object) -> None:
        pass


class Exporter:
    """An exporter that asks for a client certificate of its wallet, or that is as careless as a test wants it."""

    def __init__(self, name: str, wallet: Wallet | None = None, open_to_all: bool = False, port: int = 0) -> None:
        self.name = name
        self.server = _Server(("127.0.0.1", port), _Handler)
        self.server.connections = []
        self.port = self.server.server_address[1]
        self.wallet = self.first = wallet
        if wallet is not None:
            self.run_on(wallet, open_to_all)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def run_on(self, wallet: Wallet, open_to_all: bool = False) -> None:
        """Serve another wallet from the next connection on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            for file, data in (("c", wallet.pem.encode()), ("k", wallet.key_pem)):
                Path(directory, file).write_bytes(data)
            context.load_cert_chain(Path(directory, "c"), Path(directory, "k"))
        context.load_verify_locations(cadata=wallet.pem)
        context.verify_mode = ssl.CERT_NONE if open_to_all else ssl.CERT_REQUIRED
        self.wallet, self.server.context = wallet, context

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.server.cut()

    def wallet_and_stop(self) -> Wallet | None:
        """End it, and hand its wallet to a successor."""
        self.stop()
        return self.wallet

    def element(self, transport_key: str, client: str = "prom1", number: int = 1, **changes: Any) -> dict[str, Any]:
        """What the module gets for this exporter, with a freshly issued and sealed pair."""
        if self.wallet is None:
            return {"name": self.name, "address": "127.0.0.1", "port": self.port, "insecure": True, **changes}
        days = changes.pop("days", (-1, 90))
        certificate, key = issue(self.wallet, client, days)
        parsed = _certificates.load_one(certificate.encode(), "test")
        sha256 = _certificates.fingerprint(parsed)
        generation = self.wallet.generation
        return {
            "name": self.name,
            "address": "127.0.0.1",
            "port": self.port,
            "generation": generation,
            "delivery": f"{generation}-{number}",
            "sha256": sha256,
            "ca_sha256": _certificates.bundle_fingerprint([self.wallet.certificate]),
            "ca_certificate": self.wallet.pem,
            "certificate": certificate,
            "bundle": _seal.seal(key, self.name, client, generation, sha256, transport_key),
            "alt_names": ["127.0.0.1"],
            **changes,
        }


def light(element: dict[str, Any]) -> dict[str, Any]:
    """The same element as it comes when nothing has to be transferred."""
    return {key: value for key, value in element.items() if key not in ("ca_certificate", "certificate", "bundle")}


# --- Prometheus -------------------------------------------------------------------------------------------------------

CONFIG = """\
# The owner's own file:   odd   spacing stays.
global:
  scrape_interval:     1s
  scrape_timeout: 1s

scrape_configs:
  - job_name: 'itself'   # a comment
    static_configs: [{targets: ["127.0.0.1:9"]}]
"""


class Prometheus:
    """A Prometheus of its own, run as an ordinary user."""

    def __init__(
        self, binaries: Any, directory: Path, *flags: str, config: str = CONFIG, lifecycle: bool = True
    ) -> None:
        self.binaries = binaries
        self.directory = directory
        self.entry = pwd.getpwnam(USER)
        self.port = free_port()
        self.config = directory / "etc" / "prometheus.yml"
        self.store = directory / "etc" / "timesten"
        self.flags = [*flags, *(["--web.enable-lifecycle"] if lifecycle else [])]
        self.scheme = "http"
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "etc").mkdir()
        data = directory / "data"
        data.mkdir()
        os.chown(data, self.entry.pw_uid, self.entry.pw_gid)
        self.config.write_text(config)

    def start(self, script: str = "", config: Path | None = None) -> None:
        """Start it as the ordinary user.

        :param script: shell commands of root that come first, in a mount namespace of its own.
        :param config: where it finds its configuration there.
        """
        self.log = (self.directory / "log").open("ab")
        command = [
            str(self.binaries.prometheus),
            f"--config.file={config or self.config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self.flags,
        ]
        uid, gid = self.entry.pw_uid, self.entry.pw_gid
        demoted = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *command]
        inside = ["unshare", "-m", "sh", "-ec", f'{script}; exec "$@"', "sh", *demoted] if script else demoted
        self.process = subprocess.Popen(inside, cwd="/", stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def start_in_container(self) -> None:
        """Start it with the configuration mounted alone, at a place that only it sees."""
        inside = self.directory / "inside"
        inside.mkdir(exist_ok=True)
        seen = inside / "prometheus.yml"
        self.start(f"mount -t tmpfs tmpfs {inside}; touch {seen}; mount --bind {self.config} {seen}", seen)
        self.wait()

    def wait(self) -> Prometheus:
        until(lambda: self.answers("/-/ready"), 30, "Prometheus being ready")
        return self

    def answers(self, path: str) -> bytes | None:
        return fetch(f"http://127.0.0.1:{self.port}{path}")

    def targets(self) -> dict[str, dict[str, Any]]:
        data = json.loads(self.answers("/api/v1/targets") or b"")
        return {item["scrapePool"]: item for item in data["data"]["activeTargets"]}

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None
            self.log.close()

    def text(self) -> str:
        return (self.directory / "log").read_text()


# --- an Alertmanager --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alertmanager(directory: Path) -> Iterator[str]:
    """Run a real Alertmanager and give its address."""
    directory.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (directory / "alertmanager.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    binary = packages.alertmanager()
    # It reads its templates from /usr/share, which is the package's in a mount namespace of its own alone.
    share = f"mount -t overlay overlay -o lowerdir={binary.parents[1]}/share:/usr/share /usr/share"
    command = [
        *("unshare", "-m", "sh", "-ec", f'{share}; exec "$@"', "sh"),
        binary,
        f"--config.file={directory}/alertmanager.yml",
        f"--storage.path={directory}/data",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: fetch(f"http://{address}/-/ready"), 30, "the Alertmanager")
        yield address
    finally:
        process.terminate()
        process.wait(20)


# --- the module -------------------------------------------------------------------------------------------------------

_DRIVER = """
import sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
from ansible_collections.timesten.monitoring.plugins.modules import tt_prometheus_host
if len(sys.argv) > 1:
    # The interpreter may lie where only root can start it, and later imports with it.
    import concurrent.futures.thread, os, yaml
    from cryptography.hazmat.primitives.asymmetric import ec
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import deliveries, diff, switch
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe, seal
    os.setgroups([])
    os.setresgid(*[int(sys.argv[2])] * 3)
    os.setresuid(*[int(sys.argv[1])] * 3)
tt_prometheus_host.main()
"""


@dataclasses.dataclass
class Answer:
    """What the module said, and what it cost."""

    result: dict[str, Any]
    output: str
    cpu: float
    memory: int

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))


def start(*identity: str, **options: Any) -> subprocess.Popen[Any]:
    """Start the module in a process of its own, which then reads its arguments from standard input."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": COLLECTIONS}
    command = [sys.executable, "-c", _DRIVER, *identity]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **options)


def call(arguments: dict[str, Any], check: bool = False, diff: bool = False, demote: bool = False) -> Answer:
    """Run the module in a process of its own, as Ansible does.

    :param demote: as the Prometheus user instead of root.
    """
    internal = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_no_log": False, "_ansible_verbosity": 3}
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **internal}}).encode()
    entry = pwd.getpwnam(USER)
    identity = [str(entry.pw_uid), str(entry.pw_gid)] if demote else []
    with tempfile.TemporaryFile() as out:
        process = start(*identity, stdout=out, stderr=out)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(given)
        process.stdin.close()
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise AssertionError(f"the module gave no answer:\n{text}")
    result = json.loads(lines[-1])
    # ansible-core 2.19 hands warnings over as objects, older ones as text.
    if "warnings" in result:
        result["warnings"] = [item["event"]["msg"] if isinstance(item, dict) else item for item in result["warnings"]]
    return Answer(result, text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
