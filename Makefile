# make demo | unit | test | thorough | chaos | fuzz | lint | docs | bench | model | pictures: each sets up .venv first, if needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo unit test thorough chaos fuzz lint docs bench model pictures

venv: $(STAMP)

# The stamp is touched last, so that an interrupted installation does not count as complete.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: venv
	$(BIN)/earmark demo

# The quick tests, to run while you work (80 s on two cores): no Ray, no store, no training, no histories, no waits.
unit: venv
	$(BIN)/python -m pytest -n 2 -m "not slow and not thorough" tests/unit

# Four test files at once, even on two cores: many tests wait for Ray to start, or for a store that fails on purpose.
# The order is that of testpaths, in which the longest files are first, so that the workers end together.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
test: venv
	$(BIN)/python -m pytest $(PARALLEL) --durations 20 -m "not thorough" $(TEST)

# Minutes more: longer forms, and more kinds, of what other tests show. Those of Spark also need Java.
thorough: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[spark]"
	$(BIN)/python -m pytest $(PARALLEL) -m thorough $(TEST)

# Takes about 15 minutes; CHAOS="--seed N" repeats a run, CHAOS=--s3 puts the tables into a bucket.
chaos: venv
	$(BIN)/python -m tests.chaos $(CHAOS)

# 12,000 mutants take a few minutes; FUZZ="--seed N" repeats them.
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

# Trains the model gtzan again with its recorded settings, on GTZAN's log-mels and the two lists.
# TRAIN="--epochs 2" is a quick trial.
GTZAN ?= ../shared/data/gtzan
MODEL ?= build/model
model: venv
	$(BIN)/earmark train $(GTZAN)/log_mel_128x387.npz --like gtzan --name gtzan-cnn --out $(MODEL) \
	  --split file:$(GTZAN)/splits/train_filtered.txt,$(GTZAN)/splits/valid_filtered.txt $(TRAIN)

# Makes the pictures of the README from the demo catalog; needs Chromium.
pictures: venv
	$(BIN)/python infra/pictures.py
