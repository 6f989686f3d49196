# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations counted by what Prometheus has stored: failed scrapes and holes, ours beside the by-the-book way.

    rotation.py rotate --interval 5 --count 20
    rotation.py rotate --interval 15 --count 1 --servers 3 --limited
    rotation.py rotate --interval 2 --count 20 --strategy spare_port --start-delay 1
    rotation.py book --interval 5 --count 20
    rotation.py kill --interval 2 --count 30 --who controller module leader follower exporter
    rotation.py kill --interval 2 --count 30 --strategy takeover

``rotate`` runs the playbook; a rotation that the plan refuses is counted apart. ``book`` does what the manual suggests: new wallet, restart, new
files copied to one Prometheus host after the other. ``kill`` ends the controller, modules, exporters, or the detached processes that lead or follow,
with SIGKILL at a random moment of a rotation, count times each. The next ``site`` has to prove every pair, with one process for each exporter and
one generation on both sides. With a spare port nobody follows. With the strategy ``takeover``, ``site`` takes over exporters that were started by
hand, and count is that of each: of the controller, of modules, of the processes that restart an exporter, and of exporters; after each, ``site`` runs
once more, and every exporter has to be there and proven.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    from gates.collection import make_importable

    make_importable()

from integration import rotation_kit, takeover_kit
from integration.exporter_kit import until

VERSIONS = ("2.42", "3.5", "2.53")


def settle(fleet: rotation_kit.Fleet) -> None:
    """Wait for two more scrapes, so that what happened last is stored."""
    time.sleep(2.2 * fleet.interval)


