import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maml.data.banks import ClassImages
from maml.data.distortions import with_distortions
from maml.data.tasks import AlphabetSampler, TaskSampler
from maml.system.errors import UserError


def named_images(classes=12, drawings=20, versions=1):
    """Images whose pixels say which class, drawing and version they are."""
    images = np.zeros((classes, drawings, versions, 2, 2), np.uint8)
    c, d, v = np.indices(images.shape[:3])
    images[..., 0, 0], images[..., 0, 1], images[..., 1, 0] = c, d, v
    return images


def names(x):
    """[T, N, 1, 2, 2] -> class, drawing and version of each image, [T, N] each."""
    values = np.round(x[:, :, 0] * 255).astype(int)
    return values[..., 0, 0], values[..., 0, 1], values[..., 1, 0]


def test_shapes_and_types(rng):
    tasks = TaskSampler(named_images(), 5, 2, 3, rng).sample(7)
    assert [a.shape for a in tasks] == [(7, 10, 1, 2, 2), (7, 10), (7, 15, 1, 2, 2), (7, 15)]
    assert [a.dtype for a in tasks] == [np.float32, np.int64, np.float32, np.int64]
    assert 0 <= tasks.support_x.min() and tasks.support_x.max() <= 1


def test_labels_name_classes_and_support_and_query_share_no_drawing(rng):
    tasks = TaskSampler(named_images(versions=3), 5, 2, 4, rng).sample(50)
    for t in range(50):
        support, query = [[a[t] for a in names(x)] for x in (tasks.support_x, tasks.query_x)]
        class_of = dict(zip(tasks.support_y[t], support[0]))
        assert len(set(class_of.values())) == 5
        assert all(
            class_of[y] == c
            for y, c in [*zip(tasks.support_y[t], support[0]), *zip(tasks.query_y[t], query[0])]
        )
        assert (
            np.bincount(tasks.support_y[t]).tolist() == [2] * 5
            and np.bincount(tasks.query_y[t]).tolist() == [4] * 5
        )
        drawn = [*zip(*support[:2]), *zip(*query[:2])]
        assert len(set(drawn)) == len(drawn)


def test_labels_and_order_are_random(rng):
    tasks = TaskSampler(named_images(5), 5, 1, 1, rng).sample(400)
    for y in range(
        5
    ):  # with as many classes as ways, each class must get each label in about a fifth of the tasks
        share = np.bincount(names(tasks.support_x)[0][tasks.support_y == y], minlength=5) / 400
        assert (abs(share - 0.2) < 0.1).all()
        assert (abs(np.bincount(tasks.support_y[:, y], minlength=5) / 400 - 0.2) < 0.1).all()


def test_every_class_drawing_and_version_comes_up(rng):
    tasks = TaskSampler(named_images(versions=2), 5, 1, 4, rng).sample(1000)
    c, d, v = names(tasks.query_x)
    assert (
        set(c.ravel()) == set(range(12))
        and set(d.ravel()) == set(range(20))
        and set(v.ravel()) == {0, 1}
    )


def test_the_same_seed_gives_the_same_tasks_and_another_other_ones():
    def draw(seed):
        return TaskSampler(named_images(), 5, 1, 3, np.random.default_rng(seed)).sample(4)

    assert all((a == b).all() for a, b in zip(draw(1), draw(1)))
    assert not (draw(1).query_x == draw(2).query_x).all()


def test_parts_are_the_whole_and_leave_the_generator_alike():
    whole = TaskSampler(named_images(), 5, 1, 3, np.random.default_rng(1), rotations=True)
    parts = [
        TaskSampler(named_images(), 5, 1, 3, np.random.default_rng(1), rotations=True)
        for _ in range(2)
    ]
    for _ in range(
        2
    ):  # the second round proves that the first left all generators in the same state
        expected = whole.sample(6)
        found = [parts[0].sample(6, slice(0, 3)), parts[1].sample(6, slice(3, 6))]
        assert all((np.concatenate(pair) == a).all() for a, *pair in zip(expected, *found))


@st.composite
def samplers(draw):
    """Images, whose last pixel tells how they are turned, the other arguments of a `TaskSampler`,
    and how many tasks to draw."""
    characters, drawings = draw(st.integers(1, 6)), draw(st.integers(2, 8))
    rotations = draw(st.booleans())
    images = named_images(characters, drawings, draw(st.integers(1, 3)))
    images[..., 1, 1] = 255
    way = draw(st.integers(1, characters * (4 if rotations else 1)))
    shot = draw(st.integers(1, drawings - 1))
    query = draw(st.integers(0, drawings - shot))
    names_of = st.lists(st.sampled_from("ABC"), min_size=characters, max_size=characters)
    arguments = {"way": way, "shot": shot, "query": query, "rotations": rotations}
    arguments["alphabets"] = draw(st.none() | names_of)
    return images, arguments, draw(st.integers(1, 5))


