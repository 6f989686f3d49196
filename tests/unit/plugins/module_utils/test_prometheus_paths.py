# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host paths and the container paths that stand for them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs, options
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap

MAP = PathMap({"/srv/prom/etc/": "/etc/prometheus", "/srv/prom/etc/certs": "/certs", "/opt": "/"})
HOST = [
    ("/srv/prom/etc", "/etc/prometheus"),
    ("/srv/prom/etc/a.yml", "/etc/prometheus/a.yml"),
    ("/srv/prom/etc/../etc//a.yml", "/etc/prometheus/a.yml"),
    ("/srv/prom/etc/certs/x", "/certs/x"),
    ("/srv/prom/etc/certs2", "/etc/prometheus/certs2"),
    ("/opt/x", "/x"),
    ("//srv/prom/etc//a.yml/", "/etc/prometheus/a.yml"),
]


@pytest.mark.parametrize(("host", "inside"), HOST)
def test_the_nearest_mount_decides_both_ways(host: str, inside: str) -> None:
    assert MAP.inside(host) == inside
    if ".." not in host and "//" not in host:
        assert MAP.outside(inside) == host


@pytest.mark.parametrize("path", ["/srv/prom", "/srv/prom/etcetera", "/etc/prometheus/a.yml"])
def test_what_no_mount_has_is_refused(path: str) -> None:
    with pytest.raises(TimesTenError, match=r"path_map: store .* is below none of its host paths"):
        MAP.inside(path, "store")


def test_what_another_mount_hides_is_refused() -> None:
    with pytest.raises(
        TimesTenError, match=r"store /opt/certs/x would be /certs/x .*\(that is /srv/prom/etc/certs/x on"
    ):
        MAP.inside("/opt/certs/x", "store")


def test_names_that_the_container_has_alone_are_left_out() -> None:
    one = PathMap({"/srv/prom/etc": "/etc/prometheus"})
    assert one.names(["/etc/prometheus/*.yml", "conf.d/*.yml", "/usr/share/x.yml"]) == [
        "/srv/prom/etc/*.yml",
        "conf.d/*.yml",
    ]
    assert PathMap().names(["/a"]) == ["/a"] and PathMap().inside("/a") == "/a"


def test_what_is_written_names_container_paths() -> None:
    paths = PathMap({"/srv/prom/etc": "/etc/prometheus"})
    job = jobs.build({"name": "exp1", "address": "exp1", "port": 1}, "/etc/prometheus/timesten")
    own = {"store": "/etc/prometheus/timesten", "scrape_path": "/srv/prom/etc/timesten.yml", "paths": paths}
    files = config.Files(b"scrape_configs: []\n", "/srv/prom/etc/prometheus.yml", **own)
    made = config.edit(files, [job], layout="files")
    assert b"- /etc/prometheus/timesten.yml" in made.config and b"/srv" not in made.config
    after = config.Files(made.config, files.path, scrape_file=made.scrape_file, **own)
    assert list(config.read(after).ours) == ["exp1"] and config.read(after).layout == "files"
    assert not config.edit(after, [job], layout="files").changed
    assert config.edit(after, [], layout="files", remove=["exp1"]).config == files.config
    owner = config.Files(b"scrape_config_files: [/etc/prometheus/*.yml]\n", files.path, **own)
    assert config.edit(owner, [job], layout="files").config == owner.config


REFUSED: list[dict[str, Any]] = [
    {"path_map": {"srv": "/etc"}, "store": "/srv/x"},
    {"path_map": {"/srv": "etc"}, "store": "/srv/x"},
    {"path_map": {"/srv": 1}, "store": "/srv/x"},
    {"path_map": {"/srv": "/etc"}, "store": "/other"},
    {"path_map": {"/srv": "/etc"}, "config_file": "/other/prometheus.yml"},
    {"path_map": {"/srv": "/etc"}, "kind": "scrape_file", "scrape_file": "/other/x.yml"},
    {"path_map": {"/srv": "/a", "/srv/": "/b"}, "store": "/srv/x"},
    {"path_map": {"/srv/a": "/etc/", "//srv/b/": "/etc"}, "store": "/srv/a/x"},
    {"path_map": {"/srv/a": "/x", "/srv/b": "/x/y"}, "store": "/srv/a/y/store"},
    {"path_map": {"/srv/store": "/etc/store"}, "store": "/srv/store", "rules": True},
    {"path_map": {"/srv/store": "/etc/store"}, "store": "/srv/store/", "rules_file": "/srv/r.yml"},
]


@pytest.mark.parametrize("given", REFUSED)
def test_a_map_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(TimesTenError, match=r"^path_map: "):
        options.check(given)


def test_the_configuration_of_a_scrape_file_needs_no_mount() -> None:
    options.check(
        {"path_map": {"/srv": "/etc"}, "kind": "scrape_file", "scrape_file": "/srv/x.yml", "config_file": "/x/y"}
    )


@pytest.mark.parametrize("more", [{"rules": False}, {"rules": True, "rules_file": "/srv/store/r.yml"}])
def test_the_place_beside_the_store_needs_a_mount_only_for_rules(more: dict[str, Any]) -> None:
    options.check({"path_map": {"/srv/store": "/etc/store"}, "store": "/srv/store", **more})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kind": "scrape_file"}, "scrape_file"),
        ({"kind": "scrape_file", "scrape_file": "/x", "layout": "files"}, "layout"),
        ({"kind": "scrape_file", "scrape_file": "/x", "layout": "template"}, "layout"),
    ],
)
def test_a_scrape_file_is_one_file(given: dict[str, Any], named: str) -> None:
    with pytest.raises(TimesTenError, match=rf"^{named}: "):
        options.check(given)
