"""Accuracy against core-hours, read from the committed checkpoints' histories."""

import pytest
from helpers import ROOT

from maml.reports import cost, plots, results


def test_runs_follow_what_they_started_from():
    curves = cost.read_curves(ROOT / "checkpoints")
    assert {"MAML", "FOMAML", "Reptile", "Prototypical Networks"} <= set(curves)
    [maml], [tempered] = curves["MAML"], curves["MAML, at a temperature"]
    reports = dict(results.read_reports(ROOT / "checkpoints"))
    before, own = (reports[name]["core_seconds"] / 3600 for name in ("maml_5w1s", "maml_20w1s"))
    assert maml.hours[0] == pytest.approx(
        before + own / 9, rel=1e-3
    )  # 9 validations at equal distances
    assert maml.hours[-1] == pytest.approx(before + own, rel=1e-3)
    assert maml.accuracies[-1] == pytest.approx(reports["maml_20w1s"]["validation"], abs=2e-3)
    assert tempered.hours[0] > maml.hours[-1]  # from whose weights it went on
    first, second = curves["MAML, max-pooled, from a prototypical encoder"]
    assert first.hours[-1] < second.hours[0]


def test_the_figure_has_a_line_for_each_run_and_a_name_for_each_method():
    runs = {"A": [cost.Curve("a", [1, 2], [0.8, 0.9])], "B": [cost.Curve("b", [3, 4], [0.5, 0.6])]}
    [axes] = plots.accuracy_against_hours(runs, "title").axes
    lines = [list(line.get_ydata()) for line in axes.get_lines()]
    assert lines == [pytest.approx([20, 10]), pytest.approx([50, 40])]
    assert axes.get_legend_handles_labels()[1] == ["A", "B"]


def test_more_methods_than_colours_are_all_drawn():
    runs = {name: [cost.Curve(name, [1, 2], [0.8, 0.9])] for name in "abcdefghij"}
    lines = plots.accuracy_against_hours(runs, "title").axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 10
