"""`python -m phasegate.dashboards` is `phasegate dashboards`."""

from phasegate.cli import main
from phasegate.dashboards.command import dashboards

if __name__ == "__main__":
    main(command=dashboards, program="python -m phasegate.dashboards")
