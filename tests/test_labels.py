"""Labels of table and decisions against a simple model; contradictions; undo; a gallery that is read with its decisions."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest import photo, read, table
from hypothesis import given, settings
from hypothesis import strategies as st

import reid
from reid.catalogue import DecisionLog, labels
from reid.catalogue.decisions import Decision, Kind, PhotoKey, effective
from reid.catalogue.labels import LEAVING
from reid.records import Indexed, PhotoRef
from reid.store import Digests

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def photos(names: dict[str, str | None]) -> list[Indexed]:
    return [Indexed(PhotoRef(f"{digest}.jpg", Path(digest), name), digest) for digest, name in names.items()]


def made(*decisions: tuple) -> list[Decision]:
    """Decisions from (kind, digests) or (kind, digests, value) or (kind, digests, value, evidence, observer)."""
    found = []
    for number, (kind, digests, *more) in enumerate(decisions, start=1):
        value, evidence, observer = (*more, *("", {}, "zoe")[len(more) :])
        keys = tuple(PhotoKey(digest, f"{digest}.jpg") for digest in digests)
        found.append(Decision(number, kind, keys, value, observer, NOW, evidence))
    return found


def named(table: dict[str, str | None], *decisions: tuple) -> dict[str, str | None]:
    return dict(zip(table, labels(photos(table), made(*decisions)).identities))


LUNA = {"a": "luna", "b": "luna", "c": "luna", "d": "amber", "q": None, "r": None}


def test_without_decisions_the_table_counts():
    found = labels(photos(LUNA), ())
    assert dict(zip(LUNA, found.identities)) == LUNA and (found.last, found.fingerprint, found.notes) == (0, "", ())


@pytest.mark.parametrize(
    ("decisions", "changed"),
    [
        ([(Kind.SAME, "qa")], {"q": "luna"}),
        ([(Kind.SAME, "qr")], {"q": "unnamed-1", "r": "unnamed-1"}),
        ([(Kind.SAME, "qr"), (Kind.SAME, "rd")], {"q": "amber", "r": "amber"}),
        ([(Kind.SAME, "qx"), (Kind.SAME, "xd")], {"q": "amber"}),  # by way of a photo that is not in the gallery
        ([(Kind.NEW, "qr", "zoe")], {"q": "zoe", "r": "zoe"}),
        ([(Kind.NEW, "q")], {"q": "unnamed-1"}),
        ([(Kind.NEW, "q", "luna")], {"q": "luna (2)"}),
        ([(Kind.NEW, "q", "zoe"), (Kind.SAME, "qa")], {"q": "luna"}),
        ([(Kind.NAME, "a", "Luna II")], dict.fromkeys("abc", "Luna II")),
        ([(Kind.NAME, "a", "Luna II"), (Kind.SPLIT, "a")], {"a": "unnamed-2", "b": "Luna II", "c": "Luna II"}),
        ([(Kind.MERGE, "ad")], {"d": "luna"}),
        ([(Kind.MERGE, "ad", "amber")], dict.fromkeys("abcd", "amber")),
        ([(Kind.MERGE, "ad"), (Kind.SPLIT, "d", "amber")], {}),
        ([(Kind.SPLIT, "bc", "lena")], {"b": "lena", "c": "lena"}),
        ([(Kind.SPLIT, "bc", "lena"), (Kind.MERGE, "ab")], {}),
        ([(Kind.SPLIT, "bc", "lena"), (Kind.MERGE, "ab", "lena")], dict.fromkeys("abc", "lena")),
        ([(Kind.NOT_THIS_ANIMAL, "b")], {"b": None}),
        ([(Kind.NOT_THIS_ANIMAL, "bc"), (Kind.SAME, "bq")], {"b": "unnamed-2", "c": None, "q": "unnamed-2"}),
        ([(Kind.SAME, "qb"), (Kind.SPLIT, "b", "lena")], {"b": "lena", "q": "luna"}),  # the rest stays, and the link is told below
        ([(Kind.SAME, "qr"), (Kind.NOT_THIS_ANIMAL, "r")], {}),
        ([(Kind.CANNOT_TELL, "qa"), (Kind.PHOTOBOMB, "qa"), (Kind.SCENERY, "qa")], {}),
    ],
)  # fmt: skip
def test_what_decisions_do(decisions, changed):
    assert named(LUNA, *decisions) == LUNA | changed


def test_a_contradiction_is_told_and_nothing_is_joined_across_it():
    table = dict.fromkeys("abc")
    first, second, apart = (Kind.SAME, "ab"), (Kind.SAME, "bc"), (Kind.DIFFERENT, "ac")
    for decisions in ([first, second, apart], [apart, first, second], [first, apart, second]):
        found = labels(photos(table), made(*decisions))
        [told] = found.contradictions
        assert told.apart.kind is Kind.DIFFERENT and len(told.links) == 2 and told.weakest == told.links[-1]
        a, b, c = found.identities
        assert a == b is not None and c is None
        assert "weakest link" in found.notes[0] and "c.jpg" in found.notes[0]
    stronger = made(first, (Kind.SAME, "bc", "", {"p_same": 0.9}), apart)
    found = labels(photos(table), stronger)
    assert found.contradictions[0].weakest == stronger[0] and found.identities[1] == found.identities[2] is not None
    second_observer = [*stronger, *made(*[(Kind.CANNOT_TELL, "ab")] * 3, (Kind.SAME, "ba", "", {}, "max"))[3:]]
    assert labels(photos(table), second_observer).contradictions[0].weakest == stronger[1]


def test_photos_of_one_name_that_are_different_are_told_and_stay():
    [told] = labels(photos(LUNA), made((Kind.DIFFERENT, "ab"))).contradictions
    assert told.links == () and told.weakest == told.apart and "contradicts the table" in str(told)
    assert named(LUNA, (Kind.DIFFERENT, "ab")) == LUNA
    settled = labels(photos(LUNA), made((Kind.DIFFERENT, "ab"), (Kind.SPLIT, "a", "lena")))
    assert settled.contradictions == () and settled.apart == (("a", "b"),)


def test_a_split_that_contradicts_what_two_photos_show_is_told():
    decisions = made((Kind.SAME, "qb"), (Kind.SPLIT, "b", "lena"))
    [told] = labels(photos(LUNA), decisions).contradictions
    assert (told.apart, told.links) == (decisions[1], (decisions[1], decisions[0])) or told.weakest == decisions[0]


def test_a_merge_across_a_bar_does_not_count():
    decisions = made((Kind.DIFFERENT, "ad"), (Kind.MERGE, "ad", "both"))
    found = labels(photos(LUNA), decisions)
    assert dict(zip(LUNA, found.identities)) == LUNA and found.contradictions[0].weakest == decisions[1]


def test_a_photo_that_stands_under_two_names_joins_nobody():
    items = photos({"a": "luna", "d": "amber"}) + [Indexed(PhotoRef("copy.jpg", Path("copy"), "amber"), "a")]
    found = labels(items, made((Kind.SAME, "aq")))
    assert found.identities == ("luna", "amber", "amber") and "a.jpg" in found.notes[0]


# -- a simple model: animals are sets


class Model:
    """Animals as sets of photos and of what photos hang on, found by trying every link again after every decision."""

    def __init__(self, table):
        self.hung = {digest: f"name {name}" for digest, name in table.items() if name}
        self.everything = set(table) | set(self.hung.values())
        self.links, self.bars = [], []  # (a, b, kind)

    def animals(self):
        home = {one: {one} for one in self.everything}
        barred = defaultdict(set)
        for a, b, _ in self.bars:
            barred[a].add(b)
            barred[b].add(a)
        for a, b in self.hung.items():
            join(home, a, b)
        for a, b, _ in sorted(self.links, key=lambda link: link[2] not in LEAVING):
            if home[a] is not home[b] and not any(barred[one] & home[b] for one in home[a]):
                join(home, a, b)
        return [set(group) for group in {frozenset(group) for group in home.values()}]

    def take(self, one):
        nodes = [key.digest for key in one.photos]
        self.everything |= set(nodes)
        if one.kind is Kind.DIFFERENT:
            self.bars += [(nodes[0], other, one.kind) for other in nodes[1:]]
        if one.kind in LEAVING:
            for leaving in [[node] for node in nodes] if one.kind is Kind.NOT_THIS_ANIMAL else [nodes]:
                self.leave(leaving, one)
        if one.kind is Kind.MERGE:
            merged = [group for group in self.animals() if group & set(nodes)]
            inside = set().union(*merged)
            self.bars = [bar for bar in self.bars if bar[2] not in LEAVING or not {bar[0], bar[1]} <= inside]
        if one.kind in (Kind.SAME, Kind.MERGE, Kind.SPLIT, Kind.NEW):
            self.links += [(nodes[0], other, one.kind) for other in nodes[1:]]

    def leave(self, leaving, one):
        groups = self.animals()
        for group in {min(group): group for node in leaving for group in groups if node in group}.values():
            own, rest = group & set(leaving), group - set(leaving)
            if not rest:
                continue
            for digest in own:
                self.hung.pop(digest, None)
            self.links = [
                (a, b, kind) for a, b, kind in self.links
                if kind is Kind.SAME or not ((a in own and b in rest) or (b in own and a in rest))
            ]  # fmt: skip
            hanger = next((node for node in sorted(rest) if " " in node), f"rest {one.number} {min(own)}")
            self.everything.add(hanger)
            self.links += [(hanger, node, one.kind) for node in sorted(rest) if node != hanger and node not in self.hung]
            self.bars += [(node, hanger, one.kind) for node in own]


def join(home, a, b):
    both = home[a] | home[b]
    for one in both:
        home[one] = both


def partition(groups):
    return {frozenset(group) for group in groups if group}


def agrees(table, decisions) -> None:
    model = Model(table)
    for one in decisions:
        model.take(one)
    items = photos(table)
    found = labels(items, decisions)
    groups: dict[object, set] = {}
    for item, name in zip(items, found.identities):
        groups.setdefault(name or item.digest, set()).add(item.digest)
    assert partition(groups.values()) == partition({node for node in group if node in table} for group in model.animals())
    order = random.Random(len(decisions)).sample(items, len(items))
    again = labels(order, decisions)
    assert dict(zip((item.digest for item in order), again.identities)) == dict(zip((item.digest for item in items), found.identities))
    assert again.contradictions == found.contradictions
    of = dict(zip((item.digest for item in items), found.identities))
    for a, b in found.apart:  # nothing is joined across a bar but by the table, and that is told
        if a in of and b in of and of[a] == of[b] is not None:
            assert any(not one.links for one in found.contradictions)


KINDS = (
    [Kind.SAME] * 4 + [Kind.DIFFERENT] * 2 + [Kind.MERGE] * 2 + [Kind.SPLIT, Kind.NEW, Kind.NOT_THIS_ANIMAL, Kind.NAME, Kind.CANNOT_TELL]
)
TABLE = {f"p{i:02}": ("luna", "amber", "basil", None, None, None)[i % 6] for i in range(30)}
one_decision = st.tuples(st.sampled_from(KINDS), st.lists(st.sampled_from(sorted(TABLE)), min_size=2, max_size=3, unique=True))


@settings(max_examples=150, deadline=None)
@given(st.lists(one_decision, max_size=25))
def test_every_partition_is_that_of_the_model(decisions):
    agrees(TABLE, made(*decisions))


def act(rng: random.Random, n: int, digests, append, undo) -> None:
    """`n` random decisions, a fifth of them undos of anything that was done before."""
    n_done = 0
    while n_done < n:
        if n_done and rng.random() < 0.2:
            n_done += undo(rng.randint(1, n_done)) is not None
        else:
            kind = rng.choice(KINDS)
            append(kind, rng.sample(digests, rng.choice((2, 2, 2, 3))), "renamed" if kind is Kind.NAME else "")
            n_done += 1


def test_a_thousand_decisions_and_undos_against_the_model():
    rng, history, taken_by = random.Random(17), [], {}
    many = {f"p{i:03}": f"animal {i // 4}" if i % 3 else None for i in range(120)}

    def append(kind, chosen, value, undoes=None):
        history.append(Decision(len(history) + 1, kind, tuple(PhotoKey(one, one) for one in chosen), value, "zoe", NOW, {}, undoes))

    def undo(number):
        if (number in taken_by and counts(taken_by[number])) or not counts(number):
            return None
        append(Kind.UNDO, (), "", number)
        taken_by[number] = len(history)
        return history[-1]

    def counts(number):
        return number not in taken_by or not counts(taken_by[number])

    for n in (1, 10, 100, 889):
        act(rng, n, sorted(many), append, undo)
        agrees(many, effective(history))
    assert len(history) == 1000
    assert [one.number for one in effective(history)] == [one.number for one in history if one.kind is not Kind.UNDO and counts(one.number)]


@pytest.mark.slow
def test_a_thousand_decisions_in_the_log(tmp_path):
    log, told = DecisionLog(tmp_path), []
    from reid.errors import DecisionError

    def append(kind, chosen, value):
        told.append(log.append(kind, [PhotoKey(one, one) for one in chosen], observer="zoe", value=value))

    def undo(number):
        try:
            told.append(log.undo("zoe", number))
            return told[-1]
        except DecisionError:
            return None

    act(random.Random(18), 1000, sorted(TABLE), append, undo)
    assert list(log.history()) == told
    agrees(TABLE, log.effective())


# -- a gallery


@pytest.fixture
def gallery(root):
    """A table of eight photos that differ, and its log."""
    for number, name in enumerate("abcdefgh"):
        (root / f"{name}.png").write_bytes((root / f"{name}.png").read_bytes() + bytes([number]))
    rows = "a,luna,2020-01-01", "b,luna,2021-01-01", "c,amber,2020-01-01", "d,amber,", "e,unknown,2020-01-01", "f,unknown,"
    table(root, "path,identity,date\n" + "\n".join(row.replace(",", ".png,", 1) for row in rows))
    return root


def keys(root, *names):
    digests = Digests(root / ".reid")
    return [PhotoKey(digests.of(PhotoRef(name, root / f"{name}.png")), f"{name}.png") for name in names]


def read_decided(root, **options):
    return read(root, decisions=DecisionLog(root).effective(), digest=Digests(root / ".reid").of, **options)


def test_a_gallery_is_read_with_its_decisions(gallery):
    before = read(gallery)
    assert read_decided(gallery) == before and before.labels is None
    log = DecisionLog(gallery)
    log.append(Kind.SAME, keys(gallery, "e", "a"), observer="zoe")
    log.append(Kind.SIDE, keys(gallery, "b"), observer="zoe", value="L")
    log.append(Kind.DATE, keys(gallery, "d"), observer="zoe", value="2022-05-06 07:08")
    found = {ref.image_id: ref for ref in read_decided(gallery).references}
    assert found["e.png"].identity == "luna" and found["e.png"].encounter == found["a.png"].encounter  # of one day
    assert found["b.png"].orientation == "left"
    assert found["d.png"].date == date(2022, 5, 6) and found["d.png"].taken == datetime(2022, 5, 6, 7, 8)
    log.undo("zoe", 1)
    assert next(ref for ref in read_decided(gallery).references if ref.image_id == "e.png").identity is None


def test_a_session_counts_what_is_decided_when_it_reads_again(gallery):
    with reid.open(gallery) as opened:
        ref = {ref.image_id: ref for ref in opened.gallery.references}
        opened.decisions.append(Kind.NEW, [opened.key(ref["e.png"])], observer="zoe", value="lena")
        assert opened.gallery.labels is None and "lena" not in opened.gallery.identities
        opened.read_again()
        assert opened.gallery.labels.last == 1 and "lena" in opened.gallery.identities
    assert not (gallery / ".reid" / "decisions.sqlite").exists() and (gallery / "decisions.sqlite").exists()


def test_decisions_follow_photos_that_are_renamed_and_boxed(gallery):
    pair = keys(gallery, "e", "a")
    one = DecisionLog(gallery).append(Kind.SAME, pair, observer="zoe", evidence={"shown": [photo.digest for photo in pair]})
    (gallery / "e.png").rename(gallery / "new name.png")
    table(gallery, 'path,identity,bbox\nnew name.png,unknown,"1,2,30,30"\na.png,luna,\n')
    found = read_decided(gallery)
    assert [ref.identity for ref in found.references] == ["luna", "luna"]
    [now] = found.now([one])
    assert [photo.digest for photo in now.photos] == now.evidence["shown"] == [found.since[pair[0].digest], pair[1].digest]
    assert (now.number, now.kind) == (one.number, one.kind) and now.photos != one.photos


def test_the_log_is_no_file_to_be_skipped(tmp_path):
    photo(tmp_path / "luna" / "1.png")
    DecisionLog(tmp_path).append(Kind.NAME, [PhotoKey("x", "x")], observer="zoe", value="zoe")
    (tmp_path / "decisions.sqlite-journal").touch()
    assert not any("skipped" in note for note in read(tmp_path).notes)
