# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what is wrong with inventory, variables or limit of a run, as far as the controller alone can know it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_problems
short_description: What is wrong with a run before any host is touched
version_added: 0.1.0
description:
  - Checks the two groups, the variables of the roles P(timesten.monitoring.exporter_host#role) and P(timesten.monitoring.prometheus_host#role),
    and that names and targets are there once only.
  - A variable with the prefix of one of the roles that the role does not have is a problem too, since it is most likely misspelt.
  - Everything is found at once, by a single task for the whole fleet.
positional: groups, hosts
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  groups:
    description: The magic variable C(groups).
    type: dict
    required: true
  hosts:
    description: Inventory names of the hosts of the run. Only their variables are checked.
    type: list
    elements: str
    required: true
  limit:
    description: The value of C(--limit). An exporter and all its Prometheus hosts have to be in the same run; null where that does not matter.
    type: str
"""

EXAMPLES = r"""
- name: Stop before anything is touched
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('\n') }}"
  vars:
    problems: "{{ hostvars | timesten.monitoring.run_problems(groups, ansible_play_hosts_all, ansible_limit | default('')) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One message for each problem.
  type: list
  elements: str
  sample: ["exp2: exporter_host_prot is not a variable of the role exporter_host; exporter_host_port is"]
"""

import copy
import difflib
import functools
import re
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import yaml
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.timesten.monitoring.plugins.filter.exporter_definitions import exporter_definitions
from ansible_collections.timesten.monitoring.plugins.filter.prometheus_clients import prometheus_clients
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import definition as _exporter_definition

EXPORTERS = "timesten_exporters"
SERVERS = "prometheus_servers"
# What the roles set themselves, and what a caller of one of their other parts gives.
FACTS = {
    "exporter_host": {"exporter_host_definitions", "exporter_host_result"},
    "prometheus_host": {"prometheus_host_client", "prometheus_host_inspected", "prometheus_host_result"},
}


@functools.lru_cache(maxsize=None)
def _role(name: str) -> tuple[dict[str, Any], set[str]]:
    """Return the options of a role's main entry point, without the defaults that are templates, and the names of all its variables."""
    directory = Path(__file__).resolve().parents[2] / "roles" / name
    specs = yaml.safe_load((directory / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    defaults = yaml.safe_load((directory / "defaults" / "main.yml").read_text(encoding="utf-8"))
    known = set(defaults).union(*(spec.get("options") or {} for spec in specs.values()))
    options = specs["main"]["options"]
    for option in options.values():
        if "{{" in str(option.get("default")):
            del option["default"]
    return options, known


def _variables(role: str, host: str, variables: Mapping[str, Any], problems: list[str]) -> dict[str, Any] | None:
    """Return a host's variables for a role, with its defaults and types; what is wrong goes to ``problems``."""
    options, known = _role(role)
    given = {}
    for key in sorted(variables):
        if not str(key).startswith(role + "_") or key in FACTS[role]:
            continue
        if key not in known:
            close = difflib.get_close_matches(str(key), sorted(known), 1, 0.8)
            hint = f"; {close[0]} is" if close else ""
            problems.append(f"{host}: {key} is not a variable of the role {role}{hint}")
            continue
        try:
            given[str(key)] = variables[key]
        except AnsibleError as error:
            problems.append(f"{host}: {key}: {error}")
    # A copy, because the validator fills in the elements of a default.
    validator = ArgumentSpecValidator(copy.deepcopy(options))
    validated = validator.validate({key: value for key, value in given.items() if key in options})
    problems += [f"{host}: {message}" for message in validated.error_messages]
    return None if validated.error_messages else validated.validated_parameters


def _given(elements: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the elements without the keys that the validation added."""
    return [{key: value for key, value in element.items() if value is not None} for element in elements]


def _exporters(host: str, variables: Mapping[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    values = _variables("exporter_host", host, variables, problems)
    if values is None:
        return []
    shared = {key[len("exporter_host_") :]: value for key, value in values.items()}
    try:
        found = exporter_definitions(_given(shared.pop("exporters")), shared, host)
        for index, item in enumerate(found):
            # Whether a directory is somebody's home is for the host to say.
            _exporter_definition.define({**item, "allow_home": True}, f"exporter_host_exporters[{index}].")
    except (AnsibleFilterError, TimesTenError) as error:
        problems.append(f"{host}: {error}")
        return []
    return found


def _clients(host: str, variables: Mapping[str, Any], problems: list[str]) -> list[str]:
    values = _variables("prometheus_host", host, variables, problems)
    if values is None:
        return []
    shared = {key[len("prometheus_host_") :]: value for key, value in values.items()}
    try:
        found = list(prometheus_clients(_given(shared.pop("instances")), shared, host))
        for name in found:
            _names.check_name(name, "name of the client")
    except (AnsibleFilterError, TimesTenError) as error:
        problems.append(f"{host}: {error}")
        return []
    return found


def exporter_names(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> list[str]:
    """Return the names of the exporters that the inventory gives to a host; none where its variables are wrong."""
    return [item["name"] for item in _exporters(host, hostvars[host], [])]


def client_names(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> list[str]:
    """Return the names of the clients that the inventory gives to a host; none where its variables are wrong."""
    return _clients(host, hostvars[host], [])


def _twice(what: str, owners: Mapping[str, Sequence[str]], hosts: set[str]) -> Iterator[str]:
    """Tell which values have several owners, of which at least one is part of the run."""
    for value, found in owners.items():
        if len(found) > 1 and any(host in hosts for host in found):
            yield f"{what} {value} is there {len(found)} times: on {', '.join(found)}"


def _limit_problem(groups: Mapping[str, Sequence[str]], hosts: set[str], limit: str) -> list[str]:
    missing = [host for host in groups[SERVERS] if host not in hosts]
    mine = [host for host in groups[EXPORTERS] if host in hosts]
    if not missing and mine:
        return []
    left_out = "every exporter host" if not missing else ", ".join(missing)
    # What the limit says of exporter hosts is kept, or else one is named as an example.
    wanted = ":".join(mine) if 0 < len(mine) < len(groups[EXPORTERS]) else groups[EXPORTERS][0]
    return [
        f"--limit {limit} leaves out {left_out}; an exporter and all its Prometheus hosts have to be in the same run: "
        f"--limit '{wanted}:{SERVERS}'"
    ]


def _purge_problem(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]], hosts: set[str]
) -> list[str]:
    left_out = [host for host in groups[EXPORTERS] if host not in hosts]
    purging = [
        host
        for host in groups[SERVERS]
        if host in hosts and boolean(hostvars[host].get("prometheus_host_purge", False), strict=False)
    ]
    if not left_out or not purging:
        return []
    return [
        f"{purging[0]}: prometheus_host_purge looks at every exporter, and --limit leaves out {', '.join(left_out)}: run without --limit, or without purge"
    ]


def run_problems(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    limit: str | None = None,
) -> list[str]:
    """Return what is wrong, one message each; nothing is wrong if the list is empty."""
    missing = [
        f"the inventory has no host in the group {group}, to which the hosts belong that run {what}"
        for group, what in ((EXPORTERS, "ttExporter"), (SERVERS, "Prometheus"))
        if not groups.get(group)
    ]
    if missing:
        return missing
    mine = set(hosts)
    if limit is not None:
        left_out = _limit_problem(groups, mine, limit)
        if left_out:
            return left_out
    problems: list[str] = _purge_problem(hostvars, groups, mine)
    names: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    clients: dict[str, list[str]] = {}
    for host in groups[EXPORTERS]:
        for item in _exporters(host, hostvars[host], problems if host in mine else []):
            names.setdefault(item["name"], []).append(host)
            for port in (item["port"], item.get("spare_port")):
                if port is not None:
                    targets.setdefault(_names.target(item["address"], port), []).append(host)
    for host in groups[SERVERS]:
        for name in _clients(host, hostvars[host], problems if host in mine else []):
            clients.setdefault(name, []).append(host)
    problems += _twice("the exporter name", names, mine)
    problems += _twice("the target", targets, mine)
    problems += _twice("the client name", clients, mine)
    return [re.sub(r"\s+", " ", problem) for problem in problems]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {"run_problems": run_problems}
