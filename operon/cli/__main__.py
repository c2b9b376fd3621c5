"""`python -m operon.cli`: the command, where its script is not on the path."""

from operon.cli import main

main()
