#!/usr/bin/env python3
"""Measure a trained few-shot learner: a door to maml/cli/evaluate.py."""

from maml.cli.evaluate import main
from maml.system import errors

if __name__ == "__main__":
    errors.run(main)
