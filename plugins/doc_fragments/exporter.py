# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of options that several modules share; their argument specs are in module_utils/core/argspec.py."""

    UTILITY = r"""
options:
  timesten_home:
    description:
      - Home of the TimesTen instance. C(ttExporter) is called as C(<timesten_home>/bin/ttenv ttExporter).
    type: path
    required: true
  certificate_directory:
    description:
      - The exporter's own directory. It holds the generations of its wallet, and the link C(current) to the one in use.
      - A wallet directly in this directory, made by hand with C(ttExporter -create-server-certificate
        -certificate-directory), is adopted. The original stays as it is.
      - If it is missing, it is made with mode V(0700), together with its missing parents, as far as the user may make
        them.
    type: path
    required: true
  environment:
    description:
      - Environment variables for C(ttExporter), in addition to those that C(ttenv) sets.
    type: dict
    default: {}
"""

    WALLET = r"""
options:
  common_name:
    description:
      - Common name of the server certificate, a host name or an IP address. It has to be the name or address to which
        Prometheus connects.
    type: str
  alt_names:
    description:
      - Alternative names of the server certificate, host names or IP addresses. Prometheus checks only these names.
      - If not set, the common name is used.
    type: list
    elements: str
  rsa_key_size:
    description:
      - Size of the server's RSA key in bits, from 2048 to 16384. If not set, the utility's own default is used.
    type: int
  renew_before:
    description:
      - How long before its end a certificate is due for renewal. A duration (V(30d), V(12h), V(90m), V(45s)) or a
        share of its lifetime (V(20%)).
      - A duration longer than half of the lifetime counts as half of it.
    type: str
    default: 30d
  regenerate:
    description:
      - When an existing wallet is replaced by a new one. A replacement invalidates the server certificate and all pairs
        issued from the old wallet.
      - V(never) only reports.
      - V(when_due) replaces it once it is within O(renew_before) of its end.
      - V(when_changed) also replaces it if it does not have the names or the key size that were asked for.
      - V(always) replaces it in every run.
    type: str
    choices: [never, when_due, when_changed, always]
    default: when_due
  allow_home:
    description:
      - Allow the home directory as O(certificate_directory), which Oracle advises against.
    type: bool
    default: false
"""

    PROCESS = r"""
options:
  insecure:
    description:
      - Serve plain HTTP without authentication (C(-insecure)).
    type: bool
    default: false
  rate_limit:
    description:
      - GETs per minute that the exporter accepts, from 1 to 15. It is set only if the utility has an option for it.
    type: int
    default: 15
  pid_file:
    description:
      - Pid file (C(-pid-file)). If not set, it is C(exporter.pid) in O(certificate_directory).
      - Its directory must not be writable by others.
    type: path
  log_file:
    description:
      - File for the exporter's output. If not set, it is C(exporter.log) in O(certificate_directory).
    type: path
  stop_signal:
    description:
      - Signal that stops the exporter.
    type: str
    choices: [TERM, INT]
    default: TERM
  stop_timeout:
    description:
      - Seconds within which the exporter has to stop, from 1 to 3600.
    type: int
    default: 10
  start_timeout:
    description:
      - Seconds after its start within which the exporter has to serve, from 1 to 3600.
    type: int
    default: 30
  force_kill:
    description:
      - Send SIGKILL if the exporter has not stopped in time.
    type: bool
    default: false
  boot:
    description:
      - What starts the exporter after a reboot, without a playbook.
      - V(cron) is an C(@reboot) line in the crontab of the user who runs it.
      - V(systemd) is a unit, which also starts the exporter again whenever it ends.
        M(timesten.monitoring.tt_exporter_unit) installs it. Only systemd then starts the exporter, and a signal
        restarts it.
      - With V(cron) and V(systemd), the start script is C(run) in O(certificate_directory).
    type: str
    choices: [none, cron, systemd]
    default: none
  takeover:
    description:
      - Whether the exporter replaces a C(ttExporter) of the same user and instance that somebody else has started on
        its port. The wallet of that process is adopted, so the server certificate stays the same and the pairs issued
        from it stay valid.
      - With V(false), the module refuses to work while such a process runs, and leaves that process as it is.
      - A process that a systemd unit runs is never taken over. The message names the unit.
    type: bool
    default: false
"""

    RUN = r"""
options:
  run:
    description:
      - The playbook run that this call belongs to, as P(timesten.monitoring.this_run#lookup) returns it. If another run
        finds the host in use, it is told the name of this run. A rotation holds a lease in this name until it has
        ended.
    type: dict
    default: {}
    suboptions:
      name:
        description:
          - User, controller and process, for people.
        type: str
        default: ''
      controller:
        description:
          - The controller.
        type: str
        default: ''
      process:
        description:
          - The process on the controller.
        type: str
        default: ''
      running:
        description:
          - The processes on the controller that may be runs. If a run is not among them, whatever it left is taken over
            at once.
        type: list
        elements: str
"""
