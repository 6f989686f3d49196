# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the exporter host against the reference exporter: real wallets, real processes, real handshakes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define_all, define_clients
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import converge_host
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal
from integration import exporter_kit as kit

LATER = "known after apply"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


@dataclasses.dataclass
class Place:
    """One instance, one exporter's directory, one client with a transport key."""

    instance: kit.Instance
    directory: str
    port: int
    private: bytes
    public: str

    @property
    def options(self) -> dict:
        return {"timesten_home": self.instance.home, "certificate_directory": self.directory}

    def exporter(self, **options) -> dict:
        return {**self.options, "name": "exp1", "address": "localhost", "port": self.port, **options}

    def host(self, clients: list | None = None, **options) -> dict:
        """Arguments of tt_exporter_host for the one exporter."""
        return {"exporters": [self.exporter(**options)], "clients": [self.client()] if clients is None else clients}

    def client(self, name: str = "prom1", **more) -> dict:
        return {"name": name, "recipient": self.public, "scrape_interval": 15.0, **more}

    def having(self, answer: kit.Answer, name: str = "prom1") -> dict:
        """The client, once it has stored what a run delivered."""
        found = answer["exporters"][0]
        pair = next(pair for pair in found["pairs"] if pair["client"] == name)
        stored = {"delivery": pair["delivery"], "sha256": pair["sha256"], "ca_sha256": found["ca_sha256"]}
        return self.client(name, stored={"exp1": stored})

    def unsealed(self, answer: kit.Answer, name: str = "prom1") -> bytes:
        """The private key that a run delivered."""
        found = answer["exporters"][0]
        pair = next(pair for pair in found["pairs"] if pair["client"] == name)
        return _seal.unseal(pair["bundle"], self.private, "exp1", name, found["generation"], pair["sha256"])

    def delivered(self, answer: kit.Answer, folder: pathlib.Path, name: str = "prom1") -> dict:
        """Write what a run delivered as a Prometheus would have it; return the arguments of a probe."""
        folder.mkdir()
        found = answer["exporters"][0]
        pair = next(pair for pair in found["pairs"] if pair["client"] == name)
        (folder / "ca.crt").write_text(found["ca_certificate"])
        (folder / "client.crt").write_text(pair["certificate"])
        (folder / "client.key").write_bytes(self.unsealed(answer, name))
        return {
            "ca_file": str(folder / "ca.crt"),
            "certificate_file": str(folder / "client.crt"),
            "key_file": str(folder / "client.key"),
        }

    def probe(self, **files) -> str:
        return _tls_probe.tls("127.0.0.1", self.port, **files).status

    @property
    def generations(self) -> list[str]:
        folder = os.path.join(self.directory, "generations")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    @property
    def generation(self) -> str:
        return os.path.join(self.directory, os.readlink(os.path.join(self.directory, "current")))


@pytest.fixture
def place(tmp_path):
    instance = kit.Instance(tmp_path / "instance").install()
    private, public = _seal.new_transport_key()
    yield Place(instance, str(tmp_path / "monitoring" / "exp1"), kit.free_port(), private, public)
    instance.end()


# ---------------------------------------------------------------------------------------------------------------------
# Every value of every variant

VARIANTS = {
    "RUN": ("foreground", "detach"),
    "PKI": ("ca", "self-signed"),
    "EXPORT": ("ca", "leaf", "chain"),
    "SECOND_CREATE": ("refuse", "overwrite", "keep"),
    "RATE_OPTION": ("limit-rate", "limitRate", "absent"),
    "RATE": ("limited", "unlimited"),
    "WALLET": ("aes", "des"),
    "START_DELAY": ("0", "0.7"),
    "VALIDITY": ("3650d", "90m"),
}


def pairwise(variants: dict) -> list[dict]:
    """Choose combinations, greedily, until each two values of two variants are together in one of them."""
    names = list(variants)
    open_pairs = {
        ((a, x), (b, y)) for a, b in itertools.combinations(names, 2) for x in variants[a] for y in variants[b]
    }
    everything = [dict(zip(names, values)) for values in itertools.product(*variants.values())]
    chosen = []
    while open_pairs:
        best = max(everything, key=lambda case: len(open_pairs & set(itertools.combinations(case.items(), 2))))
        open_pairs -= set(itertools.combinations(best.items(), 2))
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("variants", pairwise(VARIANTS), ids=lambda case: "-".join(case.values()))
def test_every_variant(place, tmp_path, variants):
    place.instance.install(**variants)
    limit = None if variants["RATE_OPTION"] == "absent" else 15

    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    found = first["exporters"][0]
    assert found["rate_limit"] == limit
    assert found["process"]["state"] == "started"
    assert found["alt_names"] == ["localhost"]
    assert found["server_certificate"]["common_name"] == "localhost"
    shown = variants["PKI"] == "self-signed" or variants["EXPORT"] != "ca"
    assert found["server_certificate_source"] == ("export" if shown else "handshake")
    one = variants["PKI"] == "self-signed" or variants["EXPORT"] == "leaf"
    assert (found["ca_not_after"] is None) == one, "a certificate is told once, as what it is"
    pair = place.delivered(first, tmp_path / "first")
    assert place.probe(**pair, server_name="localhost") == _tls_probe.ACCEPTED
    assert place.probe() == _tls_probe.REFUSED

    place.instance.calls()
    again = place.host([place.having(first)])
    for check in (False, True):
        second = kit.succeed("tt_exporter_host", again, check=check, changed=False)
        assert second["exporters"][0]["why"] == []
        assert "bundle" not in second["exporters"][0]["pairs"][0]
        assert "PEM" not in second.output and "BEGIN CERTIFICATE" not in second.output
    assert place.instance.calls() == []

    exported = {**place.options, "path": str(tmp_path / "server.crt")}
    assert kit.succeed("tt_export_cert", exported, changed=True)["ca_sha256"] == found["ca_sha256"]
    kit.succeed("tt_export_cert", exported, changed=False)
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=False)
    kit.succeed("tt_exporter", {**place.options, "port": place.port}, changed=False)
    assert kit.succeed("tt_exporter_info", place.options)["process"]["generation"] == found["generation"]

    # A new wallet, and with it a new pair; the exporter serves it, and the old pair is no good any more.
    renewed = kit.succeed("tt_exporter_host", place.host([place.having(first)], regenerate="always"), changed=True)
    assert renewed["exporters"][0]["why"] == ["regenerate is always", "the wallet is new"]
    new_pair = place.delivered(renewed, tmp_path / "renewed")
    assert place.probe(**new_pair, server_name="localhost") == _tls_probe.ACCEPTED
    assert place.probe(**{**new_pair, "certificate_file": pair["certificate_file"], "key_file": pair["key_file"]}) == (
        _tls_probe.REFUSED
    )
    assert place.probe(**pair) == _tls_probe.UNTRUSTED

    pid = renewed["exporters"][0]["process"]["pid"]
    restarted = kit.succeed("tt_exporter", {**place.options, "port": place.port, "state": "restarted"}, changed=True)
    assert restarted["process"]["pid"] != pid
    assert restarted["rate_limit"] == limit
    assert len({process.session for process in place.instance.exporters()}) == 1

    kit.succeed("tt_exporter", {**place.options, "state": "stopped"}, changed=True)
    assert place.instance.exporters() == []
    kit.succeed("tt_exporter", {**place.options, "state": "stopped"}, changed=False)
    assert not os.path.exists(os.path.join(place.directory, "exporter.pid"))


# ---------------------------------------------------------------------------------------------------------------------
# Check mode, diff, second run


