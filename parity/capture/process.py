"""A process of its own group: forwards what it prints, ends it in time, and leaves nothing of it behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from parity.errors import UsageError

Log = Callable[[bytes], None]
"""Takes what a script prints, in pieces as they come."""

GRACE = 3.0
"""Seconds that an interrupted process has to write down what it has captured, before it is killed."""

MARK = "PARITY_RUN"
"""The environment variable by which all processes of one run are known."""

_TAIL = 4000


class Tail:
    """Hands on what a script prints, and remembers its end."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.text = b""

    def __call__(self, chunk: bytes) -> None:
        self.text = (self.text + chunk)[-_TAIL:]
        self.log(chunk)

    def last_line(self) -> str:
        """The last line that was printed, or nothing."""
        lines = self.text.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def run(command: list[str], environment: dict[str, str], cwd: Path, timeout: float, log: Log) -> int | None:
    """Runs a command in a process group of its own, of which nothing is left afterwards; None where time ran out."""
    try:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"{command[0]} cannot be started in {cwd}: {error.strerror}") from None
    guard = _guard(process)
    mark = f"{MARK}={environment[MARK]}".encode() if MARK in environment else None
    try:
        if _forward(process, timeout, log):
            return process.returncode
        _interrupt(process)
        return None
    except BaseException:
        _interrupt(process)
        raise
    finally:
        _kill_group(process)
        if guard is not None:
            guard.kill()
            guard.communicate()
        process.wait()
        if mark is not None:
            _kill_marked(mark)
        if process.stdout is not None:
            process.stdout.close()


def _guard(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes] | None:
    """Ends the process's group when this process is killed and cannot do it: a shell that waits for its pipe to close.

    None where there is no shell.
    """
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "-$0"', str(process.pid)], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return None


def _forward(process: subprocess.Popen[bytes], seconds: float, log: Log) -> bool:
    """Hands on what the process prints until it has ended; False where the seconds are over first."""
    assert process.stdout is not None
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if ended:
                _kill_group(process)  # what it leaves behind may hold the pipe open for ever
            elif time.monotonic() > end:
                return False
            wait = 0.0 if ended else min(0.1, max(0.0, end - time.monotonic()))
            if not selector.get_map():
                time.sleep(wait / 10)
            elif selector.select(wait):
                chunk = os.read(process.stdout.fileno(), 65536)
                if chunk:
                    log(chunk)
                    continue
                selector.unregister(process.stdout)
            if ended:
                return True


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to end, so that its trace is readable up to here."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        _forward(process, GRACE, lambda _: None)


def _kill_marked(mark: bytes) -> None:
    """Kills what has left the group (a daemon, a session of its own): it still carries the mark in its environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # it has gone, or is another user's


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it has gone; macOS says EPERM of a group of zombies
