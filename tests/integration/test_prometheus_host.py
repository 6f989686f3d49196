# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tt_prometheus_host against real Prometheus servers and real TLS: the way in, every way back, and what it costs."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration import prometheus_kit as kit
from lab import packages

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

VERSIONS = ("2.42", "2.53", "3.5")
ENDS = ("2.42", "3.5")


class Host:
    """A Prometheus and the module's options for it."""

    def __init__(self, version: str, *flags: str, **options: Any) -> None:
        self.prometheus = kit.Prometheus(packages.prometheus(version), kit.public_directory(), *flags, **options)
        self.exporters: list[kit.Exporter] = []
        self.options: dict[str, Any] = {
            "name": "prom1",
            "config_file": str(self.prometheus.config),
            "store": str(self.prometheus.store),
            "url": f"http://127.0.0.1:{self.prometheus.port}",
            "user": kit.USER,
            "promtool": str(self.prometheus.binaries.promtool),
            "wait_timeout": 20,
        }

    @property
    def config(self) -> str:
        return self.prometheus.config.read_text()

    @property
    def config_path(self) -> str:
        return str(self.prometheus.config)

    def call(
        self, state: str = "present", check: bool = False, diff: bool = False, demote: bool = False, **more: Any
    ) -> kit.Answer:
        return kit.call({**self.options, "state": state, **more}, check, diff, demote)

    def key(self) -> str:
        return self.call("inspected").result["transport_key"]

    def exporter(self, name: str, *arguments: Any, **options: Any) -> kit.Exporter:
        made = kit.Exporter(name, *arguments, **options)
        self.exporters.append(made)
        return made

    def current(self, exporter: str) -> str:
        return os.readlink(self.prometheus.store / exporter / "current")

    def leftovers(self) -> list[str]:
        """Anything of ours beside the configuration that is no part of the layout."""
        return [path.name for path in self.prometheus.config.parent.iterdir() if path.name.startswith(".")] + [
            str(path) for path in self.prometheus.store.rglob(".new-*")
        ]

    def stop(self) -> None:
        self.prometheus.stop()
        for exporter in self.exporters:
            exporter.stop()


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Host] = []

    def start(version: str = "2.42", *flags: str, running: bool = True, **options: Any) -> Host:
        host = Host(version, *flags, **options)
        made.append(host)
        if running:
            host.prometheus.start()
            host.prometheus.wait()
        return host

    yield start
    for host in made:
        host.stop()


# --- the way in and out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_from_nothing_to_proven_and_back(make: Any, version: str) -> None:
    host = make(version)
    original = host.prometheus.config.read_bytes()

    inspected = host.call("inspected", check=True).result
    assert inspected["changed"]
    assert not host.prometheus.store.exists()
    inspected = host.call("inspected").result
    assert inspected["stored"] == {}
    assert inspected["scrape_interval"] == 1.0
    assert inspected["version"] == packages.prometheus(version).version
    key_file = host.prometheus.store / ".transport" / "key.pem"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o400

    one, two = host.exporter("exp1", kit.new_wallet(1)), host.exporter("exp2", kit.new_wallet(2))
    plain = host.exporter("exp3")
    elements = [exporter.element(inspected["transport_key"]) for exporter in (one, two, plain)]
    predicted = host.call(exporters=elements, check=True, diff=True, revision=inspected["revision"]).result
    assert predicted["changed"]
    assert not (host.prometheus.store / "exp1").exists()
    assert host.prometheus.config.read_bytes() == original

    done = host.call(exporters=elements, diff=True, revision=inspected["revision"])
    assert not done.failed, done.result
    assert [row["why"] for row in done.result["exporters"]] == [row["why"] for row in predicted["exporters"]]
    assert done.result["diff"] == predicted["diff"]
    assert done.result["reloaded"] == "http"
    for row in done.result["exporters"][:2]:
        assert row["up"] and row["accepted"] and row["refused_without_certificate"]
        assert row["refused_foreign_pair"] and row["refused_plain_http"]
    assert done.result["exporters"][2]["up"]
    assert done.result["exporters"][2]["accepted"] is None
    assert "PRIVATE KEY" not in done.output
    assert elements[0]["bundle"] not in done.output
    assert key_file.read_bytes() and host.key() != inspected["transport_key"]

    store = host.prometheus.store
    key = store / "exp1" / "current" / "client.key"
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_uid) == (0o400, host.prometheus.entry.pw_uid)
    assert (stat.S_IMODE(store.stat().st_mode), store.stat().st_uid) == (0o750, 0)
    assert host.leftovers() == []

    before = host.prometheus.config.stat()
    again = host.call(exporters=[kit.light(element) for element in elements])
    assert not again.failed and not again.result["changed"], again.result
    assert host.prometheus.config.stat().st_ino == before.st_ino
    assert not host.call(exporters=[kit.light(element) for element in elements], check=True).result["changed"]

    gets = one.server.gets
    seen = host.call("verified")
    assert not seen.failed and all(row["up"] for row in seen.result["exporters"]), seen.result
    assert seen.result["exporters"][0]["refused_foreign_pair"]
    assert one.server.gets - gets <= 4, "only Prometheus itself sends requests"

    stored = host.call("inspected").result
    assert stored["stored"]["exp1"]["sha256"] == elements[0]["sha256"]
    ends = {row["name"]: row["not_after"] for row in seen.result["exporters"] if "not_after" in row}
    assert ends == {name: entry["not_after"] for name, entry in stored["stored"].items()}
    assert stored["scrape_intervals"] == {"exp1": 1.0, "exp2": 1.0, "exp3": 1.0}

    host.call("absent", remove=["exp2"])
    kit.until(lambda: "timesten-exp2" not in host.prometheus.targets(), 15)
    assert not (store / "exp2").exists() and (store / "exp1").exists()
    gone = host.call("absent")
    assert gone.result["removed"] == ["exp1", "exp3"]
    assert host.prometheus.config.read_bytes() == original
    assert not store.exists()
    assert not host.call("absent").result["changed"]


def ready(make: Any, version: str = "2.42", number: int = 1, **options: Any) -> tuple[Host, list[dict[str, Any]]]:
    """A host whose exporters exp1, exp2, ... are already in place."""
    host = make(version, **options)
    key = host.key()
    elements = [host.exporter(f"exp{n}", kit.new_wallet(n)).element(key) for n in range(1, number + 1)]
    done = host.call(exporters=elements)
    assert not done.failed, done.result
    return host, elements


