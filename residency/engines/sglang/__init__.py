"""SGLang as a server, run from an environment of its own."""
