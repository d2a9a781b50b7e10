"""Traces that were made elsewhere: captured apart, synchronised, and compared without running anything again."""

from __future__ import annotations

import json
from pathlib import Path

import pairs
import pytest
from conftest import Done, Parity
from pairs import Edit, edited, line_of

from parity.model import CallEvent
from parity.trace import FEW, Trace


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference's trace with its noise passes."""
    parity = Parity(tmp_path_factory.mktemp("captured"))
    parity.write("ref.py", pairs.TORCH)
    assert parity("capture", "ref.py", "-o", "ref.trace", "--steps", "2").code == 0
    return parity.folder


def against(parity: Parity, captured: Path, candidate: str, *words: str) -> Done:
    """Captures a candidate along the reference's trace, and compares both traces."""
    parity.write("cand.py", candidate)
    done = parity("capture", "cand.py", "--sync", captured / "ref.trace", "-o", "cand.trace", "--steps", "2")
    assert done.code == 0, done.err
    return parity("compare", captured / "ref.trace", "cand.trace", "--format", "json", *words)


def test_noise_is_of_the_size_of_rounding(captured: Path) -> None:
    records = json.loads((captured / "ref.trace" / "noise.json").read_text())
    places = {(step, kind): noise / scale for step, kind, _, _, _, noise, scale in records if scale > 1e-3}
    assert {kind for _, kind in places} == {
        "output", "gradient", "loss", "parameter-gradient", "parameter", "buffer",
    }  # fmt: skip
    assert all(0 < noise < 1e-4 for noise in places.values())


def test_a_faithful_port(parity: Parity, captured: Path) -> None:
    done = against(parity, captured, pairs.MINDSPORE)
    assert (done.code, done.document["verdict"]) == (0, "match"), done.document["headline"]
    assert "without the forced run" in done.document["headline"]
    stages = done.document["stages"]
    assert [stages[name]["status"] for name in ("forward", "loss", "backward", "optimizer")] == ["match"] * 4
    assert stages["backward"]["compared"] == stages["backward"]["total"] == 22


@pytest.mark.parametrize(
    ("edit", "stage", "path", "part"),
    [
        (("0.5 * torch.tanh", "0.25 * torch.tanh"), "forward", "up", "self.up ="),
        (("nn.LayerNorm(8, eps=1e-5)", "nn.LayerNorm(8, eps=1e-3)"), "forward", "attention.norm", "self.norm ="),
        (("loss.backward()", "(2 * loss).backward()"), "loss", "", ""),
        (("lr=0.1", "lr=0.05"), "optimizer", "embed.weight", "self.embed ="),
    ],
    ids=["between-layers", "epsilon", "loss", "rate"],
)
def test_a_clear_difference(parity: Parity, captured: Path, edit: Edit, stage: str, path: str, part: str) -> None:
    candidate = edited(pairs.TORCH, edit)
    done = against(parity, captured, candidate, "--skip", "hyperparameters")
    assert done.code == 1
    first = done.document["findings"][done.document["first"]]
    assert (first["stage"], first["candidate"]["path"]) == (stage, path)
    if part:
        assert (first["candidate"]["file"], first["candidate"]["line"]) == ("cand.py", line_of(candidate, part))
    introduced = [f for f in done.document["findings"] if f["status"] == "introduced"]
    assert introduced == [first], "what comes later may be an echo"


def test_the_script_makes_it_exact(parity: Parity, captured: Path) -> None:
    """The reference's script from the user's hand and the candidate's trace: the forced run happens."""
    against(parity, captured, pairs.MINDSPORE)
    done = parity("compare", captured / "ref.py", "cand.trace", "--format", "json")
    assert (done.code, done.document["verdict"]) == (0, "match"), done.document["headline"]
    assert "without the forced run" not in done.document["headline"]


def test_without_noise_there_is_no_match(parity: Parity, captured: Path) -> None:
    assert parity("capture", captured / "ref.py", "-o", "bare.trace", "--steps", "1", "--no-noise").code == 0
    assert not (parity.folder / "bare.trace" / "noise.json").exists()
    assert parity("capture", captured / "ref.py", "--sync", "bare.trace", "-o", "c.trace", "--steps", "1").code == 0
    done = parity("compare", "bare.trace", "c.trace", "--format", "json")
    assert (done.code, done.document["verdict"]) == (3, "inconclusive")
    assert "--no-noise" in done.document["headline"]


def test_unsynchronised_traces_decide_nothing(parity: Parity, captured: Path) -> None:
    done = parity("compare", captured / "ref.trace", captured / "ref.trace", "--format", "json")
    assert (done.code, done.document["verdict"]) == (3, "inconclusive")
    assert "--sync" in done.document["headline"]


def test_damaged_noise_is_an_error(parity: Parity, captured: Path, tmp_path: Path) -> None:
    against(parity, captured, pairs.TORCH)
    import shutil

    shutil.copytree(captured / "ref.trace", tmp_path / "bad.trace")
    (tmp_path / "bad.trace" / "noise.json").write_text('[["a"]]')
    done = parity("compare", "bad.trace", "cand.trace", "--format", "json")
    assert (done.code, done.document["error"]["slug"]) == (2, "bad-trace")
    assert "noise.json" in done.document["error"]["message"]


class TestSummary:
    def test_it_never_says_match(self, parity: Parity) -> None:
        parity.write("ref.py", pairs.TORCH)
        parity.write("cand.py", pairs.MINDSPORE)
        done = parity("compare", "ref.py", "cand.py", "--summary", "--steps", "2", "--keep", "kept", "--format", "json")
        assert (done.code, done.document["verdict"]) == (3, "inconclusive"), done.document["headline"]
        assert "--summary" in done.document["headline"]
        assert done.document["stages"]["forward"]["compared"] > 8
        trace = Trace(parity.folder / "kept" / "reference.trace")
        outputs = [item.ref for call in trace.of(CallEvent) for item in call.outputs]
        assert not any(ref in trace for ref in outputs if ref.size > FEW), (
            "only what the candidate starts from is stored"
        )
        assert all(p.ref in trace for p in trace.parameters if p.ref is not None)

    def test_a_clear_difference(self, parity: Parity) -> None:
        parity.write("ref.py", pairs.TORCH)
        parity.write("cand.py", edited(pairs.MINDSPORE, pairs.SOFTMAX_AXIS))
        done = parity("compare", "ref.py", "cand.py", "--summary", "--steps", "1", "--format", "json")
        assert done.code == 1, done.document["headline"]
        assert done.document["findings"][done.document["first"]]["candidate"]["path"] == "attn.proj"
