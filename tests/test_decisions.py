"""parity.toml: what the author of a migration has decided about it, and options that stand for the command line's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pairs
import pytest
from conftest import Done, Parity
from pairs import edited

FAULTY = edited(
    pairs.TORCH, ("0.5 * torch.tanh", "0.25 * torch.tanh"), ("nn.LayerNorm(8, eps=1e-5)", "nn.LayerNorm(8, eps=1e-3)")
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kept comparison with two faults: an epsilon, and a factor in the model's own code."""
    parity = Parity(tmp_path_factory.mktemp("kept"))
    parity.write("ref.py", pairs.TORCH)
    parity.write("cand.py", FAULTY)
    done = parity("compare", "ref.py", "cand.py", "--steps", "1", "--keep", "kept", "--format", "json")
    assert done.code == 1, done.err
    return parity.folder


def faults(document: Any) -> list[dict[str, Any]]:
    return [f for f in document["findings"] if f["severity"] == "fault" and f["status"] != "propagated"]


def again(parity: Parity, kept: Path, config: str, *words: str) -> Done:
    """The candidate's trace and the reference's script, with a parity.toml beside the trace."""
    shutil.copytree(kept / "kept" / "candidate.trace", parity.folder / "cand.trace")
    parity.write("parity.toml", config)
    return parity("compare", kept / "ref.py", "cand.trace", "--steps", "1", "--format", "json", *words)


class TestAccept:
    def test_all_accepted(self, parity: Parity, kept: Path) -> None:
        found = faults(json.loads((kept / "kept" / "comparison.json").read_text()))
        entries = [
            f'[[accept]]\nkind = "{f["kind"]}"\ncandidate = "{f["candidate"]["path"]}"\n'
            f'reason = "agreed in review {n}"\n'
            for n, f in enumerate(found)
        ]
        done = again(parity, kept, "\n".join(entries))
        assert (done.code, done.document["verdict"]) == (0, "match"), done.document["headline"]
        notes = [f["message"] for f in done.document["findings"] if f["severity"] == "note"]
        for number in range(len(found)):
            assert any(f"(accepted: agreed in review {number})" in note for note in notes)

    def test_one_accepted(self, parity: Parity, kept: Path) -> None:
        done = again(parity, kept, '[[accept]]\npath = "attention.norm"\nreason = "known"\n')
        assert done.code == 1
        assert "attention.norm" not in {f["candidate"]["path"] for f in faults(done.document)}

    def test_an_entry_that_fits_nothing_is_told(self, parity: Parity, kept: Path) -> None:
        done = again(parity, kept, '[[accept]]\nkind = "no-such-kind"\nreason = "old"\n')
        assert done.code == 1
        assert any("kind no-such-kind, which was not found" in f["message"] for f in done.document["findings"])

    def test_ignored_paths(self, parity: Parity, kept: Path) -> None:
        done = again(parity, kept, '[[ignore]]\npath = "attention"\nreason = "another team\'s"\n')
        paths = {f["candidate"]["path"] for f in faults(done.document)}
        assert not any(path.startswith("attention") for path in paths)
        assert any("(ignored: another team's)" in f["message"] for f in done.document["findings"])


