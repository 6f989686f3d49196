# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what a call changes, and why: a pure function of the observation and of the task's options."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Any, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs, patterns, rule_file
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    CURRENT,
    LATER,
    Definition,
    Expected,
    Settings,
    StateEntry,
    several,
    some,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.observe import Deliveries, Observation
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.owner import Fleet, fleet_of
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import check_delivery_name

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PAIR = ("generation", "delivery", "sha256", "ca_sha256")
_LIMITS = {"ca_certificate": 1 << 18, "certificate": 1 << 16, "bundle": 1 << 16}
"""Characters. Three CA certificates with RSA keys of 4096 bits have 6,000."""
_CERTIFICATES = 32
_ALT_NAMES = 200


@dataclasses.dataclass(frozen=True)
class ClientPlan:
    """The planned changes.

    :ivar definitions: all exporters of the client after the run, by name.
    :ivar jobs: their jobs.
    :ivar entries: their future entries in the store's state.
    :ivar accepted: the exporters of the task that can be used, in its order.
    :ivar rejected: the other exporters of the task, with the reason; their jobs and deliveries stay as they are.
    :ivar switch: by exporter, the delivery that becomes current; None if it needs none any more.
    :ivar before: by exporter, its present delivery.
    :ivar deliver: exporters whose delivery has to be stored first, with the elements that carry it.
    :ivar reasons: by exporter, what changes and why.
    :ivar obsolete: content of our scrape files that have to be removed, by path.
    :ivar common_rules: by fleet, the groups of our rule file that belong to no exporter; "" if a fleet wants none.
    :ivar rules: our future rule file; None if there is to be none. A file that is not ours stays.
    :ivar rules_source: the present content at its path.
    :ivar present: our jobs in the present configuration.
    :ivar view: the future configuration.
    :ivar absent: jobs that are configured but that Prometheus does not run.
    :ivar followed: exporters whose delivery a rotation has switched, which is still to be proven.
    :ivar rewritten: whether something else has removed our jobs from the configuration since the last run.
    :ivar named_files: removed exporters whose files the configuration still names, because their adopted jobs stay.
    """

    definitions: Mapping[str, Definition]
    jobs: Mapping[str, jobs.Job]
    entries: Mapping[str, StateEntry]
    accepted: tuple[str, ...]
    rejected: Mapping[str, str]
    removed: tuple[str, ...]
    switch: Mapping[str, str | None]
    before: Mapping[str, str | None]
    expected: Mapping[str, Expected]
    deliver: Mapping[str, Mapping[str, Any]]
    reasons: Mapping[str, list[str]]
    source: bytes
    scrape_source: bytes | None
    obsolete: Mapping[str, bytes]
    edit: config.EditResult
    common_rules: Mapping[str, str]
    rules: bytes | None
    rules_source: bytes | None
    present: config.ConfigView
    view: config.ConfigView
    absent: tuple[str, ...]
    followed: tuple[str, ...]
    unmentioned: tuple[str, ...]
    named_files: frozenset[str]
    unfinished: bool
    warnings: tuple[str, ...]
    rewritten: bool = False

    @property
    def configures(self) -> bool:
        """Tell whether a configuration file changes."""
        return self.edit.changed or self.rules != self.rules_source

    @property
    def reloads(self) -> bool:
        """Tell whether Prometheus has to read its configuration again."""
        return self.configures or bool(self.absent) or self.unfinished

    @property
    def changed(self) -> bool:
        """Tell whether anything changes."""
        return self.reloads or any((self.switch, self.removed, self.deliver, self.followed))


@dataclasses.dataclass
class _Delivery:
    """What happens to the pair of one exporter."""

    entry: StateEntry
    expected: Expected | None = None
    switches: bool = False
    carried: bool = False
    followed: bool = False
    reasons: list[str] = dataclasses.field(default_factory=list)


