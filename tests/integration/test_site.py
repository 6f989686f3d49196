# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on real hosts, over real ssh, as an ordinary user with sudo: the collection's playbooks by their names.

One lab serves the whole file. Three fleets share nothing in it but the controller: `fleet` (the main job, in order), `broken` (hosts that
fail) and `variants` (every value of everything that is not documented of ttExporter). The main fleet scrapes every second, so that nothing has to wait; its
exporters play the variant without a limit for that. The others keep to the utility's own limit.
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from integration import site_kit as kit
from integration.site_kit import Fleet, Run, shell
from lab import lab as lab_module
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

SITE, VERIFY = "timesten.monitoring.site", "timesten.monitoring.verify"
HOMES = kit.HOMES
# Home, then variants of the exporter there.
MAIN = {
    "exp1": {"ttinst": {}},
    "exp2": {"ttinst": {"RUN": "detach", "PKI": "self-signed", "EXPORT": "leaf", "RATE_OPTION": "absent"}},
    "exp3": {
        "sales": {"EXPORT": "chain", "RATE_OPTION": "limitRate"},
        "stock": {"RUN": "detach", "START_DELAY": "1", "EXPORT": "leaf", "WALLET": "des"},
    },
}
EXPORTERS = {"exp1": 8888, "exp2": 8888, "exp3-sales": 8888, "exp3-stock": 8889}
SERVERS = ("prom1", "prom2")
PAIRS = set(itertools.product(SERVERS, EXPORTERS))
PROOFS = ("up", "accepted", "refused_without_certificate", "refused_foreign_pair", "refused_plain_http")
N, M = len(MAIN), len(SERVERS)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Ten exporter hosts and five Prometheus hosts: 2.42, 3, 2.53, 2.42, 3."""
    with Lab(10, 5, ("2.42", "3", "2.53"), lab_module.LABS / "site") as running:
        for host in running.hosts:
            kit.prepare_host(running, host.name)
        yield running


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    """The main fleet, with the reference exporter where TimesTen would be, and nothing else."""
    hosts = {
        "exp1": {},
        "exp2": {},
        "exp3": {
            "exporter_host_exporters": [
                {"instance": name, "port": EXPORTERS[f"exp3-{name}"], "timesten_home": f"{HOMES}/{name}"}
                for name in MAIN["exp3"]
            ]
        },
    }
    fleet = Fleet(
        lab,
        "main",
        {host: {**own, "homes": MAIN[host]} for host, own in hosts.items()},
        SERVERS,
        exporter_host_timesten_home=f"{HOMES}/ttinst",
        exporter_host_rate_budget="warn",
        prometheus_host_scrape_interval="1s",
    )
    play = fleet.directory / "reference_exporter.yml"
    play.write_text(f"""\
- hosts: timesten_exporters
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role: {{name: timesten.monitoring.reference_exporter}}
      vars:
        reference_exporter_timesten_home: "{HOMES}/{{{{ home.key }}}}"
        reference_exporter_owner: timesten
        reference_exporter_variants: "{{{{ home.value | combine({{'RATE': 'unlimited'}}) }}}}"
      loop: "{{{{ homes | dict2items }}}}"
      loop_control: {{loop_var: home}}
""")
    fleet.run(play)
    return fleet


def tree(lab: Lab, host: str) -> dict[str, tuple[int, int]]:
    """What a host has on its disk, without what changes by itself."""
    disk = lab.disk_file(host, "")
    by_itself = ("/var/log", "/var/lib/prometheus/metrics2", "/home/deploy")
    entries = {f"/{path.relative_to(disk)}": path.lstat() for path in disk.rglob("*")}
    return {
        path: (status.st_size, status.st_mtime_ns)
        for path, status in entries.items()
        if not path.startswith(by_itself) and not path.endswith("/.lock")
    }


def differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> set[str]:
    """Which files of which hosts differ."""
    return {
        f"{host}:{path}"
        for host in before
        for path in before[host].keys() | after[host].keys()
        if before[host].get(path) != after[host].get(path)
    }


# --- the first run ----------------------------------------------------------------------------------------------------

NOISY = """\
- ansible.builtin.import_playbook: timesten.monitoring.site
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {var: "hostvars[inventory_hostname]"}
    - ansible.builtin.set_fact:
        cacheable: true
        kept_result: "{{ [exporter_host_answer | default({}), prometheus_host_answer | default({})] }}"
        kept_inspected: "{{ prometheus_host_inspected | default([]) }}"
