"""A manifest is read completely or refused with the wrong place; MONAI and MSD files stay readable."""

import json
import re

import pytest

from segpipe.dataset import (
    Case,
    Manifest,
    load_manifest,
    parse_manifest,
    shipped_manifests,
    with_groups,
    write_manifest,
)
from segpipe.errors import SegpipeError

HASH = "ab" * 32
GOOD = [
    "liver",
    "T1 (post)",
    "Lésion 2",
    "腫瘍",
    "a$b",
    "50 % stenosis",
    "x@y",
    "a#1",
    "it's",
    '"quoted"',
    "~",
]


def mask_json(**changes):
    """Return a valid manifest of two cases, with `changes` applied."""
    return {
        "schema_version": 1,
        "name": "two",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "tumour"},
        "target": "mask",
        "numTraining": 2,
        "training": [case_json("a"), case_json("b")],
        **changes,
    }


def case_json(name, **changes):
    return {"case": name, "image": [f"images/{name}.nii.gz"], "label": f"labels/{name}.nii.gz", **changes}


def msd_json():
    return {
        "name": "Hippo",
        "description": "crops",
        "reference": "somebody",
        "licence": "CC",
        "relase": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior"},
        "numTraining": 1,
        "training": [{"image": "./imagesTr/h_001.nii.gz", "label": "./labelsTr/h_001.nii.gz"}],
        "numTest": 1,
        "test": ["./imagesTs/h_002.nii.gz"],
    }


def full_manifest():
    return Manifest(
        name="two channels",
        modality=("T1", "T2"),
        labels={-1: "background", 7: "tumour"},
        training=(
            Case("a", ("a_t1.nii", "a_t2.nii"), "a_seg.nii", "p1", 0, (), {"a_t1.nii": HASH}),
            Case("b", ("b.nii",), "b_seg.nii", None, 1, weight=2.5),
        ),
        test=(Case("c", ("c.nii",)),),
        description="d",
        source="s",
        reference="r",
        licence="l",
        citation="é",
        patients="unknown: nobody says",
        checksums="of the first release",
    )


def test_manifest_reads_what_it_writes(tmp_path):
    write_manifest(full_manifest(), tmp_path / "m.json")

    assert load_manifest(tmp_path / "m.json") == full_manifest()


def test_same_manifest_gives_the_same_bytes(tmp_path):
    write_manifest(full_manifest(), tmp_path / "one.json")
    write_manifest(load_manifest(tmp_path / "one.json"), tmp_path / "two.json")

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_hash_is_of_content_and_not_of_layout(tmp_path):
    original = parse_manifest(mask_json(), "m")
    (tmp_path / "m.json").write_text(json.dumps(dict(reversed(mask_json().items())), indent=7))

    assert load_manifest(tmp_path / "m.json").sha256 == original.sha256
    assert parse_manifest(mask_json(name="other"), "m").sha256 != original.sha256


def test_monai_reads_a_manifest(tmp_path):
    from monai.data import load_decathlon_datalist

    write_manifest(full_manifest(), tmp_path / "m.json")

    records = load_decathlon_datalist(
        tmp_path / "m.json", is_segmentation=True, data_list_key="training", base_dir=tmp_path
    )

    assert records[0]["image"] == [str(tmp_path / "a_t1.nii"), str(tmp_path / "a_t2.nii")]
    assert records[0]["label"] == str(tmp_path / "a_seg.nii")
    assert records[1]["fold"] == 1


def test_plain_msd_file_is_a_manifest():
    manifest = parse_manifest(msd_json(), "dataset.json")

    assert manifest.training == (Case("h_001", ("imagesTr/h_001.nii.gz",), "labelsTr/h_001.nii.gz"),)
    assert manifest.test == (Case("h_002", ("imagesTs/h_002.nii.gz",)),)
    assert manifest.labels == {0: "background", 1: "Anterior"}
    assert manifest.target == "mask"
    assert manifest.num_channels == 1