def decide(
    settings: Settings, seen: Observation, rejected: Mapping[str, str], check_mode: bool, store: str
) -> ClientPlan:
    """Compare the task's options with the observation, and return the plan.

    :param rejected: exporters with a bad delivery, with the reason.
    :param store: path of the store.
    :raises TimesTenError: before anything is touched, if the task as a whole cannot be done.
    """
    _check_task(settings, seen)
    known = seen.state["exporters"]
    fleet = fleet_of(settings, seen.state)
    elements, faults = _accept(settings, seen, rejected, check_mode, store)
    removal = _removal(settings, known, elements, fleet)
    protected = {name for name in known if name in faults or not fleet.owns(known[name])}
    previous = {name: entry["definition"] for name, entry in known.items()}
    definitions = jobs.merge(previous, elements.values(), settings.defaults, removal, settings.purge, both_ports=True)
    definitions = dict(sorted({**{name: previous[name] for name in protected}, **definitions}.items()))
    names.check_distinct(definitions, "exporters")
    ours = set(known)
    if settings.layout == "template" or seen.view.layout != "template":
        # Jobs in the view without an entry were adopted once and then released, so they have no marks.
        ours |= set(seen.view.ours)
    gone = sorted(name for name in ours - set(definitions) - set(faults) if settings.purge or name in removal)
    pairs = {
        name: _decide_pair(name, element, known.get(name), seen.deliveries.get(name, Deliveries()))
        for name, element in elements.items()
    }
    built = {
        name: jobs.build(definition, store, _named(settings, known.get(name), pairs.get(name)))
        for name, definition in definitions.items()
    }
    common_rules = _common_rules(settings, seen, definitions, elements, fleet)
    rules_path = _rules_path(settings, seen, common_rules)
    edit = _edit(settings, seen, built, gone, faults, rules_path)
    return _Decision(
        settings, seen, fleet, definitions, built, tuple(elements), faults, gone, edit, pairs, store, common_rules
    ).plan()


def _common_rules(
    settings: Settings, seen: Observation, definitions: Mapping[str, Any], elements: Mapping[str, Any], fleet: Fleet
) -> dict[str, str]:
    """Return, by fleet, the groups of our rule file that belong to no exporter, for fleets that have exporters here."""
    if settings.kind == "scrape_file":
        return {}  # the reader of a scrape file evaluates no rules
    known = seen.state["exporters"]
    owners = {name: known[name].get("fleet", "") if name in known else "" for name in definitions}
    owners.update(
        {name: fleet.name for name, owner in owners.items() if name in elements or owner == fleet.former != ""}
    )
    texts = rule_file.commons(seen.state.get("rules"))
    if settings.rules is not None:
        # A text without a fleet was written before there were fleets.
        texts = {
            **{name: text for name, text in texts.items() if name not in ("", fleet.former)},
            fleet.name: settings.rules,
        }
    elif fleet.former in texts and fleet.former:
        texts[fleet.name] = texts.pop(fleet.former)
    return {name: text for name, text in texts.items() if name in owners.values()}


def _rules_path(settings: Settings, seen: Observation, common_rules: Mapping[str, str]) -> str | None:
    """Return the rule file that the configuration has to name.

    :raises TimesTenError: if another file has that path.
    """
    if not any(common_rules.values()):
        return None
    path = rule_file.place(settings)
    if seen.rules is not None and not rule_file.is_ours(seen.rules):
        raise TimesTenError(
            f"rules_file: {path} exists and was not written by this collection: choose another path, or move it away. "
            f"Nothing was changed"
        )
    return path


