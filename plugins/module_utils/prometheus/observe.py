# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a Prometheus host: each file is read once, and nothing is changed."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api, NotAnswering
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import ConfigView, Files
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import ConfigFile
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    LATER,
    Settings,
    Stored,
    StoreState,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import (
    Account,
    Store,
    account,
    is_delivery_name,
)

_BLOCK = re.compile(
    rb"^[ \t]*# BEGIN timesten\.monitoring\b.*?^[ \t]*# END timesten\.monitoring\b", re.MULTILINE | re.DOTALL
)
_CA_FILE = re.compile(rb"""\bca_file["']?:[ \t]*["']?(/[^"'\s,}]*)/[^/"'\s,}]+/current/ca\.crt\b""")


@dataclasses.dataclass(frozen=True)
class Context:
    """What a call works with.

    :ivar api: None where Prometheus is not to be talked to.
    :ivar identity: the Prometheus user; None where it does not exist yet (check mode).
    :ivar warnings: for the answer; the one thing that grows.
    """

    settings: Settings
    api: Api | None
    check_mode: bool
    identity: Account | None
    store: Store
    config: ConfigFile
    scrape_file: ConfigFile
    rules_file: ConfigFile
    warnings: list[str] = dataclasses.field(default_factory=list)


def context(settings: Settings, api: Api | None, check_mode: bool) -> Context:
    """Look up what the options name.

    :raises TimesTenError: naming the option.
    """
    names.check_name(settings.name, "name")
    warnings: list[str] = []
    identity = None
    try:
        identity = account(settings.user, settings.group)
    except TimesTenError as error:
        # Before Prometheus is installed, check mode still predicts.
        if not check_mode or os.geteuid() != 0:
            raise
        warnings.append(error.message)
    config_file = ConfigFile(settings.config_file)
    scrape_file = ConfigFile(settings.scrape_file, "scrape_file")
    store = Store(settings.store, identity)
    rules_file = ConfigFile(settings.rules_file or f"{store.path}.rules.yml", "rules_file")
    api = api if settings.running else None
    return Context(settings, api, check_mode, identity, store, config_file, scrape_file, rules_file, warnings)


@dataclasses.dataclass(frozen=True)
class Deliveries:
    """What is stored for one exporter.

    :ivar current: name of the delivery in use.
    :ivar in_use: what it holds; None if it is damaged.
    :ivar named: what the delivery holds that the task names, if it is another one.
    """

    current: str | None = None
    in_use: Stored | None = None
    named: Stored | None = None


@dataclasses.dataclass(frozen=True)
class Observation:
    """What was there when the call looked.

    :ivar files: the configuration, empty where check mode runs before there is one, and all scrape files.
    :ivar view: what the configuration says about scraping.
    :ivar neighbours: other stores that our block names, with the client that each belongs to.
    :ivar deliveries: by exporter.
    :ivar jobs: names of the jobs that Prometheus runs; None where it was not asked.
    :ivar rules: content of our rule file, or of what is in its place.
    """

    state: StoreState
    files: Files
    view: ConfigView
    neighbours: Mapping[str, str]
    deliveries: Mapping[str, Deliveries]
    jobs: frozenset[str] | None
    rules: bytes | None = None


def observe(ctx: Context) -> Observation:
    """Look at everything that a decision depends on.

    :raises TimesTenError: if something cannot be read, or the store is another client's.
    """
    state = read_state(ctx)
    source = read_config(ctx, tolerant=ctx.check_mode)
    files = files_of(ctx, source)
    return Observation(
        state=state,
        files=files,
        view=config.read(files),
        neighbours=_neighbours(ctx, b"\n".join((source, files.scrape_file or b""))),
        deliveries=observe_deliveries(ctx, state, ctx.settings.exporters),
        jobs=running_jobs(ctx),
        rules=ctx.rules_file.read(),
    )


def files_of(ctx: Context, source: bytes) -> Files:
    """The configuration with our scrape file and those of other people, where hand-written jobs may be."""
    others = {
        path: ConfigFile(path).read() or b""
        for path in config.scrape_files(source, ctx.config.path)
        if os.path.realpath(path) != ctx.scrape_file.real and not os.path.isdir(path)
    }
    return Files(source, ctx.config.path, ctx.store.path, ctx.scrape_file.path, ctx.scrape_file.read(), others)


def read_state(ctx: Context) -> StoreState:
    """The store's state.

    :raises TimesTenError: if the store is another client's.
    """
    state = ctx.store.state()
    owner = state.get("client", ctx.settings.name)
    if owner != ctx.settings.name:
        raise TimesTenError(
            f"store: {ctx.store.path} belongs to client {owner!r}, not to {ctx.settings.name!r}: give each "
            f"Prometheus of a host a store of its own"
        )
    return state


def read_config(ctx: Context, tolerant: bool) -> bytes:
    """Content of prometheus.yml.

    :param tolerant: whether there may be none.
    """
    source = ctx.config.read()
    if source is not None:
        return source
    message = (
        f"config_file: {ctx.config.path} does not exist; install Prometheus first, or set config_file to where it is"
    )
    if not tolerant:
        raise TimesTenError(message)
    ctx.warnings.append(message)
    return b""


def _neighbours(ctx: Context, text: bytes) -> dict[str, str]:
    stores = {match.decode("utf-8", "replace") for block in _BLOCK.findall(text) for match in _CA_FILE.findall(block)}
    owners = {}
    for path in sorted(stores - {ctx.store.path}):
        owner = Store(path, None).owner()
        if owner is not None and os.path.realpath(path) != os.path.realpath(ctx.store.path):
            owners[path] = owner
    return owners


def observe_deliveries(ctx: Context, state: StoreState, elements: Sequence[Mapping[str, Any]]) -> dict[str, Deliveries]:
    """What is stored for the exporters that a task mentions; names that cannot be any are left out."""
    seen = {}
    for element in elements:
        name, wanted = element["name"], element.get("delivery")
        try:
            current = ctx.store.current(name)
        except TimesTenError:
            continue
        entry = state["exporters"].get(name)
        in_use = None if current is None else ctx.store.facts(name, current, entry)
        named = None
        if wanted and wanted not in (LATER, current) and is_delivery_name(wanted):
            named = ctx.store.facts(name, wanted)
        seen[name] = Deliveries(current, in_use, named)
    return seen


def running_jobs(ctx: Context) -> frozenset[str] | None:
    """Names of the jobs that Prometheus runs; None where it is not asked.

    :raises TimesTenError: if it does not answer, unless in check mode.
    """
    if ctx.api is None:
        return None
    try:
        return frozenset(target.job for target in ctx.api.targets())
    except NotAnswering as error:
        if not ctx.check_mode:
            raise TimesTenError(
                f"{error.message} Nothing was changed. Set prometheus_running: false to store and check files without it"
            ) from error
        if error.message not in ctx.warnings:
            ctx.warnings.append(error.message)
        return None
