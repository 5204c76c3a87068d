"""Networks of bundles as files for other programs: TorchScript, ONNX and OpenVINO."""

from segpipe.export.bundle import Exported, ExportOptions, export_bundle

__all__ = ["ExportOptions", "Exported", "export_bundle"]
