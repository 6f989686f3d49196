# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad values for every option of every module: each is refused by name before anything is touched.

The values are generated from the argument specs, so a new option is tried without a word here. The variables of the roles are tried in the
same way by the tests of ``plugin_utils.fleet``.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import re
import time

import pytest

pytest.importorskip("ansible", reason="modules need Ansible's module_utils")

from ansible.module_utils import basic

from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import host as exporter_host
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import units as exporter_units
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation import leader, stage, verdict
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import decide, jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import host as prometheus_host
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal

NAN, INF = float("nan"), float("inf")
LONG = "x" * 5000
WRONG_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "a\u2028b",
    "\ud800",
    LONG,
    [],
    ["a"],
    [[]],
    {},
    {"a": 1},
    True,
    False,
    NAN,
    INF,
]
WRONG = {
    "str": WRONG_TEXTS,
    "path": [*WRONG_TEXTS, "relative", "./x", "..", "../x", 5, 1.5, "/" + LONG],
    "int": ["nan", "inf", "-inf", "1e308", "1e999", "", " ", "abc", "\0", "1.5", 1.5, NAN, INF, -1, 2**70, -(2**70), 1e308, True, [], [1], {}, "é"],
    "float": ["nan", "inf", "-inf", "1e308", "1e999", "", " ", "abc", "\0", NAN, INF, -1, -1e-9, 1e308, 2**70, True, [], [1.0], {}, "é"],
    "bool": ["maybe", "", " ", "\0", 2, -1, NAN, INF, [], [True], {}, "é"],
    "dict": ["", "x", "\0", [], ["a"], True, 5, 1.5, NAN, INF],
    "list": [{}, {"a": 1}, True, False],
}  # fmt: skip
WRONG_ELEMENTS = {
    "str": [[None], [[]], [["a"]], [{}], [{"a": 1}], [True], [NAN], [INF], [""], [" "], ["\0"], ["a\nb"], ["ok", ""], [LONG], "", "a\0b", "\ud800"],
    "dict": [[None], [[]], [["a"]], ["x"], [5], [True], [NAN], "x", "", 5, NAN],
}  # fmt: skip
NAMES = ["../x", "..", "a/b", "é", ".x", "-x", "a b", "x" * 101]
HOSTS = ["é", "a b", "a/b", "-", "1.2.3.4.5", "300.1.1.1", "a..b", "x" * 64, "a" * 300, "[::1]"]
INTERVALS = ["x", "5", "-5s", "1.5s", "0s", "1e3s", "nan", "99999999y"]
MEANING = {
    "name": NAMES,
    "address": HOSTS,
    "common_name": HOSTS,
    "alt_names": [["é"], ["a b"], ["a..b"]],
    "owner": ["a b", "-x", "a:b"],
    "after": [["a b"], ["../x"]],
    "user": ["a b", "-x", "a:b"],
    "group": ["a b", "-x", "a:b"],
    "mode": ["x", "9999", "0o644", "-1", "07777777"],
    "renew_before": ["x", "5", "-5d", "100%", "-1%", "1.5d", "nan", "999999999d"],
    "recipient": ["x", "====", "AAAA", "é"],
    "rsa_key_size": [0, 1, 512, 2047, 10**6],
    "port": [0, 65536],
    "spare_port": [0, 65536, 8888],
    "usual_port": [0, 65536],
    "rate_limit": [0, 16],
    "stop_timeout": [0, 10**6],
    "start_timeout": [0, 10**6],
    "wait_timeout": [0, 10**6],
    "scrape_interval": [],
    "environment": [{"a b": "x"}, {"A": "x\0"}, {"A": "x\ny"}, {"A": None}, {"A": []}, {"A": {}}, {"": "x"}, {"1A": "x"}],
    "forget_clients": [["../x"], ["a b"], ["é"]],
    "away": [["../x"], ["a b"], ["é"]],
    "evict": [["../x"], ["a b"], ["é"]],
    "optional": [["../x"], ["a b"], ["é"]],
    "remove": [["../x"], ["a b"], ["é"]],
    "since": ["x", "2026-11-24", "2026-13-24T10:49:00Z", "2026-11-24T10:49:00+00:00"],
    "stored": [{"exp1": value} for value in ("x", 5, [], None, True)]
    + [{"exp1": {key: value}} for key in ("delivery", "sha256", "ca_sha256") for value in (5, [], {}, True)]
    + [{"exp1": {"scrape_interval": value}} for value in (NAN, INF, -1, 0, "x", [], {}, True)]
    + [{"exp1": {"verifies": value}} for value in (5, {}, [5], [None], True)],
    "switch": [{"exp1": value} for value in ("x", 5, [], None, True, {})]
    + [{"exp1": {"moments": [1.0], "deadline": value}} for value in (NAN, INF, "x", [], {}, None, True)]
    + [{"exp1": {"moments": value, "deadline": 1.0}} for value in (NAN, "x", {}, None, True, 5, [NAN], [INF], ["x"], [[]], [None])],
    "url": ["x", "ftp://x", "http://", "http://u:p@x", "http://x:0", "http://x:99999", "http://x?q", "http://x#f", "http://a b", "http://["],
    "url_username": ["a:b"],
    "promtool": [],
    "reload_unit": ["a b", "a/b", "x" * 300],
    "keep_deliveries": [10**6],
    "keep_generations": [10**6],
    "store": ["/", "//"],
    "scrape_timeout": INTERVALS,
    "metrics_path": ["x", "é"],
    "labels": [{"a b": "x"}, {"__a": "x"}, {"": "x"}, {"a": 5}, {"a": None}, {"a": []}, {"a": "\0"}, {"a": NAN}, {"1a": "x"}],
    "job_label": ["$x", "a$b"],
    "extra": [{"job_name": "x"}, {"scheme": "http"}, {"": 1}, {"a": NAN}, {"a": INF}, {"a": "\0"}, {"a": [{"b": "\0"}]}, {"tls_config": {}}, {"a": {"b": NAN}}],
    "sha256": ["x", "0" * 63, "G" * 64, "A" * 64],
    "ca_sha256": ["x", "0" * 63, "G" * 64, "A" * 64],
    "generation": NAMES,
    "delivery": [*NAMES, "nodash", "other-1"],
}  # fmt: skip
"""What is well-formed and makes no sense for the option of that name."""

