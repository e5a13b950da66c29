"""Years of Lastgood in seconds: the real use cases on a model of AWS that has bad days.

``python -m tests.simulation --seed 7 --days 730`` runs one by hand.
"""
