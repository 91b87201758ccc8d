"""
A table for statistics
======================

One row per trial and region, with everything that is known about the trial: for pandas, seaborn or a mixed model.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi=["EBA", "PPA", "FFA1"], zscore="session").to_dask()
table = ds.laion.to_frame(rois=["EBA", "PPA", "FFA1"], nan="drop")
table.head()

# %%
# Mean response by region and by the source of the image.
means = table.groupby(["dataset", "roi"]).betas.mean().unstack()
ax = means.plot.bar(ylabel="mean response (SD)", rot=0, cmap="cividis")
ax.set_title("sub-01")
plt.tight_layout()
