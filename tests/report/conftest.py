"""Reports as a run would write them, from made-up scores."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from embedmerge.evaluation.compare import Cell, ComparedTask, Comparison
from embedmerge.evaluation.flips import flips
from embedmerge.evaluation.paired import paired_tasks
from embedmerge.evaluation.scores import TaskScores
from embedmerge.evaluation.significance import Difference, corrected
from embedmerge.report.document import Report, SourceRecord, WeightingRecord
from embedmerge.report.html import render_html
from embedmerge.report.queries import compared_queries
from embedmerge.weighting.selection import Candidate, Confirmation, Estimate, FrontPoint, Selection
from embedmerge.weighting.surface import surface


def _round(value):
    return round(float(value), 6)


def _paired(models, per_query, base, fine_tune):
    """Cells of one row from simulated per-query scores, with normal intervals."""

    def against(model, reference):
        if reference is None or reference == model:
            return None
        delta = per_query[model] - per_query[reference]
        error = delta.std() / np.sqrt(len(delta))
        low, high = delta.mean() - 1.96 * error, delta.mean() + 1.96 * error
        better, worse = int((delta > 1).sum()), int((delta < -1).sum())
        return Difference(
            _round(delta.mean()),
            _round(low),
            _round(high),
            p=_round(2 * norm.sf(abs(delta.mean()) / error)),
            wins=better,
            ties=len(delta) - better - worse,
            losses=worse,
        )

    return {
        model: Cell(
            _round(per_query[model].mean()),
            _round(min(99.0, per_query[model].mean() + 21.4)),
            against(model, base),
            against(model, fine_tune),
        )
        for model in models
    }


def _with_holm(tasks, models):
    """The same tasks, each model's differences to each reference corrected over them."""
    cells = [dict(task.cells) for task in tasks]
    for model in models:
        for reference in ("to_base", "to_fine_tune"):
            found = [getattr(own[model], reference) for own in cells]
            if None not in found:
                for own, value in zip(cells, corrected(found), strict=True):
                    own[model] = dataclasses.replace(own[model], **{reference: value})
    return [dataclasses.replace(task, cells=own) for task, own in zip(tasks, cells, strict=True)]


def build_comparison(models, base, fine_tune, merged, targets, generals, seed=7):
    rng = np.random.default_rng(seed)
    tasks, pools = [], {"target": [], "general": []}
    for side, names in (("target", targets), ("general", generals)):
        for name in names:
            queries = int(rng.integers(60, 1500))
            level = rng.uniform(25, 70)
            common = level + rng.normal(0, 15, queries)
            scores = {}
            for place, model in enumerate(models):
                special = {
                    fine_tune: (9.0, -4.0),
                    merged: (8.6, 0.3),
                    base: (0.0, 0.0),
                    "placebo": (-0.2, -0.2),
                }
                shift = special.get(model, (2.0 - place * 0.7,) * 2)[side == "general"]
                scores[model] = common + shift + rng.normal(0, 6, queries)
            pools[side].append(scores)
            cells = _paired(models, scores, base, fine_tune)
            tasks.append(ComparedTask(name, "test", side, queries, cells))
    tasks = _with_holm(tasks, models)
    means = {}
    for side, rows in pools.items():
        if rows:
            joined = {model: np.concatenate([row[model] for row in rows]) for model in models}
            means[side] = _paired(models, joined, base, fine_tune)
    verdict = (
        ("merged keeps most of the target gain, and general retrieval is where the base was.",)
        if merged
        else ()
    )
    return Comparison(
        tuple(models),
        base,
        fine_tune,
        merged,
        tuple(tasks),
        means,
        95.512345 if fine_tune and merged else None,
        verdict
        + (("No query was made much worse: 12 of 1,406 lost more than ten points.",) if merged else ()),
    )


def _digest(name):
    return "".join(f"{(ord(name[index % len(name)]) * 31 + index) % 256:02x}" for index in range(32))


