"""How often the loop goes round that a data loader is read in, as the script has it while it runs."""

from __future__ import annotations

import ast
import sys
from types import FrameType
from typing import Any, NamedTuple

from parity.capture.source import Source, parsed

_OPERATIONS: dict[type[ast.operator], Any] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}  # fmt: skip


class Loop(NamedTuple):
    """A loop over a range: its line, how many rounds it has, and the expression that says so."""

    file: str
    line: int
    rounds: int
    code: str


class _Unknown(Exception):
    """An expression that is no plain number in its frame."""


def epochs(source: Source) -> Loop | None:
    """The only loop over a `range` around the loop that reads a loader just now; None where it cannot be told.

    The range is read from the running frames, and believed where the loop's variable has its first value.
    """
    found: list[Loop] = []
    reading = False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = source.own(frame.f_code.co_filename)
        if file is not None:
            loops = _around(frame)
            if not reading and not (loops and _fetches(loops[-1], frame.f_lineno)):
                return None  # batches are drawn one by one, or inside the framework
            for loop in loops if reading else loops[:-1]:
                known = _ranged(loop, frame, file)
                if known is None:
                    return None
                found.append(known)
            reading = True
        frame = frame.f_back
    return found[0] if len(found) == 1 else None


def looping(source: Source) -> bool:
    """Whether the script is in a loop of its own just now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if source.own(frame.f_code.co_filename) is not None and _around(frame):
            return True
        frame = frame.f_back
    return False


def _fetches(loop: ast.stmt, line: int) -> bool:
    """Whether a loop is at its first line, where it gets the next item."""
    return isinstance(loop, ast.For) and loop.lineno <= line <= (loop.iter.end_lineno or loop.lineno)


def _around(frame: FrameType) -> list[ast.stmt]:
    """The loops of a frame's own function that are under way, the outermost first."""
    loops: list[ast.stmt] = []
    inside: ast.AST | None = parsed(frame.f_code.co_filename)
    while inside is not None:
        node, line = inside, frame.f_lineno
        children = [n for n in ast.iter_child_nodes(node) if isinstance(n, (ast.stmt, ast.ExceptHandler))]
        inside = next((n for n in children if n.lineno <= line <= (n.end_lineno or 0)), None)
        if isinstance(inside, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            loops.clear()
        elif isinstance(inside, (ast.For, ast.While)):
            loops.append(inside)
    return loops


def _ranged(loop: ast.stmt, frame: FrameType, file: str) -> Loop | None:
    """A loop over a range in numbers."""
    call = loop.iter if isinstance(loop, ast.For) else None
    while isinstance(call, ast.Call) and call.args and _name(call) in ("tqdm", "track"):
        call = call.args[0] if isinstance(call.args[0], ast.Call) else None
    if not isinstance(call, ast.Call) or _name(call) not in ("range", "trange") or not call.args:
        return None
    if not isinstance(loop, ast.For) or not isinstance(loop.target, ast.Name):
        return None
    try:
        rounds = range(*(_number(argument, frame) for argument in call.args))
    except (_Unknown, TypeError, ValueError):
        return None
    names = frame.f_locals if loop.target.id in frame.f_locals else frame.f_globals
    if not rounds or names.get(loop.target.id) != rounds[0]:
        return None
    return Loop(file, loop.lineno, len(rounds), ast.unparse(call))


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _number(node: ast.expr, frame: FrameType) -> int:
    value = _value(node, frame)
    if type(value) is not int:
        raise _Unknown
    return value


def _value(node: ast.expr, frame: FrameType) -> Any:
    """What a constant, a variable, an attribute, an item or a sum of them is; nothing is called.

    Raises:
        _Unknown: It is something else.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        for scope in (frame.f_locals, frame.f_globals):
            if node.id in scope:
                return scope[node.id]
    elif isinstance(node, ast.Attribute):
        held = getattr(_value(node.value, frame), "__dict__", {})
        if node.attr in held:
            return held[node.attr]
    elif isinstance(node, ast.Subscript):
        holder, key = _value(node.value, frame), _value(node.slice, frame)
        if type(holder) is dict and isinstance(key, (str, int)) and key in holder:
            return holder[key]
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        try:
            return _OPERATIONS[type(node.op)](_number(node.left, frame), _number(node.right, frame))
        except ZeroDivisionError:
            raise _Unknown from None
    raise _Unknown
