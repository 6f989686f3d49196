# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the inventory once: all hosts' variables with their types, and everything that is wrong with them.

Types come only from the roles' argument_specs, and from :data:`RUN` for variables that a playbook takes with -e. The
same functions check values here and on the hosts, so everything that a host would refuse without looking around is
refused here.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import posixpath
import re
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

try:
    # Since ansible-core 2.19; before, the value itself has its ciphertext.
    from ansible.parsing.vault import VaultHelper
except ImportError:
    VaultHelper = None

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec, names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import definition as exporter_definition
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import options as prometheus_options
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.paths import rules_beside
from ansible_collections.timesten.monitoring.plugins.module_utils.tls import pem
from ansible_collections.timesten.monitoring.plugins.plugin_utils import around, outsiders, reports, rules, steps, words
from ansible_collections.timesten.monitoring.plugins.plugin_utils.outsiders import Outsider
from ansible_collections.timesten.monitoring.plugins.plugin_utils.words import EXPORTER, PROMETHEUS, ROLES

EXPORTERS = "timesten_exporters"
SERVERS = "prometheus_servers"
GROUP = {EXPORTER: EXPORTERS, PROMETHEUS: SERVERS}

OPERATIONS = ("site", "verify", "rotate", "rollback", "evict", "remove")
ROTATING = ("site", "rotate", "rollback", "evict")
"""The operations that may rotate."""
ONE_OF = (
    "one of -e remove_exporter=<exporter>, -e remove_prometheus=<client or Prometheus host>, -e remove_everything=true"
)

NEW_WALLETS = "ansible-playbook timesten.monitoring.rotate -e exporter_host_keep_generations=0"
"""Gives all exporters new wallets and keeps no older one: without a new pair a client has no access, and no rollback
restores it.
"""

RUN: dict[str, dict[str, Any]] = {
    "timesten_serial": {"type": "list", "elements": "str"},
    "timesten_max_fail_percentage": {"type": "float"},
    "timesten_report": {"type": "path"},
    "timesten_report_html": {"type": "path"},
    "timesten_outsiders": {"type": "list", "elements": "dict", "options": outsiders.OPTIONS},
    "timesten_outsiders_dir": {"type": "path"},
    "rotate_exporters": {"type": "list", "elements": "str"},
    "rotate_hosts": {"type": "list", "elements": "str"},
    "rotate_optional": {"type": "list", "elements": "str"},
    "rotate_strategy": {"type": "str", "choices": ["gap", "spare_port"]},
    "rotate_wave": {"type": "int"},
    "rotate_to": {"type": "str", "choices": ["new", "previous"]},
    "rotate_only_due": {"type": "bool"},
    "rotate_since": {"type": "str"},
    "rotate_confirm": {"type": "float"},
    "rotate_grace": {"type": "float"},
    "rotate_force": {"type": "bool"},
    "rotate_silence": {"type": "str"},
    "rotate_silence_username": {"type": "str"},
    "rotate_silence_password": {"type": "str", "no_log": True},
    "rotate_silence_headers": {"type": "dict", "no_log": True},
    "rotate_silence_ca_file": {"type": "path"},
    "rotate_annotation": {"type": "str"},
    "rotate_annotation_token": {"type": "str", "no_log": True},
    "evict": {"type": "str"},
    "remove_exporter": {"type": "str"},
    "remove_prometheus": {"type": "str"},
    "remove_everything": {"type": "bool"},
}
"""The variables that the playbooks take with ``-e``."""

# Roles and playbooks set these themselves. A later play of the same run finds them among a host's variables.
_FACTS = steps.REGISTERED | {"rotate_wave_hosts", "rotate_due", "timesten_operation", "timesten_exporters"}


class Problems(Exception):
    """What is wrong with a host's variables, one message each."""

    def __init__(self, messages: Sequence[str], variables: Mapping[str, Any] | None = None) -> None:
        """Take the messages.

        :param variables: what they are about; of a value from a vault nothing is told.
        """
        self.messages = list(messages) if variables is None else _without_vaulted(messages, variables)
        super().__init__("; ".join(self.messages))


@dataclasses.dataclass(frozen=True)
class Exporter:
    """One exporter as the inventory describes it.

    :ivar definition: the element of ``exporters`` for tt_exporter_host. It is not in the repr because its environment
        may hold secrets.
    """

    name: str
    host: str
    address: str
    port: int
    spare_port: int | None
    insecure: bool
    state: str
    definition: Mapping[str, Any] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class ExporterHost:
    """One host of the group timesten_exporters."""

    host: str
    exporters: tuple[Exporter, ...]
    owner: str
    become: bool
    make_directory: bool
    rate_budget: str
    readmit: tuple[str, ...]
    boot_after: tuple[str, ...]
    prometheus_hosts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Client:
    """One Prometheus instance as the inventory describes it.

    :ivar options: arguments for tt_prometheus_host without the name. They are not in the repr because they may hold a
        password.
    :ivar rules: whether our rule file is wanted.
    """

    name: str
    host: str
    layout: str
    options: Mapping[str, Any] = dataclasses.field(repr=False)
    rules: bool = True
    alerts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alert_thresholds: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """Tell whether it can be asked for its targets. If not, only handshakes prove its pairs."""
        return bool(self.options.get("prometheus_running", True)) and self.options.get("kind") != "scrape_file"

    @property
    def own(self) -> dict[str, Any]:
        """Return, by option, the values that two clients of a host must not share."""
        if self.options.get("kind") == "scrape_file":
            return {"scrape_file": self.options.get("scrape_file"), "store": self.options.get("store")}
        beside = rules_beside(self.options["store"]) if self.options.get("store") else None
        own = {key: self.options.get(key) for key in ("config_file", "store", "url")}
        return {**own, "rules_file": self.options.get("rules_file") or beside}


