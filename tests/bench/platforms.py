# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection was tried with: one site, second run, rotation, reboot and verification on each platform, with real hosts.

``make platforms`` runs every row and writes docs/platforms.json and the tables of docs/platforms.md; ``make platforms ARGS='fips su'`` runs some rows and
keeps what is noted of the others.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from bench.rows import Book, Results
from gates import environments
from integration import site_kit as kit
from integration.site_kit import HOMES, Fleet, Run, shell
from lab import lab as lab_module
from lab import packages, pythons
from lab.lab import Lab

SYSTEM = "/usr/bin/python3"
UP = {("prom1", "exp1"): "up"}
Prepare = Callable[[Lab, Fleet], None]


@dataclasses.dataclass(frozen=True)
class Row:
    """One platform, or one way to reach hosts.

    :ivar kind: the table that it is a row of.
    :ivar what: how the page names it.
    :ivar python: name, version and libraries of another interpreter of the hosts; None for that of their root.
    :ivar release: the Debian of the hosts, where it is not the machine's own.
    :ivar core: requirement of the controller's ansible-core, and its Python; None for the one that runs the tests.
    :ivar prepare: what makes the hosts or the inventory so.
    :ivar refused: the reason that a run has to give; None where it has to work.
    """

    kind: str
    what: str
    python: tuple[str, tuple[int, int], tuple[str, ...]] | None = None
    release: str = ""
    core: tuple[str, tuple[int, int]] | None = None
    prepare: Prepare | None = None
    refused: str | None = None


class Tried(Fleet):
    """A fleet whose playbooks another ansible-core may run."""

    programs: Path | None = None

    def __init__(self, *arguments: Any, **variables: Any) -> None:
        super().__init__(*arguments, **variables)
        self.more: dict[str, str] = {}

    def environment(self, record: Path, **more: str) -> dict[str, str]:
        """Return the environment of a run."""
        return super().environment(record, **{**self.more, **more})

    def argv(self, playbook: str | Path, *options: str, inventory: Path | None = None) -> list[str]:
        """Return the command line of a run."""
        own, *rest = super().argv(playbook, *options, inventory=inventory)
        return [own if self.programs is None else str(self.programs / "ansible-playbook"), *rest]


# --- what makes a host so ---------------------------------------------------------------------------------------------

FIPS = """\
openssl_conf = openssl_init
.include /etc/ssl/fipsmodule.cnf
[openssl_init]
providers = providers
alg_section = algorithms
[providers]
fips = fips_sect
base = base_sect
[base_sect]
activate = 1
[algorithms]
default_properties = fips=yes
"""


def fips(lab: Lab, fleet: Fleet) -> None:
    """Modules and exporter get what OpenSSL's FIPS provider has, and nothing else. (sshd of Debian does not start so.)"""
    policy, program = "/etc/ssl/fips.cnf", "/usr/local/bin/python3-fips"
    modules = "/usr/lib/x86_64-linux-gnu/ossl-modules"
    for host in lab.hosts:
        if not host.release:
            module = packages.fips_provider().read_bytes()
            lab.run(["sh", "-c", f"mkdir -p {modules}; cat >{modules}/fips.so"], host.name, check=True, input=module)
        shell(lab, host.name, f"openssl fipsinstall -out /etc/ssl/fipsmodule.cnf -module {modules}/fips.so")
        shell(lab, host.name, f"cat >{policy}", input=FIPS)
        script = f'#!/bin/sh\nOPENSSL_CONF={policy} exec {SYSTEM} "$@"\n'
        shell(lab, host.name, f"cat >{program}; chmod 0755 {program}", input=script)
        code = """
import _hashlib, json
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
found = []
for name, work in {
    "MD5": lambda: _hashlib.new("md5", b""),
    "X25519": x25519.X25519PrivateKey.generate,
    "ChaCha20": lambda: ChaCha20Poly1305(b"k" * 32).encrypt(b"n" * 12, b"", None),
}.items():
    try:
        work()
        found.append(name)
    except Exception:
        pass
print(json.dumps(found))
"""
        said = lab.run([program, "-c", code], host.name, check=True, capture_output=True, text=True).stdout
        assert json.loads(said) == [], f"{host.name} allows {said}"
    fleet.tree["all"]["vars"].update(
        ansible_python_interpreter=program, exporter_host_environment={"OPENSSL_CONF": policy}
    )


