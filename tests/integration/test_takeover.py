# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter that was set up by hand, as Oracle's manual says: left alone, or taken over with its wallet."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal

import pytest

from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe
from integration import exporter_kit as kit

NAMES = ("-certificate-common-name", "localhost", "-certificate-alt-names", "localhost")


@dataclasses.dataclass
class ByHand:
    """An instance, a wallet in a directory of the owner's, and what runs on it."""

    instance: kit.Instance
    folder: pathlib.Path
    wallet: str
    port: int

    def run(self, *arguments: str) -> None:
        """Run the utility in the owner's directory, where all paths begin."""
        self.instance.by_hand(*arguments, "-certificate-directory", self.wallet, folder=self.folder)

    def start(self) -> int:
        """Start the exporter; return its pid once it serves."""
        self.instance.serve_by_hand(self.folder, self.wallet, self.port)
        kit.until(lambda: self.serves().status == probe.ACCEPTED)
        return int((self.folder / "tt.pid").read_text())

    def serves(self) -> probe.Outcome:
        """Shake hands with the pair that was made by hand."""
        files = [str(self.folder / name) for name in ("server.crt", "client.crt", "client.key")]
        return probe.tls("localhost", self.port, *files)

    def arguments(self, **more) -> dict:
        exporter = {
            "name": "exp1",
            "timesten_home": self.instance.home,
            "certificate_directory": str(self.folder.parent / "monitoring" / "exp1"),
            "address": "localhost",
            "port": self.port,
            **more,
        }
        return {"exporters": [exporter], "clients": []}

    def directory(self) -> str:
        return self.arguments()["exporters"][0]["certificate_directory"]


@pytest.fixture
def by_hand(request, tmp_path):
    """The seven steps of the manual, less Prometheus."""
    instance = kit.Instance(tmp_path / "instance").install()
    folder = tmp_path / "home"
    (folder / request.param).mkdir(parents=True)
    made = ByHand(instance, folder, request.param, kit.free_port())
    made.run("-create-server-certificate", *NAMES)
    made.run("-export-server-certificate", "server.crt")
    made.run("-export-client-certificate", "client.crt", "-export-client-private-key", "client.key")
    yield made
    instance.end()


@pytest.mark.parametrize("by_hand", ["mycertdir"], indirect=True)
def test_what_runs_by_hand_is_left_alone(by_hand):
    """Whatever was asked for, before the first change; with the process, its wallet and the way out in the message."""
    pid = by_hand.start()
    before = kit.tree(str(by_hand.folder))
    for state in ("started", "restarted", "stopped", "absent"):
        message = kit.failure("tt_exporter_host", by_hand.arguments(state=state))
        assert f"port {by_hand.port} is held by process {pid} of user" in message
        assert f"with its wallet in {by_hand.folder}/mycertdir, set takeover to true" in message
    assert by_hand.serves().status == probe.ACCEPTED
    assert kit.tree(str(by_hand.folder)) == before
    assert not os.path.exists(os.path.join(by_hand.directory(), "generations"))


@pytest.mark.parametrize(
    ("by_hand", "variants"),
    [("mycertdir", {}), (".", {"NAME": "exec", "RUN": "detach"})],
    ids=["mycertdir", "home, another name"],
    indirect=["by_hand"],
)
def test_takeover_keeps_wallet_certificate_and_pairs(by_hand, variants):
    by_hand.instance.install(**variants)
    pid = by_hand.start()
    served = by_hand.serves().sha256
    predicted = kit.succeed("tt_exporter_host", by_hand.arguments(takeover=True), check=True, changed=True)
    assert by_hand.serves().status == probe.ACCEPTED
    answer = kit.succeed("tt_exporter_host", by_hand.arguments(takeover=True), changed=True)
    (row,) = answer["exporters"]
    wallet = os.path.realpath(by_hand.folder / by_hand.wallet)
    assert (
        predicted["exporters"][0]["why"]
        == row["why"]
        == [
            f"takes over the wallet in {wallet}, which is served",
            f"it takes the place of process {pid}, which was not started as this exporter",
        ]
    )
    assert row["process"]["pid"] not in (None, pid)
    assert [process.pid for process in by_hand.instance.exporters()] == [row["process"]["pid"]]
    outcome = by_hand.serves()
    assert (outcome.status, outcome.sha256) == (probe.ACCEPTED, served)
    # The next run has nothing to do, whether or not it may take over, and the owner's wallet is where it was.
    kit.succeed("tt_exporter_host", by_hand.arguments(takeover=True), changed=False)
    kit.succeed("tt_exporter_host", by_hand.arguments(), changed=False)
    assert list((by_hand.folder / by_hand.wallet).glob(".ttwallet.*/cwallet.sso"))


