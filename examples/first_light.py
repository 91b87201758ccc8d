"""First light: from the catalog to a picture of two regions of interest (ROIs) on the subject's own brain.

Usage: python examples/first_light.py BUCKET [--endpoint-url URL]
"""

import argparse
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from intake_laion_fmri import open_catalog

ROIS = {"EBA": "gold", "PPA": "limegreen"}  # name: colour of its outline


def main(bucket: str, options: dict[str, Any]) -> tuple[xr.Dataset, list[xr.DataArray], Figure]:
    """Find the two images that tell the ROIs apart; return what was opened, the responses to them, and a picture."""
    cat = open_catalog(bucket=bucket, storage_options=options)
    # Gain and offset differ between sessions: each voxel is z-scored within its session before sessions are pooled.
    ds = cat.betas(subject="sub-01", roi=list(ROIS), zscore="session").to_dask()
    often = ds.isel(trial=(ds.n_repeats == 12).values).laion.load()
    # Choose images by their even repetitions and show the odd ones: the same trials for both would be circular.
    even, odd = (often.isel(trial=(often.repetition % 2 == n).values).laion.average() for n in (0, 1))
    eba, ppa = (even.laion.roi(roi).betas.mean("voxel") for roi in ROIS)
    images = [(eba - ppa).idxmax().item(), (eba - ppa).idxmin().item()]
    shown = odd.sel(image=images)
    means = [shown.laion.roi(roi).betas.mean("voxel") for roi in ROIS]
    return ds, means, shown.laion.plot(shown.betas, ROIS, display_mode="y")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket", help="folder or URL, such as demo-bucket or s3://laion-fmri")
    parser.add_argument("--endpoint-url", help="an S3 server other than Amazon's")
    given = parser.parse_args()
    s3 = {"anon": True, "client_kwargs": {"endpoint_url": given.endpoint_url}}
    opened, responses, figure = main(given.bucket, s3 if given.bucket.startswith("s3:") else {})
    print(opened)
    for eba, ppa in zip(*responses, strict=True):
        print(f"\n{eba.image.item()}\nmean response: EBA {eba:+.2f} SD, PPA {ppa:+.2f} SD")
    picture = Path("demo-output/first_light.png")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=120)
    print(f"\nPicture: {picture.absolute()}")