PASSWORD = "a password of the lab"


def _with_password(lab: Lab, users: tuple[str, ...]) -> None:
    for host in lab.hosts:
        for user in users:
            script = f'getent passwd {user} >/dev/null || exit 0; usermod -p "$(openssl passwd -6 -stdin)" {user}'
            shell(lab, host.name, script, input=PASSWORD)


def sudo_with_password(lab: Lab, fleet: Fleet) -> None:
    """sudo asks."""
    _with_password(lab, ("deploy",))
    for host in lab.hosts:
        shell(lab, host.name, "sed -i 's/^deploy .*/deploy ALL=(ALL:ALL) ALL/' /etc/sudoers")
        shell(lab, host.name, "sed -i 's/^auth.*/auth required pam_unix.so/' /etc/pam.d/sudo")
        _must_fail(lab, host.name, "sudo -n true")
    fleet.tree["all"]["vars"]["ansible_become_password"] = PASSWORD


def _must_fail(lab: Lab, host: str, script: str) -> None:
    """Check that the login user cannot do this: the row would else prove nothing."""
    done = lab.run(
        ["setpriv", "--reuid=deploy", "--regid=deploy", "--init-groups", "sh", "-c", script], host, check=False
    )
    assert done.returncode != 0, f"{host}: {script} works"


def su(lab: Lab, fleet: Fleet) -> None:
    """su asks for the password of whom it becomes; there is no sudo. Ansible does not pipeline with su, so files have to change hands."""
    _with_password(lab, ("root", "timesten"))
    program = (packages.package("acl") / "bin/setfacl").read_bytes()
    lab.run(["sh", "-c", "cat >/usr/bin/setfacl; chmod 0755 /usr/bin/setfacl"], "exp1", check=True, input=program)
    for host in lab.hosts:
        shell(lab, host.name, "chmod 0700 /usr/bin/sudo")
        _must_fail(lab, host.name, "sudo -n true")
    fleet.tree["all"]["vars"].update(ansible_become_method="su", ansible_become_password=PASSWORD)


def doas(lab: Lab, fleet: Fleet) -> None:
    """doas in the place of sudo."""
    program = (packages.package("opendoas") / "usr/bin/doas").read_bytes()
    for host in lab.hosts:
        put = "cat >/usr/bin/doas; chmod 4755 /usr/bin/doas; chmod 0700 /usr/bin/sudo"
        lab.run(["sh", "-c", put], host.name, check=True, input=program)
        shell(lab, host.name, "cp /etc/pam.d/sudo /etc/pam.d/doas; echo 'permit nopass deploy' >/etc/doas.conf")
        _must_fail(lab, host.name, "sudo -n true")
    fleet.tree["all"]["vars"].update(ansible_become_exe="doas", ansible_become_flags="-n")


def jump(lab: Lab, fleet: Fleet) -> None:
    """The exporter host lets nobody in but the Prometheus host."""
    address = {host.name: host.address for host in lab.hosts}
    shell(lab, "exp1", f"echo 'AllowUsers deploy@{address['prom1']}' >>/etc/ssh/sshd_config; systemctl restart ssh")
    options = f"-i {lab.directory}/ssh/id_ed25519 -o UserKnownHostsFile={lab.directory}/ssh/known_hosts"
    through = f'-o ProxyCommand="ssh {options} -W %h:%p deploy@{address["prom1"]}"'
    fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp1"]["ansible_ssh_common_args"] = through


def noexec(lab: Lab, _fleet: Fleet) -> None:
    """No program in /tmp may be started."""
    for host in lab.hosts:
        shell(
            lab, host.name, "mountpoint -q /tmp || mount -t tmpfs -o mode=1777 tmpfs /tmp; mount -o remount,noexec /tmp"
        )


def csh(lab: Lab, _fleet: Fleet) -> None:
    """The login user's shell is a C shell."""
    program = (packages.package("tcsh") / "bin/tcsh").read_bytes()
    for host in lab.hosts:
        lab.run(["sh", "-c", "cat >/usr/bin/tcsh; chmod 0755 /usr/bin/tcsh"], host.name, check=True, input=program)
        shell(lab, host.name, "usermod -s /usr/bin/tcsh deploy")


