"""evaluate.py as users run it, on weights of a small corpus."""

import json

import numpy as np
import pytest
from helpers import evaluate, script, train
from PIL import Image

from maml.classifier import choose
from maml.data.arrays import read_index
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training import checkpoint, restore


@pytest.mark.both_paddles
def test_evaluation_finds_the_checkpoint_and_says_everything(data, run):
    text = evaluate(data, run[0]).stdout
    for part in (
        "maml_5w1s.pkl",
        "5-way 1-shot",
        "9 tasks with seed 0",
        "test characters",
        "random split",
        "transductive",
        "+-",
        "NOT Omniglot",
    ):
        assert part in text
    report = json.loads(evaluate(data, run[0], "--json").stdout)
    assert (
        len(report["accuracies"]) == 3
        and report["accuracy"] == report["accuracies"][-1]
        and report["data"] == "stand-in"
    )


def test_evaluation_is_the_same_for_one_and_two_processes(data, run):
    one, two = (json.loads(evaluate(data, run[0], "--json", "--workers", n).stdout) for n in (1, 2))
    assert one == two


def test_an_error_that_all_processes_meet_is_shown_once(data, run):
    done = evaluate(data, run[0], "--way", 20, "--shot", 5, "--workers", 2, status=2)
    assert done.stderr.count("no checkpoint for") == 1 and done.stderr.count("\n") == 1


def test_evaluation_modes_and_steps(data, run, tmp_path):
    both = [
        json.loads(evaluate(data, run[0], "--json", "--bn", bn).stdout)
        for bn in ("transductive", "inductive")
    ]
    assert [r["bn"] for r in both] == ["transductive", "inductive"] and both[0][
        "accuracies"
    ] != both[1]["accuracies"]
    assert [
        json.loads(line)
        for line in evaluate(
            data, run[0], "--json", "--bn", "both", "--workers", 2
        ).stdout.splitlines()
    ] == both
    assert evaluate(data, run[0], "--bn", "both").stdout.count("accuracy: ") == 2
    for elsewhere in (["--runs", tmp_path], ["--support", tmp_path, "--query", tmp_path]):
        assert (
            "choose one of transductive and inductive"
            in evaluate(data, run[0], "--bn", "both", *elsewhere, status=2).stderr
        )
    four = json.loads(evaluate(data, run[0], "--json", "--inner_steps_test", 4).stdout)
    assert len(four["accuracies"]) == 5 and [r["inner_steps_test"] for r in (four, *both)] == [
        4,
        2,
        2,
    ]
    assert (
        "accuracy after 2 steps of the inner loop: " in evaluate(data, run[0], "--last_step").stdout
    )
    assert "accuracy after 0, 1, ... 2 steps of the inner loop: " in evaluate(data, run[0]).stdout
    assert (
        "accuracy after 0 and 1 step of the inner loop: "
        in evaluate(data, run[0], "--inner_steps_test", 1).stdout
    )
    copies = json.loads(evaluate(data, run[0], "--json", "--distortions_test", 2).stdout)
    assert copies["distortions_test"] == 2 and copies["accuracies"] != both[0]["accuracies"]
    assert copies["losses"][0] == pytest.approx(
        both[0]["losses"][0], rel=1e-3
    )  # before the first step nothing has changed


def test_evaluation_refuses_what_would_give_a_wrong_number(data, run, raw, tmp_path):
    assert (
        "no checkpoint for way 20 and shot 5"
        in evaluate(data, run[0], "--way", 20, "--shot", 5, status=2).stderr
    )
    file = run[0] / "checkpoints" / "maml_5w1s.pkl"
    assert (
        "is for reptile, not for maml"
        in evaluate(data, run[0], "--inner_batch_test", 0, status=2).stderr
    )
    assert (
        "was trained for way 5"
        in evaluate(data, run[0], "--checkpoint", file, "--way", 6, status=2).stderr
    )
    script("make_data.py", "--raw", raw, "--out", tmp_path / "seed", "--seed", 1)
    assert "was trained or chosen on" in evaluate(tmp_path / "seed", run[0], status=2).stderr
    script("make_data.py", "--raw", raw, "--out", tmp_path / "size", "--image-size", 20)
    assert "image_size 28, these have 20" in evaluate(tmp_path / "size", run[0], status=2).stderr
    state = safe_pickle.load(file)
    state["data"]["source"] = "omniglot"
    safe_pickle.save(state, tmp_path / "a.pkl")
    assert (
        "source 'omniglot', these have 'stand-in'"
        in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl", status=2).stderr
    )
    state["data"]["source"], state["data"]["sha256"]["test"] = "stand-in", "other"
    safe_pickle.save(state, tmp_path / "a.pkl")
    assert (
        "differ in some pixels" in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl").stderr
    )
    state["weights"][0] = state["weights"][0] * np.float32("nan")
    safe_pickle.save(state, tmp_path / "a.pkl")
    assert (
        "not finite" in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl", status=2).stderr
    )


@pytest.mark.parametrize(
    "flags",
    [[], ["--within-alphabet", "--way", 2, "--workers", 2]],
    ids=["", "within an alphabet"],
)
def test_figures(data, run, tmp_path, flags):
    evaluate(
        data,
        run[0],
        "--checkpoint",
        run[0] / "checkpoints" / "maml_5w1s.pkl",
        *flags,
        "--figures",
        tmp_path / "figures",
    )
    for name in ("learning_curves.png", "predictions.png", "hardest.png"):
        with Image.open(tmp_path / "figures" / name) as image:
            assert image.size[0] > 500
    (tmp_path / "file").touch()
    assert list((tmp_path / "figures").glob("vdlrecords*"))
    assert (
        "cannot be written"
        in evaluate(data, run[0], "--figures", tmp_path / "file", status=2).stderr
    )


