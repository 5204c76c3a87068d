"""Each kind of mistake in a shipped bundle is one finding, with its place and the nearest correct name."""

import json

import pytest
from shipped_bundles import BUNDLES, HIPPOCAMPUS, LUNG, line_of

from segpipe.configuration.reading import configuration_files
from segpipe.errors import SegpipeError

PARAMS = {"network": "network_def", "learning_rate": "learning_rate", "started": "started"}
OVERRIDES = {
    "an id": ({"epochz": 9}, "epochz is no id of this configuration; did you mean epochs?"),
    "a nested id": (
        {"train#traner#amp": False},
        "train#traner#amp is no id of this configuration; did you mean train#trainer#amp?",
    ),
    "the last part of an id": (
        {"max_lr": 0.1},
        "max_lr is no id of this configuration; did you mean lr_scheduler#max_lr?",
    ),
    "an argument": (
        {"optimizer#lrr": 0.1},
        "optimizer#lrr is no argument of torch.optim.AdamW; did you mean lr?",
    ),
    "an item that a list has not": (
        {"random_transforms#99#prob": 1.0},
        "random_transforms#99#prob is no id of this configuration: random_transforms has the items 0 to 7",
    ),
    "a number without a point": (
        {"learning_rate": "1e-3"},
        "learning_rate is the text '1e-3', not a number; write it without quotes and with a point, as 1.0e-3",
    ),
    "a truth value in quotes": (
        {"resume": "true"},
        "resume is the text 'true', not a truth value; write True or False",
    ),
    "null, which MONAI drops": (
        {"epochs": None},
        "epochs is given as null, which MONAI's run ignores without a message; write it into a file of --config",
    ),
    "a reference": (
        {"val_interval": "@epoch"},
        "val_interval refers to @epoch, which is not there; did you mean epochs?",
    ),
    "a circle": ({"epochs": "@val_interval", "val_interval": "@epochs"}, "refers to itself: "),
    "a sign that MONAI changes in an expression": (
        {"output_dir": "$@bundle_root + '/runs#1'"},
        "MONAI turns # into ::, in any text; write it without",
    ),
    "a sign that MONAI changes": (
        {"precision": "a#b"},
        "precision is 'a#b': MONAI turns # into ::, in any text; write it without",
    ),
}


@pytest.mark.parametrize("kind", OVERRIDES)
def test_a_mistaken_override(kind, findings_after):
    overrides, expected = OVERRIDES[kind]

    (finding,) = findings_after(**{name.replace("#", "__"): value for name, value in overrides.items()})

    assert finding.startswith("command line: ")
    assert expected in finding


def test_an_override_may_add_an_argument_that_the_component_takes(findings_after):
    assert findings_after(optimizer__amsgrad=True) == []


def test_an_override_may_disable_a_component(findings_after):
    assert findings_after(random_transforms__3___disabled_=True) == []


def test_a_reference_to_nothing_is_one_finding_however_often_it_stands(findings_after):
    (finding,) = findings_after(("filters: [16", "filtres: [16"))

    assert finding == (
        f"{line_of('  filters:')}: network_def#filters refers to @filters, which is not there; "
        "did you mean filtres?"
    )


def test_an_id_that_nothing_uses(findings_after):
    (finding,) = findings_after(("patience: 5", "patience: 5\npatiense: 9"))

    assert finding.endswith("patiense is used by nothing in this configuration; did you mean patience?")


def test_a_misspelt_id_that_monai_would_run(findings_after):
    (finding,) = findings_after(("\ninitialize:", "\ninitialise:"))

    assert finding == (
        f"{line_of('initialize:')}: initialise is used by nothing in this configuration; did you mean initialize?"
    )


def test_nothing_to_run(findings_after):
    assert findings_after(("\nrun:\n", "\nruns:\n")) == [
        "configs/train.yaml: has no run, which MONAI's run would run; did you mean runs?"
    ]


def test_an_override_file_that_sets_in_what_is_not_there(findings_after):
    (finding,) = findings_after(
        ("validate#evaluator#network:", "validator#evaluator#network:"),
        configs=("train.yaml", "multi_gpu_train.yaml"),
        file="multi_gpu_train.yaml",
    )

    assert "validator#evaluator#network sets an item of validator#evaluator, which does not exist" in finding
    assert finding.endswith("; did you mean validate#evaluator?")


def test_an_override_file_that_adds_to_what_is_not_there(findings_after):
    (finding,) = findings_after(
        ("+load_transforms", "+load_transform"),
        configs=("train.yaml", "evaluate.yaml"),
        file="evaluate.yaml",
        weights=[str(BUNDLES / HIPPOCAMPUS / "models" / "model.pt")],
    )

    place = line_of("+load_transforms", file="evaluate.yaml")
    assert (
        finding
        == f"{place}: load_transform begins with +, which adds to an id, and this id does not exist; did you mean "
        "load_transforms?"
    )


