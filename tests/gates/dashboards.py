# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Grafana dashboards: what their panels ask and say. ``dashboards.py`` writes the JSON files that the collection ships.

Metrics are named as Oracle's monitoring guide names them, and every query stands in one of the tables below.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as prometheus_models

if not __package__:
    # Run as a program: its directory is no package's then.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from gates.environments import ROOT

FILES = ROOT / "roles" / "prometheus_host" / "files" / "dashboards"
RUNBOOKS = "https://github.com/timesten-monitoring/timesten.monitoring/blob/main/docs/alerts/"
TAG = "timesten"
ONLY_26 = " Seen in the documentation of TimesTen 26.1 alone; with 22.1 it may be empty."
NO_MEANING = " Oracle does not say in public what its values mean."
RULES = " From the rules of this collection (docs/alerts)."

TARGET = 'job=~"$job",instance=~"$instance"'
DATABASE = TARGET + ',dsn=~"$dsn"'
PAIR = 'exporter=~"$exporter",client=~"$client"'
OF_DATABASE = "{{dsn}} {{instance}}"


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel.

    :ivar queries: expression and legend of each.
    :ivar steps: thresholds: from which value on which colour; the first colour holds below the first value.
    :ivar alerts: whose runbooks it links to.
    :ivar values: words for values.
    """

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "lines"
    width: int = 12
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    alerts: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Dashboard:
    """One dashboard: rows of panels."""

    name: str
    title: str
    description: str
    variables: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    @property
    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for _title, panels in self.rows for panel in panels]


JOB = ("job", "Job", "label_values(timesten_metric_collection_seconds, job)")
INSTANCE = ("instance", "Instance", 'label_values(timesten_metric_collection_seconds{job=~"$job"}, instance)')
DSN = ("dsn", "Database", f"label_values(timesten_database_loaded{{{TARGET}}}, dsn)")
CERTIFICATES = "exporter:timesten_certificate_not_after_seconds:vector"
EXPORTER = ("exporter", "Exporter", f"label_values({CERTIFICATES}, exporter)")
CLIENT = ("client", "Prometheus", f"label_values({CERTIFICATES}, client)")

FULL = ((None, "green"), (0.8, "orange"), (0.9, "red"))
FREE = ((None, "red"), (0.1, "orange"), (0.2, "green"))
ANY_BAD = ((None, "green"), (1, "red"))
ANY_GOOD = ((None, "red"), (1, "green"))
ENDS = ((None, "red"), (86400, "orange"), (30 * 86400, "green"))
UP = (("0", "down"), ("1", "up"))


def rate(metric: str, by: str = "job, instance, dsn", where: str = DATABASE) -> str:
    """Per second, summed over what the label set of a metric may have beside the database."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def each(form: str, names: str) -> tuple[tuple[str, str], ...]:
    """One query for each of several counters, with the part that differs in the legend."""
    return tuple((rate(form.format(name)), f"{name} {OF_DATABASE}") for name in names.split())


def share(part: str, whole: str) -> str:
    """A share of one gauge in another."""
    return f"timesten_{part}_bytes{{{DATABASE}}} / timesten_{whole}_bytes{{{DATABASE}}}"


def now(*metrics: str) -> tuple[tuple[str, str], ...]:
    """One query for each of several gauges."""
    return tuple((f"timesten_{metric}{{{DATABASE}}}", f"{metric} {OF_DATABASE}") for metric in metrics)


