"""
On the cortex
=============

Values on voxels are carried to the subject's own surface, or to FreeSurfer's average, as they are drawn. Where no voxel
reaches, the depth of the sulci is seen.
"""

import intake

from intake_laion_fmri import to_fsaverage

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01").to_dask()
figure = ds.laion.plot_surface("nc_12rep", view=["lateral", "medial"])

# %%
# Flat patches show all of a hemisphere at once, with outlines of regions.
figure = ds.laion.plot_flat("nc_12rep", rois=["V1", "face", "place"])

# %%
# On the template, and as numbers. ``ds.laion.view("nc_12rep")`` is turned by mouse, in a notebook or in a page that
# ``save_as_html`` writes.
figure = ds.laion.plot_surface("nc_12rep", space="fsaverage5", view="ventral")
to_fsaverage(ds.nc_12rep)
