"""Makes an engine's own environment from pins (`make`), and says what each environment has (`doctor`)."""