def test_steps_on_all_of_the_support(data, tmp_path):
    train(data, tmp_path, "--algorithm", "reptile", "--train_query", 0, "--inner_batch_test", 2)
    two, every = (
        evaluate(data, tmp_path, "--inner_batch_test", n).stdout.splitlines() for n in (2, 0)
    )
    assert "each update step on 0 support images (0: all)" in every and two[-1] != every[-1]


def test_a_metric_learner_serves_any_way_and_shot(data, tmp_path):
    train(data, tmp_path, "--algorithm", "protonet", "--train_way", 10, "--train_query", 5)
    report = json.loads(evaluate(data, tmp_path, "--way", 8, "--shot", 3, "--json").stdout)
    assert (report["way"], report["shot"], report["bn"]) == (8, 3, "inductive")
    evaluate(data, tmp_path, "--shot", 16, "--query", 4)
    assert (
        "both is for maml and reptile" in evaluate(data, tmp_path, "--bn", "both", status=2).stderr
    )
    tuned = json.loads(evaluate(data, tmp_path, "--finetune", 5, "--entropy", 0.1, "--json").stdout)
    assert len(tuned["accuracies"]) == 2 and tuned["finetune"] == {
        "steps": 5,
        "rate": 0.1,
        "entropy": 0.1,
    }
    assert (
        "accuracy after 0 and 5 steps of fine-tuning: "
        in evaluate(data, tmp_path, "--finetune", 5).stdout
    )
    assert (
        "accuracy after 5 steps of fine-tuning: "
        in evaluate(data, tmp_path, "--finetune", 5, "--last_step").stdout
    )
    alphabet = evaluate(data, tmp_path, "--within-alphabet", "--way", 2, "--query", 1).stdout
    assert "characters of one alphabet (any)" in alphabet
    assert (
        "way is 9, but alphabet"
        in evaluate(data, tmp_path, "--within-alphabet", "--way", 9, status=2).stderr
    )


def test_fine_tuning_is_refused_where_the_encoder_comes_with_a_classifier(data, run):
    assert (
        "maml learns its own classifier" in evaluate(data, run[0], "--finetune", 3, status=2).stderr
    )


def test_a_classifier_of_more_classes_serves_fewer(data, run):
    file = run[0] / "checkpoints" / "maml_5w1s.pkl"
    told = json.loads(evaluate(data, run[0], "--checkpoint", file, "--way", 3, "--json").stdout)
    assert told["way"] == 3 and told["accuracies"][-1] > 1 / 5


@pytest.mark.parametrize(
    "flags", [[], ["--learned_rates"], ["--algorithm", "reptile", "--train_query", 0]]
)
def test_fewer_classes_are_learned_in_shorter_steps(data, tmp_path, flags):
    train(data, tmp_path, "--way", 6, "--outer_lr", 0, "--name", "six", *flags)
    model = checkpoint.read(tmp_path / "checkpoints" / "six.pkl")
    for way, rate in ((6, 0.1), (3, 0.025)):
        made = restore(model, way)
        rates = (
            made.inner_lr
            if "reptile" in flags
            else made.learned[0].numpy()
            if "--learned_rates" in flags
            else made.alpha
        )
        np.testing.assert_allclose(rates, rate, rtol=1e-6)
    assert restore.share(model.config, 20) == 1


def test_evaluation_finds_weights_for_these_data_and_this_task(data, run, raw, tmp_path):
    """Of learners that serve any task, one for as many classes, though its validation accuracy, of
    harder tasks, is lower; and the best on validation characters that it was not trained on.
    """
    state = safe_pickle.load(run[0] / "checkpoints" / "maml_5w1s.pkl")
    for way, accuracy, split in ((5, 0.9, "random"), (20, 0.8, "random"), (20, 0.95, "background")):
        made = {
            **state,
            "config": {**state["config"], "algorithm": "protonet", "way": way},
            "best": {"accuracy": accuracy, "epoch": 1},
            "data": {**state["data"], "split": split},
        }
        safe_pickle.save(made, tmp_path / f"{split}{way}.pkl")
        seen = {
            **made,
            "config": {**made["config"], "train_on_val": True},
            "best": {"accuracy": 0.99, "epoch": 1},
        }
        safe_pickle.save(seen, tmp_path / f"{split}{way}_seen.pkl")
    index = read_index(data)
    find = lambda *task, **more: choose.find(tmp_path, *task, **more).path.name  # noqa: E731
    assert (
        find(20, 1, data=index) == "random20.pkl"
        and find(5, 1, data=index) == "random5.pkl"
        and find(7, 5, data=index) == "random5.pkl"
    )
    assert (
        find(20, 1) == "background20.pkl"
        and find(5, 1) == "random5.pkl"
        and find(5, 1, split="background") == "background20.pkl"
    )
    for path in tmp_path.glob("random*.pkl"):
        path.unlink()
    with pytest.raises(UserError, match="no checkpoint for way 5 and shot 1 and the random split"):
        find(5, 1, data=index)
