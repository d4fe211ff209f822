"""Small media that are broken, or odd, in the twelve ways that data sets are."""

import io
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from clips import barcode_video, encoded_image
from PIL import Image


def sound_only() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def wide_png(value: int) -> bytes:
    """A 16-bit RGB PNG of 3x2 pixels, written by hand as Pillow cannot."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">H", value) * 9
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")


def claims_size(width: int, height: int) -> bytes:
    """A PNG that says it is that large; its pixels are not there."""
    media = bytearray(encoded_image((1, 2, 3)))
    media[16:24] = struct.pack(">II", width, height)
    media[29:33] = struct.pack(">I", zlib.crc32(media[12:29]))
    return bytes(media)


def animated(kind: str) -> bytes:
    buffer = io.BytesIO()
    first, *rest = (Image.new("RGB", (8, 6), colour) for colour in ((250, 0, 0), (0, 250, 0)))
    first.save(buffer, kind, save_all=True, append_images=rest, duration=100, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def turned_image() -> bytes:
    """Stored 6x4 with its left third white; to be shown 4x6, the white on top."""
    image, exif, buffer = Image.new("RGB", (6, 4)), Image.Exif(), io.BytesIO()
    image.paste((255, 255, 255), (0, 0, 2, 4))
    exif[0x0112] = 6
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def turned_video() -> bytes:
    """160x64 that a player must turn a quarter clockwise."""

    def matrix(*rows: int) -> bytes:
        return np.array(rows, ">i4").tobytes()

    media, one, plain = barcode_video(6), 1 << 16, (0, 0, 1 << 30)
    where = media.index(matrix(one, 0, 0, 0, one, 0, *plain), media.index(b"tkhd"))
    turned = matrix(0, one, 0, -one, 0, 0, *plain)
    return media[:where] + turned + media[where + len(turned) :]


def cmyk_jpeg(colour: tuple[int, int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def cut(media: bytes, share: float) -> bytes:
    return media[: int(len(media) * share)]


def _cut(kind: str) -> str:
    """An mp4 has its index at the end; what is left of it may name no stream."""
    return "unreadable|no video stream" if kind == "mp4" else "unreadable"


# By the way it is broken: a file's name and what makes it, and the verdict on it; "kept" where it is used as it is.
KINDS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty image": ("a.png", lambda: b"", "unreadable"),
    "empty video": ("a.mp4", lambda: b"", "unreadable"),
    **{
        f"{kind} cut at {share:.0%}": (f"a.{kind}", lambda kind=kind, share=share: cut(WHOLE[kind](), share), _cut(kind))
        for kind in ("jpg", "png", "webp", "mp4", "mov", "avi")
        for share in (0.1, 0.5, 0.9)
    },
    "video named as an image": ("a.jpg", lambda: barcode_video(4), "unreadable"),
    "image named as a video": ("a.mp4", lambda: encoded_image((9, 9, 9)), "unreadable"),
    "JPEG named as a PNG": ("a.png", lambda: encoded_image((9, 9, 9), kind="JPEG"), "kept"),
    "Matroska named as an mp4": ("a.mp4", lambda: barcode_video(4, container="matroska"), "kept"),
    "text": ("a.webm", lambda: b"I am a text.\n" * 9, "unreadable"),
    "no frames": ("a.mp4", lambda: barcode_video(0), "too short|no video stream|unreadable"),
    "sound only": ("a.mp4", sound_only, "no video stream"),
    "1x1 image": ("a.png", lambda: encoded_image((200, 100, 50), (1, 1)), "kept"),
    "16-bit PNG": ("a.png", lambda: wide_png(200 * 256 + 99), "kept"),
    "animated GIF named as a PNG": ("a.png", lambda: animated("GIF"), "unreadable"),
    "animated WebP": ("a.webp", lambda: animated("WEBP"), "kept"),
    "turned image": ("a.png", turned_image, "kept"),
    "turned video": ("a.mp4", turned_video, "kept"),
    "a billion pixels": ("a.png", lambda: claims_size(40_000, 30_000), "too large"),
    "a strip": ("a.png", lambda: encoded_image((1, 2, 3), (300, 2)), "too large"),
    "variable frame rate": ("a.mp4", lambda: barcode_video(8, stamps=[0, 1, 5, 6, 20, 21, 22, 40]), "kept"),
    "CMYK JPEG": ("a.jpg", lambda: cmyk_jpeg((0, 255, 255, 0)), "kept"),
}
_NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)


def _noise(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_NOISE).save(buffer, kind)
    return buffer.getvalue()


def _index_first() -> bytes:
    """As files made for the web: what is cut off is pictures, not the index."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mov"
        with av.open(io.BytesIO(barcode_video(12))) as source, av.open(path, "w", options={"movflags": "faststart"}) as file:
            stream = file.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    file.mux(packet)
        return path.read_bytes()


WHOLE = {
    "jpg": lambda: _noise("JPEG"),
    "png": lambda: _noise("PNG"),
    "webp": lambda: _noise("WEBP"),
    "mp4": lambda: barcode_video(12),
    "mov": _index_first,
    "avi": lambda: barcode_video(12, container="avi", codec="mpeg4"),
}
