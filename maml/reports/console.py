"""The reports of an evaluation in words."""

from __future__ import annotations

from typing import Any

from maml.config import METRIC
from maml.reports.words import not_omniglot, of_images, steps_in_words, vector

DASHES = "-" * 20
LONG_DASHES = "-" * 72


def of_random_tasks(report: dict[str, Any]) -> str:
    """The accuracy on random tasks, with everything that it depends on."""
    accuracies, tasks = report["accuracies"], report["tasks"]
    where = ""
    if "within_alphabet" in report:
        where = f" of one alphabet ({report['within_alphabet']})"
    if "two_drawers" in report:
        where += ", support and queries by two drawers,"
    lines = not_omniglot(report["data"])
    classes = "classes" if of_images(report["data"]) else "characters"
    lines += [
        f"{report['checkpoint']}: {report['algorithm']}, {report['way']}-way "
        f"{report['shot']}-shot, {report['query']} queries of each class, {tasks} tasks with seed "
        f"{report['seed']}",
        f"{report['data']}, {report['part']} {classes}{where} of the {report['split']} split, "
        f"{report['bn']} batch normalisation",
        *_averaged(report),
        *_finetuning(report),
        *_changes(report),
    ]
    name = {"test": "测试集", "val": "验证集"}[report["part"]]
    lines += [
        f"{DASHES}-在{tasks}个随机任务上测试:{DASHES}-",
        f"{name}准确率: {vector(accuracies)}",
        LONG_DASHES,
    ]
    if len(accuracies) > 1:
        after = "0 and " if len(accuracies) == 2 else "0, 1, ... "
        lines.append(f"accuracies are those after {after}{_steps(report)}")
    interval = "%, of one task, so without an interval"
    if report["interval"] is not None:
        interval = f" +- {100 * report['interval']:.2f}% (95% interval over tasks)"
    lines.append(f"accuracy: {100 * report['accuracy']:.2f}{interval}")
    return "\n".join(lines)


def of_challenge(report: dict[str, Any]) -> str:
    """The error rates in Omniglot's own one-shot challenge."""
    runs = [f"{name}  error {100 * error:5.1f}%" for name, error in report["runs"].items()]
    interval = "%"
    if report["interval"] is not None:
        interval = f" +- {100 * report['interval']:.2f}% (95% interval over runs)"
    return "\n".join(
        [
            f"{report['checkpoint']}: {report['algorithm']}, {report['bn']} batch normalisation"
            + _adapted(report),
            *_finetuning(report),
            *_changes(report),
            *runs,
            f"overall error rate of {len(runs)} runs"
            + (", transductive" if report["transductive"] else "")
            + f": {100 * report['error']:.2f}{interval}",
        ]
    )


def of_pictures(report: dict[str, Any]) -> str:
    """The predicted class of each of the user's own pictures."""
    width = max(len(query["picture"]) for query in report["queries"])
    rejects = "reject" in report
    lines = [f"{query['picture']:{width}}  {_told(query, rejects)}" for query in report["queries"]]
    if rejects:
        lines.append(
            f"refused: what is farther from every class than {1 - report['reject']:.0%} of members "
            "are; usual is the share of members that are as far"
        )
    if "accuracy" in report:
        share = 100 * report["accuracy"]
        lines.append(f"accuracy: {share:.1f}% of the pictures whose class is known")
    return "\n".join(
        [
            f"{report['checkpoint']}: {report['algorithm']}, {report['support']} support pictures "
            f"of {', '.join(report['classes'])}, {report['bn']} batch normalisation"
            + _adapted(report),
            *_finetuning(report),
            *_changes(report),
            *lines,
        ]
    )


def _told(query: dict[str, Any], rejects: bool) -> str:
    """The class of a picture, its probability, and how usual members are that are as far."""
    usual = f"  usual {100 * query['typicality']:3.0f}%" if rejects else ""
    likeliest = f"{query['likeliest']}  {100 * query['probability']:5.1f}%{usual}"
    return likeliest if query["class"] is not None else f"none of these (nearest: {likeliest})"


def _steps(report: dict[str, Any]) -> str:
    """The number of steps before the last predictions."""
    if "finetune" in report:
        return f"{steps_in_words(report['finetune']['steps'])} of fine-tuning"
    return f"{steps_in_words(report['inner_steps_test'])} of the inner loop"


def _adapted(report: dict[str, Any]) -> str:
    """The steps of learners that adapt, for the end of a line."""
    return f", after {_steps(report)}" if "inner_steps_test" in report else ""


def _changes(report: dict[str, Any]) -> list[str]:
    """Lines about what else the predictions come from."""
    copies = "adapted to the support and {} distorted copies of it"
    if set(report["algorithm"].split(" + ")) <= set(METRIC):
        copies = "embeddings are means over each image and {} distorted copies"
    lines = {
        "refine": "prototypes refined {} times by the queries (transductive)",
        "distortions_test": copies,
        "inner_batch_test": "each update step on {} support images (0: all)",
    }
    return [line.format(report[key]) for key, line in lines.items() if key in report]


def _averaged(report: dict[str, Any]) -> list[str]:
    """A line about what is averaged, where there are several checkpoints."""
    if "averaged" not in report:
        return []
    line = f"each query's probabilities are the mean of {len(report['averaged'])} softmaxes, one "
    steps = {one.get("inner_steps_test", 0) for one in report["averaged"]}
    fewer = "; those with fewer update steps stay as they are after their last"
    return [line + "for each checkpoint" + (fewer if len(steps) > 1 else "")]


def _finetuning(report: dict[str, Any]) -> list[str]:
    """A line about fine-tuning, where there is any."""
    if "finetune" not in report:
        return []
    steps, rate, entropy = (report["finetune"][key] for key in ("steps", "rate", "entropy"))
    weight = f", entropy of the queries weighted {entropy:g} (transductive)" if entropy else ""
    return [f"cosine classifier fine-tuned in {steps_in_words(steps)} of {rate:g}{weight}"]
