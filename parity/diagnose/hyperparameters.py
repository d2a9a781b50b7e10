"""The stage of declared values: layers, losses, optimizers, schedules, clipping, loaders, epochs, settings."""

from __future__ import annotations

from parity.diagnose.hyper.clipping import compared_clipping
from parity.diagnose.hyper.configs import compared_configurations
from parity.diagnose.hyper.layers import compared_layers, compared_losses
from parity.diagnose.hyper.listed import listed
from parity.diagnose.hyper.loaders import compared_loaders
from parity.diagnose.hyper.optimizers import compared_optimizers
from parity.diagnose.stage import Claim, Context, Result
from parity.document import Stage


def judge(context: Context) -> Result:
    """Compares everything that both scripts declared of what corresponds.

    What differs without consequence in this run is a warning; the joining makes a fault of it where it diverges.
    """
    losses, loss_layers = compared_losses(context)
    layers, paired = compared_layers(context)
    optimizers, parameters = compared_optimizers(context)
    compared = loss_layers + paired + parameters
    claims = {n: Claim(stages=frozenset(["loss"])) for n in range(len(layers), len(layers) + len(losses))}
    stage = Stage("match" if compared else "inconclusive", compared, compared)
    found = layers + losses + optimizers + compared_clipping(context) + compared_loaders(context)
    return Result(found + compared_configurations(context, found), stage, claims, listed(context))
