"""Settings: as flags, in configuration files, under both of their names."""

import argparse
import dataclasses

import pytest
from helpers import ROOT, command, script

from maml import config
from maml.cli import flags
from maml.system.errors import UserError
from maml.training.build import build_learner


def parse(*given):
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    flags.add_flags(parser)
    return flags.from_flags(parser.parse_args(given))


def test_defaults_are_the_forerunners():
    c = parse("--n_way", "5", "--k_spt", "1", "--use_gpu")
    tasks, rates = (c.query, c.meta_batch_size), (c.outer_lr, c.inner_lr)
    assert (tasks, rates) == ((15, 32), (0.001, 0.1))
    assert (c.inner_steps, c.inner_steps_test, c.meta_iterations) == (5, 5, 10000)
    assert c.gpu and c.name == "maml_5w1s"


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("shot: 3\nmeta_batch_size: 4\ninner_lr: 1\n")
    c = parse("--config", str(path), "--meta_batch_size", "7")
    assert (c.shot, c.meta_batch_size, c.inner_lr, c.way, c.name) == (3, 7, 1.0, 5, "mine")


@pytest.mark.parametrize(
    "text, message",
    [
        ("k_shot: 1", "unknown setting 'k_shot'"),
        ("shot: one", "shot must be of type int, not 'one'"),
        ("shot: 1.5", "shot must be of type int"),
        ("first_order: 1", "first_order must be of type bool"),
        ("inner_lr: .nan", "inner_lr must be"),
        ("way: 1", "way must be at least 2"),
        ("schedule: linear!", "schedule must be one of"),
        ("shot: 10\nquery: 11", "shot . query is 21"),
        ("- 1", "must be lines of"),
        ("a: [", "is not YAML"),
    ],
)
def test_errors_name_file_and_key(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"bad.yaml.*{message}"):
        parse("--config", str(path))


def test_a_number_with_an_exponent_is_one_though_yaml_reads_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("outer_lr: 1e-3\nclip: 2.5e1\n")
    assert (parse("--config", str(path)).outer_lr, parse("--config", str(path)).clip) == (
        0.001,
        25.0,
    )


def test_a_flag_can_mend_what_the_file_states(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("shot: 10\n")
    assert parse("--config", str(path), "--query", "5").shot == 10
    with pytest.raises(UserError, match=r"mine.yaml: shot \+ query is 25"):
        parse("--config", str(path))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"algorithm": "reptile", "network": "koch"}, "koch is for siamese"),
        ({"network": "dense", "filters": 128}, "filters is for networks strided and pooled"),
        ({"refine": 1}, "refine is for protonet"),
        ({"algorithm": "matching", "refine": 1}, "refine is for protonet"),
        ({"algorithm": "reptile", "learned_rates": True}, "learned_rates is for maml"),
        ({"first_order": True, "learned_rates": True}, "learned_rates needs .* or first_order"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        config.Config(**settings)


def test_every_setting_is_documented_and_has_a_flag():
    text = script("train.py", "--help").stdout
    for f in dataclasses.fields(config.Config):
        assert f.metadata["help"] and f"--{f.name}" in text


def test_help_needs_no_paddle():
    for name in ("make_data.py", "train.py", "evaluate.py"):
        code = (
            f"import runpy, sys; sys.modules['paddle'] = None; sys.argv = ['{name}', '--help']; "
            f"runpy.run_path('{name}', run_name='__main__')"
        )
        assert "example" in script("-c", code).stdout


@pytest.mark.parametrize(
    "given, message",
    [
        (["--distance", "manhattan"], "argument --distance: invalid choice: 'manhattan'"),
        (["--way", "five"], "argument --way/--n_way: invalid int value: 'five'"),
        (["--k_shot", 1], "unrecognized arguments: --k_shot 1"),
    ],
)
def test_a_bad_flag_ends_with_status_2_and_one_line(given, message):
    done = command("train", *given, status=2)
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_a_bad_setting_ends_with_status_2_and_one_line():
    done = script("train.py", "--way", 1, status=2)
    assert done.stderr == "error: command line: way must be at least 2, not 1\n"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_committed_configurations_state_only_what_differs(path):
    default = dataclasses.asdict(config.Config())
    stated = config.read_yaml(path)
    assert stated and all(default[key] != value for key, value in stated.items())


@pytest.mark.parametrize("algorithm", ["maml", "protonet"])
def test_the_number_of_filters_is_a_setting(algorithm):
    theta = build_learner(config.Config(algorithm=algorithm, filters=8)).network.theta
    assert [p.shape for p in theta[:6:3]] == [[9, 8], [9 * 8, 8]]
