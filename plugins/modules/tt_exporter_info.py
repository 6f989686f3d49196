#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_exporter_info
short_description: What runs, which wallet and pairs, what is due
version_added: 1.0.0
description:
  - Reads the state of one exporter and changes nothing.
extends_documentation_fragment:
  - timesten.monitoring.exporter.UTILITY
  - timesten.monitoring.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  renew_before:
    description:
      - How long before its end a certificate counts as due. A duration (V(30d), V(12h), V(90m), V(45s)) or a share of
        its lifetime (V(20%)).
      - A duration longer than half of the lifetime counts as half of it.
    type: str
    default: 30d
  pid_file:
    description:
      - Pid file. If not set, it is C(exporter.pid) in O(certificate_directory).
    type: path
seealso:
  - module: timesten.monitoring.tt_exporter
"""

EXAMPLES = r"""
- name: See what is due
  timesten.monitoring.tt_exporter_info:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
  register: exporter
"""

RETURN = r"""
exists:
  description: Whether there is a wallet of this collection in the directory.
  type: bool
  returned: success
  sample: true
generation:
  description: Id of the current generation, V(known after apply) if check mode would make a new one.
  type: str
  returned: when there is or would be a wallet
  sample: 20261124T104900Z-1a2b3c4d
wallet_directory:
  description: Directory of the current generation. C(ttExporter -certificate-directory) gets this path.
  type: str
  returned: when there is a wallet
  sample: /opt/timesten/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d
ca_sha256:
  description: SHA-256 over all certificates of the exported server file.
  type: str
  returned: when there is or would be a wallet
  sample: 5f1c0d7f6a3a4a1c1d0f6f4bde1f7a2e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e
server_certificate:
  description:
    - Facts of the server's own certificate, null if they cannot be known (see RV(server_certificate_source)).
  type: dict
  returned: when there is a wallet
  contains:
    subject:
      description: Subject (RFC 4514).
      type: str
      sample: CN=exp1.example.com
    issuer:
      description: Issuer (RFC 4514).
      type: str
      sample: CN=exp1.example.com CA
    common_name:
      description: Common name.
      type: str
      sample: exp1.example.com
    alt_names:
      description: Alternative names, host names and IP addresses.
      type: list
      elements: str
      sample: [exp1.example.com]
    not_before:
      description: Start of its validity, UTC.
      type: str
      sample: "2026-11-24T10:49:00Z"
    not_after:
      description: End of its validity, UTC.
      type: str
      sample: "2036-11-21T10:49:00Z"
    sha256:
      description: SHA-256 fingerprint, hexadecimal.
      type: str
      sample: 5f1c0d7f6a3a4a1c1d0f6f4bde1f7a2e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e
    is_ca:
      description: Whether it may sign certificates.
      type: bool
      sample: false
    self_signed:
      description: Whether subject and issuer are the same.
      type: bool
      sample: false
    key:
      description: Kind and size of its key.
      type: str
      sample: rsa 2048
server_certificate_source:
  description:
    - Source of the facts. V(export) is the exported file, V(handshake) is the certificate that the running exporter
      served, V(none) means that the facts are not known.
  type: str
  returned: when there is a wallet
  sample: export
due:
  description: Why the wallet has to be renewed now, null if it need not.
  type: str
  returned: when there is a wallet
  sample: ends at 2026-12-01T00:00:00Z, within renew_before 30d
due_at:
  description: Time from which the wallet is due, UTC.
  type: str
  returned: when there is a wallet
  sample: "2036-10-22T10:49:00Z"
created:
  description: When the current generation was made, UTC.
  type: str
  returned: when there is a wallet
  sample: "2026-11-24T10:49:00Z"
origin:
  description: Whether its wallet was V(created) by this collection or V(adopted).
  type: str
  returned: when there is a wallet
  sample: created
wallet_changed:
  description:
    - Whether somebody else changed the wallet file. The next run then adopts the wallet and issues new pairs.
  type: bool
  returned: when there is a wallet
  sample: false
generations:
  description: Ids of all generations, oldest first.
  type: list
  elements: str
  returned: success
  sample: [20261124T104900Z-1a2b3c4d]
pairs:
  description: All pairs of the current generation, except the one for local handshakes.
  type: list
  elements: dict
  returned: success
  contains:
    client:
      description: Name of the client.
      type: str
      sample: prom1
    delivery:
      description: Name of the pair.
      type: str
      sample: 20261124T104900Z-1a2b3c4d-1
    sha256:
      description: SHA-256 fingerprint of its certificate.
      type: str
      sample: 5f1c0d7f6a3a4a1c1d0f6f4bde1f7a2e9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e
    not_before:
      description: Start of its validity, UTC.
      type: str
      sample: "2026-11-24T10:49:00Z"
    not_after:
      description: End of its validity, UTC.
      type: str
      sample: "2036-11-21T10:49:00Z"
    due:
      description: Why it has to be renewed now, null if it need not.
      type: str
      sample: null
    due_at:
      description: Time from which it is due, UTC.
      type: str
      sample: "2036-10-22T10:49:00Z"
process:
  description: The process.
  type: dict
  returned: success
  contains:
    state:
      description: Whether it runs, V(started) or V(stopped).
      type: str
      sample: started
    pid:
      description: Its process id, null if it is stopped.
      type: int
      sample: 4711
    manager:
      description: The systemd unit that keeps it running, null if there is none.
      type: str
      sample: null
    port:
      description: TCP port, null if it is stopped.
      type: int
      sample: 8888
    insecure:
      description: Whether it serves plain HTTP, null if it is stopped.
      type: bool
      sample: false
    generation:
      description: The generation on which it was started, null if unknown.
      type: str
      sample: 20261124T104900Z-1a2b3c4d
    problem:
      description: What is wrong with the pid file or the process, null if nothing is.
      type: str
      sample: null
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as _exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define

SPEC = _argspec.UTILITY | _argspec.WALLET.only("renew_before") | _argspec.PROCESS.only("pid_file")


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    return _exporter_modules.describe(define(module.params))


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
