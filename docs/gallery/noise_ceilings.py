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
# From the betas of all public sessions, against the published map.
figure, ax = plt.subplots(figsize=(5, 5))
ax.axline((0, 0), slope=1, color="lightgrey", zorder=0)
ax.plot(ds.nc_12rep, estimated.noise_ceiling, ".", markersize=3)
ax.set(xlabel="nc_12rep (%)", ylabel="estimated (%)", title=f"{ds.sizes['voxel']} voxels of sub-01")
figure.tight_layout()

# %%
# The map in some regions, and where these are.
regions = ["V1", "hV4", "EBA", "PPA"]
figure = ds.laion.plot_ceiling(regions)
figure = ds.laion.plot("nc_12rep", rois=regions)
