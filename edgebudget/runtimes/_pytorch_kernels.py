"""Which of PyTorch's CPU kernels run on a target: the instruction set decides on oneDNN, and on its layouts."""

from dataclasses import dataclass
from enum import StrEnum

from edgebudget.target import Target


class Onednn(StrEnum):
    """The family of oneDNN kernels that a build of PyTorch picks on a processor."""

    AVX512 = "avx512"
    AVX2 = "avx2"
    ACL = "acl"  # AArch64: oneDNN over the Arm Compute Library
    OFF = "off"  # 32-bit Arm, or `torch.backends.mkldnn.enabled = False`


@dataclass(frozen=True, slots=True)
class CpuKernels:
    """What the scratch of an operator depends on beside its shapes. One thread throughout: more take more scratch."""

    onednn: Onednn = Onednn.AVX512
    reduced_types: frozenset[str] = frozenset(("bfloat16",))
    """Types of 2 bytes that oneDNN takes: float16 needs AVX512-FP16, which no measured processor has."""

    def takes(self, dtype: str) -> bool:
        """Whether oneDNN has kernels for `dtype` here."""
        return self.onednn is not Onednn.OFF and (dtype == "float32" or dtype in self.reduced_types)

    @property
    def simd(self) -> int:
        """float32 lanes of a vector register: channels are blocked by it."""
        return 16 if self.onednn is Onednn.AVX512 else 8

    @property
    def has_vnni(self) -> bool:
        """Whether there are 8-bit dot products of x86 (AVX512-VNNI), for which torchao shifts int8 to uint8."""
        return self.onednn is Onednn.AVX512


def kernels_of(target: Target) -> CpuKernels:
    """Return the kernels of a release build of PyTorch on `target`.

    `x86-64-v3` is AVX2, as the psABI names it; a plain `x86-64` is taken to have AVX-512, which is what the recorded
    measurements ran on. The two differ only where channels are not a multiple of 16.
    """
    if target.is_x86:
        return CpuKernels(Onednn.AVX2 if target.isa.endswith("-v3") else Onednn.AVX512)
    is_aarch64 = target.pointer_bits == 64 and target.isa.startswith(("armv8", "armv9"))
    return CpuKernels(Onednn.ACL if is_aarch64 else Onednn.OFF)
