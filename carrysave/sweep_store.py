# SPDX-License-Identifier: Apache-2.0
"""Results of sweeps: a SQLite database that is whole after every point, and CSV."""

import contextlib
import fcntl
import json
import os
import sqlite3

from . import tables

__all__ = ["Store", "StoreError", "write_csv"]

APPLICATION = 0x63737765  # "cswe"
VERSION = 1
SCHEMA = """
CREATE TABLE points (
    sweep TEXT, number INTEGER, "values" TEXT, keys TEXT, reason TEXT,
    PRIMARY KEY (sweep, number)) WITHOUT ROWID;
CREATE TABLE results (
    key TEXT PRIMARY KEY, inputs TEXT, status TEXT, reason TEXT, result TEXT) WITHOUT ROWID;
CREATE TABLE timings (key TEXT PRIMARY KEY, seconds REAL) WITHOUT ROWID;
"""


class StoreError(Exception):
    """A database that cannot be used, or no longer written to."""


@contextlib.contextmanager
def _errors(path):
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} cannot be used: {error}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


class Store:
    """A database, made where there is none. Use with ``with``.

    ``points`` has the points of each sweep with the keys of their results. ``results`` has every
    result by its key: with what it was made from, as JSON. ``timings`` has what may be different
    each time.

    Raises
    ------
    StoreError
        From every method.
    """

    def __init__(self, path):
        self.path = path
        self._open = contextlib.ExitStack()
        with _errors(path), contextlib.ExitStack() as stack:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            # Closed last: to close a file drops all locks of SQLite's on it.
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{path} is in use by another sweep; wait for its end") from None
            self._database = sqlite3.connect(path, isolation_level=None)
            stack.callback(self._database.close)
            self._check()
            self._open = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._open.close()

    def _check(self):
        """Refuse a database of somebody else's before anything is written to it."""
        ask = self._database.execute
        application, version, tables = (ask(query).fetchone()[0] for query in (
            "PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master"))
        if (application, version, tables) == (0, 0, 0):
            ask("PRAGMA journal_mode=WAL")
            self._database.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION}; "
                f"PRAGMA user_version={VERSION}; COMMIT;")
        elif application != APPLICATION:
            raise StoreError(f"{self.path} must be a database of carrysave sweep, or a new file; "
                             "it belongs to another program")
        elif version != VERSION:
            raise StoreError(f"{self.path} must be of version {VERSION}, not {version}; "
                             "take another file")

    def enter(self, sweep, rows):
        """Put down the points of a sweep: ``(number, values, keys by measure, reason)``."""
        rows = [(sweep, number, _json(values), _json(keys), reason)
                for number, values, keys, reason in rows]
        with _errors(self.path), self._transaction():
            self._database.execute("DELETE FROM points WHERE sweep = ?", (sweep,))
            self._database.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)

    def known(self):
        """Outcomes by key, without those that have failed."""
        with _errors(self.path):
            found = self._database.execute(
                "SELECT key, status, reason, result FROM results WHERE status != 'failed'")
            return {key: {"status": status, "reason": reason, "result": json.loads(result)}
                    for key, status, reason, result in found}

    def put(self, task, outcome):
        """Keep an outcome, at once."""
        with _errors(self.path), self._transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)",
                (task["key"], _json(task["inputs"]), outcome["status"], outcome["reason"],
                 _json(outcome["result"])))
            self._database.execute("INSERT OR REPLACE INTO timings VALUES (?, ?)",
                                   (task["key"], outcome["seconds"]))

    @contextlib.contextmanager
    def _transaction(self):
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _json(content):
    return json.dumps(content, sort_keys=True, default=str)


def write_csv(path, columns, rows):
    """Write rows, which are dictionaries; the file appears complete or not at all.

    Raises
    ------
    StoreError
    """
    with _errors(path):
        tables.write_csv(path, columns, rows)
