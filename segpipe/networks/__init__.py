"""Networks that MONAI lacks, and the weights of any network on disk."""

from segpipe.networks.context_attention import MultiScaleContext
from segpipe.networks.convolution_kinds import ATTENTIONS, CONVOLUTIONS
from segpipe.networks.dynamic import DynamicConvolution
from segpipe.networks.efficientnet_lite import EfficientNetLite0, imagenet_lite0_file, load_imagenet_lite0
from segpipe.networks.ensemble import Ensemble
from segpipe.networks.plain_conv_unet import PlainConvUNet
from segpipe.networks.residual_encoder_unet import ResidualEncoderUNet
from segpipe.networks.segnet import PAPER_STAGES, VGG16_STAGES, SegNet
from segpipe.networks.separable import SeparableConvolution
from segpipe.networks.tile_classifier import TileClassifier
from segpipe.networks.unet import UNet
from segpipe.networks.vgg16 import load_vgg16_bn
from segpipe.networks.vgg16_classifier import VGG16Classifier, load_vgg16
from segpipe.networks.weights import Identity, load_weights, read_sidecar, save_weights, sidecar_path
from segpipe.networks.weights_files import weights_file

__all__ = [
    "ATTENTIONS",
    "CONVOLUTIONS",
    "PAPER_STAGES",
    "VGG16_STAGES",
    "DynamicConvolution",
    "EfficientNetLite0",
    "Ensemble",
    "Identity",
    "MultiScaleContext",
    "PlainConvUNet",
    "ResidualEncoderUNet",
    "SegNet",
    "SeparableConvolution",
    "TileClassifier",
    "UNet",
    "VGG16Classifier",
    "imagenet_lite0_file",
    "load_imagenet_lite0",
    "load_vgg16",
    "load_vgg16_bn",
    "load_weights",
    "read_sidecar",
    "save_weights",
    "sidecar_path",
    "weights_file",
]