def test_classification_manifest_needs_no_label_map():
    content = mask_json(
        target="class", training=[{"case": "a", "image": "a.png", "classes": ["Tumour"]}], numTraining=1
    )

    assert parse_manifest(content, "m").training == (Case("a", ("a.png",), classes=("Tumour",)),)


def test_findings_may_be_none():
    content = mask_json(target="findings", training=[{"case": "a", "image": "a.png"}], numTraining=1)

    assert parse_manifest(content, "m").training[0].classes == ()


def test_one_finding_is_enough():
    """An image has the finding or not; a class needs another one to be told from."""
    case = {"case": "a", "image": ["a.png"], "classes": []}

    manifest = parse_manifest(
        mask_json(labels={"0": "Mass"}, target="findings", numTraining=1, training=[case]), "m.json"
    )

    assert manifest.categories().names == ("Mass",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "$: [] is not of type 'object'"),
        (
            mask_json(labels={"0": "x"}, target="class"),
            "$.labels: {'0': 'x'} does not have enough properties",
        ),
        (mask_json(labels={"0": "x"}), "$.labels: {'0': 'x'} does not have enough properties"),
        (mask_json(labels={}, target="findings"), "$.labels: {} should be non-empty"),
        (mask_json(schema_version=2), "$.schema_version: 1 was expected"),
        (mask_json(target="masks"), "$.target: 'masks' is not one of ['mask', 'class', 'findings']"),
        (mask_json(labels={"one": "a", "0": "b"}), "$.labels: 'one' does not match"),
        (mask_json(license="CC"), "'license' was unexpected"),
        (mask_json(training=[]), "$.training: [] should be non-empty"),
        (
            mask_json(training=[case_json("a", fold=-1)]),
            "$.training[0].fold: -1 is less than the minimum of 0",
        ),
        (mask_json(training=[case_json("..")]), "$.training[0].case: '..' does not match"),
        (mask_json(training=[case_json("a", patient="p ")]), "$.training[0].patient: 'p ' does not match"),
        (
            mask_json(training=[case_json("a", label="images/a.nii.gz"), case_json("b")]),
            "a: images/a.nii.gz is given as image and as label map; correct one path",
        ),
        (mask_json(training=[case_json("a/b")]), "$.training[0].case: 'a/b' does not match"),
        (
            mask_json(training=[case_json("a", sha256={"x": "1"})]),
            "$.training[0].sha256.x: '1' does not match",
        ),
        (mask_json(training=[case_json("a", image=[])]), "$.training[0].image: [] should be non-empty"),
        (mask_json(numTraining=3), "$.numTraining is 3, but 2 cases are listed; correct the number"),
        (mask_json(labels={"0": "a", "1": "A "}), "$.labels: 'a' stands under two values"),
        (
            mask_json(modality={"0": "MRI", "1": "mri"}),
            "$.modality: 2 channels are named 'mri'; every channel needs a name of its own",
        ),
        (
            mask_json(regions=[{"name": "whole", "classes": ["lung"]}]),
            "regions: whole has the class lung, which is unknown",
        ),
        (mask_json(regions=[{"name": "whole"}]), "$.regions[0]: 'classes' is a required property"),
        (
            mask_json(labels={"0": "background", "1": "ignore"}),
            "label table: needs the background and at least one",
        ),
        (
            mask_json(training=[case_json("a"), case_json("A")]),
            "$.training[1]: A: this case id stands twice; every case needs an id of its own",
        ),
        (
            mask_json(test=[case_json("b")]),
            "$.test[0]: b: this case id stands twice",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", label="../b.nii")]),
            "$.training[1]: b: the path ../b.nii must lie inside the data set's folder: relative",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", image="/b.nii")]),
            "b: the path /b.nii must lie inside",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", image="C:/b")]),
            "b: the path C:/b must lie inside",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", image="i\\b")]),
            "b: the path i\\b must lie inside",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", sha256={"images/c.nii": HASH})]),
            "b: sha256 names images/c.nii, which is no file of this case (images/b.nii.gz, labels/b.nii.gz)",
        ),
        (
            mask_json(training=[case_json("a"), case_json("b", image=["1", "2"])]),
            "b: lists 2 image files, but modality names 1 channel(s); list one file a channel",
        ),
        (
            mask_json(training=[case_json("a"), {"case": "b", "image": "b.nii"}]),
            "b: has no label; a training case of target mask needs the path of its label map",
        ),
        (
            mask_json(target="class", training=[case_json("a"), case_json("b")]),
            "a: has 0 classes; a training case of target class needs one",
        ),
        (
            mask_json(target="class", training=[case_json("a", classes=["cyst"]), case_json("b")]),
            "a: classes cyst are not among the labels (background, tumour); correct one or the other",
        ),
        (
            mask_json(training=[case_json("a", weight=-1), case_json("b")]),
            "$.training[0].weight: -1 is less than the minimum of 0",
        ),
        (
            mask_json(test=[case_json("c", weight=2)]),
            "c: has the weight 2, but no training reads test cases; only training cases of target mask have one",
        ),
        (
            mask_json(
                target="class", training=[case_json("a", weight=2, classes=["tumour"]), case_json("b")]
            ),
            "a: has the weight 2, but the target is class; only training cases of target mask have one: remove it",
        ),
        (
            mask_json(training=[case_json("a", fold=0), case_json("b")]),
            "1 of 2 training cases have a fold; give all of them one, or none",
        ),
    ],
)
def test_bad_content_is_refused_with_its_place(content, message):
    with pytest.raises(SegpipeError, match=re.escape(message)) as caught:
        parse_manifest(content, "my.json")

    assert str(caught.value).startswith("my.json: ")


