"""What runs inside verl's own processes: the CPU platform, the rollout, rewards, the advantage
estimator of HRPO, the record of each step. The one part of the package that imports torch and verl.
"""
