"""Checkpoints and the learners that they are restored to."""

import numpy as np
import pytest
from helpers import ROOT

from maml.config import Config
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.build import build_learner
from maml.training.checkpoint import read
from maml.training.restore import restore


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s["weights"].__setitem__(0, s["weights"][0][:-1]), "do not fit the network"),
        (
            lambda s: s["weights"].__setitem__(0, s["weights"][0].astype("float64")),
            "do not fit the network",
        ),
        (lambda s: s["weights"].__setitem__(0, s["weights"][0] * np.float32("inf")), "not finite"),
        (lambda s: s["weights"].__setitem__(0, [1.0]), "no arrays"),
        (lambda s: s["weights"].pop(), "do not fit the network"),
        (
            lambda s: s["running"].append(np.zeros((1, 1, 64), np.float32)),
            "running averages that do not fit",
        ),
        (lambda s: s.update(weights=None), "'weights' is no list"),
        (lambda s: s["config"].update(way=10**9), "way must be at most 10000"),
        (lambda s: s["config"].update(surprise=1), "unknown setting 'surprise'"),
        (lambda s: s["data"].update(image_size=10**6), "does not tell its data"),
        (lambda s: s["data"].pop("sha256"), "does not tell its data"),
        (lambda s: s["best"].clear(), "lacks the best accuracy"),
        (lambda s: s.update(machine=3), "its machine has no name"),
        (
            lambda s: s["history"].append({"epoch": 1, "part": "train", "accuracies": ["all"]}),
            "its history does not list accuracies",
        ),
    ],
)
def test_what_fits_no_network_is_refused(tmp_path, change, message):
    made = build_learner(Config(algorithm="protonet"))
    data = {
        "source": "other",
        "split": "random",
        "seed": 0,
        "image_size": 28,
        "polarity": "ink high",
        "pillow": "11",
        "sha256": {"train": "", "val": "", "test": ""},
        "rows": {"train": [], "val": []},
    }
    state = {
        "weights": [p.numpy() for p in made.meta_parameters],
        "running": [],
        "config": {"algorithm": "protonet"},
        "data": data,
        "best": {"accuracy": 0.5, "epoch": 1},
        "history": [],
    }
    safe_pickle.save(state, tmp_path / "a.pkl")
    restore(read(tmp_path / "a.pkl"))
    change(state)
    safe_pickle.save(state, tmp_path / "a.pkl")
    with pytest.raises(UserError, match=message):
        restore(read(tmp_path / "a.pkl"))


def test_a_classifier_that_is_a_scalar_cannot_be_cut(tmp_path):
    state = safe_pickle.load(ROOT / "checkpoints" / "maml_5w1s.pkl")
    state["weights"][-2] = np.array(1, np.float32)
    safe_pickle.save(state, tmp_path / "a.pkl")
    with pytest.raises(UserError, match="do not fit the network"):
        restore(read(tmp_path / "a.pkl"), 3)
