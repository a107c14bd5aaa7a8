import pytest

from reid.catalogue.sides import opposite


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("left", "right", True), ("Left flank", "flank-right", True), ("topleft", "right", True), ("front", "rear", True),
        ("topleft", "topright", False), ("left", "topleft", False), ("left", "top", False), ("left", "left", False),
        (None, "left", False), (None, None, False), ("side A", "side B", False), ("above", "below", True),
        ("upright", "left", False), ("background", "front", False), ("L", "R", True), ("Left Side", "rightflank", True),
    ],
)  # fmt: skip
def test_opposite_views_share_nothing(a, b, expected):
    assert opposite(a, b) is opposite(b, a) is expected
