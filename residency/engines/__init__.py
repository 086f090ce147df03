"""One folder per engine: what it wants, how it resumes, how its metrics and its result are read.

Version-specific knowledge of an engine lives in its folder and nowhere else. Importing an
engine's package here imports none of the engine itself.
"""
