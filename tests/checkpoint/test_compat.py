from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, LayerNorm

from embedmerge.checkpoint.compat import check, is_expendable, require_finite, require_mergeable
from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.mixture import Mixture, write_mixture

METADATA = {"format": "pt"}


def opened(folder, name):
    return open_checkpoint(Location(str(folder), Path(folder), None), name)


def findings(donor, other, level):
    found = check([opened(donor, "base"), opened(other, "other")])
    assert all(finding.source in ("base", "other") for finding in found)
    return [finding.text for finding in found if finding.level == level]


def refused(donor, other, *parts):
    """Assert that there is an error that says all the parts, and that it is what the user is told."""
    errors = findings(donor, other, "error")
    assert any(all(part in error for part in parts) for error in errors), errors
    with pytest.raises(EmbedmergeError) as caught:
        require_mergeable([opened(donor, "base"), opened(other, "other")])
    message = str(caught.value)
    assert message.startswith("other: ")
    assert len(message.splitlines()) == 1
    return errors


def merged_with_a_warning(donor, other, target, *parts):
    """Assert that there are warnings alone, one of which says all the parts, and that merging works."""
    sources = [opened(donor, "base"), opened(other, "other")]
    warnings = require_mergeable(sources)
    assert any(all(part in str(finding) for part in parts) for finding in warnings), warnings
    assert {finding.level for finding in warnings} == {"warning"}
    write_mixture(sources, Mixture(Coefficients.uniform(["base", "other"])), target)
    return load_file(target / "model.safetensors")


def edit_json(path, **changes):
    value = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**value, **changes}))


def edit_tensors(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata=METADATA)


@pytest.fixture(scope="session")
def words(base):
    """The base's vocabulary after the special tokens, in the order of its rows."""
    return (base / "vocab.txt").read_text().split()[5:]


@pytest.fixture
def copy(tmp_path, expert):
    """A copy of the expert to change."""
    return Path(shutil.copytree(expert, tmp_path / "copy"))


def test_a_base_and_its_experts_pass_without_a_word(base, expert, peer):
    assert check([opened(base, "base"), opened(expert, "expert"), opened(peer, "peer")]) == ()


def test_another_depth(base, make_checkpoint):
    errors = refused(base, make_checkpoint("compat-deep", layers=3), "layers 3", "base has 2")
    assert len(errors) == 1  # that its tensors are missing too goes without saying


def test_another_width(base, make_checkpoint):
    refused(base, make_checkpoint("compat-wide", hidden=16), "hidden size 16", "base has 32")


def test_another_vocabulary_size(base, make_checkpoint, words):
    other = make_checkpoint("compat-words", words=[*words, "zebra"])
    rows = opened(base, "base").config["vocab_size"]
    refused(base, other, f"vocabulary size {rows + 1}", f"base has {rows}")


def test_other_words_in_the_same_number_of_rows(base, make_checkpoint, words):
    changed = list(words)
    changed[7], changed[11] = "zebra", "giraffe"
    other = make_checkpoint("compat-zebra", words=changed)
    row = 5 + 7  # after the special tokens
    errors = refused(base, other, f"row {row} is 'zebra'", f"{words[7]!r}", "2 rows differ")
    assert "giraffe" not in errors[0]


def test_two_words_that_have_changed_places(base, make_checkpoint, words):
    swapped = [words[1], words[0], *words[2:]]
    refused(base, make_checkpoint("compat-swapped", words=swapped), f"row 5 is {words[1]!r}", f"{words[0]!r}")


def test_another_architecture(base, make_checkpoint):
    other = make_checkpoint("compat-xlmr", arch="xlm-roberta")
    refused(base, other, "architecture xlm-roberta", "base has bert")


