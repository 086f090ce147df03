"""TrialPanorama's benchmark (arXiv:2505.16097): search, screening, sample size, trial design, completion.

Rows as its JSONL files have them become questions with gold answers; answers are scored. A model is
asked for JSON. Strict: that JSON is all there is, or stands in the one fenced block or answer tag.
Lenient: it is found anywhere, or the answer is read without it.
"""
