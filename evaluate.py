#!/usr/bin/env python3
"""Measure a trained few-shot learner on characters that it has never seen."""

import argparse
import json
import sys

from maml import errors, parallel, runtime

EXAMPLE = """examples:
  python evaluate.py --n_way 5 --k_spt 1                            the best checkpoint for 5-way 1-shot
  python evaluate.py --checkpoint checkpoints/maml_5w1s.pkl --tasks 10000
"""


def main() -> int:
    parser = errors.Parser(__doc__, EXAMPLE)
    what = parser.add_argument_group("what to measure")
    what.add_argument("--checkpoint", metavar="FILE", help="any checkpoint; without, the best matching one in --checkpoints")
    what.add_argument("--checkpoints", default="checkpoints", metavar="DIR", help="folder to search (default: %(default)s)")
    what.add_argument("--algorithm", help="search this algorithm's only")
    what.add_argument("--n_way", type=int, metavar="INT", help="classes in a task (default: as trained, 5 to search)")
    what.add_argument("--k_spt", type=int, metavar="INT", help="support images a class (default: as trained, 1 to search)")
    what.add_argument("--k_query", type=int, metavar="INT", help="query images a class (default: as trained)")
    what.add_argument("--glob_update_step_test", type=int, metavar="INT", help="update steps (default: as trained)")
    what.add_argument("--bn", choices=["transductive", "inductive"],
                      help="statistics of batch normalisation: the query batch's own, or without other queries (default: as trained)")
    how = parser.add_argument_group("on what, and how")
    how.add_argument("--data", default=".", metavar="DIR", help="folder with make_data.py's arrays (default: the current one)")
    how.add_argument("--part", choices=["test", "val"], default="test", help="characters to draw from (default: %(default)s)")
    how.add_argument("--tasks", type=int, default=1000, metavar="INT", help="random tasks (default: %(default)s)")
    how.add_argument("--seed", type=int, default=0, metavar="INT", help="of the tasks (default: %(default)s)")
    how.add_argument("--workers", type=int, default=0, metavar="INT", help="processes (default: as many as GPUs, else cores)")
    how.add_argument("--use_gpu", action="store_true", help="compute on a GPU")
    how.add_argument("--last_step", action="store_true", help="measure after the last update step only, which is quicker")
    how.add_argument("--figures", metavar="DIR", help="write figures there: learning curves, query images with predictions")
    how.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    for name, low in (("tasks", 1), ("seed", 0), ("workers", 0), ("n_way", 2), ("k_spt", 1), ("k_query", 1), ("glob_update_step_test", 0)):
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise errors.UserError(f"--{name} must be at least {low}, not {value}")
    if parallel.is_worker():
        return work(arguments)
    gpus = runtime.gpus() if arguments.use_gpu else 0
    return parallel.start(arguments.workers or gpus or parallel.cores(), gpu=arguments.use_gpu)


def work(arguments: argparse.Namespace) -> int:
    """One of the processes that measure."""
    runtime.end_with_parent()
    gpu = runtime.use_device(arguments.use_gpu)
    processes = parallel.Processes(gpu)

    import numpy as np
    from tqdm import tqdm

    from maml import evaluation, logs, omniglot, trained
    from maml.tasks import TaskSampler

    arrays, index = omniglot.read(arguments.data)
    if arguments.checkpoint:
        model = trained.read(arguments.checkpoint)
    else:
        model = trained.find(arguments.checkpoints, arguments.n_way or 5, arguments.k_spt or 1, arguments.algorithm)
    warning = trained.check_data(model, index, arguments.part)
    if processes.first and warning:
        print(warning, file=sys.stderr)
    changes = {key: value for key in ("bn", "k_spt", "k_query", "glob_update_step_test") if (value := getattr(arguments, key)) is not None}
    learner = trained.learner(model, arguments.n_way, **changes)
    way, shot, query = (getattr(arguments, key) or getattr(model.config, key) for key in ("n_way", "k_spt", "k_query"))
    bn = arguments.bn or model.config.bn_mode
    sampler = TaskSampler(arrays[arguments.part], way, shot, query, np.random.default_rng([arguments.seed, 4]))
    result = evaluation.evaluate(learner, sampler, arguments.tasks, processes,
                                 lambda items: tqdm(items, "evaluating", disable=None if processes.first else True),
                                 every_step=not arguments.last_step)
    if not processes.first:
        return 0
    report = {"checkpoint": str(model.path), "algorithm": model.config.algorithm, "n_way": way, "k_spt": shot, "k_query": query,
              "data": index.source, "split": index.split, "part": arguments.part, "bn": bn, "tasks": arguments.tasks,
              "seed": arguments.seed, "accuracies": [round(float(a), 6) for a in result.vector],
              "accuracy": round(result.mean, 6), "interval": round(result.interval, 6)}
    if arguments.figures:
        draw(arguments.figures, model, learner, sampler.sample(1))
    if arguments.json:
        print(json.dumps(report))
        return 0
    if index.source != "omniglot":
        print(f"These are NOT Omniglot's characters, but {index.source} ones.")
    print(f"{model.path}: {model.config.algorithm}, {way}-way {shot}-shot, {query} queries a class, {arguments.tasks} tasks with seed "
          f"{arguments.seed}\n{index.source}, {arguments.part} characters of the {index.split} split, {bn} batch normalisation\n"
          f"accuracy after {'the last update step' if arguments.last_step else '0, 1, ... update steps'}: {logs.vector(result.vector)}\n"
          f"accuracy: {100 * result.mean:.2f} +- {100 * result.interval:.2f}% (95% interval over tasks)")
    return 0


def draw(folder, model, learner, task) -> None:
    """Write the figures of a checkpoint and of a task to `folder`."""
    from pathlib import Path

    import paddle

    from maml import plots

    *_, adapted = learner.adapt(*map(paddle.to_tensor, task[:2]))
    predicted = learner.predict(adapted, paddle.to_tensor(task.query_x)).numpy()[0].argmax(-1)
    figures = {"learning_curves.png": plots.learning_curves(model.state["history"], f"{model.path.stem}: accuracy while training"),
               "predictions.png": plots.predictions(task.query_x[0], task.query_y[0], predicted, f"{model.path.stem}: queries of a task")}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(Path(folder) / name, dpi=120)
    except OSError as error:
        raise errors.UserError(f"{folder}: cannot be written ({error.strerror}); name another folder by --figures") from None


if __name__ == "__main__":
    errors.run(main)
