"""`python -m load`: the load commands, as `./hilum load` runs them."""

from load.cli import main

if __name__ == "__main__":
    main()
