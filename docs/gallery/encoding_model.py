"""
An encoding model
=================

Which voxels respond to images as embeddings of the images predict? A ridge regression for each voxel, scored on images
that it has not seen, beside the noise ceiling. ``examples/encoding_model.py`` does it for whole brains on a cluster.
"""

import intake
import matplotlib.pyplot as plt
import numpy as np
from himalaya.ridge import RidgeCV
from himalaya.scoring import correlation_score
from sklearn.model_selection import KFold

cat = intake.cat.laion_fmri
images = cat.betas(subject="sub-01", roi="all", zscore="session").read().laion.average(nan="drop")
features = cat.embeddings(model="CLIP", images=images).read()


# %%
# A function of features and responses of the images to learn from, and of those to predict. It gives a number for each
# voxel, and is called for each block of voxels where the betas are lazy.
def fit(x_train, y_train, x_test, y_test):
    folds = KFold(5, shuffle=True, random_state=0)  # images are sorted by their names
    model = RidgeCV(np.logspace(-3, 5, 17), fit_intercept=True, cv=folds, solver_params={"warn": False})
    return correlation_score(y_test, model.fit(x_train, y_train).predict(x_test))


scores = images.laion.map_matrices(fit, "tau", "subject", features, names=["r"])
scores

# %%
# Of averaged images, ``noise_ceiling`` gives the ceiling of their means: of those shown 4 times it is lower than
# ``nc_12rep``.
test = images.laion.trials(split="tau", pool="subject", role="test")
ceiling = test.laion.noise_ceiling().noise_ceiling

figure, ax = plt.subplots()
ax.plot(np.arange(100), np.sqrt(np.arange(100) / 100), color="lightgrey")
ax.plot(ceiling, scores.r, ".", markersize=4)
ax.set(xlabel="noise ceiling (%)", ylabel="r", title=f"{test.sizes['image']} new images, {scores.r.size} voxels")

# %%
# On the brain, where a tenth of the variance can be explained or more.
normalised = (scores.r / np.sqrt(ceiling / 100)).where(ceiling > 10)
normalised = normalised.assign_attrs(long_name="r over the root of its ceiling", units="1")
figure = normalised.laion.plot(display_mode="y", cut_coords=5, vmin=-1, vmax=1)
