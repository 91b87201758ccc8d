"""
Z-score, then average
=====================

Betas are comparable within a voxel and a session. Gains and baselines differ from day to day, so each session is scaled
first, and repetitions of an image are averaged afterwards.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="PPA").read()
response = ds.laion.zscore().laion.average()
response

# %%
# What the scaling does: the mean of the region in each trial, before and after. Each colour is a session.
figure, axes = plt.subplots(2, sharex=True)
for ax, values, unit in zip(axes, (ds, ds.laion.zscore()), ("betas", "SD"), strict=True):
    start = 0
    for _, trials in values.betas.mean("voxel").groupby("session"):
        ax.plot(range(start, start + trials.size), trials, ".", markersize=3)
        start += trials.size
    ax.set_ylabel(f"mean of PPA ({unit})")
axes[1].set_xlabel("trial, in the order of the sessions")
figure.tight_layout()
