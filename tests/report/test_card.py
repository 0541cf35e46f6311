from __future__ import annotations

import ast
import dataclasses
import re

import pytest
from hub_uploads import metadata_faults
from huggingface_hub import ModelCard, constants

from embedmerge.errors import EmbedmergeError
from embedmerge.evaluation.hub_datasets import HubDataset
from embedmerge.exporting.hub_card import validate_on_hub
from embedmerge.report import wording
from embedmerge.report.card import render_card

RECIPE = """\
# where things lie: /home/ada
sources:
  base: BAAI/model-0
  docs: /home/ada/models/run 1
examples: ~/ada/train.jsonl
note: "``` inside"
"""


def _card(report):
    return ModelCard(render_card(report, RECIPE))


def _table(text, heading):
    """Cells of the first table after `heading`, without its header."""
    lines = text[text.index(heading) :].splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_metadata(make_report):
    data = _card(make_report("usual")).data.to_dict()
    assert data["library_name"] == "sentence-transformers"
    assert data["pipeline_tag"] == "sentence-similarity"
    assert data["tags"] == ["sentence-transformers", "feature-extraction", "embedmerge", "merge", "dense"]
    assert data["base_model"] == ["BAAI/model-0"]
    assert data["base_model_relation"] == "merge"
    assert data["license"] == "mit"


def test_scores_come_back_from_the_model_index(compared_report):
    comparison = compared_report.comparison
    results = _card(compared_report).data.eval_results
    assert len(results) == 2 * len(comparison.tasks)
    found = {(result.dataset_name, result.metric_type): result.metric_value for result in results}
    for task in comparison.tasks:
        cell = task.cells["merged"]
        assert found[task.task, "ndcg_at_10"] == pytest.approx(cell.ndcg_at_10, abs=0.001)
        assert found[task.task, "recall_at_100"] == pytest.approx(cell.recall_at_100, abs=0.001)


def test_scores_are_named_as_mteb_names_them(make_report):
    report = make_report("usual")
    task, local = report.comparison.tasks[0], report.comparison.tasks[-1]
    known = {(task.task, task.split): HubDataset("mteb/scifact", "d56462d0", "default")}
    card = ModelCard(render_card(report, RECIPE, datasets=known))
    assert list(metadata_faults(card.data.to_dict())) == []
    results = card.data.eval_results
    assert {(each.task_type, each.task_name) for each in results} == {("text-retrieval", "Retrieval")}
    by_task = {each.dataset_name: each for each in results if each.metric_type == "ndcg_at_10"}
    found = by_task[task.task]
    assert (found.dataset_type, found.dataset_revision) == ("mteb/scifact", "d56462d0")
    assert (found.dataset_config, found.dataset_split) == ("default", task.split)
    assert by_task[local.task].dataset_type == local.task
    assert by_task[local.task].dataset_revision is None
    assert (found.source_name, by_task[local.task].source_name) == ("MTEB", None)


def test_metadata_is_what_the_hub_takes(any_report):
    assert list(metadata_faults(_card(any_report).data.to_dict())) == []


