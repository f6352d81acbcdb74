"""What every committed checkpoint says of fifteen drawings, beside what it said when the file was
written: where scores of the same weights change, the figures in the READMEs may have changed too.

golden/drawings.png holds five of the stand-in's characters (maml.glyphs, seed 8), a row each, so
that neither `maml.glyphs` nor Pillow can move them; two drawings of a row are support, three are
query. After new checkpoints, or a change that is meant to change scores, golden/scores.json is
written anew by

  PYTHONPATH=. python tests/test_golden.py
"""

import json

import numpy as np
import paddle
import pytest
from helpers import ROOT
from PIL import Image

from maml.algorithms.finetune import FineTune
from maml.training.checkpoint import read
from maml.training.restore import restore

pytestmark = pytest.mark.both_paddles

DRAWINGS, SCORES = ROOT / "tests/golden/drawings.png", ROOT / "tests/golden/scores.json"
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.pkl"))
WAY, SHOT, QUERY, SIDE = 5, 2, 3, 28
LABELS = np.array([3, 0, 4, 1, 2])  # of the rows of drawings

# In standard deviations of a case's scores. PaddlePaddle 2.6.2 and 3.3.1 differ by 3e-6, the code
# paths of Intel's MKL by 1.2e-4 (protonet_60w1s_wide_train_val; elsewhere by 1.2e-5).
TOLERANCE = 1e-3

MODES = {"transductive": {"bn": "transductive"}, "inductive": {"bn": "inductive"}}
CASES = {  # of an algorithm's checkpoints: by name, what is not as in training
    "maml": MODES,
    "reptile": MODES,
    "protonet": {"plain": {}, "refined": {"refine": 3}},
    "matching": {"plain": {}},
    "siamese": {"plain": {}},
}
MORE_CASES = {  # of one checkpoint
    "maml_20w1s": {"distorted": {"distortions_test": 8}},
    "protonet_60w1s": {"distorted": {"distortions_test": 8}},
    "siamese_triplets": {"fine-tuned": {"finetune": (20, 0.1, 0.5)}},
}


def scores(path, support_x, support_y, query_x, finetune=None, **changes):
    """A checkpoint's scores [15, 5] of the queries. Whatever is called of the library to have them
    is called here; finetune: steps, rate and weight of the entropy."""
    trained = read(path)
    learner = restore(trained, WAY, **changes)
    support_x, query_x = (enlarged(x, trained.data.image_size) for x in (support_x, query_x))
    if finetune:
        learner = FineTune(learner, *finetune)
    *_, adapted = learner.adapt(paddle.to_tensor(support_x), paddle.to_tensor(support_y))
    return learner.predict(adapted, paddle.to_tensor(query_x)).numpy()[0]


def enlarged(x, size):
    """Images as weights take them that were trained on larger ones: pixels are repeated."""
    nearest = np.arange(size) * SIDE // size
    return x[..., nearest[:, None], nearest]


def task():
    """Support [1, 10, 1, 28, 28] with labels [1, 10], and queries [1, 15, 1, 28, 28] with theirs;
    neither stands sorted by class."""
    with Image.open(DRAWINGS) as sheet:
        drawings = np.asarray(sheet).reshape(WAY, SIDE, SHOT + QUERY, SIDE).swapaxes(1, 2)
    return *mixed(drawings[:, :SHOT], step=7), *mixed(drawings[:, SHOT:], step=4)


def mixed(drawings, step):
    """Drawings [way, n, 28, 28] as images and labels of a task, every `step`th in its turn."""
    images = drawings.shape[0] * drawings.shape[1]
    order = np.arange(images) * step % images  # all of them: `step` has no factor of `images`
    x = drawings.reshape(images, 1, SIDE, SIDE)[order].astype(np.float32) / 255
    return x[None], LABELS.repeat(drawings.shape[1])[order][None]


def all_scores(path):
    """By case, what a checkpoint says of the queries of `task`."""
    support_x, support_y, query_x, _ = task()
    cases = {**CASES[read(path).config.algorithm], **MORE_CASES.get(path.stem, {})}
    return {
        case: scores(path, support_x, support_y, query_x, **changes)
        for case, changes in cases.items()
    }


def golden():
    return json.loads(SCORES.read_text(encoding="utf-8"))


def write():
    """golden/scores.json, with a line for each case and six digits of each score."""
    checkpoints = []
    for path in CHECKPOINTS:
        cases = {
            case: [[float(f"{s:.6g}") for s in row] for row in z]
            for case, z in all_scores(path).items()
        }
        lines = ",\n".join(f"  {json.dumps(case)}: {json.dumps(z)}" for case, z in cases.items())
        checkpoints.append(f" {json.dumps(path.stem)}: {{\n{lines}\n }}")
    SCORES.write_text("{\n" + ",\n".join(checkpoints) + "\n}\n", encoding="utf-8")


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_says_what_it_said(path):
    stated, found = golden().get(path.stem, {}), all_scores(path)
    assert found.keys() == stated.keys(), f"no golden scores of {path.stem}, or of other cases"
    for case, z in found.items():
        expected = np.array(stated[case])
        error = np.abs(z - expected).max() / expected.std()
        assert error < TOLERANCE, f"{path.stem}, {case}: scores differ by {error:.1e}"
        assert (z.argmax(axis=1) == expected.argmax(axis=1)).all(), f"{path.stem}, {case}"


def test_the_golden_scores_are_of_these_checkpoints_and_sure():
    """They are mostly right, and none is so near a tie that rounding could decide it."""
    stated, query_y = golden(), task()[3][0]
    assert stated.keys() == {path.stem for path in CHECKPOINTS}
    for case in (np.array(z) for cases in stated.values() for z in cases.values()):
        best = np.sort(case, axis=1)
        assert (best[:, -1] - best[:, -2]).min() > 20 * TOLERANCE * case.std()
        assert (case.argmax(axis=1) == query_y).mean() > 0.8


if __name__ == "__main__":
    write()