"""


@dataclasses.dataclass
class First:
    """The run in check mode on hosts that have nothing, the real one after it, and what was seen on the way."""

    before: dict[str, dict[str, tuple[int, int]]]
    between: dict[str, dict[str, tuple[int, int]]]
    predicted: Run
    run: Run
    watch: kit.Watch


@pytest.fixture(scope="module")
def first(fleet: Fleet) -> First:
    """The first run says, keeps and shows all that Ansible can be made to: the leak test looks at what is left of it."""
    before = {host: tree(fleet.lab, host) for host in fleet.hosts}
    predicted = fleet.run(SITE, "--check", "--diff")
    between = {host: tree(fleet.lab, host) for host in fleet.hosts}
    play = fleet.directory / "noisy.yml"
    play.write_text(NOISY)
    talkative = {
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(fleet.directory / "facts"),
        "ANSIBLE_LOG_PATH": str(fleet.directory / "log"),
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "1",
    }
    with kit.Watch(fleet) as watch:
        run = fleet.run(play, "-vvv", "--diff", environment=talkative)
    (fleet.directory / "output").write_text(run.output)
    return First(before, between, predicted, run, watch)


def test_one_run_and_every_prometheus_scrapes_every_exporter(fleet: Fleet, first: First) -> None:
    assert fleet.health() == dict.fromkeys(PAIRS, "up"), "asked from the controller's network"
    assert {pair: item["up"] for pair, item in first.run.proven().items()} == dict.fromkeys(PAIRS, True)
    assert first.run.pairs() == dict.fromkeys(PAIRS, "proven")
    assert first.predicted.pairs() == dict.fromkeys(PAIRS, "predicted")
    versions = {
        server: json.loads(fleet.get(server, "/api/v1/status/buildinfo"))["data"]["version"] for server in SERVERS
    }
    assert versions["prom1"].startswith("2.42") and versions["prom2"].startswith("3")


def test_page_of_the_run(fleet: Fleet, first: First) -> None:
    """What the hosts answered for: no private key is in it either, see below."""
    facts = {item["exporter"]: item for item in first.run.ledger["exporters"]}
    assert set(facts) == {exporter for _client, exporter in PAIRS}
    assert all(item["asked"] and item["due"] > "2026" for item in facts.values())
    # One utility has no option for a limit.
    assert {name for name, item in facts.items() if item["limit"] != 15} == {"exp2"} and facts["exp2"]["limit"] is None
    for text in (first.run.ledger["verdict"], *facts, *fleet.servers, "Rate budget", "the wallet"):
        assert text in first.run.page, text


def test_check_mode_touches_nothing_and_predicts_the_real_run(fleet: Fleet, first: First) -> None:
    assert differences(first.before, first.between) == set()
    real = {change for change in first.run.changed() if not change[1].startswith("ansible.builtin")}
    assert first.predicted.changed() == real
    assert {host for host, _task in real} == {*MAIN, *SERVERS}
    for answers in (Run.exporters, Run.proven):
        reasons = [{name: item["why"] for name, item in answers(run).items()} for run in (first.predicted, first.run)]
        assert reasons[0] == reasons[1]
        assert all(reasons[0].values())
    expected = {name: item["generation"] for name, item in first.predicted.exporters().items()}
    assert expected == dict.fromkeys(EXPORTERS, "known after apply")


def test_rules_of_every_exporter_run_on_every_prometheus(fleet: Fleet, first: First) -> None:
    for server in SERVERS:
        groups = json.loads(fleet.get(server, "/api/v1/rules"))["data"]["groups"]
        names = {group["name"] for group in groups}
        assert {"timesten certificates", "timesten space"} <= names
        own = {name: group["rules"] for group in groups if (name := group["name"]).startswith("timesten exporter ")}
        assert {name.rpartition(" ")[2] for name in own} == set(EXPORTERS)
        for rules in own.values():
            # The certificate of this exporter is its own CA, and is told once.
            assert {rule["labels"].get("kind") for rule in rules} >= {"server", "client"}
        assert not [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]


def test_number_of_module_calls(first: First) -> None:
    """Counted by the interpreters of the hosts: one call for each exporter host, two for each Prometheus host, no constant."""
    once, twice = dict.fromkeys(MAIN, 1), dict.fromkeys(SERVERS, 2)
    assert first.run.calls == {**once, **twice}
    assert sum(first.run.calls.values()) == N + 2 * M
    assert not first.run.results("setup") and not first.run.results("gather_facts")


def test_number_of_tasks(fleet: Fleet, first: First) -> None:
    """A task of a host is a process of the controller: one for each call, and one for the table of the whole run."""
    assert fleet.run(SITE).worker_tasks == N + 2 * M + 1
    assert fleet.run(VERIFY).worker_tasks == M + 1


def test_second_run_changes_and_transfers_nothing(fleet: Fleet, first: First) -> None:
    pids = {name: item["process"]["pid"] for name, item in first.run.exporters().items()}
    before = {host: tree(fleet.lab, host) for host in SERVERS}
    for options in ((), ("--check", "--diff")):
        run = fleet.run(SITE, *options)
        assert run.changed() == set()
        assert {name: item["process"]["pid"] for name, item in run.exporters().items()} == pids
        assert sum(run.calls.values()) == N + 2 * M
        everything = json.dumps(run.events)
        assert "-----BEGIN" not in everything and "ciphertext" not in everything
    assert differences(before, {host: tree(fleet.lab, host) for host in SERVERS}) == set()


def test_verify_proves_every_refusal(fleet: Fleet, first: First) -> None:
    run = fleet.run(VERIFY)
    assert {pair: {proof: item[proof] for proof in PROOFS} for pair, item in run.proven().items()} == {
        pair: dict.fromkeys(PROOFS, True) for pair in PAIRS
    }
    assert sum(run.calls.values()) == M


def test_refusals_by_handshakes_of_our_own(fleet: Fleet, first: First) -> None:
    """The same from a Prometheus host with Python's ssl and with openssl, without a line of the collection."""
    store = "/etc/prometheus/timesten"
    for name, port in EXPORTERS.items():
        host = name.split("-", maxsplit=1)[0]
        ca, cert, key = (f"{store}/{name}/current/{file}" for file in ("ca.crt", "client.crt", "client.key"))
        other = "exp1" if name != "exp1" else "exp2"
        foreign = [f"{store}/{other}/current/{file}" for file in ("client.crt", "client.key")]
        answers = {
            "own": kit.handshake(fleet.lab, "prom1", host, port, ca, cert, key),
            "none": kit.handshake(fleet.lab, "prom1", host, port, ca),
            "foreign": kit.handshake(fleet.lab, "prom1", host, port, ca, *foreign),
            "http": kit.handshake(fleet.lab, "prom1", host, port),
        }
        assert answers == {"own": "accepted", "none": "refused", "foreign": "refused", "http": "refused"}, name
    command = f"openssl s_client -connect exp1:8888 -verify_return_error -verify_hostname exp1 -CAfile {store}/exp1/current/ca.crt"
    own = f"-cert {store}/exp1/current/client.crt -key {store}/exp1/current/client.key"
    request = "printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 10 "
    assert "timesten_instance_status" in shell(fleet.lab, "prom1", f"{request}{command} {own} -quiet -ign_eof 2>&1")
    assert "timesten_instance_status" not in shell(
        fleet.lab, "prom1", f"{request}{command} -quiet -ign_eof 2>&1", check=False
    )


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets(fleet: Fleet, first: First) -> dict[str, list[kit.Secret]]:
    """Every private key that there is on any host right after the first run, and the transport keys that were there during it."""
    by_kind: dict[str, list[kit.Secret]] = {"client": [], "probe": [], "wallet": [], "transport": []}
    for server in SERVERS:
        for path, pem in kit.files_on(fleet.lab, server, *kit.SERVER_KEYS).items():
            kind = "transport" if ".transport" in path else "client"
            by_kind[kind].append(kit.Secret(f"{server}:{path}", pem))
    for number, pem in enumerate(sorted(first.watch.transport_keys)):
        by_kind["transport"].append(kit.Secret(f"transport key {number}", pem))
    for host in MAIN:
        for path, pem in kit.files_on(fleet.lab, host, *kit.EXPORTER_KEYS).items():
            by_kind["probe"].append(kit.Secret(f"{host}:{path}", pem))
        for path, wallet in kit.files_on(fleet.lab, host, *kit.WALLETS).items():
            by_kind["wallet"] += [kit.Secret(f"{host}:{path}", pem) for pem in kit.wallet_keys(wallet)]
    return by_kind


