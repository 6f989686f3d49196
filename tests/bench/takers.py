# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of taker with the real program, beside a plain Prometheus: site twice, a rotation, its eviction, removal, and the scrapes lost.

``make takers`` runs every row and writes docs/takers.json and the table of docs/which-prometheus.md; ``make takers ARGS='plain-2.42 vmagent-2'`` runs
some rows and keeps what is noted of the others.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import json
import os
import re
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from gates.collection import COLLECTIONS, make_importable

    make_importable()
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)
from bench.rows import Book, Results
from integration import prometheus_kit, rotation_kit, site_kit, takers_kit
from integration.exporter_kit import until
from integration.test_outsiders import Outsider
from lab import lab as lab_module
from lab import packages
from lab.lab import Lab, on_host

INTERVAL = 10
WAIT = 180.0
STEPS = ["site", "second site", "rotate", "evict", "remove"]
CONFIG = f"""\
global: {{scrape_interval: {INTERVAL}s, scrape_timeout: {INTERVAL}s, external_labels: {{replica: taker}}}}
scrape_configs:
- job_name: itself  # its owner's
  static_configs: [{{targets: ['127.0.0.1:9']}}]
"""
TEMPLATE = CONFIG + "{% if prometheus_host_jobs %}\n{{ prometheus_host_jobs | to_nice_yaml }}{% endif %}"


class Server(rotation_kit.Server):
    """A Prometheus as a taker."""

    state = "proven"
    may_lose = 0

    def health(self) -> str | None:
        """What it says of the exporter; None where it does not scrape it."""
        answer = json.loads(self.get("/api/v1/targets?state=active") or b'{"data": {"activeTargets": []}}')
        # While a rotation goes over the spare port there are two jobs, which share this label.
        return {item["labels"]["job"]: item["health"] for item in answer["data"]["activeTargets"]}.get("timesten-exp1")

    def mark(self) -> Any:
        """A point to count scrapes from."""
        return time.time()

    def scrapes(self, mark: Any) -> tuple[int, int]:
        """Scrapes of the exporter since a mark: lost and all. One that is missing is lost too."""
        samples = self.up(mark).get("timesten-exp1", [])
        times = [at for at, _value in samples]
        # Over the spare port two jobs fill the same series for a while.
        missing = sum(max(0, round((after - before) / INTERVAL) - 1) for before, after in zip(times, times[1:]))
        return sum(value == 0 for _at, value in samples) + missing, len(samples) + missing

    def between(self) -> None:
        """What happens on its host between two of our runs."""

    def rotate(self, fleet: Any) -> None:
        """Run a rotation."""
        switched(fleet, "rotate")


def say(what: str) -> None:
    """Say how far a row is."""
    print(time.strftime("%H:%M:%S"), what, flush=True)


def switched(fleet: Any, playbook: str, *options: str) -> None:
    """Run a playbook until it has switched: on a busy machine the moment between two scrapes may be too short, and then nothing changes."""
    before = fleet.current()
    for attempt in range(5):
        say(f"{playbook}, attempt {attempt + 1}")
        output = fleet.play(playbook, *options, fails=None)
        if fleet.current() != before:
            return
    raise AssertionError(f"{playbook} did not switch:\n{output[-5000:]}")


