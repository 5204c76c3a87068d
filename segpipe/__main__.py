"""`python -m segpipe`: the command `segpipe`."""

from segpipe.cli import main

main()
