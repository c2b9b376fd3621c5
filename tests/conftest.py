"""The fixtures of the whole suite, by subject."""

pytest_plugins = ["tests.fix_db", "tests.fix_app"]
