#!/usr/bin/env python3
"""Train a few-shot learner on Omniglot, keep the weights that are best on validation characters,
and log the run for VisualDL.
"""

from maml import config as configuration
from maml import errors, parallel, runtime

EXAMPLE = """examples:
  python train.py --n_way 5 --k_spt 1                               MAML with the defaults
  python train.py --config configs/maml_5w1s.yaml                   a published experiment
  python train.py --config configs/maml_5w1s.yaml --resume          go on after an interruption
"""


def main() -> int:
    parser = errors.Parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with settings; flags override it"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run of this name where it stopped"
    )
    configuration.add_flags(parser)
    arguments = parser.parse_args()
    config = configuration.from_flags(arguments)

    if parallel.is_worker():
        return work(config, arguments.resume)
    from maml import omniglot, runs

    omniglot.read_index(config.data)
    name = runs.resumed_name(config) if arguments.resume else runs.new_name(config)
    if name != config.name:
        print(f"this run is called {name}", flush=True)
    workers = parallel.choose_workers(
        config.workers, config.task_num, runtime.gpus() if config.use_gpu else 0
    )
    return parallel.start(workers, ["--name", name], gpu=config.use_gpu)


def work(config: configuration.Config, resume: bool) -> int:
    """One of the processes that train."""
    runtime.end_with_parent()
    gpu = runtime.use_device(config.use_gpu)
    processes = parallel.Processes(gpu)

    from maml import learner, logs, omniglot, progress, trained, training

    if config.use_gpu and not gpu and processes.first:
        print(runtime.NO_GPU, flush=True)
    arrays, index = omniglot.read(config.data)
    made = learner.make(config, index.image_size, average=processes.average)
    if config.start and not resume:
        origin = trained.read(config.start)
        for part in ("val", "test"):
            trained.check_data(origin, index, part)
        trained.start(made, origin)
    run = training.Run(config, made, arrays, index, processes)
    if resume:
        run.resume()
    log = logs.Log(config, run.epoch, index.source) if processes.first else logs.Silent()
    finished = run.train(log)
    log.close(run.best["accuracy"])
    if processes.first and finished:
        what = (
            "" if index.source == "omniglot" else f" on {index.source} characters, NOT Omniglot's"
        )
        print(
            f"best validation accuracy{what}: {100 * run.best['accuracy']:.2f}% in epoch"
            f" {run.best['epoch']}, after {progress.duration(run.seconds)} in all; weights:"
            f" {run.best_path}"
        )
    elif processes.first:
        print(f"stopped after epoch {run.epoch} and saved; the same command with --resume goes on")
    return 0


if __name__ == "__main__":
    errors.run(main)
