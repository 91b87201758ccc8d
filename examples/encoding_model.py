"""Encoding models of a whole subject: which voxels respond to new images as embeddings of the images predict.

Usage: python examples/encoding_model.py BUCKET [--models CLIP DINOv2] [--subject sub-01] [--roi all] [--store FOLDER]

One model's embeddings are fitted by ridge regression, several by banded ridge regression, with a penalty for each.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client, LocalCluster
from himalaya.ridge import GroupRidgeCV, RidgeCV
from himalaya.scoring import correlation_score
from sklearn.model_selection import KFold

from intake_laion_fmri import build_store, open_betas, open_embeddings

SPLIT, POOLS = "tau", ["shared", "subject"]  # the images that every subject saw; all images that this one saw
ALPHAS = np.logspace(-3, 5, 17)


def main(bucket: str, subject: str, models: list[str], roi: str | None, store: Path, output: Path) -> None:
    """Fit models of all voxels, normalise their scores by the noise ceiling, and draw a map."""
    build_store(store, bucket=bucket, subjects=subject, roi=roi)  # what is there already stays
    ds = open_betas(subject, roi=roi, zscore="session", store=store, chunks="voxel")
    images = ds.laion.average(nan="drop")
    opened = [open_embeddings(model, images=images, bucket=bucket).embedding for model in models]
    features = xr.concat(opened, "feature", coords="different", compat="equals")
    bands = np.repeat(range(len(opened)), [one.sizes["feature"] for one in opened])

    def fit(x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> Any:
        folds = KFold(5, shuffle=True, random_state=0)  # rows are in order of their names
        options: dict[str, Any] = {"fit_intercept": True, "cv": folds}
        if len(models) == 1:
            model = RidgeCV(ALPHAS, solver_params={"n_targets_batch": 500, "warn": False}, **options)
        else:
            solver = {"alphas": ALPHAS, "n_iter": 10, "n_targets_batch": 500, "progress_bar": False, "warn": False}
            model = GroupRidgeCV(bands, solver_params=solver, random_state=0, **options)
        return correlation_score(y_test, model.fit(x_train, y_train).predict(x_test))

    results = []
    for pool in POOLS:
        result = images.laion.map_matrices(fit, SPLIT, pool, features, names=["r"])
        test = images.laion.trials(split=SPLIT, pool=pool, role="test")
        result["ceiling"] = test.laion.noise_ceiling().noise_ceiling  # of means of as many trials as these images have
        results.append(result)
    scores = xr.concat(results, "pool", coords="minimal", compat="override").compute()  # trials are read once for both

    normalised = (scores.r / np.sqrt(scores.ceiling / 100)).where(
        scores.ceiling > 10
    )  # else there is little to explain
    scores["normalised"] = normalised.assign_attrs(long_name="r over the root of its ceiling", units="1")
    table = scores[["r", "normalised"]].where(scores.in_roi).median("voxel").to_dataframe()[["r", "normalised"]]
    print(table.unstack("pool").sort_values(("r", "subject"), ascending=False).round(2).head(10).to_string())

    output.mkdir(exist_ok=True)
    scores.to_netcdf(output / "encoding_model.nc")
    figure = scores.normalised.laion.plot(display_mode="y", cut_coords=7, vmin=-1, vmax=1, bucket=bucket)
    figure.savefig(output / "encoding_model.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bucket", help="folder or URL, such as demo-bucket or s3://laion-fmri")
    parser.add_argument("--models", nargs="+", default=["CLIP"])
    parser.add_argument("--subject", default="sub-01")
    parser.add_argument("--roi", help="the whole brain, if it is not given")
    parser.add_argument("--store", type=Path, default="demo-output/store")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    options = {"n_workers": given.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster):
        main(given.bucket, given.subject, given.models, given.roi, given.store, Path("demo-output"))
