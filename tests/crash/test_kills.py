import numpy as np
import pytest
from crash import kills


@pytest.mark.slow
def test_a_kill_changes_nothing(data, tmp_path):
    """`make test-all` kills fifty times."""
    said = []
    kills.torment("protonet", 30, data, tmp_path, 1, np.random.default_rng(0), said.append)
    assert len(said) >= 2 and said[-1].endswith("to the bit")
