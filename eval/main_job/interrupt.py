"""Kill the main job again and again, finish it, and compare its bytes with those of a run left alone.

    python eval/main_job/interrupt.py WORK/run -o WORK/killed -- embedmerge run eval/main_job/recipe.yaml

Each attempt is killed (SIGKILL) a few seconds later than the one before; the last is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
from pathlib import Path

FIRST, STEP, MOST = 8.0, 4.0, 40


def main() -> None:
    """Kill, finish, compare; fail where a byte differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("straight", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    command = [*options.command, "-o", str(options.output)]
    kills = 0
    while kills < MOST and not finished(command, FIRST + STEP * kills):
        kills += 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wanted, found = digests(options.straight), digests(options.output)
    different = sorted(
        place for place in wanted.keys() | found.keys() if wanted.get(place) != found.get(place)
    )
    print(f"killed {kills} times; {len(found)} files, {len(different)} differ")
    if different:
        raise SystemExit("\n".join(different))


def finished(command: list[str], seconds: float) -> bool:
    """Whether the command came to its end before it was killed."""
    try:
        subprocess.run(command, timeout=seconds, check=True, capture_output=True)
    except subprocess.TimeoutExpired:  # subprocess.run has killed it
        return False
    return True


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a run."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".running"]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


if __name__ == "__main__":
    main()
