"""
RDMs of five subjects
=====================

Voxels of different people do not correspond. The dissimilarities between the same images do: one matrix a subject, and
how well they agree.
"""

import matplotlib.pyplot as plt
import numpy as np

from intake_laion_fmri import open_shared

tree = open_shared("all", roi="laionventral", zscore="session")
rdms = {subject: tree[subject].to_dataset().laion.rdm().values for subject in tree}

figure, axes = plt.subplots(1, 6, figsize=(14, 2.8), layout="constrained")
for ax, (subject, rdm) in zip(axes, rdms.items(), strict=False):
    shown = ax.imshow(rdm, vmin=0, vmax=2, cmap="viridis")
    ax.set(title=subject, xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[4], label="1 - correlation")
pairs = np.triu_indices(len(rdm), 1)
agreement = np.corrcoef([rdm[pairs] for rdm in rdms.values()])
axes[5].imshow(agreement, vmin=0, vmax=1.5, cmap="Blues")
for (row, column), value in np.ndenumerate(agreement):
    axes[5].text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8)
axes[5].set(title="correlation of RDMs", xticks=[], yticks=range(5), yticklabels=rdms)