class TestOptions:
    def test_they_stand_for_flags_that_are_not_given(self, parity: Parity, kept: Path) -> None:
        done = again(parity, kept, '[options]\nonly = ["optimizer"]\n')
        assert {n for n, s in done.document["stages"].items() if s["status"] not in ("skipped", "absent")} <= {
            "optimizer"
        }
        shutil.rmtree(parity.folder / "cand.trace")
        done = again(parity, kept, '[options]\nonly = ["optimizer"]\n', "--only", "forward")
        assert done.document["stages"]["forward"]["status"] == "diverged"

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("[options]\nstep = 3\n", "step"),
            ("[options]\nsteps = 'three'\n", "steps"),
            ("[optoins]\n", "optoins"),
            ("[[accept]]\nreason = 'x'\n", "needs a kind"),
            ("[[accept]]\nkind = 'x'\n", "reason"),
            ("[[accept]]\nkind = 'x'\nreason = ' '\n", "reason is empty"),
            ("[[pin]]\nreference = 'a'\n", "candidate"),
            ("[options\n", "no TOML"),
            ("\udcff", "cannot be read"),
        ],
        ids=lambda value: value.strip()[:20] if isinstance(value, str) else "",
    )
    def test_what_it_cannot_say(self, parity: Parity, text: str, part: str) -> None:
        (parity.folder / "parity.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        parity.write("ref.py", "open('ran', 'w')")
        done = parity("compare", "ref.py", "ref.py")
        assert done.code == 2
        assert part in done.err and "parity.toml" in done.err
        assert "Traceback" not in done.err
        assert not (parity.folder / "ran").exists()


SWAPPED = """
import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.{first} = nn.Linear(4, 4)
        self.{second} = nn.Linear(4, 4)

    def forward(self, x):
        return self.{first}(x) * self.{second}(x)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1):
    optimizer.zero_grad()
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
"""


class TestPins:
    def test_they_fix_pairs(self, parity: Parity) -> None:
        parity.write("ref.py", SWAPPED.format(first="a", second="b"))
        parity.write("cand.py", SWAPPED.format(first="p", second="q"))
        parity.write(
            "parity.toml", '[[pin]]\nreference = "a"\ncandidate = "q"\n[[pin]]\nreference = "b"\ncandidate = "p"\n'
        )
        done = parity("compare", "ref.py", "cand.py", "--keep", "kept", "--format", "json", "--steps", "1")
        assert done.code in (0, 1), done.err
        mapping = json.loads((parity.folder / "kept" / "candidate.trace" / "meta.json").read_text())["mapping"]
        assert {(n["reference"][0], n["candidate"][0], n["how"]) for n in mapping["nodes"]} == {
            ("a", "q", "pinned in parity.toml"),
            ("b", "p", "pinned in parity.toml"),
        }

    def test_a_layer_that_is_not_there(self, parity: Parity) -> None:
        parity.write("ref.py", SWAPPED.format(first="a", second="b"))
        parity.write("cand.py", SWAPPED.format(first="p", second="q"))
        parity.write("parity.toml", '[[pin]]\nreference = "a"\ncandidate = "nowhere"\n')
        error = parity("compare", "ref.py", "cand.py", "--format", "json").document["error"]
        assert (error["slug"], error["side"]) == ("usage", "candidate")
        assert "pins nowhere" in error["message"]


class TestReport:
    def test_it_is_the_same_again(self, parity: Parity, kept: Path) -> None:
        done = parity("report", kept / "kept", "--format", "json", "-o", "out.json")
        assert done.code == 1
        whole = json.loads((kept / "kept" / "comparison.json").read_text())
        del whole["details"]
        assert done.document == whole
        assert json.loads((parity.folder / "out.json").read_text()) == whole
        assert parity("report", kept / "kept" / "comparison.json").code == 1

    def test_other_thresholds(self, parity: Parity, kept: Path) -> None:
        strict = parity("report", kept / "kept", "--format", "json", "--rtol", "1e-9", "--atol", "0")
        loose = parity(
            "report", kept / "kept", "--format", "json", "--rtol", "1e9", "--atol", "1", "--skip", "hyperparameters"
        )
        assert len(faults(strict.document)) > len(faults(loose.document))
        assert strict.code == 1

    @pytest.mark.parametrize(
        "content",
        ["", "{}", "[]", '{"schema": 1}', "\x1b[31m", '{"verdict": 3}'],
    )
    def test_a_damaged_one(self, parity: Parity, content: str) -> None:
        parity.write("comparison.json", content)
        done = parity("report", "comparison.json", "--format", "json")
        assert (done.code, done.document["error"]["slug"]) == (2, "bad-trace")

    def test_none_at_all(self, parity: Parity) -> None:
        (parity.folder / "empty").mkdir()
        assert parity("report", "empty", "--format", "json").document["error"]["slug"] == "usage"
        assert parity("report", "gone").code == 2


def test_doctor(parity: Parity) -> None:
    done = parity("doctor", "--python", "/bin/true", "--format", "json")
    mine, other = done.document["interpreters"]
    assert done.code == 2, "one of the two is no Python"
    assert {f["name"]: (f["works"], f["supported"]) for f in mine["frameworks"]} == {
        "torch": (True, True),
        "mindspore": (True, True),
    }
    assert other["problem"] == "it is no Python that runs"
    assert other["frameworks"] == []
