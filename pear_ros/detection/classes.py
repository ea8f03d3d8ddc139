"""Which class of a detector is person."""

from __future__ import annotations

from collections.abc import Mapping

from pear_ros.errors import SettingError

COCO_CLASSES = 80
COCO_SLOTS = 91  # of detectors that keep the numbers of COCO's categories, 1 to 90


def person_among(classes: int, person_index: int, known: Mapping[int, int]) -> int:
    """Returns the index of the class person among `classes`.

    Args:
        classes: How many classes the detector has.
        person_index: The setting: the index, or -1 if it is that of the published weights.
        known: Index of person by the number of classes of published weights.

    Raises:
        SettingError: If the classes are not those of published weights and `person_index` is -1, or
            if there is no class of this index.
    """
    if person_index == -1:
        if classes not in known:
            raise SettingError(
                f"it has {classes} classes and not {' or '.join(map(str, known))}; set "
                "detection.person_index to the index of person"
            )
        return known[classes]
    if person_index >= classes:
        raise SettingError(f"it has {classes} classes; detection.person_index is {person_index}")
    return person_index
