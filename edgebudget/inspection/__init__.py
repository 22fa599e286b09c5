"""What a model is made of, layer by layer: shapes, parameters, bytes, work."""
