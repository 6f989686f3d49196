# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exporter's directory: with the reference exporter where certificates are made."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import stat
import tempfile

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
    Request,
    wallet_file,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

NOW = datetime.datetime(2026, 11, 24, 10, 49, tzinfo=datetime.timezone.utc)
ASKED = Asked("localhost", ("localhost",), None)


@pytest.fixture
def utility(home):
    return Utility(str(home))


@pytest.fixture
def directory(tmp_path):
    found = ExporterDirectory(str(tmp_path / "a" / "exp1"), "exp1")
    found.check()
    found.check_parent()
    found.prepare()
    return found


@pytest.fixture(scope="module")
def built(home, tmp_path_factory):
    """One complete generation, to be copied by each test that needs one."""
    found = ExporterDirectory(str(tmp_path_factory.mktemp("built") / "exp1"), "exp1")
    found.prepare()
    manifest = found.build(Utility(str(home)), Request(ASKED, [Client("prom1")]), NOW)
    found.make_current(manifest["generation"])
    return found.path


@pytest.fixture
def complete(built, tmp_path):
    shutil.copytree(built, tmp_path / "exp1", symlinks=True)
    return ExporterDirectory(str(tmp_path / "exp1"), "exp1")


def failure(call, *arguments):
    with pytest.raises(TimesTenError) as caught:
        call(*arguments)
    return caught.value.message


def current(directory):
    return directory.manifest(directory.current_id())


def test_build_is_complete_and_not_current(directory, utility):
    private, public = _seal.new_transport_key()
    manifest = directory.build(utility, Request(ASKED, [Client("prom1", public, 15.0), Client("prom2")]), NOW)
    generation = manifest["generation"]
    assert generation.startswith("20261124T104900Z-") and len(generation) == 25
    assert directory.current_id() is None
    assert directory.ids() == [generation]
    path = pathlib.Path(directory.generation(generation))
    assert json.loads((path / "manifest.json").read_text()) == manifest == directory.manifest(generation)
    assert {name for name in os.listdir(path) if not name.startswith(".ttwallet.")} == {
        "clients",
        "manifest.json",
        "server.crt",
    }
    assert sorted(os.listdir(path / "clients")) == ["probe", "prom1", "prom2"]
    assert sorted(os.listdir(path / "clients/prom1")) == ["bundle.json", "client.crt"]
    assert sorted(os.listdir(path / "clients/prom2")) == ["client.crt", "client.key"]
    for folder, folders, files in os.walk(directory.path):
        for name in [*folders, *files]:
            assert stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode) & 0o077 == 0 or name == "current"
    pair = manifest["pairs"]["prom1"]
    assert pair["delivery"] == f"{generation}-1" and pair["scrape_interval"] == 15.0
    assert pair["recipient"] == _seal.key_id(public)
    key = _seal.unseal(directory.bundle(manifest, "prom1"), private, "exp1", "prom1", generation, pair["sha256"])
    (path / "check.key").write_bytes(key)
    _certificates.check_pair(str(path / "clients/prom1/client.crt"), str(path / "check.key"))
    assert manifest["origin"] == "created" and manifest["asked"] == ASKED.as_dict()
    assert manifest["wallet"]["path"] == ".ttwallet.C76FCD9A/cwallet.sso"
    assert manifest["created"] == "2026-11-24T10:49:00Z"
    directory.make_current(generation)
    assert directory.current_id() == generation
    assert os.readlink(os.path.join(directory.path, "current")) == f"generations/{generation}"


def test_adopted_generation(directory, utility, tmp_path):
    source = tmp_path / "by-hand"
    source.mkdir(mode=0o700)
    utility.create_server_certificate(str(source), "localhost", ["localhost"])
    manifest = directory.build(utility, Request(ASKED, adopt=str(source)), NOW)
    assert manifest["origin"] == "adopted"
    assert manifest["ca_sha256"] == directory.read_export(utility, str(source))["ca_sha256"]
    assert os.listdir(source) == [".ttwallet.C76FCD9A"]


def test_reissue(complete, utility):
    manifest = current(complete)
    before = dict(manifest["pairs"]["prom1"])
    with open(complete.pair_file(manifest["generation"], "prom1", "client.key"), "rb") as stream:
        old_key = stream.read()
    complete.issue(utility, manifest, Client("prom1"))
    after = current(complete)["pairs"]["prom1"]
    assert after["delivery"] == before["delivery"][:-1] + "2" and after["sha256"] != before["sha256"]
    with open(complete.pair_file(manifest["generation"], "prom1", "client.key"), "rb") as stream:
        assert stream.read() != old_key
    assert sorted(os.listdir(os.path.join(complete.generation(manifest["generation"]), "clients"))) == [
        "probe",
        "prom1",
    ]
    complete.issue(utility, manifest, Client("prom1"))
    assert current(complete)["pairs"]["prom1"]["delivery"].endswith("-3")


