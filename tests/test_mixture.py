from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from sentence_transformers import SentenceTransformer

from embedmerge.checkpoint.hub import Location
from embedmerge.checkpoint.layout import open_checkpoint
from embedmerge.checkpoint.lineage import file_sha256
from embedmerge.errors import EmbedmergeError
from embedmerge.merging.coefficients import Coefficients
from embedmerge.merging.in_memory import merge_arrays
from embedmerge.mixture import Mixture, write_mixture

METADATA = {"format": "pt"}
WEIGHTS = (0.2, 0.5, 0.3)
TEXTS = ["how do i merge two models", "court law judge", "a river and a bank loan " * 20, "x"]
NAME = "encoder.layer.0.output.dense.weight"
POSITIONS = "embeddings.position_ids"


def opened(folder, name=None):
    return open_checkpoint(Location(str(folder), Path(folder), None), name)


def merge(folders, weights, target, **more):
    """Write a mixture of folders and return the digests of what was written."""
    return write(folders, weights, target, **more).outputs


def write(folders, weights, target, **more):
    """Write a mixture of folders."""
    sources = [opened(folder, f"source{row}") for row, folder in enumerate(folders)]
    extra = {key: more.pop(key) for key in ("progress",) if key in more}
    coefficients = Coefficients(
        {source.name: weight for source, weight in zip(sources, weights, strict=True)}
    )
    return write_mixture(sources, Mixture(coefficients, **more), target, **extra)


def changed(folder, target, edit):
    """A copy of a folder with edited tensors."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    edit(tensors)
    save_file(tensors, target / "model.safetensors", metadata=METADATA)
    return target


def cast(folder, target, dtype):
    """A copy of a folder with its floating tensors in a type of torch's."""
    from safetensors.torch import save_file as save_torch

    shutil.copytree(folder, target)
    tensors = load_torch(target / "model.safetensors")
    save_torch(
        {name: value.to(dtype) for name, value in tensors.items()}, target / "model.safetensors", METADATA
    )
    return target


def torch_mean(folders, weights, dtype=torch.float32):
    """The same average by torch, in double precision, rounded once."""
    states = [load_torch(folder / "model.safetensors") for folder in folders]
    return {
        name: sum(weight * state[name].double() for weight, state in zip(weights, states, strict=True)).to(
            dtype
        )
        for name in states[0]
    }


def in_memory(folders, weights):
    """The base's model with the average loaded into it."""
    model = SentenceTransformer(str(folders[0]), device="cpu")
    state = torch_mean(folders, weights)
    missing, unexpected = model[0].auto_model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("position_ids" in name for name in missing)
    return model


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def family(request, make_checkpoint, make_expert):
    """Base and two experts: a mean-pooled BERT, a CLS-pooled XLM-RoBERTa."""
    arch = request.param
    pooling = {"bert": "mean", "xlm-roberta": "cls"}[arch]
    base = make_checkpoint(f"mixture-{arch}", arch=arch, pooling=pooling, prompts={"query": "find "})
    experts = [make_expert(f"mixture-{arch}-{seed}", base=base, seed=seed, scale=0.1) for seed in (1, 2)]
    return [base, *experts]


@pytest.fixture(scope="module")
def trio(base, expert, peer):
    return [base, expert, peer]


def test_embeddings_equal_those_of_an_average_in_memory(family, tmp_path):
    merge(family, WEIGHTS, tmp_path / "out")
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    wanted = in_memory(family, WEIGHTS)
    assert np.abs(model.encode(TEXTS) - wanted.encode(TEXTS)).max() < 1e-5
    assert np.abs(model.encode_query(TEXTS) - wanted.encode_query(TEXTS)).max() < 1e-5
    unmerged = SentenceTransformer(str(family[0]), device="cpu")
    assert np.abs(model.encode(TEXTS) - unmerged.encode(TEXTS)).max() > 1e-3


def test_flag_embedding_reads_the_cls_pooled_export_alike(make_checkpoint, make_expert, tmp_path):
    from FlagEmbedding import FlagModel

    base = make_checkpoint("mixture-flag", arch="xlm-roberta", pooling="cls")
    family = [
        base,
        *(make_expert(f"mixture-flag-{seed}", base=base, seed=seed, scale=0.1) for seed in (1, 2)),
    ]
    merge(family, WEIGHTS, tmp_path / "out")
    flag = FlagModel(str(tmp_path / "out"), pooling_method="cls", use_fp16=False, devices="cpu")
    found = flag.encode(TEXTS, max_length=48, convert_to_numpy=True)
    assert np.abs(found - in_memory(family, WEIGHTS).encode(TEXTS)).max() < 1e-5


