"""Rewards: how a recipe's components score an answer, and how it is known that they do it right.

The reward functions themselves stand in `rewards/` at the top of the project. Nothing here
needs the engine that trains.
"""
