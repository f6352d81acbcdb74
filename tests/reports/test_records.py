"""A resumed run writes into the record file that it began with, without doubled points."""

import numpy as np
from visualdl import LogReader, LogWriter

from maml.reports.records import drop_later, new_name, record_file


def points(path, tag):
    return [
        (p.id, round(p.value, 3)) for p in LogReader(file_path=str(path)).get_data("scalar", tag)
    ]


def test_points_after_the_saved_state_are_dropped_and_written_again(tmp_path, capsys):
    with LogWriter(logdir=str(tmp_path), display_name="run") as writer:
        writer.add_hparams({"way": 5}, ["accuracy"])
        writer.add_scalar("best", 0.5, 6)
        for step in range(1, 11):
            writer.add_scalar("train/loss", step / 10, step)
        writer.add_image("episode", np.zeros([4, 4, 3], np.uint8), 5)
        writer.add_image("episode", np.zeros([4, 4, 3], np.uint8), 9)
    path = record_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])  # a kill in the middle of a record
    drop_later(path, 6, "best")
    assert "best" not in LogReader(file_path=str(path)).get_tags()["scalar"]
    assert points(path, "train/loss") == [(step, step / 10) for step in range(1, 7)]
    with LogWriter(logdir=str(tmp_path), file_name=path.name) as writer:
        for step in (7, 8):
            writer.add_scalar("train/loss", step, step)
    assert [step for step, _ in points(path, "train/loss")] == list(range(1, 9))
    reader = LogReader(file_path=str(path))
    assert [image.id for image in reader.get_data("image", "episode")] == [5]
    assert reader.get_tags()["hyper_parameters"] and record_file(tmp_path) == path
    capsys.readouterr()


def test_a_folder_without_records_has_no_file(tmp_path):
    assert record_file(tmp_path) is None


def test_a_new_file_is_the_newest_though_the_clock_was_put_back(tmp_path, monkeypatch):
    """VisualDL's page, and a resumed run, take the last of the names, which are of time."""
    for now, name in ((1000, 1000), (2000, 2000), (500, 2001), (500, 2002)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        (tmp_path / new_name(tmp_path)).touch()
        assert record_file(tmp_path).name == f"vdlrecords.{name:010d}.log"
    (tmp_path / "vdlrecords.mine.log").touch()
    assert new_name(tmp_path) == "vdlrecords.0000000500.log"
