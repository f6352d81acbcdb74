"""The scripts as users run them, on a small corpus: training, interruption, resuming, several processes, evaluation."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, script
from PIL import Image

from maml import checkpoint, omniglot, trained
from maml.errors import UserError

TINY = ["--task_num", 2, "--k_query", 2, "--glob_update_step", 1, "--glob_update_step_test", 2, "--val_tasks", 5, "--val_every", 4,
        "--print_every", 4, "--save_every", 3, "--epochs", 8, "--workers", 1]


def folders(data, out):
    return ["--data", data, "--logdir", out / "log", "--checkpoints", out / "checkpoints"]


def train(data, out, *flags, status=0):
    return script("train.py", *folders(data, out), *TINY, *flags, status=status)


def resume_file(out, name="maml_5w1s"):
    return out / "log" / name / "resume.pkl"


def same(a, b):
    """Whether two states are equal to the bit, but for times and places."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in ("seconds", "logdir", "checkpoints", "workers"))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """An uninterrupted run: its folder and what it printed."""
    out = tmp_path_factory.mktemp("run")
    return out, train(data, out).stdout


@pytest.mark.both_paddles
def test_training_prints_accuracies_and_keeps_the_best(run):
    out, text = run
    assert "epoch: 4\n[" in text and text.count("validation: [") == 2
    assert text.startswith("These are NOT Omniglot's characters, but stand-in ones.\n")
    assert text.splitlines()[-1].startswith("best validation accuracy on stand-in characters, NOT Omniglot's: ")
    best = checkpoint.load(out / "checkpoints" / "maml_5w1s.pkl")
    assert [len(h["accuracies"]) for h in best["history"]] == [3] * len(best["history"])
    assert best["best"]["accuracy"] == max(h["accuracies"][-1] for h in best["history"] if h["part"] == "validation")
    assert not {"data", "logdir", "checkpoints"} & best["config"].keys()
    assert best["data"]["source"] == "stand-in" and len(best["data"]["rows"]["train"]) == 24 and "test" not in best["data"]["rows"]


def test_visualdl_gets_curves_picture_and_hyperparameters(run):
    from visualdl import LogReader

    out, _ = run
    (log,) = (out / "log" / "maml_5w1s").glob("vdlrecords*")
    tags = LogReader(file_path=str(log)).get_tags()
    assert {"train/accuracy after step 0", "validation/accuracy after step 2", "best validation accuracy"} <= set(tags["scalar"])
    assert "episode" in tags["image"] and tags["hyper_parameters"]


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_weights(data, run, tmp_path):
    train(data, tmp_path, "--name", "again")
    train(data, tmp_path, "--name", "other", "--seed", 1)
    first, again, other = (checkpoint.load(resume_file(*where)) for where in ((run[0],), (tmp_path, "again"), (tmp_path, "other")))
    assert same(first["weights"], again["weights"]) and same(first["tasks"], again["tasks"])
    assert not same(first["weights"], other["weights"])


@pytest.mark.both_paddles
def test_a_killed_run_resumes_bit_for_bit(data, run, tmp_path):
    command = [sys.executable, "train.py", *map(str, [*folders(data, tmp_path), *TINY, "--save_every", 1])]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (resume_file(tmp_path).exists() and checkpoint.load(resume_file(tmp_path))["epoch"] >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.load(resume_file(tmp_path))["epoch"] < 8
    train(data, tmp_path, "--save_every", 1, "--resume")
    a, b = checkpoint.load(resume_file(run[0])), checkpoint.load(resume_file(tmp_path))
    assert a["epoch"] == b["epoch"] == 8
    assert all(same(a[key], b[key]) for key in ("weights", "optimizer", "tasks", "best", "history"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(data, tmp_path, number):
    command = [sys.executable, "train.py", *map(str, [*folders(data, tmp_path), *TINY, "--epochs", 10000, "--workers", 2])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert "stand-in" in process.stdout.readline() and "epoch: 4" in process.stdout.readline()
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "saved" in out and "--resume" in out
    assert 4 <= checkpoint.load(resume_file(tmp_path))["epoch"] < 10000


@pytest.mark.both_paddles
def test_two_processes_take_the_steps_of_one(data, run, tmp_path):
    """The first meta-gradient, of which Adam's moments are multiples, is the same but for rounding, and so are the tasks up to the end."""
    for workers in (1, 2):
        train(data, tmp_path, "--workers", workers, "--epochs", 1, "--name", workers)
    one, two = (checkpoint.load(resume_file(tmp_path, name))["optimizer"] for name in ("1", "2"))
    for a, b in zip(one.values(), two.values()):
        assert np.allclose(a, b, rtol=1e-2, atol=1e-4 * np.abs(a).max())
    text = train(data, tmp_path, "--workers", 2).stdout
    assert text.count("epoch: 4") == 1
    one, two = checkpoint.load(resume_file(run[0])), checkpoint.load(resume_file(tmp_path))
    assert same(one["tasks"], two["tasks"])
    for a, b in zip(one["weights"], two["weights"]):
        assert np.abs(a - b).max() < 4e-3  # Adam's early steps amplify the rounding of tiny gradients; a wrong share would move 8e-3


