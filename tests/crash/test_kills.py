import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import kills


def test_five_kills_change_nothing(data, tmp_path):
    said = []
    kills.torment("maml", 40, data, tmp_path, 5, np.random.default_rng(0), said.append)
    assert len(said) >= 6 and said[-1].endswith("to the bit")
