# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run would change for one exporter, and why. It reads the world and changes nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
from typing import Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Client, ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    in_use,
    plan_process,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    WalletPlan,
    plan_pair,
    plan_wallet,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs

DOCUMENTED_RATE_LIMIT = 10
"""GETs per minute that ttExporter accepts where its limit is not set."""


@dataclasses.dataclass
class Plan:
    """What a run would change for one exporter, and why.

    :ivar probe: the pair for local handshakes; None where no wallet is wanted.
    :ivar process: None where the process is no part of the call.
    :ivar evicted: clients that get no pair although they ask for one.
    :ivar rotation_due: why a rotation has to replace the wallet; None where none has to.
    """

    definition: Definition
    directory: ExporterDirectory
    utility: Utility
    now: datetime.datetime
    wallet: WalletPlan
    probe: PairPlan | None = None
    pairs: list[PairPlan] = dataclasses.field(default_factory=list)
    process: ProcessPlan | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)
    evicted: list[str] = dataclasses.field(default_factory=list)
    rotation_due: str | None = None

    @property
    def all_pairs(self) -> list[PairPlan]:
        """The probe pair and those of the clients."""
        return ([] if self.probe is None else [self.probe]) + self.pairs

    @property
    def why(self) -> list[str]:
        """All reasons for change, in the order in which the changes are made."""
        reasons = list(self.wallet.why)
        if not self.wallet.is_new:
            reasons += [f"pair {pair.client.name}: {pair.why}" for pair in self.all_pairs if pair.action == "issue"]
        return reasons + (self.process.why if self.process is not None else [])

    @property
    def changed(self) -> bool:
        """Whether anything would change that a person can notice."""
        return bool(self.why)


def plan(
    wanted: Definition,
    clients: Sequence[Client],
    now: datetime.datetime,
    process: bool,
    whole_host: bool,
    rate_budget: str,
    check_mode: bool,
    hand_over: bool = False,
) -> Plan:
    """Decide what has to change.

    :param process: whether the process is part of the call.
    :param whole_host: whether ``clients`` are all that the exporter should have, so that a new wallet would take access from the others.
    :param rate_budget: ``refuse`` or ``warn`` where the scrapes do not fit into the exporter's limit.
    :param hand_over: whether a running exporter that has clients keeps a wallet that should be replaced, until a rotation replaces it.
    :param check_mode: what an earlier task of the real run may still bring is then a warning.
    :raises TimesTenError: for everything that would make the real run fail and can be known now.
    """
    directory = ExporterDirectory(wanted.certificate_directory, wanted.name)
    utility = Utility(wanted.timesten_home, wanted.environment)
    directory.check()
    wanted = in_use(wanted, directory)
    warnings: list[str] = []
    for check in (directory.check_parent, utility.check, lambda: _check_folders(wanted, process)):
        try:
            check()
        except TimesTenError as error:
            if not check_mode:
                raise
            warnings.append(f"{error.message} (a real run stops here unless an earlier task of it does that)")
    planned = Plan(wanted, directory, utility, now, plan_wallet(wanted, directory, utility, now), warnings=warnings)
    planned.evicted, clients = admitted(planned, clients)
    if hand_over and planned.wallet.is_new and _left_to_rotation(planned):
        clients = [client for client in clients if _has_its_pair(planned, client)]
    if planned.wallet.action != "none":
        planned.probe = plan_pair(wanted, directory, planned.wallet, Client(PROBE), now)
        planned.pairs = [plan_pair(wanted, directory, planned.wallet, client, now) for client in clients]
        if whole_host:
            _refuse_to_lose_clients(planned)
    if process:
        planned.process = plan_process(wanted, directory, utility, planned.wallet, check_mode)
        if check_mode and planned.wallet.action == "none" and not wanted.insecure and wanted.state != "stopped":
            warnings.append(f"{directory.path} holds no wallet; make it with tt_wallet first")
        if wanted.state != "stopped":
            _check_rate_budget(planned, clients, rate_budget)
    return planned


