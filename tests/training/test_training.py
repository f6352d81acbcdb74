"""train.py as users run it, on a small corpus: logs, interruption and resuming, where it starts and
stops, what it refuses.
"""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import left_behind
import numpy as np
import pytest
from helpers import ROOT, command, evaluate, folders, resume_file, same, tiny, train

from maml.config import Config
from maml.data.arrays import read_arrays
from maml.data.tasks import as_ink
from maml.system import device, safe_pickle
from maml.training import loop


@pytest.mark.both_paddles
def test_training_prints_the_forerunners_lines_and_keeps_the_best(run):
    out, text = run
    lines = text.splitlines()
    assert lines[0] == "These are NOT Omniglot's characters, but stand-in ones."
    shape = "20, 1, 28, 28)"
    assert f"DB: train (24, {shape} validation (8, {shape} test (8, {shape}" in lines
    assert "--------------------5-way-1-shot task start!---------------------" in lines
    for epoch in (4, 8):
        assert re.fullmatch(
            r"\[0\.\d{4} 0\.\d{4} 0\.\d{4}\]", lines[lines.index(f"epoch: {epoch}") + 1]
        )
    asked = "---------------------在5个随机任务上测试:---------------------"
    assert lines.count(asked) == 2
    after = lines.index(asked)
    assert re.fullmatch(r"验证集准确率: \[0\.\d{4} 0\.\d{4} 0\.\d{4}\]", lines[after + 1])
    assert set(lines[after + 2]) == {"-"}
    assert lines[-2].startswith("The best acc on validation set is 0.")
    assert "on stand-in characters, NOT Omniglot's" in lines[-2]
    path = out / "checkpoints" / "maml_5w1s.pkl"
    best = safe_pickle.load(path)
    assert f"The best acc on validation set is {best['best']['accuracy']:.4f}" in lines[-2]
    assert [len(h["accuracies"]) for h in best["history"]] == [3] * len(best["history"])
    assert best["best"]["accuracy"] == max(
        h["accuracies"][-1] for h in best["history"] if h["part"] == "validation"
    )
    assert not {"data", "logdir", "checkpoints"} & best["config"].keys()
    data = best["data"]
    assert data["source"] == "stand-in" and len(data["rows"]["train"]) == 24
    assert "test" not in data["rows"]


@pytest.mark.slow
def test_the_script_does_what_the_command_does_within_this_process(data, run, tmp_path):
    """To the bit, and says so in the same words but for times and places."""
    told = train(data, tmp_path, workers=1).stdout.replace(str(tmp_path), str(run[0]))

    def without_times(text):
        return re.sub(r"\d+:\d\d", "", text).splitlines()

    assert without_times(told) == without_times(run[1])
    one, two = (safe_pickle.load(resume_file(out)) for out in (run[0], tmp_path))
    assert same(one, two)


def test_the_last_line_names_the_command_that_evaluates(data, run):
    """It runs as it stands."""
    out, text = run
    said, *words = shlex.split(text.splitlines()[-1])
    path = out / "checkpoints" / "maml_5w1s.pkl"
    assert said == "next:"
    assert words == ["python", "evaluate.py", "--checkpoint", str(path), "--data", str(data)]
    told = command("evaluate", *words[2:], "--tasks", 3).stdout
    assert str(path) in told and "测试集准确率: [" in told


def test_visualdl_gets_curves_picture_and_hyperparameters(run):
    from visualdl import LogReader

    out, _ = run
    (log,) = (out / "log" / "maml_5w1s").glob("vdlrecords*")
    tags = LogReader(file_path=str(log)).get_tags()
    scalars = set(tags["scalar"])
    for part in ("train", "validation"):
        assert {f"{part}/accuracy", f"{part}/loss"} <= scalars
        assert {f"{part} by step/accuracy after step {k}" for k in (0, 1, 2)} <= scalars
    assert "best validation accuracy" in scalars
    assert "episode" in tags["image"] and tags["hyper_parameters"]