def same_prediction(predicted: kit.Answer, real: kit.Answer) -> None:
    """Check mode has to name the same changes, and a value wherever the real run has one."""
    assert predicted.changed is real.changed is True

    def compare(one, other, path=""):
        if one in (LATER, None, "none") or path.endswith("process/pid"):
            return
        if isinstance(one, dict):
            assert isinstance(other, dict), path
            for key in one:
                compare(one[key], other.get(key), f"{path}/{key}")
        elif isinstance(one, list):
            assert len(one) == len(other), path
            for index, item in enumerate(one):
                compare(item, other[index], f"{path}/{index}")
        else:
            assert one == other, path

    for key in set(predicted.result) - {"invocation", "warnings"}:
        compare(predicted[key], real.result.get(key), key)


@pytest.mark.parametrize(
    ("module", "more", "needs"),
    [
        ("tt_wallet", {"common_name": "localhost"}, []),
        ("tt_export_cert", {"path": "{}/server.crt"}, ["wallet"]),
        ("tt_client_cert", {"clients": [{"name": "prom1"}, {"name": "prom2", "recipient": "{}"}]}, ["wallet"]),
        ("tt_exporter", {"port": "{}"}, ["wallet"]),
        ("tt_exporter", {"port": "{}", "insecure": True}, []),
    ],
    ids=["wallet", "export", "clients", "exporter", "insecure"],
)
def test_ladder(place, tmp_path, module, more, needs):
    """Check on the untouched place, run, run again, check again."""
    arguments = {**place.options, **more}
    if "path" in more:
        arguments["path"] = str(tmp_path / "server.crt")
    if "port" in more:
        arguments["port"] = place.port
    if "clients" in more:
        arguments["clients"] = [{"name": "prom1"}, {"name": "prom2", "recipient": place.public}]
    virgin = kit.succeed(module, arguments, check=True, changed=True)
    assert not os.path.exists(os.path.dirname(place.directory)), "check mode made something"
    assert virgin["why"]
    if needs:
        # What a task before it would make is not there in check mode: said, not refused.
        assert "holds no wallet; make it with tt_wallet first" in " ".join(virgin["warnings"])
        assert "holds no wallet; make it with tt_wallet first" in kit.failure(module, arguments)
        assert not os.path.exists(os.path.dirname(place.directory)), "a refused run made something"
        kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    before = kit.tree(place.directory)
    predicted = kit.succeed(module, arguments, check=True, changed=True)
    assert kit.tree(place.directory) == before
    real = kit.succeed(module, arguments, changed=True)
    same_prediction(predicted, real)
    assert predicted["why"] == real["why"]
    after = {name: facts for name, facts in kit.tree(place.directory).items() if name != "lock"}
    place.instance.calls()
    kit.succeed(module, arguments, changed=False)
    kit.succeed(module, arguments, check=True, changed=False)
    assert place.instance.calls() == []
    assert {name: facts for name, facts in kit.tree(place.directory).items() if name != "lock"} == after


def test_host_check_on_nothing_predicts_the_real_run(place):
    predicted = kit.succeed("tt_exporter_host", place.host(), check=True, changed=True)
    assert not os.path.exists(os.path.dirname(place.directory))
    assert predicted["diff"][0]["before"]["process"]["state"] == "stopped"
    assert predicted["diff"][0]["after"]["process"]["state"] == "started"
    real = kit.succeed("tt_exporter_host", place.host(), changed=True)
    same_prediction(predicted, real)
    assert predicted["exporters"][0]["why"] == real["exporters"][0]["why"]


def test_check_before_anything_is_installed(place):
    shutil.rmtree(place.instance.home)
    predicted = kit.succeed("tt_exporter_host", place.host(), check=True, changed=True)
    assert "unless an earlier task of it does that" in predicted["warnings"][0]
    assert place.instance.home in predicted["warnings"][0]
    assert place.instance.home in kit.failure("tt_exporter_host", place.host())
    assert not os.path.exists(os.path.dirname(place.directory))


def test_second_run_calls_nothing_and_is_quick(place):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    arguments = place.host([place.having(first)])
    place.instance.calls()
    runs = [kit.succeed("tt_exporter_host", arguments, changed=False).seconds for _run in range(5)]
    assert place.instance.calls() == []
    print(f"second run: {min(runs) * 1000:.0f} ms")
    # A guard against waits that nobody needs, not a benchmark: the machine may be busy.
    assert min(runs) < 2.0


# ---------------------------------------------------------------------------------------------------------------------
# Wrong values

BAD_KEY = "BAAB"
WRONG = [
    *[
        (module, option, value, expected)
        for module in ("tt_wallet", "tt_export_cert", "tt_client_cert", "tt_exporter", "tt_exporter_info", "host")
        for option, value, expected in [
            ("timesten_home", "opt/timesten", "timesten_home: 'opt/timesten' is not an absolute path"),
            ("certificate_directory", "mycertdir", "certificate_directory: 'mycertdir' is not an absolute path"),
            ("environment", {"A": ["list"]}, "environment: A is not a text"),
        ]
    ],
    *[
        (module, "timesten_home", "/nonexistent/tt", "timesten_home: /nonexistent/tt is not a directory")
        for module in ("tt_wallet", "host")
    ],
    *[
        (module, option, value, expected)
        for module in ("tt_wallet", "host")
        for option, value, expected in [
            ("common_name", "no host", "common_name: 'no host' is neither a host name nor an IP address"),
            ("common_name", "10.0.0.999", "common_name: '10.0.0.999' looks like an IP address"),
            ("alt_names", ["good", "bad/name"], "alt_names[1]: 'bad/name' is neither"),
            ("rsa_key_size", 1024, "rsa_key_size: 1024 is not between 2048 and 16384"),
            ("renew_before", "soon", "renew_before: 'soon' is neither a duration"),
            ("renew_before", "150%", "renew_before: '150%' is neither a duration"),
            ("regenerate", "sometimes", "regenerate"),
            ("certificate_directory", os.path.expanduser("~"), "is the home directory"),
        ]
    ],
    *[
        (module, option, value, expected)
        for module in ("tt_exporter", "host")
        for option, value, expected in [
            ("port", 0, "port: 0 is not between 1 and 65535"),
            ("port", 65536, "port: 65536 is not between 1 and 65535"),
            ("rate_limit", 16, "rate_limit: 16 is not between 1 and 15"),
            ("rate_limit", 0, "rate_limit: 0 is not between 1 and 15"),
            ("pid_file", "exporter.pid", "pid_file: 'exporter.pid' is not an absolute path"),
            ("log_file", "exporter.log", "log_file: 'exporter.log' is not an absolute path"),
            ("stop_signal", "KILL", "stop_signal"),
            ("stop_timeout", 0, "stop_timeout: 0 is not between 1 and 3600"),
            ("start_timeout", 3601, "start_timeout: 3601 is not between 1 and 3600"),
            ("state", "running", "state"),
        ]
    ],
    ("tt_wallet", "state", "gone", "state"),
    (
        "tt_wallet",
        "certificate_directory",
        "/opt/a b",
        "certificate_directory (its last part): 'a b' is not a usable name",
    ),
    ("tt_client_cert", "renew_before", "5w", "renew_before: '5w' is neither"),
    ("tt_exporter_info", "renew_before", "5w", "renew_before: '5w' is neither"),
    ("tt_export_cert", "path", "server.crt", "path: 'server.crt' is not an absolute path"),
    ("tt_export_cert", "mode", "rw-r--r--", "mode: 'rw-r--r--' is no octal file mode"),
    ("tt_export_cert", "mode", "0888", "mode: '0888' is no octal file mode"),
    *[
        (module, "clients", value, expected)
        for module in ("tt_client_cert", "host")
        for value, expected in [
            ([{"name": "a/b"}], "clients[0].name: 'a/b' is not a usable name"),
            ([{"name": "probe"}], "clients[0].name: 'probe' is reserved"),
            ([{"name": "a"}, {"name": "A"}], "clients: 'a' and 'A' are the same name"),
            ([{"name": "a", "recipient": "not base64!"}], "clients[0].recipient: transport key is not valid base64"),
            ([{"name": "a", "recipient": BAD_KEY}], f"clients[0].recipient: {BAD_KEY!r} is no transport key"),
        ]
    ],
    ("host", "clients", [{"name": "a", "scrape_interval": 0}], "clients[0].scrape_interval: 0.0 is no positive number"),
    ("host", "name", "..", "name: '..' is not a usable name"),
    ("host", "address", "exp 1", "address: 'exp 1' is neither"),
    ("host", "keep_generations", -1, "keep_generations: -1 is not between 0 and 100"),
    ("host", "rate_budget", "ignore", "rate_budget"),
]


