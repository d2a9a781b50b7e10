"""Which versions of each framework this version of parity is made for."""

from __future__ import annotations

SUPPORTED = {"torch": (">=2.4,<3", (2, 4), (3, 0)), "mindspore": (">=2.9,<2.11", (2, 9), (2, 11))}
"""Framework to its range in words, the first version in it and the first after it."""


def supported(framework: str, version: str) -> bool:
    """Whether a version is in the range; one that cannot be read is not."""
    _, first, beyond = SUPPORTED[framework]
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return first <= (major, minor) < beyond