def nologin(lab: Lab, _fleet: Fleet) -> None:
    """The instance administrator and the Prometheus user have no shell."""
    for host in lab.hosts:
        shell(lab, host.name, "for user in timesten prometheus; do usermod -s /usr/sbin/nologin $user || true; done")


def locale(lab: Lab, fleet: Fleet) -> None:
    """Modules, and what they start, have no other locale than C."""
    program = "/usr/local/bin/python3-c"
    for host in lab.hosts:
        script = f'#!/bin/sh\nLC_ALL=C exec {SYSTEM} "$@"\n'
        shell(lab, host.name, f"cat >{program}; chmod 0755 {program}", input=script)
    fleet.tree["all"]["vars"]["ansible_python_interpreter"] = program


def of_controller(**variables: str) -> Prepare:
    """Variables of the environment of ansible-playbook."""

    def prepare(lab: Lab, fleet: Fleet) -> None:
        assert isinstance(fleet, Tried)
        fleet.more.update({name: value.format(directory=lab.directory) for name, value in variables.items()})

    return prepare


@dataclasses.dataclass(frozen=True)
class Way:
    """One property of the way to the hosts, and what the user sets for it."""

    what: str
    how: str
    prepare: Prepare


WAYS = {
    "sudo-password": Way(
        "sudo with a password", "`--ask-become-pass`, or `ansible_become_password` from a vault", sudo_with_password
    ),
    "su": Way(
        "su",
        "`ansible_become_method: su`, and one password for root and the instance administrator; the package `acl` on the host with TimesTen",
        su,
    ),
    "doas": Way("doas", "`ansible_become_exe: doas` and `ansible_become_flags: -n` (the plugin of `sudo`)", doas),
    "jump": Way("jump host", "`ansible_ssh_common_args` with a `ProxyCommand`", jump),
    "noexec": Way("`/tmp` mounted `noexec`", "nothing", noexec),
    "csh": Way("C shell of the login user", "nothing", csh),
    "nologin": Way("no shell for instance administrator and Prometheus user", "nothing", nologin),
    "locale": Way("`LC_ALL=C` on the hosts", "nothing; on the controller, Ansible itself needs UTF-8", locale),
    "cache": Way(
        "fact cache",
        "nothing (`ANSIBLE_CACHE_PLUGIN=jsonfile`, `ANSIBLE_GATHERING=smart`)",
        of_controller(
            ANSIBLE_CACHE_PLUGIN="jsonfile",
            ANSIBLE_CACHE_PLUGIN_CONNECTION="{directory}/facts",
            ANSIBLE_GATHERING="smart",
        ),
    ),
    "free": Way("strategy free", "nothing (`ANSIBLE_STRATEGY=free`)", of_controller(ANSIBLE_STRATEGY="free")),
}


def ways(*names: str) -> Prepare:
    """Several ways at once."""

    def prepare(lab: Lab, fleet: Fleet) -> None:
        for name in names:
            WAYS[name].prepare(lab, fleet)

    return prepare


TOGETHER = {
    "ways-a": ("sudo-password", "csh", "nologin", "locale", "cache"),
    "ways-b": ("su", "noexec", "free"),
    "ways-c": ("doas", "jump"),
}

