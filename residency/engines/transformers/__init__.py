"""The engine that makes ordinary Hugging Face checkpoints: merges adapters, copies, converts GGUF."""
