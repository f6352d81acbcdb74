import json
import zipfile

import pytest
from helpers import command, train, write_runs
from PIL import Image

from maml.data import challenge
from maml.system import safe_pickle
from maml.system.errors import UserError

ONCE = ["--meta_iterations", 1]  # where weights of any kind will do


def test_runs_are_read_as_tasks(raw, tmp_path):
    first, second = challenge.read(write_runs(tmp_path, raw), 28)
    assert (first.name, second.name) == ("run01", "run02") and challenge.way(tmp_path) == 20
    task = first.task
    assert (
        task.support_x.shape == task.query_x.shape == (1, 20, 1, 28, 28)
        and task.support_x.max() == 1
    )
    assert sorted(task.support_y[0]) == sorted(task.query_y[0]) == list(
        range(20)
    ) and task.support_y[0].tolist() != list(range(20))
    for x, y in zip(task.query_x[0], task.query_y[0]):  # in run 1 a query is its class's image
        assert (x == task.support_x[0][task.support_y[0] == y]).all()


def zipped(folder, file, below=""):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, f"{below}{path.relative_to(folder)}")
    return file


@pytest.mark.parametrize("below", ["", "all_runs/"])
def test_zipped_runs_are_those_of_the_folder(raw, tmp_path, below):
    """As published, and as some tools pack a folder again."""
    folder = write_runs(tmp_path / "all_runs", raw, way=5)
    file = zipped(folder, tmp_path / "all_runs.zip", below)
    assert challenge.way(file) == 5
    for run, same in zip(challenge.read(folder, 28), challenge.read(file, 28), strict=True):
        assert run.name == same.name
        assert all((a == b).all() for a, b in zip(run.task, same.task))


def test_a_zip_that_is_damaged_or_missing_is_refused(raw, tmp_path):
    whole = zipped(write_runs(tmp_path / "runs", raw, way=5), tmp_path / "all_runs.zip")
    short = tmp_path / "short.zip"
    short.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(UserError, match="short.zip: is not a readable zip"):
        challenge.read(short, 28)
    bent = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        start = archive.getinfo("run02/test/item03.png").header_offset
    bent[start + 90] ^= 1  # behind the header and the name
    (tmp_path / "bent.zip").write_bytes(bent)
    with pytest.raises(UserError, match="bent.zip/run02/test/item03.png: is not a readable image"):
        challenge.read(tmp_path / "bent.zip", 28)
    with pytest.raises(UserError, match="none.zip: no such folder or zip; --runs names"):
        challenge.read(tmp_path / "none.zip", 28)


def test_the_interval_is_over_runs_and_refinement_is_transductive(raw, data, tmp_path):
    """Two runs, of errors e1 and e2: 1.96 |e1 - e2| / sqrt(2) / sqrt(2)."""
    file = zipped(write_runs(tmp_path / "runs", raw), tmp_path / "all_runs.zip")
    tasks = ["--train_way", 10, "--train_shot", 1, "--train_query", 1]
    train(data, tmp_path, "--algorithm", "protonet", *tasks, "--name", "p", *ONCE)
    of_runs = ["--checkpoint", tmp_path / "checkpoints" / "p.pkl", "--runs", file]
    plain = json.loads(command("evaluate", *of_runs, "--json").stdout)
    first, second = plain["runs"].values()
    assert plain["interval"] == pytest.approx(1.96 * abs(first - second) / 2, abs=1e-5) != 0
    assert not plain["transductive"]
    refined = json.loads(command("evaluate", *of_runs, "--refine", 3, "--json").stdout)
    assert refined["transductive"]
    said = command("evaluate", *of_runs, "--refine", 3).stdout
    assert "overall error rate of 2 runs, transductive: " in said
    assert f" +- {100 * refined['interval']:.2f}% (95% interval over runs)" in said


def test_error_rates_of_a_trained_model(raw, data, tmp_path):
    write_runs(tmp_path / "runs", raw)
    pairs = ["--train_way", 10, "--train_shot", 1, "--train_query", 1, "--objective", "triplets"]
    train(data, tmp_path, "--algorithm", "siamese", *pairs, "--name", "s", *ONCE)
    weights = tmp_path / "checkpoints"
    of_runs = ["--runs", tmp_path / "runs"]
    named = ["--checkpoint", weights / "s.pkl", *of_runs]
    report = json.loads(command("evaluate", *named, "--json").stdout)
    assert report["runs"]["run01"] == 0
    assert report["error"] == pytest.approx(sum(report["runs"].values()) / 2)
    state = safe_pickle.load(weights / "s.pkl")
    for name, way, split in (
        ("more", 10, "background"),
        ("twenty", 20, "random"),
        ("best", 20, "background"),
    ):
        config, index = {**state["config"], "way": way}, {**state["data"], "split": split}
        changed = {**state, "config": config, "data": index}
        safe_pickle.save(changed, weights / f"{name}.pkl")
    found = command("evaluate", "--checkpoints", weights, *of_runs, "--distortions_test", 1)
    assert "best.pkl: siamese" in found.stdout and "1 distorted copies" in found.stdout
    assert f"weights: {weights / 'best.pkl'}, the best on validation characters" in found.stderr
    best, other = (weights / f"{name}.pkl" for name in ("best", "twenty"))
    once, twice = (
        command("evaluate", "--checkpoint", *n * [best], *of_runs, "--json").stdout for n in (1, 2)
    )
    assert json.loads(twice)["runs"] == json.loads(once)["runs"]
    assert len(json.loads(twice)["averaged"]) == 2
    state = safe_pickle.load(other)
    safe_pickle.save({**state, "data": {**state["data"], "image_size": 42}}, other)
    said = command("evaluate", "--checkpoint", best, other, *of_runs, status=2).stderr
    assert "average weights for images of one size" in said
    done = command("evaluate", *named, "--finetune", 3)
    assert "run01  error   0.0%" in done.stdout
    assert "overall error rate of 2 runs" in done.stdout and "split background" in done.stderr


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda folder: (folder / "run01" / "class_labels.txt").unlink(),
            "no runNN/class_labels.txt in it",
        ),
        (
            lambda folder: (folder / "run01" / "class_labels.txt").write_text(
                "run01/test/item01.png run01/training/none.png"
            ),
            "run01/class_labels.txt: line 1, .*does not name a test item and its class",
        ),
        (
            lambda folder: (folder / "run01" / "class_labels.txt").write_text("\n"),
            "one test item, found 20 and 0",
        ),
        (
            lambda folder: (folder / "run01" / "test" / "item03.png").write_bytes(b"no"),
            "item03.png: is not a readable image",
        ),
        (
            lambda folder: Image.new("L", (9, 9)).save(
                folder / "run01" / "training" / "class02.png"
            ),
            "class02.png: is 9 x 9 pixels",
        ),
    ],
)
def test_broken_runs_are_refused(raw, tmp_path, spoil, message):
    write_runs(tmp_path, raw, runs=1)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        challenge.read(tmp_path, 28)
