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
# The noise ceiling is for means of 12 trials. Of images that were shown less often it is lower: ``ratio`` is the
# variance of the signal over that of the noise of one trial.
test = images.laion.trials(split="tau", pool="subject", role="test")
percent = scores.nc_12rep.drop_attrs()  # else results would be called noise ceilings
ratio = percent / (100 - percent) / 12
ceiling = np.sqrt(ratio / (ratio + (1 / test.n_averaged).mean()))

figure, ax = plt.subplots()
ax.axline((0, 0), slope=1, color="lightgrey", zorder=0)
ax.plot(ceiling, scores.r, ".", markersize=4)
ax.set(
    xlabel="root of the noise ceiling", ylabel="r", title=f"{test.sizes['image']} new images, {scores.r.size} voxels"
)

# %%
# On the brain, where a tenth of the variance can be explained or more.
normalised = (scores.r / ceiling).where(percent > 10).assign_attrs(long_name="r over its ceiling")
figure = normalised.laion.plot(display_mode="y", cut_coords=5, vmin=-1, vmax=1)
