"""`isotape demo`: the main job shown once, on a fresh data folder, with real browsers and a real webhook receiver.

`browser.py` drives Chromium, `receiver.py` collects the webhooks, `run.py` tells the story in order.
Nothing here is used by `serve`.
"""