KINDS = {
    "usual": {
        "models": ("base", "docs-tuned", "uniform", "merged"),
        "fine_tune": "docs-tuned",
        "targets": ("torch-docs",),
        "generals": ("scifact", "nfcorpus", "medquad", "cosqa-eval"),
    },
    "no-fine-tune": {
        "models": ("base", "medical", "legal", "merged"),
        "fine_tune": None,
        "targets": ("policyqa",),
        "generals": ("scifact", "nl2bash"),
    },
    "many": {
        "models": (
            "bge-small-en-v1.5",
            "bge-small-en-v1.5-torch-docs-4e-4",
            "medical-questions",
            "legal_summaries_2024",
            "finance",
            "code-search",
            "uniform",
            "merged",
        ),
        "fine_tune": "bge-small-en-v1.5-torch-docs-4e-4",
        "targets": ("torch-docs", "transformers-docs-v5"),
        "generals": (
            "scifact",
            "nfcorpus",
            "medquad",
            "cosqa-eval",
            "nl2bash",
            "tatqa",
            "policyqa",
            "squad-sent",
            "mtrag-cloud-pool-with-a-long-name",
            "legalsum",
        ),
    },
    "controlled": {
        "models": ("base", "docs-tuned", "scipy", "uniform", "cocktail", "placebo", "merged"),
        "fine_tune": "docs-tuned",
        "targets": ("torch-docs",),
        "generals": ("scifact", "nfcorpus"),
    },
    "awkward": {
        "models": ("base", "<script>alert(1)</script>", "a|b", "$x_1$ & \"co\" \x1b[31m'é語'", "merged"),
        "fine_tune": "<script>alert(1)</script>",
        "targets": ("<img src=x onerror=alert(2)>",),
        "generals": ("a|b & *c*", "[bold]x[/bold]"),
    },
    "target-only": {
        "models": ("base", "docs-tuned", "merged"),
        "fine_tune": "docs-tuned",
        "targets": ("torch-docs",),
        "generals": (),
    },
    "no-comparison": None,
}


def build_report(kind="usual"):
    shape = KINDS[kind]
    comparison = None
    models = ("base", "docs-tuned", "merged")
    fine_tune = "docs-tuned"
    if shape is not None:
        models, fine_tune = shape["models"], shape["fine_tune"]
        comparison = build_comparison(
            models, models[0], fine_tune, "merged", shape["targets"], shape["generals"]
        )
    names = [name for name in models if name not in ("uniform", "cocktail", "placebo", "merged")]
    sources = []
    for place, name in enumerate(names):
        local = place % 2 == 1
        sources.append(
            SourceRecord(
                name=name,
                role="base" if place == 0 else "target" if name == fine_tune else "peer",
                location=f"/home/ada/models/run {place}" if local else f"BAAI/model-{place}",
                revision=None if local else "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
                sha256=_digest(name),
                license=None if local else "mit",
            )
        )
    share = np.random.default_rng(3).dirichlet(np.ones(len(names)) * 3)
    learned = comparison is not None and kind != "target-only"
    losses = {name: _round(2.5 - 0.37 * place) for place, name in enumerate(names)} if learned else {}
    title = "<b>merge</b> a|b: *one*" if kind == "awkward" else "torch documentation"
    notes = ("scifact: 3 qrels name documents that /home/ada/data/scifact/corpus.jsonl lacks.",)
    return Report(
        tool="embedmerge 0.1.0",
        title=title,
        method="linear",
        method_parameters={"normalize": True},
        sources=tuple(sources),
        weighting=WeightingRecord(
            strategy="cocktail" if learned else "explicit",
            parameters={"temperature": 0.1, "negatives": 7, "seed": 42} if learned else {},
            examples=64 if learned else 0,
            losses=losses,
            losses_se=dict.fromkeys(losses, 0.081234),
        ),
        weights={name: _round(value) for name, value in zip(names, share, strict=True)},
        comparison=comparison,
        encoding={"precision": "fp32", "max_length": 256},
        notes=notes if comparison is not None else (),
        model_sha256=_digest("merged"),
        versions={
            "embedmerge": "0.1.0",
            "sentence-transformers": "6.2.0",
            "torch": "2.13.0",
            "mteb": "2.26.1",
        },
    )


