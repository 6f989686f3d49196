# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the outsiders' directories: at the end of a run, before and after the switch of a rotation, and after a
removal.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from ansible_collections.timesten.monitoring.plugins.plugin_utils import outsiders, steps
from ansible_collections.timesten.monitoring.plugins.plugin_utils.answers import ExporterHostAnswer
from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Fleet
from ansible_collections.timesten.monitoring.plugins.plugin_utils.inventory import Inventory
from ansible_collections.timesten.monitoring.plugins.plugin_utils.outsiders import Entry, Outsider, Source
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import SPARE_PORT

Answers = Mapping[str, ExporterHostAnswer]


def sources(
    fleet: Fleet, outsider: Outsider, answers: Answers, only: Collection[str] | None = None, but: Collection[str] = ()
) -> list[Source]:
    """Return the exporters of an outsider with their hosts' answers.

    :param only: names of exporters; None means all.
    :param but: exporters whose answers are ignored.
    """
    found = []
    for exporter in fleet.exporters.values():
        if not outsider.takes(exporter.name) or (only is not None and exporter.name not in only):
            continue
        host = answers.get(exporter.host)
        answer = None if host is None or exporter.name in but else host.exporters.get(exporter.name)
        if exporter.state == "stopped":
            answer = None
        found.append(
            Source(exporter.name, exporter.address, exporter.port, exporter.spare_port, exporter.insecure, answer)
        )
    return found


def delivered(fleet: Fleet) -> dict[str, dict[str, Entry]]:
    """Return the content of the directories by outsider and exporter."""
    return {
        outsider.name: outsiders.read(fleet.run.folder_of(outsider), outsider.public_key)
        for outsider in fleet.run.timesten_outsiders
    }


def at_the_end(inventory: Inventory, check_mode: bool) -> tuple[list[str], list[str]]:
    """Write the exporter hosts' answers to ``site``. Return notes about changes, and problems."""
    fleet = inventory.fleet
    entries = inventory.registered("timesten_rotated").get("entries") or []
    # These exporters were switched after they had answered.
    rotated = {entry["exporter"] for entry in entries if entry["outcome"] == "switched"}
    answers = inventory.exporters([host for host in fleet.exporter_hosts if host in inventory.hosts], steps.CONVERGED)
    notes, problems = [], []
    for outsider in fleet.run.timesten_outsiders:
        directory = fleet.run.folder_of(outsider)
        try:
            found = sources(fleet, outsider, answers, but=rotated)
            changed = outsiders.converge(directory, outsider, found, check_mode)
            if not check_mode:
                _clear_next(fleet, outsider, found)
        except OSError as error:
            problems.append(_unwritten(outsider, directory, error))
            continue
        if changed:
            done = "would change" if check_mode else "changed; hand it over, README.md in it says how to use it"
            notes.append(f"Outsider {outsider.name}: {directory} ({', '.join(changed)}) {done}.")
    return notes, problems


def after_removal(inventory: Inventory, check_mode: bool) -> tuple[list[str], list[str]]:
    """Remove the pairs of removed exporters from the outsiders' directories. Return notes about removals, and problems.

    The pairs of an exporter that could not be removed stay. A directory that does not name its outsider stays too.
    """
    fleet, removal = inventory.fleet, inventory.removal()
    if removal.forget or removal.problems:
        return [], []
    answers = inventory.exporters(removal.exporters, steps.CONVERGED)
    gone = {
        name
        for host, exporters in removal.exporters.items()
        for name in exporters
        if host in answers and name in answers[host].exporters and not answers[host].exporters[name].failed
    }
    notes, problems = [], []
    for outsider in fleet.run.timesten_outsiders:
        directory = fleet.run.folder_of(outsider)
        has = outsiders.read(directory, outsider.public_key)
        mine = sorted(gone & set(has))
        if not mine:
            if gone and not has and os.path.isdir(directory) and fleet.run.remove_everything:
                notes.append(f"Outsider {outsider.name}: {directory} does not hold what was written there, and stays.")
            continue
        stay = sources(fleet, outsider, {}, only=set(fleet.exporters) - gone)
        try:
            outsiders.converge(_next(fleet, outsider), outsider, [], check_mode)
            outsiders.converge(directory, outsider, stay, check_mode)
        except OSError as error:
            problems.append(
                f"what outsider {outsider.name} has could not be taken out of {directory}: {error.strerror}"
            )
            continue
        done = "would go" if check_mode else "went; what was handed over from there opens nothing any more"
        rest = not check_mode and fleet.run.remove_everything and os.path.isdir(directory)
        more = " What else lies there stays." if rest else ""
        notes.append(f"Outsider {outsider.name}: the pairs of {', '.join(mine)} in {directory} {done}.{more}")
    return notes, problems