def prove(fleet: Any, taker: Any, stayer: Server) -> dict[str, Any]:
    """Run all steps; return what each came to, and the scrapes lost of all that were counted."""
    both = {("exp1", taker.name): taker.state, ("exp1", stayer.name): "proven"}
    done = {}

    def healthy(what: str) -> None:
        until(lambda: taker.health() == stayer.health() == "up", WAIT, f"the targets being up after {what}")

    def seen(what: str) -> None:
        states = fleet.states()
        assert states == both, f"{what}: {states}"

    say("site")
    fleet.play("site")
    seen("site")
    taker.between()
    healthy("site")
    done["site"] = taker.state
    say("second site")
    output = fleet.play("site")
    assert "changed=0" in output and not re.search(r"changed=[1-9]", output), output
    seen("the second site")
    taker.between()
    done["second site"] = "changed=0"

    marks = [(server, server.mark()) for server in (taker, stayer)]
    taker.rotate(fleet)
    seen("rotate")
    taker.between()
    healthy("rotate")
    # Two more scrapes of each, so that what happened last is counted.
    time.sleep(2.2 * INTERVAL)
    counted = [server.scrapes(mark) for server, mark in marks]
    assert counted[0][0] <= taker.may_lose and counted[1][0] == 0, f"lost, of all: {counted}"
    done["rotate"] = "switched"

    mark = stayer.mark()
    switched(fleet, "evict", "-e", f"evict={taker.name}")
    assert ("exp1", taker.name) not in fleet.states()
    until(lambda: taker.health() == "down", WAIT, "the evicted being refused")
    done["evict"] = "refused"
    say("remove")
    fleet.play("remove", "-e", "remove_exporter=exp1")
    counted.append(stayer.scrapes(mark))
    until(taker.as_before, WAIT, "everything of ours being gone")
    done["remove"] = "as before"
    return {
        "done": done,
        "lost": sum(lost for lost, _all in counted),
        "scrapes": sum(scrapes for _lost, scrapes in counted),
    }


# --- a Prometheus in a shape of its own -------------------------------------------------------------------------------


class Shaped(Server):
    """A Prometheus that an ordinary user runs, and how it is asked."""

    def __init__(self, name: str, version: str) -> None:
        self.program = prometheus_kit.Prometheus(
            packages.prometheus(version), prometheus_kit.public_directory(), config=CONFIG
        )
        super().__init__(name, self.program.directory / "etc", self.program.binaries, self.program.port)
        self.url, self.headers = f"http://127.0.0.1:{self.port}", {}
        self.trusted: str | None = None
        self.role_files: str | None = None
        self.whole_file = False
        self.stack = contextlib.ExitStack()

    def start(self) -> None:
        self.program.start()
        until(lambda: self.get("/-/ready"), WAIT, "Prometheus being ready")

    def stop(self) -> None:
        self.stack.close()
        self.program.stop()

    def get(self, path: str) -> bytes | None:
        context = ssl.create_default_context(cadata=self.trusted) if self.trusted else None
        try:
            request = urllib.request.Request(self.url + path, headers=self.headers)
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def between(self) -> None:
        if self.role_files is not None:
            assert not takers_kit.role(self.program, self.role_files, f"{INTERVAL}s"), (
                "the role has something to change"
            )

    def as_before(self) -> bool:
        self.between()
        assert not self.program.store.exists(), sorted(self.program.store.rglob("*"))
        text = self.program.config.read_text()
        if self.whole_file:
            assert "timesten" not in text
        elif self.role_files is None:
            assert text == CONFIG
        left = {path.name for path in self.program.config.parent.iterdir()}
        assert not {name for name in left if "timesten" in name}, left
        return self.health() is None


Prepare = Callable[[Shaped], dict[str, Any]]
"""Makes a Prometheus so and starts it; returns the options for it."""


def plain(server: Shaped) -> dict[str, Any]:
    """Reloaded over HTTP."""
    server.start()
    return {"reload": "http"}


def signal(server: Shaped) -> dict[str, Any]:
    """Reloaded by SIGHUP."""
    server.program.flags.remove("--web.enable-lifecycle")
    server.start()
    return {"reload": "signal"}


def files(server: Shaped) -> dict[str, Any]:
    """Jobs in a file of their own."""
    return {**plain(server), "layout": "files"}


def template(server: Shaped) -> dict[str, Any]:
    """The whole file from a template."""
    place = server.program.directory / "prometheus.yml.j2"
    place.write_text(TEMPLATE)
    server.whole_file = True
    return {**plain(server), "layout": "template", "template": str(place)}


def container(shape: Prepare | None = None) -> Prepare:
    """With other mounts than the host, and without the lifecycle endpoint."""

    def prepare(server: Shaped) -> dict[str, Any]:
        server.program.flags.remove("--web.enable-lifecycle")
        own = takers_kit.contain(server.program)
        server.directory = server.program.config.parent
        if shape is files:
            own["layout"] = "files"
        return own

    return prepare


