# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: who runs this playbook, where, and which other runs are under way on this controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: this_run
short_description: Who runs this playbook
version_added: 1.0.0
description:
  - Says who runs the playbook, for whoever comes second to a host, and which runs of Ansible are under way on the controller, so that what a killed one
    left can be taken over.
options:
  running:
    description: Whether to list the runs that are under way. Takes a look at every process of the controller.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Who am I?
  ansible.builtin.debug:
    msg: "{{ lookup('timesten.monitoring.this_run').name }}"
"""

RETURN = r"""
_raw:
  description:
    - One element with C(name) (user, controller and process, for people), C(controller), C(process) and, if asked for and if the controller's
      system tells, C(running) (the C(process) of each run).
  type: list
  elements: dict
  sample:
    - name: "alice@ctl1 (process 4242)"
      controller: ctl1/4026531836
      process: 4242/981234
      running: [4242/981234]
"""

import getpass
import multiprocessing
import os
import platform
from typing import Any

from ansible.plugins.lookup import LookupBase


def _process(pid: int) -> str | None:
    """A process, so that no later one with the same number is taken for it; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name in parentheses may hold anything; the start in clock ticks is the 20th field after it (proc_pid_stat(5)).
            return f"{pid}/{file.read().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def _controller() -> str:
    """The controller: a container of the same name counts its processes by itself."""
    try:
        return f"{platform.node()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def _running() -> list[str] | None:
    """The processes that look like Ansible; None where the system does not tell."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"ansible" in file.read():
                    found.append(_process(pid))
        except OSError:
            continue
    return [process for process in found if process is not None]


def this_run(running: bool = False) -> dict[str, Any]:
    """Return who runs this playbook."""
    # A task's arguments may be templated by a worker.
    parent = multiprocessing.parent_process()
    pid = os.getpid() if parent is None else parent.pid or os.getpid()
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    found: dict[str, Any] = {
        "name": f"{user}@{platform.node()} (process {pid})",
        "controller": _controller(),
        "process": _process(pid) or str(pid),
    }
    if running:
        others = _running()
        if others is not None:
            found["running"] = sorted({*others, found["process"]})
    return found


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one element."""
        self.set_options(var_options=variables, direct=kwargs)
        return [this_run(self.get_option("running"))]
