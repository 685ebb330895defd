# Everything here makes its own environment in .venv; Debian packages that are missing are installed when the user is
# root, and named when not.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := docker-registry skopeo umoci runc podman docker.io containerd buildah busybox-static curl git gcc libc6-dev openssl iproute2 openssh-client passt slirp4netns uidmap mmdebstrap libcap2-bin

.PHONY: demo test endure check bench links clean faults

demo: $(VENV)/.ready
	@./demo/run $(BIN)

test: $(VENV)/.ready links
	@./demo/packages $(PACKAGES)
	@$(BIN)/ruff check .
	@MYPYPATH=build/links $(BIN)/mypy -p pybuild
	@$(BIN)/pytest $(TESTS)

# What the tests do with accidents, for longer: 200 processes killed each time, builds beside a prune for three minutes, and
# stores damaged in 100 places each time.
endure: $(VENV)/.ready
	@./demo/packages $(PACKAGES)
	@PYBUILD_KILLS=200 PYBUILD_SECONDS=180 PYBUILD_DAMAGES=100 $(BIN)/pytest -s -o faulthandler_timeout=0 tests/e2e/test_accidents.py tests/e2e/test_corruption.py

check: $(VENV)/.ready links
	@$(BIN)/ruff check .
	@MYPYPATH=build/links $(BIN)/mypy -p pybuild

# Measured as users have it: an editable install starts slower.
bench: $(VENV)/.ready
	@./demo/packages $(PACKAGES)
	@$(PYTHON) -m venv build/bench
	@build/bench/bin/pip install --quiet --upgrade .
	@env -u PYTHONDONTWRITEBYTECODE build/bench/bin/python -m benchmarks $(WORKLOADS)

# Pushes and pulls over a way that drops, cuts, corrupts and lies: 1,000 scripts by chance.
faults: $(VENV)/.ready
	@./demo/packages $(PACKAGES)
	@cd tests && ../$(BIN)/python -m real.fault_scripts $(or $(SCRIPTS),1000)

# mypy and editors find the packages through links, as an import finds them through package-dir.
links:
	@mkdir -p build/links/pybuild
	@for folder in builder containers grammar registry; do ln -sfn ../../../$$folder build/links/pybuild/$$folder; done
	@for item in $(wildcard pybuild/*); do ln -sfn ../../../$$item build/links/pybuild/$$(basename $$item); done

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("pybuild needs Python 3.11 or newer: make PYTHON=...")'
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { ./demo/packages python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/pip install -qq --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
