"""Pair images and label maps by templates such as `images/{case}_t1.nii.gz`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from segpipe.dataset.importing.found_cases import FoundCase, name_of, part_of, words_of
from segpipe.errors import SegpipeError, shown

FRAME = "{frame}"
"""Stands for the number of a time frame in the template of label maps."""
_FRAME_MARK = "segpipeframenumber"
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def pairs_by_templates(
    paths: Iterable[str], images: Sequence[str], label: str | None, where: str
) -> list[FoundCase]:
    """Pair the files that match templates; other files are ignored.

    Args:
        paths: relative to the folder, with suffixes and forward slashes.
        images: one template a channel, such as `images/{case}_t1.nii.gz`; `{case}` and `{patient}` stand for a name
            without a slash, `*` for any text without a slash.
        label: template of the label maps; None for images only.
        where: the folder, for messages.

    Raises:
        SegpipeError: a template has neither `{case}` nor `{patient}`, has another name in braces, or matches nothing;
            one template matches two files of a case; a case lacks one of its files.
    """
    templates = {f"channel {number}": _plain(text) for number, text in enumerate(images)}
    if label is not None:
        templates["label map"] = _plain(label)
    twice = [text for text, count in Counter(templates.values()).items() if count > 1]
    if twice:
        raise SegpipeError(f"template {twice[0]} is given twice; give one a channel, and the label maps' own")
    matches_of = _matches(templates, sorted(paths), where)
    known = sorted({case for matches in matches_of.values() for case in matches})
    missing = [
        f"{case} has no {what} ({templates[what]})"
        for case in known
        for what, matches in matches_of.items()
        if case not in matches
    ]
    if missing:
        raise SegpipeError(
            f"{where}: {len(missing)} files are missing: {shown(missing, '; ')}; add them, move the cases away, or "
            "correct the templates"
        )
    channels = _channel_names([_plain(text) for text in images])
    cases = []
    for case in known:
        chosen = {what: matches[case] for what, matches in matches_of.items()}
        patient = next((patient for _, patient in chosen.values() if patient), None)
        paths_of = {what: path for what, (path, _) in chosen.items()}
        label_map = paths_of.pop("label map", None)
        cases.append(FoundCase(case, tuple(paths_of.values()), channels, label_map, patient))
    return cases


def frames_by_template(
    paths: Iterable[str], label: str, cases: Iterable[str], where: str
) -> dict[str, dict[int, str]]:
    """Return case -> number of its time frame -> path of the frame's label map.

    Args:
        paths: relative to the folder, with suffixes and forward slashes.
        label: template of the label maps with `{frame}` in place of the frame's number, from 1, such as
            `{case}_frame{frame}_gt.nii.gz`.
        cases: ids of the cases with images.
        where: the folder, for messages.

    Raises:
        SegpipeError: as `template_pattern`; the template matches no label map of a case; two files are of one frame; or
            a frame's number is 0.
    """
    before, _, after = _plain(label).partition(FRAME)
    if FRAME in after or before.endswith("}") or after.startswith("{"):
        raise SegpipeError(
            f"template {label!r}: must have {FRAME} once, with some text between it and other names"
        )
    # of the literal text that stands for the number of a frame, only digits remain
    pattern = re.compile(
        template_pattern(f"{before}{_FRAME_MARK}{after}").pattern.replace(
            _FRAME_MARK, "(?P<frame>[0-9]{1,6})"
        )
    )
    known, maps = set(cases), defaultdict[str, dict[int, str]](dict)
    for path in sorted(paths):
        match = pattern.fullmatch(path)
        groups = match.groupdict() if match else {}
        case = _case_id(groups.get("patient"), groups.get("case"))
        if case not in known:
            continue
        frame = int(groups["frame"])
        if frame == 0:
            raise SegpipeError(f"{where}: {path} is of frame 0; frames are counted from 1: rename the files")
        if frame in maps[case]:
            raise SegpipeError(
                f"{where}: {maps[case][frame]} and {path} are both frame {frame} of {case}; remove one"
            )
        maps[case][frame] = path
    if not maps:
        raise SegpipeError(
            f"{where}: {label} matches no label map of its {len(known)} cases, such as {shown(sorted(known), most=3)}; "
            "correct the template, which begins in that folder"
        )
    return dict(maps)


def patients_by_template(cases: Sequence[str], template: str) -> dict[str, str]:
    """Return case id -> patient id, read from the case id.

    Args:
        cases: ids.
        template: of every case id, with `{patient}` in place of the patient's id.

    Raises:
        SegpipeError: the template has no `{patient}`, or a case id does not match it.
    """
    pattern = template_pattern(template)
    if "patient" not in pattern.groupindex:
        raise SegpipeError(f"--patient {template!r}: must have {{patient}} where the patient's id stands")
    matches = {case: pattern.fullmatch(case) for case in cases}
    without = [case for case, match in matches.items() if match is None]
    if without:
        raise SegpipeError(
            f"--patient {template!r}: matches {len(cases) - len(without)} of {len(cases)} case ids, not "
            f"{shown(without)}; correct the template"
        )
    return {case: match.group("patient") for case, match in matches.items() if match is not None}


def template_pattern(template: str) -> re.Pattern[str]:
    """Return the regular expression of a template, with a group for each of `case` and `patient` in it.

    Raises:
        SegpipeError: the template has neither `{case}` nor `{patient}`, or another name in braces.
    """
    names = _PLACEHOLDER.findall(template)
    if not names or set(names) - {"case", "patient"} or set("{}") & set(_PLACEHOLDER.sub("", template)):
        raise SegpipeError(
            f"template {template!r}: must have {{case}} or {{patient}} where the name of either stands, and no other "
            "braces"
        )
    if "}{" in template:
        raise SegpipeError(
            f"template {template!r}: segpipe cannot know where one name ends and the next begins; write some text "
            "between them"
        )
    pattern, end, named = "", 0, set()
    for match in _PLACEHOLDER.finditer(template):
        name = match.group(1)
        pattern += _literal(template[end : match.start()])
        pattern += f"(?P={name})" if name in named else f"(?P<{name}>[^/]+?)"
        named.add(name)
        end = match.end()
    return re.compile(pattern + _literal(template[end:]))


def _channel_names(templates: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each template: the words that not all templates share, or all words where only these differ.

    A repeated word also distinguishes a template: T1/{case}_T1.nii.gz beside T1/{case}.nii.gz.
    """
    if len(templates) == 1:
        return ("",)
    bare = [_PLACEHOLDER.sub(" ", str(PurePosixPath(text).with_name(name_of(text)))) for text in templates]
    of_path = [words_of(text) for text in bare]
    of_name = [words_of(PurePosixPath(text).name) for text in bare]
    shared = set(of_path[0]).intersection(*of_path)
    choices = [
        ["_".join(word for word in words if word not in shared) for words in of_path],
        ["_".join(words) for words in of_name],
        ["_".join(words) for words in of_path],
    ]
    return tuple(max(choices, key=lambda names: (len(set(names)), sum(map(bool, names)))))


