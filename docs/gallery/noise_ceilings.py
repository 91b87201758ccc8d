"""
Noise ceilings
==============

The maps that come with the data, and the same estimated from the betas: percent of the variance of an image's mean
response that images can explain at most.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="all").read()
estimated = ds.laion.noise_ceiling(12)
estimated

# %%
# Left: from the betas of all public sessions, against the published map. Right: the map in some regions.
figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
axes[0].axline((0, 0), slope=1, color="lightgrey", zorder=0)
axes[0].plot(ds.nc_12rep, estimated.noise_ceiling, ".", markersize=3)
axes[0].set(xlabel="nc_12rep (%)", ylabel="estimated (%)", title=f"{ds.sizes['voxel']} voxels of sub-01")

regions = ["hV4", "FFA1", "EBA", "PPA", "MT"]
values = [ds.nc_12rep[ds.in_roi.sel(roi=roi).values].dropna("voxel") for roi in regions]
axes[1].boxplot(values, tick_labels=regions)
axes[1].set(ylabel="nc_12rep (%)", title="Median and quartiles")
figure.tight_layout()
