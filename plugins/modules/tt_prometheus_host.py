#!/usr/bin/python
# Copyright (c) 2026 The timesten.monitoring contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tt_prometheus_host
short_description: One Prometheus and all exporters that it scrapes, in one call
version_added: 1.0.0
description:
  - Stores the pairs that exporter hosts have sealed for a Prometheus, keeps one scrape job for each exporter in its
    configuration, and proves that every target is up.
  - Nothing half done stays in use. Before Prometheus reads the new configuration, the pairs are checked with the rights
    of the Prometheus user, and C(promtool) checks the configuration. Afterwards Prometheus has to have a target for
    every job, and every target has to be up. Whatever does not work is undone, and Prometheus is reloaded again.
  - Every byte of the configuration that does not belong to this collection stays as it is.
  - An exporter that a run does not mention stays as it is, unless O(purge=true).
  - If the element of an exporter is invalid, or the exporter does not work, the others are still finished. The call
    then fails with the results of all.
  - If somebody else changes the configuration at the same time, it is read and planned again, at most three times.
  - Runs as root, or as the Prometheus user itself if that user may write the configuration and the store.
extends_documentation_fragment:
  - timesten.monitoring.attributes
  - timesten.monitoring.exporter.RUN
requirements:
  - PyYAML
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The diff shows only changed lines of the configuration, and hides the values of keys that hold secrets.
  idempotent:
    support: full
