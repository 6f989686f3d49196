# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds hand-written jobs of exporters that are to get a job of ours, before anything is changed."""

from __future__ import annotations

import contextlib
import urllib.parse
from typing import Any, Iterable, Mapping

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, jobs
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Target
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import Settings


def shown(view: config.ConfigView, targets: Iterable[Target]) -> dict[str, str]:
    """Return by address the hand-written job that scrapes it without naming it: from a file, or by relabelling."""
    plain = {job.job_name for job in view.foreign}
    named = {target.lower() for job in view.foreign for target in job.targets}
    by_address = {
        urllib.parse.urlsplit(target.url).netloc.lower(): target.job for target in targets if target.job in plain
    }
    return {address: job for address, job in by_address.items() if address not in named}


def may_be_in_the_way(settings: Settings, view: config.ConfigView) -> bool:
    """Tell whether there are hand-written jobs beside exporters that have no job of ours yet."""
    return bool(view.foreign) and any(element["name"] not in view.ours for element in settings.exporters)


def candidates(
    settings: Settings, view: config.ConfigView, store: str, others: Mapping[str, str] | None = None
) -> dict[str, jobs.Job]:
    """Return, by exporter, the job that the task would create for it, if a hand-written job has that name or target.

    :param others: from :func:`shown`.
    """
    # If there are no marks of ours, a job with the name of one of ours counts as left by the layout template.
    plain = [*view.foreign, *(view.ours.values() if view.layout == "template" else ())]
    if settings.layout == "template" or not plain:
        return {}
    taken = {job.job_name for job in plain}
    targets = {target.lower() for job in plain for target in job.targets}
    matches = {}
    for element in settings.exporters:
        name = element["name"]
        if name not in view.ours and names.other_port(name) in view.ours:
            # The exporter is on its other port, and so is its job.
            continue
        # If an element is wrong, that is reported when its job is made.
        with contextlib.suppress(TimesTenError):
            given = {key: value for key, value in element.items() if value is not None}
            job = jobs.build(jobs.merge({}, [given], settings.defaults)[name], store)
            # An exporter that has its job keeps it, whoever else scrapes its target.
            shown_only = name not in view.ours and job.target.lower() in (others or {})
            if job.name in taken or job.target.lower() in targets or shown_only:
                matches[name] = job
    return matches


def in_the_way(
    settings: Settings, files: config.Files, asked_jobs: Mapping[str, jobs.Job], others: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return by exporter why it cannot get its job.

    :param others: from :func:`shown`. Such a job can neither be adopted nor kept in place of ours.
    """
    faults = _unfit(settings, files, asked_jobs)
    for name, job in asked_jobs.items():
        other = (others or {}).get(job.target.lower())
        if other is not None:
            faults.setdefault(
                name,
                f"the hand-written job {other!r} scrapes {job.target} too, from a file or by relabelling, so that its target cannot be given "
                f"to a job of ours: take {job.target} out of it",
            )
    return faults


def _unfit(settings: Settings, files: config.Files, asked_jobs: Mapping[str, jobs.Job]) -> dict[str, str]:

    def problem(some: Iterable[jobs.Job]) -> str | None:
        try:
            config.edit(files, some, layout=settings.layout, on_existing=settings.on_existing)
        except TimesTenError as error:
            return error.message
        return None

    if not asked_jobs or problem(asked_jobs.values()) is None:
        return {}
    told = {name: problem([job]) for name, job in asked_jobs.items()}
    return {name: text for name, text in told.items() if text is not None}


def scrapes(
    view: config.ConfigView, asked_jobs: Mapping[str, jobs.Job], targets: Iterable[Target]
) -> dict[str, dict[str, Any]]:
    """Return, by exporter, the last scrape by its hand-written job."""
    intervals = {job.job_name: job.interval for job in view.foreign}
    exporters = {job.target.lower(): name for name, job in asked_jobs.items()}
    last_scrapes = {}
    for target in targets:
        exporter = exporters.get(target.labels.get("__address__", "").lower())
        if exporter is not None and target.job in intervals and target.scraped:
            last_scrapes[exporter] = target.last_scrape(intervals[target.job])
    return last_scrapes