FLEET = Dashboard(
    "fleet",
    "TimesTen: fleet",
    "Which exporters are scraped, what ends, and where space is short: the worst first.",
    (JOB, INSTANCE, DSN),
    (
        (
            "Now",
            (
                Panel(
                    "Exporters",
                    "Targets that Prometheus scrapes.",
                    "short",
                    ((f"count(up{{{TARGET}}})", ""),),
                    "number",
                    4,
                ),
                Panel(
                    "Down",
                    "Targets whose last scrape failed.",
                    "short",
                    ((f"count(up{{{TARGET}}} == 0) or vector(0)", ""),),
                    "number",
                    4,
                    ANY_BAD,
                    ("TimesTenExporterDown", "TimesTenExporterMissing"),
                ),
                Panel(
                    "Databases loaded",
                    "Databases that are in memory, over all instances.",
                    "short",
                    ((f"sum(timesten_database_loaded{{{DATABASE}}})", ""),),
                    "number",
                    4,
                    ANY_GOOD,
                    ("TimesTenDatabaseNotLoaded",),
                ),
                Panel(
                    "First certificate ends in",
                    "Time until the first certificate of any exporter ends. No scrape succeeds after that." + RULES,
                    "s",
                    ((f"min({CERTIFICATES} - time())", ""),),
                    "number",
                    6,
                    ENDS,
                    ("TimesTenCertificateHasEnded",),
                ),
                Panel(
                    "Recovery at last start",
                    "Databases whose last start needed recovery: they were not shut down cleanly.",
                    "short",
                    ((f"count(timesten_required_recovery{{{DATABASE}}} > 0) or vector(0)", ""),),
                    "number",
                    6,
                    ANY_BAD,
                    ("TimesTenRecoveryRequired",),
                ),
            ),
        ),
        (
            "Who is scraped",
            (
                Panel(
                    "Targets",
                    "Every target with the result of its last scrape, those that are down first.",
                    "short",
                    ((f"sort(up{{{TARGET}}})", ""),),
                    "table",
                    12,
                    ANY_GOOD,
                    ("TimesTenExporterDown",),
                    UP,
                ),
                Panel(
                    "Targets that are up",
                    "By job. A step down that comes back is a restart; during a rotation none should be seen.",
                    "short",
                    ((f"sum by (job) (up{{{TARGET}}})", "{{job}}"),),
                ),
            ),
        ),
        (
            "Space, worst first",
            (
                Panel(
                    "Permanent space in use",
                    "Share of PermSize in use, the ten fullest databases. Inserts fail once it is full.",
                    "percentunit",
                    ((f"topk(10, {share('perm_in_use', 'perm_allocated')})", ""),),
                    "table",
                    12,
                    FULL,
                    ("TimesTenPermanentSpaceHigh",),
                ),
                Panel(
                    "Temporary space in use",
                    "Share of TempSize in use, the ten fullest databases. Sorts, locks and cursors fail once it is full.",
                    "percentunit",
                    ((f"topk(10, {share('temp_in_use', 'temp_allocated')})", ""),),
                    "table",
                    12,
                    FULL,
                    ("TimesTenTemporarySpaceHigh",),
                ),
                Panel(
                    "Log directory, share that is left",
                    "The file system of the transaction log, the ten fullest. Commits fail once it is full.",
                    "percentunit",
                    ((f"bottomk(10, {share('logdir_avail', 'logdir_size')})", ""),),
                    "table",
                    12,
                    FREE,
                    ("TimesTenLogDirectoryFull",),
                ),
                Panel(
                    "Checkpoint directory, share that is left",
                    "The file system of the checkpoint files, the ten fullest.",
                    "percentunit",
                    ((f"bottomk(10, {share('checkpoint_avail', 'checkpoint_size')})", ""),),
                    "table",
                    12,
                    FREE,
                    ("TimesTenCheckpointDirectoryFull",),
                ),
            ),
        ),
        (
            "The exporters themselves",
            (
                Panel(
                    "Time to collect, slowest first",
                    "What the ten slowest exporters need to collect their metrics. It has to stay below scrape_timeout.",
                    "s",
                    (
                        (
                            f"topk(10, max by (job, instance) (timesten_metric_collection_seconds{{{TARGET}}}))",
                            "{{instance}}",
                        ),
                    ),
                    steps=((None, "green"), (5, "orange"), (10, "red")),
                    alerts=("TimesTenExporterSlow",),
                ),
                Panel(
                    "Collections that timed out, rate limit",
                    "Databases that the exporter got no metrics of in time, and its own word that it refuses scrapes. The values of"
                    " timesten_rate_limited are not explained in public.",
                    "short",
                    (
                        (
                            f"sum by (job, instance) (timesten_collections_timedout{{{TARGET}}})",
                            "timed out {{instance}}",
                        ),
                        (f"max by (job, instance) (timesten_rate_limited{{{TARGET}}})", "rate limited {{instance}}"),
                    ),
                    steps=ANY_BAD,
                    alerts=("TimesTenCollectionsTimedOut", "TimesTenExporterRateLimited"),
                ),
            ),
        ),
    ),
)

ONE = Dashboard(
    "instance",
    "TimesTen: instance",
    "One TimesTen instance and its databases: transactions, statements, locks, log, checkpoints, space.",
    (JOB, INSTANCE, DSN),
    (
        (
            "State",
            (
                Panel(
                    "Exporter",
                    "Result of the last scrape.",
                    "short",
                    ((f"min(up{{{TARGET}}})", ""),),
                    "number",
                    4,
                    ANY_GOOD,
                    ("TimesTenExporterDown",),
                    UP,
                ),
                Panel(
                    "Databases",
                    "Databases of the instance, and those that are loaded.",
                    "short",
                    (
                        (f"sum(timesten_databases{{{TARGET}}})", "databases"),
                        (f"sum(timesten_database_loaded{{{DATABASE}}})", "loaded"),
                    ),
                    "number",
                    5,
                ),
                Panel(
                    "Instance status",
                    "As TimesTen reports it." + NO_MEANING,
                    "short",
                    ((f"max(timesten_instance_status{{{TARGET}}})", ""),),
                    "number",
                    5,
                    alerts=("TimesTenInstanceStatus",),
                ),
                Panel(
                    "Connections",
                    "Connections that are established now.",
                    "short",
                    ((f"sum(timesten_connection_established{{{DATABASE}}})", ""),),
                    "number",
                    5,
                ),
                Panel(
                    "Time to collect",
                    "What the last collection took. It has to stay below scrape_timeout.",
                    "s",
                    ((f"max(timesten_metric_collection_seconds{{{TARGET}}})", ""),),
                    "number",
                    5,
                    ((None, "green"), (5, "orange"), (10, "red")),
                    ("TimesTenExporterSlow",),
                ),
            ),
        ),
        (
            "Work",
            (
                Panel(
                    "Transactions",
                    "Commits a second; durable ones wait for the disk.",
                    "ops",
                    (
                        (rate("timesten_txn_commit_total"), "all " + OF_DATABASE),
                        (rate("timesten_txn_commit_durable_total"), "durable " + OF_DATABASE),
                        (rate("timesten_txn_commit_nondurable_total"), "not durable " + OF_DATABASE),
                    ),
                ),
                Panel(
                    "Statements by kind",
                    "Executions a second.",
                    "ops",
                    each("timesten_stmt_execute_{}_total", "select insert delete merge create alter drop"),
                ),
                Panel(
                    "All statements",
                    "Executions a second, of any kind.",
                    "ops",
                    ((rate("timesten_stmt_execute_total"), OF_DATABASE),),
                ),
                Panel(
                    "Rows",
                    "Rows that are read, inserted and updated in tables, a second.",
                    "ops",
                    each("timesten_table_row_{}_total", "read insert update"),
                ),
                Panel(
                    "Scans, sorts and joins",
                    "Full table scans, sorts, nested loop and merge joins a second. Many full scans ask for an index.",
                    "ops",
                    each("timesten_{}_total", "table_scan sort nested_loop_join merge_join"),
                ),
                Panel(
                    "Cursors",
                    "Cursors that are opened and closed, a second.",
                    "ops",
                    each("timesten_cursor_{}_total", "open close"),
                ),
                Panel(
                    "Connections",
                    "Connections now: all, direct, client/server.",
                    "short",
                    now("connection_established", "connection_established_direct", "connection_cs_established"),
                    alerts=("TimesTenConnectionsAboveThreshold",),
                ),
                Panel(
                    "Connects and disconnects",
                    "A second. Many of both ask for a pool.",
                    "ops",
                    each("timesten_{}_total", "connect disconnect"),
                ),
            ),
        ),
        (
            "Locks",
            (
                Panel(
                    "Deadlocks and lock time-outs",
                    "A second; none is usual.",
                    "ops",
                    each("timesten_{}_total", "deadlock lock_timeout"),
                    steps=((None, "green"), (0.1, "orange"), (1, "red")),
                    alerts=("TimesTenDeadlocks", "TimesTenLockTimeouts"),
                ),
                Panel(
                    "Locks",
                    "Locks that were granted at once, and those taken for DML and table scans, a second.",
                    "ops",
                    each("timesten_lock_{}_total", "grant_immediate acquire_dml acquire_table_scan"),
                ),
            ),
        ),
        (
            "Log and checkpoints",
            (
                Panel(
                    "Log buffer",
                    "Inserts into the log buffer a second, and waits for space in it. Waits ask for a larger LogBufMB or faster disks.",
                    "ops",
                    each("timesten_log_buffer_{}_total", "insert wait"),
                    alerts=("TimesTenLogBufferWaits",),
                ),
                Panel(
                    "Log volume",
                    "Bytes a second that go to the log buffer.",
                    "Bps",
                    ((rate("timesten_log_bytes_to_log_buffer_total"), OF_DATABASE),),
                ),
                Panel(
                    "Log files",
                    "Files that are written, read and begun, and forced writes, a second.",
                    "ops",
                    (
                        *each("timesten_log_file_{}_total", "write read generated"),
                        *each("timesten_{}_total", "log_force"),
                    ),
                ),
                Panel(
                    "Log files on disk",
                    "Number of log files between the earliest and the latest. It grows while a checkpoint, replication or a backup holds the log.",
                    "short",
                    (
                        (
                            f"timesten_log_file_latest{{{DATABASE}}} - timesten_log_file_earliest{{{DATABASE}}} + 1",
                            OF_DATABASE,
                        ),
                    ),
                    alerts=("TimesTenLogHeld",),
                ),
                Panel(
                    "Checkpoints",
                    "Checkpoints in the last hour, all and fuzzy ones.",
                    "short",
                    (
                        (
                            f"sum by (job, instance, dsn) (increase(timesten_checkpoint_total{{{DATABASE}}}[1h]))",
                            "all " + OF_DATABASE,
                        ),
                        (
                            f"sum by (job, instance, dsn) (increase(timesten_checkpoint_fuzzy_total{{{DATABASE}}}[1h]))",
                            "fuzzy " + OF_DATABASE,
                        ),
                    ),
                    steps=((None, "red"), (1, "green")),
                    alerts=("TimesTenCheckpointsStopped",),
                ),
                Panel(
                    "Checkpoint volume",
                    "Bytes a second that checkpoints write.",
                    "Bps",
                    ((rate("timesten_checkpoint_byte_written_total"), OF_DATABASE),),
                ),
            ),
        ),
        (
            "Space",
            (
                Panel(
                    "Permanent space",
                    "Allocated, in use, and the highest use so far.",
                    "bytes",
                    now("perm_allocated_bytes", "perm_in_use_bytes", "perm_in_use_high_water_bytes"),
                    alerts=("TimesTenPermanentSpaceHigh", "TimesTenPermanentSpaceFillsUp"),
                ),
                Panel(
                    "Temporary space",
                    "Allocated and in use.",
                    "bytes",
                    now("temp_allocated_bytes", "temp_in_use_bytes"),
                    alerts=("TimesTenTemporarySpaceHigh", "TimesTenTemporarySpaceFillsUp"),
                ),
                Panel(
                    "Log directory",
                    "Size of its file system, and what is left.",
                    "bytes",
                    now("logdir_size_bytes", "logdir_avail_bytes"),
                    alerts=("TimesTenLogDirectoryFull",),
                ),
                Panel(
                    "Checkpoint directory",
                    "Size of its file system, and what is left.",
                    "bytes",
                    now("checkpoint_size_bytes", "checkpoint_avail_bytes"),
                    alerts=("TimesTenCheckpointDirectoryFull",),
                ),
                Panel(
                    "Message files of the daemon",
                    "Growth of tterrors.log and ttmesg.log in bytes a second. Growth of tterrors asks for a look into it.",
                    "Bps",
                    (
                        (rate("timesten_tterrors_file_bytes", "job, instance", TARGET), "tterrors {{instance}}"),
                        (rate("timesten_ttmesg_file_bytes", "job, instance", TARGET), "ttmesg {{instance}}"),
                    ),
                    width=24,
                    alerts=("TimesTenErrorsLogged",),
                ),
            ),
        ),
    ),
)

