"""YOLOX: its input, its cells with and without --decode_in_inference, and its boxes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pear_ros.detection.yolox import YoloxDecoder, cell_grid, make_decoder, prepare
from pear_ros.errors import SettingError
from pear_ros.people import FloatArray

SIZE = (64, 96)  # height, width: 8x12 + 4x6 + 2x3 cells
CELLS = 96 + 24 + 6
P5 = (8, 16, 32)


def empty_cells(count: int = CELLS, classes: int = 80) -> FloatArray:
    """Undecoded cells that see nobody; offsets and sizes are those of a network, not zeros."""
    rng = np.random.default_rng(5)
    cells = np.zeros((count, 5 + classes), np.float32)
    cells[:, :2] = rng.normal(0.5, 1.0, (count, 2))
    cells[:, 2:4] = rng.normal(0.0, 1.5, (count, 2))
    return cells


def decoded(cells: FloatArray, strides: tuple[int, ...] = P5) -> FloatArray:
    """What --decode_in_inference makes of the cells, written here cell by cell."""
    result = cells.copy()
    row = 0
    for stride in strides:
        for y in range(SIZE[0] // stride):
            for x in range(SIZE[1] // stride):
                result[row, 0] = (cells[row, 0] + x) * stride
                result[row, 1] = (cells[row, 1] + y) * stride
                result[row, 2:4] = np.exp(cells[row, 2:4]) * stride
                row += 1
    assert row == len(cells)
    return result


def test_the_input_is_a_letterbox_of_bgr_from_0_to_255() -> None:
    wide = np.full((10, 30, 3), (200, 100, 50), np.uint8)
    tall = np.full((64, 48, 3), (1, 2, 3), np.uint8)
    (planes,) = prepare([wide, tall], SIZE)
    assert planes.shape == (2, 3, *SIZE)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    for channel, (first, second) in enumerate([(50, 3), (100, 2), (200, 1)]):
        assert (planes[0, channel, :32] == first).all()
        assert (planes[1, channel, :, :48] == second).all()
    assert (planes[0, :, 32:] == 114).all()
    assert (planes[1, :, :, 48:] == 114).all()


def test_cells_are_numbered_row_by_row_from_the_finest() -> None:
    corner, stride = cell_grid(SIZE, P5)
    assert corner.shape == (CELLS, 2)
    assert corner[[0, 1, 12, 95]].tolist() == [[0, 0], [8, 0], [0, 8], [88, 56]]
    assert corner[[96, 97, 102]].tolist() == [[0, 0], [16, 0], [0, 16]]
    assert corner[[120, 121, 123]].tolist() == [[0, 0], [32, 0], [0, 32]]
    assert stride[[0, 95, 96, 119, 120, 125], 0].tolist() == [8, 8, 16, 16, 32, 32]


IMAGES = {
    "same size": ((64, 96), 1.0),
    "twice as wide": ((96, 192), 0.5),
    "upright": ((128, 96), 0.5),
    "small": ((32, 24), 2.0),
}


@pytest.mark.parametrize(("image_size", "scale"), IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("in_file", [False, True], ids=["undecoded", "decoded"])
def test_a_known_box(in_file: bool, image_size: tuple[int, int], scale: float) -> None:
    """Cell (x 1, y 1) of stride 16: a centre of (20, 26) px and a size of (24, 40) px."""
    cells = empty_cells()
    row = 96 + 6 + 1
    cells[row, :4] = 20 / 16 - 1, 26 / 16 - 1, np.log(24 / 16), np.log(40 / 16)
    cells[row, 4], cells[row, 5] = 0.9, 0.8
    output = decoded(cells) if in_file else cells
    decoder = make_decoder([output[None]], SIZE, -1)
    assert decoder.is_decoded == in_file
    boxes = decoder([output], image_size)
    expected = np.array([[8, 6, 32, 46]]) / scale
    np.testing.assert_allclose(boxes.xyxy, expected, rtol=1e-5)
    np.testing.assert_allclose(boxes.scores, [0.72], rtol=1e-6)


def test_six_strides_are_those_of_a_p6() -> None:
    size = (128, 128)
    count = 256 + 64 + 16 + 4
    decoder = make_decoder([empty_cells(count)[None]], size, -1)
    assert decoder.strides == (8, 16, 32, 64)
    cells = empty_cells(count)
    cells[-1] = 0
    cells[-1, [4, 5]] = 1
    # The last cell: corner (64, 64), stride 64.
    assert decoder([cells], size).xyxy.tolist() == [[32, 32, 96, 96]]


def test_only_person_counts() -> None:
    cells = empty_cells()
    cells[3, [4, 5 + 17]] = 1  # a horse
    cells[50, [4, 5]] = 1, 0.6  # a person, and likelier a horse
    cells[50, 5 + 17] = 0.9
    assert make_decoder([cells[None]], SIZE, -1)([cells], SIZE).scores == [np.float32(0.6)]
    assert sorted(make_decoder([cells[None]], SIZE, 17)([cells], SIZE).scores) == [
        np.float32(0.9),
        np.float32(1.0),
    ]


def boxed(rows: dict[int, tuple[float, ...]]) -> FloatArray:
    """Decoded cells: by row cx, cy, w, h, px, and the score."""
    cells = decoded(empty_cells())
    for row, (*box, score) in rows.items():
        cells[row, :4], cells[row, 4], cells[row, 5] = box, score, 1
    return cells


def test_overlapping_boxes_are_suppressed() -> None:
    """Of three boxes 40 px wide, the second overlaps the first by 0.74, the third by 0.6."""
    rows = {0: (40, 30, 40, 20, 0.8), 1: (46, 30, 40, 20, 0.9), 2: (56, 30, 40, 20, 0.7)}
    boxes = YoloxDecoder(SIZE, P5, 0, True)([boxed(rows)], SIZE)
    np.testing.assert_allclose(boxes.scores, [0.9, 0.7])
    np.testing.assert_allclose(boxes.xyxy[0], [26, 20, 66, 40])


def test_boxes_are_cut_at_the_border_of_the_image() -> None:
    """The image is 64x48 px in a letterbox of 64x96: the padding begins at x 48."""
    boxes = YoloxDecoder(SIZE, P5, 0, True)([boxed({9: (40, 4, 60, 30, 0.9)})], (64, 48))
    assert boxes.xyxy.tolist() == [[10, 0, 48, 19]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_boxes_that_are_not_finite_are_passed_on(column: int, value: float) -> None:
    """The pipeline counts them as bad boxes; they hide no other box."""
    cells = boxed({0: (40, 30, 40, 20, 0.9), 1: (40, 30, 40, 20, 0.95)})
    cells[1, column] = value
    boxes = YoloxDecoder(SIZE, P5, 0, True)([cells], SIZE)
    np.testing.assert_allclose(boxes.scores, [0.9, 0.95])
    assert np.isfinite(boxes.xyxy[0]).all()
    assert not np.isfinite(boxes.xyxy[1]).all()


def test_scores_of_nan_are_passed_on() -> None:
    cells = boxed({0: (40, 30, 40, 20, 0.9), 1: (40, 30, 40, 20, np.nan)})
    boxes = YoloxDecoder(SIZE, P5, 0, True)([cells], SIZE)
    np.testing.assert_array_equal(boxes.scores, np.array([0.9, np.nan], np.float32))


def test_an_exponential_that_overflows_is_a_bad_box() -> None:
    cells = empty_cells()
    cells[0, 2:6] = 1000, 0, 1, 1
    with np.errstate(all="raise"):
        boxes = YoloxDecoder(SIZE, P5, 0, False)([cells], SIZE)
    assert len(boxes) == 1
    assert not np.isfinite(boxes.xyxy).all()


# --- Other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(20))
def test_decoded_files_are_told_apart(trial: int) -> None:
    """Also if the cells without a person, which are not trained, predict odd boxes."""
    rng = np.random.default_rng(trial)
    cells = empty_cells()
    cells[:, :2] = rng.normal(rng.uniform(-3, 3, 2), rng.uniform(0, 1), (CELLS, 2))
    cells[:, 2:4] = rng.normal(rng.uniform(-3, 3), rng.uniform(0, 3), (CELLS, 2))
    assert not make_decoder([cells[None]], SIZE, -1).is_decoded
    assert make_decoder([decoded(cells)[None]], SIZE, -1).is_decoded


def test_equal_cells_are_not_decoded() -> None:
    zeros = np.zeros((1, CELLS, 85), np.float32)
    assert not make_decoder([zeros], SIZE, -1).is_decoded


def shaped(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param(shaped(1, 84, CELLS), "has 84 cells", id="YOLOv8"),
        pytest.param(shaped(1, 3 * CELLS, 85), "has 378 cells; a YOLOX for 96x64", id="YOLOv5"),
        pytest.param(shaped(1, CELLS), "the shape (1, 126)", id="two axes"),
        pytest.param(shaped(1, CELLS, 5), "the shape (1, 126, 5)", id="no class"),
        pytest.param(shaped(1, CELLS, 85) - 4, "scores are not within", id="logits"),
        pytest.param(shaped(1, CELLS, 85) + 2, "scores are not within", id="percents"),
    ],
)
def test_outputs_of_others(output: FloatArray, message: str) -> None:
    with pytest.raises(SettingError) as error:
        make_decoder([output], SIZE, -1)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("classes", "person_index", "person"),
    [
        pytest.param(80, -1, 0, id="COCO"),
        pytest.param(1, -1, 0, id="people only"),
        pytest.param(3, 2, 2, id="others, index given"),
        pytest.param(80, 5, 5, id="COCO, index given"),
    ],
)
def test_classes(classes: int, person_index: int, person: int) -> None:
    cells = empty_cells(classes=classes)[None]
    assert make_decoder([cells], SIZE, person_index).person == person


@pytest.mark.parametrize(
    ("classes", "person_index", "message"),
    [
        pytest.param(3, -1, "it has 3 classes and not 80 or 1; set detection.person_index", id="3"),
        pytest.param(3, 3, "it has 3 classes; detection.person_index is 3", id="index too high"),
    ],
)
def test_other_classes(classes: int, person_index: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make_decoder([empty_cells(classes=classes)[None]], SIZE, person_index)