def test_another_pooling(base, copy):
    edit_json(copy / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    refused(base, copy, "pooling cls", "base has mean")


def test_a_missing_normalisation(base, copy):
    modules = json.loads((copy / "modules.json").read_text())
    (copy / "modules.json").write_text(json.dumps(modules[:2]))
    refused(base, copy, "modules Transformer+Pooling,", "Transformer+Pooling+Normalize")


NAME = "encoder.layer.1.attention.self.query.weight"


def test_a_missing_tensor(base, copy):
    edit_tensors(copy, lambda tensors: tensors.pop(NAME))
    refused(base, copy, f"no tensor {NAME!r}")


def test_a_tensor_that_the_donor_has_not(base, copy):
    edit_tensors(copy, lambda tensors: tensors.update({"head.weight": np.zeros(3, np.float32)}))
    refused(base, copy, "'head.weight'")


def test_another_shape(base, copy):
    edit_tensors(copy, lambda tensors: tensors.update({NAME: tensors[NAME][:8]}))
    refused(base, copy, repr(NAME), "[8, 32]", "[32, 32]")


def test_several_errors_are_told_once_with_the_number_of_others(base, copy):
    edit_tensors(copy, lambda tensors: [tensors.update({name: tensors[name][:1]}) for name in tensors])
    errors = refused(base, copy, repr(NAME))
    with pytest.raises(EmbedmergeError, match=f"and {len(errors) - 1} more"):
        require_mergeable([opened(base, "base"), opened(copy, "other")])


def test_another_pad_token_id(base, copy):
    edit_json(copy / "config.json", pad_token_id=3)
    refused(base, copy, "pad_token_id 3", "base has 0")


def test_a_pad_token_id_that_is_left_out_is_the_architectures(base, copy):
    edit_json(copy / "config.json", pad_token_id=None)
    assert check([opened(base, "base"), opened(copy, "other")]) == ()


def test_another_special_token(base, copy):
    edit_json(copy / "tokenizer_config.json", cls_token="[UNK]")
    refused(base, copy, "cls_token is '[UNK]'", "'[CLS]'")


def test_special_tokens_are_told_in_the_same_order_every_time(base, copy):
    changed = {"unk_token": "a", "cls_token": "b", "sep_token": "c", "mask_token": "d"}
    edit_json(copy / "tokenizer_config.json", **changed)
    told = [error.split()[0] for error in refused(base, copy, "cls_token")]
    assert told == sorted(changed)


def test_errors_come_before_warnings(base, copy, make_expert):
    warned = make_expert("compat-warned", base=base)
    edit_json(warned / "sentence_bert_config.json", max_seq_length=8)
    edit_json(copy / "config.json", pad_token_id=3)
    found = check([opened(base, "base"), opened(warned, "warned"), opened(copy, "other")])
    assert [(finding.level, finding.source) for finding in found] == [
        ("error", "other"),
        ("warning", "warned"),
    ]


def test_other_prompts_warn(base, copy, tmp_path):
    edit_json(copy / "config_sentence_transformers.json", prompts={"query": "find: "})
    merged_with_a_warning(base, copy, tmp_path / "out", "prompts {'query': 'find: '}", "takes none from base")
    assert opened(tmp_path / "out", "out").prompts == {}


def test_another_maximum_length_warns(base, copy, tmp_path):
    edit_json(copy / "sentence_bert_config.json", max_seq_length=8)
    merged_with_a_warning(base, copy, tmp_path / "out", "maximum length 8", "takes 48 from base")


def test_another_similarity_warns(base, copy, tmp_path):
    edit_json(copy / "config_sentence_transformers.json", similarity_fn_name="dot")
    merged_with_a_warning(base, copy, tmp_path / "out", "similarity dot", "takes cosine from base")


def test_another_normaliser_warns(base, copy, tmp_path):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    merged_with_a_warning(base, copy, tmp_path / "out", "normalises text otherwise")


def test_another_dtype_warns_and_is_averaged_in_float32(base, copy, tmp_path):
    def halve(tensors):
        tensors.update({name: value.astype(np.float16) for name, value in tensors.items()})

    edit_tensors(copy, halve)
    merged = merged_with_a_warning(base, copy, tmp_path / "out", "type F16", "takes F32 from base")
    mean = (load_file(base / "model.safetensors")[NAME] + load_file(copy / "model.safetensors")[NAME]) / 2
    np.testing.assert_allclose(merged[NAME], mean, rtol=1e-6)


POSITIONS = "embeddings.position_ids"


def add_positions(tensors):
    tensors[POSITIONS] = np.arange(66, dtype=np.int64)[None]


@pytest.mark.parametrize("side", ["base", "other"])
def test_position_ids_on_one_side_warn(base, copy, tmp_path, side):
    donor = Path(shutil.copytree(base, tmp_path / "donor"))
    edit_tensors(donor if side == "base" else copy, add_positions)
    merged = merged_with_a_warning(donor, copy, tmp_path / "out", repr(POSITIONS))
    assert (POSITIONS in merged) == (side == "base")


@pytest.mark.parametrize("side", ["base", "other"])
def test_a_pooler_on_one_side_warns_and_the_donors_is_kept(base, copy, tmp_path, side):
    donor = Path(shutil.copytree(base, tmp_path / "donor"))
    wanted = load_file(base / "model.safetensors")["pooler.dense.weight"]

    def without_pooler(tensors):
        del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]

    edit_tensors(copy if side == "base" else donor, without_pooler)
    merged = merged_with_a_warning(donor, copy, tmp_path / "out", "'pooler.dense.weight'")
    assert ("pooler.dense.weight" in merged) == (side == "base")
    if side == "base":
        np.testing.assert_array_equal(merged["pooler.dense.weight"], wanted)