@dataclasses.dataclass(frozen=True)
class PrometheusHost:
    """One host of the group prometheus_servers.

    :ivar remove: None if the variable is not set.
    """

    host: str
    clients: tuple[Client, ...]
    become: bool
    purge: bool
    template: str
    exporter_hosts: tuple[str, ...]
    remove: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Run:
    """The variables that the playbooks take with ``-e``; None if one is not set and has no default."""

    timesten_serial: tuple[str, ...] = ("100%",)
    timesten_max_fail_percentage: float = 100.0
    timesten_report: str | None = None
    timesten_report_html: str | None = None
    timesten_outsiders: tuple[Outsider, ...] = ()
    timesten_outsiders_dir: str = "outsiders"
    rotate_exporters: tuple[str, ...] | None = None
    rotate_hosts: tuple[str, ...] | None = None
    rotate_optional: tuple[str, ...] = ()
    rotate_strategy: str = "gap"
    rotate_wave: int = 20
    rotate_to: str = "new"
    rotate_only_due: bool = False
    rotate_since: str | None = None
    rotate_confirm: float = 120.0
    rotate_grace: float = 0.0
    rotate_force: bool = False
    rotate_silence: str | None = None
    rotate_silence_username: str | None = None
    rotate_silence_password: str | None = dataclasses.field(default=None, repr=False)
    rotate_silence_headers: Mapping[str, Any] | None = dataclasses.field(default=None, repr=False)
    rotate_silence_ca_file: str | None = None
    rotate_annotation: str | None = None
    rotate_annotation_token: str | None = dataclasses.field(default=None, repr=False)
    evict: str | None = None
    remove_exporter: str | None = None
    remove_prometheus: str | None = None
    remove_everything: bool = False

    def folder_of(self, outsider: Outsider) -> str:
        """Return the directory of an outsider on this controller."""
        return outsiders.folder(self.timesten_outsiders_dir, outsider.name)


@dataclasses.dataclass(frozen=True)
class Fleet:
    """All hosts with valid variables, and the run.

    :ivar inventory: the hosts of both groups, including those with invalid variables. A remembered fleet is recognized
        by it.
    """

    exporter_hosts: Mapping[str, ExporterHost]
    prometheus_hosts: Mapping[str, PrometheusHost]
    run: Run
    inventory: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def exporters(self) -> dict[str, Exporter]:
        """Return all exporters by name."""
        return {item.name: item for host in self.exporter_hosts.values() for item in host.exporters}

    @property
    def clients(self) -> dict[str, Client]:
        """Return all clients by name."""
        return {item.name: item for host in self.prometheus_hosts.values() for item in host.clients}

    def clients_of(self, host: str) -> tuple[Client, ...]:
        """Return the clients that get a pair of a host's exporters: those that both sides name."""
        own = self.exporter_hosts.get(host)
        if own is None:
            return ()  # the role is used alone, on a host outside the group
        return tuple(
            client
            for name in own.prometheus_hosts
            if name in self.prometheus_hosts and host in self.prometheus_hosts[name].exporter_hosts
            for client in self.prometheus_hosts[name].clients
        )

    def outsiders_of(self, exporter: str) -> tuple[Outsider, ...]:
        """Return the outsiders that get a pair of an exporter."""
        return tuple(outsider for outsider in self.run.timesten_outsiders if outsider.takes(exporter))

    def pairs(self) -> list[tuple[Exporter, Client]]:
        """Return all pairs that the inventory asks for."""
        return [
            (exporter, client)
            for host in self.exporter_hosts.values()
            for client in self.clients_of(host.host)
            for exporter in host.exporters
        ]


# --- one host ---------------------------------------------------------------------------------------------------------


def exporter_host(host: str, variables: Mapping[str, Any], servers: Sequence[str] = ()) -> ExporterHost:
    """Read one exporter host.

    :param servers: the group prometheus_servers, the default of exporter_host_prometheus_hosts.
    :raises Problems: with one message for each fault.
    """
    values = _typed(EXPORTER, variables)
    elements = values.pop("exporters")
    messages: list[str] = []
    definitions: list[dict[str, Any]] = []
    for index, element in enumerate(elements):
        try:
            merged = _define(host, element, _shared(values, _ELEMENTS[EXPORTER]), len(elements), index)
            definitions.append(merged)
            _check_definition(_on_host(merged, EXPORTER), host, index, element, values)
        except TimesTenError as error:
            messages.append(error.message)
    if not messages:
        with _collect(messages, EXPORTER):
            exporter_definition.define_all([{**_on_host(item, EXPORTER), "allow_home": True} for item in definitions])
    with _collect(messages, EXPORTER):
        names.check_account(values["owner"], "exporter_host_owner")
    for option in ("readmit", "boot_after", "prometheus_hosts"):
        for item in values.get(option) or []:
            with _collect(messages, EXPORTER):
                names.check_text(item, f"exporter_host_{option}")
    if messages:
        raise Problems(messages, variables)
    listed = values.get("prometheus_hosts")
    return ExporterHost(
        host=host,
        exporters=tuple(
            Exporter(
                name=item["name"],
                host=host,
                address=item["address"],
                port=item["port"],
                spare_port=item.get("spare_port"),
                insecure=item["insecure"],
                state=item.get("state", "started"),
                definition=item,
            )
            for item in definitions
        ),
        owner=values["owner"],
        become=values["become"],
        make_directory=values["make_directory"],
        rate_budget=values["rate_budget"],
        readmit=tuple(values["readmit"]),
        boot_after=tuple(values["boot_after"]),
        prometheus_hosts=tuple(servers if listed is None else listed),
    )


def prometheus_host(host: str, variables: Mapping[str, Any], exporters: Sequence[str] = ()) -> PrometheusHost:
    """Read one Prometheus host.

    :param exporters: the group timesten_exporters, the default of prometheus_host_exporter_hosts.
    :raises Problems: with one message for each fault.
    """
    values = _typed(PROMETHEUS, variables)
    elements = values.pop("instances")
    messages: list[str] = []
    clients: list[Client] = []
    for index, element in enumerate(elements):
        try:
            client = _client(host, element, _shared(values, _ELEMENTS[PROMETHEUS]), len(elements), index)
            _check_client(client, index, element)
            _check_own(client, clients)
            clients.append(client)
        except TimesTenError as error:
            messages.append(error.message)
    with _collect(messages, PROMETHEUS):
        names.check_text(values["template"], "prometheus_host_template")
    for option in ("remove", "exporter_hosts"):
        for item in values.get(option) or []:
            with _collect(messages, PROMETHEUS):
                names.check_text(item, f"prometheus_host_{option}")
    if messages:
        raise Problems(messages, variables)
    listed = values.get("exporter_hosts")
    remove = values.get("remove")
    return PrometheusHost(
        host=host,
        clients=tuple(clients),
        become=values["become"],
        purge=values["purge"],
        template=values["template"],
        exporter_hosts=tuple(exporters if listed is None else listed),
        remove=None if remove is None else tuple(remove),
    )


_ELEMENTS = {EXPORTER: "exporter_host_exporters", PROMETHEUS: "prometheus_host_instances"}


class _collect:
    """Turns an error into a message of the list."""

    def __init__(self, messages: list[str], role: str) -> None:
        self.messages, self.role = messages, role

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, TimesTenError):
            return False
        self.messages.append(words.in_words(error.message, self.role))
        return True


