# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""tt_prometheus_host on files of other people: layouts, patterns, links, line ends, as a real Prometheus reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from integration import prometheus_kit as kit
from integration.test_prometheus_host import Host, make

__all__ = ["make"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs Prometheus as another user, which needs root")

MINE = "  - job_name: mine\n    static_configs: [{targets: ['127.0.0.1:9']}]\n"


def insecure(host: Host, *names: str) -> list[dict[str, Any]]:
    """Elements of exporters that serve plain HTTP: what the edit needs and no more."""
    return [host.exporter(name).element("") for name in names]


def done(answer: kit.Answer) -> dict[str, Any]:
    assert not answer.failed, answer.result
    return answer.result


def rendered(source: str, elements: list[dict[str, Any]]) -> str:
    """What a template of the owner makes: the same jobs without marks."""
    jobs = "".join(
        f"  - job_name: timesten-{item['name']}\n    scheme: http\n    static_configs:\n"
        f"      - targets:\n          - {item['address']}:{item['port']}\n"
        for item in elements
    )
    return source + jobs


def ours(host: Host) -> set[str]:
    return {name for name in host.prometheus.targets() if name.startswith("timesten-")}


def test_any_layout_to_any_other_in_one_run(make: Any) -> None:
    """The owner's pattern names our file already, so it has to go before the jobs are read elsewhere."""
    host = make("2.53")
    etc = host.prometheus.config.parent
    (etc / "conf.d").mkdir()
    (etc / "conf.d" / "theirs.yml").write_text("scrape_configs:\n" + MINE)
    source = f"scrape_config_files: [{etc}/conf.d/*]\n" + kit.CONFIG
    host.prometheus.config.write_text(source)
    elements = insecure(host, "exp1", "exp2")
    scrape_file = str(etc / "conf.d" / "timesten.yml")
    options = {
        "inline": {"layout": "inline"},
        "files": {"layout": "files", "scrape_file": scrape_file},
        "template": {"layout": "template", "rendered": rendered(source, elements)},
    }
    names = {"timesten-exp1", "timesten-exp2"}
    for layout in ("inline", "files", "template", "files", "inline", "template", "inline"):
        assert done(host.call(exporters=elements, **options[layout]))["reloaded"]
        assert ours(host) == names, layout
        files = ["theirs.yml", "timesten.yml"] if layout == "files" else ["theirs.yml"]
        assert host.leftovers() == [] and sorted(os.listdir(etc / "conf.d")) == files
    assert not done(host.call(exporters=elements, **options["inline"]))["changed"]
    assert done(host.call("absent"))["removed"] == ["exp1", "exp2"]
    assert host.config == source


def test_a_scrape_file_that_moves(make: Any) -> None:
    """The old one goes, and comes back when the run goes back."""
    host = make("2.53")
    etc = host.prometheus.config.parent
    (etc / "conf.d").mkdir()
    source = "scrape_config_files:\n- conf.d/*\n" + kit.CONFIG
    host.prometheus.config.write_text(source)
    elements = insecure(host, "exp1", "exp2")
    first, second = etc / "conf.d" / "a", etc / "conf.d" / "b"
    done(host.call(exporters=elements[:1], layout="files", scrape_file=str(first)))
    before, text = host.config, first.read_text()
    dead = {"name": "dead", "address": "127.0.0.1", "port": kit.free_port(), "insecure": True}
    back = host.call(exporters=[dead], layout="files", scrape_file=str(second), wait_timeout=2)
    assert back.failed, back.result
    assert host.config == before and first.read_text() == text and not second.exists()
    kit.until(lambda: ours(host) == {"timesten-exp1"}, 15)
    partly = host.call(exporters=[dead, elements[1]], layout="files", scrape_file=str(second), wait_timeout=10)
    assert partly.failed and "exp2" not in partly.result["msg"], partly.result
    assert not first.exists() and "dead" not in second.read_text()
    kit.until(lambda: ours(host) == {"timesten-exp1", "timesten-exp2"}, 15)
    assert not done(host.call(exporters=elements, layout="files", scrape_file=str(second)))["changed"]
    done(host.call("absent", layout="files", scrape_file=str(second)))
    assert host.config == source and os.listdir(etc / "conf.d") == []


def test_an_empty_file(make: Any) -> None:
    host = make("2.42", config="")
    elements = insecure(host, "exp1")
    for element in elements:
        element["scrape_interval"] = "1s"
        element["scrape_timeout"] = "1s"
    done(host.call(exporters=elements))
    assert ours(host) == {"timesten-exp1"}
    done(host.call("absent"))
    assert host.config == ""


def test_the_directory_is_a_link(make: Any) -> None:
    host = make("3.5", running=False)
    etc = host.prometheus.config.parent
    real = etc.with_name("data-etc")
    etc.rename(real)
    etc.symlink_to(real)
    host.prometheus.start()
    host.prometheus.wait()
    elements = insecure(host, "exp1")
    for layout in ("inline", "files", "inline"):
        done(host.call(exporters=elements, layout=layout))
        assert not done(host.call(exporters=elements, layout=layout))["changed"]
    done(host.call("absent"))
    assert host.config == kit.CONFIG and sorted(os.listdir(real)) == ["prometheus.yml"]


def test_line_ends_turned(make: Any) -> None:
    host = make("3.5")
    elements = insecure(host, "exp1", "exp2")
    scrape_file = host.prometheus.config.parent / "timesten.yml"

    def lf(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))

    def crlf(path: Path) -> None:
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    done(host.call(exporters=elements))
    crlf(host.prometheus.config)
    assert not done(host.call(exporters=elements))["changed"]
    done(host.call(exporters=elements[:1], purge=True))
    lf(host.prometheus.config)
    done(host.call(exporters=elements, layout="files"))
    crlf(host.prometheus.config)
    crlf(scrape_file)
    assert not done(host.call(exporters=elements, layout="files"))["changed"]
    done(host.call(exporters=elements, layout="inline"))
    done(host.call("absent"))
    assert host.prometheus.config.read_bytes() == kit.CONFIG.replace("\n", "\r\n").encode()


def test_two_clients_with_insecure_exporters_alone(make: Any) -> None:
    host = make("3.5")
    elements = insecure(host, "exp1")
    other = {"name": "prom2", "store": str(host.prometheus.directory / "etc" / "second")}
    own_file = {"layout": "files", "scrape_file": str(host.prometheus.directory / "etc" / "second.yml")}
    for layout in ("inline", "files"):
        done(host.call(exporters=elements, layout=layout))
        for state, more in (("present", {}), ("absent", own_file)):
            answer = host.call(state, **other, **more)
            assert answer.failed and "the jobs of client 'prom1'" in answer.result["msg"], answer.result