def test_many_schema_errors_make_one_message_of_ten():
    content = mask_json(training=[case_json(f"{k}", fold=-1) for k in range(12)], numTraining=12)

    with pytest.raises(SegpipeError, match=r"and 2 more$") as caught:
        parse_manifest(content, "m")

    assert str(caught.value).count("less than the minimum") == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a",\n nonsense}', r"not JSON: .* in line 2, column 2"),
        ('{"labels": {"1": "a", "1": "b"}}', r"the key '1' stands twice in one object; remove one"),
        (b"\xff\xfe", r"not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, text, message):
    path = tmp_path / "m.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SegpipeError, match=rf"m\.json: .*{message}"):
        load_manifest(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(SegpipeError, match=r"none\.json: no such manifest file; give its path"):
        load_manifest(tmp_path / "none.json")


def test_a_folder_is_no_manifest(tmp_path):
    (tmp_path / "m.json").mkdir()

    with pytest.raises(SegpipeError, match=r"m\.json: the manifest cannot be read \(Is a directory\)"):
        load_manifest(tmp_path / "m.json")


def test_invalid_manifest_is_not_written(tmp_path):
    broken = Manifest("x", ("MRI",), {0: "a", 1: "b"}, (Case("a", ("../a.nii",), "b.nii"),))

    with pytest.raises(SegpipeError, match=r"the path \.\./a\.nii must lie inside"):
        write_manifest(broken, tmp_path / "m.json")

    assert not (tmp_path / "m.json").exists()


def test_shipped_manifests_all_load():
    assert "hippocampus" in shipped_manifests()
    for name in shipped_manifests():
        assert load_manifest(name).training


def test_unknown_name_lists_the_shipped_and_the_nearest():
    with pytest.raises(
        SegpipeError, match=r"'hipocampus' is neither .* did you mean hippocampus\? shipped: "
    ):
        load_manifest("hipocampus")


SPLIT = {"about": "of somebody", "train": ["a", "absent"], "validation": ["b"], "test": ["other"]}


def test_a_published_split_may_name_cases_that_this_copy_lacks():
    manifest = parse_manifest(mask_json(splits={"paper": SPLIT}), "m.json")

    assert manifest.splits["paper"].train == ("a", "absent")
    assert manifest.to_json()["splits"] == {"paper": SPLIT}
    assert parse_manifest(manifest.to_json(), "m.json") == manifest


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"paper": {**SPLIT, "test": ["a"]}}, r"\$\.splits\.paper: a in more than one of train, validation"),
        ({"paper": {**SPLIT, "train": ["x"]}}, r"none of its 1 training cases is in the manifest"),
        ({"paper": {**SPLIT, "train": ["a", "a"]}}, "non-unique"),
        ({"all": SPLIT}, "does not match"),
        ({"1": SPLIT}, "does not match"),
        ({"paper": {"train": ["a"]}}, "'validation' is a required property"),
    ],
)
def test_an_impossible_split_is_refused(splits, message):
    with pytest.raises(SegpipeError, match=message):
        parse_manifest(mask_json(splits=splits), "m.json")


