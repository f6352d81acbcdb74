"""evaluate.py as users run it, on weights of a small corpus."""

import json
import signal

import numpy as np
import pytest
from helpers import command, evaluate, train
from PIL import Image

from maml.system import safe_pickle
from maml.training.checkpoint import read
from maml.training.restore import inner_lr_scale, restore

ASKED = "---------------------在{}个随机任务上测试:---------------------"

ONCE = ["--meta_iterations", 1]  # where weights of any kind will do


def reports(data, run, *flags, workers=None):
    """The reports that evaluate.py prints as JSON, one for each mode of batch normalisation."""
    said = evaluate(data, run, "--json", *flags, workers=workers).stdout
    return [json.loads(line) for line in said.splitlines()]


def report(data, run, *flags, workers=None):
    (only,) = reports(data, run, *flags, workers=workers)
    return only


def refusal(data, run, *flags):
    """The line that refuses these flags, whose standard output is empty."""
    said = evaluate(data, run, *flags, status=2)
    assert said.stdout == "" and said.stderr.count("error: ") == 1
    return said.stderr


@pytest.fixture(scope="module")
def protonet(data, tmp_path_factory):
    """A folder with Prototypical Networks, hardly trained."""
    out = tmp_path_factory.mktemp("protonet")
    train(data, out, "--algorithm", "protonet", "--train_way", 10, "--train_query", 5, *ONCE)
    return out


@pytest.mark.both_paddles
def test_evaluation_finds_the_checkpoint_and_says_everything(data, run):
    said = evaluate(data, run[0])
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
        assert part in said.stdout
    assert "maml_5w1s.pkl, the only weights that serve this task" in said.stderr
    found = report(data, run[0])
    assert len(found["accuracies"]) == 3 and found["accuracy"] == found["accuracies"][-1]
    assert (found["way"], found["shot"], found["query"], found["data"]) == (5, 1, 2, "stand-in")


def test_the_forerunners_lines_are_printed(data, run):
    lines = evaluate(data, run[0]).stdout.splitlines()
    found = report(data, run[0])
    after = lines.index(ASKED.format(9))
    vector = " ".join(f"{a:.4f}" for a in found["accuracies"])
    assert lines[after + 1] == f"测试集准确率: [{vector}]" and set(lines[after + 2]) == {"-"}
    of_validation = evaluate(data, run[0], "--part", "val").stdout
    assert "验证集准确率: [" in of_validation and "测试集" not in of_validation


@pytest.mark.slow
def test_evaluation_is_the_same_for_one_and_two_processes(data, run):
    both = reports(data, run[0], "--bn", "both", workers=2)
    assert both == reports(data, run[0], "--bn", "both")


@pytest.mark.slow
def test_an_error_that_all_processes_meet_is_shown_once(data, run):
    done = evaluate(data, run[0], "--way", 20, "--shot", 5, workers=2, status=2)
    assert done.stderr.count("no checkpoint for") == 1 and done.stderr.count("\n") == 1


def test_both_modes_are_measured_in_one_go(data, run, tmp_path):
    each = [report(data, run[0], "--bn", bn) for bn in ("transductive", "inductive")]
    assert [r["bn"] for r in each] == ["transductive", "inductive"]
    assert each[0]["accuracies"] != each[1]["accuracies"]
    assert reports(data, run[0], "--bn", "both") == each
    assert evaluate(data, run[0], "--bn", "both").stdout.count("accuracy: ") == 2
    for elsewhere in (["--runs", tmp_path], ["--support", tmp_path, "--query-images", tmp_path]):
        complaint = refusal(data, run[0], "--bn", "both", *elsewhere)
        assert "choose transductive or inductive" in complaint


def test_other_steps_than_in_training(data, run):
    usual, four = report(data, run[0]), report(data, run[0], "--inner_steps_test", 4)
    assert len(four["accuracies"]) == 5
    assert (four["inner_steps_test"], usual["inner_steps_test"]) == (4, 2)
    for flags, said in (
        ([], "accuracies are those after 0, 1, ... 2 steps of the inner loop"),
        (["--inner_steps_test", 1], "accuracies are those after 0 and 1 step of the inner loop"),
        (["--glob_update_step_test", 1], "after 0 and 1 step of the inner loop"),
    ):
        assert said in evaluate(data, run[0], *flags).stdout
    last = report(data, run[0], "--last_step")
    assert last["accuracies"] == usual["accuracies"][-1:]
    assert "accuracies are" not in evaluate(data, run[0], "--last_step").stdout


def test_distorted_copies_of_the_support(data, run):
    usual, copies = report(data, run[0]), report(data, run[0], "--distortions_test", 2)
    assert copies["distortions_test"] == 2 and copies["accuracies"] != usual["accuracies"]
    # before the first step nothing has changed
    assert copies["losses"][0] == pytest.approx(usual["losses"][0], rel=1e-3)


def test_evaluation_refuses_what_would_give_a_wrong_number(data, run, raw, tmp_path):
    out, file = run[0], run[0] / "checkpoints" / "maml_5w1s.pkl"
    wrong = refusal(data, out, "--way", 20, "--shot", 5)
    assert "no checkpoint for way 20 and shot 5" in wrong
    assert "is for reptile, not for maml" in refusal(data, out, "--inner_batch_test", 0)
    wrong = refusal(data, out, "--checkpoint", file, "--way", 6)
    assert "was trained for way 5" in wrong
    command("data", "--raw", raw, "--out", tmp_path / "seed", "--seed", 1)
    assert "was trained or chosen on" in refusal(tmp_path / "seed", out)
    command("data", "--raw", raw, "--out", tmp_path / "size", "--image-size", 20)
    assert "image_size 28, these have 20" in refusal(tmp_path / "size", out)


def test_evaluation_refuses_weights_of_other_data_or_none(data, run, tmp_path):
    state = safe_pickle.load(run[0] / "checkpoints" / "maml_5w1s.pkl")
    flags = ["--checkpoint", tmp_path / "a.pkl"]
    state["data"]["source"] = "omniglot"
    safe_pickle.save(state, tmp_path / "a.pkl")
    wrong = refusal(data, run[0], *flags)
    assert "source 'omniglot', these have 'stand-in'" in wrong
    state["data"]["source"], state["data"]["sha256"]["test"] = "stand-in", "other"
    safe_pickle.save(state, tmp_path / "a.pkl")
    assert "differ in some pixels" in evaluate(data, run[0], *flags).stderr
    state["weights"][0] = state["weights"][0] * np.float32("nan")
    safe_pickle.save(state, tmp_path / "a.pkl")
    assert "not finite" in refusal(data, run[0], *flags)


@pytest.mark.slow
def test_figures_say_where_they_went(data, run, tmp_path):
    file, out = run[0] / "checkpoints" / "maml_5w1s.pkl", tmp_path / "figures"
    flags = ["--within-alphabet", "--way", 2, "--figures", out]
    done = evaluate(data, run[0], "--checkpoint", file, *flags)
    written = sorted(path.name for path in out.glob("*.png"))
    assert f"{len(written)} figures in {out}" in done.stderr.splitlines()
    for name in ("learning_curves.png", "predictions.png", "hardest.png"):
        with Image.open(out / name) as image:
            assert image.size[0] > 500
    assert list(out.glob("vdlrecords*"))


@pytest.mark.slow
def test_figures_that_cannot_be_written(data, run, tmp_path):
    (tmp_path / "file").touch()
    done = evaluate(data, run[0], "--figures", tmp_path / "file", status=2)
    assert "cannot be written" in done.stderr and "figures in" not in done.stderr


def test_steps_on_all_of_the_support(data, tmp_path):
    reptile = ["--algorithm", "reptile", "--train_query", 0, "--inner_batch_test", 2]
    train(data, tmp_path, *reptile, *ONCE)
    two, every = (
        evaluate(data, tmp_path, "--inner_batch_test", n).stdout.splitlines() for n in (2, 0)
    )
    assert "each update step on 0 support images (0: all)" in every and two[-1] != every[-1]


def test_a_metric_learner_serves_any_way_and_shot(data, protonet):
    found = report(data, protonet, "--way", 8, "--shot", 3)
    assert (found["way"], found["shot"], found["bn"]) == (8, 3, "inductive")
    assert report(data, protonet, "--shot", 16, "--query", 4)["query"] == 4
    assert "both is for maml and reptile" in refusal(data, protonet, "--bn", "both")


def test_fine_tuning(data, run, protonet):
    tuned = report(data, protonet, "--finetune", 5, "--entropy", 0.1)
    assert len(tuned["accuracies"]) == 2
    assert tuned["finetune"] == {"steps": 5, "rate": 0.1, "entropy": 0.1}
    said = evaluate(data, protonet, "--finetune", 5).stdout
    assert "accuracies are those after 0 and 5 steps of fine-tuning" in said
    last = report(data, protonet, "--finetune", 5, "--entropy", 0.1, "--last_step")
    assert last["accuracies"] == tuned["accuracies"][-1:]
    assert "not for maml" in refusal(data, run[0], "--finetune", 3)


def test_tasks_within_an_alphabet(data, protonet):
    said = evaluate(data, protonet, "--within-alphabet", "--way", 2, "--query", 1).stdout
    assert "characters of one alphabet (any)" in said
    assert "way is 9, but alphabet" in refusal(data, protonet, "--within-alphabet", "--way", 9)


def test_a_classifier_of_more_classes_serves_fewer(data, run):
    file = run[0] / "checkpoints" / "maml_5w1s.pkl"
    told = report(data, run[0], "--checkpoint", file, "--way", 3)
    assert told["way"] == 3 and told["accuracies"][-1] > 1 / 5


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--learned_rates"],
        ["--learned_rates", "--per_step_norm"],
        ["--learned_rates", "--temperature", 0.2],
        ["--algorithm", "reptile", "--train_query", 0],
    ],
)
def test_fewer_classes_are_learned_in_shorter_steps(data, tmp_path, flags):
    train(data, tmp_path, "--way", 6, "--outer_lr", 0, "--name", "six", *ONCE, *flags)
    trained = read(tmp_path / "checkpoints" / "six.pkl")
    for way, rate in ((6, 0.1), (3, 0.05 if "--temperature" in flags else 0.025)):
        learner = restore(trained, way)
        if "reptile" in flags:
            rates = learner.inner_lr
        else:
            rates = learner.learned[0].numpy() if learner.learned else learner.alpha
        np.testing.assert_allclose(rates, rate, rtol=1e-6)
        if "--per_step_norm" in flags:
            assert [(gamma.numpy() == 1).all() for gamma in learner.later[::2]] == [True] * 4
    assert inner_lr_scale(trained.config, 20) == 1


def test_several_checkpoints_are_measured_by_the_mean_of_their_softmaxes(data, run, protonet):
    ours, other = (folder / "checkpoints" for folder in (run[0], protonet))
    maml, metric = ours / "maml_5w1s.pkl", other / "protonet_5w1s.pkl"
    alone = report(data, run[0], "--checkpoint", maml, "--bn", "transductive")
    twice = report(data, run[0], "--checkpoint", maml, maml, "--bn", "transductive")
    assert twice["accuracies"] == alone["accuracies"]
    np.testing.assert_allclose(twice["losses"], alone["losses"], atol=2e-6)
    together = reports(data, run[0], "--checkpoint", maml, maml, "--bn", "both")
    assert [r["bn"] for r in together] == ["transductive", "inductive"]
    flags = ["--checkpoint", maml, metric, "--bn", "transductive"]
    mixed = report(data, run[0], *flags)
    assert mixed["algorithm"] == "maml + protonet" and len(mixed["accuracies"]) == 3
    assert mixed["checkpoint"] == f"{maml} + {metric}" and mixed["inner_steps_test"] == 2
    assert [one["checkpoint"] for one in mixed["averaged"]] == [str(maml), str(metric)]
    said = evaluate(data, run[0], *flags).stdout
    assert "the mean of 2 softmaxes, one for each checkpoint; those with fewer" in said