def with_tls(server: Shaped) -> dict[str, Any]:
    """Its interface has TLS, a password and a prefix."""
    wallet, own = takers_kit.behind_tls(server.program)
    server.url, server.trusted = own["url"], wallet.pem
    secret = base64.b64encode(f"{own['url_username']}:{own['url_password']}".encode()).decode()
    server.headers = {"Authorization": f"Basic {secret}"}
    server.start()
    return own


def proxied(wanted: dict[str, str], **own: Any) -> Prepare:
    """An authenticating proxy lies before it."""

    def prepare(server: Shaped) -> dict[str, Any]:
        direct = with_tls(server)
        where = direct["url"].removesuffix("/prom")
        url = server.stack.enter_context(takers_kit.proxy(where, server.trusted or "", wanted))
        return {"url": f"{url}/prom", **own}

    return prepare


bearer = proxied({"Authorization": f"Bearer {takers_kit.TOKEN}"}, url_bearer_token=takers_kit.TOKEN)
header = proxied({"X-Api-Key": takers_kit.API_KEY}, url_headers={"X-Api-Key": takers_kit.API_KEY})


def beside_role(server: Shaped) -> dict[str, Any]:
    """Another role writes the whole file, before and after each of our runs."""
    for name in ("scrape.d", "rules.d"):
        (server.directory / name).mkdir()
    server.start()
    server.role_files = f"scrape_config_files:\n- {server.directory}/scrape.d/*.yml\nrule_files:\n- {server.directory}/rules.d/*.yml\n\n"
    assert takers_kit.role(server.program, server.role_files, f"{INTERVAL}s")
    return takers_kit.options("taker-role", {"/etc/prometheus": str(server.directory)})


@contextlib.contextmanager
def shaped(row: Row) -> Iterator[tuple[Any, Any, Server]]:
    """A fleet with a Prometheus in the shape of the row."""
    server = Shaped("taker", row.version)
    try:
        assert row.prepare is not None
        own = {
            "config_file": str(server.program.config),
            "store": str(server.program.store),
            "url": server.url,
            "user": prometheus_kit.USER,
            "promtool": str(server.program.binaries.promtool),
            "become": False,
            **row.prepare(server),
        }
        with local(row.other) as (fleet, stayer):
            until(lambda: server.get("/-/ready"), WAIT, "Prometheus being ready")
            add(fleet, server.name, {f"prometheus_host_{key}": value for key, value in own.items()})
            yield fleet, server, stayer
    finally:
        server.stop()


@contextlib.contextmanager
def local(version: str, **more: Any) -> Iterator[tuple[rotation_kit.Fleet, Server]]:
    """A fleet on this machine: one exporter and one plain Prometheus, which stays."""
    root = prometheus_kit.public_directory()
    with rotation_kit.fleet(root, INTERVAL, (version,), RATE="unlimited", **more) as fleet:
        plain_one = fleet.servers["prom1"]
        stayer = Server(plain_one.name, plain_one.directory, plain_one.binaries, plain_one.port)
        yield fleet, stayer


def add(fleet: rotation_kit.Fleet, name: str, variables: dict[str, Any]) -> None:
    """Add a Prometheus host to the inventory."""
    file = fleet.root / "inventory.json"
    inventory = json.loads(file.read_text())
    inventory["all"]["children"]["prometheus_servers"]["hosts"][name] = variables
    file.write_text(json.dumps(inventory, indent=1))


def must_be(version: str, program: Path) -> None:
    """Check the version of an unpacked program by what its package says; vmagent itself does not know it."""
    logs = sorted(program.parents[2].glob("usr/share/doc/*/changelog.Debian*.gz"))
    first = gzip.decompress(logs[0].read_bytes()).splitlines()[0].decode()
    assert f"({version}." in first, f"{program} is of {first!r}, not {version}"