def _clear_next(fleet: Fleet, outsider: Outsider, found: Collection[Source]) -> None:
    """Remove what an interrupted rotation left. It cannot belong to a running rotation: an exporter that another run
    rotates fails in this run.
    """
    fine = {source.exporter for source in found if source.answer is not None and not source.answer.failed}
    if set(outsiders.read(_next(fleet, outsider), outsider.public_key)) <= fine:
        outsiders.converge(_next(fleet, outsider), outsider, [], False)


def before_the_switch(inventory: Inventory) -> dict[str, str]:
    """Write the pairs that a wave is going to need into the directories ``next``.

    :returns: by exporter, why that failed.
    """
    fleet = inventory.fleet
    staged = inventory.staged(inventory.wave())
    taking_part = {
        name
        for answer in staged.values()
        for name, exporter in answer.exporters.items()
        if not exporter.failed and exporter.rotation is not None and exporter.rotation.skipped is None
    }
    failed = {}
    for outsider in fleet.run.timesten_outsiders:
        directory = _next(fleet, outsider)
        mine = sources(fleet, outsider, staged, taking_part)
        try:
            outsiders.converge(directory, outsider, mine, False, merge=False)
        except OSError as error:
            failed.update(dict.fromkeys((source.exporter for source in mine), _unwritten(outsider, directory, error)))
    return failed


def after_the_switch(inventory: Inventory, switched: Collection[str]) -> list[str]:
    """Write the pairs of the switched exporters, and clear the directories ``next``. Return problems."""
    fleet = inventory.fleet
    staged = inventory.staged(inventory.wave())
    others = set(fleet.exporters) - set(switched)
    problems = []
    for outsider in fleet.run.timesten_outsiders:
        directory = fleet.run.folder_of(outsider)
        try:
            outsiders.converge(directory, outsider, sources(fleet, outsider, staged, but=others), False)
            outsiders.converge(_next(fleet, outsider), outsider, [], False)
        except OSError as error:
            problems.append(_unwritten(outsider, directory, error))
    return problems


def _next(fleet: Fleet, outsider: Outsider) -> str:
    return os.path.join(fleet.run.folder_of(outsider), outsiders.NEXT)


def _unwritten(outsider: Outsider, directory: str, error: OSError) -> str:
    return (
        f"what outsider {outsider.name} needs could not be written to {error.filename or directory}: {error.strerror}; its exporters keep the "
        "encrypted pairs, and the next run of timesten.monitoring.site writes them"
    )


def down(fleet: Fleet, switched: Collection[str], evicted: Collection[str], check_mode: bool) -> list[str]:
    """Return a note for each outsider whose pairs a rotation has replaced, because nobody here can make it use the new
    ones.
    """
    notes = []
    for outsider in fleet.run.timesten_outsiders:
        mine = [name for name in switched if outsider.takes(name)]
        if not mine or outsider.name in evicted:
            continue
        directory = fleet.run.folder_of(outsider)
        way = "rotate_strategy=spare_port with rotate_grace=<seconds> serves both ports meanwhile"
        if fleet.run.rotate_strategy == SPARE_PORT and fleet.run.rotate_grace:
            way = f"with a spare port, both ports {'are' if check_mode else 'were'} served for {fleet.run.rotate_grace:g} s"
        text = "would be down" if check_mode else "is down, unless it has taken them already,"
        notes.append(
            f"Outsider {outsider.name} {text} for {', '.join(mine)} until it takes the new pairs from {directory} ({way})."
        )
    return notes
