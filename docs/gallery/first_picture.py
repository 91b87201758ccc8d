"""
First picture
=============

From a catalog to regions of interest on the subject's own brain. No beta is read for the first picture.
"""

import intake

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01").to_dask()
figure = ds.laion.plot("nc_12rep", rois=["EBA", "PPA", "V1"])

# %%
# The response of two regions to two images: the mean over repetitions, z-scored within each session.
images = cat.betas(subject="sub-01", roi=["EBA", "PPA"], zscore="session").read().laion.average()
figure = images.laion.plot(images.betas[:2], rois=["EBA", "PPA"], display_mode="y")
