"""Runs a user's script as `__main__`, as `python script.py` or `python -m` would, and tells how it ended."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.capture.session import StopRun
from parity.capture.source import package_of
from parity.errors import ParityError

SEED = 1
"""Every pass starts from this seed; what the script itself seeds comes later and wins."""


class ImportHook(importlib.abc.MetaPathFinder):
    """Calls `ready[name]()` when the module `name` has just been imported."""

    def __init__(self, ready: dict[str, Callable[[], None]]) -> None:
        self.ready = ready

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name not in self.ready:
            return None
        callback = self.ready.pop(name)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            run(module)
            callback()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def on_import(ready: dict[str, Callable[[], None]]) -> None:
    """Arranges that `ready[name]()` is called after the first import of `name`."""
    sys.meta_path.insert(0, ImportHook(ready))


class Outcome:
    """How a script ended: `stopped` by parity, `ended` by itself, `exited` with a code, or `failed`."""

    def __init__(self, kind: str, text: str = "", error: str = "") -> None:
        self.kind = kind
        self.text = text
        self.error = error


def _raised_here(error: BaseException) -> bool:
    """Whether an error came from parity's own code, and not from a script that raises one of parity's."""
    here = str(Path(__file__).resolve().parents[1])
    return os.path.abspath(traceback.extract_tb(error.__traceback__)[-1].filename).startswith(here)


def _script_traceback(error: BaseException, script: Path) -> str:
    """The traceback from the script's first own frame on, without the frames of parity around and between."""
    here = str(Path(__file__).resolve().parents[1])
    stack = traceback.extract_tb(error.__traceback__)
    shown = [frame for frame in stack if not os.path.abspath(frame.filename).startswith(here)]
    lines = traceback.format_list(shown) + traceback.format_exception_only(type(error), error)
    return "Traceback (most recent call last):\n" + "".join(lines)


def run_script(script: Path, args: list[str], seeders: list[Callable[[int], None]], seed: int = SEED) -> Outcome:
    """Runs the script once in this process.

    Args:
        script: Path of the `.py` file.
        args: Its command-line arguments.
        seeders: Functions that seed the frameworks imported so far.
        seed: What all generators start from.
    """
    root, package = package_of(script)
    _forget_local_modules(str(root))
    random.seed(seed)
    np.random.seed(seed)
    for seeder in seeders:
        seeder(seed)
    module = types.ModuleType("__main__")
    module.__file__ = str(script)
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    if package is not None:
        module.__package__ = package
        module.__spec__ = importlib.util.spec_from_file_location(f"{package}.{script.stem}", script.resolve())
    before = _State()
    sys.modules["__main__"] = module
    sys.argv = [str(script), *args]
    sys.path.insert(0, str(script.resolve().parent if package is None else root.parent))
    if package is None and (root / "__init__.py").is_file():
        sys.path.append(str(root.parent))  # where `python -m` would have found the script's own package
    sys.dont_write_bytecode = True  # nothing of a run stays in the script's folder, also where workers import it
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    outcome = Outcome("ended")
    try:
        code = compile(script.read_bytes(), str(script.resolve()), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except StopRun:
        outcome = Outcome("stopped")
    except SystemExit as exit:
        code_ = exit.code
        failed = code_ not in (None, 0)
        outcome = Outcome("failed" if failed else "ended", f"the script called sys.exit({code_!r})" if failed else "")
    except KeyboardInterrupt:
        outcome = Outcome("interrupted")
    except BaseException as error:  # the script's own failure, whatever it is, is shown as the script's
        if isinstance(error, ParityError) and _raised_here(error):
            raise
        outcome = Outcome("failed", _script_traceback(error, script)[-LONGEST:], _summary(error))
    finally:
        before.restore()
        _HELD.append(module)
    return outcome


LONGEST = 20_000
"""Characters of a traceback that are kept: its end."""


def _summary(error: BaseException) -> str:
    """Type and message in one line; some messages cannot even be made."""
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # its own __str__ fails
        return type(error).__name__


class _State:
    """What a script may change of its process, so that the next pass starts as this one did."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.main, self.argv, self.path = sys.modules["__main__"], sys.argv, list(sys.path)
        self.folder, self.variables = os.getcwd(), dict(os.environ)
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.hooks = (sys.excepthook, sys.displayhook, sys.getrecursionlimit())
        self.handlers = {number: signal.getsignal(number) for number in _HANDLED}

    def restore(self) -> None:
        """Takes it back. A process that the script forked, and that came to the script's end, ends here."""
        if os.getpid() != self.process:
            os._exit(0)
        sys.modules["__main__"], sys.argv = self.main, self.argv
        sys.path[:] = self.path
        try:
            os.chdir(self.folder)
        except OSError:
            pass  # the script removed it
        for name in os.environ.keys() - self.variables.keys():
            del os.environ[name]
        os.environ.update(self.variables)
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        _KEPT.append((sys.stdin, sys.stdout, sys.stderr))
        sys.stdin, sys.stdout, sys.stderr = self.streams
        _reopen()
        sys.excepthook, sys.displayhook = self.hooks[:2]
        sys.setrecursionlimit(self.hooks[2])
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except Exception:  # closed, without a reader, or the script's own object
        pass


def _reopen() -> None:
    """Opens standard streams again that a script has closed; what is then printed goes nowhere."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(number, "w", closefd=False, errors="backslashreplace"))  # noqa: SIM115


def tell(text: str) -> None:
    """A line of parity's own on standard error, whatever the script has done to `sys.stderr`."""
    try:
        os.write(2, f"[parity: {text}]\n".encode())
    except OSError:
        pass


_KEPT: list[tuple[Any, ...]] = []
"""The streams that scripts have put in the place of the standard ones: theirs to close."""

_HELD: list[types.ModuleType] = []
"""Script modules stay alive: what hangs below them (workers, optimizers) may run finalizers that need them."""


def _forget_local_modules(folder: str) -> None:
    """Unloads modules of the script's own folder, so that a second pass starts as the first one did."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "site-packages" in file or name.partition(".")[0] in ("__main__", "parity"):
            continue
        if os.path.realpath(file).startswith(folder + os.sep):
            del sys.modules[name]


class silence:
    """Sends what the script prints in the further passes to nowhere: it was shown in the first."""

    def __enter__(self) -> None:
        _reopen()
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        self.saved = [os.dup(1), os.dup(2)]
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        for target, saved in zip((1, 2), self.saved, strict=True):
            os.dup2(saved, target)
            os.close(saved)
