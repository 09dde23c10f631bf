"""The measurements behind docs/measured.md: `python -m bench` runs each beside its peer and prints one table per question.

Before it: a release build of the very checkout, which release.py makes. Nothing here is a test: a slow machine makes a
figure larger, never a failure. What fails is a measurement that did not measure what it says, such as a recording with packets missing.
"""
