import re

import pytest
from helpers import script

sine = pytest.importorskip("examples.sine", reason="examples/ is beside tests/")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pretrained():
    learner = sine.make("pretrained")
    sine.train(learner, 400)
    return sine.errors(learner)[-1]


@pytest.mark.parametrize("algorithm, steps", [("maml", 1200), ("reptile", 600)])
def test_learns_to_adapt_to_a_wave(pretrained, algorithm, steps):
    learner = sine.make(algorithm)
    sine.train(learner, steps)
    before, *_, after = sine.errors(learner)
    assert after < 0.6 * before and after < 0.6 * pretrained


def test_the_example_runs():
    """It prints the errors of both networks, to two places, as they come out here."""
    out = script("examples/sine.py", "--steps", 2).stdout
    line = r"^(\w+) +before adapting ([\d.]+), after (\d+) update steps ([\d.]+)$"
    found = re.findall(line, out, re.MULTILINE)
    assert [(name, steps) for name, _, steps, _ in found] == [("pretrained", "1"), ("maml", "1")]
    for name, before, _, after in found:
        learner = sine.make(name)
        sine.train(learner, 2)
        assert [float(before), float(after)] == pytest.approx(sine.errors(learner), abs=0.006)
