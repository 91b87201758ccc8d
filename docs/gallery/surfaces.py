"""
A region on the cortex
======================

The subject's own surface, its curvature, and a region's vertices; then values of voxels, on FreeSurfer's average.
"""

import intake
import matplotlib.pyplot as plt
import numpy as np
from nilearn.plotting import plot_surf

from intake_laion_fmri import to_fsaverage

cat = intake.cat.laion_fmri
mesh = cat.surfaces(subject="sub-01", surface="inflated", hemi="L").read()
region = cat.rois(subject="sub-01", roi="laionventral", format="func.gii", hemi="L").read()
inside = np.isin(mesh.vertex_L, region.vertex_L[region.in_roi_L.sel(roi="laionventral").values])

figure, axes = plt.subplots(1, 2, subplot_kw={"projection": "3d"}, figsize=(9, 4))
style = {"hemi": "left", "view": "ventral", "colorbar": False}
surface = (mesh.xyz_L.values, mesh.faces_L.values)
plot_surf(surface, np.sign(mesh.curv_L.values), axes=axes[0], cmap="Greys", vmin=-3, vmax=3, title="curvature", **style)
plot_surf(surface, inside.astype(float), axes=axes[1], cmap="cividis", title="laionventral, sub-01", **style)

# %%
# Voxels reach fsaverage through the subject's white surface and registered sphere.
ds = cat.betas(subject="sub-01", zscore="session").read().laion.average(nan="drop")
to_fsaverage(ds.betas.mean("image"))