def test_search_finds_a_key_in_every_form(secrets: dict[str, list[kit.Secret]], fleet: Fleet) -> None:
    """So that the next test cannot pass by searching badly."""
    path, pem = next(iter(kit.files_on(fleet.lab, "prom1", "/etc/prometheus/timesten/exp1/*/client.key").items()))
    secret = [kit.Secret("key", pem)]
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    forms = {
        "pem": pem,
        "json": json.dumps({"msg": pem.decode()}).encode(),
        "json in json": json.dumps(json.dumps(pem.decode())).encode(),
        "wallet's separators": pem.replace(b"\n", b"|"),
        "der": der,
        "hex": der.hex().encode(),
        "base64 of pem": base64.encodebytes(pem),
        "wrapped at 76": base64.encodebytes(der),
        **{f"alignment {shift}": base64.b64encode(b"x" * shift + der) for shift in range(3)},
        **{f"url-safe {shift}": base64.urlsafe_b64encode(b"x" * shift + der) for shift in range(3)},
    }
    for form, data in forms.items():
        assert kit.find_secrets(b"before " + data + b" after", secret) == {"key"}, form
    assert kit.find_secrets(b"before " + os.urandom(100_000), secret) == set()
    assert path and {kind: len(keys) for kind, keys in secrets.items()}["client"] == len(PAIRS)
    assert len(secrets["probe"]) == len(EXPORTERS) and len(secrets["wallet"]) >= len(EXPORTERS)
    # The key that the pairs were sealed for was replaced at the end of the run; both were seen.
    assert len({part for secret in secrets["transport"] for part in secret.parts}) == 2 * M


