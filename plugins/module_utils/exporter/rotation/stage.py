# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step of a rotation: makes a generation ready beside the current one. Nothing that is in use changes."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime
from typing import Any, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes, timing
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import (
    LATER,
    SPARE_PORT,
    Manifest,
    RotationRow,
    Strategy,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.decide import Plan, admitted, how_to_forget
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Asked,
    Client,
    ExporterDirectory,
    Request,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import over_all, seen_by
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.observe import observe_pairs, observe_wallet
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    ProcessPlan,
    in_use,
    plan_process,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.result import result, snapshot
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import (
    Order,
    ask,
    record_of,
    until_stopped,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairPlan,
    WalletPlan,
    decide_pair,
    decide_wallet,
    due,
    former_names,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import parse_timestamp, utcnow

UNKNOWN_WINDOW = 5.0
"""The expected seconds of a restart if none was ever measured."""


def stage_host(
    exporters: Sequence[Definition], clients: Sequence[Client], order: Order, check_mode: bool
) -> dict[str, Any]:
    """Make a generation ready beside the current one of every exporter. Nothing that is in use changes."""

    def work(definition: Definition) -> dict[str, Any]:
        definition = in_use(definition, ExporterDirectory(definition.certificate_directory, definition.name))
        return stage(definition, seen_by(definition, clients), order, check_mode)

    return over_all(exporters, work)


def stage(definition: Definition, clients: Sequence[Client], order: Order, check_mode: bool) -> dict[str, Any]:
    """Make a generation ready beside the current one, with a pair for every client.

    :returns: the exporter's result as :func:`exporter.host.converge` returns it, about the new generation. ``rotation``
        says what the rotation would switch; its ``skipped`` says why this exporter takes no part.
    :raises TimesTenError: if the exporter cannot be rotated; nothing that is in use was changed then.
    """
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    if definition.insecure or definition.state == "stopped":
        reason = "it is insecure and has no certificate" if definition.insecure else "it is stopped"
        return _skipped(definition, reason)
    directory.check()
    if directory.current_id() is None:
        raise TimesTenError(f"exporter {definition.name} has no generation yet; run timesten.monitoring.site first")
    if check_mode:
        lease.check(directory.path, order.run)
        return _stage(definition, directory, clients, order, True)
    lease.take(directory.path, order.run, lease.STAGING)
    takes_part = False
    try:
        record = record_of(directory)
        if record.is_alive():
            # The run of this leader is gone: otherwise it would still hold the lease.
            ask(definition, record, "revert")
            # A leader that was already confirmed stops its old process now.
            record.wait(lambda _now: False, until_stopped(definition))
        with directory.locked():
            directory.clear_leftovers()
            found = _stage(in_use(definition, directory), directory, clients, order, False)
        takes_part = "skipped" not in found["rotation"]
        return found
    finally:
        if not takes_part:
            lease.give_back(directory.path)


def _skipped(definition: Definition, reason: str, evicted: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "name": definition.name,
        "changed": False,
        "insecure": definition.insecure,
        "port": definition.port,
        "spare": definition.spare,
        "generation": None,
        "pairs": [],
        "rotation": {"skipped": reason, "evicted": list(evicted)},
    }


@dataclasses.dataclass(frozen=True)
class _Stage:
    """One exporter that is being made ready for the switch.

    :ivar definition: the exporter, with the port that is in use.
    :ivar target: the exporter, with the port that it is going to use.
    :ivar old: manifest of the current generation; None if it is missing.
    """

    definition: Definition
    target: Definition
    directory: ExporterDirectory
    utility: Utility
    order: Order
    old: Manifest | None
    now: datetime.datetime
    check_mode: bool

    @property
    def strategy(self) -> Strategy:
        """Return the strategy for this exporter."""
        return "gap" if self.target is self.definition else SPARE_PORT


def _stage(
    definition: Definition,
    directory: ExporterDirectory,
    clients: Sequence[Client],
    order: Order,
    check_mode: bool,
) -> dict[str, Any]:
    now, old = utcnow(), directory.current_manifest()
    utility = Utility(definition.timesten_home, definition.environment)
    utility.check()
    seen = observe_wallet(directory, utility)
    wallet = decide_wallet(dataclasses.replace(definition, regenerate="when_changed"), seen, clients, now)
    skipped = _why_skipped(directory, order, old, wallet)
    if skipped is not None:
        return _skipped(definition, skipped, [] if old is None else old.get("evicted", []))
    process = _running(definition, directory, utility, old)
    if not check_mode:
        stop_other(definition, process)
    changes = order.strategy == SPARE_PORT and definition.spare_port is not None
    target = definition.on_other_port() if changes else definition
    if changes:
        _refuse_second(target, process)
    staging = _Stage(definition, target, directory, utility, order, old, now, check_mode)
    plan = Plan(definition, now, WalletPlan("keep"))
    plan.process = dataclasses.replace(process, action="none", why=[], boot=None, other=None)
    evicted, clients = admitted(definition.name, old, clients, plan.warnings)
    plan.evicted = sorted({*evicted, *order.evict})
    clients = [client for client in clients if client.name not in plan.evicted]
    _refuse_to_lose(definition, old, clients, [*plan.evicted, *order.optional])
    return _make_ready(staging, plan, clients, wallet.adopt_from)


def _why_skipped(directory: ExporterDirectory, order: Order, old: Manifest | None, wallet: WalletPlan) -> str | None:
    """Return why an exporter takes no part in a rotation, or None."""
    if order.only_due and not wallet.is_new:
        return "its wallet is neither due nor changed"
    if order.since is not None and old is not None and old["created"] >= order.since:
        return f"its generation {old['generation']} was made after {order.since}"
    if order.evict and not any(directory.pairs_of(generation) & set(order.evict) for generation in directory.ids()):
        return f"it has no pair of {', '.join(order.evict)}"
    return None


def _running(
    definition: Definition, directory: ExporterDirectory, utility: Utility, old: Manifest | None
) -> ProcessPlan:
    process = plan_process(definition, directory, utility, WalletPlan("keep", manifest=old))
    if process.action == "start":
        raise TimesTenError(
            f"exporter {definition.name} is not running ({'; '.join(process.why)}), so there is nothing to switch without a loss: "
            "run timesten.monitoring.site, which starts it"
        )
    return process


def _make_ready(staging: _Stage, plan: Plan, clients: Sequence[Client], adopt: str | None) -> dict[str, Any]:
    definition, directory = staging.definition, staging.directory
    state = None if plan.process is None else plan.process.state
    before = snapshot(plan, directory, state)
    asked = definition.asked or Asked(None, (), None)
    former = former_names(definition.asked, staging.old, clients)
    request = Request(asked, clients, adopt, plan.evicted, former, True, staging.target.spare)
    if staging.order.to == "previous":
        generation: str | None = previous(directory, directory.current_id() or "", plan.evicted, staging.now)
    else:
        generation = _reusable(definition, directory, request, staging.now)
    names = [client.name for client in clients]
    if generation is None:
        plan.wallet.why = ["a new generation is made ready"]
        if staging.check_mode:
            after = {**before, "generation": LATER, "ca_sha256": LATER, "pairs": {name: {} for name in names}}
            return _answer(
                staging, result(plan, directory, before, after), _rotation(staging, None, names, plan.evicted)
            )
        generation = directory.build(staging.utility, request, staging.now)["generation"]
    manifest = _prepare(staging, plan, generation, clients)
    found = result(plan, directory, before, snapshot(plan, directory, state, generation))
    return _answer(staging, found, _rotation(staging, manifest, names, plan.evicted))


def _answer(staging: _Stage, found: dict[str, Any], rotation: RotationRow) -> dict[str, Any]:
    return {**found, "rotation": rotation, "port": staging.target.port, "spare": staging.target.spare}


def _prepare(staging: _Stage, plan: Plan, generation: str, clients: Sequence[Client]) -> Manifest:
    """Bring a generation that waits for the switch up to date with its clients, and return its manifest."""
    directory, changes = staging.directory, not staging.check_mode
    for other in directory.staged():
        if other != generation and changes:
            directory.remove(other)
    known = directory.manifest(generation)
    if known is None:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} has no manifest; it cannot be used"
        )
    manifest = copy.deepcopy(known)
    plan.wallet.manifest = manifest
    manifest["evicted"] = plan.evicted
    # It may have been made or used for the other port.
    if staging.target.spare:
        manifest["spare"] = True
    else:
        manifest.pop("spare", None)
    if changes and manifest != known:
        directory.write_manifest(manifest)
    receivers = [dataclasses.replace(client, stored={}) for client in clients]
    seen = observe_pairs(directory, manifest, receivers)
    for client, receiver in zip(clients, receivers):
        pair = decide_pair(staging.definition, manifest, receiver, seen, staging.now)
        if pair.action == "issue" and changes:
            directory.issue(staging.utility, manifest, client)
            pair.action = "send"
        plan.pairs.append(PairPlan(client, pair.action, pair.why))
    return manifest


