"""What ExecuTorch's XNNPACK delegate makes of a traced graph, from ATen operators down to bytes.

The rooms in order: `quantize` (which values are int8), `lowering` (to the operators the partitioner sees, by the rules
in `decompositions` and `recurrent`, into an `edge` graph), `partition` (what is delegated), `method` (the order of
calls, and the arena), `subgraph` (one delegate's XNNPACK nodes, with layout conversions), `operators` (what each node
packs and allocates, with the `tiles` of the instruction set), `workspace`, `memory_planner`, `delegate` (all of one).

Read in ExecuTorch 1.5.1 and XNNPACK 92a7ad5 (the commit it vendors); files named in comments are theirs.
"""