def test_no_private_key_on_the_controller(fleet: Fleet, first: First, secrets: dict[str, list[kit.Secret]]) -> None:
    every = [secret for keys in secrets.values() for secret in keys]
    searched = 0
    for path in fleet.lab.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            searched += len(data)
            assert kit.find_secrets(data, every) == set(), path
    for path, data in first.watch.temporary.items():
        assert kit.find_secrets(data, every) == set(), f"for a moment in {path}"
    facts = {path for name in fleet.hosts for path in (fleet.directory / "facts").glob(f"*{name}")}
    assert len(facts) == N + M
    kinds = [fleet.directory / "log", fleet.directory / "output", *facts]
    assert all(path.stat().st_size > 1000 for path in kinds), "nothing was kept that could be searched"
    recorded = json.dumps(first.run.events)
    assert "ciphertext" in recorded and "-----BEGIN CERTIFICATE" in recorded, "nothing travelled that could be searched"
    assert searched > 100_000


def test_no_private_key_in_a_command_line(first: First, secrets: dict[str, list[kit.Secret]]) -> None:
    every = [secret for keys in secrets.values() for secret in keys]
    lines = b"\n".join(first.watch.command_lines)
    assert b"-export-client-private-key" in lines, "the utility's work was not seen"
    assert kit.find_secrets(lines, every) == set()
    assert b"PRIVATE KEY" not in lines
    assert first.watch.samples > 20


def test_no_private_key_that_others_can_read_on_the_hosts(
    fleet: Fleet, first: First, secrets: dict[str, list[kit.Secret]]
) -> None:
    every = [secret for keys in secrets.values() for secret in keys]
    for host in fleet.hosts:
        readable = kit.readable_by(fleet.lab, host, "nobody")
        assert "/etc/hostname" in readable
        for path, data in readable.items():
            assert kit.find_secrets(data, every) == set(), f"{host}:{path}"


def test_no_client_key_is_left_on_an_exporter_host(
    fleet: Fleet, first: First, secrets: dict[str, list[kit.Secret]]
) -> None:
    for host in MAIN:
        left = {}
        for path, data in kit.readable_by(fleet.lab, host, "root").items():
            assert kit.find_secrets(data, secrets["client"] + secrets["transport"]) == set(), f"{host}:{path}"
            if kit.find_secrets(data, secrets["probe"] + secrets["wallet"]):
                left[path] = data
        # In the clear, there are only the keys for the exporter's own handshakes with itself.
        assert len(left) == len(MAIN[host])
        assert all(re.search(r"/clients/probe/client\.key$", path) for path in left)


# --- insecure ---------------------------------------------------------------------------------------------------------


