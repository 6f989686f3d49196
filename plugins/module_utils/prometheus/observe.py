# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observes a Prometheus host: reads each file once and changes nothing."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from typing import Any, Dict, Mapping, Sequence, cast

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import config, reload, rule_file
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api, NotAnswering
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config import ConfigView, Files
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.config_file import (
    ConfigFile,
    ListFile,
    is_list,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.contract import (
    LATER,
    Expected,
    Settings,
    Stored,
    StoreState,
)
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import PathMap
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.store import (
    Account,
    Store,
    account,
    as_user,
    is_delivery_name,
)

_BLOCK = re.compile(
    rb"^[ \t]*# BEGIN timesten\.monitoring(?!\S)(?:[^\r\n]*? for client ([A-Za-z0-9._-]+):)?"
    rb".*?^[ \t]*# END timesten\.monitoring(?!\S)",
    re.MULTILINE | re.DOTALL,
)
_CA_FILE = re.compile(rb"""\bca_file["']?:[ \t]*["']?(/[^"'\s,}]*)/[^/"'\s,}]+/[^/"'\s,}]+/ca\.crt\b""")


@dataclasses.dataclass(frozen=True)
class Context:
    """The environment of a call.

    :ivar api: None if nothing is asked: the options say so, or the taker has another interface or none.
    :ivar taker: the interface to which a reload request goes; set even if ``api`` is None.
    :ivar identity: the Prometheus user; None if it does not exist yet (check mode).
    :ivar warnings: warnings for the answer; the only part that changes.
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
    taker: Api | None = None

    @property
    def paths(self) -> PathMap:
        """Return how Prometheus sees the host's paths."""
        return PathMap(self.settings.path_map)

    @property
    def store_inside(self) -> str:
        """Return the path of the store as Prometheus sees it; its jobs use this path."""
        return self.paths.inside(self.store.path, "store")

    def check_as_user(self, places: Sequence[tuple[str, Expected]]) -> dict[str, str]:
        """Check deliveries with the rights of the Prometheus user. Return what is wrong, by exporter.

        A process in a container reaches the store through its own mounts, so the directories above the store do not
        matter then.
        """
        identity = self.identity
        if not places or identity is None:
            return {}
        from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import deliveries

        directory = self.store.path if self.paths and os.geteuid() == 0 else None
        if directory is not None:
            places = [(os.path.relpath(place, directory), expected) for place, expected in places]
        check = functools.partial(deliveries.check_all, places)
        return cast(Dict[str, str], as_user(identity, check, directory))


def context(settings: Settings, api: Api | None, check_mode: bool) -> Context:
    """Look up what the options name, and return the context.

    :raises TimesTenError: naming the option.
    """
    names.check_name(settings.name, "name")
    warnings: list[str] = []
    identity = None
    try:
        identity = account(settings.user, settings.group)
    except TimesTenError as error:
        # In check mode the user may be missing, because Prometheus may not be installed yet.
        if not check_mode or os.geteuid() != 0:
            raise
        warnings.append(error.message)
    config_file = ConfigFile(settings.config_file)
    if settings.kind == "scrape_file" and _is_list(settings):
        config_file = ListFile(settings.config_file, "scrape_file")
    scrape_file = ConfigFile(settings.scrape_file, "scrape_file")
    store = Store(settings.store, identity)
    return Context(
        settings,
        api if settings.running and settings.kind == "prometheus" else None,
        check_mode,
        identity,
        store,
        config_file,
        scrape_file,
        ConfigFile(rule_file.place(settings), "rules_file"),
        warnings,
        api,
    )


def _is_list(settings: Settings) -> bool:
    """Whether a scrape file is a bare list: by what is in it, else by who names it."""
    by_content = is_list(ConfigFile(settings.config_file, "scrape_file").read())
    if by_content is not None:
        return by_content
    inside = PathMap(settings.path_map).inside(settings.config_file, "scrape_file")
    return any(process.lists for process in reload.find_processes(settings.config_file, settings.kind, inside))


@dataclasses.dataclass(frozen=True)
class Deliveries:
    """The stored deliveries of one exporter.

    :ivar current: name of the delivery in use.
    :ivar in_use: its content; None if it is damaged.
    :ivar named: content of the delivery that the task names, if that is another one.
    """

    current: str | None = None
    in_use: Stored | None = None
    named: Stored | None = None


@dataclasses.dataclass(frozen=True)
class Observation:
    """The state of the host when the call looked.

    :ivar files: the configuration and all scrape files. The configuration is empty if check mode runs before there is
        one.
    :ivar view: what the configuration says about scraping.
    :ivar neighbours: by file, the client of the block in it or of another store that the block names.
    :ivar deliveries: by exporter.
    :ivar jobs: names of the jobs that Prometheus runs; None if it was not asked.
    :ivar rules: content of the file at our rule file's path.
    """

    state: StoreState
    files: Files
    view: ConfigView
    neighbours: Mapping[str, str]
    deliveries: Mapping[str, Deliveries]
    jobs: frozenset[str] | None
    rules: bytes | None = None


def observe(ctx: Context) -> Observation:
    """Read everything that a decision depends on.

    :raises TimesTenError: if something cannot be read, or the store belongs to another client.
    """
    state = read_state(ctx)
    source = read_config(ctx, tolerant=ctx.check_mode)
    files = files_of(ctx, source)
    return Observation(
        state=state,
        files=files,
        view=config.read(files),
        neighbours=neighbours(ctx.store.path, files),
        deliveries=observe_deliveries(ctx, state, ctx.settings.exporters),
        jobs=running_jobs(ctx),
        rules=ctx.rules_file.read(),
    )


def others_of(
    source: bytes, main: ConfigFile, own: ConfigFile, paths: PathMap = config.NOWHERE_ELSE
) -> dict[str, bytes]:
    """Return the content of the scrape files that a configuration names, except our own."""
    return {
        path: ConfigFile(path).read() or b""
        for path in config.scrape_files(source, main.path, paths)
        if os.path.realpath(path) != own.real and not os.path.isdir(path)
    }


def files_of(ctx: Context, source: bytes) -> Files:
    """Return the configuration with our scrape file and those of others, which may hold hand-written jobs."""
    others = others_of(source, ctx.config, ctx.scrape_file, ctx.paths)
    return Files(
        source,
        ctx.config.path,
        ctx.store_inside,
        ctx.scrape_file.path,
        ctx.scrape_file.read(),
        others,
        ctx.settings.name,
        ctx.paths,
    )


def read_state(ctx: Context) -> StoreState:
    """Return the store's state.

    :raises TimesTenError: if the store belongs to another client.
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
    """Return the content of prometheus.yml.

    :param tolerant: whether a missing file is allowed.
    """
    source = ctx.config.read()
    if source is not None:
        return source
    if ctx.settings.kind == "scrape_file":
        return b""  # this collection will make it
    message = (
        f"config_file: {ctx.config.path} does not exist; install Prometheus first, or set config_file to where it is"
    )
    if not tolerant:
        raise TimesTenError(message)
    ctx.warnings.append(message)
    return b""


def neighbours(own_store: str, files: Files) -> dict[str, str]:
    """Return the clients of this collection whose blocks are in the files, by file."""
    found = {}
    contents = {files.path: files.config, files.scrape_path: files.scrape_file or b"", **files.others}
    for path, text in contents.items():
        for block in _BLOCK.finditer(text):
            if block.group(1):
                found[path] = block.group(1).decode("ascii")
            stores = {match.decode("utf-8", "replace") for match in _CA_FILE.findall(block.group())}
            for store in files.paths.names(sorted(stores - {files.store})):
                owner = Store(store, None).owner()
                if owner is not None and os.path.realpath(store) != os.path.realpath(own_store):
                    found[path] = owner
    return found


def observe_deliveries(ctx: Context, state: StoreState, elements: Sequence[Mapping[str, Any]]) -> dict[str, Deliveries]:
    """Return the stored deliveries of the exporters of a task. Invalid names are left out."""
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
    """Return the names of the jobs that Prometheus runs; None if it is not asked.

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
