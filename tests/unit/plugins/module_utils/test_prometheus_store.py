# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of deliveries, as far as it needs no other user."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Callable

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import Expected, StateEntry
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import (
    NO_REVISION,
    Store,
    account,
    as_user,
    check_delivery_name,
)

EXPECTED = Expected("exp1", "20260101T000000Z-aaaaaaaa", "20260101T000000Z-aaaaaaaa-1", "0" * 64, "1" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"), None)
    made.prepare()
    return made


def modes(path: Path) -> dict[str, int]:
    return {item.name: stat.S_IMODE(item.lstat().st_mode) for item in path.iterdir()}


def test_a_delivery_is_complete_and_private(store: Store, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store.settle(EXPECTED, store.stage(EXPECTED, b"ca", b"certificate", b"key"))
    finally:
        os.umask(previous)
    place = tmp_path / "store" / "exp1" / EXPECTED.delivery
    assert modes(place) == {"ca.crt": 0o440, "client.crt": 0o440, "client.key": 0o400}
    assert modes(tmp_path / "store") == {"exp1": 0o750}
    assert store.current("exp1") is None
    store.switch("exp1", EXPECTED.delivery)
    assert store.current("exp1") == EXPECTED.delivery
    assert (tmp_path / "store/exp1/current/client.key").read_bytes() == b"key"


def test_a_link_that_leads_elsewhere_is_no_delivery(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "exp1").mkdir()
    for target in ("/etc", "../exp2/x-1", "gone-1"):
        _files.switch_link(str(tmp_path / "store/exp1/current"), target)
        assert store.current("exp1") is None


def test_prune_keeps_the_newest_older_ones_by_number_not_by_name(store: Store, tmp_path: Path) -> None:
    home = tmp_path / "store" / "exp1"
    for number in (1, 2, 9, 10, 11):
        (home / f"g-{number}").mkdir(parents=True)
    (home / ".new-abc").mkdir()
    store.switch("exp1", "g-10")
    store.prune("exp1", 1)
    assert sorted(path.name for path in home.iterdir()) == ["current", "g-10", "g-11", "g-9"]
    store.prune("exp1", 0)
    assert sorted(path.name for path in home.iterdir()) == ["current", "g-10", "g-11"]


def test_state_has_a_new_revision_each_time(store: Store) -> None:
    assert store.state()["revision"] == NO_REVISION
    first = store.write_state(store.state())
    assert store.state()["revision"] == first
    assert store.write_state(store.state()) != first


def test_damaged_and_newer_states_are_named(store: Store, tmp_path: Path) -> None:
    state = tmp_path / "store" / ".state.json"
    state.write_text("{")
    with pytest.raises(TimesTenError, match=r"\.state\.json is damaged .* remove it"):
        store.state()
    state.write_text('{"version": 2}')
    with pytest.raises(TimesTenError, match="another version of this collection"):
        store.state()


def test_transport_key_is_private_and_renewed(store: Store, tmp_path: Path) -> None:
    assert store.transport_key() is None
    first = store.renew_transport_key()
    assert modes(tmp_path / "store" / ".transport") == {"key.pem": 0o400}
    assert store.renew_transport_key() != first


def test_destroy_leaves_what_is_not_ours(store: Store, tmp_path: Path) -> None:
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


def test_destroy_removes_the_directory(store: Store, tmp_path: Path) -> None:
    store.renew_transport_key()
    with store.locked():
        store.destroy(lambda _name: False)
    assert not (tmp_path / "store").exists() and store.remains(lambda _name: False) == []


def test_a_parent_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(TimesTenError, match="others may write to"):
        Store(str(tmp_path / "store"), None).prepare()
    with pytest.raises(TimesTenError, match="does not exist"):
        Store(str(tmp_path / "no" / "store"), None).prepare()
    with pytest.raises(TimesTenError, match="not an absolute path"):
        Store("store", None)


def test_missing_users_are_named() -> None:
    with pytest.raises(TimesTenError, match="there is no user 'not-here'"):
        account("not-here", None)
    with pytest.raises(TimesTenError, match="there is no group 'not-here'"):
        account("root", "not-here")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_the_child_has_the_users_rights_and_hands_back_results_and_errors(tmp_path: Path) -> None:
    nobody = account("nobody", None)
    seen = as_user(nobody, lambda: [os.getresuid(), os.getresgid(), os.getgroups()])
    assert seen == [[nobody.uid] * 3, [nobody.gid] * 3, list(nobody.groups)]
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    with pytest.raises(TimesTenError, match="cannot read"):
        as_user(nobody, lambda: _files.read(str(secret)).decode())
    with pytest.raises(TimesTenError, match="ZeroDivisionError"):
        as_user(nobody, lambda: 1 // 0)
    with pytest.raises(TimesTenError, match="died with status"):
        as_user(nobody, lambda: os._exit(3))
    assert os.geteuid() == 0


@pytest.mark.parametrize(
    ("delivery", "generation"),
    [("../x-1", "../x"), ("g-1", "h"), ("g", "g"), ("g-x", "g"), ("/etc-1", "/etc"), ("g-1/..", "g"), ("", "")],
)
def test_delivery_names_never_become_other_paths(delivery: str, generation: str) -> None:
    with pytest.raises(TimesTenError):
        check_delivery_name(delivery, generation, "exporter exp1")
    check_delivery_name("g-1", "g", "exporter exp1")


OUTSIDE = [
    "/srv/precious",
    "../../../../srv/precious",
    "..",
    ".",
    "",
    "current",
    "a/b-1",
    "g-1/..",
    "..g-1",
    "g-1\n",
    "g-\u0661",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_path_leaves_the_store(store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "store" / "exp1").mkdir()
    (tmp_path / "srv" / "precious").mkdir(parents=True)
    expected = Expected("exp1", "g", name, "0" * 64, "1" * 64)
    attempts: list[Callable[[], object]] = [
        lambda: store.directory("exp1", name),
        lambda: store.facts("exp1", name),
        lambda: store.marks("exp1", name),
        lambda: store.drop("exp1", name),
        lambda: store.settle(expected, str(tmp_path / "srv")),
        lambda: store.switch("exp1", name),
        lambda: check_delivery_name(name, "g", "exporter exp1"),
    ]
    if name != "current":
        attempts += [
            lambda: store.directory(name),
            lambda: store.in_use(name),
            lambda: store.current(name),
            lambda: store.forget(name),
            lambda: store.prune(name, 0),
            lambda: store.drop(name, "g-1"),
            lambda: store.switch(name, None),
        ]
    for attempt in attempts:
        with pytest.raises(TimesTenError):
            attempt()
    assert (tmp_path / "srv" / "precious").is_dir() and os.listdir(tmp_path / "store") == ["exp1"]


def test_the_spare_ports_names_are_names(store: Store) -> None:
    assert store.directory("exp1.spare", "20261124T104900Z-1a2b3c4d-12").endswith(
        "/exp1.spare/20261124T104900Z-1a2b3c4d-12"
    )


@pytest.mark.parametrize(
    "name", ["notes", "exp1/notes", "exp1/current/x", ".hidden", ".state.json.bak", "lost+found/x", "prometheus.yml"]
)
def test_a_directory_with_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    place = tmp_path / "store"
    (place / name).mkdir(parents=True)
    place.chmod(0o755)
    with pytest.raises(TimesTenError, match="which is not of this collection"):
        Store(str(place), None).refuse_strangers(str(tmp_path / "etc/prometheus.yml"))
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def test_what_is_ours_is_no_stranger(store: Store, tmp_path: Path) -> None:
    store.renew_transport_key()
    store.write_state(store.state())
    store.settle(EXPECTED, store.stage(EXPECTED, b"ca", b"certificate", b"key"))
    store.switch("exp1", EXPECTED.delivery)
    (tmp_path / "store/exp1/.new-0123").mkdir()
    (tmp_path / "store/exp1/current.0123456789ab").symlink_to("x")
    (tmp_path / "store/..state.json.0123456789ab").touch()
    (tmp_path / "store/.follow.json.request").touch()
    with store.locked():
        store.refuse_strangers(str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("place", ["etc", ".", "etc/../etc/"])
def test_the_configurations_own_directory_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "etc").mkdir()
    with pytest.raises(TimesTenError, match=r"is the directory of .* or above it"):
        Store(str(tmp_path / place), None).refuse_strangers(str(tmp_path / "etc/prometheus.yml"))


def test_a_store_in_a_store_or_behind_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    store.write_state(store.state())
    config = str(tmp_path / "etc/prometheus.yml")
    with pytest.raises(TimesTenError, match="lies in the store of another client"):
        Store(f"{store.path}/inner", None).refuse_strangers(config)
    (tmp_path / "link").symlink_to("store")
    with pytest.raises(TimesTenError, match="not a directory of its own"):
        Store(str(tmp_path / "link"), None).refuse_strangers(config)


def test_a_displaced_delivery_comes_back(store: Store, tmp_path: Path) -> None:
    store.settle(EXPECTED, store.stage(EXPECTED, b"first", b"certificate", b"key"))
    displaced = store.settle(EXPECTED, store.stage(EXPECTED, b"second", b"certificate", b"key"))
    place = tmp_path / "store/exp1" / EXPECTED.delivery
    assert displaced is not None and (place / "ca.crt").read_bytes() == b"second"
    store.drop("exp1", EXPECTED.delivery, displaced)
    assert (place / "ca.crt").read_bytes() == b"first" and len(list(place.parent.iterdir())) == 1


def test_files_that_did_not_change_are_not_parsed_again(store: Store, tmp_path: Path) -> None:
    store.settle(EXPECTED, store.stage(EXPECTED, b"ca", b"certificate", b"key"))
    entry: StateEntry = {
        "delivery": EXPECTED.delivery,
        "sha256": EXPECTED.sha256,
        "ca_sha256": EXPECTED.ca_sha256,
        "not_after": "2027-01-01T00:00:00Z",
        "files": store.marks("exp1", EXPECTED.delivery) or [],
    }
    known = store.facts("exp1", EXPECTED.delivery, entry)
    assert known is not None and known.fits(EXPECTED)
    assert store.facts("exp1", EXPECTED.delivery) is None, "the content is no certificate"
    (tmp_path / "store/exp1" / EXPECTED.delivery / "ca.crt").chmod(0o400)
    assert store.facts("exp1", EXPECTED.delivery, entry) is None, "any change has them parsed"


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1}',
        '{"version": 1, "exporters": []}',
        '{"version": 1, "exporters": {"exp1": 1}}',
        '{"version": 1, "exporters": {"../x": {"definition": {}}}}',
    ],
)
def test_a_state_of_another_shape_is_named(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "store" / ".state.json").write_text(text)
    with pytest.raises(TimesTenError, match=r"\.state\.json"):
        store.state()
