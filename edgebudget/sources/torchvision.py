"""Models by their torchvision name: `mobilenet_v2`, or `torchvision:mobilenet_v2`."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.errors import ModelError
from edgebudget.inputs import InputSpec
from edgebudget.registry import unknown_name
from edgebudget.sources._registered import registered_names
from edgebudget.sources.interface import LoadedModel

VIDEO_FRAMES = 16  # the clip length of torchvision's video presets
FLOW_SIZE = (520, 960)  # the size torchvision's optical flow references evaluate at; RAFT needs multiples of 8
DETECTION_SIZE = 800  # the shorter side that torchvision's R-CNN family resizes to
PREFIX = "torchvision:"
_NAME = re.compile(rf"({PREFIX})?[A-Za-z0-9_]+")
_GLOB = re.compile(rf"({PREFIX})?[A-Za-z0-9_*?\[\]!-]+")


@dataclass(frozen=True, slots=True)
class _Torchvision:
    example: str = "mobilenet_v2"

    def claims(self, reference: str) -> bool:
        return _NAME.fullmatch(reference) is not None

    def names(self, prefix: str) -> list[str]:
        """Return torchvision's models, without the quantizable variants, which are refused."""
        names = registered_names("torchvision")
        return [name for name in names if name.startswith(prefix) and not name.startswith("quantized_")]

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the names that match, with the prefix where the pattern has it."""
        if _GLOB.fullmatch(pattern) is None:
            return ()
        import torchvision.models as zoo

        prefix = PREFIX if pattern.startswith(PREFIX) else ""
        return [prefix + name for name in fnmatch.filter(zoo.list_models(), pattern.removeprefix(prefix))]

    def load(self, reference: str, inputs: Sequence[InputSpec]) -> LoadedModel:
        """Return the named model with random weights, at the size its preset of transforms crops to.

        Raises ModelError for the eager-quantized variants, whose weights exist only after calibration.
        """
        import torchvision.models as zoo

        from edgebudget.sources._construct import construct
        from edgebudget.sources._examples import example, from_specs

        name = reference.removeprefix(PREFIX)
        kind = _kind(name)
        if kind == "quantization":
            raise ModelError(
                f"{name} is torchvision's quantizable variant, which is quantized in eager mode after calibration.",
                f"Take {name.removeprefix('quantized_')} with --dtype int8.",
            )
        keywords = {"weights": None}
        if kind in ("segmentation", "detection"):
            keywords["weights_backbone"] = None
        module = construct(lambda: zoo.get_model(name, **keywords)).eval()
        shapes = _shapes(name, kind, getattr(module, "image_size", None))
        args = from_specs(inputs) if inputs else tuple(example(InputSpec(shape)) for shape in shapes)
        if kind == "detection":
            images = [tensor[0] if tensor.dim() == 4 else tensor for tensor in args]
            return LoadedModel(name, module, (images,), allow_truncation=True, batch=len(images))
        return LoadedModel(name, module, args)


def _kind(name: str) -> str:
    """Return the folder of torchvision.models that builds `name`, "" for classification.

    Raises UnknownNameError with the nearest names.
    """
    import torchvision.models as zoo

    try:
        builder = zoo.get_model_builder(name)
    except ValueError:
        raise unknown_name("model", name, zoo.list_models()) from None
    parts = builder.__module__.split(".")
    return parts[2] if len(parts) > 3 else ""


def _shapes(name: str, kind: str, image_size: object) -> list[tuple[int, ...]]:
    import torchvision.models as zoo

    if kind == "optical_flow":
        return [(1, 3, *FLOW_SIZE)] * 2
    if kind == "detection":
        digits = re.search(r"(300|320)", name)
        side = int(digits.group()) if digits else DETECTION_SIZE
        return [(3, side, side)]
    presets = list(zoo.get_model_weights(name))
    keywords = getattr(presets[0].value.transforms, "keywords", {}) if presets else {}
    if kind == "segmentation":
        side = keywords.get("resize_size", 520)
        return [(1, 3, side, side)]
    crop = keywords.get("crop_size", 224)
    height, width = crop if isinstance(crop, tuple | list) else (crop, crop)
    if kind == "video":
        return [(1, 3, VIDEO_FRAMES, height, width)]
    if isinstance(image_size, int):
        height = width = image_size
    return [(1, 3, height, width)]


SOURCE = _Torchvision()
