"""From a local collection to an mteb task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmerge.errors import EmbedmergeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedmerge.retrieval.collection import Collection

LOCAL_K = (1, 3, 5, 10, 20, 100)
UNKNOWN = ("und-Zyyy",)  # ISO 639 and 15924 for a language and a script that nobody has stated


def mteb_task_of(collection: Collection, languages: Sequence[str] = ()) -> Any:
    """The collection as an mteb task whose data is already there.

    It is a reranking task where the collection has candidate lists, and a retrieval task otherwise.

    Args:
        collection: The collection.
        languages: Languages with scripts, such as `deu-Latn`, for the metadata.

    Raises:
        EmbedmergeError: mteb knows no such language.
    """
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    # mteb's loader wants a hub repository or its own folder form, so the data is handed over instead.
    described = _metadata(collection, languages)

    class LocalRetrieval(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = described
        k_values = LOCAL_K

        def load_data(self, **_: Any) -> None:
            data = RetrievalSplitData(
                corpus=Dataset.from_list(collection.corpus),
                queries=Dataset.from_list(collection.queries),
                relevant_docs=collection.qrels,
                top_ranked=collection.candidates,
            )
            self.dataset = {"default": {collection.split: data}}
            self.data_loaded = True

    return LocalRetrieval()


def _metadata(collection: Collection, languages: Sequence[str]) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.languages import check_language_code

    for code in languages:
        try:
            check_language_code(code)
        except ValueError as error:
            msg = (
                f"{collection.name}: {code}: no language and script of ISO 639-3 and 15924, such as deu-Latn"
            )
            raise EmbedmergeError(msg) from error
    return TaskMetadata(
        name=collection.name,
        description=f"Local collection {collection.name}",
        type="Retrieval" if collection.candidates is None else "Reranking",
        category="t2t",
        eval_langs=list(languages or UNKNOWN),
        main_score="ndcg_at_10",
        eval_splits=[collection.split],
        dataset={"path": f"local/{collection.name}", "revision": collection.sha256},
    )
