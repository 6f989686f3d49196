#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_exporter_host
short_description: All exporters of a host in one call
version_added: 1.0.0
description:
  - Brings every exporter of a host to the wanted state, with its wallet, its pairs for all clients, and its process.
    One call does the work of M(timesten.monitoring.tt_wallet), M(timesten.monitoring.tt_client_cert) and
    M(timesten.monitoring.tt_exporter).
  - A pair leaves the host only if its Prometheus host does not have it yet. Its private key is sealed for that host's
    transport key.
  - If one exporter fails, the others are still finished. The call then fails with the results of all.
extends_documentation_fragment:
  - timesten.monitoring.attributes
  - timesten.monitoring.exporter.RUN
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - It is not idempotent with O(exporters[].regenerate=always) or O(exporters[].state=restarted).
options:
  from_inventory:
    description:
      - Take the exporters, the clients and all other values of a phase from the variables of the role
        P(timesten.monitoring.exporter_host#role), and from the variables that earlier tasks of the playbooks have
        registered. The role and the playbooks use this.
      - The module then runs as the exporters' owner, whatever C(become_user) is. Whatever needs root is done first. A
        failure, or an answer that a host must not give, does not fail the task. RV(calls) and the report at the end of
        the playbook show it.
      - With O(phase=switch) the task also waits for the switches. With O(phase=confirm) each exporter gets V(confirm),
        V(revert) or V(release), depending on its verdict. With O(phase=forget) an exporter is removed, or forgets
        clients, as the playbook C(timesten.monitoring.remove) was told.
    type: bool
    default: false
    version_added: 1.0.0
  exporters:
    description:
      - The exporters of the host. Required unless O(from_inventory=true).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the exporter. Letters, digits, V(.), V(_) and V(-).
        type: str
        required: true
      address:
        description:
          - Host name or IP address to which Prometheus connects. The certificate is made for it.
        type: str
        required: true
      port:
        description:
          - TCP port on which the exporter listens.
        type: int
        required: true
      spare_port:
        description:
          - A second TCP port. A rotation with O(strategy=spare_port) moves the exporter to it, and the next one moves
            it back. The manifest of the current generation says which port is in use.
          - It is used only if O(exporters[].boot) is V(none) or V(cron), and not with O(exporters[].insecure=true).
        type: int
      state:
        description:
          - Whether the exporter runs.
          - V(absent) stops it and removes everything of this collection in O(exporters[].certificate_directory). The
            directory itself is removed if it is empty then. Remove the exporter's job from every Prometheus first.
        type: str
        choices: [started, stopped, restarted, absent]
        default: started
      keep_generations:
        description:
          - Number of older generations to keep.
        type: int
        default: 2
      timesten_home:
        description:
          - Home of the TimesTen instance. C(ttExporter) is called as C(<timesten_home>/bin/ttenv ttExporter).
        type: path
        required: true
      certificate_directory:
        description:
          - The exporter's own directory. It holds the generations of its wallet, and the link C(current) to the one
            in use.
          - A wallet directly in this directory, made by hand with C(ttExporter -create-server-certificate
            -certificate-directory), is adopted. The original stays as it is.
          - If it is missing, it is made with mode V(0700), together with its missing parents, as far as the user may
            make them.
        type: path
        required: true
      environment:
        description:
          - Environment variables for C(ttExporter), in addition to those that C(ttenv) sets.
        type: dict
        default: {}
      common_name:
        description:
          - Common name of the server certificate, a host name or an IP address. It has to be the name or address to
            which Prometheus connects.
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
          - When an existing wallet is replaced by a new one. A replacement invalidates the server certificate and all
            pairs issued from the old wallet.
          - V(never) only reports.
          - V(when_due) replaces it once it is within O(exporters[].renew_before) of its end.
          - V(when_changed) also replaces it if it does not have the names or the key size that were asked for.
          - V(always) replaces it in every run.
        type: str
        choices: [never, when_due, when_changed, always]
        default: when_due
      allow_home:
        description:
          - Allow the home directory as O(exporters[].certificate_directory), which Oracle advises against.
        type: bool
        default: false
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
          - Pid file (C(-pid-file)). If not set, it is C(exporter.pid) in O(exporters[].certificate_directory).
          - Its directory must not be writable by others.
        type: path
      log_file:
        description:
          - File for the exporter's output. If not set, it is C(exporter.log) in O(exporters[].certificate_directory).
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
          - With V(cron) and V(systemd), the start script is C(run) in O(exporters[].certificate_directory).
          - V(auto) keeps whatever already starts it. If nothing does, it means V(systemd) if systemd runs the host and
            O(units) is set, so that root may be asked; otherwise V(cron) if the user can have a crontab; otherwise
            V(none), and RV(exporters[].unattended) says why.
          - With V(auto), an exporter with O(exporters[].spare_port) gets no unit. If it has a unit, it changes to
            V(cron) if it can.
        type: str
        choices: [none, cron, systemd, auto]
        default: none
      takeover:
        description:
          - Whether the exporter replaces a C(ttExporter) of the same user and instance that somebody else has started
            on its port. The wallet of that process is adopted, so the server certificate stays the same and the pairs
            issued from it stay valid.
          - With V(false), the module refuses to work while such a process runs, and leaves that process as it is.
          - A process that a systemd unit runs is never taken over. The message names the unit.
        type: bool
        default: false
  clients:
    description:
      - The clients, one for each Prometheus instance that scrapes the exporter. The pair of a client that is not
        named here stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the client. Letters, digits, V(.), V(_) and V(-).
        type: str
        required: true
      recipient:
        description:
          - Public transport key of the client's host, as M(timesten.monitoring.tt_prometheus_host) returns it, or the
            age recipient (V(age1...), X25519) of an outsider. The private key is encrypted for this key, and its
            plaintext is deleted.
          - Without it, the key stays on the exporter host in a file with mode 0600.
        type: str
      exporters:
        description:
          - Names of the exporters of which the client gets a pair. If not set, it gets a pair of each.
        type: list
        elements: str
        version_added: 1.0.0
      scrape_interval:
        description:
          - Seconds between two scrapes of this client.
        type: float
      stored:
        description:
          - What the client has stored, by name of the exporter. M(timesten.monitoring.tt_prometheus_host) returns it.
          - C(verifies) in it are the names that the client's job verifies in the exporter's certificate. A new
            certificate keeps such a name, even if it is no longer asked for, until no job verifies it. If C(verifies)
            is missing for a client, a new certificate keeps all names of the previous one.
        type: dict
        default: {}
      readmit:
        description:
          - Whether the client gets pairs again after an eviction.
        type: bool
        default: false
  rate_budget:
    description:
      - What to do if the scrapes of all clients do not fit into an exporter's limit.
    type: str
    choices: [refuse, warn]
    default: refuse
  hand_over:
    description:
      - Whether to leave a due wallet in place while its exporter runs and has clients, and to report it in
        RV(exporters[].rotation_due), so that a rotation can replace it without losing scrapes.
    type: bool
    default: false
  away:
    description:
      - For O(hand_over=true), names of clients that scrape the exporters and could not be asked. While there are any,
        the port of an exporter without TLS does not change, and no exporter changes between TLS and plain HTTP, because
        these clients could not follow. For an exporter with TLS, its own files name its clients.
    type: list
    elements: str
    default: []
  phase:
    description:
      - V(converge) brings the exporters to the wanted state. The other phases are the steps of a rotation, which the
        playbook C(timesten.monitoring.rotate) takes.
      - V(stage) makes a generation ready beside the current one. Nothing that is in use changes.
      - V(switch) starts a process for each exporter, which switches it at its moment.
      - V(status) waits until the switches are made or given up.
      - V(confirm) keeps the new generation, V(revert) goes back, V(release) ends a rotation that did not begin.
        V(retire) follows V(confirm) with O(strategy=spare_port) and stops the process on the former port.
      - V(forget) only forgets the clients in O(forget_clients).
    type: str
    choices: [converge, stage, switch, status, confirm, revert, retire, release, forget]
    default: converge
  forget_clients:
    description:
      - For O(phase=forget), names of clients that are gone. Their pairs are removed from every generation, and later
        runs do not wait for these clients.
      - The exporter still accepts the pairs that these clients hold, because C(ttExporter) has no revocation. To take
        their access away, give the exporters new wallets (playbook C(timesten.monitoring.evict)).
    type: list
    elements: str
    default: []
  to:
    description:
      - For O(phase=stage), whether to make a new generation, or to go back to the one before the current one.
    type: str
    choices: [new, previous]
    default: new
  evict:
    description:
      - For O(phase=stage), O(phase=confirm) and O(phase=retire), clients that lose their access. All older generations are then removed.
    type: list
    elements: str
    default: []
  optional:
    description:
      - For O(phase=stage), clients that may lose their access if this run does not reach them, until a later run
        reaches them.
    type: list
    elements: str
    default: []
  only_due:
    description:
      - For O(phase=stage), leave exporters alone whose wallet is neither due nor changed.
    type: bool
    default: false
  since:
    description:
      - For O(phase=stage), leave exporters alone whose generation was made at or after this time, so that an
        interrupted rotation of a fleet can go on (V(2026-11-24T10:49:00Z)).
    type: str
  strategy:
    description:
      - For O(phase=stage), how to switch. V(gap) restarts the exporter between two scrapes. V(spare_port) starts a
        second process on the other port, and stops the first one when no client scrapes it any more. Exporters without
        O(exporters[].spare_port) are switched as with V(gap).
    type: str
    choices: [gap, spare_port]
    default: gap
  switch:
    description:
      - For O(phase=switch), by name of the exporter. C(generation) is the new generation, C(moments) are the times at
        which it may switch, and C(deadline) is the time at which it goes back if nobody has confirmed, both in seconds
        since the epoch by the clock of this host. C(confirm) is the number of seconds after the switch within which it
        has to be confirmed, C(period) the number of seconds after which the scrapes repeat, if they do. C(strategy) is
        the way to switch.
      - For O(phase=converge), C(moments) and C(period) of the exporters with O(exporters[].takeover). The running
        process is replaced at the next of these moments.
    type: dict
    default: {}
  units:
    description:
      - For O(phase=converge) and O(exporters[].boot=auto), the arguments with which root would call
        M(timesten.monitoring.tt_exporter_unit). An exporter whose unit is missing or differs is then left as it is, and
        RV(exporters[].needs_unit) says so. Call that module, and then this one again.
      - If not set, root is not asked, and V(auto) installs no unit.
    type: dict
    version_added: 1.0.0
    suboptions:
      owner:
        description:
          - The user who runs C(ttExporter).
        type: str
        required: true
      after:
        description:
          - Units that have to be up before the exporter starts.
        type: list
        elements: str
        default: []
seealso:
  - module: timesten.monitoring.tt_prometheus_host
"""

EXAMPLES = r"""
- name: Converge both exporters of the host
  timesten.monitoring.tt_exporter_host:
    exporters:
      - name: exp3-sales
        timesten_home: /opt/timesten/sales
        certificate_directory: /opt/timesten/monitoring/exp3-sales
        address: exp3.example.com
        port: 8888
      - name: exp3-stock
        timesten_home: /opt/timesten/stock
        certificate_directory: /opt/timesten/monitoring/exp3-stock
        address: exp3.example.com
        port: 8889
    clients:
      - name: prom1

- name: Converge all exporters of the host, with arguments from the inventory
  timesten.monitoring.tt_exporter_host:
    from_inventory: true

- name: Stop one exporter, and keep it stopped
  timesten.monitoring.tt_exporter_host:
    exporters:
      - name: exp1
        timesten_home: /opt/timesten/ttinst
        certificate_directory: /opt/timesten/ttinst/monitoring/exp1
        address: exp1.example.com
        port: 8888
        state: stopped

- name: Make a new wallet ready beside the one in use
  timesten.monitoring.tt_exporter_host:
    from_inventory: true
    phase: stage

- name: Switch to it in a gap between the scrapes, unless nobody confirms it within a minute
  timesten.monitoring.tt_exporter_host:
    exporters: "{{ exporters }}"
    phase: switch
    switch:
      exp1:
        generation: 20261124T104900Z-1a2b3c4d
        moments: [1796043600.5, 1796043615.5]
        deadline: 1796043700
        confirm: 60
        period: 15

- name: Wait until the switches are made or given up
  timesten.monitoring.tt_exporter_host:
    exporters: "{{ exporters }}"
    phase: status

- name: Keep the switches that were proven, and take the others back
  timesten.monitoring.tt_exporter_host:
    from_inventory: true
    phase: confirm

- name: Go back to the previous wallet
  timesten.monitoring.tt_exporter_host:
    exporters: "{{ exporters }}"
    phase: revert

- name: Release exporters that a rotation has taken but not switched
  timesten.monitoring.tt_exporter_host:
    exporters: "{{ exporters }}"
    phase: release

- name: Stop the processes on the ports that no client scrapes any more
  timesten.monitoring.tt_exporter_host:
    from_inventory: true
    phase: retire

- name: Remove the pairs of a Prometheus that is gone
  timesten.monitoring.tt_exporter_host:
    exporters: "{{ exporters }}"
    phase: forget
    forget_clients: [prom7]
"""

RETURN = r"""
calls:
  description: What was asked for and what was answered. Later tasks read it.
  type: list
  elements: dict
  returned: O(from_inventory=true)
  sample: [{"asked": {"phase": "converge", "exporters": ["exp1"]}, "answer": {"changed": false, "exporters": []}}]
clock:
  description: How far the host's clock is ahead of the controller's, in seconds, and the uncertainty of that.
  type: dict
  returned: O(from_inventory=true) and O(phase=stage)
  sample: {"offset": -0.0021, "uncertainty": 0.0083}
reading:
  description: Which playbook of this run of Ansible it belongs to; in a later one it is no answer any more.
  type: int
  returned: O(from_inventory=true)
  sample: 1
exporters:
  description: The exporters, in the order of the call.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the exporter.
      type: str
      sample: exp1
    changed:
      description: Whether anything was or would be changed.
      type: bool
      sample: true
    failed:
      description: Whether this exporter failed.
      type: bool
      returned: on failure
      sample: true
    msg:
      description: Why this exporter failed.
      type: str
      returned: on failure
      sample: "port 8888 is taken by process 4711 (nginx)"
    insecure:
      description: Whether it serves plain HTTP.
      type: bool
      sample: false
    port:
      description: The port in use; in a rotation, the port for which the generation is made ready.
      type: int
      sample: 8888
    spare:
      description: Whether RV(exporters[].port) is O(exporters[].spare_port).
      type: bool
      sample: false
    ca_certificate:
      description: The exported server certificate as PEM.
      type: str
      returned: when a client needs it
      sample: "-----BEGIN CERTIFICATE-----..."
    evicted:
      description: The clients that lost their access to it and get no pair.
      type: list
      elements: str
      returned: O(phase=converge) or O(phase=stage)
      sample: []
    rotation_due:
      description: Why a rotation should replace the wallet, null if none need to.
      type: str
      returned: O(phase=converge)
      sample: null
    rotation:
      description: What a rotation would switch, or C(skipped), the reason why this exporter takes no part.
      type: dict
      returned: O(phase=stage)
      contains:
        from:
          description: Id of the current generation.
          type: str
          sample: 20261124T104900Z-1a2b3c4d
        to:
          description: Id of the generation that is ready.
          type: str
          sample: 20261224T104900Z-5e6f7a8b
        old_sha256:
          description: Fingerprint of the current server certificate or, if that is not known, of the exported file.
          type: str
          sample: 0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0
        new_sha256:
          description: The same for the generation that is ready.
          type: str
          sample: 96a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a697887
        evicted:
          description: The clients that have lost their access, or lose it with this rotation.
          type: list
          elements: str
          sample: []
        restart_seconds:
          description: How long a restart is expected to take.
          type: float
          sample: 0.42
        restart_measured:
          description: Whether that was measured on this host.
          type: bool
          sample: true
        clients:
          description: Clients that have a pair of the generation that is ready.
          type: list
          elements: str
          sample: [prom1, prom2]
        strategy:
          description: The way to switch it.
          type: str
          sample: gap
        has_spare_port:
          description: Whether it could be switched with O(strategy=spare_port).
          type: bool
          sample: false
        skipped:
          description: Why this exporter takes no part.
          type: str
          returned: when it takes none
          sample: it is insecure and has no certificate
    status:
      description: >-
        V(waiting), V(switched), V(confirmed), V(reverted), V(missed) if it could not begin in time, V(failed) if the
        new generation did not work and the old one is back, V(lost) if the process that switches is gone.
      type: str
      returned: O(phase) is V(switch), V(status), V(confirm), or V(revert)
      sample: switched
    window:
      description: Seconds from the moment until the new certificate was served.
      type: float
      returned: O(phase) is V(status), V(confirm), or V(revert)
      sample: 0.39
    moment:
      description: When the switch began, in seconds since the epoch.
      type: float
      returned: O(phase) is V(status), V(confirm), or V(revert)
      sample: 1795517344.52
    error:
      description: Why it did not switch or went back.
      type: str
      returned: O(phase) is V(status), V(confirm), or V(revert)
      sample: null
    old_pair_refused:
      description: Whether a pair of the previous generation was refused after the switch, null if none was left to try.
      type: bool
      returned: O(phase=confirm)
      sample: true
    removed:
      description: Ids of the generations that were removed, or, with O(exporters[].state=absent), names in the exporter's directory.
      type: list
      elements: str
      returned: O(phase=confirm) or O(exporters[].state=absent)
      sample: []
    left:
      description: Names in the exporter's directory that do not belong to this collection, and stay.
      type: list
      elements: str
      returned: O(exporters[].state=absent)
      sample: []
    forgotten:
      description: By name of the client, ids of the generations that forgot it.
      type: dict
      returned: O(phase=forget)
      sample: {"prom2": ["20261124T104900Z-1a2b3c4d"]}
    clients:
      description: Clients that have a pair of the current generation.
      type: list
      elements: str
      returned: O(phase=forget)
      sample: [prom1]
    alt_names:
      description: Alternative names of the server's certificate, null if they are not known.
      type: list
      elements: str
      sample: [exp1.example.com]
    why:
      description: What was or would be changed, and the reason. Empty if everything is as it should be.
      type: list
      elements: str
      sample: ["there is no wallet"]
    generation:
      description: Id of the current generation, V(known after apply) if check mode would make a new one.
      type: str
      returned: when there is or would be a wallet
      sample: 20261124T104900Z-1a2b3c4d
    previous:
      description: Id of the generation before RV(exporters[].generation). The current generation may be from this call
        or an earlier one.
      type: str
      returned: when there is one
      sample: 20261024T104900Z-0000000a
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
        - Facts of the server's own certificate, null if they cannot be known (see
          RV(exporters[].server_certificate_source)).
      type: dict
      returned: when there is a wallet, and with O(phase=status) when it is switched
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
      returned: when there is a wallet, and with O(phase=status) when it is switched
      sample: export
    due:
      description: Why the wallet has to be renewed now, null if it need not.
      type: str
      returned: when there is a wallet, and with O(phase=status) when it is switched
      sample: ends at 2026-12-01T00:00:00Z, within renew_before 30d
    ca_not_after:
      description:
        - Earliest end of a certificate in the exported server file that is not the server's own. Null where that file holds nothing else, as with a
          self-signed certificate.
      type: str
      returned: when there is a wallet, and with O(phase=status) when it is switched
      sample: "2036-11-21T10:49:00Z"
      version_added: 1.0.0
    due_at:
      description: Time from which the wallet is due, UTC.
      type: str
      returned: when there is a wallet, and with O(phase=status) when it is switched
      sample: "2036-10-22T10:49:00Z"
    unfit:
      description: How the wallet differs from what was asked for, if O(exporters[].regenerate) lets it stay.
      type: list
      elements: str
      returned: when there is a wallet
      sample: ["common_name exp1 -> exp1.example.com"]
    pairs:
      description: The pair of each client of the call.
      type: list
      elements: dict
      contains:
        client:
          description: Name of the client.
          type: str
          sample: prom1
        delivery:
          description: Name of the pair. It changes whenever a new pair is issued.
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
        certificate:
          description: The certificate as PEM.
          type: str
          returned: when the client does not have it
          sample: "-----BEGIN CERTIFICATE-----..."
        bundle:
          description:
            - The private key, sealed for the recipient's transport key. Only the recipient can open it.
            - For an age recipient, it is a file in the age format, armored, without the last line end.
          type: str
          returned: when a recipient was given and the client does not have it
          sample: '{"ciphertext": "..."}'
        certificate_file:
          description: Path of the certificate.
          type: str
          returned: when no recipient was given
          sample: /opt/timesten/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d/clients/prom1/client.crt
        key_file:
          description: Path of the private key, mode 0600.
          type: str
          returned: when no recipient was given
          sample: /opt/timesten/monitoring/exp1/generations/20261124T104900Z-1a2b3c4d/clients/prom1/client.key
    process:
      description: The process.
      type: dict
      contains:
        state:
          description: Whether it runs, V(started) or V(stopped). In check mode, the state that a real run would reach.
          type: str
          sample: started
        pid:
          description: Its process id, null if it is stopped, or if check mode predicts a start.
          type: int
          sample: 4711
        manager:
          description: The systemd unit that keeps it running, null if there is none.
          type: str
          sample: null
    leftover_unit:
      description: Systemd unit left from an earlier O(exporters[].boot=systemd).
        M(timesten.monitoring.tt_exporter_unit) removes it.
      type: str
      returned: when there is one
      sample: timesten-exporter-exp1.service
    needs_unit:
      description: Whether nothing was done because root first has to install or change its unit with
        M(timesten.monitoring.tt_exporter_unit).
      type: bool
      returned: with O(exporters[].boot=auto), when it has
      sample: true
    unattended:
      description: Why nothing starts it after a reboot.
      type: str
      returned: with O(exporters[].boot=auto), when nothing does
      sample: "systemd does not run this host; boot: cannot run crontab: ..."
    rate_limit:
      description: GETs per minute that the exporter accepts, null if the utility has no option for it.
      type: int
      sample: 15
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec as _argspec
from ansible_collections.timesten.monitoring.plugins.module_utils.core import names as _names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import ExporterModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import automatic
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter import host as _exporter_host
from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.definition import (
    Definition,
    define_all,
    define_clients,
)

