"""Odd file names, places that cannot be written, and disks without room."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TRAINS, Parity

NAMES = [
    "with space.py",
    "tab\there.py",
    "new\nline.py",
    "quote'\".py",
    "$(touch pwned).py",
    "--steps.py",
    "Ünïcödé-模型.py",
    "\u202etxt.py",
    "\x1b[31mred.py",
    "a" * 200 + ".py",
    ".py.py",
    "%s{0}.py",
    "[bold]x.py",
]


class TestNames:
    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_of_scripts(self, parity: Parity, name: str) -> None:
        parity.write(name, "raise ValueError('from ' + __file__)")
        done = parity("compare", f"./{name}", f"./{name}")
        assert done.code == 2
        assert "ValueError: from" in done.err
        assert "\x1b" not in done.err and "\u202e" not in done.err.replace(name, "")
        assert not (parity.folder / "pwned").exists()

    def test_that_is_no_text(self, parity: Parity) -> None:
        path = os.fsencode(parity.folder) + b"/\xff\xfe.py"
        with open(path, "wb") as file:
            file.write(TRAINS.format(steps=1, after="").encode())
        words = [*map(os.fsencode, parity.command("capture")), b"./\xff\xfe.py", b"-o", b"x.trace", b"--no-noise"]
        done = subprocess.run(words, cwd=parity.folder, env=parity.environment, capture_output=True)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("name", ["modèle trace.trace", "new\nline.trace", "-x.trace"])
    def test_of_traces(self, parity: Parity, name: str) -> None:
        parity.write("ref.py", "raise SystemExit(3)")
        done = parity("capture", "ref.py", "-o", f"./{name}", "--format", "json")
        assert done.document["error"]["slug"] == "script-failed"
        assert (parity.folder / f"{name}.partial" / "meta.json").is_file()

    @pytest.mark.parametrize(
        "words",
        [
            ["compare", "nul\0.py", "x.py"],
            ["compare", "", ""],
            ["compare", "a" * 5000 + ".py", "x.py"],
            ["compare", ".", ".."],
            ["compare", "/dev/null", "/dev/zero"],
            ["capture", "x.py", "-o", ""],
            ["capture", "/proc/self/mem", "-o", "x.trace"],
            ["report", "/dev/zero"],
            ["report", ""],
        ],
        ids=lambda value: ascii(value)[:40],
    )
    def test_that_are_nothing(self, parity: Parity, words: list[str]) -> None:
        if "\0" in words[1]:
            code = f"import sys; from parity.cli import main; sys.exit(main({words!r}))"
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=parity.folder, env=parity.environment, capture_output=True, text=True
            )
            assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
            return
        result = parity(*words)
        assert result.code == 2
        assert "Traceback" not in result.err


class TestOutputs:
    @pytest.mark.parametrize(
        "output", ["ref.py/x.trace", "gone/x.trace", "ref.py", "a" * 300 + ".trace", "/proc/x.trace", "link.trace"]
    )
    def test_traces_that_cannot_be_written(self, parity: Parity, output: str) -> None:
        parity.write("ref.py", "open('ran', 'w')")
        (parity.folder / "link.trace").symlink_to(parity.folder)
        done = parity("capture", "ref.py", "-o", output, "--format", "json")
        assert done.code == 2
        assert "Traceback" not in done.err
        assert not (parity.folder / "ran").exists()

    @pytest.mark.parametrize("keep", ["ref.py", "ref.py/x", "a" * 300, "/proc/x"])
    def test_folders_that_cannot_be_kept(self, parity: Parity, keep: str) -> None:
        parity.write("ref.py", "open('ran', 'w')")
        done = parity("compare", "ref.py", "ref.py", "--keep", keep)
        assert done.code == 2
        assert "Traceback" not in done.err
        assert not (parity.folder / "ran").exists()

    def test_standard_output_is_full(self, parity: Parity) -> None:
        parity.write("ref.py", "")
        with open("/dev/full", "w") as full, parity.start("compare", "--help", stdout=full) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "Traceback" not in err

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_closed_streams(self, parity: Parity, closed: str) -> None:
        parity.write("ref.py", "raise SystemExit(3)")
        words = " ".join(parity.command("compare", "ref.py", "ref.py"))
        done = subprocess.run(["sh", "-c", f"{words} {closed}"], cwd=parity.folder, env=parity.environment)
        assert done.returncode == 2

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("XDG_CACHE_HOME", "/proc/none"),
            ("XDG_CACHE_HOME", "relative"),
            ("XDG_CACHE_HOME", ""),
            ("HOME", "/nonexistent"),
            ("LC_ALL", "C"),
            ("PYTHONIOENCODING", "ascii"),
            ("PYTHONDONTWRITEBYTECODE", ""),
            ("PYTHONUTF8", "0"),
            ("PYTHONSTARTUP", "/nonexistent"),
            ("PYTHONWARNINGS", "error"),
            ("COLUMNS", "1"),
            ("TERM", "dumb"),
        ],
    )
    def test_environments(self, parity: Parity, name: str, value: str) -> None:
        if name == "HOME":
            del parity.environment["XDG_CACHE_HOME"]
        parity.environment[name] = value
        parity.write("ref.py", "raise ValueError('größer 模')")
        done = parity("compare", "ref.py", "ref.py")
        assert done.code == 2
        assert "the reference script failed" in done.err

    def test_no_temporary_folder(self, parity: Parity) -> None:
        parity.environment["TMPDIR"] = "/nonexistent"
        parity.write("ref.py", "raise ValueError")
        assert parity("compare", "ref.py", "ref.py").code == 2


class TestRoom:
    def test_a_limit(self, parity: Parity) -> None:
        parity.write("ref.py", TRAINS.format(steps=3, after=""))
        done = parity("capture", "ref.py", "-o", "x.trace", "--max-disk", "2K", "--format", "json")
        error = done.document["error"]
        assert (done.code, error["slug"], error["side"]) == (2, "max-disk", "reference")
        assert "--max-disk" in error["message"]

    @pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e3", "5X", "9" * 99])
    def test_what_is_no_size(self, parity: Parity, text: str) -> None:
        parity.write("ref.py", "open('ran', 'w')")
        done = parity("capture", "ref.py", "-o", "x.trace", f"--max-disk={text}")
        assert done.code == 2
        assert "--max-disk" in done.err
        assert not (parity.folder / "ran").exists()

    def test_the_size_is_told_after_the_first_step(self, parity: Parity) -> None:
        parity.write("ref.py", TRAINS.format(steps=2, after=""))
        done = parity("capture", "ref.py", "-o", "x.trace", "--steps", "2", "--no-noise")
        assert done.code == 0
        assert "step 1 takes" in done.err and "all 2 about" in done.err

    def test_files_may_not_grow(self, parity: Parity) -> None:
        """As a quota does it: the operating system refuses, whatever the disk has."""
        parity.write("ref.py", TRAINS.format(steps=3, after=""))

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

        words = parity.command("capture", "ref.py", "-o", "x.trace", "--format", "json")
        done = subprocess.run(
            words, cwd=parity.folder, env=parity.environment, capture_output=True, text=True, preexec_fn=limit
        )
        assert done.returncode == 2
        assert '"slug": "disk-full"' in done.stdout, done.stdout + done.stderr
        assert "the disk at" in done.stdout
        assert "Traceback" not in done.stderr

    def test_a_full_disk_is_named(self, parity: Parity) -> None:
        disk = parity.folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
        if mounted.returncode:
            pytest.skip("a small disk can only be mounted by root")
        try:
            parity.write("ref.py", TRAINS.format(steps=3, after=""))
            done = parity("compare", "ref.py", "ref.py", "--keep", disk / "kept", "--format", "json")
            error = done.document["error"]
            assert (done.code, error["slug"], error["side"]) == (2, "disk-full", "reference")
            assert f"the disk at {disk} has no room" in error["message"]
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_broken_link_is_no_script(parity: Parity) -> None:
    (parity.folder / "ref.py").symlink_to("nowhere.py")
    assert "does not exist" in parity("compare", "ref.py", "ref.py").err
    assert not Path(parity.folder / "nowhere.py").exists()
