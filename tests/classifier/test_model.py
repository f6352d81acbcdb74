"""The classifier that users hold in their hands: load, fit, predict, score, save."""

import os
import pickle
import threading

import numpy as np
import pytest
from helpers import ROOT

import maml
from maml.algorithms.metric import MetricLearner
from maml.classifier import model
from maml.classifier.calibration import softmax
from maml.classifier.images import as_images
from maml.system import safe_pickle
from maml.system.errors import UserError

# one of each method, and of MAML a classifier of exactly the classes that are asked for
WEIGHTS = ["maml_5w1s", "maml_20w1s", "fomaml_5w1s", "reptile_5w5s", "protonet_60w1s"]
WEIGHTS += ["matching_20w1s", "siamese_pairs", "siamese_triplets"]
WAY = 5


def support(drawings, counts=(3,) * WAY, names="abcde"):
    """Images and labels, so many of each class."""
    images = np.concatenate([drawings[k, :n] for k, n in enumerate(counts)])
    return images, [name for name, n in zip(names, counts) for _ in range(n)]


def queries(drawings, names="abcde"):
    """Three other drawings of each class."""
    return drawings[: len(names), 10:13].reshape(-1, 28, 28), [n for n in names for _ in range(3)]


QUICK = {"maml_5w1s", "protonet_60w1s", "matching_20w1s", "siamese_triplets"}


@pytest.fixture(
    scope="module",
    params=[n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in WEIGHTS],
)
def name(request):
    return request.param


def test_a_round_trip_of_every_method(name, drawings, tmp_path, monkeypatch):
    """From another folder; what is saved says to the bit what it said before."""
    monkeypatch.chdir(tmp_path)
    model = maml.load(name)
    assert model.classes_ is None and model.image_size == 28
    assert model.fit(*support(drawings)) is model and model.classes_ == list("abcde")
    asked, labels = queries(drawings)
    p = model.predict_proba(asked)
    assert p.shape == (15, WAY) and p.dtype == np.float32
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5) and p.min() >= 0
    predicted = model.predict(asked)
    assert predicted == [model.classes_[k] for k in p.argmax(axis=1)]
    share = sum(a == b for a, b in zip(predicted, labels)) / 15
    assert model.score(asked, labels) == pytest.approx(share) and share >= 0.6
    model.save("new/mine.pkl")
    again = maml.load("new/mine.pkl")
    assert again.classes_ == list("abcde") and (again.predict_proba(asked) == p).all()
    assert again.trained.state()["config"] == model.trained.state()["config"]


def test_a_classifier_that_learned_nothing_is_saved_as_its_weights(drawings, tmp_path):
    maml.load("protonet_60w1s").save(tmp_path / "a.pkl")
    again = maml.load(tmp_path / "a.pkl")
    assert again.classes_ is None
    expected = maml.load("protonet_60w1s").fit(*support(drawings)).predict_proba(drawings[0, :2])
    assert (again.fit(*support(drawings)).predict_proba(drawings[0, :2]) == expected).all()


def test_the_order_of_the_support_changes_nothing(name, drawings, rng):
    """Though the classes have different numbers of images."""
    images, labels = support(drawings, counts=(1, 3, 2, 5, 1))
    asked, _ = queries(drawings)
    expected = maml.load(name).fit(images, labels).predict_proba(asked)
    for _ in range(2):
        order = rng.permutation(len(labels))
        shuffled = maml.load(name).fit(images[order], [labels[n] for n in order])
        assert (shuffled.predict_proba(asked) == expected).all()


def test_the_names_of_classes_change_nothing(name, drawings):
    """Columns follow the sorted names."""
    images, labels = support(drawings, counts=(2, 3, 2, 1, 2))
    asked, _ = queries(drawings)
    expected = maml.load(name).fit(images, labels).predict_proba(asked)
    renamed = maml.load(name).fit(images, [-ord(label) for label in labels])
    assert renamed.classes_ == sorted(-ord(label) for label in "abcde")
    assert (renamed.predict_proba(asked)[:, ::-1] == expected).all()


def test_each_class_counts_the_same_whatever_its_number_of_images(name, drawings):
    """Four copies of one class's only image teach what four copies of all images do."""
    images, labels = support(drawings, counts=(1,) * WAY)
    asked, _ = queries(drawings)
    expected = maml.load(name).fit(np.repeat(images, 4, axis=0), np.repeat(labels, 4).tolist())
    more = np.concatenate([images, images[[0, 0, 0]]])
    found = maml.load(name).fit(more, [*labels, "a", "a", "a"]).predict_proba(asked)
    assert np.allclose(found, expected.predict_proba(asked), atol=1e-4)


