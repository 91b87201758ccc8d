"""Split files: the train and test images of a split, as JSON."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intake_laion_fmri.errors import DataIntegrityError

MAX_SPLIT_BYTES = 4 * 1024 * 1024
"""Maximum size of a split file; the largest published one has a third of a megabyte. Bounds time and memory."""

MAX_DEPTH = 32
"""Maximum nesting of lists and mappings in the parameters of a split."""


@dataclass(frozen=True)
class SplitVariant:
    """One partition of a pool."""

    variant_id: int
    """Number of the variant; published files have a single one, number 0."""
    train_ids: tuple[str, ...]
    """Labels of the train side."""
    test_ids: tuple[str, ...]
    """Labels of the test side."""

    def all_ids(self) -> list[str]:
        """List the labels of both sides, train first."""
        return [*self.train_ids, *self.test_ids]


@dataclass(frozen=True)
class Split:
    """A split of a pool, with the data set's own attribute names."""

    name: str
    """One of `SPLITS`."""
    pool: str
    """``"shared"`` or a subject: the folder of the file. The text inside the files uses outdated subject numbers."""
    split_family: str
    """``random``, ``cluster_k5``, ``tau`` or ``ood``."""
    splitter: str
    """Method of the splitter."""
    params: Mapping[str, Any] = field(hash=False)
    """Its parameters."""
    n_train: int
    """Number of train images."""
    n_test: int
    """Number of test images."""
    variants: tuple[SplitVariant, ...]
    """The partitions."""
    revision: str
    """Origin of the file: a commit, a folder or URL, or the bucket that is read."""
    sha256: str
    """SHA-256 of the file."""

    def variant(self, variant_id: int = 0) -> SplitVariant:
        """Return a partition by number.

        Raises
        ------
        ValueError
            If there is no variant of this number.
        """
        for variant in self.variants:
            if variant.variant_id == variant_id:
                return variant
        numbers = ", ".join(str(variant.variant_id) for variant in self.variants)
        raise ValueError(f"{self.pool}/{self.name} has no variant {variant_id!r}. Valid: {numbers}.")


@functools.lru_cache(maxsize=128)
def parse_split(content: bytes, pool: str, name: str, revision: str, where: str) -> Split:
    """Parse a split file; `where` names it in errors."""

    def broken(found: str) -> DataIntegrityError:
        return DataIntegrityError(f"{where}: {found}. Correct the file, or fetch it again.")

    if len(content) > MAX_SPLIT_BYTES:
        raise broken(f"expected a split file of at most {MAX_SPLIT_BYTES} bytes, found {len(content)}")
    try:
        fields = json.loads(content, object_pairs_hook=_each_once)
        found_name = str(fields["name"])[:200]
        variants = tuple(
            SplitVariant(_whole(variant["variant_id"]), _labels(variant["train_ids"]), _labels(variant["test_ids"]))
            for variant in fields["variants"]
        )
        split = Split(
            name=name,
            pool=pool,
            split_family=re.sub(r"_\d+$", "", name),
            splitter=str(fields["splitter"]),
            params=_parameters(fields["params"]),
            n_train=_whole(fields["n_train"]),
            n_test=_whole(fields["n_test"]),
            variants=variants,
            revision=revision,
            sha256=hashlib.sha256(content).hexdigest(),
        )
    except KeyError as error:
        raise broken(f"expected the field {error}, found none") from error
    except (ValueError, TypeError) as error:
        raise broken(f"expected the fields of a split as JSON, found {error}") from error
    except RecursionError as error:
        raise broken(f"expected at most {MAX_DEPTH} nested lists and mappings, found more") from error
    if found_name != name:
        raise broken(f"expected the split {name!r}, found {found_name!r}")
    problem = _problem_of(split)
    if problem:
        raise broken(problem)
    return split


def _problem_of(split: Split) -> str:
    """Describe the first fault of the partitions, or return an empty text."""
    if not split.variants:
        return "expected a variant, found none"
    for variant in split.variants:
        found = len(variant.train_ids), len(variant.test_ids)
        if found != (split.n_train, split.n_test):
            return f"expected {split.n_train} train and {split.n_test} test labels, found {found[0]} and {found[1]}"
        label, count = Counter((*variant.train_ids, *variant.test_ids)).most_common(1)[0] if sum(found) else ("", 0)
        if count > 1:
            return f"expected each label once, found {label[:200]!r} {count} times"
    return ""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a mapping from JSON pairs; a repeated field is an error."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the field {twice[:200]!r} twice")
    return fields


def _whole(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError("a boolean where a number is expected")
    return operator.index(value)  # type: ignore[arg-type]


def _parameters(value: object) -> dict[str, Any]:
    """Return a mapping of limited depth, safe to copy and print."""
    if not isinstance(value, dict):
        raise TypeError("params that are not a mapping")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    if level:
        raise ValueError(f"more than {MAX_DEPTH} nested lists and mappings")
    return value


def _labels(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(label, str) for label in values):
        raise TypeError("labels that are not strings")
    "".join(values).encode()  # raises for lone surrogates, which JSON allows
    return tuple(values)
