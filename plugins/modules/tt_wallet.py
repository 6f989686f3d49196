#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_wallet
short_description: The server certificate of a TimesTen exporter in its wallet
version_added: 1.0.0
description:
  - Creates the server certificate of one C(ttExporter) in an Oracle Wallet, on the exporter's own host, with the
    utility itself.
  - A wallet is never replaced in its directory. A new generation is made beside the old one, then the link C(current)
    is switched.
extends_documentation_fragment:
  - timesten.monitoring.exporter.UTILITY
  - timesten.monitoring.exporter.WALLET
  - timesten.monitoring.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) makes sure that there is a wallet.
      - V(absent) removes all generations and everything that was issued from them. It is refused while an exporter runs
        on one of them.
    type: str
    choices: [present, absent]
    default: present
notes:
  - Run the module as the user who runs C(ttExporter), not as root.
  - The module is not idempotent with O(regenerate=always).
seealso:
  - module: timesten.monitoring.tt_export_cert
  - module: timesten.monitoring.tt_client_cert
  - module: timesten.monitoring.tt_exporter
"""

EXAMPLES = r"""
- name: Create the server certificate
  timesten.monitoring.tt_wallet:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    common_name: myhost

- name: A larger key, two names, and renewal when a fifth of the lifetime is left
  timesten.monitoring.tt_wallet:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    common_name: myhost.example.com
    alt_names: [myhost.example.com, 192.0.2.7]
    rsa_key_size: 4096
    renew_before: 20%

- name: Keep an existing wallet, whatever its age
  timesten.monitoring.tt_wallet:
    timesten_home: /opt/timesten/ttinst
    certificate_directory: /opt/timesten/mycertdir
    common_name: myhost
    regenerate: never
"""

RETURN = r"""
why:
  description: What was or would be changed, and the reason. Empty if everything is as it should be.
  type: list
  elements: str
  returned: success
  sample: ["there is no wallet"]
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
unfit:
  description: How the wallet differs from what was asked for, if O(regenerate) lets it stay.
  type: list
  elements: str
  returned: when there is a wallet
  sample: ["common_name exp1 -> exp1.example.com"]
invalidated_clients:
  description: Clients whose pairs were issued from the replaced wallet (in check mode, the wallet that would be
    replaced). They need new pairs.
  type: list
  elements: str
  returned: success
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import modules as _exporter_modules
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import define

SPEC = (
    _argspec.UTILITY
    | _argspec.WALLET
    | _argspec.Options(
        {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}},
        required_if=(("state", "present", ("common_name",)),),
    )
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    absent = module.params["state"] == "absent"
    change = _exporter_modules.absent_wallet if absent else _exporter_modules.present_wallet
    # The option state concerns the wallet; in a definition it would concern the process.
    wanted = define({option: value for option, value in module.params.items() if option != "state"})
    return change(wanted, module.check_mode)


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
