# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of deliveries, as far as it needs no other user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import store as _prometheus_store

EXPECTED = _prometheus_store.Expected(
    "exp1", "20260101T000000Z-aaaaaaaa", "20260101T000000Z-aaaaaaaa-1", "0" * 64, "1" * 64
)


@pytest.fixture
def store(tmp_path: Path) -> _prometheus_store.Store:
    made = _prometheus_store.Store(str(tmp_path / "store"), None)
    made.prepare()
    return made


def modes(path: Path) -> dict[str, int]:
    return {item.name: stat.S_IMODE(item.lstat().st_mode) for item in path.iterdir()}


def test_a_delivery_is_complete_and_private(store: _prometheus_store.Store, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store.stage(EXPECTED, b"ca", b"certificate", b"key")
    finally:
        os.umask(previous)
    place = tmp_path / "store" / "exp1" / EXPECTED.delivery
    assert modes(place) == {"ca.crt": 0o440, "client.crt": 0o440, "client.key": 0o400}
    assert modes(tmp_path / "store") == {"exp1": 0o750}
    assert store.current("exp1") is None
    store.switch("exp1", EXPECTED.delivery)
    assert store.current("exp1") == EXPECTED.delivery
    assert (tmp_path / "store/exp1/current/client.key").read_bytes() == b"key"


def test_a_link_that_leads_elsewhere_is_no_delivery(store: _prometheus_store.Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "exp1").mkdir()
    for target in ("/etc", "../exp2/x-1", "gone-1"):
        _files.switch_link(str(tmp_path / "store/exp1/current"), target)
        assert store.current("exp1") is None


def test_prune_keeps_the_newest_older_ones_by_number_not_by_name(
    store: _prometheus_store.Store, tmp_path: Path
) -> None:
    home = tmp_path / "store" / "exp1"
    for number in (1, 2, 9, 10, 11):
        (home / f"g-{number}").mkdir(parents=True)
    (home / ".new-abc").mkdir()
    store.switch("exp1", "g-10")
    store.prune("exp1", 1)
    assert sorted(path.name for path in home.iterdir()) == ["current", "g-10", "g-11", "g-9"]
    store.prune("exp1", 0)
    assert sorted(path.name for path in home.iterdir()) == ["current", "g-10", "g-11"]


def test_state_has_a_new_revision_each_time(store: _prometheus_store.Store) -> None:
    assert store.state()["revision"] == _prometheus_store.NO_REVISION
    first = store.write_state(store.state())
    assert store.state()["revision"] == first
    assert store.write_state(store.state()) != first


def test_damaged_and_newer_states_are_named(store: _prometheus_store.Store, tmp_path: Path) -> None:
    state = tmp_path / "store" / ".state.json"
    state.write_text("{")
    with pytest.raises(TimesTenError, match=r"\.state\.json is damaged .* remove it"):
        store.state()
    state.write_text('{"version": 2}')
    with pytest.raises(TimesTenError, match="another version of this collection"):
        store.state()


def test_transport_key_is_private_and_renewed(store: _prometheus_store.Store, tmp_path: Path) -> None:
    assert store.transport_key() is None
    first = store.renew_transport_key()
    assert modes(tmp_path / "store" / ".transport") == {"key.pem": 0o400}
    assert store.renew_transport_key() != first


def test_destroy_leaves_what_is_not_ours(store: _prometheus_store.Store, tmp_path: Path) -> None:
    store.renew_transport_key()
    store.write_state(store.state())
    place = tmp_path / "store"
    (place / "notes").write_text("mine")
    for name in (
        "exp1/20261124T104900Z-00000001-1",
        "exp2/.new-0123",
        "exp3/20261124T104900Z-00000001-1",
        "theirs/dashboards",
    ):
        (place / name).mkdir(parents=True)
    (place / "exp1/current").symlink_to("20261124T104900Z-00000001-1")
    (place / ".follow.json").touch()
    kept = ["exp3"]
    assert sorted(store.remains(kept.__contains__)) == [".follow.json", ".state.json", ".transport", "exp1", "exp2"]
    store.destroy(kept.__contains__)
    assert sorted(path.name for path in place.iterdir()) == ["exp3", "notes", "theirs"]
    assert (place / "exp3/20261124T104900Z-00000001-1").is_dir() and (place / "theirs/dashboards").is_dir()


def test_destroy_removes_the_directory(store: _prometheus_store.Store, tmp_path: Path) -> None:
    store.renew_transport_key()
    with store.locked():
        store.destroy(lambda _name: False)
    assert not (tmp_path / "store").exists() and store.remains(lambda _name: False) == []


def test_a_parent_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(TimesTenError, match="others may write to"):
        _prometheus_store.Store(str(tmp_path / "store"), None).prepare()
    with pytest.raises(TimesTenError, match="does not exist"):
        _prometheus_store.Store(str(tmp_path / "no" / "store"), None).prepare()
    with pytest.raises(TimesTenError, match="not an absolute path"):
        _prometheus_store.Store("store", None)


def test_missing_users_are_named() -> None:
    with pytest.raises(TimesTenError, match="there is no user 'not-here'"):
        _prometheus_store.account("not-here", None)
    with pytest.raises(TimesTenError, match="there is no group 'not-here'"):
        _prometheus_store.account("root", "not-here")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_the_child_has_the_users_rights_and_hands_back_results_and_errors(tmp_path: Path) -> None:
    nobody = _prometheus_store.account("nobody", None)
    seen = _prometheus_store.as_user(nobody, lambda: [os.getresuid(), os.getresgid(), os.getgroups()])
    assert seen == [[nobody.uid] * 3, [nobody.gid] * 3, list(nobody.groups)]
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with pytest.raises(TimesTenError, match="cannot read"):
        _prometheus_store.as_user(nobody, lambda: _files.read(str(secret)).decode())
    with pytest.raises(TimesTenError, match="ZeroDivisionError"):
        _prometheus_store.as_user(nobody, lambda: 1 // 0)
    with pytest.raises(TimesTenError, match="died with status"):
        _prometheus_store.as_user(nobody, lambda: os._exit(3))
    assert os.geteuid() == 0


@pytest.mark.parametrize(
    ("delivery", "generation"),
    [("../x-1", "../x"), ("g-1", "h"), ("g", "g"), ("g-x", "g"), ("/etc-1", "/etc"), ("g-1/..", "g"), ("", "")],
)
def test_delivery_names_never_become_other_paths(delivery: str, generation: str) -> None:
    with pytest.raises(TimesTenError):
        _prometheus_store.check_delivery_name(delivery, generation, "exporter exp1")
    _prometheus_store.check_delivery_name("g-1", "g", "exporter exp1")
