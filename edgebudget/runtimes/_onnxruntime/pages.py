"""Pages of ONNX Runtime's library that loading and running a model touch."""

from dataclasses import dataclass

from edgebudget.runtimes._onnxruntime.pipeline import Program

LOAD_KIND_BYTES, RUN_KIND_BYTES = 17_000, 41_000
"""What each kind of node in the optimized graph adds, by the end of loading and of all runs: its kernel's code."""

REDUCTION_BYTES = 230_000
"""The more of it in runs where there are reductions, which have code for each pattern of axes."""

BLOCKWISE_BYTES = 370_000
"""The more of it, from loading on, where a product's weights are quantized in blocks (MatMulNBits)."""


@dataclass(frozen=True, slots=True)
class Pages:
    """`RssFile` over an idle process that has the library mapped, in bytes: of a model without nodes, after loading and
    after its runs, and the more where the file has pairs of QuantizeLinear and DequantizeLinear.

    What the session allocates whatever the model is part of the heap.
    """

    loaded: int
    run: int
    quantized_loaded: int
    quantized_run: int

    def after_loading(self, program: Program) -> int:
        """Return what loading `program` has touched."""
        kinds = _kinds(program)
        quantized = self.quantized_loaded * program.quantized
        return self.loaded + quantized + LOAD_KIND_BYTES * len(kinds) + BLOCKWISE_BYTES * ("MatMulNBits" in kinds)

    def after_runs(self, program: Program) -> int:
        """Return what loading and running `program` have touched in the end."""
        kinds = _kinds(program)
        quantized = self.quantized_run * program.quantized
        reductions = REDUCTION_BYTES * any(kind.startswith("Reduce") for kind in kinds)
        blockwise = BLOCKWISE_BYTES * ("MatMulNBits" in kinds)
        return self.run + quantized + RUN_KIND_BYTES * len(kinds) + reductions + blockwise


X86_PAGES = Pages(7_830_000, 8_360_000, 410_000, 230_000)
"""With onnxruntime 1.31.1 on x86-64 Linux: fitted, with the figures above, to the recorded models to build on, which
have 4 to 22 kinds of nodes and touch 7.8 to 8.8 MB while loading and 8.5 to 9.9 MB in all."""

ARM_PAGES = Pages(7_080_000, 7_430_000, 220_000, 200_000)
"""The same on 64-bit Arm Linux (Cortex-A53 and Cortex-A72, Debian 13, pages of 4 KiB): 7.1 to 7.7 and 7.6 to 8.9 MB."""


def _kinds(program: Program) -> set[str]:
    return {node.kind for node in program.order}