def test_insecure_and_back(fleet: Fleet, first: First) -> None:
    variables = fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp1"]
    variables["exporter_host_insecure"] = True
    try:
        run = fleet.run()
        assert {host for host, _task in run.changed()} == {"exp1", *SERVERS}
        assert {pair: item["up"] for pair, item in run.proven().items()} == dict.fromkeys(PAIRS, True)
        assert fleet.health() == dict.fromkeys(PAIRS, "up")
        assert fleet.targets("prom1")["timesten-exp1"]["scrapeUrl"] == "http://exp1:8888/metrics"
        assert kit.handshake(fleet.lab, "prom1", "exp1", 8888).endswith("200 OK")
        assert fleet.run().changed() == set()
        assert {pair: item["up"] for pair, item in fleet.run(VERIFY).proven().items()} == dict.fromkeys(PAIRS, True)
    finally:
        del variables["exporter_host_insecure"]
    run = fleet.run()
    assert {host for host, _task in run.changed()} == {"exp1", *SERVERS}
    assert fleet.health() == dict.fromkeys(PAIRS, "up")
    assert fleet.targets("prom1")["timesten-exp1"]["scrapeUrl"] == "https://exp1:8888/metrics"
    assert kit.handshake(fleet.lab, "prom1", "exp1", 8888) == "refused"


# --- what is wrong with a run is told before it begins ----------------------------------------------------------------


def refused(fleet: Fleet, *options: str, **keywords: Any) -> str:
    """Run the site playbook, which must stop in the preflight; return what it says."""
    run = fleet.run(SITE, *options, expect=2, **keywords)
    assert sum(run.calls.values()) == 0
    assert {e["task"] for e in run.events} == {"Nothing is wrong", "Nothing must be wrong before anything is touched"}
    return str(run.results("assert", "failed")[0]["result"]["msg"])


@pytest.mark.parametrize(
    ("limit", "left_out", "way_out"),
    [
        ("exp2:exp3:prom1", "prom2", "exp2:exp3:prometheus_servers"),
        ("prometheus_servers", "every exporter host", "exp1:prometheus_servers"),
    ],
)
def test_limit_that_leaves_a_side_out(fleet: Fleet, first: First, limit: str, left_out: str, way_out: str) -> None:
    assert refused(fleet, "--limit", limit) == (
        f"--limit {limit} leaves out {left_out}; an exporter and all its Prometheus hosts have to be in the same run: --limit '{way_out}'"
    )


def test_verify_tells_what_does_not_hold_and_a_limit_repairs_it(fleet: Fleet, first: First) -> None:
    """Does that one exporter, and leaves what is stored of the others."""
    stop_exporter(fleet.lab, "exp2")
    fleet.await_health({(server, name): "down" if name == "exp2" else "up" for server, name in PAIRS})
    run = fleet.run(VERIFY, expect=2)
    assert run.pairs() == {pair: "failed" if pair[1] == "exp2" else "proven" for pair in PAIRS}, run.output
    assert all("connection refused" in pair["reason"] for pair in run.ledger["pairs"] if pair["exporter"] == "exp2")
    assert run.report() == {}, "the reason stands at the pairs"
    run = fleet.run(SITE, "--limit", "exp2:prometheus_servers")
    assert {host for host, _task in run.changed()} == {"exp2"}
    assert run.calls == {"exp1": 0, "exp2": 1, "exp3": 0, "prom1": 2, "prom2": 2}
    assert fleet.health() == dict.fromkeys(PAIRS, "up")


def stop_exporter(lab: Lab, host: str) -> None:
    """End the exporters of a host, not through our own code, and wait until they are gone."""
    shell(
        lab,
        host,
        "pkill -TERM -f '[t]tExporter.*-port'; while pgrep -f '[t]tExporter.*-port' >/dev/null; do sleep 0.1; done",
        timeout=30,
    )


def test_wrong_variables(fleet: Fleet, first: First) -> None:
    """All that is wrong is told at once, and where it is."""
    wrong = json.loads(json.dumps(fleet.tree))
    groups = wrong["all"]["children"]
    exporters, servers = groups["timesten_exporters"]["hosts"], groups["prometheus_servers"]["hosts"]
    exporters["exp1"] |= {"exporter_host_prot": 8889, "exporter_host_port": 88888}
    exporters["exp2"] |= {"exporter_host_exporters": [{"instance": "sales", "home": "/opt/timesten/sales"}]}
    exporters["exp3"] |= {"exporter_host_port": "eighty", "exporter_host_regenerate": "sometimes"}
    servers["prom1"] |= {"prometheus_host_on_existing": "overwrite"}
    servers["prom2"] |= {"prometheus_host_instances": [{"instance": "a"}, {"instance": "b"}]}
    path = fleet.directory / "wrong.json"
    path.write_text(json.dumps(wrong))
    said = refused(fleet, inventory=path).splitlines()
    for expected in (
        "exp1: exporter_host_prot is not a variable of the role exporter_host; exporter_host_port is",
        "exp1: exporter_host_port: 88888 is not between 1 and 65535",
        "exp2: exporter_host_exporters[0].home is not a key that it has",
        "exp3: argument 'exporter_host_port' is of type .*str.* and we were unable to convert to int",
        "exp3: value of exporter_host_regenerate must be one of: never, when_due, when_changed, always, got: sometimes",
        "prom1: value of prometheus_host_on_existing must be one of: fail, adopt, keep, got: overwrite",
        "prom2: prometheus_host_instances of prom2: prom2-b and prom2-a have the same prometheus_host_config_file",
    ):
        pattern = expected if "\\" in expected or ".*" in expected else re.escape(expected)
        assert any(re.match(pattern, line) for line in said), f"{expected} is not in\n" + "\n".join(said)


def test_same_names_and_targets_across_hosts(fleet: Fleet, first: First) -> None:
    wrong = json.loads(json.dumps(fleet.tree))
    exporters = wrong["all"]["children"]["timesten_exporters"]["hosts"]
    # A host whose own name is that of another one's exporter, at the same address.
    exporters["exp3-sales"] = {**exporters["exp1"], "exporter_host_address": "exp3"}
    path = fleet.directory / "twice.json"
    path.write_text(json.dumps(wrong))
    assert refused(fleet, inventory=path).splitlines() == [
        "the exporter name exp3-sales is there 2 times: on exp3, exp3-sales",
        "the target exp3:8888 is there 2 times: on exp3, exp3-sales",
    ]


@pytest.mark.parametrize("playbook", [SITE, VERIFY])
def test_missing_group(fleet: Fleet, first: First, playbook: str) -> None:
    wrong = json.loads(json.dumps(fleet.tree))
    children = wrong["all"]["children"]
    children["prometheus_server"] = children.pop("prometheus_servers")
    path = fleet.directory / "missing.json"
    path.write_text(json.dumps(wrong))
    run = fleet.run(playbook, inventory=path, expect=2)
    assert (
        "the inventory has no host in the group prometheus_servers, to which the hosts belong that run Prometheus"
        in run.output
    )
    assert sum(run.calls.values()) == 0


# --- hosts that fail --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(lab: Lab) -> Fleet:
    """Hosts without anything, of which most will fail."""
    names = ("exp4", "exp5", "exp6", "exp7")
    for name in names:
        kit.install_exporter(lab, name, {"ttinst": {"RATE": "unlimited"}})
    return Fleet(
        lab,
        "broken",
        {name: {} for name in names},
        ("prom3", "prom4"),
        exporter_host_timesten_home=f"{HOMES}/ttinst",
        exporter_host_rate_budget="warn",
        prometheus_host_scrape_interval="1s",
    )