def _check_folders(wanted: Definition, process: bool) -> None:
    """:raises TimesTenError: if a file of the process cannot be made: known too late, it would cost the old process."""
    if not process or wanted.state == "stopped":
        return
    for option, path in (("pid_file", wanted.pid_file), ("log_file", wanted.log_file)):
        folder = os.path.dirname(path)
        if folder != wanted.certificate_directory and not os.access(folder, os.W_OK | os.X_OK):
            raise TimesTenError(
                f"exporter {wanted.name}: {option}: {folder} does not exist or cannot be written to; make it, or leave "
                f"{option} out"
            )


def admitted(planned: Plan, clients: Sequence[Client]) -> tuple[list[str], list[Client]]:
    """Tell who is evicted from now on, and which of the clients get pairs; adds a warning for each that gets none."""
    current = planned.directory.current_id()
    manifest = (planned.directory.manifest(current) if current else None) or {}
    readmitted = {client.name for client in clients if client.readmit}
    evicted = sorted(set(manifest.get("evicted", [])) - readmitted)
    for client in clients:
        if client.name in evicted:
            planned.warnings.append(
                f"exporter {planned.definition.name}: client {client.name} was evicted and gets no pair; to readmit it, name it "
                "in exporter_host_readmit (readmit: true of the client)"
            )
    return evicted, [client for client in clients if client.name not in evicted]


def _left_to_rotation(planned: Plan) -> bool:
    """Leave the wallet as it is if it is in use by clients of a running exporter; says why it has to be rotated."""
    wanted, directory = planned.definition, planned.directory
    current = directory.current_id()
    manifest = directory.manifest(current) if current else None
    if manifest is None or not planned.wallet.usable or not set(manifest["pairs"]) - {PROBE}:
        return False
    keep = WalletPlan("keep", manifest=manifest)
    if plan_process(wanted, directory, planned.utility, keep, True).action not in ("none", "restart"):
        return False
    planned.rotation_due, planned.wallet = "; ".join(planned.wallet.why), keep
    return True


def _has_its_pair(planned: Plan, client: Client) -> bool:
    pair = (planned.wallet.manifest or {})["pairs"].get(client.name)
    if pair is None or client.recipient is None:
        return pair is not None
    return (pair["delivery"], pair["sha256"]) == (client.stored.get("delivery"), client.stored.get("sha256"))


def _refuse_to_lose_clients(planned: Plan) -> None:
    wallet = planned.wallet
    if wallet.action != "create" or not wallet.usable or wallet.manifest is None:
        return
    named = {pair.client.name for pair in planned.all_pairs}
    lost = sorted(set(wallet.manifest.get("pairs", {})) - named)
    if lost:
        raise TimesTenError(
            f"exporter {planned.definition.name}: the wallet would be replaced ({'; '.join(wallet.why)}), but the clients "
            f"{', '.join(lost)} are not part of this run and would lose access; run without --limit, or, if they are gone "
            "for good, make the new wallet with tt_wallet (regenerate: always), which asks for no clients",
            lost_clients=lost,
        )


def _check_rate_budget(planned: Plan, clients: Sequence[Client], policy: str) -> None:
    # Clients that this run does not reach scrape all the same: the manifest has their intervals.
    intervals = {
        name: pair["scrape_interval"]
        for name, pair in (planned.wallet.manifest or {}).get("pairs", {}).items()
        if pair.get("scrape_interval")
    }
    intervals.update({client.name: client.scrape_interval for client in clients if client.scrape_interval})
    limit = planned.process.rate_limit if planned.process and planned.process.rate_limit else DOCUMENTED_RATE_LIMIT
    budget = _prometheus_jobs.rate_budget(intervals, limit)
    if budget.fits:
        return
    message = f"exporter {planned.definition.name}: {budget.message}"
    if policy == "refuse":
        raise TimesTenError(message)
    planned.warnings.append(message)
