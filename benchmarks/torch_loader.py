"""Delivers betas of an ROI with their images to torch: a DataLoader over `ds.laion.to_torch` against nibabel per item.

    python benchmarks/torch_loader.py [--rounds 3] [--items 2000] [--scale small]

Needs torch, which nothing else here does; without it the script says so and ends. See README.md, in this folder.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / ".bench" / "torch"
SUBJECT, ROI, BATCH, WORKERS = "sub-01", "face", 32, 2
UNDER_WAY = 2 * WORKERS + 1
"""Batches that a DataLoader has begun before the first is asked for, and that one."""


def prepare(scale: str) -> Path:
    """Write a demo bucket and a store of its first subject, if they are not there."""
    from intake_laion_fmri import build_store
    from intake_laion_fmri.demo import write_demo

    bucket = FOLDER / scale
    if not bucket.exists():
        write_demo(bucket, scale=scale)
    build_store(FOLDER / f"{scale}-store", bucket=bucket, subjects=SUBJECT)
    return bucket


class PerItem:
    """A dataset as one writes it first: each item opens its files, by nibabel, h5py and Pillow."""

    def __init__(self, bucket: Path, dataset: Any) -> None:
        import pandas as pd

        self._bucket = bucket
        self._session, self._volume = dataset["session"].values, dataset["beta_index"].values
        self._label = dataset["label"].values
        self._ijk = tuple(dataset[name].values for name in "ijk")
        table = pd.read_csv(bucket / "stimuli/task-images_metadata.csv")
        self._row = {name: row for row, name in enumerate(table["image_name"])}

    def __len__(self) -> int:
        return len(self._label)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import h5py
        import nibabel
        from PIL import Image

        session = f"{SUBJECT}/{self._session[index]}/func/{SUBJECT}_{self._session[index]}_task-images"
        name = f"{session}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
        image: Any = nibabel.load(self._bucket / "derivatives/glmsingle-tedana" / name)
        volume = np.asarray(image.dataobj[..., self._volume[index]], dtype=np.float32)
        with h5py.File(self._bucket / "stimuli/task-images_stimuli.h5") as file:
            content = file["images"][self._row[self._label[index]]].tobytes()
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        return {"betas": volume[self._ijk], "image": np.array(picture)}


def rate(batches: Iterable[dict[str, Any]], most: int) -> float:
    """Return the items a second that come, once all workers deliver and all batches that can be are under way."""
    iterator, n = iter(batches), 0
    for _ in range(UNDER_WAY):
        next(iterator)
    start = time.perf_counter()
    for batch in iterator:
        n += len(batch["betas"])
        if n >= most:
            break
    return n / (time.perf_counter() - start)


def main() -> None:
    """Prepare the contenders, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--scale", default="small")
    given = parser.parse_args()
    if find_spec("torch") is None:
        print("torch is not installed: nothing is measured.")
        return
    from torch.utils.data import DataLoader, RandomSampler

    from intake_laion_fmri import open_betas, open_stimuli

    bucket = prepare(given.scale)
    images = open_stimuli(SUBJECT, bucket=bucket)
    stored = open_betas(SUBJECT, roi=ROI, store=FOLDER / f"{given.scale}-store", bucket=bucket).laion.finite()
    loaded = stored.compute()

    def loader(dataset: Any, items: int, **options: Any) -> Callable[[], float]:
        def measure() -> float:
            sampler = RandomSampler(dataset, replacement=True, num_samples=items + 2 * BATCH * UNDER_WAY)
            return rate(DataLoader(dataset, BATCH, sampler=sampler, **options), items)

        return measure

    by_hand, few = PerItem(bucket, loaded), max(8 * BATCH, given.items // 20)
    forked: dict[str, Any] = {"num_workers": WORKERS, "multiprocessing_context": "fork"}
    contenders = {"nibabel per item": loader(by_hand, few), "the same, 2 workers": loader(by_hand, few, **forked)}
    for name, dataset in (("in memory", loaded), ("from a store", stored)):
        for context in ("fork", "spawn"):
            contenders[f"{name}, 2 workers by {context}"] = loader(
                dataset.laion.to_torch(images), given.items, num_workers=WORKERS, multiprocessing_context=context
            )
    n_trials, n_voxels = loaded["betas"].shape
    print(f"{n_trials} trials of {n_voxels} voxels, {given.scale} demo; shuffled, batches of {BATCH}\n")
    compare(contenders, given.rounds)


def compare(contenders: dict[str, Callable[[], float]], rounds: int) -> None:
    """Measure contenders by turns, and print their rates beside those of the first two."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            rates[name].append(measure())
    print("| contender | items/s | / nibabel per item | / the same with 2 workers |\n|---|---|---|---|")
    alone, both = (rates[name] for name in list(contenders)[:2])
    for name, own in rates.items():
        ratios = [statistics.median(a / b for a, b in zip(own, base, strict=True)) for base in (alone, both)]
        print(f"| {name} | {statistics.median(own):,.0f} | {ratios[0]:.1f} | {ratios[1]:.1f} |")


if __name__ == "__main__":
    main()
