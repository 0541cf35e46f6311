"""`python -m embedmerge`, the same as the console script."""

from __future__ import annotations

from embedmerge.cli import main

if __name__ == "__main__":
    main()
