"""
The models that the stand-in offers, with prices: a list of its own, in the form of fal's.

Whatever was submitted to is offered too, so that nobody has to register an endpoint first.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from consumer.simulator.platform_bodies import Model, ModelMetadata, Status

_FIRST_DAY = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint: what it is, and what a unit of it costs in USD."""

    endpoint_id: str
    category: str = "text-to-image"
    unit: str = "image"
    unit_price: float = 0.025
    status: Status = "active"
    updated_at: str = _FIRST_DAY

    @property
    def display_name(self) -> str:
        """The part behind the owner, for people."""
        return self.endpoint_id.partition("/")[2].replace("/", " ").replace("-", " ").title()

    def says(self, words: str) -> bool:
        """Tell whether each of these words is somewhere in what people read about it."""
        text = f"{self.endpoint_id} {self.display_name} {self.category}".lower()
        return all(word in text for word in words.lower().split())

    def model(self) -> Model:
        """Return the entry of the model list."""
        metadata: ModelMetadata = {
            "display_name": self.display_name,
            "category": self.category,
            "description": f"A simulated model: {self.category}.",
            "status": self.status,
            "tags": [self.category.rpartition("-")[2]],
            "updated_at": self.updated_at,
            "is_favorited": None,
            "thumbnail_url": "https://fal.media/files/simulated.png",
            "model_url": f"https://fal.run/{self.endpoint_id}",
            "date": _FIRST_DAY,
            "highlighted": False,
            "pinned": False,
            "license_type": "commercial",
            "group": {"key": self.endpoint_id.split("/")[1], "label": self.display_name},
            "kind": "training" if self.category == "training" else "inference",
        }
        return {"endpoint_id": self.endpoint_id, "metadata": metadata}


# app, category, unit, price, paths ("" is the app itself); a path with "!" is deprecated.
_FAMILIES: tuple[tuple[str, str, str, float, str], ...] = (
    ("fal-ai/flux", "text-to-image", "megapixels", 0.025, "dev schnell dev/redux krea"),
    ("fal-ai/flux", "image-to-image", "megapixels", 0.03, "dev/image-to-image krea/redux"),
    ("fal-ai/flux-2", "text-to-image", "megapixels", 0.012, "- edit turbo turbo/edit"),
    ("fal-ai/flux-pro", "text-to-image", "megapixels", 0.05, "v1.1 v1.1-ultra new kontext"),
    ("fal-ai/flux-lora", "text-to-image", "megapixels", 0.035, "- inpainting image-to-image"),
    ("fal-ai/flux-lora-fast-training", "training", "requests", 2.0, "-"),
    ("fal-ai/fast-sdxl", "text-to-image", "compute seconds", 0.00111, "- inpainting"),
    ("fal-ai/stable-diffusion-v3-medium", "text-to-image", "image", 0.035, "!"),
    ("fal-ai/lcm", "text-to-image", "compute seconds", 0.00111, "!"),
    ("fal-ai/recraft", "text-to-image", "image", 0.04, "v3/text-to-image v3/image-to-image"),
    ("fal-ai/ideogram", "text-to-image", "image", 0.06, "v2 v3 v3/edit v3/remix"),
    ("fal-ai/imagen4", "text-to-image", "image", 0.04, "preview preview/fast preview/ultra"),
    ("fal-ai/nano-banana", "image-to-image", "image", 0.039, "- edit"),
    ("fal-ai/nano-banana-pro", "image-to-image", "image", 0.15, "- edit"),
    ("fal-ai/bytedance", "text-to-image", "image", 0.03, "seedream/v4/text-to-image"),
    ("fal-ai/bytedance", "image-to-video", "video", 0.36, "seedance/v1/pro/image-to-video"),
    ("fal-ai/qwen-image", "text-to-image", "megapixels", 0.02, "- image-to-image"),
    ("fal-ai/clarity-upscaler", "image-to-image", "megapixels", 0.03, "-"),
    ("fal-ai/birefnet", "image-to-image", "compute seconds", 0.0, "- v2"),
    (
        "fal-ai/kling-video",
        "text-to-video",
        "seconds",
        0.07,
        "v2/master/text-to-video v2.1/standard/text-to-video v2.5/pro/text-to-video",
    ),
    (
        "fal-ai/kling-video",
        "image-to-video",
        "seconds",
        0.07,
        "v2/master/image-to-video v2.1/pro/image-to-video v2.5/pro/image-to-video",
    ),
    ("fal-ai/veo3", "text-to-video", "seconds", 0.4, "- fast"),
    ("fal-ai/veo3", "image-to-video", "seconds", 0.4, "image-to-video fast/image-to-video"),
    ("fal-ai/minimax", "text-to-video", "video", 0.5, "video-01 hailuo-02/standard/text-to-video"),
    ("fal-ai/wan", "text-to-video", "video", 0.4, "v2.2-a14b/text-to-video"),
    ("fal-ai/wan", "image-to-video", "video", 0.4, "v2.2-a14b/image-to-video"),
    ("fal-ai/ltx-video", "text-to-video", "video", 0.02, "- !image-to-video"),
    ("fal-ai/hunyuan-video", "text-to-video", "video", 0.4, "-"),
    ("fal-ai/sync-lipsync", "video-to-video", "seconds", 0.05, "- v2"),
    ("fal-ai/stable-audio", "text-to-audio", "compute seconds", 0.00111, "-"),
    ("fal-ai/elevenlabs", "text-to-speech", "1000 characters", 0.1, "tts/turbo-v2.5"),
    ("fal-ai/whisper", "speech-to-text", "compute seconds", 0.00111, "-"),
    ("fal-ai/wizper", "speech-to-text", "compute seconds", 0.0005, "-"),
    ("fal-ai/trellis", "image-to-3d", "requests", 0.02, "-"),
    ("fal-ai/any-llm", "llm", "requests", 0.001, "- vision"),
    ("fal-ai/ffmpeg-api", "video-to-video", "compute seconds", 0.0002, "compose metadata"),
)


