# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run prints, what it costs and how it ends, where its hosts are simulated: the controller is real, and what they answer is written down."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from integration.simulated_kit import Simulated

SCREEN = """\

PLAY [Check inventory, variables and limit] *

TASK [Nothing is wrong] *

PLAY [Look at the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Look at the Prometheus instances] *
{servers}

PLAY [Converge the exporter hosts] *

TASK [timesten.monitoring.exporter_host : Make, issue, start, prove] *
{exporters}

PLAY [Converge the Prometheus hosts] *

TASK [timesten.monitoring.prometheus_host : Store, configure, reload, prove] *
{servers}

PLAY [Rotate what is due] *

TASK [Nothing is due] *

PLAY [Report] *

TASK [Say what was seen] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.

ok: [exp1]

PLAY RECAP *
"""
QUIET = """\

PLAY [Check inventory, variables and limit] *

PLAY [Verify] *

PLAY [Report] *

exporter  Prometheus           target  own pair  others   serves           first end   result
all 60    prom1, prom2, prom3  up      accepted  refused  60 certificates  2036-11-24  proven

Nothing was changed.

180 of 180 pairs proven.


PLAY RECAP *
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("screen"), 60, 3)


def screen(fleet: Simulated, playbook: str, *options: str, **settings: str) -> list[str]:
    """What a run prints, without the stars of its headings and its recap."""
    done = subprocess.run(
        fleet.command(f"timesten.monitoring.{playbook}", *options),
        env=fleet.environment(**settings),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.rstrip("*").rstrip() + " *" if line.endswith("***") else line for line in done.stdout.splitlines()]
    return lines[: lines.index("PLAY RECAP *") + 1]


def test_a_clean_site_of_60_exporters(fleet: Simulated) -> None:
    hosts = {"servers": fleet.servers, "exporters": fleet.exporters}
    expected = SCREEN.format(**{key: "\n".join(f"ok: [{name}]" for name in names) for key, names in hosts.items()})
    seen = screen(fleet, "site")
    # Hosts come in the order in which they are done.
    assert sorted(seen) == sorted(expected.splitlines()), "\n".join(seen)
    table = next(number for number, line in enumerate(seen) if line.startswith("exporter  Prometheus"))
    # One line for each host and step, and nothing but headings beside that.
    assert table - (len(fleet.exporters) + 2 * len(fleet.servers)) <= 25


def test_who_wants_to_see_only_what_is_not_as_it_should_be(fleet: Simulated) -> None:
    seen = screen(fleet, "verify", ANSIBLE_DISPLAY_OK_HOSTS="0", ANSIBLE_DISPLAY_SKIPPED_HOSTS="0")
    assert seen == QUIET.splitlines(), "\n".join(seen)


def test_each_wave_costs_its_own_hosts_alone(fleet: Simulated, tmp_path: Path) -> None:
    """Three waves of two of five exporters: what each task of each host is, in its order. All exporters are left alone."""
    named = ["exp1", "exp2", "exp3", "exp4", "exp5"]
    record = tmp_path / "record.jsonl"
    seen = screen(
        fleet,
        "rotate",
        "--check",
        "--extra-vars",
        json.dumps({"rotate_wave": 2, "rotate_exporters": named, "rotate_only_due": True}),
        ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).with_name("callbacks")),
        ANSIBLE_CALLBACKS_ENABLED="record",
        RECORD_FILE=str(record),
    )
    told = [line for line in seen if line.endswith("left alone: its wallet is neither due nor changed")]
    assert [line.split(":")[0].strip() for line in told] == named
    events = [json.loads(line) for line in record.read_text().splitlines()]
    forked = [(e["event"], e["task"], e["host"]) for e in events if not e["action"].endswith(("meta", "include_tasks"))]
    # Of one task, hosts come in the order in which they are done.
    steps: dict[tuple[str, str], dict[int, list[str]]] = {}
    last, number = None, 0
    for event, task, host in forked:
        last, number = task, number + (task != last)
        steps.setdefault((event, task), {}).setdefault(number, []).append(host)
    waves = [["exp1", "exp2"], ["exp3", "exp4"], ["exp5"]]
    assert {key: [sorted(hosts) for hosts in by_wave.values()] for key, by_wave in steps.items()} == {
        # Only in the first wave hosts of another one have to be told apart.
        ("skipped", "Take part in the wave"): [["exp3", "exp4", "exp5"]],
        ("ok", "Take part in the wave"): [sorted(wave + fleet.servers) for wave in waves],
        ("ok", "Look at the Prometheus hosts"): [fleet.servers] * 3,
        ("ok", "Make the new generations ready"): waves,
        ("ok", "Deliver the new pairs beside those in use"): [fleet.servers] * 3,
        ("ok", "Choose the moments"): [wave[:1] for wave in waves],
        ("ok", "Keep a record of the wave"): [wave[:1] for wave in waves],
        ("ok", "Say what was seen"): [["exp1"]],
    }


# --- runs that looked at nothing, or at less than was asked for


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("small"), 2, 2)


def ended(fleet: Simulated, *arguments: str, **settings: str) -> tuple[int, str]:
    """Exit status and output of a run."""
    done = subprocess.run(
        fleet.command(*arguments),
        env=fleet.environment(**settings),
        capture_output=True,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_preflight_alone_says_what_it_found(small: Simulated) -> None:
    status, output = ended(small, "timesten.monitoring.preflight")
    assert (status, "2 exporter hosts, 2 exporters, 2 Prometheus hosts, 2 clients, 4 pairs" in output) == (0, True)


def test_report_alone_says_what_it_needs(small: Simulated) -> None:
    status, output = ended(small, "timesten.monitoring.report")
    assert status != 0 and "has nothing to report" in output and "site, verify, rotate" in output


def test_the_page_of_a_report_does_not_take_its_place(small: Simulated, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    both = ["-e", f"timesten_report={report}", "-e", f"timesten_report_html={tmp_path}/./report.json"]
    status, output = ended(small, "timesten.monitoring.report", *both)
    assert status != 0 and "timesten_report and timesten_report_html both name" in output and report.read_text() == "{}"


@pytest.mark.parametrize(
    ("playbook", "limit", "reason"),
    [
        ("preflight", (), "no host in the group timesten_exporters"),
        ("site", (), "no host in the group timesten_exporters"),
        # The limit leaves out the implicit localhost too, so that no task runs anywhere.
        ("site", ("--limit", "all"), "the inventory has no hosts at all"),
        ("verify", ("--limit", "slice_1:prometheus_servers"), "the inventory has no hosts at all"),
    ],
)
def test_an_inventory_that_is_not_there_is_no_success(
    small: Simulated, playbook: str, limit: tuple[str, ...], reason: str
) -> None:
    environment = small.environment()
    command = [*small.command(f"timesten.monitoring.{playbook}"), *limit]
    command[command.index("-i") + 1] = "/nosuch/inventory"
    done = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    assert done.returncode != 0 and reason in done.stdout + done.stderr, done.stdout


@pytest.mark.parametrize("playbook", ["site", "verify"])
def test_tags_that_leave_everything_out_prove_nothing(small: Simulated, playbook: str) -> None:
    status, output = ended(small, f"timesten.monitoring.{playbook}", "--tags", "nosuch")
    assert status == 2 and "Mend what is named above and run it again." in output, output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("site", "--skip-tags", "always"), "--skip-tags always leaves out the check before the run and the report"),
        (("report", "--skip-tags", "tagged"), "--skip-tags tagged leaves out"),
        (("verify", "--start-at-task", "nosuch"), "--start-at-task 'nosuch' leaves out what stands before"),
        (("discover", "--tags", "nosuch"), "no host was looked at"),
        (("discover", "--skip-tags", "always"), "--skip-tags always leaves out"),
    ],
)
def test_options_that_leave_out_the_report_are_no_success(
    small: Simulated, arguments: tuple[str, ...], reason: str
) -> None:
    status, output = ended(small, f"timesten.monitoring.{arguments[0]}", *arguments[1:])
    assert status != 0 and reason in output, output


def test_one_host_that_is_cut_off_ends_nothing_for_the_others(small: Simulated) -> None:
    """Also where the configuration says that any error is everybody's."""
    tree = json.loads(small.inventory.read_text())
    cut_off = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_timeout": 5}
    tree["all"]["children"]["timesten_exporters"]["hosts"]["exp2"].update(cut_off)
    inventory = small.place / "cut-off.json"
    inventory.write_text(json.dumps(tree))
    for server in small.servers:
        answer = small.place / server / "answer"
        told = json.loads(answer.read_text())
        told["exporters"] = told["exporters"][:1]
        answer.write_text(json.dumps(told))
    command = small.command("timesten.monitoring.site")
    command[command.index("-i") + 1] = str(inventory)
    done = subprocess.run(
        command, env=small.environment(ANSIBLE_ANY_ERRORS_FATAL="1"), capture_output=True, check=False, text=True
    )
    assert done.returncode == 2 and "2 of 4 pairs proven, 2 not proven, 3 of 4 hosts finished." in done.stdout, (
        done.stdout
    )
    assert done.stdout.count("onnection refused") == 1


