"""How the error of the number of animals falls with the number of answers: `reid review`'s order of the questions against others.

    python notebooks/review_order.py turtles/ [CACHE]

The gallery's table has a column `split`. Every animal of its query rows is met once more, in one of its photos, drawn at random: a
question. Who answers knows the animal. What is not answered counts as the machine would have it: as new where P(new) is at least a half,
else as the first individual. And how many known animals such a person calls new, because they have looked through too few candidates.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reid
from reid.evaluation.answers import Answer
from reid.evaluation.run import evaluate
from reid.review.tasks import MOST, value_of

DRAWS, SEED = 1000, 1
LOOKED = (9, 18, 36, 1_000_000)  # candidates that a person looks through before a photo is called a new animal
SHARES = (0, 0.1, 0.2, 0.3, 0.5, 0.75, 1)  # of the questions, answered
ORDERS: dict[str, Callable[[Answer], float]] = {  # the smallest first
    "the app's": lambda one: -value_of(one),
    "of rank, the best score first": lambda one: -one.score,
    "at random": lambda one: 0,
}


def errors(questions: Sequence[Answer], animals: set[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N + 1,) animals that are counted too many, and questions with a wrong animal, after 0 to N answers in this order."""
    is_new = np.array([one.truth not in animals for one in questions], int)
    by_machine = np.array([one.p_new is not None and one.p_new >= 0.5 for one in questions], int)
    wrong = np.array([new != machine or not (new or one.right) for one, new, machine in zip(questions, is_new, by_machine)], int)
    number, wrongs = (own.sum() - np.cumsum([0, *own]) for own in (by_machine - is_new, wrong))
    return number, wrongs


def draws(answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    """Animals, drawn with replacement, in a photo of each."""
    chance, photos = np.random.default_rng(SEED), defaultdict(list)
    for one in answers:
        photos[str(one.truth)].append(one)
    names = sorted(photos)
    for _ in range(DRAWS):
        yield [photos[name][chance.integers(len(photos[name]))] for name in chance.choice(names, len(names))]


def ghosts(questions: Sequence[Answer], most: int) -> tuple[int, int]:
    """Known animals that are called new where nobody looks at more than `most` candidates, and how many beyond MOST are looked at."""
    looked = (min(most, one.rank or len(one.identities)) for one in questions)
    return sum(one.known and one.rank > most for one in questions), sum(max(0, n - MOST) for n in looked)


def curves(answers: Sequence[Answer], animals: set[str]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """By order, (N + 1,) the error of the number of animals (root mean square), and the questions with a wrong animal (mean)."""
    found: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {name: [] for name in ORDERS}
    for drawn in draws(answers):
        for name, key in ORDERS.items():
            found[name].append(errors(sorted(drawn, key=key), animals))
    number, wrong = ({name: np.array([one[place] for one in own], float) for name, own in found.items()} for place in (0, 1))
    return {name: (np.sqrt((number[name] ** 2).mean(0)), wrong[name].mean(0)) for name in ORDERS}


def show(answers: Sequence[Answer], animals: set[str]) -> None:
    n, known = len({one.truth for one in answers}), [one for one in answers if one.truth in animals]
    print(f"{n} questions, {n - len({one.truth for one in known})} of them animals that are new to a gallery of {len(animals)}")
    print(f"right animal not among the {MOST} best: {sum(one.rank > MOST or not one.rank for one in known)} of {len(known)} photos")
    places = [round(share * n) for share in SHARES]
    print(f"| answers | {' | '.join(map(str, places))} |\n|---{'|---' * len(places)}|")
    for name, (number, wrong) in curves(answers, animals).items():
        for what, own in (("number", number), ("wrong", wrong)):
            print(f"| {what}, order {name} | {' | '.join(f'{own[place]:.1f}' for place in places)} |")
    print("| candidates looked through | known animals called new | further candidates, in all |\n|---|---|---|")
    for most in LOOKED:
        n_ghosts, n_further = np.mean([ghosts(drawn, most) for drawn in draws(answers)], axis=0)
        print(f"| {min(most, len(animals))} | {n_ghosts:.1f} | {n_further:.0f} |")


if __name__ == "__main__":
    with reid.open(Path(sys.argv[1]), cache=sys.argv[2] if len(sys.argv) > 2 else None) as gallery:
        show(evaluate(gallery).answers, set(gallery.gallery.identities))