PHASES = ["converge", "stage", "switch", "status", "confirm", "revert", "retire", "release", "forget"]


EXPORTER = (
    _argspec.UTILITY
    | _argspec.WALLET
    | _argspec.PROCESS
    | _argspec.Options(
        {
            "name": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "spare_port": {"type": "int"},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted", "absent"], "default": "started"},
            "keep_generations": {"type": "int", "default": 2},
            "boot": {"type": "str", "choices": ["none", "cron", "systemd", "auto"], "default": "none"},
        }
    )
)

CLIENT = _argspec.CLIENT | _argspec.Options(
    {
        "exporters": {"type": "list", "elements": "str"},
        "scrape_interval": {"type": "float"},
        "stored": {"type": "dict", "default": {}},
        "readmit": {"type": "bool", "default": False},
    }
)

SPEC = _argspec.RUN | _argspec.Options(
    {
        "from_inventory": {"type": "bool", "default": False},
        "exporters": {"type": "list", "elements": "dict", "default": [], "options": EXPORTER},
        "clients": {"type": "list", "elements": "dict", "default": [], "options": CLIENT},
        "rate_budget": {"type": "str", "choices": ["refuse", "warn"], "default": "refuse"},
        "hand_over": {"type": "bool", "default": False},
        "away": {"type": "list", "elements": "str", "default": []},
        "phase": {"type": "str", "choices": PHASES, "default": "converge"},
        "forget_clients": {"type": "list", "elements": "str", "default": []},
        "to": {"type": "str", "choices": ["new", "previous"], "default": "new"},
        "evict": {"type": "list", "elements": "str", "default": []},
        "optional": {"type": "list", "elements": "str", "default": []},
        "only_due": {"type": "bool", "default": False},
        "since": {"type": "str"},
        "strategy": {"type": "str", "choices": ["gap", "spare_port"], "default": "gap"},
        "switch": {"type": "dict", "default": {}},
        "units": {
            "type": "dict",
            "options": _argspec.Options(
                {
                    "owner": {"type": "str", "required": True},
                    "after": {"type": "list", "elements": "str", "default": []},
                }
            ),
        },
    },
    used_by={
        "phase": {
            "clients": ("converge", "stage"),
            "rate_budget": ("converge",),
            "hand_over": ("converge",),
            "away": ("converge",),
            "forget_clients": ("forget",),
            "to": ("stage",),
            "evict": ("stage", "confirm", "retire"),
            "optional": ("stage",),
            "only_due": ("stage",),
            "since": ("stage",),
            "strategy": ("stage",),
            "switch": ("switch", "converge"),
            "units": ("converge",),
        }
    },
)


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    params = module.params
    if params["from_inventory"] or not params["exporters"]:
        raise TimesTenError("exporters is empty: name the exporters; from_inventory works in a task of a playbook only")
    exporters, phase = define_all(params["exporters"]), params["phase"]
    SPEC.refuse_unused(params)
    if phase != "converge" and any(exporter.state == "absent" for exporter in exporters):
        raise TimesTenError(f"exporters: state absent and phase {phase} do not go together; leave phase out")
    if phase != "converge":
        exporters = [automatic.kept(exporter) for exporter in exporters]
    if phase == "forget":
        forgotten = [
            _names.check_name(name, f"forget_clients[{index}]") for index, name in enumerate(params["forget_clients"])
        ]
        return _exporter_host.forget_host(exporters, forgotten, module.check_mode)
    if phase == "converge":
        if params["units"] is not None:
            # This import stands here because Ansible compiles everything that a module imports at every call.
            from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.units import check_names

            check_names(params["units"]["owner"], params["units"]["after"])
        clients = define_clients(params["clients"])
        return _exporter_host.converge_host(
            exporters,
            clients,
            params["rate_budget"],
            module.check_mode,
            params["hand_over"],
            params["run"],
            params["switch"],
            [_names.check_name(name, f"away[{index}]") for index, name in enumerate(params["away"])],
            params["units"],
        )
    return rotate(module, exporters)