ROWS: dict[str, Row] = {
    "debian12": Row("managed hosts", "Debian 12"),
    "debian13": Row("managed hosts", "Debian 13", release="trixie"),
    "fips": Row("managed hosts", "Debian 12, OpenSSL with the FIPS provider alone", prepare=fips),
    "fips13": Row(
        "managed hosts",
        "Debian 13, OpenSSL with the FIPS provider alone",
        release="trixie",
        prepare=fips,
        core=("2.21.5", (3, 12)),
    ),
    "ol8": Row(
        "managed hosts",
        "the interpreter of Oracle Linux 8, python39",
        ("ol8", (3, 9), ("cryptography==3.3.1", "PyYAML==5.4.1")),
        core=("2.17.0", (3, 11)),
    ),
    "ol9": Row(
        "managed hosts",
        "the interpreter of Oracle Linux 9, python3",
        ("ol9", (3, 9), ("cryptography==36.0.1", "PyYAML==5.4.1")),
        core=("2.18.19", (3, 13)),
    ),
    "ol-3.11": Row(
        "managed hosts",
        "the interpreter of Oracle Linux 8 and 9, python3.11",
        ("ol-3.11", (3, 11), ("cryptography==37.0.2", "PyYAML==6.0")),
        core=("2.20.10", (3, 12)),
    ),
    "ol-3.12": Row(
        "managed hosts",
        "the interpreter of Oracle Linux 8 and 9, python3.12",
        ("ol-3.12", (3, 12), ("cryptography==41.0.7", "PyYAML==6.0.1")),
        core=("2.17.14", (3, 12)),
    ),
    "oldest": Row(
        "managed hosts",
        "the oldest that is supported",
        ("oldest", (3, 8), ("cryptography==3.3.2", "PyYAML==5.3.1")),
        core=("2.19.14", (3, 12)),
    ),
    "newest": Row(
        "managed hosts",
        "the newest libraries",
        ("newest", (3, 13), ("cryptography==50.0.2", "PyYAML==6.0.3")),
        core=("2.21.5", (3, 13)),
    ),
    "ol8-3.6": Row(
        "managed hosts",
        "the interpreter of Oracle Linux 8, platform-python",
        ("ol8-3.6", (3, 6), ()),
        refused="python39",
    ),
    **{
        name: Row("ways in", "; ".join(WAYS[way].what for way in together), prepare=ways(*together))
        for name, together in TOGETHER.items()
    },
}


# --- a row ------------------------------------------------------------------------------------------------------------


