"""LLaMA-Factory: supervised fine-tuning, reward models, preference training."""