def test_more_images_and_another_class_are_as_if_they_had_been_there_from_the_start(
    name, drawings, tmp_path
):
    """Though one is added to what was saved and loaded."""
    images, labels = support(drawings, counts=(2, 3, 1, 1, 2))
    asked, _ = queries(drawings)
    expected = maml.load(name).fit(images, labels)
    few = [n for n, label in enumerate(labels) if label != "b" and n]
    model = maml.load(name).fit(images[few], [labels[n] for n in few])
    assert model.classes_ == list("acde")
    model.add(images[0], "a").save(tmp_path / "a.pkl")
    model = maml.load(tmp_path / "a.pkl")
    assert model.add(images[2:5], "b") is model and model.classes_ == list("abcde")
    assert np.allclose(model.predict_proba(asked), expected.predict_proba(asked), atol=1e-5)
    if name == "maml_5w1s":
        with pytest.raises(UserError, match="was trained for way 5"):
            model.add(drawings[5, 0], "f")
        assert model.classes_ == list("abcde")


def test_metric_methods_embed_new_images_alone(drawings, monkeypatch):
    embedded = []
    embed = MetricLearner.embed

    def counted(self, x):
        embedded.append(x.shape[1])
        return embed(self, x)

    monkeypatch.setattr(MetricLearner, "embed", counted)
    model = maml.load("protonet_60w1s").fit(*support(drawings))
    model.add(drawings[5, :2], "f").add(drawings[0, 4], "a")
    assert embedded == [15, 2, 1]


def test_an_answer_depends_on_no_other_query(name, drawings):
    model = maml.load(name).fit(*support(drawings))
    asked, _ = queries(drawings)
    alone = np.concatenate([model.predict_proba(image[None]) for image in asked])
    assert np.allclose(alone, model.predict_proba(asked), atol=1e-4)


def test_pictures_of_none_of_the_classes_are_refused(name, drawings, tmp_path):
    """Most drawings of five other characters are, and few of the five that were learned."""
    model = maml.load(name).fit(*support(drawings))
    members, _ = queries(drawings)
    strangers = drawings[WAY:, 10:13].reshape(-1, 28, 28)
    p = model.predict_proba(members)
    usual, unusual = model.typicality(members), model.typicality(strangers)
    assert usual.min() >= 0 and usual.max() <= 1 and np.median(usual) > 4 * np.median(unusual)
    kept = model.predict(members, reject=0.05)
    assert kept == [
        label if share >= 0.05 else None for label, share in zip(model.predict(members), usual)
    ]
    refused = model.predict(strangers, reject=0.05).count(None) / len(strangers)
    assert refused > 0.5 > kept.count(None) / len(members)
    assert model.predict(strangers, reject=0.5).count(None) >= refused * len(strangers)
    assert (model.predict_proba(members) == p).all()
    alone = np.concatenate([model.typicality(image) for image in members])
    assert np.allclose(alone, usual, atol=1e-3)
    model.save(tmp_path / "a.pkl")
    again = maml.load(tmp_path / "a.pkl")
    assert (again.typicality(strangers) == unusual).all()
    assert again.predict(members, reject=0.05) == kept


