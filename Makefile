# ZPROXY_BUILD (release, debug, sanitize; see setup.py) picks the build, and with it a virtual environment of its own.
PYTHON ?= python3
ZPROXY_BUILD ?= release
FUZZ_SECONDS ?= 60
export ZPROXY_BUILD
VENV := .venv$(addprefix -,$(filter-out release,$(ZPROXY_BUILD)))
BIN := $(VENV)/bin
SOURCES := $(shell find zproxy -name '*.py' -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd')

ifeq ($(ZPROXY_BUILD),sanitize)
# CPython is not instrumented, so the runtimes are loaded first; libstdc++ too, because they look for its throw only
# then. CPython's own leaks are not ours: the relay counts its blocks itself. A small quarantine, because tests watch
# resident memory: pooled memory is poisoned on its own, see relay/checks.pxd.
RUNTIMES := $(foreach name,libasan.so libubsan.so libstdc++.so.6,$(shell $(CC) -print-file-name=$(name)))
TESTED := env LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=8 UBSAN_OPTIONS=print_stacktrace=1
endif

.PHONY: dev demo test debug sanitize fuzz simulate bench lint

$(VENV)/installed: pyproject.toml setup.py $(SOURCES)
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q '.[dev]'
	touch $@

dev: $(VENV)/installed

demo: $(VENV)/installed
	$(BIN)/zproxy demo $(ARGUMENTS)

test: $(VENV)/installed
	$(TESTED) $(BIN)/pytest -n auto --dist worksteal $(ARGUMENTS)

debug sanitize:
	$(MAKE) test ZPROXY_BUILD=$@

fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)
	$(MAKE) test ZPROXY_BUILD=sanitize ARGUMENTS="--hypothesis-profile=fuzz tests/protocol tests/unit"

simulate: $(VENV)/installed
	$(BIN)/python -m tests.simulation $(ARGUMENTS)

bench: $(VENV)/installed
	$(BIN)/python -m bench $(BENCH)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/mypy zproxy tests examples docs bench
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint zproxy tests/fuzz