def test_partial_failure_and_the_run_after_it(broken: Fleet) -> None:
    lab, directory = broken.lab, f"{HOMES}/ttinst/monitoring"
    lab.kill("exp5")
    lab.kill("prom4")
    shell(
        lab, "exp6", f"mkdir {directory}; mount -t tmpfs -o size=12k,mode=0700,uid=$(id -u timesten) tmpfs {directory}"
    )
    shell(lab, "exp7", "sed -i /^deploy/d /etc/sudoers")
    run = broken.run(expect=2)
    assert broken.health(["prom3"]) == {("prom3", "exp4"): "up"}
    assert run.proven()[("prom3", "exp4")]["up"]
    pid = run.exporters()["exp4"]["process"]["pid"]
    report = run.report()
    assert sorted(report) == ["exp5", "exp6", "exp7", "prom4"]
    for host, reason in {
        "exp5": r"could not be reached|refused|No route|timed out",
        "prom4": r"could not be reached|refused|No route|timed out",
        "exp6": r"No space left on device",
        "exp7": r"[Ss]udo password.*ansible_become_method",
    }.items():
        assert re.search(reason, report[host]), report[host]
    states = run.pairs()
    assert [pair for pair, state in states.items() if state == "proven"] == [("prom3", "exp4")]
    assert len(states) == 8 and "1 of 8 pairs proven, 7 not proven" in run.output
    shell(lab, "exp6", f"mount -o remount,size=10m {directory}")
    shell(lab, "exp7", "echo 'deploy ALL=(ALL:ALL) NOPASSWD: ALL' >>/etc/sudoers")
    lab.boot("exp5")
    lab.boot("prom4")
    run = broken.run()
    pairs = set(itertools.product(broken.servers, broken.exporters))
    assert broken.health() == dict.fromkeys(pairs, "up")
    assert run.exporters()["exp4"]["process"]["pid"] == pid, "what was finished is left alone"
    assert not run.report()
    assert broken.run().changed() == set()


@pytest.fixture
def no_sudo_on_exp1(fleet: Fleet) -> Iterator[None]:
    shell(fleet.lab, "exp1", "cp -p /etc/sudoers /etc/sudoers.kept; sed -i /^deploy/d /etc/sudoers")
    yield
    shell(fleet.lab, "exp1", "mv /etc/sudoers.kept /etc/sudoers")


def test_batches(fleet: Fleet, first: First, no_sudo_on_exp1: None) -> None:
    """Too many failures: no further batch is begun, and the Prometheus hosts are finished all the same."""
    run = fleet.run(expect=2, timesten_serial=1, timesten_max_fail_percentage=0)
    assert run.calls == {"exp1": 0, "exp2": 0, "exp3": 0, "prom1": 2, "prom2": 2}
    assert {host: "not begun" in text for host, text in run.report().items()} == {
        "exp1": False,
        "exp2": True,
        "exp3": True,
    }
    run = fleet.run(expect=2, timesten_serial=[1, "100%"], timesten_max_fail_percentage=50)
    assert run.calls == {"exp1": 0, "exp2": 1, "exp3": 1, "prom1": 2, "prom2": 2}
    assert list(run.report()) == ["exp1"]
    assert run.changed() == set()


def test_hosts_without_interpreter_or_package(fleet: Fleet, first: First) -> None:
    """No call of its own looks for them: the failure of the first call is translated."""
    bare = "/usr/local/bin/python3-bare"
    shell(fleet.lab, "exp2", f"cat >{bare}; chmod 0755 {bare}", input='#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')
    inventory = json.loads(json.dumps(fleet.tree))
    groups = inventory["all"]["children"]
    groups["timesten_exporters"]["hosts"]["exp1"]["ansible_python_interpreter"] = "/usr/bin/python3.99"
    groups["timesten_exporters"]["hosts"]["exp2"]["ansible_python_interpreter"] = bare
    groups["prometheus_servers"]["hosts"]["prom2"]["ansible_python_interpreter"] = "/usr/bin/python3.99"
    path = fleet.directory / "interpreters.json"
    path.write_text(json.dumps(inventory))
    report = fleet.run(inventory=path, expect=2).report()
    assert sorted(report) == ["exp1", "exp2", "prom2"]
    for host, cause in {
        "exp1": "python3.99: not found",
        "exp2": "cryptography",
        "prom2": "python3.99: not found",
    }.items():
        assert cause in report[host]
        assert "apt-get install python3 python3-cryptography" in report[host]
        assert "dnf install python39 python39-cryptography" in report[host]


def test_two_controllers_at_once(fleet: Fleet, first: First) -> None:
    """Each host does one thing after the other; who comes too late says so, and the fleet is whole."""
    change: dict[str, Any] = {"prometheus_host_scrape_interval": "2s", "exporter_host_rate_limit": 14}
    inventories = [fleet.directory / f"controller{number}.json" for number in (1, 2)]
    for path in inventories:
        path.write_text(json.dumps(fleet.tree))
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        runs = list(threads.map(lambda path: fleet.run(inventory=path, expect=None, **change), inventories))
    reports = [run.report() for run in runs]
    for report in reports:
        told = r"was changed by another run \(\S+@\S+ \(process \d+\)\) since it was inspected"
        assert all(re.search(told, text) for text in report.values()), report
    # Each Prometheus host was finished by whoever came first.
    assert not set(reports[0]) & set(reports[1]), reports
    assert [run.code for run in runs] == [2 if report else 0 for report in reports]
    assert fleet.run(**change).changed() == set()
    assert fleet.health() == dict.fromkeys(PAIRS, "up")


