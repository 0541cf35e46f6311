"""How far from its base a model may be before the base's index must be built again.

    python eval/benchmarks/reindex.py --base MINILM --experts FOLDER --data-dir FOLDER -o reindex.json

Each domain's expert (FOLDER/<domain>, as `reproduce/lm_cocktail` tunes them) is merged with its base at
several shares; `embedmerge.reindex_check` asks the domain's test queries of the base's index, of the same
rotated, and of one encoded again. Of a larger corpus 800 documents are looked at, cut at 128 tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import embedmerge
from embedmerge.atomic import write_json
from embedmerge.reindexing.check import ENCODED, ROTATED, STAYING, TODAY
from embedmerge.retrieval.settings import EncodingSettings

DOMAINS = ("scifact", "nfcorpus")
SHARES = (0.1, 0.2, 0.3, 0.5, 1.0)
DOCUMENTS = 800
PACKAGES = ("embedmerge", "torch", "transformers", "sentence-transformers", "mteb", "faiss-cpu")


def main() -> None:
    """Check every share of every domain and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--experts", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    start = time.process_time()
    rows = [
        row(arguments.base, arguments.experts / domain, f"{arguments.data_dir / domain}:test", share)
        for domain in DOMAINS
        for share in SHARES
    ]
    record = {
        "rows": rows,
        "versions": {name: version(name) for name in PACKAGES},
        "cpu_seconds": round(time.process_time() - start, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(table(rows))
    if arguments.output:
        write_json(arguments.output, record)


def row(base: Path, expert: Path, task: str, share: float) -> dict[str, Any]:
    """What a mixture of base and expert finds in the base's index."""
    with TemporaryDirectory() as folder:
        merged = Path(folder) / expert.name
        sources = [
            embedmerge.SourceSpec("base", str(base), "base"),
            embedmerge.SourceSpec("expert", str(expert), "target"),
        ]
        embedmerge.merge(sources, [1 - share, share], merged)
        found = embedmerge.reindex_check(
            str(base),
            str(merged),
            task,
            documents=DOCUMENTS,
            settings=EncodingSettings(precision="auto", max_seq_length=128),
        )
    result = {"domain": expert.name, "share": share, **found.facts}
    print(json.dumps({key: result[key] for key in ("domain", "share", "verdict")}), flush=True)
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    head = "| domain | share | today | new, old index | rotated | new index | same first 10 | verdict |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for found in rows:
        of = found["arrangements"]
        scores = " | ".join(f"{of[name]['ndcg_at_10']:.1f}" for name in (TODAY, STAYING, ROTATED, ENCODED))
        same = f"{of[STAYING]['agreement']['first_ten']:.0f} %"
        lines.append(f"| {found['domain']} | {found['share']:g} | {scores} | {same} | {found['verdict']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
