"""``python -m rmqpool`` is the command ``rmqpool``."""

from rmqpool.cli.main import main

if __name__ == "__main__":
    main()
