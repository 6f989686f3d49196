# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves that a change works: Prometheus runs the configuration, its targets are up, and others are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import tempfile
import time
from typing import TYPE_CHECKING, Any, Collection, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs, redact, rule_file
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Target, advice, patiently
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    FILES,
    Definition,
    Expected,
    Row,
    StateEntry,
    new_row,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.decide import ClientPlan
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import Context

if TYPE_CHECKING:
    import ssl

    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

_DISCOVERY = 15.0
"""Seconds. Prometheus updates its targets every 5 s; this is three times that, for a busy machine."""
_HANDOVER = 6.0
"""Seconds. Before an update of the targets, relabelling has not seen the targets of a job that changed."""
_RESTART = 60.0
"""Seconds that a restart of Prometheus may take in the meantime."""
_AT_ONCE = 16
"""More simultaneous handshakes would slow each other down, because OpenSSL and Python share locks."""
_REFUSAL = 5.0
"""An exporter gets so many seconds to refuse. If the wait were shorter, a slow exporter would count as open."""
_JOB = re.compile(r"^- job_name: ", re.MULTILINE)
_LEFT_OUT = "<secret>"
"""Prometheus shows this text instead of a secret."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """The observed results.

    :ivar failures: by exporter, what does not work and what to do.
    """

    rows: list[Row]
    failures: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What has to be true of one exporter's target.

    :ivar labels: the target's labels before relabelling; None if the job was adopted and has labels of its owner.
    :ivar addresses: the allowed addresses of the target.
    :ivar since: the last scrape has to begin after this moment; 0.0 if nothing changed.
    """

    job: str
    labels: Mapping[str, str] | None
    addresses: tuple[str, ...]
    interval: float
    since: float

    def holds(self, target: Target) -> bool:
        """Tell whether the target is up and is the wanted one."""
        return target.health == "up" and target.scraped >= self.since and self.is_about(target)

    def is_about(self, target: Target) -> bool:
        """Tell whether the target is the wanted one, up or not."""
        if self.labels is None:
            return target.labels.get("__address__") in self.addresses
        return target.is_of(self.labels)


def claims(
    mentioned: Sequence[str], view: config.ConfigView, built: Mapping[str, jobs.Job], since: Mapping[str, float]
) -> dict[str, Claim]:
    """Return what has to be proven of each exporter with a job."""
    made = {}
    for name in mentioned:
        job = view.ours.get(name)
        if job is not None:
            labels = None if job.adopted or name not in built else jobs.discovered_labels(built[name].config)
            made[name] = Claim(job.job_name, labels, job.targets, job.interval, since.get(name, 0.0))
    return made


def prove(ctx: Context, plan: ClientPlan, moment: float, reloaded: bool) -> Proof:
    """Prove the exporters of the task after a change.

    :param moment: the time when the change was complete; a changed target has to be scraped after it.
    :param reloaded: whether Prometheus has read its configuration again.
    :raises TimesTenError: if Prometheus does not run the written configuration at all.
    """
    mentioned = [name for name in plan.accepted if name not in plan.edit.kept]
    # Of a run that was cut off nobody knows what Prometheus has read.
    since = {name: moment + _unseen(name, plan) for name in mentioned if plan.reasons[name] or plan.unfinished}
    proven = claims(mentioned, plan.view, plan.jobs, since)
    rows = {name: new_row(name) for name in plan.accepted}
    failures: dict[str, str] = {}
    if ctx.api is None:
        return Proof(list(rows.values()), failures)
    differs = {}
    if reloaded and ctx.settings.layout != "files":
        running = patiently(ctx.api.configuration, time.monotonic() + _RESTART)
        differs = running_differs(running, plan, proven)
    for name in sorted(set(mentioned) - set(proven)):
        differs[name] = f"{ctx.config.path} does not hold its job at a place where it is recognized as ours"
    for name, text in differs.items():
        rows[name]["up"], rows[name]["advice"] = False, text
        failures[name] = text
    rest = {name: claim for name, claim in proven.items() if name not in failures}
    failures.update(check_health(ctx, rest, plan.definitions, plan.expected, rows))
    return Proof(list(rows.values()), failures)


