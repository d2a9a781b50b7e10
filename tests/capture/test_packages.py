"""Scripts that are modules of a package: what `python -m` would run."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Parity

from parity.capture.source import Source, package_of
from parity.trace import Trace

TRAIN = """
import torch
{imports}

torch.manual_seed(0)
model = build()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(2):
    optimizer.zero_grad()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
"""
NETS = "from torch import nn\n\n\ndef build():\n    return nn.Linear(3, 2)\n"


@pytest.mark.parametrize(
    "imports",
    [
        "from ..nets import build",
        "from pkg.nets import build",
        "from helper import build",
        "from . import helper\nbuild = helper.build",
    ],
)
def test_imports(parity: Parity, imports: str) -> None:
    folder = parity.folder / "pkg" / "tools"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / "__init__.py").touch()
    (folder.parent / "nets.py").write_text(NETS)
    (folder / "helper.py").write_text(NETS)
    (folder / "train.py").write_text(TRAIN.format(imports=imports))
    output = parity.folder / "run.trace"
    done = parity("capture", folder / "train.py", "-o", output, "--steps", "2", "--no-noise")
    assert done.code == 0, done.err
    trace = Trace(output)
    assert {layer.line for layer in trace.layers} == {5}
    assert {layer.file for layer in trace.layers} == {"../nets.py" if "nets" in imports else "helper.py"}


def test_a_plain_script_has_its_folder(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import torch\n")
    assert package_of(script) == (tmp_path, None)


def test_a_package_without_init_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    script = folder / "train.py"
    script.write_text("from ..nets import build\n")
    assert package_of(script) == (tmp_path / "a", "a.b")
    assert Source(script).own(str(tmp_path / "a" / "nets.py")) == "../nets.py"
    assert Source(script).own(str(tmp_path / "other.py")) is None