def test_what_an_override_file_replaces_is_found_in_that_file(findings_after):
    (finding,) = findings_after(
        ("factor: 1.0", "faktor: 1.0"), name=LUNG, configs=("train.yaml", "article.yaml"), file="article.yaml"
    )

    assert finding == (
        f"{line_of('factor: 1.0', LUNG, 'article.yaml')}: lr_scheduler#faktor is no argument of "
        "torch.optim.lr_scheduler.ConstantLR; did you mean factor?"
    )


UNRESOLVED = {
    "a path": ("'@bundle_root/runs'", "is the text '@bundle_root/runs'"),
    "a sum": ("'-@epochs'", "is the text '-@epochs'"),
    "no id at all": ("'@id:entity'", "is the text '@id:entity'"),
}


@pytest.mark.parametrize("kind", UNRESOLVED)
def test_an_id_in_a_text_that_monai_leaves_as_it_is(kind, findings_after):
    text, expected = UNRESOLVED[kind]

    (finding,) = findings_after(("learning_rate: 0.003", f"learning_rate: {text}"))

    assert finding == (
        f"{line_of('learning_rate:')}: learning_rate {expected}: MONAI reads @ in expressions, "
        "or alone; begin it with $"
    )


MACROS = {
    "%optimiser": "optimizer_2 copies optimiser, which is not there; did you mean optimizer?",
    "%nowhere.yaml#x": "optimizer_2 copies nowhere.yaml, and there is no such file",
    "%configs/evaluate.yaml#weights": "optimizer_2 copies configs/evaluate.yaml, and there is no such file (the "
    "file is in the bundle: macros begin at the working directory)",
}


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_of_nothing(macro, findings_after):
    (finding,) = findings_after(
        ("\nlr_scheduler:", f'\noptimizer_2: "{macro}"\n\nlr_scheduler:'),
        ('optimizer: "@optimizer"', 'optimizer: "@optimizer_2"'),
    )

    assert finding == f"{line_of('lr_scheduler:')}: {MACROS[macro]}"


def test_a_macro_copies_what_it_names(findings_after):
    changes = [
        ("\nlr_scheduler:", '\noptimizer_2: "%optimizer"\n\nlr_scheduler:'),
        ('optimizer: "@optimizer"', 'optimizer: "@optimizer_2"'),
    ]

    assert findings_after(*changes) == []
    (finding,) = findings_after(optimizer_2__foreech=True)
    assert "optimizer_2#foreech" in finding


