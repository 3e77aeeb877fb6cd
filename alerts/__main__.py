"""`python -m phasegate.alerts` is `phasegate alerts`."""

from phasegate.alerts.command import alerts
from phasegate.cli import main

if __name__ == "__main__":
    main(command=alerts, program="python -m phasegate.alerts")
