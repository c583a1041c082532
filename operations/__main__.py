"""`python -m operations`: the command line, as `./hilum` runs it."""

from operations.cli import main

if __name__ == "__main__":
    main()
