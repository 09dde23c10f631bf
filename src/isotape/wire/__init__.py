"""The 100ms wire: every field name of REST, webhooks and the client protocol is spelt in this folder and nowhere else.

Model values go in, plain JSON values come out. Nothing here reads a row or decides anything.
"""