# --- what is not documented of ttExporter -----------------------------------------------------------------------------

COLUMNS = ("RUN", "PKI", "EXPORT", "SECOND_CREATE", "RATE_OPTION", "RATE", "START_DELAY", "VALIDITY", "WALLET")
# How a process behaves: tests/integration/test_exporter_behaviour.py and test_boot.py.
BEHAVIOUR = {"HELP", "NAME", "NOISE", "PID_FILE", "PID_FILE_DELAY", "STOP_DELAY"}
# Any two values of two columns stand together in some row.
ROWS = [
    ("foreground", "ca", "ca", "refuse", "limit-rate", "unlimited", "1.5", "3650d", "aes"),
    ("detach", "ca", "ca", "overwrite", "limitRate", "limited", "0", "90m", "des"),
    ("foreground", "self-signed", "ca", "keep", "absent", "limited", "0", "90m", "aes"),
    ("foreground", "self-signed", "leaf", "refuse", "limitRate", "limited", "1.5", "90m", "des"),
    ("detach", "self-signed", "leaf", "overwrite", "absent", "unlimited", "1.5", "3650d", "aes"),
    ("detach", "ca", "leaf", "keep", "limit-rate", "limited", "0", "90m", "des"),
    ("detach", "ca", "chain", "refuse", "absent", "unlimited", "0", "90m", "des"),
    ("foreground", "self-signed", "chain", "overwrite", "limit-rate", "limited", "0", "3650d", "des"),
    ("foreground", "ca", "chain", "keep", "limitRate", "unlimited", "1.5", "3650d", "aes"),
]


def test_rows_hold_all_pairs_of_values() -> None:
    values = [sorted({row[column] for row in ROWS}) for column in range(len(COLUMNS))]
    documented = (kit.ROOT / "roles/reference_exporter/README.md").read_text(encoding="utf-8")
    assert {*COLUMNS, *BEHAVIOUR} == set(re.findall(r"^\| `REFERENCE_EXPORTER_(\w+)`", documented, re.MULTILINE))
    for one, other in itertools.combinations(range(len(COLUMNS)), 2):
        together = {(row[one], row[other]) for row in ROWS}
        assert together == set(itertools.product(values[one], values[other])), (COLUMNS[one], COLUMNS[other])


def test_every_variant_passes_the_same_run(lab: Lab) -> None:
    """Nine exporters on three hosts, within the utility's own limit; one host is dialled by its address, one certificate has other names."""
    hosts = {}
    for number, host in enumerate(("exp8", "exp9", "exp10")):
        variants = {f"v{3 * number + row}": dict(zip(COLUMNS, ROWS[3 * number + row])) for row in range(3)}
        kit.install_exporter(lab, host, variants)
        hosts[host] = {
            "exporter_host_exporters": [
                {"instance": name, "port": 9000 + index, "timesten_home": f"{HOMES}/{name}"}
                for index, name in enumerate(variants)
            ]
        }
    hosts["exp8"]["exporter_host_address"] = next(host.address for host in lab.hosts if host.name == "exp8")
    hosts["exp9"]["exporter_host_alt_names"] = ["metrics.example.com", "*.exp9.example.com"]
    fleet = Fleet(
        lab, "variants", hosts, ["prom5"], exporter_host_renew_before="20%", prometheus_host_scrape_interval="7s"
    )
    names = {f"{host}-{item['instance']}" for host, own in hosts.items() for item in own["exporter_host_exporters"]}
    run = fleet.run()
    assert fleet.health() == {("prom5", name): "up" for name in names}
    assert sum(run.calls.values()) == 3 + 2
    assert fleet.run().changed() == set()
    proven = fleet.run(VERIFY).proven()
    assert {pair: {proof: item[proof] for proof in PROOFS} for pair, item in proven.items()} == {
        ("prom5", name): dict.fromkeys(PROOFS, True) for name in names
    }
    urls = {target["scrapeUrl"] for target in fleet.targets("prom5").values()}
    assert {"https://10.77.1.8:9000/metrics", "https://exp9:9001/metrics"} <= urls
