"""Measuring a checkpoint: on random tasks, the one-shot challenge, the user's own pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from maml.algorithms.ensemble import Ensemble
from maml.algorithms.learner import Classifier
from maml.classifier.model import FewShotClassifier
from maml.config import METRIC, MODES
from maml.data import challenge, pictures
from maml.data.banks import ClassImages, Stack
from maml.data.distortions import NOT_DISTORTED
from maml.data.index import Index
from maml.data.streams import Stream, generator
from maml.data.tasks import AlphabetSampler, Sampler, TaskSampler
from maml.evaluation.accuracy import Result, evaluate_together, interval, measure
from maml.evaluation.options import TestOptions
from maml.networks.file import Builder
from maml.system.errors import UserError
from maml.system.processes import Processes
from maml.training.checkpoint import Checkpoint
from maml.training.restore import classifier_of

Report = dict[str, Any]


class Measured(NamedTuple):
    """Reports of random tasks, one for each mode of batch normalisation, and what they are of."""

    reports: list[Report]
    results: list[Result]
    classifier: Classifier
    tasks: Callable[[], Sampler]
    """makes a sampler that draws the same tasks again"""


def ensemble_of(
    trained: Sequence[Checkpoint],
    options: TestOptions,
    bn: str,
    way: int,
    builder: Builder | None = None,
) -> Classifier:
    """Return the classifier of one checkpoint, or the mean of several."""
    members = [classifier_of(t, options, bn, way, builder) for t in trained]
    return members[0] if len(members) == 1 else Ensemble(members)


def agreed(trained: Sequence[Checkpoint], name: str, values: Sequence[Any]) -> Any:
    """Return the value that all checkpoints have.

    Raises:
        UserError: if they differ. The sentence names the option that settles it.
    """
    for t, value in zip(trained, values):
        if value != values[0]:
            raise UserError(
                f"{trained[0].path} has {name} {values[0]} and {t.path} has {name} {value}; state "
                f"one for all of them by --{name}"
            )
    return values[0]


def random_tasks(
    trained: Sequence[Checkpoint],
    options: TestOptions,
    arrays: Mapping[str, Stack],
    index: Index,
    *,
    part: str,
    tasks: int,
    seed: int,
    alphabet: str | None = None,
    within_alphabet: bool = False,
    two_drawers: bool = False,
    processes: Processes,
    progress: Callable,
    every_step: bool = True,
    builder: Builder | None = None,
) -> Measured:
    """Measure on random tasks of `part` of the arrays.

    Several checkpoints are measured as one, by the mean of their softmaxes; each must serve the
    tasks.
    With `within_alphabet`, the classes of a task are of one alphabet: of `alphabet`, or of a random
    one for each task. With `two_drawers` as well, one person drew the support and another one the
    queries, as in the one-shot challenge.
    """
    images = arrays[part]
    stated = options.distortions_test
    copies = [t.config.distortions_test for t in trained] if stated is None else [stated]
    if any(copies) and isinstance(images, ClassImages):
        raise UserError(f"{NOT_DISTORTED}: --distortions_test 0")

    def common_to_all(name: str) -> Any:
        stated = getattr(options, name)
        return stated or agreed(trained, name, [getattr(t.config, name) for t in trained])

    way, shot, query = map(common_to_all, ("way", "shot", "query"))
    bn = options.bn or agreed(trained, "bn", [t.config.bn_mode for t in trained])
    if two_drawers and not (within_alphabet and shot == query == 1):
        raise UserError(
            "two drawers are those of a support and a query within an alphabet: state "
            "--within-alphabet --shot 1 --query 1 too, or drop --two-drawers"
        )
    if two_drawers and isinstance(images, ClassImages):
        raise UserError("nobody knows who made these images; drop --two-drawers")
    modes = list(MODES) if bn == "both" else [bn]
    classifiers = [ensemble_of(trained, options, bn, way, builder) for bn in modes]

    def sampler() -> Sampler:
        rng = generator(seed, Stream.TEST)
        if within_alphabet:
            rows = index.rows[part]
            return AlphabetSampler(images, rows, way, shot, query, rng, alphabet, two_drawers)
        return TaskSampler(images, way, shot, query, rng, names=index.rows[part])

    results = evaluate_together(classifiers, sampler(), tasks, processes, progress, every_step)
    reports = []
    for bn, result in zip(modes, results):
        measured = len(result.accuracies)
        report = {
            **common_of(trained, options, bn),
            "way": way,
            "shot": shot,
            "query": query,
            "data": index.source,
            "split": index.split,
            "part": part,
            "tasks": measured,
            "seed": seed,
            "accuracies": [round(float(a), 6) for a in result.vector],
            "losses": [round(float(loss), 6) for loss in result.losses.mean(axis=0)],
            "accuracy": round(result.mean, 6),
            "interval": round(result.interval, 6) if measured > 1 else None,
        }
        if within_alphabet:
            report["within_alphabet"] = alphabet or "any"
        if two_drawers:
            report["two_drawers"] = True
        reports.append(report)
    return Measured(reports, results, classifiers[0], sampler)


def common(trained: Checkpoint, options: TestOptions, bn: str) -> Report:
    """What every report says."""
    config = trained.config

    def setting(key: str) -> Any:
        stated = getattr(options, key)
        return getattr(config, key) if stated is None else stated

    report: Report = {"checkpoint": str(trained.path), "algorithm": config.algorithm, "bn": bn}
    if config.algorithm not in METRIC:
        report["inner_steps_test"] = setting("inner_steps_test")
    report.update({k: setting(k) for k in ("refine", "distortions_test") if setting(k)})
    if options.inner_batch_test is not None:
        report["inner_batch_test"] = options.inner_batch_test
    if options.finetune is not None:
        rate, entropy = options.finetune_rate, options.entropy
        report["finetune"] = {"steps": options.finetune, "rate": rate, "entropy": entropy}
    return report


def common_of(trained: Sequence[Checkpoint], options: TestOptions, bn: str) -> Report:
    """What every report says; of several checkpoints, what is true of all of them."""
    each = [common(t, options, bn) for t in trained]
    if len(each) == 1:
        return each[0]
    report = {k: v for k, v in each[0].items() if all(one.get(k) == v for one in each)}
    for key in ("checkpoint", "algorithm"):
        report[key] = " + ".join(dict.fromkeys(one[key] for one in each))
    steps = [one["inner_steps_test"] for one in each if "inner_steps_test" in one]
    if steps:
        report["inner_steps_test"] = max(steps)
    return {**report, "averaged": each}


def one_shot_challenge(
    trained: Sequence[Checkpoint],
    options: TestOptions,
    runs: Sequence[challenge.Run],
    builder: Builder | None = None,
) -> Report:
    """Measure the error rate on runs of Omniglot's one-shot challenge, in the mean of the runs.

    Several checkpoints answer by the mean of their softmaxes; all read images of the runs' size.
    """
    for one in trained:
        form = one.data.form
        if form.channels != 1 or not form.high_ink:
            raise UserError(
                f"{one.path}: was trained on {one.data.source}, and the challenge is of grey "
                "drawings with high ink; take weights of drawings, by --checkpoint"
            )
        if one.data.image_size != trained[0].data.image_size:
            raise UserError(
                f"{trained[0].path} reads images of {trained[0].data.image_size} pixels and "
                f"{one.path} of {one.data.image_size}; average weights for images of one size"
            )
    bn = options.bn or agreed(trained, "bn", [t.config.bn_mode for t in trained])
    way = max(run.task.support_y.shape[1] for run in runs)
    classifier = ensemble_of(trained, options, bn, way, builder)
    right = [measure([classifier], run.task, every_step=False)[0].mean for run in runs]
    wrong = 1 - np.array(right)
    report = common_of(trained, options, bn)
    return {
        **report,
        "transductive": bn == "transductive" or "refine" in report or options.entropy > 0,
        "runs": {run.name: round(float(error), 6) for run, error in zip(runs, wrong)},
        "error": round(float(wrong.mean()), 6),
        "interval": round(interval(wrong), 6) if len(runs) > 1 else None,
    }


class Answered(NamedTuple):
    """The user's own pictures, the probabilities of the classes, [N, way], and what is refused."""

    report: Report
    support: pictures.Pictures
    query: pictures.Pictures
    probabilities: np.ndarray
    refused: np.ndarray


