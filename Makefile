# make demo | unit | test | chaos | fuzz | lint | docs | bench | model: each sets up .venv first, where that is not done yet.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo unit test chaos fuzz lint docs bench model pictures

venv: $(STAMP)

# The stamp is touched last: an interrupted installation is not taken for a whole one.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: venv
	$(BIN)/earmark demo

# What needs neither Ray nor a store, nor seconds for a test: to run while one works.
unit: venv
	$(BIN)/python -m pytest -n 2 -m "not slow" tests/unit

# Three files at once, on two cores too: many tests wait, for Ray to start or for a store that fails on purpose.
test: venv
	$(BIN)/python -m pytest -n 3 --dist loadfile $(TEST)

# Takes a quarter of an hour; CHAOS="--seed N" repeats one.
chaos: venv
	$(BIN)/python -m tests.chaos $(CHAOS)

# Twelve thousand mutants take about ten minutes; FUZZ="--seed N" repeats them.
fuzz: venv
	$(BIN)/python -m tests.fuzz $(FUZZ)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: venv
	for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

# Trains the shipped model again by its own notes, on GTZAN's log-mels and the two lists.
# TRAIN="--epochs 2" tries it out.
GTZAN ?= ../shared/data/gtzan
MODEL ?= build/model
model: venv
	$(BIN)/earmark train $(GTZAN)/log_mel_128x387.npz --like default --name gtzan-cnn --out $(MODEL) \
	  --split file:$(GTZAN)/splits/train_filtered.txt,$(GTZAN)/splits/valid_filtered.txt $(TRAIN)

# The pictures of the README, from the demo catalog; needs Chromium.
pictures: venv
	$(BIN)/python infra/pictures.py
