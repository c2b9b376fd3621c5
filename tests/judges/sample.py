"""The sample application, served to be judged: `python -m tests.judges.sample URL`."""

import sys

from sample_app.app import create_app
from sample_app.server import prepare
from tests.judges.shop import SECRET
from tests.judges.shop import serve

if __name__ == "__main__":
    prepare(sys.argv[1])
    serve(create_app(sys.argv[1], SECRET))