# --- other takers -----------------------------------------------------------------------------------------------------


class Agent:
    """A vmagent as a taker."""

    name, state = "vm1", "not asked"
    # Nobody knows when it scrapes.
    may_lose = 1
    rotate, between = Server.rotate, Server.between

    def __init__(self, agent: takers_kit.Vmagent) -> None:
        self.agent = agent

    def health(self) -> str | None:
        return self.agent.targets().get("timesten-exp1")

    def mark(self) -> Any:
        return self.agent.scrapes()

    def scrapes(self, mark: Any) -> tuple[int, int]:
        failed, everything = self.agent.scrapes()
        # Half of them are of its owner's job, which has the same interval.
        return failed - mark[0], round((everything - mark[1]) / 2)

    def as_before(self) -> bool:
        assert self.agent.file.read_text() == self.agent.text
        return self.agent.targets() == {"itself": "up"}


@contextlib.contextmanager
def vmagent(row: Row) -> Iterator[tuple[Any, Any, Server]]:
    """A fleet with a vmagent."""
    root = prometheus_kit.public_directory()
    must_be(row.version, packages.vmagent(row.release))
    with takers_kit.with_vmagent(root, version=row.other, interval=INTERVAL, program=packages.vmagent(row.release)) as (
        fleet,
        agent,
    ):
        one = fleet.servers["prom1"]
        yield fleet, Agent(agent), Server(one.name, one.directory, one.binaries, one.port)


class AtOutsider(Server):
    """The Prometheus of an outsider, who does what README.md says."""

    state = "not asked"
    # While it takes the new files and the other port, its Prometheus has new files for the old port for some seconds.
    may_lose = 2

    def __init__(self, outsider: Outsider, version: str) -> None:
        self.outsider = outsider
        super().__init__(outsider.name, outsider.own, packages.prometheus(version), rotation_kit.free_port())
        self.process = None

    def take(self, directory: Path) -> None:
        """Take what lies there."""
        self.outsider.follow(directory)
        text = (directory / "scrape_config.yml").read_text()
        own = f"global: {{scrape_interval: {INTERVAL}s, external_labels: {{replica: outsider}}}}\n"
        (self.directory / "prometheus.yml").write_text(
            own + text.replace("/etc/timesten", f"{self.directory}/timesten")
        )
        if self.process is None:
            self.start()
            return
        url = f"http://127.0.0.1:{self.port}/-/reload"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20).close()

    def between(self) -> None:
        if self.process is None:
            self.take(self.outsider.directory)

    def rotate(self, fleet: Any) -> None:
        """It follows while both ports are served."""
        before = fleet.current()
        grace = ("-e", "rotate_strategy=spare_port", "-e", f"rotate_grace={8 * INTERVAL}", "-e", "rotate_force=true")
        running = fleet.begin("rotate", *grace)
        until(
            lambda: (fleet.record().get("strategy"), fleet.record().get("status")) == ("spare_port", "confirmed"),
            3 * WAIT,
            "the switch being confirmed",
        )
        self.take(self.outsider.directory / "next")
        assert running.wait(5 * WAIT) == 0 and fleet.current() != before

    def as_before(self) -> bool:
        return not self.outsider.directory.exists()


@contextlib.contextmanager
def outsider(row: Row) -> Iterator[tuple[Any, Any, Server]]:
    """A fleet with an outsider, who has a Prometheus of its own."""
    away = prometheus_kit.public_directory()
    program = packages.age(row.release)
    must_be(row.age, program)
    one = Outsider(away, "team-b", program)
    variables = {
        "timesten_outsiders": [{"name": one.name, "public_key": one.public_key, "scrape_interval": f"{INTERVAL}s"}],
        "timesten_outsiders_dir": str(away / "outsiders"),
    }
    with local(row.other, spare=True, variables=variables) as (fleet, stayer):
        taker = AtOutsider(one, row.version)
        try:
            yield fleet, taker, stayer
        finally:
            taker.stop()


# --- a unit of systemd ------------------------------------------------------------------------------------------------

