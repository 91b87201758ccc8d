"""
Regions by set algebra
======================

``roi`` takes a name, a category, a list, or an expression: ``|`` is the union, ``&`` the intersection, ``-`` the
difference. Only the voxels that are named are kept while a session streams by.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
it = cat.betas(subject="sub-01", roi="laionventral - (V1 | V2 | V3 | hV4)", min_noise_ceiling=30).to_dask()
it

# %%
# How many voxels of it lie in each region, and how much of their variance images can explain at most.
regions = it.in_roi.sel(roi=it.in_roi.any("voxel"))
voxels = regions.sum("voxel").to_series().sort_values()
ceiling = it.nc_12rep.where(regions).median("voxel").to_series()[voxels.index]

figure, axes = plt.subplots()
bars = axes.barh(voxels.index, voxels, color=plt.colormaps["viridis"](ceiling / 100))
axes.bar_label(bars, [f"{percent:.0f} %" for percent in ceiling], padding=3)
axes.set(xlabel="voxels", title="IT of sub-01: size, and median noise ceiling")
figure.tight_layout()

# %%
# The same expressions are outlines of a picture.
whole = cat.noise_ceilings(subject="sub-01").read()
figure = whole.laion.plot("nc_12rep", rois=["laionventral", "laionventral - (V1 | V2 | V3 | hV4)"])
