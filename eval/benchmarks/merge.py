"""What merging costs: CPU seconds, wall seconds and peak memory of whole processes, beside the peers.

    python eval/benchmarks/merge.py --work FOLDER -o eval/results/merge.json --plot eval/results/merge.png

Every row is one process of its own, run `--repeats` times; the median is shown. Peak memory is the
resident set that the kernel reports, pages of mapped files included. Models are random BERT-base
checkpoints of 110M parameters in float32 laid out as sentence-transformers folders; the experts are
the base plus small noise. Peers that are not installed are left out and named. "A bare loop" reads,
hashes, averages and writes in one thread of numpy, and checks nothing: what a hashed merge costs at least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

EXPERTS = 8
MIB = 1 << 20
# transformers' MistralConfig defaults, which are those of Mistral 7B and e5-mistral-7b-instruct.
MISTRAL = {"hidden": 4096, "kv": 1024, "inner": 14336, "layers": 32, "vocabulary": 32000}
SHARD = 5 * 10**9
PACKAGES = (
    "embedmerge",
    "numpy",
    "torch",
    "transformers",
    "sentence-transformers",
    "mergekit",
    "LM_Cocktail",
)


@dataclass(frozen=True)
class Job:
    """One way of making one merge.

    Attributes:
        what: The merge.
        tool: Who makes it.
        command: Makes it into the folder that the last word names.
        needs: Package that must be installed.
    """

    what: str
    tool: str
    command: list[str]
    needs: str = "embedmerge"


@dataclass(frozen=True)
class Row:
    """Medians over the repeats."""

    what: str
    tool: str
    cpu_s: float | None
    wall_s: float | None
    peak_mib: float | None
    note: str = ""


def main() -> None:
    """Run every job and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, kept for the next time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="run the jobs whose name holds this")
    parser.add_argument("--large", action="store_true", help="also the 7B-shaped merge: 45 GB of disk")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    models = make_models(arguments.work)
    jobs = [job for job in all_jobs(models, arguments.work) if arguments.only in f"{job.what} {job.tool}"]
    rows = []
    for job in jobs:
        rows.append(measured(job, arguments.repeats))
        show(rows[-1])
    if arguments.large:
        rows.append(large(arguments.work))
        show(rows[-1])
    if arguments.output:
        content = {"versions": versions(), "machine": machine(), "rows": [asdict(row) for row in rows]}
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.plot:
        plot(rows, arguments.plot)


def make_models(work: Path) -> list[Path]:
    """A random BERT-base and experts that differ from it by noise, made once."""
    folders = [work / "base", *(work / f"expert{row}" for row in range(EXPERTS))]
    if not all((folder / "model.safetensors").is_file() for folder in folders):
        command = [sys.executable, str(Path(__file__).with_name("bert_base.py")), *map(str, folders)]
        subprocess.run(command, check=True)
    return folders


def all_jobs(models: list[Path], work: Path) -> list[Job]:
    """Ours and theirs, merge by merge."""
    base, one, two, *_ = models
    return [
        Job("one file copied", "cp", ["cp", str(one / "model.safetensors")]),
        Job("linear, 2 models", "embedmerge", ours([base, one], "linear", weights=[0.5, 0.5])),
        Job("linear, 2 models", "mergekit", mergekit(work, "linear", [base, one]), "mergekit"),
        Job("linear, 2 models", "sentence-transformers", peer("st", "linear", base, one), "mergekit"),
        Job("linear, 2 models", "LM_Cocktail", peer("cocktail", "linear", base, one), "LM_Cocktail"),
        Job("linear, 2 models", "a bare loop", peer("loop", "linear", base, one)),
        Job("linear, 9 models", "embedmerge", ours(models, "linear", weights=[0.2] + [0.1] * EXPERTS)),
        Job("ties, base + 2", "embedmerge", ours([base, one, two], "ties")),
        Job("ties, base + 2", "mergekit", mergekit(work, "ties", [base, one, two]), "mergekit"),
        Job("ties, base + 2", "sentence-transformers", peer("st", "ties", base, one, two), "mergekit"),
        Job("ties, base + 8", "embedmerge", ours(models, "ties")),
        Job("slerp, 2 models", "embedmerge", ours([base, one], "slerp", weights=[0.5, 0.5])),
        Job("slerp, 2 models", "mergekit", mergekit(work, "slerp", [base, one]), "mergekit"),
        Job("dare_ties, base + 2", "embedmerge", ours([base, one, two], "dare_ties")),
        Job("dare_ties, base + 2", "mergekit", mergekit(work, "dare_ties", [base, one, two]), "mergekit"),
        Job("tsv_m, base + 2", "embedmerge", ours([base, one, two], "tsv_m")),
        Job("tsv_m, base + 2", "plain SVD", peer("svd", "tsv_m", base, one, two)),
    ]


def ours(models: list[Path], method: str, weights: list[float] | None = None) -> list[str]:
    """The command line of embedmerge."""
    base, *experts = map(str, models)
    named = [word for row, path in enumerate(experts) for word in ("--expert", f"e{row}={path}")]
    command = [sys.executable, "-m", "embedmerge", "merge", "--base", base, *named, "--method", method]
    if weights:
        command += ["--weights", ",".join(f"{weight:g}" for weight in weights)]
    return [*command, "-o"]


def mergekit(work: Path, method: str, models: list[Path]) -> list[str]:
    """The command line of mergekit, told to infer the architecture: by itself it stops at a BertModel."""
    base, *experts = [
        {"model": {"path": str(path)}, "override_architecture": "MPNetModel"} for path in models
    ]
    parameters = {"weight": 0.5, "density": 0.2} if method.endswith("ties") else {"weight": 0.5}
    listed = experts if method.endswith("ties") else [base, *experts]
    config = {
        "merge_method": method,
        "base_model": base,
        "models": [{"model": model, "parameters": parameters} for model in listed],
        "parameters": {"t": 0.5} if method == "slerp" else {},
        "dtype": "float32",
    }
    path = work / f"mergekit-{method}.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return [str(Path(sys.executable).with_name("mergekit-yaml")), str(path)]