def _shared(values: Mapping[str, Any], elements: str) -> dict[str, Any]:
    """Return the values for an element that does not set them itself."""
    role = elements.rpartition("_")[0]
    return {key: values[key] for key in words.specs(role)[elements]["options"] if values.get(key) is not None}


def _name(host: str, element: Mapping[str, Any], elements: str, count: int, index: int) -> str:
    instance = element.get("instance")
    if instance is None and count > 1:
        raise TimesTenError(
            f"{elements}[{index}] of {host} has no 'instance'; where a host has several "
            f"{'exporters' if elements == _ELEMENTS[EXPORTER] else 'Prometheus instances'}, each needs one"
        )
    return host if instance is None else f"{host}-{instance}"


def _define(host: str, element: Mapping[str, Any], shared: Mapping[str, Any], count: int, index: int) -> dict[str, Any]:
    """Return one complete element of ``exporters`` for tt_exporter_host."""
    merged = {**shared, **element}
    merged["name"] = _name(host, element, _ELEMENTS[EXPORTER], count, index)
    merged.pop("instance", None)
    merged.setdefault("address", host)
    directory = merged.pop("directory", None)
    if directory is None:
        directory = posixpath.join(merged.get("timesten_home", "/"), "monitoring")
    merged["certificate_directory"] = posixpath.join(directory, merged["name"]) if directory else directory
    return merged


def _check_definition(
    definition: Mapping[str, Any], host: str, index: int, element: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    place = f"{_ELEMENTS[EXPORTER]}[{index}]."
    if definition.get("timesten_home") is None:
        raise TimesTenError(
            "exporter_host_timesten_home is not set; set it to the home of the TimesTen instance, the directory that holds bin/ttenv"
        )
    try:
        # The name is checked first, because the directory contains it. Only the host can tell whether the directory is
        # a home.
        names.check_name(definition["name"], f"{place}name")
        names.check_path(definition["timesten_home"], f"{place}timesten_home")
        if names.is_nobody(definition["address"]):
            raise TimesTenError(
                f"{place}address: {definition['address']} is the address of no host; give the name or address that Prometheus connects to"
            )
        exporter = exporter_definition.define({**definition, "allow_home": True}, place)
        if exporter.boot == "systemd":
            # This import stands here because Ansible compiles imports on the controller too, at each run, and most
            # fleets have no units.
            from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import units

            units.unit_texts(exporter, values["owner"], values["boot_after"])
    except TimesTenError as error:
        message = error.message.replace(f"{place}certificate_directory", f"{place}directory")
        if message.startswith(f"{place}name") and "instance" not in element:
            message = message.replace(f"{place}name", f"the inventory name {host}", 1)
        raise TimesTenError(words.in_words(_of_variable(message, EXPORTER, index, element), EXPORTER)) from error


def _of_variable(message: str, role: str, index: int, element: Mapping[str, Any]) -> str:
    """Replace the option in a message by the element's key or, if the element does not set it, by the role's variable."""
    place = rf"{_ELEMENTS[role]}\[{index}\]\."

    def name(match: re.Match[str]) -> str:
        key = match.group(1)
        if key == "name":
            return match.group().replace("name", "instance")
        return match.group() if key in element else f"{role}_{key}"

    return re.sub(place + r"(\w+)", name, message)


def _client(host: str, element: Mapping[str, Any], shared: Mapping[str, Any], count: int, index: int) -> Client:
    name = _name(host, element, _ELEMENTS[PROMETHEUS], count, index)
    merged = {**shared, **element}
    merged.pop("instance", None)
    if "running" in merged:
        # The role's variable prometheus_host_running has another name than the option.
        merged["prometheus_running"] = merged.pop("running")
    own = {key: merged.pop(key) for key in ("rules", "alerts", "alert_thresholds") if key in merged}
    return Client(name=name, host=host, layout=merged["layout"], options=merged, **own)


def _check_client(client: Client, index: int, element: Mapping[str, Any]) -> None:
    place = f"{_ELEMENTS[PROMETHEUS]}[{index}]."
    what = f"{place}instance" if "instance" in element else "the inventory name, which is the name of the client"
    names.check_name(client.name, what)
    if client.name.lower() == names.PROBE:
        raise TimesTenError(f"{what}: {client.name!r} is reserved for local handshakes; choose another")
    try:
        prometheus_options.check({**_on_host(client.options, PROMETHEUS), "rules": client.rules})
        rules.check(client.alert_thresholds, client.alerts)
    except TimesTenError as error:
        option = re.match(r"\w+", error.message)
        if option and option.group() in element:
            raise TimesTenError(
                place + words.in_words(error.message.replace(": ", ":\0 ", 1), PROMETHEUS).replace("\0", "")
            ) from error
        raise TimesTenError(words.in_words(error.message, PROMETHEUS)) from error


def _check_own(client: Client, others: Sequence[Client]) -> None:
    """:raises TimesTenError: if two clients share a file, a store or a URL."""
    for other in others:
        if other.name.lower() == client.name.lower():
            raise TimesTenError(f"prometheus_host_instances of {client.host} names {client.name!r} twice")
        for key, value in client.own.items():
            if other.own.get(key) == value:
                raise TimesTenError(
                    f"prometheus_host_instances of {client.host}: {client.name} and {other.name} have the same "
                    f"prometheus_host_{key} ({argspec.show(value)}); each needs its own"
                )


def _on_host(options: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Return a copy for the checks, with an absolute path instead of ~ and $HOME, which only the host can resolve."""
    listed = words.specs(role)[_ELEMENTS[role]]["options"]
    return {
        key: f"/{value}"
        if (listed.get(key, {}).get("type") == "path" or key == "certificate_directory")
        and isinstance(value, str)
        and value[:1] in ("~", "$")
        else value
        for key, value in options.items()
    }


# --- types ------------------------------------------------------------------------------------------------------------


def _typed(role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a host's variables for a role by option, with defaults and types.

    :raises Problems: with one message for each value of the wrong type.
    """
    options = words.specs(role)
    messages: list[str] = []
    values = _validated(_given(variables, options, messages), options, messages)
    if messages:
        raise Problems(messages, variables)
    return {
        key[len(role) + 1 :]: [{name: item for name, item in element.items() if item is not None} for element in value]
        if options[key].get("elements") == "dict"
        else value
        for key, value in values.items()
        if value is not None
    }


def _given(variables: Mapping[str, Any], options: Mapping[str, Any], messages: list[str]) -> dict[str, Any]:
    """Return the options that are set; null counts as not set."""
    given = {}
    for name in options:
        if name not in variables:
            continue
        try:
            value = _plain(variables[name])
        except AnsibleError as error:
            # The message of a failed template may show the values that it works on.
            text = (
                f"its template or its vault cannot be read ({type(error).__name__})" if _is_secret(name) else str(error)
            )
            messages.append(f"{name}: {text}")
            continue
        if value is not None:
            given[name] = value
    return given


def _plain(value: Any) -> Any:
    """Return a copy without the tags of Ansible 2.19 and the encrypted texts of earlier versions."""
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, str) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, str) or hasattr(value, "_ciphertext"):
        return str(value)
    return value