def test_each_playbook_of_a_run_tells_its_own(tmp_path: Path) -> None:
    """Two rotations and a site in one call of ansible-playbook: what the first has registered is there in the others."""
    small = Simulated(tmp_path / "fleet", 2, 2)
    book = tmp_path / "book.yml"
    imported = [{"import_playbook": f"timesten.monitoring.{name}"} for name in ("rotate", "rotate", "site")]
    book.write_text(json.dumps(imported))
    status, output = ended(small, str(book), "--check", "-e", "rotate_only_due=true")
    assert status == 0, output
    assert [
        output.count(f"  {name}: left alone: its wallet is neither due nor changed") for name in small.exporters
    ] == [
        2,
        2,
    ]
    assert "4 of 4 pairs predicted." in output


def test_what_a_host_says_of_itself_is_no_variable(small: Simulated, tmp_path: Path) -> None:
    """As another play gathers it: a fact stands above the inventory, also one that is a path of the controller."""
    answer = small.place / "exp2" / "answer"
    honest = answer.read_text()
    told = {"timesten_report": str(tmp_path / "mine"), "exporter_host_owner": "root", "ansible_hostname": "exp2"}
    gather = {"hosts": "exp2", "gather_facts": False, "tasks": [{"ansible.builtin.setup": {}}]}
    book = tmp_path / "book.yml"
    book.write_text(json.dumps([gather, {"import_playbook": "timesten.monitoring.site"}]))
    answer.write_text(json.dumps({"changed": False, "ansible_facts": told}))
    status, output = ended(small, str(book))
    answer.write_text(honest)
    assert status != 0 and "exp2: exporter_host_owner, timesten_report: among the facts of the host" in output, output
    assert not (tmp_path / "mine").exists()


