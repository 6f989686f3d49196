# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Prometheus: what it should scrape, what it does, what would change and why, the change itself, and the proof."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import os
import re
import ssl
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterable, Iterator, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import api as _prometheus_api
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config as _prometheus_config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import jobs as _prometheus_jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import live as _prometheus_live
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import store as _prometheus_store
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import switch as _prometheus_switch
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import Expected
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import certificates as _certificates
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import probe as _tls_probe
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import seal as _seal

LATER = "known after apply"
"""What check mode says of a value that only the real run can make."""

JOB_OPTIONS = (
    "scrape_interval",
    "scrape_timeout",
    "metrics_path",
    "labels",
    "job_label",
    "honor_labels",
    "extra",
)
"""Options of a job: of one exporter, or the task's default for all."""

_DEFINITION = ("name", "address", "port", "usual_port", "insecure", "alt_names", *JOB_OPTIONS)
_DISCOVERY = 15.0
"""Seconds. New targets are handed over every 5 s; three times that, for a busy machine."""
_PROBES_AT_ONCE = 64
_REFUSAL_SETTLE = 5.0
"""Seconds that an exporter has to refuse. One that does not is waited for, so that a slow one is not called open."""
_MESSAGES = 10
"""Failures that are spelled out in a message; the result holds all of them."""
_SECRET = re.compile(
    r"""(?:[\w-]*(?:password|secret|token|credentials|private_key|access_key|api_key)[\w-]*|\bca|\bcert|\bkey)["']?"""
    r"""[ \t]*:[ \t]*(?=\S)""",
    re.IGNORECASE,
)
_KEY_MATERIAL = re.compile(r"^.?[ \t]*[A-Za-z0-9+/=]{40,}[ \t]*$|-----BEGIN")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The task's options; the module's documentation describes them."""

    name: str
    config_file: str
    store: str
    user: str
    group: str | None
    promtool: str | None
    layout: str
    scrape_file: str
    rendered: str | None
    on_existing: str
    reload: str
    reload_unit: str
    reload_pid_file: str | None
    running: bool
    purge: bool
    remove: tuple[str, ...] | None
    keep_deliveries: int
    wait_timeout: float | None
    revision: str | None
    run: Mapping[str, Any]
    exporters: tuple[Mapping[str, Any], ...]
    defaults: Mapping[str, Any]
    both_ports: bool = False


@dataclasses.dataclass
class Plan:
    """What would change.

    :ivar definitions: all exporters of the client after the run, by name.
    :ivar entries: what the store's state will say of each.
    :ivar switch: exporter to the delivery that becomes current, None where it needs none any more.
    :ivar deliver: deliveries that have to be written first, with the elements that carry them.
    :ivar why: reasons by exporter.
    :ivar absent: jobs that are configured and that Prometheus does not have.
    :ivar followed: exporters whose delivery was switched in a rotation, which is still to be proven.
    """

    definitions: dict[str, dict[str, Any]]
    entries: dict[str, dict[str, Any]]
    mentioned: list[str]
    removed: list[str]
    switch: dict[str, str | None]
    before: dict[str, str | None]
    expected: dict[str, Expected]
    deliver: list[tuple[Expected, Mapping[str, Any]]]
    facts: dict[str, Any]
    why: dict[str, list[str]]
    source: bytes
    scrape_source: bytes | None
    edit: _prometheus_config.EditResult
    view: _prometheus_config.ConfigView
    absent: list[str]
    unfinished: bool
    warnings: list[str]
    followed: list[str] = dataclasses.field(default_factory=list)

    @property
    def configures(self) -> bool:
        """Whether a configuration file changes."""
        return self.edit.changed

    @property
    def reloads(self) -> bool:
        """Whether Prometheus has to read its configuration again."""
        return self.configures or bool(self.absent) or self.unfinished

    @property
    def changed(self) -> bool:
        """Whether anything changes."""
        return self.reloads or bool(self.switch) or bool(self.removed) or bool(self.deliver) or bool(self.followed)


def merge(
    previous: Mapping[str, Mapping[str, Any]],
    exporters: Iterable[Mapping[str, Any]],
    defaults: Mapping[str, Any],
    remove: Iterable[str] = (),
    purge: bool = False,
    both_ports: bool = False,
) -> dict[str, dict[str, Any]]:
    """Bring together what is stored and what the task mentions. The same is used on the controller for the layout
    ``template``.

    :param previous: definitions by exporter, as the store has them.
    :param exporters: elements of the task's ``exporters``.
    :param defaults: the task's own job options.
    :param remove: exporters that go.
    :param purge: whether all that are not mentioned go.
    :param both_ports: whether the job of a mentioned exporter's other port stays.
    """
    merged = {} if purge else {name: dict(definition) for name, definition in previous.items()}
    for exporter in exporters:
        definition = {key: exporter[key] for key in _DEFINITION if exporter.get(key) is not None}
        for key in JOB_OPTIONS:
            if key not in definition and defaults.get(key) is not None:
                definition[key] = defaults[key]
        name = exporter["name"]
        known = previous.get(name, previous.get(_names.other_port(name), {})).get("alt_names")
        # Where nothing is known of the certificate's names, nothing new is known: the job stays as it is.
        if "alt_names" not in definition and known is not None and not exporter.get("insecure"):
            definition["alt_names"] = known
        merged[exporter["name"]] = definition
    for name in [*remove, *([] if both_ports else left_ports(exporters))]:
        merged.pop(name, None)
    return dict(sorted(merged.items()))


def left_ports(exporters: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names that the jobs of these exporters' other ports have."""
    names = {exporter["name"] for exporter in exporters}
    return {_names.other_port(name) for name in names} - names


