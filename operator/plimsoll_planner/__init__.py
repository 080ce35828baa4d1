"""Sizes a model for a workload, a latency promise and an inventory. Pure: no clock, no environment.

`planner.plan` is the entry; `inputs` and `result` are its contract.
"""