options:
  from_inventory:
    description:
      - Take the clients of the host, their exporters and all other values of a state from the variables of the role
        P(timesten.monitoring.prometheus_host#role), and from the variables that earlier tasks of the playbooks have
        registered. The role and the playbooks use this.
      - The module runs once for each Prometheus instance of the host. A failure, or an answer that a host must not
        give, does not fail the task. RV(clients) and the report at the end of the playbook show it.
    type: bool
    default: false
    version_added: 1.0.0
  name:
    description:
      - Required unless O(from_inventory=true). Name of the client. Letters, digits, V(.), V(_) and V(-). A host with
        several Prometheus instances has one client for each, with its own O(config_file), O(url) and O(store).
    type: str
  state:
    description:
      - V(inspected) reads what the exporter hosts have to know, and makes the transport key if there is none.
      - V(present) stores, configures, reloads and proves.
      - V(verified) changes nothing and proves all stored exporters, or those in O(exporters) if set. The handshakes
        send no request.
      - V(absent) removes the exporters in O(remove) or, if that is not set, everything of this collection.
      - V(staged), V(following) and V(released) are the steps of a rotation on this side, for the playbook
        C(timesten.monitoring.rotate). V(staged) writes and checks the deliveries beside those in use. V(following)
        starts a process that makes current whichever delivery matches the certificate being served, until it is
        released or the deadline in O(switch) has passed. V(released) ends that process and removes the deliveries that
        are not kept.
    type: str
    choices: [inspected, present, verified, absent, staged, following, released]
    default: present
  exporters:
    description:
      - The exporters, with the values from their hosts' answers.
      - For O(state=inspected), the exporters that are to get a job, with their values from the inventory. The module
        looks for hand-written jobs of these exporters.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the exporter.
        type: str
        required: true
      address:
        description:
          - Host name or IP address to which Prometheus connects. Required for O(state=present).
        type: str
      port:
        description:
          - TCP port of the exporter. Required for O(state=present).
        type: int
      usual_port:
        description:
          - The exporter's usual port, if O(exporters[].port) is its spare port. The series then keep their labels
            C(job) and C(instance).
          - The element's name is then the exporter's name with C(.spare) appended.
        type: int
      insecure:
        description:
          - Whether the exporter speaks plain http.
        type: bool
        default: false
      generation:
        description:
          - Generation of the exporter's wallet. Required unless O(exporters[].insecure=true), like
            O(exporters[].delivery), O(exporters[].sha256) and O(exporters[].ca_sha256).
        type: str
      previous:
        description:
          - Generation that the exporter's host had before O(exporters[].generation). Either of the two identifies the
            exporter when its target changes.
        type: str
        version_added: 1.0.0
      delivery:
        description:
          - Name of the delivery that has to be in use.
        type: str
      sha256:
        description:
          - Fingerprint of the client certificate.
        type: str
      ca_sha256:
        description:
          - Fingerprint of the certificates in the CA file.
        type: str
      ca_certificate:
        description:
          - The CA file. Needed if the delivery is not stored yet and the CA differs from the stored one.
        type: str
      certificate:
        description:
          - The client certificate. Needed if the delivery is not stored yet.
        type: str
      bundle:
        description:
          - The sealed private key. Needed if the delivery is not stored yet.
        type: str
      alt_names:
        description:
          - Names in the exporter's certificate. If O(exporters[].address) is not among them, the job gets a
            C(server_name).
        type: list
        elements: str
      scrape_interval:
        description:
          - O(scrape_interval) for this exporter.
        type: str
      scrape_timeout:
        description:
          - O(scrape_timeout) for this exporter.
        type: str
      metrics_path:
        description:
          - O(metrics_path) for this exporter.
        type: str
      labels:
        description:
          - O(labels) for this exporter.
        type: dict
      job_label:
        description:
          - O(job_label) for this exporter.
        type: str
      honor_labels:
        description:
          - O(honor_labels) for this exporter.
        type: bool
      extra:
        description:
          - O(extra) for this exporter.
        type: dict
      rules:
        description:
          - The exporter's own group in O(rules_file), as text. C(@job@) and C(@instance@) in it are replaced by the
            labels of the exporter's target.
          - If not set, the stored group stays.
        type: str
        version_added: 1.0.0
  scrape_interval:
    description:
      - Time between two scrapes, for example V(15s). If not set, Prometheus uses its own C(global) setting.
    type: str
  scrape_timeout:
    description:
      - How long a scrape may take. If not set, Prometheus uses its own C(global) setting.
    type: str
  metrics_path:
    description:
      - Path of the metrics. If not set, it is V(/metrics).
    type: str
  labels:
    description:
      - Labels that every series of the target gets.
    type: dict
  job_label:
    description:
      - Value of the label C(job), set by relabelling. If not set, the label is the job's name.
    type: str
  honor_labels:
    description:
      - Whether the exporter's own labels win over those of Prometheus. With V(false), Prometheus's default, a label
        C(instance) of the exporter becomes C(exported_instance).
    type: bool
  extra:
    description:
      - Further keys of the job, passed on as they are, for example C(sample_limit).
    type: dict
  kind:
    description:
      - The kind of program that takes the pairs and scrapes.
      - V(prometheus) is a Prometheus. The module asks it for its configuration and its targets, which prove that the
        change works.
      - V(scrape_file) is any other program that reads scrape jobs from a file, for example vmagent. The jobs are a
        marked block in O(scrape_file). The module does not ask the program for its targets; the proof is a handshake
        with the delivered pair from its host. O(url) is used only for O(reload=http). O(config_file), O(layout) and
        O(promtool) are not used.
      - With V(scrape_file) a job names the delivery itself, because such a program may read a CA file only once. In a
        rotation the scrape file changes, and the program is told to read it again.
    type: str
    choices: [prometheus, scrape_file]
    default: prometheus
    version_added: 1.0.0
  path_map:
    description:
      - The mounts of the container, if the program that scrapes runs in one. The keys are host paths, the values are
        their paths in the container.
      - O(config_file), O(scrape_file) and O(store) are host paths, and each has to be below one of these keys. The
        paths that are written into files are container paths.
      - If the process is visible from the host, the module checks that the process sees the store at that path.
      - C(promtool) then checks only the syntax. It may be missing if O(promtool) is not set.
    type: dict
    default: {}
    version_added: 1.0.0
  config_file:
    description:
      - Configuration file of Prometheus. Its owner, mode and access list stay, and so does a symbolic link.
    type: path
    default: /etc/prometheus/prometheus.yml
  layout:
    description:
      - V(inline) keeps the jobs in a marked block inside C(scrape_configs).
      - V(files) keeps them in O(scrape_file), named in C(scrape_config_files). Needs Prometheus 2.43 or later.
      - V(template) takes the whole configuration from O(rendered).
    type: str
    choices: [inline, files, template]
    default: inline
  scrape_file:
    description:
      - Scrape file for O(layout=files). If not set, it is C(timesten.yml) beside O(config_file).
      - With O(kind=scrape_file) it is required, and is the file that the program reads, which may hold other jobs. It
        has the form of C(prometheus.yml), and is made if it is missing.
      - If it holds a bare list, or if a process of VictoriaMetrics names it in the C(scrape_config_files) of its
        C(-promscrape.config), it is written as a bare list.
    type: path
  rendered:
    description:
      - The whole configuration, for O(layout=template). It has to contain exactly the jobs of all exporters of this
        client.
    type: str
  rules:
    description:
      - For O(state=present), the rule groups that belong to no single exporter, as items of the list C(groups) in a
        rule file. The file is named in C(rule_files) of the configuration, unless a pattern there already names it.
      - An empty text removes the rule file. If not set, the present rules stay. Without any exporter there is no rule
        file.
    type: str
    version_added: 1.0.0
  rules_file:
    description:
      - Path of the rule file. If not set, it is the path of O(store) with C(.rules.yml) appended.
    type: path
    version_added: 1.0.0
  on_existing:
    description:
      - What to do if a hand-written job has the name or the target of an exporter's job.
      - V(fail) refuses. V(adopt) takes the job over, without changing its name, labels or series. V(keep) leaves it as
        it is and makes no job.
    type: str
    choices: [fail, adopt, keep]
    default: fail
  store:
    description:
      - Directory of the deliveries. Its parent has to exist.
    type: path
    default: /etc/prometheus/timesten
  keep_deliveries:
    description:
      - Number of older deliveries of each exporter that stay in the store, so that a rotation can go back.
    type: int
    default: 2
  user:
    description:
      - The user that Prometheus runs as. If the host has no such user, for example for a container, it is the user's
        number on the host.
    type: str
    default: prometheus
  group:
    description:
      - Group that may enter the store, by name or number. If not set, it is the user's own group or, for a user number
        that the host does not know, the group of the same number.
    type: str
  promtool:
    description:
      - Path of C(promtool), of the same version as Prometheus. If not set, E(PATH) and the usual directories are
        searched.
    type: str
  url:
    description:
      - Address of Prometheus, with its route prefix if it has one. Requests go there directly, even if the environment
        names proxies.
    type: str
    default: http://127.0.0.1:9090
  url_username:
    description:
      - User for basic authentication.
    type: str
  url_password:
    description:
      - Password for basic authentication.
    type: str
  url_bearer_token:
    description:
      - Bearer token, if a proxy in front of Prometheus wants one. It cannot be used together with O(url_username).
    type: str
    version_added: 1.0.0
  url_headers:
    description:
      - HTTP headers for every request, if a proxy in front of Prometheus wants them, for example a tenant or an API
        key.
      - Their values are handled as secrets.
    type: dict
    version_added: 1.0.0
  url_ca_file:
    description:
      - File on the Prometheus host with the CA that verifies Prometheus's own server certificate. If not set, the
        system's CAs are used.
    type: path
  url_cert_file:
    description:
      - Client certificate on the Prometheus host, if Prometheus's own endpoint asks for one.
    type: path
  url_key_file:
    description:
      - Key of O(url_cert_file).
    type: path
  prometheus_running:
    description:
      - With V(true), a Prometheus that does not answer is an error, before anything is changed.
      - With V(false), the module does not contact Prometheus. It writes and checks the pairs and the configuration,
        which Prometheus reads when it starts. No targets prove the change. If Prometheus does run, it does not use the
        new configuration until somebody reloads it.
    type: bool
    default: true
  reload:
    description:
      - How Prometheus is told to read its configuration again. Its own metrics have to confirm the reload.
      - V(auto) uses the lifecycle endpoint if it is enabled, else the systemd unit if it is active, else SIGHUP.
      - With O(kind=scrape_file), V(auto) sends SIGHUP if O(reload_pid_file) is set or a process has O(scrape_file) as
        its C(-promscrape.config). Otherwise the program has to read the file again by itself.
    type: str
    choices: [auto, http, systemd, signal]
    default: auto
  reload_unit:
    description:
      - Unit for O(reload=systemd).
    type: str
    default: prometheus
  reload_pid_file:
    description:
      - File with Prometheus's process id, for O(reload=signal). If not set, the module looks for the process that was
        started with O(config_file).
    type: path
  wait_timeout:
    description:
      - Seconds to wait for all targets to be up. If not set, twice the longest scrape interval and 15 s.
    type: float
  remove:
    description:
      - Names of exporters to remove.
    type: list
    elements: str
  purge:
    description:
      - Remove all exporters that O(exporters) does not mention. Use it only in runs in which every exporter host
        answered.
    type: bool
    default: false
  both_ports:
    description:
      - Whether the job on an exporter's other port (O(exporters[].usual_port)) stays. A rotation with the strategy
        C(spare_port) needs it for a while. With V(false), it is removed when the exporter is mentioned.
    type: bool
    default: false
  revision:
    description:
      - RV(revision) of the O(state=inspected) call on which the task's values are based. The call is refused if another
        run has changed the store since.
    type: str
  fleet:
    description:
      - Owner of the jobs, if several inventories share a Prometheus. A job belongs to the fleet that mentioned it
        first. A job of another fleet is neither reported, re-pointed nor removed.
      - If it is not set but O(fleet_exporters) is, the fleet is recognized by those exporters. If neither is set, it is
        the fleet of the exporters that the call mentions or, if the call mentions none, the only fleet in the store.
      - A job without a fleet belongs to everybody.
    type: str
  fleet_exporters:
    description:
      - All exporters of the inventory, by name, each with the list of its targets (C(host:port)). The store records the
        fleet of each exporter. The inventory's fleet is the one that contains at least half of these exporters, and of
        whose exporters at least half are among these, each with the same target or with a wallet that the exporter's
        host remembers. A fleet whose name was not given is also recognized if it contains all of these, or if all of
        its exporters are among these.
      - If no fleet is recognized, a name is derived from these exporters and kept. If less than half of the fleet's
        exporters are among these, only exporters that are named explicitly are removed.
    type: dict
    default: {}
    version_added: 1.0.0
  switch:
    description:
      - For O(state=following), by name of the exporter. C(moments) are the times at which it may switch, and
        C(deadline) is the time at which an unconfirmed switch is taken back, both in seconds since the epoch by the
        clock of this host. Other exporters in O(exporters) are not followed.
    type: dict
    default: {}
seealso:
  - module: timesten.monitoring.tt_exporter_host
"""

EXAMPLES = r"""
- name: Verify all Prometheus instances of the host, with arguments from the inventory
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: verified

- name: Look at one Prometheus
  timesten.monitoring.tt_prometheus_host:
    name: "{{ inventory_hostname }}"
    state: inspected
  register: inspected

- name: Scrape an exporter that serves plain http
  timesten.monitoring.tt_prometheus_host:
    name: "{{ inventory_hostname }}"
    exporters:
      - name: exp1
        address: exp1.example.com
        port: 8888
        insecure: true
    scrape_interval: 15s
    revision: "{{ inspected.revision }}"

- name: A second instance on the same host, behind basic authentication
  timesten.monitoring.tt_prometheus_host:
    name: "{{ inventory_hostname }}-long"
    state: inspected
    config_file: /etc/prometheus-long/prometheus.yml
    store: /etc/prometheus-long/timesten
    url: https://127.0.0.1:9091
    url_username: admin
    url_password: "{{ vault_prometheus_password }}"
    url_ca_file: /etc/prometheus-long/web.crt

- name: Prove that every target is up and that nobody else has access
  timesten.monitoring.tt_prometheus_host:
    name: "{{ inventory_hostname }}"
    state: verified

- name: Remove one exporter
  timesten.monitoring.tt_prometheus_host:
    name: "{{ inventory_hostname }}"
    state: absent
    remove: [exp7]

- name: In a rotation, write the new pairs beside those in use
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: staged

- name: Start a process that watches the exporters' certificates and changes the pair when they change
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: following

- name: End that process, and remove the pairs that are not in use
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: released
"""

RETURN = r"""
clients:
  description: What each client was asked for and what it answered. Later tasks read it.
  returned: O(from_inventory=true)
  type: list
  elements: dict
  sample: [{"asked": {"client": "prom1", "state": "verified"}, "answer": {"changed": false, "exporters": []}}]
clock:
  description: How far the host's clock is ahead of the controller's, in seconds, and the uncertainty of that.
  returned: O(from_inventory=true) and O(state=staged)
  type: dict
  sample: {"offset": -0.0021, "uncertainty": 0.0083}
reading:
  description: Which playbook of this run of Ansible it belongs to; in a later one it is no answer any more.
  type: int
  returned: O(from_inventory=true)
  sample: 1
name:
  description: Name of the client.
  returned: always
  type: str
  sample: prom1
transport_key:
  description: Public transport key for which pairs are sealed, the base64 of an uncompressed P-256 point. In check
    mode, if none is stored yet, it belongs to a key that is thrown away.
  returned: O(state=inspected)
  type: str
  sample: BEb...
stored:
  description: By exporter, the delivery that is in use and complete.
  returned: O(state=inspected)
  type: dict
  sample:
    exp1:
      delivery: 20261124T104900Z-1a2b3c4d-1
      sha256: 0f...
      ca_sha256: 3a...
      not_after: "2027-11-24T10:49:00Z"
scrape_interval:
  description: Seconds between scrapes of a job without an interval of its own.
  returned: O(state=inspected)
  type: float
  sample: 15.0
scrape_intervals:
  description: By exporter, seconds between scrapes.
  returned: O(state=inspected)
  type: dict
  sample: {"exp1": 15.0}
other_definitions:
  description: The same as RV(definitions) for the jobs of other fleets, which the layout C(template) has to keep.
  returned: O(state=inspected)
  type: dict
  sample: {}
definitions:
  description: By exporter, the values from which its job was made.
  returned: O(state=inspected)
  type: dict
  sample: {"exp1": {"name": "exp1", "address": "exp1.example.com", "port": 8888}}
in_the_way:
  description: By exporter in O(exporters), the hand-written job that conflicts with a job of this collection under the
    present options, and what to do.
  returned: O(state=inspected)
  type: dict
  sample: {}
layout:
  description: Layout that was found, null if there are no jobs of this collection.
  returned: O(state=inspected)
  type: str
  sample: inline
version:
  description: Version of Prometheus, null if it was not asked or did not answer.
  returned: O(state=inspected), O(state=present), or O(state=verified)
  type: str
  sample: 2.42.0
revision:
  description: Revision of the store.
  returned: O(state=inspected), O(state=present), O(state=staged), or O(state=verified)
  type: str
  sample: 5f0c8e6a91d2b374
exporters:
  description: The mentioned exporters. Also returned by failures after the change.
  returned: O(state=present) or O(state=verified)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the exporter.
      type: str
      sample: exp1
    failed:
      description: Present only if the exporter has failed, and then V(true).
      type: bool
      sample: true
    msg:
      description: Why it has failed.
      type: str
      sample: "exporter exp1: the bundle does not hold exactly one private key; nothing was stored"
    why:
      description: What changed for it, and why. Returned for O(state=present).
      type: list
      elements: str
      sample: [no pair is stored, it has no job yet]
    up:
      description: Whether the target is up. After a change, a scrape that began after the change has to show it. Null
        if Prometheus was not asked.
      type: bool
      sample: true
    last_error:
      description: Prometheus's error.
      type: str
      sample: ""
    advice:
      description: What to do about it.
      type: str
      sample: ""
    accepted:
      description: Whether a handshake with the delivered pair succeeds, trusting only the delivered CA file. Null if
        not tried. The same holds for the next four values.
      type: bool
      sample: true
    refused_without_certificate:
      description: Whether a handshake without a certificate is refused.
      type: bool
      sample: true
    refused_foreign_pair:
      description: Whether a handshake with a pair that no exporter has issued is refused.
      type: bool
      sample: true
    refused_plain_http:
      description: Whether plain http is refused.
      type: bool
      sample: true
    served_sha256:
      description: Fingerprint of the certificate that the exporter serves.
      type: str
      sample: 9c...
    not_after:
      description: End of the validity of the pair in use, UTC. Returned for O(state=verified).
      type: str
      sample: "2027-11-24T10:49:00Z"
reloaded:
  description: How Prometheus was reloaded, V(false) if it was not.
  returned: O(state=present) or O(state=absent)
  type: raw
  sample: http
removed:
  description: Exporters that were removed.
  returned: O(state=present) or O(state=absent)
  type: list
  elements: str
  sample: []
scrapes_by_hand:
  description: By exporter in O(exporters), the last scrape by a hand-written job, in the form of RV(scrapes).
  returned: O(state=inspected)
  type: dict
  sample: {}
scrapes:
  description: By name of the exporter, its last scrape. C(scraped) is its start in seconds since the epoch by the clock
    of this host, C(took) its duration and C(interval) the scrape interval in seconds, C(health) the target's health.
  returned: O(state=staged)
  type: dict
  sample: {"exp1": {"scraped": 1795517344.52, "took": 0.012, "interval": 15.0, "health": "up"}}
following:
  description: Names of the exporters that are followed.
  returned: O(state=following)
  type: list
  elements: str
  sample: [exp1]
followed:
  description: By name of the exporter, which delivery was made current, when, and how long the exporter had been away.
  returned: O(state=released)
  type: dict
  sample: {"exp1": [{"moment": 1795517344.9, "delivery": "20261124T104900Z-1a2b3c4d-1", "away": 0.31}]}
unmentioned:
  description: Exporters of this client that the task does not mention.
  returned: O(state=present)
  type: list
  elements: str
  sample: []
"""

import dataclasses
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.timesten.monitoring.plugins.module_utils.core import names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.argspec import RUN, Options
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import CheckedModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import host, options
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api

STATES = ["inspected", "present", "verified", "absent", "staged", "following", "released"]

JOB = Options(
    {
        "scrape_interval": {"type": "str"},
        "scrape_timeout": {"type": "str"},
        "metrics_path": {"type": "str"},
        "labels": {"type": "dict"},
        "job_label": {"type": "str"},
        "honor_labels": {"type": "bool"},
        "extra": {"type": "dict"},
    }
)

EXPORTER = JOB | Options(
    {
        "name": {"type": "str", "required": True},
        "address": {"type": "str"},
        "port": {"type": "int"},
        "usual_port": {"type": "int"},
        "insecure": {"type": "bool", "default": False},
        "generation": {"type": "str"},
        "previous": {"type": "str"},
        "delivery": {"type": "str"},
        "sha256": {"type": "str"},
        "ca_sha256": {"type": "str"},
        "ca_certificate": {"type": "str"},
        "certificate": {"type": "str"},
        "bundle": {"type": "str"},
        "alt_names": {"type": "list", "elements": "str"},
        "rules": {"type": "str"},
    }
)

SPEC = (
    JOB
    | RUN
    | Options(
        {
            "from_inventory": {"type": "bool", "default": False},
            "name": {"type": "str"},
            "state": {"type": "str", "choices": STATES, "default": "present"},
            "exporters": {"type": "list", "elements": "dict", "default": [], "options": EXPORTER},
            "kind": {"type": "str", "choices": ["prometheus", "scrape_file"], "default": "prometheus"},
            "path_map": {"type": "dict", "default": {}},
            "config_file": {"type": "path", "default": "/etc/prometheus/prometheus.yml"},
            "layout": {"type": "str", "choices": ["inline", "files", "template"], "default": "inline"},
            "scrape_file": {"type": "path"},
            "rendered": {"type": "str"},
            "rules": {"type": "str"},
            "rules_file": {"type": "path"},
            "on_existing": {"type": "str", "choices": ["fail", "adopt", "keep"], "default": "fail"},
            "store": {"type": "path", "default": "/etc/prometheus/timesten"},
            "keep_deliveries": {"type": "int", "default": 2},
            "user": {"type": "str", "default": "prometheus"},
            "group": {"type": "str"},
            "promtool": {"type": "str"},
            "url": {"type": "str", "default": "http://127.0.0.1:9090"},
            "url_username": {"type": "str"},
            "url_password": {"type": "str", "no_log": True},
            "url_bearer_token": {"type": "str", "no_log": True},
            # HostModule hides the values. no_log would hide every "1" in an answer if a header is a tenant's number.
            "url_headers": {"type": "dict", "no_log": False},
            "url_ca_file": {"type": "path"},
            "url_cert_file": {"type": "path"},
            "url_key_file": {"type": "path", "no_log": False},
            "prometheus_running": {"type": "bool", "default": True},
            "reload": {"type": "str", "choices": ["auto", "http", "systemd", "signal"], "default": "auto"},
            "reload_unit": {"type": "str", "default": "prometheus"},
            "reload_pid_file": {"type": "path"},
            "wait_timeout": {"type": "float"},
            "remove": {"type": "list", "elements": "str"},
            "purge": {"type": "bool", "default": False},
            "both_ports": {"type": "bool", "default": False},
            "revision": {"type": "str"},
            "switch": {"type": "dict", "default": {}},
            "fleet": {"type": "str"},
            "fleet_exporters": {"type": "dict", "default": {}},
        },
        used_by={
            "state": {
                "exporters": ("inspected", "present", "verified", "staged", "following", "released"),
                "switch": ("following",),
                "purge": ("present",),
                "remove": ("present", "absent", "staged"),
                "both_ports": ("present", "staged"),
                "revision": ("present", "absent", "staged"),
                "rendered": ("present", "absent", "staged"),
                "rules": ("present",),
            },
            "layout": {"rendered": ("template",)},
        },
    )
)

API_OPTIONS = {
    "url": "url",
    "url_username": "username",
    "url_password": "password",
    "url_bearer_token": "bearer_token",
    "url_headers": "headers",
    "url_ca_file": "ca_file",
    "url_cert_file": "certificate_file",
    "url_key_file": "key_file",
}
"""The options for Prometheus's interface, with the corresponding parameters of Api."""

HIDDEN_FROM = 8
"""Characters. A header's value of at least this length is hidden wherever it occurs. A shorter one is not a secret but,
for example, a tenant's number.
"""


class HostModule(CheckedModule):
    """An AnsibleModule whose log line on the managed host does not contain a thousand sealed keys and a whole
    configuration.

    no_log for the option would be wrong: the suboptions are logged with their option, and Ansible would hide names in
    results and errors.
    """

    # An element with an invalid text must not affect the other exporters.
    LENIENT = ("exporters",)

    def _log_invocation(self) -> None:
        exporters = ", ".join(str(item.get("name")) for item in self.params["exporters"][:20])
        self.log(f"Invoked with name={self.params['name']} state={self.params['state']} exporters={exporters}")

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        # -vvv shows the arguments with the same omissions.
        if "invocation" not in kwargs:
            bulky = {
                "exporters": len(self.params.get("exporters") or []),
                "rendered": None,
                "url_headers": None,
                "rules": None,
                "fleet_exporters": None,
            }
            kwargs["invocation"] = {"module_args": {**self.params, **bulky}}
        super()._return_formatted(kwargs)


def settings(params: dict[str, Any]) -> host.Settings:
    """Return the task's options in the form of the logic."""
    taken = {field.name: params[field.name] for field in dataclasses.fields(host.Settings) if field.name in params}
    beside = os.path.join(os.path.dirname(params["config_file"]), "timesten.yml")
    files = {"scrape_file": params["scrape_file"] or beside}
    if params["kind"] == "scrape_file":
        # This kind has only one file; the second name is never used.
        files = {"config_file": params["scrape_file"], "scrape_file": params["scrape_file"] + ".none"}
    return host.Settings(
        **{
            **taken,
            **files,
            "running": params["prometheus_running"],
            "remove": None if params["remove"] is None else tuple(params["remove"]),
            "exporters": tuple(params["exporters"]),
            "defaults": {option: params[option] for option in host.JOB_OPTIONS},
        }
    )


def check_options(params: dict[str, Any]) -> None:
    """:raises TimesTenError: naming an option that this state does not use, or a value that cannot be used."""
    SPEC.refuse_unused(params)
    names.check_name(params["name"], "name")
    options.check(params)
    options.check_call(params["exporters"], params["remove"] or (), params["switch"], params["fleet_exporters"])


def work(module: AnsibleModule) -> dict[str, Any]:
    """Do the module's work and return its result."""
    params = module.params
    if params["from_inventory"] or not params["name"]:
        raise TimesTenError("name is not set: name the client; from_inventory works in a task of a playbook only")
    check_options(params)
    module.no_log_values.update(value for value in (params["url_headers"] or {}).values() if len(value) >= HIDDEN_FROM)
    api = Api(**{parameter: params[option] for option, parameter in API_OPTIONS.items()})
    context = host.context(settings(params), api, module.check_mode)
    result = host.STATES[params["state"]](context, module._diff, params["switch"])
    result["name"] = params["name"]
    return result


def main() -> None:
    """Entry point."""
    run(HostModule(SPEC), work)


if __name__ == "__main__":
    main()