def rotate(fleet: rotation_kit.Fleet, count: int) -> dict[str, object]:
    """Rotate, and count."""
    strategy = ("-e", "rotate_strategy=spare_port") if fleet.spare else ()
    fleet.play("rotate", "-e", "rotate_force=true", *strategy)  # measures a restart
    settle(fleet)
    since, windows, late, refused = time.time(), [], 0, 0
    while len(windows) < count and refused < 3 * count:
        output = fleet.play("rotate", *strategy, fails=None)
        if "so a scrape could be lost" in output:
            refused += 1
            continue
        window = fleet.record()["window"]
        late += not strategy and window > float(output.split(f"took {window:.2f} s of ")[1].split()[0])
        windows.append(window)
    settle(fleet)
    failed, hole = fleet.losses(since)
    return {
        "rotations": len(windows),
        "refused": refused,
        "failed_scrapes": failed,
        "longest_hole_intervals": round(hole, 2),
        "window_median": sorted(windows)[len(windows) // 2] if windows else None,
        "window_max": max(windows, default=None),
        "slower_than_planned": late,
    }


def all_good(fleet: rotation_kit.Fleet, since: float) -> bool:
    """Whether every server has scraped every exporter well since a moment."""
    return all(
        any(at >= since and value == 1 for at, value in samples)
        for server in fleet.servers.values()
        for samples in server.up(since).values() or [[]]
    )


def by_the_book(fleet: rotation_kit.Fleet, count: int) -> dict[str, object]:
    """What the manual's steps come to when they are done one after the other, each at once."""
    since = time.time()
    instance = fleet.instances["exp1"]
    live = {name: server.directory / "timesten/exp1/by-hand" for name, server in fleet.servers.items()}
    for name, server in fleet.servers.items():
        shutil.copytree(server.directory / "timesten/exp1/current/", live[name])
        config = server.directory / "prometheus.yml"
        config.write_text(config.read_text().replace("timesten/exp1/current", "timesten/exp1/by-hand"))
        subprocess.run(["kill", "-HUP", str(server.process.pid)], check=True)
    settle(fleet)
    since = time.time()
    for number in range(count):
        wallet = fleet.root / f"by-hand-{number}"
        wallet.mkdir(0o700)
        names = ["-certificate-common-name", "localhost", "-certificate-alt-names", "localhost"]
        where = ["-certificate-directory", str(wallet)]
        instance.by_hand("-create-server-certificate", *names, *where)
        instance.by_hand("-export-server-certificate", str(wallet / "ca.crt"), *where)
        for name in live:
            files = [str(wallet / f"{name}.crt"), "-export-client-private-key", str(wallet / f"{name}.key")]
            instance.by_hand("-export-client-certificate", *files, *where)
        for process in instance.exporters():
            os.kill(process.pid, signal.SIGTERM)
        until(lambda: not instance.exporters(), 20, "the end of the exporter")
        command = [f"{instance.home}/bin/ttenv", "ttExporter", "-port", str(fleet.port("exp1")), *where]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for name, place in live.items():
            for source, target in (
                (wallet / "ca.crt", "ca.crt"),
                (wallet / f"{name}.crt", "client.crt"),
                (wallet / f"{name}.key", "client.key"),
            ):
                (place / target).unlink()
                shutil.copy(source, place / target)
                # What one copy task of a playbook takes at least, over ssh.
                time.sleep(0.5)
        settle(fleet)
    failed, hole = fleet.losses(since)
    return {"rotations": count, "failed_scrapes": failed, "longest_hole_intervals": round(hole, 2)}


class Rotations:
    """Exporters are rotated again and again, and somebody is killed each time.

    :ivar killed: how often who was killed.
    :ivar failures: what was not as it has to be after the next ``site``.
    """

    HOSTS = 3

    def __init__(self, fleet: rotation_kit.Fleet, who: list[str], seed: int) -> None:
        self.fleet = fleet
        self.chance = random.Random(seed)
        self.killed = dict.fromkeys(who, 0)
        self.failures: list[str] = []
        mark_modules(fleet)
        self.strategy = ["-e", "rotate_force=true", *(["-e", "rotate_strategy=spare_port"] if fleet.spare else [])]
        # For how long who is there, and how long a rotation takes.
        begun = time.monotonic()
        self.run = fleet.begin("rotate", *self.strategy)
        seen: dict[tuple[str, str], list[float]] = {}
        while self.run.poll() is None:
            for kind in who:
                for place, find in self.finders(kind).items():
                    if self.has_begun(kind, place, find()):
                        seen.setdefault((kind, place), [time.monotonic()] * 2)[1] = time.monotonic()
            time.sleep(0.02)
        self.length = time.monotonic() - begun
        self.spans = {
            kind: min([last - first for (other, _place), (first, last) in seen.items() if other == kind], default=1.0)
            for kind in who
        }
        print(f"a rotation: {self.length:.1f} s, of that {self.spans}", file=sys.stderr, flush=True)

    def finders(self, who: str) -> dict[str, Callable[[], int | None]]:
        """Whom to kill, by the place where there is one each."""
        fleet = self.fleet
        if who == "module":
            return {
                name: functools.partial(module_of, self.run.pid, name) for name in (*fleet.instances, *fleet.servers)
            }
        if who == "follower":
            return {
                name: functools.partial(living, server.directory / "timesten/.follow.json")
                for name, server in fleet.servers.items()
            }
        find = self.serving if who == "exporter" else self.leader
        return {name: functools.partial(find, name) for name in fleet.instances}

    def has_begun(self, kind: str, place: str, pid: int | None) -> bool:
        """Whether one may be killed from now on: an exporter from the moment at which somebody leads its rotation."""
        return pid is not None and (kind != "exporter" or self.leader(place) is not None)

    def leader(self, exporter: str) -> int | None:
        """The process that leads a rotation now."""
        return living(self.fleet.directory(exporter) / "switch.json")

    def serving(self, exporter: str) -> int | None:
        """One of the processes that serve."""
        files = [self.fleet.directory(exporter) / name for name in ("state.json", "state.json.spare")]
        pids = [pid for pid in map(living, files) if pid is not None]
        return self.chance.choice(pids) if pids else None

    def is_complete(self) -> None:
        """Both sides have something to use, at every moment."""
        for exporter in self.fleet.instances:
            assert (self.fleet.directory(exporter) / "current/manifest.json").is_file(), f"{exporter}: no generation"
            for name, server in self.fleet.servers.items():
                places = list((server.directory / "timesten").glob(f"{exporter}*/current/client.key"))
                assert places, f"{exporter}: no usable delivery on {name}"

    def victims(self, kinds: list[str]) -> list[tuple[str, str]]:
        """Kill one of each kind in each place, at a moment that chance chooses while there is one; return kinds and places."""
        find = {(kind, place): find for kind in kinds for place, find in self.finders(kind).items()}
        left: dict[tuple[str, str], float | None] = dict.fromkeys(find)
        for kind, place in find:
            if kind == "module":
                # There are several of each host, one after the other.
                left[kind, place] = time.monotonic() + self.chance.uniform(0.0, 0.8 * self.length)
        hit = []
        while left and self.run.poll() is None:
            self.is_complete()
            for victim, moment in list(left.items()):
                if moment is not None and time.monotonic() < moment:
                    continue
                pid = find[victim]()
                if moment is None:
                    if self.has_begun(*victim, pid):
                        left[victim] = time.monotonic() + self.chance.uniform(0.0, 0.8 * self.spans[victim[0]])
                elif pid is None:
                    if victim[0] not in ("module", "exporter"):
                        # It came to its end before its moment.
                        del left[victim]
                else:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        hit.append(victim)
                    del left[victim]
            time.sleep(0.02)
        return hit

    def round(self) -> None:
        """Kill in one rotation, and run ``site`` once: the controller, whose end is that of all modules, or one of all others in each place."""
        since = time.time()
        self.run = self.fleet.begin("rotate", "-e", "rotate_confirm=5", *self.strategy)
        if min(self.killed, key=lambda who: self.killed[who]) == "controller":
            moment = time.monotonic() + self.chance.uniform(0.1, self.length)
            while self.run.poll() is None and time.monotonic() < moment:
                self.is_complete()
                time.sleep(0.005)
            hit = [("controller", "")] if self.run.poll() is None else []
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.run.pid, signal.SIGKILL)
        else:
            hit = self.victims([kind for kind in self.killed if kind != "controller"])
        self.run.wait(300)
        for kind, _place in hit:
            self.killed[kind] += 1
        print(f"killed: {hit}", file=sys.stderr, flush=True)
        try:
            self.converged()
        except AssertionError as error:
            self.failures.append(f"{hit}, {since:.0f}: {error}")
            print(self.failures[-1], file=sys.stderr, flush=True)
            self.fleet.play("site", fails=None)

    def converged(self) -> None:
        """``site`` proves every pair, and both sides agree."""
        fleet = self.fleet
        fleet.play("site")
        states = fleet.states()
        wanted = {(exporter, server): "proven" for exporter in fleet.instances for server in fleet.servers}
        assert states == wanted, states
        jobs = set()
        for exporter, instance in fleet.instances.items():
            manifest = json.loads((fleet.directory(exporter) / "current/manifest.json").read_text())
            job = f"{exporter}.spare" if manifest.get("spare") else exporter
            jobs.add(f"timesten-{job}")
            deliveries = {name: fleet.delivery(name, job=job) for name in fleet.servers}
            generation = fleet.current(exporter)
            assert all(state.startswith(generation) for state in deliveries.values()), (
                exporter,
                generation,
                deliveries,
            )
            serving = instance.exporters()
            assert len(serving) == 1, (exporter, serving)
        targets = {name: fleet.targets(name) for name in fleet.servers}
        assert all(set(state) == jobs for state in targets.values()), targets
        since = time.time()
        until(lambda: all_good(fleet, since), 60, "every target being up")


