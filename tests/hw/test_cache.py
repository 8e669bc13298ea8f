# SPDX-License-Identifier: Apache-2.0
import pytest

from carrysave.hw.cache import cached


def test_made_once(tmp_path):
    made = []

    def produce(folder):
        made.append(folder)
        (folder / "file").write_text("content")

    first, reused = cached("kind", {"x": 1}, produce, root=tmp_path)
    assert not reused and (first / "file").read_text() == "content"
    second, reused = cached("kind", {"x": 1}, produce, root=tmp_path)
    assert reused and second == first and len(made) == 1
    other, reused = cached("kind", {"x": 2}, produce, root=tmp_path)
    assert not reused and other != first


def test_whoever_is_second_takes_what_is_there(tmp_path):
    def first(folder):
        (folder / "file").write_text("first")

    def second(folder):
        (folder / "file").write_text("second")
        cached("kind", {"x": 1}, first, root=tmp_path)

    folder, _ = cached("kind", {"x": 1}, second, root=tmp_path)
    assert (folder / "file").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failure_leaves_nothing(tmp_path):
    def produce(folder):
        (folder / "file").write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached("kind", {}, produce, root=tmp_path)
    assert not list((tmp_path / "kind").iterdir())


def test_damage_is_noticed(tmp_path):
    def produce(folder):
        (folder / "file").write_text("right")

    folder, _ = cached("kind", {}, produce, root=tmp_path)
    (folder / "file").write_text("wrong")
    folder, reused = cached("kind", {}, produce, root=tmp_path)
    assert not reused and (folder / "file").read_text() == "right"
