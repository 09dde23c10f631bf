# Everything a clean clone needs, in the order in which it is needed. `make help` lists the targets.
# Each step leaves a stamp in .build/ and runs again only when what it reads has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHON
# The browser is Debian's; neither Python's nor Node's Playwright may download its own.
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD := 1

FIND_RUST := find crates -path crates/patched -prune -o \( -name '*.rs' -o -name 'Cargo.toml' \) -print
RUST := Cargo.toml Cargo.lock $(shell $(FIND_RUST))
PACKAGE := pyproject.toml README.md $(shell find src -name __pycache__ -prune -o -path '*/static/built' -prune -o -path '*/static/prebuilt' -prune -o -name '*.so' -prune -o -type f -print)
WEB := $(shell find web -path web/prebuilt -prune -o -type f -print 2>/dev/null)
PREBUILT := $(addprefix web/prebuilt/,main.tsx page.css build.mjs tsconfig.json)

# `make setup` installs the wheel; after one `make core` the checkout itself is installed, until `make clean`.
INSTALLED := $(if $(wildcard .build/editable),.build/core.stamp,.build/wheel.stamp)

##@ Use
.PHONY: help
help:  ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(INSTALLED)  ## install everything into .venv, from the Debian packages to isotape itself

.PHONY: demo
demo: setup  ## two browsers join a room, leave, and the files appear (ONCE=1: exit afterwards)
	$(VENV)/bin/isotape demo $(if $(ONCE),--once)

##@ Check
.PHONY: test
test: setup  ## every test: Rust, Python, browser
	status=0  # both run, so that one run names everything there is to mend
	cargo test --workspace --locked --quiet --no-fail-fast || status=1
	$(PY) -m pytest $(PYTEST) || status=1
	exit $$status

.PHONY: unit
unit: setup  ## the fast tests only (under 90 s once built)
	cargo build --quiet --locked -p isotape-sim --bin isotape-publisher  # here: a test's time limit is no time to compile
	$(PY) -m pytest -n 2 -m "not browser and not slow" $(PYTEST)

.PHONY: lint
lint: setup  ## formatting, types, layers, clippy, and the stub of the Rust module
	scripts/lint

.PHONY: audit
audit:  ## licences, duplicates and sources of the crates (cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "audit: cargo-deny is missing (cargo install cargo-deny)" >&2; exit 1; }
	cargo deny --locked check bans licenses sources

.PHONY: shape
shape:  ## print the files, functions, classes and folders larger than the house style aims at
	@$(PYTHON) scripts/shape

.PHONY: bench
bench: setup  ## the measurements that docs/measured.md quotes, each beside its peer
	$(PY) -m bench $(BENCH)

.PHONY: netlab
netlab: setup  ## packets lost over bad networks, and is the ledger exact (25 minutes; NETLAB=--quick: 5)
	$(PY) scripts/netlab $(NETLAB)

##@ Build
.PHONY: prebuilt
prebuilt: .build/prebuilt.stamp  ## the 100ms Prebuilt UI as a second join page (13 MB, not in the wheel)
	@# A server that runs from an installed wheel looks beside its own files.
	installed=$$($(PY) -c 'import isotape; print(isotape.__path__[0])' 2>/dev/null || true)
	if [ -n "$$installed" ] && [ ! "$$installed" -ef src/isotape ]; then
	  rm -rf "$$installed/web/static/prebuilt"
	  cp -R src/isotape/web/static/prebuilt "$$installed/web/static/prebuilt"
	fi

.PHONY: core
core: .build/crates.stamp .build/web.stamp  ## for working on isotape: debug build of isotape._core, the checkout itself installed
	touch .build/editable
	$(MAKE) --no-print-directory .build/core.stamp

.PHONY: wheel
wheel: .build/wheel  ## build the wheel into dist/ without installing it

.PHONY: sdist
sdist: .build/python.stamp .build/web.stamp .build/crates.stamp .build/licences.stamp  ## build the source archive, with the patched crate and the built pages inside
	$(VENV)/bin/maturin sdist --out dist

.PHONY: lock
lock: .build/python.stamp  ## resolve requirements.lock, package-lock.json and Cargo.lock anew within the declared ranges
	$(PY) -m uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml --output-file requirements.lock
	npm update --ignore-scripts --package-lock-only
	npm update --ignore-scripts --package-lock-only --prefix web/prebuilt
	cargo update

.PHONY: clean
clean:  ## remove everything that these targets made, the environment too
	rm -rf .build .venv node_modules web/prebuilt/node_modules dist target crates/patched src/isotape/web/static/built src/isotape/web/static/prebuilt src/isotape/*.so src/isotape/third_party_licences.txt
	find src tests bench scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# -- the steps of setup -------------------------------------------------------------------------------------------------------------------

.build/debian.stamp: scripts/install-debian
	@mkdir -p .build
	scripts/install-debian
	touch $@

.build/python.stamp: requirements.lock .build/debian.stamp
	@[ -x $(PY) ] || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	touch $@

.build/node.stamp: package-lock.json package.json .npmrc .build/debian.stamp
	npm ci --ignore-scripts --loglevel=error
	touch $@

.build/web.stamp: scripts/build-web .build/node.stamp $(WEB)
	scripts/build-web
	touch $@

.build/prebuilt.node.stamp: web/prebuilt/package-lock.json web/prebuilt/package.json .build/debian.stamp
	npm ci --ignore-scripts --loglevel=error --prefix web/prebuilt
	touch $@

.build/prebuilt.stamp: scripts/build-prebuilt .build/node.stamp .build/prebuilt.node.stamp $(PREBUILT)
	scripts/build-prebuilt
	touch $@

.build/crates.stamp: scripts/patch-crates Cargo.toml $(shell find crates/patches -type f) .build/debian.stamp
	scripts/patch-crates
	touch $@

.build/licences.stamp: scripts/third-party-licences Cargo.lock .build/crates.stamp .build/node.stamp
	scripts/third-party-licences
	touch $@

.build/wheel: .build/python.stamp .build/web.stamp .build/crates.stamp .build/licences.stamp LICENSE NOTICE $(RUST) $(PACKAGE)
	rm -rf dist
	$(VENV)/bin/maturin build --quiet --release --locked --interpreter $(PY) --out dist
	touch $@

.build/wheel.stamp: .build/wheel
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-index --force-reinstall dist/isotape-*.whl
	touch $@

.build/core.stamp: .build/python.stamp .build/web.stamp .build/crates.stamp pyproject.toml $(RUST)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-index --no-build-isolation --editable .
	touch $@
