"""Train a few-shot learner, keep the weights that are best on validation characters, and log the
run for VisualDL."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maml.cli import flags
from maml.config import OWN_NETWORK, Config, read_yaml
from maml.system import device, errors, launch, reservation
from maml.system.processes import Processes

if TYPE_CHECKING:
    import numpy as np

    from maml.networks.from_layer import LayerNetwork

EXAMPLE = """examples:
  python train.py --way 5 --shot 1                          MAML with the defaults
  python train.py --config configs/maml_5w1s.yaml           a published experiment
  python train.py --config configs/maml_5w1s.yaml --resume  go on after an interruption

Settings go by two names where a second one is shown: the first is the field's, the second that of
the article this project grew from. Both serve as flags and in configuration files.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags; start the processes that train, or be one of them."""
    parser = errors.Parser(__doc__ or "", EXAMPLE)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with settings; flags override it"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run of this name where it stopped"
    )
    flags.add_flags(parser)
    arguments = parser.parse_args(argv)
    config = flags.from_flags(arguments)
    if launch.is_worker():
        return work(config, arguments.resume)
    from maml.data.index import ImageIndex, read_index
    from maml.training import names

    index, more = read_index(config.data), []
    if isinstance(index, ImageIndex) and config.rotations and not states_rotations(arguments):
        print("rotations: off, for these data are no characters; --rotations turns them on")
        more = ["--no-rotations"]
        config = dataclasses.replace(config, rotations=False)
    name = names.resumed_name(config) if arguments.resume else names.new_name(config)
    if name != config.name:
        print(f"this run is called {name}", flush=True)
    named = dataclasses.replace(config, name=name)
    try:
        gpus = device.gpus() if config.gpu else 0
        tasks, images = config.meta_batch_size, config.episode_images
        workers = launch.choose_workers(config.workers, tasks, gpus, images)
        return launch.start(workers, ["--name", name, *more], gpu=gpus > 0)
    finally:
        reservation.release(names.lock_path(named))


def work(config: Config, resume: bool) -> int:
    """Train as one of the processes."""
    device.end_with_parent()
    gpu = device.use_device(config.gpu)
    processes = Processes(gpu)

    from maml.data.arrays import read_arrays
    from maml.data.banks import first_images
    from maml.networks.file import read_builder
    from maml.training.build import learner_for
    from maml.training.checkpoint import read
    from maml.training.loop import Trainer

    if config.gpu and not gpu and processes.first:
        print(device.NO_GPU, flush=True)
    arrays, index = read_arrays(config.data)
    builder = read_builder(config.network) if OWN_NETWORK.fullmatch(config.network) else None
    learner = learner_for(config, index, processes, builder)
    if builder:
        how = try_network(config, learner.network, first_images(arrays["train"]))  # type: ignore[arg-type]
        if processes.first:
            print(how, flush=True)
    run = Trainer(config, learner, arrays, index, processes)
    if resume:
        run.resume()
    elif config.start:
        said = run.start_from(read(config.start))
        if said and processes.first:
            print(said, flush=True)
    if not processes.first:
        run.train()
        return 0
    from maml.reports.log import ConsoleLog

    log = ConsoleLog(run, "GPU" if gpu else "CPU")
    log.close(run.train(log))
    return 0


def states_rotations(arguments: argparse.Namespace) -> bool:
    """Whether a flag or the configuration file says what becomes of rotations."""
    in_file = read_yaml(arguments.config) if arguments.config else {}
    return "rotations" in {**in_file, **vars(arguments)}


def try_network(config: Config, network: LayerNetwork, images: np.ndarray) -> str:
    """Check a network of the user's own before it is trained, and return how it runs.

    images: of two tasks, [2, 4, C, H, W] float32.
    """
    import paddle

    from maml.networks.check import check_second_order

    x = paddle.to_tensor(images)
    network(x)
    second = ""
    if config.algorithm == "maml" and not config.first_order:
        error = check_second_order(network, x[:1])
        second = f"; second derivatives agree with float64 differences to {error:.0e}"
    return f"network: {config.network}, {network.how()}{second}"
