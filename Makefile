# `make demo` and the tests need Python 3.11 or newer, git and make. The package is installed into VENV:
# the active environment if that has torch already, else .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
TORCH := $(wildcard $(ACTIVE)/lib/python3*/site-packages/torch/version.py)
VENV ?= $(if $(and $(ACTIVE),$(TORCH)),$(ACTIVE),.venv)
BIN := $(VENV)/bin
# Of what has been done with an environment, and in it.
DONE := $(VENV)/.alexnet_repro
# pip's own progress on a terminal, only its mistakes elsewhere.
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(shell test -t 2 || echo --quiet)
SOURCES := pyproject.toml $(shell find src conf -type f -not -name '*.pyc')
TESTS := $(shell find tests benchmarks -type f -not -name '*.pyc')
PYTEST := $(BIN)/python -m pytest --durations 15
# Of the long tests many wait for a process more than they compute.
LONG_WORKERS := $(shell expr 1 + $$(env -u OMP_NUM_THREADS nproc 2> /dev/null || echo 2))

# Data, seeds and epochs of `make reproduce-cifar`: half a day on two CPU cores, minutes on a GPU.
CIFAR := data=cifar10
SEEDS := 1,2,3
EPOCHS := 140

.PHONY: demo test test-all site docs soak lock reproduce-cifar clean

demo: runs/demo/.done
	@cat runs/demo/.done

test: $(DONE)-tested
	@echo "ruff, mypy and pytest passed for this state of the sources"

# What is long besides: kills, browsers, notebooks, sweeps over all experiments.
test-all: $(DONE)-tested-all
	@echo "ruff, mypy and all tests passed for this state of the sources"

# Kills a training forty times, and one of two processes a hundred times, and compares what it ends
# with; watches 2,000 steps for what they hold (docs/reliability.md): an hour.
soak: $(DONE)-dev
	$(BIN)/python -m tests.soak.kill_anywhere
	$(BIN)/python -m tests.soak.kill_launched
	$(BIN)/python -m tests.soak.leaking
	$(BIN)/python -m tests.soak.last_bits

# Write down the versions that are installed, when the tests have passed with them.
lock: $(DONE)-dev
	$(BIN)/python requirements/write_ci.py

IMAGES = $${ALEXNET_REPRO_CACHE:-$$HOME/.cache/alexnet_repro}/miniature/seed0/test

runs/demo/.done: $(DONE)-installed $(SOURCES)
	@mkdir -p runs/demo
	@$(BIN)/python -m alexnet_repro.train experiment=demo
	@echo "drawing what it has learned"
	@$(BIN)/alexnet figures 3 --checkpoint runs/demo --output runs/demo/pictures --format png > /dev/null
	@$(BIN)/alexnet figures 4 data=miniature --checkpoint runs/demo --output runs/demo/pictures \
	  --format png > /dev/null
	@{ printf '\n' && tail -n 2 "$$(ls -td runs/demo/*/checkpoints | head -n 1)/../run.log" \
	    | sed 's/^.*INFO [^:]*: //' \
	  && printf '\nThree images that it has not seen, with the two classes that it finds most probable:\n' \
	  && cd "$(IMAGES)" && $(abspath $(BIN))/alexnet predict fish/0000.jpg house/0000.jpg star/0000.jpg \
	    --top 2 --checkpoint $(CURDIR)/runs/demo \
	  && printf '\nPictures, in runs/demo/pictures:\n' \
	  && printf '  %-19s %s\n' figure_3.png "the kernels of conv1, column above column" \
	    figure_4_left.png "eight test images, the probable classes, the right one in red" \
	    figure_4_right.png "the training images nearest to five others" \
	  && printf '\nNext:\n' \
	  && printf '  %s\n' "$(BIN)/alexnet predict YOUR_PHOTO.jpg --checkpoint imagenette" \
	    "$(BIN)/alexnet train 'experiment=[demo,ablation_tanh]'" "$(BIN)/alexnet report"; } > $@.part
	@mv $@.part $@

$(DONE)-tested: $(DONE)-dev $(SOURCES) $(TESTS)
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) --numprocesses auto --dist worksteal -m "not long"
	@touch $@

$(DONE)-tested-all: $(DONE)-tested
	$(PYTEST) --numprocesses $(LONG_WORKERS) --dist loadscope --no-loadscope-reorder -m long
	@touch $@

# Started again after an interruption, it trains what is not finished.
reproduce-cifar: $(DONE)-installed
	$(BIN)/python -m alexnet_repro.train -m experiment=relu_speed,relu_speed_tanh seed=$(SEEDS) \
	  $(CIFAR) skip_finished=true hydra.sweep.dir=runs/cifar/relu_speed
	$(BIN)/python -m alexnet_repro.train -m seed=$(SEEDS) schedule.epochs=$(EPOCHS) \
	  experiment=cifar_13,cifar_13_response_norm,cifar_13_within_map_norm,cifar_18 \
	  $(CIFAR) skip_finished=true hydra.sweep.dir=runs/cifar/lrn
	$(BIN)/python -m alexnet_repro.report runs/cifar --output runs/cifar/report \
	  --claim relu_speed --claim lrn_cifar

$(DONE)-installed: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)' \
	  && echo "installing alexnet_repro into $(VENV), which has torch" \
	  || echo "installing alexnet_repro and torch into $(VENV): 6.1 GB on Linux, most of it for NVIDIA GPUs;" \
	    "a tenth of that for CPUs only: docs/tutorials/newcomer.md"
	@$(PIP) --editable .
	@touch $@

$(DONE)-dev: $(DONE)-installed
	$(PIP) --editable '.[dev]'
	@touch $@

$(DONE)-docs: $(DONE)-installed
	$(PIP) --editable '.[docs]'
	@touch $@

site: $(DONE)-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs: site
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory site 8000

clean:
	rm -rf .venv runs site