def _vaulted(value: Any) -> Iterator[str]:
    """The texts of a value that come from a vault."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _vaulted(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _vaulted(item)
    elif hasattr(value, "_ciphertext") or (
        VaultHelper is not None and VaultHelper.get_ciphertext(value, with_tags=False)
    ):
        yield str(value)


def _without_vaulted(messages: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
    """Return the messages, each up to where it would show a value from a vault."""
    begins = []
    for name in _known().intersection(variables):
        with contextlib.suppress(AnsibleError):
            # Messages clip long values, and show what cannot be seen as its escape.
            begins += [match.group() for text in _vaulted(variables[name]) if (match := _BEGIN.search(text))]
    shortened = []
    for message in messages:
        # It begins with the name of a variable, which may be like a value.
        after = len(message) - len(message.lstrip(_OF_NAMES))
        cuts = [at for begin in begins if (at := message.find(begin, after)) >= 0]
        shown = message[: min(cuts)].rstrip(" '\"([{") if cuts else message
        shortened.append(f"{shown} ... (the rest would show a value from a vault)" if cuts else message)
    return shortened


_BEGIN = re.compile(r"[!#-&(-\[\]-~]{3,8}")
"""What a message shows of a value first, however that shows it."""
_OF_NAMES = f"{string.ascii_letters}{string.digits}_.[]"


def _is_secret(name: str) -> bool:
    if RUN.get(name, {}).get("no_log"):
        return True
    return re.search(rf"(?:^|[._])(?:{'|'.join(argspec.SECRETS)})(?:\[|$)", name) is not None


def _validated(given: Mapping[str, Any], options: Mapping[str, Any], messages: list[str]) -> dict[str, Any]:
    """Return the values with the types of the specification."""
    fine: dict[str, Any] = {}
    for name, value in given.items():
        fault = _fault(name, value, options[name])
        if fault is None:
            fine[name] = value
        else:
            messages.append(fault)
    # Paths stay as written, because ~ is the host's.
    validator = ArgumentSpecValidator(_without_paths(options))
    validated = validator.validate(copy.deepcopy(fine))
    messages += [_said(message, options) for message in validated.error_messages]
    return dict(validated.validated_parameters)


def _without_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    specs = {}
    for name, spec in options.items():
        changed = {**spec, "type": "str"} if spec.get("type") == "path" else dict(spec)
        if "options" in changed:
            changed["options"] = _without_paths(changed["options"])
        changed.pop("description", None)
        # A copy, because the validator fills in the elements of a default.
        if "default" in changed:
            changed["default"] = copy.deepcopy(changed["default"])
        specs[name] = changed
    return specs


def _fault(name: str, value: Any, spec: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a value that Ansible would silently convert: a list to its text, true to 1."""
    if spec.get("elements") == "dict" and not isinstance(value, (Mapping, bool)):
        return _element_fault(name, value, spec)
    return argspec.wrong_type(name, value, spec, "" if _is_secret(name) else f"{argspec.show(value)} ")


def _element_fault(name: str, value: Any, spec: Mapping[str, Any]) -> str | None:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        # The value is not shown because it may hold an environment.
        example = {"name": "team-b", "public_key": "age1..."} if "public_key" in spec["options"] else {"instance": "a"}
        return f"{name} is not a list of mappings, one for each of them; give for example [{example}]"
    if not value and name in _ELEMENTS.values():
        return f"{name}: [] defines nothing; leave it out, or take the host out of its group"
    for index, element in enumerate(value):
        for key, item in element.items():
            if key not in spec["options"]:
                close = words.nearest(str(key), spec["options"])
                return f"{name}[{index}].{key} is not a key that it has{f'; {close} is' if close else ''}"
            fault = None if item is None else _fault(f"{name}[{index}].{key}", item, spec["options"][key])
            if fault is not None:
                return fault
    return None


def _said(message: str, options: Mapping[str, Any]) -> str:
    """Return the validator's message, without the value if that may be secret."""
    for name in options:
        for key in (name, *options[name].get("options", {})):
            if _is_secret(key) and re.search(rf"\b{key}\b", message):
                return f"{name}: the value of {key} has the wrong type" if key != name else f"{name} has the wrong type"
    return message


# --- the run ----------------------------------------------------------------------------------------------------------


def read_run(variables: Mapping[str, Any]) -> Run:
    """Return the variables that the playbooks take with ``-e``.

    :raises Problems: with one message for each wrong value.
    """
    messages: list[str] = []
    given = _given(variables, RUN, messages)
    serial = given.get("timesten_serial")
    if isinstance(serial, str):
        # Ansible's keyword does not take a list with commas.
        given["timesten_serial"] = [serial.replace(",", ";")]
    elif isinstance(serial, int) and not isinstance(serial, bool):
        given["timesten_serial"] = [str(serial)]
    validated = _validated(given, RUN, messages)
    if messages:
        raise Problems(messages, variables)
    values = {name: value for name, value in validated.items() if value is not None}
    listed = values.pop("timesten_outsiders", [])
    for name, value in list(values.items()):
        if isinstance(value, list):
            values[name] = tuple(str(item).strip() for item in value)
    for name, check in (
        ("timesten_serial", _check_serial),
        ("timesten_max_fail_percentage", _check_percentage),
        ("rotate_since", _check_since),
    ):
        if name in given and name in values:
            fault = check(values[name], given[name])
            if fault:
                messages.append(f"{name}: {fault}")
    taken, wrong = outsiders.define(listed)
    messages += wrong
    for name, low, high in (("rotate_wave", 1, 100000), ("rotate_confirm", 1, 86400), ("rotate_grace", 0, 86400)):
        value = values.get(name)
        if isinstance(value, (int, float)) and not low <= value <= high:
            messages.append(f"{name}: {value} is not between {low} and {high}")
    for name in (
        "timesten_report",
        "timesten_report_html",
        "timesten_outsiders_dir",
        "rotate_silence_ca_file",
        *_NAMED,
    ):
        for item in _listed(values.get(name)):
            try:
                names.check_text(item, name)
            except TimesTenError as error:
                messages.append(error.message)
    run = Run(**values, timesten_outsiders=taken)
    messages += around.check(run)
    if messages:
        raise Problems(messages, variables)
    return run


