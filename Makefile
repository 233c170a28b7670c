PYTHON ?= python3
BIN := .venv/bin

.PHONY: dev test lint

.venv/installed: pyproject.toml setup.py $(shell find zproxy -name '*.py' -o -name '*.pyx' -o -name '*.pxd')
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q '.[dev]'
	touch $@

dev: .venv/installed

test: .venv/installed
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy --strict zproxy
