"""What is minimised while training, and what is measured along the way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.tuning.held_out import HeldOut
    from embedmerge.tuning.settings import Tuning

NDCG, LOSS = "eval_ndcg_at_10", "eval_loss"
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_EVALUATED_AT_ONCE = 16


def ranking_loss(model: Any, settings: Tuning) -> Any:
    """MNRL, in pieces where the batch is larger than one, and at every Matryoshka length where asked."""
    from sentence_transformers.losses import (
        CachedMultipleNegativesRankingLoss,
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )

    scale = 1 / settings.temperature
    if settings.batch_size <= settings.mini_batch_size:
        loss = MultipleNegativesRankingLoss(model, scale=scale)
    else:
        loss = CachedMultipleNegativesRankingLoss(
            model, scale=scale, mini_batch_size=settings.mini_batch_size
        )
    if not settings.matryoshka:
        return loss
    whole = model.get_embedding_dimension()
    lengths = sorted({whole, *settings.matryoshka}, reverse=True)
    return MatryoshkaLoss(model, loss, matryoshka_dims=lengths)


def column_prompts(prompts: dict[str, str], columns: Sequence[str]) -> dict[str, str] | None:
    """The model's own prompts by column, as encode_query and encode_document would choose them."""
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if prompts.get(name)), "")
    chosen = {name: prompts.get("query", "") if name == "anchor" else document for name in columns}
    return {name: prompt for name, prompt in chosen.items() if prompt} or None


def ndcg_evaluator(held_out: HeldOut, bf16: bool, device: str) -> Any:
    """nDCG@10 on the held-out queries, as the trainer asks for it."""
    import torch
    from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

    measured = held_out.evaluator(_EVALUATED_AT_ONCE)

    class HeldOutEvaluator(SentenceEvaluator):  # type: ignore[misc]
        def __call__(self, model: Any, output_path: Any = None, epoch: int = -1, steps: int = -1) -> Any:
            with torch.autocast(device, torch.bfloat16) if bf16 else nullcontext():
                found = measured(model)
            return {NDCG.removeprefix("eval_"): 100 * found[measured.primary_metric]}

    return HeldOutEvaluator()
