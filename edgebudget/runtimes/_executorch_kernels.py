"""The operators that ExecuTorch has kernels for: a program with any other is lowered, and refused when it is loaded.

What the library of portable and optimized kernels registers in executorch 1.5.1 (`_get_operator_names()` of
`executorch.extension.pybindings.portable_lib`; tests/test_executorch_kernels.py asks it again), by the operators that
are lowered to it.
"""

from collections.abc import Iterable

from edgebudget.graph import TracedGraph, once_per_graph

_COVERED = frozenset(
    """
    _adaptive_avg_pool2d _cdist_forward _conj_physical _fft_c2r _fft_r2c _local_scalar_dense _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit.no_stats _native_batch_norm_legit_no_training _pdist_forward
    _softmax _to_copy _upsample_bilinear2d_aa abs acos acosh add.Scalar add.Tensor addmm alias_copy amax amin any
    any.dim any.dims arange arange.start_step argmax argmin as_strided_copy asin asinh atan atan2 atanh avg_pool2d
    bitwise_and.Scalar bitwise_and.Tensor bitwise_left_shift.Tensor bitwise_left_shift.Tensor_Scalar bitwise_not
    bitwise_or.Scalar bitwise_or.Tensor bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar
    bitwise_xor.Scalar bitwise_xor.Tensor bmm cat ceil clamp clamp.Tensor clone constant_pad_nd convolution
    convolution_backward copy copy_ cos cosh cumsum detach_copy diagonal_copy div.Scalar div.Scalar_mode
    div.Tensor div.Tensor_mode elu embedding empty.memory_format eq.Scalar eq.Tensor erf exp expand_copy expm1
    fill.Scalar fill.Tensor flip floor floor_divide fmod.Scalar fmod.Tensor full full_like gather ge.Scalar
    ge.Tensor gelu glu grid_sampler_2d gt.Scalar gt.Tensor hardtanh index.Tensor index_put index_put_ index_select
    isinf isnan le.Scalar le.Tensor leaky_relu lift_fresh_copy linear log log10 log1p log2 logical_and logical_not
    logical_or logical_xor logit lt.Scalar lt.Tensor masked_fill.Scalar masked_scatter masked_select max max.dim
    max_pool2d_with_indices max_pool2d_with_indices_backward maximum mean mean.dim min min.dim minimum mm
    mul.Scalar mul.Tensor narrow_copy native_dropout native_group_norm native_layer_norm ne.Scalar ne.Tensor neg
    nonzero ones permute_copy pixel_shuffle pixel_unshuffle pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prod
    prod.dim_int rand randn reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu remainder.Scalar
    remainder.Tensor repeat repeat_interleave.Tensor replication_pad1d replication_pad2d replication_pad3d roll
    round rsqrt rsub.Scalar scalar_tensor scatter.src scatter.value scatter_add select_copy.int select_scatter
    sigmoid sign sin sinh slice_copy.Tensor slice_scatter split_copy.Tensor split_with_sizes_copy sqrt
    squeeze_copy.dim squeeze_copy.dims stack sub.Scalar sub.Tensor sum.dim_IntList sym_numel sym_size.int t_copy
    tan tanh topk transpose_copy.int tril trunc unbind_copy.int unfold_copy unsqueeze_copy upsample_bilinear2d.vec
    upsample_nearest2d.vec var.correction var.dim var_mean.correction view_as_real_copy view_copy where.self zeros
    """.split()
)

WITH_UNKNOWN_SCRATCH = frozenset({"aten._fft_c2r.default", "aten._fft_r2c.default"})
"""Operators whose kernels (pocketfft's) allocate what nobody has looked at."""


_CONVOLVED_DIMENSIONS = 4
"""Of what a convolution reads at most: images in channels, and one or two more (`check_convolution_args` in
kernels/portable/cpu/util/kernel_ops_util.cpp). A program with more is loaded, and fails in its first run."""


@once_per_graph
def over_volumes(graph: TracedGraph) -> tuple[str, ...]:
    """Return the convolutions of a trace that are over more than two dimensions, which have no kernel either."""
    convolutions = [op for op in graph.ops if op.name.startswith("conv") and op.inputs]
    too_many = [op.target for op in convolutions if len(graph.tensors[op.inputs[0]].shape) > _CONVOLVED_DIMENSIONS]
    return tuple(dict.fromkeys(too_many))


def without_kernel(targets: Iterable[str]) -> tuple[str, ...]:
    """Return those of `targets`, such as `aten.relu.default`, for which there is no kernel. Others' operators pass."""
    short = {target: target.removeprefix("aten.").removesuffix(".default") for target in targets}
    return tuple([target for target, name in short.items() if target.startswith("aten.") and name not in _COVERED])