@pytest.mark.parametrize(("module", "option", "value", "expected"), WRONG, ids=lambda item: str(item)[:40])
def test_wrong_value(place, module, option, value, expected):
    extra = {
        "tt_wallet": {"common_name": "localhost"},
        "tt_export_cert": {"path": "/tmp/never-written"},
        "tt_client_cert": {"clients": [{"name": "prom1"}]},
        "tt_exporter": {"port": place.port},
        "tt_exporter_info": {},
    }
    if module != "host":
        message = kit.failure(module, {**place.options, **extra[module], option: value})
    else:
        arguments = place.host()
        (arguments if option in ("clients", "rate_budget") else arguments["exporters"][0])[option] = value
        message = kit.failure("tt_exporter_host", arguments)
        if (
            option not in ("clients", "rate_budget")
            and expected.startswith(f"{option}:")
            and "nonexistent" not in expected
        ):
            assert message.startswith(f"exporters[0].{option}")
    assert expected in message
    assert not os.path.exists(os.path.dirname(place.directory)), "something was made before the value was refused"


@pytest.mark.parametrize("option", ["name", "certificate_directory", "port", "pid_file", "log_file"])
def test_exporters_share_nothing(place, option):
    shared = {"pid_file": "/run/tt/x.pid", "log_file": "/run/tt/x.log"}
    one = place.exporter(**shared)
    other = {
        "name": "exp2",
        "certificate_directory": place.directory + "2",
        "port": place.port + 1,
        "pid_file": "/run/tt/y.pid",
        "log_file": "/run/tt/y.log",
    }
    other[option] = one[option]
    message = kit.failure("tt_exporter_host", {"exporters": [one, {**one, **other}]})
    if option == "name":
        assert message == "exporters: 'exp1' and 'exp1' are the same name; give each one its own"
    else:
        assert message == f"exporters: exp1 and exp2 have the same {option}: {one[option]}"


def test_home_only_if_allowed(place, tmp_path):
    (tmp_path / "exp1").mkdir(mode=0o700)
    arguments = {**place.options, "certificate_directory": str(tmp_path / "exp1"), "common_name": "localhost"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "exp1"))
        assert "is the home directory" in kit.failure("tt_wallet", arguments)
        kit.succeed("tt_wallet", {**arguments, "allow_home": True}, changed=True)


# ---------------------------------------------------------------------------------------------------------------------
# Wallets of other hands


@pytest.mark.parametrize("export", ["ca", "leaf", "chain"])
def test_adopts_a_wallet_made_by_hand(place, tmp_path, export):
    place.instance.install(EXPORT=export)
    os.makedirs(place.directory, mode=0o700)
    place.instance.by_hand(
        "-create-server-certificate", "-certificate-common-name", "localhost", "-certificate-alt-names", "localhost",
        "-certificate-directory", place.directory,
    )  # fmt: skip
    place.instance.by_hand(
        "-export-server-certificate", str(tmp_path / "by-hand.crt"), "-certificate-directory", place.directory
    )
    original = kit.tree(place.directory)
    # tt_exporter alone is enough.
    found = kit.succeed("tt_exporter", {**place.options, "port": place.port}, changed=True)
    assert found["why"][0] == "adopts the wallet that was made by hand"
    kit.succeed("tt_exporter", {**place.options, "port": place.port}, changed=False)
    now = kit.tree(place.directory)
    assert {name: now[name] for name in original if "cwallet" in name} == {
        name: facts for name, facts in original.items() if "cwallet" in name
    }
    wallet = kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=False)
    pem = _certificates.load((tmp_path / "by-hand.crt").read_bytes(), "by hand")
    assert wallet["ca_sha256"] == _certificates.bundle_fingerprint(pem)
    assert kit.succeed("tt_exporter_info", place.options)["origin"] == "adopted"
    # Where the leaf is known, by export or by handshake, its names are judged.
    other = kit.succeed("tt_wallet", {**place.options, "common_name": "other.example.com"}, changed=False)
    assert other["unfit"] == ["the certificate is not valid for other.example.com"]
    assert len(other["warnings"]) == 1


def test_wallet_changed_behind_our_back(place, tmp_path):
    place.instance.install(SECOND_CREATE="overwrite")
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    pair = place.delivered(first, tmp_path / "first")
    place.instance.by_hand(
        "-create-server-certificate", "-certificate-common-name", "localhost", "-certificate-alt-names", "localhost",
        "-certificate-directory", place.generation,
    )  # fmt: skip
    assert kit.succeed("tt_exporter_info", place.options)["wallet_changed"] is True
    predicted = kit.succeed("tt_exporter_host", place.host([place.having(first)]), check=True, changed=True)
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    assert predicted["exporters"][0]["why"] == second["exporters"][0]["why"]
    assert second["exporters"][0]["why"] == ["the wallet was changed by somebody else", "the wallet is new"]
    new_pair = place.delivered(second, tmp_path / "second")
    assert place.probe(**new_pair) == _tls_probe.ACCEPTED
    assert place.probe(certificate_file=pair["certificate_file"], key_file=pair["key_file"]) == _tls_probe.REFUSED
    assert kit.succeed("tt_exporter_info", place.options)["wallet_changed"] is False
    kit.succeed("tt_exporter_host", place.host([place.having(second)]), changed=False)


def test_wallet_touched_but_the_same(place):
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    wallet = next(pathlib.Path(place.generation).glob(".ttwallet.*/cwallet.sso"))
    os.utime(wallet, (1, 1))
    place.instance.calls()
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=False)
    assert place.instance.calls() == []


def test_wallet_gone(place, tmp_path):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    shutil.rmtree(next(pathlib.Path(place.generation).glob(".ttwallet.*")))
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    assert "is gone" in second["exporters"][0]["why"][0]
    assert place.probe(**place.delivered(second, tmp_path / "second")) == _tls_probe.ACCEPTED


def test_two_wallets_are_refused(place):
    os.makedirs(place.directory, mode=0o700)
    for name in ("A", "B"):
        os.mkdir(os.path.join(place.directory, f".ttwallet.{name}"))
        pathlib.Path(place.directory, f".ttwallet.{name}", "cwallet.sso").write_text("x")
    message = kit.failure("tt_wallet", {**place.options, "common_name": "localhost"})
    assert "holds 2 wallets" in message and ".ttwallet.A" in message and ".ttwallet.B" in message


