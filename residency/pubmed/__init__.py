"""PubMed: its XML."""
