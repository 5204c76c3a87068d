"""A bundle in the style of MONAI's model zoo: JSON, short names, many expressions."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

TRAIN: dict[str, Any] = {
    "imports": [
        "$import glob",
        "$import os",
        "$import ignite",
        "$from pathlib import Path",
        "$import scripts",
    ],
    "bundle_root": ".",
    "_comment_": "free text that nothing reads",
    "notes": "1",
    "ckpt_dir": "$@bundle_root + '/models'",
    "ckpt_path": "$os.path.join(@ckpt_dir, 'start.pt')",
    "output_dir": "$str(Path(@bundle_root) / 'eval')",
    "dataset_dir": "/workspace/data/Task09_Spleen",
    "images": "$sorted(glob.glob(os.path.join(@dataset_dir, 'imagesTr', '*[!seg].nii.gz')))",
    "labels": "$[path.replace('imagesTr', 'labelsTr') for path in @images]",
    "val_interval": 5,
    "raw": False,
    "resampled": "$(not @raw)",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {
        "_target_": "UNet",
        "_desc_": "case #1, with 5 levels",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [16, 32],
        "strides": [2],
        "norm": "batch",
    },
    "network": "$@network_def.to(@device)",
    "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True},
    "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 1e-4},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "optimizer": "@optimizer"},
    "ready": "$print('begins on', @device)",
    "old_sampler": {"_target_": "gone.Sampler", "data": "@datalist", "about": "see issue #1", "n": "$numbr"},
    "train": {
        "deterministic_transforms": [
            {"_target_": "LoadImaged", "keys": ["image", "label"], "_disabled_": "@raw"},
            {
                "_target_": "LoadImaged",
                "keys": ["image", "label"],
                "reader": "itkreader",
                "_disabled_": "@resampled",
            },
            {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
            {"_target_": "not_installed.Augment", "_disabled_": "$not torch.cuda.is_available()"},
            {"_target_": "not_installed.Augment", "_disabled_": True},
        ],
        "random_transforms": [{"_target_": "RandRotated", "keys": ["image", "label"], "range_x": "$np.pi"}],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": "$@train#deterministic_transforms + @train#random_transforms",
        },
        "dataset": {
            "_target_": "CacheDataset",
            "data": "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
            "transform": "@train#preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "batch_size": 2,
            "shuffle": True,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "AsDiscreted",
                    "keys": ["pred", "label"],
                    "argmax": [True, False],
                    "to_onehot": 2,
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "_disabled_": "$not os.path.exists(@ckpt_path)",
                "load_path": "@ckpt_path",
                "load_dict": {"model": "@network"},
            },
            {
                "_target_": "ValidationHandler",
                "validator": "@validate#evaluator",
                "interval": "@val_interval",
            },
            {
                "_target_": "StatsHandler",
                "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
            },
        ],
        "key_metric": {
            "train_accuracy": {
                "_target_": "ignite.metrics.Accuracy",
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "trainer": {
            "_target_": "SupervisedTrainer",
            "_requires_": ["@ready"],
            "max_epochs": 3,
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
            "postprocessing": "@train#postprocessing",
            "key_train_metric": "@train#key_metric",
            "train_handlers": "@train#handlers",
        },
    },
    "validate": {
        "preprocessing": {"_target_": "Compose", "transforms": "%train#deterministic_transforms"},
        "dataset": {
            "_target_": "CacheDataset",
            "data": "$[{'image': i, 'label': l} for i, l in zip(@images[-9:], @labels[-9:])]",
            "transform": "@##preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4},
        "postprocessing": "%train#postprocessing",
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "LrScheduleHandler",
                "lr_scheduler": "@scheduler",
                "step_transform": "$lambda engine: engine.state.metrics['val_mean_dice']",
            },
            {
                "_target_": "CheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network"},
                "save_key_metric": True,
                "key_metric_filename": "model.pt",
            },
        ],
        "key_metric": {
            "val_mean_dice": {
                "_target_": "MeanDice",
                "include_background": False,
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "additional_metrics": {
            "val_accuracy": {
                "_target_": "ignite.metrics.Accuracy",
                "output_transform": "$lambda x: monai.handlers.from_engine(['pred', 'label'])(x)",
            }
        },
        "evaluator": {
            "_target_": "scripts.engines.LoudEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "inferer": "@validate#inferer",
            "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric",
            "additional_metrics": "@validate#additional_metrics",
            "val_handlers": "@validate#handlers",
        },
    },
    "initialize": [
        "$monai.utils.set_determinism(seed=123)",
        "$setattr(torch.backends.cudnn, 'benchmark', True)",
    ],
    "run": ["$@train#trainer.run()"],
}
EVALUATE: dict[str, Any] = {
    "validate#evaluator#_target_": "SupervisedEvaluator",
    "validate#handlers": [
        {
            "_target_": "CheckpointLoader",
            "load_path": "$@ckpt_dir + '/model.pt'",
            "load_dict": {"model": "@network"},
        },
        {
            "_target_": "MetricsSaver",
            "save_dir": "@output_dir",
            "metrics": ["val_mean_dice", "val_accuracy"],
            "metric_details": "val_mean_dice",
            "batch_transform": "$lambda x: [item['image'].meta for item in x]",
            "summary_ops": "*",
        },
    ],
    "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@validate#evaluator.run()"],
}
MULTI_GPU: dict[str, Any] = {
    "device": "$torch.device(f'cuda:{os.environ[\"LOCAL_RANK\"]}')",
    "network": {
        "_target_": "torch.nn.parallel.DistributedDataParallel",
        "module": "$@network_def.to(@device)",
        "device_ids": ["@device"],
    },
    "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "shuffle": True},
    "train#dataloader#sampler": "@train#sampler",
    "train#dataloader#shuffle": False,
    "train#trainer#train_handlers": "$@train#handlers[: -2 if dist.get_rank() > 0 else None]",
    "initialize": [
        "$import torch.distributed as dist",
        "$dist.is_initialized() or dist.init_process_group(backend='nccl')",
        "$import logging",
        "$@train#trainer.logger.setLevel(logging.WARNING if dist.get_rank() > 0 else logging.INFO)",
    ],
    "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
}
METADATA = {
    "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
    "version": "0.5.3",
    "task": "Spleen segmentation",
}
ENGINES = """\
from monai.engines import SupervisedEvaluator


class LoudEvaluator(SupervisedEvaluator):
    pass
"""


def write_zoo_bundle(root: Path, **changes: Any) -> Path:
    """Write the bundle with changes of ids in its train.json, and weights for training and evaluation."""
    for folder in ("configs", "models", "scripts", "data"):
        (root / folder).mkdir(parents=True)
    train = deepcopy(TRAIN) | {"dataset_dir": str(root / "data")} | changes
    files = {"train": train, "evaluate": EVALUATE, "multi_gpu_train": MULTI_GPU, "metadata": METADATA}
    for name, content in files.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(content, indent=4))
    (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / "engines.py").write_text(ENGINES)
    (root / "models" / "model.pt").touch()
    return root