def test_tensors_equal_torchs_average(trio, tmp_path):
    merge(trio, WEIGHTS, tmp_path / "out")
    merged = load_torch(tmp_path / "out" / "model.safetensors")
    for name, wanted in torch_mean(trio, WEIGHTS).items():
        assert merged[name].dtype == wanted.dtype
        torch.testing.assert_close(merged[name], wanted, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize(("weights", "chosen"), [((1.0, 0.0), 0), ((0.0, 1.0), 1)])
def test_one_source_that_counts_for_all_comes_out_bit_for_bit(base, expert, tmp_path, weights, chosen):
    def sign(tensors):
        tensors[NAME][:2] = [[0.0], [-0.0]]

    folders = [base, expert]
    folders[chosen] = changed(folders[chosen], tmp_path / "chosen", sign)
    merge(folders, weights, tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    wanted = load_file(folders[chosen] / "model.safetensors")
    assert merged.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert merged[name].tobytes() == tensor.tobytes(), name


def test_integer_buffers_are_the_donors(trio, tmp_path):
    def numbered(first):
        def add(tensors):
            tensors[POSITIONS] = np.arange(first, first + 66, dtype=np.int64)[None]

        return add

    folders = [changed(folder, tmp_path / f"s{row}", numbered(row)) for row, folder in enumerate(trio)]
    merge(folders, (0.0, 0.5, 0.5), tmp_path / "out", dtype="float16")
    positions = load_file(tmp_path / "out" / "model.safetensors")[POSITIONS]
    assert positions.dtype == np.int64
    np.testing.assert_array_equal(positions, np.arange(66)[None])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_narrower_output_is_rounded_once_from_float32(trio, tmp_path, dtype):
    merge(trio, WEIGHTS, tmp_path / "full")
    merge(trio, WEIGHTS, tmp_path / "out", dtype=str(dtype).removeprefix("torch."))
    full = load_torch(tmp_path / "full" / "model.safetensors")
    merged = load_torch(tmp_path / "out" / "model.safetensors")
    assert merged.keys() == full.keys()
    for name, tensor in merged.items():
        assert torch.equal(tensor, full[name].to(dtype)), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_sources_are_averaged_in_float32_and_rounded_once(trio, tmp_path, dtype):
    folders = [cast(folder, tmp_path / f"s{row}", dtype) for row, folder in enumerate(trio)]
    merge(folders, WEIGHTS, tmp_path / "out")
    states = [load_torch(folder / "model.safetensors") for folder in folders]
    weights = [torch.tensor(weight, dtype=torch.float32) for weight in WEIGHTS]
    for name, tensor in load_torch(tmp_path / "out" / "model.safetensors").items():
        first, second, third = (
            weight * state[name].float() for weight, state in zip(weights, states, strict=True)
        )
        assert torch.equal(tensor, ((first + second) + third).to(dtype)), name


def test_narrow_sources_may_be_written_wide(trio, tmp_path):
    folders = [cast(folder, tmp_path / f"s{row}", torch.bfloat16) for row, folder in enumerate(trio)]
    merge(folders, WEIGHTS, tmp_path / "out", dtype="float32")
    merged = load_torch(tmp_path / "out" / "model.safetensors")
    for name, wanted in torch_mean(folders, WEIGHTS).items():
        assert merged[name].dtype == torch.float32
        torch.testing.assert_close(merged[name], wanted, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_slices_give_the_same_bytes_as_whole_tensors(trio, tmp_path, monkeypatch, dtype):
    whole = merge(trio, WEIGHTS, tmp_path / "whole", dtype=dtype)
    monkeypatch.setattr("embedmerge.mixture.HELD", 37)
    assert merge(trio, WEIGHTS, tmp_path / "sliced", dtype=dtype) == whole
    names = ("whole", "sliced")
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in names)
    assert one == other


def test_the_digests_are_those_of_the_files(trio, tmp_path):
    digests = merge(trio, WEIGHTS, tmp_path / "out")
    assert digests == {"model.safetensors": file_sha256(tmp_path / "out" / "model.safetensors")}


@pytest.mark.parametrize("held", [300, 1 << 19])
def test_every_file_read_is_digested_whatever_the_order_of_its_tensors(trio, tmp_path, monkeypatch, held):
    from transformers import AutoModel

    monkeypatch.setattr("embedmerge.mixture.HELD", held)
    monkeypatch.setattr("embedmerge.mixture.LAG", held)
    backwards = Path(shutil.copytree(trio[1], tmp_path / "backwards"))
    tensors = load_file(backwards / "model.safetensors")
    save_file(dict(reversed(tensors.items())), backwards / "model.safetensors", metadata=METADATA)
    sharded = Path(shutil.copytree(trio[2], tmp_path / "sharded"))
    (sharded / "model.safetensors").unlink()
    AutoModel.from_pretrained(str(trio[2])).save_pretrained(str(sharded), max_shard_size="20KB")
    folders = [trio[0], backwards, sharded]
    inputs = write(folders, WEIGHTS, tmp_path / "out").inputs
    wanted = {path for folder in folders for path in opened(folder).weight_files()}
    assert inputs == {path: file_sha256(path) for path in wanted}
    assert len(wanted) > 4


def test_a_large_output_is_cut_into_shards_that_load(trio, tmp_path):
    merge(trio, WEIGHTS, tmp_path / "whole")
    digests = merge(trio, WEIGHTS, tmp_path / "out", shard_bytes=20_000)
    assert len(digests) > 4
    assert all(file_sha256(tmp_path / "out" / place) == digest for place, digest in digests.items())
    whole, cut = (SentenceTransformer(str(tmp_path / name), device="cpu") for name in ("whole", "out"))
    np.testing.assert_array_equal(whole.encode(TEXTS), cut.encode(TEXTS))
    again = merge([tmp_path / "out", tmp_path / "whole"], (0.0, 1.0), tmp_path / "again")
    assert again == {"model.safetensors": file_sha256(tmp_path / "whole" / "model.safetensors")}


@pytest.mark.parametrize("held", [999, 1 << 19])
def test_a_threshold_over_the_whole_model_is_found_through_the_files(trio, tmp_path, monkeypatch, held):
    monkeypatch.setattr("embedmerge.mixture.HELD", held)
    seen = []
    merge(
        trio,
        (0.0, 0.5, 0.5),
        tmp_path / "out",
        method="ties",
        parameters={"density": 0.3},
        progress=lambda done, total: seen.append((done, total)),
    )
    states = [load_file(folder / "model.safetensors") for folder in trio]
    wanted = merge_arrays(
        "ties", dict(zip("abc", states, strict=True)), parameters={"density": 0.3}, held=10**9
    )
    merged = load_file(tmp_path / "out" / "model.safetensors")
    for name, values in merged.items():
        np.testing.assert_array_equal(values, wanted[name])
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    elements = sum(values.size for values in merged.values())
    assert seen[-1] == (3 * elements, 3 * elements)  # two passes before the merge


def test_sharded_sources_become_one_file(trio, tmp_path):
    from transformers import AutoModel

    sharded = Path(shutil.copytree(trio[1], tmp_path / "sharded"))
    (sharded / "model.safetensors").unlink()
    AutoModel.from_pretrained(str(trio[1])).save_pretrained(str(sharded), max_shard_size="20KB")
    assert len(opened(sharded).weight_files()) > 2
    wanted = merge(trio, WEIGHTS, tmp_path / "wanted")
    assert merge([trio[0], sharded, trio[2]], WEIGHTS, tmp_path / "out") == wanted
    assert not list((tmp_path / "out").glob("*.index.json"))


def test_a_dense_module_is_merged_in_its_own_folder(trio, tmp_path):
    folders = []
    for row, folder in enumerate(trio[:2]):
        model = SentenceTransformer(str(folder), device="cpu")
        torch.manual_seed(row)
        from sentence_transformers.sentence_transformer.modules import Dense

        model.append(Dense(32, 8))
        model.save_pretrained(str(tmp_path / f"s{row}"))
        folders.append(tmp_path / f"s{row}")
    digests = merge(folders, (0.25, 0.75), tmp_path / "out")
    assert digests.keys() == {"model.safetensors", "3_Dense/model.safetensors"}
    merged = load_torch(tmp_path / "out" / "3_Dense" / "model.safetensors")
    states = [load_torch(folder / "3_Dense" / "model.safetensors") for folder in folders]
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, 0.25 * states[0][name] + 0.75 * states[1][name])
    found = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    assert found.shape == (4, 8)
    assert np.isfinite(found).all()


def test_the_donors_module_files_are_there_byte_for_byte(trio, tmp_path):
    merge(trio, WEIGHTS, tmp_path / "out")
    wanted = {
        path.relative_to(trio[0]).as_posix(): path.read_bytes()
        for path in trio[0].rglob("*")
        if path.is_file() and path.name != "model.safetensors"
    }
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != "model.safetensors"
    }
    assert found == wanted


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_progress_rises_to_the_elements_of_the_output(trio, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("embedmerge.mixture.HELD", 2000)
    seen = []
    merge(
        trio, WEIGHTS, tmp_path / "out", dtype=dtype, progress=lambda done, total: seen.append((done, total))
    )
    stored = opened(tmp_path / "out").tensors_of(0).values()
    total = sum(tensor.info.elements for tensor in stored)
    assert len(seen) > len(stored)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {end for _, end in seen} == {total}
    assert seen[-1] == (total, total)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_value_that_is_not_finite_stops_the_merge_and_leaves_nothing(trio, tmp_path, value, spoilt):
    def spoil(tensors):
        tensors[NAME][1, 1] = value

    folders = list(trio)
    folders[spoilt] = changed(trio[spoilt], tmp_path / "spoilt", spoil)
    with pytest.raises(EmbedmergeError) as caught:
        merge(folders, WEIGHTS, tmp_path / "outputs" / "out")
    assert str(caught.value).startswith(f"source{spoilt}: ")
    assert NAME in str(caught.value)
    assert not any((tmp_path / "outputs").iterdir())


def test_a_tensor_that_the_donor_alone_has_must_be_finite_too(trio, tmp_path):
    def spoil(tensors):
        tensors["pooler.dense.bias"][0] = np.nan

    def remove(tensors):
        del tensors["pooler.dense.bias"]

    folders = [changed(trio[0], tmp_path / "a", spoil), changed(trio[1], tmp_path / "b", remove)]
    with pytest.raises(EmbedmergeError, match=r"^source0: .*pooler"):
        merge(folders, (0.5, 0.5), tmp_path / "outputs" / "out")


@pytest.mark.parametrize(
    ("dtype", "stored", "value"), [("float16", "F16", 7e4), ("bfloat16", "BF16", np.finfo(np.float32).max)]
)
def test_an_overflow_of_the_output_type_is_named_and_leaves_nothing(trio, tmp_path, dtype, stored, value):
    def enlarge(tensors):
        tensors[NAME][0, 0] = value

    folder = changed(trio[0], tmp_path / "large", enlarge)
    with pytest.raises(EmbedmergeError) as caught:
        merge([folder, trio[1]], (1.0, 0.0), tmp_path / "outputs" / "out", dtype=dtype)
    assert NAME in str(caught.value)
    assert f"range of {stored}" in str(caught.value)
    assert "float32" in str(caught.value)
    assert not any((tmp_path / "outputs").iterdir())
    merge([folder, trio[1]], (1.0, 0.0), tmp_path / "outputs" / "out", dtype="float32")


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_overflow_of_float32_itself_is_named(trio, tmp_path):
    def enlarge(tensors):
        tensors[NAME][0, 0] = np.finfo(np.float32).max

    folder = changed(trio[0], tmp_path / "large", enlarge)
    with pytest.raises(EmbedmergeError, match="leaves the range of F32"):
        merge([folder, trio[1]], (2.0, -1.0), tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "what"),
    [({"dtype": "int8"}, "'int8'"), ({"method": "none"}, "'none'"), ({"parameters": {"t": 1}}, "'t'")],
)
def test_what_is_unknown_is_refused_before_anything_is_written(trio, tmp_path, more, what):
    with pytest.raises(EmbedmergeError, match=what):
        merge(trio, WEIGHTS, tmp_path / "outputs" / "out", **more)
    assert not (tmp_path / "outputs").exists()


