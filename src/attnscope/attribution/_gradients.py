"""Relevance from one gradient: of the attention scores, or of the input itself."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.attribution._differentiation import derivatives, differentiated_scores
from attnscope.attribution._sources import per_position, sources
from attnscope.attribution._streams import Roles, valid_positions, weights_of_queries, wiring
from attnscope.attribution._subject import Subject
from attnscope.handlers import Differentiator


def gradient_x_attention(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """Attention weighted by how much the target wants more of it: ``r_j = mean_lqh (A_lhqj * dy/dA_lhqj)+``, the mean
    over all sites ``l`` whose keys are the positions; class-specific.

    The derivative is that by the weights after the softmax, each taken by itself. Padding gets 0 and padded queries
    are left out; masked cells have weight 0 and add nothing. Sinks are kept. NaN spreads.

    Args:
        subject: The model, its inputs and the target.
        query: The query that is read at every site, 0 for a class token in front; None for the mean over the valid
            ones.
        roles: See `wiring`.
        prefix: See `wiring`.

    Returns:
        dims ``(sample, key)``, float64, at least 0, in units of the target. Costs one gradient pass per sample.

    Raises:
        MethodError: No site's keys are the positions, or there is no such query.

    Source:
        Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability", eq. 5, for the product, its positive part
        and the mean over heads; Barkan et al. 2021, "Grad-SAM", for taking it over all layers.
    """
    wired = wiring(subject, roles=roles, prefix=prefix)
    wires = wired.onto_home
    counted = {
        wire.site.name: np.ones((subject.samples, 1))
        if wire.pools
        else weights_of_queries(valid_positions(subject, wired, wire.reader, wire.queries), query)
        for wire in wires
    }
    values = np.zeros((subject.samples, wires[0].keys))
    for rows, scores, gradients in differentiated_scores(subject, wires):
        for name, weights in counted.items():
            weighted = positive_product(scores[name], gradients[name])
            values[rows] += np.einsum("sq,sqk->sk", weights[rows], weighted) / len(wires)
    return subject.relevance(
        values[:, wired.prefix :],
        "gradient_x_attention",
        class_specific=True,
        sites=[wire.site.name for wire in wires],
    )


def positive_product(scores: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """``mean_h (A * dy/dA)+``, from dims ``(sample, head, query, key)`` to ``(sample, query, key)``, float64."""
    return np.asarray(np.maximum(scores.astype(float) * gradients, 0.0).mean(1))


def gradient_x_input(subject: Subject) -> xr.DataArray:
    """Each position's share in the linear part of the target around the input: ``r_j = sum_f x_jf * dy/dx_jf``;
    class-specific.

    Of tokens, ``x`` is the embedding (of every `Embedding` layer that is given the token numbers); of time steps the
    features of the step; of patches their pixels. The sign is kept: what speaks against the target is negative. Padding
    gets 0. For a target that is linear in the input without a constant, the sum over the positions is the target. NaN
    spreads.

    Args:
        subject: The model, its inputs and the target.

    Returns:
        dims ``(sample, key)``, float64, in units of the target. Costs one gradient pass per sample; for tokens up to 2
        forward passes more, which find their embedding.

    Raises:
        MethodError: The input is whole numbers, and no `Embedding` layer is given them.

    Source:
        Shrikumar et al. 2016, "Not Just a Black Box", where it is the simplest of the methods compared.
    """
    moving = sources(subject)
    subject = moving.subject
    read = subject.target.read
    differentiator = subject.scorer.kept(
        ("derivatives of inputs", read), lambda: Differentiator(subject.model, read, inputs=True)
    )
    values = np.zeros(subject.positions.valid.shape)
    for rows, found in derivatives(subject, differentiator, subject.batch_size):
        for name in moving.names:
            product = found.values[name].astype(float) * found.gradients[name]
            values[rows] += per_position(subject.positions, product[: found.batch.size])
    return subject.relevance(values, "gradient_x_input", class_specific=True)
