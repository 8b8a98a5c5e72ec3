"""`python -m consumer` is `fal-consumer`."""

from consumer.cli import main

if __name__ == "__main__":
    main()
