# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one exporter should be and which clients it has: the modules' options, checked before anything is touched."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import is_number, show
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.names import PROBE
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.generations import Asked, Client
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.layout import OLD_LOG, is_lock, is_ours
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.pem import RenewBefore
from ansible_collections.timesten.monitoring.plugins.module_utils.tls.transport_keys import check_public_key

_LONGEST_INTERVAL = 9223372036
"""Seconds. Prometheus holds a duration as nanoseconds in 64 bits."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclasses.dataclass(frozen=True)
class Definition:
    """One exporter as it should be (docs/contracts.md, "One exporter").

    :ivar asked: names and key size of the server certificate; None if the module leaves them to tt_wallet.
    :ivar usual_port: None if the call does not need it: only starting a process does.
    :ivar spare_port: the port to which a rotation may move the exporter; None if there is none.
    :ivar usual_pid_file: pid file of the process on the usual port.
    :ivar takeover: whether to replace a ttExporter that somebody else started on the port, and to adopt its wallet.
    :ivar spare: whether this describes the process on the spare port instead of the one on the usual port.
    """

    name: str
    timesten_home: str
    certificate_directory: str
    environment: dict[str, str]
    asked: Asked | None
    renew_before: RenewBefore
    regenerate: str
    usual_port: int | None
    spare_port: int | None
    address: str | None
    insecure: bool
    rate_limit: int
    usual_pid_file: str
    log_file: str
    stop_signal: str
    stop_timeout: int
    start_timeout: int
    force_kill: bool
    state: str
    keep_generations: int
    boot: str
    takeover: bool = False
    spare: bool = False

    @property
    def job(self) -> str:
        """Return the name of the exporter's job and deliveries on the Prometheus hosts."""
        return _names.on_port(self.name, self.spare)

    @property
    def port(self) -> int | None:
        """Return the port of the described process."""
        return self.spare_port if self.spare else self.usual_port

    @property
    def pid_file(self) -> str:
        """Return the pid file of the described process."""
        return self.usual_pid_file + (_names.SPARE if self.spare else "")

    @property
    def other_pid_file(self) -> str:
        """Return the pid file of the process on the other port; a restart tries its new process there, too."""
        return self.on_other_port().pid_file

    @property
    def how_to_stop(self) -> tuple[str, int, bool]:
        """Return the signal, the seconds to wait, and whether to kill afterwards."""
        return self.stop_signal, self.stop_timeout, self.force_kill

    def on_other_port(self) -> Definition:
        """Return the same exporter, describing its process on the other port."""
        return dataclasses.replace(self, spare=not self.spare)


def define(params: dict[str, Any], place: str = "") -> Definition:
    """Check one exporter's options.

    :param params: the options that the module has; for an option that it lacks, the default of the other modules holds.
    :param place: prefix for messages, for example ``exporters[2].``.
    :raises TimesTenError: naming the option, its value and the allowed values.
    """

    def path(option: str, default: str | None = None) -> str:
        return _path(params, option, default, place)

    def number(option: str, low: int, high: int, default: int) -> int:
        value = params.get(option, default)
        if isinstance(value, bool) or not low <= value <= high:
            raise TimesTenError(f"{place}{option}: {value} is not between {low} and {high}")
        return int(value)

    directory = path("certificate_directory")
    if not params.get("allow_home"):
        _refuse_home(directory, place)
    name = _name(params, directory, place)
    address = params.get("address")
    if address is not None:
        _names.check_host(address, f"{place}address")
    spare_port = None if params.get("spare_port") is None else number("spare_port", 1, 65535, 0)
    if spare_port is not None:
        _names.check_name(_names.on_port(name, True), f"{place}name (with what a spare_port adds)")
        if spare_port == params.get("port"):
            raise TimesTenError(f"{place}spare_port: {spare_port} is the port itself; choose another")
    pid_file = path("pid_file", os.path.join(directory, "exporter.pid"))
    log_file = path("log_file", os.path.join(directory, "exporter.log"))
    _refuse_our_files(directory, {"pid_file": pid_file, "log_file": log_file}, place)
    return Definition(
        name=name,
        timesten_home=path("timesten_home"),
        certificate_directory=directory,
        environment=_environment(params.get("environment") or {}, place),
        asked=_asked(params, address, place),
        renew_before=RenewBefore(params.get("renew_before", "30d"), place, name),
        regenerate=params.get("regenerate", "never"),
        usual_port=None if params.get("port") is None else number("port", 1, 65535, 0),
        spare_port=spare_port,
        address=address,
        insecure=bool(params.get("insecure")),
        rate_limit=number("rate_limit", 1, 15, 15),
        usual_pid_file=pid_file,
        log_file=log_file,
        stop_signal=params.get("stop_signal", "TERM"),
        stop_timeout=number("stop_timeout", 1, 3600, 10),
        start_timeout=number("start_timeout", 1, 3600, 30),
        force_kill=bool(params.get("force_kill")),
        state=params.get("state", "started"),
        keep_generations=number("keep_generations", 0, 100, 2),
        boot=params.get("boot", "none"),
        takeover=bool(params.get("takeover")),
    )