def _check_task(settings: Settings, seen: Observation) -> None:
    rule_file.check(settings.rules or "", "rules")
    revision = seen.state["revision"]
    if settings.revision is not None and settings.revision != revision:
        by = seen.state.get("by")
        raise TimesTenError(
            f"store: {settings.store} was changed by another run{f' ({by})' if by else ''} since it was inspected "
            f"(revision {revision}, not {settings.revision}); nothing was changed, run again"
        )
    for path, client in seen.neighbours.items():
        if client != settings.name:
            raise TimesTenError(
                f"config_file: the jobs of client {client!r} are in {path}: give each Prometheus of a host a configuration "
                f"and a scrape_file of its own. If there is no {client!r} any more, take its block out by hand. Nothing was "
                f"changed"
            )
    mentioned = [element["name"] for element in settings.exporters]
    names.check_distinct(mentioned, "exporters")
    both = sorted(set(settings.remove or ()).intersection(mentioned))
    if both:
        raise TimesTenError(f"remove: {', '.join(both)} cannot be in both remove and exporters")


def _removal(
    settings: Settings, known: Mapping[str, StateEntry], elements: Mapping[str, Any], fleet: Fleet
) -> set[str]:
    removal = set(settings.remove or ())
    foreign = [name for name in removal if not fleet.owns(known.get(name))]
    if foreign:
        raise TimesTenError(f"remove: {fleet.refusal(known, foreign)}. Nothing was changed")
    # With exporters that stay, ``remove`` is what the roles' purge has found, so a fleet that is not sure refuses it
    # too.
    if not fleet.is_sure and (settings.purge or (removal and settings.exporters)):
        raise TimesTenError(f"purge: {fleet.doubt(known, settings.fleet_exporters)}. Nothing was changed")
    if not settings.both_ports:
        left = jobs.left_ports(elements.values())
        removal |= {name for name in left if fleet.owns(known.get(name))}
    return removal


# --- the elements -----------------------------------------------------------------------------------------------------