@pytest.mark.parametrize("by_hand", ["mycertdir"], indirect=True)
def test_a_takeover_that_fails_brings_it_back(by_hand):
    """With its own arguments and wallet, although the utility execs another program; and it is still the owner's."""
    by_hand.instance.install(NAME="exec")
    by_hand.start()
    served = by_hand.serves().sha256
    # The program ends when it gets the option that the owner did not give.
    utility = pathlib.Path(by_hand.instance.home, "bin/ttExporter")
    works = utility.read_text()
    head, _newline, rest = works.partition("\n")
    assert head.startswith("#!")
    broken = "import sys\nif any('/generations/' in a for a in sys.argv) and '-port' in sys.argv:\n    sys.exit('no such wallet')\n"
    utility.write_text(f"{head}\n{broken}{rest.replace('from __future__ import annotations', '')}")
    message = kit.failure("tt_exporter_host", by_hand.arguments(takeover=True))
    assert "The former arguments and wallet are back" in message, message
    outcome = by_hand.serves()
    assert (outcome.status, outcome.sha256) == (probe.ACCEPTED, served)
    assert "set takeover to true" in kit.failure("tt_exporter_host", by_hand.arguments())
    utility.write_text(works)
    kit.succeed("tt_exporter_host", by_hand.arguments(takeover=True), changed=True)
    outcome = by_hand.serves()
    assert (outcome.status, outcome.sha256) == (probe.ACCEPTED, served)


@pytest.mark.parametrize("by_hand", ["mycertdir"], indirect=True)
def test_a_renamed_exporter_keeps_its_wallet(by_hand):
    """exp1 becomes exp1-a: another directory, the same port, the same certificate and pairs."""
    by_hand.start()
    kit.succeed("tt_exporter_host", by_hand.arguments(takeover=True))
    served = by_hand.serves().sha256
    directory = str(by_hand.folder.parent / "monitoring" / "exp1-a")
    renamed = {"name": "exp1-a", "certificate_directory": directory}
    assert "is held by process" in kit.failure("tt_exporter_host", by_hand.arguments(**renamed))
    kit.succeed("tt_exporter_host", by_hand.arguments(**renamed, takeover=True), changed=True)
    outcome = by_hand.serves()
    assert (outcome.status, outcome.sha256) == (probe.ACCEPTED, served)
    kit.succeed("tt_exporter_host", by_hand.arguments(**renamed), changed=False)
    # What is left of the old name goes without a word to the process.
    kit.succeed("tt_exporter_host", by_hand.arguments(state="absent"), changed=True)
    assert by_hand.serves().status == probe.ACCEPTED


@pytest.mark.parametrize("by_hand", ["mycertdir"], indirect=True)
def test_what_cannot_be_taken_over_is_named(by_hand):
    pid = by_hand.start()
    other = kit.Instance(by_hand.folder.parent / "other").install()
    message = kit.failure("tt_exporter_host", by_hand.arguments(takeover=True, timesten_home=other.home))
    assert (
        f"it belongs to the TimesTen instance {by_hand.instance.home}, not to {other.home}; set timesten_home"
        in message
    )
    (wallet,) = (by_hand.folder / "mycertdir").glob(".ttwallet.*")
    wallet.rename(by_hand.folder / "elsewhere")
    message = kit.failure("tt_exporter_host", by_hand.arguments(takeover=True))
    assert f"a wallet that is not in {by_hand.folder}/mycertdir any more" in message
    assert by_hand.serves().status == probe.ACCEPTED
    os.kill(pid, signal.SIGTERM)
