"""S3 client session that bounds the size of listings and errors.

botocore reads listings and errors to their end before it looks at them, and has no option for a largest size.
"""

from __future__ import annotations

from typing import Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.httpsession import AIOHTTPSession

from intake_laion_fmri.remote.backend import WrongAnswerError

PAGE_BYTES = 16 * 1024 * 1024
"""Largest page of a listing: one of a thousand long keys has a tenth of it."""

_PIECE_BYTES = 256 * 1024


class BoundedSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore has no types
    """Session that reads answers up to `PAGE_BYTES`, except streamed bodies."""

    async def send(self, request: Any) -> Any:
        """Send a request; read its answer, unless it is streamed."""
        is_stream, request.stream_output = request.stream_output, True
        try:
            answer = await super().send(request)
        finally:
            request.stream_output = is_stream
        bounded = AioAWSResponse(answer.url, answer.status_code, answer.headers, _Bounded(answer.raw))
        if not is_stream:
            await bounded.content
        return bounded


class _Bounded:
    """aiohttp's answer with a bound on its size."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    async def read(self) -> bytes:
        """Read the body to its end."""
        pieces, left = [], PAGE_BYTES
        try:
            while piece := await self._answer.content.read(_PIECE_BYTES):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise WrongAnswerError(f"the response has more than {PAGE_BYTES} bytes, too many for a listing")
        except BaseException:
            self._answer.close()  # as aiohttp's own method does: nobody else would give the connection up
            raise
        return b"".join(pieces)
