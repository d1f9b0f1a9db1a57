# `make demo` and `make test` need Python 3.11 or newer, git and make; everything else goes to .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCES := pyproject.toml $(shell find src conf -type f -not -name '*.pyc')
TESTS := $(shell find tests -type f -not -name '*.pyc')

.PHONY: demo test soak lock clean

demo: runs/demo/.done
	@cat runs/demo/.done

test: .venv/.tested
	@echo "ruff, mypy and pytest passed for this state of the sources"

# Kills a training forty times and compares what it ends with, and watches 2,000 steps for what they
# hold (docs/reliability.md): ten minutes.
soak: .venv/.installed-dev
	$(BIN)/python tests/soak/kill_anywhere.py
	$(BIN)/python tests/soak/leaking.py
	$(BIN)/python tests/soak/last_bits.py

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
	$(BIN)/python -m pytest
	@touch $@

.venv/.installed: pyproject.toml
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs
