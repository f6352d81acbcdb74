"""Which weights are found for a task, and where they are looked for."""

import dataclasses
import os
from time import time as now

import pytest
from helpers import INDEX, ROOT, command, evaluate, save_description, script, tiny, train

from maml.classifier import choose, judged
from maml.config import Config
from maml.system.errors import UserError
from maml.training.checkpoint import WHERE_AND_HOW, read


def found(folder, *task, **more):
    return choose.find([folder], *task, **more).chosen.path.name


def test_weights_for_these_data_and_this_task(tmp_path):
    """Of learners that serve any task, one for as many classes, though its validation accuracy, of
    harder tasks, is lower; and the best on validation characters that it was not trained on.
    """
    for way, accuracy, split in ((5, 0.9, "random"), (20, 0.8, "random"), (20, 0.95, "background")):
        save_description(tmp_path / f"{split}{way}.pkl", accuracy, split, way=way)
        save_description(
            tmp_path / f"{split}{way}_seen.pkl", 0.99, split, way=way, train_on_val=True
        )
    assert found(tmp_path, 20, 1, data=INDEX) == "random20.pkl"
    assert found(tmp_path, 5, 1, data=INDEX) == "random5.pkl"
    assert found(tmp_path, 20, 1) == "background20.pkl"
    assert found(tmp_path, 5, 1) == "random5.pkl"
    assert found(tmp_path, 5, 1, split="background") == "background20.pkl"
    for path in tmp_path.glob("random*.pkl"):
        path.unlink()
    complaint = "no checkpoint for way 5 and shot 1, trained on the random split of stand-in data"
    with pytest.raises(UserError, match=complaint):
        choose.find([tmp_path], 5, 1, data=INDEX)


@pytest.mark.parametrize("way, name", [(2, "of5"), (5, "of5"), (6, "of20"), (12, "of20")])
def test_accuracies_of_tasks_of_different_ways_are_not_compared_as_if_they_were_one(
    tmp_path, way, name
):
    """Weights for 5 classes are better at 5 than those for 20 are at 20, which says nothing: for 12
    classes those are taken that were measured on at least as many.
    """
    save_description(tmp_path / "of5.pkl", 0.99, way=5)
    save_description(tmp_path / "of20.pkl", 0.90, way=20)
    if way == 2:  # no rule but accuracy is left: both were validated on more classes
        assert found(tmp_path, way, 1) == "of5.pkl"
    assert found(tmp_path, way, 1) == f"{name}.pkl"


def test_weights_for_images_of_the_size_of_the_data_come_first(tmp_path):
    save_description(tmp_path / "large.pkl", 0.9, image_size=42)
    save_description(tmp_path / "usual.pkl", 0.8)
    for size, name in ((28, "usual"), (42, "large"), (105, "large")):
        data = dataclasses.replace(INDEX, image_size=size)
        assert found(tmp_path, 5, 1, data=data) == f"{name}.pkl"
    assert found(tmp_path, 5, 1) == "large.pkl"


def test_a_classifier_serves_its_own_number_of_classes_and_fewer(tmp_path):
    save_description(tmp_path / "maml5.pkl", 0.99, algorithm="maml", way=5, train_way=-1)
    save_description(tmp_path / "maml20.pkl", 0.90, algorithm="maml", way=20, train_way=-1)
    assert found(tmp_path, 5, 1, "maml") == "maml5.pkl"
    for way in (6, 12, 20):
        assert found(tmp_path, way, 1, "maml") == "maml20.pkl"
        assert len(choose.find([tmp_path], way, 1, "maml").candidates) == 1
    with pytest.raises(UserError, match="serve up to 20 classes, those of protonet, .* any number"):
        choose.find([tmp_path], 21, 1, "maml")
    with pytest.raises(UserError, match="no checkpoint for way 5 and shot 5 of maml"):
        choose.find([tmp_path], 5, 5, "maml")  # it learned at another number of shots


def test_own_runs_come_first_and_of_them_the_latest(tmp_path):
    save_description(tmp_path / "best.pkl", 0.99, way=5)
    for name, accuracy, time in (("old", 0.9, 1), ("new", 0.3, 2), ("middle", 0.8, 1.5)):
        os.utime(save_description(tmp_path / "own" / f"{name}.pkl", accuracy, way=5), (time, time))
    choice = choose.find([tmp_path], 5, 1)
    assert choice.chosen.path == tmp_path / "own" / "new.pkl" and choice.own
    assert choice.reason() == "the latest of your own runs among 4 that serve this task"
    names = [trained.path.stem for trained in choice.candidates]
    assert names == ["new", "middle", "old", "best"]
    assert found(tmp_path, 5, 1, "protonet") == "new.pkl"


def test_a_run_before_the_clock_was_put_back_is_not_the_latest(tmp_path):
    ahead = now() + 3600
    os.utime(save_description(tmp_path / "own" / "before.pkl"), (ahead, ahead))
    save_description(tmp_path / "own" / "after.pkl")
    assert found(tmp_path, 5, 1) == "after.pkl"
    ahead = now() + 10  # as a file server's may be
    os.utime(save_description(tmp_path / "own" / "last.pkl"), (ahead, ahead))
    assert found(tmp_path, 5, 1) == "last.pkl"


def test_an_own_run_of_another_task_comes_before_others_of_this_one(tmp_path):
    save_description(tmp_path / "best.pkl", 0.99, way=5)
    save_description(tmp_path / "own" / "mine.pkl", 0.3, way=20)
    assert found(tmp_path, 5, 1) == "mine.pkl"
    save_description(tmp_path / "own" / "exact.pkl", 0.2, way=5)
    os.utime(tmp_path / "own" / "exact.pkl", (1, 1))
    assert found(tmp_path, 5, 1) == "exact.pkl"  # though it is older and less accurate


def test_what_was_not_asked_for_is_no_candidate_though_it_is_the_users_own(tmp_path):
    save_description(tmp_path / "protonet.pkl", 0.9)
    save_description(tmp_path / "own" / "matching.pkl", 0.9, algorithm="matching")
    choice = choose.find([tmp_path], 5, 1, "protonet")
    assert choice.chosen.path.stem == "protonet" and len(choice.candidates) == 1
    assert choice.reason() == "the only weights that serve this task"


def test_without_own_runs_the_reason_is_their_accuracy(tmp_path):
    for n in range(3):
        save_description(tmp_path / f"{n}.pkl", 0.9 + n / 100)
    choice = choose.find([tmp_path], 5, 1)
    assert choice.chosen.path.stem == "2" and not choice.own
    assert choice.reason() == "the best on validation characters among 3 that serve this task"


def test_a_folder_that_is_named_twice_counts_once(tmp_path):
    save_description(tmp_path / "a.pkl")
    save_description(tmp_path / "own" / "b.pkl")
    choice = choose.find([tmp_path, tmp_path / "own", tmp_path / ".." / tmp_path.name], 5, 1)
    assert sorted(trained.path.stem for trained in choice.candidates) == ["a", "b"]


@pytest.mark.slow
def test_evaluate_takes_the_last_own_run_and_says_so(data, run, tmp_path):
    weights = tmp_path / "checkpoints"
    save_description(weights / "better.pkl", 0.999, algorithm="maml", way=5, train_way=-1)
    own = weights / "own"
    trained = (run[0] / "checkpoints" / "maml_5w1s.pkl").read_bytes()
    for name, time in (("first", 1), ("second", 2)):
        own.mkdir(exist_ok=True)
        (own / f"{name}.pkl").write_bytes(trained)
        os.utime(own / f"{name}.pkl", (time, time))
    said = evaluate(data, tmp_path)
    second = own / "second.pkl"
    reason = "the latest of your own runs among 3 that serve this task"
    assert f"weights: {second}, {reason}" in said.stderr.splitlines()
    assert said.stdout.splitlines()[1].startswith(f"{second}: maml, 5-way 1-shot")


def test_training_writes_own_weights_unless_told_otherwise(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config().checkpoints == "checkpoints/own"
    command("train", "--data", data, *tiny("--meta_iterations"), "--meta_iterations", 1)
    assert [path.name for path in (tmp_path / "checkpoints" / "own").iterdir()] == ["maml_5w1s.pkl"]
    said = command("evaluate", "--data", data, "--tasks", 2)
    assert (
        "weights: checkpoints/own/maml_5w1s.pkl, the only weights that serve this task"
        in said.stderr
    )


def test_a_second_run_of_one_name_is_another_file(data, tmp_path):
    flags = ["--meta_iterations", 1]
    train(data, tmp_path, *flags)
    said = train(data, tmp_path, *flags).stdout
    assert said.startswith("this run is called maml_5w1s-2\n")
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["maml_5w1s-2.pkl", "maml_5w1s.pkl"]


def test_weights_are_looked_for_here_and_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    committed = ROOT / "checkpoints"
    assert [folder for folder in choose.weight_folders() if folder.name != "own"] == [committed]
    save_description(tmp_path / "checkpoints" / "own" / "mine.pkl")
    names = [str(folder) for folder in choose.weight_folders()]
    assert names[:2] == ["checkpoints/own", "checkpoints"] and str(committed) in names
    assert choose.weight_file("mine").read_bytes() == choose.weight_file("mine.pkl").read_bytes()
    assert choose.weight_file("protonet_60w1s") == committed / "protonet_60w1s.pkl"


def test_maml_checkpoints_names_the_only_folder(tmp_path, monkeypatch):
    save_description(tmp_path / "elsewhere" / "mine.pkl")
    save_description(tmp_path / "elsewhere" / "own" / "newest.pkl")
    monkeypatch.setenv("MAML_CHECKPOINTS", str(tmp_path / "elsewhere"))
    elsewhere = tmp_path / "elsewhere"
    assert choose.weight_folders() == [elsewhere / "own", elsewhere]
    assert choose.weight_file("mine") == elsewhere / "mine.pkl"
    with pytest.raises(UserError, match="protonet_60w1s: no weights of this name.* mine, newest"):
        choose.weight_file("protonet_60w1s")
    assert found(elsewhere, 5, 1) == "newest.pkl"


def test_maml_checkpoints_may_name_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MAML_CHECKPOINTS", str(tmp_path / "nowhere"))
    assert choose.weight_folders() == []
    with pytest.raises(UserError, match="any: no weights of this name; set MAML_CHECKPOINTS"):
        choose.weight_file("any")
    with pytest.raises(UserError, match="no folder of weights here: no checkpoint for way 5"):
        choose.find(choose.weight_folders(), 5, 1)


def test_evaluate_follows_maml_checkpoints(data, run, monkeypatch):
    monkeypatch.setenv("MAML_CHECKPOINTS", str(run[0] / "checkpoints"))
    said = command("evaluate", "--data", data, "--tasks", 2)
    assert f"weights: {run[0]}/checkpoints/maml_5w1s.pkl, the only weights" in said.stderr
    said = command("evaluate", "--data", data, "--tasks", 2, "--checkpoint", "maml_5w1s")
    assert f"{run[0]}/checkpoints/maml_5w1s.pkl: maml" in said.stdout and said.stderr == ""


@pytest.mark.slow
def test_weights_are_found_by_name_from_any_folder(tmp_path):
    code = "import maml; print(maml.load('protonet_60w1s').trained.config.algorithm)"
    said = script("-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT)).stdout
    assert said == "protonet\n"


def test_a_name_or_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="protonet: no weights of this name; the names are .*maml_"):
        choose.weight_file("protonet")
    with pytest.raises(UserError, match="a.pkl: no such file of weights"):
        choose.weight_file(tmp_path / "a.pkl")


CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.pkl"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_committed_checkpoints_load(path):
    trained = read(path)
    assert trained.weights and 0.5 < trained.accuracy <= 1 and trained.config.name
    assert choose.weight_file(path.stem).samefile(path) and not choose.is_own(trained)
    # what would be written today holds the same, under today's names
    again = dataclasses.replace(trained, path=path.with_suffix(".new"))
    shapes_results = dataclasses.asdict(trained.config).keys() - WHERE_AND_HOW
    assert again.state()["config"].keys() == shapes_results | {"name"}


@pytest.mark.slow
def test_the_committed_weights_for_usual_tasks():
    """Those that reached most on the validation tasks of the index, whatever they were trained
    for.
    """
    folder = ROOT / "checkpoints"
    records = judged.read_records(folder)
    for way, shot, algorithm in (
        (5, 1, "maml"),
        (5, 5, "reptile"),
        (20, 5, "siamese"),
        (7, 3, None),
    ):
        choice = choose.find([folder], way, shot, algorithm, split="random")
        assert choice.judged and f"expected accuracy {100 * choice.judged.accuracy:.1f}%" in (
            choice.reason()
        )
        rivals = [t for t in choice.candidates if t.split == "random"]
        found = [
            judged.nearest(records[t.path.stem].judged, way, shot)
            for t in rivals
            if t.path.stem in records
        ]
        assert choice.judged.at_least == max(f.at_least for f in found) and len(found) > 1
    assert choose.find([folder], 7, 3).chosen.config.algorithm == "protonet"


def test_weights_with_a_network_of_ones_own_are_chosen_only_with_its_file(tmp_path):
    save_description(tmp_path / "built_in.pkl", 0.5)
    save_description(tmp_path / "own" / "mine.pkl", 0.9, network="nets/mine.py:build")
    assert found(tmp_path, 5, 1) == "built_in.pkl"
    assert found(tmp_path, 5, 1, own_network=True) == "mine.pkl"
