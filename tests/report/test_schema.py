from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedmerge.report.schema import json_schema
from embedmerge.report.serialise import from_json, to_json

PUBLISHED = Path(__file__).parents[2] / "docs" / "report.schema.json"


def test_the_published_schema_is_up_to_date():
    """Mend it by `embedmerge report --schema -o docs/report.schema.json`."""
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == json_schema()


def test_every_field_says_what_it_is():
    schema = json_schema()
    silent = [
        f"{name}.{field}"
        for name, definition in {"Report": schema, **schema["$defs"]}.items()
        for field, content in definition["properties"].items()
        if "description" not in content
    ]
    assert [field for field in silent if not field.startswith("ComparedTask.")] == []


@pytest.fixture
def written(make_chosen, make_asked):
    """Reports as they are written, whatever they hold."""
    reports = [make_chosen("controlled"), make_asked("usual", most=20), make_chosen("no-comparison")]
    return [json.loads(json.dumps(to_json(report))) for report in reports]


def test_reports_are_valid(written):
    checker = pytest.importorskip("jsonschema")
    schema = json_schema()
    checker.Draft202012Validator.check_schema(schema)
    for content in written:
        checker.validate(content, schema)
    del written[0]["weights"]
    with pytest.raises(checker.ValidationError, match="weights"):
        checker.validate(written[0], schema)


def test_an_older_report_is_read(written):
    content = written[0]
    del content["queries"], content["weighting"]["selection"]["surface"]
    for task in content["comparison"]["tasks"]:
        for cell in task["cells"].values():
            for name in ("to_base", "to_fine_tune"):
                if cell[name]:
                    cell[name] = {key: cell[name][key] for key in ("points", "low", "high")}
    del content["comparison"]["flips"], content["comparison"]["retention"]
    report = from_json(content)
    assert report.queries is None
    assert report.weighting.selection.surface is None
