# `make demo` and the tests need Python 3.11 or newer, git and make; everything else goes to .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCES := pyproject.toml $(shell find src conf -type f -not -name '*.pyc')
TESTS := $(shell find tests benchmarks -type f -not -name '*.pyc')
PYTEST := $(BIN)/python -m pytest --dist worksteal --numprocesses
# Of the long tests many wait for a process more than they compute.
LONG_WORKERS := $(shell expr 1 + $$(env -u OMP_NUM_THREADS nproc 2> /dev/null || echo 2))

# Data, seeds and epochs of `make reproduce-cifar`: half a day on two CPU cores, minutes on a GPU.
CIFAR := data=cifar10
SEEDS := 1,2,3
EPOCHS := 140

.PHONY: demo test test-all docs soak lock reproduce-cifar clean

demo: runs/demo/.done
	@cat runs/demo/.done

test: .venv/.tested
	@echo "ruff, mypy and pytest passed for this state of the sources"

# What is long besides: kills, browsers, notebooks, sweeps over all experiments.
test-all: .venv/.tested-all
	@echo "ruff, mypy and all tests passed for this state of the sources"

# Kills a training forty times and compares what it ends with, and watches 2,000 steps for what they
# hold (docs/reliability.md): ten minutes.
soak: .venv/.installed-dev
	$(BIN)/python -m tests.soak.kill_anywhere
	$(BIN)/python -m tests.soak.leaking
	$(BIN)/python -m tests.soak.last_bits

# Write down the versions that are installed, when the tests have passed with them.
lock: .venv/.installed-dev
	$(BIN)/python requirements/write_ci.py

runs/demo/.done: .venv/.installed $(SOURCES)
	@mkdir -p runs/demo
	@$(BIN)/python -m alexnet_repro.train experiment=demo
	@tail -n 2 "$$(ls -td runs/demo/*/ | head -n 1)run.log" | sed 's/^.*INFO [^:]*: //' > $@

.venv/.tested: .venv/.installed-dev $(SOURCES) $(TESTS)
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) auto -m "not long"
	@touch $@

.venv/.tested-all: .venv/.tested
	$(PYTEST) $(LONG_WORKERS) -m long
	@touch $@

# Started again after an interruption, it trains what is not finished.
reproduce-cifar: .venv/.installed
	$(BIN)/python -m alexnet_repro.train -m experiment=relu_speed,relu_speed_tanh seed=$(SEEDS) \
	  $(CIFAR) skip_finished=true hydra.sweep.dir=runs/cifar/relu_speed
	$(BIN)/python -m alexnet_repro.train -m seed=$(SEEDS) schedule.epochs=$(EPOCHS) \
	  experiment=cifar_13,cifar_13_response_norm,cifar_13_within_map_norm,cifar_18 \
	  $(CIFAR) skip_finished=true hydra.sweep.dir=runs/cifar/lrn
	$(BIN)/python -m alexnet_repro.report runs/cifar --output runs/cifar/report \
	  --claim relu_speed --claim lrn_cifar

.venv/.installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "the site is in site/index.html"

clean:
	rm -rf .venv runs site
