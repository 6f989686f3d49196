# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exporters that were set up by hand, as Oracle's manual says, for the tests and measurements of takeovers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from integration import rotation_kit
from integration.exporter_kit import Instance, tree

TAKEOVER = ("-e", "exporter_host_takeover=true")
ADOPT = ("-e", "prometheus_host_on_existing=adopt")
_JOB = """\
  - job_name: {job}   # by hand
    metrics_path: /metrics
    scheme: https
    tls_config:
      ca_file: {folder}/server.crt
      cert_file: {folder}/client.crt
      key_file: {folder}/client.key
    static_configs:
      - targets: ["localhost:{port}"]
"""


class ByHand:
    """One exporter without anything of this collection: an owner's directory with wallet and pair, and the process.

    :param wallet: its certificate directory, from the owner's directory, which is ``$HOME``.
    :param job: that scrapes it.
    """

    def __init__(self, fleet: rotation_kit.Fleet, exporter: str, wallet: str, job: str) -> None:
        self.fleet, self.exporter, self.wallet, self.job = fleet, exporter, wallet, job
        self.folder = fleet.root / f"owner-{exporter}"
        (self.folder / wallet).mkdir(parents=True)
        self.port = fleet.port(exporter)
        names = ("-certificate-common-name", "localhost", "-certificate-alt-names", "localhost")
        self.run("-create-server-certificate", *names)
        self.run("-export-server-certificate", "server.crt")
        self.run("-export-client-certificate", "client.crt", "-export-client-private-key", "client.key")
        self.start()

    @property
    def instance(self) -> Instance:
        return self.fleet.instances[self.exporter]

    def run(self, *arguments: str) -> None:
        self.instance.by_hand(*arguments, "-certificate-directory", self.wallet, folder=self.folder)

    def start(self) -> None:
        self.instance.serve_by_hand(self.folder, self.wallet, self.port)

    def scrape_config(self) -> str:
        """The job, for prometheus.yml."""
        return _JOB.format(job=self.job, folder=self.folder, port=self.port)

    def is_up(self, servers: Sequence[str]) -> bool:
        """Whether the job that was made by hand is up."""
        return all(self.fleet.targets(server).get(self.job) == ("up", f"localhost:{self.port}") for server in servers)

    def everything(self) -> list[object]:
        """What a run could change."""
        configurations = [(server.directory / "prometheus.yml").read_bytes() for server in self.fleet.servers.values()]
        made = self.fleet.directory(self.exporter).parent.exists()
        return [tree(str(self.folder)), self.pids(), *configurations, made]

    def pids(self) -> list[int]:
        return [process.pid for process in self.instance.exporters()]

    def samples(self, server: str, since: float) -> list[tuple[float, float]]:
        """Time and value of each scrape since a moment, as Prometheus has stored them."""
        seconds = max(1, round(time.time() - since))
        [series] = self.fleet.servers[server].query(f'up{{job="{self.job}"}}[{seconds}s]')
        return [(float(at), float(value)) for at, value in series["values"]]


def scrape(fleet: rotation_kit.Fleet, exporters: Sequence[ByHand]) -> None:
    """Have all servers scrape these, by jobs that were written by hand."""
    text = "".join(exporter.scrape_config() for exporter in exporters)
    for server in fleet.servers.values():
        path = server.directory / "prometheus.yml"
        before, _key, _rest = path.read_text().partition("scrape_configs:")
        path.write_text(f"{before}scrape_configs:\n{text}")
        server.stop()
        server.start()
