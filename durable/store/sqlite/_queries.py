"""Queries that wait for a worker with the code."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable._engine.records import QUERY_PATIENCE, QUERY_TAKEN_FOR, QueryAnswer, Question
from durable._engine.versioning import queue_of
from durable.store.sqlite import _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._rows import ids

SQL = _rows.queries("queries")


def ask(transaction: Transaction, question: Question) -> bool:
    """See `Store.ask`."""
    db = transaction.db
    if db.execute(SQL["has_run"], (question.run_id,)).fetchone() is None:
        return False
    db.execute(
        SQL["ask"],
        {
            "query_id": question.query_id,
            "run_id": question.run_id,
            "name": question.name,
            "input": question.input,
            "expires_in": question.expires_in,
            "now": transaction.now,
        },
    )
    return True


def is_any_open(db: sqlite3.Connection, now: int) -> bool:
    """Whether it is worth a write to look for one: most of the time there is none."""
    return db.execute(SQL["is_any_open"], (now,)).fetchone() is not None


def is_any_expired(db: sqlite3.Connection, now: int) -> bool:
    """Whether it is worth a write to sweep."""
    return db.execute(SQL["is_any_expired"], (now,)).fetchone() is not None


def take(
    transaction: Transaction,
    worker_id: str,
    task_queues: Sequence[str],
    workflow_types: Sequence[str] | None,
    limit: int,
    format: int,
) -> list[Question]:
    """See `Store.take_questions`."""
    rows = transaction.db.execute(
        SQL["take"],
        {
            "worker_id": worker_id,
            "task_queues": ids(task_queues),
            "workflow_types": None if workflow_types is None else ids(workflow_types),
            "format": format,
            "limit": limit,
            "now": transaction.now,
            "taken_for": QUERY_TAKEN_FOR,
            "patience": QUERY_PATIENCE,
        },
    )
    return [
        Question(query_id, run_id, workflow_type, queue_of(at), *rest)
        for query_id, run_id, workflow_type, at, *rest in rows.fetchall()
    ]


def answer(transaction: Transaction, answers: Sequence[QueryAnswer]) -> None:
    """See `Store.answer_questions`."""
    for one in answers:
        transaction.db.execute(SQL["answer"], {"query_id": one.query_id, "answer": one.data})


def read_answers(db: sqlite3.Connection, query_ids: Sequence[str]) -> list[QueryAnswer]:
    """See `Store.read_answers`."""
    return [QueryAnswer(*row) for row in db.execute(SQL["read_answers"], (ids(query_ids),)).fetchall()]


def sweep(transaction: Transaction, limit: int) -> int:
    """See `Store.sweep_questions`."""
    return transaction.db.execute(SQL["sweep"], (transaction.now, limit)).rowcount