# Variables that name hosts, exporters or clients.
_NAMED = (
    "rotate_exporters",
    "rotate_hosts",
    "rotate_optional",
    "evict",
    "remove_exporter",
    "remove_prometheus",
)


def _listed(value: Any) -> Sequence[str]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _check_serial(value: Sequence[str], _given_as: Any) -> str | None:
    for item in value:
        number = re.match(r"([0-9]{1,6})(%?)\Z", item)
        if not number or int(number.group(1)) == 0 or (number.group(2) and int(number.group(1)) > 100):
            return (
                f"{item.replace(';', ',')!r} is neither a number of hosts (10) nor a share of them (1% to 100%), or a list of those "
                'as in -e \'{"timesten_serial": [1, "50%"]}\''
            )
    return None if value else "[] is empty"


def _check_percentage(value: float, given: Any) -> str | None:
    return None if 0 <= value <= 100 and not math.isnan(value) else f"{given!r} is not between 0 and 100"


def _check_since(value: str, _given_as: Any) -> str | None:
    try:
        pem.parse_timestamp(value)
    except ValueError:
        return f"{value!r} is not a time such as 2026-11-24T10:49:00Z"
    return None


# --- names of variables -----------------------------------------------------------------------------------------------


def _known() -> set[str]:
    return set(RUN).union(*(words.specs(role) for role in ROLES))


def unknown(name: str, extra: bool = False) -> str | None:
    """Return why a variable is probably misspelt; None if it is one of ours or not our concern.

    The following count as ours: every name with the full prefix of a role; a name that differs from one of ours in one
    letter or in case; ``exporter_<option>``; and ``<prefix>_<option>`` if the prefix without underscores differs in at
    most two letters from a role's. ``prometheus_<option>`` belongs to other collections (``prometheus_config_file``). A
    variable given with ``-e`` is meant for this run, so a name that begins like one of ours, or that is an option of a
    module, counts too.

    :param extra: whether it was given with ``-e``.
    """
    known = _known()
    if extra and name in _FACTS:
        # It would override what the tasks of the run set.
        return f"{name} is not a variable for people: the playbooks set it themselves; leave it out"
    if name in known or name in _FACTS or name.startswith(("reference_exporter_", "ansible_", "__")):
        return None
    folded = name.lower()
    for role in ROLES:
        if folded.startswith(f"{role}_"):
            close = words.nearest(name, [item for item in known if item.startswith(role)], 0.8)
            return f"{name} is not a variable of the role {role}{f'; {close} is' if close else ''}"
    meant = _meant(folded, known)
    if meant is None and extra:
        meant = _meant_with_extra(folded, known)
        if meant is None and re.match(r"(timesten|rotate|remove)_", folded):
            return f"{name} is not a variable of this collection; there are {', '.join(sorted(RUN))}"
    return None if meant is None else f"{name} is not a variable of this collection; {meant} is"


def _meant(name: str, known: Collection[str]) -> str | None:
    """Return the variable of ours that is probably meant by a name without a role's full prefix."""
    if len(name) > 7:
        for item in sorted(known):
            if item == name or words.one_letter_away(item, name):
                return item
    for role in ROLES:
        whole = role.replace("_", "")
        for item in sorted(words.specs(role), key=len, reverse=True):
            short = item[len(role) + 1 :]
            if not name.endswith(short) or name == short:
                continue
            prefix = name[: -len(short)]
            if prefix[-1] not in "_-" and prefix.replace("_", "") != whole:
                continue
            prefix = prefix.strip("_-")
            if (role == EXPORTER and prefix in ("exporter", "exporters")) or _near(re.sub(r"[_-]", "", prefix), whole):
                return item
    return None


def _near(one: str, other: str) -> bool:
    """Tell whether at most two letters differ."""
    if one == other or words.one_letter_away(one, other):
        return True
    # Remove or change one letter of either, then allow one more difference.
    return len(one) > 8 and any(
        words.one_letter_away(left[:i] + left[i + 1 :], right) or left[:i] + left[i + 1 :] == right
        for left, right in ((one, other), (other, one))
        for i in range(len(left))
    )


def _meant_with_extra(name: str, known: Collection[str]) -> str | None:
    candidates = sorted(
        item
        for item in known
        if item
        in (f"{EXPORTER}_{name}", f"{PROMETHEUS}_{name}", f"rotate_{name}", f"timesten_{name}", f"remove_{name}")
    )
    for role in ROLES:
        listed = [item[len(role) + 1 :] for item in words.specs(role)]
        # "timesten_exporter_port", and "on_existin", which is long enough to be no name of somebody else's.
        meant = [
            name,
            *(item for item in listed if name in (f"timesten_exporter_{item}", f"timesten_exporters_{item}")),
        ]
        meant += [item for item in listed if len(item) > 7 and words.one_letter_away(item, name)]
        for other in (words.variable(role, item) for item in meant):
            if other and other not in candidates:
                candidates.append(other)
    if candidates:
        return " or ".join(candidates)
    if re.match(r"(timesten|rotate|remove)_", name):
        return words.nearest(name, [item for item in RUN if item.partition("_")[0] == name.partition("_")[0]], 0.8)
    return next((item for item in sorted(RUN) if words.one_letter_away(item, name)), None)


# --- all hosts --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Reading:
    """A fleet and its faults: those of the run (below the empty name) and those of each host."""

    fleet: Fleet
    faults: dict[str, list[str]]


def _each_once(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]
) -> dict[str, Mapping[str, Any]]:
    """Return the variables of all hosts. Ansible computes a host's variables anew each time they are asked for, so ask
    once.
    """
    return {host: hostvars[host] for group in (EXPORTERS, SERVERS) for host in groups.get(group) or ()}


