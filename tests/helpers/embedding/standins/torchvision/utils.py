"""See the package."""


def make_grid(*_, **__):
    raise NotImplementedError("a stand-in of the tests")


save_image = make_grid
