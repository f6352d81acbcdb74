"""What evaluate.py says, in words, of what it prints as JSON."""

from __future__ import annotations

from typing import Any

from maml.config import ANY_WAY
from maml.reports.log import NOT_OMNIGLOT, vector


def of_random_tasks(report: dict[str, Any]) -> str:
    """The accuracy on random tasks, with everything that it depends on."""
    where = f" of one alphabet ({report['within_alphabet']})" if "within_alphabet" in report else ""
    measured = {1: "", 2: "0 and "}.get(len(report["accuracies"]), "0, 1, ... ")
    accuracy = (
        []
        if report["algorithm"] in ANY_WAY and "finetune" not in report
        else [  # which have no update steps
            f"accuracy after {measured}{_steps(report)}: {vector(report['accuracies'])}"
        ]
    )
    interval = (
        ""
        if report["interval"] is None
        else f" +- {100 * report['interval']:.2f}% (95% interval over tasks)"
    )
    return "\n".join(
        [
            *([] if report["data"] == "omniglot" else [NOT_OMNIGLOT.format(report["data"])]),
            (
                f"{report['checkpoint']}: {report['algorithm']}, {report['n_way']}-way"
                f" {report['k_spt']}-shot, {report['k_query']} queries a class, {report['tasks']}"
                f" tasks with seed {report['seed']}"
            ),
            (
                f"{report['data']}, {report['part']} characters{where} of the {report['split']}"
                f" split, {report['bn']} batch normalisation"
            ),
            *_finetuning(report),
            *_tricks(report),
            *accuracy,
            f"accuracy: {100 * report['accuracy']:.2f}"
            + (interval or "%, of one task, so without an interval"),
        ]
    )


def of_challenge(report: dict[str, Any]) -> str:
    """The error rates in Omniglot's own one-shot challenge."""
    return "\n".join(
        [
            (
                f"{report['checkpoint']}: {report['algorithm']}, {report['bn']} batch"
                f" normalisation{_adapted(report)}"
            ),
            *_finetuning(report),
            *_tricks(report),
            *(f"{name}  error {100 * error:5.1f}%" for name, error in report["runs"].items()),
            f"overall error rate of {len(report['runs'])} runs: {100 * report['error']:.1f}%",
        ]
    )


def of_pictures(report: dict[str, Any]) -> str:
    """The class of each of the user's own pictures."""
    width = max(len(query["picture"]) for query in report["queries"])
    lines = [
        f"{query['picture']:{width}}  {query['class']}  {100 * query['probability']:5.1f}%"
        for query in report["queries"]
    ]
    known = (
        [f"accuracy: {100 * report['accuracy']:.1f}% of the pictures whose class is known"]
        if "accuracy" in report
        else []
    )
    return "\n".join(
        [
            (
                f"{report['checkpoint']}: {report['algorithm']}, {report['support']} support"
                f" pictures of {', '.join(report['classes'])}, {report['bn']} batch"
                f" normalisation{_adapted(report)}"
            ),
            *_finetuning(report),
            *_tricks(report),
            *lines,
            *known,
        ]
    )


def _steps(report: dict[str, Any]) -> str:
    """How many steps the last predictions were made after."""
    count = report["finetune"]["steps"] if "finetune" in report else report["glob_update_step_test"]
    return f"{count} {'step' if count == 1 else 'steps'}" + (
        " of fine-tuning" if "finetune" in report else " of the inner loop"
    )


def _adapted(report: dict[str, Any]) -> str:
    """The steps of learners that adapt, for the end of a line."""
    return f", after {_steps(report)}" if "glob_update_step_test" in report else ""


def _tricks(report: dict[str, Any]) -> list[str]:
    """Lines about what else the predictions come from."""
    copies = (
        "embeddings are means over each image and {} distorted copies"
        if report["algorithm"] in ANY_WAY
        else "adapted to the support and {} distorted copies of it"
    )
    lines = {
        "refine": "prototypes refined {} times by the queries (transductive)",
        "distortions_test": copies,
        "inner_batch_test": "each update step on {} support images (0: all)",
    }
    return [line.format(report[key]) for key, line in lines.items() if key in report]


def _finetuning(report: dict[str, Any]) -> list[str]:
    """A line about fine-tuning, where there is any."""
    if "finetune" not in report:
        return []
    steps, rate, entropy = (report["finetune"][key] for key in ("steps", "rate", "entropy"))
    looked = f", entropy of the queries weighted {entropy:g} (transductive)" if entropy else ""
    return [f"cosine classifier fine-tuned in {steps} steps of {rate:g}{looked}"]
