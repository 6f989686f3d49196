# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module does around its work: checks that packages are there, and turns failures into answers."""

from __future__ import annotations

import gc
import importlib.util
import sys
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core import files as _files
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError, system_error

HIDDEN = "VALUE HIDDEN"

_CERTIFICATES = "ansible_collections.timesten.monitoring.plugins.module_utils.tls.certificates"


class CheckedModule(AnsibleModule):  # type: ignore[misc]
    """An AnsibleModule that refuses values which Ansible would silently convert or fail on. The message names the
    option.
    """

    LENIENT: tuple[str, ...] = ()
    """Lists whose elements are checked later, one at a time."""

    def __init__(self, options: _argspec.Options) -> None:
        super().__init__(supports_check_mode=True, **options.for_ansible())

    def _load_params(self) -> None:
        super()._load_params()
        fault = _argspec.fault(self.params, self.argument_spec, self.LENIENT)
        if fault is not None:
            # Ansible does not know yet which values it has to hide, so none is shown.
            self.fail_json(msg=fault, invocation={})


class ExporterModule(CheckedModule):
    """An AnsibleModule that shows no value of ``environment``, neither in the host's log nor with -vvv.

    Those values may be passwords. no_log for the option would be wrong: Ansible would then hide every occurrence of
    each value in results and errors, even of 1 or /opt.
    """

    def _log_invocation(self) -> None:
        shown = _without_values(self.params)
        self.log(f"Invoked with {' '.join(f'{option}={shown[option]}' for option in sorted(shown))}"[:2000])

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        if "invocation" not in kwargs:
            kwargs["invocation"] = {"module_args": _without_values(self.params)}
        super()._return_formatted(kwargs)


def _without_values(params: dict[str, Any]) -> dict[str, Any]:
    shown = dict(params)
    # If the arguments are refused, they may have any type.
    if shown.get("environment"):
        variables = shown["environment"]
        shown["environment"] = dict.fromkeys(variables, HIDDEN) if isinstance(variables, dict) else HIDDEN
    if shown.get("exporters"):
        exporters = shown["exporters"] if isinstance(shown["exporters"], list) else [None]
        shown["exporters"] = [_without_values(item) if isinstance(item, dict) else HIDDEN for item in exporters]
    return shown


def _require_cryptography(module: AnsibleModule) -> None:
    """Fail if the package is missing. It is not imported here, because many calls do not need it and its import takes
    longer than they do.
    """
    error = getattr(sys.modules.get(_CERTIFICATES), "CRYPTOGRAPHY_IMPORT_ERROR", None)
    if error is not None or importlib.util.find_spec("cryptography") is None:
        module.fail_json(msg=missing_required_lib("cryptography >= 3.3"), exception=error)


def run(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Do a module's work, and exit with its result, or with the message and details of its failure.

    The garbage collector is off: the process ends soon anyway, and the collector would walk the objects of a thousand
    exporters again and again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        _run(module, work)
    finally:
        if collecting:
            gc.enable()


def _run(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    _require_cryptography(module)
    _files.identify((module.params.get("run") or {}).get("name") or "")
    failed = None
    try:
        result = work(module)
    except (TimesTenError, OSError) as error:
        failed = system_error(error)
        result = failed.details
    except NameError:
        # The work tried to import the package, and the import failed.
        _require_cryptography(module)
        raise
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if failed is not None:
        module.fail_json(msg=failed.message, **result)
    module.exit_json(**result)
