"""Makes corpora of PubMed records: from a query, from NLM's files, or from both."""
