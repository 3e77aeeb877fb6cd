"""`python -m phasegate.migrate` is `phasegate migrate`."""

from phasegate.cli import main
from phasegate.migrate.command import migrate

if __name__ == "__main__":
    main(command=migrate, program="python -m phasegate.migrate")