def test_without_any_tokenizer_the_vocabulary_is_not_compared(base, copy, tmp_path):
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").unlink()
    merged_with_a_warning(base, copy, tmp_path / "out", "other has no tokenizer.json")


def test_a_plain_transformers_expert_is_taken_to_pool_like_the_base(base, copy, tmp_path):
    (copy / "modules.json").unlink()
    merged_with_a_warning(base, copy, tmp_path / "out", "taken to pool like base")


def test_a_plain_transformers_donor_is_refused(base, copy):
    (copy / "modules.json").unlink()
    with pytest.raises(EmbedmergeError, match="does not say how its tokens are pooled"):
        require_mergeable([opened(copy, "base"), opened(base, "other")])


def test_weights_in_a_subfolder_are_compared_with_those_at_the_root(base, copy, tmp_path):
    (copy / "0_Transformer").mkdir()
    for path in [path for path in copy.iterdir() if path.is_file()]:
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(copy / "0_Transformer" / path.name)
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (copy / "modules.json").write_text(json.dumps(modules))
    sources = [opened(base, "base"), opened(copy, "other")]
    assert require_mergeable(sources) == ()
    write_mixture(sources, Mixture(Coefficients.explicit(["base", "other"], [0, 1])), tmp_path / "out")
    wanted = load_file(copy / "0_Transformer" / "model.safetensors")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in wanted.items():
        assert merged[name].tobytes() == tensor.tobytes()