def test_a_plain_key_is_gone_once_its_pair_is_sealed(complete, utility):
    _private, public = _seal.new_transport_key()
    manifest = current(complete)
    complete.issue(utility, manifest, Client("prom1", public))
    folder = os.path.dirname(complete.pair_file(manifest["generation"], "prom1", "client.key"))
    assert sorted(os.listdir(folder)) == ["bundle.json", "client.crt"]


def test_an_outsiders_key_is_encrypted_and_nothing_plain_is_left(complete, utility):
    recipient = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
    manifest = current(complete)
    complete.issue(utility, manifest, Client("team-b", recipient))
    folder = os.path.dirname(complete.pair_file(manifest["generation"], "team-b", "client.key"))
    assert sorted(os.listdir(folder)) == ["bundle.age", "client.crt"]
    assert complete.bundle(manifest, "team-b").startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert manifest["pairs"]["team-b"]["recipient"] == _seal.key_id(recipient)


def test_a_pair_that_cannot_be_finished_leaves_no_key(complete, utility):
    manifest = current(complete)
    with pytest.raises(TimesTenError):
        complete.issue(utility, manifest, Client("team-b", "age1" + "q" * 58))
    assert sorted(os.listdir(complete.clients(manifest["generation"]))) == ["probe", "prom1"]


def test_the_same_pair_again_is_an_error(complete):
    """A utility whose export does not make a new pair cannot renew one."""

    class Repeating:
        def export_client_pair(self, _directory, certificate_file, key_file):
            for name, target in (("client.crt", certificate_file), ("client.key", key_file)):
                shutil.copy(complete.pair_file(complete.current_id(), "prom1", name), target)

    message = failure(complete.issue, Repeating(), current(complete), Client("prom1"))
    assert "returned the same certificate for client prom1 again" in message
    assert complete.certificate(current(complete), "prom1") is not None


@pytest.mark.parametrize("file", ["manifest.json", "clients"])
def test_an_interrupted_build_leaves_the_current_one(complete, utility, monkeypatch, file):
    before = complete.current_id()

    class Cut(BaseException):
        """As if the process were killed: nothing is cleaned up."""

    real = os.rename

    def rename(source, target):
        if file in str(target):
            raise Cut
        return real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with contextlib.suppress(Cut):
        complete.build(utility, Request(ASKED, [Client("prom1")]), NOW)
        pytest.fail("it was not cut")
    monkeypatch.undo()
    assert complete.ids() == [before] and complete.current_id() == before
    assert [name for name in os.listdir(os.path.join(complete.path, "generations")) if name.startswith(".new-")]
    complete.clear_leftovers()
    assert os.listdir(os.path.join(complete.path, "generations")) == [before]


def test_leftovers_of_pairs_are_cleared(complete):
    clients = os.path.join(complete.generation(complete.current_id()), "clients")
    os.mkdir(os.path.join(clients, ".new-prom1-00000000"))
    os.mkdir(os.path.join(clients, ".old-prom1-00000000"))
    complete.clear_leftovers()
    assert sorted(os.listdir(clients)) == ["probe", "prom1"]


def test_wallet_touched(complete):
    manifest = current(complete)
    wallet = os.path.join(complete.generation(manifest["generation"]), manifest["wallet"]["path"])
    # A copy has another time, but the same content.
    os.utime(wallet, (1, 1))
    assert complete.wallet_touched(manifest) is False
    with open(wallet, "ab") as stream:
        stream.write(b"x")
    assert complete.wallet_touched(manifest) is True
    os.unlink(wallet)
    with pytest.raises(FileNotFoundError):
        complete.wallet_touched(manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[]", "is damaged (no JSON object)"),
        ('{"version": 2}', "has version 2, this collection reads 1"),
        ('{"version": 1}', "is not the manifest of this generation"),
    ],
)
def test_damaged_manifest(complete, text, message):
    generation = complete.current_id()
    path = os.path.join(complete.generation(generation), "manifest.json")
    pathlib.Path(path).write_text(text)
    found = failure(complete.manifest, generation)
    assert found.startswith(path) and message in found and ("remove the file" in found or "newer" in found)


