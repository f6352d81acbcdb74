# make demo    set up, get the data, train MAML for a few minutes, evaluate it
# make test    set up, run all tests
# make test-all the same with every Python from 3.10 on this machine, and kill 50 training runs
# make help    these and the other targets

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The two builds of PaddlePaddle own the same folder, so one of them is chosen here.
REQUIREMENTS ?= $(if $(shell nvidia-smi -L 2>/dev/null),requirements.txt,requirements-cpu.txt)
OLD_VENV ?= .venv-paddle-2.6
LOWEST_VENV ?= .venv-lowest
DEMO = log/demo

.PHONY: help demo test test-2.6 test-3.3 test-lowest test-all table notebook lint setup clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready  ## make the virtual environment

$(VENV)/ready: $(REQUIREMENTS) requirements-dev.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13) and "PaddlePaddle 3.3.1 is made for Python 3.10 to 3.13, and this is Python %d.%d; name another: make PYTHON=python3.13 ..." % sys.version_info[:2])'
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS) -r requirements-dev.txt
	touch $@

demo: $(VENV)/ready  ## data, a short 5-way 1-shot MAML, its accuracy
	$(BIN)/python -m maml demo --out data/demo
	rm -rf $(DEMO)
	$(BIN)/python train.py --config configs/demo.yaml --data data/demo --checkpoints $(DEMO)
	$(BIN)/python evaluate.py --checkpoint $(DEMO)/demo.pkl --data data/demo
	@echo "Logs: $(DEMO). To look at the curves: $(BIN)/visualdl --logdir log --port 8040, then open http://127.0.0.1:8040"

# Both environments are made at the same time, and types are checked while 2.6.2 is tested.
test:  ## all tests, and those of derivatives, training and evaluation on PaddlePaddle 2.6.2 as well
	$(MAKE) --no-print-directory -j2 lint test-2.6
	$(MAKE) --no-print-directory test-3.3

test-3.3: $(VENV)/ready  ## all tests on PaddlePaddle 3.3.1
	$(BIN)/python -m pytest -n logical --dist worksteal

# What `pip install paddlepaddle-gpu` resolves to is 2.6.2, so its CPU build stands in for it here.
$(OLD_VENV)/ready: requirements-cpu.txt requirements-dev.txt
	"$(PYTHON)" -m venv $(OLD_VENV)
	$(OLD_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile paddlepaddle==2.6.2 'numpy<2' \
		opencv-python-headless pillow visualdl pyyaml tqdm matplotlib setuptools hypothesis pytest pytest-xdist
	touch $@

test-2.6:  ## the tests that prove PaddlePaddle 2.6.2
	@if "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		$(MAKE) --no-print-directory $(OLD_VENV)/ready && $(OLD_VENV)/bin/python -m pytest -n logical --dist worksteal -m both_paddles $$(grep -rl --include='test_*.py' both_paddles tests); \
	else echo "skipped: there is no PaddlePaddle 2.6.2 for Python 3.13 or newer"; fi

$(LOWEST_VENV)/ready: requirements-cpu.txt requirements-dev.txt
	"$(PYTHON)" -m venv --clear $(LOWEST_VENV)
	sed 's/>=/==/' requirements-cpu.txt > $(LOWEST_VENV)/requirements.txt
	$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST_VENV)/requirements.txt -r requirements-dev.txt
	touch $@

test-lowest: $(LOWEST_VENV)/ready  ## the same tests with the oldest packages that are allowed: make test-lowest PYTHON=python3.10
	$(LOWEST_VENV)/bin/python -m pytest -n logical -m both_paddles

PYTHONS = 3.10 3.11 3.12 3.13

test-all: test  ## the same with each Python from 3.10 to 3.13 that is here, and 50 killed training runs
	@for version in $(PYTHONS); do \
		if python=$$(command -v python$$version); then \
			$(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version OLD_VENV=.venv-$$version-paddle-2.6 || exit 1; \
		else echo "skipped: there is no python$$version on this machine"; fi; done
	@if python=$$(command -v python3.10); then $(MAKE) --no-print-directory test-lowest PYTHON="$$python"; fi
	$(BIN)/python tests/crash/kills.py --kills 50

table: $(VENV)/ready  ## measure what is not yet measured of every checkpoint on 10,000 test tasks, and rewrite the tables of README and docs
	$(BIN)/python -m maml table --data $(wildcard . data/maml data/background data/background42 data/vinyals)

notebook: $(VENV)/ready  ## run the notebook, and write it with its outputs to docs/notebook.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check nbconvert
	$(BIN)/python notebooks/render.py

lint: $(VENV)/ready  ## style and types: ruff's checks and format, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove environments, demo data, and all logs with what --resume needs
	rm -rf $(VENV) $(OLD_VENV) $(LOWEST_VENV) .venv-3.* log data/demo data/stand-in .pytest_cache