REPLICATION = Dashboard(
    "replication",
    "TimesTen: replication and cache",
    "Peers and lag of replication, what it holds of the log, the cache of an Oracle database, and the grid of Scaleout.",
    (JOB, INSTANCE, DSN),
    (
        (
            "Replication",
            (
                Panel(
                    "Connection to the peer",
                    "1 while replication has its peer.",
                    "short",
                    now("replication_peer_connection"),
                    steps=ANY_GOOD,
                    alerts=("TimesTenReplicationPeerLost",),
                    values=(("0", "lost"), ("1", "connected")),
                ),
                Panel(
                    "Send lag",
                    "How far the transmitter is behind. Its unit is not said in public.",
                    "short",
                    now("repl_transmitter_send_lag"),
                    steps=((None, "green"), (60, "red")),
                    alerts=("TimesTenReplicationLag",),
                ),
                Panel(
                    "Transactions",
                    "Replicated transactions a second.",
                    "ops",
                    ((rate("timesten_replication_transaction_total"), OF_DATABASE),),
                ),
                Panel(
                    "Conflicts and retries",
                    "Conflicts, and attempts to reach the peer again, a second.",
                    "ops",
                    each("timesten_replication_{}_total", "conflict peer_retry"),
                    steps=((None, "green"), (0.1, "red")),
                    alerts=("TimesTenReplicationConflicts",),
                ),
                Panel(
                    "Log files that replication holds",
                    "Latest log file less the one that replication still needs. They cannot be purged.",
                    "short",
                    (
                        (
                            f"max by (job, instance, dsn) (timesten_log_file_latest{{{DATABASE}}})"
                            f" - min by (job, instance, dsn) (timesten_replication_hold_log_file{{{DATABASE}}} >= 0)",
                            OF_DATABASE,
                        ),
                    ),
                    steps=((None, "green"), (10, "orange"), (20, "red")),
                    alerts=("TimesTenLogHeld",),
                ),
                Panel(
                    "Longest running",
                    "Longest time of the transmitter, as TimesTen reports it.",
                    "short",
                    now("repl_transmitter_longest_running", "repl_transmitter_longest_batch"),
                ),
                Panel(
                    "Receiver",
                    "Commits and permanent errors a second." + ONLY_26,
                    "ops",
                    each("timesten_repl_receiver_{}_total", "commit permanent_error"),
                    alerts=("TimesTenReplicationErrors",),
                ),
                Panel(
                    "Waits for the log",
                    "Waits of replication for the log, and sleeps, a second." + ONLY_26,
                    "ops",
                    each("timesten_repl_log_{}_total", "waits wait_sleeps"),
                ),
            ),
        ),
        (
            "Cache",
            (
                Panel(
                    "AWT: calls and commits",
                    "Calls to and commits in the Oracle database a second, of asynchronous writethrough." + ONLY_26,
                    "ops",
                    each("timesten_cg_awt_oracle_{}_total", "call commit"),
                ),
                Panel(
                    "AWT: retries and rollbacks",
                    "A second; none is usual." + ONLY_26,
                    "ops",
                    each("timesten_cg_awt_oracle_{}_total", "retry rollback"),
                    steps=((None, "green"), (0.1, "red")),
                    alerts=(
                        "TimesTenAwtRetries",
                        "TimesTenAwtRollbacks",
                    ),
                ),
                Panel(
                    "SWT: rows",
                    "Rows of synchronous writethrough a second.",
                    "ops",
                    each("timesten_cg_swt_row_{}_total", "insert update delete"),
                ),
                Panel(
                    "Parallel AWT",
                    "Batches and transactions that are sent, waits of the appliers, restarts of the master, a second.",
                    "ops",
                    each("timesten_cg_parawt_auto_tx_{}", "batches txns applier_waits master_restarts"),
                    alerts=("TimesTenAwtMasterRestarts",),
                ),
            ),
        ),
        (
            "Scaleout",
            (
                Panel(
                    "Databases of the grid",
                    "Instances that a database has, those that have loaded and opened it, and its replica sets.",
                    "short",
                    now(
                        "grid_database_instances",
                        "grid_database_loaded",
                        "grid_database_opened",
                        "grid_database_replica_sets",
                    ),
                    alerts=(
                        "TimesTenScaleoutNotLoaded",
                        "TimesTenScaleoutReplicaSetLost",
                    ),
                ),
                Panel(
                    "Channels",
                    "Bytes a second between the elements.",
                    "Bps",
                    each("timesten_channel_{}_bytes_total", "recv send"),
                ),
                Panel(
                    "Statements: local, remote, global",
                    "Executions a second. Remote and global ones cost messages.",
                    "ops",
                    each("timesten_{}_total", "local_executes global_executes remote_delete_executes"),
                ),
                Panel(
                    "Tunnels",
                    "Requests that timed out, and tunnels that did not respond, a second.",
                    "ops",
                    each("timesten_tunnel_{}_total", "timedout_requests unresponsive"),
                    steps=((None, "green"), (0.1, "red")),
                    alerts=("TimesTenScaleoutTunnelUnresponsive",),
                ),
            ),
        ),
    ),
)