# Texts of many lines, judged by what is in them (test_prometheus_store, test_seal).
MANY_LINES = ("certificate", "ca_certificate", "bundle", "rendered", "rules")
EMPTY_MEANS_NONE = ("run.name", "run.controller", "run.process")


class Accepted(BaseException):
    """The arguments came through: next the module would look at the host."""


def accepted(*_arguments, **_keywords):
    raise Accepted


KEY = seal.new_transport_key()[1]
UTILITY = {"timesten_home": "/nowhere/home", "certificate_directory": "/nowhere/exp1"}
EXPORTER = {**UTILITY, "name": "exp1", "address": "exp1.example.com", "port": 8888}
ELEMENT = {
    "name": "exp1",
    "address": "exp1.example.com",
    "port": 8888,
    "generation": "g",
    "delivery": "g-1",
    "sha256": "0" * 64,
    "ca_sha256": "0" * 64,
}
BASES = {
    "tt_wallet": {**UTILITY, "common_name": "exp1.example.com"},
    "tt_client_cert": {**UTILITY, "clients": [{"name": "prom1", "recipient": KEY}]},
    "tt_export_cert": {**UTILITY, "path": "/nowhere/export.crt"},
    "tt_exporter": {**UTILITY, "port": 8888},
    "tt_exporter_info": UTILITY,
    "tt_exporter_unit": {"owner": "oracle", "exporters": [{**UTILITY, "name": "exp1", "boot": "systemd"}]},
    "tt_exporter_host": {"exporters": [EXPORTER], "clients": [{"name": "prom1", "recipient": KEY}]},
    "tt_prometheus_host": {"name": "prom1", "exporters": [ELEMENT]},
}
WHERE_USED = {
    ("tt_exporter_host", "units"): {"units": {"owner": "oracle"}},
    ("tt_exporter_host", "switch"): {"phase": "switch", "clients": []},
    ("tt_exporter_host", "forget_clients"): {"phase": "forget", "clients": []},
    **{("tt_exporter_host", option): {"phase": "stage"} for option in ("to", "evict", "optional", "only_due", "since", "strategy")},
    ("tt_prometheus_host", "switch"): {"state": "following"},
}  # fmt: skip
"""The phase or state that uses an option, where the default one does not."""