def _refuse_second(target: Definition, process: ProcessPlan) -> None:
    """:raises TimesTenError: if this exporter cannot have a second process on its other port."""
    manager = None if process.state is None else process.state.manager
    if target.boot == "systemd" or manager is not None:
        raise TimesTenError(
            f"exporter {target.name} is run by systemd ({manager or 'boot is systemd'}), which runs one process of it: the strategy spare_port needs "
            "boot none or cron. Rotate it with rotate_strategy=gap"
        )
    ours = process.other[1].process if process.other is not None else None
    everyone = processes.processes()
    members = [member.pid for member in processes.family(ours, everyone)] if ours is not None else []
    holder = processes.port_holder(target.port or 0, members)
    if holder is not None:
        raise TimesTenError(
            f"exporter {target.name}: port {target.port}, to which it has to change, is held by {holder}; end that, or choose another port"
        )


def _refuse_to_lose(
    definition: Definition, old: Manifest | None, clients: Sequence[Client], free: Sequence[str]
) -> None:
    held = set() if old is None else set(old["pairs"])
    lost = sorted(held - {PROBE} - {client.name for client in clients} - set(free))
    if lost:
        raise TimesTenError(
            f"exporter {definition.name}: the clients {', '.join(lost)} have a pair and are not part of this run, so they would lose access; nothing was "
            f"changed. Run it when they can be reached; name a client that may lose its access in rotate_optional; {how_to_forget(lost)}",
            lost_clients=lost,
        )


