# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of the Prometheus host: merging, diff, what is hidden; the rest is proven against real servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import diff, jobs

ONE = {"name": "exp1", "address": "a", "port": 1}
TWO = {"name": "exp2", "address": "b", "port": 2, "labels": {"x": "y"}}


def test_merge_keeps_what_is_not_mentioned() -> None:
    assert jobs.merge({"exp1": ONE}, [TWO], {}) == {"exp1": ONE, "exp2": TWO}


def test_merge_purges_and_removes() -> None:
    assert jobs.merge({"exp1": ONE}, [TWO], {}, purge=True) == {"exp2": TWO}
    assert jobs.merge({"exp1": ONE, "exp2": TWO}, [], {}, remove=["exp1", "never there"]) == {"exp2": TWO}


def test_defaults_fill_but_do_not_override() -> None:
    merged = jobs.merge({}, [ONE, TWO], {"labels": {"site": "s"}, "scrape_interval": "15s", "job_label": None})
    assert merged["exp1"] == {**ONE, "labels": {"site": "s"}, "scrape_interval": "15s"}
    assert merged["exp2"]["labels"] == {"x": "y"}


def test_material_is_no_part_of_a_definition() -> None:
    merged = jobs.merge({}, [{**ONE, "bundle": "B", "certificate": "C", "ca_certificate": "A", "sha256": "S"}], {})
    assert merged == {"exp1": ONE}


def test_the_job_of_the_other_port_goes() -> None:
    spare = {**ONE, "name": "exp1.spare", "port": 3, "usual_port": 1}
    both = {"exp1": ONE, "exp1.spare": spare, "exp2": TWO}
    assert jobs.merge({"exp1": ONE, "exp2": TWO}, [spare], {}) == {"exp1.spare": spare, "exp2": TWO}
    assert jobs.merge(both, [ONE], {}) == {"exp1": ONE, "exp2": TWO}
    assert jobs.merge({"exp1": ONE, "exp2": TWO}, [spare], {}, both_ports=True) == both
    assert jobs.merge(both, [TWO], {}) == both, "what is not mentioned stays"
    named = {"exp1": {**ONE, "alt_names": ["other"]}}
    assert jobs.merge(named, [spare], {})["exp1.spare"]["alt_names"] == ["other"]


def test_unknown_names_of_a_certificate_stay_as_they_were() -> None:
    known = {"exp1": {**ONE, "alt_names": ["other"]}}
    assert jobs.merge(known, [ONE], {})["exp1"]["alt_names"] == ["other"]
    assert jobs.merge(known, [{**ONE, "alt_names": ["a"]}], {})["exp1"]["alt_names"] == ["a"]
    assert "alt_names" not in jobs.merge(known, [{**ONE, "insecure": True}], {})["exp1"]


@given(st.lists(st.integers(1, 9), unique=True), st.lists(st.integers(1, 9), unique=True))
def test_merging_twice_changes_nothing(stored: list[int], mentioned: list[int]) -> None:
    previous = {f"exp{n}": {**ONE, "name": f"exp{n}"} for n in stored}
    exporters = [{**ONE, "name": f"exp{n}", "port": n} for n in mentioned]
    once = jobs.merge(previous, exporters, {})
    assert jobs.merge(once, exporters, {}) == once
    assert set(once) == {f"exp{n}" for n in (*stored, *mentioned)}


BEFORE = b"""global:
  external_labels: {a: b}
scrape_configs:
- job_name: theirs
  basic_auth:
    username: u
    password: hunter2
"""


def test_diff_has_no_line_of_context() -> None:
    shown = diff.file_diff("/p", BEFORE, BEFORE + b"- job_name: ours\n")
    assert shown == "--- /p\n+++ /p\n@@ -7,0 +8 @@\n+- job_name: ours\n"
    assert diff.file_diff("/p", BEFORE, BEFORE) == ""


@pytest.mark.parametrize(
    "secret",
    [
        "  password: hunter2\n",
        '  "password": "hunter2"\n',
        "  bearer_token: hunter2\n",
        "  basic_auth: {username: u, password: hunter2}\n",
        "  authorization: {credentials: hunter2, type: Bearer}\n",
        "  client_secret: hunter2\n",
        "- secret_key: hunter2\n",
        "  password: >-\n    hunter2\n\n    hunter2\n  after: shown\n",
        "  key: |\n    -----BEGIN EC PRIVATE KEY-----\n    hunter2\n    -----END\n  after: shown\n",
        "  odd_name: |\n    -----BEGIN hunter2\n",
        "    " + "hunter2" * 10 + "\n",
        "  proxy_url: http://user:hunter2@proxy:3128\n",
        "- url: https://hunter2@remote/write\n",
        "  params:\n    anything: [hunter2]\n  after: shown\n",
        "  params: {anything: [hunter2]}\n",
        "  headers:\n    X-Any:\n    - hunter2\n  after: shown\n",
        "  http_headers:\n    X-Any: {values: [hunter2]}\n",
        "  apikey: hunter2\n",
        "  passwd: hunter2\n",
    ],
)
def test_diff_hides_secrets(secret: str) -> None:
    for before, after in ((b"", secret.encode()), (secret.encode(), b""), (BEFORE, BEFORE + secret.encode())):
        shown = diff.file_diff("/p", before, after)
        assert "hunter2" not in shown and "(hidden)" in shown
        assert ("after: shown" in secret) == ("after: shown" in shown)


def test_diff_hides_a_line_whose_meaning_stands_far_above() -> None:
    before = b"  params:\n    one: [1]\n    two: [2]\n    three: [hunter2]\n"
    shown = diff.file_diff("/p", before, before.replace(b"hunter2", b"hunter3"))
    assert shown == "--- /p\n+++ /p\n@@ -4 +4 @@\n-(hidden)\n+(hidden)\n"


def test_diff_shows_where_our_files_are() -> None:
    path = "/etc/prometheus/timesten/an-exporter-with-a-long-name/current/client.key"
    shown = diff.file_diff("/p", b"", f"  key_file: {path}\n  ca_file: {path}\n".encode())
    assert shown.count(path) == 2