def turned_names(x):
    """[N, 1, 2, 2] -> (turns, class), drawing and version of each image."""
    turns = [next(q for q in range(4) if np.rot90(image[0], -q)[1, 1] == 1) for image in x]
    upright = np.stack([np.rot90(image, -q, axes=(1, 2)) for q, image in zip(turns, x)])
    c, d, v = names(upright[:, None])
    return list(zip(turns, c[:, 0])), d[:, 0], v[:, 0]


@settings(deadline=None, derandomize=True)
@given(samplers(), st.integers(0, 2**32 - 1))
def test_any_task_has_its_classes_shots_and_queries_and_no_drawing_twice(sampler, seed):
    images, arguments, count = sampler
    tasks = TaskSampler(images, rng=np.random.default_rng(seed), **arguments).sample(count)
    way, shot, query = (arguments[key] for key in ("way", "shot", "query"))
    for support_x, support_y, query_x, query_y in zip(*tasks):
        assert np.bincount(support_y, minlength=way).tolist() == [shot] * way
        assert np.bincount(query_y, minlength=way).tolist() == [query] * way
        classes, drawings, versions = turned_names(np.concatenate([support_x, query_x]))
        assert len(set(zip(classes, drawings))) == way * (shot + query)
        pairs = set(zip([*support_y, *query_y], classes))
        assert len(pairs) == len(set(classes)) == way  # each label means a class of its own
        assert max(versions) < images.shape[2]


@settings(deadline=None, derandomize=True)
@given(samplers(), st.integers(0, 2**32 - 1))
def test_indices_are_the_tasks_whose_images_are_drawn(sampler, seed):
    """And drawing them leaves the generator as drawing the images does."""
    images, arguments, count = sampler
    one, other = (TaskSampler(images, rng=np.random.default_rng(seed), **arguments) for _ in "12")
    indices, tasks = one.indices(count), other.sample(count)
    for picks, x, y in (
        (indices.support, tasks.support_x, tasks.support_y),
        (indices.query, tasks.query_x, tasks.query_y),
    ):
        assert (picks.label == y).all() and {p.shape for p in picks} == {y.shape}
        for row, drawing, version, turns, image in zip(
            *(p.ravel() for p in picks[:4]), x.reshape(-1, 2, 2)
        ):
            drawn = np.rot90(images[row, drawing, version], turns)
            assert (np.rint(255 * image) == drawn).all()
    assert one.rng.bit_generator.state == other.rng.bit_generator.state


@settings(deadline=None, derandomize=True)
@given(samplers(), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5), max_size=3))
def test_any_parts_are_the_whole(sampler, seed, cuts):
    """Twice, so that the first parts left each generator as the whole did."""
    images, arguments, count = sampler
    ends = [0, *sorted(min(cut, count) for cut in cuts), count]
    whole, *each = (TaskSampler(images, rng=np.random.default_rng(seed), **arguments) for _ in ends)
    for _ in range(2):
        parts = [one.sample(count, slice(*part)) for one, part in zip(each, zip(ends, ends[1:]))]
        for expected, *found in zip(whole.sample(count), *parts):
            assert (np.concatenate(found) == expected).all()


def test_rotations_are_classes_of_their_own(rng):
    images = np.zeros((1, 20, 1, 2, 2), np.uint8)
    images[..., 0, 0] = 255
    tasks = TaskSampler(images, 4, 1, 2, rng, rotations=True).sample(3)
    turned = [np.rot90(images[0, 0, 0], quarter) / 255 for quarter in range(4)]
    for t in range(3):
        seen = {}
        for x, y in [
            *zip(tasks.support_x[t], tasks.support_y[t]),
            *zip(tasks.query_x[t], tasks.query_y[t]),
        ]:
            seen.setdefault(y, set()).add(next(q for q in range(4) if (x[0] == turned[q]).all()))
        assert sorted(next(iter(s)) for s in seen.values()) == [0, 1, 2, 3] and all(
            len(s) == 1 for s in seen.values()
        )


def test_impossible_tasks_are_refused(rng):
    with pytest.raises(UserError, match="way .* is 13.*12 classes"):
        TaskSampler(named_images(), 13, 1, 1, rng)
    with pytest.raises(UserError, match="shot . query .*is 21, .*20 drawings"):
        TaskSampler(named_images(), 5, 1, 20, rng)


