"""
First picture
=============

Open two regions of interest, and see which one each image drives.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi=["EBA", "PPA"], stimuli="shared", zscore="session").read()
ds

# %%
# The mean response of each region to each image, over the voxels and the repetitions.
response = ds.laion.average().betas
eba, ppa = (response.isel(voxel=ds.in_roi.sel(roi=roi, drop=True)).mean("voxel") for roi in ("EBA", "PPA"))

figure, axes = plt.subplots()
axes.scatter(eba, ppa, s=9)
axes.set(xlabel="mean of EBA (SD)", ylabel="mean of PPA (SD)", title=f"{response.sizes['image']} shared images, sub-01")
figure.tight_layout()