def previous(directory: ExporterDirectory, current: str, evicted: Sequence[str], now: datetime.datetime) -> str:
    """Return the id of the generation before the current one.

    :raises TimesTenError: if there is none, or it cannot or must not be used any more.
    """
    older = [generation for generation in directory.ids() if generation < current]
    if not older:
        raise TimesTenError(
            f"exporter {directory.exporter} has no generation before {current} (exporter_host_keep_generations says how many are kept)"
        )
    generation = older[-1]
    manifest = directory.manifest(generation)
    if manifest is None:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} has no manifest; it cannot be used"
        )
    held = sorted(directory.pairs_of(generation) & set(evicted))
    if held:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} holds a pair of {', '.join(held)}, evicted since: going back would give the "
            "access back. Rotate to a new generation instead"
        )
    try:
        touched = directory.wallet_touched(manifest)
    except FileNotFoundError:
        touched = True
    if touched:
        raise TimesTenError(
            f"the wallet of generation {generation} of exporter {directory.exporter} is not the one any more that its pairs were issued from; rotate to a "
            "new one instead"
        )
    ends = [item["not_after"] for item in [*manifest["ca"], manifest["leaf"]] if item]
    ended = [end for end in ends if now >= parse_timestamp(end)]
    if ended:
        raise TimesTenError(
            f"generation {generation} of exporter {directory.exporter} expired at {min(ended)}; rotate to a new one instead"
        )
    return generation


def _reusable(
    definition: Definition, directory: ExporterDirectory, request: Request, now: datetime.datetime
) -> str | None:
    """Return the id of a generation that an interrupted run made ready and that still fits the request, or None."""
    for generation in reversed(directory.staged()):
        manifest = directory.manifest(generation)
        if manifest is None or directory.server_certificate(manifest) is None:
            continue
        with contextlib.suppress(FileNotFoundError, TimesTenError):
            fits = (
                (definition.asked is None or manifest["asked"] == request.asked.as_dict())
                and set(request.former) <= set(manifest.get("former", []))
                and manifest.get("evicted") == list(request.evicted)
            )
            given_back = directory.pairs_of(generation) & set(request.evicted)
            renewed = due(manifest, definition.renew_before, now)[0] is None
            if fits and renewed and not given_back and not directory.wallet_touched(manifest):
                return generation
    return None


def _rotation(staging: _Stage, new: Manifest | None, clients: Sequence[str], evicted: Sequence[str]) -> RotationRow:
    measured, old = timing.expected(staging.directory.path), staging.old
    return {
        "from": None if old is None else old["generation"],
        "to": LATER if new is None else new["generation"],
        "old_sha256": None if old is None else _served(old),
        "new_sha256": LATER if new is None else _served(new),
        "restart_seconds": UNKNOWN_WINDOW if measured is None else measured,
        "restart_measured": measured is not None,
        "clients": list(clients),
        "evicted": list(evicted),
        "strategy": staging.strategy,
        "has_spare_port": staging.definition.spare_port is not None,
    }


def _served(manifest: Manifest) -> str:
    """Return the fingerprint of the server's own certificate if it is known, else of the exported file."""
    leaf = manifest["leaf"]
    return manifest["ca_sha256"] if leaf is None else str(leaf["sha256"])
