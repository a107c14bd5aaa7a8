"""What a pair gets does not depend on its company: not by how a product rounds for so many rows, on no instruction set, with no number of
threads. `.ci/isa.sh` runs these under each instruction set of the machine."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import draw_animal, in_order, random_features, save

import reid
from reid import devices, extractors, matchers
from reid.matchers import blocks
from reid.records import Photo
from reid.settings import Settings

pytestmark = pytest.mark.isa
SETTINGS = Settings.of(max_keypoints=200)


def create(**changes):
    settings = SETTINGS.replace(**changes)
    return matchers.create(settings.extract, settings.match, "cpu")


@pytest.fixture(scope="module")
def company():
    """A query, and references of unequal numbers of keypoints, one of them without any."""
    extractor = extractors.create(SETTINGS.extract, "cpu")
    query = extractor.extract(Photo("q", draw_animal(1, 0)))
    sizes = [(313, 241), (120, 90), (241, 313), (64, 64), (90, 70)]
    references = [extractor.extract(Photo(str(i), draw_animal(1 + i % 2, i, size))) for i, size in enumerate(sizes)]
    references.insert(2, random_features(0, 128, 0))
    assert len({len(reference) for reference in references}) > 4
    return query, references


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def assert_alone_as_together(matcher, query, references):
    together = in_order(matcher.match(query, references))
    looks = dict(matcher.coarse(query, references))
    for place, (reference, found) in enumerate(zip(references, together, strict=True)):
        [alone] = in_order(matcher.match(query, [reference]))
        assert np.array_equal(found[0], alone[0])
        assert np.array_equal(found[1], alone[1])
        assert dict(matcher.coarse(query, [reference])) == {0: looks[place]}
    return together


@pytest.mark.parametrize("precision", ["fast", "full"])
def test_a_pair_gets_in_a_batch_what_it_gets_alone(company, threads, precision):
    query, references = company
    matcher = create(precision=precision)
    together = assert_alone_as_together(matcher, query, references)
    assert len(together[0][1]) > 20
    assert len(together[2][1]) == 0
    assert [len(found[1]) for found in in_order(matcher.match(references[2], references))] == [0] * 6


def test_it_does_so_where_a_products_rounding_depends_on_the_number_of_its_rows(company, monkeypatch):
    """Stand-ins for the products, on which the test fails wherever a product's number of rows depends on the table's."""
    linear, addmm = F.linear, torch.addmm
    sizes = set()

    def of_rows(rows):
        sizes.add(len(rows))
        return 1 + 1e-3 * len(rows)

    monkeypatch.setattr(F, "linear", lambda x, weight, bias=None: linear(x, weight, bias) * of_rows(x))
    monkeypatch.setattr(torch, "addmm", lambda bias, x, weight, out: out.copy_(addmm(bias, x, weight) * of_rows(x)))
    monkeypatch.setattr(blocks, "ROWS", {"cpu": 64})
    query, references = company
    assert_alone_as_together(create(), query, references)
    assert sizes == {64}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_gets_the_same_at_every_place_of_a_block(threads, dtype):
    """Of what is not so by construction: kernels treat the rows of a block alike."""
    if dtype == torch.bfloat16 and not devices.native_bfloat16("cpu"):
        pytest.skip("bfloat16 is not used here")
    torch.manual_seed(0)
    with torch.inference_mode():
        for n_in, n_out in ((256, 768), (256, 512), (512, 512), (512, 256), (128, 256), (96, 288), (192, 192), (192, 96), (64, 96)):
            layer = torch.nn.Linear(n_in, n_out).to(dtype)
            rows = torch.randn(blocks.ROWS["cpu"], n_in).to(dtype)
            once = blocks.product_in_blocks(layer, rows)
            for step in (1, 3, 5, 16, 100, 255, 700):
                assert torch.equal(blocks.product_in_blocks(layer, rows.roll(step, 0)).roll(-step, 0), once)


def test_blocks_are_all_of_one_size_and_change_nothing_else():
    torch.manual_seed(0)
    layer, one, state = torch.nn.Linear(12, 8), torch.nn.Linear(12, 1), torch.randn(2500, 8)
    rows = torch.randn(2500, 12)
    with torch.inference_mode():
        for n in (0, 1, 255, 1023, 1024, 1025, 2500):
            wanted = layer(rows[:n])
            assert torch.allclose(blocks.product_in_blocks(layer, rows[:n]), wanted, atol=1e-6)
            assert torch.allclose(blocks.in_blocks(layer, rows[:n]), wanted, atol=1e-6)
            assert torch.allclose(blocks.added_in_blocks(layer, rows[:n], to=state[:n]), state[:n] + wanted, atol=1e-6)
            assert torch.allclose(blocks.dot_in_blocks(one, rows[:n]), one(rows[:n])[:, 0], atol=1e-6)


@pytest.mark.parametrize("coarse", [False, True])
def test_a_gallery_that_grows_answers_as_one_that_was_always_so_large(tmp_path, monkeypatch, coarse):
    """Seven references, then an eighth: what was stored of the seven is what a fresh store would hold."""
    monkeypatch.setattr(reid.retrieval.coarse, "FINALISTS", 4)
    settings = SETTINGS.replace(max_keypoints=100, resize=256, fuse="none", impostor_pairs=0, coarse=coarse)
    root, query = tmp_path / "gallery", save(tmp_path / "query.png", draw_animal(2, 7))
    for identity in range(7):
        save(root / f"animal-{identity}" / "0.png", draw_animal(identity, identity))

    def answer(cache):
        with reid.open(root, settings, cache=tmp_path / cache) as gallery:
            return gallery.identify(query).rankings

    before = answer("kept")
    save(root / "animal-2" / "1.png", draw_animal(2, 3, (300, 200)))
    kept, fresh = answer("kept"), answer("fresh")
    assert kept == fresh != before
    assert kept[0].candidates[0].identity == "animal-2"
