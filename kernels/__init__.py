"""GPU kernels in the Triton language, each beside its plain-torch reference."""
