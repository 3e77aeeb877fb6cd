"""`python -m phasegate.operate init` is `phasegate init`; each command of the room by its name."""

import click

from phasegate.cli import main
from phasegate.operate.command import init
from phasegate.operate.doctor_command import doctor

operate = click.Group(commands=[doctor, init], help="What an operator does beside the migration.")

if __name__ == "__main__":
    main(command=operate, program="python -m phasegate.operate")
