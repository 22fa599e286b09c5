"""What ExecuTorch's XNNPACK delegate makes of a traced graph, from ATen operators down to bytes.

The rooms in order: `edge` (decomposition to the operators the partitioner sees), `quantize` (which values are int8),
`partition` (what is delegated), `subgraph` (one delegate's XNNPACK nodes, with layout conversions), `operators` (what
each node packs and allocates), `memory_planner` (the workspace), `delegate` (all of it for one delegate).

Read in ExecuTorch 1.5.1 and XNNPACK 92a7ad5 (the commit it vendors); files named in comments are theirs.
"""
