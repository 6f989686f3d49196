# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a rotation after the switch: report it, keep it, go back, or release the exporter."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from typing import Any, Mapping, Sequence, cast

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.apply import (
    note_served_certificate,
    with_served_certificate,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.contract import SwitchRecord
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import Definition
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import ExporterDirectory
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.host import over_all
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.process import (
    in_use,
    plan_process,
    stop_other,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.result import known_certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.leader import go_back
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import (
    Order,
    answer,
    ask,
    is_spare_port,
    read_record,
    record_of,
    until_stopped,
    until_switched,
    write_record,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.unattended import unattended
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.utility import Utility
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.wallet import WalletPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.machine import lease
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import utcnow


def status_host(exporters: Sequence[Definition]) -> dict[str, Any]:
    """Wait until every switch was made or given up, and return the outcomes."""
    return over_all(exporters, _status)


def _status(definition: Definition) -> dict[str, Any]:
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    record = record_of(directory)
    values = read_record(definition, record)
    last = max([*values.get("moments", []), time.time()]) - time.time()
    limit = last + until_switched(definition)
    values = cast(SwitchRecord, record.wait(lambda now: now.get("status") != "waiting", limit))
    row = {"name": definition.name, "changed": False, **answer(record, values)}
    return {**row, **_served(definition, directory, values)} if row["status"] == "switched" else row


def _served(definition: Definition, directory: ExporterDirectory, values: SwitchRecord) -> dict[str, Any]:
    """What is known of the new certificates, now that they are served: before, only the exported file could tell.

    The leader has the lock, so the manifest learns it when the switch is kept.
    """
    definition = in_use(definition, directory)
    if is_spare_port(values):
        # The new generation is not the current one yet.
        definition = definition.on_other_port()
    manifest = directory.manifest(values["generation"])
    if manifest is None:
        return {}
    # Rules without the end of one certificate are no reason to go back; OpenSSL takes certificates that cryptography does not.
    with contextlib.suppress(OSError, ValueError):
        manifest = with_served_certificate(definition, directory, manifest)
    return known_certificates(definition, manifest, utcnow())


def confirm_host(exporters: Sequence[Definition], order: Order) -> dict[str, Any]:
    """Keep the new generation. Prove that the old generation's pairs are refused, and remove old generations."""
    return over_all(exporters, lambda definition: _confirm(definition, order))


def _confirm(definition: Definition, order: Order) -> dict[str, Any]:
    record = record_of(ExporterDirectory(definition.certificate_directory, definition.name))
    lease.check(definition.certificate_directory, order.run)
    values = ask(definition, record, "confirm")
    if is_spare_port(values) and values.get("status") == "confirmed":
        # The leader keeps the old process until the Prometheus hosts no longer use it.
        return {"name": definition.name, "changed": True, **answer(record, values)}
    return _keep(definition, order, values)


def retire_host(exporters: Sequence[Definition], order: Order) -> dict[str, Any]:
    """Stop the process on the former port, then do what :func:`confirm_host` does."""
    return over_all(exporters, lambda definition: _retire(definition, order))


def _retire(definition: Definition, order: Order) -> dict[str, Any]:
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    record = record_of(directory)
    lease.check(directory.path, order.run)
    record.ask("retire")
    values = cast(SwitchRecord, record.wait(lambda _now: False, until_stopped(definition)))
    definition = in_use(definition, directory)
    with directory.locked():
        # This stops the process if its leader is gone.
        utility = Utility(definition.timesten_home, definition.environment)
        manifest = directory.current_manifest()
        stop_other(definition, plan_process(definition, directory, utility, WalletPlan("keep", manifest=manifest)))
    if directory.current_id() == values.get("generation"):
        values["status"] = "confirmed"
    return _keep(definition, order, values)


def _keep(definition: Definition, order: Order, values: SwitchRecord) -> dict[str, Any]:
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    record = record_of(directory)
    definition = in_use(definition, directory)
    generation = values.get("generation")
    if values.get("status") not in ("confirmed", "switched") or directory.current_id() != generation:
        raise TimesTenError(
            f"exporter {definition.name} is not on generation {generation} any more ({values.get('status')}: {values.get('error')}); "
            "both sides are on the one before. Run the rotation again"
        )
    with directory.locked():
        record.write(status="confirmed")
        manifest = directory.manifest(str(generation))
        if manifest is not None and manifest.get("staged"):
            manifest = copy.copy(manifest)
            del manifest["staged"]
            directory.write_manifest(manifest)
        note_served_certificate(definition, directory)
        refused = _old_pair_refused(definition, directory, str(values.get("previous")))
        if refused is False:
            raise TimesTenError(
                f"exporter {definition.name} accepts the probe pair of generation {values.get('previous')} although it serves {generation}: "
                "its old pairs still give access"
            )
        removed = directory.prune(0 if order.evict else definition.keep_generations)
        lease.give_back(directory.path)
    return {
        "name": definition.name,
        "changed": True,
        **answer(record, read_record(definition, record)),
        "old_pair_refused": refused,
        "removed": removed,
    }


def _old_pair_refused(definition: Definition, directory: ExporterDirectory, old: str) -> bool | None:
    """Tell whether the exporter now refuses the probe pair of an older generation; None if that pair is gone.

    The pairs of its clients were issued in the same way, so they share that fate.
    """
    certificate, key = (directory.pair_file(old, PROBE, file) for file in ("client.crt", "client.key"))
    if not os.path.isfile(certificate) or not os.path.isfile(key):
        return None
    for host in ("127.0.0.1", "::1", definition.address):
        if host is not None:
            outcome = probe.tls(host, definition.port or 0, None, certificate, key)
            if outcome.status != probe.UNREACHABLE:
                return outcome.status == probe.REFUSED
    return None


def revert_host(exporters: Sequence[Definition], run: Mapping[str, Any]) -> dict[str, Any]:
    """Go back to the generation before the switch."""
    return over_all(exporters, lambda definition: _revert(definition, run))


def _revert(definition: Definition, run: Mapping[str, Any]) -> dict[str, Any]:
    directory = ExporterDirectory(definition.certificate_directory, definition.name)
    record = record_of(directory)
    lease.check(directory.path, run)
    values = ask(definition, record, "revert")
    if values.get("status") in ("switched", "waiting"):
        # The leader is gone, so this call goes back itself.
        old = str(values.get("previous"))
        if is_spare_port(values) or values.get("status") != "waiting" or directory.current_id() != old:
            utility = Utility(definition.timesten_home, definition.environment)
            with directory.locked():
                if not unattended(directory, lambda: go_back(definition, directory, utility, old)):
                    raise TimesTenError(
                        f"exporter {definition.name}: the process that went back to generation {old} was ended; run timesten.monitoring.site, which "
                        "starts what is down"
                    )
        values = write_record(record, status="reverted", error="the leader was gone; this run went back")
    lease.give_back(directory.path)
    return {"name": definition.name, "changed": True, **answer(record, values)}


def release_host(exporters: Sequence[Definition], run: Mapping[str, Any]) -> dict[str, Any]:
    """Give up the lease of a rotation that did not begin."""
    return over_all(exporters, lambda definition: _release(definition, run))


def _release(definition: Definition, run: Mapping[str, Any]) -> dict[str, Any]:
    lease.check(definition.certificate_directory, run)
    lease.give_back(definition.certificate_directory)
    return {"name": definition.name, "changed": False}
