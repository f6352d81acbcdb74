"""What an evaluation may change of a trained learner: ranges, and for which methods."""

import dataclasses

import pytest
from helpers import command, names_word

from maml.cli.evaluate_flags import parser
from maml.config import ALIASES, FIELDS, METHODS
from maml.evaluation.options import TestOptions
from maml.system.errors import UserError

OPTIONS = {f.name: f for f in dataclasses.fields(TestOptions)}
UNUSED = [
    (method, name)
    for name, f in OPTIONS.items()
    for method in METHODS
    if method not in f.metadata.get("only_for", METHODS)
]


def other(name):
    """A value that changes something."""
    f = OPTIONS[name]
    if isinstance(f.default, float):
        return 0.5
    return FIELDS[name].default + 1 if f.metadata.get("trained") else 3


def test_nothing_is_changed_by_default():
    options = TestOptions()
    assert options.changes() == {}
    for method in METHODS:
        options.check_method(method)


@pytest.mark.parametrize("method, name", UNUSED, ids=str)
def test_an_option_that_the_method_does_not_use_is_refused(method, name):
    options = TestOptions(**{name: other(name)})
    with pytest.raises(UserError) as caught:
        options.check_method(method)
    said = str(caught.value)
    assert said.startswith(f"{name} is for ") and said.endswith(f", not for {method}; drop it")
    assert all(names_word(said, used) for used in OPTIONS[name].metadata["only_for"])


def test_each_option_is_taken_by_the_methods_that_use_it():
    assert {name for _, name in UNUSED} == {
        *("inner_steps_test", "inner_batch_test", "refine", "finetune", "finetune_rate", "entropy")
    }
    for name, f in OPTIONS.items():
        if name != "bn":
            for method in f.metadata.get("only_for", METHODS):
                steps = {"finetune": 5} if name in ("finetune_rate", "entropy") else {}
                TestOptions(**{**steps, name: other(name)}).check_method(method)


@pytest.mark.parametrize("name", ["finetune_rate", "entropy"])
def test_what_fine_tuning_alone_uses_is_refused_without_it(name):
    with pytest.raises(UserError, match=f"{name} is for fine-tuning; state finetune too"):
        TestOptions(**{name: 0.5}).check_method("protonet")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"way": 1}, "way must be at least 2, not 1"),
        ({"shot": 10_001}, "shot must be at most 10000, not 10001"),
        ({"inner_steps_test": -1}, "inner_steps_test must be at least 0, not -1"),
        ({"finetune": -1}, "finetune must be at least 0, not -1"),
        ({"entropy": -0.5}, "entropy must be at least 0, not -0.5"),
        ({"entropy": float("nan")}, "entropy must be a finite number, not nan"),
        ({"finetune_rate": float("inf")}, "finetune_rate must be a finite number, not inf"),
        ({"way": 5.5}, "way must be of type int, not 5.5"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        TestOptions(**values)
    ((name, value),) = values.items()
    if name != "way" or isinstance(value, int):  # else it is no flag's value
        assert f"--{message}" in command("evaluate", f"--{name}", value, status=2).stderr


@pytest.mark.parametrize("method", ["protonet", "matching", "siamese"])
def test_both_modes_at_once_are_for_methods_that_adapt(method):
    with pytest.raises(UserError, match=f"bn both is for maml and reptile.* measure {method} by"):
        TestOptions(bn="both").check_method(method)
    TestOptions(bn="both").check_method("maml")


def test_the_help_of_evaluate_lists_both_names():
    text = parser().format_help()
    for name in OPTIONS:
        assert f"--{name}" in text
        alias = next((a for a, standard in ALIASES.items() if standard == name), None)
        assert alias is None or f"--{alias}" in text
