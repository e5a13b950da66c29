"""Lastgood: a last good recovery point for every instance and volume that a policy selects."""
