"""Public data sets and archives that are recognised by the names of their files.

Templates are paths below the folder without suffix. `{name}` stands for the field of that name, `[...]` may be missing,
`(a|b)` is one of both, `*` any text without a slash, `**/` any number of folders. Upper and lower case count as equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_BRATS_OLD = {0: "background", 1: "necrotic tumour core", 2: "oedema", 4: "enhancing tumour"}
_BRATS_NEW = {
    0: "background",
    1: "necrotic tumour core",
    2: "oedema",
    3: "enhancing tumour",
    4: "resection cavity",
}
_VERTEBRAE = {
    0: "background",
    **{number: f"C{number}" for number in range(1, 8)},
    **{number + 7: f"T{number}" for number in range(1, 13)},
    **{number + 19: f"L{number}" for number in range(1, 7)},
    26: "sacrum",
    27: "coccyx",
    28: "T13",
}
_NOT_DERIVED = r"(?:(?!(?:derivatives|sourcedata)/)[^/]+/)*?"  # BIDS: raw scans lie outside these two folders
_BIDS_IMAGE = "{above}[rawdata/]{patient}/[{session}/](anat|ct|pet|dwi)/{patient}[_{session}][_*]_"
_BIDS_LABEL = "{above}derivatives/**/{patient}[_{session}]"
_BIDS_BESIDE = "{above}[rawdata/]{patient}/[{session}/](anat|ct|pet|dwi)/{patient}[_{session}]"


@dataclass(frozen=True)
class KnownSet:
    """The names of a data set's files.

    Attributes:
        name: of the data set.
        channels: channel -> template of its images, in the order that a network gets them. A name is a modality.
        labels: templates of the label maps; the first one that fits any file counts.
        fields: field -> regular expression. `patient` is required; all fields except `above` name a case, in the
            order of the image's template. `above`, folders above the data set, need not be given.
        classes: stored value -> name; those that no label map stores are left out. None where not known.
        joined: text between the fields in a case's id.
        same_channels: True: a case that lacks a channel is an error. False: the channels that all cases have on the
            label map's grid are used.
        ignored: template -> reason why such a scan is no image of the set.
        masks: template of one mask for each class, with the field `class`, in place of `labels`.
        patients: how patients are known.
    """

    name: str
    channels: Mapping[str, str]
    labels: tuple[str, ...]
    fields: Mapping[str, str]
    classes: Mapping[int, str] | None = None
    joined: str = "_"
    same_channels: bool = True
    ignored: Mapping[str, str] = field(default_factory=dict)
    masks: str = ""
    patients: str = "the folder of the scan"


def _brats(name: str, patient: str, classes: Mapping[int, str] | None, visits: bool) -> KnownSet:
    """Return BraTS with T1, contrast-enhanced T1, T2 and FLAIR in a folder for each scan."""
    case = "{patient}-{visit}" if visits else "{patient}"
    ends = ("t1n", "t1c", "t2w", "t2f") if visits else ("t1", "t1ce", "t2", "flair")
    start = f"{{above}}{case}/{case}" + ("-" if visits else "_")
    fields = {"patient": patient, **({"visit": r"[0-9]+"} if visits else {})}
    return KnownSet(
        name,
        dict(zip(("T1", "T1c", "T2", "FLAIR"), (start + end for end in ends), strict=True)),
        (start + "seg",),
        fields,
        classes,
        joined="-",
        patients="the folder of the scan without the number of the visit"
        if visits
        else "the folder of the scan",
    )


KNOWN_SETS = (
    _brats("BraTS (2017 to 2021)", r"brats(?:[0-9]{2}|2021)?_[a-z0-9_]+", _BRATS_OLD, visits=False),
    _brats("BraTS (2023 and later)", r"brats-(?:gli|men|met|ssa)-[0-9]+", _BRATS_NEW, visits=True),
    _brats("BraTS (2023 and later)", r"brats-[a-z]+-[0-9]+", None, visits=True),
    KnownSet(
        "ISLES 2022",
        {
            "DWI": "{above}[(rawdata|raw_data)/]{patient}/{session}/[*/]{patient}_{session}_dwi",
            "ADC": "{above}[(rawdata|raw_data)/]{patient}/{session}/[*/]{patient}_{session}_adc",
            "FLAIR": "{above}[(rawdata|raw_data)/]{patient}/{session}/[*/]{patient}_{session}_flair",
        },
        ("{above}derivatives/{patient}/{session}/[*/]{patient}_{session}_msk",),
        {
            "above": _NOT_DERIVED,
            "patient": r"sub-stroke(?:case)?[a-z0-9]+",
            "session": r"ses-[a-z0-9]+",
        },
        {0: "background", 1: "stroke lesion"},
        same_channels=False,
        patients="the folder sub-...",
    ),
    KnownSet(
        "VerSe",
        {"CT": "{above}rawdata/{patient}/{patient}[_{series}]_ct"},
        ("{above}derivatives/{patient}/{patient}[_{series}]_seg-vert_msk",),
        {"patient": r"sub-[a-z0-9]+", "series": r"(?:dir|split)-[a-z0-9]+"},
        _VERTEBRAE,
        patients="the folder sub-...",
    ),
    KnownSet(
        "BIDS",
        {
            "T1w": _BIDS_IMAGE + "t1w",
            "T2w": _BIDS_IMAGE + "t2w",
            "FLAIR": _BIDS_IMAGE + "flair",
            "PDw": _BIDS_IMAGE + "pdw",
            "DWI": _BIDS_IMAGE + "dwi",
            "ADC": _BIDS_IMAGE + "adc",
            "CT": _BIDS_IMAGE + "ct",
            "PET": _BIDS_IMAGE + "pet",
        },
        (
            _BIDS_LABEL + "_*lesion*_(mask|roi|dseg)",
            _BIDS_BESIDE + "_*lesion*_(mask|roi|dseg)",
            _BIDS_LABEL + "[_*]_(dseg|seg)",
            _BIDS_BESIDE + "[_*]_(dseg|seg)",
            _BIDS_LABEL + "[_*]_(mask|msk|roi)",
            _BIDS_BESIDE + "[_*]_(mask|msk|roi)",
        ),
        {"above": _NOT_DERIVED, "patient": r"sub-[a-z0-9]+", "session": r"ses-[a-z0-9]+"},
        same_channels=False,
        ignored={
            "**/derivatives/**/*_(t1w|t2w|flair|pdw)": "derived from the scans of a patient",
        },
        patients="the folder sub-...",
    ),
    KnownSet(
        "KiTS",
        {"CT": "{above}{patient}/imaging"},
        ("{above}{patient}/segmentation",),
        {"patient": r"case_[0-9]{5}"},
        {0: "background", 1: "kidney", 2: "tumour", 3: "cyst"},
        ignored={"**/case_*/instances/*": "one annotator's drawing of one structure"},
    ),
    KnownSet(
        "LiTS",
        {"CT": "**/volume-{patient}"},
        ("**/segmentation-{patient}",),
        {"patient": r"[0-9]+"},
        {0: "background", 1: "liver", 2: "tumour"},
        ignored={"**/test-volume-*": "a test scan, whose label map is not public"},
        patients="the number in the name of the scan",
    ),
    KnownSet(
        "ACDC",
        {"MRI": "{above}{patient}/{patient}_{frame}"},
        ("{above}{patient}/{patient}_{frame}_gt",),
        {"patient": r"patient[0-9]{3}", "frame": r"frame[0-9]{2}"},
        {0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle"},
        ignored={"**/patient*_4d": "all frames of a heart beat in one file, without a label map"},
    ),
    KnownSet(
        "WMH challenge",
        {"FLAIR": "{above}{patient}/pre/flair", "T1": "{above}{patient}/pre/t1"},
        ("{above}{patient}/wmh",),
        {"patient": r"[0-9]+"},
        {
            0: "background",
            1: "white matter hyperintensity",
            2: "ignore",
        },  # other pathology, which the challenge does not score
        ignored={
            "**/orig/*": "a scan before its preprocessing, on its own grid",
            "**/pre/3dt1": "the T1 scan on its own grid",
        },
    ),
    KnownSet(
        "AutoPET",
        {"CT": "{above}{patient}/{study}/ctres", "PET": "{above}{patient}/{study}/suv"},
        ("{above}{patient}/{study}/seg",),
        {"patient": r"petct_[a-z0-9]+", "study": r"[^/]+"},
        {0: "background", 1: "tumour lesion"},
        ignored={
            "**/ct": "the CT on its own grid; CTres is the CT on the grid of the PET",
            "**/pet": "the PET in counts; SUV is the PET in standardised uptake values",
        },
        patients="the folder PETCT_...",
    ),
    KnownSet(
        "TotalSegmentator",
        {"CT": "{above}{patient}/ct"},
        (),
        {"patient": r"s[0-9]{4}", "class": r"[^/]+"},
        masks="{above}{patient}/segmentations/{class}",
    ),
    KnownSet(
        "TotalSegmentator MRI",
        {"MRI": "{above}{patient}/mri"},
        (),
        {"patient": r"s[0-9]{4}", "class": r"[^/]+"},
        masks="{above}{patient}/segmentations/{class}",
    ),
)
