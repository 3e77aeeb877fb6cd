"""`python -m phasegate.demo` is `phasegate demo`."""

from phasegate.demo.command import demo

if __name__ == "__main__":
    demo(prog_name="python -m phasegate.demo")
