from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from embedmerge.errors import EmbedmergeError
from embedmerge.report.serialise import from_json, to_json


def test_round_trip_through_text(any_report):
    text = json.dumps(to_json(any_report), allow_nan=False)
    assert from_json(json.loads(text)) == any_report


@pytest.mark.parametrize("divergence", [True, False])
def test_round_trip_with_a_selection(make_chosen, divergence):
    report = make_chosen(divergence=divergence)
    read = from_json(json.loads(json.dumps(to_json(report), allow_nan=False)))
    found, kept = read.weighting.selection, report.weighting.selection
    assert [candidate.name for candidate in found.candidates] == [row.name for row in kept.candidates]
    assert found.front[0].general == pytest.approx(kept.front[0].general, abs=1e-6)
    assert found.as_good == kept.as_good


def test_keys_stand_as_the_dataclasses_declare_them(make_report):
    report = make_report()
    data = to_json(report)
    assert list(data) == [field.name for field in dataclasses.fields(report)]
    assert list(data["weights"]) == [source.name for source in report.sources]
    assert list(data["comparison"]["tasks"][0]["cells"]) == list(report.comparison.models)


def test_floats_are_rounded_and_numpy_is_gone(make_report):
    report = dataclasses.replace(
        make_report(),
        weights={"base": np.float32(0.1), "docs-tuned": 0.12345678},
        encoding={"max_length": np.int64(256), "folder": Path("a/b"), "zero": -1e-9, "set": (1, 2)},
    )
    data = to_json(report)
    assert data["weights"] == {"base": 0.1, "docs-tuned": 0.123457}
    assert data["encoding"] == {"max_length": 256, "folder": "a/b", "zero": 0.0, "set": [1, 2]}
    assert type(data["weights"]["base"]) is float
    assert type(data["encoding"]["max_length"]) is int
    assert "-0.0" not in json.dumps(data["encoding"])


def test_what_json_lacks_is_refused(make_report):
    report = dataclasses.replace(make_report(), encoding={"x": object()})
    with pytest.raises(TypeError, match="object"):
        to_json(report)


def test_a_broken_report_is_named(make_report):
    data = to_json(make_report())
    data["comparison"]["tasks"][0]["queries"] = "many"
    with pytest.raises(EmbedmergeError, match=r"comparison\.tasks\.0\.queries"):
        from_json(data)
    with pytest.raises(EmbedmergeError, match="not a report"):
        from_json({})
