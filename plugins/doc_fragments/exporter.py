# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that several modules have; module_utils/core/argspec.py holds them as argument specs."""

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
      - A wallet that lies directly in it, made by hand with C(ttExporter -create-server-certificate
        -certificate-directory), is adopted. The original stays as it is.
      - It is made with mode V(0700), with those of its parents that are missing, where the user may do so.
    type: path
    required: true
  environment:
    description:
      - Environment variables for C(ttExporter), beside those that C(ttenv) sets.
    type: dict
    default: {}
"""

    WALLET = r"""
options:
  common_name:
    description:
      - Common name of the server certificate, a host name or an IP address. It has to be the one that Prometheus dials.
    type: str
  alt_names:
    description:
      - Alternative names of the server certificate, host names or IP addresses. Prometheus checks these alone.
      - The common name, if not set.
    type: list
    elements: str
  rsa_key_size:
    description:
      - Bits of the server's RSA key, from 1024 to 16384. The utility's own default, if not set.
    type: int
  renew_before:
    description:
      - How long before its end a certificate is due for renewal. A duration (V(30d), V(12h), V(90m), V(45s)) or a
        share of its lifetime (V(20%)).
      - A duration counts as at most half of the lifetime.
    type: str
    default: 30d
  regenerate:
    description:
      - When a wallet that exists is replaced by a new one. That invalidates the server certificate and all pairs
        issued from it.
      - V(never) reports only.
      - V(when_due) replaces it once it is within O(renew_before) of its end.
      - V(when_changed) replaces it also if it does not have the names or the key size asked for.
      - V(always) replaces it at every run.
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
      - GETs per minute that the exporter accepts, from 1 to 15. Set where the utility has an option for it.
    type: int
    default: 15
  pid_file:
    description:
      - Pid file (C(-pid-file)). C(exporter.pid) in O(certificate_directory), if not set.
      - Its directory must not be writable by others.
    type: path
  log_file:
    description:
      - File that gets what the exporter prints. C(exporter.log) in O(certificate_directory), if not set.
    type: path
  stop_signal:
    description:
      - Signal that stops the exporter.
    type: str
    choices: [TERM, INT]
    default: TERM
  stop_timeout:
    description:
      - Seconds that the exporter has to stop, from 1 to 3600.
    type: int
    default: 10
  start_timeout:
    description:
      - Seconds that the exporter has to serve after its start, from 1 to 3600.
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
      - V(systemd) is a unit, which also brings it back whenever it ends. M(timesten.monitoring.tt_exporter_unit)
        installs it. The exporter is then started by systemd alone, and restarted by a signal.
      - With V(cron) and V(systemd), the start script is C(run) in O(certificate_directory).
    type: str
    choices: [none, cron, systemd]
    default: none
  takeover:
    description:
      - Whether the exporter takes the place of a C(ttExporter) of the same user and instance that serves its port and was started by somebody
        else. Its wallet is adopted, so that the server certificate stays the same and the pairs issued from it stay valid.
      - Otherwise such a process is left as it is, and refused.
      - One that a systemd unit runs is never taken over; the message names the unit.
    type: bool
    default: false
"""

    RUN = r"""
options:
  run:
    description:
      - The run of a playbook that the call belongs to, as P(timesten.monitoring.this_run#lookup) gives it. Whoever comes second to a host is told its
        name; a rotation keeps others away in its name until it has ended.
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
          - The processes on the controller that may be runs. What a run left that is not among them is taken over at once.
        type: list
        elements: str
"""
