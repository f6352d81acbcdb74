"""Drawings to learn from."""

import numpy as np
import pytest

from maml.data import stand_in
from maml.data.arrays import convert


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Drawings [characters, 20, 28, 28] uint8 of characters that nothing was trained on."""
    folder = tmp_path_factory.mktemp("drawings") / "raw"
    stand_in.write(folder, alphabets=5, characters=2, seed=8)
    arrays, _ = convert(folder, 28, "random", 0)
    return np.concatenate(list(arrays.values()))[:, :, 0]
