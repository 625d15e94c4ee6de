# Every target does its own set-up: a machine needs only Python 3.11+ with pip, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart smoke test test-torch soak lint format clean

# Installed again only when what is to be installed has changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Use make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

quickstart: $(VENV)/.installed ## problem -> adapter -> scores, 20 minutes on two cores
	$(BIN)/cft run quickstart

smoke: $(VENV)/.installed ## the same chain in a few minutes
	$(BIN)/cft run smoke

test: $(VENV)/.installed ## downloads a 93 MB model
	CFT_TEST_NETWORK=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Another torch in an environment of its own, before the other libraries of this one.
TORCH ?= 2.6.0
OTHER := $(VENV)/torch-$(TORCH)
TOUCH_TORCH := tests/cft/models tests/cft/train tests/cft/weights tests/cft/export tests/cft/cli/test_trying.py \
	tests/cft/test_devices.py tests/eval/answering tests/recipes

test-torch: $(VENV)/.installed ## what touches torch, with another one: make test-torch TORCH=2.6.0
	test -x $(OTHER)/bin/pip || $(BIN)/python -m venv $(OTHER)
	$(OTHER)/bin/pip install --quiet --disable-pip-version-check torch==$(TORCH)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(echo $(OTHER)/lib/python*/site-packages)/zz.pth"
	PYTHONPATH=$(CURDIR) $(OTHER)/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(TOUCH_TORCH)

soak: $(VENV)/.installed ## many kills, calls and trainings, of which `make test` has a few of each
	CFT_TEST_NETWORK=1 $(BIN)/python -m pytest -m soak

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.house

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
