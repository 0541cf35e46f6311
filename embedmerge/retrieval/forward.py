"""Batches through a module stack: in threads of one core each, or in processes of one device each."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from embedmerge.retrieval.batching import Batch

    Embeddings = NDArray[np.float32]


def encode_batches(stack: Any, batches: Sequence[Batch], *, bf16: bool, threads: int) -> list[Embeddings]:
    """Pooled embeddings of each batch.

    On a CPU every batch is computed by one thread, and as many batches at a time as there are threads.
    Threads that share a product wait for each other, busily, at every layer; these wait for nothing, and
    what they find does not depend on their number.

    Args:
        stack: The modules, on the device to use.
        batches: Longest first, so that no thread is left with a long one at the end.
        bf16: Whether to compute under bfloat16 autocast.
        threads: Of a CPU.

    Returns:
        Per batch an array of shape (texts, dimension).
    """
    found: list[Embeddings] = [np.empty(0, np.float32)] * len(batches)
    pending = iter(enumerate(batches))

    def work() -> None:
        with torch.inference_mode(), torch.autocast(stack.device.type, torch.bfloat16, enabled=bf16):
            for place, batch in pending:
                found[place] = _encoded(stack, batch)

    if stack.device.type != "cpu":
        work()
        return found
    with _single_threads(threads) as workers:
        for job in [workers.submit(_alone, work) for _ in range(min(threads, len(batches)))]:
            job.result()
    return found


def _alone(work: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    work()


def thread_count(stated: int | None) -> int:
    """Threads to use: as stated, or torch's number, which heeds OMP_NUM_THREADS and the cores at hand."""
    return stated or int(torch.get_num_threads())


def _encoded(stack: Any, batch: Batch) -> Embeddings:
    vectors = stack(batch_to_device(dict(batch.features), stack.device))["sentence_embedding"]
    encoded: Embeddings = vectors.float().cpu().numpy()
    return encoded


_nesting = Lock()
_inside: list[int] = []


@cache
def _workers(number: int) -> ThreadPoolExecutor:
    """Threads that stay: new ones would each get memory of their own from the C library, and leave it."""
    return ThreadPoolExecutor(number, thread_name_prefix="embedmerge-encode")


@contextmanager
def _single_threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads to use torch in with one core each; torch's number is put back when all are done.

    MKL has one number for the whole process, so who comes while others are at work must not put back theirs.
    """
    with _nesting:
        _inside.append(_inside[0] if _inside else torch.get_num_threads())
    try:
        yield _workers(number)
    finally:
        with _nesting:
            before = _inside.pop()
            if not _inside:
                torch.set_num_threads(before)


class DevicePool:
    """A module stack in several processes, through sentence-transformers' own pool.

    They end when `close` is called, with this object, or with the program.

    Args:
        modules: Of the stack; they move to shared memory.
        devices: One process each.
    """

    def __init__(self, modules: Iterable[Any], devices: Sequence[str]) -> None:
        self._stack = _PooledStack(modules=list(modules), device="cpu")
        self._pool = self._stack.start_multi_process_pool(list(devices))
        self.close = weakref.finalize(self, SentenceTransformer.stop_multi_process_pool, self._pool)

    def encode_batches(self, batches: Sequence[Batch], *, bf16: bool) -> list[Embeddings]:
        """As the function; each batch goes to the process that is free.

        Raises:
            EmbedmergeError: A process died.
        """
        try:
            return list(
                self._stack._multi_process(
                    batches, show_progress_bar=False, pool=self._pool, chunk_size=1, bf16=bf16
                )
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise EmbedmergeError(f"encoding on several devices: {reason}") from error


class _PooledStack(SentenceTransformer):  # type: ignore[misc]
    """What a process of the pool runs: whole batches in place of texts, so the composition is ours."""

    def _inference(self, inputs: Any, *, device: Any = None, bf16: bool = False, **_: Any) -> Any:
        self.to(device)
        self.eval()
        return encode_batches(self, inputs, bf16=bf16, threads=1)
