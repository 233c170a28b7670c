"""The stubs of the compiled modules say what is there: same classes, same methods, same parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import zproxy

PACKAGE = Path(zproxy.__file__).parent
MODULES = sorted(
    ".".join(("zproxy", *path.relative_to(PACKAGE).with_name(path.name.split(".")[0]).parts))
    for path in PACKAGE.rglob("*.so")
)


def stub_of(module: str) -> ast.Module | None:
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".pyi")
    return ast.parse(path.read_text()) if path.exists() else None


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__len__")


def defined_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Classes, functions and annotated names of a stub's body."""
    found: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            found[statement.name] = statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = statement
    return found


def own_names(module: ModuleType) -> set[str]:
    """Public classes and functions that the module itself defines."""
    return {
        name
        for name, value in vars(module).items()
        if is_public(name) and getattr(value, "__module__", None) == module.__name__
    }


def parameters(function: ast.FunctionDef) -> list[str]:
    spoken = function.args
    return [each.arg for each in (*spoken.posonlyargs, *spoken.args, *spoken.kwonlyargs) if each.arg != "self"]


def runtime_parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", MODULES)
def test_what_python_can_reach_is_in_the_stub(name: str) -> None:
    stub = stub_of(name)
    in_stub = set(defined_names(stub.body)) if stub else set()
    assert own_names(importlib.import_module(name)) - in_stub == set()


@pytest.mark.parametrize("name", MODULES)
def test_what_the_stub_says_is_there(name: str) -> None:
    module = importlib.import_module(name)
    stub = stub_of(name)
    for word, statement in defined_names(stub.body if stub else []).items():
        assert hasattr(module, word), f"{name} has no {word}"
        if isinstance(statement, ast.ClassDef) and not statement.bases:
            assert_same_class(statement, getattr(module, word))


def assert_same_class(stub: ast.ClassDef, runtime: type) -> None:
    in_stub = defined_names(stub.body)
    at_runtime = {name for name, value in vars(runtime).items() if is_public(name) and value is not None}
    assert set(in_stub) - {"__init__"} == at_runtime - {"__init__"}, f"members of {stub.name}"
    for word, statement in in_stub.items():
        member = inspect.getattr_static(runtime, word)
        is_property = inspect.isgetsetdescriptor(member) or isinstance(member, property)
        assert isinstance(statement, ast.FunctionDef)
        says_property = any(isinstance(each, ast.Name) and each.id == "property" for each in statement.decorator_list)
        assert says_property == is_property, f"{stub.name}.{word}"
        if not is_property and word not in ("__init__", "__len__"):
            assert parameters(statement) == runtime_parameters(getattr(runtime, word)), f"{stub.name}.{word}"


def test_stubs_are_compared_at_all() -> None:
    assert {"InboxProbe"} <= own_names(importlib.import_module("zproxy.relay.inbox"))
    assert {"Relay", "Event"} <= own_names(importlib.import_module("zproxy._relay"))
    assert len(MODULES) > 15
