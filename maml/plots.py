"""Figures, as matplotlib `Figure`s that touch no global state; colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

TRAINING, VALIDATION, WRONG = "#0072B2", "#E69F00", "#D55E00"  # blue, orange, vermilion of Okabe & Ito


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """[n] -> [n], the mean weighted by a Hamming window of `window` (odd) values around each, of those that there are at the ends."""
    weights = np.hamming(window + 2)[1:-1]
    around = slice(window // 2, window // 2 + len(values))
    return (np.convolve(values, weights) / np.convolve(np.ones(len(values)), weights))[around]


def learning_curves(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Accuracy after the last update step over epochs, on training and validation characters, as measured and smoothed.

    `history` is a checkpoint's: {"epoch", "part" ("train" or "validation"), "accuracies"} for each measurement.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for part, colour in (("train", TRAINING), ("validation", VALIDATION)):
        points = [(h["epoch"], 100 * h["accuracies"][-1]) for h in history if h["part"] == part]
        if not points:
            continue
        epochs, accuracies = zip(*points)
        window = max(1, len(points) // 20) * 2 + 1
        axes.plot(epochs, accuracies, ".", color=colour, alpha=0.3)
        axes.plot(epochs, smooth(accuracies, window), color=colour, label=f"{part} characters, Hamming window of {window}")
    axes.set(title=title, xlabel="epoch (meta-iteration)", ylabel="accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def predictions(images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, title: str, most: int = 10) -> Figure:
    """A row of query images [N, 1, H, W] (ink 1), each with its label and what was predicted, the wrong ones marked."""
    shown = min(most, len(images))
    figure = Figure(figsize=(1.1 * shown, 2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axes, image, label, guess in zip(np.atleast_1d(figure.subplots(1, shown)), images[:, 0], labels, predicted):
        right = label == guess
        axes.imshow(1 - image, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"class {label}\nsaid {guess}{'' if right else '  ✗'}", fontsize=9, color="black" if right else WRONG)
        for spine in axes.spines.values():
            spine.set(color="black" if right else WRONG, linewidth=1 if right else 3)
    return figure
