"""From sealed journals to one known file: plan, render, verify, store, commit, announce.

Read in this order: packets (what a journal holds) → order (once and in sequence) → timeline (whose clock says what) → sound and pictures
(what goes where) → plan (the whole file on paper) → render (bytes, by the Rust core) → verify → build (the steps) → retention.
"""
