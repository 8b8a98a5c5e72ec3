"""
What a downloaded file is called. Pure: nothing of a URL or of a payload becomes a name here.
"""

_EXTENSIONS = {
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/webm": ".weba",
    "audio/x-wav": ".wav",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
    "model/gltf-binary": ".glb",
    "model/gltf+json": ".gltf",
    "model/obj": ".obj",
    "model/stl": ".stl",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
}


def stem_of(request_id: str, number: int) -> str:
    """Return the name of the nth file of a request (from 1), without its extension."""
    return f"{request_id}-{number:02d}"


def extension_of(content_type: str) -> str:
    """Return the extension of a content type, `.bin` for those that are not known to be media."""
    return _EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), ".bin")
