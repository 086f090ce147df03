"""PubMed's Boolean search over a corpus on this disk, and the same interface over the network.

    search = LocalSearch.open("boolean-index")          residency.retrieval.boolean.local
    found = search.search('asthma[mh] AND "controlled trial*"[tiab] NOT review[pt]', retmax=100)

A query goes through these, each a module:

    lexer → parser          text to a tree of terms as they were written (`syntax`)
    translate, mapping      each term to what it means: MeSH headings, fields, dates (`meaning`)
    evaluate, phrases       that to records, from the index (`index`, made by `build`)
    order                   records by relevance or by date

`docs/pubmed_search.md` says what of PubMed's language is understood, and where this differs.
"""
