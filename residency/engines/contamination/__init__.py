"""The comparison of training sets with evaluation sets, as a stage."""
