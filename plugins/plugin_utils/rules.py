# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Prometheus rules for TimesTen: recorded series, alerts and their thresholds.

The groups of :func:`common` are the same for every exporter. :func:`of_exporter` adds one group for each exporter with
facts that only the inventory and the exporter's host know: that the exporter has to be there, when its certificates
end, and when its rotation is due. Recording rules are named ``level:metric:operations``.

Metric names are those of Oracle's monitoring guide. An alert is *unverified* if its metric occurs only in the
documentation of TimesTen 26.1, or if the meaning of its values is not public. It is off unless somebody switches it on
by name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import LATER
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.rule_file import INSTANCE, JOB, scoped
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem
from ansible_collections.timesten.monitoring.plugins.plugin_utils import words
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterAnswer

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Client

RUNBOOKS = "https://github.com/timesten-monitoring/timesten.monitoring/blob/main/docs/alerts/"

THRESHOLDS: dict[str, float | str] = {
    "slow_share_of_timeout": 0.8,
    "collections_timedout": 0,
    "instance_status": 1,
    "permanent_space_share": 0.9,
    "temporary_space_share": 0.9,
    "space_predict_from_share": 0.5,
    "space_predict_window": "6h",
    "space_predict_hours": 24,
    "checkpoint_directory_available_share": 0.1,
    "log_directory_available_share": 0.1,
    "log_files_held": 20,
    "log_buffer_waits_per_second": 1,
    "deadlocks_per_transaction": 0.001,
    "lock_timeouts_per_transaction": 0.001,
    "checkpoint_window": "1h",
    "replication_conflicts": 0,
    "replication_errors": 0,
    "replication_send_lag": 60,
    "awt_retries_per_second": 0.1,
    "awt_rollbacks_per_second": 0.1,
    "awt_master_restarts": 2,
    "connections_above_threshold": 0,
    "tunnels_unresponsive": 0,
    "tterrors_bytes": 65536,
    "certificate_notice_days": 30,
    "certificate_warning_days": 7,
    "certificate_critical_days": 1,
    "evicted_clients": 0,
    "generation_days": 400,
}
"""Every threshold with its default. A text is a Prometheus duration."""

_MOST = 1e15
"""No threshold is as large; NaN and infinity are not smaller."""

_DATABASE = "job, instance, exported_instance, dsn"
# With honor_labels the exporter's own label instance keeps its name.
_INSTANCE = "instance {{ or $labels.exported_instance $labels.instance }} (job {{ $labels.job }})"
_DSN = "database {{ $labels.dsn }} of " + _INSTANCE
_EXPORTER = "exporter {{ $labels.exporter }}"
_SEEN_BY = _EXPORTER + " as {{ $labels.client }} sees it (job {{ $labels.job }}, instance {{ $labels.instance }})"
_CERTIFICATE = "the {{ $labels.kind }} certificate of " + _EXPORTER + " (client {{ $labels.client }})"
_ENDS = "exporter:timesten_certificate_not_after_seconds:vector"
_LEFT = f"({_ENDS} - time())"

