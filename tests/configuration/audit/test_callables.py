"""The list of callables that a bundle may call without the user's consent."""

import importlib
import pydoc

import pytest

from segpipe.configuration.audit.callables import allowed_arguments, listed_callables
from segpipe.configuration.components import Targets


@pytest.fixture(scope="module")
def targets():
    return Targets()


@pytest.mark.parametrize("name", listed_callables())
def test_each_is_there_under_every_name_that_monai_takes(targets, name):
    """MONAI resolves a dotted path by `pydoc.locate`; the path of the defining module is another public name."""
    target = pydoc.locate(name)

    assert callable(target)
    assert targets.find(name) is target
    assert targets.find(f"{target.__module__}.{target.__qualname__}") is target
    assert allowed_arguments(target) is not None


@pytest.mark.parametrize("name", ["Compose", "LoadImaged", "UNet", "DiceCELoss", "SlidingWindowInferer"])
def test_monais_short_names_are_found(targets, name):
    assert allowed_arguments(targets.find(name)) is not None


@pytest.mark.parametrize(
    "path",
    [
        *("os.system", "posix.system", "builtins.eval", "eval", "open", "print", "functools.partial"),
        *("subprocess.Popen", "importlib.import_module", "pickle.load", "runpy.run_path", "shutil.rmtree"),
        *("torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.utils.cpp_extension.load"),
        *(
            "torch.ops.load_library",
            "torch.classes.load_library",
            "torch.compile",
            "numpy.load",
            "numpy.save",
        ),
        *(
            "monai.bundle.run",
            "monai.bundle.load",
            "monai.bundle.ConfigParser",
            "monai.utils.optional_import",
        ),
        *("monai.utils.instantiate", "monai.data.NumpyReader", "monai.data.PersistentDataset"),
        *("monai.apps.download_url", "monai.transforms.Lambda", "monai.transforms.Lambdad", "Lambdad"),
        *("monai.networks.nets.TorchVisionFCModel", "monai.networks.nets.ResNetFeatures", "run", "load"),
        *("monai.handlers.MLFlowHandler", "monai.transforms.WriteFileMapping", "segpipe.cli.main"),
        *(
            "segpipe.files.write_json",
            "segpipe.admission.gate.trust_bundle",
            "torch.optim.lr_scheduler.LambdaLR",
        ),
    ],
)
def test_other_callables_are_not_on_the_list(targets, path):
    assert allowed_arguments(targets.find(path)) is None


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            ".",
            "..",
            "torch.",
            ".torch",
            "torch..device",
            " torch.device",
            "torch.device ",
            "torch.device\n",
        ),
        *("tоrch.device", "torch.device.__call__", "torch.ops.a.b", "torch.classes.a", "a" * 5000),  # noqa: RUF001
        *(
            "monai.transforms.Compose.__init__",
            "monai.transforms",
            "sys.modules",
            "torch.nn.Module.__class__",
        ),
    ],
)
def test_odd_paths_name_nothing(targets, path):
    assert allowed_arguments(targets.find(path)) is None


@pytest.mark.parametrize(
    "target", [None, 3, ["torch.device"], {"a": 1}, "$torch.device", "@target", b"torch.device"]
)
def test_a_target_is_a_text(targets, target):
    assert allowed_arguments(targets.find(target)) is None


def test_no_name_on_it_is_a_module_as_well():
    """`pydoc.locate` would resolve the name to the module."""
    for name in listed_callables():
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
