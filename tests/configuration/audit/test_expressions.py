"""The audit admits the usual forms of expressions, and refuses all that could run other code."""

import pytest

IMPORTS = [
    "$import torch",
    "$import os",
    "$import glob",
    "$import torch.distributed as dist",
    "$import numpy as np",
]
PLAIN = [
    "$@number + 2 * (3 - 1) // 2",
    "$@names[0] if @number > 1 else 'b'",
    "$[{'image': name} for name in sorted(@names)]",
    "$[i for i in range(3)] + [i for i in [0]]",
    "$list(zip(@names, [name.replace('a', 'b') for name in @names]))",
    "$'%s_%d' % ('a', @number)",
    '$f"{@number}"',
    "$len(@names) and not @number",
    "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "$torch.device(f\"cuda:{os.environ['LOCAL_RANK']}\")",
    "$os.path.join(@folder, 'models', 'model.pt')",
    "$glob.glob(os.path.join(@folder, '*.nii.gz'))",
    "$@network.to(@device)",
    "$@network.parameters()",
    "$dist.init_process_group(backend='nccl')",
    "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "$torch.float32",
    "$np.float32",
]
NOT_PLAIN = [
    "$__import__('os').system('true')",
    "$eval('1')",
    "$getattr(torch, 'hub')",
    "$setattr(torch.backends, 'cudnn', True)",
    "$setattr(torch.backends.cudnn, 'conv', True)",
    "$torch.hub.load('a', 'b')",
    "$torch.load('a', weights_only=False)",
    "$np.load('a', allow_pickle=True)",
    "$torch.os.system('true')",
    "$monai.utils.misc.os.system('true')",
    "$np.ctypeslib.ctypes.CDLL(None)",
    "$os.environ['HOME']",
    "$os.environ.get('HOME')",
    "$os.listdir('a')",
    "$().__class__",
    "$@network.__class__",
    "$@network.train()",
    "$(lambda: 1)()",
    "$[name := 1]",
    "$list(i for i in [1])",
    "${i: 1 for i in [1]}",
    "${i for i in [1]}",
    "$max(*[1, 2])",
    "$dict(**@network)",
    "$[*@names]",
    "$f'{1:>{2}}'",
    "$b'a'",
    "$...",
    "$1; 2",
    "$2 ** 9",
    "$1 << 9",
    "$@names[0](1)",
    "$[eval, 1][0]",
    "$sorted(['1'], key=eval)",
    "$sorted(['1'], key=ｅｖａｌ)",  # noqa: RUF001 - Python reads these letters as eval
    "$sorted(['1'], key=[eval for eval in [eval]][0])",  # the outer name stands in the first list
    "$sorted(['1'], key=[ｅｖａｌ for ｅｖａｌ in [ｅｖａｌ]][0])",  # noqa: RUF001
    "$[torch for torch in [1]]",
    "$[1 for __local_refs in [{}]]",
    "$\n__import__('os')",
    "$ 1",
    "$'a'.replace('b')",  # of a path, it renames a file
    "$@table.folder.replace('b')",
    "$dist.init_process_group('gloo', 'file' + ':' + '/' + '/' + '/' + 'a')",
    "$dist.init_process_group(backend='gloo', init_method='a')",
    "$dist.init_process_group(backend=@names[0])",
    "$dist.init_process_group('gloo', backend='gloo')",
    "$monai.utils.set_determinism(seed=1, additional_settings=[torch.hub.load])",
    "$@network.run() if True else open('a')",
    "$@nothing.run()",
    "$@names @ @names",
    "$@imports::0.run()",
    "$[@imports][0][0].run()",
    "$@settings::module.run()",
    "$'/etc/passwd'",
    "$'..'",
]


@pytest.fixture
def of_expression(problems_in):
    """Return a function that lists the findings in one expression, beside ids that it can refer to."""

    def look(expression, imports=IMPORTS):
        return problems_in(
            imports=imports,
            number=1,
            names=["a"],
            folder="data",
            device="$torch.device('cpu')",
            network={"_target_": "monai.networks.nets.UNet"},
            settings={"module": "$import monai.bundle"},
            table={"_target_": "segpipe.evaluation.ScoreTable", "folder": "@bundle_root"},
            value=expression,
        )

    return look


@pytest.mark.parametrize("expression", PLAIN)
def test_plain_expressions_need_no_consent(of_expression, expression):
    assert of_expression(expression) == []


@pytest.mark.parametrize("expression", NOT_PLAIN)
def test_any_other_expression_is_found(of_expression, expression):
    (what,) = of_expression(expression)

    assert what.startswith("value evaluates")


@pytest.mark.parametrize(
    ("statement", "expression"),
    [
        ("$from os import system as int", "$sorted(['true'], key=int)"),  # int may be handed over
        ("$from os import system as len", "$len('true')"),
        ("$from os.path import dirname as str", "$str(@folder)"),
        ("$from os.path import dirname as join", "$join(@folder)"),  # which is read as os.path.join elsewhere
        ("$import os as torch", "$torch.float32"),
        ("$import os as np", 1),
        ("$import json as glob", 1),  # MONAI may import either first
        ("$import segpipe.__main__", 1),
        ("$from torch._inductor import codecache", 1),
        ("$from . import a", 1),
        ("$import subprocess", 1),
        ("$import scripts", 1),
        ("$import torch; print(1)", 1),
    ],
)
def test_an_import_gives_no_name_another_meaning(of_expression, statement, expression):
    problems = of_expression(expression, [*IMPORTS, statement])

    assert any(what.startswith("imports::5 ") for what in problems)


@pytest.mark.parametrize(
    "text", ["@imports", "@imports::0", "@settings", "@settings::module", "@nothing", "@", "@a b"]
)
def test_a_reference_gives_no_module_and_refers_to_something(of_expression, text):
    (what,) = of_expression(text)

    assert what.startswith("value ")


@pytest.mark.parametrize(
    "value",
    [{0: "$import monai", "0": 1}, {"": {"a": 1}}, {"b::c": "$import monai", "b": {"c": 1}}, {"b#c": 1}],
)
def test_keys_make_one_id_each(problems_in, value):
    """MONAI resolves an id to the first of two values with this id."""
    assert any("which is no part of an id" in what for what in problems_in(value=value))


def test_a_key_that_is_a_number_is_no_id_to_refer_to(problems_in):
    assert problems_in(value={0: "$import monai.bundle"}) == []
    assert problems_in(value={0: "$import monai.bundle"}, other="$@value::0.run()")


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": {"_target_": "os.system", "command": "true"}},
        {"a": "$print(1)"},
        {"a": "@imports::0"},
        {"a": "%imports"},
    ],
)
def test_metadata_are_judged_as_what_refers_to_them_would_make_of_them(problems_in, metadata):
    assert problems_in(imports=["$import torch"], _meta_=metadata, value="@_meta_::a")


def test_metadata_may_name_addresses_and_paths(problems_in):
    assert (
        problems_in(_meta_={"source": "https://example.org/a", "path": "/data/a", "module": "torch.hub"})
        == []
    )


def test_what_the_user_has_set_is_the_users(problems_in):
    assert problems_in(["value"], value="$print(1)") == []
    assert problems_in(["values"], value="$print(1)")