def _read(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> _Reading:
    exporters, servers = tuple(groups.get(EXPORTERS) or ()), tuple(groups.get(SERVERS) or ())
    faults: dict[str, list[str]] = {}
    exporter_hosts: dict[str, ExporterHost] = {}
    prometheus_hosts: dict[str, PrometheusHost] = {}
    for host in exporters:
        try:
            exporter_hosts[host] = exporter_host(host, hostvars[host], servers)
        except Problems as error:
            faults.setdefault(host, []).extend(error.messages)
    for host in servers:
        try:
            prometheus_hosts[host] = prometheus_host(host, hostvars[host], exporters)
        except Problems as error:
            faults.setdefault(host, []).extend(error.messages)
    run = Run()
    try:
        run = read_run(_of_run(hostvars, (*exporters, *servers)))
    except Problems as error:
        faults[""] = error.messages
    # Also of hosts outside of a limit: what is set for the run counts for all hosts, whoever has it.
    chosen = [
        f"{host}: {text}" for host in dict.fromkeys((*exporters, *servers)) for text in _chosen_by_hosts(hostvars[host])
    ]
    faults.setdefault("", []).extend(chosen)
    faults[""].extend(_outsider_problems(exporter_hosts, prometheus_hosts, run, exporters, servers))
    # A host without the strategy would take part in the steps of another strategy.
    both: dict[str, str | None] = {
        **dict.fromkeys(
            ("timesten_outsiders", *(name for name in RUN if name.startswith((around.SILENCE, around.ANNOTATION))))
        ),
        "rotate_strategy": Run.rotate_strategy,
    }
    for variable, default in both.items():
        if len(_differing(hostvars, (*exporters, *servers), variable, default)) > 1:
            faults[""].append(
                f"{variable} differs from host to host; set it once, for all of them (group_vars/all.yml)"
            )
    return _Reading(Fleet(exporter_hosts, prometheus_hosts, run, (exporters, servers)), faults)


def _differing(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str], variable: str, default: str | None
) -> set[str]:
    """Return the texts of a run variable's values on the hosts; one text if they agree.

    :param default: the value of a host that does not set it; None if only hosts that set it count.
    """
    given = [hostvars[host].get(variable, default) for host in hosts]
    return {repr(value) for value in given if value not in (None, "")}


def _outsider_problems(
    exporter_hosts: Mapping[str, ExporterHost],
    prometheus_hosts: Mapping[str, PrometheusHost],
    run: Run,
    exporters: Sequence[str],
    servers: Sequence[str],
) -> list[str]:
    """Return the faults of the outsiders in relation to the rest of the inventory."""
    messages = []
    taken = {name.lower(): f"the Prometheus host {name}" for name in servers}
    for host in prometheus_hosts.values():
        taken.update({client.name.lower(): f"a client of {client.host}" for client in host.clients})
    known = [exporter.name for host in exporter_hosts.values() for exporter in host.exporters]
    for outsider in run.timesten_outsiders:
        if outsider.name.lower() in taken:
            messages.append(
                f"timesten_outsiders: {outsider.name!r} is the name of {taken[outsider.name.lower()]}; choose another"
            )
        # If a host has invalid variables, its exporters are unknown.
        for name in (outsider.exporters or ()) if len(exporter_hosts) == len(exporters) else ():
            if name not in known:
                messages.append(
                    _nobody(f"timesten_outsiders: exporters of {outsider.name}", name, known, "an exporter")
                )
    if run.timesten_outsiders:
        unwritable = outsiders.fault(run.timesten_outsiders_dir)
        messages += [unwritable] if unwritable else []
    return messages


def _of_run(hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]) -> dict[str, Any]:
    """Return the run's variables that are set. With -e every host has them; otherwise the first host that has one
    decides.
    """
    values: dict[str, Any] = {}
    for host in hosts:
        for name in RUN:
            if name not in values and name in hostvars[host]:
                values[name] = hostvars[host][name]
    return values


