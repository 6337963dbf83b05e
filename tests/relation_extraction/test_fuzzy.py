"""The fast repair of strings equals the official one."""

from __future__ import annotations

import random
import time

import pytest

from domains.relation_extraction.inference.fuzzy import repair, similarity

WORDS = [*",.()a", "the", "of", "and", "Ann", "Anna", "Annan", "born", "New", "York", "City", "County", "1962", "1926"]


def exhaustive(entity: str, text: str) -> str:
    """Spec section 6.2, word for word."""
    wanted, words = " ".join(entity.split()), text.split()
    best, found = 0, ""
    for size in range(len(wanted.split()), len(words) + 1):
        for start in range(len(words) - size + 1):
            window = " ".join(words[start : start + size])
            score = similarity(window, wanted)
            if score > best and not window.startswith((",", ".")):
                best, found = score, window[:-1] if window.endswith((",", "(")) else window
    return found.strip() if best > 60 else ""


@pytest.mark.parametrize("seed", range(150))
def test_repair_equals_the_exhaustive_search(seed):
    chance = random.Random(seed)
    text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 22)))
    entity = list(" ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 4))))
    for _ in range(chance.randint(0, 4)):
        entity[chance.randrange(len(entity))] = chance.choice("aeNy ,")
    assert repair("".join(entity), text) == exhaustive("".join(entity), text)


def test_the_first_of_equal_windows_wins():
    assert repair("Anna", "Annb Annc") == "Annb"


def test_a_threshold_can_be_raised():
    assert repair("Zoe Ananda", "by Zoë Ananda .", 80) == "Zoë Ananda"
    assert repair("American", "an American-born scholar", 80) == ""


def test_a_long_passage_takes_at_most_200_ms():
    chance = random.Random(0)
    text = " ".join(chance.choice(WORDS) + chance.choice(["", "", "s", "er"]) for _ in range(510))
    slowest = 0.0
    for entity in ("Anna of the County counsil was", "in and a of the for", "Qq Zz Xx Jj Vv Ww"):
        start = time.thread_time()
        repair(entity, text)
        slowest = max(slowest, time.thread_time() - start)
    assert slowest <= 0.2
