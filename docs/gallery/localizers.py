"""
Localizers beside the betas
===========================

``localizers="floc"`` puts the contrasts of a localizer along the betas' own voxels. Here: do voxels that prefer faces
in the localizer have the most reliable betas?
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi=["face", "place"], localizers="floc").read()
ds.localizer

# %%
# Voxels with less than half of the localizer's weight are NaN, and matplotlib leaves them out.
figure, ax = plt.subplots()
for category in ("face", "place"):
    regions = ds.in_roi.sel(roi=ds.roi_category == category).any("roi")
    z = ds.localizer.sel(contrast="faceVsObject").where(regions)
    ax.scatter(z, ds.nc_12rep, s=12, label=f"voxels of {category} regions")
ax.axvline(0, color="lightgrey", zorder=0)
ax.set(xlabel="localizer: faces against objects (z)", ylabel="noise ceiling (%)", title="sub-01")
ax.legend()
figure.tight_layout()

# %%
# The whole contrast on the subject's flat cortex, where its file is.
contrast = cat.localizers(subject="sub-01", task="floc", space="fsnative", contrast="faceVsObject").read()
figure = contrast.isel(contrast=0).laion.plot_flat("z_value")
