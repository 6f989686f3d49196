# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our rule file at a real Prometheus: laid, named, taken by it, renewed, taken back and away."""

from __future__ import annotations

import functools
import json
import os
import threading
from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.plugin_utils import rules
from integration import prometheus_kit as kit
from integration.test_prometheus_host import Host
from integration.test_prometheus_host import make as make_host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

CONFIG = kit.CONFIG.replace("global:\n", "global:\n  evaluation_interval: 1s\n")
COMMON = rules.common({}, {})


def own(name: str, end: float = 4e9) -> str:
    return rules.of_exporter(rules.Subject(name, "prom1", not_after={"ca": end}))


__all__ = ["make_host"]


@pytest.fixture
def make(make_host: Any) -> Any:
    return functools.partial(make_host, config=CONFIG)


def groups(host: Host) -> dict[str, Any]:
    """The groups that Prometheus runs, by name."""
    data = json.loads(host.prometheus.answers("/api/v1/rules") or b"")
    return {group["name"]: group for group in data["data"]["groups"]}


@pytest.mark.parametrize("version", ["2.42", "3.5"])
def test_from_nothing_to_healthy_and_back(make: Any, version: str) -> None:
    host = make(version)
    original = host.prometheus.config.read_bytes()
    place = host.prometheus.config.parent / "timesten.rules.yml"
    one, two = (host.exporter(name, kit.new_wallet(number)) for number, name in enumerate(("exp1", "exp2"), 1))
    key = host.key()
    elements = [one.element(key, rules=own("exp1")), two.element(key, rules=own("exp2"))]

    predicted = host.call(exporters=elements, rules=COMMON, check=True, diff=True)
    assert predicted.result["changed"] and not place.exists()
    done = host.call(exporters=elements, rules=COMMON, diff=True)
    assert not done.failed, done.result
    assert done.result["diff"] == predicted.result["diff"]
    shown = done.result["diff"][0]["prepared"]
    assert f"+  - {place}" in shown and "+groups:" in shown and "more changed lines" in shown
    names = {"timesten certificates", "timesten space", "timesten exporter exp1", "timesten exporter exp2"}
    assert names <= set(groups(host))
    up = kit.until(
        lambda: json.loads(host.prometheus.answers("/api/v1/query?query=exporter:up:min") or b"")["data"]["result"],
        90,
        "the first evaluation",
    )
    assert up[0]["metric"]["exporter"].startswith("exp") and up[0]["value"][1] == "1"

    light = [kit.light(element) for element in elements]
    assert not host.call(exporters=light, rules=COMMON).result["changed"]
    verified = host.call("verified")
    assert not verified.failed, verified.result
    text = place.read_bytes()
    for data in (None, b"groups: []\n", text + b"# \xff\n"):
        place.unlink()
        if data is not None:
            place.write_bytes(data)
        lost = host.call("verified")
        told = lost.failed and "our rule file is not there any more" in lost.result["msg"]
        # A comment more is still ours, and runs.
        assert told == (data is None or data.startswith(b"groups")), lost.result
        assert [row["up"] for row in lost.result["exporters"]] == [row["up"] for row in verified.result["exporters"]]
        if data is None:
            place.touch()
    place.write_bytes(text)
    # The next delivery renews what is recorded, and leaves what it does not mention.
    renewed = host.call(exporters=[{**light[0], "rules": own("exp1", 5e9)}], rules=COMMON)
    assert renewed.result["changed"] and renewed.result["reloaded"]
    text = place.read_text()
    assert "vector(5000000000)" in text and "timesten exporter exp2" in text and "vector(4000000000)" in text

    # A call that does not speak of rules leaves them, an empty text takes them away.
    assert not host.call(exporters=light[1:]).result["changed"]
    assert host.call("absent", remove=["exp2"]).result["changed"]
    assert "timesten exporter exp2" not in groups(host)
    off = host.call(exporters=[{**light[0], "rules": own("exp1", 5e9)}], rules="")
    assert off.result["changed"] and not place.exists() and groups(host) == {}
    assert "rule" not in host.config
    assert host.call(exporters=light[:1], rules=COMMON).result["changed"] and groups(host)

    cleared = host.call("absent")
    assert not cleared.failed, cleared.result
    assert host.prometheus.config.read_bytes() == original and not place.exists() and groups(host) == {}
    assert host.leftovers() == []