def peer(tool: str, method: str, *models: Path) -> list[str]:
    """A process that does it through a peer's Python functions."""
    script = Path(__file__).with_name("peers.py")
    return [sys.executable, str(script), tool, method, *map(str, models)]


def measured(job: Job, repeats: int) -> Row:
    """Run a job several times."""
    if not installed(job.needs):
        return Row(job.what, job.tool, None, None, None, f"{job.needs} is not installed")
    runs = [once(job.command) for _ in range(repeats)]
    failed = next((note for *_, note in runs if note), "")
    if failed:
        return Row(job.what, job.tool, None, None, None, failed)
    cpu, wall, peak = (statistics.median(run[place] for run in runs) for place in range(3))
    return Row(job.what, job.tool, cpu, wall, peak)


def once(command: list[str], watch: Callable[[Path], None] | None = None) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds and peak MiB of one process, and its last words where it failed."""
    scratch = Path(tempfile.mkdtemp(prefix="embedmerge-benchmark-"))
    log = scratch / "log"
    began = time.perf_counter()
    with log.open("wb") as handle:
        process = subprocess.Popen([*command, str(scratch / "out")], stdout=handle, stderr=handle)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    words = log.read_text(errors="replace").strip().splitlines()
    if watch:
        watch(scratch / "out")
    shutil.rmtree(scratch, ignore_errors=True)
    note = (words[-1] if words else f"status {status}") if status else ""
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024 / MIB, note


def large(work: Path) -> Row:
    """A merge of two bfloat16 checkpoints of Mistral 7B's shape, in shards of 5 GB (sparse files)."""
    folders = [work / "mistral-base", work / "mistral-expert"]
    for folder in folders:
        if not (folder / "model.safetensors.index.json").is_file():
            write_mistral(folder)
    cpu, wall, peak, note = once(ours(folders, "linear", weights=[0.5, 0.5]))
    largest = MISTRAL["vocabulary"] * MISTRAL["hidden"] * 2 / MIB
    return Row("linear, 2 x 7B", "embedmerge", cpu, wall, peak, note or f"largest tensor {largest:.0f} MiB")


def write_mistral(folder: Path) -> None:
    """A folder of Mistral's shape whose shards hold zeros and no blocks on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in mistral_shapes().items():
        held = sum(2 * int(np.prod(each)) for each in shards[-1].values())
        if held + 2 * int(np.prod(shape)) > SHARD:
            shards.append({})
        shards[-1][name] = shape
    weight_map = {}
    for row, shard in enumerate(shards, 1):
        file = f"model-{row:05d}-of-{len(shards):05d}.safetensors"
        weight_map.update(dict.fromkeys(shard, file))
        write_sparse(folder / file, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = {
        "architectures": ["MistralModel"],
        "model_type": "mistral",
        "hidden_size": MISTRAL["hidden"],
        "num_hidden_layers": MISTRAL["layers"],
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": MISTRAL["inner"],
        "vocab_size": MISTRAL["vocabulary"],
        "max_position_embeddings": 32768,
    }
    (folder / "config.json").write_text(json.dumps(config))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": MISTRAL["hidden"], "pooling_mode_lasttoken": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def mistral_shapes() -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes."""
    hidden, kv, inner = MISTRAL["hidden"], MISTRAL["kv"], MISTRAL["inner"]
    layer = {
        "self_attn.q_proj.weight": (hidden, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (MISTRAL["vocabulary"], hidden)}
    for block in range(MISTRAL["layers"]):
        shapes.update({f"layers.{block}.{name}": shape for name, shape in layer.items()})
    return {**shapes, "norm.weight": (hidden,)}


def write_sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of bfloat16 zeros that takes no room."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as handle:
        handle.write(len(encoded).to_bytes(8, "little") + encoded)
        handle.truncate(8 + len(encoded) + end)


def installed(package: str) -> bool:
    """Whether a package is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return package == "embedmerge"  # run from a checkout that is not installed
    return True


def versions() -> dict[str, str]:
    """Versions of whoever took part."""
    return {name: version(name) for name in PACKAGES if installed(name) and name != "embedmerge"}


def machine() -> str:
    """Cores and Python."""
    return f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def show(row: Row) -> None:
    """One line."""
    numbers = (
        f"{row.cpu_s:8.2f} CPU-s {row.wall_s:8.2f} s {row.peak_mib:7.0f} MiB" if row.cpu_s is not None else ""
    )
    print(f"{row.what:22} {row.tool:22} {numbers} {row.note}", flush=True)


def plot(rows: list[Row], path: Path) -> None:
    """Bars of CPU seconds and of peak memory, on logarithmic scales."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row.cpu_s is not None]
    labels = [f"{row.what}: {row.tool}" for row in shown]
    colours = ["#1b6e53" if row.tool == "embedmerge" else "#b9bec4" for row in shown]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.36 * len(shown) + 1.2), sharey=True)
    for axis, title, values, form in (
        (axes[0], "CPU seconds", [row.cpu_s or 0 for row in shown], "{:.1f}"),
        (axes[1], "peak memory, MiB", [row.peak_mib or 0 for row in shown], "{:.0f}"),
    ):
        bars = axis.barh(labels, values, color=colours)
        axis.bar_label(bars, [form.format(value) for value in values], padding=3, fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(right=max(values) * 3)
        axis.set_title(title, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.margins(y=0.01)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
