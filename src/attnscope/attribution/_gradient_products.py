"""Relevance as the product of a gradient and what it is taken with respect to: the attention scores, or the input."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.attribution._differentiable_inputs import differentiable_inputs
from attnscope.attribution._differentiation import derivatives, score_derivatives
from attnscope.attribution._streams import query_weights, streams_of, valid_positions
from attnscope.attribution._subject import Subject
from attnscope.handlers import Differentiator
from attnscope.roles import Roles


def gradient_x_attention(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """Attention weighted by how much more of it would raise the target: ``r_j = mean_lqh (A_lhqj * dy/dA_lhqj)+``,
    the mean over all sites ``l`` whose keys are the positions; class-specific.

    The derivative is taken with respect to each weight after the softmax, independently of the others. Padding gets 0
    and padded queries are left out; masked cells have weight 0 and add nothing. Attention sinks are kept. NaN
    propagates.

    Args:
        subject: The model, its inputs and the target.
        query: The only query to read at every site, 0 for a class token at the start; None for the mean over the valid
            ones.
        roles: From a glob pattern of sites to the names of the streams of their queries and keys, where these cannot be
            inferred from the model.
        prefix: Number of positions in the attention that precede those of the input, such as class tokens; None for 0,
            or for pictures for 1 or 2 where there are that many more keys than patches.

    Returns:
        dims ``(sample, key)``, float64, at least 0, in units of the target. Costs one gradient pass per sample.

    Raises:
        MethodError: No site's keys are the positions, or there is no such query.

    Source:
        Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability", eq. 5, for the product, its positive part
        and the mean over heads; Barkan et al. 2021, "Grad-SAM", for taking it over all layers.
    """
    streams = streams_of(subject, roles=roles, prefix=prefix)
    sites = streams.over_input
    weights_by_site = {
        site.name: np.ones((subject.samples, 1))
        if site.pools
        else query_weights(valid_positions(subject, streams, site.query_stream, site.num_queries), query)
        for site in sites
    }
    values = np.zeros((subject.samples, sites[0].num_keys))
    for rows, scores, gradients in score_derivatives(subject, sites):
        for name, weights in weights_by_site.items():
            product = positive_product(scores[name], gradients[name])
            values[rows] += np.einsum("sq,sqk->sk", weights[rows], product) / len(sites)
    return subject.relevance(
        values[:, streams.prefix :],
        "gradient_x_attention",
        class_specific=True,
        sites=[site.name for site in sites],
    )


def positive_product(scores: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """``mean_h (A * dy/dA)+``, from dims ``(sample, head, query, key)`` to ``(sample, query, key)``, float64."""
    return np.asarray(np.maximum(scores.astype(float) * gradients, 0.0).mean(1))


def gradient_x_input(subject: Subject) -> xr.DataArray:
    """Each position's share in the linear part of the target around the input: ``r_j = sum_f x_jf * dy/dx_jf``;
    class-specific.

    For tokens, ``x`` is the embedding (from every `Embedding` layer that is given the token numbers); for time steps
    the features of the step; for patches their pixels. The sign is kept: what speaks against the target is negative.
    Padding gets 0. For a target that is linear in the input without a constant, the sum over the positions is the
    target. NaN propagates.

    Args:
        subject: The model, its inputs and the target.

    Returns:
        dims ``(sample, key)``, float64, in units of the target. Costs one gradient pass per sample; for tokens up to 2
        more forward passes in all, which find their embedding.

    Raises:
        MethodError: The input is whole numbers, and no `Embedding` layer is given them.

    Source:
        Shrikumar et al. 2016, "Not Just a Black Box", where it is the simplest of the methods compared.
    """
    differentiable = differentiable_inputs(subject)
    subject = differentiable.subject
    read = subject.target.read
    differentiator = subject.cache.once(
        ("derivatives of inputs", read),
        lambda: Differentiator(subject.model, read, inputs=True, unroll=differentiable.unroll),
    )
    values = np.zeros(subject.positions.valid.shape)
    for rows, of_batch in derivatives(subject, differentiator, subject.batch_size):
        for name in differentiable.names:
            product = of_batch.values[name].astype(float) * of_batch.gradients[name]
            values[rows] += differentiable.summed(name, product[: of_batch.batch.size])
    return subject.relevance(values, "gradient_x_input", class_specific=True)
