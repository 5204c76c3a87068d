"""segpipe: medical image segmentation as standard MONAI bundles.

Importing the package imports neither torch nor MONAI, so that the command line starts at once.
"""

__version__ = "0.1.0"
