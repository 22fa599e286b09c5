"""The models that `check` takes when none is named: mobile networks, the same on every device."""

MOBILE_SUITE = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
)