def _path(params: dict[str, Any], option: str, default: str | None, place: str) -> str:
    value = params.get(option)
    if value is None:
        value = default
    if value is None:
        raise TimesTenError(f"{place}{option} is not set; give an absolute path")
    return os.path.normpath(_names.check_path(value, f"{place}{option}"))


def _name(params: dict[str, Any], directory: str, place: str) -> str:
    name = params.get("name")
    if name is None:
        name = _names.check_name(os.path.basename(directory), f"{place}certificate_directory (its last part)")
    else:
        _names.check_name(name, f"{place}name")
    if name.endswith(_names.SPARE):
        raise TimesTenError(
            f"{place}name: {name!r} ends with {_names.SPARE}, which is kept for the spare ports of exporters"
        )
    return str(name)


def _asked(params: dict[str, Any], address: str | None, place: str) -> Asked | None:
    common_name = params.get("common_name")
    if common_name is None:
        common_name = address
    if common_name is None:
        return None
    _names.check_host(common_name, f"{place}common_name", wildcard=True)
    alt_names = params.get("alt_names") or [common_name]
    for index, alt_name in enumerate(alt_names):
        _names.check_host(alt_name, f"{place}alt_names[{index}]", wildcard=True)
    size = params.get("rsa_key_size")
    # OpenSSL as distributions configure it refuses a smaller key in every handshake.
    if size is not None and not 2048 <= size <= 16384:
        raise TimesTenError(f"{place}rsa_key_size: {size} is not between 2048 and 16384")
    return Asked(common_name, tuple(alt_names), size)


def _environment(variables: dict[str, Any], place: str) -> dict[str, str]:
    # A value may be a secret, so no message shows a value.
    for name, value in variables.items():
        if not _VARIABLE.match(str(name)):
            raise TimesTenError(
                f"{place}environment: {name!r} is not the name of an environment variable: letters, digits and '_', not beginning with a digit"
            )
        if isinstance(value, (dict, list)) or value is None:
            raise TimesTenError(f"{place}environment: {name} is not a text; quote its value")
        if re.search(r"[\x00\r\n]", str(value)):
            raise TimesTenError(
                f"{place}environment: the value of {name} holds a NUL byte or the end of a line; take it out"
            )
    return {str(name): str(value) for name, value in variables.items()}


def _refuse_home(directory: str, place: str) -> None:
    homes = {os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir), os.path.realpath(os.environ.get("HOME", "/"))}
    if os.path.realpath(directory) in homes:
        raise TimesTenError(
            f"{place}certificate_directory: {directory} is the home directory, where Oracle advises against keeping the "
            "wallet; choose a directory of its own, or set allow_home: true"
        )


def _refuse_our_files(directory: str, paths: dict[str, str], place: str) -> None:
    """Refuse a pid file or log in the place of another file of the exporter's: one would be written over the other."""
    for option, path in paths.items():
        parts = os.path.relpath(path, directory).split(os.sep)
        usual = {"pid_file": "exporter.pid", "log_file": "exporter.log"}[option]
        if parts != [usual] and (is_ours(parts[0]) or is_lock(parts[0])):
            raise TimesTenError(
                f"{place}{option}: {path} is kept for another file of the exporter's; choose another name, or leave {option} out"
            )
    log_file, pid_file = paths["log_file"], paths["pid_file"]
    # Of each of them a second one may be there: the log before this one, and the process on the other port.
    if {log_file, log_file + OLD_LOG}.intersection((pid_file, pid_file + _names.SPARE)):
        raise TimesTenError(f"{place}pid_file: {pid_file} is also log_file; choose two files")


