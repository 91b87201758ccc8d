"""
Decoding images
===============

From responses to an embedding, and to the test image whose embedding is most like it.
"""

import intake
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", zscore="session").read()
images = ds.laion.finite().laion.average()
clip = cat.embeddings(model="CLIP", images=images).read().embedding
x_train, y_train, x_test, y_test = images.laion.matrices("tau", "subject", features=clip)

predicted = RidgeCV(np.logspace(0, 6, 13)).fit(y_train, x_train).predict(y_test)
n = len(x_test)
similarity = np.corrcoef(predicted, x_test)[:n, n:]
best = similarity.argmax(axis=1)
f"{np.mean(best == np.arange(n)):.0%} of {n} test images are found; by chance {1 / n:.0%}"

# %%
# What was shown, and what was decoded. ``matrices`` keeps the order of the images.
labels = images.laion.trials(split="tau", pool="subject", role="test").image.values
pictures = cat.stimuli(images=labels, size=96).read().images.values

figure, axes = plt.subplots(2, 8, figsize=(11, 3.2), layout="constrained")
for column, (shown, decoded) in enumerate(zip(range(8), best, strict=False)):
    for ax, number in zip(axes[:, column], (shown, decoded), strict=True):
        ax.imshow(pictures[number])
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("shown")
axes[1, 0].set_ylabel("decoded")
