# SPDX-License-Identifier: Apache-2.0
"""The database of a sweep: what is in it, and whose databases are left alone."""

import sqlite3

import pytest

from carrysave.sweep_store import Store, StoreError, write_csv

TASK = {"key": "ab", "inputs": {"measure": "estimate"}}
OUTCOME = {"status": "done", "reason": "", "result": {"cycles": 3}, "seconds": 0.5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "s.sqlite"


def tables(path):
    with sqlite3.connect(path) as database:
        found = {name: database.execute(f"SELECT * FROM {name}").fetchall()
                 for name in ("points", "results", "timings")}
    database.close()
    return found


def test_contents(path):
    with Store(path) as store:
        store.enter("s", [(1, {"x": 2}, {"estimate": "ab"}, ""), (2, {"x": 0}, {}, "no")])
        store.put(TASK, OUTCOME)
        store.put({**TASK, "key": "cd"}, {**OUTCOME, "status": "impossible", "reason": "too big"})
        store.put({**TASK, "key": "ef"}, {**OUTCOME, "status": "failed"})
        assert store.known() == {
            "ab": {"status": "done", "reason": "", "result": {"cycles": 3}},
            "cd": {"status": "impossible", "reason": "too big", "result": {"cycles": 3}}}
    assert tables(path) == {
        "points": [("s", 1, '{"x": 2}', '{"estimate": "ab"}', ""),
                   ("s", 2, '{"x": 0}', "{}", "no")],
        "results": [("ab", '{"measure": "estimate"}', "done", "", '{"cycles": 3}'),
                    ("cd", '{"measure": "estimate"}', "impossible", "too big", '{"cycles": 3}'),
                    ("ef", '{"measure": "estimate"}', "failed", "", '{"cycles": 3}')],
        "timings": [("ab", 0.5), ("cd", 0.5), ("ef", 0.5)]}
    with Store(path) as store:  # points of other sweeps stay, and all results
        store.enter("t", [(1, {}, {}, "")])
        store.enter("s", [(1, {"x": 9}, {}, "")])
        assert set(store.known()) == {"ab", "cd"}
    assert tables(path)["points"] == [("s", 1, '{"x": 9}', "{}", ""), ("t", 1, "{}", "{}", "")]


def test_each_result_is_there_at_once(path):
    with Store(path) as store:
        store.put(TASK, OUTCOME)
        assert len(tables(path)["results"]) == 1  # another connection sees it


def test_one_sweep_at_a_time(path):
    with Store(path), pytest.raises(StoreError, match="is in use by another sweep; wait for its"):
        Store(path)
    Store(path).__exit__()


def test_a_full_disk(path):
    with Store(path) as store:
        store.put(TASK, OUTCOME)
        store._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StoreError, match=r"s\.sqlite cannot be used: database or disk is full"):
            for number in range(1000):
                store.put({**TASK, "key": str(number)}, {**OUTCOME, "reason": "x" * 500})
        kept = len(store.known())
    with Store(path) as store:
        assert len(store.known()) == kept > 1
        store.put({**TASK, "key": "last"}, OUTCOME)


def foreign(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()


def later(path):
    Store(path).__exit__()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize("make, message", [
    (foreign,
     "must be a database of carrysave sweep, or a new file; it belongs to another program"),
    (later, "must be of version 1, not 99; take another file"),
    (lambda path: path.write_bytes(b"no database" * 1000),
     "cannot be used: file is not a database"),
    (lambda path: path.mkdir(), "cannot be written: Is a directory"),
])
def test_whose_databases_are_left_alone(path, make, message):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert str(caught.value) == f"{path} {message}"
    assert before == (path.read_bytes() if path.is_file() else None)


def test_csv(tmp_path):
    path = tmp_path / "s.csv"
    write_csv(path, ["point", "x", "reason"], [
        {"point": 1, "x": 0.1}, {"point": 2, "x": None, "reason": 'a "b", c'}])
    assert path.read_text() == 'point,x,reason\n1,0.1,\n2,,"a ""b"", c"\n'
    assert [each.name for each in tmp_path.iterdir()] == ["s.csv"]
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        write_csv(tmp_path / "no" / "s.csv", ["x"], [])