def test_what_promtool_or_the_place_refuses_changes_nothing(make: Any) -> None:
    host = make()
    original = host.prometheus.config.read_bytes()
    place = host.prometheus.config.parent / "timesten.rules.yml"
    element = host.exporter("exp1", kit.new_wallet(1)).element(host.key(), rules=own("exp1"))
    broken = host.call(exporters=[element], rules=COMMON.replace("sum by (", "sum buy (", 1))
    assert broken.failed and "refuses the new rule file" in broken.result["msg"]
    for text in ("groups: []\n", "x" * (1 << 21)):
        assert "rules: " in host.call(exporters=[element], rules=text).result["msg"]
    assert "exporters[].rules" in host.call(exporters=[{**element, "rules": "x"}], rules=COMMON).result["msg"]
    place.write_text("groups: []\n")
    foreign = host.call(exporters=[element], rules=COMMON)
    assert foreign.failed and "was not written by this collection" in foreign.result["msg"]
    assert place.read_text() == "groups: []\n" and host.prometheus.config.read_bytes() == original
    assert not host.call(exporters=[element]).failed and place.read_text() == "groups: []\n"


def test_a_pattern_of_the_owner_and_the_way_back(make: Any) -> None:
    """What names our place already needs no line; where an exporter does not work, its rules are as before."""
    host = make(config=CONFIG + "rule_files: ['*.rules.yml']\n")
    place = host.prometheus.config.parent / "timesten.rules.yml"
    good, bad = host.exporter("exp1", kit.new_wallet(1)), host.exporter("exp2", kit.new_wallet(2))
    key = host.key()
    elements = [good.element(key, rules=own("exp1")), bad.element(key, rules=own("exp2"))]
    bad.stop()
    host.exporters.remove(bad)
    done = host.call(exporters=elements, rules=COMMON, wait_timeout=8)
    assert done.failed and "exp2" in done.result["msg"]
    assert "BEGIN rules" not in host.config
    assert "timesten exporter exp1" in groups(host) and "timesten exporter exp2" not in groups(host)
    assert "exporter: 'exp2'" not in place.read_text()
    assert not host.call(exporters=[kit.light(elements[0])], rules=COMMON).result["changed"]
    assert host.call("absent").result["changed"] and not place.exists() and groups(host) == {}


def test_nothing_of_a_run_that_fails_stays(make: Any) -> None:
    host = make()
    original = host.prometheus.config.read_bytes()
    bad = host.exporter("exp1", kit.new_wallet(1))
    element = bad.element(host.key(), rules=own("exp1"))
    bad.stop()
    host.exporters.remove(bad)
    done = host.call(exporters=[element], rules=COMMON, wait_timeout=8)
    assert done.failed
    assert host.prometheus.config.read_bytes() == original and groups(host) == {}
    assert not (host.prometheus.config.parent / "timesten.rules.yml").exists()


def test_a_way_back_that_fails_goes_as_far_as_it_can(make: Any) -> None:
    """Somebody breaks our block while a target is awaited; the other file goes back, and the message names both troubles."""
    host = make()
    config = host.prometheus.config
    bad = host.exporter("exp1", kit.new_wallet(1))
    element = bad.element(host.key(), rules=own("exp1"))
    bad.stop()
    host.exporters.remove(bad)

    def break_the_block() -> None:
        kit.until(lambda: "timesten-exp1" in host.prometheus.targets(), 30, "our job")
        broken = host.config.replace("# exporter: exp1", "# BEGIN timesten.monitoring\n  # exporter: exp1")
        config.write_text(broken + "# the owner's\n")

    somebody = threading.Thread(target=break_the_block)
    somebody.start()
    done = host.call(exporters=[element], rules=COMMON, wait_timeout=10)
    somebody.join()
    assert done.failed and "exporter exp1" in done.result["msg"], done.result
    assert f"Going back failed as well: {config}: line " in done.result["msg"], done.result
    assert host.config.endswith("# the owner's\n") and "# exporter: exp1" in host.config
    assert not (config.parent / "timesten.rules.yml").exists()


def test_an_adopted_job_keeps_its_name_in_the_rules(make: Any) -> None:
    owned = "  - job_name: \"the owner's\"\n    scheme: http\n    static_configs: [{targets: ['127.0.0.1:%d']}]\n"
    host = make()
    plain = host.exporter("exp1")
    host.prometheus.config.write_text(CONFIG + owned % plain.port)
    element = plain.element(host.key(), rules=own("exp1"))
    done = host.call(exporters=[element], rules=COMMON, on_existing="adopt")
    assert not done.failed, done.result
    absent = groups(host)["timesten exporter exp1"]["rules"][0]
    assert f'absent(up{{instance="127.0.0.1:{plain.port}",job="the owner\'s"}})' == absent["query"]