UNIT = """\
[Service]
User=prom
ExecStart=/opt/prometheus/prometheus --config.file=/opt/prometheus/prometheus.yml --storage.tsdb.path=/var/lib/prom
ExecReload=/bin/kill -HUP $MAINPID
"""


class OnHost(Server):
    """A Prometheus on a host of a lab."""

    def __init__(self, fleet: OnLab, name: str, version: str) -> None:
        super().__init__(name, Path("/"), packages.prometheus(version), 9090)
        self.fleet = fleet

    def get(self, path: str) -> bytes | None:
        try:
            return self.fleet.fleet.get(self.name, path)
        except OSError:
            return None

    def as_before(self) -> bool:
        assert site_kit.shell(self.fleet.lab, self.name, "cat /opt/prometheus/prometheus.yml") == CONFIG
        assert "timesten" not in site_kit.shell(self.fleet.lab, self.name, "ls /opt/prometheus")
        return self.health() is None


@dataclasses.dataclass
class OnLab:
    """The playbooks on hosts of a lab."""

    lab: Lab
    fleet: site_kit.Fleet
    last: site_kit.Run | None = None

    def play(self, name: str, *options: str, fails: bool | None = False) -> str:
        """Run a playbook of the collection."""
        self.last = self.fleet.run(f"timesten.monitoring.{name}", *options, expect=None if fails is None else 0)
        return self.last.output

    def states(self) -> dict[tuple[str, str], str]:
        """What the last run saw of each pair."""
        assert self.last is not None
        return {(exporter, client): state for (client, exporter), state in self.last.pairs().items()}

    def current(self) -> str:
        """The generation in use."""
        return os.readlink(self.lab.disk_file("exp1", f"{site_kit.HOMES}/ttinst/monitoring/exp1/current"))


@contextlib.contextmanager
def unit(row: Row) -> Iterator[tuple[Any, Any, Server]]:
    """Hosts with ssh; the Prometheus of the second is the binary from the download page, as a unit of systemd."""
    directory = lab_module.LABS / f"takers-{row.version}"
    with Lab(2, 1, (row.other,), directory, systemd=("exp2",)) as lab:
        site_kit.install_exporter(lab, "exp1", {"ttinst": {"RATE": "unlimited"}})
        for host in lab.hosts:
            site_kit.prepare_host(lab, host.name)
        program = packages.prometheus(row.version)
        script = (
            "useradd -r prom; mkdir -p /opt/prometheus; install -d -o prom /var/lib/prom\n"
            f"cp {on_host(program.prometheus)} {on_host(program.promtool)} /opt/prometheus\n"
            f"cat >/etc/systemd/system/prometheus-server.service <<'END'\n{UNIT}END\n"
            f"cat >/opt/prometheus/prometheus.yml <<'END'\n{CONFIG}END\n"
            "systemctl daemon-reload; systemctl start prometheus-server"
        )
        site_kit.shell(lab, "exp2", script)
        plain_one = CONFIG.replace("taker", "plain")
        site_kit.shell(
            lab, "prom1", f"cat >/etc/prometheus/prometheus.yml <<'END'\n{plain_one}END\nkill -HUP $(pidof prometheus)"
        )
        made = site_kit.Fleet(
            lab,
            "fleet",
            {"exp1": {"exporter_host_timesten_home": f"{site_kit.HOMES}/ttinst"}},
            ["prom1", "exp2"],
        )
        hosts = made.tree["all"]["children"]["prometheus_servers"]["hosts"]
        hosts["exp2"].update(takers_kit.variables("taker-binary", {}), prometheus_host_reload="systemd")
        fleet = OnLab(lab, made)
        yield fleet, OnHost(fleet, "exp2", row.version), OnHost(fleet, "prom1", row.other)


