"""The shop: a Flask application that shows what Operon is for.

Start it with `python -m sample_app`, kill it whenever you like, and start it again:
every order that it accepted ends right.
"""