ONLY_26 = "seen in the documentation of TimesTen 26.1 alone"
NO_MEANING = "Oracle does not say in public what its values mean"


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording rule."""

    record: str
    expr: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Alert:
    """An alert. ``{name}`` in the expression is the threshold of that name.

    :ivar duration: how long the condition has to hold.
    :ivar unverified: why it is off by default; "" if it is on.
    """

    name: str
    expr: str
    duration: str
    severity: str
    summary: str
    description: str
    unverified: str = ""

    @property
    def of(self) -> str:
        """Return the alert's subject: a ``target`` with its labels, an ``exporter`` of the inventory, or "" for
        Prometheus itself.
        """
        if "exporter:" in self.expr:
            return "exporter"
        return "target" if "timesten_" in self.expr else ""


@dataclasses.dataclass(frozen=True)
class Subject:
    """One exporter as one client scrapes it. Times are seconds since the epoch. Unknown values are left out.

    :ivar timeout: seconds that a scrape may take.
    :ivar honors_labels: whether the exporter's own label ``instance`` wins over the target's.
    :ivar not_after: the end of each certificate by its kind (``ca``, ``server``, ``client``).
    :ivar due: when the next rotation is due.
    :ivar created: when the generation was made.
    :ivar evicted: number of clients that lost their access.
    """

    exporter: str
    client: str
    timeout: float = 10.0
    honors_labels: bool = False
    not_after: Mapping[str, float] = dataclasses.field(default_factory=dict)
    due: float | None = None
    created: float | None = None
    evicted: int | None = None


def _rate(metric: str, window: str = "5m") -> str:
    return f"sum by ({_DATABASE}) (rate({metric}[{window}]))"


def _executions() -> Iterator[Recording]:
    for kind in ("select", "insert", "delete", "merge", "create", "drop", "alter"):
        expr = _rate(f"timesten_stmt_execute_{kind}_total")
        yield Recording("dsn_kind:timesten_executions:rate5m", expr, {"kind": kind})


_HELD = f"""max by ({_DATABASE}) (timesten_log_file_latest)
- min by ({_DATABASE}) (timesten_replication_hold_log_file >= 0)""".replace("\n", " ")


RECORDINGS: dict[str, tuple[Recording, ...]] = {
    "transactions": (
        Recording("dsn:timesten_transactions:rate5m", _rate("timesten_txn_commit_total")),
        Recording("dsn:timesten_executions:rate5m", _rate("timesten_stmt_execute_total")),
        *_executions(),
        Recording(
            "dsn:timesten_deadlocks_per_transaction:ratio_rate5m",
            f"{_rate('timesten_deadlock_total')} / {_rate('timesten_txn_commit_total')}",
        ),
        Recording(
            "dsn:timesten_lock_timeouts_per_transaction:ratio_rate5m",
            f"{_rate('timesten_lock_timeout_total')} / {_rate('timesten_txn_commit_total')}",
        ),
    ),
    "space": (
        Recording("dsn:timesten_perm_in_use:ratio", "timesten_perm_in_use_bytes / timesten_perm_allocated_bytes"),
        Recording("dsn:timesten_temp_in_use:ratio", "timesten_temp_in_use_bytes / timesten_temp_allocated_bytes"),
        Recording(
            "dsn:timesten_checkpoint_directory_available:ratio",
            "timesten_checkpoint_avail_bytes / timesten_checkpoint_size_bytes",
        ),
        Recording(
            "dsn:timesten_log_directory_available:ratio", "timesten_logdir_avail_bytes / timesten_logdir_size_bytes"
        ),
    ),
    "log": (
        Recording("dsn:timesten_log_files_held:difference", _HELD),
        Recording("dsn:timesten_log_buffer_waits:rate5m", _rate("timesten_log_buffer_wait_total")),
    ),
    "replication": (
        Recording(
            "dsn:timesten_replication_send_lag:max", f"max by ({_DATABASE}) (timesten_repl_transmitter_send_lag)"
        ),
        Recording("dsn:timesten_replication_transactions:rate5m", _rate("timesten_replication_transaction_total")),
    ),
}
"""Recording rules by group. Alerts and dashboards both use them."""


def _fills_up(kind: str, watched: str) -> str:
    return (
        f"predict_linear({watched}[{{space_predict_window}}], {{space_predict_hours}} * 3600) > timesten_{kind}_allocated_bytes "
        f"and dsn:timesten_{kind}_in_use:ratio > {{space_predict_from_share}}"
    )


def _certificate(name: str, most: str, least: str, severity: str) -> Alert:
    least = "0" if not least else f"{{{least}}} * 86400"
    return Alert(
        name,
        f"{_LEFT} < {{{most}}} * 86400 and {_LEFT} >= {least}",
        "0m",
        severity,
        "The {{ $labels.kind }} certificate of " + _EXPORTER + " ends in {{ $value | humanizeDuration }}",
        "In {{ $value | humanizeDuration }} "
        + _CERTIFICATE
        + " ends. From then on no scrape succeeds. Run timesten.monitoring.site.",
    )


ALERTS: dict[str, tuple[Alert, ...]] = {
    "exporter": (
        Alert(
            "TimesTenExporterMissing",
            "exporter:up:absent == 1",
            "5m",
            "critical",
            "Prometheus {{ $labels.client }} does not scrape " + _EXPORTER,
            "There is no up series at all of "
            + _SEEN_BY
            + ". Prometheus has no job for it, or could not read the job's files.",
        ),
        Alert(
            "TimesTenExporterDown",
            "exporter:up:min == 0",
            "5m",
            "critical",
            _EXPORTER.capitalize() + " cannot be scraped by {{ $labels.client }}",
            "Every scrape fails of " + _SEEN_BY + ".",
        ),
        Alert(
            "TimesTenExporterSlow",
            "exporter:timesten_metric_collection_seconds:timeout_ratio > {slow_share_of_timeout}",
            "15m",
            "warning",
            _EXPORTER.capitalize() + " needs {{ $value | humanizePercentage }} of the scrape timeout",
            "Collecting takes {{ $value | humanizePercentage }} of the time that a scrape may take, at "
            + _EXPORTER
            + " (client {{ $labels.client }}).",
        ),
        Alert(
            "TimesTenCollectionsTimedOut",
            "timesten_collections_timedout > {collections_timedout}",
            "5m",
            "warning",
            "The exporter got no metrics from {{ $value }} databases of " + _INSTANCE,
            "{{ $value }} database collections timed out at "
            + _INSTANCE
            + "; {{ with $labels.dsn }}database {{ . }}; {{ end }}their series have gaps.",
        ),
        Alert(
            "TimesTenExporterRateLimited",
            "timesten_rate_limited > 0",
            "5m",
            "warning",
            "The exporter of " + _INSTANCE + " refuses scrapes",
            "More GETs a minute reach the exporter of " + _INSTANCE + " than its limit accepts.",
            NO_MEANING,
        ),
        Alert(
            "TimesTenInstanceStatus",
            "timesten_instance_status != {instance_status}",
            "5m",
            "critical",
            "The status of " + _INSTANCE + " is {{ $value }}",
            "timesten_instance_status of "
            + _INSTANCE
            + " is {{ $value }}, not the value that the thresholds name as well.",
            NO_MEANING,
        ),
    ),
    "database": (
        Alert(
            "TimesTenRecoveryRequired",
            "timesten_required_recovery > 0",
            "0m",
            "warning",
            "The last start of " + _DSN + " needed recovery",
            "The " + _DSN + " was not shut down cleanly before its last start: the log was replayed.",
        ),
        Alert(
            "TimesTenDatabaseNotLoaded",
            "timesten_database_loaded == 0",
            "5m",
            "critical",
            "{{ with $labels.dsn }}Database {{ . }} is{{ else }}No database is{{ end }} loaded at " + _INSTANCE,
            "timesten_database_loaded is 0: {{ with $labels.dsn }}database {{ . }}{{ else }}no database{{ end }} is not in memory at "
            + _INSTANCE
            + ".",
        ),
        Alert(
            "TimesTenDeadlocks",
            "dsn:timesten_deadlocks_per_transaction:ratio_rate5m > {deadlocks_per_transaction}",
            "10m",
            "warning",
            "Deadlocks in " + _DSN,
            "{{ $value | humanizePercentage }} deadlocks per transaction in " + _DSN + ".",
        ),
        Alert(
            "TimesTenLockTimeouts",
            "dsn:timesten_lock_timeouts_per_transaction:ratio_rate5m > {lock_timeouts_per_transaction}",
            "10m",
            "warning",
            "Lock time-outs in " + _DSN,
            "{{ $value | humanizePercentage }} lock time-outs per transaction in " + _DSN + ".",
        ),
        Alert(
            "TimesTenConnectionsAboveThreshold",
            f"sum by ({_DATABASE}) (increase(timesten_connection_established_threshold_exceeded_total[15m])) > {{connections_above_threshold}}",
            "0m",
            "warning",
            "Connections of " + _DSN + " went above its warning threshold",
            "The number of connections of " + _DSN + " crossed the threshold of the database in the last 15 minutes.",
        ),
        Alert(
            "TimesTenErrorsLogged",
            "sum by (job, instance, exported_instance) (increase(timesten_tterrors_file_bytes[15m])) > {tterrors_bytes}",
            "0m",
            "warning",
            "tterrors.log of " + _INSTANCE + " grows fast",
            "The daemon's error log of " + _INSTANCE + " grew by {{ $value | humanize1024 }}B in 15 minutes.",
        ),
    ),
    "space": (
        Alert(
            "TimesTenPermanentSpaceHigh",
            "dsn:timesten_perm_in_use:ratio > {permanent_space_share}",
            "10m",
            "critical",
            "Permanent space of " + _DSN + " is {{ $value | humanizePercentage }} full",
            "{{ $value | humanizePercentage }} of the permanent space (PermSize) of "
            + _DSN
            + " is in use. Once it is full, inserts fail.",
        ),
        Alert(
            "TimesTenPermanentSpaceFillsUp",
            _fills_up("perm", "timesten_perm_in_use_high_water_bytes"),
            "30m",
            "warning",
            "Permanent space of " + _DSN + " will be full soon",
            "If the high water of "
            + _DSN
            + " keeps growing as in the last {space_predict_window}, permanent space is full within {space_predict_hours} hours.",
        ),
        Alert(
            "TimesTenTemporarySpaceHigh",
            "dsn:timesten_temp_in_use:ratio > {temporary_space_share}",
            "5m",
            "warning",
            "Temporary space of " + _DSN + " is {{ $value | humanizePercentage }} full",
            "{{ $value | humanizePercentage }} of the temporary space (TempSize) of "
            + _DSN
            + " is in use. Once it is full, sorts, locks and cursors fail.",
        ),
        Alert(
            "TimesTenTemporarySpaceFillsUp",
            _fills_up("temp", "timesten_temp_in_use_bytes"),
            "30m",
            "warning",
            "Temporary space of " + _DSN + " will be full soon",
            "If the use of "
            + _DSN
            + " keeps growing as in the last {space_predict_window}, temporary space is full within {space_predict_hours} hours.",
        ),
        Alert(
            "TimesTenCheckpointDirectoryFull",
            "dsn:timesten_checkpoint_directory_available:ratio < {checkpoint_directory_available_share}",
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} left where " + _DSN + " keeps its checkpoints",
            "The file system of the checkpoint files of " + _DSN + " has {{ $value | humanizePercentage }} left.",
        ),
        Alert(
            "TimesTenLogDirectoryFull",
            "dsn:timesten_log_directory_available:ratio < {log_directory_available_share}",
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} left where " + _DSN + " keeps its log",
            "The file system of the transaction log of "
            + _DSN
            + " has {{ $value | humanizePercentage }} left. Once it is full, every commit fails.",
        ),
    ),
    "log": (
        Alert(
            "TimesTenLogHeld",
            "dsn:timesten_log_files_held:difference > {log_files_held}",
            "15m",
            "warning",
            "Replication holds {{ $value }} log files of " + _DSN,
            "{{ $value }} log files of " + _DSN + " cannot be purged, because replication has not sent them yet.",
        ),
        Alert(
            "TimesTenLogBufferWaits",
            "dsn:timesten_log_buffer_waits:rate5m > {log_buffer_waits_per_second}",
            "10m",
            "warning",
            "Transactions of " + _DSN + " wait for the log buffer",
            "{{ $value | humanize }} times a second a transaction of " + _DSN + " waits for space in the log buffer.",
        ),
        Alert(
            "TimesTenCheckpointsStopped",
            f"sum by ({_DATABASE}) (increase(timesten_checkpoint_total[{{checkpoint_window}}])) == 0 "
            f"and sum by ({_DATABASE}) (increase(timesten_txn_commit_total[{{checkpoint_window}}])) > 0",
            "15m",
            "warning",
            "No checkpoint of " + _DSN + " for {checkpoint_window}",
            "Transactions commit in "
            + _DSN
            + ", but no checkpoint was made for {checkpoint_window}. The log grows, and so does the time of a recovery.",
        ),
    ),
    "replication": (
        Alert(
            "TimesTenReplicationPeerLost",
            "timesten_replication_peer_connection == 0",
            "5m",
            "critical",
            "Replication of " + _DSN + " has lost its peer",
            "timesten_replication_peer_connection is 0 at " + _DSN + "{{ with $labels.peer }}, peer {{ . }}{{ end }}.",
        ),
        Alert(
            "TimesTenReplicationConflicts",
            f"sum by ({_DATABASE}) (increase(timesten_replication_conflict_total[15m])) > {{replication_conflicts}}",
            "0m",
            "warning",
            "Replication conflicts in " + _DSN,
            "{{ $value | humanize }} replication conflicts in " + _DSN + " in 15 minutes.",
        ),
        Alert(
            "TimesTenReplicationErrors",
            f"sum by ({_DATABASE}) (increase(timesten_repl_receiver_permanent_error_total[15m])) > {{replication_errors}}",
            "0m",
            "critical",
            "Permanent replication errors in " + _DSN,
            "{{ $value | humanize }} transactions could not be applied in "
            + _DSN
            + " in 15 minutes: the databases differ now.",
            ONLY_26,
        ),
        Alert(
            "TimesTenReplicationLag",
            "dsn:timesten_replication_send_lag:max > {replication_send_lag}",
            "10m",
            "warning",
            "Replication of " + _DSN + " lags behind",
            "The send lag of " + _DSN + " is {{ $value | humanize }}.",
            NO_MEANING,
        ),
    ),
    "cache": (
        Alert(
            "TimesTenAwtRetries",
            _rate("timesten_cg_awt_oracle_retry_total") + " > {awt_retries_per_second}",
            "10m",
            "warning",
            "AWT of " + _DSN + " retries at Oracle Database",
            "{{ $value | humanize }} times a second an asynchronous write of " + _DSN + " is tried again.",
            ONLY_26,
        ),
        Alert(
            "TimesTenAwtRollbacks",
            _rate("timesten_cg_awt_oracle_rollback_total") + " > {awt_rollbacks_per_second}",
            "10m",
            "warning",
            "AWT of " + _DSN + " is rolled back at Oracle Database",
            "{{ $value | humanize }} times a second an asynchronous write of " + _DSN + " is rolled back.",
            ONLY_26,
        ),
        Alert(
            "TimesTenAwtMasterRestarts",
            f"sum by ({_DATABASE}) (increase(timesten_cg_parawt_auto_tx_master_restarts[30m])) > {{awt_master_restarts}}",
            "0m",
            "warning",
            "Parallel AWT of " + _DSN + " restarts again and again",
            "The master of parallel AWT of " + _DSN + " restarted {{ $value | humanize }} times in 30 minutes.",
        ),
    ),
    "scaleout": (
        Alert(
            "TimesTenScaleoutNotLoaded",
            "timesten_grid_database_loaded < timesten_grid_database_instances",
            "10m",
            "critical",
            "Not every element of " + _DSN + " is loaded",
            "{{ $value }} elements are loaded, fewer than the instances of " + _DSN + ".",
        ),
        Alert(
            "TimesTenScaleoutReplicaSetLost",
            "timesten_grid_database_replica_sets < max_over_time(timesten_grid_database_replica_sets[6h])",
            "5m",
            "critical",
            "A replica set of " + _DSN + " is gone",
            "The " + _DSN + " has {{ $value }} replica sets, fewer than in the last 6 hours.",
        ),
        Alert(
            "TimesTenScaleoutTunnelUnresponsive",
            f"sum by ({_DATABASE}) (increase(timesten_tunnel_unresponsive_total[15m])) > {{tunnels_unresponsive}}",
            "0m",
            "warning",
            "Tunnels of " + _INSTANCE + " do not respond",
            "{{ $value | humanize }} times in 15 minutes another instance did not respond to "
            + _INSTANCE
            + "{{ with $labels.dsn }}, database {{ . }}{{ end }}.",
        ),
    ),
    "certificates": (
        _certificate("TimesTenCertificateEndsSoon", "certificate_notice_days", "certificate_warning_days", "info"),
        _certificate(
            "TimesTenCertificateEndsThisWeek", "certificate_warning_days", "certificate_critical_days", "warning"
        ),
        _certificate("TimesTenCertificateEndsToday", "certificate_critical_days", "", "critical"),
        Alert(
            "TimesTenCertificateHasEnded",
            f"time() - {_ENDS} > 0",
            "0m",
            "critical",
            "The {{ $labels.kind }} certificate of " + _EXPORTER + " has ended",
            "For {{ $value | humanizeDuration }} "
            + _CERTIFICATE
            + " has not been valid. No scrape that needs it succeeds.",
        ),
        Alert(
            "TimesTenRotationDue",
            "time() > exporter:timesten_rotation_due_seconds:vector",
            "1d",
            "info",
            "The certificates of " + _EXPORTER + " are due for rotation",
            "The rotation of "
            + _EXPORTER
            + " has been due for a day or more (client {{ $labels.client }}). Run timesten.monitoring.site.",
        ),
        Alert(
            "TimesTenGenerationOld",
            "time() - exporter:timesten_generation_created_seconds:vector > {generation_days} * 86400",
            "0m",
            "info",
            "The certificates of " + _EXPORTER + " are {{ $value | humanizeDuration }} old",
            "The generation of "
            + _EXPORTER
            + " (client {{ $labels.client }}) was made {{ $value | humanizeDuration }} ago.",
        ),
        Alert(
            "TimesTenClientsEvicted",
            "exporter:timesten_evicted_clients:vector > {evicted_clients}",
            "0m",
            "info",
            "{{ $value }} clients are evicted from " + _EXPORTER,
            "{{ $value }} clients that the inventory may still name get no pair of "
            + _EXPORTER
            + ", because they were evicted.",
        ),
    ),
    "prometheus": (
        Alert(
            "TimesTenPrometheusReloadFails",
            "prometheus_config_last_reload_successful == 0",
            "5m",
            "critical",
            "Prometheus {{ $labels.instance }} could not read its configuration",
            "The last reload of Prometheus {{ $labels.instance }} failed: deliveries, jobs and rules that were changed since are not in effect.",
        ),
    ),
}
"""Alerts by group."""


# --- the variables ----------------------------------------------------------------------------------------------------


def all_alerts() -> dict[str, Alert]:
    """Return every alert by name, including those that are off."""
    return {alert.name: alert for alerts in ALERTS.values() for alert in alerts}


def check(thresholds: Mapping[str, Any], switches: Mapping[str, Any]) -> None:
    """Check the role's variables.

    :param thresholds: some keys of :data:`THRESHOLDS` with values.
    :param switches: names of alerts, with true or false.
    :raises TimesTenError: naming the wrong key or value.
    """
    for name, value in thresholds.items():
        _check_known(name, THRESHOLDS, "prometheus_host_alert_thresholds")
        where = f"prometheus_host_alert_thresholds: {name}"
        if isinstance(THRESHOLDS[name], str):
            if not isinstance(value, str) or not jobs.parse_duration(value, where):
                raise TimesTenError(f"{where}: {value!r} is not a time such as {THRESHOLDS[name]!r}")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _MOST:
            raise TimesTenError(f"{where}: {value!r} is not a number")
        elif "share" in name and not 0 <= value <= 1:
            raise TimesTenError(f"{where}: {value!r} is not a share from 0 to 1; 90 % is 0.9")
    for name, value in switches.items():
        _check_known(name, all_alerts(), "prometheus_host_alerts")
        if not isinstance(value, bool):
            raise TimesTenError(f"prometheus_host_alerts: {name}: {value!r} is neither true nor false")


def _check_known(name: Any, known: Mapping[str, Any], option: str) -> None:
    if name not in known:
        close = words.nearest(str(name), known)
        raise TimesTenError(f"{option}: there is no {name!r}{f'; {close} is one' if close else ''}")


# --- text ---------------------------------------------------------------------------------------------------------------


def common(thresholds: Mapping[str, Any], switches: Mapping[str, Any]) -> str:
    """Return the groups that are the same for every exporter, as items of the list ``groups``."""
    values = {name: _number(value) for name, value in {**THRESHOLDS, **thresholds}.items()}
    parts = []
    for group in dict.fromkeys((*RECORDINGS, *ALERTS)):
        rules = [_recording(rule) for rule in RECORDINGS.get(group, ())]
        rules += [
            _alert(alert, values) for alert in ALERTS.get(group, ()) if switches.get(alert.name, not alert.unverified)
        ]
        parts.append(_group(f"timesten {group}", rules))
    return "".join(parts)


def subject(client: Client, answer: ExporterAnswer, interval: float | None) -> Subject:
    """Return what is known about an exporter after its host has answered. In check mode that may be little.

    :param interval: seconds between two scrapes, if the client's own variables do not set them.
    """
    options = client.options
    timeout, every = (
        jobs.parse_duration(options[key], key) if options.get(key) else None
        for key in ("scrape_timeout", "scrape_interval")
    )
    leaf = answer.server_certificate
    ends = {
        "ca": _seconds(answer.ca_not_after),
        "server": None if leaf is None else _seconds(leaf.not_after),
        "client": _seconds(answer.pairs[client.name].not_after) if client.name in answer.pairs else None,
    }
    return Subject(
        names.exporter_of(answer.name),
        client.name,
        # Without a setting, Prometheus uses 10 s, but never more than the interval.
        timeout=timeout or min(10.0, every or interval or 10.0),
        honors_labels=bool(options.get("honor_labels")),
        not_after={} if answer.insecure else {kind: end for kind, end in ends.items() if end is not None},
        due=None if answer.insecure else _seconds(answer.due_at),
        created=_seconds(_created(answer.generation)),
        evicted=len(answer.evicted),
    )


def _seconds(text: str | None) -> float | None:
    if text is None or text == LATER:
        return None
    return pem.parse_timestamp(text).timestamp()


def _created(generation: str | None) -> str | None:
    """Return the time of a generation, which is part of its name: 20261124T104900Z-1a2b3c4d."""
    if generation is None or generation == LATER:
        return None
    text = generation
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:15]}Z"


def of_exporter(subject: Subject) -> str:
    """Return the group of one exporter, as an item of the list ``groups``."""
    target = f'job="{JOB}",instance="{INSTANCE}"'
    # With honor_labels, the label instance of these series comes from TimesTen.
    own = f'job="{JOB}"' if subject.honors_labels else target
    labels = {"exporter": subject.exporter, "client": subject.client}
    rules = [
        Recording("exporter:up:absent", f"absent(up{{{target}}})", labels),
        Recording("exporter:up:min", f"min by (job, instance) (up{{{target}}})", labels),
        Recording(
            "exporter:timesten_metric_collection_seconds:timeout_ratio",
            f"max by (job) (timesten_metric_collection_seconds{{{own}}}) / {_number(subject.timeout)}",
            labels,
        ),
        *(
            Recording(_ENDS, f"vector({_number(end)})", {**labels, "kind": kind})
            for kind, end in sorted(subject.not_after.items())
        ),
        *(
            Recording(f"exporter:timesten_{name}:vector", f"vector({_number(value)})", labels)
            for name, value in (
                ("rotation_due_seconds", subject.due),
                ("generation_created_seconds", subject.created),
                ("evicted_clients", subject.evicted),
            )
            if value is not None
        ),
    ]
    return _group(f"timesten exporter {subject.exporter}", [_recording(rule) for rule in rules])


def _number(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Insert the thresholds. ``{{ }}`` and all other braces belong to Prometheus."""
    return re.sub(r"(?<!\{)\{(\w+)\}(?!\})", lambda found: values.get(found.group(1), found.group()), text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _group(name: str, rules: Sequence[str]) -> str:
    if not rules:
        return ""
    return f"  - name: {name}\n    rules:\n" + "".join(rules)


def _mapping(key: str, values: Mapping[str, str]) -> str:
    if not values:
        return ""
    return f"        {key}:\n" + "".join(f"          {name}: {_quoted(value)}\n" for name, value in values.items())


def _recording(rule: Recording) -> str:
    return f"      - record: {rule.record}\n        expr: {_quoted(rule.expr)}\n" + _mapping("labels", rule.labels)


def _alert(alert: Alert, values: Mapping[str, str]) -> str:
    annotations = {
        "summary": _filled(alert.summary, values),
        "description": _filled(alert.description, values),
        "runbook_url": f"{RUNBOOKS}{alert.name}.md",
        **({"unverified": alert.unverified} if alert.unverified else {}),
    }
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: {_quoted(scoped(_filled(alert.expr, values), alert.of))}\n"
        f"        for: {alert.duration}\n"
        + _mapping("labels", {"severity": alert.severity})
        + _mapping("annotations", annotations)
    )