# --- the rows ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One taker.

    :ivar what: how the page names it.
    :ivar version: of the program that scrapes.
    :ivar other: version of the plain Prometheus beside it.
    :ivar prepare: makes a Prometheus so.
    :ivar made: makes the fleet.
    :ivar refused: the reason that a run has to give; None where it has to work.
    :ivar age: version of an outsider's age.
    :ivar release: the Debian that has vmagent or age in this version.
    """

    what: str
    version: str
    other: str
    prepare: Prepare | None = None
    made: Callable[[Row], contextlib.AbstractContextManager[tuple[Any, Any, Server]]] = shaped
    refused: str | None = None
    age: str = ""
    release: str = "bookworm"

    @property
    def program(self) -> str:
        """The program that scrapes, as the page has it."""
        if self.made is vmagent:
            return f"vmagent {self.version}"
        return f"Prometheus {self.version}" + (f", age {self.age}" if self.age else "")


def _shapes(name: str, what: str, prepare: Prepare, versions: Sequence[str], **more: Any) -> dict[str, Row]:
    """One row for each version; beside a 2.x stands a 3.x, and the other way round."""
    return {
        f"{name}-{version}": Row(what, version, "2.53" if version[0] == "3" else "3.5", prepare, **more)
        for version in versions
    }


VERSIONS = ("2.42", "2.53", "3.5")
ROWS: dict[str, Row] = {
    **_shapes("inline", "layout `inline`, reloaded by HTTP", plain, VERSIONS),
    **_shapes("files", "layout `files`", files, ("2.42",), refused="2.43"),
    **_shapes("files", "layout `files`", files, VERSIONS[1:]),
    **_shapes("template", "layout `template`", template, VERSIONS),
    **_shapes("container", "in a container", container(), VERSIONS),
    **_shapes("container-files", "in a container, layout `files`", container(files), ("3.5",)),
    **_shapes("tls", "TLS, password and route prefix", with_tls, ("2.42", "3.5")),
    **_shapes("bearer", "behind a proxy that wants a bearer token", bearer, ("2.53", "3.5")),
    **_shapes("header", "behind a proxy that wants a header", header, ("2.42", "3.5")),
    **_shapes("signal", "reloaded by SIGHUP", signal, ("2.42", "3.5")),
    **_shapes("unit", "the upstream binary as a unit of systemd", plain, ("2.53", "3.5"), made=unit),
    **_shapes("role", "another role writes the whole file", beside_role, ("2.53", "3.5")),
    "vmagent-1.79": Row("vmagent", "1.79", "2.53", made=vmagent),
    "vmagent-1.145": Row("vmagent", "1.145", "3.5", made=vmagent, release="sid"),
    "outsider-2.42": Row("outsider, over the spare port", "2.42", "3.5", made=outsider, age="1.1"),
    "outsider-3.5": Row("outsider, over the spare port", "3.5", "2.53", made=outsider, age="1.3", release="sid"),
}


def run_row(name: str) -> dict[str, Any]:
    """Run one row; return what is noted of it."""
    row, began = ROWS[name], time.monotonic()
    with row.made(row) as (fleet, taker, stayer):
        if row.refused is None:
            result = prove(fleet, taker, stayer)
        else:
            output = fleet.play("site", fails=True)
            assert row.refused in output, output
            assert taker.as_before()
            result = {"done": {"site": f"refused: needs {row.refused}"}}
    return {"what": row.what, "with": row.program, **result, "seconds": round(time.monotonic() - began)}


# --- the page ---------------------------------------------------------------------------------------------------------


def tables(results: Results) -> dict[str, str]:
    """The table of the page."""
    heads = ["taker", "with", *STEPS, "lost scrapes"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for name, row in ROWS.items():
        item = results.get(name, {"done": {"site": "not run yet"}})
        lost = f"{item['lost']} of {item['scrapes']}" if "lost" in item else "-"
        cells = [row.what, row.program, *(item["done"].get(step, "-") for step in STEPS), lost]
        lines.append(f"| {' | '.join(cells)} |")
    return {"takers": "\n".join(lines)}


BOOK = Book("takers", "which-prometheus.md", list(ROWS), run_row, tables)

if __name__ == "__main__":
    sys.exit(BOOK.main(__doc__))
