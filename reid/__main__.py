"""`python -m reid`."""

from .cli import main

main()
