"""The parts of a run's page: each module writes one section from a `RunRecord`."""
