"""Split files in the format of the data set's own package."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intake_laion_fmri.demo.files import write
from intake_laion_fmri.demo.scale import Scale, generator
from intake_laion_fmri.demo.trials import planned_images
from intake_laion_fmri.demo.truth import PARTICIPANT

_SPLIT_METHODS = (
    *((f"random_{k}", {"method": "uniform_random", "draw": k}) for k in range(5)),
    *((f"cluster_k5_{k}", {"method": "random_groups_k5_holdout", "held_out_cluster": k}) for k in range(5)),
    ("tau", {"method": "uniform_random"}),
    ("ood", {"method": "ood_dataset_holdout"}),
)
_TEST_PART = 0.2
_GROUP_PARTS = (0.30, 0.24, 0.19, 0.15, 0.12)


def write_splits(folder: Path, scale: Scale, seed: int) -> None:
    """Write the split files of all pools."""
    pools: dict[str, tuple[str, list[str]]] = {}
    for subject in scale.subjects:
        code = PARTICIPANT[subject]
        planned = sorted(planned_images(scale, code))
        ood = [label for label in planned if label.startswith("shared_4rep_OOD_")]
        images = [label for label in planned if label not in ood]
        pools["shared"] = "non-OOD shared", [label for label in images if label.startswith("shared_")]
        # The published texts have outdated numbers, which mislead readers that rely on them to another subject.
        pools[subject] = f"sub-{code[1:]} full pool (unique + non-OOD shared)", images
    for pool, (text, images) in pools.items():
        for name, params in _SPLIT_METHODS:
            test = ood if name == "ood" else _test_side(images, pool, name, seed)
            train = [label for label in images if label not in test]
            split = {
                "name": name,
                "pool": text,
                "splitter": "ood_holdout" if name == "ood" else "synthetic",
                "params": params,
                "n_train": len(train),
                "n_test": len(test),
                "variants": [{"variant_id": 0, "train_ids": train, "test_ids": test}],
            }
            write(folder / pool / f"{name}.json", split)


def _test_side(images: Sequence[str], pool: str, name: str, seed: int) -> list[str]:
    """Return the test images of a split, in order."""
    n = len(images)
    if name.startswith("cluster_k5_"):
        rng = generator(seed, "splits", pool, "cluster_k5")
        ends = np.round(np.cumsum(_GROUP_PARTS) * n).astype(int)
        k = int(name[-1])
        chosen = rng.permutation(n)[ends[k - 1] if k else 0 : ends[k]]
    else:
        chosen = generator(seed, "splits", pool, name).permutation(n)[: round(_TEST_PART * n)]
    return [images[row] for row in np.sort(chosen)]
