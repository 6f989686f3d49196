# Copyright (c) 2026 The timesten.monitoring contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Every part runs alone; `make help` lists them. All that is built lies in .cache.

.DEFAULT_GOAL := help
.SUFFIXES:
.NOTPARALLEL:

PARTS := lint docs sanity unit build compat integration rotation lab bench
# Where the path of the checkout forbids it (tests/gates/environments.py), .cache is a link, and programs must not be
# started through it.
PYTHON_OF_VENV = "$$(readlink -f .cache)/venv/bin/python"
ARGS ?=

.PHONY: help demo test quick platforms takers release site venv clean $(PARTS)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "Arguments for pytest: make unit ARGS='-k wallet -x'. Another interpreter (3.11 to 3.13): make test PYTHON=python3.12"

demo: venv ## exporters, Prometheus and mutual TLS on this machine, to look at
	@$(PYTHON_OF_VENV) tests/demo/demo.py $(ARGS)

test: venv ## all parts below but bench
	@$(PYTHON_OF_VENV) tests/gates/parts.py --all

quick: venv ## for every day: lint, and the unit tests without the long property tests; no root, below 5 minutes
	@$(PYTHON_OF_VENV) tests/gates/parts.py lint
	@$(PYTHON_OF_VENV) tests/gates/parts.py unit -- -m "not hypothesis" $(ARGS)

platforms: venv ## every platform and way to the hosts, into docs/platforms.md (root, half an hour)
	@$(PYTHON_OF_VENV) tests/bench/platforms.py $(ARGS)

takers: venv ## every kind of taker with the real programs, into docs/which-prometheus.md (root, an hour)
	@$(PYTHON_OF_VENV) tests/bench/takers.py $(ARGS)

release: test ## VERSION=1.0.0: all tests, then changelog, commit, tag, tarball and checksum on this machine
	@$(PYTHON_OF_VENV) tests/gates/release.py $(VERSION)

site: venv ## the documentation as a site, in .cache/site/html
	@$(PYTHON_OF_VENV) -c "import sys; sys.path.insert(0, 'tests'); from gates import environments as e, site; site.build(e.environment('release', e.interpreter((3, 11), (3, 13))), e.CACHE / 'site')"

lint: ## ruff, mypy, yamllint, ansible-lint, rules of this repository
docs: ## documentation of modules and roles, examples of README and docs
sanity: ## ansible-test sanity, no ignore lines
unit: ## unit tests
build: ## the tarball: contents, installation, use; what a release has to pass
compat: ## unit tests on the oldest and newest Python, smoke run on the oldest and newest ansible-core
integration: ## playbooks against real programs
rotation: ## rotations, judged by the scrapes that Prometheus has lost
lab: ## real hosts on this machine (root)
bench: ## measurements

$(PARTS): venv
	@$(PYTHON_OF_VENV) tests/gates/parts.py $@ -- $(ARGS)

venv:
	@python=$$(PYTHON='$(PYTHON)' tests/gates/check-machine) && "$$python" tests/gates/environments.py venv

clean: ## remove all that was built
	case "$$(readlink .cache)" in */timesten-monitoring-*) rm -rf "$$(readlink .cache)" ;; esac
	rm -rf .cache collections releases tests/output .hypothesis .pytest_cache .mypy_cache .ruff_cache .ansible timesten-monitoring-*.tar.gz
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
