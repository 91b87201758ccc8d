"""First light: from the catalog to a picture of two regions of interest (ROIs) on the subject's own brain.

Usage: python examples/first_light.py BUCKET [--endpoint-url URL]
"""

import argparse
import gzip
from pathlib import Path
from typing import Any

import fsspec
import intake
import nibabel
import xarray as xr
from matplotlib import cm, colors, lines
from matplotlib.figure import Figure
from nilearn.plotting import plot_stat_map

from intake_laion_fmri import to_nifti
from intake_laion_fmri.drivers import catalog_path

ROIS = {"EBA": "gold", "PPA": "limegreen"}  # name: colour of its outline
T1W = "derivatives/anatomical/sub-01/ses-PrismaAnat/anat/sub-01_ses-PrismaAnat_space-T1w_res-1pt8_T1w.nii.gz"


def main(bucket: str, options: dict[str, Any], picture: Path) -> None:
    """Find the two images that tell the ROIs apart, and draw the responses to them."""
    rois = list(ROIS)
    cat = intake.open_catalog(str(catalog_path()))
    ds = cat.betas(subject="sub-01", roi=rois, bucket=bucket, storage_options=options).to_dask()
    print(ds)

    # Gain and offset differ between sessions: z-score each voxel within its session before pooling.
    scaled = ds.betas.groupby("session").map(lambda betas: (betas - betas.mean("trial")) / betas.std("trial"))
    response = scaled.where(ds.in_roi.sel(roi=rois)).mean("voxel")
    results = xr.Dataset({"scaled": scaled, "response": response}).compute()  # Dask reads each session's file once

    # Choose images by their even repetitions and show the odd ones: the same trials for both would be circular.
    often = results.isel(trial=(results.n_repeats == 12).values)
    choosing, showing = (often.isel(trial=(often.repetition % 2 == n).values).groupby("label").mean() for n in (0, 1))
    contrast = choosing.response.sel(roi=rois[0]) - choosing.response.sel(roi=rois[1])
    shown = showing.sel(label=[contrast.idxmax().item(), contrast.idxmin().item()])
    means = [", ".join(f"{roi} {row.sel(roi=roi):+.2f} SD" for roi in rois) for row in shown.response]
    titles = [f"{label}\nmean response: {text}" for label, text in zip(shown.label.values, means, strict=True)]
    print("", *titles, "", sep="\n")

    with fsspec.open(f"{bucket}/{T1W}", "rb", **options) as file:
        t1w = nibabel.Nifti1Image.from_bytes(gzip.decompress(file.read()))
    picture.parent.mkdir(exist_ok=True)
    draw(shown.scaled, titles, ds, nibabel.Nifti1Image(t1w.get_fdata(dtype="f4"), t1w.affine)).savefig(picture, dpi=120)
    print(f"Picture: {picture.absolute()}")


def draw(maps: xr.DataArray, titles: list[str], ds: xr.Dataset, t1w: Any) -> Figure:
    """Draw one row per image: the voxels' responses, on coronal slices through the ROIs."""
    figure, limit = Figure(figsize=(11, 8.6)), float(abs(maps).quantile(0.98))
    figure.suptitle(f"{ds.subject.item()}: the two images that best tell {' from '.join(ROIS)} (slices: y in mm)")
    for bottom, title, values in zip((0.48, 0.02), titles, maps, strict=True):
        axes = figure.add_axes((0.01, bottom, 0.84, 0.38), title=title)
        style = {"axes": axes, "cmap": "RdBu_r", "vmax": limit, "colorbar": False, "black_bg": True, "dim": 0.3}
        place = {"display_mode": "y", "cut_coords": ds.y.quantile([0.25, 0.5, 0.75]).values}
        image = to_nifti(values.fillna(0), ds, fill=0)
        slices = plot_stat_map(image, t1w, resampling_interpolation="nearest", **place, **style)
        for roi, colour in ROIS.items():
            slices.add_contours(to_nifti(ds.in_roi.sel(roi=roi), ds, fill=0), levels=[0.5], colors=[colour])
    bar, scale = figure.add_axes((0.88, 0.2, 0.02, 0.5)), cm.ScalarMappable(colors.Normalize(-limit, limit), "RdBu_r")
    figure.colorbar(scale, bar, label="response, z-scored within session (SD)", extend="both")
    figure.legend([lines.Line2D([], [], color=colour) for colour in ROIS.values()], ROIS, loc=(0.87, 0.78))
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket", help="folder or URL, such as demo-bucket or s3://laion-fmri")
    parser.add_argument("--endpoint-url", help="an S3 server other than Amazon's")
    given = parser.parse_args()
    s3 = {"anon": True, "client_kwargs": {"endpoint_url": given.endpoint_url}}
    main(given.bucket, s3 if given.bucket.startswith("s3:") else {}, Path("demo-output/first_light.png"))