def _unseen(name: str, plan: ClientPlan) -> float:
    """Seconds for which the target that was there before may still be scraped, and looks the same from outside."""
    jobs_of = [view.ours[name] for view in (plan.present, plan.view) if name in view.ours]
    changed = (plan.unfinished or name in plan.edit.changed_names) and any(job.relabels for job in jobs_of)
    return _HANDOVER if changed or (name in plan.edit.added and any(job.adopted for job in jobs_of)) else 0.0


def prove_rules(ctx: Context, data: bytes | None) -> None:
    """Prove that Prometheus runs the groups of our rule file and none of their rules fails.

    :param data: the file's content; None if there is no file.
    :raises TimesTenError: naming what is missing or fails.
    """
    if ctx.api is None or data is None or not rule_file.is_ours(data):
        return
    running = [
        group
        for group in ctx.api.rule_groups()
        if os.path.realpath(ctx.paths.outside(str(group.get("file"))) or "/") == ctx.rules_file.real
    ]
    fault = rule_file.unhealthy(running, rule_file.group_names(data))
    if fault is not None:
        raise TimesTenError(
            f"{ctx.rules_file.path}: Prometheus has not taken the rules as they were written: {fault}. Look at "
            f"{ctx.api.url}/rules, and reload it"
        )


# --- what runs --------------------------------------------------------------------------------------------------------


def running_differs(text: str, plan: ClientPlan, proven: Mapping[str, Claim]) -> dict[str, str]:
    """Compare the configuration that Prometheus runs with the written one.

    :param text: the running configuration as Prometheus reports it, with defaults.
    :returns: by exporter, how its job differs.
    :raises TimesTenError: if no job is as it was written: then Prometheus read another file.
    """
    starts = [match.start() for match in _JOB.finditer(text)]
    running = {}
    for start, end in zip(starts, [*starts[1:], len(text)]):
        name = text[start:end].split("\n", 1)[0][len("- job_name: ") :].strip("\"' ")
        running[name] = text[start:end]
    changed = {*plan.edit.added, *plan.edit.changed_names}
    differs = {}
    for name, claim in proven.items():
        if claim.job not in running:
            differs[name] = f"the configuration that Prometheus runs has no job {claim.job}"
        elif name in changed and claim.labels is not None:
            key = first_difference(_item(running[claim.job], claim.job), plan.jobs[name].config)
            if key is not None:
                differs[name] = f"Prometheus runs another job {claim.job} than was written ({key} differs)"
    left = [name for name in plan.removed if name in plan.present.ours and plan.present.ours[name].job_name in running]
    left = [name for name in left if name not in plan.named_files]
    written = [name for name in changed if name in proven]
    if left or (written and all(name in differs for name in written)):
        what = differs[written[0]] if written and not left else f"it still has the jobs of {', '.join(left)}"
        raise TimesTenError(
            f"Prometheus was reloaded but does not run what was written: {what}. It may see the file through a mount of the "
            f"single file (mount its directory instead), or read another file (see --config.file of its process)"
        )
    return differs


