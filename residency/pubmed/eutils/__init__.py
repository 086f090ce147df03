"""PubMed through NCBI's E-utilities: search of any size, and every record fetched once.

limiter    how often this machine asks, all of its processes together
client     one request, asked again until its answer is sound
replies    what an answer says, and whether it is one
slices     a result of more than 9,999 records in parts that fit
store      the records as they came, in the download cache, shared by all recipes
fetch      all records of a list of PMIDs into the store
standin    a server over a few local records, for smoke runs and tests
"""

DEFAULT_URL = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils/"
CAP = 9_999
"""The most records of one search that PubMed gives, whatever `retmax` and the history server."""
