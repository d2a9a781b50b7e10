"""Scripts that do what no script should: each ends with its own message, and nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import TRAINS, Done, Parity

from parity.model import CallEvent
from parity.trace import Trace


def failing(parity: Parity, script: str | bytes, *words: str) -> Done:
    """Captures a script that cannot be captured; parity says so, and shows no traceback of its own."""
    path = parity.folder / "ref.py"
    path.write_bytes(script if isinstance(script, bytes) else script.encode("utf-8", "surrogateescape"))
    done = parity("capture", "ref.py", "-o", "x.trace", "--format", "json", *words)
    assert done.code == 2
    assert done.document["error"]["side"] == "reference"
    assert done.document["error"]["hint"]
    assert "parity/" not in done.document["error"]["message"]
    assert "parity itself failed" not in done.err
    return done


def gone(pid: int) -> bool:
    """Whether a process has ended, waiting for it a little."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text().strip()
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "slug", "part"),
        [
            ("x = bytearray(2**55)", "script-failed", "MemoryError"),
            ("raise SystemExit('out of data')", "script-failed", "out of data"),
            ("raise SystemExit(2**40)", "script-failed", "1099511627776"),
            ("raise SystemExit(0)", "no-model-called", "never imported"),
            ("raise KeyboardInterrupt", "script-failed", "interrupted"),
            ("class Odd(BaseException): pass\nraise Odd('odd')", "script-failed", "odd"),
            ("class Odd(Exception):\n def __str__(self): raise ValueError\nraise Odd", "script-failed", "Odd"),
            ("raise ValueError('x' * 10**8)", "script-failed", "xxxxxxxx"),
            ("raise ValueError('\\ud800 \\x1b[31m')", "script-failed", "ValueError"),
            ("def f(): f()\nf()", "script-failed", "RecursionError"),
            ("raise ExceptionGroup('both', [ValueError(1), ValueError(2)])", "script-failed", "both"),
            ("input('your name? ')", "script-failed", "EOFError"),
            ("import os; os.abort()", "capture-failed", "SIGABRT"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGBUS)", "capture-failed", "SIGBUS"),
            ("import os; os._exit(65)", "capture-failed", ""),
            ("import os; os.killpg(0, 9)", "capture-failed", "memory"),
            ("import ctypes; ctypes.string_at(0)", "capture-failed", "SIGSEGV"),
            ("import sys; sys.stdout.close(); sys.stderr.close()", "no-model-called", "never imported"),
            ("import os; os.closerange(0, 3)", "no-model-called", "never imported"),
            ("import sys; sys.stdout = sys.stderr = None; print(1)", "no-model-called", "never imported"),
            ("import sys; sys.stdout = object()", "no-model-called", "never imported"),
            ("import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d')", "no-model-called", "never imported"),
            ("import sys; sys.excepthook = lambda *_: None\nraise ValueError('heard')", "script-failed", "heard"),
            ("import sys; sys.exit = None; sys.path.clear(); sys.argv = None\n1/0", "script-failed", "ZeroDivision"),
            ("import builtins; builtins.open = None\n1/0", "script-failed", "ZeroDivision"),
            (
                "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\nopen('x')",
                "capture-failed",
                "Too many",
            ),
            ("import threading\nthreading.Thread(target=threading.Event().wait).start()", "no-model-called", "never"),
            ("import atexit, time; atexit.register(time.sleep, 1000)", "no-model-called", "never"),
            ("import sys; sys.stdout.buffer.write(bytes(range(256)) * 100)\n1/0", "script-failed", "ZeroDivision"),
            ("from parity.errors import TraceError\nraise TraceError('mine')", "script-failed", "mine"),
            ("", "no-model-called", "never imported"),
            ("\ufeffprint(1)\n1/0", "script-failed", "ZeroDivision"),
            ("x = '\0'\n", "script-failed", "null bytes"),
            ("# coding: latin-1\n# \udcff\n1/0", "script-failed", "ZeroDivision"),
            ("# coding: no-such-coding\n1/0", "script-failed", "no-such-coding"),
            ("if True:\n\tx = 1\n        y = 2", "script-failed", "TabError"),
            ("return 1", "script-failed", "SyntaxError"),
            ("(" * 500 + ")" * 500, "script-failed", ""),
        ],
        ids=lambda value: repr(value)[:40] if isinstance(value, str) else "",
    )
    def test_each_has_its_message(self, parity: Parity, script: str, slug: str, part: str) -> None:
        error = failing(parity, script).document["error"]
        assert error["slug"] == slug
        assert part in error["message"]
        assert len(error["message"]) < 50_000

    def test_a_name_error_points_into_the_script(self, parity: Parity) -> None:
        error = failing(parity, "\n\nundefined\n").document["error"]
        assert 'ref.py", line 3' in error["message"]

    def test_a_script_that_ignores_the_time(self, parity: Parity) -> None:
        script = """
import signal, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
while True:
    time.sleep(1)
"""
        start = time.monotonic()
        error = failing(parity, script, "--timeout", "2").document["error"]
        assert error["slug"] == "script-timeout"
        assert time.monotonic() - start < 30

    def test_it_prints_without_end(self, parity: Parity) -> None:
        done = failing(parity, "while True: print('y' * 10000)", "--timeout", "3")
        assert done.document["error"]["slug"] == "script-timeout"
        assert len(done.err) < 5_000_000


