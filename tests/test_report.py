"""The two reports, from comparisons made by hand."""

from __future__ import annotations

import json

import numpy as np

from parity.document import Cause, Comparison, Finding, Place, Side, Stage, Unaligned
from parity.errors import ScriptError
from parity.report.json import document, dumps, error_document
from parity.report.terminal import render, safe, safe_lines


def finding(path: str, **changes: object) -> Finding:
    given = {
        "kind": "unexplained", "stage": "forward", "severity": "fault", "status": "introduced", "step": 0,
        "op": "layer_norm", "reference": Place("enc.1.ln", "ref.py", 41), "candidate": Place(path, "ms.py", 57),
        "error": 2.1e-4, "floor": 3.0e-7, "ratio": 700.0, "message": "",
    }  # fmt: skip
    return Finding(**{**given, **changes})  # type: ignore[arg-type]


def comparison(findings: list[Finding], **changes: object) -> Comparison:
    given = {
        "verdict": "diverged", "headline": "the norm diverges", "first": 0, "findings": findings,
        "stages": {
            "metrics": Stage("absent"), "forward": Stage("diverged", 412, 418, 3, "6 not aligned"),
            "data": Stage("skipped", note="only with --train N"),
        },
        "unaligned": Unaligned(["aux.head"], []),
        "reference": Side(["ref.py", "--lr", "1"], "torch", "2.13.0", "3.11.7", 3),
        "candidate": Side(["ms.py"], "mindspore", "2.10.0", "3.11.7", 3, ["GRAPH_MODE was run in PyNative mode"]),
    }  # fmt: skip
    return Comparison(**{**given, **changes})  # type: ignore[arg-type]


class TestTerminal:
    def test_order_and_content(self) -> None:
        cause = Cause("the epsilon differs", 0.98, "1e-7 explains 99% of it")
        others = [finding(f"inherits.{n}", status="propagated") for n in range(7)]
        warning = finding("loader", severity="warning", message="no seed", status=None, stage="environment")
        text = render(
            comparison(
                [finding("norm", cause=cause, fix="epsilon=1e-5"), *others, finding("second", kind="shape"), warning]
            )
        ).plain
        lines = text.split("\n")
        assert lines[0] == "the norm diverges"
        assert lines[2] == "  norm (ms.py:57) against enc.1.ln (ref.py:41)"
        expected = "forward, step 0, layer_norm: 2.1e-04 where rounding explains 3.0e-07, 700 times that"
        assert lines[3].strip() == expected
        assert lines[4].strip() == "cause (98% sure): the epsilon differs; 1e-7 explains 99% of it"
        assert lines[5].strip() == "fix: epsilon=1e-5"
        marks = [
            "Introduced besides (1):", "  second (ms.py:57)", "Only inherited (7): inherits.0", "and 2 more",
            "Warnings:", "no seed", "Compared:", "412 of 418, 3 diverged", "6 not aligned",
            "skipped, only with --train N: data", "in neither script: metrics", "Not aligned:", "aux.head",
            "reference: ref.py --lr 1 (torch 2.13.0, Python 3.11.7, 3 steps)", "GRAPH_MODE was run in PyNative mode",
        ]  # fmt: skip
        places = [text.index(mark) for mark in marks]
        assert places == sorted(places)

    def test_what_is_to_be_said_of_several_places_is_said_once(self) -> None:
        def norm(path: str, line: int, value: float) -> Finding:
            places = {"reference": Place(path, "ref.py", line, 1e-5), "candidate": Place(path, "ms.py", line, value)}
            return finding(path, kind="norm-eps", **places)

        norms = [norm(f"n.{number}", 10 + number, 1e-7) for number in range(8)]
        others = [norm("other", 30, 1e-3), finding("same.line"), finding("same.line.too")]
        lines = render(comparison([*norms, *others])).plain.split("\n")
        assert sum("against" in line for line in lines) == 3
        likewise = [line.strip() for line in lines if "likewise" in line]
        shown = ", ".join(f"n.{number} (ms.py:{10 + number})" for number in range(1, 6))
        assert likewise == [f"likewise at {shown} and 2 more", "likewise at same.line.too (ms.py:57)"]
        assert "Introduced besides (3):" in lines

    def test_a_match_is_short(self) -> None:
        text = render(comparison([], verdict="match", headline="match", first=None, unaligned=Unaligned())).plain
        assert "Introduced" not in text
        assert "Not aligned" not in text
        assert text.startswith("match\n\nCompared:\n")

    def test_a_fault_without_a_place(self) -> None:
        place, message = Place(""), "one side made fewer steps"
        changes = {"reference": place, "candidate": place, "message": message, "error": None, "op": None}
        only = finding("", stage="training", **changes)
        text = render(
            comparison([only], first=None, verdict="error", stages={"training": Stage("diverged", diverged=1)})
        )
        lines = text.plain.split("\n")
        assert lines[2:5] == ["Introduced (1):", "  one side made fewer steps", "      training, step 0"]
        assert "  training        diverged     1 diverged" in lines

    def test_numbers_that_are_not_there(self) -> None:
        text = render(comparison([finding("x", error=None, floor=None, ratio=None, op=None, step=None)])).plain
        assert "      forward\n" in text

    def test_nothing_steers_the_terminal(self) -> None:
        evil = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m\r\n\ud800"
        place = Place(evil, evil, 1, evil)
        changes = {"message": evil, "op": evil, "fix": evil, "cause": Cause(evil, 0.5, evil), "reference": place}
        findings = [
            finding(evil, **changes),
            finding(evil, status="propagated"),
            finding(evil, severity="warning", message=evil),
        ]
        side = Side([evil], evil, evil, evil, 3, [evil])
        stages = {evil: Stage(evil, 1, 2, 1, evil), "data": Stage("skipped", note=evil)}
        unaligned = Unaligned([evil], [evil])
        changed = {"stages": stages, "unaligned": unaligned, "reference": side, "candidate": side}
        text = render(comparison(findings, headline=evil, **changed)).plain
        for char in evil:
            assert char.isprintable() or char == "\n" or char not in text
        assert "\\x1b[2J" in text

    def test_safe(self) -> None:
        assert safe("层.é\x1b\n") == "层.é\\x1b\\n"
        assert safe_lines("a\n\tb\x1b") == "a\n    b\\x1b"