SECURITY = Dashboard(
    "certificates",
    "TimesTen: certificates and rotations",
    "When certificates end, when rotations are due, when they happened, and whether they cost a scrape. Most of it comes from the rules of this collection.",
    (JOB, INSTANCE, EXPORTER, CLIENT),
    (
        (
            "Now",
            (
                Panel(
                    "First end",
                    "Time until the first certificate ends." + RULES,
                    "s",
                    ((f"min({CERTIFICATES}{{{PAIR}}} - time())", ""),),
                    "number",
                    6,
                    ENDS,
                    ("TimesTenCertificateHasEnded",),
                ),
                Panel(
                    "Ended",
                    "Certificates that have ended." + RULES,
                    "short",
                    ((f"count({CERTIFICATES}{{{PAIR}}} < time()) or vector(0)", ""),),
                    "number",
                    6,
                    ANY_BAD,
                    ("TimesTenCertificateHasEnded",),
                ),
                Panel(
                    "Rotations that are due",
                    "Exporters, each as a Prometheus knows it, whose rotation is due: run timesten.monitoring.site."
                    + RULES,
                    "short",
                    ((f"count(exporter:timesten_rotation_due_seconds:vector{{{PAIR}}} < time()) or vector(0)", ""),),
                    "number",
                    6,
                    ((None, "green"), (1, "orange")),
                    ("TimesTenRotationDue",),
                ),
                Panel(
                    "Evicted clients",
                    "Clients that lost their access, over all exporters." + RULES,
                    "short",
                    ((f"sum(max by (exporter) (exporter:timesten_evicted_clients:vector{{{PAIR}}}))", ""),),
                    "number",
                    6,
                    alerts=("TimesTenClientsEvicted",),
                ),
            ),
        ),
        (
            "Ends",
            (
                Panel(
                    "Certificates, the first to end first",
                    "Time until each certificate ends: of the CA, of the server, and of each client." + RULES,
                    "s",
                    ((f"sort({CERTIFICATES}{{{PAIR}}} - time())", ""),),
                    "table",
                    12,
                    ENDS,
                    ("TimesTenCertificateEndsSoon", "TimesTenCertificateEndsThisWeek", "TimesTenCertificateEndsToday"),
                ),
                Panel(
                    "Rotations, the first to be due first",
                    "Time until the next rotation of each exporter is due." + RULES,
                    "s",
                    ((f"sort(exporter:timesten_rotation_due_seconds:vector{{{PAIR}}} - time())", ""),),
                    "table",
                    12,
                    ((None, "orange"), (0, "green")),
                    ("TimesTenRotationDue",),
                ),
            ),
        ),
        (
            "Rotations",
            (
                Panel(
                    "Age of the generation",
                    "Time since the certificates in use were made: it falls to zero with every rotation." + RULES,
                    "s",
                    (
                        (
                            f"time() - exporter:timesten_generation_created_seconds:vector{{{PAIR}}}",
                            "{{exporter}} {{client}}",
                        ),
                    ),
                    alerts=("TimesTenGenerationOld",),
                ),
                Panel(
                    "Scrapes around rotations",
                    "Whether targets are up. A rotation costs no scrape, so nothing should fall to 0 where one is marked.",
                    "short",
                    ((f"min by (job, instance) (up{{{TARGET}}})", "{{instance}}"),),
                    steps=ANY_GOOD,
                    alerts=("TimesTenExporterDown",),
                    values=UP,
                ),
                Panel(
                    "Scrape duration",
                    "How long Prometheus needs for a scrape, handshake included.",
                    "s",
                    ((f"max by (job, instance) (scrape_duration_seconds{{{TARGET}}})", "{{instance}}"),),
                    width=24,
                    steps=((None, "green"), (5, "orange"), (10, "red")),
                    alerts=("TimesTenExporterSlow",),
                ),
            ),
        ),
    ),
)

