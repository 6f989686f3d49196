# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the collection's playbooks on the hosts of a lab, and what can be found out about them without our own code."""

from __future__ import annotations

import base64
import dataclasses
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lab.lab import Lab
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_EXPORTER = ROOT / "roles" / "reference_exporter" / "files"
COUNTER = "/usr/local/bin/python3-counted"
CALLS = "/var/log/module-calls"
HOMES = "/opt/timesten"


@dataclasses.dataclass(repr=False)
class Run:
    """What one run of a playbook came to."""

    code: int
    output: str
    seconds: float
    events: list[dict[str, Any]]
    calls: dict[str, int]
    ledger: dict[str, Any]
    page: str

    def results(self, action: str, *events: str) -> list[dict[str, Any]]:
        """Results of a module, as ``{"host", "event", "result"}``.

        Where the task took its arguments from the inventory, there is one for each answer that it has registered.
        """
        results = []
        for e in self.events:
            if not e["action"].endswith(action) or (events and e["event"] not in events):
                continue
            answers = [call["answer"] for key in ("calls", "clients") for call in e["result"].get(key, [])]
            results += [{**e, "result": answer} for answer in answers] or [e]
        return results

    def changed(self) -> set[tuple[str, str]]:
        """Host and task of all that changed."""
        return {(e["host"], e["task"]) for e in self.events if e["result"].get("changed") and e["event"] == "ok"}

    def exporters(self) -> dict[str, dict[str, Any]]:
        """Answers of the exporter hosts, by exporter."""
        return {
            item["name"]: item for e in self.results("tt_exporter_host") for item in e["result"].get("exporters", [])
        }

    def proven(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Answers of the Prometheus hosts, by client and exporter."""
        return {
            (e["host"], item["name"]): item
            for e in self.results("tt_prometheus_host")
            for item in e["result"].get("exporters", [])
        }

    def report(self) -> dict[str, str]:
        """What the end of the run says of each host that is not finished."""
        return {host["host"]: host["reason"] for host in self.ledger["hosts"] if host["reason"] is not None}

    def pairs(self) -> dict[tuple[str, str], str]:
        """State of each pair, by client and exporter, as the end of the run says."""
        return {(pair["client"], pair["exporter"]): pair["state"] for pair in self.ledger["pairs"]}

    @property
    def worker_tasks(self) -> int:
        """Number of tasks of hosts that took a process of the controller: all but those that Ansible decides by itself."""
        return len([e for e in self.events if not e["action"].endswith("meta")])


class Fleet:
    """Hosts of a lab as one inventory."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        exporters: Mapping[str, Mapping[str, Any]],
        servers: Iterable[str],
        **variables: Any,
    ) -> None:
        self.lab = lab
        self.directory = lab.directory / name
        self.directory.mkdir()
        addresses = {host.name: host.address for host in lab.hosts}
        common = {
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": str(lab.directory / "ssh" / "id_ed25519"),
            "ansible_python_interpreter": COUNTER,
            # What starts exporters after a reboot is the matter of few tests, which say so.
            "exporter_host_boot": "none",
            **variables,
        }
        self.exporters, self.servers = list(exporters), list(servers)
        self.tree: dict[str, Any] = {
            "all": {
                "vars": common,
                "children": {
                    "timesten_exporters": {
                        "hosts": {name: {"ansible_host": addresses[name], **own} for name, own in exporters.items()}
                    },
                    "prometheus_servers": {"hosts": {name: {"ansible_host": addresses[name]} for name in self.servers}},
                },
            }
        }

    @property
    def hosts(self) -> list[str]:
        """Names of all its hosts."""
        return self.exporters + self.servers

    def argv(self, playbook: str | Path, *options: str, inventory: Path | None = None) -> list[str]:
        """Return the command line of a run."""
        if inventory is None:
            inventory = self.directory / "inventory.json"
            inventory.write_text(json.dumps(self.tree))
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), "-i", str(inventory), *options, str(playbook)]

    def environment(self, record: Path, **more: str) -> dict[str, str]:
        """Return the environment of a run."""
        temporary = self.directory / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callbacks")),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_TIMEOUT": "5",
            "RECORD_FILE": str(record),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(temporary),
            **more,
        }

    def run(
        self,
        playbook: str | Path = "timesten.monitoring.site",
        *options: str,
        expect: int | None = 0,
        inventory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        **variables: Any,
    ) -> Run:
        """Run a playbook; `variables` are extra variables.

        :param expect: exit status that it must have; None where the caller looks at it.
        """
        record = self.directory / f"record-{time.monotonic_ns()}.jsonl"
        report = record.with_suffix(".ledger")
        page = record.with_suffix(".html")
        variables = {"timesten_report": str(report), "timesten_report_html": str(page), **variables}
        if variables:
            options = (*options, "--extra-vars", json.dumps(variables))
        before = self.calls()
        began = time.monotonic()
        done = self.lab.run(
            self.argv(playbook, *options, inventory=inventory),
            env=self.environment(record, **(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.monotonic() - began
        after = self.calls()
        events = (
            [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
        )
        calls = {host: after[host] - before.get(host, 0) for host in after}
        assert expect is None or done.returncode == expect, f"exit status {done.returncode}\n{done.stdout[-20000:]}"
        ledger = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"hosts": [], "pairs": []}
        written = page.read_text(encoding="utf-8") if page.exists() else ""
        return Run(done.returncode, done.stdout, seconds, events, calls, ledger, written)

    def calls(self) -> dict[str, int]:
        """Return how often a module was started on each host that is up, from the beginning of the lab on."""
        return {
            name: self.lab.disk_file(name, CALLS).read_text().count("\n")
            for name, state in self.lab.status().items()
            if state["up"] and name in self.hosts
        }

    def targets(self, server: str) -> dict[str, dict[str, Any]]:
        """Ask a Prometheus for its targets, from the controller's network; by name of the job."""
        data = json.loads(self.get(server, "/api/v1/targets"))
        return {item["scrapePool"]: item for item in data["data"]["activeTargets"]}

    def get(self, server: str, path: str) -> bytes:
        """Ask a Prometheus over the lab's network."""
        address = next(host.address for host in self.lab.hosts if host.name == server)

        def request() -> bytes:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://{address}:9090{path}", timeout=10) as response:
                return bytes(response.read())

        return self.lab.within(request)

    def health(self, servers: Iterable[str] | None = None) -> dict[tuple[str, str], str]:
        """Return what each Prometheus says of each of our targets."""
        return {
            (server, job.removeprefix("timesten-")): target["health"]
            for server in (self.servers if servers is None else servers)
            for job, target in self.targets(server).items()
            if job.startswith("timesten-")
        }

    def await_health(self, expected: Mapping[tuple[str, str], str], timeout: float = 30.0) -> None:
        """Wait until every Prometheus says what is expected."""
        until(
            lambda: self.health() == expected, timeout, lambda: f"targets {dict(expected)}, last seen {self.health()}"
        )


# --- hosts ------------------------------------------------------------------------------------------------------------


def shell(lab: Lab, host: str, script: str, check: bool = True, **options: Any) -> str:
    """Run a script as root on a host, not through Ansible; return its standard output."""
    done = lab.run(["sh", "-euc", script], host, check=False, capture_output=True, text=True, **options)
    assert not check or done.returncode == 0, f"{host}: {script}: {done.stderr}"
    return str(done.stdout)


def python(lab: Lab, host: str, code: str, *arguments: str, text: str = "") -> Any:
    """Run Python code as root on a host, which prints JSON; return that."""
    done = lab.run(
        ["/usr/bin/python3", "-c", code, *arguments], host, check=False, capture_output=True, text=True, input=text
    )
    assert done.returncode == 0, f"{host}: {done.stderr}"
    return json.loads(done.stdout)


def prepare_host(lab: Lab, host: str) -> None:
    """Give a host an interpreter that notes how often a module is started."""
    script = f'#!/bin/sh\necho >>{CALLS}\nexec /usr/bin/python3 "$@"\n'
    shell(lab, host, f"cat >{COUNTER}; chmod 0755 {COUNTER}; : >{CALLS}; chmod 0666 {CALLS}", input=script)


def install_exporter(lab: Lab, host: str, homes: Mapping[str, Mapping[str, str]]) -> None:
    """Install the reference exporter by copying, where the role's own work is not what is tested.

    :param homes: variants by name of the home.
    """
    program = (REFERENCE_EXPORTER / "ttExporter").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for home, variants in homes.items():
            files = {
                "bin/ttExporter": b"#!/usr/bin/python3\n" + program.partition(b"\n")[2],
                "bin/ttenv": (REFERENCE_EXPORTER / "ttenv").read_bytes(),
                "conf/timesten.conf": f"instance_guid={str(uuid.uuid5(uuid.NAMESPACE_DNS, host + home)).upper()}\n".encode(),
                "conf/reference_exporter.env": "".join(
                    f"REFERENCE_EXPORTER_{k}={v}\n" for k, v in variants.items()
                ).encode(),
            }
            for path, data in files.items():
                member = tarfile.TarInfo(f"{home}/{path}")
                member.size, member.mode = len(data), 0o755 if path.startswith("bin/") else 0o644
                archive.addfile(member, io.BytesIO(data))
    script = f"mkdir -p {HOMES}; tar -x --no-same-owner -C {HOMES}; chown -R timesten: {HOMES}"
    lab.run(["sh", "-euc", script], host, check=True, input=buffer.getvalue())


# --- handshakes, by code of their own ---------------------------------------------------------------------------------

_HANDSHAKE = """
import json, socket, ssl, sys
host, port, ca, cert, key = sys.argv[1:6]
with socket.create_connection((host, int(port)), 10) as raw:
    raw.settimeout(3)
    try:
        if ca:
            context = ssl.create_default_context(cafile=ca)
            # A leaf under a private CA as the only trusted certificate: Go takes it, OpenSSL only with this flag.
            context.verify_flags |= 0x80000
            if cert:
                context.load_cert_chain(cert, key)
            connection = context.wrap_socket(raw, server_hostname=host)
        else:
            connection = raw
            raw.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
        try:
            data = connection.recv(100)
            # An alert of TLS (its first byte is 21) is the answer to plain http.
            answer = "refused" if not data or data[0] == 21 else data.decode("latin-1").splitlines()[0]
        except TimeoutError:
            answer = "accepted"
    except ssl.SSLCertVerificationError as error:
        answer = "untrusted: " + str(error)
    except (ssl.SSLError, ConnectionError) as error:
        answer = "refused"
print(json.dumps(answer))
"""


def handshake(lab: Lab, server: str, address: str, port: int, ca: str = "", cert: str = "", key: str = "") -> str:
    """Shake hands with an exporter from a Prometheus host with files there; without `ca`, send a request in plain http.

    :returns: ``accepted``, ``refused``, ``untrusted: ...``, or the first line of an answer.
    """
    return str(python(lab, server, _HANDSHAKE, address, str(port), ca, cert, key))


# --- private keys -----------------------------------------------------------------------------------------------------

_READ_KEYS = """
import base64, glob, json, sys
print(json.dumps({p: base64.b64encode(open(p, "rb").read()).decode() for g in sys.argv[1:] for p in glob.glob(g, recursive=True)}))
"""
SERVER_KEYS = ("/etc/prometheus/timesten/.transport/*.pem", "/etc/prometheus/timesten/*/2*/client.key")
EXPORTER_KEYS = (f"{HOMES}/*/monitoring/*/generations/**/*.key",)
WALLETS = (f"{HOMES}/*/monitoring/*/generations/*/.ttwallet.*/cwallet.sso",)


def files_on(lab: Lab, host: str, *patterns: str) -> dict[str, bytes]:
    """Read files of a host as root, those of hidden directories only where the pattern names them."""
    files = python(lab, host, _READ_KEYS, *patterns)
    return {path: base64.b64decode(data) for path, data in files.items()}


def wallet_keys(wallet: bytes) -> list[bytes]:
    """Return the private keys inside a wallet of the reference exporter, as PEM."""
    loader = importlib.machinery.SourceFileLoader("reference_exporter", str(REFERENCE_EXPORTER / "ttExporter"))
    spec = importlib.util.spec_from_loader("reference_exporter", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    entries = module.open_wallet(wallet)
    return [text.replace("|", "\n").encode() for name, text in entries.items() if name.endswith("KEY")]


class Secret:
    """One private key: in what forms could it be somewhere?"""

    def __init__(self, name: str, pem: bytes) -> None:
        self.name = name
        key = serialization.load_pem_private_key(pem, None)
        numbers: list[int]
        if isinstance(key, rsa.RSAPrivateKey):
            private = key.private_numbers()
            numbers = [private.p, private.q, private.d, private.dmp1, private.dmq1, private.iqmp]
        else:
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            numbers = [key.private_numbers().private_value]
        # DER and PEM in all their formats hold these numbers as they are; 24 bytes of each are enough to know them by.
        self.parts = [number.to_bytes((number.bit_length() + 7) // 8, "big")[:24] for number in numbers]
        self.needles = sorted({needle for part in self.parts for needle in _forms(part)})
        # PEM that was encoded once more, as in an archive or a Kubernetes secret.
        body = b"".join(pem.splitlines()[1:2])
        self.needles += [needle for needle in _base64_forms(body) if len(needle) >= 20]


def _base64_forms(part: bytes) -> list[bytes]:
    """What stays of bytes in base64 whatever stands before and after them: three alignments."""
    forms = []
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + part)
        begin = (0, 2, 3)[shift]
        forms.append(encoded[begin : (shift + len(part)) // 3 * 4])
    return forms


def _forms(part: bytes) -> list[bytes]:
    return [part, part.hex().encode(), part.hex().upper().encode(), *_base64_forms(part)]


_BREAKS = re.compile(rb"\\\\[rn]|\\[rn]|[\s|]+")


def find_secrets(data: bytes, secrets: Sequence[Secret]) -> set[str]:
    """Return the names of the keys that are found in some bytes, in whatever form."""
    # Line breaks, also escaped ones, are taken out, so that PEM is one piece of base64.
    joined = _BREAKS.sub(b"", data)
    haystacks = [data, joined, joined.replace(b"-", b"+").replace(b"_", b"/"), joined.replace(b"\\/", b"/")]
    return {secret.name for secret in secrets if any(needle in hay for hay in haystacks for needle in secret.needles)}


class Watch:
    """Samples every command line on machine and hosts, the transport keys, and what the controller writes, during a run."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.command_lines: set[bytes] = set()
        self.samples = 0
        self.transport_keys: set[bytes] = set()
        self.temporary: dict[Path, bytes] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._keys = [
            fleet.lab.disk_file(host, "/etc/prometheus/timesten/.transport/key.pem") for host in fleet.servers
        ]

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            for entry in os.listdir("/proc"):
                if entry.isdecimal():
                    try:
                        self.command_lines.add(Path("/proc", entry, "cmdline").read_bytes())
                    except (FileNotFoundError, ProcessLookupError):
                        continue
            for path in self._keys:
                try:
                    self.transport_keys.add(path.read_bytes())
                except FileNotFoundError:
                    continue
            for directory, _directories, names in os.walk(self.fleet.directory / "tmp"):
                for name in names:
                    path = Path(directory, name)
                    try:
                        self.temporary[path] = self.temporary.get(path, b"")[-1_000_000:] + path.read_bytes()
                    except OSError:
                        continue
            self.samples += 1
            self._ended.wait(0.02)


_READABLE = """
import base64, hashlib, json, os, stat, sys
paths, tops = json.load(sys.stdin)
user = sys.argv[1]
for top in tops:
    for directory, _directories, names in os.walk(top):
        paths += [os.path.join(directory, name) for name in names]
if user != "root":
    import pwd
    entry = pwd.getpwnam(user)
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
found = {}
for path in paths:
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as file:
                found[path] = base64.b64encode(file.read()).decode()
    except OSError:
        pass
print(json.dumps(found))
"""


def readable_by(lab: Lab, host: str, user: str) -> dict[str, bytes]:
    """Return everything that a host has written since it came up and that a user can read there."""
    disk = lab.disk_file(host, "")
    paths = [f"/{path.relative_to(disk)}" for path in disk.rglob("*") if path.is_file() and not path.is_symlink()]
    readable = python(lab, host, _READABLE, user, text=json.dumps([paths, ["/run", "/tmp", "/dev/shm", "/root"]]))
    return {path: base64.b64decode(data) for path, data in readable.items()}