def test_confidence_is_calibrated_for_the_task_at_hand(drawings):
    """The temperature is that of the nearest task; which class is likeliest stays."""
    few, more = maml.load("matching_20w1s"), maml.load("matching_20w1s")
    few.fit(*support(drawings, (1,) * WAY))
    more.fit(*support(drawings, (5,) * WAY))
    assert (few.fitted.judged[:2], more.fitted.judged[:2]) == ((5, 1), (5, 5))
    p = few.predict_proba(drawings[0, 10:12])
    few.judged = []
    few.fit(*support(drawings, (1,) * WAY))
    plain = few.predict_proba(drawings[0, 10:12])
    temperature = more.judged[0].temperature
    powers = plain ** (1 / temperature)
    assert temperature != 1
    assert np.allclose(p, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


def test_strangers_are_told_only_where_it_is_known_how_near_members_are(drawings, tmp_path):
    asked = drawings[0, 10]
    for reject in (0, 1, -1, 5):
        with pytest.raises(UserError, match=f"between 0 and 1, such as 0.05, not {reject}"):
            maml.load("protonet_60w1s").fit(*support(drawings)).predict(asked, reject=reject)
    changed = maml.load("maml_5w1s", inner_steps_test=1).fit(*support(drawings))
    with pytest.raises(UserError, match="as they were judged; drop inner_steps_test"):
        changed.predict(asked, reject=0.05)
    seen = maml.load("protonet_60w1s_train_val").fit(*support(drawings))
    with pytest.raises(UserError, match="was trained on validation characters too"):
        seen.typicality(asked)
    network = f"{ROOT}/examples/resnet.py:four"
    own = maml.load(ROOT / "examples" / "protonet_resnet.pkl", network=network)
    own.fit(*support(drawings)).save(tmp_path / "own.pkl")
    with pytest.raises(UserError, match="protonet_resnet.pkl: has a network of your own, and"):
        own.typicality(asked)
    with pytest.raises(UserError, match="its network is the user's own"):
        maml.load(tmp_path / "own.pkl")
    assert maml.load(tmp_path / "own.pkl", network=network).predict(asked) == own.predict(asked)
    path = tmp_path / "mine.pkl"
    path.write_bytes((ROOT / "checkpoints" / "protonet_60w1s.pkl").read_bytes())
    unknown = maml.load(path).fit(*support(drawings))
    with pytest.raises(UserError, match=f"mine.pkl: was not judged.*--checkpoints {tmp_path}"):
        unknown.predict(asked, reject=0.05)
    assert unknown.predict(asked) == ["a"]


def test_mistakes_are_told_in_a_sentence(drawings, tmp_path):
    model = maml.load("maml_5w1s")
    images, labels = support(drawings)
    for call in (model.predict, model.typicality, lambda x: model.add(x, "a")):
        with pytest.raises(UserError, match="learned no classes yet: call fit first"):
            call(images)
    with pytest.raises(UserError, match="there are 15 images, but 14 labels"):
        model.fit(images, labels[:-1])
    with pytest.raises(UserError, match="at least two classes"):
        model.fit(images, ["a"] * 15)
    six = support(drawings, (1,) * 6, "abcdef")
    with pytest.raises(UserError, match="was trained for way 5"):
        model.fit(*six)
    assert maml.load("protonet_60w1s").fit(*six).classes_ == list("abcdef")
    model.fit(images, [(label, 1) for label in labels])
    assert model.predict(images[:1]) == [("a", 1)]
    with pytest.raises(UserError, match="labels must be texts or numbers to be saved"):
        model.save(tmp_path / "a.pkl")
    assert not (tmp_path / "a.pkl").exists()


def test_a_failed_fit_leaves_what_was_learned(drawings):
    model = maml.load("maml_5w1s").fit(*support(drawings))
    expected = model.predict_proba(drawings[0, 10:11])
    with pytest.raises(UserError):
        model.fit(*support(drawings, (1,) * 6, "abcdef"))
    assert model.classes_ == list("abcde")
    assert (model.predict_proba(drawings[0, 10:11]) == expected).all()


def test_options_are_those_of_an_evaluation_and_are_kept(drawings, tmp_path):
    images, labels = support(drawings)
    asked, _ = queries(drawings)
    model = maml.load("maml_5w1s", inner_steps_test=1).fit(images, labels)
    one = model.predict_proba(asked)
    assert (one != maml.load("maml_5w1s").fit(images, labels).predict_proba(asked)).any()
    model.save(tmp_path / "a.pkl")
    assert (maml.load(tmp_path / "a.pkl").predict_proba(asked) == one).all()
    assert maml.load(tmp_path / "a.pkl", inner_steps_test=2).options["inner_steps_test"] == 2
    with pytest.raises(UserError, match="refine is for protonet, not for maml; drop it"):
        maml.load("maml_5w1s", refine=3)
    for name in ("way", "steps"):
        with pytest.raises(UserError, match=f"{name} is not an option; there are inner_steps_test"):
            maml.load("maml_5w1s", **{name: 3})
    tuned = maml.load("protonet_60w1s", finetune=2).fit(images, labels)
    assert tuned.predict(images[:1]) == ["a"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda support: support.pop("labels"),
        lambda support: support.update(y=np.array([7] * 15)),
        lambda support: support.update(options=3),
        lambda support: support.update(labels=None),
    ],
)
def test_a_spoilt_support_is_refused(drawings, tmp_path, spoil):
    path = tmp_path / "a.pkl"
    maml.load("protonet_60w1s").fit(*support(drawings)).save(path)
    state = safe_pickle.load(path)
    spoil(state["support"])
    safe_pickle.save({k: v for k, v in state.items() if k != "format"}, path)
    with pytest.raises(UserError, match="a.pkl: holds a support that cannot be read"):
        maml.load(path)


