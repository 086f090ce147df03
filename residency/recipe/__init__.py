"""YAML text to a checked, resolved recipe; imports no engine and no heavy library."""
