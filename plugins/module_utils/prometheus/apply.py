# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries a plan out: stores deliveries, then changes the configuration, then reloads. If something fails, it undoes
that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import threading
import time
from typing import Callable, Iterable, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import (
    config_file,
    promtool,
    reload,
    rule_file,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import NotAnswering
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import (
    file_patterns,
    for_promtool,
    take_back,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import ConfigFile, Moved
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    Expected,
    Row,
    StoreState,
    new_row,
    several,
    some,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.decide import (
    ClientPlan,
    check_version,
    decide,
    edit_config,
    view_after,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import (
    Context,
    Observation,
    observe,
    running_jobs,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.proof import (
    Proof,
    prove,
    prove_rules,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Account

_ATTEMPTS = 3
DISCOVERY = 15.0
"""Seconds. Prometheus updates its targets every 5 s; this is three times that, for a busy machine."""


@dataclasses.dataclass(frozen=True)
class Done:
    """The outcome of a change.

    :ivar failures: what does not work, by exporter.
    :ivar outcome: what happened to the exporters that failed.
    """

    reloaded: str | bool
    rows: list[Row]
    failures: dict[str, str]
    outcome: str = ""


class Change:
    """One call that changes something. The caller holds the store's lock.

    :ivar rejected: exporters with a bad delivery, with the reason.
    """

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.rejected: dict[str, str] = {}
        self._settled: dict[str, tuple[Expected, str | None]] = {}
        self._ends: dict[str, str] = {}
        self._way: reload.Way | None = None
        self._committed: set[str] = set()
        self._like: dict[str, tuple[int, int, int]] = {}
        self._named: list[str] = []

    # --- making a plan

    def plan(self) -> tuple[Observation, ClientPlan]:
        """Observe and decide. Wait for targets that Prometheus may be about to create."""
        ctx = self.ctx
        seen = observe(ctx)
        deadline = time.monotonic() + DISCOVERY
        while True:
            plan = decide(ctx.settings, seen, self.rejected, ctx.check_mode, ctx.store_inside)
            settled = not plan.absent or plan.configures or plan.unfinished or time.monotonic() > deadline
            if settled:
                return seen, plan
            time.sleep(0.5)
            seen = dataclasses.replace(seen, jobs=running_jobs(ctx))

    def prepare(
        self, unfit: Callable[[Observation, ClientPlan], dict[str, str]] = lambda _seen, _plan: {}
    ) -> tuple[Observation, ClientPlan]:
        """Do what :meth:`plan` does, then check the deliveries and, outside check mode, store them beside those in use.

        A bad delivery removes its exporter from the plan; the others stay.

        :param unfit: returns further exporters to remove from the plan, with the reason.
        """
        try:
            while True:
                seen, plan = self.plan()
                faults = unfit(seen, plan)
                if not faults and self.ctx.check_mode:
                    faults = self._open_in_check_mode(plan)
                elif not faults:
                    self._preflight(plan)
                    faults = self._deliver(seen, plan)
                if not faults:
                    return seen, plan
                self.rejected.update(faults)
        except BaseException:
            # What this attempt or one before has stored.
            self.drop(list(self._settled))
            raise

    def _preflight(self, plan: ClientPlan) -> None:
        """Before anything is touched, ask Prometheus whether it runs and whether it can be told to read this file."""
        ctx = self.ctx
        if ctx.identity is None:
            raise TimesTenError(f"user: there is no user {ctx.settings.user!r} on this host")
        if plan.configures:
            for file in (ctx.config, ctx.scrape_file, ctx.rules_file):
                file.refuse_loss()
        if ctx.settings.kind == "scrape_file" and plan.reloads and ctx.settings.running:
            self._way = self._way or way_of_file(ctx)
        if ctx.api is None:
            return
        try:
            flags = ctx.api.flags()
        except NotAnswering as error:
            raise TimesTenError(
                f"{error.message} Nothing was changed. Set prometheus_running: false to store and check files without it"
            ) from error
        given = flags.get("config.file", "")
        if ctx.paths:
            inside = ctx.paths.inside(ctx.config.path, "config_file")
            if os.path.isabs(given) and os.path.normpath(given) != inside:
                raise TimesTenError(
                    f"path_map: the Prometheus at {ctx.api.url} reads {given}, and config_file {ctx.config.path} would be {inside} "
                    f"there: set path_map to the mounts of the container, or url. Nothing was changed"
                )
        elif os.path.isabs(given) and os.path.exists(given) and os.path.realpath(given) != ctx.config.real:
            raise TimesTenError(
                f"the Prometheus at {ctx.api.url} reads {given}, not config_file {ctx.config.path}: set url or config_file "
                f"so that both belong to the same instance. Nothing was changed"
            )
        if plan.rules is not None and (
            "agent" in flags.get("enable-feature", "").split(",") or flags.get("agent") == "true"
        ):
            raise TimesTenError(
                f"rules: the Prometheus at {ctx.api.url} runs as an agent, which evaluates no rules and refuses rule_files: set "
                f"prometheus_host_rules: false. Nothing was changed"
            )
        if ctx.settings.layout == "files":
            check_version(ctx.settings.layout, ctx.api.version())
        if plan.changed:
            self._check_process(plan)

    def _check_process(self, plan: ClientPlan) -> None:
        ctx = self.ctx
        if ctx.api is None or ctx.identity is None:
            return
        processes = reload.find_processes(ctx.config.path)
        refuse_other_user(processes, ctx.identity)
        for process in processes:
            if ctx.paths and reload.sees_another(process, ctx.store_inside, ctx.store.path):
                raise TimesTenError(
                    f"path_map: Prometheus (process {process.pid}) has another directory than {ctx.store.path} at "
                    f"{ctx.store_inside}, or none: set path_map to the mounts of the container, or mount it there. Nothing was changed"
                )
        if plan.configures:
            for process in processes:
                if reload.is_mounted_alone(process):
                    raise TimesTenError(
                        f"config_file: Prometheus (process {process.pid}) sees {process.config} through a mount of that "
                        f"file alone, so it would never see a new version of it: mount the directory "
                        f"{os.path.dirname(ctx.config.path)} instead. Nothing was changed"
                    )
        settings = ctx.settings
        if plan.reloads and self._way is None:
            self._way = reload.find_way(
                ctx.api,
                settings.reload,
                settings.reload_unit,
                settings.reload_pid_file,
                ctx.config.path,
                ctx.identity.uid,
            )

    # --- deliveries

    def _open(
        self, plan: ClientPlan, names: Iterable[str]
    ) -> tuple[dict[str, tuple[bytes, bytes, bytes]], dict[str, str]]:
        """Open the sealed bundles without writing anything.

        :returns: CA file, certificate and key by exporter, and by exporter what is wrong.
        """
        from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import deliveries

        store = self.ctx.store
        private = store.transport_key()
        if private is None:
            raise TimesTenError(
                f"there is no transport key in {store.path}: run the task with state inspected first "
                f"(timesten.monitoring.site does)"
            )
        opened, faults = {}, {}
        for name in names:
            item, expected = plan.deliver[name], plan.expected[name]
            try:
                authority = item.get("ca_certificate") or ""
                data = authority.encode("utf-8") or deliveries.read_authority(store.in_use(name))
                certificate = item["certificate"].encode("utf-8")
                opened[name] = deliveries.unseal(
                    expected, self.ctx.settings.name, item["bundle"], certificate, data, private
                )
                self._ends[name] = deliveries.end_of(certificate)
            except (TimesTenError, OSError, ValueError) as error:
                faults[name] = error.message if isinstance(error, TimesTenError) else f"{type(error).__name__}: {error}"
        return opened, faults

    def _open_in_check_mode(self, plan: ClientPlan) -> dict[str, str]:
        if not plan.deliver or self.ctx.store.transport_key() is None:
            return {}
        return self._open(plan, plan.deliver)[1]

    def _deliver(self, seen: Observation, plan: ClientPlan) -> dict[str, str]:
        """Store the planned deliveries, check them with the rights of the Prometheus user, and only then give them
        their names.
        """
        ctx = self.ctx
        fresh: dict[str, str] = {}
        faults: dict[str, str] = {}
        missing = [name for name in plan.deliver if name not in self._settled]
        if missing:
            ctx.store.prepare()
            opened, faults = self._open(plan, missing)
            fresh = self._stage(plan, opened)
        try:
            bad = self._check_as_user(plan, fresh)
        except BaseException:
            for name, place in fresh.items():
                ctx.store.discard(name, place)
            raise
        for name, place in fresh.items():
            if name in bad:
                ctx.store.discard(name, place)
            else:
                self._settled[name] = (plan.expected[name], ctx.store.settle(plan.expected[name], place))
        for name, delivery in seen.deliveries.items():
            if delivery.named is not None:
                self._ends.setdefault(name, delivery.named.not_after)
        return {**faults, **bad}

    def _stage(self, plan: ClientPlan, opened: Mapping[str, tuple[bytes, bytes, bytes]]) -> dict[str, str]:
        from concurrent.futures import ThreadPoolExecutor

        store = self.ctx.store
        done: dict[str, str] = {}

        def stage(name: str) -> None:
            done[name] = store.stage(plan.expected[name], *opened[name])

        try:
            with ThreadPoolExecutor(max_workers=8) as pool:
                list(pool.map(stage, opened))
        except BaseException:
            for name, place in done.items():
                store.discard(name, place)
            raise
        return done

    def _check_as_user(self, plan: ClientPlan, fresh: Mapping[str, str]) -> dict[str, str]:
        ctx = self.ctx
        identity = ctx.identity
        places = [
            (fresh.get(name) or ctx.store.directory(name, delivery), plan.expected[name])
            for name, delivery in sorted(plan.switch.items())
            if delivery is not None and (name in fresh or name not in plan.deliver)
        ]
        if identity is None:
            return {}
        faults = ctx.check_as_user(places)
        return {name: f"as user {identity.name}: exporter {name}, {fault}" for name, fault in faults.items()}

    def drop(self, names: Iterable[str]) -> None:
        """Remove deliveries that this call has stored and that nothing uses."""
        store = self.ctx.store
        for name in names:
            if name in self._settled:
                expected, displaced = self._settled.pop(name)
                if store.current(name) != expected.delivery or displaced is not None:
                    store.drop(name, expected.delivery, displaced)

    # --- the change

    def run(self) -> tuple[Observation, ClientPlan, Done]:
        """Make the change, prove it, and undo what does not work.

        :raises TimesTenError: if the whole change was undone, saying what was wrong and what was restored.
        """
        for _attempt in range(_ATTEMPTS):
            seen, plan = self.prepare()
            try:
                return seen, plan, self._apply(seen, plan)
            except Moved as error:
                moved = error
        self.drop(list(self._settled))
        raise TimesTenError(
            f"{moved.message}, {_ATTEMPTS} times: somebody else writes it all the time. Nothing was changed; run again when "
            f"that is over"
        )

    def _apply(self, seen: Observation, plan: ClientPlan) -> Done:
        store = self.ctx.store
        store.prepare()
        first = {name: delivery for name, delivery in plan.switch.items() if delivery and plan.before[name] is None}
        rest = {name: delivery for name, delivery in plan.switch.items() if name not in first and delivery}
        self._committed.clear()
        reloaded: str | bool = False
        try:
            # promtool looks for the certificates, so first deliveries have to be in place before. Nothing in use names
            # them yet.
            store.switch_all(first)
            with self._candidates(plan) as candidates:
                self._refuse_moved(plan)
                self._mark_unfinished(plan)
                store.switch_all(rest)
                for file, candidate, expected in candidates:
                    file.commit(candidate, expected)
                    self._committed.add(file.path)
                if plan.rules is None and plan.rules_source is not None:
                    # A pattern of the owner may name the rule file, so it has to be gone before Prometheus reads the
                    # configuration.
                    self.ctx.rules_file.write(None, plan.rules_source, self._fallback)
                    self._committed.add(self.ctx.rules_file.path)
                self._remove_obsolete(plan)
            if plan.reloads:
                reloaded = self._reload()
            proof = prove(self.ctx, plan, time.time(), bool(reloaded))
            prove_rules(self.ctx, plan.rules)
        except Moved as moved:
            if self._restore(plan, list(plan.switch))[1]:
                # The next attempt would plan on what could not be put back.
                raise self._back(plan, moved) from moved
            raise
        except Exception as error:
            # Whatever the error is, undo the change, so that nothing stays half done.
            cause = error if isinstance(error, TimesTenError) else TimesTenError(f"{type(error).__name__}: {error}.")
            raise self._back(plan, cause) from error
        if proof.failures:
            return self._undo_failed(seen, plan, proof, reloaded)
        self._finish(seen, plan, sorted(plan.definitions))
        return Done(reloaded, proof.rows, {})

    def _refuse_moved(self, plan: ClientPlan) -> None:
        if plan.configures:
            self.ctx.config.refuse_moved(plan.source)
            self.ctx.scrape_file.refuse_moved(plan.scrape_source)
            self.ctx.rules_file.refuse_moved(plan.rules_source)
            for path, content in plan.obsolete.items():
                ConfigFile(path).refuse_moved(content)

    def _remove_obsolete(self, plan: ClientPlan) -> None:
        """Remove our obsolete scrape files before Prometheus reads the jobs at their new place: otherwise it would find
        each job twice.
        """
        for path, content in plan.obsolete.items():
            file = ConfigFile(path)
            info = os.stat(file.real)
            self._like[path] = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
            file.write(None, content, self._fallback)
            self._committed.add(path)

    @contextlib.contextmanager
    def _candidates(self, plan: ClientPlan) -> Iterator[list[tuple[ConfigFile, str, bytes | None]]]:
        """Yield the candidates of the files that change, in the order of their replacement, each with the content that
        it replaces.

        promtool has approved them. A candidate that the caller does not commit is removed.
        """
        ctx, identity = self.ctx, self.ctx.identity
        if identity is None or not plan.configures:
            yield []
            return
        tool = self._promtool()
        judge, syntax_only = (promtool.ROOT, True) if ctx.paths else (identity, False)
        made: list[str] = []
        candidates: list[tuple[ConfigFile, str, bytes | None]] = []
        text = plan.edit.scrape_file
        self._named = [
            name for one in (plan.source, plan.edit.config) for name in file_patterns(one, ctx.config.path, ctx.paths)
        ]
        base = os.path.dirname(ctx.config.path)
        swaps: dict[str, str | None] = dict.fromkeys(plan.edit.obsolete)
        try:
            if text is not None and text != plan.scrape_source:
                scrape = ctx.scrape_file.stage(text, self._fallback, self._named, base)
                made.append(scrape)
                swaps[ctx.scrape_file.path] = scrape
                if tool is not None:
                    promtool.check(tool, scrape, judge, syntax_only=syntax_only)
                candidates.append((ctx.scrape_file, scrape, plan.scrape_source))
            if plan.rules is None and plan.rules_source is not None:
                swaps[ctx.rules_file.path] = None
            elif plan.rules is not None and plan.rules != plan.rules_source:
                rules = ctx.rules_file.stage(plan.rules, self._fallback, self._named, base)
                made.append(rules)
                swaps[ctx.rules_file.path] = rules
                if tool is not None:
                    promtool.check_rules(tool, rules, judge)
                candidates.append((ctx.rules_file, rules, plan.rules_source))
            # For promtool's check only: the configuration names the candidates instead of the present files.
            judged = for_promtool(plan.edit.config, ctx.config.path, swaps, ctx.paths)
            checked = ctx.config.stage(judged, self._fallback, self._named, base)
            made.append(checked)
            if tool is not None:
                with ctx.config.beside(checked) as place:
                    promtool.check(tool, place, judge, ctx.config.path if plan.source else None, syntax_only)
            if plan.edit.config != plan.source:
                config = checked
                if judged != plan.edit.config:
                    config = ctx.config.stage(plan.edit.config, self._fallback, self._named, base)
                    made.append(config)
                candidates.append((ctx.config, config, plan.source))
            yield candidates
        finally:
            for path in made:
                config_file.discard(path)

    def _promtool(self) -> str | None:
        """Return the promtool to use; None if no promtool is required and none is found."""
        settings = self.ctx.settings
        if settings.kind == "scrape_file":
            return None  # another taker may read what Prometheus does not know
        if settings.promtool is None and self.ctx.paths and promtool.find(None) is None:
            self.ctx.warnings.append(
                "promtool was not found on the host of the container, so only Prometheus itself judged the new configuration"
            )
            return None
        return promtool.require(settings.promtool)

    @property
    def _fallback(self) -> tuple[int, int, int]:
        gid = self.ctx.identity.gid if self.ctx.identity is not None else os.getegid()
        return (os.geteuid(), gid, 0o640)

    def _mark_unfinished(self, plan: ClientPlan) -> None:
        """Mark the store: until the state is written again, another run has to assume that Prometheus may not have read
        the file.
        """
        if plan.reloads or plan.switch:
            state = self.ctx.store.state()
            state["client"], state["unfinished"] = self.ctx.settings.name, True
            self.ctx.store.write_state(state)

    def _reload(self) -> str | bool:
        ctx = self.ctx
        if self._way is None:
            return False
        if ctx.settings.kind == "scrape_file" and ctx.taker is not None:
            reload.tell(ctx.taker, self._way)
            return False if self._way.method == "none" else self._way.method
        return False if ctx.api is None else reload.reload(ctx.api, self._way)

    # --- undoing

    def _restore(self, plan: ClientPlan, names: Sequence[str]) -> tuple[bool, list[str]]:
        """Restore the former links and files, as far as possible.

        :returns: whether a file was written, and what could not be restored.
        """
        store = self.ctx.store
        wrote = False
        troubles = []
        try:
            store.switch_all({name: plan.before[name] for name in names if store.current(name) != plan.before[name]})
        except TimesTenError as error:
            troubles.append(error.message)
        removed = [(ConfigFile(path), None, content) for path, content in plan.obsolete.items()]
        for file, ours, before in (
            *removed,
            (self.ctx.rules_file, plan.rules, plan.rules_source),
            (self.ctx.scrape_file, plan.edit.scrape_file, plan.scrape_source),
            (self.ctx.config, plan.edit.config, plan.source),
        ):
            if file.path in self._committed:
                try:
                    wrote = self._rewrite(file, ours, before) or wrote
                except TimesTenError as error:
                    troubles.append(error.message)
        return wrote, troubles

    def _rewrite(self, file: ConfigFile, ours: bytes | None, target: bytes | None) -> bool:
        """Replace what we wrote by the former content. Keep what somebody else has changed since.

        :param ours: the content that we wrote.
        :returns: whether the file was written.
        """
        for _attempt in range(_ATTEMPTS):
            now = file.read()
            if now == target:
                return False
            content = target
            # Our rule file belongs to us alone.
            if now != ours and file is not self.ctx.rules_file:
                content = take_back(now or b"", ours or b"", target or b"", file.path)
                if target is None and not content:
                    content = None
            try:
                fallback = self._like.get(file.path, self._fallback)
                file.write(content, now, fallback, self._named, os.path.dirname(self.ctx.config.path))
                return True
            except Moved:
                continue
        raise TimesTenError(f"{file.path} is written by somebody else all the time; our change is still in it")

    def _back(self, plan: ClientPlan, cause: TimesTenError) -> TimesTenError:
        """Restore files and links of the whole run, reload, and return the error to raise."""
        wrote, troubles = self._restore(plan, list(plan.switch))
        try:
            # What is back should run, whatever became of the rest.
            if wrote:
                self._reload()
        except TimesTenError as error:
            troubles.append(error.message)
        self.drop(list(self._settled))
        if troubles:
            outcome = f"Going back failed as well: {several(troubles)}"
        else:
            self._clear_unfinished()
            outcome = "The previous links are in place, and the configuration was not touched."
            if wrote:
                outcome = "The previous configuration and links are back, and Prometheus has read them."
        return TimesTenError(f"{cause.message.rstrip('.')}. {outcome}", **cause.details)

    def _clear_unfinished(self) -> None:
        state = self.ctx.store.state()
        if state.pop("unfinished", None):
            self.ctx.store.write_state(state)

    def _undo_failed(self, seen: Observation, plan: ClientPlan, proof: Proof, reloaded: str | bool) -> Done:
        """Undo the changes of those exporters that do not work. The changes of the others stay."""
        touched = [name for name in proof.failures if plan.reasons[name]]
        if not touched:
            self._finish(seen, plan, sorted(plan.definitions))
            return Done(reloaded, proof.rows, proof.failures, "Nothing of these was changed by this run")
        rest = sorted(set(plan.definitions) - set(touched))
        others = set(rest).intersection(
            name for name, reasons in plan.reasons.items() if reasons and name not in plan.rejected
        )
        if not others or self.ctx.settings.layout == "template":
            sentences = [f"exporter {name}: {text}" for name, text in proof.failures.items()]
            error = self._back(plan, TimesTenError(f"{several(sentences)}."))
            return Done(reloaded, proof.rows, proof.failures, error.message[len(several(sentences)) + 2 :])
        outcome = f"Configuration and links of {some(touched)} are as before; the others are done and stay"
        try:
            self._take_back(seen, plan, touched, rest)
            self._finish(seen, plan, rest)
        except TimesTenError as error:
            outcome = f"Going back failed as well: {error.message}"
        self.drop(touched)
        return Done(reloaded, proof.rows, proof.failures, outcome)

    def _take_back(self, seen: Observation, plan: ClientPlan, touched: Sequence[str], rest: Sequence[str]) -> None:
        ctx, store = self.ctx, self.ctx.store
        store.switch_all({name: plan.before[name] for name in touched if store.current(name) != plan.before.get(name)})
        # Start from the original file, so that these exporters get back what they had, byte for byte.
        kept = [plan.jobs[name] for name in rest if name not in plan.rejected]
        entries = {name: plan.entries[name] for name in rest}
        entries.update({name: old for name, old in seen.state["exporters"].items() if name in touched})
        has_rules = any(plan.common_rules.values())
        edit = edit_config(ctx.settings, seen, kept, plan.removed, ctx.rules_file.path if has_rules else None)
        if has_rules:
            # By the jobs as they are then: one that was to be adopted is its owner's again.
            view = view_after(seen, edit)
            self._rewrite(ctx.rules_file, plan.rules, rule_file.compose(plan.common_rules, entries, view))
        if ctx.settings.layout == "files" and edit.scrape_file != ctx.scrape_file.read():
            self._rewrite(ctx.scrape_file, plan.edit.scrape_file, edit.scrape_file)
        self._rewrite(ctx.config, plan.edit.config, edit.config)
        if plan.configures:
            self._reload()

    # --- the end

    def _finish(self, seen: Observation, plan: ClientPlan, done: Sequence[str]) -> None:
        """Record what was done, renew the transport key, and remove what nothing uses any more."""
        ctx, store = self.ctx, self.ctx.store
        before = store.state()
        entries = {name: plan.entries[name] for name in done if name not in plan.rejected}
        for name in done:
            delivery = plan.switch.get(name)
            marks = store.marks(name, delivery) if delivery else None
            if marks is not None and name in self._ends:
                entries[name]["files"], entries[name]["not_after"] = marks, self._ends[name]
        for name, entry in before["exporters"].items():
            if name not in plan.removed:
                entries.setdefault(name, entry)
        state: StoreState = {"client": ctx.settings.name, "exporters": entries}
        if plan.rewritten:
            times = before.get("rewritten", {}).get("times", 0) + 1
            state["rewritten"] = {"times": times}
        elif "rewritten" in before:
            state["rewritten"] = before["rewritten"]
        if plan.common_rules:
            state["rules"] = dict(plan.common_rules)
        stays = ("client", "exporters", "rewritten", "rules")
        if "unfinished" in before or any(state.get(key) != before.get(key) for key in stays):
            store.write_state(state)
        for name, delivery in plan.switch.items():
            if name in done:
                if delivery is None:
                    store.forget(name)
                else:
                    store.prune(name, ctx.settings.keep_deliveries)
                    self._settled.pop(name, None)
        for name in plan.removed:
            if name not in plan.named_files:
                store.forget(name)
        if plan.deliver:
            store.renew_transport_key()


def refuse_other_user(processes: Sequence[reload.Process], identity: Account) -> None:
    """:raises TimesTenError: if none of the taker's processes runs as the user for whom everything is stored."""
    if processes and identity.uid not in {process.uid for process in processes}:
        process = processes[0]
        raise TimesTenError(
            f"user: Prometheus (process {process.pid}) runs as uid {process.uid}, not as {identity.name} (uid "
            f"{identity.uid}), and could not read what is stored for that user: set user. Nothing was changed"
        )


def way_of_file(ctx: Context) -> reload.Way:
    """Return the way in which the taker of a scrape file is told to read it again.

    :raises TimesTenError: if that way is not possible, or the taker runs as another user.
    """
    settings = ctx.settings
    if ctx.identity is None:
        raise TimesTenError(f"user: there is no user {settings.user!r} on this host")
    processes = reload.find_processes(ctx.config.path, settings.kind, ctx.paths.inside(ctx.config.path, "scrape_file"))
    refuse_other_user(processes, ctx.identity)
    return reload.find_way_of_file(
        settings.reload, settings.reload_unit, settings.reload_pid_file, ctx.config.path, ctx.identity.uid, processes
    )


def renamer(ctx: Context) -> Callable[[str, str, str], None]:
    """Return a function that makes the taker of a scrape file use another delivery of an exporter: it changes the job's
    file names and tells the taker.

    A second call tells the taker again, which repairs a failure in between.
    """
    lock = threading.Lock()

    def rename(exporter: str, old: str, new: str) -> None:
        home = f"{ctx.store_inside}/{exporter}"
        with lock:
            for _attempt in range(_ATTEMPTS):
                before = ctx.config.read()
                after = (before or b"").replace(f"{home}/{old}/".encode(), f"{home}/{new}/".encode())
                try:
                    if before and after != before:
                        ctx.config.write(after, before, (os.geteuid(), os.getegid(), 0o640))
                    break
                except Moved:
                    continue
            else:
                raise TimesTenError(f"{ctx.config.path} is written by somebody else all the time")
            if ctx.settings.running and ctx.taker is not None:
                reload.tell(ctx.taker, way_of_file(ctx))

    return rename


def rows_of(plan: ClientPlan, settings_names: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Return rows in the task's order, with the reasons for each change and the faults of refused exporters."""
    by_name = {row["name"]: row for row in rows}
    ordered = []
    for name in settings_names:
        row = by_name.get(name) or new_row(name)
        row["why"] = list(plan.reasons.get(name, ()))
        if name in plan.rejected:
            row["failed"], row["msg"] = True, plan.rejected[name]
        ordered.append(row)
    return ordered
