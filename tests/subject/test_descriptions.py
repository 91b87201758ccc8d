"""Embeddings, captions and masks of images and of trials, as arrays: against the files read by h5py and csv alone."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest

from intake_laion_fmri import layout, load_embeddings, load_subject
from intake_laion_fmri.captions import Captions
from intake_laion_fmri.embeddings import Embeddings
from intake_laion_fmri.segmentations import Segmentations
from intake_laion_fmri.stimuli import load_stimuli
from intake_laion_fmri.subject import Subject


@pytest.fixture(scope="module")
def sub(tiny: Path) -> Subject:
    return load_subject("sub-01", bucket=tiny)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_embeddings(tiny: Path, sub: Subject) -> None:
    """Of repeated images too, which h5py refuses to select."""
    found = load_embeddings(bucket=tiny)
    assert found.models == sub.embeddings.models == ["CLIP", "DINOv2", "PEcore", "SigLIP2"]
    with h5py.File(tiny / layout.key("embeddings", model="CLIP")) as file:
        expected = dict(zip(file["image_ids"].asstr()[:], file["embedding"][:], strict=True))
    names = [*sub.metadata["image_name"]]
    assert np.array_equal(sub.embeddings.all("CLIP"), [expected[name] for name in names])
    of_session = [name for name, session in zip(names, sub.metadata["session"], strict=True) if session == "ses-02"]
    assert np.array_equal(sub.embeddings.all("CLIP", "ses-02"), [expected[name] for name in of_session])
    assert np.array_equal(sub.embeddings.get("CLIP", 5), expected[names[5]])
    assert np.array_equal(found["CLIP"], [expected[name] for name in found.image_ids])
    assert len(found) == len(expected)
    assert "CLIP" in found
    assert ("CLIP", names[0]) in found
    assert ("CLIP", "nothing.jpg") not in found
    with pytest.raises(KeyError, match=r"'nothing\.jpg'"):
        found.get("CLIP", "nothing.jpg")
    with Embeddings("PEcore", bucket=tiny) as one, pytest.raises(KeyError, match="Valid: PEcore"):
        one["CLIP"]


def test_captions(tiny: Path, sub: Subject) -> None:
    table, found = rows(tiny / layout.key("captions")), Captions(bucket=tiny)
    assert found.metadata["image_name"].tolist() == [row["image_name"] for row in table]
    for trial, name in enumerate(sub.metadata["image_name"][:20]):
        human = [row["caption"] for row in table if row["image_name"] == name and row["source"] == "human"]
        ai = [row["caption"] for row in table if row["image_name"] == name and row["source"] == "ai"]
        assert sub.captions.human(trial) == found.human(name) == human
        assert found.human(name, 2) == human[:2]
        assert sub.captions.ai(trial) == found.ai(name) == (ai[0] if ai else None)
        assert sub.captions.list(trial) == ai + human
        assert len(sub.captions.for_image(trial)) == len(ai + human)
    assert name in found
    assert found.list("nothing.jpg") == []
    assert len(found.images()) == len({row["image_name"] for row in table})


def test_segmentations(tiny: Path, sub: Subject) -> None:
    table, found = rows(tiny / layout.key("segmentation_table")), Segmentations(bucket=tiny)
    with h5py.File(tiny / layout.key("segmentations")) as file:
        masks = file["masks"][:]
    names = [*sub.metadata["image_name"]]
    shared = next(number for number, name in enumerate(names) if name.startswith("shared"))
    unique = next(number for number, name in enumerate(names) if name.startswith("unique"))
    of_image = [row for row in table if row["image_name"] == names[shared]]
    assert [str(k) for k in sub.segmentations.for_image(shared)["mask_row"]] == [row["mask_row"] for row in of_image]
    for row in of_image:
        found_mask = sub.segmentations.get(shared, row["noun"], int(row["instance_id"]))
        assert np.array_equal(found_mask, masks[int(row["mask_row"])])
        assert np.array_equal(found[int(row["mask_row"])], found_mask)
    assert sub.segmentations.nouns(shared) == [of_image[0]["noun"]]
    assert sub.segmentations.nouns(shared, localized_only=False) == [of_image[0]["noun"], of_image[2]["noun"]]
    assert sub.segmentations.has_image(shared)
    assert not sub.segmentations.has_image(unique)
    assert sub.segmentations.nouns(unique) == []
    with pytest.raises(KeyError, match="only shared images have masks"):
        sub.segmentations.get(unique, "dog")
    with pytest.raises(KeyError, match="Available: "):
        sub.segmentations.get(shared, of_image[0]["noun"], 1)
    assert len(found) == len(table)
    assert found.images() == list(dict.fromkeys(row["image_name"] for row in table))


def test_the_images_lead_to_them(tiny: Path) -> None:
    stimuli = load_stimuli(bucket=tiny)
    name = next(name for name in stimuli.names() if name.startswith("shared"))
    assert np.array_equal(stimuli.embeddings.get("CLIP", name), load_embeddings(bucket=tiny).get("CLIP", name))
    assert stimuli.captions.human(name) == Captions(bucket=tiny).human(name)
    assert stimuli.segmentations.has_image(name)
