"""The command line: ``python -m eureka_lib.benchmark --help``."""

from eureka_lib.benchmark import main

if __name__ == "__main__":
    main()
