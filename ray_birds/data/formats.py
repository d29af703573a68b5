"""Kinds of image files, by their first bytes and by the extensions of names: those we read, and others."""

import re

import pyarrow as pa
import pyarrow.compute as pc

from ray_birds.core.errors import first_line

# A JPEG with a second image behind it (MPO), as many telephones make it, begins as a JPEG.
READ = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIC", "JPEG XL")  # the last two with extras
READ_TEXT = "JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF, HEIC or JPEG XL"
_EXTRAS = {"HEIC": "heic", "JPEG XL": "jxl"}
RAW = "camera raw"
NOT_AN_IMAGE = "not an image"
NOT_UTF8 = "its name is not UTF-8"
BEGINNING = 32  # bytes that tell a file's kind

_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG XL": (".jxl",),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    RAW: (
        *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".orf", ".rw2", ".raf", ".pef"),
        *(".srw", ".x3f", ".3fr", ".iiq", ".rwl"),
    ),
    "Photoshop": (".psd", ".psb"),
    "SVG": (".svg", ".svgz"),
    "Windows icon": (".ico",),
    "Netpbm": (".ppm", ".pgm", ".pbm", ".pnm"),
    "OpenEXR": (".exr",),
    "Radiance": (".hdr",),
    "Targa": (".tga",),
}
_KINDS = {extension: kind for kind, extensions in _EXTENSIONS.items() for extension in extensions}
_ALL = tuple(_KINDS)
_ENDING = rf"\.({'|'.join(extension[1:] for extension in _KINDS)})$"

# BMP with its four reserved zero bytes, for texts too may begin with BM; WebP with the name of its first chunk.
_BEGINNINGS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM....\0\0\0\0",
    RAW: rb"II\*\0....CR|....ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|IIU\0|FOVb",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "AVIF": rb"....ftyp(avi[fs]|m[is]f1....(....){0,3}avi[fs])",
    "HEIC": rb"....ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "Photoshop": rb"8BPS\0[\x01\x02]",
    "Windows icon": rb"\0\0\x01\0[\x01-\xff]\0...\0[\0\x01]\0",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance": rb"#\?RADIANCE",
    "SVG": rb"\s*<svg[\s>]",
}
_BEGINNING = re.compile(
    b"|".join(b"(?P<k%d>%b)" % (number, text) for number, text in enumerate(_BEGINNINGS.values())), re.DOTALL
)


def unread(error: Exception) -> str:
    """Why the bytes of a file cannot be had, in words of its row."""
    match error:
        case FileNotFoundError():
            return "file has vanished"
        case PermissionError():
            return "no permission to read the file"
        case UnicodeEncodeError():
            return NOT_UTF8
        case MemoryError():
            return "too large for memory"
    return f"cannot be read: {getattr(error, 'strerror', None) or first_line(error)}"


def by_content(data: bytes) -> str:
    """The kind of image that the first bytes of a file announce, such as JPEG or HEIC, or ""."""
    found = _BEGINNING.match(data)
    return list(_BEGINNINGS)[int(found.lastgroup[1:])] if found and found.lastgroup else ""


def by_name(path: str) -> str:
    """The kind of image that a name's extension announces, in any case, or ""."""
    name = path.rpartition("/")[2].lower()
    return _KINDS[f".{name.rpartition('.')[2]}"] if name.endswith(_ALL) else ""


def unsure(names: pa.StringArray) -> list[str]:
    """The names of which `by_name` knows nothing, much faster than one by one."""
    unknown = names.filter(pc.invert(pc.match_substring_regex(pc.ascii_lower(names), _ENDING)))
    return [name for name in unknown.to_pylist() if not by_name(name)]  # where a letter is no ASCII, too


def extension(kind: str) -> str:
    """The usual extension of a kind; "" where it is unknown."""
    return _EXTENSIONS.get(kind, ("",))[0]


def not_read(kind: str) -> str:
    """Why an image of a kind is not read where it is not, and what to do."""
    if kind in _EXTRAS:
        how = f"pip install 'ray-birds[{_EXTRAS[kind]}]', or convert it to JPEG"
        return f"a {kind} image, which needs an extra ({how})"
    if kind == RAW:
        return (
            "a camera raw image, which is not read (develop it to JPEG or TIFF, with darktable or its own program)"
        )
    return f"a {kind} image, which is not read (convert it to JPEG or PNG)"