def _plain(template: str) -> str:
    """Return a template in the form of the paths: forward slashes, no `./` in front."""
    return template.replace("\\", "/").removeprefix("./")


def _case_id(patient: str | None, case: str | None) -> str:
    """Join patient and case; a case whose name begins with its patient stays as it is (`patient001_frame01`)."""
    if not patient or not case:
        return case or patient or ""
    if re.match(rf"{re.escape(patient)}(?![^\W_])", case):
        return case
    return f"{patient}_{case}"


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")


def _matches(
    templates: Mapping[str, str], paths: Sequence[str], where: str, *, by_part: bool = False
) -> dict[str, dict[str, tuple[str, str | None]]]:
    """Return purpose of a template -> case -> path and patient.

    A file that matches several templates belongs to the longest template: `mask_a.nii` to `mask_{case}.nii`, not to
    `{case}.nii`. Where folders such as train and test contain the same names, case ids begin with the part.
    """
    patterns = {what: template_pattern(template) for what, template in templates.items()}
    by_length = sorted(
        templates, key=lambda what: -len(_PLACEHOLDER.sub("", templates[what]).replace("*", ""))
    )
    files_of: dict[str, dict[str, tuple[str, str | None]]] = {what: {} for what in templates}
    for path in paths:
        matches = ((what, patterns[what].fullmatch(path)) for what in by_length)
        what, match = next(((what, match) for what, match in matches if match is not None), ("", None))
        if match is None:
            continue
        groups = match.groupdict()
        case = _case_id(groups.get("patient"), groups.get("case"))
        part = part_of(path.split("/")[:-1])
        if by_part and part:
            case = f"{part}_{case}"
        if (
            case in files_of[what]
            and not by_part
            and part != part_of(files_of[what][case][0].split("/")[:-1])
        ):
            return _matches(templates, paths, where, by_part=True)
        if case in files_of[what]:
            raise SegpipeError(
                f"{where}: {files_of[what][case][0]} and {path} are both case {case} by {templates[what]}; make the "
                "template distinguish them"
            )
        files_of[what][case] = (path, groups.get("patient"))
    for what, template in templates.items():
        if not files_of[what]:
            scans = (
                f"its {len(paths)} scans, such as {shown(paths)}"
                if paths
                else "its files, of which none is a scan"
            )
            raise SegpipeError(
                f"{where}: {template} matches none of {scans}; correct the template, which begins in that folder"
            )
    return files_of
