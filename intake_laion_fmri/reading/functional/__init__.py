"""Functional data besides the betas: localizers, events, time series; who took part, and what sidecars say."""
