"""The low-water mark, against a model that forgets nothing."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.progress import Progress


def test_nothing_begun_is_no_mark():
    """Before the first record there is no mark, whatever is said to be finished."""
    progress = Progress()

    progress.finish(7)

    assert (progress.low_water, progress.in_hand) == (None, 0)


def test_first_record_is_the_first_mark():
    """A record in hand is the next to read after a restart."""
    progress = Progress()

    progress.begin(40)

    assert (progress.low_water, progress.in_hand) == (40, 1)


def test_mark_waits_for_the_oldest():
    """Later records done do not move the mark; the oldest one done moves it past them all."""
    progress = Progress()
    for offset in (1, 2, 5):
        progress.begin(offset)

    progress.finish(5)
    progress.finish(2)
    waiting = progress.low_water
    progress.finish(1)

    assert (waiting, progress.low_water, progress.in_hand) == (1, 6, 0)


@st.composite
def histories(draw):
    """Draw offsets with gaps, and an order of begins and finishes that respects them."""
    gaps = draw(st.lists(st.integers(1, 3), min_size=1, max_size=12))
    offsets = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    steps, begun, unfinished = [], 0, []
    while begun < len(offsets) or unfinished:
        if begun < len(offsets) and (not unfinished or draw(st.booleans())):
            unfinished.append(offsets[begun])
            steps.append(("begin", offsets[begun]))
            begun += 1
        else:
            offset = unfinished.pop(draw(st.integers(0, len(unfinished) - 1)))
            steps += [("finish", offset)] * draw(st.integers(1, 2))
    return steps


@given(histories())
def test_mark_is_what_the_model_says(steps):
    """After each step the mark is below everything unfinished, and no record is held twice."""
    progress, begun, finished = Progress(), [], set()
    for step, offset in steps:
        if step == "begin":
            begun.append(offset)
            progress.begin(offset)
        else:
            finished.add(offset)
            progress.finish(offset)
        done = next((at for at, o in enumerate(begun) if o not in finished), len(begun))
        expected = begun[done - 1] + 1 if done else begun[0]
        assert (progress.low_water, progress.in_hand) == (expected, len(begun) - done)
    assert progress._done == set()
