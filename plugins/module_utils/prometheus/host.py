# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the work of each state of the module for one Prometheus, with observe, decide, apply and proof."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Callable, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import (
    config_file,
    jobs,
    promtool,
    rule_file,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import NotAnswering, Target
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.apply import (
    Change,
    renamer,
    rows_of,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import ConfigView, Files
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    LATER,
    Expected,
    Row,
    Settings,
    StateEntry,
    new_row,
    several,
    some,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.decide import (
    Plan,
    beside_another_role,
    check_version,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.jobs import JOB_OPTIONS, left_ports, merge
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import (
    Context,
    Observation,
    context,
    files_of,
    read_config,
    read_state,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.owner import fleet_of
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.proof import (
    check_health,
    claims,
    prove_refusals,
    prove_rules,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import transport_keys

__all__ = ["JOB_OPTIONS", "LATER", "STATES", "Settings", "context", "left_ports", "merge"]


# --- the store --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _held(ctx: Context, makes: bool = True) -> Iterator[None]:
    """Hold the store's lock after checking that the store is ours. Check mode makes and holds nothing.

    :param makes: whether to make a missing store.
    """
    state = read_state(ctx)
    if makes or state.get("client") is None:
        ctx.store.refuse_strangers(ctx.config.path)
    if ctx.check_mode:
        yield
        return
    if makes:
        ctx.store.prepare()
    with ctx.store.locked():
        yield


# --- inspected --------------------------------------------------------------------------------------------------------


def inspect(ctx: Context) -> dict[str, Any]:
    """Return what a run of the exporter hosts has to know of this client. Make the transport key if there is none."""
    # Ask Prometheus first: a wrong version or login is reported before anything is made, here and on the exporter hosts.
    version = _version(ctx)
    if version is not None:
        check_version(ctx.settings.layout, version)
    with _held(ctx, makes=False):
        ctx.store.refuse_strangers(ctx.config.path)
        state = read_state(ctx)
        private = ctx.store.transport_key()
        public = _public_key(ctx, private)
        stored = {}
        # Only the exporters' hosts know whether exporters of the same name are the same, and they have not been asked
        # yet.
        fleet = fleet_of(ctx.settings, state, generous=True)
        own = {name: entry for name, entry in state["exporters"].items() if fleet.owns(entry)}
        for name, entry in own.items():
            current = ctx.store.current(name)
            delivery = None if current is None else ctx.store.facts(name, current, entry)
            if delivery is not None:
                stored[name] = {
                    "delivery": delivery.delivery,
                    "sha256": delivery.sha256,
                    "ca_sha256": delivery.ca_sha256,
                    "not_after": delivery.not_after,
                }
    source = read_config(ctx, tolerant=True)
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config

    files = files_of(ctx, source)
    view = config.read(files)
    asked = ctx.settings.defaults.get("scrape_interval")
    interval = None if asked is None else jobs.parse_duration(asked, "scrape_interval")
    foreign = set(state["exporters"]) - set(own)
    return {
        "changed": private is None,
        "transport_key": public,
        "stored": stored,
        "scrape_interval": interval or view.scrape_interval,
        "scrape_intervals": {name: interval or job.interval for name, job in view.ours.items() if name not in foreign},
        "definitions": {name: entry["definition"] for name, entry in own.items()},
        "other_definitions": {name: state["exporters"][name]["definition"] for name in sorted(foreign)},
        "layout": view.layout,
        **_by_hand(ctx, files, view),
        "version": version,
        "revision": state["revision"],
        "warnings": ctx.warnings,
    }


def _by_hand(ctx: Context, files: Files, view: ConfigView) -> dict[str, Any]:
    """Return what hand-written jobs mean for the exporters of the task."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import by_hand

    targets: list[Target] = []
    if ctx.api is not None and by_hand.may_be_in_the_way(ctx.settings, view):
        with contextlib.suppress(NotAnswering):
            targets = ctx.api.targets()
    others = by_hand.shown(view, targets)
    wanted = by_hand.candidates(ctx.settings, view, ctx.store_inside, others)
    return {
        "in_the_way": by_hand.in_the_way(ctx.settings, files, wanted, others),
        "scrapes_by_hand": by_hand.scrapes(view, wanted, targets),
    }


def _public_key(ctx: Context, private: bytes | None) -> str:
    public = None if private is None else transport_keys.public_key(private)
    if public is not None:
        return public
    # Loading cryptography takes as long as all the rest of a call that changes nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal

    if private is not None:
        return seal.public_key(private)
    if ctx.check_mode:
        return seal.new_transport_key()[1]
    ctx.store.prepare()
    return ctx.store.renew_transport_key()


def _version(ctx: Context) -> str | None:
    if ctx.api is None:
        return None
    try:
        return ctx.api.version()
    except NotAnswering as error:
        ctx.warnings.append(error.message)
        return None


# --- verified ---------------------------------------------------------------------------------------------------------


def verify(ctx: Context) -> dict[str, Any]:
    """Prove all exporters, or those of the task. Changes nothing."""
    state = read_state(ctx)
    known = state["exporters"]
    fleet = fleet_of(ctx.settings, state)
    own = sorted(name for name, entry in known.items() if fleet.owns(entry))
    wanted = [item["name"] for item in ctx.settings.exporters] or own
    strangers = sorted(set(wanted) - set(own))
    if strangers:
        raise TimesTenError(f"exporters: nothing is stored for {some(strangers)}: run timesten.monitoring.site first")
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config

    source = read_config(ctx, ctx.check_mode)
    view = config.read(files_of(ctx, source))
    definitions = {name: entry["definition"] for name, entry in known.items()}
    built = {name: jobs.build(definitions[name], ctx.store.path) for name in wanted}
    expected = {
        name: Expected(name, *(str(known[name][key]) for key in ("generation", "delivery", "sha256", "ca_sha256")))
        for name in wanted
        if known[name].get("delivery")
    }
    rows = {name: _row_of_pair(ctx, name, known[name]) for name in wanted}
    proven = claims(wanted, view, built, {})
    faults: dict[str, list[str]] = {}
    for name in sorted(set(wanted) - set(proven)):
        faults[name] = [
            f"exporter {name}: {ctx.config.path} has no job of ours for it any more: run timesten.monitoring.site. "
            f"{beside_another_role(ctx.settings, view)}, where another role writes the whole file"
        ]
    for name, text in check_health(ctx, proven, definitions, expected, rows).items():
        faults.setdefault(name, []).append(f"exporter {name}: {text}")
    for name, sentences in prove_refusals(ctx, wanted, known, list(rows.values()), always=True).items():
        faults.setdefault(name, []).extend(sentences)
    result = {
        "changed": False,
        "exporters": list(rows.values()),
        "revision": state["revision"],
        "version": _version(ctx),
        "warnings": ctx.warnings,
    }
    _fail_with(faults, result)
    if any(rule_file.commons(state.get("rules")).values()):
        data = ctx.rules_file.read()
        try:
            if ctx.api is not None and (data is None or not rule_file.is_ours(data)):
                raise TimesTenError(
                    f"{ctx.rules_file.path}: our rule file is not there any more: run timesten.monitoring.site"
                )
            prove_rules(ctx, data)
        except TimesTenError as error:
            raise TimesTenError(error.message, **result) from error
    return result


def _row_of_pair(ctx: Context, name: str, entry: StateEntry) -> Row:
    """Return a row with the end of the pair in use."""
    row, current = new_row(name), ctx.store.current(name)
    delivery = None if current is None else ctx.store.facts(name, current, entry)
    if delivery is not None:
        row["not_after"] = delivery.not_after
    return row


def _fail_with(faults: Mapping[str, Sequence[str]], result: dict[str, Any], outcome: str = "") -> None:
    """:raises TimesTenError: if there are faults, with the whole answer, in which those exporters have failed."""
    if not faults:
        return
    for row in result["exporters"]:
        if row["name"] in faults:
            row["failed"], row["msg"] = True, several(list(faults[row["name"]]))
    text = several([sentence for sentences in faults.values() for sentence in sentences])
    raise TimesTenError(f"{text}. {outcome}" if outcome else text, **result)


# --- present ----------------------------------------------------------------------------------------------------------


def present(ctx: Context, diff: bool) -> dict[str, Any]:
    """Store, configure, reload and prove. In check mode, predict."""
    with _held(ctx):
        change = Change(ctx)
        mentioned = [item["name"] for item in ctx.settings.exporters]
        faults: dict[str, list[str]] = {}
        reloaded: str | bool = False
        rows: list[Row] = []
        outcomes = []
        if ctx.check_mode:
            seen, plan = change.prepare()
            _check_candidate(ctx, plan)
        else:
            seen, plan, done = change.run()
            rows, reloaded = done.rows, done.reloaded
            faults = {name: [f"exporter {name}: {text}"] for name, text in done.failures.items()}
            outcomes += [done.outcome] if done.outcome else []
            # Every run tries whether others are refused, because its result promises that nobody else gets access.
            mine = [name for name in plan.accepted if name not in plan.edit.kept and name not in done.failures]
            open_ones = prove_refusals(ctx, mine, plan.entries, rows, always=False)
            faults.update(open_ones)
            if open_ones:
                outcomes.append(
                    "Pairs and jobs are in place and Prometheus scrapes, but the exporters do not refuse others"
                )
        result = {
            "changed": plan.changed,
            "exporters": rows_of(plan, mentioned, rows),
            "reloaded": reloaded,
            "removed": list(plan.removed),
            "unmentioned": list(plan.unmentioned),
            "warnings": [*ctx.warnings, *plan.warnings],
            "revision": ctx.store.state()["revision"],
            "version": _version(ctx),
        }
    if diff:
        result["diff"] = _diff(ctx, plan, seen)
    _fail_rejected(plan, faults, outcomes, result)
    return result


def _fail_rejected(plan: Plan, faults: dict[str, list[str]], outcomes: list[str], result: dict[str, Any]) -> None:
    """:raises TimesTenError: if an exporter was refused or does not work. All others are done by then."""
    for name, text in plan.rejected.items():
        faults[name] = [text if name in text else f"exporter {name}: {text}"]
    if plan.rejected:
        outcomes.append(f"Nothing of {some(sorted(plan.rejected))} was changed")
    _fail_with(faults, result, ". ".join(outcomes))


def _diff(ctx: Context, plan: Plan, seen: Observation) -> list[dict[str, Any]]:
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import diff

    return diff.diff(ctx, plan, seen)


def _check_candidate(ctx: Context, plan: Plan) -> None:
    """Let promtool check the syntax only, because in check mode the files do not exist yet."""
    if not plan.configures or ctx.identity is None or ctx.settings.kind == "scrape_file":
        return
    tool = promtool.find(ctx.settings.promtool)
    if tool is None:
        ctx.warnings.append("promtool was not found; the new configuration was not checked by it")
        return
    judge = promtool.ROOT if ctx.paths else ctx.identity
    if plan.rules is not None and plan.rules != plan.rules_source:
        ctx.rules_file.refuse_loss()
        with config_file.scratch(plan.rules, ctx.identity) as path:
            promtool.check_rules(tool, path, judge)
    ctx.config.refuse_loss()
    with config_file.scratch(plan.edit.config, ctx.identity) as path:
        original = ctx.config.path if plan.source else None
        promtool.check(tool, path, judge, original, syntax_only=True)


# --- absent -----------------------------------------------------------------------------------------------------------


def absent(ctx: Context, diff: bool) -> dict[str, Any]:
    """Remove the named exporters, or everything of ours. With the last exporter the store goes."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import switch

    everything = ctx.settings.remove is None
    if everything:
        ctx = dataclasses.replace(ctx, settings=dataclasses.replace(ctx.settings, purge=True, exporters=()))
    existed = ctx.store.exists()
    switch.refuse_while_following(ctx.store, ctx.settings.run)
    with _held(ctx, makes=False):
        change = Change(ctx)
        seen, plan = change.plan()

        def is_named(name: str) -> bool:
            """Tell whether the configuration still names an exporter's files, even if an earlier call has already
            released it.
            """
            return f"{ctx.store_inside}/{name}/".encode() in plan.edit.config

        remains = bool(ctx.store.remains(lambda name: name in plan.definitions or is_named(name))) if existed else False
        clears = not plan.definitions
        cleared = clears and existed and (remains or set(os.listdir(ctx.store.path)) <= {".lock"})
        reloaded: str | bool = False
        if ctx.check_mode:
            _check_candidate(ctx, plan)
        elif plan.changed:
            seen, plan, done = change.run()
            reloaded = done.reloaded
        if clears and not ctx.check_mode:
            ctx.store.destroy(is_named)
    result = {
        "changed": plan.changed or cleared,
        "removed": list(plan.removed),
        "reloaded": reloaded,
        "warnings": [*ctx.warnings, *plan.warnings],
    }
    if diff:
        result["diff"] = _diff(ctx, plan, seen)
    return result


# --- the steps of a rotation ------------------------------------------------------------------------------------------


def stage(ctx: Context) -> dict[str, Any]:
    """Store deliveries beside those in use and check them as the Prometheus user. Nothing that is in use changes.

    :returns: the answer with ``scrapes``: for each exporter that is scraped already, when (by this host's clock), how
        long it took, and how often.
    """
    with _held(ctx):
        change = Change(ctx)
        _seen, plan = change.prepare(_unfit_for_spare_port)
        if plan.deliver and not ctx.check_mode:
            ctx.store.renew_transport_key()
        result = {
            "changed": bool(plan.deliver),
            "exporters": rows_of(plan, [item["name"] for item in ctx.settings.exporters], []),
            "scrapes": _scrapes(ctx, plan),
            "warnings": [*ctx.warnings, *plan.warnings],
            "revision": ctx.store.state()["revision"],
        }
    _fail_rejected(plan, {}, [], result)
    return result


def _unfit_for_spare_port(seen: Observation, plan: Plan) -> dict[str, str]:
    """Return the exporters that would change their port while a job that cannot be replaced names it."""
    known = seen.state["exporters"]
    faults = {}
    for name in plan.accepted:
        job = plan.view.ours.get(names.other_port(name))
        if name not in known and names.other_port(name) in known and (job is None or job.adopted):
            what = "the configuration has none of ours" if job is None else f"job {job.job_name} was adopted"
            faults[name] = (
                f"exporter {names.exporter_of(name)}: the strategy spare_port replaces its job, and {what}; rotate it with "
                f"rotate_strategy=gap"
            )
    return faults


def _scrapes(ctx: Context, plan: Plan) -> dict[str, dict[str, Any]]:
    if ctx.api is None:
        return {}
    targets = {target.job: target for target in ctx.api.targets()}
    scrapes = {}
    for name in plan.accepted:
        for job_of in (names.other_port(name), name):
            job = plan.view.ours.get(job_of)
            target = None if job is None else targets.get(job.job_name)
            if job is not None and target is not None and target.scraped:
                scrapes[name] = target.last_scrape(job.interval)
    return scrapes


def follow(ctx: Context, orders: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Start the process that follows the exporters' certificates; see :func:`prometheus.switch.follow`."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import switch

    if ctx.check_mode:
        return {"changed": False, "following": []}
    read_state(ctx)
    rename = renamer(ctx) if ctx.settings.kind == "scrape_file" else None
    return switch.follow(ctx.store, ctx.settings.exporters, orders, ctx.settings.run, rename)


def release(ctx: Context) -> dict[str, Any]:
    """Stop that process after a rotation; see :func:`prometheus.switch.release`."""
    from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import switch

    with _held(ctx, makes=False):
        return switch.release(ctx.store, ctx.settings.exporters, ctx.settings.keep_deliveries, ctx.check_mode)


STATES: dict[str, Callable[[Context, bool, Mapping[str, Any]], dict[str, Any]]] = {
    "inspected": lambda ctx, _diff, _orders: inspect(ctx),
    "present": lambda ctx, diff, _orders: present(ctx, diff),
    "verified": lambda ctx, _diff, _orders: verify(ctx),
    "absent": lambda ctx, diff, _orders: absent(ctx, diff),
    "staged": lambda ctx, _diff, _orders: stage(ctx),
    "following": lambda ctx, _diff, orders: follow(ctx, orders),
    "released": lambda ctx, _diff, _orders: release(ctx),
}
"""The function of each state. Its arguments are the context, whether a diff is shown, and the orders of a rotation."""