def test_visualdl_has_the_same_curves_for_methods_without_steps(data, tmp_path):
    from visualdl import LogReader

    flags = ["--meta_iterations", 4, "--query", 1, "--name", "p"]
    train(data, tmp_path, "--algorithm", "protonet", "--train_way", 10, *flags)
    (log,) = (tmp_path / "log" / "p").glob("vdlrecords*")
    scalars = set(LogReader(file_path=str(log)).get_tags()["scalar"])
    assert {"train/accuracy", "validation/accuracy"} <= scalars
    assert not any("by step" in tag for tag in scalars)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_other_weights(data, run, tmp_path):
    train(data, tmp_path, "--name", "again")
    train(data, tmp_path, "--name", "other", "--seed", 1)
    first, again, other = (
        safe_pickle.load(resume_file(*where))
        for where in ((run[0],), (tmp_path, "again"), (tmp_path, "other"))
    )
    assert same(first["weights"], again["weights"]) and same(first["tasks"], again["tasks"])
    assert not same(first["weights"], other["weights"])


def test_the_command_of_the_last_line_runs_in_a_folder_with_a_space(data, tmp_path):
    out = tmp_path / "我的 run"
    told = train(data, out, "--algorithm", "protonet", "--meta_iterations", 1).stdout
    words = shlex.split(told.splitlines()[-1])
    assert words[4] == str(out / "checkpoints" / "protonet_5w1s.pkl") and len(words) == 7


@pytest.mark.slow
def test_a_clock_that_jumps_back_all_the_time_changes_nothing(data, run, tmp_path, monkeypatch):
    """Neither weights nor what --resume finds; the seconds of training are those that passed."""
    from visualdl import LogReader

    steps = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 2e9 - 3600 * next(steps))
    assert train(data, tmp_path).stdout.splitlines()[0] == run[1].splitlines()[0]
    state = safe_pickle.load(resume_file(tmp_path))
    assert same(state, safe_pickle.load(resume_file(run[0]))) and 0 < state["seconds"] < 600
    saved = resume_file(tmp_path).read_bytes()
    for _ in range(2):  # the second time as if the first had been killed before it saved
        resume_file(tmp_path).write_bytes(saved)
        train(data, tmp_path, "--resume", "--meta_iterations", 9)
    assert safe_pickle.load(resume_file(tmp_path))["epoch"] == 9
    (log,) = (tmp_path / "log").rglob("vdlrecords*")
    reader = LogReader(file_path=str(log))
    points = reader.get_data("scalar", "validation/accuracy")
    assert [point.id for point in points] == [4, 8, 9]
    assert len(reader.get_data("hyper_parameters", "hparam")) == 1


