"""Models that PyTorch's ONNX exporter does not convert, or whose file ONNX Runtime fails to run."""

from edgebudget.graph import TracedGraph, once_per_graph


@once_per_graph
def refused(graph: TracedGraph) -> str | None:
    """Return why `graph` does not run in ONNX Runtime 1.31.1 from a file of torch 2.15; None where nothing is known."""
    for op in graph.ops:
        if op.name not in ("scaled_dot_product_attention", "lstm"):
            continue
        shapes = [graph.tensors[i].shape for i in op.inputs]
        by = f" ({op.module})" if op.module else ""
        if op.name == "scaled_dot_product_attention" and len(shapes[0]) != 4:
            return (
                f"PyTorch's ONNX exporter converts {op.target} over batch, heads, positions and features only, and "
                f"here{by} it is over {len(shapes[0])} dimensions."
            )
        if op.name == "lstm" and shapes[1][-1] != shapes[2][-1]:
            return (
                f"ONNX Runtime does not run an LSTM with a projection{by}: its operator wants hidden and cell states "
                "of one size."
            )
    return None
