"""The folder that LlamaIndex's `load_index_from_storage` opens with `FaissVectorStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from embedmerge.bundle.store import PassageStore
    from embedmerge.retrieval.index import VectorIndex

NAME = "embedmerge"


def write(folder: Path, index: VectorIndex, passages: PassageStore) -> None:
    """Write vectors, nodes and the table that joins them.

    Its store returns what FAISS does, so that scores are the bundle's own similarities; where vectors are
    compared by distance they are squared distances, the least being the best.
    """
    from llama_index.core import StorageContext
    from llama_index.core.data_structs import IndexDict
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
    from llama_index.vector_stores.faiss import FaissVectorStore

    storage = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss_index=index.built.index))
    storage.docstore.add_documents(
        [
            TextNode(
                id_=passage.id,
                text=passage.text,
                metadata=passage.metadata,
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.document)},
            )
            for passage in passages
        ]
    )
    rows = {str(row): name for row, name in enumerate(index.ids)}
    storage.index_store.add_index_struct(IndexDict(index_id=NAME, nodes_dict=rows))
    storage.persist(str(folder))
