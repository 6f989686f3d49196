# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot every exporter is there without a playbook: under a real systemd, and by cron.

The tests of the file follow each other on one lab: exp1 and exp2 have systemd and shall use it, exp3 has systemd and its cron, exp4 is a host with
neither, whose crontab line is run as cron would. Every exporter notes each of its starts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from gates.doc_examples import example
from integration import site_kit as kit
from integration.site_kit import Fleet, shell
from lab import lab as lab_module
from lab import packages
from lab.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes namespaces and mounts: run as root"),
]

HOMES = kit.HOMES
# Each way in which TimesTen's own exporter may show itself.
MAIN = {
    "exp1": {"ttinst": {"NAME": "exec", "PID_FILE": "blanks", "NOISE": "locale"}},
    "exp2": {
        "sales": {"RUN": "detach", "START_DELAY": "1", "EXPORT": "leaf", "PID_FILE_DELAY": "1"},
        "stock": {"PKI": "self-signed", "RATE_OPTION": "absent", "RUN": "child"},
    },
    "exp3": {"ttinst": {"RUN": "detach", "NAME": "rewritten"}},
    "exp4": {
        "sales": {"START_DELAY": "0.5", "NAME": "exec", "PID_FILE": "blanks"},
        "stock": {"RUN": "detach", "NAME": "exec", "PID_FILE_DELAY": "3"},
    },
}
PLACES = {
    (f"{host}-{home}" if len(homes) > 1 else host): (host, home) for host, homes in MAIN.items() for home in homes
}
BOOT = {"exp1": "systemd", "exp2": "systemd", "exp3": "cron", "exp4": "cron"}
WITH_UNIT = ["exp1", "exp2-sales", "exp2-stock"]
UP = {("prom1", name): "up" for name in PLACES}
OTHERS_CRONTAB = "# mine\n5 4 * * * /bin/true\n"
# What a crontab's command gets; see crontab(5).
CRON_ENVIRONMENT = ["HOME=/home/timesten", "LOGNAME=timesten", "PATH=/usr/bin:/bin", "SHELL=/bin/sh"]


def directory(name: str) -> str:
    _host, home = PLACES[name]
    return f"{HOMES}/{home}/monitoring/{name}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(4, 1, ("2.53",), lab_module.LABS / "boot", systemd=("exp1", "exp2", "exp3")) as running:
        for host in running.hosts:
            kit.prepare_host(running, host.name)
        yield running


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    """All exporters run, and nothing starts them after a reboot."""
    hosts: dict[str, dict[str, object]] = {}
    for host, homes in MAIN.items():
        kit.install_exporter(lab, host, {home: {**own, "RATE": "unlimited"} for home, own in homes.items()})
        hosts[host] = {}
        if len(homes) > 1:
            hosts[host]["exporter_host_exporters"] = [
                {"instance": home, "port": 8888 + index, "timesten_home": f"{HOMES}/{home}"}
                for index, home in enumerate(homes)
            ]
        for home in homes:
            note = f"case \" $* \" in *' -port '*) echo >>{HOMES}/{home}/starts ;; esac"
            shell(lab, host, f'sed -i "2i $(cat)" {HOMES}/{home}/bin/ttenv', input=note.replace('"', '\\"'))
    shell(lab, "exp4", "setpriv --reuid timesten --regid timesten --clear-groups crontab -", input=OTHERS_CRONTAB)
    fleet = Fleet(
        lab,
        "fleet",
        hosts,
        ["prom1"],
        exporter_host_timesten_home=f"{HOMES}/ttinst",
        exporter_host_rate_budget="warn",
        prometheus_host_scrape_interval="1s",
    )
    fleet.run()
    fleet.await_health(UP)
    return fleet


def choose(fleet: Fleet, boot: dict[str, str]) -> None:
    with_systemd = yaml.safe_load(example("boot"))["timesten_exporters"]["vars"]
    for host, variables in fleet.tree["all"]["children"]["timesten_exporters"]["hosts"].items():
        variables.update(with_systemd if boot[host] == "systemd" else {"exporter_host_boot": boot[host]})


def pids(lab: Lab) -> dict[str, int]:
    return {name: int(lab.disk_file(PLACES[name][0], f"{directory(name)}/exporter.pid").read_text()) for name in PLACES}