def build_selection(names=("base", "docs-tuned"), *, divergence=True, split=False, lost=(), **changes):
    """What `front` would find: experts with a gain and a price, mixtures in between."""
    experts = len(names) - 1

    def price(share):
        return -0.45 * share**2 if divergence else -6.0 * share**1.5

    def gain(share):
        return 12.0 * share - 5.5 * share**2

    level, chosen = (0.0, 0.33) if divergence else (48.2, 0.1)

    def candidate(name, weights, share, exact, worth=None):
        target, general = gain(share) if worth is None else worth, price(share)
        width = 0.004 if divergence else 0.9
        first = name == names[0]
        return Candidate(
            name,
            weights,
            Estimate(63.4 + target, 58.1 + target, 68.2 + target),
            Estimate(level + general, level + general - width, level + min(general + width, 0.0)),
            None if first else Estimate(target, target - 1.4, target + 1.6),
            None if first else Estimate(general, general - width, general + width),
            exact,
        )

    def shared(share):
        return {name: round(share / experts if place else 1 - share, 4) for place, name in enumerate(names)}

    alone = [
        candidate(name, {other: float(other == name) for other in names}, 0.8 + 0.05 * place, True)
        for place, name in enumerate(names[1:])
    ]
    base = candidate(names[0], {name: float(name == names[0]) for name in names}, 0.0, True)
    front = tuple(
        FrontPoint(shared(share), 63.4 + gain(share), level + price(share))
        for share in np.linspace(0.9, 0, 19).tolist()
    )

    def look(weights):
        share = 1 - weights[:, 0]
        general = level + price(share)
        return 63.4 + gain(share), general, general + 0.05 if divergence else general - level + 0.5

    weights = np.array(list(shared(chosen).values()))
    settings = {
        "strategy": "front",
        "objective": "ndcg_at_10",
        "measure": "ndcg_at_10",
        "general_measure": "preservation" if divergence else "ndcg_at_10",
        "guard": "the base's ranking of embedmerge's own guard text"
        if divergence
        else "nDCG@10 on scifact:dev",
        "floor": "a divergence of at most 0.05 nats from the base"
        if divergence
        else "at most 0.5 standard errors below the base",
        "examples": 400 if split else 64,
        "guarded": 512,
        "checked": "split" if split else "cross-validated",
        "front": front,
        "candidates": (
            base,
            *alone,
            candidate("uniform", shared(experts / len(names)), experts / len(names), False),
            candidate("cocktail", shared(0.6), 0.6, False),
            candidate("placebo", None, 0.02, True, worth=-0.1),
            candidate("chosen", shared(chosen), chosen, split),
        ),
        "as_good": {name: (0.05, 0.4) if place else (0.5, 0.75) for place, name in enumerate(names)},
        "confirmation": Confirmation(2, 9, 0.31, -0.0021 if divergence else 0.11, 0.00042),
        "lost": lost,
        "surface": surface(names, weights, [names.index(name) for name in lost], look),
        "notes": ("Any weight of docs-tuned between 0.05 and 0.40 is as good as the chosen one.",),
    }
    return Selection(**settings | changes)


def with_selection(report, **changes):
    """The same report, its weights chosen by `front`."""
    names = tuple(report.weights)
    selection = build_selection(names, **changes)
    record = dataclasses.replace(
        report.weighting,
        strategy="front",
        parameters={"seed": 0, "guard": {"tasks": [], "budget": 0.05, "floor": 0.5}},
        selection=selection,
    )
    weights = dict(selection.candidates[-1].weights)
    return dataclasses.replace(report, weighting=record, weights=weights)


