"""ONNX Runtime's CPU provider as a model of memory: its graph, its layout pass, its allocation planner and its arena.

Read in the sources of ONNX Runtime 1.30 (`onnxruntime/core`), checked against the 1.31.1 wheels.
"""
