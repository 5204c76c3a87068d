"""A stand-in for torchvision: MONAI Label imports two functions of it that no test calls. Its CPU build is no wheel."""
