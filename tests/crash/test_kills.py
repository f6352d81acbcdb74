import numpy as np
import pytest
from crash import kills


@pytest.mark.slow
def test_three_kills_change_nothing(data, tmp_path):
    said = []
    kills.torment("maml", 30, data, tmp_path, 3, np.random.default_rng(0), said.append)
    assert len(said) >= 4 and said[-1].endswith("to the bit")
