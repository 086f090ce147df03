"""Models behind an OpenAI-compatible address: asked many at a time, with retries, each answer kept."""