@pytest.mark.slow
@pytest.mark.both_paddles
def test_a_killed_run_resumes_bit_for_bit(data, run, tmp_path):
    flags = [*folders(data, tmp_path), *tiny("--save_every"), "--save_every", 1, "--workers", 1]
    process = subprocess.Popen(
        [sys.executable, "train.py", *map(str, flags)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    while not (
        resume_file(tmp_path).exists() and safe_pickle.load(resume_file(tmp_path))["epoch"] >= 2
    ):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert safe_pickle.load(resume_file(tmp_path))["epoch"] < 8
    train(data, tmp_path, "--save_every", 1, "--resume")
    a, b = safe_pickle.load(resume_file(run[0])), safe_pickle.load(resume_file(tmp_path))
    assert a["epoch"] == b["epoch"] == 8
    assert all(same(a[key], b[key]) for key in ("weights", "optimizer", "tasks", "best", "history"))


@pytest.mark.slow
@pytest.mark.parametrize("number, workers", [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_saves_and_says_how_to_go_on(data, tmp_path, number, workers):
    flags = [*folders(data, tmp_path), *tiny("--meta_iterations"), "--meta_iterations", 10000]
    with left_behind.nothing(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "train.py", *map(str, flags), "--workers", str(workers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert any("epoch: 4" in line for line in process.stdout)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "saved" in out and "--resume" in out
    assert 4 <= safe_pickle.load(resume_file(tmp_path))["epoch"] < 10000


@pytest.mark.slow
@pytest.mark.parametrize("inner, outer", [(1e20, 100), (0.1, 1e20)])
def test_divergence_stops_with_advice_and_the_last_good_state(data, tmp_path, inner, outer):
    rates = ["--inner_lr", inner, "--outer_lr", outer, "--inner_steps", 5]
    done = train(data, tmp_path, *rates, "--save_every", 1, status=2)
    assert (
        "lower inner_lr or outer_lr, or set clip" in done.stderr and "Traceback" not in done.stderr
    )
    if inner < 1:  # the first step is good there, and is kept
        assert resume_file(tmp_path).exists()
    if resume_file(tmp_path).exists():
        assert all(np.isfinite(w).all() for w in safe_pickle.load(resume_file(tmp_path))["weights"])


def test_resume_refuses_another_configuration(data, run):
    done = train(data, run[0], "--resume", "--seed", 7, status=2)
    assert "was started with seed 0, not 7" in done.stderr


def test_resume_refuses_what_is_no_state(data, run, tmp_path):
    resume_file(tmp_path).parent.mkdir(parents=True)
    resume_file(tmp_path).write_bytes((run[0] / "checkpoints" / "maml_5w1s.pkl").read_bytes())
    done = train(data, tmp_path, "--resume", status=2)
    assert (
        "resume.pkl: is not a checkpoint of train.py's for this, its 'optimizer' is no dict"
        in done.stderr
    )


def test_bad_input_ends_before_anything_runs(data, tmp_path):
    def complaint(*flags, place=data):
        return train(place, tmp_path / "out", *flags, status=2).stderr

    assert "97, but there are only 96 classes" in complaint("--way", 97)
    assert "run make_data.py first" in complaint(place=tmp_path)
    assert "no task for each of 3 workers" in complaint("--workers", 3)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_folder_whose_name_the_locale_cannot_read_is_named(data, tmp_path):
    """As all Chinese characters in a locale that is not UTF-8, where Python cannot change it."""
    logdir = ["--logdir", tmp_path / "\udce6\udc88\udc91"]
    said = train(data, tmp_path, *logdir, "--meta_iterations", 1, status=2).stderr
    assert "not of this locale's characters; set PYTHONUTF8=1" in said


def test_early_stopping(data, tmp_path):
    flags = ["--outer_lr", 0.0, "--patience", 2, "--val_every", 1, "--meta_iterations", 50]
    text = train(data, tmp_path, *flags).stdout
    assert safe_pickle.load(resume_file(tmp_path))["epoch"] == 3
    assert "The best acc on validation set is" in text


@pytest.mark.slow
def test_training_on_validation_characters_too_keeps_the_last_weights(data, tmp_path):
    train(data, tmp_path, "--train_on_val", "--outer_lr", 0.1)
    best, last = (
        safe_pickle.load(tmp_path / "checkpoints" / "maml_5w1s.pkl"),
        safe_pickle.load(resume_file(tmp_path)),
    )
    assert best["epoch"] == last["epoch"] == 8 and same(best["weights"], last["weights"])


def test_training_tasks_within_alphabets(data):
    """Classes of a task are those of one alphabet of the training characters, in one of its four
    positions.
    """
    arrays, index = read_arrays(data)
    rows = index.rows["train"]
    size = min(
        sum(row.startswith(f"{name}/") for row in rows)
        for name in {row.split("/")[0] for row in rows}
    )
    for named in (rows, [f"{row}/rot000" for row in rows]):
        config = Config(way=size, shot=10, query=10, within_alphabets=True)
        tasks = loop.training_sampler(config, arrays["train"], named).sample(20)
        upright = {
            image.tobytes(): row.split("/")[0]
            for row, drawings in zip(rows, as_ink(arrays["train"]))
            for image in drawings[:, 0]
        }
        for x in tasks.support_x[:, :, 0]:
            turned = [
                {
                    upright.get(np.ascontiguousarray(np.rot90(image, quarter)).tobytes())
                    for image in x
                }
                for quarter in range(4)
            ]
            assert any(len(names) == 1 and None not in names for names in turned)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        [
            "--algorithm",
            "siamese",
            "--train_way",
            12,
            "--train_shot",
            1,
            "--train_query",
            1,
            "--objective",
            "triplets",
        ],
        [
            "--algorithm",
            "reptile",
            "--train_query",
            0,
            "--outer_lr",
            0.001,
            "--outer_optimizer",
            "adam",
        ],
        ["--algorithm", "matching", "--context_steps", 2, "--train_query", 3],
        ["--first_order", "--network", "pooled"],
        ["--network", "dense"],
        ["--algorithm", "reptile", "--network", "perceptron"],
        ["--algorithm", "reptile", "--network", "keras", "--inner_loss", "sum", "--replacement"],
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_every_algorithm_and_network_trains_and_evaluates(data, tmp_path, flags):
    train(data, tmp_path, *flags, "--name", "a")
    report = json.loads(
        evaluate(
            data, tmp_path, "--checkpoint", tmp_path / "checkpoints" / "a.pkl", "--json"
        ).stdout
    )
    assert 0.1 < report["accuracy"] <= 1


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--algorithm", "reptile", "--train_shot", 18, "--train_query", 3],
            "is 21, but each class has 20 drawings",
        ),
        (["--algorithm", "protonet", "--train_way", 97], "97, but there are only 96 classes"),
        (["--algorithm", "maml", "--train_query", 0], "train_query 1"),
    ],
)
def test_impossible_training_tasks_are_refused(data, tmp_path, flags, message):
    assert message in train(data, tmp_path, *flags, status=2).stderr


def test_gpu_without_one_warns_and_goes_on(data, tmp_path, monkeypatch):
    import paddle

    if paddle.device.is_compiled_with_cuda():
        pytest.skip("this is the GPU build")
    monkeypatch.setattr(device, "gpus", lambda: 0)  # which asks in a process of its own
    done = train(data, tmp_path, "--gpu", "--meta_iterations", 1)
    assert done.stdout.count("warning: no GPU") == 1
    done = evaluate(data, tmp_path, "--gpu", "--json")
    assert done.stderr.count("warning: no GPU") == 1 and json.loads(done.stdout)["tasks"] == 9


def test_a_run_starts_from_a_checkpoint(data, run, tmp_path):
    origin, weights = run[0] / "checkpoints" / "maml_5w1s.pkl", tmp_path / "checkpoints"
    once = ["--outer_lr", 0, "--meta_iterations", 1]
    train(data, tmp_path, "--start", origin, *once, "--learned_rates", "--way", 6)
    old, new = (safe_pickle.load(f)["weights"] for f in (origin, weights / "maml_6w1s.pkl"))
    assert len(new) == len(old) + 1 and all((a == b).all() for a, b in zip(old[:-2], new))
    assert new[-3].shape == (*old[-2].shape[:-1], 6) and (new[-1] == np.float32(0.1)).all()
    train(data, tmp_path, "--start", weights / "maml_6w1s.pkl", *once, "--name", "fewer")
    fewer = safe_pickle.load(weights / "fewer.pkl")["weights"]
    assert (fewer[-2] == new[-3][:, :5]).all() and len(fewer) == len(old)
    other = train(data, tmp_path, "--start", origin, "--network", "dense", status=2)
    assert "not that of this run" in other.stderr


def test_every_step_starts_from_the_scale_and_shift_of_a_checkpoint(data, run, tmp_path):
    origin, weights = run[0] / "checkpoints" / "maml_5w1s.pkl", tmp_path / "checkpoints"
    once = ["--outer_lr", 0, "--meta_iterations", 1, "--per_step_norm"]
    found, start = [safe_pickle.load(origin)["weights"]], origin
    for steps in (2, 2, 3):  # from plain MAML; from as many steps; from fewer
        train(data, tmp_path, "--start", start, *once, "--inner_steps", steps, "--name", steps)
        start = weights / f"{steps}.pkl"
        found.append(safe_pickle.load(start)["weights"])
        gammas, later = [found[-1][i] for i in (1, 2, 4, 5, 7, 8, 10, 11)], found[-1][14:]
        for gamma, of_steps in zip(gammas, later):
            assert of_steps.shape == (steps, *gamma.shape) and (of_steps == gamma).all()
    for weights in found[1:]:
        assert len(weights) == 14 + 8 and all((a == b).all() for a, b in zip(found[0], weights))


def test_a_run_does_not_start_from_what_was_trained_on_its_test_characters(
    data, run, raw, tmp_path
):
    command("data", "--raw", raw, "--out", tmp_path, "--seed", 1)
    done = train(tmp_path, tmp_path, "--start", run[0] / "checkpoints" / "maml_5w1s.pkl", status=2)
    assert "was trained or chosen on" in done.stderr


def test_rows_that_are_rotations_are_not_turned_again(raw, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    names = sorted(f"{path.parent.name}/{path.name}" for path in raw.rglob("character*"))
    for part, chosen in (("train", names[:20]), ("val", names[20:30]), ("test", names[30:40])):
        (lists / f"{part}.txt").write_text(
            "\n".join(f"{name}/rot{turn:03}" for name in chosen for turn in (0, 90))
        )
    command("data", "--raw", raw, "--out", tmp_path, "--split", "vinyals", "--lists", lists)
    assert "--no-rotations" in train(tmp_path, tmp_path, status=2).stderr
    (lists / "val.txt").write_text("\n".join([f"{names[20]}/rot000"] * 2))
    done = command(
        "data",
        "--raw",
        raw,
        "--out",
        tmp_path,
        "--split",
        "vinyals",
        "--lists",
        lists,
        status=2,
    )
    assert "val.txt" in done.stderr and "twice" in done.stderr
