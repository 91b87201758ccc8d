"""
Mirror, then offline
====================

Copy what an analysis needs, and read it where there is no network.
"""

import tempfile

import intake

from intake_laion_fmri import mirror_bucket

folder = tempfile.mkdtemp()
report = mirror_bucket(folder, subjects="sub-01", sessions=[1, 2])
report

# %%
# What reading these sessions needs has come along: tables, regions, maps. ``mirror_only`` opens no connection at all.
cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", session=[1, 2], roi="face", mirror=folder, mirror_only=True).read()
ds.betas.groupby("session").count()

# %%
# What was not copied does not exist then; the message says what to do.
try:
    cat.betas(subject="sub-01", session=3, mirror=folder, mirror_only=True).to_dask()
except ValueError as error:
    print(error)