def living(record: pathlib.Path) -> int | None:
    """The process of a record, if it runs."""
    with contextlib.suppress(OSError, ValueError):
        values = json.loads(record.read_text())
        return int(values["pid"]) if rotation_kit.lives(values) else None
    return None


def module_of(run: int, host: str) -> int | None:
    """The module of a host that runs in a playbook now; what has detached itself is not below the playbook any more."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            parents[int(path.parent.name)] = int(text[text.rindex(")") + 1 :].split()[1])
    for pid in parents:
        above = pid
        while above not in (0, run):
            above = parents.get(above, 0)
        if above == run and pid != run:
            with contextlib.suppress(OSError):
                if f"BENCH_HOST={host}\0".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                    return pid
    return None


def mark_modules(fleet: rotation_kit.Fleet) -> None:
    """Have each host's modules run by an interpreter that tells whose they are."""
    path = fleet.root / "inventory.json"
    inventory = json.loads(path.read_text())
    for group in inventory["all"]["children"].values():
        for name, variables in group["hosts"].items():
            python = fleet.root / f"python-{name}"
            python.write_text(f'#!/bin/sh\nBENCH_HOST={name} exec {sys.executable} "$@"\n')
            python.chmod(0o755)
            variables["ansible_python_interpreter"] = str(python)
    path.write_text(json.dumps(inventory))


