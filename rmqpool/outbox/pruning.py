"""The statement that removes old rows in chunks, for every table that is pruned."""

from __future__ import annotations

__all__ = ["delete_old"]


def delete_old(table: str, column: str, before: str) -> str:
    """DELETE of the rows of ``table`` whose ``column`` lies before a time; all three are SQL, escaped for ``%s``.

    Its parameters are those of ``before``, and the most rows that it may remove. Asks for SELECT and DELETE only. Two that
    run at once wait for each other's rows.
    """
    old = f"SELECT ctid FROM {table} WHERE {column} < {before} LIMIT %s"
    return f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({old}))"
