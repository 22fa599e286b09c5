"""Which ATen operator becomes which ONNX operator, where one becomes one."""

from collections.abc import Mapping

PASSED_THROUGH = frozenset(
    "alias contiguous clone detach dropout dropout_ alpha_dropout feature_dropout feature_alpha_dropout lift "
    "lift_fresh lift_fresh_copy detach_ resolve_conj resolve_neg rrelu_with_noise".split()
)
RESHAPED = frozenset(
    "view reshape flatten unflatten _unsafe_view unsqueeze unsqueeze_ squeeze squeeze_ view_as ravel _reshape_alias "
    "reshape_as atleast_1d atleast_2d atleast_3d".split()
)
TRANSPOSED = frozenset("permute transpose transpose_ t t_ movedim swapaxes swapdims numpy_T mT adjoint".split())
MADE = frozenset(
    "zeros ones full empty arange linspace eye zeros_like ones_like full_like empty_like new_zeros new_ones new_full "
    "new_empty scalar_tensor tril_indices triu_indices rand randn rand_like randn_like meshgrid".split()
)
UNARY: Mapping[str, str] = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "leaky_relu": "LeakyRelu", "elu": "Elu", "selu": "Selu",
    "celu": "Celu", "softplus": "Softplus", "hardsigmoid": "HardSigmoid", "clamp": "Clip", "clip": "Clip",
    "clamp_min": "Clip", "clamp_max": "Clip", "hardtanh": "Clip", "relu6": "Clip", "silu": "QuickGelu",
    "softmax": "Softmax", "_softmax": "Softmax", "log_softmax": "LogSoftmax", "_log_softmax": "LogSoftmax",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "neg": "Neg", "abs": "Abs", "erf": "Erf", "floor": "Floor",
    "ceil": "Ceil", "round": "Round", "sin": "Sin", "cos": "Cos", "reciprocal": "Reciprocal", "sign": "Sign",
    "logical_not": "Not", "bitwise_not": "Not", "isnan": "IsNaN", "cumsum": "CumSum", "triu": "Trilu", "tril": "Trilu",
    "gelu": "Gelu", "repeat": "Tile", "tile": "Tile", "flip": "Slice", "prelu": "PRelu", "mish": "Mish",
    "pixel_shuffle": "DepthToSpace", "pixel_unshuffle": "SpaceToDepth",
}  # fmt: skip
BINARY: Mapping[str, str] = {
    "add": "Add", "sub": "Sub", "rsub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max",
    "minimum": "Min", "eq": "Equal", "ne": "Equal", "gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual",
    "le": "LessOrEqual", "logical_and": "And", "logical_or": "Or", "bitwise_and": "And", "bitwise_or": "Or",
    "where": "Where", "masked_fill": "Where", "remainder": "Mod", "fmod": "Mod", "floor_divide": "Div",
    "__and__": "And", "__or__": "Or", "atan2": "Atan", "multiply": "Mul", "true_divide": "Div", "subtract": "Sub",
}  # fmt: skip
REDUCED: Mapping[str, str] = {
    "mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin", "max": "ReduceMax",
    "min": "ReduceMin", "prod": "ReduceProd", "argmax": "ArgMax", "argmin": "ArgMin", "all": "ReduceMin",
    "any": "ReduceMax", "logsumexp": "ReduceLogSumExp", "linalg_vector_norm": "ReduceL2", "norm": "ReduceL2",
    "linalg_norm": "ReduceL2",
}  # fmt: skip
GATHERED: Mapping[str, str] = {
    "index": "GatherND", "index_select": "Gather", "gather": "GatherElements", "embedding": "Gather",
    "take_along_dim": "GatherElements", "grid_sampler": "GridSample", "grid_sampler_2d": "GridSample",
}  # fmt: skip
POOLS: Mapping[str, str] = {
    "max_pool1d": "MaxPool", "max_pool2d": "MaxPool", "max_pool3d": "MaxPool", "avg_pool1d": "AveragePool",
    "avg_pool2d": "AveragePool", "avg_pool3d": "AveragePool", "max_pool2d_with_indices": "MaxPool",
}  # fmt: skip
CONVOLUTIONS = frozenset("conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d".split())
RECURRENT: Mapping[str, str] = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
