"""The command line's manners: what it refuses, how it says so, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import TRAINS, Parity

FAILING = TRAINS.format(steps=1, after="raise ValueError('the shelf is empty')").replace(
    "loss.backward()", "raise ValueError('the shelf is empty')"
)
HANGING = """
import subprocess, time
child = subprocess.Popen(["sleep", "1000"])
with open("pids", "w") as file:
    print(child.pid, file=file)
time.sleep(1000)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for is a zombie, and gone too."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def wait_for(path: Path) -> int:
    for _ in range(300):
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


class TestUsage:
    @pytest.mark.parametrize(
        ("words", "part"),
        [
            (["--no-such-flag"], "--no-such-flag"),
            (["--lang", "zh"], "--lang"),
            (["--rtol", "1e-3"], "together"),
            (["--atol", "1e-3"], "together"),
            (["--rtol", "nan", "--atol", "0"], "--rtol"),
            (["--rtol", "-1", "--atol", "0"], "--rtol"),
            (["--timeout", "0"], "--timeout"),
            (["--timeout", "inf"], "--timeout"),
            (["--steps", "0"], "--steps"),
            (["--only", "forwards"], "forwards"),
            (["--skip", "loss,nothing"], "nothing"),
            (["--format", "yaml"], "--format"),
            (["--reference-args", "'open"], "--reference-args"),
            (["--reference-python", "no-such-python"], "no-such-python"),
            (["--candidate-cwd", "nowhere"], "nowhere"),
            (["-o", "missing/out.json"], "missing"),
            (["-o", "out.html"], "this version writes .json"),
            (["-o", "folder.json"], "folder"),
            (["--keep", "missing/deep"], "missing/deep"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_refused_before_anything_runs(self, parity: Parity, words: list[str], part: str) -> None:
        parity.write("ref.py", "open('ran', 'w')")
        (parity.folder / "folder.json").mkdir()
        done = parity("compare", "ref.py", "ref.py", *words)
        assert done.code == 2
        assert part in done.err
        assert "Traceback" not in done.err
        assert done.out == ""
        assert not (parity.folder / "ran").exists()

    @pytest.mark.parametrize("words", [[], ["reprot"], ["compare"], ["compare", "a.py"], ["compare", "a", "b", "c"]])
    def test_incomplete_command_lines(self, parity: Parity, words: list[str]) -> None:
        assert parity(*words).code == 2

    @pytest.mark.parametrize(
        "words",
        [
            ["compare", "--format", "json"],
            ["compare", "--format=json", "ref.py", "ref.py", "--wrong"],
            ["compare", "missing.py", "missing.py", "--format", "json"],
            ["capture", "missing.py", "-o", "x.trace", "--format", "json"],
            ["nonsense", "--format", "json"],
        ],
    )
    def test_json_even_so(self, parity: Parity, words: list[str]) -> None:
        done = parity(*words)
        assert done.code == 2
        assert set(done.document) == {"schema", "verdict", "error"}
        assert done.document["schema"] == 1
        assert done.document["verdict"] == "error"
        assert set(done.document["error"]) == {"slug", "message", "side", "hint"}
        assert done.document["error"]["slug"] == "usage"

    def test_format_after_two_dashes_is_the_scripts(self, parity: Parity) -> None:
        assert parity("compare", "missing.py", "missing.py", "--", "--format", "json").out == ""

    @pytest.mark.parametrize(
        ("name", "part"),
        [("gone.py", "does not exist"), ("folder", "is a folder"), ("notes.txt", "is not a script")],
    )
    def test_what_is_no_script(self, parity: Parity, name: str, part: str) -> None:
        parity.write("ref.py", "")
        parity.write("notes.txt", "")
        (parity.folder / "folder").mkdir()
        error = parity("compare", "ref.py", name, "--format", "json").document["error"]
        assert part in error["message"]
        assert error["side"] == "candidate"
        assert error["hint"]

    def test_what_is_no_trace(self, parity: Parity) -> None:
        (parity.folder / "x.trace").mkdir()
        error = parity("compare", "x.trace", "x.trace", "--format", "json").document["error"]
        assert error["slug"] == "bad-trace"
        assert error["side"] == "reference"

    def test_capture_replaces_nothing_but_traces(self, parity: Parity) -> None:
        parity.write("ref.py", "open('ran', 'w')")
        (parity.folder / "x.trace").mkdir()
        (parity.folder / "x.trace" / "thesis.txt").write_text("years of work")
        assert parity("capture", "ref.py", "-o", "x.trace").code == 2
        assert parity("capture", "ref.py", "-o", "x").code == 2
        assert (parity.folder / "x.trace" / "thesis.txt").exists()
        assert not (parity.folder / "ran").exists()

    @pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["capture", "-h"], ["--version"]])
    def test_help(self, parity: Parity, words: list[str]) -> None:
        done = parity(*words)
        assert done.code == 0
        assert "parity" in done.out


class TestScriptsThatFail:
    def test_a_scripts_own_traceback(self, parity: Parity) -> None:
        parity.write("ref.py", FAILING)
        done = parity("compare", "ref.py", "ref.py", "--format", "json")
        error = done.document["error"]
        assert done.code == 2
        assert error["slug"] == "script-failed"
        assert error["side"] == "reference"
        assert "ValueError: the shelf is empty" in error["message"]
        assert 'ref.py", line 11' in error["message"]
        assert "parity/" not in error["message"]
        assert "captured 0 steps" in error["message"]
        assert "ValueError: the shelf is empty" in done.err

    def test_the_candidates_failure_keeps_the_reference(self, parity: Parity) -> None:
        parity.write("ref.py", TRAINS.format(steps=3, after=""))
        parity.write("ms.py", FAILING)
        done = parity("compare", "ref.py", "ms.py", "--keep", "kept", "--format", "json")
        assert done.code == 2
        assert done.document["error"]["side"] == "candidate"
        assert (parity.folder / "kept" / "reference.trace" / "meta.json").is_file()
        assert str(parity.folder / "kept") in done.err

    def test_a_crash_after_a_step_still_compares(self, parity: Parity) -> None:
        parity.write("ref.py", TRAINS.format(steps=3, after=""))
        parity.write("ms.py", TRAINS.format(steps=3, after="assert step < 1, 'the second step'"))
        done = parity("compare", "ref.py", "ms.py", "--keep", "kept", "-o", "out.json")
        assert done.code == 2
        assert "the second step" in done.err
        assert "captured 2 steps" in done.err
        assert "forward" in done.out
        written = json.loads((parity.folder / "out.json").read_text())
        assert written["verdict"] == "error"
        assert written["first"] is None
        assert "captured 2 steps; until then: " in written["headline"]
        assert written["stages"]["forward"]["compared"] > 0
        assert (parity.folder / "kept" / "comparison.json").is_file()

    def test_exit_code(self, parity: Parity) -> None:
        parity.write("ref.py", "import sys; sys.exit(3)")
        error = parity("compare", "ref.py", "ref.py", "--format", "json").document["error"]
        assert error["slug"] == "script-failed"
        assert "sys.exit(3)" in error["message"]

    def test_a_syntax_error(self, parity: Parity) -> None:
        parity.write("ref.py", "def broken(:\n")
        error = parity("capture", "ref.py", "-o", "x.trace", "--format", "json").document["error"]
        assert "SyntaxError" in error["message"]

    @pytest.mark.parametrize(
        ("ending", "part"),
        [
            ("os._exit(0)", "exit code 0"),
            ("os._exit(64)", "exit code 64"),
            ("os.kill(os.getpid(), 11)", "SIGSEGV"),
            ("os.kill(os.getpid(), 9)", "memory"),
        ],
    )
    def test_a_process_that_dies(self, parity: Parity, ending: str, part: str) -> None:
        parity.write("ref.py", f"import os; print('last words', flush=True); {ending}")
        error = parity("capture", "ref.py", "-o", "x.trace", "--format", "json").document["error"]
        assert error["slug"] == "capture-failed"
        assert part in error["message"]
        assert "last words" in error["message"]

    def test_no_framework(self, parity: Parity) -> None:
        parity.write("ref.py", "print('hello from the script')")
        done = parity("compare", "ref.py", "ref.py", "--format", "json")
        assert done.document["error"]["slug"] == "no-model-called"
        assert "never imported torch or mindspore" in done.document["error"]["message"]
        assert "hello from the script" in done.err

    def test_no_model_called(self, parity: Parity) -> None:
        parity.write("ref.py", "import torch; torch.ones(3).sum()")
        error = parity("compare", "ref.py", "ref.py", "--format", "json").document["error"]
        assert error["slug"] == "no-model-called"
        assert "without calling a model" in error["message"]

    def test_missing_module_is_the_scripts(self, parity: Parity) -> None:
        parity.write("ref.py", "import no_such_module_of_mine")
        error = parity("compare", "ref.py", "ref.py", "--format", "json").document["error"]
        assert error["slug"] == "script-failed"
        assert "no_such_module_of_mine" in error["message"]


class TestInterpreters:
    @pytest.fixture
    def other(self, tmp_path: Path) -> Path:
        """An interpreter of another environment, which has nothing."""
        folder = tmp_path / "other"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        return folder

    def lend(self, other: Path, *names: str) -> None:
        """Gives it some of this environment's packages."""
        (packages,) = other.glob("lib/python*/site-packages")
        for name in names:
            spec = find_spec(name)
            assert spec is not None and spec.origin is not None
            source = Path(spec.origin).parent
            for folder in (source, source.with_name(f"{name}.libs")):
                if folder.exists():
                    (packages / folder.name).symlink_to(folder)

    def test_it_lacks_what_the_recorder_needs(self, parity: Parity, other: Path) -> None:
        parity.write("ref.py", "import torch")
        python = other / "bin" / "python"
        error = parity("compare", "ref.py", "ref.py", "--reference-python", python, "--format", "json").document[
            "error"
        ]
        assert error["slug"] == "framework-missing"
        assert f"{python} -m pip install 'msgspec>=0.18' 'numpy>=1.26'" in error["hint"]

    def test_it_lacks_the_framework(self, parity: Parity, other: Path) -> None:
        parity.write("ref.py", "import torch")
        self.lend(other, "numpy", "msgspec")
        python = other / "bin" / "python"
        done = parity("compare", "ref.py", "ref.py", "--reference-python", python, "--format", "json")
        error = done.document["error"]
        assert error["slug"] == "framework-missing", error
        assert "torch" in error["message"] and str(python) in error["message"]
        assert "--reference-python" in error["hint"]

    def test_no_interpreter_at_all(self, parity: Parity) -> None:
        parity.write("ref.py", "")
        done = parity(
            "compare", "ref.py", "ref.py", "--reference-python", str(shutil.which("true")), "--format", "json"
        )
        assert done.document["error"]["slug"] == "usage"


class TestEndings:
    def test_timeout_kills_everything(self, parity: Parity) -> None:
        parity.write("ref.py", HANGING)
        start = time.monotonic()
        done = parity("compare", "ref.py", "ref.py", "--timeout", "5", "--format", "json")
        assert time.monotonic() - start < 30
        error = done.document["error"]
        assert done.code == 2
        assert error["slug"] == "script-timeout"
        assert error["side"] == "reference"
        assert "within 5 s; captured 0 steps" in error["message"]
        assert "--timeout" in error["hint"]
        assert gone(wait_for(parity.folder / "pids"))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_signals_end_it_by_the_signal(self, parity: Parity, number: signal.Signals) -> None:
        parity.write("ref.py", HANGING)
        with parity.start("compare", "ref.py", "ref.py") as process:
            pid = wait_for(parity.folder / "pids")
            process.send_signal(number)
            out, _ = process.communicate(timeout=30)
        assert process.returncode == -number
        assert out == ""
        assert gone(pid)

    def test_interrupted(self, parity: Parity) -> None:
        parity.write("ref.py", TRAINS.format(steps=1, after=HANGING.replace("\n", "\n    ")))
        with parity.start("compare", "ref.py", "ref.py", "--format", "json") as process:
            pid = wait_for(parity.folder / "pids")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert json.loads(out)["error"]["slug"] == "interrupted"
        (kept,) = (parity.folder / "cache" / "parity" / "runs").iterdir()
        assert str(kept) in err
        assert json.loads((kept / "reference.trace.partial" / "meta.json").read_text())["steps"] == 1
        assert gone(pid)

    @pytest.mark.parametrize("words", [["--help"], ["compare", "gone.py", "gone.py", "--format", "json"]])
    def test_a_reader_that_is_gone(self, parity: Parity, words: list[str]) -> None:
        read, write = os.pipe()
        os.close(read)
        with parity.start(*words, stdout=write) as process:
            os.close(write)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGPIPE
        assert "Broken" not in err

    def test_nothing_is_left_running_after_a_good_end(self, parity: Parity) -> None:
        left = HANGING.replace("time.sleep(1000)", "") + TRAINS.format(steps=3, after="")
        parity.write("ref.py", left)
        assert parity("capture", "ref.py", "-o", "x.trace").code == 0
        assert gone(wait_for(parity.folder / "pids"))


class TestCapture:
    def test_facts(self, parity: Parity) -> None:
        parity.write("ref.py", "import sys; assert sys.argv[1:] == ['--a', 'b c'];" + TRAINS.format(steps=5, after=""))
        done = parity("capture", "ref.py", "-o", "x.trace", "--steps", "2", "--format", "json", "--", "--a", "b c")
        assert done.code == 0
        assert done.document["framework"] == "torch"
        assert done.document["steps"] == 2
        assert done.document["parameters"] == 4
        again = parity("capture", "ref.py", "-o", "x.trace", "--", "--a", "b c")
        assert again.code == 0
        assert again.out.startswith("x.trace: torch")
        assert not (parity.folder / "x.trace.partial").exists()

    def test_another_folder(self, parity: Parity) -> None:
        place = parity.folder / "place"
        place.mkdir()
        (place / "settings").write_text("here")
        parity.write("ref.py", "assert open('settings').read() == 'here'\n" + TRAINS.format(steps=1, after=""))
        assert parity("capture", "ref.py", "-o", "x.trace", "--cwd", "place").code == 0
        assert (parity.folder / "x.trace").is_dir()

    def test_the_callers_folder_is_not_on_the_path(self, parity: Parity) -> None:
        parity.write("msgspec.py", "raise RuntimeError('the caller has a module of this name')")
        scripts = parity.folder / "scripts"
        scripts.mkdir()
        (scripts / "ref.py").write_text(TRAINS.format(steps=1, after=""))
        environment = {**parity.environment, "PYTHONSAFEPATH": "1"}
        words = parity.command("capture", scripts / "ref.py", "-o", "x.trace")
        done = subprocess.run(words, cwd=parity.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == (0 if sys.version_info >= (3, 11) else 2), done.stderr

    def test_much_output_is_bounded(self, parity: Parity) -> None:
        parity.write("ref.py", "print('x' * 10_000_000)\n" + TRAINS.format(steps=1, after=""))
        done = parity("capture", "ref.py", "-o", "x.trace")
        assert done.code == 0
        assert 4_000_000 < len(done.err) < 5_000_000
        assert "no more of it is shown" in done.err


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The traces of a script compared with itself."""
    parity = Parity(tmp_path_factory.mktemp("kept"))
    parity.write("ref.py", TRAINS.format(steps=3, after=""))
    done = parity("compare", "ref.py", "ref.py", "--keep", "kept", "-o", "out.json", "--format", "json", "-v")
    assert done.code == 0, done.err
    assert json.loads((parity.folder / "out.json").read_text()) == done.document
    assert "seconds: reference" in done.err
    return parity.folder


class TestCompare:
    def test_the_document(self, kept: Path) -> None:
        written = json.loads((kept / "out.json").read_text())
        assert list(written) == [
            "schema", "verdict", "headline", "first", "findings", "stages", "unaligned", "reference", "candidate",
        ]  # fmt: skip
        assert written["verdict"] == "match"
        assert written["reference"]["framework"] == "torch"
        timings = json.loads((kept / "kept" / "comparison.json").read_text())["details"]["timings"]
        assert set(timings) == {"reference", "candidate", "forced", "comparing"}

    def test_two_traces(self, kept: Path, parity: Parity) -> None:
        done = parity("compare", kept / "kept/reference.trace", kept / "kept/candidate.trace", "--format", "json")
        assert done.code in (0, 3)
        assert done.document["candidate"]["steps"] == 3

    def test_script_and_trace(self, kept: Path, parity: Parity) -> None:
        done = parity("compare", kept / "ref.py", kept / "kept/candidate.trace", "--format", "json")
        assert (done.code, done.document["verdict"]) == (0, "match")

    def test_trace_and_script(self, kept: Path, parity: Parity) -> None:
        done = parity("compare", kept / "kept/reference.trace", kept / "ref.py", "--format", "json")
        assert done.code in (0, 3)
        assert done.document["candidate"]["steps"] == 3

    def test_fewer_steps_is_a_fault(self, kept: Path, parity: Parity) -> None:
        parity.write("short.py", TRAINS.format(steps=2, after=""))
        done = parity("compare", kept / "ref.py", "short.py", "--format", "json")
        assert done.code == 1
        kinds = {finding["kind"]: finding for finding in done.document["findings"]}
        assert kinds["step-count"]["stage"] == "training"
        assert str(parity.folder / "cache") in done.err

    def test_the_cache_keeps_the_newest(self, kept: Path, parity: Parity) -> None:
        runs = parity.folder / "cache" / "parity" / "runs"
        for number in range(7):
            (runs / f"20200101-00000{number}-x").mkdir(parents=True)
            (runs / f"20200101-00000{number}-x" / ".lock").touch()
        parity("compare", kept / "kept/reference.trace", kept / "kept/candidate.trace")
        names = sorted(path.name for path in runs.iterdir())
        assert len(names) == 5
        assert names[0] == "20200101-000003-x"
