"""Finding the application that the command line names: "module:attribute", "module:factory()"."""

from __future__ import annotations

import importlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable
    from typing import Any

DEFAULT_ATTRIBUTES = ("application", "app")


class ApplicationError(Exception):
    """The application cannot be loaded; the text says why and what to do. Its cause is what the
    application has raised; without one, it is not there."""


def load(target: str) -> Callable[..., Any]:
    """The application that `target` names. Raises ApplicationError."""
    module_name, _, expression = target.partition(":")
    if not module_name:
        raise ApplicationError(
            f"{target!r} names no module: write module:attribute, for example mysite.wsgi"
        )
    application = _evaluate(_import(module_name), module_name, expression)
    if not callable(application):
        kind = type(application).__name__
        raise ApplicationError(
            f"{target} is not a WSGI application: it is not callable, but of type {kind}"
        )
    found: Callable[..., Any] = application
    return found


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ApplicationError(
                f"there is no module {error.name!r}{_near_module(error.name)}"
            ) from None
        raise ApplicationError(_failure(f"module {name!r} cannot be imported", error)) from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ApplicationError(_failure(f"module {name!r} cannot be imported", error)) from error


def _failure(what: str, error: BaseException) -> str:
    """The traceback without the frames that are not the application's, and one clear line."""
    import traceback

    own = (os.path.dirname(__file__), os.path.dirname(importlib.__file__))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(own) and "importlib" not in frame.filename
    ]
    lines = (
        ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    )
    lines += traceback.format_exception_only(type(error), error)
    return "".join(lines) + what + f": {type(error).__name__}: {error}"


def _near_module(name: str) -> str:
    """Names like it that could be imported, from the folder of its package or the application's."""
    import difflib
    import importlib.util
    import pkgutil

    parent, _, last = name.rpartition(".")
    if parent:
        spec = importlib.util.find_spec(parent)
        folders = list(spec.submodule_search_locations or []) if spec else []
    else:
        folders = [sys.path[0] or "."]
    names = [module.name for module in pkgutil.iter_modules(folders)]
    near = difflib.get_close_matches(last, names, n=3, cutoff=0.5)
    prefix = f"{parent}." if parent else ""
    hint = f"; did you mean {' or '.join(prefix + found for found in near)}?" if near else ""
    return f" in {', '.join(os.path.abspath(folder) for folder in folders)}{hint}"


def _evaluate(module: Any, name: str, expression: str) -> Any:
    if not expression:
        for attribute in DEFAULT_ATTRIBUTES:
            if hasattr(module, attribute):
                return getattr(module, attribute)
        raise ApplicationError(
            f"module {name!r} has no attribute 'application' or 'app': write {name}:ATTRIBUTE"
            + _near_attribute(module, "application")
        )
    path = expression.split(".")
    if all(part.isidentifier() for part in path):
        return _attribute(module, name, path)
    import ast

    try:
        node = ast.parse(expression, mode="eval").body
        if isinstance(node, ast.Call):
            arguments = [ast.literal_eval(argument) for argument in node.args]
            keywords = {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in node.keywords
                if keyword.arg
            }
            factory = _attribute(module, name, _dotted(node.func))
            return _call(factory, f"{name}:{expression}", arguments, keywords)
        raise ValueError(expression)
    except (SyntaxError, ValueError):
        raise ApplicationError(
            f"{expression!r} is neither an attribute nor a call with plain values: "
            f"write {name}:application or '{name}:create_app()'"
        ) from None


def _dotted(node: ast.expr) -> list[str]:
    import ast

    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [*_dotted(node.value), node.attr]
    raise ValueError(node)


def _attribute(module: Any, name: str, path: list[str]) -> Any:
    found = module
    for attribute in path:
        try:
            found = getattr(found, attribute)
        except AttributeError:
            hint = _near_attribute(found, attribute)
            raise ApplicationError(
                f"module {name!r} has no attribute {'.'.join(path)!r}{hint}"
            ) from None
    return found


def _near_attribute(owner: Any, attribute: str) -> str:
    import difflib

    names = [
        name
        for name in dir(owner)
        if not name.startswith("_") and callable(getattr(owner, name, None))
    ]
    near = difflib.get_close_matches(attribute, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _call(factory: Any, target: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    if not callable(factory):
        raise ApplicationError(
            f"{target}: it is not callable, but of type {type(factory).__name__}"
        )
    try:
        return factory(*arguments, **keywords)
    except Exception as error:
        raise ApplicationError(_failure(f"{target} failed", error)) from error
