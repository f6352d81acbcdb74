#!/usr/bin/env python3
"""Train a few-shot learner on Omniglot."""

import argparse

from maml import config as configuration
from maml import errors, runtime

EXAMPLE = """example:
  python train.py --n_way 5 --k_spt 1
  python train.py --config configs/maml_5w1s.yaml --resume
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings; flags override it")
    parser.add_argument("--resume", action="store_true", help="continue the run of this name where it stopped")
    configuration.add_flags(parser)
    arguments = parser.parse_args()
    config = configuration.from_flags(arguments)
    runtime.restart()

    from maml import learner, logs, omniglot, training

    arrays, index = omniglot.read(config.data)
    run = training.Run(config, learner.make(config, index.image_size), arrays, index)
    if arguments.resume:
        run.resume()
    run.train(logs.Log(config, run.epoch))
    print(f"best validation accuracy: {100 * run.best['accuracy']:.2f}% in epoch {run.best['epoch']}, {run.best_path}")


if __name__ == "__main__":
    errors.run(main)