def test_unusable_wallet_made_by_hand_is_not_replaced(place):
    os.makedirs(os.path.join(place.directory, ".ttwallet.A"), mode=0o700)
    os.chmod(place.directory, 0o700)
    pathlib.Path(place.directory, ".ttwallet.A", "cwallet.sso").write_text("no wallet")
    found = kit.call("tt_wallet", {**place.options, "common_name": "localhost"})
    assert found.failed
    assert found["rc"] != 0 and "-export-server-certificate" in found["cmd"]
    assert place.generations == []


# ---------------------------------------------------------------------------------------------------------------------
# Due, changed, regenerate


@pytest.mark.parametrize(
    ("policy", "due", "unfit", "replaced"),
    [
        ("never", True, True, False),
        ("never", False, False, False),
        ("when_due", True, False, True),
        ("when_due", False, True, False),
        ("when_due", False, False, False),
        ("when_changed", True, False, True),
        ("when_changed", False, True, True),
        ("when_changed", False, False, False),
        ("always", False, False, True),
    ],
)
def test_regenerate(place, policy, due, unfit, replaced):
    place.instance.install(VALIDITY="2m")
    options = {**place.options, "common_name": "localhost", "renew_before": "0%"}
    first = kit.succeed("tt_wallet", options, changed=True)
    kit.succeed("tt_client_cert", {**place.options, "clients": [{"name": "prom1"}], "renew_before": "0%"}, changed=True)
    options["regenerate"] = policy
    if due:
        options["renew_before"] = "99%"
        # Due from the hundredth part of two minutes on.
        end = _certificates.parse_timestamp(first["due_at"])
        kit.until(lambda: _certificates.utcnow() > end - datetime.timedelta(seconds=118))
    if unfit:
        options["common_name"] = "other"
    place.instance.calls()
    # The pair for local handshakes is due as well, and renewed whatever becomes of the wallet.
    predicted = kit.succeed("tt_wallet", options, check=True, changed=replaced or due)
    assert place.instance.calls() == []
    found = kit.succeed("tt_wallet", options, changed=replaced or due)
    assert predicted["why"] == found["why"]
    assert any(reason.startswith("pair probe: ends at ") for reason in found["why"]) is (due and not replaced)
    assert predicted["invalidated_clients"] == found["invalidated_clients"] == (["prom1"] if replaced else [])
    assert (found["generation"] != first["generation"]) is replaced
    assert len(place.generations) == (2 if replaced else 1)
    if not replaced:
        assert bool(found["due"]) is due
        assert found["unfit"] == (
            ["common_name localhost -> other", "alt_names ['localhost'] -> ['other']"] if unfit else []
        )
        assert len(found["warnings"]) == due + unfit


def test_key_size_is_compared_and_used(place):
    place.instance.install(PKI="self-signed", EXPORT="leaf")
    options = {**place.options, "common_name": "localhost", "regenerate": "when_changed"}
    kit.succeed("tt_wallet", options, changed=True)
    bigger = kit.succeed("tt_wallet", {**options, "rsa_key_size": 3072}, changed=True)
    assert bigger["server_certificate"]["key"] == "rsa 3072"
    assert bigger["why"] == ["rsa_key_size None -> 3072"]
    # Not asked for is not a change.
    kit.succeed("tt_wallet", options, changed=False)


def test_lifetime_shorter_than_renew_before(place):
    place.instance.install(VALIDITY="90m")
    first = kit.succeed("tt_exporter_host", place.host(renew_before="30d"), changed=True)
    kit.succeed("tt_exporter_host", place.host([place.having(first)], renew_before="30d"), changed=False)


def test_expired(place, tmp_path):
    place.instance.install(VALIDITY="9s")
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    # The pair was made last, so it ends last.
    end = _certificates.parse_timestamp(first["exporters"][0]["pairs"][0]["not_after"])
    kit.until(lambda: _certificates.utcnow() > end)
    info = kit.succeed("tt_exporter_info", place.options)
    assert info["due"].startswith("expired at ") and info["pairs"][0]["due"].startswith("expired at ")
    assert info["process"]["state"] == "started"
    place.instance.install(VALIDITY="1d")
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    assert second["exporters"][0]["why"][0].startswith("the wallet expired at ")
    assert place.probe(**place.delivered(second, tmp_path / "second")) == _tls_probe.ACCEPTED


def test_pairs_are_renewed_without_wallet_and_restart(place, tmp_path):
    place.instance.install(VALIDITY="1d")
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    place.instance.install(VALIDITY="9s")
    # The probe pair of the wallet lives for a day; the client's for seconds, and so does a new probe pair.
    os.unlink(os.path.join(place.generation, "clients/probe/client.key"))
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    assert [reason.partition(":")[0] for reason in first["exporters"][0]["why"]] == [
        "pair probe",
        "pair prom1",
        "it is not running",
    ]
    pair = first["exporters"][0]["pairs"][0]
    kit.until(lambda: _certificates.utcnow() > _certificates.parse_timestamp(pair["not_after"]))
    place.instance.install(VALIDITY="1d")
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    found = second["exporters"][0]
    assert [reason.partition(" at ")[0] for reason in found["why"]] == ["pair probe: expired", "pair prom1: expired"]
    assert found["generation"] == first["exporters"][0]["generation"]
    assert found["process"] == first["exporters"][0]["process"]
    assert found["pairs"][0]["delivery"] == f"{found['generation']}-2"
    assert place.probe(**place.delivered(second, tmp_path / "second")) == _tls_probe.ACCEPTED
    kit.succeed("tt_exporter_host", place.host([place.having(second)]), changed=False)


def test_old_generations_are_pruned(place):
    answer = kit.succeed("tt_exporter_host", place.host(), changed=True)
    ids = [answer["exporters"][0]["generation"]]
    for _round in range(3):
        arguments = place.host([place.having(answer)], regenerate="always", keep_generations=1)
        answer = kit.succeed("tt_exporter_host", arguments, changed=True)
        ids.append(answer["exporters"][0]["generation"])
        # Two that were made within one second are in no order of time.
        kit.until(lambda: time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) > ids[-1].partition("-")[0])
    assert place.generations == sorted(ids[-2:])


def test_absent(place):
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    kit.succeed("tt_client_cert", {**place.options, "clients": [{"name": "prom1"}]}, changed=True)
    kit.succeed("tt_exporter", {**place.options, "port": place.port}, changed=True)
    gone = {**place.options, "state": "absent"}
    for check in (True, False):
        assert "stop it first (tt_exporter with state: stopped)" in kit.failure("tt_wallet", gone, check=check)
    kit.succeed("tt_exporter", {**place.options, "state": "stopped"}, changed=True)
    predicted = kit.succeed("tt_wallet", gone, check=True, changed=True)
    assert predicted["invalidated_clients"] == ["prom1"]
    assert len(place.generations) == 1
    assert kit.succeed("tt_wallet", gone, changed=True)["why"] == predicted["why"]
    assert place.generations == [] and not os.path.lexists(os.path.join(place.directory, "current"))
    kit.succeed("tt_wallet", gone, changed=False)
    assert kit.succeed("tt_exporter_info", place.options)["exists"] is False


# ---------------------------------------------------------------------------------------------------------------------
# The process


