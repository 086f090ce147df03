"""Reward functions, one module a task; a recipe names them by dotted path: rewards.pubmedqa.answer."""
