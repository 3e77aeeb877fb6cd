"""`python -m phasegate.exporter` is `phasegate exporter`."""

from phasegate.cli import main
from phasegate.exporter.command import exporter

if __name__ == "__main__":
    main(command=exporter, program="python -m phasegate.exporter")