def test_distortions_keep_the_original_and_change_the_copies_a_little(rng):
    images = np.zeros((2, 3, 1, 28, 28), np.uint8)
    images[:, :, :, 8:20, 12:16] = 255
    distorted = with_distortions(images, 4, rng)
    assert distorted.shape == (2, 3, 5, 28, 28) and (distorted[:, :, 0] == images[:, :, 0]).all()
    ink = distorted.astype(float).sum((3, 4)) / images[0, 0, 0].sum()
    assert ((0.6 < ink) & (ink < 1.6)).all()
    assert (distorted[:, :, 1:] != images).any((3, 4)).all()


ROWS = [
    f"{alphabet}/character{i:02}"
    for alphabet, size in (("Greek", 3), ("Latin", 6), ("N_Ko", 5))
    for i in range(size)
]


def test_classes_of_a_task_stand_in_one_alphabet(rng):
    tasks = AlphabetSampler(named_images(classes=14), ROWS, 4, 1, 2, rng).sample(40)
    found = [{ROWS[c].split("/")[0] for c in classes} for classes in names(tasks.support_x)[0]]
    assert all(len(alphabets) == 1 for alphabets in found) and set.union(*found) == {
        "Latin",
        "N_Ko",
    }  # Greek has too few
    assert len({tuple(y) for y in tasks.support_y}) > 10  # the true class stands anywhere
    one = AlphabetSampler(named_images(classes=14), ROWS, 3, 1, 1, rng, "Greek").sample(5)
    assert set(names(one.support_x)[0].flatten()) == {0, 1, 2}


@pytest.mark.parametrize("way, fewest", [(3, 1), (6, 1), (8, 2), (12, 3)])
def test_a_task_has_one_alphabet_after_the_other_until_it_has_enough(rng, way, fewest):
    alphabets = [row.split("/")[0] for row in ROWS]
    tasks = TaskSampler(named_images(classes=14), way, 1, 2, rng, alphabets=alphabets).sample(60)
    found = [[alphabets[c] for c in classes] for classes in names(tasks.support_x)[0]]
    assert min(len(set(task)) for task in found) == fewest and {
        name for task in found for name in task
    } == set(alphabets)
    for task in found:  # all but one are there with all of their characters
        assert sum(task.count(name) < alphabets.count(name) for name in set(task)) <= 1
    assert len({c for classes in names(tasks.support_x)[0] for c in classes}) == 14


def test_a_turned_alphabet_is_another_one(rng):
    images = np.zeros((2, 20, 1, 2, 2), np.uint8)
    images[0, ..., 0, 0], images[1, ..., 0, 0] = 100, 200
    tasks = TaskSampler(images, 2, 1, 2, rng, rotations=True, alphabets=["Greek", "Greek"]).sample(
        20
    )
    for x in tasks.support_x:  # both of its characters, and in one position
        (_, *first), (_, *second) = np.argwhere(x > 0)
        assert first == second and sorted(255 * x.max((1, 2, 3))) == pytest.approx([100, 200])


def test_a_part_of_the_tasks_within_alphabets_is_what_it_is_in_the_whole():
    whole, part = (
        AlphabetSampler(named_images(classes=14), ROWS, 4, 1, 2, np.random.default_rng(0))
        for _ in range(2)
    )
    assert all((a[2:5] == b).all() for a, b in zip(whole.sample(6), part.sample(6, slice(2, 5))))


@pytest.mark.parametrize(
    "way, alphabet, message",
    [
        (
            4,
            "Greek",
            "way is 4, but alphabet Greek has only 3 characters here; the background split",
        ),
        (
            7,
            None,
            "way is 7, but alphabet Latin has only 6 characters here, and no other has more",
        ),
        (2, "Klingon", "alphabet Klingon has no character here; there are Greek, Latin, N_Ko"),
    ],
)
def test_alphabets_with_too_few_characters_are_refused(rng, way, alphabet, message):
    with pytest.raises(UserError, match=message):
        AlphabetSampler(named_images(classes=14), ROWS, way, 1, 1, rng, alphabet)


@pytest.mark.parametrize("rotations", [False, True])
def test_embedded_tasks_are_the_same_tasks(rotations):
    """With all pixels as the embedding."""
    images = np.random.default_rng(1).integers(256, size=(6, 20, 2, 4, 4)).astype(np.uint8)
    sample = lambda: TaskSampler(images, 3, 1, 2, np.random.default_rng(0), rotations)  # noqa: E731
    plain, embedded = (
        sample().sample(20),
        sample().embedded(lambda x: x.reshape(len(x), -1)).sample(20),
    )
    for a, b in zip(plain, embedded):
        assert (a.reshape(b.shape) == b).all()