def test_drift_restarts_with_the_reason(place):
    options = {**place.options, "port": place.port}
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    pid = kit.succeed("tt_exporter", options, changed=True)["process"]["pid"]
    for change, expected in [
        ({"rate_limit": 12}, "rate limit 15 -> 12"),
        ({"environment": {"REFERENCE_EXPORTER_RATE": "unlimited"}}, "environment"),
        ({"insecure": True}, "mode mutual TLS -> insecure"),
        ({}, "mode insecure -> mutual TLS"),
    ]:
        predicted = kit.succeed("tt_exporter", {**options, **change}, check=True, changed=True)
        found = kit.succeed("tt_exporter", {**options, **change}, changed=True)
        assert expected in found["why"] and predicted["why"] == found["why"]
        assert found["process"]["pid"] != pid
        pid = found["process"]["pid"]
        kit.succeed("tt_exporter", {**options, **change}, changed=False)
    options["port"] = kit.free_port()
    found = kit.succeed("tt_exporter", options, changed=True)
    assert f"port {place.port} -> {options['port']}" in found["why"]
    assert kit.succeed("tt_exporter_info", place.options)["process"]["port"] == options["port"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", place.port))


def test_port_taken_by_somebody(place):
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", place.port))
        holder.listen()
        for check in (True, False):
            options = {**place.options, "port": place.port, "takeover": check}
            message = kit.failure("tt_exporter", options, check=check)
            assert f"port {place.port} is held by process {os.getpid()} of user" in message
            assert ("It is not taken over: it shows no ttExporter that" in message) == check
    assert place.instance.exporters() == []


@pytest.mark.parametrize("option", ["pid_file", "log_file"])
def test_a_folder_that_is_missing_does_not_cost_the_process(place, option):
    options = {**place.options, "port": place.port}
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    pid = kit.succeed("tt_exporter", options, changed=True)["process"]["pid"]
    message = kit.failure("tt_exporter", {**options, option: "/nonexistent/run/x"})
    assert f"{option}: /nonexistent/run does not exist or cannot be written to" in message
    assert kit.succeed("tt_exporter", options, changed=False)["process"]["pid"] == pid


def test_start_that_fails_shows_why(place):
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    place.instance.install(START_DELAY="30")
    found = kit.call("tt_exporter", {**place.options, "port": place.port, "start_timeout": 1})
    assert found.failed and "was not ready within 1 s" in found["msg"]
    assert found["changed"] is False
    assert place.instance.exporters() == []


# ---------------------------------------------------------------------------------------------------------------------
# What works is not left broken

SLOW = {"REFERENCE_EXPORTER_START_DELAY": "60"}


def served(place, port=None):
    """Fingerprint of the certificate that a port serves."""
    return _tls_probe.tls("127.0.0.1", port or place.port, settle=0).sha256


@pytest.mark.parametrize("more", [{}, {"regenerate": "always"}], ids=["same wallet", "new wallet"])
def test_if_the_new_one_does_not_come_up_the_old_one_comes_back(place, more):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    known, certificate = place.having(first), served(place)
    found = kit.call("tt_exporter_host", place.host([known], environment=SLOW, start_timeout=1, **more))
    assert found.failed and "was not ready within 1 s" in found["msg"]
    (one,) = place.instance.exporters()
    assert f"The former arguments and wallet are back: process {one.pid} serves on port {place.port}" in found["msg"]
    assert (served(place), place.generations) == (certificate, [first["exporters"][0]["generation"]])
    assert found["exporters"][0]["changed"] is True
    # With the mistake gone there is nothing to do; it is not started a third time.
    kit.succeed("tt_exporter_host", place.host([known]), changed=False)
    assert [process.pid for process in place.instance.exporters()] == [one.pid]


def test_an_upgrade_that_does_not_start_costs_nothing(place):
    """The program of the one that serves is gone: it could not come back, so the new one is tried beside it."""
    known = place.having(kit.succeed("tt_exporter_host", place.host(), changed=True))
    (old,) = place.instance.exporters()
    utility = pathlib.Path(place.instance.home, "bin/ttExporter")
    works = utility.read_text()
    head, _newline, rest = works.partition("\n")
    broken = "import sys\nif '-port' in sys.argv:\n    sys.exit('no library')\n"
    utility.write_text(f"{head}\n{broken}{rest.replace('from __future__ import annotations', '')}")
    message = kit.failure("tt_exporter_host", place.host([known]))
    assert "no library" in message
    assert f"The former process {old.pid} is still there, on port {place.port}" in message
    assert [process.pid for process in place.instance.exporters()] == [old.pid]
    utility.write_text(f"{works}\n# mended\n")
    kit.succeed("tt_exporter_host", place.host([known]), changed=True)
    (new,) = place.instance.exporters()
    assert new.pid != old.pid and served(place) is not None
    assert not {"exporter.pid.spare", "state.json.spare"} & set(os.listdir(place.directory))
    kit.succeed("tt_exporter_host", place.host([known]), changed=False)


def test_another_port_is_tried_while_the_old_one_serves(place):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    known, (old,) = place.having(first), place.instance.exporters()
    port = kit.free_port()
    found = kit.call("tt_exporter_host", place.host([known], port=port, environment=SLOW, start_timeout=1))
    assert found.failed and f"The former process {old.pid} is still there, on port {place.port}" in found["msg"]
    assert [process.pid for process in place.instance.exporters()] == [old.pid]
    with socket.socket() as taken:
        # Nobody listens there, and yet it cannot be had.
        taken.bind(("", port))
        for check in (True, False):
            message = kit.failure("tt_exporter_host", place.host([known], port=port), check=check)
            assert f"cannot have port {port}: Address already in use" in message
    assert [process.pid for process in place.instance.exporters()] == [old.pid]
    kit.succeed("tt_exporter_host", place.host([known]), changed=False)
    kit.succeed("tt_exporter_host", place.host([known], port=port), changed=True)
    (new,) = place.instance.exporters()
    assert f"{port}" in new.argv and served(place, port) is not None
    assert not os.path.lexists(os.path.join(place.directory, "exporter.pid.spare"))
    kit.succeed("tt_exporter_host", place.host([known], port=port), changed=False)


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_a_log_that_cannot_be_opened_does_not_cost_the_process(place, kind):
    kit.succeed("tt_exporter_host", place.host(), changed=True)
    (old,) = place.instance.exporters()
    log = pathlib.Path(place.directory).parent / "other.log"
    {"directory": log.mkdir, "link": lambda: log.symlink_to("x"), "fifo": lambda: os.mkfifo(log)}[kind]()
    message = kit.failure("tt_exporter_host", place.host(log_file=str(log), rate_limit=7))
    assert f"log_file: {log} is no regular file" in message
    assert [process.pid for process in place.instance.exporters()] == [old.pid]


def test_an_instance_that_was_made_anew_gets_a_new_wallet(place):
    first = kit.succeed("tt_exporter_host", place.host(regenerate="never"), changed=True)
    known = place.having(first)
    conf = pathlib.Path(place.instance.home, "conf/timesten.conf")
    conf.write_text(conf.read_text().replace("C76FCD9A", "D87FDEAB"))
    arguments = place.host([known], regenerate="never")
    predicted = kit.succeed("tt_exporter_host", arguments, check=True, changed=True)
    found = kit.succeed("tt_exporter_host", arguments, changed=True)
    assert "the instance is D87FDEAB-" in found["exporters"][0]["why"][0]
    assert predicted["exporters"][0]["why"] == found["exporters"][0]["why"]
    kit.succeed("tt_exporter_host", place.host([place.having(found)], regenerate="never"), changed=False)


@pytest.mark.parametrize(("file", "kind"), [("client.key", "fifo"), ("client.crt", "link"), ("client.key", "garbage")])
def test_a_probe_pair_that_cannot_be_used_is_issued_again_and_costs_no_restart(place, file, kind):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    (old,) = place.instance.exporters()
    path = pathlib.Path(place.generation, "clients/probe", file)
    path.unlink()
    make = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("/etc/passwd"),
        "garbage": lambda: path.write_bytes(b"\0\xff"),
    }
    make[kind]()
    found = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    (why,) = found["exporters"][0]["why"]
    assert found.seconds < 20 and why.startswith("pair probe: ")
    assert path.is_file() and not path.is_symlink()
    assert [process.pid for process in place.instance.exporters()] == [old.pid]
    kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=False)


