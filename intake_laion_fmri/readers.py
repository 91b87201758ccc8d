"""Intake's second generation: a data type and a reader per row of `sources`.

For example ``BetasData`` and ``BetasReader``. A data type has the location and subject of data; its reader takes the
other arguments of the opener. Names and values are checked whenever a reader is created, also from a catalog file.

Intake finds subclasses of its own classes, which catalog files import. Without such a file, import this module before
using ``to_reader()``, ``intake.recommend(...)`` and the like: ``import intake`` imports nothing of this package.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from intake.readers.datatypes import BaseData
from intake.readers.readers import BaseReader
from intake.readers.user_parameters import BaseUserParameter

from intake_laion_fmri import layout
from intake_laion_fmri.catalog.given import Given, Veiled, opened, unveiled, veiled
from intake_laion_fmri.catalog.pages import source_page
from intake_laion_fmri.reading.arguments import check_argument, check_arguments, labels_alone
from intake_laion_fmri.sources import SOURCES, Source

_WHERE = ("bucket", "subject", "storage_options", "mirror", "mirror_only")
"""Arguments of a data type; the others belong to the reader."""


yaml.SafeDumper.add_representer(Veiled, lambda dumper, text: dumper.represent_str(str.__str__(text)))


class PlaceParameter(BaseUserParameter):  # type: ignore[misc]
    """A catalog's parameter for the location of data, never rendered."""

    def coerce(self, value: Any) -> Any:
        """Wrap the value in an envelope."""
        return value if value is None or isinstance(value, Given) else Given(value)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameter as written to a catalog file."""
        return {**super().to_dict(), "default": veiled("storage_options", opened(self.default))}


class _Data(BaseData):  # type: ignore[misc]
    """Data in a bucket, of one subject or of none.

    Parameters
    ----------
    bucket : str or path, optional
        URL or folder. By default the environment variable ``LAION_FMRI_BUCKET`` when the data are read, or
        ``s3://laion-fmri``.
    subject : str, optional
        ``"sub-01"`` or ``"01"``. May be given to the reader instead; some data belong to no subject.
    storage_options : mapping, optional
        Options of the bucket's file system.
    mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.
    metadata : dict, optional
        Arbitrary metadata.

    Raises
    ------
    ValueError, TypeError
        If a value is invalid for any bucket.
    """

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        subject: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        mirror: str | os.PathLike[str] | None = None,
        mirror_only: bool | None = None,
    ) -> None:
        given: dict[str, Any] = {"bucket": bucket, "subject": subject, "storage_options": storage_options}
        given |= {"mirror": mirror, "mirror_only": mirror_only}
        for name, value in given.items():
            value = unveiled(value)
            if value is not None:
                check_argument(name, value)
            # Intake shows, compares and saves these attributes.
            setattr(self, name, veiled(name, value))
        super().__init__(metadata=metadata)

    def arguments(self) -> dict[str, Any]:
        """Return the given arguments by name, secrets included."""
        return {name: value for name in _WHERE if (value := unveiled(getattr(self, name))) is not None}


class _Reader(BaseReader):  # type: ignore[misc]
    """Base class of readers, which take the arguments of `opener`.

    Parameters
    ----------
    data : BaseData, str or path, optional
        Location and subject of the data; a URL or folder is that of the bucket.
    metadata : dict, optional
        Arbitrary metadata.
    output_instance : str, optional
        As in Intake's own class.
    **arguments
        The arguments of `opener`; `bucket`, `subject` and `storage_options` override those of `data`.

    Raises
    ------
    TypeError
        If an argument is unknown; the message lists the nearest names.
    ValueError
        If a value is invalid for any bucket.
    """

    imports: ClassVar[set[str]] = {"intake_laion_fmri"}
    implements: ClassVar[set[type[_Data]]] = set()
    source: ClassVar[Source]
    opener: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        data: _Data | str | os.PathLike[str] | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        output_instance: str | None = None,
        **arguments: Any,
    ) -> None:
        (kind,) = self.implements
        if isinstance(data, BaseData) and not isinstance(data, kind):
            raise TypeError(f"{type(self).__name__} reads {kind.__name__}, found {type(data).__name__}.")
        arguments = {name: unveiled(value) for name, value in arguments.items()}
        self._check(arguments)
        arguments = labels_alone(arguments)
        source = data if isinstance(data, _Data) else kind(unveiled(data))
        where = {name: arguments.pop(name) for name in _WHERE if name in arguments}
        if where:
            source = kind(**{**source.arguments(), **where}, metadata=source.metadata)
        selection = {name: veiled(name, value) for name, value in arguments.items()}
        super().__init__(data=source, metadata=metadata, output_instance=output_instance, **selection)

    def __call__(self, *args: Any, **kwargs: Any) -> _Reader:
        """Return this reader with other arguments."""
        return type(self)(*args, **{**self.kwargs, "metadata": self.metadata, **kwargs})

    def _repr_html_(self) -> str:
        selection = {name: unveiled(value) for name, value in self.kwargs.items() if name != "data"}
        return source_page(self.source, self.opener, {**self.data.arguments(), **selection}).html()

    def _read(self, data: _Data, **arguments: Any) -> Any:
        arguments = {name: unveiled(value) for name, value in arguments.items()}
        self._check(arguments)
        given = {**data.arguments(), **arguments}
        if self.source.of_subject and "subject" not in given:
            raise TypeError(f"{type(self).__name__} needs the argument 'subject', such as subject='sub-01'.")
        return type(self).opener(**given)

    def _check(self, arguments: Mapping[str, Any]) -> None:
        check_arguments(self.opener, arguments, where=f"reader {type(self).__name__}")


def _data(source: Source) -> type[_Data]:
    """Create the data type of a source."""
    fields: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"Location of the data of source {source.name!r}: {source.described('a subject')}",
        "structure": {{"xarray": "array", "dataframe": "table"}[source.container], *source.structure},
    }
    if source.is_recommended:
        bucket = layout.BUCKET_URL.removeprefix("s3://")
        fields |= {"filepattern": f"{bucket}/?$", "contains": {f"{bucket}/derivatives$"}}
    return type(source.data, (_Data,), fields)


def _reader(source: Source, data: type[_Data]) -> type[_Reader]:
    """Create the reader of a source."""
    fields = {
        "__module__": __name__,
        "__doc__": f"{source.described()} See `{source.path.replace(':', '.')}`.",
        "implements": {data},
        "output_instance": source.output,
        "func": source.path,
        "source": source,
        "opener": staticmethod(source.load()),
    }
    return type(source.reader, (_Reader,), fields)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...  # data types and readers, generated from the table of sources


_DATA = {source.name: _data(source) for source in SOURCES.values()}
_READERS = {name: _reader(SOURCES[name], data) for name, data in _DATA.items()}
_CLASSES = {cls.__name__: cls for cls in (*_DATA.values(), *_READERS.values())}
globals().update(_CLASSES)

__all__ = ["PlaceParameter", *_CLASSES]
