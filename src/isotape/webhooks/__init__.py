"""Telling the world: each delivery is tried, signed and guarded, until it is acknowledged or given up.

Before it: isotape.events, which wrote the delivery and its job. After it: somebody else's server. Read deliver.py first.
"""
