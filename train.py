#!/usr/bin/env python3
"""Train a few-shot learner on Omniglot, keep the weights that are best on validation characters,
and log the run for VisualDL.
"""

from maml import config
from maml.cli import flags
from maml.system import device, errors, launch
from maml.system.processes import Processes

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
    flags.add_flags(parser)
    arguments = parser.parse_args()
    config = flags.from_flags(arguments)

    if launch.is_worker():
        return work(config, arguments.resume)
    from maml.data.arrays import read_index
    from maml.training import names

    read_index(config.data)
    name = names.resumed_name(config) if arguments.resume else names.new_name(config)
    if name != config.name:
        print(f"this run is called {name}", flush=True)
    workers = launch.choose_workers(
        config.workers, config.task_num, device.gpus() if config.use_gpu else 0
    )
    return launch.start(workers, ["--name", name], gpu=config.use_gpu)


def work(config: config.Config, resume: bool) -> int:
    """One of the processes that train."""
    device.end_with_parent()
    gpu = device.use_device(config.use_gpu)
    processes = Processes(gpu)

    from maml.data.arrays import read_arrays
    from maml.reports.log import Log, Silent
    from maml.system import progress
    from maml.training import build, checkpoint, leakage, loop, restore

    if config.use_gpu and not gpu and processes.first:
        print(device.NO_GPU, flush=True)
    arrays, index = read_arrays(config.data)
    made = build.make(config, index.image_size, average=processes.average)
    if config.start and not resume:
        origin = checkpoint.read(config.start)
        for part in ("val", "test"):
            leakage.check_data(origin, index, part)
        restore.start(made, origin)
    run = loop.Run(config, made, arrays, index, processes)
    if resume:
        run.resume()
    log = Log(config, run.epoch, index.source) if processes.first else Silent()
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
