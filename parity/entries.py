"""What one entry of `mappings/` holds, and the lines that it is written in (`mappings/README.md`)."""

from __future__ import annotations

import ast
import re
from typing import Any

import msgspec

from parity.transforms import INCOMPARABLE, TRANSFORMS, Unknown, convert, equal

VERIFIED = {"torch": "2.13.0", "mindspore": "2.10.0"}
"""The versions that the tables were proven on."""

KINDS = (
    "layer", "container", "function", "loss", "optimizer", "schedule", "initializer", "data", "transform", "amp",
    "clip", "checkpoint", "other", "without",
)  # fmt: skip


class _Absent:
    """Stands where a side has no such parameter, or no default."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Raw(msgspec.Struct, forbid_unknown_fields=True):
    """`[[entry]]` as it is written."""

    kind: str
    reference: str
    candidate: str | None = None
    also: list[str] = []
    parameters: list[str] = []
    call: list[str] = []
    weights: list[str] = []
    initializers: list[str] = []
    semantics: list[str] = []
    fix: str | None = None
    live_with: str | None = None
    reason: str | None = None
    cpu: str | None = None
    proof: list[Proof] = []


class Proof(msgspec.Struct, forbid_unknown_fields=True):
    """How a generated test builds and runs both sides (`mappings/README.md`)."""

    arguments: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    inputs: list[Any] = []
    candidate_inputs: list[Any] | None = None
    train: bool = True
    steps: int = 5
    expect: str = "equal"
    grad: bool = True
    tolerance: float = 1e-5
    reference_code: str | None = None
    candidate_code: str | None = None


class Without(msgspec.Struct, forbid_unknown_fields=True):
    """`[[without]]` as it is written."""

    reason: str
    pairs: list[str]


class File(msgspec.Struct, forbid_unknown_fields=True):
    entry: list[Raw] = []
    without: list[Without] = []


class Parameter(msgspec.Struct, frozen=True):
    """One line of an entry's parameters. Defaults are `ABSENT` where there is none, or no such parameter.

    A default whose line holds no Python literal is its `repr`, as text.
    """

    reference: str | None
    reference_default: Any
    candidate: str | None
    candidate_default: Any
    transform: str
    differs: bool


class Weight(msgspec.Struct, frozen=True):
    """A parameter or buffer of the reference, what it is called in the candidate, and the change of layout."""

    reference: str
    candidate: str | None
    transform: str


class Initializer(msgspec.Struct, frozen=True):
    """The distribution that a weight starts from, on both sides."""

    reference_weight: str
    reference: str
    candidate_weight: str
    candidate: str

    @property
    def differs(self) -> bool:
        """Whether the two are another distribution."""
        return self.reference != self.candidate


class Entry(msgspec.Struct):
    """An API of the reference and what it is in the candidate."""

    kind: str
    reference: str
    candidate: str | None
    parameters: list[Parameter] = []
    call: list[Parameter] = []
    weights: list[Weight] = []
    initializers: list[Initializer] = []
    semantics: list[str] = []
    fix: str | None = None
    live_with: str | None = None
    reason: str | None = None
    cpu: str | None = None
    proof: list[Proof] = []
    family: str = ""
    alias_of: str | None = None

    @property
    def verified(self) -> dict[str, str]:
        """The versions that the entry was proven on."""
        return dict(VERIFIED)

    @property
    def names(self) -> tuple[str, str]:
        """Both full names; the candidate's is empty where there is no counterpart."""
        return self.reference, self.candidate or ""


def pair(text: str) -> tuple[str, str]:
    """Both names of `"reference -> candidate"`; the second is empty where it is absent."""
    reference, _, candidate = text.partition("->")
    return reference.strip(), candidate.strip()


