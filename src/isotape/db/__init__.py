"""Rows: one module a noun, each a set of functions that take a connection and return model values.

`engine.py` is the only place that makes a SQLAlchemy engine, `tables.py` the only place that names a column. Every query that
reads a workspace's object takes the workspace id. Functions never commit: the caller's `async with database.begin() as tx` does.
"""