def rotate(module: AnsibleModule, exporters: list[Definition]) -> dict[str, Any]:
    """Carry out one step of a rotation."""
    params, phase = module.params, module.params["phase"]
    # This import stands here because Ansible compiles everything that a module imports at every call, and most calls
    # rotate nothing.
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.record import (
        Order,
        check_order,
        check_switches,
    )

    order = Order(
        params["to"],
        tuple(params["evict"]),
        tuple(params["optional"]),
        params["only_due"],
        params["since"],
        params["run"],
        params["strategy"],
    )
    check_order(order)
    if phase == "stage":
        from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.stage import stage_host

        return stage_host(exporters, define_clients(params["clients"]), order, module.check_mode)
    if phase == "switch":
        check_switches(exporters, params["switch"])
    if module.check_mode:
        return {"changed": False, "exporters": []}
    if phase == "switch":
        from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation.leader import switch_host

        return switch_host(exporters, params["switch"], params["run"])
    from ansible_collections.timesten.monitoring.plugins.module_utils.exporter.rotation import verdict

    if phase == "status":
        return verdict.status_host(exporters)
    if phase == "confirm":
        return verdict.confirm_host(exporters, order)
    if phase == "release":
        return verdict.release_host(exporters, params["run"])
    if phase == "retire":
        return verdict.retire_host(exporters, order)
    return verdict.revert_host(exporters, params["run"])


def main() -> None:
    """Entry point."""
    run(ExporterModule(SPEC), work)


if __name__ == "__main__":
    main()
