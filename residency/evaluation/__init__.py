"""What every engine asks and reads alike: prompt styles, their rendering and hash, how an answer is read.

`styles` are the ways of asking, as data; `prompts` makes messages of a row and a style; `choices` are
rows with options; `extract` has the functions that read an answer, named by dotted path.
"""