def _item(text: str, job: str) -> Mapping[str, Any]:
    import yaml

    lines = text.splitlines(keepends=True)
    kept = [lines[0]]
    for line in lines[1:]:
        if not line.startswith(" "):
            break
        kept.append(line)
    try:
        value = yaml.load("".join(kept), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe ones
        return dict(value[0])
    except (yaml.YAMLError, TypeError, ValueError, IndexError, KeyError) as error:
        raise TimesTenError(f"the running job {job} cannot be read as YAML: {error}") from error


def first_difference(running: Mapping[str, Any], written: Mapping[str, Any]) -> str | None:
    """Return the first key of a job that Prometheus runs with another value than was written; None if there is none."""
    for key, value in written.items():
        if key in jobs.MANAGED or key == "relabel_configs":
            if not _holds(running.get(key), value):
                return key
        elif value and key not in running and not isinstance(value, str):
            # Prometheus leaves out empty values, and writes sizes and times in its own form.
            return key
        elif isinstance(value, (bool, int)) and running.get(key, 0) != value:
            return key
    return None


def _holds(running: Any, written: Any) -> bool:
    """Tell whether a running value has everything that was written; defaults may have been added."""
    if isinstance(written, Mapping):
        if not isinstance(running, Mapping):
            return not written
        return all(_holds(running.get(key), value) for key, value in written.items())
    if isinstance(written, (list, tuple)):
        if not isinstance(running, list):
            return not written
        return len(running) == len(written) and all(map(_holds, running, written))
    if running is None:
        return not written
    if str(running) == str(written) or running == _LEFT_OUT:
        return True
    try:
        return jobs.parse_duration(str(running), "") == jobs.parse_duration(str(written), "")
    except TimesTenError:
        return False


# --- targets ----------------------------------------------------------------------------------------------------------


def check_health(
    ctx: Context,
    proven: Mapping[str, Claim],
    definitions: Mapping[str, Definition],
    expected: Mapping[str, Expected],
    rows: Mapping[str, Row],
) -> dict[str, str]:
    """Wait until all targets are up, and fill the rows.

    :returns: by exporter, the error and what to do.
    """
    if ctx.api is None or not proven:
        return {}
    limit = ctx.settings.wait_timeout
    if limit is None:
        limit = 2 * max(claim.interval for claim in proven.values()) + _DISCOVERY
    # Nothing can be proven before that.
    limit += max(0.0, max(claim.since for claim in proven.values()) - time.time())
    targets = _await(ctx, proven, limit)
    dropped: set[str] = set()
    if any(name not in targets for name in proven):
        # Only for advice, so that an answer that does not come costs nothing else.
        with contextlib.suppress(TimesTenError):
            dropped = ctx.api.dropped()
    failures = {}
    for name, claim in proven.items():
        target, row = targets.get(name), rows[name]
        row["up"] = target is not None and claim.holds(target)
        row["last_error"] = "" if target is None else re.sub(r'^Get "[^"]*": ', "", target.error)
        if not row["up"]:
            _advise(ctx, claim, target, row, definitions[name], expected.get(name), dropped)
            failures[name] = f"{row['last_error'] or 'not up'} -> {row['advice']}"
    return failures


def _await(ctx: Context, proven: Mapping[str, Claim], limit: float) -> dict[str, Target]:
    """Return a target by exporter: the one that meets its claim, else the last one seen.

    For an unchanged target one good scrape is enough: among a thousand targets one may always just have missed a
    scrape. A changed target must also be up by its last scrape at the end.
    """
    if ctx.api is None:
        return {}
    deadline = time.monotonic() + limit
    pause, longest = 0.1, max(1.0, min(claim.interval for claim in proven.values()) / 15)
    targets: dict[str, Target] = {}
    good: set[str] = set()
    while True:
        by_job: dict[str, list[Target]] = {}
        # Where nothing was changed, nobody has to be waited for.
        patience = deadline if any(claim.since for claim in proven.values()) else 0.0
        for target in patiently(ctx.api.targets, patience):
            by_job.setdefault(target.job, []).append(target)
        for name, claim in proven.items():
            candidates = by_job.get(claim.job, [])
            best = next((target for target in candidates if claim.holds(target)), None)
            if name in good and best is None and not claim.since:
                continue
            if best is None:
                good.discard(name)
            else:
                good.add(name)
            last = best or next(filter(claim.is_about, candidates), candidates[0] if candidates else None)
            if last is None:
                targets.pop(name, None)
            else:
                targets[name] = last
        if len(good) == len(proven) or time.monotonic() > deadline:
            return targets
        time.sleep(pause)
        pause = min(pause * 1.3, longest)


def _advise(
    ctx: Context,
    claim: Claim,
    target: Target | None,
    row: Row,
    definition: Definition,
    expected: Expected | None,
    dropped: Collection[str],
) -> None:
    """Fill a row with advice about a failure, from the files as the Prometheus user sees them, a handshake, and
    Prometheus's error.

    :param dropped: the jobs that lost a target by relabelling.
    """
    if expected is not None and ctx.identity is not None:
        faults = ctx.check_as_user([(ctx.store.in_use(expected.exporter), expected)])
        if faults:
            row["advice"] = faults[expected.exporter]
            return
    probed = None if definition.get("insecure") else shake(ctx, definition).status
    if target is None and claim.job in dropped:
        row["last_error"] = "Prometheus drops the target"
        row["advice"] = (
            "a rule in relabel_configs of its job drops it (action drop, keep, dropequal or keepequal): change that rule"
        )
    elif target is None:
        row["last_error"] = "the job is absent: Prometheus has the configuration but made no target of it"
        row["advice"] = (
            "Prometheus could not use one of the job's files when it read the configuration (its log says which: error "
            "creating new scrape pool); as its user they can be read from here, so look at the sandbox of its unit "
            "(ProtectHome, ProtectSystem, InaccessiblePaths)"
        )
    elif not claim.is_about(target):
        row["last_error"] = "Prometheus scrapes another target for this job than was written"
        row["advice"] = (
            f"its target is {redact.url(target.url)}: it has not taken over the new job; look at its log, and at relabel_configs"
        )
    else:
        row["advice"] = advice(row["last_error"], probed)


def shake(ctx: Context, definition: Definition) -> probe.Outcome:
    """Shake hands as Prometheus does, with the pair in use."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

    job = jobs.build(definition, ctx.store.path).config["tls_config"]
    try:
        return probe.tls(
            definition["address"],
            definition["port"],
            job["ca_file"],
            job["cert_file"],
            job["key_file"],
            job.get("server_name", definition["address"]),
        )
    except OSError as error:
        return probe.Outcome("files", str(error))


# --- refusals ---------------------------------------------------------------------------------------------------------


def prove_refusals(
    ctx: Context, mentioned: Sequence[str], entries: Mapping[str, StateEntry], rows: Sequence[Row], always: bool
) -> dict[str, list[str]]:
    """Prove that each exporter accepts the delivered pair and refuses others. Fill the rows.

    No request is sent, so the exporter's rate limit counts nothing.

    :param entries: the store's entries of all exporters of the client.
    :param always: whether to try the delivered pair even if a scrape by Prometheus has just proven it.
    :returns: by exporter, one sentence for each fault.
    """
    secured = [name for name in mentioned if not entries[name]["definition"].get("insecure")]
    if not secured:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

    by_name = {row["name"]: row for row in rows}
    with tempfile.TemporaryDirectory(prefix="timesten-probe-") as directory:
        nobody = probe.client_context()
        stranger = probe.client_context(None, *probe.stranger_pair(directory))

        def examine(name: str) -> list[str]:
            row, definition = by_name[name], entries[name]["definition"]
            if always or not row["up"]:
                faults = _prove_accepted(ctx, definition, row)
            else:
                faults = []
                if row["accepted"] is None:
                    row["accepted"] = True
            return faults + _prove_refused(ctx, definition, row, nobody, stranger)

        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(secured))) as pool:
            faults = dict(zip(secured, pool.map(examine, secured)))
    return {name: sentences for name, sentences in faults.items() if sentences}


def _where(definition: Definition) -> str:
    return f"exporter {definition['name']} ({names.target(definition['address'], definition['port'])})"


def _answered(outcome: Any, status: str) -> bool | None:
    """Tell whether an attempt ended with this status; None if nobody answered, which proves nothing about access."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

    return None if outcome.status in (probe.UNREACHABLE, probe.TIMED_OUT) else outcome.status == status


def _prove_accepted(ctx: Context, definition: Definition, row: Row) -> list[str]:
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

    own = shake(ctx, definition)
    row["served_sha256"] = own.sha256
    row["accepted"] = _answered(own, probe.ACCEPTED)
    if row["accepted"]:
        return []
    return [
        f"{_where(definition)}: the handshake with the delivered pair was not accepted but {own.status} ({own.detail})"
    ]


def _prove_refused(
    ctx: Context, definition: Definition, row: Row, nobody: ssl.SSLContext, stranger: ssl.SSLContext
) -> list[str]:
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe

    host, port = definition["address"], definition["port"]
    place = ctx.store.in_use(definition["name"])
    files = tuple(f"{place}/{name}" for name in FILES)
    own = functools.partial(probe.Companion, host, port, *files)
    without = probe.refusal(functools.partial(probe.tls, host, port, settle=_REFUSAL, context=nobody), own)
    foreign = probe.refusal(functools.partial(probe.tls, host, port, settle=_REFUSAL, context=stranger), own)
    plain = probe.plain_refusal(
        functools.partial(probe.plain_http, host, port, settle=_REFUSAL), own, (without, foreign)
    )
    row["served_sha256"] = row["served_sha256"] or without.sha256
    row["refused_without_certificate"] = _answered(without, probe.REFUSED)
    row["refused_foreign_pair"] = _answered(foreign, probe.REFUSED)
    row["refused_plain_http"] = _answered(plain, probe.REFUSED)
    return [
        f"{_where(definition)}: a connection {how} was not refused but {outcome.status} ({outcome.detail})"
        for how, outcome in (
            ("without a certificate", without),
            ("with a foreign pair", foreign),
            ("over plain http", plain),
        )
        if outcome.status != probe.REFUSED
    ]