def expanded(raw: Raw, family: str) -> list[Entry]:
    """An entry, and one more for each of its other names.

    Raises:
        ValueError: What is written does not fit the schema; the message names the entry.
    """
    try:
        if raw.kind not in KINDS[:-1]:
            raise ValueError(f"unknown kind {raw.kind!r}")
        if raw.candidate is None and raw.reason is None:
            raise ValueError("an entry without a candidate says why in `reason`")
        if raw.cpu not in (None, "missing", "raises", "crashes"):
            raise ValueError(f"unknown cpu {raw.cpu!r}")
        for proof in raw.proof:
            if proof.expect not in ("equal", "differs", "raises", "crashes"):
                raise ValueError(f"unknown expect {proof.expect!r}")
            if (proof.reference_code is None) != (proof.candidate_code is None):
                raise ValueError("reference_code and candidate_code are given together or not at all")
        entry = Entry(
            raw.kind, raw.reference, raw.candidate,
            [_parameter(line) for line in raw.parameters],
            [_parameter(line) for line in raw.call],
            [_weight(line) for line in raw.weights],
            [_initializer(line) for line in raw.initializers],
            raw.semantics, raw.fix, raw.live_with, raw.reason, raw.cpu, raw.proof, family,
        )  # fmt: skip
        also = [pair(text) for text in raw.also]
        if not all(reference for reference, _ in also):
            raise ValueError("a pair in `also` begins with the reference's name")
    except ValueError as error:
        raise ValueError(f"{raw.reference}: {error}") from None
    return [entry, *(_renamed(entry, reference, candidate or entry.candidate) for reference, candidate in also)]


def _renamed(entry: Entry, reference: str, candidate: str | None) -> Entry:
    rows = list(entry.parameters)
    for field, before, name in (("reference", entry.reference, reference), ("candidate", entry.candidate, candidate)):
        if ".Tensor." in (name or "") and ".Tensor." not in (before or ""):
            rows = [row for row in rows if getattr(row, field) != "out"]
            place = next((i for i, row in enumerate(rows) if getattr(row, field) is not None), None)
            if place is not None:
                rows[place] = msgspec.structs.replace(rows[place], **{field: "self"})
    return msgspec.structs.replace(
        entry, reference=reference, candidate=candidate, parameters=rows, alias_of=entry.reference
    )


_SIDE = re.compile(r"^([A-Za-z_]\w*)(?:\s*=\s*(.+))?$", re.DOTALL)


def _side(text: str) -> tuple[str | None, Any]:
    if not text:
        return None, ABSENT
    match = _SIDE.match(text)
    if match is None:
        raise ValueError(f"not a parameter: {text!r}")
    name, default = match.groups()
    return name, ABSENT if default is None else literal(default)


def literal(text: str) -> Any:
    """The value of a Python literal; the text itself where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _parameter(line: str) -> Parameter:
    body, separator, tail = line.rpartition(" : ")
    words = [word.strip() for word in tail.split(",")] if separator else []
    if not separator or words[0] not in TRANSFORMS:
        if separator and re.fullmatch(r"[a-z_0-9]+(, *[a-z]+)?", tail.strip()):
            raise ValueError(f"unknown transform {words[0]!r} in {line!r}")
        body, words = line, ["same"]
    left, arrow, right = (part.strip() for part in body.partition("->"))
    reference, reference_default = _side(left)
    candidate, candidate_default = _side(right if arrow else left)
    if reference is None and candidate is None:
        raise ValueError(f"not a parameter: {line!r}")
    marks = words[1:]
    if not set(marks) <= {"differs", "equal"} or len(marks) > 1:
        raise ValueError(f"unknown mark in {line!r}")
    differs = "differs" in marks
    if not marks and reference_default is not ABSENT and candidate_default is not ABSENT:
        differs = not _equal_defaults(words[0], reference_default, candidate_default)
    return Parameter(reference, reference_default, candidate, candidate_default, words[0], differs)


def _equal_defaults(transform: str, reference: Any, candidate: Any) -> bool:
    if transform in INCOMPARABLE:
        return True
    try:
        return equal(transform, convert(transform, reference), candidate)
    except Unknown:
        return False


LAYOUTS = frozenset({"same", "transpose", "unsqueeze2", "flatten", "reshape"})
"""Changes of layout that a weight line may give."""


def _weight(line: str) -> Weight:
    body, separator, layout = line.partition(" : ")
    left, arrow, right = (part.strip() for part in body.partition("->"))
    if not left or (separator and layout.strip() not in LAYOUTS):
        raise ValueError(f"not a weight: {line!r}")
    return Weight(left, (right or None) if arrow else left, layout.strip() or "same")


def _initializer(line: str) -> Initializer:
    left, _, right = (part.strip() for part in line.partition("->"))
    weight, separator, spec = (part.strip() for part in left.partition(":"))
    if not separator or not spec:
        raise ValueError(f"not an initializer: {line!r}")
    if not right:
        return Initializer(weight, spec, weight, spec)
    candidate, separator, other = (part.strip() for part in right.partition(":"))
    return Initializer(weight, spec, candidate, other if separator else spec)
