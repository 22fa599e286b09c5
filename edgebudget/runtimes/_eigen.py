"""What Eigen's matrix product packs while it runs, which ExecuTorch's optimized kernels call for float32.

Read in Eigen's Core/products: `evaluateProductBlockingSizesHeuristic` (GeneralBlockPanelKernel.h) for the blocks, and
`general_matrix_matrix_product::run` (GeneralMatrixMatrix.h), which copies a block of each matrix to the heap where it
takes more than the stack may. Exact on five programs on x86-64 (tests/test_runtime_executorch.py); the caches of Arm
processors, which Eigen does not ask for, have not been held against anything.
"""

ITEM_BYTES = 4
ROWS, COLUMNS = 8, 4  # of the kernel's tile (`mr`, `nr`), in a build for any x86-64: without fused multiply-adds
L1_BYTES, L2_BYTES = 32 * 1024, 1 << 20  # of the processor that was measured
BLOCKED_FOR_BYTES = 1_572_864  # `actual_l2`
PEELED = 8
ON_STACK_BYTES = 128 * 1024  # EIGEN_STACK_ALLOCATION_LIMIT
SMALL = 48  # smaller products are not blocked


def packed_bytes(rows: int, depth: int, columns: int) -> int:
    """Return the bytes that the product of two row-major matrices, rows x depth and depth x columns, has on the heap.

    Eigen works by columns, so that it multiplies the transposed matrices in the other order.
    """
    m, k, n = _blocks(columns, depth, rows)
    blocks = (min(m, columns) * k * ITEM_BYTES, min(n, rows) * k * ITEM_BYTES)
    return sum(nbytes for nbytes in blocks if nbytes > ON_STACK_BYTES)


def _blocks(m: int, k: int, n: int) -> tuple[int, int, int]:
    """Return the rows, the depth and the columns of a block, for one thread."""
    if max(k, m, n) < SMALL:
        return m, k, n
    tile_bytes = ROWS * COLUMNS * ITEM_BYTES
    deepest = max((L1_BYTES - tile_bytes) // ((ROWS + COLUMNS) * ITEM_BYTES) // PEELED * PEELED, 1)
    depth = _evenly(k, deepest, PEELED, 1)
    free = L1_BYTES - tile_bytes - m * depth * ITEM_BYTES
    if free >= COLUMNS * ITEM_BYTES * depth:
        widest = free // (depth * ITEM_BYTES)
    else:
        widest = 3 * BLOCKED_FOR_BYTES // (4 * deepest * ITEM_BYTES)
    widest = min(BLOCKED_FOR_BYTES // (2 * depth * ITEM_BYTES), widest) // COLUMNS * COLUMNS
    if n > widest:
        return m, depth, _evenly(n, widest, COLUMNS)
    if depth < k:
        return m, depth, n
    problem_bytes, cache, tallest = k * n * ITEM_BYTES, BLOCKED_FOR_BYTES, m
    if problem_bytes <= 1024:
        cache = L1_BYTES
    elif problem_bytes <= 32 * 1024:
        cache, tallest = L2_BYTES, min(576, m)
    height = min(cache // (3 * k * ITEM_BYTES), tallest)
    if height > ROWS:
        height = height // ROWS * ROWS
    return (_evenly(m, height, ROWS) if height else m), k, n


def _evenly(size: int, most: int, grain: int, less: int = 0) -> int:
    """Return how large blocks of at most `most` are for the last of them not to be much smaller."""
    if size <= most or size % most == 0:
        return min(size, most)
    return most - grain * ((most - less - size % most) // (grain * (size // most + 1)))