def _accept(
    settings: Settings, seen: Observation, rejected: Mapping[str, str], check_mode: bool, store: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the elements that can be used, and by exporter what is wrong with the others."""
    known = seen.state["exporters"]
    fleet = fleet_of(settings, seen.state)
    elements, faults = {}, dict(rejected)
    for number, item in enumerate(settings.exporters):
        name = item["name"]
        if name in faults:
            continue
        try:
            element = check_element(number, item, check_mode)
            if not fleet.owns(known.get(name)):
                raise TimesTenError(f"exporter {fleet.refusal(known, [name])}")
            definition = jobs.merge({}, [element], settings.defaults)[name]
            jobs.build(definition, store)
            _check_carried(element, seen.deliveries.get(name, Deliveries()), check_mode)
        except TimesTenError as error:
            faults[name] = error.message
        else:
            elements[name] = element
    return elements, faults


def check_element(number: int, item: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return an element of ``exporters`` without its unset options.

    :raises TimesTenError: naming what is wrong with it.
    """
    where = f"exporters[{number}]"
    element = {key: value for key, value in item.items() if value is not None}
    name = names.check_name(element["name"], f"{where}: name")
    alt_names = element.get("alt_names", ())
    if LATER in alt_names:
        del element["alt_names"]
    elif len(alt_names) > _ALT_NAMES:
        raise TimesTenError(f"{where} ({name}): alt_names has {len(alt_names)} names, more than {_ALT_NAMES}")
    else:
        for alt_name in alt_names:
            names.check_host(alt_name.rstrip("."), f"{where} ({name}): alt_names", wildcard=True)
    rule_file.check(element.get("rules", ""), "exporters[].rules")
    names.check_name(element.get("previous", "x"), f"{where} ({name}): previous")
    if element.get("insecure"):
        return element
    missing = [key for key in _PAIR if not element.get(key)]
    if missing:
        raise TimesTenError(
            f"{where} ({name}): {', '.join(missing)} must be given unless insecure is true; they are in "
            f"the answer of tt_exporter_host"
        )
    if any(element[key] == LATER for key in _PAIR):
        if not check_mode:
            raise TimesTenError(f"exporter {name}: {LATER!r} is an answer of check mode; it cannot be delivered")
        return element
    check_delivery_name(element["delivery"], element["generation"], f"exporter {name}")
    for key in ("sha256", "ca_sha256"):
        if not _SHA256.match(element[key]):
            raise TimesTenError(f"exporter {name}: {key}: {element[key][:80]!r} is not a SHA-256 fingerprint")
    for key, limit in _LIMITS.items():
        if len(element.get(key, "")) > limit:
            raise TimesTenError(f"exporter {name}: {key} has {len(element[key])} characters, more than {limit}")
    if element.get("ca_certificate", "").count("-----BEGIN") > _CERTIFICATES:
        raise TimesTenError(f"exporter {name}: ca_certificate holds more than {_CERTIFICATES} certificates")
    return element


def _expected(name: str, element: Mapping[str, Any]) -> Expected:
    return Expected(name, *(element[key] for key in _PAIR))


def _is_stored(element: Mapping[str, Any], stored: Deliveries) -> bool:
    """Tell whether the delivery that an element names is stored, in use or not."""
    expected = _expected(element["name"], element)
    one = stored.in_use if stored.current == expected.delivery else stored.named
    return one is not None and one.fits(expected)


def _check_carried(element: Mapping[str, Any], stored: Deliveries, check_mode: bool) -> None:
    """:raises TimesTenError: if a delivery is neither stored nor part of the task."""
    if element.get("insecure") or check_mode or _is_stored(element, stored):
        return
    if not element.get("bundle") or not element.get("certificate"):
        raise TimesTenError(
            f"exporter {element['name']}: delivery {element['delivery']} is not stored here and the task carries no "
            f"certificate and bundle: let the exporter's host answer in the same run (timesten.monitoring.site does)"
        )
    if not element.get("ca_certificate") and stored.current is None:
        raise TimesTenError(f"exporter {element['name']}: the task carries no ca_certificate and none is stored")


def _decide_pair(name: str, element: Mapping[str, Any], entry: StateEntry | None, stored: Deliveries) -> _Delivery:
    current = stored.current
    if element.get("insecure"):
        outcome = _Delivery({"generation": None, "delivery": None, "sha256": None, "ca_sha256": None})
        if current is not None:
            outcome.switches = True
            outcome.reasons.append("it is insecure now and needs no pair")
        return outcome
    expected = _expected(name, element)
    outcome = _Delivery(
        {
            "generation": expected.generation,
            "delivery": expected.delivery,
            "sha256": expected.sha256,
            "ca_sha256": expected.ca_sha256,
        },
        expected,
    )
    noted = (entry or {}).get("delivery")
    if current == expected.delivery and stored.in_use is not None and stored.in_use.fits(expected):
        outcome.entry["not_after"], outcome.entry["files"] = stored.in_use.not_after, stored.in_use.files
        if noted is not None and noted != expected.delivery:
            outcome.followed = True
            outcome.reasons.append(f"delivery {expected.delivery} replaced {noted} in a rotation")
        return outcome
    outcome.switches = True
    if current is None:
        outcome.reasons.append("no pair is stored")
    elif stored.in_use is None:
        outcome.reasons.append(f"the stored delivery {current} is damaged")
    elif expected.delivery != current:
        outcome.reasons.append(f"delivery {expected.delivery} replaces {current}")
    else:
        outcome.reasons.append(f"the stored delivery {current} is another one than the exporter's of that name")
    known = LATER not in (expected.generation, expected.delivery, expected.sha256, expected.ca_sha256)
    outcome.carried = (
        known and not _is_stored(element, stored) and bool(element.get("bundle") and element.get("certificate"))
    )
    return outcome


def _named(settings: Settings, entry: StateEntry | None, pair: _Delivery | None) -> str:
    """Return the name that an exporter's job uses in the store: the link, or the delivery itself for a taker that reads
    a CA file only once.
    """
    if settings.kind == "prometheus":
        return CURRENT
    state = pair.entry if pair is not None else entry or {}
    return state.get("delivery") or CURRENT


# --- the configuration ------------------------------------------------------------------------------------------------


def _edit(
    settings: Settings,
    seen: Observation,
    built: Mapping[str, jobs.Job],
    gone: Iterable[str],
    faults: Mapping[str, str],
    rules_path: str | None,
) -> config.EditResult:
    if settings.layout == "template":
        if settings.rendered is None:
            raise TimesTenError("rendered: layout template needs the whole file; the role prometheus_host renders it")
        try:
            edit = config.check_rendered(seen.files, settings.rendered.encode("utf-8"), built.values())
        except TimesTenError as error:
            # The template was given all jobs, so an exporter that was left out is the reason for the error.
            raise TimesTenError(several([*faults.values(), error.message] if faults else [error.message])) from error
        return _with_rules(seen.files, edit, rules_path)
    return edit_config(settings, seen, [job for name, job in built.items() if name not in faults], gone, rules_path)


def check_version(layout: str, version: str) -> None:
    """:raises TimesTenError: if a Prometheus of this version does not know what a layout writes."""
    if layout == "files" and [int(part) for part in re.findall(r"\d+", version)[:2]] < [2, 43]:
        raise TimesTenError(
            f"layout files needs Prometheus 2.43 or later, this one is {version}: use layout inline. Nothing was changed"
        )


def beside_another_role(settings: Settings, view: config.ConfigView) -> str:
    """Return the advice for a host where another role writes the whole configuration: a file that its
    scrape_config_files name.
    """
    if settings.kind == "scrape_file":
        return "Give this collection a scrape_file that nothing else writes"
    directory = posixpath.dirname(settings.config_file)
    for pattern in view.patterns:
        place = posixpath.normpath(posixpath.join(directory, pattern.replace("*", "timesten", 1)))
        if "*" in posixpath.basename(pattern) and patterns.matches(pattern, place, directory):
            return f"Its scrape_config_files name {pattern}: set layout to files and scrape_file to {place}, and nothing is lost again"
    place = f"{directory}/scrape.d/timesten.yml"
    if settings.layout == "files":
        return f"Have that role write scrape_config_files: [{settings.scrape_file}], and nothing is lost again"
    return (
        f"Have that role write scrape_config_files: [{directory}/scrape.d/*.yml], set layout to files and scrape_file to {place}, and "
        f"nothing is lost again (Prometheus 2.43 or later; for an older one set layout to template, and let this collection write the file)"
    )


def _rules_beside_another_role(settings: Settings) -> str:
    """The same for our rule file."""
    place = f"{posixpath.dirname(settings.config_file)}/rules.d"
    return (
        f"Have that role write rule_files: [{place}/*.yml] and set rules_file to {place}/timesten.yml, or set prometheus_host_rules to "
        f"false"
    )


def edit_config(
    settings: Settings, seen: Observation, asked_jobs: Iterable[jobs.Job], gone: Iterable[str], rules_path: str | None
) -> config.EditResult:
    """Set and remove jobs, and the name of our rule file, in the observed configuration, according to the task's
    options.
    """
    files = seen.files
    if rules_path is None:
        # Remove the rule file's name first, because it was added last: the file then becomes what it was.
        files = dataclasses.replace(files, config=config.name_rules(files.config, files.path, None, files.paths))
    edit = config.edit(
        files,
        asked_jobs,
        layout=settings.layout,
        remove=gone,
        on_existing=settings.on_existing,
        former=_former(settings, seen),
    )
    return _with_rules(seen.files, edit, rules_path)


def view_after(seen: Observation, edit: config.EditResult) -> config.ConfigView:
    """Return how the observed configuration reads after an edit."""
    if not edit.changed:
        return seen.view
    others = {path: data for path, data in seen.files.others.items() if path not in edit.obsolete}
    files = dataclasses.replace(seen.files, config=edit.config, scrape_file=edit.scrape_file, others=others)
    return config.read(files)


def _former(settings: Settings, seen: Observation) -> list[jobs.Job]:
    """The jobs as they were written last, where the configuration has none of our marks."""
    if seen.view.layout != "template":
        return []
    return [
        jobs.build(entry["definition"], seen.files.store, _named(settings, entry, None))
        for entry in seen.state["exporters"].values()
    ]


def _with_rules(files: config.Files, edit: config.EditResult, rules_path: str | None) -> config.EditResult:
    text = config.name_rules(edit.config, files.path, rules_path, files.paths)
    rewritten = edit.scrape_file is not None and edit.scrape_file != files.scrape_file
    changed = text != files.config or bool(edit.obsolete) or rewritten
    return dataclasses.replace(edit, config=text, changed=changed)


# --- the outcome ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Decision:
    """The parts from which a plan is put together."""

    settings: Settings
    seen: Observation
    fleet: Fleet
    definitions: dict[str, Definition]
    built: dict[str, jobs.Job]
    accepted: tuple[str, ...]
    rejected: dict[str, str]
    gone: list[str]
    edit: config.EditResult
    pairs: dict[str, _Delivery]
    store: str
    common_rules: Mapping[str, str]

    def plan(self) -> ClientPlan:
        """Return the plan."""
        settings, seen, edit = self.settings, self.seen, self.edit
        reasons: dict[str, list[str]] = {name: [] for name in (*self.definitions, *self.rejected)}
        for name, pair in self.pairs.items():
            reasons[name] += pair.reasons
        for name in edit.added:
            reasons.setdefault(name, []).append("it has no job yet")
        for name in edit.changed_names:
            reasons.setdefault(name, []).append("its job differs")
        named_files = frozenset(name for name in self.gone if f"{self.store}/{name}/".encode() in edit.config)
        lost, rules_lost = self._wiped(), self._rules_wiped()
        warnings = self._warnings(reasons, named_files, lost, rules_lost)
        absent = self._absent()
        for name in absent:
            reasons[name].append("Prometheus does not have its job although the configuration does")
        view = view_after(seen, edit)
        elements = {item["name"]: item for item in settings.exporters}
        contents = {**seen.files.others, seen.files.scrape_path: seen.files.scrape_file or b""}
        entries = self._entries()
        rules = seen.rules
        if any(self.common_rules.values()):
            rules = rule_file.compose(self.common_rules, entries, view)
        elif rules is not None and rule_file.is_ours(rules):
            rules = None
        return ClientPlan(
            definitions=self.definitions,
            jobs=self.built,
            entries=entries,
            accepted=self.accepted,
            rejected=self.rejected,
            removed=tuple(self.gone),
            switch={
                name: pair.expected.delivery if pair.expected else None
                for name, pair in self.pairs.items()
                if pair.switches
            },
            before={name: seen.deliveries.get(name, Deliveries()).current for name in self.pairs},
            expected={name: pair.expected for name, pair in self.pairs.items() if pair.expected},
            deliver={name: elements[name] for name, pair in self.pairs.items() if pair.carried},
            reasons=reasons,
            source=seen.files.config,
            scrape_source=seen.files.scrape_file,
            obsolete={path: contents[path] for path in edit.obsolete},
            edit=edit,
            common_rules=self.common_rules,
            rules=rules,
            rules_source=seen.rules,
            present=seen.view,
            view=view,
            absent=absent,
            followed=tuple(name for name, pair in self.pairs.items() if pair.followed),
            unmentioned=self._unmentioned(),
            named_files=named_files,
            unfinished=bool(seen.state.get("unfinished")),
            warnings=tuple(warnings),
            rewritten=bool(lost) or rules_lost,
        )

    def _entries(self) -> dict[str, StateEntry]:
        known = self.seen.state["exporters"]
        given = {item["name"]: item["rules"] for item in self.settings.exporters if item.get("rules") is not None}
        entries: dict[str, StateEntry] = {}
        for name, definition in self.definitions.items():
            entry: StateEntry = {**known.get(name, {}), "definition": definition}
            if name in self.pairs:
                entry.pop("files", None)
                entry.pop("not_after", None)
                entry.update(self.pairs[name].entry)
                if name in given:
                    entry["rules"] = given[name]
            # A given name replaces the derived one in every entry, or exporters that left the inventory would belong to
            # nobody.
            if self.fleet.name and (name in self.pairs or entry.get("fleet", "") == self.fleet.former != ""):
                entry["fleet"] = self.fleet.name
            entries[name] = entry
        return entries

    def _unmentioned(self) -> tuple[str, ...]:
        known = self.seen.state["exporters"]
        rest = set(self.definitions) - set(self.accepted) - set(self.rejected)
        return tuple(sorted(name for name in rest if self.fleet.owns(known.get(name))))

    def _warnings(
        self, reasons: dict[str, list[str]], named_files: Iterable[str], lost: list[str], rules_lost: bool
    ) -> list[str]:
        settings, seen = self.settings, self.seen
        warnings = []
        if lost or rules_lost:
            times = seen.state.get("rewritten", {}).get("times", 0) + 1
            again = "" if times == 1 else f", {times} times so far"
            missing = [f"held the jobs of {some(lost)}"] if lost else []
            ways = [beside_another_role(settings, seen.view)] if lost else []
            if rules_lost:
                missing.append(f"named {rule_file.place(settings)} in rule_files")
                ways.append(_rules_beside_another_role(settings))
            warnings.append(
                f"{settings.config_file} no longer {' and no longer '.join(missing)}: something else rewrites the file "
                f"(a role that templates it whole?){again}; they are put back. {'. '.join(ways)}"
            )
            for name in lost:
                if name in reasons:
                    reasons[name].append("its job was wiped from the configuration")
        unmentioned = self._unmentioned()
        if unmentioned and settings.exporters:
            warnings.append(
                f"not mentioned by this run and left as they are: {some(unmentioned)}; purge: true removes them"
            )
        for name in sorted(named_files):
            warnings.append(
                f"exporter {name}: its job was adopted and stays in {settings.config_file} as a plain one, and so does "
                f"{self.store}/{name}, whose files it names; remove both once that job is not wanted any more"
            )
        for name in self.edit.kept:
            warnings.append(
                f"exporter {name}: a hand-written job scrapes it and is kept (on_existing: keep); it is not ours "
                f"and not checked"
            )
        return warnings

    def _wiped(self) -> list[str]:
        """Return the exporters whose jobs something else has removed from the configuration since the last run."""
        seen = self.seen
        if seen.state.get("unfinished") or self.settings.layout == "template":
            return []
        return sorted(set(seen.state["exporters"]) - set(seen.view.ours) - set(self.edit.kept) - set(self.rejected))

    def _rules_wiped(self) -> bool:
        """Whether something else has taken the line with our rule file out of the configuration since the last run."""
        seen = self.seen
        if seen.state.get("unfinished") or self.settings.layout == "template" or seen.rules is None:
            return False
        had_rules = any(rule_file.commons(seen.state.get("rules")).values())
        is_named = config.has_rule_line(seen.files.config or b"")
        return had_rules and not is_named and config.has_rule_line(self.edit.config)

    def _absent(self) -> tuple[str, ...]:
        """Return the jobs that the file has and Prometheus does not run. Nothing else shows that it could not read a
        job's files at the last reload.
        """
        running = self.seen.jobs
        if running is None:
            return ()
        return tuple(
            name
            for name, job in self.seen.view.ours.items()
            if name in self.pairs
            and not self.pairs[name].switches
            and name not in self.edit.changed_names
            and job.job_name not in running
        )