def test_checksums_of_a_voxel_file_stand_under_its_header():
    case = case_json("a", image=["images/a.mhd"], sha256={"images/a.zraw": HASH})
    parse_manifest(mask_json(training=[case, case_json("b")]), "m.json")

    for stranger in ("labels/a.zraw", "a.zraw", "images/b.mhd"):
        case = case_json("a", image=["images/a.mhd"], sha256={stranger: HASH})
        with pytest.raises(SegpipeError, match=f"sha256 names {stranger}"):
            parse_manifest(mask_json(training=[case, case_json("b")]), "m.json")


LUNG = {"0": "background", "1": "ground-glass", "2": "Consolidation"}


def test_classes_can_be_united():
    manifest = parse_manifest(mask_json(labels=LUNG), "m.json")

    assert with_groups(manifest, {"infected": ["consolidation", "ground-glass"]}).labels == {
        0: "background",
        1: "infected",
        2: "infected",
    }
    assert with_groups(manifest, {}) == manifest


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"infected": ["nodule"]}, "nodule are not among the manifest's classes"),
        ({"background": ["ground-glass"]}, "background are groups and other classes at a time"),
        ({"a": ["ground-glass"], "b": ["ground-glass"]}, "ground-glass is in a and in b"),
    ],
)
def test_impossible_groups_are_refused(groups, message):
    with pytest.raises(SegpipeError, match=message):
        with_groups(parse_manifest(mask_json(labels=LUNG), "m.json"), groups)


PLACES = {  # where a name stands -> the manifest with that name there
    "$.labels['1']": lambda name: mask_json(labels={"0": "background", "1": name}),
    "$.modality['0']": lambda name: mask_json(modality={"0": name}),
    "$.training[0].case": lambda name: mask_json(training=[case_json("a", case=name), case_json("b")]),
    "$.training[0].label": lambda name: mask_json(training=[case_json("a", label=name), case_json("b")]),
    "$.training[0].image[0]": lambda name: mask_json(training=[case_json("a", image=[name]), case_json("b")]),
    "$.description": lambda name: mask_json(description=name),
    "$.name": lambda name: mask_json(name=name),
    "$.test[0]": lambda name: {**msd_json(), "test": [name]},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["$print(1)", "@labels", "%other.json", "a\x1b[2J", "\ud800"])
def test_a_name_that_could_be_an_instruction_or_hide_something_is_refused(place, name):
    with pytest.raises(SegpipeError, match=re.escape(place)) as refused:
        parse_manifest(PLACES[place](name), "m.json")

    assert repr(name) in str(refused.value)
    assert "rename it" in str(refused.value)


@pytest.mark.parametrize("name", ["images/$x.nii.gz", "@eaDir/x.nii.gz", "images/a\n"])
def test_no_part_of_a_path_may_be_one_either(name):
    with pytest.raises(SegpipeError, match="rename it"):
        parse_manifest(mask_json(training=[case_json("a", image=name), case_json("b")]), "m.json")


@pytest.mark.parametrize("name", GOOD)
def test_the_schema_takes_the_names_that_segpipe_takes(name):
    labels = {"0": "background", "1": name}
    case = case_json(name, patient=name)

    manifest = parse_manifest(mask_json(labels=labels, training=[case, case_json("b")]), "m.json")

    assert manifest.labels[1] == manifest.training[0].case == name
