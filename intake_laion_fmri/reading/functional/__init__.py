"""Sources of functional data besides the betas: localizers, events, time series."""
