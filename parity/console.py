"""What goes to standard error while scripts run: their own output, and progress where somebody watches."""

from __future__ import annotations

import sys

FORWARDED = 4 * 2**20
"""Bytes of each script's output that are forwarded; what comes later is dropped, and that is said once."""


class Console:
    """Writes to standard error; a reader that has gone away is no reason to stop.

    Args:
        verbose: Show progress even where standard error is no terminal.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._stream = sys.stderr
        self._progress = verbose or (self._stream is not None and self._stream.isatty())
        self._left = FORWARDED
        self._begun = ""
        self._interrupted = False
        self._line_open = False

    def begin(self, what: str) -> None:
        """A phase begins: `capturing reference`."""
        self._left = FORWARDED
        self._begun, self._interrupted = what, False
        if self._progress:
            self._write(f"{what} ... ".encode())

    def end(self, how: str) -> None:
        """It has ended: `3 steps, 2.1 s`."""
        if self._progress:
            again = f"{self._begun} ... " if self._interrupted else ""
            self._fresh_line(self._interrupted)
            self._write(f"{again}{how}\n".encode())
        self._begun = ""

    def forward(self, chunk: bytes) -> None:
        """A piece of a script's own output."""
        if self._left <= 0:
            return
        self._fresh_line(bool(self._begun) and not self._interrupted and self._progress)
        self._interrupted = True
        self._write(chunk[: self._left])
        self._left -= len(chunk)
        if self._left <= 0:
            self._fresh_line(True)
            self._write(b"[parity: the script prints on; no more of it is shown]\n")

    def say(self, text: str) -> None:
        """A message of parity's own, on a line of its own."""
        self._fresh_line(True)
        self._write(f"{text}\n".encode("utf-8", "backslashreplace"))

    def _fresh_line(self, wanted: bool) -> None:
        if wanted and self._line_open:
            self._write(b"\n")

    def _write(self, data: bytes) -> None:
        if not data or self._stream is None:
            return
        self._line_open = not data.endswith(b"\n")
        try:
            buffer = getattr(self._stream, "buffer", None)
            if buffer is not None:
                self._stream.flush()
                buffer.write(data)
            else:
                self._stream.write(data.decode("utf-8", "replace"))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None