class TestJson:
    def test_keys_in_their_order(self) -> None:
        found = document(comparison([finding("norm")]))
        assert list(found) == [
            "schema", "verdict", "headline", "first", "findings", "stages", "unaligned", "reference", "candidate",
        ]  # fmt: skip
        assert list(found["findings"][0]) == [
            "kind", "stage", "severity", "status", "step", "op", "reference", "candidate", "error", "floor", "ratio",
            "message", "cause", "fix", "related",
        ]  # fmt: skip
        assert found["findings"][0]["candidate"] == {"path": "norm", "file": "ms.py", "line": 57, "value": None}
        assert found["stages"]["forward"]["total"] == 418

    def test_what_json_lacks(self) -> None:
        place = Place("x", value={"eps": np.float32(0.5), "many": (float("inf"), 1), "kind": float, 3: np.int64(4)})
        found = document(comparison([finding("x", error=float("nan"), ratio=float("inf"), candidate=place)]))
        (only,) = json.loads(dumps(found))["findings"]
        assert (only["error"], only["floor"], only["ratio"]) == (None, 3.0e-7, None)
        assert only["candidate"]["value"] == {"eps": 0.5, "many": [None, 1], "kind": "<class 'float'>", "3": 4}

    def test_any_text_can_be_printed(self) -> None:
        text = dumps(document(comparison([], headline="层 \ud800 \x1b")))
        assert text.isascii()
        assert json.loads(text)["headline"] == "层 \ud800 \x1b"

    def test_details_only_where_they_are_kept(self) -> None:
        given = comparison([], details={"timings": {"forced": 1.5}})
        assert "details" not in document(given)
        assert document(given, details=True)["details"] == {"timings": {"forced": 1.5}}

    def test_errors(self) -> None:
        error = ScriptError("it failed", hint="mend it", side="candidate")
        assert error_document(error) == {
            "schema": 1,
            "verdict": "error",
            "error": {"slug": "script-failed", "message": "it failed", "side": "candidate", "hint": "mend it"},
        }