def test_a_run_resumes_with_another_number_of_processes(data, tmp_path):
    train(data, tmp_path, "--workers", 2, "--epochs", 8)
    first = checkpoint.load(resume_file(tmp_path))
    state = {**first, "config": {**first["config"], "epochs": 10}}
    checkpoint.save({k: v for k, v in state.items() if k != "format"}, resume_file(tmp_path))
    train(data, tmp_path, "--workers", 1, "--epochs", 10, "--resume")
    assert checkpoint.load(resume_file(tmp_path))["epoch"] == 10


def test_a_worker_that_dies_ends_the_run(data, tmp_path):
    command = [sys.executable, "train.py", *map(str, [*folders(data, tmp_path), *TINY, "--epochs", 10000, "--workers", 2])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "stand-in" in process.stdout.readline() and "epoch: 4" in process.stdout.readline()
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode != 0 and complaint and not any(os.path.exists(f"/proc/{w}") for w in workers)
    assert checkpoint.load(resume_file(tmp_path))["epoch"] >= 3


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return sorted(map(int, file.read().split()))


@pytest.mark.parametrize("inner, outer", [(100, 100), (0.1, 1e20)])
def test_divergence_stops_with_advice_and_the_last_good_state(data, tmp_path, inner, outer):
    rates = ["--glob_base_lr", inner, "--glob_meta_lr", outer, "--glob_update_step", 5]
    done = train(data, tmp_path, *rates, "--save_every", 1, status=2)
    assert "lower glob_base_lr or glob_meta_lr" in done.stderr and "Traceback" not in done.stderr
    if inner < 1:  # the first step is good there, and is kept
        assert resume_file(tmp_path).exists()
    if resume_file(tmp_path).exists():
        assert all(np.isfinite(w).all() for w in checkpoint.load(resume_file(tmp_path))["weights"])


def test_resume_refuses_another_configuration(data, run):
    done = train(data, run[0], "--resume", "--seed", 7, status=2)
    assert "was started with seed 0, not 7" in done.stderr


def test_resume_refuses_what_is_no_state(data, run, tmp_path):
    resume_file(tmp_path).parent.mkdir(parents=True)
    resume_file(tmp_path).write_bytes((run[0] / "checkpoints" / "maml_5w1s.pkl").read_bytes())
    done = train(data, tmp_path, "--resume", status=2)
    assert "resume.pkl: is not a checkpoint of train.py's for this, its 'optimizer' is no dict" in done.stderr


def test_bad_input_ends_before_anything_runs(data, tmp_path):
    assert "97, but there are only 96 classes" in train(data, tmp_path, "--n_way", 97, status=2).stderr
    assert "run make_data.py first" in script("train.py", "--data", tmp_path, status=2).stderr
    assert "no task for each of 3 workers" in train(data, tmp_path, "--workers", 3, status=2).stderr


def evaluate(data, run, *flags, status=0):
    return script("evaluate.py", "--data", data, "--checkpoints", run / "checkpoints", "--tasks", 9, "--workers", 1, *flags, status=status)


@pytest.mark.both_paddles
def test_evaluation_finds_the_checkpoint_and_says_everything(data, run):
    text = evaluate(data, run[0]).stdout
    for part in ("maml_5w1s.pkl", "5-way 1-shot", "9 tasks with seed 0", "test characters", "random split", "transductive", "+-",
                 "NOT Omniglot"):
        assert part in text
    report = json.loads(evaluate(data, run[0], "--json").stdout)
    assert len(report["accuracies"]) == 3 and report["accuracy"] == report["accuracies"][-1] and report["data"] == "stand-in"


def test_evaluation_is_the_same_for_one_and_two_processes(data, run):
    one, two = (json.loads(evaluate(data, run[0], "--json", "--workers", n).stdout) for n in (1, 2))
    assert one == two


def test_an_error_that_all_processes_meet_is_shown_once(data, run):
    done = evaluate(data, run[0], "--n_way", 20, "--k_spt", 5, "--workers", 2, status=2)
    assert done.stderr.count("no checkpoint for") == 1 and done.stderr.count("\n") == 1


def test_evaluation_modes_and_steps(data, run):
    both = [json.loads(evaluate(data, run[0], "--json", "--bn", bn).stdout) for bn in ("transductive", "inductive")]
    assert [r["bn"] for r in both] == ["transductive", "inductive"] and both[0]["accuracies"] != both[1]["accuracies"]
    assert len(json.loads(evaluate(data, run[0], "--json", "--glob_update_step_test", 4).stdout)["accuracies"]) == 5
    copies = json.loads(evaluate(data, run[0], "--json", "--distortions_test", 2).stdout)
    assert copies["distortions_test"] == 2 and copies["accuracies"] != both[0]["accuracies"]
    assert copies["losses"][0] == pytest.approx(both[0]["losses"][0], rel=1e-3)  # before the first step nothing has changed


def test_evaluation_refuses_what_would_give_a_wrong_number(data, run, raw, tmp_path):
    assert "no checkpoint for n_way 20 and k_spt 5" in evaluate(data, run[0], "--n_way", 20, "--k_spt", 5, status=2).stderr
    file = run[0] / "checkpoints" / "maml_5w1s.pkl"
    assert "is for reptile, not for maml" in evaluate(data, run[0], "--inner_batch_test", 0, status=2).stderr
    assert "was trained for n_way 5" in evaluate(data, run[0], "--checkpoint", file, "--n_way", 6, status=2).stderr
    script("make_data.py", "--raw", raw, "--out", tmp_path / "seed", "--seed", 1)
    assert "was trained or chosen on" in evaluate(tmp_path / "seed", run[0], status=2).stderr
    script("make_data.py", "--raw", raw, "--out", tmp_path / "size", "--image-size", 20)
    assert "image_size 28, these have 20" in evaluate(tmp_path / "size", run[0], status=2).stderr
    state = checkpoint.load(file)
    state["data"]["source"] = "omniglot"
    checkpoint.save(state, tmp_path / "a.pkl")
    assert "source 'omniglot', these have 'stand-in'" in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl", status=2).stderr
    state["data"]["source"], state["data"]["sha256"]["test"] = "stand-in", "other"
    checkpoint.save(state, tmp_path / "a.pkl")
    assert "differ in some pixels" in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl").stderr
    state["weights"][0] = state["weights"][0] * np.float32("nan")
    checkpoint.save(state, tmp_path / "a.pkl")
    assert "not finite" in evaluate(data, run[0], "--checkpoint", tmp_path / "a.pkl", status=2).stderr


def test_figures(data, run, tmp_path):
    evaluate(data, run[0], "--figures", tmp_path / "figures")
    for name in ("learning_curves.png", "predictions.png"):
        with Image.open(tmp_path / "figures" / name) as image:
            assert image.size[0] > 500
    (tmp_path / "file").touch()
    assert list((tmp_path / "figures").glob("vdlrecords*"))
    assert "cannot be written" in evaluate(data, run[0], "--figures", tmp_path / "file", status=2).stderr


def test_early_stopping(data, tmp_path):
    text = train(data, tmp_path, "--glob_meta_lr", 0.0, "--patience", 2, "--val_every", 1, "--epochs", 50).stdout
    assert checkpoint.load(resume_file(tmp_path))["epoch"] == 3 and "best validation accuracy" in text


def test_training_on_validation_characters_too_keeps_the_last_weights(data, tmp_path):
    train(data, tmp_path, "--train_on_val", "--glob_meta_lr", 0.1)
    best, last = checkpoint.load(tmp_path / "checkpoints" / "maml_5w1s.pkl"), checkpoint.load(resume_file(tmp_path))
    assert best["epoch"] == last["epoch"] == 8 and same(best["weights"], last["weights"])


@pytest.mark.parametrize("flags", [
    ["--algorithm", "reptile", "--train_query", 0, "--glob_meta_lr", 0.5, "--inner_optimizer", "adam", "--glob_base_lr", 0.001],
    ["--algorithm", "protonet", "--train_way", 10, "--distance", "cosine"],
    ["--algorithm", "matching", "--context_steps", 2, "--train_query", 3],
    ["--algorithm", "siamese", "--train_way", 12, "--train_shot", 1, "--train_query", 1],
], ids=lambda flags: " ".join(map(str, flags)))
def test_every_algorithm_takes_the_same_steps_on_two_processes(data, tmp_path, flags):
    """Three tasks, of which one process gets one and the other two."""
    for workers in (1, 2):
        train(data, tmp_path, *flags, "--task_num", 3, "--name", workers, "--workers", workers)
    one, two = (checkpoint.load(resume_file(tmp_path, name)) for name in ("1", "2"))
    assert same(one["tasks"], two["tasks"])
    assert max(np.abs(a - b).max() for a, b in zip(one["weights"], two["weights"])) < 5e-3


@pytest.mark.parametrize("flags", [
    ["--algorithm", "siamese", "--train_way", 12, "--train_shot", 1, "--train_query", 1, "--objective", "triplets"],
    ["--algorithm", "reptile", "--train_query", 0, "--glob_meta_lr", 0.001, "--outer_optimizer", "adam"],
    ["--algorithm", "matching", "--context_steps", 2, "--train_query", 3],
    ["--first_order", "--network", "pooled"], ["--network", "dense"], ["--algorithm", "reptile", "--network", "perceptron"],
], ids=lambda flags: " ".join(map(str, flags)))
def test_every_algorithm_and_network_trains_and_evaluates(data, tmp_path, flags):
    train(data, tmp_path, *flags, "--name", "a")
    report = json.loads(evaluate(data, tmp_path, "--checkpoint", tmp_path / "checkpoints" / "a.pkl", "--json").stdout)
    assert 0.1 < report["accuracy"] <= 1


def test_steps_on_all_of_the_support(data, tmp_path):
    train(data, tmp_path, "--algorithm", "reptile", "--train_query", 0, "--inner_batch_test", 2)
    two, every = (evaluate(data, tmp_path, "--inner_batch_test", n).stdout.splitlines() for n in (2, 0))
    assert "each update step on 0 support images (0: all)" in every and two[-1] != every[-1]


def test_a_metric_learner_serves_any_way_and_shot(data, tmp_path):
    train(data, tmp_path, "--algorithm", "protonet", "--train_way", 10)
    report = json.loads(evaluate(data, tmp_path, "--n_way", 8, "--k_spt", 3, "--json").stdout)
    assert (report["n_way"], report["k_spt"], report["bn"]) == (8, 3, "inductive")
    tuned = json.loads(evaluate(data, tmp_path, "--finetune", 5, "--entropy", 0.1, "--json").stdout)
    assert len(tuned["accuracies"]) == 2 and tuned["finetune"] == {"steps": 5, "rate": 0.1, "entropy": 0.1}
    alphabet = evaluate(data, tmp_path, "--within-alphabet", "--n_way", 2, "--k_query", 1).stdout
    assert "characters of one alphabet (any)" in alphabet
    assert "n_way is 9, but alphabet" in evaluate(data, tmp_path, "--within-alphabet", "--n_way", 9, status=2).stderr


def test_fine_tuning_is_refused_where_the_encoder_comes_with_a_classifier(data, run):
    assert "maml learns its own classifier" in evaluate(data, run[0], "--finetune", 3, status=2).stderr


@pytest.mark.parametrize("flags, message", [
    (["--algorithm", "reptile", "--train_shot", 18, "--train_query", 3], "train_shot + train_query is 21, but each character has 20"),
    (["--algorithm", "protonet", "--train_way", 97], "97, but there are only 96 classes"),
    (["--algorithm", "maml", "--train_query", 0], "train_query 1"),
])
def test_impossible_training_tasks_are_refused(data, tmp_path, flags, message):
    assert message in train(data, tmp_path, *flags, status=2).stderr


def test_use_gpu_without_one_warns_and_goes_on(data, tmp_path):
    import paddle

    if paddle.device.is_compiled_with_cuda():
        pytest.skip("this is the GPU build")
    done = train(data, tmp_path, "--use_gpu", "--epochs", 1)
    assert done.stdout.count("warning: no GPU") == 1
    done = evaluate(data, tmp_path, "--use_gpu", "--json")
    assert done.stderr.count("warning: no GPU") == 1 and json.loads(done.stdout)["tasks"] == 9




def test_under_paddles_own_launcher_as_two_nodes(data, run, tmp_path):
    """Two launchers on this machine, a process each, take the steps of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nnodes", "2", "--master", f"127.0.0.1:{port}", "--nproc_per_node", "1",
               "--log_dir", tmp_path / "launcher", "train.py", *folders(data, tmp_path), *TINY[:-2]]
    nodes = [subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    one, two = checkpoint.load(resume_file(run[0])), checkpoint.load(resume_file(tmp_path))
    assert same(one["tasks"], two["tasks"]) and max(np.abs(a - b).max() for a, b in zip(one["weights"], two["weights"])) < 4e-3


def test_a_run_starts_from_a_checkpoint(data, run, tmp_path):
    origin = run[0] / "checkpoints" / "maml_5w1s.pkl"
    train(data, tmp_path, "--start", origin, "--glob_meta_lr", 0, "--learned_rates", "--n_way", 6)
    old, new = checkpoint.load(origin)["weights"], checkpoint.load(tmp_path / "checkpoints" / "maml_6w1s.pkl")["weights"]
    assert len(new) == len(old) + 1 and all((a == b).all() for a, b in zip(old[:-2], new))
    assert new[-3].shape == (*old[-2].shape[:-1], 6) and (new[-1] == np.float32(0.1)).all()
    train(data, tmp_path, "--start", tmp_path / "checkpoints" / "maml_6w1s.pkl", "--glob_meta_lr", 0, "--name", "fewer")
    fewer = checkpoint.load(tmp_path / "checkpoints" / "fewer.pkl")["weights"]
    assert (fewer[-2] == new[-3][:, :5]).all() and len(fewer) == len(old)
    assert "not that of this run" in train(data, tmp_path, "--start", origin, "--network", "dense", status=2).stderr


def test_a_run_does_not_start_from_what_was_trained_on_its_test_characters(data, run, raw, tmp_path):
    script("make_data.py", "--raw", raw, "--out", tmp_path, "--seed", 1)
    done = train(tmp_path, tmp_path, "--start", run[0] / "checkpoints" / "maml_5w1s.pkl", status=2)
    assert "was trained or chosen on" in done.stderr


def test_a_classifier_of_more_classes_serves_fewer(data, run):
    file = run[0] / "checkpoints" / "maml_5w1s.pkl"
    told = json.loads(evaluate(data, run[0], "--checkpoint", file, "--n_way", 3, "--json").stdout)
    assert told["n_way"] == 3 and told["accuracies"][-1] > 1 / 5


@pytest.mark.parametrize("flags", [[], ["--learned_rates"], ["--algorithm", "reptile", "--train_query", 0]])
def test_fewer_classes_are_learned_in_shorter_steps(data, tmp_path, flags):
    train(data, tmp_path, "--n_way", 6, "--glob_meta_lr", 0, "--name", "six", *flags)
    model = trained.read(tmp_path / "checkpoints" / "six.pkl")
    for way, rate in ((6, 0.1), (3, 0.025)):
        made = trained.learner(model, way)
        rates = made.inner_lr if "reptile" in flags else made.learned[0].numpy() if "--learned_rates" in flags else made.alpha
        np.testing.assert_allclose(rates, rate, rtol=1e-6)
    assert trained.share(model.config, 20) == 1


def test_evaluation_finds_weights_for_these_data_and_this_task(data, run, raw, tmp_path):
    """Of two learners that serve any task, the one for as many classes, though its validation accuracy, of harder tasks, is lower."""
    state = checkpoint.load(run[0] / "checkpoints" / "maml_5w1s.pkl")
    for way, accuracy, split in ((5, 0.9, "random"), (20, 0.8, "random"), (20, 0.95, "background")):
        made = {**state, "config": {**state["config"], "algorithm": "protonet", "n_way": way},
                "best": {"accuracy": accuracy, "epoch": 1}, "data": {**state["data"], "split": split}}
        checkpoint.save(made, tmp_path / f"{split}{way}.pkl")
    index = omniglot.read_index(data)
    find = lambda *task, **more: trained.find(tmp_path, *task, **more).path.name  # noqa: E731
    assert find(20, 1, data=index) == "random20.pkl" and find(5, 1, data=index) == "random5.pkl" and find(7, 5, data=index) == "random5.pkl"
    assert find(20, 1) == "background20.pkl"
    (tmp_path / "random5.pkl").unlink()
    (tmp_path / "random20.pkl").unlink()
    with pytest.raises(UserError, match="no checkpoint for n_way 5 and k_spt 1 and the random split"):
        find(5, 1, data=index)


def test_rows_that_are_rotations_are_not_turned_again(raw, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    names = sorted(f"{path.parent.name}/{path.name}" for path in raw.rglob("character*"))
    for part, chosen in (("train", names[:20]), ("val", names[20:30]), ("test", names[30:40])):
        (lists / f"{part}.txt").write_text("\n".join(f"{name}/rot{turn:03}" for name in chosen for turn in (0, 90)))
    script("make_data.py", "--raw", raw, "--out", tmp_path, "--split", "vinyals", "--lists", lists)
    assert "--no-rotations" in train(tmp_path, tmp_path, status=2).stderr
    (lists / "val.txt").write_text("\n".join([f"{names[20]}/rot000"] * 2))
    done = script("make_data.py", "--raw", raw, "--out", tmp_path, "--split", "vinyals", "--lists", lists, status=2)
    assert "val.txt" in done.stderr and "twice" in done.stderr
