import pytest
import torch

from plaudit.core.batch import from_rows


def batch():
    return from_rows(
        [[5, 6, 7, 8], [9, 3], [4, 4, 2]],
        [[0, 0, 1, 1], [0, 1], [0, 1, 1]],
        group=[7, 2, 7],
        place=[0, 0, 1],
        key=[10, 11, 12],
        streams={"old": [[0, 0, -1.5, -2.5], [0, -0.5], [0, -3, -4]]},
        sides={"reward": [1.0, 2.0, 3.0]},
    ).with_(weight={"pair": torch.tensor([2.0, 3.0, 5.0]), "token": torch.ones(3, 4)})


def test_rows_are_padded_on_the_right_with_0():
    b = batch()
    assert b.ids.tolist() == [[5, 6, 7, 8], [9, 3, 0, 0], [4, 4, 2, 0]]
    assert b.mask.tolist() == [[0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0]]
    assert b["old"].tolist() == [[0, 0, -1.5, -2.5], [0, -0.5, 0, 0], [0, -3, -4, 0]]
    assert b.length.tolist() == [4, 2, 3] and len(b) == 3


def test_without_names_every_row_is_a_group_of_its_own():
    b = from_rows([[1], [2]], [[0], [0]])
    assert (b.group.tolist(), b.place.tolist(), b.key.tolist()) == ([0, 1], [0, 0], [0, 1])


def test_rows_are_picked_in_order_and_their_padding_is_cut():
    b = batch().rows([2, 1])
    assert b.ids.tolist() == [[4, 4, 2], [9, 3, 0]]
    assert b["old"].tolist() == [[0, -3, -4], [0, -0.5, 0]]
    assert (b.length.tolist(), b.group.tolist(), b.place.tolist(), b.key.tolist()) == ([3, 2], [7, 2], [1, 0], [12, 11])
    assert b["reward"].tolist() == [3.0, 2.0]
    assert b.weight["pair"].tolist() == [5.0, 3.0] and b.weight["token"].shape == (2, 3)


def test_no_rows_are_a_batch_too():
    assert batch().rows([]).ids.shape == (0, 0)


def test_padding_to_a_width_and_back_is_nothing():
    b, wide = batch(), batch().pad_to(9)
    assert wide.ids.shape == wide.mask.shape == wide["old"].shape == wide.weight["token"].shape == (3, 9)
    assert wide["reward"].shape == (3,) and not wide.mask[:, 4:].any()
    back = wide.rows([0, 1, 2])
    assert torch.equal(back.ids, b.ids) and torch.equal(back["old"], b["old"])


def test_groups_come_in_the_order_of_their_first_row():
    assert [g.tolist() for g in batch().groups()] == [[0, 2], [1]]


def test_weights_are_divided_by_the_sums_given_and_by_nothing_else():
    b = batch().normalised({"pair": 20.0, "token": 0.0})
    assert b.weight["pair"].tolist() == pytest.approx([0.1, 0.15, 0.25])
    assert torch.equal(b.weight["token"], torch.ones(3, 4))  # nothing counted anywhere: left as it was


def test_a_missing_name_says_which_there_are():
    with pytest.raises(KeyError, match=r"no stream or side 'value'; there are \['old', 'reward'\]"):
        batch()["value"]


def test_with_adds_and_replaces_and_leaves_the_first_as_it_was():
    b = batch()
    c = b.with_(streams={"ref": b["old"]}, sides={"reward": torch.zeros(3)})
    assert "ref" not in b.streams and b["reward"].tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(c["ref"], b["old"]) and not c["reward"].any() and set(c.weight) == {"pair", "token"}


def test_to_a_dtype_leaves_ids_whole():
    b = batch().to("cpu", torch.float64)
    assert b.ids.dtype == b.length.dtype == torch.int64
    assert b.mask.dtype == b["old"].dtype == b["reward"].dtype == b.weight["pair"].dtype == torch.float64
