"""The coincidence test: what an axis is does not change when all sizes are the same."""

import numpy as np
import pytest

import attnscope as ats
from lineage_zoo import CASES, SIZES

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.filterwarnings("ignore:Layer .flatten. .*mask:UserWarning"),
]

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
sizes = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)


@cases
@sizes
def test_dims_lineage_validity_and_numbers_are_those_of_the_construction(case, sizes, rng):
    model, inputs = case.build(sizes), case.inputs(sizes, rng)
    given = inputs if len(inputs) > 1 else inputs[0]
    [site] = [site for site in ats.sites(model, given) if site.name == case.site]
    assert (site.taken, site.certainty) == (True, "traced")
    assert site.dims == case.dims
    assert {dim: site.lineage.get(dim) for dim in case.lineage} == case.lineage
    maps = ats.capture(model, given, progress=False, batch_size=2)
    scores = maps[case.site]
    assert scores.dims == case.dims
    if case.by_hand is not None:
        np.testing.assert_allclose(scores, case.by_hand(model, inputs), atol=1e-6)
    expected = np.ones_like(scores.key_valid) if case.valid is None else case.valid(inputs)
    np.testing.assert_array_equal(scores.key_valid, expected)
    assert not {finding.kind for finding in maps.findings} & {"by_size", "lost"}
