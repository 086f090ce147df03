"""A transformers model behind OpenAI's API."""
