"""`python -m cifarnet`."""

from cifarnet.cli import main

main()
