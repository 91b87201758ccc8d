"""
A store, and blocks of voxels
=============================

A stream must be unpacked for every region. A store is built once, in Zarr; then any region costs its own bytes, and
work on all trials of a voxel is cut into blocks that fit.
"""

import tempfile

import intake
import matplotlib.pyplot as plt

from intake_laion_fmri import build_store

store = f"{tempfile.mkdtemp()}/laion.zarr"
reports = build_store(store, subjects="sub-01", roi="all")
[(report.session, report.status) for report in reports]

# %%
# The same Dataset, from there. With ``chunks="voxel"`` a block holds all trials of some voxels.
cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="all", store=store, chunks={"voxel": 256}).to_dask()
ds.betas.data

# %%
# Reliability of each voxel: the correlation of the means of odd and of even repetitions.
reliability = ds.laion.reliability().sortby("voxel").load()

figure, ax = plt.subplots()
ax.hist(reliability.reliability, bins=40)
ax.set(xlabel="correlation of halves", ylabel="voxels", title=f"{ds.sizes['voxel']} voxels of sub-01")
figure.tight_layout()
