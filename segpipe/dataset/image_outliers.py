"""Images that differ from their set in form, depth, size or brightness, and forms that give the class away."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from segpipe.categories import NO_FINDING
from segpipe.dataset.manifest import Case, Manifest, Target
from segpipe.dataset.near_copies import near_copies
from segpipe.dataset.outliers import robust_distances, together
from segpipe.dataset.reports import Finding, ImageFacts, ImageReport
from segpipe.errors import shown

_FEWEST = 8  # least number of images for a comparison with the rest
_MOST_ODD = 0.2  # of the images: larger groups are no outliers
_SPREADS = 6.0  # least distance of an outlier from the median, in robust standard deviations
_TIMES, _ASPECT_TIMES = 2.0, 1.4  # least factor between an outlying side, or aspect ratio, and the median
_DARKER = 0.2  # least distance of an outlying mean from the median, of 1
_CONTRAST_TIMES = 3.0
_SIZES_SHOWN = 3
_CHANCE = 1e-3  # largest probability that a form goes with the class by chance
_ASSOCIATION = 0.2  # least Cramér's V between form and class
_SOURCE = "check that it comes from the same source as the others"
Pairs = Sequence[tuple[Case, ImageFacts]]


def image_set_findings(
    manifest: Manifest, cases: Sequence[Case], reports: Sequence[ImageReport]
) -> list[Finding]:
    """Compare the images of a set with each other.

    Args:
        manifest: of the cases.
        cases: of the manifest.
        reports: of the same cases, in the same order; reports with errors are ignored.

    Returns:
        warnings; an error for each picture with two labels.
    """
    pairs = [
        (case, report.facts)
        for case, report in zip(cases, reports, strict=True)
        if report.facts is not None and not report.has_errors
    ]
    findings = [*_two_labels(pairs, manifest.target), *near_copies(pairs)]
    for verb, text_of, advice in _FORMS:
        findings += _by_form(pairs, verb, text_of, advice)
    findings += [*_several_sizes(pairs), *_odd_sizes(pairs), *_odd_brightness(pairs)]
    if manifest.target == "class":
        for name, text_of in _SHORTCUTS.items():
            findings += _gives_class_away(pairs, name, text_of)
    return findings


def _form(facts: ImageFacts) -> str:
    if facts.is_coloured:
        return "in colour"
    return "RGB with equal channels (grey)" if facts.is_rgb else "grey"


def _depth(facts: ImageFacts) -> str:
    used = f" with values of {facts.bits} bits" if facts.bits != facts.stored_bits else ""
    return f"{facts.stored_bits} bits{used}"


def _size(facts: ImageFacts) -> str:
    return f"{facts.columns} x {facts.rows}"


_FORMS: Sequence[tuple[str, Callable[[ImageFacts], str], str]] = (
    ("is", _form, f"{_SOURCE}, and save it as them"),
    ("has", _depth, f"{_SOURCE} and looks as bright as them"),
)
_SHORTCUTS: Mapping[str, Callable[[ImageFacts], str]] = {
    "size (columns x rows)": _size,
    "form": _form,
    "depth": _depth,
}


def _finding(case: Case, message: str) -> Finding:
    return Finding("warning", case.case, case.images[0], message)


def _two_labels(pairs: Pairs, target: Target) -> list[Finding]:
    """Return an error for each picture that two cases show with different classes or findings."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case, facts in pairs:
        if case.classes or target == "findings":  # an image without a class has no label
            groups[facts.content_sha256].append(case)
    findings = []
    for group in groups.values():
        other = next((case for case in group if _contradict(group[0], case)), None)
        if other is not None:
            labels = shown(
                (f"{case.case} is {' | '.join(case.classes) or NO_FINDING}" for case in group), between="; "
            )
            message = f"one picture has two labels: {labels}; keep the right one, and remove the others"
            findings.append(Finding("error", other.case, other.images[0], message))
    return findings


def _contradict(first: Case, second: Case) -> bool:
    """Return whether a name is present in one case and absent in the other."""
    return bool((set(first.classes) ^ set(second.classes)) - {*first.unknown, *second.unknown})


def _by_form(pairs: Pairs, verb: str, text_of: Callable[[ImageFacts], str], advice: str) -> list[Finding]:
    counts = Counter(text_of(facts) for _, facts in pairs)
    findings: list[Finding] = []
    for text, _ in counts.most_common()[1:]:
        usual, usually = counts.most_common(1)[0]
        odd = [
            (case, f"{verb} {text}, {usually} of {len(pairs)} images: {usual}")
            for case, facts in pairs
            if text_of(facts) == text
        ]
        findings += together(odd, len(pairs), advice)
    return findings


