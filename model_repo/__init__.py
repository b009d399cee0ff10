"""The model repositories of the Triton Inference Server, generated from one template."""
