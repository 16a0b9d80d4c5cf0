"""The benchmark, which `python -m genopt bench` runs.

Contenders do the work of a step on the tensors of models; timing and first have the clock.
"""
