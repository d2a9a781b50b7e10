"""Where a script's own files put a model into train and into evaluation mode, by their text."""

from __future__ import annotations

import ast
import sys

from parity.capture.source import Source, parsed

_EVALUATES = frozenset(["predict", "fit"])
"""Methods of `mindspore.train.Model` that choose the mode themselves."""


def mode_calls(source: Source) -> dict[str, tuple[str, int]]:
    """The first call of each kind, as file and line: `train` and `eval`; a kind that no file has is left out.

    A mode that the text does not tell (`set_train(mode)`) counts as both.

    Args:
        source: Which files are the script's own.
    """
    found: dict[str, tuple[str, int]] = {}
    files = [str(source.script), *(str(getattr(module, "__file__", "")) for module in list(sys.modules.values()))]
    for file in dict.fromkeys(files):
        near = file.startswith(str(source.folder)) and file.endswith(".py")
        name = source.own(file) if near else None
        if name is None:
            continue
        tree = parsed(file)
        if tree is None:
            continue
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
        for call in sorted(calls, key=lambda call: call.lineno):
            for kind in _kinds(call):
                found.setdefault(kind, (name, call.lineno))
    return found


def _kinds(call: ast.Call) -> tuple[str, ...]:
    assert isinstance(call.func, ast.Attribute)
    method = call.func.attr
    if method == "eval" or method in _EVALUATES:
        return ("eval",)
    if method not in ("train", "set_train"):
        return ()
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not given:
        return ("train",)
    if isinstance(given[0], ast.Constant) and isinstance(given[0].value, bool):
        return ("train",) if given[0].value else ("eval",)
    return ("train", "eval")