def _several_sizes(pairs: Pairs) -> list[Finding]:
    counts = Counter((facts.columns, facts.rows) for _, facts in pairs)
    if len(counts) < 2:
        return []
    if len(counts) <= _SIZES_SHOWN:
        sizes = ", ".join(f"{count} of {width} x {height}" for (width, height), count in counts.most_common())
    else:
        widths, heights = zip(*counts, strict=True)
        sizes = f"{min(widths)} to {max(widths)} columns, {min(heights)} to {max(heights)} rows"
    message = (
        f"the images have {len(counts)} sizes (columns x rows): {sizes}; the network sees one size, so check that "
        "resizing keeps what matters"
    )
    return [Finding("warning", "all cases", "sizes", message)]


def _odd_sizes(pairs: Pairs) -> list[Finding]:
    if len(pairs) < _FEWEST:
        return []
    sides = np.log([[facts.columns, facts.rows] for _, facts in pairs])
    shapes = sides[:, :1] - sides[:, 1:]
    odd = np.zeros(len(pairs), bool)
    for values, times in ((sides, _TIMES), (shapes, _ASPECT_TIMES)):
        away = np.abs(values - np.median(values, axis=0)) >= np.log(times) - 1e-9
        is_odd = (away & (robust_distances(values) > _SPREADS)).any(axis=1)
        odd |= is_odd if is_odd.mean() <= _MOST_ODD else False
    width, height = np.median([[facts.columns, facts.rows] for _, facts in pairs], axis=0)
    texts = [
        (case, f"has {_size(facts)} pixels (columns x rows), the set's median is {width:g} x {height:g}")
        for (case, facts), is_odd in zip(pairs, odd, strict=True)
        if is_odd
    ]
    return together(texts, len(pairs), f"{_SOURCE}, and is not cut, turned or enlarged")


def _odd_brightness(pairs: Pairs) -> list[Finding]:
    if len(pairs) < _FEWEST:
        return []
    means = np.array([[facts.mean] for _, facts in pairs])
    contrasts = np.log([[max(facts.deviation, 1e-6)] for _, facts in pairs])
    dark = (robust_distances(means) > _SPREADS) & (np.abs(means - np.median(means)) > _DARKER)
    flat = (robust_distances(contrasts) > _SPREADS) & (
        np.abs(contrasts - np.median(contrasts)) > np.log(_CONTRAST_TIMES)
    )
    usual = f"the set's medians are {np.median(means):.2f} and {np.exp(np.median(contrasts)):.2f} (0 black to 1 white)"
    texts = [
        (case, f"its pixels have mean {facts.mean:.2f} and standard deviation {facts.deviation:.2f}, {usual}")
        for (case, facts), is_odd in zip(pairs, (dark | flat)[:, 0], strict=True)
        if is_odd
    ]
    return together(texts, len(pairs), f"look at the image, and {_SOURCE}")


def _gives_class_away(pairs: Pairs, name: str, text_of: Callable[[ImageFacts], str]) -> list[Finding]:
    """Warn of a form of the files that goes with the class: a network can learn the form in place of the disease."""
    counts = Counter((text_of(facts), case.classes[0]) for case, facts in pairs if case.classes)
    forms, classes = (sorted({key[axis] for key in counts}) for axis in (0, 1))
    if len(forms) < 2 or len(classes) < 2 or len(pairs) < _FEWEST or len(forms) > len(pairs) / _FEWEST:
        return []
    table = np.array([[counts[form, one] for one in classes] for form in forms])
    strength = float(association(table, method="cramer"))
    if chi2_contingency(table).pvalue > _CHANCE or strength < _ASSOCIATION:
        return []
    totals = table.sum(axis=0)
    row = int(np.argmax(np.ptp(table / totals, axis=1)))
    shares = ", ".join(
        f"{100 * count / total:.0f} % of {one}"
        for one, count, total in zip(classes, table[row], totals, strict=True)
    )
    message = (
        f"the images' {name} goes with the class: {forms[row]} are {shares} (Cramér's V {strength:.2f}); a network can "
        "learn this in place of the disease: crop or resize so that it does not show, and score each kind apart"
    )
    return [Finding("warning", "all cases", "classes", message)]