def define_all(items: Sequence[dict[str, Any]]) -> list[Definition]:
    """Check all exporters of a host, each by itself and all together.

    :raises TimesTenError: if two exporters share a name, a directory, a port or a pid file.
    """
    definitions = [define(item, f"exporters[{index}].") for index, item in enumerate(items)]
    _names.check_distinct([item.name for item in definitions], "exporters")
    for options in (("certificate_directory",), ("port", "spare_port"), ("pid_file", "other_pid_file", "log_file")):
        seen: dict[Any, str] = {}
        for item, option in ((item, option) for item in definitions for option in options):
            value = getattr(item, option)
            if value is not None and value in seen:
                raise TimesTenError(
                    f"exporters: {seen[value]} and {item.name} have the same {option.replace('other_', '')}: {value}"
                )
            seen[value] = item.name
    owners = {item.certificate_directory: item.name for item in definitions}
    for item in definitions:
        for option in ("certificate_directory", "pid_file", "log_file"):
            _refuse_files_of_others(item, option, owners)
    return definitions


def _refuse_files_of_others(item: Definition, option: str, owners: Mapping[str, str]) -> None:
    """:raises TimesTenError: if a path is in the place of a file of another exporter of the host."""
    path = str(getattr(item, option))
    parts = path.split(os.sep)
    for length in range(2, len(parts)):
        owner = owners.get(os.sep.join(parts[:length]), item.name)
        if owner != item.name and (is_ours(parts[length]) or is_lock(parts[length])):
            raise TimesTenError(
                f"exporters: {option} {path} of {item.name} is in the place of a file of {owner}; choose another"
            )


def define_clients(items: Iterable[dict[str, Any]]) -> list[Client]:
    """Check the clients of a call.

    :raises TimesTenError: if a name is invalid, reserved or used twice, or a recipient is not a transport key.
    """
    clients = []
    for index, item in enumerate(items):
        place = f"clients[{index}]."
        name = _names.check_name(item["name"], f"{place}name")
        if name.lower() == PROBE:
            raise TimesTenError(f"{place}name: {name!r} is reserved for local handshakes; choose another")
        recipient = item.get("recipient")
        if recipient is not None:
            try:
                check_public_key(recipient)
            except TimesTenError as error:
                raise TimesTenError(f"{place}recipient: {error.message}") from error
        interval = item.get("scrape_interval")
        if interval is not None:
            _check_interval(interval, f"{place}scrape_interval")
        stored = item.get("stored") or {}
        for exporter, entry in stored.items():
            _check_stored(entry, f"{place}stored.{exporter}")
        only = item.get("exporters")
        taken = None if only is None else tuple(_names.check_name(exporter, f"{place}exporters") for exporter in only)
        clients.append(Client(name, recipient, interval, stored, bool(item.get("readmit")), taken))
    _names.check_distinct([client.name for client in clients], "clients")
    return clients


def _check_interval(interval: Any, place: str) -> None:
    if not is_number(interval) or not 0 < interval <= _LONGEST_INTERVAL:
        raise TimesTenError(f"{place}: {show(interval)} is no positive number of seconds (at most {_LONGEST_INTERVAL})")


def _check_stored(entry: Any, place: str) -> None:
    """:raises TimesTenError: if the entry does not describe a client's delivery of one exporter."""
    if not isinstance(entry, dict):
        raise TimesTenError(f"{place}: {show(entry)} is not a mapping")
    for key in ("delivery", "sha256", "ca_sha256"):
        if not isinstance(entry.get(key), (str, type(None))):
            raise TimesTenError(f"{place}.{key}: {show(entry[key])} is no text")
    if entry.get("scrape_interval") is not None:
        _check_interval(entry["scrape_interval"], f"{place}.scrape_interval")
    names = entry.get("verifies")
    names = [names] if isinstance(names, str) else names
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TimesTenError(f"{place}.verifies: {show(names)} is neither a name nor a list of names")
