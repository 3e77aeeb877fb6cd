"""`python -m phasegate` is the console script `phasegate`."""

from phasegate.cli import main

if __name__ == "__main__":
    main()