@pytest.fixture
def call(monkeypatch):
    """Run a module in this process up to where it would look at the host; return what it answered, or None where it would."""
    for module in (exporter_host, leader, stage, verdict):
        for function in [name for name in vars(module) if name.endswith("_host")]:
            monkeypatch.setattr(module, function, accepted)
    monkeypatch.setattr(exporter_modules, "_directory", accepted)
    monkeypatch.setattr(exporter_modules, "converge", accepted)
    monkeypatch.setattr(exporter_units, "_plan", accepted)
    monkeypatch.setattr(prometheus_host, "context", judge_elements)
    monkeypatch.setattr(basic.AnsibleModule, "_log_invocation", lambda _self: None)
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)

    def run(name, arguments):
        # Not through _ANSIBLE_ARGS: where a test before has loaded the controller's half of Ansible, reading that is stricter.
        monkeypatch.setattr(basic, "_load_params", lambda: json.loads(json.dumps(arguments)))
        module = importlib.import_module(f"ansible_collections.timesten.monitoring.plugins.modules.{name}")
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                module.main()
        except Accepted:
            return None
        except SystemExit:
            answer = json.loads(printed.getvalue())
            assert answer["failed"], answer
            return answer
        raise AssertionError("the module ended without an answer")

    return run


def judge_elements(settings, _api, check_mode):
    """What decide does first with each element: a bad one costs that exporter alone."""
    for number, item in enumerate(settings.exporters):
        element = decide.check_element(number, item, check_mode)
        jobs.build(jobs.merge({}, [element], settings.defaults)[element["name"]], settings.store)
    raise Accepted


def spec_of(name, monkeypatch):
    class Seen(Exception):
        pass

    def remember(_self, argument_spec, **_keywords):
        raise Seen(argument_spec)

    with monkeypatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "__init__", remember)
        with pytest.raises(Seen) as caught:
            importlib.import_module(f"ansible_collections.timesten.monitoring.plugins.modules.{name}").main()
    return caught.value.args[0]


def bad_values(spec, path=()):
    """Yield each option's path with a bad value."""
    for name, option in spec.items():
        kind, place = option.get("type", "str"), (*path, name)
        values = list(WRONG[kind])
        if kind == "list":
            values += WRONG_ELEMENTS[option.get("elements", "str")]
        if "choices" in option:
            values = ["nonsense", "", "\0", [], {}, True, NAN]
        elif name in MANY_LINES:
            values = [value for value in values if not isinstance(value, str)]
        elif ".".join(place) in EMPTY_MEANS_NONE:
            values = [value for value in values if value != ""]
        elif kind == "str" and name == "scrape_interval":
            values += INTERVALS
        elif name != "scrape_interval":
            values += MEANING.get(name, [])
        if name == "url_password":
            values = [value for value in values if value != " "]
        for value in values:
            yield place, value
        if "options" in option:
            yield from bad_values(option["options"], place)


def put(arguments, path, value):
    """Return the arguments with one value in its place; of a list, in its first element."""
    arguments = copy.deepcopy(arguments)
    inner = arguments
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
        if isinstance(inner, list):
            inner = inner[0]
    inner[path[-1]] = value
    return arguments


@pytest.mark.parametrize("name", BASES)
def test_the_arguments_that_are_spoilt_are_good(name, call):
    assert call(name, BASES[name]) is None


def test_every_bad_value_of_every_option_is_refused_by_name(call, monkeypatch):
    count, longest, faults = 0, 0.0, []
    for name, base in BASES.items():
        for path, value in bad_values(spec_of(name, monkeypatch)):
            count += 1
            arguments = put({**base, **WHERE_USED.get((name, path[0]), {})}, path, value)
            began = time.monotonic()
            try:
                answer = call(name, arguments)
                said = "accepted" if answer is None else answer["msg"]
            except Exception as error:
                said = f"ends in {error!r}"
            longest = max(longest, time.monotonic() - began)
            if (
                said == "accepted"
                or not re.search(rf"(?<![a-z_]){path[-1]}(?![a-z_])", said)
                or said.startswith("ends in")
                or "Traceback" in said
            ):
                faults.append(f"{name} {'.'.join(path)}={value!r:.60}: {said[:200]}")
    print(f"\n{count} bad values, longest {longest * 1000:.0f} ms")
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults)
    assert count >= 600 and longest < 20
