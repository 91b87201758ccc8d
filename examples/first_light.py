"""First light: from the catalog to a picture of two regions of interest (ROIs) on the subject's own brain.

Usage: python examples/first_light.py BUCKET [--endpoint-url URL]
"""

import argparse
from pathlib import Path
from typing import Any

from intake_laion_fmri import open_catalog

ROIS = {"EBA": "gold", "PPA": "limegreen"}  # name: colour of its outline


def main(bucket: str, options: dict[str, Any], picture: Path) -> None:
    """Find the two images that tell the ROIs apart, and draw the responses to them."""
    cat = open_catalog(bucket=bucket, storage_options=options)
    ds = cat.betas(subject="sub-01", roi=list(ROIS)).to_dask()
    print(ds)

    # Gain and offset differ between sessions: z-score each voxel within its session before pooling.
    often = ds.laion.zscore().isel(trial=(ds.n_repeats == 12).values).load()
    # Choose images by their even repetitions and show the odd ones: the same trials for both would be circular.
    halves = [often.isel(trial=(often.repetition % 2 == n).values).laion.average() for n in (0, 1)]
    choosing, showing = ([half.laion.roi(roi).betas.mean("voxel") for roi in ROIS] for half in halves)
    contrast = choosing[0] - choosing[1]
    images = [contrast.idxmax().item(), contrast.idxmin().item()]
    for image in images:
        means = ", ".join(f"{roi} {mean.sel(image=image):+.2f} SD" for roi, mean in zip(ROIS, showing, strict=True))
        print(f"\n{image}\nmean response: {means}")

    figure = halves[1].laion.plot(halves[1].betas.sel(image=images), ROIS, display_mode="y")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=120)
    print(f"\nPicture: {picture.absolute()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket", help="folder or URL, such as demo-bucket or s3://laion-fmri")
    parser.add_argument("--endpoint-url", help="an S3 server other than Amazon's")
    given = parser.parse_args()
    s3 = {"anon": True, "client_kwargs": {"endpoint_url": given.endpoint_url}}
    main(given.bucket, s3 if given.bucket.startswith("s3:") else {}, Path("demo-output/first_light.png"))
