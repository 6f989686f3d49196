# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Acts around a wave of a rotation: silences its alerts (``rotate_silence``), and adds an annotation afterwards
(``rotate_annotation``).

Without these variables no server is asked. If a silence is wanted, it is made before anything in use changes, or the
wave changes nothing. Errors after that are reported, and do not change the wave's outcome.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import options
from ansible_collections.timesten.monitoring.plugins.plugin_utils import silences, web
from ansible_collections.timesten.monitoring.plugins.plugin_utils.rotation import Row

if TYPE_CHECKING:
    from ansible_collections.timesten.monitoring.plugins.plugin_utils.fleet import Run

SILENCE = "rotate_silence"
ANNOTATION = "rotate_annotation"


def check(run: Run) -> list[str]:
    """Return what is wrong with the variables, as far as they show it without asking a server."""
    messages = []
    for variable, url, example in (
        (
            SILENCE,
            run.rotate_silence,
            "an Alertmanager (http://host:9093, with its route prefix where it has one; user and password have variables)",
        ),
        (ANNOTATION, run.rotate_annotation, "a Grafana (http://host:3000, with its path where it has one)"),
    ):
        if url and not options.is_address(url):
            messages.append(f"{variable}: {options.shown_address(url)} is not the address of {example}")
    messages += _halves(run)
    given = {
        "url_username": run.rotate_silence_username,
        "url_password": run.rotate_silence_password,
        "url_headers": run.rotate_silence_headers,
        "url_bearer_token": run.rotate_annotation_token,
    }
    for names, variable in (
        (("url_username", "url_password", "url_headers"), SILENCE),
        (("url_bearer_token",), ANNOTATION),
    ):
        try:
            options.check({name: given[name] for name in names})
        except TimesTenError as error:
            said = error.message.replace("url_bearer_token", "url_token")
            messages.append(said.replace("url_", f"{variable}_"))
    return messages


def _halves(run: Run) -> list[str]:
    """Return the variables that have no effect without another one. An empty address switches off all variables of its
    server.
    """
    messages = []
    if run.rotate_silence and run.rotate_silence_password and not run.rotate_silence_username:
        messages.append(f"{SILENCE}_password is set without {SILENCE}_username")
    if run.rotate_silence_ca_file and str(run.rotate_silence).startswith("http:"):
        messages.append(f"{SILENCE}_ca_file is set, but {SILENCE} is an http address, of which nothing is verified")
    if run.rotate_annotation and not run.rotate_annotation_token:
        messages.append(
            f"{ANNOTATION}_token is not set; Grafana takes an annotation from the token of a service account"
        )
    return messages


def server(run: Run) -> web.Server | None:
    """Return the Alertmanager of a run, or None."""
    if not run.rotate_silence:
        return None
    return web.Server(
        SILENCE,
        run.rotate_silence,
        run.rotate_silence_username,
        run.rotate_silence_password,
        web.headers_of(run.rotate_silence_headers),
        run.rotate_silence_ca_file,
    )


def fault(run: Run) -> str | None:
    """Return why the Alertmanager of a run cannot be used; None if it can, or there is none."""
    found = server(run)
    return None if found is None else silences.fault(found)


@dataclasses.dataclass(frozen=True)
class Before:
    """What was done before a wave.

    :ivar rows: the wave's plan. If a wanted silence could not be made, no row may be switched.
    :ivar silence: the id of its silence; "" if there is none.
    """

    rows: Mapping[str, Row]
    silence: str = ""
    notes: Sequence[str] = ()


def before(run: Run, rows: Mapping[str, Row], who: str, check_mode: bool) -> Before:
    """Silence the exporters that a wave is going to switch."""
    asked, subject = server(run), silences.subject_of(rows.values())
    if asked is None or subject is None:
        return Before(rows)
    if check_mode:
        return Before(
            rows, notes=[f"{SILENCE}: {asked.url} would be asked to silence {subject}, while they are rotated."]
        )
    now = time.time()
    try:
        made, notes = silences.make(asked, subject, now, silences.end_of(rows.values(), now), who)
    except TimesTenError as error:
        refused = {name: dataclasses.replace(row, refused=row.refused or error.message) for name, row in rows.items()}
        return Before(refused)
    return Before(rows, made, notes)


def end(run: Run, silence: str) -> list[str]:
    """End the silence of a wave, whatever the wave's outcome. Return notes for the report."""
    asked = server(run)
    return silences.end_all(asked, [silence]) if asked is not None and silence else []


def annotate(run: Run, began: float, outcomes: Mapping[str, str], check_mode: bool) -> list[str]:
    """Add the annotation of a wave, and return notes for the report.

    :param began: start of the wave, in seconds since the epoch.
    :param outcomes: by exporter that was touched or, in check mode, would be.
    """
    if not run.rotate_annotation or not outcomes:
        return []
    # This import stands here because most runs make no annotation, and only annotations need Ansible's loaders.
    from ansible_collections.timesten.monitoring.plugins.plugin_utils import annotations

    url = run.rotate_annotation
    if check_mode:
        return [f"{ANNOTATION}: {url} would get an annotation of {', '.join(outcomes)}."]
    by_outcome: dict[str, list[str]] = {}
    for exporter, outcome in outcomes.items():
        by_outcome.setdefault(outcome, []).append(exporter)
    text = "; ".join(f"{outcome}: {', '.join(exporters)}" for outcome, exporters in by_outcome.items())
    try:
        tags = ["timesten.monitoring", "rotation", *by_outcome]
        annotations.add(
            url, run.rotate_annotation_token or "", began, time.time(), f"Rotation of certificates. {text}", tags
        )
    except TimesTenError as error:
        return [error.message]
    return []
