# Everything a fresh machine needs is Python 3.11 or newer (with pip and venv) and make:
# each target makes .venv in this folder and installs what it needs there, once.
# Another interpreter: make demo PYTHON=/path/to/python3
#
# What is installed are the versions in requirements/locked.txt, with which the suite is known to pass: on Python 3.11 and
# newer, on any system (see `lock`). Other versions, each in an environment of its own: make test LATEST=1 takes what pip
# finds today, make test LOWEST=1 the oldest that pyproject.toml allows, which are those of Python 3.11.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo docs test test-full test-all lint bench lock clean

VENV := .venv
VERSIONS := requirements/locked.txt
PYTHON := python3 python3.14 python3.13 python3.12 python3.11
ifdef LATEST
VENV := .venv-latest
VERSIONS :=
endif
ifdef LOWEST
VENV := .venv-lowest
VERSIONS := requirements/lowest.txt
PYTHON := python3.11 python3
endif
BIN := $(VENV)/bin
# -qq: errors only. A failing download is an error; a newer pip, a cached wheel or a yanked release is not.
# What builds this package is pinned too: from pip 25.3 on by a variable of its own.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$(VERSIONS) PIP_BUILD_CONSTRAINT=$(VERSIONS) \
  $(BIN)/python -m pip --no-input install -qq

help:
	@echo 'make demo    write demo-bucket/, a small synthetic bucket, and do the main job on it (a minute, most of it set-up)'
	@echo 'make test    run the fast tier of the test suite: eight minutes on two cores'
	@echo 'make test-full  run what it leaves out: ten to fifteen minutes more; make test-all runs both'
	@echo 'make docs    build the site in docs/_build/html/, its gallery run on a demo bucket (a minute or two)'
	@echo 'make lint    check style, format and types'
	@echo 'make bench   measure reading, opening, storing, averaging and mirroring at full size (an hour, 15 GB of disk)'
	@echo 'make lock    write the newest versions to requirements/, and the oldest that are allowed'
	@echo 'make clean   remove what these targets have made, .venv included'
	@echo 'With LATEST=1 the newest versions are installed, with LOWEST=1 the oldest that are allowed.'

demo: $(VENV)/installed-plot
	@echo 'A synthetic bucket with the layout of s3://laion-fmri:'
	$(BIN)/intake-laion-fmri demo demo-bucket
	@echo 'The main job, catalog to picture, as a user writes it:'
	$(BIN)/python examples/first_light.py demo-bucket

# Offline, every warning an error. What has not changed since the last time is not built again.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo 'The site is at docs/_build/html/index.html'

# Three workers keep two cores busy, since many tests wait for a server or a process. worksteal: the slowest tests, of
# notebooks, examples and the wheel, come last and would leave the others idle.
# What the fast tier leaves out is marked `full`, with the reason.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 3 --dist worksteal -m 'not full'

test-full: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 3 --dist worksteal -m full

test-all: test test-full

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/open_subject.py
	$(BIN)/python benchmarks/read_session.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/mirror.py

# A resolution for every Python from 3.11 on and every system, with markers where they differ; and the oldest for 3.11.
COMPILE := uv pip compile pyproject.toml --quiet --upgrade --no-annotate --custom-compile-command 'make lock'
lock: $(BIN)/python
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --no-input install -qq 'uv>=0.9'
	$(BIN)/$(COMPILE) --extra dev --extra docs --extra notebook --universal --python-version 3.11 --output-file requirements/locked.txt
	$(BIN)/$(COMPILE) --extra test --resolution lowest-direct --python-version 3.11 --output-file requirements/lowest.txt

# A demo bucket goes as long as nothing was added to it or changed in it.
clean:
	@if [ -d demo-bucket ] && [ -x $(BIN)/intake-laion-fmri ]; then \
	  $(BIN)/python -c "from intake_laion_fmri.demo import remove_demo; remove_demo('demo-bucket')"; \
	elif [ -d demo-bucket ]; then echo 'demo-bucket stays: nothing is installed here that could tell what is in it'; fi
	rm -rf .venv .venv-latest .venv-lowest demo-output .bench docs/_build docs/examples docs/reference
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find intake_laion_fmri tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} +

# One stamp per extra, made after pip has succeeded, so an interrupted installation is taken up again. An extra covers
# those it contains: after `make lint`, `make test` and `make demo` install nothing.
COVERS_plot := plot
COVERS_test := test plot
COVERS_docs := docs plot
COVERS_dev := dev test plot

$(VENV)/installed-%: pyproject.toml $(VERSIONS) | $(BIN)/python
	@echo "Installing this package and its extra '$*' into $(VENV): a minute or two, once."
	@$(PIP) --editable '.[$*]'
	@touch $(COVERS_$*:%=$(VENV)/installed-%)

# Runs where the interpreter is missing: in a new checkout, after a failed creation (.DELETE_ON_ERROR removes it), and
# where the Python that .venv was made from has gone.
$(BIN)/python:
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "Needed: Python 3.11 or newer with venv and pip; none of these is: $(PYTHON)" \
	  "(python3 is $$(python3 --version 2>&1 || true)). Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
