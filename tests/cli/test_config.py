"""Settings: as flags, in configuration files, under both of their names."""

import argparse
import dataclasses

import pytest
from helpers import ROOT, command, names_word, script

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
    path.write_text("network: koch\n")
    assert parse("--config", str(path), "--network", "pooled").network == "pooled"
    with pytest.raises(UserError, match="mine.yaml: network koch is for siamese"):
        parse("--config", str(path))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"algorithm": "reptile", "network": "koch"}, "koch is for siamese"),
        (
            {"network": "dense", "filters": 128},
            "filters is for network auto or strided or pooled, not",
        ),
        ({"replacement": True, "within_alphabets": True}, "without replacement; drop one"),
        ({"inner_loss": "sum"}, "inner_loss is for reptile"),
        ({"schedule_from": 5}, "schedule_from is for schedule cosine or linear or h"),
        ({"schedule": "cosine", "schedule_from": 10_000}, "must be below meta_iterations"),
        ({"refine": 1}, "refine is for protonet"),
        ({"algorithm": "matching", "refine": 1}, "refine is for protonet"),
        ({"algorithm": "reptile", "learned_rates": True}, "learned_rates is for maml"),
        ({"first_order": True, "learned_rates": True}, "learned_rates needs .* or first_order"),
        ({"algorithm": "reptile", "per_step_norm": True}, "per_step_norm is for maml"),
        ({"algorithm": "protonet", "multi_step_loss": 1}, "multi_step_loss is for maml"),
        ({"per_step_norm": True, "network": "perceptron"}, "per_step_norm is for network auto or"),
        ({"per_step_norm": True, "network": "mine.py:build"}, "with network mine.py:build"),
        ({"algorithm": "reptile", "first_order_until": 1}, "first_order_until is for maml"),
        ({"first_order": True, "first_order_until": 1}, "which first_order leaves out"),
        ({"outer_lr_end": 1e-5}, "outer_lr_end is for schedule cosine or linear, not"),
        ({"schedule": "linear", "outer_lr_end": 0.01}, "at most outer_lr, which is 0.001"),
        ({"multi_step_loss": -1}, "multi_step_loss must be at least 0"),
        ({"algorithm": "reptile", "temperature": 0.2}, "temperature is for maml"),
        ({"temperature": 0.0}, "temperature must be at least 0.001"),
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


FIELDS = config.FIELDS
ALIASES = sorted(config.ALIASES.items())
EACH_ALIAS = pytest.mark.parametrize("alias, name", ALIASES, ids=[alias for alias, _ in ALIASES])


def other(name):
    """A value of a setting that is not its default."""
    f = FIELDS[name]
    if f.metadata["choices"]:
        return next(c for c in reversed(f.metadata["choices"]) if c != f.default)
    if isinstance(f.default, bool):
        return not f.default
    if isinstance(f.default, int):
        return f.default + 1 if f.default + 1 <= f.metadata["high"] else f.default - 1
    return f.default / 2 + 0.125 if isinstance(f.default, float) else "another"


def flag(name, value):
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def test_the_forerunners_names_are_the_aliases():
    assert dict(ALIASES) == {
        "n_way": "way",
        "k_spt": "shot",
        "k_query": "query",
        "task_num": "meta_batch_size",
        "glob_update_step": "inner_steps",
        "glob_update_step_test": "inner_steps_test",
        "glob_base_lr": "inner_lr",
        "glob_meta_lr": "outer_lr",
        "epochs": "meta_iterations",
        "use_gpu": "gpu",
    }


@EACH_ALIAS
def test_an_alias_is_a_flag(alias, name):
    value = other(name)
    assert getattr(parse(*flag(alias, value)), name) == value
    assert parse(*flag(alias, value)) == parse(*flag(name, value))


@EACH_ALIAS
def test_an_alias_is_a_key_of_configuration_files(alias, name, tmp_path):
    value, path = other(name), tmp_path / "a.yaml"
    path.write_text(f"{alias}: {str(value).lower()}\n")
    assert config.read_yaml(path) == {name: value}
    assert getattr(parse("--config", str(path)), name) == value
    # a flag under one name wins over the file's other name
    assert getattr(parse("--config", str(path), *flag(name, value)), name) == value


