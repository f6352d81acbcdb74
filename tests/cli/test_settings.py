"""Whatever is written into a configuration file or given as a flag: training takes two steps, or
one line names the setting.
"""

import math

import pytest
import yaml
from helpers import as_flags, folders, names_word
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from maml import config
from maml.cli import flags
from maml.data.arrays import read_arrays
from maml.system import errors
from maml.system.errors import UserError
from maml.training.build import build_learner
from maml.training.loop import Trainer

pytestmark = pytest.mark.slow
SMALL = {
    "way": 2,
    "query": 2,
    "meta_batch_size": 1,
    "inner_steps": 1,
    "inner_steps_test": 1,
    "val_tasks": 1,
    "meta_iterations": 2,
}
LARGEST = {
    "way": 9,
    "train_way": 9,
    "meta_batch_size": 3,
    "inner_steps": 3,
    "inner_steps_test": 3,
    "context_steps": 3,
    "val_tasks": 3,
    "inner_batch": 30,
    "inner_batch_test": 30,
    "distortions": 1,
    "meta_iterations": 2,
    "shot": 30,
    "query": 30,
    "train_shot": 30,
    "train_query": 30,
    "filters": 70,
}  # what two steps in an instant allow
FIELDS = {
    name: f
    for name, f in config.Config.__dataclass_fields__.items()
    if name not in ("data", "logdir", "checkpoints", "gpu", "workers")
}


def sensible(name):
    """Values of the right type, most of them within their range."""
    f = FIELDS[name]
    if f.metadata["choices"]:
        return st.sampled_from(f.metadata["choices"])
    if type(f.default) is bool:
        return st.booleans()
    if type(f.default) is int:
        return st.integers(-2, LARGEST.get(name, 1000))
    if type(f.default) is float:
        return st.floats(-1, 10)
    return st.text(max_size=8)


def either_name(name):
    """The standard name of a setting, or its alias where it has one."""
    return st.sampled_from([n for n in (name, FIELDS[name].metadata["alias"]) if n])


NONSENSE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.sampled_from(
        [10**30, -(10**30), math.nan, math.inf, "../up", "\0", "n" * 300, "auto", "1e3", "0x10"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def stated(draw):
    """Settings of a run: a few sensible ones, and at most one that may be anything."""
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=5, unique=True))
    values = {draw(either_name(name)): draw(sensible(name)) for name in names}
    if draw(st.booleans()):
        name = draw(st.one_of(st.sampled_from(sorted(FIELDS)), st.text(min_size=1, max_size=8)))
        value = draw(NONSENSE)
        most = FIELDS[name].metadata["high"] if name in LARGEST else 0
        if not (type(value) is int and name in LARGEST and LARGEST[name] < value <= most):
            values[name] = value  # the others are right, but take hours
    return values


def two_steps(c, data):
    arrays, index = read_arrays(data)
    Trainer(c, build_learner(c, index.image_size), arrays, index).train()


def small(values):
    """`SMALL`, but for what `values` state, under either name, and for what their method lacks."""
    stated = {config.ALIASES.get(key, key) for key in values}
    method = values.get("algorithm")
    return {
        key: value
        for key, value in SMALL.items()
        if key not in stated
        and method not in set(config.METHODS) - {*FIELDS[key].metadata["only_for"]}
    }


def names_one(message, values, source):
    """Whether `message` names one of the settings `values` or `SMALL`, by either name, or says the
    algorithm, which is one of `values`. That it begins with `source` does not count.
    """
    standard = {config.ALIASES[key] for key in values if key in config.ALIASES}
    methods = {v for v in values.values() if isinstance(v, str) and v in config.METHODS}
    names = {*values, *SMALL, *standard, *methods}
    said = message.removeprefix(f"{source}: ")
    return any(names_word(said, form) for name in names for form in (name, repr(name)))


def check(read, values, data, source):
    """`read()` gives a configuration that trains, or one line that names one of the settings
    `values` that it was asked for.
    """
    try:
        two_steps(read(), data)
    except UserError as error:
        assert "\n" not in str(error)
        assert names_one(str(error), values, source), f"{error} names none of {values}"


def test_a_message_that_names_no_setting_would_be_noticed():
    path, values = "a/way.yaml", {"margin": 0, "a b": 1}
    for message in ("must be at least 1, not 0", "a wayward value", "is not YAML"):
        assert not names_one(f"{path}: {message}", values, path)
    for message in ("margin must be at least 0", "unknown setting 'a b'", "way must be 2"):
        assert names_one(f"{path}: {message}", values, path)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("settings")


def parser():
    made = errors.Parser("", "")
    made.add_argument("--config")
    flags.add_flags(made)
    return made


UNHURRIED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@UNHURRIED
@example({"inner_lr": 1e30})
@example({"glob_base_lr": 1e30})
@example({"name": "\0"})
@example({"way": 10**30})
@example({"algorithm": "protonet", "train_way": 97})
@example({"algorithm": "siamese", "inner_lr": 0.5})
@example({"seed": 2**63})
@given(stated())
def test_any_configuration_file_trains_or_names_the_setting(data, out, values):
    path = out / "any.yaml"
    text = yaml.safe_dump(values, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    asked = yaml.safe_load(text)  # a name of rare line breaks is read as one of spaces
    given_flags = ["--config", path, *folders(data, out), *as_flags(small(values))]
    words = list(map(str, given_flags))
    check(lambda: flags.from_flags(parser().parse_args(words)), asked, data, path)


WORDS = st.one_of(
    st.integers(-2, 9).map(str),
    st.floats(-1, 2).map(str),
    st.text(max_size=8),
    st.sampled_from(["", "nan", "inf", "-1", "1e9999", "auto", "--way"]),
)


@UNHURRIED
@given(
    st.dictionaries(
        st.sampled_from(sorted(n for n, f in FIELDS.items() if type(f.default) is not bool)),
        WORDS,
        max_size=3,
    )
)
def test_any_flags_train_or_name_the_setting(data, out, values):
    given_flags = [*folders(data, out), *as_flags(small(values)), *as_flags(values)]
    words = list(map(str, given_flags))
    check(lambda: flags.from_flags(parser().parse_args(words)), values, data, "command line")


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "a: 1\na: 2\n- b",
        "? [1, 2]\n: 3",
        "&a [*a]",
        "!!python/object/apply:os.system ['true']",
        "a: &a [*a]",
        "\x80",
        "1: 2",
        "way: 2024-01-01",
    ],
)
def test_files_that_are_no_lines_of_settings_are_named(out, text):
    path = out / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="odd.yaml") as caught:
        config.read_yaml(path)
    assert "\n" not in str(caught.value)
