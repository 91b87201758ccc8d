"""
Brain-Score's assemblies
========================

The arrays that Brain-Score's benchmarks read, with its names and its order of operations.
"""

import matplotlib.pyplot as plt

from intake_laion_fmri.export import to_brainscore

assembly = to_brainscore("sub-01")
assembly

# %%
# A benchmark takes voxels with a noise ceiling above 30 %; the ceiling of a correlation is its root.
good = assembly.isel(neuroid=(assembly.nc_12rep > 30).values)
regions = ["V1", "V2", "V3", "V4", "IT"]
ceilings = [(good.nc_12rep[(good.region == region).values] / 100) ** 0.5 for region in regions]

figure, ax = plt.subplots()
ax.violinplot(ceilings, showmedians=True)
ax.set(xticks=range(1, 6), xticklabels=regions, ylabel="ceiling of the correlation", title="sub-01")
figure.tight_layout()