def controller(core: tuple[str, tuple[int, int]]) -> Path:
    """Return the ``bin`` of an ansible-core on a Python of this machine."""
    version, python = core
    directory = environments.CACHE / f"controller-{version}-{environments.text(python)}"
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([environments.interpreter(python, python), "-m", "venv", directory], check=True)
        pip = [directory / "bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        subprocess.run([*pip, f"ansible-core=={version}", "cryptography"], check=True)
        (directory / "complete").touch()
    return directory / "bin"


@contextmanager
def fleet_of(name: str, row: Row) -> Iterator[Tried]:
    """A lab with one host of each kind, as the row has them."""
    interpreter = SYSTEM if row.python is None else pythons.python_of(*row.python)
    programs = None if row.core is None else controller(row.core)
    directory = lab_module.LABS / f"platform-{name}"
    with Lab(1, 1, ("3.5",), directory, systemd=("exp1",), release=row.release) as lab:
        for host in lab.hosts:
            kit.prepare_host(lab, host.name)
        kit.install_exporter(lab, "exp1", {"ttinst": {"RATE": "unlimited"}})
        made = Tried(
            lab,
            "fleet",
            {"exp1": {"exporter_host_timesten_home": f"{HOMES}/ttinst"}},
            ["prom1"],
            ansible_python_interpreter=interpreter,
            exporter_host_boot="auto",
            prometheus_host_scrape_interval="5s",
        )
        made.programs = programs
        if row.prepare is not None:
            row.prepare(lab, made)
        yield made


_VERSIONS = """
import json, platform
found = {"python": platform.python_version()}
try:
    import cryptography
    from cryptography.hazmat.backends.openssl import backend
    found.update(cryptography=cryptography.__version__, openssl=backend.openssl_version_text().split()[1])
except ImportError:
    pass
print(json.dumps(found))
"""


def versions(fleet: Tried) -> dict[str, str]:
    """What host and controller themselves say that they run."""
    lab, interpreter = fleet.lab, fleet.tree["all"]["vars"]["ansible_python_interpreter"]
    said = lab.run([interpreter, "-I", "-c", _VERSIONS], "exp1", check=True, capture_output=True, text=True).stdout
    found = dict(json.loads(said))
    found["debian"] = shell(lab, "exp1", "cat /etc/debian_version").strip()
    found["systemd"] = shell(lab, "exp1", "systemctl --version").split()[1]
    python = Path(sys.executable) if fleet.programs is None else fleet.programs / "python"
    code = "import ansible.release, platform; print(ansible.release.__version__, platform.python_version())"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    found["core"], found["controller_python"] = said.split()
    return found


def prove(fleet: Tried, kind: str) -> list[str]:
    """The main job and what comes after it; return what was done."""
    lab = fleet.lab
    assert fleet.run().ledger["good"]
    assert fleet.run().changed() == set(), "the second run changes something"
    if kind == "ways in":
        assert fleet.run("timesten.monitoring.verify").ledger["good"]
        return ["site", "second run", "verify"]
    fleet.await_health(UP)
    before = lab.disk_file("exp1", f"{HOMES}/ttinst/monitoring/exp1/current").readlink()
    # Whether the switch fits between two scrapes is not the matter here: that depends on how busy this machine is.
    assert fleet.run("timesten.monitoring.rotate", rotate_force=True).ledger["good"]
    assert lab.disk_file("exp1", f"{HOMES}/ttinst/monitoring/exp1/current").readlink() != before
    assert fleet.run("timesten.monitoring.verify").ledger["good"]
    lab.kill("exp1")
    lab.boot("exp1")
    kit.until(lambda: fleet.health() == UP, 60, lambda: f"after the reboot: {fleet.health()}")
    assert {host for host, _task in fleet.run().changed() if host == "exp1"} == set()
    return ["site", "second run", "rotate", "verify", "reboot"]


def refuse(fleet: Tried, reason: str) -> list[str]:
    """The run changes nothing and says what to install."""
    run: Run = fleet.run(expect=None)
    assert run.code != 0 and reason in run.output, run.output[-3000:]
    assert not lab_exists(fleet), "something was made"
    return ["refused"]


def lab_exists(fleet: Tried) -> bool:
    """Whether anything of ours is on the exporter host."""
    return fleet.lab.disk_file("exp1", f"{HOMES}/ttinst/monitoring").exists()


def run_row(name: str) -> dict[str, Any]:
    """Run one row; return what is noted of it."""
    row, began = ROWS[name], time.monotonic()
    with fleet_of(name, row) as fleet:
        found = versions(fleet)
        done = prove(fleet, row.kind) if row.refused is None else refuse(fleet, row.refused)
    return {"kind": row.kind, "what": row.what, "done": done, "seconds": round(time.monotonic() - began), **found}


# --- the page ---------------------------------------------------------------------------------------------------------


def tables(results: Results) -> dict[str, str]:
    """The tables of the page, by the name that their marker has."""
    known = [results[name] for name in ROWS if name in results]
    hosts = [
        "| managed hosts | Python | cryptography | OpenSSL | systemd | tried |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item in known:
        if item["kind"] == "managed hosts":
            cells = (item["what"], *(item.get(key, "") for key in ("python", "cryptography", "openssl", "systemd")))
            hosts.append(f"| {' | '.join(cells)} | {', '.join(item['done'])} |")
    cores = ["| ansible-core | its Python | with hosts that have Python |", "| --- | --- | --- |"]
    by_core: dict[tuple[str, str], list[str]] = {}
    for item in known:
        if item["kind"] == "managed hosts" and item["done"] != ["refused"]:
            by_core.setdefault((item["core"], item["controller_python"]), []).append(item["python"])
    # 2.9 is older than 2.17.
    for (core, python), hosts_python in sorted(
        by_core.items(), key=lambda item: [*map(int, re.findall(r"\d+", item[0][0]))]
    ):
        cores.append(f"| {core} | {python} | {', '.join(dict.fromkeys(hosts_python))} |")
    found_ways = ["| way | what you set | tried |", "| --- | --- | --- |"]
    for name, together in TOGETHER.items():
        if name in results:
            done = ", ".join(results[name]["done"])
            found_ways += [f"| {WAYS[way].what} | {WAYS[way].how} | {done} |" for way in together]
    return {
        name: "\n".join(lines)
        for name, lines in {"hosts": hosts, "controllers": cores, "ways": found_ways}.items()
        if len(lines) > 2
    }


BOOK = Book("platforms", "platforms.md", list(ROWS), run_row, tables)

if __name__ == "__main__":
    sys.exit(BOOK.main(__doc__))
