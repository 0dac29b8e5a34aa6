# `make demo` and `make test` do all of their set-up on a machine that has Python (3.11 or newer) and pip only.
# Both are safe to run twice: what is there already is not made again.

PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
DEMO := .venv-demo

export TF_CPP_MIN_LOG_LEVEL = 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint clean

demo: $(DEMO)/ready
	$(DEMO)/bin/attnscope demo --force

test: $(VENV)/ready $(OLDEST)/ready
	VENV=$(VENV) OLDEST=$(OLDEST) bash tests/run_all.sh

lint: $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

# Python compiles what it imports, and keeps it; compiling every file of every package beforehand takes longer.
$(DEMO)/ready: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --no-compile --editable ".[jax,demo]"
	touch $@

# PyTorch is pinned for the tests alone: its newest release on the registry is built for CUDA and takes gigabytes.
$(VENV)/ready: pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --no-compile torch==2.13.0
	$(VENV)/bin/pip install --quiet --no-compile --requirement tests/requirements.txt
	touch $@

# The oldest Keras that is supported, over the packages of the first environment.
$(OLDEST)/ready: $(VENV)/ready
	$(PYTHON) -m venv $(OLDEST)
	$(VENV)/bin/python -c "import site; print(site.getsitepackages()[0])" \
		> "$$($(OLDEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/newest.pth"
	$(OLDEST)/bin/pip install --quiet --no-compile --no-deps --ignore-installed keras==3.13.2
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache
