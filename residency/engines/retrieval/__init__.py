"""Our own engine for indexes: documents to vectors and words that can be searched."""