def _listed() -> Iterable[Offer]:
    for number, (app, category, unit, price, paths) in enumerate(_FAMILIES):
        for word in paths.split():
            path = word.strip("!-")
            endpoint_id = f"{app}/{path}" if path else app
            updated_at = f"2026-{1 + number % 10:02d}-{1 + len(endpoint_id) % 28:02d}T00:00:00Z"
            status: Status = "deprecated" if word.startswith("!") else "active"
            yield Offer(endpoint_id, category, unit, price, status, updated_at)


OFFERS: Mapping[str, Offer] = MappingProxyType({offer.endpoint_id: offer for offer in _listed()})


def offer_of(endpoint_id: str) -> Offer:
    """Return the listed offer, or a plain one for an endpoint that is on no list."""
    return OFFERS.get(endpoint_id) or Offer(endpoint_id)


class UnknownEndpointError(LookupError):
    """No such endpoint is offered; carries its id."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(endpoint_id)
        self.endpoint_id = endpoint_id

    def __str__(self) -> str:
        return f"Resource not found: {self.endpoint_id}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """
    What one simulator offers: `only` these endpoints where it is given, else the whole list
    and whatever was submitted to, which `submitted` tells.
    """

    only: frozenset[str] | None
    submitted: Callable[[], Iterable[str]]

    def offers(self) -> list[Offer]:
        """Return everything that is offered, each once."""
        if self.only is not None:
            return [offer_of(endpoint_id) for endpoint_id in sorted(self.only)]
        extra = (endpoint_id for endpoint_id in self.submitted() if endpoint_id not in OFFERS)
        return [*OFFERS.values(), *map(Offer, extra)]

    def find(self, endpoint_id: str) -> Offer:
        """Return what is offered under this id; raises UnknownEndpointError."""
        if self.only is None:
            is_offered = endpoint_id in OFFERS or endpoint_id in self.submitted()
        else:
            is_offered = endpoint_id in self.only
        if not is_offered:
            raise UnknownEndpointError(endpoint_id)
        return offer_of(endpoint_id)

    def has_app(self, app: str) -> bool:
        """Tell whether an endpoint of this app may be submitted to."""
        if self.only is None:
            return True
        return any(name == app or name.startswith(f"{app}/") for name in self.only)