TARGETS = {
    "a class": (
        "monai.networks.nets.DynUNet",
        "monai.networks.nets.DynUNett",
        "monai.networks.nets has no DynUNett; did you mean monai.networks.nets.DynUNet?",
    ),
    "a module": (
        "monai.networks.nets.DynUNet",
        "monai.netwroks.nets.Dyn",
        "monai has no netwroks; did you mean monai.networks?",
    ),
    "a package": ("torch.optim.AdamW", "troch.optim.AdamWW", "there is no module troch; did you mean torch?"),
    "a class that lies elsewhere": (
        "monai.networks.nets.DynUNet",
        "monai.networks.DynUNet",
        "there is no monai.networks.DynUNet; did you mean monai.networks.nets.dynunet.DynUNet?",
    ),
    "a module beside MONAI's": (
        "segpipe.bundle.TrainingCases",
        "segpipe.bundles.TrainingCases",
        "segpipe has no bundles; did you mean segpipe.bundle?",
    ),
    "one of segpipe's": (
        "segpipe.bundle.TrainingCases",
        "segpipe.bundle.TrainCases",
        "segpipe.bundle has no TrainCases; did you mean segpipe.bundle.TrainingCases?",
    ),
    "a short name": (
        "monai.networks.nets.DynUNet",
        "DynUNett",
        "MONAI has no DynUNett; did you mean DynUNet?",
    ),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_target_that_is_not_there(kind, findings_after):
    old, new, expected = TARGETS[kind]

    (finding,) = findings_after((f"_target_: {old}", f"_target_: {new}"))

    component = {"torch.optim.AdamW": "optimizer", "segpipe.bundle.TrainingCases": "cases"}.get(
        old, "network_def"
    )
    assert finding == f"{line_of(f'{component}:')}: {component} names {new}: {expected}"


def test_a_module_as_target(findings_after):
    (finding,) = findings_after(("_target_: monai.networks.nets.DynUNet", "_target_: monai.networks.nets"))

    assert finding.endswith("names monai.networks.nets, which is a module, not a class or a function")


def test_a_target_in_a_module_that_cannot_be_imported(findings_after, tmp_path):
    findings_after()
    (tmp_path / HIPPOCAMPUS / "broken.py").write_text("import nowhere_to_be_found\n")

    (finding,) = findings_after(("_target_: monai.networks.nets.DynUNet", "_target_: broken.Net"))

    reason = "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert finding.endswith(f"network_def names broken.Net, which cannot be imported: {reason}")


ARGUMENTS = {
    "misspelt": (
        ("in_channels: 1", "in_chanels: 1"),
        "network_def#in_chanels is no argument of monai.networks.nets.DynUNet; did you mean in_channels?",
    ),
    "missing": (
        ('  strides: "@strides"\n  upsample', "  upsample"),
        "network_def lacks arguments that monai.networks.nets.DynUNet needs: strides",
    ),
    "a key of MONAI's": (
        ("  fused: true", "  _disable_: true"),
        "optimizer#_disable_ is no key that MONAI knows; did you mean _disabled_?",
    ),
    "the target itself": (
        ("_target_: torch.optim.AdamW", "_targt_: torch.optim.AdamW"),
        "optimizer#_targt_ is no key that MONAI knows; did you mean _target_?",
    ),
    "a mode": (
        ("  fused: true", "  _mode_: partial"),
        "optimizer#_mode_ is 'partial', must be default, callable, debug",
    ),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_an_argument_that_does_not_bind(kind, findings_after):
    change, expected = ARGUMENTS[kind]

    (finding,) = findings_after(change)

    assert finding.startswith("configs/train.yaml:")
    assert finding.endswith(f": {expected}")


def test_an_item_without_target_in_a_list_of_components(findings_after):
    (finding,) = findings_after(("  - _target_: monai.transforms.RandGaussianNoised\n    keys", "  - keys"))

    assert finding.endswith("random_transforms#7 has no _target_, but the other items of its list have one")


def test_monais_loader_accepts_only_arguments_of_torchs_loader(findings_after):
    assert findings_after(train__dataloader__prefetch_factor=2) == []

    (finding,) = findings_after(train__dataloader__batchsize=2)

    assert finding == (
        "command line: train#dataloader#batchsize is no argument of segpipe.bundle.RunLoader; did you mean batch_size?"
    )


def test_keywords_that_a_typed_dict_lists_are_the_only_ones(findings_after):
    how = {"configs": ("inference.yaml",), "file": "inference.yaml"}

    right, wrong = (
        set(findings_after(**how, **{f"cases__{name}": True}))
        for name in ("resample_channels", "resample_chanels")
    )

    assert wrong - right == {
        "command line: cases#resample_chanels is no argument of segpipe.bundle.inference_cases; did you mean "
        "resample_channels?"
    }


def test_a_callable_need_not_have_all_its_arguments(findings_after):
    params = "  params:\n    _target_: segpipe.bundle.parameter_groups\n"
    more = "".join(f'    {name}: "@{of}"\n' for name, of in PARAMS.items())
    assert findings_after((params + more, "  _mode_: callable\n")) == []


def test_a_disabled_component_is_not_looked_at(findings_after):
    assert (
        findings_after(
            ("_target_: monai.transforms.RandGaussianNoised", "_target_: nowhere.Noise\n    _disabled_: true")
        )
        == []
    )


STEPS = 'steps: "$len(@train#dataloader)"'
EXPRESSIONS = {
    "no Python": (
        "$len(@train#dataloader",
        "is no Python expression: '(' was never closed: $len(@train::dataloader",
    ),
    "an id without its @": (
        "$epochs * 2",
        "uses epochs, which is neither imported nor a reference; did you mean @epochs?",
    ),
    "a module that nothing imports": (
        "$os.getpid()",
        "uses os, which is neither imported nor a reference; add `$import os` to imports",
    ),
    "a name of a module": ("$torch.tensr(3)", "uses torch.tensr, which is not there; did you mean tensor?"),
}


@pytest.mark.parametrize("kind", EXPRESSIONS)
def test_an_expression_that_cannot_be_evaluated(kind, findings_after):
    expression, expected = EXPRESSIONS[kind]

    (finding,) = findings_after(('"$len(@train#dataloader)"', f'"{expression}"'))

    assert finding == f"{line_of(STEPS)}: lr_scheduler#total_steps#steps {expected}"


def test_a_module_that_nothing_imports_is_one_finding_however_often_it_is_used(findings_after):
    (finding,) = findings_after(
        ("  - $import monai.handlers as handlers\n", ""), ("seed: 0", "seed: $handlers.SEED")
    )

    assert finding.endswith(
        "seed uses handlers, which is neither imported nor a reference; add `$import handlers` to imports (and 1 more)"
    )


def test_a_module_that_cannot_be_imported_is_found_where_it_is_used(findings_after):
    (finding,) = findings_after(
        ("  - $import torch\n", "  - $import torch\n  - $import tensorbored as board\n"),
        ('"$len(@train#dataloader)"', '"$board.steps"'),
    )

    assert (
        "lr_scheduler#total_steps#steps uses board, which cannot be imported: ModuleNotFoundError" in finding
    )


def test_nothing_is_evaluated(findings_after, tmp_path):
    trap = f"$open({str(tmp_path / 'trap')!r}, 'w').close()"

    assert findings_after(("seed: 0", f"seed: {json.dumps(trap)}")) == []
    assert not (tmp_path / "trap").exists()


METRICS = {
    "a metric of another name": (
        ("metric: val_mean_dice", "metric: val_mean_dize"),
        "validate#handlers#1#metric names val_mean_dize, which is no metric of validate#evaluator; "
        "did you mean val_mean_dice?",
    ),
    "the key metric renamed": (
        ("    val_mean_dice:\n", "    val_dice:\n"),
        "validate#handlers#1#metric names val_mean_dice, which is no metric of validate#evaluator; "
        "did you mean val_dice?",
    ),
    "a metric that a handler reads": (
        (
            "    print_lr: false",
            "    step_transform: \"$lambda _: @validate#evaluator.state.metrics['dice']\"",
        ),
        "train#handlers#2#step_transform reads dice, which is no metric of validate#evaluator",
    ),
    "the best by a metric that is not there": (
        (
            "    - _target_: segpipe.training.SaveBest\n",
            "    - _target_: monai.handlers.CheckpointSaver\n      save_dir: models\n      save_dict: {}\n"
            "      save_key_metric: true\n      key_metric_name: dice\n    - _target_: segpipe.training.SaveBest\n",
        ),
        "validate#handlers#0#key_metric_name names dice, which is no metric of validate#evaluator",
    ),
    "reported and not computed": (
        (
            "    - _target_: segpipe.training.SaveBest\n",
            "    - _target_: monai.handlers.MetricsSaver\n      save_dir: models\n"
            "      metrics: [val_mean_dice, val_acc]\n    - _target_: segpipe.training.SaveBest\n",
        ),
        "validate#handlers#0#metrics names val_acc, which is no metric of validate#evaluator",
    ),
}


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_that_nothing_computes(kind, findings_after):
    change, expected = METRICS[kind]

    (finding,) = findings_after(change)

    assert expected in finding


def test_an_engine_that_computes_no_metric_is_one_finding(findings_after):
    (finding,) = findings_after(('    key_val_metric: "@validate#key_metric"\n', ""))

    what = "validate#evaluator computes no metric, but validate#handlers#0 saves or logs one (and 1 more)"
    assert finding.startswith("configs/train.yaml:")
    assert finding.endswith(f": {what}")


def test_yaml_that_cannot_be_read_is_the_one_finding(findings_after):
    (finding,) = findings_after(("seed: 0", "seed: [0"))

    assert finding.startswith("configs/train.yaml:")
    assert "is no YAML: " in finding


def test_a_number_without_a_point(findings_after):
    (finding,) = findings_after(("learning_rate: 0.003", "learning_rate: 3e-3"))

    assert finding.startswith(
        f"{line_of('learning_rate:')}: learning_rate is the text '3e-3', not a number; "
    )


def test_a_key_that_stands_twice(findings_after):
    (finding,) = findings_after(("\nseed: 0\n", "\nseed: 0\nepochs: 9\n"))

    place = int(line_of("seed: 0").rpartition(":")[2]) + 1
    assert finding == (
        f"configs/train.yaml:{int(line_of('epochs: 24').rpartition(':')[2]) + 1}: epochs stands twice, first in line "
        f"{place}; MONAI keeps the last alone: remove one"
    )


def test_a_key_that_yaml_reads_as_a_truth_value(findings_after):
    findings = findings_after(("\nseed: 0\n", "\nseed: 0\non: 3\n"))

    assert any("is read as True, not as text: write it in quotes" in finding for finding in findings)


def test_a_file_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(
        SegpipeError, match=r"artcle.yaml: no such configuration.*did you mean article.yaml\?"
    ):
        configuration_files(BUNDLES / LUNG, ["train.yaml", "artcle.yaml"])


def test_a_logging_conf_that_writes_a_file(findings_after):
    old = "class=StreamHandler\nlevel=INFO\nformatter=fullFormatter\nargs=(sys.stdout,)"
    new = "class=FileHandler\nlevel=INFO\nformatter=fullFormatter\nargs=('~/.bashrc', 'a')"

    (finding,) = findings_after((old, new), file="logging.conf")

    assert finding.startswith(
        "configs/logging.conf:14: [handler_consoleHandler] writes to the file '~/.bashrc', outside"
    )
