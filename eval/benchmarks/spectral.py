"""CPU seconds of tsv_m against a plain implementation, on the matrices of a bert-base layer.

    OMP_NUM_THREADS=1 python eval/benchmarks/spectral.py [--experts 2]

Both sides run in one process on one BLAS thread, on the same task vectors: singular values that
fall as a power of their place to 1/1000 of the largest, and directions that lean to common ones. The
plain implementation decomposes with `np.linalg.svd` alone, as the paper's authors do, in float64.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from embedmerge.merging.anatomy import Site
from embedmerge.merging.methods.tsv_m import combine
from embedmerge.merging.part import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

SHAPES = {(768, 768): 4, (3072, 768): 1, (768, 3072): 1}  # how many of each a layer has
REPEATS = 3


def main() -> None:
    """Print a row per shape, and one for the layer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=2)
    experts = parser.parse_args().experts
    print("| matrix | plain, CPU-s | tsv_m, CPU-s | ratio | largest difference | relative difference |")
    print("|---|---|---|---|---|---|")
    with threadpool_limits(1, user_api="blas"):
        rows = {shape: compared(shape, experts) for shape in SHAPES}
    for (out, into), (plain, ours, largest, relative) in rows.items():
        seconds = f"{plain:.3f} | {ours:.3f} | {plain / ours:.2f}"
        print(f"| {out} x {into} | {seconds} | {largest:.1e} | {relative:.1e} |")
    plain, ours = (sum(SHAPES[shape] * row[side] for shape, row in rows.items()) for side in (0, 1))
    print(f"| layer | {plain:.3f} | {ours:.3f} | {plain / ours:.2f} | | |")


def compared(shape: tuple[int, int], experts: int) -> tuple[float, float, float, float]:
    """CPU seconds of both, and the largest and the relative difference of what they give."""
    rng = np.random.default_rng(0)
    rank = min(shape)
    alike = rng.standard_normal((shape[0], rank)), rng.standard_normal((shape[1], rank))
    taus = [task_matrix(alike, rng) for _ in range(experts)]
    sources, weights = (np.zeros(shape, np.float32), *taus), (0.0,) + (1 / experts,) * experts
    plain_seconds, expected = timed(lambda: plain_tsv_m(taus))
    our_seconds, merged = timed(lambda: combine(Part(Site("w", shape), sources, weights)))
    difference = merged - expected
    relative = float(np.linalg.norm(difference) / np.linalg.norm(expected))
    return plain_seconds, our_seconds, float(np.abs(difference).max()), relative


def task_matrix(alike: tuple[Float64, Float64], rng: np.random.Generator) -> Float32:
    """A task vector whose singular values fall from 0.1 to 0.0001, its directions leaning to common ones."""
    u, v = (np.linalg.qr(common + rng.standard_normal(common.shape))[0] for common in alike)
    place = np.arange(1, u.shape[1] + 1)
    return (u * 0.1 * place ** (-3 / np.log10(place.size)) @ v.T).astype(np.float32)


def timed(run: Callable[[], NDArray[np.floating]]) -> tuple[float, NDArray[np.floating]]:
    """Median CPU seconds of some runs, and what the last one gave."""
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        result = run()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds), result


def plain_tsv_m(taus: Sequence[Float32]) -> Float64:
    """TSV-M by plain singular value decompositions."""
    kept = min(taus[0].shape) // len(taus)
    left, values, right = [], [], []
    for tau in taus:
        u, s, vt = np.linalg.svd(tau.astype(np.float64), full_matrices=False)
        left.append(u[:, :kept])
        values.append(s[:kept])
        right.append(vt[:kept])
    p, _, q = np.linalg.svd(np.hstack(left), full_matrices=False)
    x, _, y = np.linalg.svd(np.vstack(right), full_matrices=False)
    return (p @ q * np.concatenate(values)) @ (x @ y)


if __name__ == "__main__":
    main()