def test_manifest_of_another_generation(complete):
    generation = complete.current_id()
    other = "20261124T104900Z-00000000"
    shutil.copytree(complete.generation(generation), complete.generation(other))
    assert "is not the manifest of this generation" in failure(complete.manifest, other)
    os.unlink(os.path.join(complete.generation(other), "manifest.json"))
    assert complete.manifest(other) is None


def test_current_link(complete):
    link = os.path.join(complete.path, "current")
    generation = complete.current_id()
    for target in (
        "/etc",
        "generations/../../etc",
        "generations/.new-20261124T104900Z-00000000",
        "generations",
        f"./generations/{generation}",
    ):
        os.unlink(link)
        os.symlink(target, link)
        complete.forget()
        assert f"points at {target!r}, which is no generation" in failure(complete.current_id)
    os.unlink(link)
    os.symlink("generations/20261124T104900Z-00000000", link)
    complete.forget()
    assert complete.current_id() is None


def test_prune(complete):
    generation = complete.current_id()
    older = [f"202001{day:02}T000000Z-00000000" for day in range(1, 5)]
    for name in older:
        os.mkdir(complete.generation(name))
    assert complete.prune(2) == older[:2]
    assert complete.ids() == [*older[2:], generation]
    assert complete.prune(2) == []
    assert complete.prune(0) == older[2:]
    assert complete.ids() == [generation]


def test_server_certificate(complete, utility):
    manifest = current(complete)
    path = complete.server_file(manifest["generation"])
    good = complete.server_certificate(manifest)
    assert good == pathlib.Path(path).read_bytes()
    for content in (b"", good + good, complete.certificate(manifest, "prom1")):
        pathlib.Path(path).write_bytes(content)
        assert complete.server_certificate(manifest) is None
    complete.restore_export(utility, manifest)
    assert complete.server_certificate(manifest) == good


def test_certificate_and_bundle_only_as_the_manifest_says(complete):
    manifest = current(complete)
    path = complete.pair_file(manifest["generation"], "prom1", "client.crt")
    good = complete.certificate(manifest, "prom1")
    assert good == pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(complete.certificate(manifest, "probe"))
    assert complete.certificate(manifest, "prom1") is None
    assert complete.bundle(manifest, "prom1") is None


def test_remove_generations(complete):
    complete.remove_generations()
    assert not os.path.lexists(os.path.join(complete.path, "current")) and complete.ids() == []
    complete.remove_generations()


