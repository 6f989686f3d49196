# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the present state of one exporter once per call, before anything is decided. Changes nothing."""

from __future__ import annotations

import dataclasses
import os
import socket
import stat
from typing import Callable, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import processes, takeover
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import Manifest
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import (
    Client,
    ExporterDirectory,
    instance_guid,
    wallet_file,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import ProcessPlan, plan_process
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import (
    PairSeen,
    WalletPlan,
    WalletSeen,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem as _pem


@dataclasses.dataclass(frozen=True)
class Call:
    """The purpose of a module call.

    :ivar process: whether the call concerns the process.
    :ivar whole_host: whether the call names all clients of the exporter, so that a new wallet would lock out any
        others.
    :ivar rate_budget: ``refuse`` or ``warn``, for scrapes that do not fit into the exporter's limit.
    :ivar hand_over: whether a running exporter with clients keeps a due wallet until a rotation replaces it.
    :ivar check_mode: whether a lack that an earlier task of the real run may remove gives only a warning.
    :ivar away: with hand_over, the clients that scrape the exporter and could not be asked.
    """

    process: bool = True
    whole_host: bool = False
    rate_budget: str = "warn"
    hand_over: bool = False
    check_mode: bool = False
    away: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Observed:
    """The present state of one exporter.

    :ivar problems: why the utility cannot be used or files cannot be made.
    :ivar wallet: None if no wallet is wanted.
    :ivar pairs: the pairs of the current generation, by client.
    :ivar process: the plan for the process if the wallet stays as it is; None if the call does not concern the process.
    :ivar process_problem: why no plan for the process is possible.
    """

    problems: tuple[TimesTenError, ...] = ()
    wallet: WalletSeen | None = None
    pairs: dict[str, PairSeen] = dataclasses.field(default_factory=dict)
    process: ProcessPlan | None = None
    process_problem: TimesTenError | None = None


def observe(
    definition: Definition, directory: ExporterDirectory, utility: Utility, clients: Sequence[Client], call: Call
) -> Observed:
    """Read the present state of one exporter.

    :raises TimesTenError: if something cannot be read and only a person can repair it.
    """
    problems = _problems(definition, directory, utility, call)
    if problems and not call.check_mode:
        return Observed(problems)
    wallet = None
    if not definition.insecure and definition.state != "stopped":
        served = _taken_over(definition) if call.process and definition.takeover else None
        wallet = observe_wallet(directory, utility, served)
    manifest = None if wallet is None else wallet.manifest
    pairs = {} if manifest is None else observe_pairs(directory, manifest, [Client(PROBE), *clients])
    if not call.process:
        return Observed(problems, wallet, pairs)
    try:
        process = plan_process(definition, directory, utility, _wallet_as_it_is(definition, wallet), call.check_mode)
    except TimesTenError as error:
        return Observed(problems, wallet, pairs, process_problem=error)
    return Observed(problems, wallet, pairs, process, _port_problem(definition, process))


def _wallet_as_it_is(definition: Definition, wallet: WalletSeen | None) -> WalletPlan:
    if wallet is None or (wallet.state == "missing" and definition.asked is None):
        return WalletPlan("none")
    # A process need not prove that it serves a wallet which is going to be replaced.
    stays = wallet.manifest is not None and wallet.state in ("known", "touched", "changed")
    return WalletPlan("keep" if stays else "create", manifest=wallet.manifest)


def _taken_over(definition: Definition) -> str | None:
    """Return the certificate directory of the process to take over; None if there is none or the takeover is refused."""
    stranger = takeover.find(definition, processes.Snapshot())
    if stranger is None:
        return None
    try:
        takeover.check(definition, stranger)
    except TimesTenError:
        # The plan for the process reports this problem.
        return None
    return stranger.wallet


def observe_wallet(directory: ExporterDirectory, utility: Utility, served: str | None = None) -> WalletSeen:
    """Return the state of the current generation's wallet or of the wallet to adopt.

    The wallet is exported only if its file differs from the known one.

    :param served: certificate directory of the process that is taken over.
    """
    generation = directory.current_id()
    if served is not None:
        manifest = directory.current_manifest()
        return WalletSeen("taken over", generation, manifest, directory.read_export(utility, served), served)
    place = directory.path if generation is None else directory.generation(generation)
    file = wallet_file(place)
    if generation is None:
        if file is None:
            return WalletSeen("missing", directory=place)
        return WalletSeen("made by hand", described=directory.read_export(utility, place), directory=place)
    manifest = directory.manifest(generation)
    if file is None:
        return WalletSeen("gone", generation, manifest, directory=place)
    guids = _guids(file, utility)
    if guids is not None:
        return WalletSeen("other instance", generation, manifest, directory=place, guids=guids)
    if manifest is None:
        return WalletSeen("no manifest", generation, None, directory.read_export(utility, place), place)
    touched = directory.wallet_touched(manifest)
    described = directory.read_export(utility, place) if touched else None
    if described is not None and described["ca_sha256"] != manifest["ca_sha256"]:
        return WalletSeen("changed", generation, manifest, described, place)
    exported = directory.server_certificate(manifest) is not None
    return WalletSeen("touched" if touched else "known", generation, manifest, directory=place, exported=exported)


def _guids(file: str, utility: Utility) -> tuple[str, str] | None:
    """Return the GUIDs of wallet and instance if they differ: ttExporter would then look for another wallet than this
    one.
    """
    wallet = os.path.basename(os.path.dirname(file))[len(".ttwallet.") :]
    instance = instance_guid(utility.timesten_home)
    return None if instance is None or instance.lower() == wallet.lower() else (wallet, instance)


def observe_pairs(directory: ExporterDirectory, manifest: Manifest, clients: Sequence[Client]) -> dict[str, PairSeen]:
    """Return the state of the files of the clients' pairs in a generation."""
    return {
        client.name: _observe_pair(directory, manifest, client)
        for client in clients
        if client.name in manifest["pairs"]
    }


def _observe_pair(directory: ExporterDirectory, manifest: Manifest, client: Client) -> PairSeen:
    if directory.certificate(manifest, client.name) is None:
        return PairSeen(certificate=False)
    if client.recipient is not None:
        stored = client.stored.get("delivery") == manifest["pairs"][client.name]["delivery"]
        return PairSeen(bundle=not stored and directory.bundle(manifest, client.name) is not None)
    certificate, key = (
        directory.pair_file(manifest["generation"], client.name, file) for file in ("client.crt", "client.key")
    )
    try:
        _pem.check_pair(certificate, key)
    except TimesTenError as error:
        return PairSeen(problem=error.message)
    return PairSeen()


# ---------------------------------------------------------------------------------------------------------------------
# Problems that would stop a run halfway. If they were found later, the old process would already be stopped.


def _problems(
    definition: Definition, directory: ExporterDirectory, utility: Utility, call: Call
) -> tuple[TimesTenError, ...]:
    checks: list[Callable[[], None]] = [directory.check_parent, utility.check]
    if call.process and definition.state != "stopped":
        checks += [lambda: _check_folders(definition), lambda: _check_log(definition)]
    problems = []
    for check in checks:
        try:
            check()
        except TimesTenError as error:
            problems.append(error)
    return tuple(problems)


def _port_problem(definition: Definition, process: ProcessPlan) -> TimesTenError | None:
    """Return why a process that would be stopped for it cannot have another port. The port is tried in the way the
    exporter does it.
    """
    if process.action != "restart" or process.wanted is None or process.state is None or process.state.process is None:
        return None
    port = process.wanted.port
    served = (processes.exporter_options(process.state.process.argv) or {}).get("port")
    if served in (None, str(port)):
        return None
    try:
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(("", port))
    except OSError as error:
        return TimesTenError(
            f"exporter {definition.name}: {processes.user_name(os.geteuid())} cannot have port {port}: {error.strerror}; choose another port. "
            f"Process {process.state.pid} was left as it is, on port {served}"
        )
    return None


def _check_folders(definition: Definition) -> None:
    for option, path in (("pid_file", definition.pid_file), ("log_file", definition.log_file)):
        folder = os.path.dirname(path)
        if folder != definition.certificate_directory and not os.access(folder, os.W_OK | os.X_OK):
            raise TimesTenError(
                f"exporter {definition.name}: {option}: {folder} does not exist or cannot be written to; make it, or leave "
                f"{option} out"
            )


def _check_log(definition: Definition) -> None:
    path = definition.log_file
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise TimesTenError(f"exporter {definition.name}: log_file: cannot look at {path}: {error.strerror}") from error
    problem = None
    if not stat.S_ISREG(info.st_mode):
        problem = "is no regular file (a link is none either)"
    elif not os.access(path, os.W_OK):
        problem = "cannot be written to"
    if problem is not None:
        raise TimesTenError(f"exporter {definition.name}: log_file: {path} {problem}; remove it, or name another file")