def test_the_names_that_jobs_verify_stay_until_the_jobs_have_moved(place):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    known = place.having(first)
    known["stored"]["exp1"]["verifies"] = ["localhost"]
    moved = {"address": "127.0.0.1", "regenerate": "when_changed"}
    second = kit.succeed("tt_exporter_host", place.host([known], **moved), changed=True)
    assert set(second["exporters"][0]["server_certificate"]["alt_names"]) == {"127.0.0.1", "localhost"}
    known = place.having(second)
    known["stored"]["exp1"]["verifies"] = ["localhost"]
    kit.succeed("tt_exporter_host", place.host([known], **moved), changed=False)
    known["stored"]["exp1"]["verifies"] = ["127.0.0.1"]
    third = kit.succeed("tt_exporter_host", place.host([known], **moved), changed=True)
    assert third["exporters"][0]["why"][0] == "no job verifies localhost any more"
    assert third["exporters"][0]["server_certificate"]["alt_names"] == ["127.0.0.1"]


def test_a_run_that_changes_nothing_reads_each_file_once(place):
    """In this very process: every file that is opened is seen by an audit hook."""
    known = place.having(kit.succeed("tt_exporter_host", place.host(), changed=True))
    kit.succeed("tt_exporter_host", place.host([known]), changed=False)
    exporters, clients = define_all(place.host()["exporters"]), define_clients([known])
    opened, listed = _opened_by(lambda: converge_host(exporters, clients, "refuse", False))
    ours = collections.Counter(
        os.path.basename(path) for path in opened if path.startswith((place.directory, place.instance.home))
    )
    assert ours == {
        "lock": 1,
        "timesten.conf": 1,
        "manifest.json": 1,
        "server.crt": 1,
        # Not read: whether ttExporter could, at its next start.
        "cwallet.sso": 2,
        # Read once; opened to be checked before the pair is loaded, and before it is shown.
        "client.crt": 4,
        "client.key": 2,
        "exporter.pid": 1,
        # Twice by exporter.processes.
        "state.json": 2,
    }
    assert listed.count("/proc") == 1


def test_a_run_that_changes_nothing_loads_no_cryptography(place):
    known = place.having(kit.succeed("tt_exporter_host", place.host(), changed=True))
    code = (
        "import json, sys\n"
        "from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define_all, define_clients\n"
        "from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import converge_host\n"
        "given = json.loads(sys.stdin.read())\n"
        "found = converge_host(define_all(given['exporters']), define_clients(given['clients']), 'refuse', False)\n"
        "loaded = [name for name in sys.modules if name == 'cryptography' or '.rotation' in name or name.endswith(('.removal', '.former', '.seal'))]\n"
        "print(json.dumps([found['changed'], loaded]))\n"
    )
    given = place.host([known])
    given["exporters"][0]["regenerate"] = "when_due"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": kit.COLLECTIONS},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [False, []]


_opens = {"on": False, "opened": [], "listed": []}


def _audit(event, arguments):
    if _opens["on"] and event == "open" and isinstance(arguments[0], str):
        _opens["opened"].append(arguments[0])
    if _opens["on"] and event == "os.listdir":
        _opens["listed"].append(arguments[0])


def _opened_by(work):
    """Do something, and return the files that were opened and the directories that were listed."""
    if "hook" not in _opens:
        _opens["hook"] = True
        sys.addaudithook(_audit)
    _opens.update(on=True, opened=[], listed=[])
    try:
        work()
    finally:
        _opens["on"] = False
    return _opens["opened"], _opens["listed"]


def test_insecure_needs_no_wallet(place):
    found = kit.succeed("tt_exporter_host", place.host([], insecure=True), changed=True)
    assert found["exporters"][0]["generation"] is None
    assert _tls_probe.plain_http("127.0.0.1", place.port).status == _tls_probe.ACCEPTED
    kit.succeed("tt_exporter_host", place.host([], insecure=True), changed=False)
    assert place.generations == []
    # On to mutual TLS.
    secure = kit.succeed("tt_exporter_host", place.host(), changed=True)
    assert secure["exporters"][0]["process"]["state"] == "started"
    assert _tls_probe.plain_http("127.0.0.1", place.port).status == _tls_probe.REFUSED


# ---------------------------------------------------------------------------------------------------------------------
# One call for the whole host


def test_one_failure_does_not_stop_the_others(place, tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = place.exporter(name="exp0", certificate_directory=place.directory + "-0", port=holder.getsockname()[1])
        found = kit.call("tt_exporter_host", {"exporters": [taken, place.exporter()], "clients": [place.client()]})
    assert found.failed and found.changed
    assert found["msg"].startswith(f"exporter exp0: port {taken['port']} is held by process")
    broken, fine = found["exporters"]
    assert (broken["name"], broken["failed"], broken["changed"]) == ("exp0", True, False)
    assert fine["name"] == "exp1" and fine["changed"] and "failed" not in fine
    # What the one that worked has to deliver is all there.
    found.result["exporters"] = [fine]
    assert place.probe(**place.delivered(found, tmp_path / "delivered")) == _tls_probe.ACCEPTED


def test_failure_says_what_was_changed_all_the_same(place):
    place.instance.install(START_DELAY="30")
    found = kit.call("tt_exporter_host", place.host(start_timeout=1))
    assert found.failed and found.changed and found["exporters"][0]["changed"]
    assert "was not ready within 1 s" in found["exporters"][0]["msg"]
    place.instance.install()
    # The pair that was issued then is delivered now.
    second = kit.succeed("tt_exporter_host", place.host(), changed=True)
    assert second["exporters"][0]["pairs"][0]["bundle"]
    assert len(place.generations) == 1


def test_refuses_to_take_access_from_clients_of_other_runs(place):
    both = [place.client("prom1"), place.client("prom2")]
    first = kit.succeed("tt_exporter_host", place.host(both), changed=True)
    pid = first["exporters"][0]["process"]["pid"]
    for clients in ([place.having(first)], []):
        found = kit.call("tt_exporter_host", place.host(clients, regenerate="always"))
        assert found.failed
        lost = ["prom1", "prom2"][len(clients) :]
        assert found["exporters"][0]["lost_clients"] == lost
        assert f"the clients {', '.join(lost)} are not part of this run" in found["msg"]
    assert len(place.generations) == 1
    assert kit.succeed("tt_exporter_info", place.options)["process"]["pid"] == pid
    # What needs no new wallet works with some of the clients.
    kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=False)
    kit.succeed("tt_exporter_host", place.host([]), changed=False)
    kit.succeed("tt_exporter_host", place.host(both, regenerate="always"), changed=True)