def test_a_value_from_a_vault_is_told_to_nobody(small: Simulated, tmp_path: Path) -> None:
    """Also where it is wrong, at any depth, and however much Ansible says."""
    secret = VaultSecret(b"vault-password")
    (tmp_path / "password").write_bytes(secret.bytes)

    def vaulted(text: str) -> dict[str, str]:
        return {"__ansible_vault": VaultLib().encrypt(text, secret).decode()}

    tree = json.loads(small.inventory.read_text())
    exporters, servers = (
        tree["all"]["children"][group]["hosts"] for group in ("timesten_exporters", "prometheus_servers")
    )
    exporters["exp1"]["exporter_host_port"] = vaulted("Hush-port")
    exporters["exp2"]["exporter_host_exporters"] = [
        {"environment": {"A": vaulted("Hush-environment")}, "renew_before": vaulted("Hush-renewal")}
    ]
    servers["prom1"]["hush"] = vaulted("Hush-indirect")
    servers["prom1"]["prometheus_host_scrape_interval"] = "{{ hush }}"
    servers["prom2"]["prometheus_host_labels"] = {"a": "x", "b-c": vaulted("Hush-label")}
    (tmp_path / "inventory.json").write_text(json.dumps(tree))
    command = small.command("timesten.monitoring.site", "-vvv", "--vault-password-file", str(tmp_path / "password"))
    command[command.index("-i") + 1] = str(tmp_path / "inventory.json")
    done = subprocess.run(command, env=small.environment(), capture_output=True, check=False, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 2 and "Hush" not in output, output
    for name in ("exporter_host_port", "renew_before", "prometheus_host_scrape_interval", "prometheus_host_labels"):
        assert name in output
