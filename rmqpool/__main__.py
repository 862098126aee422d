"""``python -m rmqpool`` is the command ``rmqpool``."""

from rmqpool.cli.entry import main

if __name__ == "__main__":
    main()
