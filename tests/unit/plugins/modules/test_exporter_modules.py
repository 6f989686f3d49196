# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the exporter host: documentation and options in step, nothing that should not be shown."""

from __future__ import annotations

import importlib
import json
import re

import pytest

pytest.importorskip("yaml", reason="documentation is read on the controller")
pytest.importorskip("ansible", reason="modules need Ansible's module_utils")

import yaml
from ansible.module_utils import basic

from ansible_collections.timesten.monitoring.plugins.doc_fragments.exporter import ModuleDocFragment
from ansible_collections.timesten.monitoring.plugins.module_utils.core import module as _module
from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import Options
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates

SMALL = ("tt_wallet", "tt_export_cert", "tt_client_cert", "tt_exporter", "tt_exporter_info")
MODULES = (*SMALL, "tt_exporter_host")
PACKAGE = "ansible_collections.timesten.monitoring.plugins.modules"


def module(name):
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def options(monkeypatch):
    """Return a module's argument spec."""

    def spec(name):
        class Seen(Exception):
            pass

        def remember(_self, argument_spec, **_keywords):
            raise Seen(argument_spec)

        monkeypatch.setattr(basic.AnsibleModule, "__init__", remember)
        with pytest.raises(Seen) as caught:
            module(name).main()
        return caught.value.args[0]

    return spec


def plain(description):
    """A description without its paragraphs and the path to the option."""
    text = " ".join(description if isinstance(description, list) else [description])
    return re.sub(r"\s+", " ", text.replace("exporters[].", ""))


def test_the_host_module_documents_what_the_fragments_document(options):
    """The suboptions of a list cannot come from a fragment; so they are compared."""
    host = yaml.safe_load(module("tt_exporter_host").DOCUMENTATION)["options"]["exporters"]["suboptions"]
    shared = {}
    for part in ("UTILITY", "WALLET", "PROCESS"):
        shared.update(yaml.safe_load(getattr(ModuleDocFragment, part))["options"])
    assert set(shared) < set(host)
    # The host can choose it for itself.
    mine, documented = host["boot"], shared.pop("boot")
    assert mine.pop("choices") == [*documented.pop("choices"), "auto"]
    assert plain(mine.pop("description")).startswith(plain(documented.pop("description")))
    assert mine == documented
    for name, documented in shared.items():
        mine = dict(host[name])
        assert plain(mine.pop("description")) == plain(documented.pop("description")), name
        assert mine == documented, name
    assert set(host) == set(options("tt_exporter_host")["exporters"]["options"])


@pytest.mark.parametrize("name", MODULES)
def test_options_and_documentation(options, name):
    def compare(spec, documented, path):
        assert set(spec) == set(documented), path
        for key, option in spec.items():
            told = documented[key]
            for attribute in ("type", "elements", "default", "choices"):
                assert option.get(attribute) == told.get(attribute), f"{path}{key} {attribute}"
            assert bool(option.get("required")) is bool(told.get("required")), f"{path}{key}"
            assert "default" not in option or not option.get("required")
            if "options" in option:
                compare(option["options"], told["suboptions"], f"{path}{key}.")

    text = yaml.safe_load(module(name).DOCUMENTATION)
    documented = dict(text.get("options", {}))
    for fragment in text["extends_documentation_fragment"]:
        part = fragment.rpartition(".")[2]
        if part.isupper():
            documented.update(yaml.safe_load(getattr(ModuleDocFragment, part))["options"])
    compare(options(name), documented, "")


@pytest.mark.parametrize("name", MODULES)
def test_examples_use_the_module_with_options_that_it_has(options, name):
    spec = options(name)
    for task in yaml.safe_load(module(name).EXAMPLES):
        given = task[f"timesten.monitoring.{name}"]
        assert set(given) <= set(spec)
        assert {key for key, option in spec.items() if option.get("required")} <= set(given)


def answer(monkeypatch, capsys, work, **params):
    """Run :func:`core.module.run` around a function; return what the module printed."""
    given = {"ANSIBLE_MODULE_ARGS": {**params, "_ansible_verbosity": 3}}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(given).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, **_keywords: logged.append(text))
    spec = {"environment": {"type": "dict"}, "exporters": {"type": "list", "elements": "dict"}, "port": {"type": "int"}}
    with pytest.raises(SystemExit) as caught:
        _module.run(_module.ExporterModule(Options(spec)), work)
    result = json.loads(capsys.readouterr().out)
    assert bool(caught.value.code) is bool(result.get("failed"))
    return result, logged


def test_failures_are_answers(monkeypatch, capsys):
    def work(_module_):
        raise TimesTenError("no", rc=3, changed=True, warnings=["beware"])

    warned = []
    monkeypatch.setattr(_module.ExporterModule, "warn", lambda _self, text: warned.append(text))
    result, _logged = answer(monkeypatch, capsys, work)
    assert (result["failed"], result["msg"], result["rc"], result["changed"]) == (True, "no", 3, True)
    assert warned == ["beware"]


def test_system_errors_are_answers(monkeypatch, capsys):
    def work(_module_):
        with open("/nonexistent/file", encoding="utf-8"):
            pass

    result, _logged = answer(monkeypatch, capsys, work)
    assert (result["failed"], result["msg"]) == (True, "/nonexistent/file: No such file or directory")


def test_a_missing_package_is_named(monkeypatch, capsys):
    assert _certificates.CRYPTOGRAPHY_IMPORT_ERROR is None
    monkeypatch.setattr(_certificates, "CRYPTOGRAPHY_IMPORT_ERROR", "Traceback: no cryptography")
    result, _logged = answer(monkeypatch, capsys, lambda _module_: pytest.fail("it cannot work"))
    assert "Failed to import the required Python library (cryptography >= 3.3)" in result["msg"]


def test_values_of_environments_are_hidden(monkeypatch, capsys):
    variables = {"TT_PASSWORD": "sesame"}
    params = {"environment": variables, "exporters": [{"name": "a", "environment": variables}], "port": 8888}

    def work(running):
        assert running.params["environment"] == variables
        return {"changed": False}

    result, logged = answer(monkeypatch, capsys, work, **params)
    shown = {"TT_PASSWORD": _module.HIDDEN}
    assert result["invocation"]["module_args"] == {
        "environment": shown,
        "exporters": [{"name": "a", "environment": shown}],
        "port": 8888,
    }
    assert logged and "TT_PASSWORD" in logged[0] and "port=8888" in logged[0]
    assert "sesame" not in json.dumps(result) + "".join(logged)
