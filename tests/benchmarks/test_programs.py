"""A peer that is not there, or fails, costs the others nothing and is told apart from one that is slow."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from benchmarks._databases import path_of
from benchmarks._programs import ProgramError, ask, side_database
from benchmarks.compare import PEERS, Peer


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(ProgramError, match=r"No module named benchmarks\.peers\.nobody"):
        ask("peers.nobody")


@pytest.mark.parametrize(
    ("peer", "lack"),
    [
        (Peer("nobody", ("json",), (1, 1, 1)), None),
        (Peer("nobody", ("json", "no_such_module"), (1, 1, 1)), "no_such_module is not installed"),
        (Peer("nobody", ("json",), (1, 1, 1), command="/no/such/server"), "/no/such/server is not there"),
    ],
)
def test_what_a_peer_lacks_is_named(peer: Peer, lack: str | None) -> None:
    assert peer.lacks() == lack


@pytest.mark.parametrize("wal", [True, False])
def test_a_database_of_its_own_is_removed_with_all_its_files(tmp_path: Path, wal: bool) -> None:
    with side_database(f"sqlite:///{tmp_path}/measured.db", wal=wal) as url:
        with contextlib.closing(sqlite3.connect(path_of(url))) as db:
            db.execute("create table t (n integer)")
            assert db.execute("pragma journal_mode").fetchone() == ("wal" if wal else "delete",)
        assert path_of(url).parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_dbos_is_compared_on_both_databases() -> None:
    assert set(PEERS["dbos"].kinds) == {"postgresql", "sqlite"}
    assert PEERS["absurd"].kinds == ("postgresql",)