def read(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> tuple[Fleet, list[str]]:
    """Read all hosts. Hosts with invalid variables are left out of the fleet and named in a message."""
    reading = _read(_each_once(hostvars, groups), groups)
    return reading.fleet, _texts(reading.faults)


def _texts(faults: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one text for each fault with its hosts; a fault of many hosts appears once."""
    hosts: dict[str, list[str]] = {}
    for host, messages in faults.items():
        for message in messages:
            hosts.setdefault(re.sub(r"\s+", " ", message), []).append(host)
    texts = []
    for message, named in hosts.items():
        more = f" (and {len(named) - 1} more host{'s' if len(named) > 2 else ''})" if len(named) > 1 else ""
        texts.append(f"{named[0]}{more}: {message}" if named[0] else message)
    return texts


def problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    limit: str | None = None,
    operation: str = "site",
    extra_vars: Collection[str] = (),
) -> list[str]:
    """Return every reason to refuse a run before a host is touched, one message each. If there is none, keep what was
    read.

    :param hosts: hosts of the run. Only their variables are checked, and names across all hosts.
    :param limit: the value of ``--limit``; None if any limit is allowed.
    :param operation: the playbook, one of :data:`OPERATIONS`.
    :param extra_vars: names of the variables given with ``-e``.
    """
    missing = [
        f"the inventory has no host in the group {group}, to which the hosts belong that run {what}; is it the right inventory (-i)?"
        for group, what in ((EXPORTERS, "ttExporter"), (SERVERS, "Prometheus"))
        if not groups.get(group)
    ]
    if missing:
        return missing
    mine = set(hosts)
    if not mine.intersection((*groups[EXPORTERS], *groups[SERVERS])):
        return [f"no host of {EXPORTERS} or {SERVERS} is part of this run{f': --limit {limit}' if limit else ''}"]
    if limit is not None:
        left_out = _limit_problem(groups, mine, limit)
        if left_out:
            return left_out
    hostvars = _each_once(hostvars, groups)
    reading = _read(hostvars, groups)
    faults = {host: list(messages) for host, messages in reading.faults.items() if not host or host in mine}
    for host, messages in _variable_problems(hostvars, groups, mine, extra_vars).items():
        faults.setdefault(host, []).extend(messages)
    for host, messages in _reference_problems(reading.fleet, mine).items():
        faults.setdefault(host, []).extend(messages)
    texts = _texts(faults)
    texts += _purge_problem(reading.fleet, groups, mine)
    texts += _unread_for_outsiders(reading, mine)
    texts += _same_names(reading.fleet, mine)
    texts += _run_problems(reading.fleet, reading.faults, mine, operation)
    if not texts:
        remember(reading.fleet)
        steps.begin()
    return list(dict.fromkeys(re.sub(r"\s+", " ", text) for text in texts))


def _unread_for_outsiders(reading: _Reading, mine: Collection[str]) -> list[str]:
    """Refuse a run that would lose pairs: an outsider's directory is written from the whole inventory, and a host in it
    cannot be read.
    """
    unread = [host for host in reading.faults if host and host not in mine and host in reading.fleet.inventory[0]]
    if not reading.fleet.run.timesten_outsiders or not unread:
        return []
    return [
        f"timesten_outsiders: what they get is written from the whole inventory, and variables of {', '.join(unread[:3])} are wrong, outside of this run's "
        f"limit: {reading.faults[unread[0]][0]}"
    ]


def _variable_problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Collection[str],
    extra_vars: Collection[str],
) -> dict[str, list[str]]:
    """Return variables that nothing reads: misspelt ones, and a role's variables on hosts of the other role only."""
    faults: dict[str, list[str]] = {}
    judged: dict[str, str | None] = {}
    for name in sorted(extra_vars):
        message = unknown(name, extra=True)
        judged[name] = None
        if message:
            faults.setdefault("", []).append(f"-e {message}")
    known = _known()
    setters: dict[str, set[str]] = {}
    for host in (*groups[EXPORTERS], *groups[SERVERS]):
        for name in sorted(str(key) for key in hostvars[host]):
            if name in known:
                setters.setdefault(name, set()).add(host)
                continue
            if name not in judged:
                judged[name] = unknown(name)
            message = judged[name]
            if message and host in hosts and message not in faults.get(host, ()):
                faults.setdefault(host, []).append(message)
    for name, setting_hosts in setters.items():
        role = next((role for role in ROLES if name.startswith(f"{role}_")), None)
        if role is None or name in extra_vars or setting_hosts.intersection(groups[GROUP[role]]):
            continue
        for host in sorted(setting_hosts.intersection(hosts)):
            faults.setdefault(host, []).append(
                f"{name} is a variable of the role {role}, and no host of the group {GROUP[role]} has it; set it there"
            )
    return faults


def _chosen_by_hosts(variables: Mapping[str, Any]) -> list[str]:
    """Tell which variables of ours are facts: these stand above the inventory, and a host says of itself what it likes."""
    facts = variables.get("ansible_facts")
    ours = _known() | _FACTS
    chosen = sorted(str(name) for name in facts if name in ours) if isinstance(facts, Mapping) else []
    if not chosen:
        return []
    return [
        f"{', '.join(chosen)}: among the facts of the host, which it can choose itself, and which stand above the inventory. Set what is meant in the "
        "inventory, and clear the fact cache: ansible-playbook --flush-cache"
    ]


def _reference_problems(fleet: Fleet, hosts: Collection[str]) -> dict[str, list[str]]:
    """Return hosts and clients that a host's variables name and that do not exist."""
    faults: dict[str, list[str]] = {}
    exporters, servers = fleet.inventory
    clients = [*fleet.clients, *(outsider.name for outsider in fleet.run.timesten_outsiders)]
    # If a Prometheus host has invalid variables, its clients are unknown.
    complete = len(fleet.prometheus_hosts) == len(servers)
    for item in fleet.exporter_hosts.values():
        for variable, given, known, what in (
            ("exporter_host_prometheus_hosts", item.prometheus_hosts, servers, f"a host of the group {SERVERS}"),
            ("exporter_host_readmit", item.readmit, clients if complete else item.readmit, "a client"),
        ):
            for name in given:
                if name not in known and item.host in hosts:
                    faults.setdefault(item.host, []).append(_nobody(variable, name, known, what))
    for server in fleet.prometheus_hosts.values():
        for name in server.exporter_hosts:
            if name not in exporters and server.host in hosts:
                faults.setdefault(server.host, []).append(
                    _nobody("prometheus_host_exporter_hosts", name, exporters, f"a host of the group {EXPORTERS}")
                )
    return faults


def _nobody(variable: str, name: str, known: Collection[str], what: str) -> str:
    close = words.nearest(name, known)
    if close:
        return f"{variable}: {name!r} is not {what}; {close} is"
    listed = sorted(known)
    shown = ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
    return f"{variable}: {name!r} is not {what}; there are {shown}"


def _limit_problem(groups: Mapping[str, Sequence[str]], hosts: set[str], limit: str) -> list[str]:
    missing = [host for host in groups[SERVERS] if host not in hosts]
    mine = [host for host in groups[EXPORTERS] if host in hosts]
    if not missing and mine:
        return []
    left_out = "every exporter host" if not missing else ", ".join(missing)
    # Keep the limit's exporter hosts; if it names none, take one as an example.
    pattern = ":".join(mine) if 0 < len(mine) < len(groups[EXPORTERS]) else groups[EXPORTERS][0]
    return [
        f"--limit {limit} leaves out {left_out}; an exporter and all its Prometheus hosts have to be in the same run: "
        f"--limit '{pattern}:{SERVERS}'"
    ]


def _purge_problem(fleet: Fleet, groups: Mapping[str, Sequence[str]], hosts: set[str]) -> list[str]:
    left_out = [host for host in groups[EXPORTERS] if host not in hosts]
    purging = [server.host for server in fleet.prometheus_hosts.values() if server.host in hosts and server.purge]
    if not left_out or not purging:
        return []
    return [
        f"{purging[0]}: prometheus_host_purge looks at every exporter, and --limit leaves out {', '.join(left_out)}: run without --limit, or without purge"
    ]


def _same_names(fleet: Fleet, hosts: set[str]) -> list[str]:
    """Return what two exporters or two clients share although it must differ."""
    exporters: dict[str, list[tuple[str, str]]] = {}
    targets: dict[str, list[tuple[str, str]]] = {}
    clients: dict[str, list[tuple[str, str]]] = {}
    for exporter in (item for host in fleet.exporter_hosts.values() for item in host.exporters):
        exporters.setdefault(exporter.name.lower(), []).append((exporter.name, exporter.host))
        for port in (exporter.port, exporter.spare_port):
            if port is not None:
                target = names.target(exporter.address, port)
                same = names.target(names.canonical(exporter.address), port)
                targets.setdefault(same, []).append((target, exporter.host))
    for client in (item for host in fleet.prometheus_hosts.values() for item in host.clients):
        clients.setdefault(client.name.lower(), []).append((client.name, client.host))
    return [
        *_twice("the exporter name", exporters, hosts),
        *_twice("the target", targets, hosts),
        *_twice("the client name", clients, hosts),
    ]


def _twice(what: str, owners: Mapping[str, Sequence[tuple[str, str]]], hosts: set[str]) -> Iterator[str]:
    """Return values with several owners, of which at least one is part of the run."""
    for group in owners.values():
        owning = [host for _name, host in group]
        if len(group) > 1 and hosts.intersection(owning):
            yield f"{what} {group[0][0]} is there {len(group)} times: on {', '.join(owning)}"


def _run_problems(fleet: Fleet, faults: Mapping[str, Sequence[str]], hosts: set[str], operation: str) -> Iterator[str]:
    """Return names given with ``-e`` that do not exist or are not part of the run."""
    exporters, servers = fleet.inventory
    run = fleet.run
    yield from _report_problems(run)
    # An operation that only looks or removes switches nothing.
    unusable = around.fault(run) if operation in ROTATING else None
    if unusable is not None:
        yield unusable
    # If a host has invalid variables, its exporters and clients are unknown.
    if not any(host in faults for host in exporters):
        for name in run.rotate_exporters or ():
            owner = fleet.exporters.get(name)
            if owner is None:
                yield _nobody("rotate_exporters", name, fleet.exporters, "an exporter")
            elif owner.host not in hosts and operation in ("rotate", "rollback", "evict"):
                yield f"rotate_exporters: the host of {name}, {owner.host}, is not part of this run; take it into --limit"
    for name in run.rotate_hosts or ():
        if name not in exporters:
            yield _nobody("rotate_hosts", name, exporters, f"a host of the group {EXPORTERS}")
    if not any(host in faults for host in servers):
        for name in run.rotate_optional:
            if name not in _takers(fleet) and name not in servers:
                yield _nobody("rotate_optional", name, _takers(fleet), "a client")
        if run.evict is not None:
            yield from _evict_problem(fleet, run.evict)
    if operation == "evict" and run.evict is None:
        yield f"evict is not set; name the client that loses its access with -e evict=<client>: {', '.join(_takers(fleet)[:10])}"
    if operation == "remove":
        yield from _remove_problems(fleet)


def _report_problems(run: Run) -> Iterator[str]:
    """Return why the reports cannot be written."""
    for variable, path in (
        ("timesten_report", run.timesten_report),
        ("timesten_report_html", run.timesten_report_html),
    ):
        unwritable = None if path is None else reports.fault(path, variable)
        if unwritable:
            yield unwritable
    both = reports.same(run.timesten_report, run.timesten_report_html)
    if both:
        yield both


def _remove_problems(fleet: Fleet) -> Iterator[str]:
    """Return what is wrong with the one thing that has to be named for removal.

    Its name may have left the inventory, however similar it is to another name. The hosts know whether it exists, and
    say so before anything is changed.
    """
    run = fleet.run
    given = [item for item in (run.remove_exporter, run.remove_prometheus, run.remove_everything) if item]
    if len(given) != 1:
        which = "nothing was named" if not given else f"{len(given)} things were named"
        yield f"{which} to be removed; say {ONE_OF}"


def _of_a_family(name: str, known: Collection[str]) -> bool:
    """Tell whether a name differs from a known one only in digits: prom3 is not a misspelt prom2."""
    return re.sub(r"\d+", "#", name) in {re.sub(r"\d+", "#", item) for item in known}


def _takers(fleet: Fleet) -> list[str]:
    """Return the names of all clients and outsiders."""
    return sorted([*fleet.clients, *(outsider.name for outsider in fleet.run.timesten_outsiders)])


def may_be_evicted(fleet: Fleet, name: str) -> bool:
    """Tell whether the playbook evict accepts a name: that of a client, or one of the same family that has left the
    inventory.
    """
    takers = _takers(fleet)
    return name in takers or (
        name not in fleet.prometheus_hosts
        and name not in fleet.exporters
        and name not in fleet.exporter_hosts
        and _of_a_family(name, takers)
    )


def _evict_problem(fleet: Fleet, name: str) -> Iterator[str]:
    if may_be_evicted(fleet, name):
        return
    try:
        names.check_name(name, "evict")
    except TimesTenError as error:
        yield error.message
        return
    takers = _takers(fleet)
    server = fleet.prometheus_hosts.get(name)
    if server is not None:
        yield f"evict: {name!r} is a host with several clients; name one: {', '.join(client.name for client in server.clients)}"
    elif name in fleet.exporters or name in fleet.exporter_hosts:
        yield f"evict: {name!r} is an exporter; name a client: {', '.join(takers[:10])}"
    else:
        yield (
            f"{_nobody('evict', name, takers, 'a client')}. One that has left the inventory loses its access with ansible-playbook "
            f"timesten.monitoring.remove -e remove_prometheus={name}, and then {NEW_WALLETS}"
        )


def how_to_take_access(fleet: Fleet, client: str) -> str:
    """Return how to take the access from a client that the exporters have forgotten: its old pair gives it access until
    there are new wallets.
    """
    if may_be_evicted(fleet, client):
        return f"ansible-playbook timesten.monitoring.evict -e evict={client}{', while it is in the inventory' if client in _takers(fleet) else ''}"
    return NEW_WALLETS


def left_out(groups: Mapping[str, Sequence[str]], options: Mapping[str, Any]) -> str | None:
    """Return why options of ansible-playbook leave out what every run needs: its check and its report; None if they do not.

    Ansible would end such a run with status 0, whatever was seen.

    :param options: those of the command line, as Ansible keeps them.
    """
    skipped = sorted({"always", "tagged"}.intersection(options.get("skip_tags") or ()))
    if skipped:
        return f"--skip-tags {skipped[0]} leaves out the check before the run and the report after it: run it without"
    task = options.get("start_at_task")
    if task:
        return (
            f"--start-at-task {task!r} leaves out what stands before that task, and nothing could be proven without it: run it without; "
            "whatever is done already stays as it is"
        )
    limit = options.get("subset")
    if limit and not groups.get("all"):
        return f"the inventory has no hosts at all, so that --limit {limit} finds none: is it the right inventory (-i)?"
    return None


# --- for the playbooks ------------------------------------------------------------------------------------------------


_remembered: list[Fleet] = []


def remember(fleet: Fleet) -> None:
    """Keep what was read. The preflight runs in Ansible's main process, and the processes of the tasks are forked from
    it and inherit this.
    """
    _remembered[:] = [fleet]


def recall(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> Fleet:
    """Return the remembered fleet. Read it if none is remembered or the remembered one is of other hosts.

    :raises Problems: if reading finds a fault.
    """
    inventory = (tuple(groups.get(EXPORTERS) or ()), tuple(groups.get(SERVERS) or ()))
    if _remembered and _remembered[0].inventory == inventory:
        return _remembered[0]
    fleet, messages = read(hostvars, groups)
    if messages:
        raise Problems(messages)
    remember(fleet)
    return fleet


def counts(fleet: Fleet, hosts: Collection[str]) -> str:
    """Describe the part of the fleet in a run: ``2 exporter hosts, 3 exporters, 1 Prometheus host, 2 clients, 6
    pairs``.
    """
    pairs = [pair for pair in fleet.pairs() if pair[0].host in hosts and pair[1].host in hosts]
    numbers = (
        (len([host for host in fleet.exporter_hosts if host in hosts]), "exporter host"),
        (len([item for item in fleet.exporters.values() if item.host in hosts]), "exporter"),
        (len([host for host in fleet.prometheus_hosts if host in hosts]), "Prometheus host"),
        (len([item for item in fleet.clients.values() if item.host in hosts]), "client"),
        (len(pairs), "pair"),
        *([(len(fleet.run.timesten_outsiders), "outsider")] if fleet.run.timesten_outsiders else []),
    )
    return ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in numbers)
