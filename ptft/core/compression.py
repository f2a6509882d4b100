"""Compressed files, opened as plain bytes; a truncated one is noticed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import IO, Any

from ptft.core.files import Source


class _ZstdFile(io.RawIOBase):
    """A zstd stream that notices truncation, where zstandard's own reader ends in silence.

    Its decompressor gives all that its input makes, up to 30,000 times as much: so the input comes in steps that grow and
    shrink with what they made, and a long run of one character does not fill the memory.
    """

    STEPS, MUCH = (1 << 8, 1 << 14), 1 << 20  # bytes of input, least and most; bytes of output that are much

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file, self._new = file, lambda: zstandard.ZstdDecompressor().decompressobj()
        self._error = zstandard.ZstdError
        self._frame: Any = None
        self._waiting = memoryview(b"")
        self._step = self.STEPS[0]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            block = self._leftover() or self._file.read(self._step)
            if not block:
                if self._frame is not None:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            self._frame = self._frame or self._new()
            try:
                self._waiting = memoryview(self._frame.decompress(block))
            except self._error as error:
                raise EOFError(str(error)) from error
            step = self._step // 4 if len(self._waiting) > self.MUCH else self._step * 2
            self._step = min(max(step, self.STEPS[0]), self.STEPS[1])
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def _leftover(self) -> bytes:
        """What follows a finished frame in the block already read: the start of the next frame."""
        if self._frame is None or not self._frame.eof:
            return b""
        rest: bytes = self._frame.unused_data
        self._frame = None
        return rest

    def close(self) -> None:
        self._file.close()
        super().close()


def open_bytes(source: Source) -> IO[bytes]:
    """The source's bytes, decompressed as they are read. An empty file is empty, however it is called."""
    if not source.path.stat().st_size:
        return io.BytesIO()
    if source.compression == ".gz":
        return gzip.open(source.path, "rb")  # type: ignore[return-value]
    if source.compression == ".bz2":
        return bz2.open(source.path, "rb")
    if source.compression == ".xz":
        return lzma.open(source.path, "rb")
    if source.compression == ".zst":
        return io.BufferedReader(_ZstdFile(source.path.open("rb")), 1 << 20)
    return source.path.open("rb")
