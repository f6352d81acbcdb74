"""The weights of the best validations, which keep_best keeps."""

import dataclasses

import pytest
from helpers import same

from maml.system.errors import UserError
from maml.training.checkpoint import read
from maml.training.loop import NullLog


def measured_by(run, until):
    """Goes on to this meta-iteration; returns the accuracy of each validation, by its number."""
    run.config = dataclasses.replace(run.config, meta_iterations=until)
    seen, log = {}, NullLog()
    log.validation = lambda iteration, result: seen.update({iteration: result.mean})
    run.train(log)
    return seen


def best_of(seen, count):
    """The meta-iterations of the best validations, the later of equal ones."""
    return sorted(seen, key=lambda iteration: (seen[iteration], iteration), reverse=True)[:count]


def kept_files(folder):
    return {path.name: read(path) for path in (folder / "checkpoints" / "a").iterdir()}


def test_the_weights_of_the_best_validations_are_kept(trainer, tmp_path):
    """Each as if the run had ended there; a run that goes on lets go of those that are beaten."""
    changes = {"val_every": 1, "meta_iterations": 4, "outer_lr": 0.05}
    run = trainer(keep_best=2, **changes)
    seen = {**measured_by(run, 2), **measured_by(run, 4)}
    assert len(set(seen.values())) > 2, "validations that are equal order nothing"
    found = kept_files(tmp_path)
    assert found.keys() == {f"{iteration}.pkl" for iteration in best_of(seen, 2)}
    for iteration in best_of(seen, 2):
        kept = found[f"{iteration}.pkl"]
        assert kept.iteration == iteration and kept.accuracy == seen[iteration]
        other = trainer(name="b", **{**changes, "meta_iterations": iteration})
        other.train()
        assert same(kept.weights, other.checkpoint().weights)


def test_kept_weights_and_the_log_may_be_in_one_folder(trainer, tmp_path):
    changes = {"val_every": 1, "meta_iterations": 3, "keep_best": 2}
    trainer(**changes, logdir=str(tmp_path), checkpoints=str(tmp_path)).train()
    numbers = {path.stem for path in (tmp_path / "a").glob("*.pkl")} - {"resume"}
    assert len(numbers) == 2 and numbers < {"1", "2", "3"}


def test_a_run_that_goes_on_may_keep_more_or_fewer(trainer, tmp_path):
    changes = {"val_every": 1, "outer_lr": 0.05}
    measured_by(trainer(**changes, meta_iterations=4), 4)
    assert not (tmp_path / "checkpoints" / "a").exists()
    for count, until in ((3, 6), (1, 7)):
        run = trainer(**changes, keep_best=count, meta_iterations=until)
        run.resume()
        already = kept_files(tmp_path) if count == 1 else {}
        seen = {one.iteration: one.accuracy for one in already.values()}
        seen.update(measured_by(run, until))
        best = best_of(seen, count)
        assert kept_files(tmp_path).keys() == {f"{iteration}.pkl" for iteration in best}


def test_what_is_trained_on_validation_characters_has_no_best(trainer):
    with pytest.raises(UserError, match="keep_best compares validations"):
        trainer(keep_best=2, train_on_val=True)
