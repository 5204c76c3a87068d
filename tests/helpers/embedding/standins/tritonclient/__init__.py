"""A stand-in for the client of NVIDIA Triton, which MONAI Deploy imports; no test computes on a server."""
