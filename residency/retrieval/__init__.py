"""Finding documents: encoders, FAISS and BM25 indexes, and what searches them.

An index is a folder. `manifest.json` says how it was made, and all that a query needs is read from it:

    manifest.json        what made it (`residency.retrieval.manifest`)
    documents.jsonl      the documents, with documents.offsets.npy and documents.ids.npy to find one
    faiss.index          the vector index
    encoder/             the model that encodes queries
    bm25/                the word index
"""
