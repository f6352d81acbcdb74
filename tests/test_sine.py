import pytest
from helpers import ROOT, script

sine = pytest.importorskip("examples.sine", reason="examples/ is beside tests/")


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
    out = script("examples/sine.py", "--steps", 2).stdout
    assert out.count("before adapting") == 2 and (ROOT / "examples" / "sine.py").exists()
