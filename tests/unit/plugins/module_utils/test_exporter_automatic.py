# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``boot: auto`` means, by what there is on the host."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import automatic, boot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.automatic import Choice, Seen, choose
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import crontab, systemd

NO_UNIT, NO_CRONTAB = "systemd does not run this host", "there is no crontab"
SPARE = "a unit cannot change to its spare_port"
UNITS = {"owner": "timesten", "after": []}

CHOICES = [
    # Nothing of ours is there.
    (Seen(), Choice("systemd", True)),
    (Seen(no_crontab=NO_CRONTAB), Choice("systemd", True)),
    (Seen(no_unit=NO_UNIT), Choice("cron")),
    (Seen(no_unit=NO_UNIT, no_crontab=NO_CRONTAB), Choice("none", unattended=f"{NO_UNIT}; {NO_CRONTAB}")),
    (Seen(spare=True), Choice("cron")),
    (Seen(spare=True, no_unit=NO_UNIT), Choice("cron")),
    (Seen(spare=True, no_crontab=NO_CRONTAB), Choice("none", unattended=f"{SPARE}; {NO_CRONTAB}")),
    # What there is stays, whatever would be chosen today.
    (Seen(unit=True), Choice("systemd")),
    (Seen(unit=True, no_unit=NO_UNIT), Choice("systemd")),
    (Seen(unit=True, entry=True), Choice("systemd")),
    (Seen(entry=True), Choice("cron")),
    (Seen(entry=True, no_unit=NO_UNIT), Choice("cron")),
    (Seen(entry=True, spare=True), Choice("cron")),
    # Root mends what differs, where it may.
    (Seen(unit=True, stale=True), Choice("systemd", True)),
    (Seen(unit=True, stale=True, no_unit=NO_UNIT), Choice("systemd")),
    # A spare port takes the unit away, but never leaves nobody.
    (Seen(unit=True, spare=True), Choice("cron")),
    (Seen(unit=True, stale=True, spare=True), Choice("cron")),
    (Seen(unit=True, spare=True, no_crontab=NO_CRONTAB), Choice("systemd")),
    # A script without a crontab is nothing that would start it.
    (Seen(entry=True, no_crontab=NO_CRONTAB), Choice("systemd", True)),
    (Seen(entry=True, no_unit=NO_UNIT, no_crontab=NO_CRONTAB), Choice("none", unattended=f"{NO_UNIT}; {NO_CRONTAB}")),
]


@pytest.mark.parametrize("seen, expected", CHOICES)
def test_choices(seen: Seen, expected: Choice) -> None:
    assert choose(seen) == expected


@pytest.mark.parametrize("seen, _expected", CHOICES)
def test_a_choice_is_kept(seen: Seen, _expected: Choice) -> None:
    """The next run, which finds what the first one has made, chooses the same and has nothing to do."""
    first = choose(seen)
    made = {
        "systemd": {"unit": True, "stale": False},
        "cron": {"unit": False, "stale": False, "entry": True},
        "none": {},
    }[first.boot]
    assert choose(dataclasses.replace(seen, **made)) == dataclasses.replace(first, needs_unit=False)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A definition whose host has systemd, a crontab, and nothing of ours; what it has is set by attributes."""
    made = define(
        {
            "timesten_home": "/opt/tt",
            "certificate_directory": str(tmp_path / "exp1"),
            "address": "exp1",
            "port": 8888,
            "boot": "auto",
        }
    )
    (tmp_path / "exp1").mkdir()
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(boot.systemd, "UNIT_DIRECTORY", str(tmp_path / "units"))
    monkeypatch.setattr(systemd, "runs_this_host", lambda: True)
    monkeypatch.setattr(crontab, "read", lambda: "")
    return made


def state_of(*units, state="UnitFileState=enabled\nActiveState=active"):
    return "\n\n".join(f"Id={unit}\n{state}" for unit in units)


def test_what_is_seen(host, tmp_path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: asked.append(arguments) or state_of(*arguments[2:]))
    assert automatic.settle(host, UNITS)[1] == Choice("systemd", True)
    assert automatic.settle(host, None)[1] == Choice("cron")
    assert automatic.settle(dataclasses.replace(host, spare_port=9999), UNITS)[1] == Choice("cron")
    # With insecure there is no rotation, so the spare port is no reason.
    plain = dataclasses.replace(host, spare_port=9999, insecure=True)
    assert automatic.settle(plain, UNITS)[1] == Choice("systemd", True)
    assert automatic.settle(dataclasses.replace(host, boot="none"), UNITS)[1] is None

    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import units

    # What no unit can hold is no error but a reason; somebody else's unit is an error, and is not taken for ours.
    odd = dataclasses.replace(host, timesten_home="/opt/it's")
    assert automatic.settle(odd, UNITS)[1] == Choice("cron")
    foreign = tmp_path / "units" / boot.path_name("exp1")
    foreign.write_text("[Path]\n")
    with pytest.raises(TimesTenError, match=r"exp1\.path was not written by this collection; move it away"):
        automatic.settle(host, UNITS)
    service = tmp_path / "units" / boot.service_name("exp1")
    for make in (lambda: service.write_text("[Service]\n"), lambda: service.symlink_to("/dev/null")):
        make()
        assert automatic.settle(host, None)[1] == Choice("cron") and automatic.kept(host).boot == "none"
        service.unlink()
    texts = units.unit_texts(dataclasses.replace(host, boot="systemd"), "timesten", [])
    for name, text in texts.items():
        (tmp_path / "units" / name).write_text(text)
    settled, choice = automatic.settle(host, UNITS)
    assert (settled.boot, choice) == ("systemd", Choice("systemd"))
    assert automatic.settle(dataclasses.replace(host, stop_signal="INT"), UNITS)[1] == Choice("systemd", True)
    assert automatic.settle(host, {**UNITS, "after": ["tt.service"]})[1] == Choice("systemd", True)
    assert automatic.kept(host).boot == "systemd"


def test_what_cron_has(host, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(systemd, "runs_this_host", lambda: False)
    assert automatic.kept(host).boot == "none"
    # A script that was left over is started by nobody.
    (tmp_path / "exp1" / "run").write_text("")
    assert automatic.kept(host).boot == "none"
    monkeypatch.setattr(systemd, "runs_this_host", lambda: True)
    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: state_of(*arguments[2:]))
    assert automatic.settle(host, UNITS)[1] == Choice("systemd", True)
    monkeypatch.setattr(crontab, "read", lambda: "\n".join(boot.crontab_lines("exp1", "/x/run")) + "\n")
    assert automatic.kept(host).boot == "cron"
    monkeypatch.setattr(systemd, "runs_this_host", lambda: True)
    monkeypatch.setattr(systemd, "systemctl", lambda *arguments: state_of(*arguments[2:]))
    assert automatic.settle(host, UNITS)[1] == Choice("cron")

    def none():
        raise TimesTenError("boot: no crontab")

    monkeypatch.setattr(crontab, "read", none)
    monkeypatch.setattr(systemd, "runs_this_host", lambda: False)
    expected = Choice("none", unattended="systemd does not run this host; boot: no crontab")
    assert automatic.settle(host, UNITS)[1] == expected
    assert automatic.kept(host).boot == "none"
