"""
Train and test
==============

Twelve published splits come with every Dataset, as the coordinate ``split_role``. Here the betas of the training images
predict nothing yet: we look at who is on which side, and take the matrices for scikit-learn or himalaya.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="face").read()
roles = ds.split_role.sel(pool="shared", drop=True)
sizes = {name: [int((roles.sel(split=name) == code).sum()) for code in (1, 2)] for name in roles.split.values}

figure, axes = plt.subplots()
train, test = zip(*sizes.values(), strict=True)
axes.barh(list(sizes), train, label="train")
axes.barh(list(sizes), test, left=train, label="test")
axes.set(xlabel="trials of sub-01", title="Splits of the shared images")
axes.legend()
figure.tight_layout()

# %%
# The z-scored and averaged betas, cut by a split: images x voxels. ``features=`` joins features of the images.
data = ds.laion.zscore().laion.average()
_, y_train, _, y_test = data.laion.matrices("tau", "shared")
y_train.shape, y_test.shape