def test_renewed_pair_needs_no_reload(make: Any) -> None:
    host, elements = ready(make)
    config = host.prometheus.config.stat()
    first = host.current("exp1")
    renewed = host.exporters[0].element(host.key(), number=2)
    done = host.call(exporters=[renewed], diff=True).result
    assert done["changed"] and done["exporters"][0]["up"] and done["reloaded"] is False
    assert host.prometheus.config.stat().st_mtime_ns == config.st_mtime_ns
    assert host.current("exp1") == renewed["delivery"] != first
    assert (host.prometheus.store / "exp1" / first / "client.key").exists(), "the way back stays"
    assert done["diff"][0]["after"]["exp1"]["sha256"] == renewed["sha256"]
    assert done["diff"][0]["before"]["exp1"]["sha256"] == elements[0]["sha256"]

    # Back to what is still there takes no bundle.
    assert not host.call(exporters=[kit.light(elements[0])]).failed
    assert host.current("exp1") == first


def test_old_deliveries_are_pruned(make: Any) -> None:
    host, _elements = ready(make)
    for number in (2, 3, 4):
        assert not host.call(exporters=[host.exporters[0].element(host.key(), number=number)], keep_deliveries=1).failed
    names = sorted(path.name for path in (host.prometheus.store / "exp1").iterdir())
    assert [name[-2:] for name in names] == ["-3", "-4", "nt"]


def test_merge_then_purge(make: Any) -> None:
    host, elements = ready(make, number=2)
    light = [kit.light(element) for element in elements]
    merged = host.call(exporters=light[:1]).result
    assert not merged["changed"] and merged["unmentioned"] == ["exp2"]
    assert any("exp2" in warning for warning in merged["warnings"])
    purged = host.call(exporters=light[:1], purge=True).result
    assert purged["removed"] == ["exp2"]
    assert "timesten-exp2" not in host.config and not (host.prometheus.store / "exp2").exists()


def test_mutual_tls_to_insecure_and_back(make: Any) -> None:
    host, _elements = ready(make)
    port = host.exporters[0].port
    wallet = host.exporters.pop().wallet_and_stop()
    host.exporter("exp1", port=port)
    done = host.call(exporters=[{"name": "exp1", "address": "127.0.0.1", "port": port, "insecure": True}])
    assert not done.failed and done.result["exporters"][0]["up"], done.result
    assert "scheme: http\n" in host.config
    assert not (host.prometheus.store / "exp1").exists()
    host.exporters.pop().stop()
    back = host.exporter("exp1", wallet, port=port).element(host.key())
    assert not host.call(exporters=[back]).failed
    assert "scheme: https" in host.config


def test_as_the_prometheus_user_without_root(make: Any) -> None:
    host = make("3.5")
    shutil.chown(host.prometheus.config.parent, kit.USER)
    shutil.chown(host.prometheus.config, kit.USER)
    refused = host.call(exporters=[host.exporter("exp0").element("")], demote=True)
    assert "give the file to this user and its group" in refused.result["msg"]
    os.chown(host.prometheus.config, host.prometheus.entry.pw_uid, host.prometheus.entry.pw_gid)
    key = host.call("inspected", demote=True).result["transport_key"]
    element = host.exporter("exp1", kit.new_wallet()).element(key)
    done = host.call(exporters=[element], demote=True)
    assert not done.failed and done.result["exporters"][0]["refused_foreign_pair"], done.result
    assert not host.call(exporters=[kit.light(element)], demote=True).result["changed"]


def test_another_ordinary_user_is_told_what_to_do(make: Any) -> None:
    host = make(running=False)
    answer = host.call("inspected", demote=True, user="daemon")
    assert "run it as root (become) or as daemon itself" in answer.result["msg"]


# --- the file belongs to somebody else --------------------------------------------------------------------------------


