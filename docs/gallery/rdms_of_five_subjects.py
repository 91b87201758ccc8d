"""
RDMs of five subjects
=====================

Voxels of different people do not correspond. The dissimilarities between the same images do: one matrix a subject, and
how well they agree.
"""

import intake
import matplotlib.pyplot as plt
import numpy as np

cat = intake.cat.laion_fmri
subjects = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
responses = [
    cat.betas(subject=one, roi="laionventral", stimuli="shared", zscore="session").read().laion.average()
    for one in subjects
]
images = sorted(set.intersection(*(set(one.image.values) for one in responses)))
rdms = [one.sel(image=images).laion.rdm().values for one in responses]

figure, axes = plt.subplots(1, 6, figsize=(14, 2.8), layout="constrained")
for ax, subject, rdm in zip(axes, subjects, rdms, strict=False):
    shown = ax.imshow(rdm, vmin=0, vmax=2, cmap="viridis")
    ax.set(title=subject, xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[4], label="1 - correlation")
pairs = np.triu_indices(len(images), 1)
agreement = np.corrcoef([rdm[pairs] for rdm in rdms])
axes[5].imshow(agreement, vmin=0, vmax=1, cmap="magma")
for (row, column), value in np.ndenumerate(agreement):
    axes[5].text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color="grey")
axes[5].set(title="correlation of RDMs", xticks=[], yticks=range(5), yticklabels=subjects)
