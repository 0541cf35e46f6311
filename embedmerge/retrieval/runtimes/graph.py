"""An encoder's computation as an ONNX graph, which every runtime below reads."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = "last_hidden_state"
# protobuf ends at 2 GiB; the weights of larger models lie beside the graph, where optimum looks for them.
WITHIN = 1_800_000_000
# Sizes are free because the two texts differ in length and neither is one token.
EXAMPLE = ["one", "two texts of unequal length"]


def write_graph(model: Any, tokenizer: Any, path: Path) -> None:
    """Write a transformer as ONNX, in float32, with batch and length left open.

    torch.export follows the computation itself; the older tracer bakes in what the example's attention mask
    happened to be, and its graphs are wrong for padded texts.

    Args:
        model: Of the transformers library, in float32 and not training.
        tokenizer: Its tokenizer.
        path: File to write; weights of a large model go to `<path>_data`.
    """
    import onnx_ir

    features = dict(tokenizer(EXAMPLE, padding=True, return_tensors="pt"))
    features = {
        name: ids for name, ids in features.items() if name in inspect.signature(model.forward).parameters
    }
    batch, length = torch.export.Dim("batch_size"), torch.export.Dim("sequence_length")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _HiddenStates(model, list(features)),
            tuple(features.values()),
            dynamo=True,
            input_names=list(features),
            output_names=[HIDDEN],
            dynamic_shapes=(tuple({0: batch, 1: length} for _ in features),),
            verbose=False,
        )
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    onnx_ir.save(program.model, path, external_data=f"{path.name}_data" if size > WITHIN else None)


class _HiddenStates(torch.nn.Module):  # type: ignore[misc]
    """A transformer as a function from its inputs, in order, to the last hidden states."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """The hidden states, shape (batch, length, width)."""
        named = dict(zip(self.names, features, strict=True))
        hidden: torch.Tensor = self.model(**named, return_dict=True).last_hidden_state
        return hidden