class TestProcesses:
    def test_killing_parity_kills_its_children(self, parity: Parity) -> None:
        script = "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '1000'])\n"
        parity.write(
            "ref.py", script + "print(os.getpid(), child.pid, file=open('pids', 'w'), flush=True)\ntime.sleep(1000)"
        )
        with parity.start("capture", "ref.py", "-o", "x.trace") as process:
            pids = wait_for(parity.folder / "pids").split()
            process.kill()
        assert all(gone(int(pid)) for pid in pids)

    @pytest.mark.parametrize("ending", ["", "time.sleep(1000)"])
    def test_what_leaves_the_group(self, parity: Parity, ending: str) -> None:
        script = "import subprocess, time\nchild = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        parity.write("ref.py", f"{script}print(child.pid, file=open('pid', 'w'), flush=True)\n{ending}")
        assert parity("capture", "ref.py", "-o", "x.trace", "--timeout", "5").code == 2
        assert gone(int(wait_for(parity.folder / "pid")))

    def test_an_interrupted_capture(self, parity: Parity) -> None:
        parity.write(
            "ref.py", TRAINS.format(steps=2, after="open('done', 'w').write('1\\n'); import time; time.sleep(1000)")
        )
        with parity.start("capture", "ref.py", "-o", "x.trace", "--format", "json") as process:
            wait_for(parity.folder / "done")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "x.trace.partial" in json.loads(out)["error"]["hint"]
        assert Trace(parity.folder / "x.trace.partial").meta.steps == 1

    def test_an_interrupt_that_the_script_ignores(self, parity: Parity) -> None:
        script = "import os, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        parity.write("ref.py", script + "print(os.getpid(), file=open('pid', 'w'), flush=True)\ntime.sleep(1000)")
        with parity.start("compare", "ref.py", "ref.py", "--format", "json") as process:
            pid = int(wait_for(parity.folder / "pid"))
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(out)["error"]["slug"] == "interrupted"
        assert gone(pid)

    def test_two_interrupts(self, parity: Parity) -> None:
        parity.write(
            "ref.py", "import os, time\nprint(os.getpid(), file=open('pid', 'w'), flush=True)\ntime.sleep(1000)"
        )
        with parity.start("compare", "ref.py", "ref.py") as process:
            pid = int(wait_for(parity.folder / "pid"))
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT)
        assert gone(pid)

    @pytest.mark.parametrize("ending", ["sys.exit(0)", "raise ValueError", "os._exit(3)", "time.sleep(1000)"])
    def test_forks_that_go_on(self, parity: Parity, ending: str) -> None:
        """A forked copy of the script comes to its end by itself, or not at all: the trace is the parent's alone."""
        script = TRAINS.format(steps=3, after="")
        fork = f"import os, sys, time\nif os.fork() == 0:\n    {ending}\n"
        parity.write("ref.py", script.replace("for step", f"{fork}for step"))
        assert parity("capture", "ref.py", "-o", "x.trace", "--no-noise", "--timeout", "60").code == 0
        trace = Trace(parity.folder / "x.trace")
        assert (trace.meta.steps, trace.meta.complete) == (3, True)

    @pytest.mark.full
    def test_forks_that_train_too(self, parity: Parity) -> None:
        script = TRAINS.format(steps=3, after="").replace("for step", "import os\nos.fork()\nfor step")
        parity.write("ref.py", script)
        assert parity("capture", "ref.py", "-o", "x.trace", "--no-noise").code == 0
        calls = [event.id for event in Trace(parity.folder / "x.trace").of(CallEvent)]
        assert len(calls) == len(set(calls)) == 12

    @pytest.mark.parametrize("ending", ["os.kill(os.getpid(), 9)", "os._exit(0)", "os.abort()"])
    def test_what_was_captured_before_a_death_is_kept(self, parity: Parity, ending: str) -> None:
        parity.write("ref.py", TRAINS.format(steps=3, after=f"import os; step == 1 and {ending}"))
        done = parity("capture", "ref.py", "-o", "x.trace", "--no-noise", "--format", "json")
        assert done.document["error"]["slug"] == "capture-failed"
        assert "captured 2 steps" in done.document["error"]["message"]
        trace = Trace(parity.folder / "x.trace.partial")
        assert (trace.meta.steps, trace.meta.complete, trace.meta.framework) == (2, False, "torch")
        assert all(trace.array(p.ref).size for p in trace.parameters if p.ref is not None)


VANDAL = """
import os, signal, sys, warnings
os.makedirs("deep", exist_ok=True)
os.chdir("deep")
os.environ.clear()
sys.argv = ["gone"]
sys.excepthook = sys.displayhook = None
sys.setrecursionlimit(5000)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGALRM, lambda *_: None)
warnings.simplefilter("error")
sys.stdout.close()
sys.stderr = open("log", "w")
sys.path.insert(0, "/nowhere")
"""


def test_what_a_script_does_to_its_process_stays_in_its_pass(parity: Parity) -> None:
    """The forced run takes the script through several passes in one process."""
    script = TRAINS.format(steps=2, after="").replace("torch.manual_seed(0)", f"{VANDAL}\ntorch.manual_seed(0)")
    parity.write("ref.py", script)
    done = parity("compare", "ref.py", "ref.py", "--steps", "2", "--format", "json")
    assert (done.code, done.document["verdict"]) == (0, "match"), done.err
    assert not (parity.folder / "deep" / "deep").exists(), "each pass begins in the caller's folder"


def test_a_folder_that_is_left_as_it_was(parity: Parity) -> None:
    """Neither capturing nor comparing leaves anything beside the scripts."""
    (parity.folder / "project").mkdir()
    for name, text in (("ref.py", "import util\n" + TRAINS.format(steps=1, after="")), ("util.py", "")):
        (parity.folder / "project" / name).write_text(text)
    done = parity("compare", "project/ref.py", "project/ref.py", "--steps", "1")
    assert done.code == 0, done.err
    assert sorted(os.listdir(parity.folder / "project")) == ["ref.py", "util.py"]
    assert sorted(os.listdir(parity.folder)) == ["cache", "project"]
