"""A stand-in for ITK: MONAI Label writes its files with it, and the tests take the array instead of the file."""