def test_checks(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is not a directory" in failure(ExporterDirectory(str(tmp_path / "file"), "e").check)
    message = failure(ExporterDirectory(str(tmp_path / "file/e"), "e").check_parent)
    assert f"may not make it in {tmp_path / 'file'}" in message
    ExporterDirectory(str(tmp_path / "a/b/c"), "e").check()
    ExporterDirectory(str(tmp_path / "a/b/c"), "e").check_parent()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_somebody_elses(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    message = failure(ExporterDirectory(str(tmp_path), "e").check)
    assert (
        "belongs to user id 65534, not to the user who runs ttExporter (id 0); set become_user to its owner" in message
    )


def test_the_manifest_says_which_port(complete):
    directory, generation = complete, complete.current_id()
    assert not directory.is_spare(generation) and not directory.is_spare(None)
    directory.set_spare(generation, True)
    assert directory.is_spare(generation) and directory.manifest(generation)["spare"] is True
    directory.set_spare(generation, False)
    assert not directory.is_spare(generation) and "spare" not in directory.manifest(generation)


def test_what_was_read_is_remembered_until_the_lock_is_taken(complete):
    """A decision sees one state of the directory; a run that waited for another one sees what that one has left."""
    generation = complete.current_id()
    manifest = complete.manifest(generation)
    other = ExporterDirectory(complete.path, "exp1")
    other.set_spare(generation, True)
    assert complete.manifest(generation) is manifest and not complete.is_spare(generation)
    with complete.locked():
        assert complete.is_spare(generation)


def test_a_clock_that_was_set_back_makes_no_older_generation(directory, utility):
    first = directory.build(utility, Request(ASKED), NOW + datetime.timedelta(days=1))["generation"]
    second = directory.build(utility, Request(ASKED, staged=True), NOW)["generation"]
    directory.make_current(first)
    assert directory.ids() == [first, second] and directory.staged() == [second]
    assert directory.manifest(second)["created"] == "2026-11-24T10:49:00Z"


def test_former_names_are_in_the_certificate_but_not_asked_for(directory, utility):
    manifest = directory.build(utility, Request(ASKED, former=("old.example.com", "10.0.0.9")), NOW)
    assert manifest["asked"] == ASKED.as_dict() and manifest["former"] == ["old.example.com", "10.0.0.9"]
    assert manifest["leaf"] is None or set(manifest["leaf"]["alt_names"]) >= {
        "localhost",
        "old.example.com",
        "10.0.0.9",
    }


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_only_regular_files_are_adopted(directory, utility, tmp_path, kind):
    source = tmp_path / "by-hand"
    source.mkdir(mode=0o700)
    utility.create_server_certificate(str(source), "localhost", ["localhost"])
    extra = next(source.glob(".ttwallet.*")) / "more"
    if kind == "link":
        extra.symlink_to("/etc/passwd")
    else:
        os.mkfifo(extra)
    assert str(extra) in failure(lambda: directory.build(utility, Request(ASKED, adopt=str(source)), NOW))


@pytest.mark.parametrize("kind", ["link", "fifo"])
@pytest.mark.parametrize("file", ["client.crt", "bundle.json"])
def test_what_is_no_regular_file_is_no_file_of_a_pair(complete, file, kind):
    path = complete.pair_file(complete.current_id(), "prom1", file)
    if os.path.lexists(path):
        os.unlink(path)
    os.mkfifo(path) if kind == "fifo" else os.symlink("/etc/passwd", path)
    manifest = complete.current_manifest()
    assert complete.certificate(manifest, "prom1") is None or file != "client.crt"
    assert complete.bundle(manifest, "prom1") is None


@pytest.mark.parametrize(
    ("name", "make", "refused"),
    [
        ("lock", os.mkfifo, True),
        ("lock", os.mkdir, True),
        ("lock", lambda path: os.symlink("/etc/passwd", path), True),
        ("restart.json", os.mkdir, True),
        ("state.json.spare", os.mkdir, True),
        ("run", os.mkdir, True),
        ("timing.json", os.mkdir, True),
        ("of-the-owner", os.mkdir, False),
        ("lock", lambda path: os.close(os.open(path, os.O_CREAT)), False),
    ],
)
def test_what_is_no_file_where_one_is_kept_is_refused_before_anything_changes(tmp_path, name, make, refused):
    directory = ExporterDirectory(str(tmp_path / "exp1"), "exp1")
    directory.prepare()
    make(directory.inside(name))
    if refused:
        assert f"{directory.inside(name)} is no regular file" in failure(directory.check)
    else:
        directory.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "link"])
def test_a_wallet_that_cannot_be_read_is_there_and_is_refused(kind):
    """Who restarts an exporter on it has none afterwards, and who calls it gone makes another one."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        file = pathlib.Path(place, ".ttwallet.x", "cwallet.sso")
        file.parent.mkdir()
        make = {"fifo": lambda: os.mkfifo(file, 0o666), "link": lambda: file.symlink_to("/etc/passwd")}
        make.get(kind, file.touch)()
        if kind in ("file", "directory"):
            assert wallet_file(place) == str(file)
            (file if kind == "file" else file.parent).chmod(0)
        try:
            os.seteuid(65534)
            assert f"the wallet file {file} cannot be read: " in failure(wallet_file, place)
        finally:
            os.seteuid(0)
        shutil.rmtree(file.parent)
        assert wallet_file(place) is None


def test_leftovers_of_a_killed_run_go_with_the_next(complete, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    old, young = tmp_path / "tmp/timesten-export-old", tmp_path / "tmp/timesten-export-young"
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    generation = complete.generation(complete.current_id())
    left = [
        f"{complete.path}/.state.json.0123456789ab",
        f"{complete.path}/current.0123456789ab",
        f"{generation}/.manifest.json.0123456789ab",
        f"{generation}/.server.crt.0123456789ab",
    ]
    for path in left:
        pathlib.Path(path).touch()
    before = set(os.listdir(complete.path))
    complete.clear_leftovers()
    assert not any(os.path.lexists(path) for path in [*left, old]) and young.exists()
    assert before - set(os.listdir(complete.path)) == {".state.json.0123456789ab", "current.0123456789ab"}


@pytest.mark.parametrize(
    ("mode", "level", "refused"),
    [(0o777, 1, True), (0o1777, 1, True), (0o777, 2, True), (0o1777, 2, False), (0o775, 1, False), (0o755, 2, False)],
)
def test_nobody_else_can_put_another_directory_in_its_place(tmp_path, mode, level, refused):
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    (path if level == 1 else path.parent).chmod(mode)
    for name in ("missing", "there"):
        if name == "there":
            (path / name).mkdir(mode=0o700)
        found = ExporterDirectory(str(path / name), "exp1")
        if refused:
            assert "every user may make and replace files" in failure(found.check)
        else:
            found.check()
