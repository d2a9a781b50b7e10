"""The model once more in evaluation mode, after the last step: what only shows there is recorded and forced too."""

from __future__ import annotations

from typing import Any, NamedTuple

from parity.errors import ParityError
from parity.model import EVALUATION


class Given(NamedTuple):
    """What a model was called with first in a step."""

    step: int
    layer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def evaluate(session: Any) -> None:
    """Calls each model of a session with what it was given in the last step; nothing is learned from it.

    A model that cannot be called like that (it needs its targets only in training, or fails) is left alone, and a
    note says so.

    Args:
        session: A session after its last step, before the script goes on.
    """
    last = [given for given in session._given.values() if given.step == session.step - 1]
    if not session.evaluates or session.inference or session.evaluated or not last:
        return
    step, session.step = session.step, EVALUATION
    session.evaluating = True
    try:
        for given in last:
            session.adapter.evaluate(given.layer, lambda given=given: given.layer(*given.args, **given.kwargs))
        session._on_step_end()
        session.evaluated = True
    except ParityError:
        raise
    except Exception as error:  # whatever the script's model raises: evaluation mode is not what it was written for
        session.notes.append(f"the model could not be called in evaluation mode ({type(error).__name__}: {error})")
    finally:
        session.stack.clear()
        session.evaluating, session.step, session.busy = False, step, False