def test_indices_within_alphabets_are_those_of_the_images_that_are_drawn():
    one, other = (
        AlphabetSampler(named_images(classes=14), ROWS, 4, 1, 2, np.random.default_rng(0))
        for _ in range(2)
    )
    indices, tasks = one.indices(6), other.sample(6)
    for picks, x, y in (
        (indices.support, tasks.support_x, tasks.support_y),
        (indices.query, tasks.query_x, tasks.query_y),
    ):
        assert (picks.label == y).all()
        c, d, _ = names(x)
        assert (picks.row == c).all() and (picks.drawing == d).all()
    assert one.rng.bit_generator.state == other.rng.bit_generator.state


def test_with_replacement_any_class_and_drawing_may_come_again(rng):
    """Two of five labels are of one of 12 classes with probability 1 - 12! / (7! 12^5) = 0.618; a
    query is one of the two support drawings of a label with probability 1 - (19 / 20)^2 = 0.0975.
    """
    tasks = TaskSampler(named_images(), 5, 2, 1, rng, replacement=True).sample(2000)
    (support, drawn, _), (_, asked, _) = names(tasks.support_x), names(tasks.query_x)
    by_label = np.argsort(tasks.support_y, axis=1, kind="stable")
    classes, drawings = (
        np.take_along_axis(a, by_label, axis=1).reshape(2000, 5, 2) for a in (support, drawn)
    )
    assert (classes[..., 0] == classes[..., 1]).all()
    shared = [len(set(row)) < 5 for row in classes[..., 0]]
    assert np.mean(shared) == pytest.approx(0.618, abs=0.05)
    queries = np.take_along_axis(asked, np.argsort(tasks.query_y, axis=1), axis=1)
    again = (drawings == queries[..., None]).any(axis=2)
    assert again.mean() == pytest.approx(0.0975, abs=0.015)


@pytest.mark.parametrize("shot", [1, 2])
def test_by_drawer_all_classes_of_a_task_have_the_same_drawings(rng, shot):
    """Those of the support are none of the query's, and every pair of drawers comes up."""
    tasks = TaskSampler(named_images(drawings=4), 5, shot, 1, rng, by_drawer=True).sample(400)
    support, query = (names(x)[1] for x in (tasks.support_x, tasks.query_x))
    pairs = set()
    for drawn, asked in zip(support, query):
        assert len(set(drawn)) == shot and len(set(asked)) == 1 and not set(drawn) & set(asked)
        pairs.add((*sorted(set(drawn)), asked[0]))
    assert len(pairs) == 12  # 4 * 3 ordered pairs, or 6 supports of 2 with 2 others each


def test_within_alphabets_the_drawer_is_one_of_its_own(rng):
    rows = [f"{'AB'[k // 6]}/character{k:02}" for k in range(12)]
    tasks = AlphabetSampler(named_images(), rows, 5, 1, 1, rng, by_drawer=True).sample(20)
    support, query = names(tasks.support_x), names(tasks.query_x)
    assert all(len(set(row // 6)) == 1 for row in support[0])
    assert all(len({*a}) == len({*b}) == 1 and a[0] != b[0] for a, b in zip(support[1], query[1]))


ALPHABETS = [f"alphabet {n % 7}" for n in range(300)]
STREAMS = {
    "way 5": (5, {"rotations": True}, "63efd811df43b586"),
    "way 20": (20, {"rotations": True}, "a5ba28911d0e9105"),
    "way 60": (60, {"rotations": True}, "faea362e58072064"),
    "alphabets": (5, {"rotations": True, "alphabets": ALPHABETS}, "c6627e5541109c4c"),
    "replacement": (20, {"replacement": True}, "23e017f2496d29b5"),
    "drawers": (20, {"by_drawer": True}, "ec8998f9e7baa8bc"),
    "rows": (5, {"rows": np.arange(0, 300, 3)}, "10c8f0c7a30ad0cd"),
    "within alphabets": (20, {"names": [f"{a}/x" for a in ALPHABETS]}, "02ae71873272c4af"),
    "unequal": (5, {}, "93d5c649259a539b"),
}


@pytest.mark.both_paddles
@pytest.mark.parametrize("name", STREAMS)
def test_tasks_are_the_same_in_every_version(name):
    """Of this program, and of NumPy: NumPy 1 leaves what it partitions in another order."""
    way, options, digest = STREAMS[name]
    kind = AlphabetSampler if "names" in options else TaskSampler
    images = np.zeros((300, 20, 1, 2, 2), np.uint8)
    if name == "unequal":
        counts = np.array([6, 13, 8] * 100)
        images = ClassImages(images[:150].reshape(-1, 1, 2, 2), counts.cumsum() - counts, counts)
    rng, found = np.random.default_rng(1), hashlib.sha256()
    for picks in kind(images, way=way, shot=1, query=5, rng=rng, **options).indices(200):
        for values in picks:
            found.update(values.astype("<i8").tobytes())
    assert found.hexdigest()[:16] == digest
