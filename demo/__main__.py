"""`python -m phasegate.demo` is `phasegate demo`."""

from phasegate.cli import main
from phasegate.demo.command import demo

if __name__ == "__main__":
    main(command=demo, program="python -m phasegate.demo")
