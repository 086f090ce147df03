"""verl: reinforcement learning with verifiable rewards."""
