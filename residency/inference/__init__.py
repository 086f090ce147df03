"""Generating with a transformers model: the decoder, sampling, and the server that answers OpenAI's API."""