ALL = (FLEET, ONE, REPLICATION, SECURITY)
ROTATED = "changes(exporter:timesten_generation_created_seconds:vector[2m]) > 0"
"""Marks a rotation."""


# --- Grafana's form ---------------------------------------------------------------------------------------------------

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _query(expr: str, legend: str, index: int, kind: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).ref_id("ABCDEFGH"[index]).datasource(SOURCE)
    if kind == "table":
        return query.instant().format(prometheus_models.PromQueryFormat.TABLE)
    if kind == "number":
        query = query.instant()
    return query.legend_format(legend) if legend else query


def _panel(panel: Panel) -> stat.Panel | table.Panel | timeseries.Panel:
    made: stat.Panel | table.Panel | timeseries.Panel
    if panel.kind == "number":
        made = stat.Panel().reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    elif panel.kind == "table":
        hidden = {"excludeByName": {"Time": True, "__name__": True}}
        made = table.Panel().with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=hidden))
        cell = dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})
        made = made.override_by_name("Value", [cell])
    else:
        legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
        made = timeseries.Panel().fill_opacity(8).legend(legend.display_mode(common.LegendDisplayMode.LIST))
    steps = [dashboard.Threshold(value=value, color=colour) for value, colour in panel.steps]
    thresholds = builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
    made = made.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit)
    made = made.thresholds(thresholds).span(panel.width).height(4 if panel.kind == "number" else 8)
    if panel.values:
        words = {value: dashboard.ValueMappingResult(text=text) for value, text in panel.values}
        made = made.mappings([dashboard.ValueMap(options=words)])
    if panel.alerts:
        links = [builders.DashboardLink(name).url(f"{RUNBOOKS}{name}.md").target_blank(True) for name in panel.alerts]
        made = made.links([link.type(dashboard.DashboardLinkType.LINK) for link in links])
    for index, (expr, legend) in enumerate(panel.queries):
        made = made.with_target(_query(expr, legend, index, panel.kind))
    return made


def _variables(variables: Sequence[tuple[str, str, str]]) -> list[builders.QueryVariable]:
    return [
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
        for name, label, query in variables
    ]


def render(board: Dashboard) -> str:
    """Return the JSON of a dashboard."""
    made = builders.Dashboard(board.title).uid(f"timesten-{board.name}").description(board.description).tags([TAG])
    made = made.time("now-6h", "now").refresh("1m").timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in _variables(board.variables):
        made = made.with_variable(variable)
    link = builders.DashboardLink("TimesTen").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    made = made.link(link.include_vars(True).keep_time(True).as_dropdown(True))
    mark = builders.AnnotationQuery().name("Rotations").datasource(SOURCE).enable(True).icon_color("purple")
    made = made.annotation(mark.expr(ROTATED))
    number = 0
    for title, panels in board.rows:
        number += 1
        made = made.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def main() -> None:
    """Write the files."""
    FILES.mkdir(parents=True, exist_ok=True)
    for board in ALL:
        (FILES / f"timesten-{board.name}.json").write_text(render(board), encoding="utf-8")


if __name__ == "__main__":
    main()
