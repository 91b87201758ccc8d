"""
Batches for PyTorch
===================

A small network learns the responses of a region from the pixels of the images. ``to_torch`` gives items that a
``DataLoader`` shuffles and shares out to its workers. The site is built without PyTorch: this example was run by hand,
on the demo bucket, and its picture is stored.
"""

# sphinx_gallery_thumbnail_path = "_static/batches_for_torch.png"
import intake
import matplotlib.pyplot as plt
import torch

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="face", zscore="session").read().laion.finite()
items = ds.laion.to_torch(cat.stimuli(images="sub-01", size=32).to_dask())
loader = torch.utils.data.DataLoader(items, batch_size=32, shuffle=True)

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32 * 3, ds.sizes["voxel"]))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
losses = []
for _ in range(20):
    for batch in loader:
        predicted = network(batch["image"].float() / 255)
        loss = torch.nn.functional.mse_loss(predicted, batch["betas"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

# %%
# .. image:: /_static/batches_for_torch.png
#    :alt: The mean squared error over 20 passes, falling
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
ax.plot(torch.tensor(losses).view(20, -1).mean(dim=1))
ax.set(xlabel="pass over all trials", ylabel="mean squared error in SD²", title="Responses of face regions from pixels")