class _MadeTexts:
    """Texts of any task: those that a reader has to be spared and those that could do harm."""

    def __init__(self):
        numbers = range(3000)
        self.queries = {f"q{row}": f"what is <b>query</b> {row}?" for row in numbers}
        self.documents = {f"d{row}": f"Document {row} </script> & means {'so ' * 90}" for row in numbers}
        self.relevant = {f"q{row}": {f"d{row}": 1} for row in numbers}


MADE_TEXTS = _MadeTexts()


def _scores_of(task, side, queries, gain, seed):
    random = np.random.default_rng(seed)
    ranks = np.maximum(random.geometric(0.3, queries) - gain, 0)
    ids = [f"q{row}" for row in range(queries)]
    values = {
        name: _round(100 / np.log2(rank + 2)) if rank < 10 else 0.0
        for name, rank in zip(ids, ranks, strict=True)
    }
    ranked = {
        name: [f"d{(row + at - min(int(rank), 10)) % queries}" for at in range(10)]
        for row, (name, rank) in enumerate(zip(ids, ranks, strict=True))
    }
    mean = float(np.mean(list(values.values())))
    return TaskScores(task, "test", side, queries, mean, mean, values, ranked)


def with_queries(report, queries=120, texts=True, **changes):
    """The same report with made-up queries of its tasks, and the flips among them."""
    comparison = report.comparison
    scores = {
        model: [
            _scores_of(task.task, task.side, queries, gain, [seed, place])
            for place, task in enumerate(comparison.tasks)
        ]
        for seed, (model, gain) in enumerate(((comparison.base, 0), (comparison.merged, 1)))
    }
    known = (lambda task, split: MADE_TEXTS) if texts else None
    found = compared_queries(scores, comparison.base, comparison.merged, texts=known, **changes)
    flipped = flips(paired_tasks(scores), comparison.merged, comparison.base, texts=known)
    return dataclasses.replace(
        report, queries=found, comparison=dataclasses.replace(comparison, flips=(flipped,))
    )


@pytest.fixture
def make_asked():
    """Builder of reports with queries, by kind and what `with_queries` takes."""

    def make(kind="usual", **changes):
        return with_queries(build_report(kind), **changes)

    return make


@pytest.fixture
def make_report():
    """Builder of reports by kind; KINDS names them."""
    return build_report


@pytest.fixture(params=sorted(KINDS))
def any_report(request):
    return build_report(request.param)


@pytest.fixture(params=sorted(kind for kind, shape in KINDS.items() if shape))
def compared_report(request):
    return build_report(request.param)


@pytest.fixture
def make_comparison():
    """Builder of comparisons of any size, as `embedmerge evaluate` would make them too."""
    return build_comparison


@pytest.fixture
def make_selection():
    """Builder of selections of any number of sources."""
    return build_selection


@pytest.fixture
def make_chosen():
    """Builder of reports whose weights were chosen by `front`, by kind and what `build_selection` takes."""

    def make(kind="usual", **changes):
        return with_selection(build_report(kind), **changes)

    return make


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests that need it are skipped where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on the path")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, tmp_path, request):
    """Opens a report's page as a reader would; fails on any error in the console and on any request.

    What is left on the screen at the end is kept in the folder that EMBEDMERGE_SCREENSHOTS names.
    """
    contexts, faults = [], []

    def opened(report, *, width=1200, scheme="light", touch=False):
        file = tmp_path / f"report-{len(contexts)}.html"
        file.write_text(render_html(report), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=touch
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: asked.url == file.as_uri() or faults.append(asked.url))
        page.goto(file.as_uri())
        return page

    yield opened
    kept = os.environ.get("EMBEDMERGE_SCREENSHOTS")
    for place, context in enumerate(contexts):
        if kept:
            name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
            Path(kept).mkdir(parents=True, exist_ok=True)
            context.pages[0].screenshot(path=Path(kept) / f"{name}-{place}.png", full_page=True)
        context.close()
    assert faults == []
