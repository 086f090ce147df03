"""The command line: one file per verb; heavy modules are imported inside the verb that needs them."""
