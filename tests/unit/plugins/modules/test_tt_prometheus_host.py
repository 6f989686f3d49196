# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module leaves in the managed host's log and in its own answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils import basic

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.modules import tt_prometheus_host


def module(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[Any, list[str]]:
    given = {"ANSIBLE_MODULE_ARGS": {"name": "prom1", "_ansible_no_log": False, **arguments}}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    logged: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, log_args=None: logged.append(text))
    return tt_prometheus_host.HostModule(tt_prometheus_host.SPEC), logged


EXPORTERS = [
    {"name": f"exp{n}", "bundle": f"SEALED{n}", "certificate": f"CERTIFICATE{n}", "ca_certificate": f"AUTHORITY{n}"}
    for n in range(3)
]


def test_the_log_names_the_exporters_and_nothing_they_bring(monkeypatch: pytest.MonkeyPatch) -> None:
    _made, logged = module(monkeypatch, exporters=EXPORTERS, rendered="WHOLE FILE", url_password="hunter2")
    assert logged == ["Invoked with name=prom1 state=present exporters=exp0, exp1, exp2"]


def test_the_answer_shows_names_and_errors_but_no_bundle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logins = {"url_password": "hunter2", "url_bearer_token": "t0ken", "url_headers": {"X-Api-Key": "k3y-of-8"}}
    made, _logged = module(monkeypatch, exporters=EXPORTERS, rendered="WHOLE FILE", **logins)
    with pytest.raises(SystemExit):
        made.fail_json(msg="exporter exp1: the reason", exporters=[{"name": "exp1"}])
    text = capsys.readouterr().out
    answer = json.loads(text)
    assert answer["msg"] == "exporter exp1: the reason" and answer["exporters"] == [{"name": "exp1"}]
    assert answer["invocation"]["module_args"]["name"] == "prom1"
    for secret in ("SEALED", "CERTIFICATE0", "AUTHORITY", "WHOLE FILE", "hunter2", "t0ken", "k3y-of-8"):
        assert secret not in text


REFUSED = [
    ("present", {"switch": {"exp1": {}}}, "switch"),
    ("released", {"switch": {"exp1": {}}}, "switch"),
    ("inspected", {"remove": ["exp1"]}, "remove"),
    ("verified", {"remove": ["exp1"]}, "remove"),
    ("following", {"remove": ["exp1"]}, "remove"),
    ("verified", {"purge": True}, "purge"),
    ("staged", {"purge": True}, "purge"),
    ("verified", {"both_ports": True}, "both_ports"),
    ("absent", {"both_ports": True}, "both_ports"),
    ("absent", {"exporters": EXPORTERS}, "exporters"),
    ("inspected", {"revision": "r"}, "revision"),
    ("present", {"rendered": "x"}, "rendered"),
    ("verified", {"rendered": "x", "layout": "template"}, "rendered"),
]


@pytest.mark.parametrize(("state", "options", "named"), REFUSED)
def test_an_option_that_cannot_be_used_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, state: str, options: dict[str, Any], named: str
) -> None:
    made, _logged = module(monkeypatch, state=state, **options)
    with pytest.raises(TimesTenError, match=f"^{named}: "):
        tt_prometheus_host.check_options(made.params)


@pytest.mark.parametrize("state", tt_prometheus_host.STATES)
def test_what_the_role_gives_in_every_state_is_taken(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    exporters = [] if state == "absent" else EXPORTERS
    made, _logged = module(monkeypatch, state=state, exporters=exporters, labels={}, keep_deliveries=2, switch={})
    tt_prometheus_host.check_options(made.params)
