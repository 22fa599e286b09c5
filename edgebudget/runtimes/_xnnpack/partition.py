"""What ExecuTorch's XnnpackPartitioner delegates, and which operators share a delegate.

Read in backends/xnnpack/partition/config/*.py (what is supported, and under which constraints), and
torch/fx/passes/infra/partitioner.py (how supported operators are merged).
"""

from edgebudget.runtimes._xnnpack.edge import EdgeGraph, EdgeOp

_ALWAYS = frozenset({
    "abs", "add", "bmm", "ceil", "clone", "clamp", "div", "exp", "floor", "gelu", "hardtanh", "hardswish", "leaky_relu",
    "log", "maximum", "max_pool2d", "minimum", "mul", "neg", "permute_copy", "rsqrt", "relu", "tanh", "sigmoid", "sin",
    "cos", "sqrt", "sub", "upsample_bilinear2d", "view_copy", "prelu",
})  # fmt: skip
_FLOATS = frozenset({"float32", "float16"})


def is_supported(graph: EdgeGraph, op: EdgeOp) -> bool:
    """Return whether the partitioner takes `op`: its config's `check_constraints`."""
    dtypes, shapes, constant = graph.dtypes, graph.shapes, graph.constant
    for value in op.inputs:
        if dtypes[value] not in _FLOATS:
            return False
    for value in op.outputs:
        if dtypes[value] not in _FLOATS:
            return False
    target = op.target
    if target in _ALWAYS:
        return target != "max_pool2d" or (op.params[2] <= op.params[0] and op.params[3] <= op.params[1])
    if target == "convolution":
        return constant[op.inputs[1]] and len(shapes[op.inputs[1]]) <= 4
    if target in ("linear", "mm", "addmm"):
        return constant[op.inputs[1]]
    if target == "batch_norm":
        return len(shapes[op.inputs[0]]) in (2, 3, 4)
    if target == "cat":
        return len(set(op.inputs)) >= 2
    if target in ("mean", "_softmax", "unsqueeze_copy", "avg_pool2d", "pow"):
        return bool(op.params) and bool(op.params[-1])
    if target == "slice_copy":
        return op.params == (1,)
    if target == "constant_pad_nd":
        return min(op.params) >= 0
    return False


def partition(graph: EdgeGraph) -> None:
    """Give each operator that is delegated its delegate's number, counted from the end of the model.

    torch.fx goes backwards and puts each supported operator into the first partition it may join without a cycle. A
    cycle needs a path that leaves through an operator that is not supported, so that partition is the number of such
    exits on the longest path to the outputs.
    """
    last_reader: dict[int, int] = {}  # the deepest level among a value's readers, in halves: odd where outside
    for op in reversed(graph.ops):
        supported = is_supported(graph, op)
        level = 0
        for value in op.outputs:
            seen = last_reader.get(value)
            if seen is not None and seen > level:
                level = seen
        if supported:
            level += level % 2
            op.delegate = level // 2
        elif level % 2 == 0:
            level += 1
        for value in op.inputs:
            if last_reader.get(value, -1) < level:
                last_reader[value] = level
