"""A resolved recipe as stages in order, each with its fingerprint, command and resources."""
