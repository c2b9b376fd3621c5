"""The `operon` command; also `flask operon`, which Flask finds by its entry point."""

from operon.cli.root import main as main
from operon.cli.root import operon as operon
