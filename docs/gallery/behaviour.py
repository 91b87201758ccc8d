"""
Reaction times
==============

The events of a session, answers among them, are rows that ``trial`` joins to the betas. Their columns can come along as
coordinates.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="hV4", zscore="session", events="response_time").to_dask()
ds.response_time

# %%
# No beta is read for this: how fast was the subject, the first time and when an image came back?
figure, ax = plt.subplots()
seconds = ds.response_time.dropna("trial")
groups = [seconds[seconds.repetition.values == n] for n in range(4)]
ax.boxplot([group for group in groups if group.size], tick_labels=[n for n, group in enumerate(groups) if group.size])
ax.set(xlabel="repetition", ylabel="response time (s)", title="sub-01, all sessions")
figure.tight_layout()
