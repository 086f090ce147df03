"""lm-evaluation-harness: tasks as YAML, local data, generation or likelihood.

`engine` is what the launcher calls; `main` is the command that a stage runs, the only module
here (with `keep`) that imports lm-eval; `questions` is what task files call.
"""