def test_loading_executes_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"weights": [Evil()]}))
    with pytest.raises(UserError, match="evil.pkl: is not a checkpoint"):
        maml.load(tmp_path / "evil.pkl")
    assert not (tmp_path / "executed").exists()


def test_several_threads_predict_at_once(drawings):
    model = maml.load("maml_5w1s").fit(*support(drawings))
    asked, _ = queries(drawings)
    expected = [model.predict_proba(asked[k : k + 3]) for k in range(0, 15, 3)]
    found = [None] * 5

    def ask(k):
        found[k] = model.predict_proba(asked[3 * k : 3 * k + 3])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((a == b).all() for a, b in zip(found, expected))


def test_an_answer_is_of_one_support_though_another_thread_learns_meanwhile(drawings, monkeypatch):
    learner = maml.load("protonet_60w1s").fit(*support(drawings))
    asked, labels = queries(drawings)
    expected = learner.predict_proba(asked)

    def meanwhile(*scores):
        if len(learner.classes_) == WAY:
            learner.add(drawings[5, 0], "0")  # the first column, from now on
        return softmax(*scores)

    monkeypatch.setattr(model, "softmax", meanwhile)
    assert np.array_equal(learner.predict_proba(asked), expected)
    assert learner.predict_proba(asked).shape == (15, WAY + 1)
    learner.fit(*support(drawings))
    assert learner.predict(asked, reject=0.001) == labels


def test_nothing_that_several_threads_add_is_lost(drawings, monkeypatch):
    learner = maml.load("protonet_60w1s").fit(drawings[:2, 0], [0, 1])
    together = threading.Barrier(3)

    def read(*images):
        together.wait(30)
        return as_images(*images)

    monkeypatch.setattr(model, "as_images", read)
    threads = [threading.Thread(target=learner.add, args=(drawings[k, 0], k)) for k in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert learner.classes_ == [0, 1, 2, 3, 4]


def test_what_was_saved_needs_no_weights_beside_it(drawings, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "mine.pkl"
    path.write_bytes((ROOT / "checkpoints" / "protonet_60w1s.pkl").read_bytes())
    maml.load(path).fit(*support(drawings)).save(tmp_path / "saved.pkl")
    path.unlink()
    monkeypatch.chdir(tmp_path / "weights")
    again = maml.load(tmp_path / "saved.pkl").add(drawings[5, 0], "f")
    assert again.predict(drawings[5, 0]) == ["f"]
    with pytest.raises(UserError, match="mine.pkl: no such file of weights"):
        maml.load(path)


def test_nothing_is_printed(drawings, capfd):
    model = maml.load("reptile_5w5s").fit(*support(drawings))
    model.predict(queries(drawings)[0])
    assert capfd.readouterr() == ("", "")


def test_a_name_is_found_before_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert maml.load("maml_5w1s").trained.path == ROOT / "checkpoints" / "maml_5w1s.pkl"
    with pytest.raises(UserError, match="maml_6w1s: no weights of this name; the names are fomaml"):
        maml.load("maml_6w1s")


@pytest.mark.parametrize("name, steps", [("maml_5w1s", 3), ("protonet_60w1s", None)])
def test_probabilities_are_known_before_and_after_each_step(name, steps, drawings):
    """After k of them, they are those of a classifier with k steps; columns are as in classes_."""
    asked, _ = queries(drawings, "dcbae")
    changes = {} if steps is None else {"inner_steps_test": steps}
    model = maml.load(name, **changes).fit(*support(drawings, names="dcbae"))
    p = model.proba_by_step(asked)
    assert p.shape == ((steps or 0) + 1, 15, WAY) and np.array_equal(
        p[-1], model.predict_proba(asked)
    )
    for k in range(steps or 0):
        fewer = maml.load(name, inner_steps_test=k).fit(*support(drawings, names="dcbae"))
        assert np.allclose(p[k], fewer.predict_proba(asked), atol=1e-5)
