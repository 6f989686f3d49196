# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module leaves in the managed host's log and in its own answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils import basic

from ansible_collections.timesten.monitoring.plugins.modules import tt_prometheus_host


def module(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[Any, list[str]]:
    given = {"ANSIBLE_MODULE_ARGS": {"name": "prom1", "_ansible_no_log": False, **arguments}}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    logged: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, log_args=None: logged.append(text))
    return tt_prometheus_host.HostModule(argument_spec=tt_prometheus_host.SPEC, supports_check_mode=True), logged


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
    made, _logged = module(monkeypatch, exporters=EXPORTERS, rendered="WHOLE FILE", url_password="hunter2")
    with pytest.raises(SystemExit):
        made.fail_json(msg="exporter exp1: the reason", exporters=[{"name": "exp1"}])
    text = capsys.readouterr().out
    answer = json.loads(text)
    assert answer["msg"] == "exporter exp1: the reason" and answer["exporters"] == [{"name": "exp1"}]
    assert answer["invocation"]["module_args"]["name"] == "prom1"
    for secret in ("SEALED", "CERTIFICATE0", "AUTHORITY", "WHOLE FILE", "hunter2"):
        assert secret not in text