def test_averaged_encoders_are_measured_on_many_tasks(data, protonet):
    """So many that each drawing is embedded once."""
    one = protonet / "checkpoints" / "protonet_5w1s.pkl"
    alone, twice = (
        report(data, protonet, "--checkpoint", *n * [one], "--tasks", 40) for n in (1, 2)
    )
    assert twice["accuracies"] == alone["accuracies"]
    np.testing.assert_allclose(twice["losses"], alone["losses"], atol=2e-6)


def test_weights_are_measured_on_the_task_that_they_are_chosen_for(data, tmp_path):
    train(data, tmp_path, "--algorithm", "protonet", "--way", 8, "--shot", 2, *ONCE)
    for flags, task in (([], (5, 1)), (["--shot", 3], (5, 3)), (["--way", 6], (6, 1))):
        found = report(data, tmp_path, *flags)
        assert (found["way"], found["shot"]) == task
    named = report(data, tmp_path, "--checkpoint", tmp_path / "checkpoints" / "protonet_8w2s.pkl")
    assert (named["way"], named["shot"]) == (8, 2)


def test_checkpoints_that_do_not_fit_together_are_refused(data, run, protonet, tmp_path):
    ours, other = (folder / "checkpoints" for folder in (run[0], protonet))
    both = ["--checkpoint", ours / "maml_5w1s.pkl", other / "protonet_5w1s.pkl"]
    assert "has bn inductive; state one for all of them by --bn" in refusal(data, run[0], *both)
    complaint = refusal(data, run[0], *both, "--bn", "both")
    assert "bn both is for maml and reptile" in complaint
    complaint = refusal(data, run[0], *both, "--bn", "inductive", "--way", 6)
    assert "maml_5w1s.pkl: was trained for way 5" in complaint
    complaint = refusal(data, run[0], *both, "--figures", tmp_path)
    assert "averaged on random tasks and --runs alone; name one for --figures" in complaint
    other = safe_pickle.load(both[2])
    other["config"]["way"] = 4
    safe_pickle.save(other, tmp_path / "four.pkl")
    complaint = refusal(data, run[0], *both[:2], tmp_path / "four.pkl")
    assert "four.pkl has way 4; state one for all of them by --way" in complaint
    other["data"]["image_size"] = 105
    safe_pickle.save(other, tmp_path / "large.pkl")
    assert "image_size 105" in refusal(data, run[0], *both[:2], tmp_path / "large.pkl")


def test_pictures_may_be_named_by_query_as_before(data, run, tmp_path):
    """--query takes a number of images, or pictures where it is given any."""
    (tmp_path / "mine").mkdir()
    complaint = refusal(data, run[0], "--support", tmp_path / "mine", "--query", tmp_path)
    assert "at least 2 classes, found 0" in complaint
    assert "belong together" in refusal(data, run[0], "--support", tmp_path / "mine")
    assert "belong together" in refusal(data, run[0], "--query", tmp_path)
    assert report(data, run[0], "--k_query", 3)["query"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_measured_so_far(data, run, monkeypatch, number):
    """Two of ten batches: the result is that of their tasks alone."""

    def interrupted(batches, *words):
        yield from batches[:2]
        signal.raise_signal(number)
        yield from batches[2:]

    before = signal.getsignal(number)
    flags = ["--json", "--last_step", "--tasks"]
    whole = json.loads(evaluate(data, run[0], *flags, 16).stdout)
    monkeypatch.setattr("maml.cli.evaluate.watched", interrupted)
    done = evaluate(data, run[0], *flags, 80, status=130)
    assert json.loads(done.stdout) == whole and whole["tasks"] == 16
    assert done.stderr.endswith("stopped after 16 of 80 tasks\n")
    assert signal.getsignal(number) == before
