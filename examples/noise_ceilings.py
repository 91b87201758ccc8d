"""Noise ceilings of a whole subject, estimated from its betas on a cluster, beside the maps in the bucket.

Usage: python examples/noise_ceilings.py BUCKET [--subject sub-01] [--store FOLDER] [--workers 2]
"""

import argparse
from pathlib import Path

import pandas as pd
import xarray as xr
from distributed import Client, LocalCluster

from intake_laion_fmri import build_store, open_betas

TIMES = {"12rep": 12, "4rep": 4, "all": None}  # name of a map: how often its images were shown


def main(bucket: str, subject: str, store: Path, output: Path) -> None:
    """Estimate the noise ceilings, compare them with the maps, and save them."""
    build_store(store, bucket=bucket, subjects=subject)  # what is there already stays
    ds = open_betas(subject, zscore="session", store=store, chunks="voxel")
    lazy = {name: ds.laion.noise_ceiling(n, within=None).noise_ceiling for name, n in TIMES.items()}
    found = xr.Dataset(lazy).compute()  # each block of betas is read once for all three

    rows = {}
    for name in TIMES:
        apart = abs(found[name] - found[f"nc_{name}"])
        rows[name] = {"voxels": int(apart.count()), "median": float(found[name].median()), "apart": float(apart.max())}
    print(pd.DataFrame(rows).T.astype({"voxels": int}).round({"median": 1, "apart": 4}).to_string())

    output.mkdir(exist_ok=True)
    for name in TIMES:
        found[name].laion.to_nifti(fill=0).to_filename(output / f"{subject}_desc-Noiseceiling{name}_statmap.nii.gz")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket", help="folder or URL, such as demo-bucket or s3://laion-fmri")
    parser.add_argument("--subject", default="sub-01")
    parser.add_argument("--store", type=Path, default="demo-output/store")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    options = {"n_workers": given.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster):
        main(given.bucket, given.subject, given.store, Path("demo-output"))
