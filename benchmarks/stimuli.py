"""Decodes 1,000 images of full size at 224 pixels: a loop of Pillow's against `open_stimuli`, with one thread and two.

    python benchmarks/stimuli.py [--rounds 5] [--images 1000]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BUCKET = Path(__file__).parents[1] / ".bench" / "stimuli"
SIDE, SIZE = 1000, 224
DISTINCT = 100
"""Pictures that are drawn; the others repeat them, under other names."""


def prepare(n: int) -> None:
    """Write a bucket with images of about 130 kB, if it is not there."""
    import h5py
    from PIL import Image

    folder = BUCKET / "stimuli"
    table = folder / "task-images_metadata.csv"
    if table.exists() and len(table.read_text().splitlines()) == n + 1:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng, pictures = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 255, (90, 90, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) + rng.normal(0, 5, (SIDE, SIDE, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        pictures.append(np.frombuffer(file.getvalue(), dtype=np.uint8))
    with h5py.File(folder / "task-images_stimuli.h5", "w") as h5:
        images = h5.create_dataset("images", (n,), h5py.vlen_dtype(np.uint8))
        for row in range(n):
            images[row] = pictures[row % DISTINCT]
    rows = [f"shared_4rep_NSD_image_{row}.jpg,NSD,,shared,4rep" for row in range(n)]
    table.write_text("\n".join(["image_name,dataset,participant,unique_or_shared,n_reps", *rows, ""]))


def loop() -> np.ndarray:
    """Read by h5py and decode by Pillow, one image after the other, as one would write it."""
    import h5py
    from PIL import Image

    with h5py.File(BUCKET / "stimuli/task-images_stimuli.h5") as h5:
        images = h5["images"]
        result = np.empty((len(images), SIZE, SIZE, 3), dtype=np.uint8)
        for row in range(len(images)):
            picture = Image.open(io.BytesIO(images[row].tobytes()))
            picture.draft("RGB", (2 * SIZE, 2 * SIZE))
            result[row] = np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return result


def lazily(threads: int) -> Callable[[], np.ndarray]:
    """Return what opens and computes them with so many threads."""

    def compute() -> np.ndarray:
        from intake_laion_fmri import open_stimuli

        ds = open_stimuli(size=SIZE, bucket=BUCKET)
        found: np.ndarray = ds.images.data.compute(scheduler="threads", num_workers=threads)
        return found

    return compute


def timed(contender: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Run in a thread of its own, whose memory is managed as a worker's is; return wall and processor seconds."""
    results: list[Any] = []

    def work() -> None:
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        values = contender()
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        results.extend((time.perf_counter() - start, cpu, values))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0], results[1], results[2]


def main() -> None:
    """Measure by turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    prepare(given.images)
    contenders = {"Pillow loop": loop, "open_stimuli, 1 thread": lazily(1), "open_stimuli, 2 threads": lazily(2)}
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    cpus: dict[str, list[float]] = {name: [] for name in contenders}
    expected = loop()
    for _ in range(given.rounds):
        for name, contender in contenders.items():
            wall, cpu, values = timed(contender)
            assert (values == expected).all(), name
            walls[name].append(wall)
            cpus[name].append(cpu)
    size = (BUCKET / "stimuli/task-images_stimuli.h5").stat().st_size / given.images / 1e3
    print(f"{given.images} JPEG of {SIDE} x {SIDE} pixels, {size:.0f} kB each, to {SIZE} x {SIZE}\n")
    print("| contender | images/s | CPU s | speed / loop, per CPU second | speed / loop, wall |\n|---|---|---|---|---|")
    for name in contenders:
        pairs = [zip(of["Pillow loop"], of[name], strict=True) for of in (cpus, walls)]
        per_core, wall = (statistics.median(base / own for base, own in one) for one in pairs)
        rate, cpu = given.images / statistics.median(walls[name]), statistics.median(cpus[name])
        print(f"| {name} | {rate:.0f} | {cpu:.2f} | {per_core:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
