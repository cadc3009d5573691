"""`python -m pasa`: the command `pasa` where it is not installed."""

from pasa.cli import run

if __name__ == "__main__":
    run()
