"""The report of a study: one self-contained HTML page, and beside it the JSON that replays it."""
