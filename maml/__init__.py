"""Few-shot learning with PaddlePaddle: MAML, Reptile, Prototypical, Matching and Siamese networks.

    import maml

    model = maml.load("protonet_60w1s")       # weights that come with the project, or any file
    model.fit(images, labels)                 # a few examples of each class
    model.predict(queries)                    # their classes

    learner = maml.MAML(maml.ConvNet(5, rng), alpha=0.4, beta=1e-3, steps=1, steps_test=3)
    learner.meta_step(sampler.sample(16))     # exact second-order meta-gradients

What `__all__` lists is public. Importing the package has no effect and is quick: each name is
imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

_PLACES = {
    "load": "classifier.model",
    "FewShotClassifier": "classifier.model",
    "MAML": "algorithms.maml",
    "MAMLPlusPlus": "algorithms.maml_plus_plus",
    "Reptile": "algorithms.reptile",
    "ProtoNet": "algorithms.protonet",
    "Matching": "algorithms.matching",
    "FullContext": "algorithms.matching",
    "Pairs": "algorithms.siamese",
    "Triplets": "algorithms.siamese",
    "FineTune": "algorithms.finetune",
    "Ensemble": "algorithms.ensemble",
    "from_layer": "networks.from_layer",
    "check_second_order": "networks.check",
    "Network": "networks.base",
    "ConvNet": "networks.conv",
    "DenseNet": "networks.dense",
    "Perceptron": "networks.dense",
    "KerasNet": "networks.keras",
    "KochNet": "networks.koch",
    "TaskBatch": "data.tasks",
    "TaskSampler": "data.tasks",
    "AlphabetSampler": "data.tasks",
    "read_data": "data.datasets",
    "read_arrays": "data.arrays",
    "Config": "config",
    "Checkpoint": "training.checkpoint",
    "Trainer": "training.loop",
    "evaluate": "evaluation.accuracy",
    "Result": "evaluation.accuracy",
    "UserError": "system.errors",
}

_FOLDERS = ("data", "functional")
"""packages that are public themselves, with what their own `__all__` lists"""

__all__ = [*_PLACES, *_FOLDERS, "__version__"]

if TYPE_CHECKING:
    from maml import data, functional
    from maml.algorithms.ensemble import Ensemble
    from maml.algorithms.finetune import FineTune
    from maml.algorithms.maml import MAML
    from maml.algorithms.maml_plus_plus import MAMLPlusPlus
    from maml.algorithms.matching import FullContext, Matching
    from maml.algorithms.protonet import ProtoNet
    from maml.algorithms.reptile import Reptile
    from maml.algorithms.siamese import Pairs, Triplets
    from maml.classifier.model import FewShotClassifier, load
    from maml.config import Config
    from maml.data.arrays import read_arrays
    from maml.data.datasets import read_data
    from maml.data.tasks import AlphabetSampler, TaskBatch, TaskSampler
    from maml.evaluation.accuracy import Result, evaluate
    from maml.networks.base import Network
    from maml.networks.check import check_second_order
    from maml.networks.conv import ConvNet
    from maml.networks.dense import DenseNet, Perceptron
    from maml.networks.from_layer import from_layer
    from maml.networks.keras import KerasNet
    from maml.networks.koch import KochNet
    from maml.system.errors import UserError
    from maml.training.checkpoint import Checkpoint
    from maml.training.loop import Trainer


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _FOLDERS:
        return importlib.import_module(f"maml.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'maml' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"maml.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        from maml.system.errors import missing

        raise ImportError(missing(error.name) or str(error)) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
