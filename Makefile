# make train    set up .venv and train on the handwritten digits    (make train ARGS="--steps 4000")
# make test     set up .venv and run the tests                      (make test ARGS="-k digits")
# make test-long   the tests that take minutes, which make test leaves out
# make bench    set up .venv and run the benchmarks, on a machine that does nothing else
# make lint     ruff and mypy
# make docs     set up .venv and build the documentation into site/
# make clean    remove everything that these made, except runs/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test test-long bench lint docs clean
.DELETE_ON_ERROR:

train: $(VENV)/examples.installed
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python examples/digits.py $(ARGS)

test: $(VENV)/test.installed
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-long: $(VENV)/test.installed
	@$(BIN)/python -m pytest -m long $(ARGS)

bench: $(VENV)/test.installed
	@for benchmark in $(filter-out benchmarks/measuring.py,$(wildcard benchmarks/*.py)); do \
		TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python $$benchmark || exit; \
	done

lint: $(VENV)/test.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/docs.installed
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet $(ARGS)

clean:
	rm -rf $(VENV) site build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit("hookrun needs Python 3.10 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# examples.installed, test.installed, docs.installed: the package with the extras of that name. Made again when its metadata changes.
$(VENV)/%.installed: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing hookrun[$*] into $(VENV) (TensorFlow is large: the first time takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[$*]'
	@touch $@
