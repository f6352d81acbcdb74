"""Pythons without a PaddlePaddle are named before anything is installed, and versions of packages
are the same wherever they are stated.
"""

import re
import sys

import pytest
from helpers import ROOT

from maml.system import errors


def check(version, monkeypatch):
    """What the first line of `make setup` ends with on this Python; None where it goes on."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (code,) = re.findall(r"""\"\$\(PYTHON\)\" -c '(import sys; sys.exit\(not .*)'""", makefile)
    unquoted = re.findall(r"""[^"]\$\(PYTHON\)""", makefile)
    assert not unquoted  # its folder may have a space in its name
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as ended:
        exec(code, {})
    return ended.value.code or None


@pytest.mark.parametrize("version, made", [((3, 9), 0), ((3, 10), 1), ((3, 13), 1), ((3, 14), 0)])
def test_make_stops_where_there_is_no_paddle(monkeypatch, version, made):
    said = check((*version, 0), monkeypatch)
    assert (said is None) == bool(made)
    if said:
        assert f"this is Python {version[0]}.{version[1]}" in said and "PYTHON=python3.13" in said


def test_without_paddle_python_314_is_named(monkeypatch):
    assert errors.missing("paddle") == errors.PADDLE
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert "no build of it for Python 3.14; use Python 3.10 to 3.13" in errors.missing("paddle")
    assert errors.missing("flask") == errors.PACKAGES["flask"]
    assert errors.missing(None) == errors.missing("numpy") == ""


def stated(file):
    """The packages that a file lists, with the lowest version of each."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return dict(re.findall(r"(?<!\w)([a-z-]+)>=([\d.]+)", text))


def test_the_lowest_versions_are_the_same_everywhere():
    lowest = stated("pyproject.toml")
    assert len(lowest) == 9
    assert stated("requirements.txt") == stated("requirements-cpu.txt") == lowest
    for page in ("docs/faq.md", "docs/faq_zh.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for version in lowest.values():
            assert re.search(rf" {re.escape(version)}\b", text), (page, version)
