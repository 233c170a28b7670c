"""`python -m zproxy` is `zproxy`."""

from zproxy.cli import main

main(prog_name="zproxy")
