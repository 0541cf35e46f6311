from __future__ import annotations

import mteb

from embedmerge.evaluation.hub_datasets import HubDataset, hub_datasets
from embedmerge.evaluation.tasks import Task, open_tasks


def test_a_task_of_mteb_names_its_data_set():
    task = mteb.get_task("SciFact")
    found = hub_datasets([Task("SciFact", "test", "general", task, "content")])
    stated = mteb.get_task("SciFact").metadata.dataset
    assert found == {("SciFact", "test"): HubDataset("mteb/scifact", stated["revision"], "default")}


def test_where_its_data_lie_here_is_not_told():
    task = mteb.get_task("SciFact")
    here = {**task.metadata.dataset, "path": "/cache/scifact"}
    task.metadata = task.metadata.model_copy(update={"dataset": here})
    found = hub_datasets([Task("SciFact", "test", "general", task, "content")])
    assert found["SciFact", "test"].path == "mteb/scifact"


def test_a_collection_here_is_none_of_the_hubs(collection):
    assert hub_datasets(open_tasks([str(collection)], "target")) == {}
