"""A run as one self-contained HTML page, and what the terminal shows of it."""