def test_the_same_bundle_again_and_a_new_one_for_a_new_key(place):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    sent = kit.succeed("tt_exporter_host", place.host(), changed=False)
    assert sent["exporters"][0]["pairs"] == first["exporters"][0]["pairs"]
    key = place.unsealed(first)
    place.private, place.public = _seal.new_transport_key()
    other = kit.succeed("tt_exporter_host", place.host(), changed=True)
    assert "not sealed for the client's transport key" in other["exporters"][0]["why"][0]
    assert place.unsealed(other) != key
    # One that the client has stays valid although the transport key is another by now.
    place.private, place.public = _seal.new_transport_key()
    kit.succeed("tt_exporter_host", place.host([place.having(other)]), changed=False)


def test_rate_budget(place):
    many = [place.client(f"prom{number}", scrape_interval=15.0) for number in range(4)]
    message = kit.failure("tt_exporter_host", place.host(many))
    assert "exporter exp1: 16 scrapes a minute" in message and "15 allowed" in message and "16s" in message
    assert not os.path.exists(place.directory)
    fits = kit.succeed("tt_exporter_host", place.host(many[:3]), changed=True)
    # A run that does not reach those three counts them all the same.
    message = kit.failure("tt_exporter_host", place.host([place.client("prom9", scrape_interval=12.0)]))
    assert "17 scrapes a minute" in message
    warned = kit.succeed("tt_exporter_host", {**place.host(many), "rate_budget": "warn"}, changed=True)
    assert any("16 scrapes a minute" in warning for warning in warned["warnings"])
    assert fits["exporters"][0]["rate_limit"] == 15
    # Where the utility has no option, its documented limit holds.
    place.instance.install(RATE_OPTION="absent")
    lower = dataclasses.replace(place, directory=place.directory + "-b", port=kit.free_port())
    assert "10 allowed" in kit.failure("tt_exporter_host", lower.host(many[:3]))
    # The interval of this exporter's own job counts before the global one.
    one = place.client("prom0", scrape_interval=1.0, stored={"exp1": {"scrape_interval": 30.0}})
    kit.succeed("tt_exporter_host", lower.host([one]), changed=True)


# ---------------------------------------------------------------------------------------------------------------------
# Secrets


def test_keys_are_never_readable_by_others_and_never_shown(place):
    stop, seen = threading.Event(), []

    def watch():
        while not stop.is_set():
            for folder, folders, files in os.walk(place.directory):
                for name in [".", *folders, *files]:
                    with contextlib.suppress(OSError):
                        info = os.lstat(os.path.join(folder, name))
                        if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o077:
                            seen.append((os.path.join(folder, name), oct(info.st_mode)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        clients = [place.client("prom1"), {"name": "prom2"}]
        answers = [
            kit.succeed("tt_exporter_host", place.host(clients), check=True),
            kit.succeed("tt_exporter_host", place.host(clients), changed=True),
            kit.succeed("tt_exporter_host", place.host(clients), changed=False),
            kit.succeed("tt_client_cert", {**place.options, "clients": clients_of(clients)}, changed=False),
            kit.succeed("tt_exporter_info", place.options),
            kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}),
            kit.call("tt_wallet", {**place.options, "state": "absent"}),
        ]
    finally:
        stop.set()
        watcher.join()
    assert seen == []
    assert {call.split()[0] for call in place.instance.calls()} == {"0077"}
    keys = kit.private_keys(place.directory)
    clients_dir = os.path.join(place.generation, "clients")
    assert set(keys) == {f"{clients_dir}/probe/client.key", f"{clients_dir}/prom2/client.key"}
    assert all(stat.S_IMODE(os.stat(path).st_mode) == 0o600 for path in keys)
    sealed = place.unsealed(answers[1])
    for answer in answers:
        for line in [line for key in [*keys.values(), sealed] for line in kit.key_lines(key)]:
            assert line not in answer.output
    for folder, _folders, files in os.walk(place.directory):
        for name in files:
            text = pathlib.Path(folder, name).read_bytes()
            assert kit.key_lines(sealed)[3].encode() not in text, f"the sealed key lies in plaintext in {folder}/{name}"


def clients_of(clients):
    return [{key: value for key, value in client.items() if key in ("name", "recipient")} for client in clients]


def test_values_of_the_environment_are_not_shown(place):
    secret = "open-sesame-4711"
    options = {"environment": {"TT_SECRET": secret, "REFERENCE_EXPORTER_RATE": "unlimited"}}
    running = {**place.options, **options, "port": place.port}
    for module, arguments in [
        ("tt_wallet", {**place.options, **options, "common_name": "localhost"}),
        ("tt_exporter", running),
        ("tt_exporter_host", place.host(**options)),
        ("tt_exporter_host", place.host(**options, rate_limit=99)),
        ("tt_exporter", {**running, "stop_signal": "INT", "state": "restarted"}),
    ]:
        found = kit.call(module, arguments)
        assert secret not in found.output, found.output
        assert "VALUE HIDDEN" in found.output
    for folder, _folders, files in os.walk(place.directory):
        for name in files:
            assert secret.encode() not in pathlib.Path(folder, name).read_bytes()
    [process] = {process.pid: process for process in place.instance.exporters()}.values()
    assert f"TT_SECRET={secret}" in pathlib.Path(f"/proc/{process.pid}/environ").read_text()


# ---------------------------------------------------------------------------------------------------------------------
# Damage, interruption, competition


def test_manifest_damaged_or_gone(place):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    manifest = pathlib.Path(place.generation, "manifest.json")
    whole = manifest.read_text()
    for text in (whole[: len(whole) // 2], "[]", '{"version": 1}', whole.replace(place.generation[-8:], "00000000")):
        manifest.write_text(text)
        message = kit.failure("tt_exporter_host", place.host())
        assert str(manifest) in message and "if you remove the file, the next run adopts the wallet" in message
    manifest.write_text(whole.replace('"version": 1', '"version": 2'))
    assert "has version 2, this collection reads 1" in kit.failure("tt_exporter_host", place.host())
    manifest.unlink()
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    assert second["exporters"][0]["why"][0].endswith("has no manifest")
    assert second["exporters"][0]["ca_sha256"] == first["exporters"][0]["ca_sha256"]
    kit.succeed("tt_exporter_host", place.host([place.having(second)]), changed=False)


@pytest.mark.parametrize("how", ["gone", "foreign", "cut"])
def test_exported_file_is_mended(place, how):
    first = kit.succeed("tt_exporter_host", place.host(), changed=True)
    path = pathlib.Path(place.generation, "server.crt")
    good = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:100] if how == "cut" else b"no certificate")
    second = kit.succeed("tt_exporter_host", place.host([place.having(first)]), changed=True)
    assert second["exporters"][0]["why"] == ["server.crt is missing or is not that of the wallet"]
    assert path.read_bytes() == good
    assert second["exporters"][0]["process"] == first["exporters"][0]["process"]


@pytest.mark.parametrize("file", ["client.crt", "bundle.json"])
def test_files_of_a_pair_are_mended(place, file):
    kit.succeed("tt_exporter_host", place.host(), changed=True)
    os.unlink(os.path.join(place.generation, "clients/prom1", file))
    second = kit.succeed("tt_exporter_host", place.host(), changed=True)
    assert second["exporters"][0]["pairs"][0]["delivery"].endswith("-2")
    assert place.unsealed(second)


def test_current_points_elsewhere(place):
    """Nothing is made beside the wallet that is in use."""
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    link, generations = os.path.join(place.directory, "current"), os.path.join(place.directory, "generations")
    before = os.listdir(generations)
    for make, expected in (
        (lambda: os.symlink("/etc", link), "points at '/etc', which is no generation of this exporter"),
        (lambda: os.mkfifo(link), "is no link"),
        (lambda: os.mkdir(link), "is no link"),
    ):
        os.unlink(link)
        make()
        message = kit.failure("tt_wallet", {**place.options, "common_name": "localhost"})
        assert f"{link} {expected}; point it back" in message
    assert os.listdir(generations) == before