def starts(lab: Lab) -> dict[str, int]:
    return {
        name: lab.disk_file(host, f"{HOMES}/{home}/starts").read_text().count("\n")
        for name, (host, home) in PLACES.items()
    }


def more_starts(lab: Lab, before: dict[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in starts(lab).items() if count != before[name]}


def unit(lab: Lab, name: str, suffix: str = "service") -> dict[str, str]:
    """What systemd says of an exporter's unit."""
    properties = "ActiveState,SubState,MainPID,NRestarts,UnitFileState,ConditionResult,LoadState"
    shown = shell(lab, PLACES[name][0], f"systemctl show --property={properties} timesten-exporter-{name}.{suffix}")
    return dict(line.split("=", 1) for line in shown.splitlines())


def crontab(lab: Lab, host: str) -> str:
    return shell(lab, host, "cat /var/spool/cron/crontabs/timesten 2>/dev/null || true")


def own_lines(text: str) -> list[str]:
    """A crontab without the three lines that cron itself puts before it."""
    return [
        line
        for line in text.splitlines()
        if not line.startswith(("# DO NOT EDIT", "# (- installed", "# (Cron version"))
    ]


def as_owner(
    lab: Lab, fleet: Fleet, host: str, module: str, arguments: dict[str, object], expect: int = 0
) -> dict[str, object]:
    """Run a small module as the instance administrator, and return its result."""
    play = fleet.directory / "module.yml"
    task = {"name": "Call", f"timesten.monitoring.{module}": arguments, "become": True, "become_user": "timesten"}
    play.write_text(json.dumps([{"hosts": host, "gather_facts": False, "tasks": [task]}]))
    return dict(fleet.run(play, expect=expect).results(module)[0]["result"])


def reboot(lab: Lab, *hosts: str) -> None:
    for host in hosts:
        lab.kill(host)
    for host in hosts:
        lab.boot(host)


# --- from nothing to systemd and cron ---------------------------------------------------------------------------------


def test_check_mode_before(lab: Lab, fleet: Fleet) -> None:
    choose(fleet, BOOT)
    before = starts(lab)
    run = fleet.run("timesten.monitoring.site", "--check", "--diff")
    assert {host for host, _task in run.changed()} >= {"exp1", "exp2"}
    assert "timesten-exporter-exp1.service is missing" in run.output
    assert run.exporters()["exp4-sales"]["why"] == [
        f"{directory('exp4-sales')}/run is missing",
        "the crontab's line is missing or differs",
    ]
    assert starts(lab) == before
    assert shell(lab, "exp1", "ls /etc/systemd/system").count("timesten") == 0


def test_migration_of_running_exporters(lab: Lab, fleet: Fleet) -> None:
    """One restart for those that systemd takes over, none for the others."""
    choose(fleet, BOOT)
    before, pids_before = starts(lab), pids(lab)
    run = fleet.run()
    assert more_starts(lab, before) == dict.fromkeys(WITH_UNIT, 1)
    now = pids(lab)
    assert {name for name in PLACES if now[name] != pids_before[name]} == set(WITH_UNIT)
    for name in WITH_UNIT:
        assert unit(lab, name) == {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "MainPID": str(now[name]),
            "NRestarts": "0",
            "UnitFileState": "enabled",
            "ConditionResult": "yes",
        }
        assert unit(lab, name, "path")["UnitFileState"] == "enabled"
        assert run.exporters()[name]["process"] == {
            "state": "started",
            "pid": now[name],
            "manager": f"timesten-exporter-{name}.service",
        }
    assert own_lines(crontab(lab, "exp4"))[:2] == OTHERS_CRONTAB.splitlines()
    assert len(own_lines(crontab(lab, "exp4"))) == 6
    for name, (host, _home) in PLACES.items():
        status = lab.disk_file(host, f"{directory(name)}/run").stat()
        assert status.st_mode & 0o7777 == 0o700
    fleet.await_health(UP)


def test_nothing_to_do_afterwards(lab: Lab, fleet: Fleet) -> None:
    before = starts(lab)
    run = fleet.run()
    assert run.changed() == set()
    assert run.calls == {"exp1": 2, "exp2": 2, "exp3": 1, "exp4": 1, "prom1": 2}
    assert starts(lab) == before


def test_the_units(lab: Lab) -> None:
    for name in WITH_UNIT:
        files = [f"/etc/systemd/system/timesten-exporter-{name}.{suffix}" for suffix in ("service", "path")]
        done = lab.run(["systemd-analyze", "verify", *files], PLACES[name][0], capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    shown = shell(lab, "exp1", "systemd-analyze --no-pager security timesten-exporter-exp1.service | tail -n 1")
    exposure = re.search(r": ([0-9.]+) ", shown)
    assert exposure is not None and float(exposure[1]) < 4, shown
    # The processes of others can be seen: where TimesTen's daemon runs is told by /proc.
    pid = pids(lab)["exp1"]
    assert "1" in shell(lab, "exp1", f"nsenter --target {pid} --mount ls /proc").split()


def test_own_limits(lab: Lab, fleet: Fleet) -> None:
    """What `systemctl edit` makes is kept, and is no difference."""
    override = "/etc/systemd/system/timesten-exporter-exp1.service.d/override.conf"
    script = f"mkdir {os.path.dirname(override)}; cat >{override}; systemctl daemon-reload"
    shell(lab, "exp1", script, input=example("boot-limits"))
    run = fleet.run()
    assert run.changed() == set()
    limit = "systemctl show --property=LimitMEMLOCK --value timesten-exporter-exp1.service"
    assert shell(lab, "exp1", limit) == "infinity\n"


# --- the reboot -------------------------------------------------------------------------------------------------------


def run_crontab(lab: Lab, host: str) -> None:
    """Run the very @reboot lines of the instance administrator as cron does."""
    lines = [line.removeprefix("@reboot ") for line in crontab(lab, host).splitlines() if line.startswith("@reboot ")]
    assert len(lines) == len(MAIN[host])
    for line in lines:
        as_user = [
            "setpriv",
            "--reuid",
            "timesten",
            "--regid",
            "timesten",
            "--clear-groups",
            "env",
            "-i",
            *CRON_ENVIRONMENT,
        ]
        done = lab.run([*as_user, "/bin/sh", "-c", line], host, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def moment(lab: Lab, host: str, unit_name: str, which: str) -> int:
    """Microseconds on the host's clock at which a unit began to start, or had started."""
    return int(shell(lab, host, f"systemctl show --property={which}TimestampMonotonic --value {unit_name}"))


def test_reboot(lab: Lab, fleet: Fleet) -> None:
    """Every target is up again without a playbook, and the next run has nothing to do."""
    daemon = (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2\n[Install]\nWantedBy=multi-user.target\n"
    )
    shell(lab, "exp1", "cat >/etc/systemd/system/tt_ttinst.service; systemctl enable tt_ttinst.service", input=daemon)
    before, pids_before = starts(lab), pids(lab)
    reboot(lab, *MAIN)
    run_crontab(lab, "exp4")
    kit.until(
        lambda: more_starts(lab, before) == dict.fromkeys(PLACES, 1), 30, lambda: f"starts: {more_starts(lab, before)}"
    )
    fleet.await_health(UP)
    assert {name: unit(lab, name)["MainPID"] for name in WITH_UNIT} == {
        name: str(pids(lab)[name]) for name in WITH_UNIT
    }
    assert pids(lab) != pids_before
    daemon_up = moment(lab, "exp1", "tt_ttinst.service", "ActiveEnter")
    assert daemon_up - moment(lab, "exp1", "tt_ttinst.service", "InactiveExit") >= 2_000_000
    assert moment(lab, "exp1", "timesten-exporter-exp1.service", "InactiveExit") >= daemon_up
    run = fleet.run()
    assert run.changed() == set()
    assert more_starts(lab, before) == dict.fromkeys(PLACES, 1)
    # Again, as where cron is restarted: nothing is started a second time.
    run_crontab(lab, "exp4")
    assert more_starts(lab, before) == dict.fromkeys(PLACES, 1)


def test_ttexporter_that_cannot_start_at_once(lab: Lab, fleet: Fleet) -> None:
    """It is tried again until it can: cron may come up before TimesTen."""
    lab.kill("exp4")
    lab.kill("exp2")
    homes = {host: [f"{HOMES}/{home}/conf" for home in MAIN[host]] for host in ("exp2", "exp4")}
    for host, directories in homes.items():
        for path in directories:
            conf = lab.disk_file(host, path)
            conf.rename(conf.with_name("away"))
    for host in homes:
        lab.boot(host)
    line = next(
        line.removeprefix("@reboot ") for line in crontab(lab, "exp4").splitlines() if line.startswith("@reboot ")
    )
    as_user = [
        "setpriv",
        "--reuid",
        "timesten",
        "--regid",
        "timesten",
        "--clear-groups",
        "env",
        "-i",
        *CRON_ENVIRONMENT,
    ]
    with subprocess.Popen(
        [*lab.enter("exp4"), *as_user, "/bin/sh", "-c", line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as waiting:
        kit.until(
            lambda: unit(lab, "exp2-sales")["NRestarts"] not in ("0", "1"), 40, lambda: str(unit(lab, "exp2-sales"))
        )
        assert waiting.poll() is None
        for host, directories in homes.items():
            for path in directories:
                shell(lab, host, f"mv {path[:-4]}away {path}")
        output, _errors = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert "exporter exp4-sales: it ended, and has not written" in output
    kit.until(lambda: unit(lab, "exp2-sales")["SubState"] == "running", 30, lambda: str(unit(lab, "exp2-sales")))
    run_crontab(lab, "exp4")
    fleet.await_health(UP)
    assert fleet.run().changed() == set()


# --- changes while systemd manages the process ------------------------------------------------------------------------


def test_what_ends_comes_back(lab: Lab, fleet: Fleet) -> None:
    before, old = starts(lab), pids(lab)
    for name in WITH_UNIT:
        shell(lab, PLACES[name][0], f"kill -KILL {old[name]}")
    for name in WITH_UNIT:
        kit.until(
            lambda name=name: unit(lab, name)["SubState"] == "running" and unit(lab, name)["MainPID"] != str(old[name]),
            30,
            lambda name=name: str(unit(lab, name)),
        )
    assert more_starts(lab, before) == dict.fromkeys(WITH_UNIT, 1)
    fleet.await_health(UP)


def test_other_arguments(lab: Lab, fleet: Fleet) -> None:
    before = starts(lab)
    run = fleet.run(exporter_host_rate_limit=14)
    limited = {name for name in PLACES if name != "exp2-stock"}
    assert {name for name, item in run.exporters().items() if item["changed"]} == limited
    assert run.exporters()["exp1"]["why"] == ["rate limit 15 -> 14", f"{directory('exp1')}/run differs"]
    assert run.exporters()["exp1"]["process"]["manager"] == "timesten-exporter-exp1.service"
    assert more_starts(lab, before) == dict.fromkeys(limited, 1)
    fleet.await_health(UP)


def test_another_environment(lab: Lab, fleet: Fleet) -> None:
    """After a boot it is the start script that tells which values the process was started with."""
    definition = {
        "timesten_home": f"{HOMES}/ttinst",
        "certificate_directory": directory("exp1"),
        "port": 8888,
        "boot": "systemd",
    }

    def run(value: str) -> list[str]:
        arguments = {**definition, "environment": {"TT_MINE": value}}
        return list(as_owner(lab, fleet, "exp1", "tt_exporter", arguments)["why"])

    changed = f"{directory('exp1')}/run differs"
    assert run("it's $HOME") == ["rate limit 14 -> 15", "environment", changed]
    assert run("it's $HOME") == []
    reboot(lab, "exp1")
    fleet.await_health(UP)
    # Prometheus may still say what it knew before the boot; the pid file may too, or be gone.
    command_line = f"cat /proc/$(tr -d ' ' <{directory('exp1')}/exporter.pid)/cmdline"
    kit.until(
        lambda: "ttExporter" in shell(lab, "exp1", command_line, check=False), 60, lambda: "the exporter after the boot"
    )
    environment = shell(lab, "exp1", f"cat /proc/{pids(lab)['exp1']}/environ").split("\0")
    assert "TT_MINE=it's $HOME" in environment
    assert not [item for item in environment if item.startswith(("INVOCATION_ID=", "JOURNAL_STREAM="))]
    assert run("it's $HOME") == []
    before = starts(lab)
    assert run("another") == ["environment", changed]
    assert run("another") == []
    assert more_starts(lab, before) == {"exp1": 1}


def test_a_rotation(lab: Lab, fleet: Fleet) -> None:
    """Whether the switch fits into the gap between the scrapes is not the matter here."""
    fleet.run(prometheus_host_scrape_interval="10s")
    fleet.await_health(UP)
    before, old = starts(lab), pids(lab)
    fleet.run("timesten.monitoring.rotate", rotate_force=True, prometheus_host_scrape_interval="10s")
    fleet.await_health(UP)
    assert more_starts(lab, before) == dict.fromkeys(PLACES, 1)
    for name in WITH_UNIT:
        host, _home = PLACES[name]
        assert unit(lab, name)["MainPID"] == str(pids(lab)[name]) != str(old[name])
        current = os.readlink(lab.disk_file(host, f"{directory(name)}/current"))
        record = json.loads(lab.disk_file(host, f"{directory(name)}/state.json").read_text())
        assert (record["pid"], f"{directory(name)}/{current}" in record["argv"]) == (pids(lab)[name], True)
    fleet.run()
    fleet.await_health(UP)


def test_stopped_and_started_by_its_owner(lab: Lab, fleet: Fleet) -> None:
    """No root is needed; a stopped one stays stopped over a reboot."""
    definition = {
        "timesten_home": f"{HOMES}/sales",
        "certificate_directory": directory("exp2-sales"),
        "port": 8888,
        "boot": "systemd",
    }
    before = starts(lab)
    as_owner(lab, fleet, "exp2", "tt_exporter", {**definition, "state": "stopped"})
    kit.until(lambda: unit(lab, "exp2-sales")["ActiveState"] == "inactive", 10, lambda: str(unit(lab, "exp2-sales")))
    reboot(lab, "exp2")
    kit.until(lambda: unit(lab, "exp2-stock")["SubState"] == "running", 10, lambda: str(unit(lab, "exp2-stock")))
    assert unit(lab, "exp2-sales")["ConditionResult"] == "no"
    assert more_starts(lab, before) == {"exp2-stock": 1}
    as_owner(lab, fleet, "exp2", "tt_exporter", definition)
    assert unit(lab, "exp2-sales")["MainPID"] == str(pids(lab)["exp2-sales"])
    fleet.await_health(UP)
    # So does one that root has stopped: the next run starts it.
    shell(lab, "exp2", "systemctl stop timesten-exporter-exp2-sales.service")
    run = fleet.run()
    assert [name for name, item in run.exporters().items() if item["changed"]] == ["exp2-sales"]
    assert unit(lab, "exp2-sales")["SubState"] == "running"
    assert more_starts(lab, before) == {"exp2-stock": 1, "exp2-sales": 2}


def test_a_unit_of_somebody_elses(lab: Lab, fleet: Fleet) -> None:
    """It is left alone, and the message says what to do."""
    own = directory("exp3")
    definition = {"timesten_home": f"{HOMES}/ttinst", "certificate_directory": own, "port": 8888, "boot": "cron"}
    as_owner(lab, fleet, "exp3", "tt_exporter", {**definition, "state": "stopped"})
    assert own_lines(crontab(lab, "exp3")) == []
    generation = os.readlink(lab.disk_file("exp3", f"{own}/current"))
    options = f"-port 8888 -certificate-directory {own}/{generation} -pid-file {own}/exporter.pid"
    unit_options = f"--unit=own.service --uid=timesten --property=Type=forking --property=PIDFile={own}/exporter.pid"
    shell(lab, "exp3", f"systemd-run --quiet {unit_options} {HOMES}/ttinst/bin/ttenv ttExporter {options}")
    result = as_owner(lab, fleet, "exp3", "tt_exporter", {**definition, "state": "stopped"}, expect=2)
    assert str(result["msg"]).endswith("as root: systemctl disable --now own.service")
    result = as_owner(lab, fleet, "exp3", "tt_exporter", {**definition, "boot": "systemd"}, expect=2)
    assert "install it first, as root, with tt_exporter_unit" in str(result["msg"])
    shell(lab, "exp3", "systemctl stop own.service")
    fleet.run()
    fleet.await_health(UP)
    assert len(own_lines(crontab(lab, "exp3"))) == 2


# --- and back ---------------------------------------------------------------------------------------------------------


def test_back_to_none(lab: Lab, fleet: Fleet) -> None:
    """Whoever ran by a unit runs on without it, so no moment at which a run may be killed leaves it down."""
    before, pids_before = starts(lab), pids(lab)
    choose(fleet, dict.fromkeys(BOOT, "none"))
    run = fleet.run()
    assert more_starts(lab, before) == {} and pids(lab) == pids_before
    assert not any("manager" in run.exporters()[name]["process"] for name in PLACES)
    for name, (host, _home) in PLACES.items():
        assert not lab.disk_file(host, f"{directory(name)}/run").exists()
        if name in WITH_UNIT:
            assert unit(lab, name)["LoadState"] == "not-found"
            assert "timesten-exporter" not in shell(lab, host, "ls -R /etc/systemd/system | grep -v service.d || true")
    assert own_lines(crontab(lab, "exp4")) == OTHERS_CRONTAB.splitlines()
    assert own_lines(crontab(lab, "exp3")) == []
    fleet.await_health(UP)
    run = fleet.run()
    assert run.changed() == set()
    assert run.calls == {"exp1": 1, "exp2": 1, "exp3": 1, "exp4": 1, "prom1": 2}


def test_what_ran_by_a_unit_is_restarted_and_started_without_it(lab: Lab, fleet: Fleet) -> None:
    """systemd brings back nothing that it does not know any more."""
    before, pids_before = starts(lab), pids(lab)
    shell(lab, "exp1", f"kill -9 {pids_before['exp1']}")
    fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp2"]["exporter_host_environment"] = {"OF": "none"}
    run = fleet.run()
    assert more_starts(lab, before) == dict.fromkeys(WITH_UNIT, 1)
    assert not any("manager" in run.exporters()[name]["process"] for name in PLACES)
    fleet.await_health(UP)


# --- Prometheus under systemd -----------------------------------------------------------------------------------------

PROMETHEUS_UNIT = """\
[Service]
User=timesten
ExecStart={prometheus} --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/home/timesten/data
ExecReload=/bin/kill -HUP $MAINPID
"""


def test_prometheus_is_reloaded_by_systemd(lab: Lab, fleet: Fleet) -> None:
    """Without the lifecycle endpoint its unit is taken, and its process stays."""
    binaries = packages.prometheus("3.5")
    shell(
        lab,
        "exp3",
        "mkdir -p /etc/prometheus; echo 'scrape_configs: []' >/etc/prometheus/prometheus.yml; "
        "cat >/etc/systemd/system/prometheus.service; systemctl daemon-reload; systemctl start prometheus",
        input=PROMETHEUS_UNIT.format(prometheus=lab_module.on_host(binaries.prometheus)),
    )
    pid = shell(lab, "exp3", "systemctl show --property=MainPID --value prometheus").strip()
    assert int(pid) > 1
    watched = Fleet(
        lab,
        "watched",
        {"exp4": fleet.tree["all"]["children"]["timesten_exporters"]["hosts"]["exp4"]},
        ["exp3"],
        **{key: value for key, value in fleet.tree["all"]["vars"].items() if key.startswith("exporter_host_")},
        prometheus_host_user="timesten",
        prometheus_host_promtool=str(lab_module.on_host(binaries.promtool)),
        prometheus_host_scrape_interval="1s",
    )
    first = watched.run()
    assert [e["result"]["reloaded"] for e in first.results("tt_prometheus_host") if "reloaded" in e["result"]] == [
        "systemd"
    ]
    assert watched.health() == {("exp3", "exp4-sales"): "up", ("exp3", "exp4-stock"): "up"}
    assert shell(lab, "exp3", "systemctl show --property=MainPID --value prometheus").strip() == pid
    assert watched.run().changed() == set()
    wrong = watched.run(
        expect=2,
        prometheus_host_scrape_interval="2s",
        prometheus_host_reload="systemd",
        prometheus_host_reload_unit="p",
    )
    assert "systemd has no active unit p; set prometheus_host_reload_unit" in wrong.report()["exp3"]
    # That no such unit can be told was known before a file was touched.
    assert "Nothing was changed" in wrong.report()["exp3"]
    assert watched.run().changed() == set()
    assert watched.health() == {("exp3", "exp4-sales"): "up", ("exp3", "exp4-stock"): "up"}
