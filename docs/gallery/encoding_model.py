"""
An encoding model
=================

Which voxels respond to new images as CLIP's embeddings of them predict? Ridge regression on the published split
``tau``, scored by the correlation over test images.
"""

import intake
import matplotlib.pyplot as plt
import numpy as np
from himalaya.ridge import RidgeCV
from himalaya.scoring import correlation_score

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="laiongeneral", zscore="session").to_dask()
images = ds.laion.average()
clip = cat.embeddings(model="CLIP", images=images).to_dask().embedding


def fit(x_train, y_train, x_test, y_test):
    """Return a score for each voxel."""
    model = RidgeCV(np.logspace(-3, 5, 9), solver_params={"warn": False}).fit(x_train, y_train)
    return correlation_score(y_test, model.predict(x_test))


# %%
# The function is called for blocks of voxels, on threads here, as well in processes or on a cluster.
scores = images.laion.map_matrices(fit, "tau", pool="subject", features=clip, names=["r"]).load()
scores.r

# %%
# On average no voxel can be predicted better than the root of its noise ceiling; with eleven test images some are.
figure, ax = plt.subplots()
ax.plot(scores.nc_12rep, scores.r, ".", markersize=4)
percent = np.linspace(0, 100)
ax.plot(percent, np.sqrt(percent / 100), color="grey", label="ceiling of means of 12 trials")
ax.set(xlabel="noise ceiling (%)", ylabel="r of test images", title=f"{scores.sizes['voxel']} voxels of sub-01")
ax.legend()
figure.tight_layout()
