"""Judges from elsewhere: tools that know the served document and nothing of Operon.

`python -m tests.judges --tools DIR` runs them, where DIR has the programs of
schemathesis and openapi-python-client; they are not of the project's environment.
"""