def test_an_occupied_target_is_refused_and_untouched(trio, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(EmbedmergeError, match="not empty"):
        merge(trio, WEIGHTS, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_every_file_can_be_read_by_others(trio, tmp_path):
    old = os.umask(0o022)
    try:
        merge(trio, WEIGHTS, tmp_path / "out")
    finally:
        os.umask(old)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        assert path.stat().st_mode & 0o044 == 0o044, path


SCRIPT = """
import json, sys
from pathlib import Path
from embedmerge.api import merge
from embedmerge.sources import SourceSpec
*folders, target = sys.argv[1:]
specs = [SourceSpec(f"s{row}", folder, "peer" if row else "base") for row, folder in enumerate(folders)]
merged = merge(specs, [0.2, 0.5, 0.3], Path(target))
heavy = sorted({"torch", "transformers", "sentence_transformers", "faiss", "mteb"} & set(sys.modules))
print(json.dumps([merged.sha256, heavy]))
"""


def in_a_process(folders, target, seed):
    command = [sys.executable, "-c", SCRIPT, *map(str, folders), str(target)]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return json.loads(
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120).stdout
    )


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_merging_gives_the_same_bytes_in_every_process_and_needs_no_torch(trio, tmp_path):
    first, heavy = in_a_process(trio, tmp_path / "a", "0")
    second, _ = in_a_process(trio, tmp_path / "b", "4242")
    assert heavy == []
    assert first == second
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_memory_grows_with_the_slice_and_not_with_the_tensor(trio, tmp_path, monkeypatch):
    elements = 1_500_000

    def widen(tensors):
        tensors.clear()
        tensors["embeddings.word_embeddings.weight"] = np.ones((elements, 1), np.float32)

    folders = [changed(folder, tmp_path / f"s{row}", widen) for row, folder in enumerate(trio)]
    monkeypatch.setattr("embedmerge.mixture.HELD", 200_000)
    tracemalloc.start()
    try:
        merge(folders, WEIGHTS, tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * 200_000 * 4 < elements * 4
