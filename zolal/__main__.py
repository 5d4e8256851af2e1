"""python -m zolal: the same as the command zolal."""

from zolal.cli import main

main()
