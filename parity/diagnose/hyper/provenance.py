"""Where a declared value came from, and the line to write instead."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from parity.model import ObjectInfo
from parity.trace import Trace

_FRAMEWORKS = {"torch": "PyTorch", "mindspore": "MindSpore", "tensorflow": "TensorFlow"}

_LONGEST = 60
"""Characters of an expression that a message shows."""


class Constructed(Protocol):
    """A layer or another object with the place and the arguments of its construction."""

    @property
    def file(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...
    @property
    def arguments(self) -> dict[str, Any]: ...
    @property
    def given(self) -> list[str]: ...
    @property
    def code(self) -> str | None: ...


def configurations(trace: Trace) -> list[ObjectInfo]:
    """What a script read its settings from."""
    return [info for info in trace.objects if info.kind == "config"]


def origin(made: Constructed, name: str, framework: str, configured: Sequence[ObjectInfo] = ()) -> str:
    """Tells who chose an argument: the script at a line (by an option or a configuration file), or the framework.

    Args:
        made: What has the argument.
        name: The argument.
        framework: Whose default it is where the script does not give it.
        configured: What the script read its settings from.
    """
    if name in made.given:
        text = f"given at {made.file}:{made.line}" if made.file else "given in the script"
        value = _passed(made.code, list(made.arguments), name)
        words = ast.unparse(value) if value is not None else ""
        known = _configured(value, made.arguments.get(name), configured)
        return (f"{text} as {words}" if words and len(words) <= _LONGEST else text) + (f", {known}" if known else "")
    return f"{_FRAMEWORKS.get(framework, framework)}'s default"


def _passed(code: str | None, arguments: list[str], name: str) -> ast.expr | None:
    """What stands for an argument in the call, where it is no plain value: a variable, an option, a formula."""
    try:
        call = ast.parse(code or "", mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call) or any(isinstance(a, ast.Starred) for a in call.args):
        return None
    values = {**dict(zip(arguments, call.args, strict=False)), **{k.arg: k.value for k in call.keywords if k.arg}}
    value = values.get(name)
    try:
        ast.literal_eval(ast.unparse(value) if value is not None else "None")
    except (ValueError, SyntaxError):
        return value
    return None


def _configured(value: ast.expr | None, held: Any, configured: Sequence[ObjectInfo]) -> str:
    """Which option or which file an expression such as `args.lr` or `config["optim"]["lr"]` reads."""
    keys = _keys(value) if value is not None else []
    for start in range(1, len(keys)):
        for info in sorted(configured, key=lambda info: info.name != keys[start - 1]):
            at: Any = info.arguments
            for key in keys[start:]:
                at = at.get(key) if isinstance(at, dict) else None
            if at is None or at != held:
                continue
            if info.type != "argparse":
                return f"from {info.type}"
            return "a command-line option" + ("" if keys[start] in info.given else " at its default")
    return ""


def _keys(value: ast.expr) -> list[str]:
    """The parts of a chain of attributes and items, empty for anything else: `args.lr` is `args`, `lr`."""
    if isinstance(value, ast.Name):
        return [value.id]
    if isinstance(value, ast.Attribute):
        before, key = _keys(value.value), value.attr
    elif isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        before, key = _keys(value.value), str(value.slice.value)
    else:
        return []
    return [*before, key] if before else []


def shown(value: Any) -> str:
    """A value as a person writes it: float32's 0.10000000149011612 is 0.1."""
    return repr(tidy(value))


def tidy(value: Any) -> Any:
    """A number that went through float32 in the fewest digits that name it; lists item by item."""
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    finite = isinstance(value, float) and abs(value) < 3e38
    if finite and abs(float(np.float32(value)) - value) <= 1e-9 * abs(value):
        return float(str(np.float32(value)))
    return float(f"{value:.12g}") if finite else value


def rewritten(code: str | None, arguments: list[str], change: str) -> str:
    """A constructor's call with some arguments changed.

    Args:
        code: The call as the script has it, None where that is not known.
        arguments: The names of all its arguments, in the signature's order.
        change: What to write, as `name=value, ...`.

    Returns:
        The new call; `change` itself where the call cannot be rewritten.
    """
    try:
        call = ast.parse(code or "", mode="eval").body
        new = ast.parse(f"f({change})", mode="eval").body
    except SyntaxError:
        return change
    if not isinstance(call, ast.Call) or not isinstance(new, ast.Call) or new.args:
        return change
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return change
    names = {k.arg for k in new.keywords}
    given = dict(zip(arguments, call.args, strict=False))
    drop = {"keep_prob"} if "p" in names else set()
    kept = {name: value for name, value in given.items() if name not in names | drop}
    first = next((i for i, name in enumerate(given) if name not in kept), len(given))
    call.args = list(kept.values())[:first]
    by_name = [ast.keyword(name, value) for name, value in list(kept.items())[first:]]
    call.keywords = by_name + [k for k in call.keywords if k.arg not in names | drop] + new.keywords
    return ast.unparse(ast.fix_missing_locations(call))
