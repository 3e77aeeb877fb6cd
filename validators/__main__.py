"""`python -m phasegate.validators` is `phasegate validate`."""

from phasegate.cli import main
from phasegate.validators.command import validate

if __name__ == "__main__":
    main(command=validate, program="python -m phasegate.validators")