def own_pictures(
    trained: Checkpoint,
    options: TestOptions,
    classes: Sequence[Path],
    queries: Sequence[str],
    builder: Builder | None = None,
    reject: float | None = None,
) -> Answered:
    """Classify the user's own pictures after those in the folders of `classes`.

    Pictures that cannot be used are left out, and named in the report with the reason. With
    `reject`, pictures of none of the classes are refused; see `FewShotClassifier.predict`.
    """
    # a few pictures have no statistics to speak of
    stated = {"bn": "inductive", **options.stated()}
    model = FewShotClassifier(trained, builder, **stated)
    support = pictures.read_support(classes, model.form)
    query = pictures.read_queries(queries, support.classes, model.form)
    model.fit(support.x, support.y.tolist())
    p = model.predict_proba(query.x)
    told: list[Any] = model.predict(query.x, reject)
    report = {
        **common(trained, options, model.options["bn"]),
        "classes": support.classes,
        "support": len(support.paths),
        "queries": [
            {
                "picture": str(path),
                "class": None if k is None else support.classes[k],
                "likeliest": support.classes[row.argmax()],
                "probability": round(float(row.max()), 4),
                "probabilities": {
                    name: round(float(v), 4) for name, v in zip(support.classes, row)
                },
            }
            for path, k, row in zip(query.paths, told, p)
        ],
        "skipped": [
            {"path": str(path), "reason": reason}
            for path, reason in [*support.skipped, *query.skipped]
        ],
    }
    if reject is not None:
        report["reject"] = reject
    if model.fitted.judged is not None:
        for each, share in zip(report["queries"], model.typicality(query.x)):
            each["typicality"] = round(float(share), 4)
    known = [(k, y) for k, y in zip(told, query.y) if y >= 0]
    if known:
        report["accuracy"] = round(float(np.mean([k == y for k, y in known])), 4)
    refused = np.array([k is None for k in told])
    return Answered(report, support, query, p, refused)


def predicted(classifier: Classifier, adapted: Any, query_x: np.ndarray) -> np.ndarray:
    """Return the probabilities [T, N, way] of queries, by what `adapt` yielded."""
    scores = classifier.predict(adapted, paddle.to_tensor(query_x))
    return paddle.nn.functional.softmax(scores, axis=-1).numpy()
