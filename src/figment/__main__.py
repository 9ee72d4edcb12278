"""`python -m figment`: the same as `figment`, for launchers that start modules."""

from figment.cli import main

main()
