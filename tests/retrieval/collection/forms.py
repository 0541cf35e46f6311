"""One small collection written in every form: three documents, and a query on each of two splits."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import yaml
from pyarrow import Table, parquet

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [
    {"_id": "d1", "title": "bank", "text": "a loan of the bank"},
    {"_id": "d2", "title": "", "text": "the judge of the court"},
    {"_id": "d3", "title": "river", "text": "stock price of water"},
]
QUERIES = [{"_id": "q1", "text": "what is a loan"}, {"_id": "q2", "text": "who is the judge"}]
JUDGED = {
    "test": [("q1", "d1", 2), ("q1", "d3", 1)],
    "train": [("q2", "d2", 1), ("q2", "d1", 0)],
}
TEST = {"q1": {"d1": 2, "d3": 1}}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def zipped(path: Path) -> Path:
    """The file compressed, and no longer there itself."""
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return target


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(Table.from_pylist(rows), path)
    return path


def judged_rows(split: str) -> list[dict[str, Any]]:
    return [
        {"query-id": query, "corpus-id": document, "score": grade} for query, document, grade in JUDGED[split]
    ]


def write_beir(folder: Path) -> Path:
    jsonl(folder / "corpus.jsonl", DOCUMENTS)
    jsonl(folder / "queries.jsonl", QUERIES)
    for split, rows in JUDGED.items():
        lines = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in rows)
        text(folder / "qrels" / f"{split}.tsv", "query-id\tcorpus-id\tscore\n" + lines)
    return folder


def write_trec(folder: Path) -> Path:
    text(folder / "corpus.tsv", "".join(f"{d['_id']}\t{d['title']}\t{d['text']}\n" for d in DOCUMENTS))
    text(folder / "topics.tsv", "".join(f"{q['_id']}\t{q['text']}\n" for q in QUERIES))
    for split, rows in JUDGED.items():
        text(folder / f"qrels.{split}.txt", "".join(f"{q} 0 {d} {grade}\n" for q, d, grade in rows))
    return folder


def write_hugging_face(folder: Path, prefix: str = "", card: bool = True) -> Path:
    """With a README as on the hub, or bare folders."""
    table(folder / f"{prefix}corpus" / "corpus-00000-of-00001.parquet", DOCUMENTS)
    table(folder / f"{prefix}queries" / "queries-00000-of-00001.parquet", QUERIES)
    for split in JUDGED:
        table(folder / f"{prefix}qrels" / f"{split}-00000-of-00001.parquet", judged_rows(split))
    if card:
        names = {f"{prefix}{name}": f"{prefix}{name}/*" for name in ("corpus", "queries")}
        configs: list[dict[str, Any]] = [
            {"config_name": name, "data_files": files} for name, files in names.items()
        ]
        splits = [{"split": split, "path": f"{prefix}qrels/{split}-*"} for split in JUDGED]
        configs.append({"config_name": f"{prefix}qrels", "data_files": splits})
        extend_card(folder, configs)
    return folder


def extend_card(folder: Path, configs: list[dict[str, Any]]) -> None:
    """Add configurations to the README's YAML."""
    card = folder / "README.md"
    known = yaml.safe_load(card.read_text().split("---")[1])["configs"] if card.exists() else []
    card.write_text(f"---\n{yaml.safe_dump({'configs': [*known, *configs]})}---\n\nText.\n")