class PrometheusHost:
    """One client on its host.

    :param api: None where Prometheus is not to be talked to.
    """

    def __init__(self, settings: Settings, api: _prometheus_api.Api | None, check_mode: bool) -> None:
        self._set = settings
        self._api = api if settings.running else None
        self._check = check_mode
        self._warnings: list[str] = []
        _names.check_name(settings.name, "name")
        self._identity = self._account()
        self.store = _prometheus_store.Store(settings.store, self._identity)
        self._config = _prometheus_live.ConfigFile(settings.config_file)
        self._scrape_file = _prometheus_live.ConfigFile(settings.scrape_file)

    def _account(self) -> _prometheus_store.Account | None:
        try:
            return _prometheus_store.account(self._set.user, self._set.group)
        except TimesTenError as error:
            # Before Prometheus is installed, check mode still predicts.
            if not self._check or os.geteuid() != 0:
                raise
            self._warnings.append(error.message)
            return None

    # --- inspect

    def inspect(self) -> dict[str, Any]:
        """Read what a run of the exporter hosts has to know of this client; makes the transport key where there is
        none."""
        with self.store.locked():
            state = self._state()
            private = self.store.transport_key()
            if private is not None:
                public = _seal.public_key(private)
            elif self._check:
                public = _seal.new_transport_key()[1]
            else:
                self.store.prepare()
                public = self.store.renew_transport_key()
            stored = {}
            for name in state["exporters"]:
                found = self._stored(name)
                if found:
                    found.pop("certificate")
                    stored[name] = found
        _source, view = self._read(tolerant=True)
        wanted = self._set.defaults.get("scrape_interval")
        own = None if wanted is None else _prometheus_jobs.parse_duration(wanted, "scrape_interval")
        return {
            "changed": private is None,
            "name": self._set.name,
            "transport_key": public,
            "stored": stored,
            "scrape_interval": own or view.scrape_interval,
            "scrape_intervals": {name: own or job.interval for name, job in view.ours.items()},
            "definitions": {name: entry["definition"] for name, entry in state["exporters"].items()},
            "layout": view.layout,
            "version": self._version(),
            "revision": state["revision"],
            "warnings": self._warnings,
        }

    def _state(self) -> dict[str, Any]:
        state = self.store.state()
        owner = state.get("client", self._set.name)
        if owner != self._set.name:
            raise TimesTenError(
                f"store: {self.store.path} belongs to client {owner!r}, not to {self._set.name!r}: give each "
                f"Prometheus of a host a store of its own"
            )
        return state

    def _stored(self, exporter: str) -> dict[str, Any] | None:
        delivery = self.store.current(exporter)
        return None if delivery is None else self.store.facts(exporter, delivery)

    def _version(self) -> str | None:
        if self._api is None:
            return None
        try:
            return self._api.version()
        except _prometheus_api.NotAnswering as error:
            self._warnings.append(error.message)
            return None

    def _read(self, tolerant: bool = False) -> tuple[bytes, _prometheus_config.ConfigView]:
        source = self._config.read()
        if source is None:
            message = (
                f"config_file: {self._config.path} does not exist; install Prometheus first, or set config_file to "
                "where it is"
            )
            if not (self._check or tolerant):
                raise TimesTenError(message)
            self._warnings.append(message)
            source = b""
        return source, _prometheus_config.read(self._files(source, self._scrape_file.read()))

    def _files(self, source: bytes, scrape_source: bytes | None) -> _prometheus_config.Files:
        return _prometheus_config.Files(
            source, self._config.path, self.store.path, self._scrape_file.path, scrape_source, self._others(source)
        )

    def _others(self, source: bytes) -> dict[str, bytes]:
        """Scrape files of other people, where hand-written jobs may be, and of ours at another path."""
        return {
            path: _prometheus_live.ConfigFile(path).read() or b""
            for path in _prometheus_config.scrape_files(source, self._config.path)
            if os.path.realpath(path) != self._scrape_file.real and not os.path.isdir(path)
        }

    # --- plan

    def plan(self) -> Plan:
        """Compare what the task asks for with what is there; nothing is written.

        :raises TimesTenError: before anything is touched, where the task cannot be done.
        """
        state = self._state()
        if self._set.revision is not None and self._set.revision != state["revision"]:
            raise TimesTenError(
                f"store: {self.store.path} was changed by another run{_named(state.get('by'))} since it was inspected "
                f"(revision {state['revision']}, not {self._set.revision}); nothing was changed, run again"
            )
        known = state["exporters"]
        exporters = [self._checked(number, item) for number, item in enumerate(self._set.exporters)]
        mentioned = [item["name"] for item in exporters]
        removal = set(self._set.remove or ())
        both = sorted(removal.intersection(mentioned))
        if both:
            raise TimesTenError(f"remove: {', '.join(both)} cannot be in both remove and exporters")
        previous = {name: entry["definition"] for name, entry in known.items()}
        if not self._set.both_ports:
            removal |= left_ports(exporters)
        definitions = merge(previous, exporters, self._set.defaults, removal, self._set.purge, both_ports=True)
        _names.check_distinct(definitions, "exporters")
        jobs = [_prometheus_jobs.build(definition, self.store.path) for definition in definitions.values()]
        source, before_view = self._read()
        scrape_source = self._scrape_file.read()
        edit = self._edit(source, scrape_source, jobs, removal)
        view = before_view
        if edit.changed:
            files = self._files(edit.config, edit.scrape_file)
            others = {path: data for path, data in files.others.items() if path not in edit.obsolete}
            view = _prometheus_config.read(dataclasses.replace(files, others=others))
        ours = set(known)
        if self._set.layout == "template" or before_view.layout != "template":
            # Else they have no marks: jobs that were adopted once, and left as plain ones.
            ours |= set(before_view.ours)
        plan = Plan(
            definitions=definitions,
            entries={},
            mentioned=mentioned,
            removed=sorted(name for name in ours - set(definitions) if self._set.purge or name in removal),
            switch={},
            before={},
            expected={},
            deliver=[],
            facts={},
            why={name: [] for name in definitions},
            source=source,
            scrape_source=scrape_source,
            edit=edit,
            view=view,
            absent=[],
            unfinished=bool(state.get("unfinished")),
            warnings=self._warnings,
        )
        for name, definition in definitions.items():
            plan.entries[name] = dict(known.get(name, {}), definition=definition)
        for item in exporters:
            self._plan_delivery(plan, item)
        for name in edit.added:
            plan.why.setdefault(name, []).append("it has no job yet")
        for name in edit.changed_names:
            plan.why.setdefault(name, []).append("its job differs")
        self._notice(plan, known, before_view)
        self._plan_absent(plan, before_view)
        return plan

    @staticmethod
    def _checked(number: int, item: Mapping[str, Any]) -> dict[str, Any]:
        """An element of ``exporters``, less what was not given."""
        where = f"exporters[{number}]"
        exporter = {key: value for key, value in item.items() if value is not None}
        name = _names.check_name(exporter["name"], f"{where}: name")
        if LATER in exporter.get("alt_names", ()):
            del exporter["alt_names"]
        if not exporter.get("insecure"):
            missing = [key for key in ("generation", "delivery", "sha256", "ca_sha256") if not exporter.get(key)]
            if missing:
                raise TimesTenError(
                    f"{where} ({name}): {', '.join(missing)} must be given unless insecure is true; they are in "
                    f"the answer of tt_exporter_host"
                )
        return exporter

    def _edit(
        self,
        source: bytes,
        scrape_source: bytes | None,
        jobs: Sequence[_prometheus_jobs.Job],
        remove: Iterable[str],
        purge: bool | None = None,
    ) -> _prometheus_config.EditResult:
        if self._set.layout == "template":
            if self._set.rendered is None:
                raise TimesTenError(
                    "rendered: layout template needs the whole file; the role prometheus_host renders it"
                )
            return _prometheus_config.check_rendered(
                self._files(source, scrape_source), self._set.rendered.encode("utf-8"), jobs
            )
        return _prometheus_config.edit(
            self._files(source, scrape_source),
            jobs,
            layout=self._set.layout,
            remove=remove,
            purge=self._set.purge if purge is None else purge,
            on_existing=self._set.on_existing,
        )

    def _plan_delivery(self, plan: Plan, item: Mapping[str, Any]) -> None:
        name = item["name"]
        current = self.store.current(name)
        plan.before[name] = current
        if item.get("insecure"):
            plan.entries[name].update(generation=None, delivery=None, sha256=None, ca_sha256=None)
            if current is not None:
                plan.switch[name] = None
                plan.why[name].append("it is insecure now and needs no pair")
            return
        expected = Expected(name, item["generation"], item["delivery"], item["sha256"], item["ca_sha256"])
        noted = plan.entries[name].get("delivery")
        plan.entries[name].update(
            generation=expected.generation,
            delivery=expected.delivery,
            sha256=expected.sha256,
            ca_sha256=expected.ca_sha256,
        )
        plan.expected[name] = expected
        stored = None if current is None else self.store.facts(name, current)
        plan.facts[name] = None if stored is None else stored["certificate"]
        if current == expected.delivery and _is(stored, expected):
            if noted is not None and noted != expected.delivery:
                plan.followed.append(name)
                plan.why[name].append(f"delivery {expected.delivery} replaced {noted} in a rotation")
            return
        plan.switch[name] = expected.delivery
        if current is None:
            plan.why[name].append("no pair is stored")
        elif stored is None:
            plan.why[name].append(f"the stored delivery {current} is damaged")
        elif expected.delivery != current:
            plan.why[name].append(f"delivery {expected.delivery} replaces {current}")
        else:
            plan.why[name].append(f"the stored delivery {current} is another one than the exporter's of that name")
        if LATER in (expected.generation, expected.delivery, expected.sha256, expected.ca_sha256):
            if not self._check:
                raise TimesTenError(f"exporter {name}: {LATER!r} is an answer of check mode; it cannot be delivered")
            return
        _prometheus_store.check_delivery_name(expected.delivery, expected.generation, f"exporter {name}")
        if expected.delivery != current and _is(self.store.facts(name, expected.delivery), expected):
            return  # staged before
        if not item.get("bundle") or not item.get("certificate"):
            if self._check:
                return
            raise TimesTenError(
                f"exporter {name}: delivery {expected.delivery} is not stored here and the task carries no "
                f"certificate and bundle: let the exporter's host "
                "answer in the same run (timesten.monitoring.site does)"
            )
        plan.deliver.append((expected, item))

    def _notice(self, plan: Plan, known: Mapping[str, Any], view: _prometheus_config.ConfigView) -> None:
        lost = sorted(set(known) - set(view.ours) - set(plan.edit.kept))
        if lost and not plan.unfinished and self._set.layout != "template":
            plan.warnings.append(
                f"{self._config.path} no longer held the jobs of {_some(lost)}: something else rewrites the file "
                f"(a role that templates it whole?); "
                "they are put back. Have that role keep them, or use layout template"
            )
            for name in lost:
                if name in plan.why:
                    plan.why[name].append("its job was wiped from the configuration")
        unmentioned = sorted(set(plan.definitions) - set(plan.mentioned))
        if unmentioned and self._set.exporters:
            plan.warnings.append(
                f"not mentioned by this run and left as they are: {_some(unmentioned)}; purge: true removes them"
            )
        for name in plan.removed:
            if self._is_named(plan, name):
                plan.warnings.append(
                    f"exporter {name}: its job was adopted and stays in {self._config.path} as a plain one, and so does "
                    f"{self.store.directory(name)}, whose files it names; remove both once that job is not wanted any more"
                )
        for name in plan.edit.kept:
            plan.warnings.append(
                f"exporter {name}: a hand-written job scrapes it and is kept (on_existing: keep); it is not ours "
                f"and not checked"
            )

    def _plan_absent(self, plan: Plan, view: _prometheus_config.ConfigView) -> None:
        """Find jobs that the file has and Prometheus does not: with files that it could not read at the last reload
        there is no other sign."""
        if self._api is None:
            return
        wanted = {
            name: job.job_name for name, job in view.ours.items() if name in plan.mentioned and name not in plan.switch
        }
        wanted = {name: job for name, job in wanted.items() if name not in plan.edit.changed_names}
        deadline = time.monotonic() + _DISCOVERY
        while wanted:
            try:
                present = {target.job for target in self._api.targets()}
            except _prometheus_api.NotAnswering as error:
                if not self._check:
                    raise TimesTenError(
                        f"{error.message} Nothing was changed. Set prometheus_running: false to store and check "
                        f"files without it"
                    ) from error
                plan.warnings.append(error.message)
                return
            missing = [name for name, job in wanted.items() if job not in present]
            if not missing:
                return
            if time.monotonic() > deadline or plan.configures or plan.unfinished:
                plan.absent = missing
                for name in missing:
                    plan.why[name].append("Prometheus does not have its job although the configuration does")
                return
            time.sleep(0.5)

    # --- apply

    def apply(self, plan: Plan) -> dict[str, Any]:
        """Make the change, prove it, and go back where it does not work.

        :raises TimesTenError: with what was wrong, what came back, and the report as details.
        """
        self._preflight()
        if self._identity is None:
            raise TimesTenError(f"user: there is no user {self._set.user!r} on this host")
        self.store.prepare()
        fresh = self._stage(plan)
        first = {name: delivery for name, delivery in plan.switch.items() if delivery and plan.before[name] is None}
        reloaded: str | bool = False
        try:
            self._check_as_user(plan)
            # promtool looks for the certificate, so a first delivery has to be in place before; nothing live names it
            # yet.
            self.store.switch_all(first)
            with self._candidates(plan) as (config, scrape):
                self._mark_unfinished(plan)
                self.store.switch_all(
                    {name: delivery for name, delivery in plan.switch.items() if name not in first and delivery}
                )
                if scrape:
                    self._scrape_file.commit(scrape)
                if config:
                    self._config.commit(config)
            if plan.reloads:
                reloaded = self._reload() or False
            report, failures = self._health(plan, time.time())
        except Exception as error:
            # Whatever it was, what is live must not stay half done.
            cause = error if isinstance(error, TimesTenError) else TimesTenError(f"{type(error).__name__}: {error}.")
            raise self._back(plan, fresh, list(plan.switch), cause) from error
        if failures:
            self._undo_failed(plan, fresh, report, failures)
        self._finish(plan, sorted(plan.definitions))
        return {"reloaded": reloaded, "report": report}

    def _preflight(self) -> None:
        """Ask Prometheus before anything is touched: whether it is there, and whether it is the one that reads this
        file."""
        if self._api is None:
            return
        try:
            given = self._api.flags().get("config.file", "")
        except _prometheus_api.NotAnswering as error:
            raise TimesTenError(
                f"{error.message} Nothing was changed. Set prometheus_running: false to store and check files "
                f"without it"
            ) from error
        if os.path.isabs(given) and os.path.exists(given) and os.path.realpath(given) != self._config.real:
            raise TimesTenError(
                f"the Prometheus at {self._api.url} reads {given}, not config_file {self._config.path}: set url "
                f"or config_file so that both belong "
                "to the same instance. Nothing was changed"
            )
        if self._set.layout == "files":
            version = self._api.version()
            if [int(part) for part in re.findall(r"\d+", version)[:2]] < [2, 43]:
                raise TimesTenError(
                    f"layout files needs Prometheus 2.43 or later, this one is {version}: use layout inline. "
                    f"Nothing was changed"
                )

    def _stage(self, plan: Plan) -> list[Expected]:
        """Open all bundles, and only then write the first file."""
        if not plan.deliver:
            return []
        private = self.store.transport_key()
        if private is None:
            raise TimesTenError(
                f"there is no transport key in {self.store.path}: run the task with state inspected first "
                f"(timesten.monitoring.site does)"
            )
        opened = []
        for expected, item in plan.deliver:
            authority = item.get("ca_certificate")
            data = authority.encode("utf-8") if authority else self._known_authority(expected)
            opened.append(
                (
                    expected,
                    *_prometheus_store.unseal(
                        expected, self._set.name, item["bundle"], item["certificate"].encode("utf-8"), data, private
                    ),
                )
            )
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda args: self.store.stage(*args), opened))
        return [expected for expected, *_rest in opened]

    def _known_authority(self, expected: Expected) -> bytes:
        """The CA file of the delivery in use: a renewed pair comes from the same CA."""
        current = self.store.current(expected.exporter)
        if current is None:
            raise TimesTenError(f"exporter {expected.exporter}: the task carries no ca_certificate and none is stored")
        with open(os.path.join(self.store.directory(expected.exporter, current), "ca.crt"), "rb") as stream:
            return stream.read()

    def _check_as_user(self, plan: Plan) -> None:
        places = [
            (self.store.directory(name, delivery), plan.expected[name])
            for name, delivery in sorted(plan.switch.items())
            if delivery is not None
        ]
        if not places or self._identity is None:
            return
        now = _certificates.timestamp(_certificates.utcnow())
        faults = _prometheus_store.as_user(self._identity, lambda: _prometheus_store.check_files(places, now))
        if faults:
            raise TimesTenError(f"as user {self._identity.name}: " + _several(faults))

    @contextlib.contextmanager
    def _candidates(self, plan: Plan) -> Iterator[tuple[str | None, str | None]]:
        """Candidates of the files that change, beside them and approved by promtool; what is not committed goes."""
        identity = self._identity
        if identity is None or not plan.configures:
            yield None, None
            return
        tool = self._promtool()
        made = []
        fallback = (os.geteuid(), identity.gid, 0o640)
        try:
            scrape = None
            config_data = plan.edit.config
            if plan.edit.scrape_file is not None and plan.edit.scrape_file != plan.scrape_source:
                scrape = self._scrape_file.stage(plan.edit.scrape_file, fallback)
                made.append(scrape)
                with self._scrape_file.beside(scrape) as place:
                    _prometheus_live.check(tool, place, identity)
                # The file that will be read, not the one that is there: only for the check.
                config_data = config_data.replace(self._scrape_file.path.encode("utf-8"), scrape.encode("utf-8"))
            if config_data != plan.source:
                checked = self._config.stage(config_data, fallback)
                made.append(checked)
                with self._config.beside(checked) as place:
                    _prometheus_live.check(tool, place, identity)
                config: str | None = checked
                if config_data != plan.edit.config:
                    config = None if plan.edit.config == plan.source else self._config.stage(plan.edit.config, fallback)
                    made += [config] if config else []
            else:
                config = None
            yield config, scrape
        finally:
            for path in made:
                _prometheus_live.discard(path)

    def _promtool(self) -> str:
        tool = _prometheus_live.find_promtool(self._set.promtool)
        if tool is None:
            raise TimesTenError(
                f"promtool: {self._set.promtool or 'promtool'} was not found; it comes with Prometheus (Debian "
                f"13: package promtool). Set its path"
            )
        return tool

    def _mark_unfinished(self, plan: Plan) -> None:
        """From here on until the state is written again, another run has to assume that Prometheus may not have read
        what the file says."""
        if plan.reloads or plan.switch:
            state = self.store.state()
            self.store.write_state(dict(state, client=self._set.name, unfinished=True))

    def _reload(self) -> str | None:
        if self._api is None or self._identity is None:
            return None
        return _prometheus_live.reload(
            self._api,
            self._set.reload,
            self._set.reload_unit,
            self._set.reload_pid_file,
            self._config.path,
            self._identity.uid,
        )

    # --- going back

    def _back(self, plan: Plan, fresh: Sequence[Expected], names: Sequence[str], cause: TimesTenError) -> TimesTenError:
        """Put files and links of the whole run back, reload, and return the error to raise."""
        trouble = []
        wrote = False
        try:
            self._restore_links(plan, names)
            wrote = self._config.read() != plan.source
            if wrote:
                self._config.write(plan.source, (os.geteuid(), self._gid(), 0o640))
            if self._set.layout == "files" and self._scrape_file.read() != plan.scrape_source:
                self._scrape_file.write(plan.scrape_source, (os.geteuid(), self._gid(), 0o640))
                wrote = True
            if wrote:
                self._reload()
        except TimesTenError as error:
            trouble.append(error.message)
        self._drop(fresh)
        if not trouble:
            self._clear_unfinished()
            outcome = "The previous links are in place, and the configuration was not touched."
            if wrote:
                outcome = "The previous configuration and links are back, and Prometheus has read them."
        else:
            outcome = "Going back failed as well: " + "; ".join(trouble)
        return TimesTenError(f"{cause.message.rstrip('.')}. {outcome}", **cause.details)

    def _gid(self) -> int:
        return self._identity.gid if self._identity is not None else os.getegid()

    def _restore_links(self, plan: Plan, names: Iterable[str]) -> None:
        self.store.switch_all(
            {name: plan.before[name] for name in names if self.store.current(name) != plan.before[name]}
        )

    def _drop(self, fresh: Iterable[Expected]) -> None:
        for expected in fresh:
            if self.store.current(expected.exporter) != expected.delivery:
                self.store.drop(expected.exporter, expected.delivery)

    def _clear_unfinished(self) -> None:
        state = self.store.state()
        if state.pop("unfinished", None):
            self.store.write_state(state)

    def _undo_failed(
        self, plan: Plan, fresh: Sequence[Expected], report: list[dict[str, Any]], failures: list[dict[str, Any]]
    ) -> None:
        """Take back exactly the exporters that do not work; the others are done and stay.

        :raises TimesTenError: always.
        """
        message = _several(
            [f"exporter {item['name']}: {item['last_error'] or 'not up'} -> {item['advice']}" for item in failures]
        )
        touched = [item["name"] for item in failures if plan.why[item["name"]]]
        if not touched:
            self._finish(plan, sorted(plan.definitions))
            raise TimesTenError(f"{message}. Nothing of these was changed by this run", exporters=report)
        rest = sorted(set(plan.definitions) - set(touched))
        if not set(rest).intersection(name for name, why in plan.why.items() if why) or self._set.layout == "template":
            raise self._back(plan, fresh, list(plan.switch), TimesTenError(message + ".", exporters=report))
        outcome = f"Configuration and links of {_some(touched)} are as before; the others are done and stay"
        try:
            self._restore_links(plan, touched)
            # From the file as it was: what these exporters had there comes back byte for byte.
            jobs = [_prometheus_jobs.build(plan.definitions[name], self.store.path) for name in rest]
            edit = self._edit(plan.source, plan.scrape_source, jobs, plan.removed, purge=False)
            fallback = (os.geteuid(), self._gid(), 0o640)
            if edit.scrape_file != self._scrape_file.read() and self._set.layout == "files":
                self._scrape_file.write(edit.scrape_file, fallback)
            self._config.write(edit.config, fallback)
            if plan.configures:
                self._reload()
            self._finish(plan, rest)
        except TimesTenError as error:
            outcome = f"Going back failed as well: {error.message}"
        self._drop(expected for expected in fresh if expected.exporter in touched)
        raise TimesTenError(f"{message}. {outcome}", exporters=report)

    def _finish(self, plan: Plan, done: Sequence[str]) -> None:
        """Remember what is done, renew the transport key, and clear away what nothing uses any more."""
        before = self.store.state()
        entries = {name: plan.entries[name] for name in done}
        entries.update(
            {
                name: entry
                for name, entry in before["exporters"].items()
                if name not in entries and name not in plan.removed
            }
        )
        state = {"client": self._set.name, "exporters": entries}
        if entries != before["exporters"] or "unfinished" in before or before.get("client") != self._set.name:
            self.store.write_state(state)
        for path in plan.edit.obsolete if plan.configures else ():
            _prometheus_live.ConfigFile(path).write(None, (0, 0, 0))
        for name, delivery in plan.switch.items():
            if name in done:
                if delivery is None:
                    self.store.forget(name)
                else:
                    self.store.prune(name, self._set.keep_deliveries)
        for name in plan.removed:
            if not self._is_named(plan, name):
                self.store.forget(name)
        if plan.deliver:
            self.store.renew_transport_key()

    def _is_named(self, plan: Plan, name: str) -> bool:
        """Whether the configuration still names files of an exporter: without them, promtool would refuse all of it."""
        return f"{self.store.directory(name)}/".encode() in plan.edit.config

    # --- proof

    def _health(self, plan: Plan, moment: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Wait until all mentioned targets are up, the changed ones by a scrape that began after the change.

        :returns: the report, and its elements that are not up.
        """
        names = [name for name in plan.mentioned if name not in plan.edit.kept]
        report = {name: _row(name) for name in plan.mentioned}
        if self._api is None or not names:
            return list(report.values()), []
        since = {name: moment if plan.why[name] else 0.0 for name in names}
        jobs = {name: plan.view.ours[name].job_name for name in names}
        limit = self._set.wait_timeout
        if limit is None:
            limit = 2 * max(plan.view.ours[name].interval for name in names) + _DISCOVERY
        found = self._await(jobs, since, limit)
        failures = []
        for name in names:
            target = found.get(jobs[name])
            row = report[name]
            row["up"] = target is not None and target.health == "up" and target.scraped >= since[name]
            row["last_error"] = _last_error(target)
            if not row["up"]:
                failures.append(row)
        self._advise(plan, failures, found, jobs)
        return list(report.values()), failures

    def _await(
        self, jobs: Mapping[str, str], since: Mapping[str, float], limit: float
    ) -> dict[str, _prometheus_api.Target]:
        """Targets by job: the one that proved itself, else the last that was seen.

        One good scrape is the proof: among a thousand targets there may always be one that has just missed a scrape.
        """
        if self._api is None:
            return {}
        deadline = time.monotonic() + limit
        pause = 0.1
        waiting = dict(jobs)
        found: dict[str, _prometheus_api.Target] = {}
        while True:
            seen = {target.job: target for target in self._api.targets()}
            for name, job in list(waiting.items()):
                target = seen.get(job)
                if target is None:
                    found.pop(job, None)
                    continue
                found[job] = target
                if target.health == "up" and target.scraped >= since[name]:
                    del waiting[name]
            if not waiting or time.monotonic() > deadline:
                return found
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)

    def _advise(
        self,
        plan: Plan,
        failures: Sequence[dict[str, Any]],
        found: Mapping[str, _prometheus_api.Target],
        jobs: Mapping[str, str],
    ) -> None:
        """Say for each failure what to do: by the files as the Prometheus user sees them, by a handshake, and by
        Prometheus's words."""
        for row in failures:
            name = row["name"]
            faults: list[str] = []
            if name in plan.expected and self._identity is not None:
                current = self.store.directory(name, "current")
                check = [(current, plan.expected[name])]
                now = _certificates.timestamp(_certificates.utcnow())
                faults = _prometheus_store.as_user(
                    self._identity, functools.partial(_prometheus_store.check_files, check, now)
                )
            if faults:
                row["advice"] = faults[0]
                continue
            probe = None if plan.definitions[name].get("insecure") else self._shake(plan.definitions[name]).status
            if jobs[name] not in found:
                row["last_error"] = "the job is absent: Prometheus has the configuration but made no target of it"
                row["advice"] = (
                    "Prometheus could not use one of the job's files when it read the configuration (its log "
                    "says which: error creating new scrape pool); "
                    "as its user they can be read from here, so look at the sandbox of its unit (ProtectHome, "
                    "ProtectSystem, InaccessiblePaths)"
                )
            else:
                row["advice"] = _prometheus_api.advice(row["last_error"], probe)

    def _shake(self, definition: Mapping[str, Any]) -> _tls_probe.Outcome:
        """A handshake as Prometheus does it, with the pair in use."""
        job = _prometheus_jobs.build(definition, self.store.path).config["tls_config"]
        try:
            return _tls_probe.tls(
                definition["address"],
                definition["port"],
                job["ca_file"],
                job["cert_file"],
                job["key_file"],
                job.get("server_name", definition["address"]),
            )
        except OSError as error:
            return _tls_probe.Outcome("files", str(error))

    def refusals(
        self,
        names: Sequence[str],
        entries: Mapping[str, Mapping[str, Any]],
        report: Sequence[dict[str, Any]],
        shake: bool,
    ) -> list[str]:
        """Prove for exporters that the delivered pair is accepted and that nobody else is; fills the report.

        No request is sent, so nothing is counted against the exporter's rate limit.

        :param entries: the store's word on all exporters of the client.
        :param report: rows as ``present`` and ``verified`` return them.
        :param shake: whether to try the delivered pair also where Prometheus has just proven it by a scrape.
        :returns: one sentence for each thing that is not as it should be.
        """
        secured = [name for name in names if not entries[name]["definition"].get("insecure")]
        if not secured:
            return []
        rows = {row["name"]: row for row in report}
        with tempfile.TemporaryDirectory(prefix="timesten-probe-") as directory:
            intruders = self._intruders(entries, directory)
            nobody = _tls_probe.client_context()

            def prove(name: str) -> list[str]:
                foreign = next(context for ca, context in intruders if ca is None or ca != entries[name]["ca_sha256"])
                return self._prove(
                    entries[name]["definition"], nobody, foreign, rows[name], shake or not rows[name]["up"]
                )

            with ThreadPoolExecutor(max_workers=min(_PROBES_AT_ONCE, len(secured))) as pool:
                faults = list(pool.map(prove, secured))
        return [fault for group in faults for fault in group]

    def _intruders(
        self, entries: Mapping[str, Mapping[str, Any]], directory: str
    ) -> list[tuple[str | None, ssl.SSLContext]]:
        """Pairs to be refused with, by the CA that they come from: those of two other exporters where there are such,
        and one of nobody's."""
        found: dict[str | None, ssl.SSLContext] = {}
        for name, entry in entries.items():
            authority = entry.get("ca_sha256")
            if authority and authority not in found and len(found) < 2:
                place = self.store.directory(name, "current")
                with contextlib.suppress(OSError):
                    found[authority] = _tls_probe.client_context(
                        None, os.path.join(place, "client.crt"), os.path.join(place, "client.key")
                    )
        found[None] = _tls_probe.client_context(None, *_tls_probe.stranger_pair(directory))
        return list(found.items())

    def _prove(
        self,
        definition: Mapping[str, Any],
        nobody: ssl.SSLContext,
        foreign: ssl.SSLContext,
        row: dict[str, Any],
        shake: bool,
    ) -> list[str]:
        host, port = definition["address"], definition["port"]
        where = f"exporter {definition['name']} ({_names.target(host, port)})"
        faults = []
        row["accepted"] = True
        if shake:
            own = self._shake(definition)
            row["served_sha256"] = own.sha256
            row["accepted"] = own.status == _tls_probe.ACCEPTED
            if not row["accepted"]:
                faults.append(
                    f"{where}: the handshake with the delivered pair was not accepted but {own.status} ({own.detail})"
                )
        bare = _tls_probe.tls(host, port, settle=_REFUSAL_SETTLE, context=nobody)
        row["served_sha256"] = row["served_sha256"] or bare.sha256
        for key, how, outcome in (
            ("refused_without_certificate", "without a certificate", bare),
            (
                "refused_foreign_pair",
                "with a foreign pair",
                _tls_probe.tls(host, port, settle=_REFUSAL_SETTLE, context=foreign),
            ),
            ("refused_plain_http", "over plain http", _tls_probe.plain_http(host, port, settle=_REFUSAL_SETTLE)),
        ):
            row[key] = outcome.status == _tls_probe.REFUSED
            if not row[key]:
                faults.append(f"{where}: a connection {how} was not refused but {outcome.status} ({outcome.detail})")
        return faults

    # --- staged

    def staged(self) -> dict[str, Any]:
        """Write the deliveries beside those in use and check them as the Prometheus user; nothing live changes.

        :returns: with ``scrapes``: for each exporter that is scraped already when (by this host's clock), how
            long it took, and how often.
        """
        with self._held():
            plan = self.plan()
            self._check_ports(plan)
            if not self._check:
                self._preflight()
                self._stage(plan)
                self._check_as_user(plan)
                if plan.deliver:
                    self.store.renew_transport_key()
        return {
            "changed": bool(plan.deliver),
            "scrapes": self._scrapes(plan),
            "warnings": plan.warnings,
            "revision": self.store.state()["revision"],
        }

    def _check_ports(self, plan: Plan) -> None:
        """:raises TimesTenError: if an exporter would change its port while a job that cannot be taken away names it."""
        known = self._state()["exporters"]
        for name in plan.mentioned:
            job = plan.view.ours.get(_names.other_port(name))
            if name not in known and _names.other_port(name) in known and (job is None or job.adopted):
                exporter = _names.exporter_of(name)
                raise TimesTenError(
                    f"exporter {exporter}: the strategy spare_port replaces its job, and "
                    + (
                        f"job {job.job_name} was adopted"
                        if job is not None
                        else f"{self._config.path} has none of ours"
                    )
                    + "; rotate it with rotate_strategy=gap"
                )

    def _scrapes(self, plan: Plan) -> dict[str, dict[str, Any]]:
        if self._api is None:
            return {}
        targets = {target.job: target for target in self._api.targets()}
        found = {}
        for name in plan.mentioned:
            for job_of in (_names.other_port(name), name):
                job = plan.view.ours.get(job_of)
                target = None if job is None else targets.get(job.job_name)
                if job is not None and target is not None and target.scraped:
                    found[name] = {
                        "scraped": target.scraped,
                        "took": target.took,
                        "interval": job.interval,
                        "health": target.health,
                    }
        return found

    def release(self) -> dict[str, Any]:
        """End the following of a rotation; see :func:`prometheus.switch.release`."""
        with self._held():
            return _prometheus_switch.release(self.store, self._set.exporters, self._set.keep_deliveries, self._check)

    # --- verified, present, absent

    def verify(self) -> dict[str, Any]:
        """Prove all, or the mentioned, exporters; nothing is changed."""
        state = self._state()
        known = state["exporters"]
        names = [item["name"] for item in self._set.exporters] or sorted(known)
        strangers = sorted(set(names) - set(known))
        if strangers:
            raise TimesTenError(
                f"exporters: nothing is stored for {_some(strangers)}: run timesten.monitoring.site first"
            )
        definitions = {name: entry["definition"] for name, entry in known.items()}
        source, view = self._read()
        lost = sorted(set(names) - set(view.ours))
        expected = {
            name: Expected(
                name,
                known[name]["generation"],
                known[name]["delivery"],
                known[name]["sha256"],
                known[name]["ca_sha256"],
            )
            for name in names
            if known[name].get("delivery")
        }
        nothing = _prometheus_config.EditResult(source, kept=lost)
        plan = Plan(
            definitions,
            known,
            names,
            [],
            {},
            {},
            expected,
            [],
            {},
            {name: [] for name in names},
            source,
            None,
            nothing,
            view,
            [],
            False,
            self._warnings,
        )
        report, failures = self._health(plan, 0.0)
        faults = [
            f"exporter {name}: {self._config.path} has no job of ours for it: run timesten.monitoring.site"
            for name in lost
        ]
        faults += [f"exporter {row['name']}: {row['last_error'] or 'not up'} -> {row['advice']}" for row in failures]
        faults += self.refusals(names, known, report, shake=True)
        if faults:
            raise TimesTenError(_several(faults), exporters=report)
        return {
            "changed": False,
            "exporters": report,
            "revision": state["revision"],
            "version": self._version(),
            "warnings": self._warnings,
        }

    def present(self) -> tuple[Plan, dict[str, Any]]:
        """Plan and, unless in check mode, apply; the caller adds the diff."""
        with self._held():
            plan = self.plan()
            result: dict[str, Any] = {
                "changed": plan.changed,
                "exporters": [_row(name) for name in plan.mentioned],
                "reloaded": False,
                "removed": plan.removed,
                "unmentioned": sorted(set(plan.definitions) - set(plan.mentioned)),
                "warnings": plan.warnings,
            }
            if self._check:
                self._check_candidate(plan)
            else:
                done = self.apply(plan)
                report = done["report"]
                changed = [name for name in plan.mentioned if plan.why[name] and name not in plan.edit.kept]
                faults = self.refusals(changed, plan.entries, report, shake=False)
                result.update(exporters=report, reloaded=done["reloaded"])
                if faults:
                    raise TimesTenError(
                        f"{_several(faults)}. Pairs and jobs are in place and Prometheus scrapes, but the "
                        f"exporters are not closed to others",
                        exporters=report,
                    )
            for row in result["exporters"]:
                row["why"] = plan.why[row["name"]]
            result["revision"] = self.store.state()["revision"]
            result["version"] = self._version()
        return plan, result

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        if not self._check:
            self.store.prepare()
            with self.store.locked():
                yield
        else:
            yield

    def diff(self, plan: Plan) -> list[dict[str, Any]]:
        """What changes, as Ansible shows it: lines of the configuration, and facts of certificates."""
        text = file_diff(self._config.path, plan.source, plan.edit.config)
        if self._set.layout == "files" or plan.edit.scrape_file is not None:
            text += file_diff(self._scrape_file.path, plan.scrape_source or b"", plan.edit.scrape_file or b"")
        before, after = certificate_diff(plan)
        shown: list[dict[str, Any]] = [{"prepared": text}] if text else []
        if before != after:
            header = f"certificates of client {self._set.name}"
            shown.append({"before_header": header, "after_header": header, "before": before, "after": after})
        return shown

    def _check_candidate(self, plan: Plan) -> None:
        """In check mode: promtool on the syntax alone, since the files that it would look for are not there yet."""
        if not plan.configures or self._identity is None:
            return
        tool = _prometheus_live.find_promtool(self._set.promtool)
        if tool is None:
            plan.warnings.append("promtool was not found; the new configuration was not checked by it")
            return
        with _prometheus_live.scratch(plan.edit.config, self._identity) as path:
            _prometheus_live.check(tool, path, self._identity, syntax_only=True)

    def absent(self) -> tuple[Plan, dict[str, Any]]:
        """Remove the named exporters, or everything of ours."""
        everything = self._set.remove is None
        if everything:
            self._set = dataclasses.replace(self._set, purge=True, exporters=())
        existed = os.path.isdir(self.store.path)
        _prometheus_switch.refuse_while_following(self.store, self._set.run)
        with self._held():
            plan = self.plan()
            is_kept = functools.partial(self._is_named, plan)
            cleared = (
                everything
                and existed
                and (bool(self.store.remains(is_kept)) or set(os.listdir(self.store.path)) <= {".lock"})
            )
            result: dict[str, Any] = {
                "changed": plan.changed or cleared,
                "removed": plan.removed,
                "reloaded": False,
                "warnings": plan.warnings,
            }
            if self._check:
                self._check_candidate(plan)
            elif plan.changed:
                result["reloaded"] = self.apply(plan)["reloaded"]
            if everything and not self._check:
                self.store.destroy(is_kept)
        return plan, result


def _is(stored: Mapping[str, Any] | None, expected: Expected) -> bool:
    return stored is not None and stored["sha256"] == expected.sha256 and stored["ca_sha256"] == expected.ca_sha256


def _row(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "up": None,
        "last_error": "",
        "advice": "",
        "accepted": None,
        "refused_without_certificate": None,
        "refused_foreign_pair": None,
        "refused_plain_http": None,
        "served_sha256": None,
    }


def _last_error(target: _prometheus_api.Target | None) -> str:
    return "" if target is None else re.sub(r'^Get "[^"]*": ', "", target.error)


def _some(names: Sequence[str]) -> str:
    text = ", ".join(names[:_MESSAGES])
    return text if len(names) <= _MESSAGES else f"{text} and {len(names) - _MESSAGES} more"


def _named(run: str | None) -> str:
    return f" ({run})" if run else ""


def _several(sentences: Sequence[str]) -> str:
    text = "; ".join(sentences[:_MESSAGES])
    return (
        text
        if len(sentences) <= _MESSAGES
        else f"{text}; and {len(sentences) - _MESSAGES} more, see exporters in the result"
    )


# --- diff
# -------------------------------------------------------------------------------------------------------------------------------


def file_diff(path: str, before: bytes, after: bytes) -> str:
    """The changed lines of a configuration file, without a line of context and with values that may be secret hidden.

    :returns: a unified diff; "" where nothing differs.
    """
    old, new = (data.decode("utf-8", "replace").splitlines(keepends=True) for data in (before, after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    lines = list(difflib.unified_diff(old[start : len(old) - end], new[start : len(new) - end], path, path, n=0))
    return "".join(_hidden(lines))


def _hidden(lines: Iterable[str]) -> Iterator[str]:
    """Hide values of keys that hold secrets, also where they run over several lines."""
    column: int | None = None
    for line in lines:
        text = line.rstrip("\r\n")
        depth = len(text) - len(text[1:].lstrip()) - 1
        if text.startswith(("---", "+++", "@@")):
            column = None
        elif column is not None and (not text[1:].strip() or depth > column):
            text = text[0] + "(hidden)"
        else:
            found = _SECRET.search(text)
            column = None if found is None else found.start() - 1
            if found is not None:
                text = text[: found.end()] + "(hidden)"
            elif _KEY_MATERIAL.search(text):
                text = text[0] + "(hidden)"
        yield text + "\n"


def certificate_diff(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts of the client certificates before and after, of those that change; never a key."""
    before = {name: plan.facts.get(name) for name in plan.switch}
    after: dict[str, Any] = {}
    for name, delivery in plan.switch.items():
        after[name] = None if delivery is None else {"delivery": delivery, "sha256": plan.expected[name].sha256}
    for expected, item in plan.deliver:
        certificate = _certificates.load_one(
            item["certificate"].encode("utf-8"), f"exporter {expected.exporter}: certificate"
        )
        after[expected.exporter] = _certificates.facts(certificate)
    return before, after
