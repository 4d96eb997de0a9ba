import math
import random

from plaudit.data.packing import by_length, pack


def fewest_bins(lengths, room):
    """By trying everything: the slow twin."""

    def place(rest, bins):
        nonlocal best
        if len(bins) >= best:
            return
        if not rest:
            best = len(bins)
            return
        for i, left in enumerate(bins):
            if left >= rest[0]:
                place(rest[1:], [*bins[:i], left - rest[0], *bins[i + 1 :]])
        place(rest[1:], [*bins, room - rest[0]])

    best = len(lengths) + 1
    place(sorted(lengths, reverse=True), [])
    return best


def test_pack_by_hand():
    assert pack([4, 8, 1, 4, 2, 1], 10) == [[1, 4], [0, 3, 2, 5]]
    assert pack([], 10) == []
    assert pack([3, 12], 10) == [[1], [0]], "a row longer than the room still gets trained"


def test_pack_loses_nothing_keeps_the_room_and_is_near_the_best():
    draw = random.Random(7)
    for _ in range(60):
        lengths = [draw.randint(1, 10) for _ in range(draw.randint(1, 9))]
        bins = pack(lengths, 10)
        assert sorted(i for b in bins for i in b) == list(range(len(lengths)))
        assert all(sum(lengths[i] for i in b) <= 10 for b in bins)
        best = fewest_bins(lengths, 10)
        assert best <= len(bins) <= math.floor(11 / 9 * best + 6 / 9)


def test_by_length_by_hand():
    assert by_length([3, 9, 3, 7, 9], 2) == [[1, 4], [3, 0], [2]]


def test_by_length_pads_no_more_than_the_given_order():
    draw = random.Random(3)

    def padded(lengths, batches):
        return sum(len(b) * max(lengths[i] for i in b) for b in batches)

    for _ in range(50):
        lengths = [draw.randint(1, 50) for _ in range(20)]
        given = [list(range(i, i + 4)) for i in range(0, 20, 4)]
        assert padded(lengths, by_length(lengths, 4)) <= padded(lengths, given)