@EACH_ALIAS
def test_an_alias_is_a_key_of_old_checkpoints(alias, name):
    value = other(name)
    assert getattr(config.stored({alias: value}, "old.pkl"), name) == value


@EACH_ALIAS
def test_both_names_at_once_are_refused(alias, name, tmp_path):
    value, path = str(other(name)).lower(), tmp_path / "a.yaml"
    path.write_text(f"{alias}: {value}\n{name}: {value}\n")
    with pytest.raises(UserError, match=r"a.yaml: \w+ and \w+ are one setting; drop one") as caught:
        config.read_yaml(path)
    assert names_word(str(caught.value), alias) and names_word(str(caught.value), name)


@EACH_ALIAS
def test_a_config_takes_the_standard_name_only(alias, name):
    assert getattr(config.Config(**{name: other(name)}), name) == other(name)
    with pytest.raises(TypeError, match=alias):
        config.Config(**{alias: other(name)})


@EACH_ALIAS
def test_a_refusal_of_a_file_says_the_name_that_stands_there(alias, name, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"{alias}: [1]\n")
    with pytest.raises(UserError, match=rf"a.yaml: {alias} must be of type"):
        parse("--config", str(path))


UNUSED = [
    (method, name)
    for name, f in FIELDS.items()
    for method in config.METHODS
    if method not in f.metadata["only_for"]
]


@pytest.mark.parametrize("method, name", UNUSED, ids=str)
def test_a_setting_that_the_method_does_not_use_is_refused(method, name):
    value = other(name)
    with pytest.raises(UserError) as caught:
        config.Config(algorithm=method, **usual(method), **{name: value})
    said = str(caught.value)
    assert said.startswith(f"{name} is for ") and said.endswith(f", not for {method}; drop it")
    assert all(names_word(said, other) for other in FIELDS[name].metadata["only_for"])
    assert "\n" not in said


@pytest.mark.parametrize("method, name", UNUSED, ids=str)
def test_the_default_of_a_setting_that_the_method_does_not_use_is_not_refused(method, name):
    default = FIELDS[name].default
    made = config.Config(algorithm=method, **usual(method), **{name: default})
    assert getattr(made, name) == default


def usual(method):
    """What a method needs beside its defaults."""
    return {"train_query": 1} if method == "siamese" else {}


def test_each_method_has_settings_of_its_own_and_takes_them():
    """So that the test above asks for something."""
    assert len(UNUSED) > 40
    taken = {
        "maml": {"learned_rates": True, "clip": 1.0, "inner_steps": 2},
        "reptile": {"inner_batch": 3, "inner_optimizer": "adam", "inner_lr": 0.5},
        "protonet": {"every_support": True, "refine": 2, "distance": "dot"},
        "matching": {"context_steps": 2, "distance": "euclidean"},
        "siamese": {"objective": "triplets", "margin": 0.1, "negatives": "random"},
    }
    assert taken.keys() == set(config.METHODS)
    for method, values in taken.items():
        made = config.Config(algorithm=method, **usual(method), **values)
        assert {name: getattr(made, name) for name in values} == values


def test_old_checkpoints_may_state_what_their_method_does_not_use():
    """As those that were written before settings were refused."""
    old = {f.metadata["alias"] or name: f.default for name, f in FIELDS.items()}
    for key in ("name", "data", "logdir", "checkpoints", "use_gpu", "workers"):
        old.pop(key)
    for method in config.METHODS:
        stated = {**old, "algorithm": method, **usual(method), "refine": 3, "clip": 10.0}
        made = config.stored(stated, "old.pkl")
        assert made.algorithm == method
        assert (made.refine, made.clip) == (3 * (method == "protonet"), 10 * (method == "maml"))


CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_committed_configurations_load(path):
    made = parse("--config", str(path))
    assert made.name == path.stem
    assert all(getattr(made, name) == value for name, value in config.read_yaml(path).items())


def test_every_field_of_a_config_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Config().way = 3