def access_list(uid: int) -> bytes:
    """system.posix_acl_access: rw for the owner, r for one more user, r for the group, mask r, nothing for others."""
    nobody = 0xFFFFFFFF
    entries = ((1, 6, nobody), (2, 4, uid), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_owner_mode_access_list_and_link_are_kept(make: Any) -> None:
    host = make(running=False)
    config = host.prometheus.config
    real = config.parent.parent / "elsewhere" / "real.yml"
    real.parent.mkdir(mode=0o755)
    shutil.move(config, real)
    config.symlink_to(real)
    os.chown(real, 2, 3)
    # Names in the file count from the link's directory, not from the one that it leads to.
    real.write_text("rule_files: [rules.yml]\n" + real.read_text())
    (config.parent / "rules.yml").write_text("groups: []\n")
    with_list = access_list(host.prometheus.entry.pw_uid)
    try:
        os.setxattr(real, "system.posix_acl_access", with_list)
    except OSError:
        pytest.skip("the file system of the temporary directory keeps no access lists")
    host.prometheus.start()
    host.prometheus.wait()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    done = host.call(exporters=[element])
    assert not done.failed, done.result
    info = real.stat()
    assert config.is_symlink() and (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (2, 3, 0o640)
    assert os.getxattr(real, "system.posix_acl_access") == with_list
    assert "timesten-exp1" in real.read_text()
    assert sorted(path.name for path in config.parent.iterdir()) == ["prometheus.yml", "rules.yml", "timesten"]
    assert [path.name for path in real.parent.iterdir()] == ["real.yml"]


def test_a_target_that_no_job_names_is_found_before_the_first_change(make: Any) -> None:
    """From a file, or by relabelling: neither of the jobs can be adopted."""
    ports = {name: kit.free_port() for name in ("exp1", "exp2", "exp3")}
    file = kit.public_directory() / "targets.json"
    file.write_text(json.dumps([{"targets": [f"127.0.0.1:{ports['exp1']}"]}]))
    jobs = (
        f"  - job_name: file\n    file_sd_configs: [{{files: ['{file}']}}]\n"
        "  - job_name: relabelled\n    static_configs: [{targets: ['exp2']}]\n    relabel_configs:\n"
        f"      - {{target_label: __address__, replacement: '127.0.0.1:{ports['exp2']}'}}\n"
    )
    host = make(config=kit.CONFIG + jobs)
    kit.until(lambda: {"file", "relabelled"} <= set(host.prometheus.targets()), 30, "the targets of both jobs")
    exporters = [{"name": name, "address": "127.0.0.1", "port": port} for name, port in ports.items()]
    told = host.call("inspected", exporters=exporters, on_existing="adopt").result["in_the_way"]
    assert set(told) == {"exp1", "exp2"}
    assert "job 'file' scrapes" in told["exp1"] and "job 'relabelled' scrapes" in told["exp2"]


def test_diff_shows_no_secret_of_the_owner(make: Any) -> None:
    inline = (
        '  - job_name: "other"\n    basic_auth: {username: u, password: hunter2}\n'
        '    static_configs: [{targets: ["127.0.0.1:9"]}]\n'
    )
    adopted = (
        '  - job_name: "mine"\n    scheme: https\n    basic_auth:\n      username: u\n      password: hunter3\n'
        '    static_configs: [{targets: ["127.0.0.1:PORT"]}]\n'
    )
    exporter = kit.Exporter("exp1", kit.new_wallet())
    host = make(config=kit.CONFIG + inline + adopted.replace("PORT", str(exporter.port)))
    host.exporters.append(exporter)
    element = exporter.element(host.key())
    refused = host.call(exporters=[element])
    assert refused.failed and "on_existing" in refused.result["msg"]
    done = host.call(exporters=[element], on_existing="adopt", diff=True)
    assert not done.failed, done.result
    shown = done.result["diff"][0]["prepared"]
    assert "hunter" not in done.output and "other" not in shown and "exp1 (adopted)" in shown
    assert "hunter3" in host.config and host.prometheus.targets()["mine"]["health"] == "up"
    assert not host.call(exporters=[kit.light(element)], on_existing="adopt").result["changed"]


def on_spare_port(host: Host, usual_port: int) -> dict[str, Any]:
    """The element of a second process of exp1, on another port with another wallet."""
    second = host.exporter("exp1", kit.new_wallet(2))
    return second.element(host.key(), name="exp1.spare", usual_port=usual_port)


@pytest.mark.parametrize("layout", ["inline", "files"])
def test_to_the_spare_port_with_the_same_series(make: Any, layout: str) -> None:
    host, [first] = ready(make, "3.5")
    options = {"layout": layout}
    spare = on_spare_port(host, first["port"])
    assert host.call("staged", exporters=[spare], both_ports=True, **options).result["scrapes"]["exp1.spare"]["scraped"]
    both = host.call(exporters=[spare], both_ports=True, **options)
    assert not both.failed, both.result
    targets = host.prometheus.targets()
    assert [targets[job]["health"] for job in sorted(targets) if "exp1" in job] == ["up", "up"]
    usual, other = targets["timesten-exp1"], targets["timesten-exp1.spare"]
    assert usual["labels"] == other["labels"] and usual["scrapeUrl"] != other["scrapeUrl"]
    assert other["labels"]["instance"] == f"127.0.0.1:{first['port']}"
    left = host.call(exporters=[kit.light(spare)], **options).result
    assert left["changed"] and left["removed"] == ["exp1"]
    assert not host.call(exporters=[kit.light(spare)], **options).result["changed"]
    assert "timesten-exp1" not in host.prometheus.targets() and not (host.prometheus.store / "exp1").exists()
    gone = host.call("absent", remove=["exp1", "exp1.spare"], **options).result
    # With the last exporter the store goes, as where everything is removed.
    assert not host.prometheus.store.exists()
    assert gone["removed"] == ["exp1.spare"]


def test_an_adopted_job_is_not_replaced_by_that_of_the_spare_port(make: Any) -> None:
    exporter = kit.Exporter("exp1", kit.new_wallet())
    job = f"  - job_name: mine\n    scheme: https\n    static_configs: [{{targets: ['127.0.0.1:{exporter.port}']}}]\n"
    host = make(config=kit.CONFIG + job)
    host.exporters.append(exporter)
    element = exporter.element(host.key())
    assert not host.call(exporters=[element], on_existing="adopt").failed
    config, spare = host.config, on_spare_port(host, exporter.port)
    refused = host.call("staged", exporters=[spare], both_ports=True, on_existing="adopt")
    assert refused.failed and "job mine was adopted; rotate it with rotate_strategy=gap" in refused.result["msg"]
    assert host.config == config and not (host.prometheus.store / "exp1.spare").exists()


def test_a_wiped_block_is_noticed_and_put_back(make: Any) -> None:
    host, elements = ready(make, number=2)
    with_block = host.config
    host.prometheus.config.write_text(kit.CONFIG)
    done = host.call(exporters=[kit.light(elements[0])]).result
    assert any("no longer held the jobs of exp1, exp2" in warning for warning in done["warnings"])
    assert host.config == with_block


@pytest.mark.parametrize("version", ENDS)
def test_layout_files(make: Any, version: str) -> None:
    host = make(version)
    original = host.prometheus.config.read_bytes()
    if version == "2.42":
        for check in (True, False):
            refused = host.call("inspected", check, layout="files")
            assert refused.failed and "needs Prometheus 2.43" in refused.result["msg"]
            assert not host.prometheus.store.exists()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    done = host.call(exporters=[element], layout="files")
    if version == "2.42":
        assert "needs Prometheus 2.43" in done.result["msg"] and host.prometheus.config.read_bytes() == original
        return
    assert not done.failed, done.result
    scrape_file = host.prometheus.config.parent / "timesten.yml"
    assert "timesten-exp1" in scrape_file.read_text() and "timesten-exp1" not in host.config
    assert not host.call(exporters=[kit.light(element)], layout="files").result["changed"]
    assert not host.call("verified", layout="files").failed
    inline = host.call(exporters=[kit.light(element)])
    assert not inline.failed and "timesten-exp1" in host.config and not scrape_file.exists(), inline.result
    assert not host.call(exporters=[kit.light(element)], layout="files").failed
    assert not host.call("absent", layout="files").failed
    assert host.prometheus.config.read_bytes() == original
    assert not scrape_file.exists() and host.leftovers() == []


# --- ways back --------------------------------------------------------------------------------------------------------


def unchanged(host: Host, original: bytes) -> None:
    assert host.prometheus.config.read_bytes() == original
    assert host.leftovers() == []


def test_promtool_refuses(make: Any) -> None:
    host = make()
    original = host.prometheus.config.read_bytes()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key(), extra={"no_such_key": 1})
    for check in (True, False):
        answer = host.call(exporters=[element], check=check)
        assert answer.failed and "promtool" in answer.result["msg"] and "no_such_key" in answer.result["msg"]
        unchanged(host, original)
    assert not (host.prometheus.store / "exp1").exists()


@pytest.mark.parametrize("version", ENDS)
@pytest.mark.parametrize("lifecycle", [True, False])
def test_prometheus_refuses_what_promtool_took(make: Any, version: str, lifecycle: bool) -> None:
    host = make(version, lifecycle=lifecycle)
    original = host.prometheus.config.read_bytes()
    host.options["promtool"] = shutil.which("true")
    element = host.exporter("exp1", kit.new_wallet()).element(host.key(), extra={"no_such_key": 1})
    answer = host.call(exporters=[element])
    assert answer.failed
    assert "Prometheus refused the configuration" in answer.result["msg"]
    assert "The previous configuration and links are back, and Prometheus has read them" in answer.result["msg"]
    unchanged(host, original)
    assert b"prometheus_config_last_reload_successful 1" in host.prometheus.answers("/metrics")
    assert not (host.prometheus.store / "exp1").exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_silently_absent_job_is_caught(make: Any, version: str) -> None:
    """A sandbox hides the store from Prometheus, so the check as its user passes and the reload answers 200."""
    host = make(version, running=False)
    host.call("inspected")
    host.prometheus.start(f"mount -t tmpfs tmpfs {host.prometheus.store}")
    host.prometheus.wait()
    original = host.prometheus.config.read_bytes()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    answer = host.call(exporters=[element], wait_timeout=10)
    assert answer.failed
    assert "the job is absent" in answer.result["msg"] and "sandbox of its unit" in answer.result["msg"]
    assert answer.result["exporters"][0]["up"] is False
    unchanged(host, original)


def test_the_wrong_user_is_named(make: Any) -> None:
    host = make()
    original = host.prometheus.config.read_bytes()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    answer = host.call(exporters=[element], user="daemon")
    uid = host.prometheus.entry.pw_uid
    assert answer.failed and f"runs as uid {uid}, not as daemon (uid 1)" in answer.result["msg"]
    assert "set user" in answer.result["msg"] and not (host.prometheus.store / "exp1").exists()
    unchanged(host, original)


def test_an_absent_job_heals_with_unchanged_text(make: Any) -> None:
    host, elements = ready(make)
    key = host.prometheus.store / "exp1" / "current" / "client.key"
    host.prometheus.stop()
    os.chown(key, 0, 0)
    host.prometheus.start()
    host.prometheus.wait()
    kit.until(lambda: "itself" in host.prometheus.targets(), 15)
    assert "timesten-exp1" not in host.prometheus.targets()
    os.chown(key, host.prometheus.entry.pw_uid, -1)
    config = host.prometheus.config.stat()
    done = host.call(exporters=[kit.light(elements[0])])
    assert not done.failed and done.result["changed"] and done.result["reloaded"] == "http", done.result
    assert host.prometheus.targets()["timesten-exp1"]["health"] == "up"
    assert host.prometheus.config.stat().st_mtime_ns == config.st_mtime_ns


def test_one_dead_exporter_does_not_take_the_others_down(make: Any) -> None:
    host = make()
    key = host.key()
    good = host.exporter("exp1", kit.new_wallet(1)).element(key)
    dead = kit.Exporter("exp2", kit.new_wallet(2))
    dead.stop()
    answer = host.call(exporters=[good, dead.element(key)], wait_timeout=12)
    assert answer.failed
    message = answer.result["msg"]
    assert "exp2" in message and "connection refused" in message and "start the exporter" in message
    assert "of exp2 are as before; the others are done and stay" in message
    assert host.prometheus.targets()["timesten-exp1"]["health"] == "up"
    assert "exp2" not in host.config and not (host.prometheus.store / "exp2").exists()
    assert not host.call(exporters=[kit.light(good)]).result["changed"]


def test_an_exporter_on_another_wallet(make: Any) -> None:
    host, elements = ready(make)
    first = host.current("exp1")
    config = host.prometheus.config.read_bytes()
    exporter = host.exporters[0]
    renewed = exporter.element(host.key(), number=2)
    exporter.run_on(kit.new_wallet(9))
    answer = host.call(exporters=[renewed], wait_timeout=8)
    assert answer.failed
    assert "runs on another wallet" in answer.result["msg"], answer.result["msg"]
    assert host.current("exp1") == first, "the previous link is back"
    unchanged(host, config)
    exporter.run_on(exporter.first)
    assert not host.call(exporters=[kit.light(elements[0])]).result["changed"]


def test_an_exporter_that_is_down_but_unchanged_fails_without_a_change(make: Any) -> None:
    host, elements = ready(make)
    config = host.prometheus.config.read_bytes()
    host.exporters.pop().stop()
    kit.until(lambda: host.prometheus.targets()["timesten-exp1"]["health"] == "down", 15)
    answer = host.call(exporters=[kit.light(elements[0])], wait_timeout=2)
    assert answer.failed and "Nothing of these was changed by this run" in answer.result["msg"]
    unchanged(host, config)


@pytest.mark.parametrize("fault", ["tampered", "replayed", "foreign", "cut", "expired", "other certificate"])
def test_bad_deliveries_are_not_stored(make: Any, fault: str) -> None:
    host = make(running=False)
    host.options["prometheus_running"] = False
    original = host.prometheus.config.read_bytes()
    exporter, key = host.exporter("exp1", kit.new_wallet()), host.key()
    element = exporter.element(key)
    if fault == "tampered":
        bundle = json.loads(element["bundle"])
        cipher = bytearray(base64.b64decode(bundle["ciphertext"]))
        cipher[5] ^= 1
        element["bundle"] = json.dumps({**bundle, "ciphertext": base64.b64encode(cipher).decode()})
    elif fault == "replayed":
        element["bundle"] = exporter.element(key, number=1)["bundle"]
    elif fault == "foreign":
        element["bundle"] = kit.Exporter("exp2", exporter.wallet).element(key)["bundle"]
    elif fault == "cut":
        element["bundle"] = element["bundle"][:-20]
    elif fault == "expired":
        element = exporter.element(key, days=(-3, -1))
    else:
        element["certificate"] = exporter.element(key)["certificate"]
    answer = host.call(exporters=[element])
    assert answer.failed
    assert "exp1" in answer.result["msg"]
    assert ("expired at" if fault == "expired" else "nothing was stored") in answer.result["msg"]
    assert not (host.prometheus.store / "exp1").exists()
    unchanged(host, original)


def test_a_directory_that_the_user_may_not_enter_is_named(make: Any) -> None:
    host = make(running=False)
    host.options["prometheus_running"] = False
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    host.prometheus.config.parent.chmod(0o700)
    answer = host.call(exporters=[element])
    assert answer.failed
    assert f"the way is blocked at {host.prometheus.config.parent}" in answer.result["msg"]


def test_an_open_exporter_is_reported(make: Any) -> None:
    host = make()
    element = host.exporter("exp1", kit.new_wallet(), open_to_all=True).element(host.key())
    answer = host.call(exporters=[element])
    assert answer.failed
    assert "a connection without a certificate was not refused but accepted" in answer.result["msg"]
    row = answer.result["exporters"][0]
    assert row["accepted"] and not row["refused_without_certificate"] and not row["refused_foreign_pair"]
    assert row["refused_plain_http"]
    assert host.call("verified").failed


def test_killed_after_the_write_the_next_run_finishes(make: Any) -> None:
    """SIGKILL between the change of the file and the end: whatever was reached, the next run ends it."""
    host, elements = ready(make)
    changed = [{**kit.light(elements[0]), "labels": {"site": "a"}}]
    process = kit.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    arguments = {**host.options, "exporters": changed}
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    process.stdin.close()
    kit.until(lambda: "site: a" in host.config, 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = host.call(exporters=changed)
    assert not done.failed and done.result["changed"], done.result
    kit.until(lambda: host.prometheus.targets()["timesten-exp1"]["labels"].get("site") == "a", 15)
    assert not host.call(exporters=changed).result["changed"]


@pytest.fixture
def small(make: Any) -> Iterator[Host]:
    """A Prometheus whose configuration and store lie on a file system of 256 KiB."""
    host = make(running=False)
    place, config = host.prometheus.config.parent, host.prometheus.config.read_bytes()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", place], check=True)
    try:
        host.prometheus.config.write_bytes(config)
        host.prometheus.start()
        host.prometheus.wait()
        yield host
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(path: Path) -> None:
    """Take all the space that is left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, b"x" * 512):
            pass
    os.close(descriptor)


def test_disk_full(small: Host) -> None:
    """What was there stays in use, the failure names the place, and the next run with space finishes."""
    host, filler = small, small.prometheus.config.parent / "filler"
    original = host.prometheus.config.read_bytes()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    fill(filler)
    failed = host.call(exporters=[element])
    assert failed.failed and "Traceback" not in failed.output
    assert "No space left on device" in failed.result["msg"]
    assert str(host.prometheus.config.parent) in failed.result["msg"]
    assert host.prometheus.config.read_bytes() == original
    assert host.leftovers() == []

    filler.unlink()
    done = host.call(exporters=[element])
    assert not done.failed and done.result["changed"], done.result
    before, delivery = host.prometheus.config.read_bytes(), host.current("exp1")
    fill(filler)
    changed = [{**kit.light(element), "labels": {"site": "a"}}]
    failed = host.call(exporters=changed)
    assert failed.failed and "No space left on device" in failed.result["msg"]
    assert (host.prometheus.config.read_bytes(), host.current("exp1")) == (before, delivery)
    assert host.prometheus.targets()["timesten-exp1"]["health"] == "up"
    filler.unlink()
    assert host.call(exporters=changed).result["changed"]
    assert not host.call(exporters=changed).result["changed"]


# --- two controllers, other Prometheus servers ------------------------------------------------------------------------


def test_revision_and_lock(make: Any) -> None:
    host = make()
    before = host.call("inspected").result
    element = host.exporter("exp1", kit.new_wallet()).element(before["transport_key"])
    assert not host.call(exporters=[element], revision=before["revision"]).failed
    late = host.call(exporters=[kit.light(element)], revision=before["revision"])
    assert late.failed and "was changed by another run since it was inspected" in late.result["msg"]
    with open(host.prometheus.store / ".lock", "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        held = host.call(exporters=[kit.light(element)])
    assert held.failed and "is held by another run" in held.result["msg"]


def test_a_store_has_one_client(make: Any) -> None:
    host, _elements = ready(make)
    answer = host.call("inspected", name="prom2")
    assert answer.failed and "belongs to client 'prom1', not to 'prom2'" in answer.result["msg"]


def test_the_url_of_another_instance_is_noticed(make: Any) -> None:
    one, other = make(), make()
    one.options["url"] = other.options["url"]
    answer = one.call(exporters=[])
    assert (
        answer.failed
        and f"reads {other.prometheus.config}, not config_file {one.prometheus.config}" in answer.result["msg"]
    )


@pytest.mark.parametrize("version", ENDS)
def test_reload_by_signal(make: Any, version: str) -> None:
    host = make(version, lifecycle=False)
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    done = host.call(exporters=[element])
    assert not done.failed and done.result["reloaded"] == "signal", done.result
    pid_file = host.prometheus.directory / "pid"
    pid_file.write_text(f"{host.prometheus.process.pid}\n")
    done = host.call(
        exporters=[{**kit.light(element), "labels": {"a": "b"}}], reload="signal", reload_pid_file=str(pid_file)
    )
    assert not done.failed and done.result["reloaded"] == "signal", done.result
    pid_file.write_text(f"{os.getpid()}\n")
    config = host.config
    answer = host.call(exporters=[kit.light(element)], reload="signal", reload_pid_file=str(pid_file))
    assert answer.failed and "not a process of the Prometheus user" in answer.result["msg"]
    assert host.config == config
    answer = host.call(exporters=[kit.light(element)], reload="http")
    assert answer.failed and "--web.enable-lifecycle" in answer.result["msg"]
    assert host.config == config


def test_endpoint_with_tls_basic_auth_and_client_certificate(make: Any) -> None:
    host = make("2.42", "--web.config.file=web.yml", running=False)
    place = host.prometheus.config.parent
    wallet = kit.new_wallet()
    certificate, key = kit.issue(wallet, "operator")
    for name, data in (
        ("server.crt", wallet.pem.encode()),
        ("server.key", wallet.key_pem),
        ("client.crt", certificate.encode()),
        ("client.key", key),
    ):
        (place / name).write_bytes(data)
        (place / name).chmod(0o644)
    # bcrypt of "test", as Prometheus's own documentation has it.
    hashed = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
    (place / "web.yml").write_text(
        f"tls_server_config: "
        f"{{cert_file: {place}/server.crt, key_file: {place}/server.key, client_ca_file: {place}/server.crt, "
        f"client_auth_type: RequireAndVerifyClientCert}}\nbasic_auth_users: {{admin: '{hashed}'}}\n"
    )
    host.prometheus.flags[0] = f"--web.config.file={place / 'web.yml'}"
    host.prometheus.start()
    host.options.update(
        url=f"https://127.0.0.1:{host.prometheus.port}",
        url_username="admin",
        url_password="test",
        url_ca_file=str(place / "server.crt"),
        url_cert_file=str(place / "client.crt"),
        url_key_file=str(place / "client.key"),
    )
    kit.until(lambda: host.call("inspected").result.get("version"), 30)
    element = host.exporter("exp1", kit.new_wallet(2)).element(host.key())
    done = host.call(exporters=[element])
    assert not done.failed and done.result["reloaded"] == "http", done.result
    wrong = host.call("verified", url_password="wrong")
    assert wrong.failed and "url_username and url_password" in wrong.result["msg"]
    untrusted = host.call("verified", url_ca_file=None)
    assert untrusted.failed and "set url_ca_file" in untrusted.result["msg"]


def test_prometheus_that_does_not_run(make: Any) -> None:
    host = make(running=False)
    original = host.prometheus.config.read_bytes()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    answer = host.call(exporters=[element])
    assert answer.failed and "does not answer" in answer.result["msg"] and "Nothing was changed" in answer.result["msg"]
    unchanged(host, original)
    laid = host.call(exporters=[element], prometheus_running=False)
    assert not laid.failed and laid.result["changed"] and laid.result["reloaded"] is False, laid.result
    host.prometheus.start()
    host.prometheus.wait()
    seen = host.call("verified", wait_timeout=20)
    assert not seen.failed and seen.result["exporters"][0]["up"], seen.result


def test_check_mode_before_prometheus_is_installed(make: Any) -> None:
    host = make(running=False)
    host.prometheus.config.unlink()
    host.options.update(user="prometheus-to-be", config_file=str(host.prometheus.config), promtool="/nowhere/promtool")
    inspected = host.call("inspected", check=True).result
    assert inspected["transport_key"] and inspected["scrape_interval"] == 60.0
    later = {"name": "exp1", "address": "127.0.0.1", "port": 8888}
    later.update(dict.fromkeys(("generation", "delivery", "sha256", "ca_sha256"), "known after apply"))
    predicted = host.call(exporters=[later], check=True, diff=True)
    assert not predicted.failed and predicted.result["changed"], predicted.result
    assert any("prometheus-to-be" in warning for warning in predicted.result["warnings"])
    assert not host.prometheus.config.exists() and not host.prometheus.store.exists()


# --- one bad exporter -------------------------------------------------------------------------------------------------


def forged(kind: str, exporter: kit.Exporter, key: str) -> dict[str, Any]:
    """An element with something wrong, as a broken or hostile exporter host makes one."""
    element = exporter.element(key, number=2)
    other = exporter.element(key, number=2)
    changes: dict[str, dict[str, Any]] = {
        "YAML in alt_names": {"alt_names": ["x\n- job_name: evil"]},
        "NUL in alt_names": {"alt_names": ["a\0b"]},
        "bad fingerprint": {"sha256": "f" * 64},
        "replayed bundle": {"bundle": other["bundle"]},
        "another client's bundle": {"bundle": exporter.element(key, client="prom9", number=2)["bundle"]},
        "key of another pair": dict(zip(("certificate", "sha256"), (other["certificate"], other["sha256"]))),
        "10,000 CA certificates": {"ca_certificate": element["ca_certificate"] * 10000},
        "broken PEM": {"certificate": element["certificate"].replace("M", "!")},
        "broken CA": {"ca_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        "no pair": dict.fromkeys(("generation", "delivery", "sha256", "ca_sha256")),
        "a path for a delivery": {"delivery": "../../../../srv/precious"},
        "expired": exporter.element(key, number=2, days=(-3, -1)),
        "not valid yet": exporter.element(key, number=2, days=(1, 3)),
    }
    return {**element, **changes[kind]}


KINDS = (
    "YAML in alt_names",
    "NUL in alt_names",
    "bad fingerprint",
    "replayed bundle",
    "another client's bundle",
    "key of another pair",
    "10,000 CA certificates",
    "broken PEM",
    "broken CA",
    "no pair",
    "a path for a delivery",
    "expired",
    "not valid yet",
)


def test_a_bad_exporter_costs_none_of_the_others(make: Any) -> None:
    """Each kind of bad element once on an exporter of its own that is in place, in one call with a good new one."""
    host, elements = ready(make, number=len(KINDS))
    before = {element["name"]: host.current(element["name"]) for element in elements}
    config = host.config
    key = host.key()
    bad = [forged(kind, exporter, key) for kind, exporter in zip(KINDS, host.exporters)]
    good = host.exporter("good", kit.new_wallet(99)).element(key)
    answer = host.call(exporters=[*bad, good], diff=True)
    assert answer.failed and "Traceback" not in answer.output
    rows = {row["name"]: row for row in answer.result["exporters"]}
    for kind, element in zip(KINDS, bad):
        assert rows[element["name"]].get("failed") and rows[element["name"]]["msg"], kind
        assert element["name"] in answer.result["msg"] or len(KINDS) > 10
    assert not rows["good"].get("failed") and rows["good"]["up"] and rows["good"]["refused_foreign_pair"]
    assert answer.result["changed"] and answer.result["reloaded"] == "http"
    assert {name: host.current(name) for name in before} == before
    assert host.config.replace(host.config[host.config.index("# exporter: good") :], "") in config + host.config
    assert "evil" not in host.config and host.leftovers() == []
    assert not host.call(exporters=[kit.light(good), *map(kit.light, elements)]).result["changed"]


def test_a_delivery_of_the_same_name_does_not_cost_the_one_in_use(make: Any) -> None:
    host, elements = ready(make)
    key = host.key()
    other = host.exporters[0].element(key)
    swapped = {**other, "bundle": host.exporters[0].element(key)["bundle"]}
    assert host.call(exporters=[swapped]).failed
    host.exporters[0].run_on(kit.new_wallet(9))
    assert host.call(exporters=[other], wait_timeout=5).failed
    host.exporters[0].run_on(host.exporters[0].first)
    assert not host.call(exporters=[kit.light(elements[0])]).result["changed"], "the old pair is back"


@pytest.mark.parametrize("delivery", ["PRECIOUS", "../../../..PRECIOUS", "../exp2", "current", ".", "..", ""])
@pytest.mark.parametrize("state", ["released", "following", "staged"])
def test_no_state_leaves_the_store(make: Any, state: str, delivery: str) -> None:
    host = make(running=False)
    host.call("inspected")
    precious = host.prometheus.directory / "precious"
    (precious / "sub").mkdir(parents=True)
    (host.prometheus.store / "exp2").mkdir(mode=0o750)
    element = {
        "name": "exp1",
        "address": "127.0.0.1",
        "port": 1,
        "delivery": delivery.replace("PRECIOUS", str(precious)),
    }
    order = {"exp1": {"moments": [0.0], "deadline": 0.0}} if state == "following" else {}
    answer = host.call(state, exporters=[element], switch=order, prometheus_running=False)
    assert answer.failed or not delivery
    assert (precious / "sub").is_dir() and (host.prometheus.store / "exp2").is_dir()


# --- somebody else writes as well -------------------------------------------------------------------------------------

THEIRS = '  - job_name: theirs\n    static_configs: [{targets: ["127.0.0.1:8"]}]\n'


def promtool_that(host: Host, script: str) -> str:
    """promtool, and something that happens while it judges."""
    path = host.prometheus.directory / "promtool"
    path.write_text(f'#!/bin/sh\n{script}\nexec {host.prometheus.binaries.promtool} "$@"\n')
    path.chmod(0o755)
    return str(path)


def writable(host: Host) -> None:
    os.chown(host.prometheus.config, host.prometheus.entry.pw_uid, -1)
    os.chown(host.prometheus.config.parent, host.prometheus.entry.pw_uid, -1)


def test_a_job_that_is_added_while_promtool_judges_is_kept(make: Any) -> None:
    host = make()
    writable(host)
    added = host.prometheus.directory / "theirs"
    added.write_text(THEIRS)
    once = f"grep -q theirs {host.config_path} || cat {added} >> {host.config_path}"
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    done = host.call(exporters=[element], promtool=promtool_that(host, once))
    assert not done.failed and done.result["exporters"][0]["up"], done.result
    assert "job_name: theirs" in host.config and "timesten-exp1" in host.config
    assert {"theirs", "timesten-exp1"} <= set(host.prometheus.targets())


def test_a_file_that_is_written_all_the_time_is_left(make: Any) -> None:
    host = make()
    writable(host)
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    always = f"echo '# theirs' >> {host.config_path}"
    answer = host.call(exporters=[element], promtool=promtool_that(host, always))
    assert answer.failed and "somebody else writes it all the time" in answer.result["msg"]
    assert "timesten" not in host.config and host.config.count("# theirs") == 3
    assert not (host.prometheus.store / "exp1").exists() and host.leftovers() == []


@pytest.mark.parametrize("good", [0, 1])
def test_a_job_that_is_added_while_targets_are_awaited_is_kept(make: Any, good: int) -> None:
    """The exporter is down, so the change is taken back; what came in between stays."""
    host = make()
    key = host.key()
    elements = [host.exporter(f"exp{number}", kit.new_wallet(number)).element(key) for number in range(1, 1 + good)]
    dead = kit.Exporter("exp9", kit.new_wallet(9))
    dead.stop()
    arguments = {**host.options, "exporters": [*elements, dead.element(key)], "wait_timeout": 10}
    process = kit.start(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    process.stdin.close()
    kit.until(lambda: "timesten-exp9" in host.config, 20)
    with host.prometheus.config.open("a") as stream:
        stream.write(THEIRS)
    answer = json.loads(process.stdout.read())
    process.wait()
    assert answer["failed"] and "exp9" in answer["msg"], answer
    assert host.config.replace("\n", "").endswith(THEIRS.replace("\n", "")) and "exp9" not in host.config
    assert ("timesten-exp1" in host.config) is bool(good)
    if not good:
        assert host.config == kit.CONFIG + THEIRS


def test_hard_linked_configuration_is_refused(make: Any) -> None:
    host = make()
    os.link(host.prometheus.config, host.prometheus.directory / "other-name")
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    for check in (True, False):
        answer = host.call(exporters=[element], check=check)
        assert answer.failed and "has more than one name (hard link)" in answer.result["msg"]
    assert host.config == kit.CONFIG and not (host.prometheus.store / "exp1").exists()


@pytest.mark.parametrize("state", ["inspected", "present", "staged", "absent"])
@pytest.mark.parametrize("place", ["etc", "somewhere", "/"])
def test_a_store_that_is_not_ours_is_not_touched(make: Any, place: str, state: str) -> None:
    host = make(running=False)
    store = host.prometheus.directory / place
    if place == "somewhere":
        (store / "theirs").mkdir(parents=True)
    before = store.stat()
    answer = host.call(state, store=str(store), prometheus_running=False)
    assert answer.failed and "store: " in answer.result["msg"], answer.result
    after = store.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)


def test_two_clients_on_one_configuration_are_refused(make: Any) -> None:
    host, _elements = ready(make)
    config = host.config
    other = {"name": "prom2", "store": str(host.prometheus.directory / "etc" / "second")}
    for state in ("present", "absent"):
        answer = host.call(state, **other)
        assert answer.failed and "the jobs of client 'prom1'" in answer.result["msg"]
    assert host.config == config


def test_two_fleets_share_a_prometheus(make: Any) -> None:
    host = make()
    key = host.key()
    one = host.exporter("exp1", kit.new_wallet(1)).element(key)
    assert not host.call(exporters=[one], fleet="north").failed
    two = host.exporter("exp2", kit.new_wallet(2)).element(host.key())
    done = host.call(exporters=[two], fleet="south", purge=True)
    assert not done.failed and done.result["unmentioned"] == done.result["removed"] == [], done.result
    moved = host.call(exporters=[{**kit.light(one), "port": 1}, kit.light(two)], fleet="south")
    assert moved.failed and "belongs to fleet 'north'" in moved.result["msg"] and not moved.result["changed"]
    inspected = host.call("inspected", fleet="south").result
    assert list(inspected["definitions"]) == ["exp2"] and list(inspected["other_definitions"]) == ["exp1"]
    assert host.call("absent", fleet="south").result["removed"] == ["exp2"]
    assert "timesten-exp1" in host.config and (host.prometheus.store / "exp1" / "current").exists()
    assert not host.call(exporters=[kit.light(one)], fleet="north").result["changed"]


# --- what runs is what was written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ENDS)
def test_the_old_target_proves_nothing(make: Any, version: str) -> None:
    """Prometheus keeps an old target for up to five seconds after a reload."""
    host, elements = ready(make, version)
    for _round in range(3):
        answer = host.call(exporters=[{**kit.light(elements[0]), "metrics_path": "/wrong0"}], wait_timeout=12)
        assert answer.failed and "404" in answer.result["msg"] and "compare metrics_path" in answer.result["msg"]
    done = host.call(exporters=[{**kit.light(elements[0]), "labels": {"site": "a"}}])
    assert not done.failed, done.result
    assert host.prometheus.targets()["timesten-exp1"]["labels"]["site"] == "a"


def test_a_configuration_that_is_mounted_alone_is_refused(make: Any) -> None:
    host = make(running=False)
    host.prometheus.start_in_container()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    answer = host.call(exporters=[element])
    assert answer.failed and "through a mount of that file alone" in answer.result["msg"], answer.result
    assert host.config == kit.CONFIG and not (host.prometheus.store / "exp1").exists()


def test_a_configuration_that_is_not_seen_is_noticed_afterwards(make: Any) -> None:
    """The process cannot be found, so that only the configuration that runs tells it."""
    host, elements = ready(make)
    host.prometheus.stop()
    renamed = host.prometheus.directory / "server"
    shutil.copy(host.prometheus.binaries.prometheus, renamed)
    host.prometheus.binaries = type(
        "Binaries", (), {"prometheus": renamed, "promtool": host.prometheus.binaries.promtool}
    )
    host.prometheus.start_in_container()
    config = host.config
    changed = host.call(exporters=[{**kit.light(elements[0]), "labels": {"site": "a"}}])
    assert changed.failed and "does not run what was written" in changed.result["msg"], changed.result
    assert host.config == config
    removed = host.call("absent")
    assert removed.failed and "still has the jobs of exp1" in removed.result["msg"], removed.result
    assert (host.prometheus.store / "exp1" / "current" / "client.key").exists()
    assert host.config == config


def test_a_reload_that_is_not_possible_stops_before_a_change(make: Any) -> None:
    host = make(lifecycle=False)
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    for options in (
        {"reload": "http"},
        {"reload": "systemd", "reload_unit": "no-such"},
        {"reload": "signal", "reload_pid_file": "/nowhere"},
    ):
        answer = host.call(exporters=[element], **options)
        assert answer.failed and "Going back" not in answer.result["msg"], answer.result
        assert host.config == kit.CONFIG and not (host.prometheus.store / "exp1").exists()


def test_the_owners_own_mistake_is_told_as_that(make: Any) -> None:
    host = make()
    element = host.exporter("exp1", kit.new_wallet()).element(host.key())
    broken = kit.CONFIG.replace("global:\n", "global:\n  no_such_key: 1\n")
    host.prometheus.config.write_text(broken)
    for check in (True, False):
        answer = host.call(exporters=[element], check=check)
        assert answer.failed and "as it is, before any change of ours" in answer.result["msg"], answer.result
        assert "line 3" in answer.result["msg"] and host.config == broken


def test_a_server_that_only_closes_idle_connections_is_open(make: Any) -> None:
    host = make()
    exporter = host.exporter("exp1", kit.new_wallet(), open_to_all=True)
    exporter.server.idle = 2.0
    answer = host.call(exporters=[exporter.element(host.key())])
    row = answer.result["exporters"][0]
    assert answer.failed and row["up"] and row["failed"]
    assert not row["refused_without_certificate"] and not row["refused_foreign_pair"]
    assert "was not refused but closed" in answer.result["msg"]


# --- a fleet ----------------------------------------------------------------------------------------------------------


def test_a_thousand_exporters_in_one_call(make: Any) -> None:
    """All of them on a few real ports, each with a name, a pair and a job of its own."""
    host = make("2.42", config="global: {scrape_interval: 30s, scrape_timeout: 20s}\n")
    key = host.key()
    served = [host.exporter(f"port{number}", kit.new_wallet(number)) for number in range(10)]
    elements = []
    for number in range(1000):
        exporter = served[number % 10]
        name, exporter.name = exporter.name, f"exp{number}"
        elements.append(exporter.element(key))
        exporter.name = name
    begun = time.monotonic()
    first = host.call(exporters=elements, on_existing="keep", wait_timeout=120)
    first_wall = time.monotonic() - begun
    assert not first.failed, first.result["msg"]
    assert all(row["up"] and row["refused_foreign_pair"] for row in first.result["exporters"])
    begun = time.monotonic()
    second = host.call(exporters=[kit.light(element) for element in elements])
    second_wall = time.monotonic() - begun
    assert not second.failed and not second.result["changed"]
    print(
        f"1,000 exporters: first {first.cpu:.2f} s CPU {first_wall:.1f} s wall {first.memory >> 20} MiB; "
        f"second {second.cpu:.2f} s CPU {second_wall:.1f} s wall {second.memory >> 20} MiB"
    )
    assert second.memory < 200 << 20 and first.memory < 200 << 20