def test_lock_names_the_other_run(place):
    kit.succeed("tt_wallet", {**place.options, "common_name": "localhost"}, changed=True)
    lock = os.path.join(place.directory, "lock")
    with subprocess.Popen(["flock", lock, "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"ready\n"
            assert "is held by another run" in kit.failure("tt_wallet", {**place.options, "common_name": "localhost"})
        finally:
            holder.kill()


def test_two_runs_at_once(place):
    began = time.monotonic()
    runs = [kit.spawn("tt_exporter_host", place.host()) for _run in range(2)]
    answers = [kit.answer(run, began) for run in runs]
    assert not any(answer.failed for answer in answers), answers
    assert sorted(answer.changed for answer in answers) == [False, True]
    assert len(place.generations) == 1
    assert len({process.session for process in place.instance.exporters()}) == 1


def test_killed_at_any_moment_the_next_run_converges(place, tmp_path):
    clock = random.Random(20261124)
    whole = kit.succeed("tt_exporter_host", place.host(), changed=True).seconds
    answer = kit.succeed("tt_exporter_host", place.host(), changed=False)
    interrupted = 0
    for round_ in range(15):
        arguments = place.host([place.having(answer)], regenerate="always")
        run = kit.spawn("tt_exporter_host", arguments)
        # Every part of the run is hit: the moments are spread, and shifted by chance.
        deadline = time.monotonic() + whole * 1.3 * (round_ + clock.random()) / 15
        while run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        interrupted += run.poll() is None
        run.send_signal(signal.SIGKILL)
        run.communicate()
        # At every moment one complete generation is current, once there was one.
        assert os.path.exists(os.path.join(place.generation, "manifest.json"))
        answer = kit.succeed("tt_exporter_host", place.host())
        found = answer["exporters"][0]
        assert found["process"]["state"] == "started"
        assert len({process.session for process in place.instance.exporters()}) == 1
        pair = place.delivered(answer, tmp_path / f"pair{round_}")
        assert place.probe(**pair, server_name="localhost") == _tls_probe.ACCEPTED
        kit.succeed("tt_exporter_host", place.host([place.having(answer)]), changed=False)
    assert interrupted >= 8
    # A utility that outlived its run may have written once more; the next run leaves nothing of it.
    kit.succeed("tt_exporter_host", place.host([place.having(answer)]), changed=False)
    assert not [name for name in place.generations if name.startswith(".")]
    assert len(place.generations) <= 3
    keys = kit.private_keys(place.directory)
    assert {os.path.basename(os.path.dirname(path)) for path in keys} == {"probe"}


@root_only
def test_disk_full(place):
    os.makedirs(place.directory, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", place.directory], check=True)
    try:
        filler = pathlib.Path(place.directory, "filler")
        filler.write_bytes(b"x" * 40960)
        found = kit.call("tt_exporter_host", place.host())
        assert found.failed and "Traceback" not in found.output
        assert place.directory in found["msg"]
        assert not os.path.lexists(os.path.join(place.directory, "current"))
        filler.unlink()
        answer = kit.succeed("tt_exporter_host", place.host(), changed=True)
        # Full again, with a generation in use: it stays in use.
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(descriptor, b"x" * 512):
                pass
        os.close(descriptor)
        found = kit.call("tt_exporter_host", place.host([place.having(answer)], regenerate="always"))
        assert found.failed and "Traceback" not in found.output
        assert place.generation.endswith(answer["exporters"][0]["generation"])
        kit.succeed("tt_exporter_host", place.host([place.having(answer)]), changed=False)
    finally:
        place.instance.end()
        kit.until(
            lambda: subprocess.run(["umount", place.directory], stderr=subprocess.DEVNULL, check=False).returncode == 0
        )


@root_only
def test_wrong_owner(place):
    os.makedirs(place.directory, mode=0o700)
    os.chown(place.directory, 65534, 65534)
    for check in (True, False):
        message = kit.failure("tt_exporter_host", place.host(), check=check)
        assert f"{place.directory} belongs to user id 65534" in message and "set become_user to its owner" in message


@root_only
def test_unprivileged_user():
    """As the role does it: an account that can only write to its own directory."""
    try:
        subprocess.run([kit.sys.executable, "-c", "import ansible"], user=65534, check=True)
        subprocess.run(["test", "-r", f"{kit.COLLECTIONS}/ansible_collections"], user=65534, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip(f"nobody cannot reach {kit.sys.executable}; the tests on real hosts have such an account")
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        root.chmod(0o755)
        instance = kit.Instance(root / "instance").install()
        instance.log.touch()
        instance.log.chmod(0o666)
        private, public = _seal.new_transport_key()
        place = Place(instance, str(root / "monitoring" / "exp1"), kit.free_port(), private, public)
        try:
            found = kit.call("tt_exporter_host", place.host(), uid=65534)
            assert found.failed and "make it as root, owned by the user who runs ttExporter" in found["msg"]
            (root / "monitoring").mkdir(mode=0o700)
            os.chown(root / "monitoring", 65534, 65534)
            first = kit.call("tt_exporter_host", place.host(), uid=65534)
            assert not first.failed, first
            assert {process.uid for process in instance.exporters()} == {65534}
            again = kit.call("tt_exporter_host", place.host([place.having(first)]), uid=65534)
            assert not again.failed and not again.changed, again
            # Root sees whose it is, and leaves it alone.
            assert "belongs to user id 65534" in kit.failure("tt_exporter", {**place.options, "state": "stopped"})
        finally:
            instance.end()


# ---------------------------------------------------------------------------------------------------------------------
# Ansible itself

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  connection: local
  module_defaults:
    group/timesten.monitoring.tt:
      timesten_home: {home}
      certificate_directory: {directory}
  tasks:
    - timesten.monitoring.tt_wallet:
        common_name: localhost
    - timesten.monitoring.tt_export_cert:
        path: {path}
    - timesten.monitoring.tt_client_cert:
        clients: [{{name: prom1}}, {{name: prom2, recipient: {public}}}]
    - timesten.monitoring.tt_exporter:
        port: {port}
    - timesten.monitoring.tt_exporter_info:
      register: info
    - ansible.builtin.assert:
        that: info.process.state == 'started'
      when: not ansible_check_mode
"""


def test_under_ansible(place, tmp_path):
    pytest.importorskip("ansible.cli")
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(
        PLAYBOOK.format(
            home=place.instance.home,
            directory=place.directory,
            path=tmp_path / "server.crt",
            public=place.public,
            port=place.port,
        )
    )

    def play(*options):
        command = ["ansible-playbook", "-i", "localhost,", "-vvv", "--diff", *options, str(playbook)]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"}
        environment["PATH"] = f"{os.path.dirname(kit.sys.executable)}:{environment['PATH']}"
        environment["ANSIBLE_PYTHON_INTERPRETER"] = kit.sys.executable
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    outputs = []
    for options, changed in [(("--check",), 4), ((), 4), ((), 0), (("--check",), 0)]:
        done = play(*options)
        outputs.append(done.stdout + done.stderr)
        assert done.returncode == 0, outputs[-1]
        assert f"changed={changed} " in outputs[-1], outputs[-1]
    for path, key in kit.private_keys(place.directory).items():
        for line in kit.key_lines(key):
            assert not any(line in output for output in outputs), path
    assert "+++ after" in outputs[1] and json.dumps(LATER) in outputs[0]