def test_finite_weights_pass(base):
    require_finite(opened(base, "base"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_require_finite_names_source_and_tensor(copy, value, dtype):
    def spoil(tensors):
        tensors[NAME] = tensors[NAME].astype(dtype)
        tensors[NAME][-1, -1] = value

    edit_tensors(copy, spoil)
    with pytest.raises(EmbedmergeError) as caught:
        require_finite(opened(copy, "legal"))
    assert str(caught.value).startswith("legal: ")
    assert NAME in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_require_finite_reads_beyond_the_first_slice(copy, monkeypatch):
    monkeypatch.setattr("embedmerge.checkpoint.compat.SLICE", 7)
    edit_tensors(copy, lambda tensors: tensors[NAME].__setitem__((-1, -1), np.nan))
    with pytest.raises(EmbedmergeError, match=r"query\.weight"):
        require_finite(opened(copy, "legal"))


def test_integer_buffers_need_not_be_finite(copy):
    edit_tensors(copy, add_positions)
    require_finite(opened(copy, "legal"))


@pytest.mark.parametrize(
    ("name", "expendable"),
    [
        ("pooler.dense.weight", True),
        ("bert.pooler.dense.bias", True),
        ("embeddings.position_ids", True),
        ("embeddings.position_embeddings.weight", False),
        ("encoder.layer.0.output.dense.weight", False),
    ],
)
def test_what_may_be_absent(name, expendable):
    assert is_expendable(name) == expendable


def with_heads(folder, seed, files=("colbert_linear.pt", "sparse_linear.pt"), width=32):
    """BGE-M3's further heads, as FlagEmbedding saves them."""
    torch.manual_seed(seed)
    for name in files:
        torch.save(torch.nn.Linear(width, 1).state_dict(), folder / name)
    return folder


@pytest.fixture
def donor(tmp_path, base):
    return Path(shutil.copytree(base, tmp_path / "donor"))


def test_further_heads_in_both_are_found_and_say_nothing(donor, copy):
    sources = [opened(with_heads(donor, 0), "base"), opened(with_heads(copy, 1), "other")]
    assert check(sources) == ()
    assert all(len(source.heads["colbert_linear.pt"]) == 2 for source in sources)


def test_further_heads_in_one_alone_are_a_warning(donor, copy):
    with_heads(donor, 0)
    with_heads(copy, 1, ["sparse_linear.pt"])
    assert findings(donor, copy, "warning") == [
        "has no colbert_linear.pt; the merged model takes base's as it is"
    ]
    assert findings(copy, donor, "warning") == ["colbert_linear.pt is left out: base has none"]


def test_further_heads_of_another_shape_are_refused(donor, copy):
    refused(
        with_heads(donor, 0), with_heads(copy, 1, width=8), "colbert_linear.pt holds", "[1, 8]", "[1, 32]"
    )


def test_a_head_with_nan_is_named(donor):
    torch.save({"weight": torch.full((1, 2), float("nan"))}, donor / "sparse_linear.pt")
    with pytest.raises(EmbedmergeError, match=r"'sparse_linear\.weight' holds NaN"):
        require_finite(opened(donor, "base"))


@pytest.mark.parametrize("native", [True, False], ids=["native", "legacy"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_dense_and_layer_norm_modules_are_merged(base, tmp_path, native, safe):
    folders, models = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        modules = [*SentenceTransformer(str(base), device="cpu")][:2]
        modules += [Dense(32, 16), LayerNorm(16)]
        torch.nn.init.normal_(modules[-1].norm.weight)
        models.append(SentenceTransformer(modules=modules, device="cpu"))
        folder = tmp_path / str(seed)
        models[-1].save_pretrained(str(folder), safe_serialization=safe)
        if not native:
            entries = json.loads((folder / "modules.json").read_text())
            for entry in entries:
                entry["type"] = "sentence_transformers.models." + entry["type"].rsplit(".", 1)[-1]
            (folder / "modules.json").write_text(json.dumps(entries))
        folders.append(folder)
    assert (folders[0] / "2_Dense" / "pytorch_model.bin").exists() is not safe
    sources = [opened(folder, name) for folder, name in zip(folders, ("base", "other"), strict=True)]
    require_mergeable(sources)
    write_mixture(sources, Mixture(Coefficients.uniform(["base", "other"])), tmp_path / "out")
    merged = SentenceTransformer(str(tmp_path / "out"), device="cpu").state_dict()
    states = [model.state_dict() for model in models]
    assert len(merged) == len(states[0])
    for name, value in merged.items():
        assert torch.allclose(value, (states[0][name] + states[1][name]) / 2, atol=1e-6), name


def test_another_activation_of_a_dense_module_is_refused(base, tmp_path):
    for name, activation in (("one", torch.nn.Tanh()), ("two", torch.nn.Identity())):
        modules = [*SentenceTransformer(str(base), device="cpu")][:2]
        dense = Dense(32, 16, activation_function=activation)
        SentenceTransformer(modules=[*modules, dense], device="cpu").save_pretrained(str(tmp_path / name))
    refused(tmp_path / "one", tmp_path / "two", "Dense activation_function", "Identity", "Tanh")


@pytest.mark.parametrize(
    ("file", "change", "parts"),
    [
        (
            "config_sentence_transformers.json",
            {"truncate_dim": 16},
            ("truncated dimension 16", "none from base"),
        ),
        ("config.json", {"matryoshka_dimensions": [8, 16]}, ("Matryoshka dimensions [8, 16]",)),
        ("config.json", {"layer_norm_eps": 1e-5}, ("normalisation epsilon 1e-05", "1e-12")),
        ("config.json", {"hidden_act": "gelu_new"}, ("activation gelu_new", "gelu from base")),
        ("1_Pooling/config.json", {"include_prompt": False}, ("prompt in pooling False", "True from base")),
    ],
)
def test_what_computes_nearly_the_same_is_a_warning(base, copy, file, change, parts):
    edit_json(copy / file, **change)
    (warning,) = findings(base, copy, "warning")
    assert all(part in warning for part in parts), warning
    assert findings(base, copy, "error") == []


def test_another_kind_of_positions_is_refused(donor, copy):
    edit_json(donor / "config.json", position_embedding_type="absolute")
    edit_json(copy / "config.json", position_embedding_type="relative_key")
    refused(donor, copy, "position embedding relative_key, base has absolute")
