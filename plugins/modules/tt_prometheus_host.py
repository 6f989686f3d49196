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
  - Nothing half done stays live. The pairs are checked with the rights of the Prometheus user and the new
    configuration by C(promtool) before Prometheus reads it; afterwards every job has to be among Prometheus's targets
    and every target up. What does not work is taken back, and Prometheus is told again.
  - Every byte of the configuration that is not of this collection stays as it is.
  - An exporter that a run does not mention stays as it is, unless O(purge=true).
  - An exporter whose element is bad, or which does not work, costs none of the others. They are finished, and the call then fails
    with all results.
  - A configuration that somebody else changes at the same time is read and planned anew, and given up after three times.
  - Runs as root, or as the Prometheus user itself where that user may write the configuration and the store.
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
      - Of the configuration only changed lines are shown, with the values of keys that hold secrets hidden.
  idempotent:
    support: full
options:
  from_inventory:
    description:
      - Take the clients of the host, their exporters and all that a state needs from the variables of the role
        P(timesten.monitoring.prometheus_host#role) and from what the earlier tasks of the playbooks have registered, as the controller's half of
        this module does for the role.
      - The module is called once for each Prometheus instance of the host. An answer that a host must not give, or a failure, does not fail
        the task; RV(clients) says so, and the report at the end of the playbook.
    type: bool
    default: false
    version_added: 1.0.0
  name:
    description:
      - Required unless O(from_inventory=true). Name of the client. Letters, digits, V(.), V(_) and V(-). A host with several Prometheus instances has a
        client for each, with O(config_file), O(url) and O(store) of its own.
    type: str
  state:
    description:
      - V(inspected) reads what the exporter hosts have to know, and makes the transport key where there is none.
      - V(present) stores, configures, reloads and proves.
      - V(verified) changes nothing and proves everything, for O(exporters) or, if not given, for all that are
        stored. The handshakes send no request.
      - V(absent) removes the exporters in O(remove) or, if that is not given, everything that is of this collection.
      - V(staged), V(following) and V(released) are the steps of a rotation on this side, for the playbook
        C(timesten.monitoring.rotate). V(staged) writes and
        checks the deliveries beside those in use. V(following) starts a process that makes the delivery current that
        fits what the exporter serves, until it is released or O(switch) is past. V(released) ends it and removes what
        is not kept.
    type: str
    choices: [inspected, present, verified, absent, staged, following, released]
    default: present
  exporters:
    description:
      - The exporters, as their hosts have answered for them.
      - For O(state=inspected), those that are to get a job, with what the inventory tells of them; for these, hand-written jobs are looked for.
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
          - Host name or IP address that Prometheus dials. Required for O(state=present).
        type: str
      port:
        description:
          - TCP port of the exporter. Required for O(state=present).
        type: int
      usual_port:
        description:
          - The exporter's usual port, where O(exporters[].port) is its spare one. The series then keep their labels C(job) and C(instance).
          - The element's name is then that of the exporter with C(.spare) appended.
        type: int
      insecure:
        description:
          - Whether the exporter speaks plain http.
        type: bool
        default: false
      generation:
        description:
          - Generation of the exporter's wallet. This and the next three are required unless
            O(exporters[].insecure=true).
        type: str
      previous:
        description:
          - Generation that the exporter's host had before O(exporters[].generation). By either it is recognized when its target changes.
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
          - The CA file. Needed where the delivery is not stored yet and the CA differs from the stored one.
        type: str
      certificate:
        description:
          - The client certificate. Needed where the delivery is not stored yet.
        type: str
      bundle:
        description:
          - The sealed private key. Needed where the delivery is not stored yet.
        type: str
      alt_names:
        description:
          - Names in the exporter's certificate. Where O(exporters[].address) is not among them, the job gets a
            C(server_name).
        type: list
        elements: str
      scrape_interval:
        description:
          - As O(scrape_interval), for this exporter.
        type: str
      scrape_timeout:
        description:
          - As O(scrape_timeout), for this exporter.
        type: str
      metrics_path:
        description:
          - As O(metrics_path), for this exporter.
        type: str
      labels:
        description:
          - As O(labels), for this exporter.
        type: dict
      job_label:
        description:
          - As O(job_label), for this exporter.
        type: str
      honor_labels:
        description:
          - As O(honor_labels), for this exporter.
        type: bool
      extra:
        description:
          - As O(extra), for this exporter.
        type: dict
      rules:
        description:
          - The exporter's own group in O(rules_file), as text. In it C(@job@) and C(@instance@) stand for the labels of its target.
          - The group that is known stays, if not set.
        type: str
        version_added: 1.0.0
  scrape_interval:
    description:
      - Time between two scrapes, for example V(15s). Prometheus's own C(global) setting, if not set.
    type: str
  scrape_timeout:
    description:
      - How long a scrape may take. Prometheus's own C(global) setting, if not set.
    type: str
  metrics_path:
    description:
      - Path of the metrics. V(/metrics), if not set.
    type: str
  labels:
    description:
      - Labels that every series of the target gets.
    type: dict
  job_label:
    description:
      - Value of the label C(job), by relabelling. The job's name, if not set.
    type: str
  honor_labels:
    description:
      - Whether labels of the exporter win over those of Prometheus. With V(false), Prometheus's default, a label
        C(instance) of the exporter's own becomes C(exported_instance).
    type: bool
  extra:
    description:
      - Further keys of the job, passed on as they are, for example C(sample_limit).
    type: dict
  kind:
    description:
      - What takes the pairs and scrapes.
      - V(prometheus) is asked what it runs and scrapes, and proves by that.
      - V(scrape_file) is anything else that reads scrape jobs from a file, for example vmagent. The jobs are a marked block in
        O(scrape_file), and the proof is a handshake with the delivered pair from its host. What it scrapes is not asked.
        O(url) is used for O(reload=http) alone, O(config_file), O(layout) and O(promtool) are not used.
      - With V(scrape_file) a job names the delivery itself. Such a taker may read a CA file only once, so in a rotation its file changes and
        it is told to read that again.
    type: str
    choices: [prometheus, scrape_file]
    default: prometheus
    version_added: 1.0.0
  path_map:
    description:
      - Where what scrapes runs in a container, its mounts. Host paths with the paths that they have in the container.
      - O(config_file), O(scrape_file) and O(store) are host paths, each below one of them. What is written into a file names container paths.
      - Where the process can be seen from the host, it has to see the store at that place.
      - C(promtool) then judges the syntax alone, and need not be there if O(promtool) is not set.
    type: dict
    default: {}
    version_added: 1.0.0
  config_file:
    description:
      - Configuration file of Prometheus. Owner, mode, access list and a symbolic link are kept.
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
      - Scrape file of O(layout=files). C(timesten.yml) beside O(config_file), if not set.
      - With O(kind=scrape_file) the file that the taker reads, which may hold other jobs. Its form is that of C(prometheus.yml), and it is made
        where there is none. Required then.
      - Where it holds a bare list, or a process of VictoriaMetrics names it in the C(scrape_config_files) of its C(-promscrape.config), it is a bare
        list.
    type: path
  rendered:
    description:
      - The whole configuration, for O(layout=template). It has to hold exactly the jobs of all exporters of this
        client.
    type: str
  rules:
    description:
      - The groups of rules that are no exporter's, as items of the list C(groups) in a rule file, for O(state=present). The file is
        named in C(rule_files) of the configuration, unless a pattern there names it already.
      - An empty text takes the rule file away. What is there stays, if not set. Without any exporter there is no rule file.
    type: str
    version_added: 1.0.0
  rules_file:
    description:
      - Path of the rule file. The path of O(store) with C(.rules.yml) appended, if not set.
    type: path
    version_added: 1.0.0
  on_existing:
    description:
      - What to do where a hand-written job has the name or the target of an exporter's job.
      - V(fail) refuses. V(adopt) makes it ours, without changing its name, labels or series. V(keep) leaves it and
        makes no job.
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
      - Number of older deliveries of each exporter that stay in the store, for the way back.
    type: int
    default: 2
  user:
    description:
      - The user that Prometheus runs as. A number, as the host counts users, where the host has no such user, for example for a container.
    type: str
    default: prometheus
  group:
    description:
      - Group that may enter the store, by name or number. The user's own, if not set; for a number that the host does not know, the group of the
        same number.
    type: str
  promtool:
    description:
      - Path of C(promtool), of the same version as Prometheus. Looked for in E(PATH), if not set.
    type: str
  url:
    description:
      - Address of Prometheus, with its route prefix where it has one. It is asked directly, whatever proxies the
        environment names.
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
      - Bearer token, where a proxy in front of Prometheus wants one. Excludes O(url_username).
    type: str
    version_added: 1.0.0
  url_headers:
    description:
      - HTTP headers for every request, where a proxy in front of Prometheus wants them, for example a tenant or an API key.
      - Their values are handled as secrets.
    type: dict
    version_added: 1.0.0
  url_ca_file:
    description:
      - File on the Prometheus host that its own server certificate is verified with. The system's, if not set.
    type: path
  url_cert_file:
    description:
      - Client certificate on the Prometheus host, where Prometheus's own endpoint asks for one.
    type: path
  url_key_file:
    description:
      - Key of O(url_cert_file).
    type: path
  prometheus_running:
    description:
      - With V(true), a Prometheus that does not answer is an error, before anything is changed.
      - With V(false) it is not talked to. The pairs and the configuration are written and checked, to be read when
        it starts; nothing is proven by targets.
        If it does run, it does not take notice of the new configuration until somebody reloads it.
    type: bool
    default: true
  reload:
    description:
      - How Prometheus is told to read its configuration again. Its own metrics have to confirm it.
      - V(auto) takes the lifecycle endpoint where it is enabled, else the systemd unit where that is active, else
        SIGHUP.
      - With O(kind=scrape_file) V(auto) sends SIGHUP where O(reload_pid_file) is set or a process has O(scrape_file) as its
        C(-promscrape.config), and otherwise leaves it to the taker to read the file again.
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
      - File with Prometheus's process id, for O(reload=signal). The process that was started with O(config_file) is
        looked for, if not set.
    type: path
  wait_timeout:
    description:
      - Seconds to wait for all targets to be up. Twice the longest scrape interval and 15 s, if not set.
    type: float
  remove:
    description:
      - Names of exporters to remove.
    type: list
    elements: str
  purge:
    description:
      - Remove all exporters that O(exporters) does not mention. Only for runs in which every exporter host answered.
    type: bool
    default: false
  both_ports:
    description:
      - Whether the job of an exporter's other port (O(exporters[].usual_port)) stays, as a rotation with the strategy C(spare_port) needs it for
        a while. Otherwise it goes when the exporter is mentioned.
    type: bool
    default: false
  revision:
    description:
      - RV(revision) of the O(state=inspected) call that the task's values come from. Refused if another run has
        changed the store since.
    type: str
  fleet:
    description:
      - Whose jobs these are, where several inventories share a Prometheus. A job belongs to the fleet that mentioned it first; a job
        of another fleet is neither reported, re-pointed nor removed.
      - If not set, and O(fleet_exporters) is, the fleet is recognized by these. If neither is set, the fleet of the exporters that the call mentions;
        where it mentions none, the only one that the store knows.
      - A job without one belongs to everybody.
    type: str
  fleet_exporters:
    description:
      - All exporters of the inventory, by name the list of their targets (C(host:port)). The store keeps whose each exporter is; the fleet is the one
        that shares half of these and has half of its own among them, with the same target or a wallet that the exporter's host remembers. Without a
        name that was given, it is also one that all of these belong to, or that has all of its own among these.
      - Where there is none, a name is derived from these, and kept. Where less than half of what the fleet has is among these, nothing goes that nobody names.
    type: dict
    default: {}
    version_added: 1.0.0
  switch:
    description:
      - For O(state=following). By name of the exporter C(moments), the times at which it may switch, and
        C(deadline), the time at which a switch that nobody
        confirmed is taken back, both in seconds since the epoch by the clock of this host. Others of O(exporters)
          are not followed.
    type: dict
    default: {}
seealso:
  - module: timesten.monitoring.tt_exporter_host
"""

EXAMPLES = r"""
- name: All Prometheus instances of the host, as the inventory has them
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

- name: Prove that every target is up and that nobody else gets in
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

- name: Have a process follow what the exporters serve, and change the pair at that moment
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: following

- name: End that process, and remove the pairs that were not switched to
  timesten.monitoring.tt_prometheus_host:
    from_inventory: true
    state: released
"""

RETURN = r"""
clients:
  description: What each client was asked for and what it answered, for the tasks to come.
  returned: O(from_inventory=true)
  type: list
  elements: dict
  sample: [{"asked": {"client": "prom1", "state": "verified"}, "answer": {"changed": false, "exporters": []}}]
clock:
  description: How far the host's clock is ahead of the controller's, in seconds, and by how much that may be wrong.
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
  description: Public transport key that pairs are sealed for, the base64 of an uncompressed P-256 point. In check
    mode, where none is stored yet, that of a key that is thrown away.
  returned: O(state=inspected)
  type: str
  sample: BEb...
stored:
  description: By exporter, what is in use and whole.
  returned: O(state=inspected)
  type: dict
  sample:
    exp1:
      delivery: 20261124T104900Z-1a2b3c4d-1
      sha256: 0f...
      ca_sha256: 3a...
      not_after: "2027-11-24T10:49:00Z"
scrape_interval:
  description: Seconds between scrapes of a job that says nothing itself.
  returned: O(state=inspected)
  type: float
  sample: 15.0
scrape_intervals:
  description: By exporter, seconds between scrapes.
  returned: O(state=inspected)
  type: dict
  sample: {"exp1": 15.0}
other_definitions:
  description: As RV(definitions), of the jobs of other fleets, which the layout C(template) has to keep.
  returned: O(state=inspected)
  type: dict
  sample: {}
definitions:
  description: By exporter, what its job was made from.
  returned: O(state=inspected)
  type: dict
  sample: {"exp1": {"name": "exp1", "address": "exp1.example.com", "port": 8888}}
in_the_way:
  description: By exporter that O(exporters) names, the hand-written job that keeps it from getting a job of this collection with the other options
    as they are, and the way out.
  returned: O(state=inspected)
  type: dict
  sample: {}
layout:
  description: Layout that was found, null where there is none of our jobs.
  returned: O(state=inspected)
  type: str
  sample: inline
version:
  description: Version of Prometheus, null where it was not asked or did not answer.
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
      description: Only where the exporter has failed, and then V(true).
      type: bool
      sample: true
    msg:
      description: Why it has failed.
      type: str
      sample: "exporter exp1: the bundle does not hold exactly one private key; nothing was stored"
    why:
      description: What changed for it, and for which reason. Of O(state=present).
      type: list
      elements: str
      sample: [no pair is stored, it has no job yet]
    up:
      description: Whether the target is up; after a change, by a scrape that began later. Null where it was not asked.
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
      description: Whether a handshake with the delivered pair, trusting the delivered CA file alone, succeeds. Null
        if not tried. The same holds for the next four values.
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
      description: End of the validity of the pair in use, UTC. Of O(state=verified).
      type: str
      sample: "2027-11-24T10:49:00Z"
reloaded:
  description: The way in which Prometheus was reloaded, V(false) if it was not.
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
  description: By exporter that O(exporters) names, the last scrape by a hand-written job, as in RV(scrapes).
  returned: O(state=inspected)
  type: dict
  sample: {}
scrapes:
  description: By name of the exporter, its last scrape. C(scraped), its start in seconds since the epoch by the
    clock of this host, C(took) and C(interval) in
    seconds, C(health).
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
  description: By name of the exporter, what was made current when, and for how long the exporter had been away.
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

from ansible_collections.timesten.monitoring.plugins.module_utils.core import argspec, names
from ansible_collections.timesten.monitoring.plugins.module_utils.core.errors import TimesTenError
from ansible_collections.timesten.monitoring.plugins.module_utils.core.module import CheckedModule, run
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus import host, options
from ansible_collections.timesten.monitoring.plugins.module_utils.prometheus.api import Api

STATES = ["inspected", "present", "verified", "absent", "staged", "following", "released"]

JOB = {
    "scrape_interval": {"type": "str"},
    "scrape_timeout": {"type": "str"},
    "metrics_path": {"type": "str"},
    "labels": {"type": "dict"},
    "job_label": {"type": "str"},
    "honor_labels": {"type": "bool"},
    "extra": {"type": "dict"},
}

EXPORTER = {
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
    **JOB,
}

SPEC = {
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
    # Hidden by HostModule: no_log would blot out every "1" of an answer where a tenant's number is a header.
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
    "run": argspec.RUN,
    **JOB,
}

USED_BY = {
    "exporters": ("inspected", "present", "verified", "staged", "following", "released"),
    "switch": ("following",),
    "purge": ("present",),
    "remove": ("present", "absent", "staged"),
    "both_ports": ("present", "staged"),
    "revision": ("present", "absent", "staged"),
    "rendered": ("present", "absent", "staged"),
    "rules": ("present",),
}
"""The states that use an option; any other refuses it."""

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
"""The options of the interface of Prometheus, and the parameters of Api that they are."""

HIDDEN_FROM = 8
"""Characters. A header's value of so many is hidden wherever it turns up; a shorter one is no secret but, say, a tenant's number."""


class HostModule(CheckedModule):
    """An AnsibleModule whose log line on the managed host does not hold a thousand sealed keys and a whole
    configuration.

    A no_log for the option would not do: the suboptions are logged with their option, and masking would blot out
    names in results and errors.
    """

    # An element with a bad text costs that exporter alone.
    LENIENT = ("exporters",)

    def _log_invocation(self) -> None:
        exporters = ", ".join(str(item.get("name")) for item in self.params["exporters"][:20])
        self.log(f"Invoked with name={self.params['name']} state={self.params['state']} exporters={exporters}")

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        # The same for what -vvv shows of the arguments.
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
    """The task's options as the logic takes them."""
    taken = {field.name: params[field.name] for field in dataclasses.fields(host.Settings) if field.name in params}
    beside = os.path.join(os.path.dirname(params["config_file"]), "timesten.yml")
    files = {"scrape_file": params["scrape_file"] or beside}
    if params["kind"] == "scrape_file":
        # The one file that there is; no second one is ever made.
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
    argspec.refuse_unused(params, SPEC, "state", USED_BY)
    if params["rendered"] and params["layout"] != "template":
        raise TimesTenError(f"rendered: is not used by layout {params['layout']}, only by template; leave it out")
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
    run(HostModule(argument_spec=SPEC, supports_check_mode=True), work)


if __name__ == "__main__":
    main()
