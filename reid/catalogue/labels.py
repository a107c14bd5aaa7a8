"""Who is on each photo: the table and the decisions of people, joined. Pure; the order of photos does not matter.

Decisions are taken in their order. What two photos show (same, different) is a link or a bar between them. What is said of animals changes
them as they stand then: a split takes its photos out of their animal, and puts a bar between them and the rest, which stays together; a
merge links animals, and lifts the bars of splits between them. Then the table's names are joined first, then what splits have left together
or taken away together, then the other links from the strongest on: those that several observers have given, those with the greatest
`p_same` among their evidence, the earlier ones. A link that would join what a bar keeps apart is left out, and told as a contradiction:
nothing is joined across a bar. A link that was given blind joins no two animals that have names. Only photos that the table gives one
name stay together in spite of a `different`, until one of them is split off; that is a contradiction, too. Photos
of one encounter that nobody has named are not taken for one animal.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..records import Indexed
from .decisions import NAMING, Decision, Kind, fingerprint
from .encounters import free_name
from .values import counted, some

Node = tuple[str, str]  # ("photo", digest), or what photos hang on: ("name", identity of the table), ("rest", what a split has left)
LEAVING = frozenset((Kind.SPLIT, Kind.NEW, Kind.NOT_THIS_ANIMAL))  # photos leave the animal that they stand under
LIKELY = 0.5  # of a link without evidence


@dataclass(frozen=True)
class Contradiction:
    """Photos that are kept apart by one decision and joined by others, or by the table."""

    apart: Decision
    links: tuple[Decision, ...]  # from one photo to the other, in their order; empty: they have one name in the table
    weakest: Decision  # of the links: it does not count until one of them is taken back. `apart` itself, where the table joins

    def __str__(self) -> str:
        said = f"decision {self.apart.number} ({self.apart.kind}: {_photos(self.apart)})"
        if not self.links:
            return f"{said} contradicts the table, which gives them one name; split one of them off, or take {self.apart.number} back"
        by = ", ".join(f"{one.number} ({one.kind}: {_photos(one)})" for one in self.links)
        return f"{said} contradicts {by}; the weakest link is {self.weakest.number}, which does not count until one of them is taken back"


@dataclass(frozen=True)
class Labels:
    """What is known of the photos of a gallery, and the decisions that it rests on."""

    identities: tuple[str | None, ...]  # of the photos, in their order
    sides: Mapping[str, str]  # decided ones, by digest; empty: nobody can tell
    dates: Mapping[str, str]  # decided ones, by digest: ISO
    apart: tuple[tuple[str, str], ...]  # digests of photos of different animals, one pair for each bar, sorted
    animals_apart: Mapping[tuple[str, str], int]  # names of animals that are kept apart, sorted: the number of the decision
    contradictions: tuple[Contradiction, ...]
    unjoined: tuple[Decision, ...]  # blind answers that would join two animals with names, and do not: a person has to see them
    notes: tuple[str, ...]
    n_decisions: int
    last: int  # the number of the last decision that counts
    fingerprint: str  # of all that count; empty where there is none

    def about(self) -> dict[str, object]:
        """For reports and calibrations, JSON-able."""
        return {"n": self.n_decisions, "last": self.last, "fingerprint": self.fingerprint, "contradictions": len(self.contradictions)}


def labels(photos: Sequence[Indexed], decisions: Sequence[Decision]) -> Labels:
    """The label of every photo, by its own identity and by decisions that count (`decisions.effective`), about these photos or others."""
    graph = _Graph()
    names: dict[str, list[str]] = defaultdict(list)
    for item in photos:
        if item.ref.identity is not None and item.ref.identity not in names[item.digest]:
            names[item.digest].append(item.ref.identity)
    for digest in sorted(names):
        graph.link(("photo", digest), ("name", min(names[digest])), None)
    sides: dict[str, str] = {}
    dates: dict[str, str] = {}
    for one in decisions:
        graph.take(one)
        for kind, known in ((Kind.SIDE, sides), (Kind.DATE, dates)):
            if one.kind is kind:
                known |= dict.fromkeys((photo.digest for photo in one.photos), one.value)
    nodes: dict[Node, None] = dict.fromkeys(("photo", digest) for digest in sorted({item.digest for item in photos}))
    nodes |= dict.fromkeys(("name", name) for name in sorted({name for own in names.values() for name in own}))
    solved = graph.solved([*nodes, *(node for node in graph.links if node not in nodes)])
    called, notes = _names(graph, solved, Counter(item.ref.identity for item in photos))
    identities = []
    for item in photos:
        name = item.ref.identity
        other = name is not None and name != min(names[item.digest])  # the second name of a photo stays with that name
        identities.append(called.get(solved.root(("name", str(name)) if other else ("photo", item.digest))))
    twice = sorted(item.ref.image_id for item in photos if len(names[item.digest]) > 1)
    if twice:
        notes.append(f"the same photo stands under several names ({some(twice)}); decisions about it concern the first of them")
    found = tuple(solved.contradictions)
    if found:
        notes.append(f"{counted(len(found), 'contradiction')} among decisions, see `reid decisions`: {found[0]}")
    if solved.unjoined:
        one = solved.unjoined[0]
        what = counted(len(solved.unjoined), "blind answer", "blind answers")
        notes.append(f"{what} would join two animals that have names, and must be confirmed first: {one.number} ({_photos(one)})")
    apart, animals_apart = _apart(graph, solved, called)
    last = max((one.number for one in decisions), default=0)
    return Labels(
        identities=tuple(identities),
        sides=sides,
        dates=dates,
        apart=apart,
        animals_apart=animals_apart,
        contradictions=found,
        unjoined=tuple(solved.unjoined),
        notes=tuple(notes),
        n_decisions=len(decisions),
        last=last,
        fingerprint=fingerprint(decisions),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Link:
    a: Node
    b: Node
    by: Decision | None  # None: the table
    order: int

    def other(self, node: Node) -> Node:
        return self.b if node == self.a else self.a


class _Solved:
    """Nodes in classes, one an animal (a disjoint-set forest), and what could not be joined."""

    def __init__(self, nodes: Iterable[Node]):
        self.above = {node: node for node in nodes}
        self.used: dict[Node, list[_Link]] = defaultdict(list)  # what has joined something
        self.contradictions: list[Contradiction] = []
        self.left_out: set[int] = set()  # numbers of decisions
        self.unjoined: list[Decision] = []

    def root(self, node: Node) -> Node:
        while self.above[node] != node:
            self.above[node] = node = self.above[self.above[node]]
        return node

    def join(self, link: _Link) -> None:
        self.used[link.a].append(link)
        self.used[link.b].append(link)
        self.above[self.root(link.b)] = self.root(link.a)

    def leave_out(self, link: _Link, a: Node, b: Node, apart: Decision) -> None:
        """A link between the animals of `a` and `b`, which a decision keeps apart."""
        assert link.by is not None
        if self.root(a) != self.root(link.a):
            a, b = b, a
        links = tuple(dict.fromkeys((*self.way(a, link.a), link.by, *self.way(link.b, b))))
        self.contradictions.append(Contradiction(apart, links, link.by))
        self.left_out.add(link.by.number)

    def way(self, a: Node, b: Node) -> list[Decision]:
        """The decisions that lead from one node of a class to another."""
        came: dict[Node, _Link] = {}
        waiting = deque([a])
        while b != a and b not in came:
            node = waiting.popleft()
            for link in self.used[node]:
                other = link.other(node)
                if other != a and other not in came:
                    came[other] = link
                    waiting.append(other)
        found = []
        while b != a:
            found += [came[b].by]
            b = came[b].other(b)
        return [by for by in reversed(found) if by is not None]


class _Graph:
    """Links and bars between photos and names as decisions make and lift them."""

    def __init__(self) -> None:
        self.links: dict[Node, list[_Link]] = {}  # by either end
        self.n_links = 0
        self.bars: list[tuple[Node, Node, Decision]] = []
        self.claims: dict[Node, list[Decision]] = defaultdict(list)  # decisions that name the animal of a node

    def link(self, a: Node, b: Node, by: Decision | None) -> None:
        self.n_links += 1
        found = _Link(a, b, by, self.n_links)
        self.links.setdefault(a, []).append(found)
        self.links.setdefault(b, []).append(found)

    def take(self, one: Decision) -> None:
        nodes: list[Node] = list(dict.fromkeys(("photo", photo.digest) for photo in one.photos))
        for node in nodes:
            self.links.setdefault(node, [])
        first, others = nodes[0], nodes[1:]
        if one.kind is Kind.DIFFERENT:
            self.bars += [(first, other, one) for other in others]
        elif one.kind is Kind.NOT_THIS_ANIMAL:
            for node in nodes:
                self._leave([node], one)
        elif one.kind in LEAVING:
            self._leave(nodes, one)
        elif one.kind is Kind.MERGE:
            self._lift(nodes)
        if one.kind in (Kind.SAME, Kind.MERGE, Kind.SPLIT, Kind.NEW):
            for other in others:
                self.link(first, other, one)
        if one.kind in NAMING:
            self.claims[first].append(one)

    def solved(self, nodes: Iterable[Node]) -> _Solved:
        """These nodes, whole components of the graph, in classes."""
        found = _Solved(nodes)
        given: dict[frozenset[Node], list[_Link]] = defaultdict(list)
        for node in found.above:
            for link in self.links.get(node, ()):
                if link.by is None and node == link.a:
                    found.join(link)
                elif link.by is not None and node == link.a:
                    given[frozenset((link.a, link.b))].append(link)
        barred: dict[Node, set[tuple[Node, Node, Decision]]] = defaultdict(set)  # by the root of either end
        for a, b, by in self.bars:
            if a not in found.above or b not in found.above:
                continue
            if found.root(a) == found.root(b):
                found.contradictions.append(Contradiction(by, (), by))
            else:
                for node in (a, b):
                    barred[found.root(node)].add((a, b, by))
        named = {found.root(node) for node in found.above if node[0] == "name" or any(by.value for by in self.claims.get(node, ()))}
        for link, _ in sorted(map(_weighed, given.values()), key=lambda one: one[1]):
            one, other = found.root(link.a), found.root(link.b)
            if one == other:
                continue
            if between := barred[one] & barred[other]:
                found.leave_out(link, *min(between, key=lambda bar: bar[2].number))
                continue
            if link.by is not None and "blind" in link.by.evidence and one in named and other in named:
                found.unjoined += [one.by for one in given[frozenset((link.a, link.b))] if one.by is not None]
                continue
            found.join(link)
            barred[found.root(one)] = barred[one] | barred[other]
            if one in named or other in named:
                named.add(found.root(one))
        found.contradictions = sorted(set(found.contradictions), key=lambda one: (one.apart.number, one.weakest.number))
        return found

    def _animals(self, nodes: Iterable[Node]) -> _Solved:
        """The components of these nodes, in classes as they stand now."""
        seen = dict.fromkeys(nodes)
        waiting = list(seen)
        while waiting:
            node = waiting.pop()
            for link in self.links[node]:
                other = link.other(node)
                if other not in seen:
                    seen[other] = None
                    waiting.append(other)
        return self.solved(seen)

    def _leave(self, leaving: Sequence[Node], one: Decision) -> None:
        """These nodes leave their animals. What was said of two photos stays, and may contradict this; what was said of animals goes."""
        solved = self._animals(leaving)
        animals: dict[Node, list[Node]] = defaultdict(list)
        for node in sorted(solved.above):
            animals[solved.root(node)].append(node)
        for root in dict.fromkeys(map(solved.root, leaving)):
            own = set(animals[root]) & set(leaving)
            rest = [node for node in animals[root] if node not in own]
            if not rest:
                continue
            others = set(rest)
            first = next((node for node in rest if node[0] != "photo"), ("rest", f"{one.number} {min(own)[1]}"))
            for node in sorted(own):
                for link in list(self.links[node]):
                    other = link.other(node)
                    if other in others and (link.by is None or link.by.kind is not Kind.SAME):
                        self.links[node].remove(link)
                        self.links[other].remove(link)
                self.bars.append((node, first, one))
                self.claims[first] += self.claims.pop(node, [])
            for node in rest:
                hangs = node[0] == "photo" and any(link.by is None for link in self.links[node])  # on a name that stays
                if node != first and not hangs:
                    self.link(first, node, one)

    def _lift(self, nodes: Sequence[Node]) -> None:
        """No bar of a split stands any more between the animals of these nodes."""
        solved = self._animals(nodes)
        roots = {solved.root(node) for node in nodes}
        self.bars = [
            (a, b, by)
            for a, b, by in self.bars
            if by.kind not in LEAVING or not {a, b} <= solved.above.keys() or not {solved.root(a), solved.root(b)} <= roots
        ]


def _weighed(alike: Sequence[_Link]) -> tuple[_Link, tuple[float, ...]]:
    """Of links between the same two nodes the one that counts, with what sorts such links, the strongest first."""
    n_observers = len({link.by.observer for link in alike if link.by is not None})
    by = [(link, link.by) for link in alike if link.by is not None]
    weights = [(one.kind not in LEAVING, "blind" in one.evidence, -n_observers, -_p_same(one), link.order) for link, one in by]
    return min(zip(alike, weights, strict=True), key=lambda one: one[1])


def _p_same(one: Decision) -> float:
    value = one.evidence.get("p_same")
    return float(value) if isinstance(value, (int, float)) else LIKELY


def _names(graph: _Graph, solved: _Solved, n_photos: Mapping[str | None, int]) -> tuple[dict[Node, str], list[str]]:
    """What the animal of each root is called, and notes. An animal is called as it was renamed last, else as in the table, by the name with
    most photos, else as it was called first; where nobody has named it, by the number of a decision."""
    animals: dict[Node, list[Node]] = defaultdict(list)
    for node in sorted(solved.above):
        animals[solved.root(node)].append(node)
    wanted: list[tuple[int, str, Node]] = []  # with what decides who has a name where two want it
    joined = []
    for root, nodes in animals.items():
        tabled = sorted((name for kind, name in nodes if kind == "name"), key=lambda name: (-n_photos[name], name))
        claims = sorted((one for node in nodes for one in graph.claims.get(node, ())), key=lambda one: one.number)
        claims = [one for one in claims if one.number not in solved.left_out]
        renamed = [one for one in claims if one.value and one.kind in (Kind.NAME, Kind.MERGE)]
        first = [one for one in claims if one.value]
        links = [link.by.number for node in nodes for link in solved.used[node] if link.by is not None]
        if renamed:
            wanted.append((renamed[-1].number, renamed[-1].value, root))
        elif tabled:
            wanted.append((0, tabled[0], root))
        elif first:
            wanted.append((first[0].number, first[0].value, root))
        elif claims or sum(kind == "photo" for kind, _ in nodes) > 1:
            number = min((*links, *(one.number for one in claims)))
            wanted.append((number, f"unnamed-{number}", root))
        if len(tabled) > 1:
            joined.append(" = ".join(tabled))
    called: dict[Node, str] = {}
    taken: set[str] = set()
    notes = [f"names that decisions have joined: {some(sorted(joined), most=6)}"] if joined else []
    for number, name, root in sorted(wanted):
        called[root] = free_name(name, taken)
        if called[root] != name:
            notes.append(f"decision {number} calls an animal {name}, as another is called; it is {called[root]} until it is renamed")
    return called, notes


def _apart(graph: _Graph, solved: _Solved, called: Mapping[Node, str]) -> tuple[tuple[tuple[str, str], ...], dict[tuple[str, str], int]]:
    """`Labels.apart` and `Labels.animals_apart`: bars between photos, or the first photos of animals, and between names of animals."""
    photo_of = {solved.root(node): node for node in sorted(solved.above, reverse=True) if node[0] == "photo"}
    photos = set()
    animals: dict[tuple[str, str], int] = {}
    for a, b, by in graph.bars:
        ends = [node if node[0] == "photo" else photo_of.get(solved.root(node)) for node in (a, b)]
        if None not in ends:
            one, other = sorted(node[1] for node in ends if node is not None)
            photos.add((one, other))
        names = sorted({name for node in (a, b) if (name := called.get(solved.root(node))) is not None})
        if len(names) == 2:
            animals[names[0], names[1]] = by.number
    return tuple(sorted(photos)), animals


def _photos(one: Decision) -> str:
    return some([photo.image_id for photo in one.photos], most=4)
