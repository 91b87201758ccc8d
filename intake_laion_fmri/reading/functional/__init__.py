"""Functional data besides betas: localizers, events, time series, participants, sidecars."""
