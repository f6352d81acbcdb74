"""What an evaluation may change of a trained learner, declared once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maml.config import FIELDS, METRIC, MODES, check_method, checked, option
from maml.system.errors import UserError

GROUP = "what to change"
OF_TASK = ("way", "shot", "query")


def same(name: str) -> Any:
    """A setting of training as a test option: None means as trained."""
    f = FIELDS[name]
    return dataclasses.field(default=None, metadata={**f.metadata, "trained": f})


@dataclass(frozen=True)
class TestOptions:
    """What an evaluation changes of a trained learner. None stands for "as trained".

    Raises:
        UserError: if a value is refused. The sentence names the option.
    """

    __test__ = False  # no test of pytest's

    way: int | None = same("way")
    shot: int | None = same("shot")
    query: int | None = same("query")
    inner_steps_test: int | None = same("inner_steps_test")
    inner_batch_test: int | None = same("inner_batch_test")
    refine: int | None = same("refine")
    distortions_test: int | None = same("distortions_test")
    bn: str | None = dataclasses.field(
        default=None,
        metadata={
            "help": "statistics of batch normalisation. transductive: those of the query batch; "
            "inductive: none of other queries; both: adapt once, predict in either way and print "
            "a report for each",
            "choices": [*MODES, "both"],
        },
    )
    finetune: int | None = option(
        None,
        GROUP,
        "fine-tune a cosine classifier on the support in this number of steps; 0: nearest mean by "
        "cosine",
        0,
        only_for=METRIC,
    )
    finetune_rate: float = option(
        0.1, GROUP, "learning rate of a step of fine-tuning", 0, only_for=METRIC
    )
    entropy: float = option(
        0.0,
        GROUP,
        "weight of the entropy of the queries' predictions in fine-tuning, which makes it "
        "transductive; 0: without",
        0,
        only_for=METRIC,
    )

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, trained = getattr(self, f.name), f.metadata.get("trained")
            if value is None or f.name == "bn":
                continue
            if trained is not None:
                checked(trained, value)
            elif isinstance(f.default, float):
                checked(f, value)
            elif value < 0:
                raise UserError(f"{f.name} must be at least 0, not {value}")

    def check_method(self, algorithm: str) -> None:
        """Raise a `UserError` where an option is not for this method."""
        for f in dataclasses.fields(self):
            if getattr(self, f.name) != f.default and "only_for" in f.metadata:
                check_method(f, algorithm)
            if f.name in ("finetune_rate", "entropy") and self.finetune is None:
                if getattr(self, f.name) != f.default:
                    raise UserError(f"{f.name} is for fine-tuning; state finetune too, or drop it")
        if self.bn == "both" and algorithm in METRIC:
            raise UserError(
                "bn both is for maml and reptile, whose adaptation is the same in both modes; "
                f"measure {algorithm} by bn {MODES[0]} and then by bn {MODES[1]}"
            )

    def changes(self) -> dict[str, Any]:
        """The settings of the learner that change, beside way and bn."""
        keys = ("shot", "query", "inner_steps_test", "inner_batch_test", "refine")
        stated = {key: getattr(self, key) for key in (*keys, "distortions_test")}
        return {key: value for key, value in stated.items() if value is not None}

    def stated(self) -> dict[str, Any]:
        """What is stated, by name, but for the task, which is that of the images at hand."""
        fields = [f for f in dataclasses.fields(self) if f.name not in OF_TASK]
        values = {f.name: getattr(self, f.name) for f in fields}
        return {f.name: values[f.name] for f in fields if values[f.name] != f.default}


def options_from(stated: Mapping[str, Any]) -> TestOptions:
    """Return the options of these names.

    Raises:
        UserError: if there is no such option, or its value is refused.
    """
    names = [f.name for f in dataclasses.fields(TestOptions) if f.name not in OF_TASK]
    for name in stated:
        if name not in names:
            raise UserError(f"{name} is not an option; there are {', '.join(names)}")
    return TestOptions(**stated)
