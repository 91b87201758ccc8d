"""
What they saw
=============

Images, captions and responses are joined by the image's label. The images of the real bucket are given under an
agreement; those here are made up.
"""

import intake
import matplotlib.pyplot as plt

cat = intake.cat.laion_fmri
ds = cat.betas(subject="sub-01", roi="PPA", stimuli="shared", zscore="session").read()
response = ds.laion.average().betas.mean("voxel")
order = response.argsort().values
chosen = response.isel(image=[*order[:4], *order[-4:]])
pictures = cat.stimuli(images=chosen.image.values, size=128).read()

figure, axes = plt.subplots(2, 4, figsize=(9, 5), layout="constrained")
for ax, picture, value in zip(axes.flat, pictures.images.values, chosen.values, strict=True):
    ax.imshow(picture)
    ax.set(title=f"{value:+.2f} SD", xticks=[], yticks=[])
figure.suptitle("Images with the lowest and the highest mean of PPA, sub-01")

# %%
# What people wrote about them.
cat.captions(images=chosen.image.values, human=True).read().groupby("image", sort=False).caption.first()
