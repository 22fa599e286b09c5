"""From ATen operators to the nodes that ONNX Runtime is left with after export and its level 1 and 2 optimizers.

What `torch.onnx.export` (dynamo) writes, BatchNorm folded into convolutions, constants folded; then the fusions of
`core/optimizer` that change memory: MatMul and Add to Gemm between two reshapes, scale and transposes into
FusedMatMul, SiLU to QuickGelu, several Gathers of one axis to Split.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from math import prod

from edgebudget.graph import ITEMSIZE, Op, Ref, TracedGraph
from edgebudget.runtimes._onnxruntime.builder import Builder, Fold
from edgebudget.runtimes._onnxruntime.ir import ABSENT, Graph, Window
from edgebudget.runtimes._onnxruntime.kernels import resize_scratch
from edgebudget.runtimes._onnxruntime.names import (
    BINARY,
    CONVOLUTIONS,
    GATHERED,
    MADE,
    PASSED_THROUGH,
    POOLS,
    RECURRENT,
    REDUCED,
    RESHAPED,
    TRANSPOSED,
    UNARY,
)
from edgebudget.runtimes._onnxruntime.recurrent import gru_cell, lstm_cell, recurrent

FOLDED_INPUT_NUMEL, FOLDED_OUTPUT_NUMEL = 8_192, 512 * 512  # the exporter folds no larger constants


class Lowering(Builder):
    """One graph on its way from ATen to ONNX Runtime's optimizers of `level` 1 (what a quantizer sees) or 2.

    Products of the operators in `as_exported` (indices) stay a MatMul, with the bias as its third input: a quantizer
    takes them before an optimizer does. `unmodelled` collects operators that nothing here knows.
    """

    def __init__(self, traced: TracedGraph, *, level: int, as_exported: Container[int] = ()) -> None:
        super().__init__(traced)
        self._level = level
        self._as_exported = as_exported
        self.rewritten = False  # whether level 1 changes anything: saved by a quantizer, the file then has no metadata
        self.unmodelled: dict[str, None] = {}
        self._late: set[int] = set()  # constants that the session computes
        self._folded: dict[int, int] = {}  # convolution or linear layer -> the BatchNorm folded into it
        self._skipped: set[int] = set()

    def run(self) -> Graph:
        """Return the graph before layout passes."""
        for t in self.traced.inputs:
            spec = self.traced.tensors[t]
            self.value_of[t] = self.graph.value(spec.shape, ITEMSIZE[spec.dtype])
            self.graph.fed.append(self.value_of[t])
        self._fold_batch_norms()
        for op in self.traced.ops:
            if op.index not in self._skipped:
                self._lower(op)
        self.graph.results = [v for t in self.traced.outputs if not self.graph.values[v := self.of(t)].constant]
        return self.graph

    def _fold_batch_norms(self) -> None:
        """FuseBatchNormIntoConv and its kin (onnxscript): a BatchNorm that alone reads a convolution or a Gemm."""
        for op in self.traced.ops:
            if op.name not in ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"):
                continue
            source = self.traced.producers.get(op.inputs[0])
            if source is None or source.outputs[0] in self.traced.outputs:
                continue
            if source.name not in CONVOLUTIONS and not self._is_gemm(source):
                continue
            if len(self.traced.consumers.get(op.inputs[0], ())) == 1:
                self._folded[source.index] = op.index
                self._skipped.add(op.index)

    def _is_gemm(self, op: Op) -> bool:
        """Whether the operator becomes a Gemm with constant weights."""
        return op.name == "linear" and len(self.traced.tensors[op.inputs[0]].shape) == 2

    # ---- one operator -------------------------------------------------------------------------------------------

    def _lower(self, op: Op) -> None:
        name = op.name
        inputs = [self.of(t) for t in op.inputs]
        if self._is_constant(op, inputs):
            self._fold(op, inputs)
            return
        if name.endswith("_") and not name.endswith("__") and name not in ("squeeze_", "unsqueeze_"):
            name = name.rstrip("_")
        special = SPECIAL.get(name)
        if special is not None:
            special(self, op, inputs)
        elif name in PASSED_THROUGH:
            self.value_of[op.outputs[0]] = inputs[0]
        elif name in ("to", "_to_copy", "type_as", "float", "half"):
            kept = self.graph.values[inputs[0]].itemsize == self.itemsize(op)
            self.bind(op, inputs[0]) if kept else self.emit(op, "Cast", inputs[:1])
        elif name in RESHAPED:
            self._reshape(op, inputs[0])
        elif name == "silu" and self._level < 2:
            self.emit(op, "Mul", [inputs[0], self.step(op, "Sigmoid", inputs[:1], self.shape(inputs[0]))])
        elif name in UNARY:
            self.emit(op, UNARY[name], inputs)
        elif name in BINARY:
            self._binary(op, name, inputs)
        elif name in REDUCED:
            self.emit(op, REDUCED[name], [inputs[0], self.constant((1,))])
        elif name in GATHERED:
            self.emit(op, GATHERED[name], inputs)
        elif name in POOLS:
            self._pool(op, inputs[0], POOLS[name])
        elif name in RECURRENT:
            recurrent(self, op, inputs, RECURRENT[name])
        elif name in CONVOLUTIONS:
            self._convolution(op, inputs)
        elif name.startswith("upsample"):
            node = self.emit(op, "Resize", [inputs[0], ABSENT, self.constant((4,), 4)])
            node.mode = "linear" if "linear" in name else "cubic" if "cubic" in name else "nearest"
            node.scratch = resize_scratch(name, self.shape(inputs[0]), self.shape(node.outputs[0]))
        else:
            self.unmodelled.setdefault(name)
            self.emit(op, name, inputs)
        self._follow_storage(op)

    def _is_constant(self, op: Op, inputs: Sequence[int]) -> bool:
        """Whether the exporter or ConstantFolding computes the operator ahead: nothing of it depends on an input."""
        if op.name in MADE:
            return True
        return all(self.graph.values[v].constant for v in inputs)

    def _fold(self, op: Op, inputs: Sequence[int]) -> None:
        """A constant result: computed by the exporter where it is small, else by the session while it loads.

        Limits of onnxscript/optimizer/_constant_folding.py; a transposition of a weight is always folded there.
        """
        values = self.graph.values
        if op.name in PASSED_THROUGH and inputs:
            self.bind(op, inputs[0])
            return
        late = any(v in self._late for v in inputs)
        late |= op.name not in TRANSPOSED and any(prod(values[v].shape) > FOLDED_INPUT_NUMEL for v in inputs)
        for t in op.outputs:
            spec = self.traced.tensors[t]
            result = self.graph.value(spec.shape, ITEMSIZE[spec.dtype], constant=True)
            self.value_of[t] = result
            if inputs and (late or prod(spec.shape) > FOLDED_OUTPUT_NUMEL):
                self._late.add(result)
                nbytes = values[result].nbytes
                kept_nbytes = nbytes * (3 if op.name == "batch_norm" else 1)  # in training: difference, square, result
                copied = sum(values[v].nbytes for v in inputs)
                self.folds.append(Fold(tuple(inputs), result, kept_nbytes, kept_nbytes + copied))

    def _follow_storage(self, op: Op) -> None:
        """An operator in place gives a new value to whatever shows the same elements."""
        if not op.name.endswith("_") or not op.inputs:
            return
        target = self.traced.tensors[op.inputs[0]]
        for t, value in list(self.value_of.items()):
            spec = self.traced.tensors[t]
            if spec.storage != target.storage or t in op.outputs or (self.graph.values[value].constant and t == -1):
                continue
            if spec.shape == target.shape and spec.offset == target.offset:
                self.value_of[t] = self.value_of[op.outputs[0]]

    def _reshape(self, op: Op, source: int) -> None:
        if self.shape(source) == self.traced.tensors[op.outputs[0]].shape:
            self.bind(op, source)
            return
        rank = len(self.traced.tensors[op.outputs[0]].shape)
        self.emit(op, "Reshape", [source, self.constant((rank,))])

    # ---- convolutions and pools ---------------------------------------------------------------------------------

    def _convolution(self, op: Op, inputs: Sequence[int]) -> None:
        weight = inputs[1]
        rank = len(self.shape(weight)) - 2
        transposed = "transpose" in op.name or (op.name == "convolution" and op.arg(6, "transposed", False) is True)
        if "transpose" in op.name:
            groups, dilation = op.arg(6, "groups", 1), op.arg(7, "dilation", 1)
        elif op.name == "convolution":
            groups, dilation = op.arg(8, "groups", 1), op.arg(5, "dilation", 1)
        else:
            groups, dilation = op.arg(6, "groups", 1), op.arg(5, "dilation", 1)
        stride = _spread(op.arg(3, "stride", 1), rank)
        dilations = _spread(dilation, rank)
        kernel = self.shape(weight)[2:]
        padding = op.arg(4, "padding", 0)
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
            pads = (*[total // 2 for total in totals], *[total - total // 2 for total in totals])
        else:
            one = (0,) * rank if isinstance(padding, str) else _spread(padding, rank)
            pads = (*one, *one)
        batch_norm = self._folded.get(op.index)
        made = op if batch_norm is None else self.traced.ops[batch_norm]
        out_channels = self.traced.tensors[op.outputs[0]].shape[1]
        has_bias = len(inputs) > 2 or batch_norm is not None
        bias = [inputs[2]] if len(inputs) > 2 else [self.constant((out_channels,), 4)] if has_bias else []
        node = self.emit(made, "ConvTranspose" if transposed else "Conv", [inputs[0], weight, *bias])
        node.window = Window(kernel, stride, pads, dilations, groups if isinstance(groups, int) else 1)

    def _pool(self, op: Op, source: int, kind: str) -> None:
        rank = len(self.shape(source)) - 2
        if rank < 1 or len(self.shape(source)) < 3:
            self.emit(op, kind, [source])
            return
        kernel = _spread(op.arg(1, "kernel_size", 1), rank)
        given = op.arg(2, "stride", ())
        stride = _spread(given, rank) if given not in ((), None) else kernel
        one = _spread(op.arg(3, "padding", 0), rank)
        if kind == "MaxPool":
            dilation, ceil_mode, include = _spread(op.arg(4, "dilation", 1), rank), op.arg(5, "ceil_mode", False), False
        else:
            dilation, ceil_mode = (1,) * rank, op.arg(4, "ceil_mode", False)
            include = op.arg(5, "count_include_pad", True) is True
        node = self.emit(op, kind, [source])
        del node.outputs[1:]  # indices that nobody reads
        node.window = Window(kernel, stride, (*one, *one), dilation, 1, ceil_mode is True, include)

    def _adaptive_pool(self, op: Op, inputs: Sequence[int]) -> None:
        before, after = self.shape(inputs[0])[2:], self.traced.tensors[op.outputs[0]].shape[2:]
        if prod(after) == 1 and "avg" in op.name:
            self.emit(op, "ReduceMean", [inputs[0], self.constant((2,))])
            return
        node = self.emit(op, "AveragePool" if "avg" in op.name else "MaxPool", inputs[:1])
        del node.outputs[1:]
        rank = len(after)
        kernel = tuple(-(-b // a) for b, a in zip(before, after, strict=True))
        node.window = Window(kernel, kernel, (0,) * (2 * rank), (1,) * rank)

    # ---- matrix products ----------------------------------------------------------------------------------------

    def _linear(self, op: Op, inputs: Sequence[int]) -> None:
        source, weight = inputs[0], inputs[1]
        shape, out = self.shape(source), self.traced.tensors[op.outputs[0]].shape
        if len(shape) == 2:
            batch_norm = self._folded.get(op.index)
            if batch_norm is not None and len(inputs) < 3:
                inputs = [*inputs, self.constant(out[-1:], 4)]
            made = op if batch_norm is None else self.traced.ops[batch_norm]
            self.emit(made, "Gemm", inputs).transposed_b = True
            return
        if self.graph.values[weight].constant:
            columns, rows = self.shape(weight)
            key = ("transposed", weight)
            if key not in self.weights:  # folded by the exporter
                self.weights[key] = self.graph.value((rows, columns), self.graph.values[weight].itemsize, constant=True)
            weight = self.weights[key]
        else:
            weight = self.step(op, "Transpose", [weight], self.shape(weight)[::-1])
            self.graph.nodes[self.graph.made - 1].permutation = (1, 0)
        if len(inputs) < 3 or op.index in self._as_exported:
            self.emit(op, "MatMul", [source, weight, *inputs[2:]])
            return
        self.rewritten = True
        rows = prod(shape[:-1])
        flat = self.step(op, "Reshape", [source, self.constant((2,))], (rows, shape[-1]))
        product = self.step(op, "Gemm", [flat, weight, inputs[2]], (rows, out[-1]))
        self.emit(op, "Reshape", [product, self.constant((len(out),))])

    def _matmul(self, op: Op, inputs: Sequence[int]) -> None:
        self.emit(op, "MatMul", [self._unscaled(v) if self._level > 1 else v for v in inputs[:2]])

    def _addmm(self, op: Op, inputs: Sequence[int]) -> None:
        if op.name == "addmm":
            self.emit(op, "Gemm", [inputs[1], inputs[2], inputs[0]])
            return
        product = self.step(op, "MatMul", inputs[1:3], self.traced.tensors[op.outputs[0]].shape)
        self.emit(op, "Add", [inputs[0], product])

    def _unscaled(self, value: int) -> int:
        """MatMulScaleFusion: a product with one number before a MatMul becomes FusedMatMul's `alpha`."""
        node = self.graph.nodes.get(self.graph.made - 1)
        for candidate in reversed(list(self.graph.nodes.values())[-8:]):
            if value in candidate.outputs:
                node = candidate
                break
        else:
            return value
        if node is not None and node.kind in ("Mul", "Div") and not self.shape(node.inputs[1]):
            return node.inputs[0]
        return value

    def _attention(self, op: Op, inputs: Sequence[int]) -> None:
        """Scaled dot-product attention as opset 20 has it; the scale and what only swaps axes go into FusedMatMul."""
        query, key, value = (self._untransposed(v) if self._level > 1 else v for v in inputs[:3])
        *batch, rows, _ = self.traced.tensors[op.inputs[0]].shape
        columns = self.traced.tensors[op.inputs[1]].shape[-2]
        scores_shape = (*batch, rows, columns)
        key_shape = self.shape(inputs[1])
        if key == inputs[1]:
            producer = self.graph.producers().get(key)
            if producer is None or producer.kind != "Transpose":
                flat_shape = (prod(key_shape[:-2]), *key_shape[-2:])
                if producer is not None and producer.kind == "Reshape" and self.shape(producer.inputs[0]) == flat_shape:
                    flat = producer.inputs[0]  # a view of a view is one
                else:
                    flat = self.step(op, "Reshape", [key, self.constant((3,))], flat_shape)
                flipped = self.step(op, "Transpose", [flat], (prod(key_shape[:-2]), key_shape[-1], key_shape[-2]))
                self.graph.nodes[self.graph.made - 1].permutation = (0, 2, 1)
                turned = (*key_shape[:-2], key_shape[-1], columns)
                key = self.step(op, "Reshape", [flipped, self.constant((4,))], turned)
            else:  # merged with the transposition that made it
                key = self.step(op, "Transpose", producer.inputs, (*key_shape[:-2], key_shape[-1], columns))
                axes = producer.permutation
                self.graph.nodes[self.graph.made - 1].permutation = (*axes[:-2], axes[-1], axes[-2])
        if self._level < 2:  # both sides by the root of the scale
            query = self.step(op, "Mul", [query, self.constant((1,), 4)], self.shape(query))
            key = self.step(op, "Mul", [key, self.constant((1,), 4)], self.shape(key))
        scores = self.step(op, "MatMul", [query, key], scores_shape)
        if len(inputs) > 3:
            scores = self.step(op, "Add", [scores, inputs[3]], scores_shape)
        elif op.arg(5, "is_causal", False) is True:
            scores = self.step(op, "Add", [scores, self.constant((rows, columns), 4)], scores_shape)
        weights = self.step(op, "Softmax", [scores], scores_shape)
        self.emit(op, "MatMul", [weights, value])

    def _untransposed(self, value: int) -> int:
        """MatmulTransposeFusion: heads brought to the front, then seen with a batch of one, cost nothing."""
        producers = self.graph.producers()
        view = producers.get(value)
        if view is None or view.kind != "Reshape":
            return value
        flip = producers.get(view.inputs[0])
        if flip is None or flip.kind != "Transpose" or len(self.shape(flip.outputs[0])) != 3:
            return value
        before, after = self.shape(flip.inputs[0]), self.shape(flip.outputs[0])
        if before != (after[1], after[0], after[2]) or prod(self.shape(value)[:-3]) != 1:
            return value
        out = self.graph.value((before[0], 1, *before[1:]), self.graph.values[value].itemsize)
        self.graph.add("Reshape", [flip.inputs[0], self.constant((4,))], [out], view.op)
        return out

    # ---- moving data --------------------------------------------------------------------------------------------

    def _transpose(self, op: Op, inputs: Sequence[int]) -> None:
        node = self.emit(op, "Transpose", inputs[:1])
        rank = len(self.shape(inputs[0]))
        order = list(range(rank))
        if op.name == "permute":
            dims = op.arg(1, "dims", ())
            order = [d % rank for d in dims if isinstance(d, int)] if isinstance(dims, tuple) else order
        elif op.name in ("transpose", "swapaxes", "swapdims"):
            one, other = op.arg(1, "dim0", 0), op.arg(2, "dim1", 1)
            if isinstance(one, int) and isinstance(other, int):
                order[one], order[other] = order[other], order[one]
        elif op.name == "movedim":
            order = _moved(rank, op.arg(1, "source", 0), op.arg(2, "destination", 0))
        elif rank > 1:  # t, mT, numpy_T
            order[-1], order[-2] = order[-2], order[-1]
        node.permutation = tuple(order)

    def _shuffle(self, op: Op, inputs: Sequence[int]) -> None:
        """`channel_shuffle`: channels as a table of groups, which is turned round."""
        batch, channels, *space = self.shape(inputs[0])
        groups = op.arg(1, "groups", 1)
        rows = groups if isinstance(groups, int) else 1
        table = (batch, rows, channels // rows, *space)
        split = self.step(op, "Reshape", [inputs[0], self.constant((len(table),))], table)
        turned = self.step(op, "Transpose", [split], (batch, channels // rows, rows, *space))
        self.graph.nodes[self.graph.made - 1].permutation = (0, 2, 1, *range(3, len(table)))
        self.emit(op, "Reshape", [turned, self.constant((len(table) - 1,))])

    def _select(self, op: Op, inputs: Sequence[int]) -> None:
        node = self.emit(op, "Gather", [inputs[0], self.constant(())])
        dim = op.arg(1, "dim", 0)
        rank = len(self.shape(inputs[0]))
        node.axis = dim % rank if isinstance(dim, int) else 0

    def _slice(self, op: Op, inputs: Sequence[int]) -> None:
        if self.shape(inputs[0]) == self.traced.tensors[op.outputs[0]].shape:
            self.bind(op, inputs[0])
        else:
            self.emit(op, "Slice", inputs[:1])

    def _split(self, op: Op, inputs: Sequence[int]) -> None:
        if len(op.outputs) == 1:
            self._reshape(op, inputs[0])
        else:
            self.emit(op, "Split", inputs[:1])

    def _unbind(self, op: Op, inputs: Sequence[int]) -> None:
        self.rewritten = True
        shape = list(self.shape(inputs[0]))
        dim = op.arg(1, "dim", 0)
        shape[dim if isinstance(dim, int) else 0] = 1
        itemsize = self.graph.values[inputs[0]].itemsize
        parts = [self.graph.value(shape, itemsize) for _ in op.outputs]
        axis = dim % len(shape) if isinstance(dim, int) else 0
        self.graph.add("Split", inputs[:1], parts, op.index).axis = axis
        for part, t in zip(parts, op.outputs, strict=True):
            spec = self.traced.tensors[t]
            self.value_of[t] = self.graph.value(spec.shape, itemsize)
            self.graph.add("Squeeze", [part], [self.value_of[t]], op.index).axis = axis

    def _concatenate(self, op: Op, inputs: Sequence[int]) -> None:
        node = self.emit(op, "Concat", inputs)
        dim = op.arg(1, "dim", 0)
        node.axis = dim % len(self.shape(node.outputs[0])) if isinstance(dim, int) else 0

    def _stack(self, op: Op, inputs: Sequence[int]) -> None:
        out = self.traced.tensors[op.outputs[0]].shape
        dim = op.arg(1, "dim", 0)
        shape = list(out)
        shape[dim if isinstance(dim, int) else 0] = 1
        parts = [self.step(op, "Unsqueeze", [v], shape, self.graph.values[v].itemsize) for v in inputs]
        self.emit(op, "Concat", parts)

    def _expand(self, op: Op, inputs: Sequence[int]) -> None:
        if self.shape(inputs[0]) == self.traced.tensors[op.outputs[0]].shape:
            self.bind(op, inputs[0])
        else:
            self.emit(op, "Expand", inputs[:1])

    def _pad(self, op: Op, inputs: Sequence[int]) -> None:
        self.emit(op, "Pad", inputs[:1])

    def _roll(self, op: Op, inputs: Sequence[int]) -> None:
        """Two slices and a Concat for each axis; GatherSliceToSplitFusion makes one Split of the slices."""
        value = inputs[0]
        shape = self.shape(value)
        shifts, dims = op.arg(1, "shifts", ()), op.arg(2, "dims", ())
        pairs = list(zip(shifts, dims, strict=True)) if isinstance(shifts, tuple) and isinstance(dims, tuple) else []
        itemsize = self.graph.values[value].itemsize
        for position, (shift, dim) in enumerate(pairs):
            if not isinstance(shift, int) or not isinstance(dim, int):
                continue
            size = shape[dim]
            cut = -shift % size
            first, second = (list(shape) for _ in range(2))
            first[dim], second[dim] = cut, size - cut
            parts = [self.graph.value(first, itemsize), self.graph.value(second, itemsize)]
            self.graph.add("Split", [value], parts, op.index)
            if position == len(pairs) - 1:
                self.emit(op, "Concat", parts[::-1]).axis = dim
            else:
                value = self.step(op, "Concat", parts[::-1], shape, itemsize)
        if not pairs:
            self.emit(op, "Concat", inputs[:1])

    # ---- composites ---------------------------------------------------------------------------------------------

    def _hardswish(self, op: Op, inputs: Sequence[int]) -> None:
        """The function's body, inlined: x * HardSigmoid(x)."""
        self.rewritten = True
        gate = self.step(op, "HardSigmoid", inputs[:1], self.shape(inputs[0]))
        self.emit(op, "Mul", [inputs[0], gate])

    def _binary(self, op: Op, name: str, inputs: Sequence[int]) -> None:
        """A number beside a tensor becomes an initializer; adding nothing and multiplying by one disappear."""
        if len(inputs) > 1 or len(op.args) < 2:
            self.emit(op, BINARY[name], inputs)
            return
        neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1}.get(name)
        numbers = [a for a in op.args[:2] if isinstance(a, int | float) and not isinstance(a, Ref)]
        if neutral is not None and neutral in numbers and self.shape(inputs[0]) == self.spec_shape(op):
            self.bind(op, inputs[0])
        else:
            self.emit(op, BINARY[name], [inputs[0], self.constant((), 4)])

    def _rsqrt(self, op: Op, inputs: Sequence[int]) -> None:
        root = self.step(op, "Sqrt", inputs[:1], self.shape(inputs[0]))
        self.emit(op, "Reciprocal", [root])

    def _glu(self, op: Op, inputs: Sequence[int]) -> None:
        out = self.traced.tensors[op.outputs[0]].shape
        itemsize = self.graph.values[inputs[0]].itemsize
        parts = [self.graph.value(out, itemsize), self.graph.value(out, itemsize)]
        self.graph.add("Split", inputs[:1], parts, op.index)
        self.emit(op, "Mul", [parts[0], self.step(op, "Sigmoid", parts[1:], out)])

    def _batch_norm(self, op: Op, inputs: Sequence[int]) -> None:
        node = self.emit(op, "BatchNormalization", inputs[:5])
        del node.outputs[1:]

    def _layer_norm(self, op: Op, inputs: Sequence[int]) -> None:
        scale = inputs[1:] or [self.constant(self.shape(inputs[0])[-1:], 4)]
        node = self.emit(op, "LayerNormalization", [inputs[0], *scale])
        del node.outputs[1:]

    def _group_norm(self, op: Op, inputs: Sequence[int]) -> None:
        shape = self.shape(inputs[0])
        groups = op.arg(1, "num_groups", 1)
        count = groups if isinstance(groups, int) else 1
        grouped = (shape[0], count, prod(shape[1:]) // count)
        flat = self.step(op, "Reshape", [inputs[0], self.constant((3,))], grouped)
        ones = [self.constant((count,), 4), self.constant((count,), 4)]
        normed = self.step(op, "InstanceNormalization", [flat, *ones], grouped)
        value = self.step(op, "Reshape", [normed, self.constant((len(shape),))], shape)
        scaled = self.step(op, "Mul", [value, *inputs[1:2]], shape)
        self.emit(op, "Add", [scaled, *inputs[2:3]])

    def _instance_norm(self, op: Op, inputs: Sequence[int]) -> None:
        channels = self.shape(inputs[0])[1]
        scale = list(inputs[1:3]) or [self.constant((channels,), 4), self.constant((channels,), 4)]
        self.emit(op, "InstanceNormalization", [inputs[0], *scale])

    def _deviation(self, op: Op, inputs: Sequence[int]) -> None:
        """Mean, difference, square, mean, and for a standard deviation the root."""
        shape, out = self.shape(inputs[0]), self.spec_shape(op)
        mean = self.step(op, "ReduceMean", [inputs[0], self.constant((1,))], out)
        difference = self.step(op, "Sub", [inputs[0], mean], shape)
        square = self.step(op, "Mul", [difference, difference], shape)
        if op.name == "var":
            self.emit(op, "ReduceMean", [square, self.constant((1,))])
        else:
            self.emit(op, "Sqrt", [self.step(op, "ReduceMean", [square, self.constant((1,))], out)])

    def _top(self, op: Op, inputs: Sequence[int]) -> None:
        self.emit(op, "TopK", [inputs[0], self.constant((1,))])

    def _addcmul(self, op: Op, inputs: Sequence[int]) -> None:
        factor = inputs[1]
        if self.graph.values[factor].constant:  # aten_addcmul (onnxscript) multiplies it by `value`, which is folded
            factor = self.constant(self.shape(factor), self.itemsize(op))
        product = self.step(op, "Mul", [factor, inputs[2]], self.spec_shape(op))
        self.emit(op, "Add", [inputs[0], product])


def _spread(given: object, rank: int) -> tuple[int, ...]:
    """Return a convolution's argument for each spatial dimension; one number stands for all."""
    if isinstance(given, tuple):
        numbers = tuple(n for n in given if isinstance(n, int))
        return numbers * rank if len(numbers) == 1 else numbers
    return (given,) * rank if isinstance(given, int) else (1,) * rank


def _moved(rank: int, source: object, destination: object) -> list[int]:
    """Return the permutation of `movedim`."""
    sources = [d % rank for d in _spread(source, 1)]
    destinations = [d % rank for d in _spread(destination, 1)]
    rest = iter(axis for axis in range(rank) if axis not in sources)
    at = dict(zip(destinations, sources, strict=True))
    return [at[axis] if axis in at else next(rest) for axis in range(rank)]


_Handler = Callable[[Lowering, Op, Sequence[int]], None]
_L = Lowering
SPECIAL: Mapping[str, _Handler] = {
    "linear": _L._linear, "matmul": _L._matmul, "bmm": _L._matmul, "mm": _L._matmul, "addmm": _L._addmm,
    "baddbmm": _L._addmm, "scaled_dot_product_attention": _L._attention, "select": _L._select, "slice": _L._slice,
    "narrow": _L._slice, "split": _L._split, "chunk": _L._split, "split_with_sizes": _L._split,
    "tensor_split": _L._split, "unsafe_split": _L._split, "unsafe_chunk": _L._split, "unbind": _L._unbind,
    "cat": _L._concatenate, "concat": _L._concatenate, "stack": _L._stack, "expand": _L._expand,
    "expand_as": _L._expand, "pad": _L._pad, "constant_pad_nd": _L._pad, "reflection_pad2d": _L._pad,
    "replication_pad2d": _L._pad, "roll": _L._roll, "hardswish": _L._hardswish, "rsqrt": _L._rsqrt,
    "lstm_cell": lstm_cell, "gru_cell": gru_cell, "glu": _L._glu, "channel_shuffle": _L._shuffle,
    "instance_norm": _L._instance_norm, "addcmul": _L._addcmul, "std": _L._deviation,
    "var": _L._deviation, "topk": _L._top, "batch_norm": _L._batch_norm,
    "native_batch_norm": _L._batch_norm,
    "_native_batch_norm_legit_no_training": _L._batch_norm, "layer_norm": _L._layer_norm,
    "native_layer_norm": _L._layer_norm, "group_norm": _L._group_norm, "native_group_norm": _L._group_norm,
    "adaptive_avg_pool1d": _L._adaptive_pool, "adaptive_avg_pool2d": _L._adaptive_pool,
    "adaptive_avg_pool3d": _L._adaptive_pool, "_adaptive_avg_pool2d": _L._adaptive_pool,
    "adaptive_max_pool2d": _L._adaptive_pool,
    **dict.fromkeys(TRANSPOSED, _L._transpose),
}  # fmt: skip
