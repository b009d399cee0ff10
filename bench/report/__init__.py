"""What README and docs quote, made from the committed results file and nothing else.

``rows`` finds the run that is quoted, ``tables`` and ``pages`` turn runs into Markdown,
``charts`` into pictures. All pure: the same rows give the same bytes, so that a test can
tell a document that says anything but what was measured (``python -m bench.readme``).
"""