def kill(fleet: rotation_kit.Fleet, who: list[str], count: int, seed: int, until_: float | None) -> dict[str, object]:
    """Kill each of them so often, or as often as there is time."""
    rotations = Rotations(fleet, who, seed)
    began = time.monotonic()
    rounds = 0
    while min(rotations.killed.values()) < count and (until_ is None or time.time() < until_):
        rotations.round()
        rounds += 1
        print(rounds, rotations.killed, round(time.monotonic() - began), file=sys.stderr, flush=True)
    return {"killed": rotations.killed, "rounds": rounds, "failures": rotations.failures}


class Takeovers:
    """Exporters that were started by hand are taken over again and again, and somebody is killed each time.

    :ivar killed: how often who was killed.
    :ivar back: how often an exporter served after a kill of controller or module, before another run.
    """

    HOSTS = 5

    def __init__(self, fleet: rotation_kit.Fleet, seed: int) -> None:
        self.fleet = fleet
        self.chance = random.Random(seed)
        self.killed = dict.fromkeys(("controller", "module", "restarter", "exporter"), 0)
        self.back = 0
        self.made = [
            takeover_kit.ByHand(fleet, name, "mycertdir", f"tt_{number}")
            for number, name in enumerate(fleet.instances, 1)
        ]
        takeover_kit.scrape(fleet, self.made)
        self.configurations = {
            server.directory / "prometheus.yml": (server.directory / "prometheus.yml").read_bytes()
            for server in fleet.servers.values()
        }
        mark_modules(fleet)
        self.site(self.made)
        self.by_hand_again(self.made[:1])
        began = time.monotonic()
        self.site(self.made[:1])
        self.length = time.monotonic() - began

    def by_hand_again(self, made: list[takeover_kit.ByHand]) -> None:
        """Undo all that the runs before have made, and start exporters as their owner does."""
        for one in made:
            one.instance.end()
            shutil.rmtree(self.fleet.directory(one.exporter).parent)
        for path, content in self.configurations.items():
            path.write_bytes(content)
            shutil.rmtree(path.parent / "timesten")
        for one in made:
            until(lambda one=one: not one.instance.processes(), 20, "the end of the exporter")
            one.start()
        for server in self.fleet.servers.values():
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
        until(lambda: all(one.is_up(list(self.fleet.servers)) for one in made), 60, "the jobs made by hand")

    def options(self, made: list[takeover_kit.ByHand]) -> list[str]:
        """How these exporters are taken over."""
        limit = ":".join([*(one.exporter for one in made), "prometheus_servers"])
        return ["--limit", limit, "-f", "10", *takeover_kit.TAKEOVER, *takeover_kit.ADOPT]

    def site(self, made: list[takeover_kit.ByHand]) -> None:
        """Run site to its end: all is taken over, and everything proven."""
        self.fleet.play("site", *self.options(made))
        states = {pair: state for pair, state in self.fleet.states().items() if state != "not in this run"}
        expected = {(one.exporter, server): "proven" for one in made for server in self.fleet.servers}
        assert states == expected, states
        counts = {one.exporter: len(one.pids()) for one in made}
        assert set(counts.values()) == {1}, counts

    def module(self, exporter: str) -> int | None:
        """The module of a host that changes something now; it is the one that has the lock."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.fleet.directory(exporter) / "lock").read_text().split()[0])
            if f"BENCH_HOST={exporter}\0".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                return pid
        return None

    def restarter(self, exporter: str) -> int | None:
        """The process that restarts an exporter now."""
        with contextlib.suppress(OSError, ValueError):
            record = json.loads((self.fleet.directory(exporter) / "restart.json").read_text())
            return int(record["pid"]) if rotation_kit.lives(record) else None
        return None

    def victims(self, who: str) -> list[int]:
        """Kill on each host once, at a moment that chance chooses once there is somebody to kill; return the pids."""
        find = {
            "module": self.module,
            "restarter": self.restarter,
            "exporter": lambda exporter: (
                next(iter(self.by_name[exporter].pids()), None) if self.module(exporter) is not None else None
            ),
        }[who]
        # The restarter lives shorter than the module, which makes the wallet first.
        longest = 1.0 if who == "restarter" else 3.0
        left: dict[str, float | None] = dict.fromkeys(self.by_name)
        hit = []
        while left and self.run.poll() is None:
            for exporter, moment in list(left.items()):
                pid = find(exporter)
                if pid is None:
                    if moment is not None and who != "exporter":
                        # It came to its end before its moment.
                        del left[exporter]
                elif moment is None:
                    left[exporter] = time.monotonic() + self.chance.uniform(0.0, longest)
                elif time.monotonic() >= moment:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        hit.append(pid)
                    del left[exporter]
            time.sleep(0.005)
        return hit

    def round(self, who: str) -> None:
        """Kill in one run, and run once more."""
        # One controller is one kill, whatever it does; of the others there is one for each host.
        made = self.made[:1] if who == "controller" else self.made
        self.by_hand_again(made)
        self.by_name = {one.exporter: one for one in made}
        self.run = self.fleet.begin("site", *self.options(made))
        if who == "controller":
            moment = time.monotonic() + self.chance.uniform(0.3, self.length)
            while self.run.poll() is None and time.monotonic() < moment:
                time.sleep(0.005)
            hit = [self.run.pid] if self.run.poll() is None else []
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.run.pid, signal.SIGKILL)
        else:
            hit = self.victims(who)
        self.run.wait(300)
        self.killed[who] += len(hit)
        if who in ("controller", "module"):
            for one in made:
                # Whoever was stopped comes back without another run.
                until(lambda one=one: one.pids() and listens(one.port), 60, f"{one.exporter} after a kill of the {who}")
                self.back += 1
        self.site(made)


def listens(port: int) -> bool:
    """Whether anybody accepts a connection."""
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
        return True
    return False


def take_over(fleet: rotation_kit.Fleet, count: int, seed: int, until_: float | None) -> dict[str, object]:
    """Kill each of them so often, or as often as there is time."""
    takeovers = Takeovers(fleet, seed)
    began = time.monotonic()
    rounds = 0
    while min(takeovers.killed.values()) < count and (until_ is None or time.time() < until_):
        # Whoever was killed least is next.
        takeovers.round(min(takeovers.killed, key=lambda who: takeovers.killed[who]))
        rounds += 1
        print(rounds, takeovers.killed, round(time.monotonic() - began), file=sys.stderr, flush=True)
    return {"killed": takeovers.killed, "rounds": rounds, "back_without_a_run": takeovers.back}


def main() -> int:
    """Run one measurement and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rotate", "book", "kill"])
    parser.add_argument("--interval", type=float, default=5.0, help="scrape interval in seconds")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--servers", type=int, default=2, choices=[1, 2, 3])
    parser.add_argument("--limited", action="store_true", help="the reference exporter enforces its rate limit")
    parser.add_argument("--start-delay", default="0", help="seconds that the exporter needs to start, beyond its own")
    parser.add_argument("--strategy", default="gap", choices=["gap", "spare_port", "takeover"])
    parser.add_argument("--who", nargs="+", default=["controller", "leader", "exporter"], help="whom to kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="of kills: begin no other round after these")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="rotation-bench-"))
    spare, takeover = options.strategy == "spare_port", options.strategy == "takeover"
    exporters = Takeovers.HOSTS if takeover else Rotations.HOSTS if options.what == "kill" else 1
    until_ = None if options.minutes is None else time.time() + 60 * options.minutes
    variants = {"RATE": "limited" if options.limited else "unlimited", "START_DELAY": options.start_delay}
    try:
        versions = VERSIONS[: options.servers]
        with rotation_kit.fleet(root, options.interval, versions, exporters, spare=spare, **variants) as fleet:
            if not takeover:
                fleet.play("site")
                settle(fleet)
            if takeover:
                figures = take_over(fleet, options.count, options.seed, until_)
            elif options.what == "kill":
                figures = kill(fleet, options.who, options.count, options.seed, until_)
            else:
                figures = (rotate if options.what == "rotate" else by_the_book)(fleet, options.count)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    load = os.getloadavg()[1]
    print(json.dumps({**vars(options), **figures, "load": round(load, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
