"""`parity.toml` beside the candidate: options of this pair, and what its author has decided about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from parity.errors import UsageError
from parity.options import Accepted, Ignored, Pin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "parity.toml"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Options that stand for those of the command line where it does not give them."""

    steps: int | None = None
    timeout: float | None = None
    only: list[str] | None = None
    skip: list[str] | None = None
    strict: bool | None = None
    rtol: float | None = None
    atol: float | None = None
    free: bool | None = None
    fresh: bool | None = None
    keep: str | None = None
    max_disk: str | None = None
    reference_python: str | None = None
    candidate_python: str | None = None
    reference_cwd: str | None = None
    candidate_cwd: str | None = None
    reference_args: str | None = None
    candidate_args: str | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    options: Settings = Settings()
    pin: list[Pin] = []
    ignore: list[Ignored] = []
    accept: list[Accepted] = []


def read_config(candidate: Path) -> Config:
    """The `parity.toml` in a candidate's folder; an empty one where there is none.

    Args:
        candidate: The candidate's script or trace.

    Raises:
        UsageError: It cannot be read, or says something that it cannot say.
    """
    path = candidate.parent / NAME
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    try:
        config = msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{path}: {error}", hint="it may hold [options], [[pin]], [[ignore]] and [[accept]]; see README.md"
        ) from None
    for reason in [entry.reason for entry in config.ignore] + [entry.reason for entry in config.accept]:
        if not reason.strip():
            raise UsageError(f"{path}: a reason is empty", hint="the report shows it: say why")
    return config


def merged(given: dict[str, Any], explicit: set[str], config: Config, folder: Path) -> dict[str, Any]:
    """The command line's values, with the file's in the place of those that were not given.

    Args:
        given: Values by the parameter's name.
        explicit: The names of those that stand on the command line.
        config: The file.
        folder: The file's folder, which its paths are relative to.
    """
    settings = {k: v for k, v in msgspec.structs.asdict(config.options).items() if v is not None}
    found = dict(given)
    for name, value in settings.items():
        if name in explicit or (name in ("rtol", "atol") and explicit & {"rtol", "atol"}):
            continue
        if name in ("only", "skip"):
            value = ",".join(value)
        elif name == "keep" or name.endswith("_cwd"):
            value = str(folder / value)
        found[name] = value
    return found
