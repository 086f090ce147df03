"""BioASQ task B: questions with documents and snippets (phase A) and exact answers (phase B).

The scores are those of the challenge's own evaluator (BioASQ/Evaluation-Measures, class
EvaluatorTask1b), rule by rule, also where a rule surprises; each such place says so.
"""
