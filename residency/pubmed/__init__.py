"""PubMed: its XML, corpora of it on disk, and NCBI's E-utilities."""