def test_the_hub_takes_the_card(make_report, loopback_hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", loopback_hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    card = _card(make_report("usual"))
    card.save(tmp_path / "README.md")
    validate_on_hub(tmp_path / "README.md")
    assert loopback_hub.asked == ["api/validate-yaml"]
    card.data.tags = [1]
    card.save(tmp_path / "README.md")
    with pytest.raises(EmbedmergeError, match="tags"):
        validate_on_hub(tmp_path / "README.md")


def _snippets(text):
    return [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "# " in code]


@pytest.mark.parametrize(
    ("prompts", "clients"), [(None, 0), ({}, 0), ({"query": ""}, 0), ({"query": 'a "b": '}, 3)]
)
def test_prompts_per_client(make_report, prompts, clients):
    text = ModelCard(render_card(make_report("usual"), RECIPE, prompts)).text
    codes = [code for code in _snippets(text) if "SentenceTransformer(" not in code]
    assert len(codes) == clients
    assert ("It has no prompts" in text) == (prompts is not None and not clients)
    for code in codes:
        given = ast.unparse(ast.parse(code))
        assert "'prompt_name': 'query'" in given or repr('a "b": ') in given
        assert "'prompt_name': 'document'" not in given


def test_a_documents_prompt_too(make_report):
    text = ModelCard(render_card(make_report("usual"), RECIPE, {"query": "q: ", "document": "d: "})).text
    assert 'encode_kwargs={"prompt_name": "document"}' in text
    assert "text_instruction='d: '" in text


def test_no_scores_without_a_comparison(make_report):
    card = _card(make_report("no-comparison"))
    assert card.data.eval_results is None
    assert "model-index" not in card.content
    assert "model_name" not in card.content
    assert "Not measured" in card.text


def test_no_path_of_a_machine(any_report):
    content = render_card(any_report, RECIPE)
    assert "ada" not in content.replace("metadata", "").replace("Adam", "")
    assert "/home" not in content


def test_local_sources_are_no_base_models(make_report):
    report = make_report("usual")
    local = tuple(
        dataclasses.replace(source, location="models/base", revision=None) for source in report.sources
    )
    data = _card(dataclasses.replace(report, sources=local)).data.to_dict()
    assert "base_model" not in data
    assert "base_model_relation" not in data


@pytest.mark.parametrize(
    ("licences", "named", "sentence"),
    [
        (("mit", "MIT"), "mit", "All sources are under mit."),
        (("mit", "apache-2.0"), None, "base: mit; docs-tuned: apache-2.0"),
        (("mit", None), "mit", "docs-tuned states none"),
        ((None, None), None, "No source states a licence"),
    ],
)
def test_licence(make_report, licences, named, sentence):
    report = make_report("usual")
    sources = tuple(
        dataclasses.replace(source, license=licence)
        for source, licence in zip(report.sources, licences, strict=True)
    )
    card = _card(dataclasses.replace(report, sources=sources))
    assert card.data.to_dict().get("license") == named
    assert sentence in card.text


def test_weights_table(any_report):
    rows = _table(_card(any_report).text, "## What was merged")
    assert [row[2] for row in rows] == [f"{value:.3f}" for value in any_report.weights.values()]
    assert [row[4].strip("`") for row in rows] == [source.sha256 for source in any_report.sources]


def test_every_table_is_even(any_report):
    text = _card(any_report).text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_before_and_after(compared_report):
    comparison = compared_report.comparison
    rows = _table(_card(compared_report).text, "Mean over the target tasks")
    assert len(rows) == len(comparison.models)
    cell = comparison.means["target"]["merged"]
    assert rows[-1][:3] == [
        "**merged**",
        f"**{cell.ndcg_at_10:.1f}**",
        f"{wording.signed(cell.to_base.points)}\\* ({wording.interval(cell.to_base)})",
    ]
    tasks = _table(_card(compared_report).text, "task by task")
    assert [row[3] for row in tasks] == [
        f"{task.cells['merged'].ndcg_at_10:.1f}" for task in comparison.tasks
    ]


def test_html_in_names_is_inert(make_report):
    text = _card(make_report("awkward")).text
    body = text.split("## Recipe")[0]
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;script&gt;" in body
    assert "a\\|b" in body


def test_the_recipe_stays_inside_its_fence(make_report):
    text = _card(make_report("usual")).text
    assert "\n````yaml\n" in text
    inside = text.split("````yaml\n")[1].split("\n````\n")[0]
    assert "base: BAAI/model-0" in inside
    assert "``` inside" in inside


def test_a_fold_in_the_title_cannot_end_the_metadata(make_report):
    report = dataclasses.replace(make_report("usual"), title="x\n---\nlicense: gpl")
    assert _card(report).data.to_dict()["license"] == "mit"


def test_verdict_usage_and_citation(make_report):
    report = make_report("usual")
    text = _card(report).text
    for sentence in report.comparison.verdict:
        assert sentence in text
    assert "encode_query(" in text
    assert "encode_document(" in text
    assert "2311.13534" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    compile(code, "card", "exec")


def test_what_was_not_measured_is_said(make_report):
    assert "none of them general" in _card(make_report("target-only")).text


def test_same_bytes(any_report):
    assert render_card(any_report, RECIPE) == render_card(any_report, RECIPE)


def test_how_the_weights_were_chosen(make_chosen):
    report = make_chosen("controlled")
    text = _card(report).text
    part = text[text.index("## How the weights") : text.index("## Before and after")]
    paragraph = part.splitlines()[2]
    chosen = report.weighting.selection.candidates[-1]
    assert f"chosen ≈{chosen.target.value:.1f} (+3.4\\* to the base, +2.0 to +5.0)" in paragraph
    assert f"a divergence of ≈{-chosen.general.value:.3f} nats" in paragraph
    assert "placebo 63.3" in paragraph
    assert "cocktail ≈68.6" in paragraph
    assert "docs-tuned 0.05 to 0.40" in paragraph
    assert "64 examples" in paragraph
    assert "test split" not in part
    assert "- Any weight of docs-tuned" in part


def test_test_data_is_confessed(make_chosen):
    report = make_chosen("usual")
    record = report.weighting
    seen = {**record.parameters, "i_know_this_is_test_data": True}
    report = dataclasses.replace(report, weighting=dataclasses.replace(record, parameters=seen))
    assert "**They were chosen with `i_know_this_is_test_data`" in _card(report).text


def test_a_choice_names_no_path(make_chosen):
    report = make_chosen("awkward", notes=("/home/ada/x.jsonl: 3 of 9 <b>examples</b> are copies.",))
    content = render_card(report, RECIPE)
    assert "/home" not in content
    assert "&lt;b&gt;examples" in content


def test_controls_are_explained(make_report):
    assert "placebo, the base moved as far" in _card(make_report("controlled")).text
    assert "placebo" not in _card(make_report("usual")).text
