"""Read and write volumes on their grids: file formats, DICOM series, search for scans."""

from segpipe.volumes.dicom import read_series
from segpipe.volumes.dicom_writer import write_series
from segpipe.volumes.folder_files import IGNORED_MARK
from segpipe.volumes.formats import VolumeFormat, volume_format
from segpipe.volumes.geometry import GRID_TOLERANCE, Grid, lps_to_ras, ras_to_lps
from segpipe.volumes.label_map_paths import (
    check_collisions,
    clashing_scans,
    existing_outputs,
    output_path,
    refused_scan,
)
from segpipe.volumes.metaimage import voxel_file
from segpipe.volumes.picture import Picture, checked_window, picture_of_volume, read_picture
from segpipe.volumes.reading import (
    label_frame,
    num_frames,
    read_channel_headers,
    read_channels,
    read_header,
    read_volume,
)
from segpipe.volumes.resampling import resampled_volumes
from segpipe.volumes.scans import (
    FoundScans,
    RefusedScan,
    Scan,
    find_label_objects,
    find_scans,
    ignored_files_note,
    left_out_beside,
    left_out_note,
    look_for_scans,
)
from segpipe.volumes.volume import (
    CHANNEL_REMEDY,
    CHANNEL_RULE,
    MAX_INTENSITY,
    NiftiForms,
    ResampledFile,
    Volume,
    VolumeHeader,
    check_finite,
    check_intensities,
    check_same_grid,
    stack_channels,
)
from segpipe.volumes.writer import write_label_frames, write_label_map, write_volume

__all__ = [
    "CHANNEL_REMEDY",
    "CHANNEL_RULE",
    "GRID_TOLERANCE",
    "IGNORED_MARK",
    "MAX_INTENSITY",
    "FoundScans",
    "Grid",
    "NiftiForms",
    "Picture",
    "RefusedScan",
    "ResampledFile",
    "Scan",
    "Volume",
    "VolumeFormat",
    "VolumeHeader",
    "check_collisions",
    "check_finite",
    "check_intensities",
    "check_same_grid",
    "checked_window",
    "clashing_scans",
    "existing_outputs",
    "find_label_objects",
    "find_scans",
    "ignored_files_note",
    "label_frame",
    "left_out_beside",
    "left_out_note",
    "look_for_scans",
    "lps_to_ras",
    "num_frames",
    "output_path",
    "picture_of_volume",
    "ras_to_lps",
    "read_channel_headers",
    "read_channels",
    "read_header",
    "read_picture",
    "read_series",
    "read_volume",
    "refused_scan",
    "resampled_volumes",
    "stack_channels",
    "volume_format",
    "voxel_file",
    "write_label_frames",
    "write_label_map",
    "write_series",
    "write_volume",
]
