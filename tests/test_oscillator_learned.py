"""Trained models: how well they answer, on devices that are perfect or are not; training itself, where torch is."""

from dataclasses import replace

import numpy as np
import pytest
from simcore.models.oscillator_attention import attention, form, measures, settling, tasks, training, transformer
from simcore.models.oscillator_attention.attention import Device

import simcore
from simcore import InputError

PARAMS = "workloads.0.params.learned"


def run(**changes):
    """Run the models; keys of ``changes`` are those of `learned`."""
    asked = {f"{PARAMS}.{key}": value for key, value in changes.items()}
    return simcore.run("oscillator_attention", asked | {"workloads.0.params.mode": "learned", "machine.gpus": 1})


def test_what_is_random_differs_between_models_layers_and_batches():
    weights, anchors = np.ones((4, 6)), settling.uniform((6, 2), np.random.default_rng(1))
    found = [
        attention.states(weights, anchors, Device(noise=0.5), place=place)[0]
        for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))
    ]
    assert len({each.tobytes() for each in found}) == 4
    np.testing.assert_array_equal(found[0], found[-1])


@pytest.mark.parametrize(("task", "detuning"), [("agreement", 0.3), ("stories", 0.0)])
def test_a_model_meets_the_same_device_in_every_batch(task, detuning):
    """One example, asked alone, in another batch, or among others, on an array that is off, but not noisy; what does
    not lock is read at random, so that it has no place here."""
    data = tasks.data(task, "test", 30)
    asked, weights = form.load(task, "oscillator", 2, 0)
    device = Device(mismatch=0.4, detuning=detuning)
    together = transformer.answers(asked, weights, data, device, place=(0, 0))
    for place in (3, 29):
        alone = transformer.answers(asked, weights, data.part(slice(place, place + 1)), device, place=(0, 7))
        np.testing.assert_allclose(alone[0], together[place], atol=0.02)
    other = transformer.answers(asked, weights, data, device, place=(1, 0))
    assert np.abs(other - together).max() > 0.1


def test_shares_come_near_those_of_a_perfect_device():
    data = tasks.data("agreement", "test", 200)
    asked, weights = form.load("agreement", "oscillator", 2, 0)
    errors = [transformer.score(asked, weights, data, Device(read=read)).row_error for read in (0.25, 1, 4, 16, 0)]
    assert (np.diff(errors) < 0).all()
    assert errors[0] < 2
    assert errors[-1] == 0
    # Of one example, written out.
    seen, anchors = data.seen[:1], weights["0.anchors"][0]
    device = Device(noise=0.3)
    watched = transformer.Watched()
    transformer.answers(asked, weights, data.part(slice(1)), device, watched, (0, 0))
    normal = weights["embedding"][data.inputs[0]] + transformer.sinusoids(asked)
    normal = (normal - normal.mean(1, keepdims=True)) / np.sqrt(normal.var(1, keepdims=True) + 1e-5)
    normal = normal * weights["0.attend.gain"] + weights["0.attend.bias"]
    query, key = normal[data.row[0]] @ weights["0.query"], normal @ weights["0.key"]
    pull = attention.couplings((key @ query * 32**-0.5)[None], seen)
    noisy, exact = (
        attention.shares(attention.states(pull[None, None], anchors, each, place=(0, 0, 0))[0], anchors, seen)
        for each in (device, Device())
    )
    assert watched.errors[0] == pytest.approx(np.abs(noisy - exact).sum(), rel=1e-3)


def test_detuned_models_read_late_answer_as_at_their_equilibrium():
    data = tasks.data("agreement", "test", 400)
    asked, weights = form.load("agreement", "oscillator", 2, 3)
    settled = transformer.answers(asked, weights, data, Device(detuning=0.01))
    late = transformer.answers(asked, weights, data, Device(detuning=0.01, read=1e4))
    np.testing.assert_allclose(late, settled, atol=0.05)


def test_without_hard_sentences_nothing_is_said_of_them():
    told = run(task="order", examples=100).metrics["jobs"]["oscillator_attention"]["learned"]
    assert "accuracy" in told
    assert not {"failures", "hard_accuracy", "hard_median", "hard_least"} & set(told)


def hard(kind, task="agreement"):
    data = tasks.data(task, "test")
    scores = [transformer.score(*form.load(task, kind, 2, seed), data) for seed in range(10)]
    return np.array([each.hard_right / each.hard for each in scores])


def test_trained_oscillators_agree_better_than_softmax():
    """Ten named seeds, 0 to 9, unambiguous grammar, the sentences whose distractor disagrees."""
    oscillator, softmax = hard("oscillator"), hard("softmax")
    assert np.median(oscillator) >= 0.97
    assert oscillator.mean() > softmax.mean()
    assert (oscillator < 0.85).sum() <= (softmax < 0.85).sum()


def test_failures_are_counted_over_those_of_softmax():
    result = run(seeds=10)
    assert measures.failures_over(result) == (hard("oscillator") < 0.85).sum() - (hard("softmax") < 0.85).sum()


def test_the_error_of_a_row_is_the_mean_of_all_seeds():
    result = run(seeds=2, examples=100, **{"device.read": 1})
    data = tasks.data("agreement", "test", 100)
    wanted = [
        transformer.score(*form.load("agreement", "oscillator", 2, seed), data, Device(read=1), seed) for seed in (0, 1)
    ]
    assert measures.row_error(result) == pytest.approx(np.mean([each.row_error for each in wanted]))
    assert measures.row_error(run(seeds=2, examples=100)) == 0


def test_the_ambiguous_grammar_has_a_roof_of_98():
    oscillator, softmax = hard("oscillator", "ambiguous"), hard("softmax", "ambiguous")
    assert 0.96 < np.median(oscillator) < 0.99
    assert softmax.mean() < oscillator.mean()


def test_the_gap_of_stories_falls_with_the_dimension():
    data = tasks.data("stories", "test")

    def perplexity(kind, dimension):
        models = [form.load("stories", kind, dimension, seed) for seed in range(3)]
        return np.mean([np.exp(transformer.score(*model, data).nats) for model in models])

    softmax = perplexity("softmax", 2)
    gaps = [perplexity("oscillator", dimension) - softmax for dimension in form.DIMENSIONS]
    assert (np.diff(gaps) < 0).all()
    assert gaps[-1] > 0


def test_the_gap_has_its_spread_over_the_seeds():
    result = run(task="stories", seeds=3)
    data = tasks.data("stories", "test")
    gaps = []
    for seed in range(3):
        one, other = (form.load("stories", kind, 2, seed) for kind in ("oscillator", "softmax"))
        gaps.append(np.exp(transformer.score(*one, data).nats) - np.exp(transformer.score(*other, data).nats))
    assert measures.gap(result) == pytest.approx(np.mean(gaps))
    assert measures.gap_spread(result) == pytest.approx(np.std(gaps, ddof=1))


def test_softmax_without_positions_does_not_notice_their_order():
    data = tasks.data("order", "test")
    mixed = transformer.shuffled(data, 0)
    for seed in range(3):
        soft, swung = (form.load("order", attention, 2, seed) for attention in ("softmax", "oscillator"))
        assert transformer.score(*soft, data).right == transformer.score(*soft, mixed).right
        assert transformer.score(*swung, data).right > transformer.score(*swung, mixed).right + 200


def test_reading_late_is_reading_at_the_equilibrium():
    data = tasks.data("agreement", "test", 400)
    asked, weights = form.load("agreement", "oscillator", 2, 0)
    wanted = transformer.answers(asked, weights, data)
    found = transformer.answers(asked, weights, data, Device(read=200.0))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    early = transformer.score(asked, weights, data, Device(read=0.25)).right
    assert early < transformer.score(asked, weights, data).right


def test_what_the_published_code_does_otherwise_can_be_had():
    data = tasks.data("agreement", "test", 300)
    asked, weights = form.load("agreement", "oscillator", 2, 0)
    wanted = transformer.answers(asked, weights, data)
    full = data.seen.all(axis=1)
    found = transformer.answers(asked, weights, data, Device(padding="published"))
    np.testing.assert_array_equal(found[full], wanted[full])
    assert np.abs(found[~full] - wanted[~full]).max() > 0.01
    anchors = weights["0.anchors"]
    sphere = dict(weights) | {"0.anchors": anchors / np.linalg.norm(anchors, axis=-1, keepdims=True)}
    found = transformer.answers(asked, weights, data, Device(anchors="normalised"))
    np.testing.assert_allclose(found, transformer.answers(asked, sphere, data), atol=1e-5)
    assert np.abs(found - wanted).max() > 0.01
    with pytest.raises(InputError, match="nothing fills up"):
        run(task="stories", **{"device.padding": "published"})


def test_grammar_is_as_described():
    data = tasks.data("agreement", "train")
    words = tasks.lexicon(0)
    longer = data.row == 6
    assert longer.mean() == pytest.approx(0.6, abs=0.01)
    assert data.hard.sum() / longer.sum() == pytest.approx(0.5, abs=0.02)
    assert data.targets.mean() == pytest.approx(0.5, abs=0.01)
    plural_subject = np.isin(data.inputs[:, 2], words.nouns[1])
    plural_verb = np.isin(data.inputs[np.arange(len(data)), data.row], words.verbs[1])
    np.testing.assert_array_equal(data.targets == 1, plural_subject == plural_verb)
    assert len(np.intersect1d(*tasks.lexicon(tasks.SHARED).nouns)) == 2


def test_what_is_shipped_is_what_would_be_trained():
    names = set()
    for task, recipe in training.RECIPES.items():
        for asked in (form.form(task, "softmax"), *(form.form(task, "oscillator", d) for d in recipe.dimensions)):
            with np.load(form.TRAINED / asked.file) as found:
                assert str(found["made"]) == training.said(asked, recipe)
                assert found["weights"].shape == (len(recipe.seeds), sum(asked.sizes()))
            names.add(asked.file)
    assert names == {path.name for path in form.TRAINED.glob("*.npz")}


def test_weights_of_another_form_are_refused(tmp_path, monkeypatch):
    asked = form.form("order", "softmax")
    with np.load(form.TRAINED / asked.file) as found:
        made = str(found["made"]).replace('"heads": 2', '"heads": 4')
        np.savez(tmp_path / asked.file, seeds=found["seeds"], weights=found["weights"], made=np.array(made))
    monkeypatch.setattr(form, "TRAINED", tmp_path)
    with pytest.raises(InputError, match="of another form than order"):
        form.load.__wrapped__("order", "softmax", 2, 0)


def test_training_computes_what_is_shipped_and_goes_on_where_it_was(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")

    torch.set_num_threads(1)
    data = tasks.data("agreement", "test", 64)
    for kind in ("oscillator", "softmax"):
        asked, weights = form.load("agreement", kind, 2, 3)
        row = torch.cat([torch.from_numpy(weights[name]).flatten() for name in asked.shapes()])[None]
        parts = [torch.from_numpy(each)[None] for each in (data.inputs, data.seen, data.row)]
        found = training.outputs(asked, row, *parts)[0].numpy()
        np.testing.assert_allclose(found, transformer.answers(asked, weights, data), atol=2e-4)
    recipe = training.Recipe(range(2), 6, 16, 1e-3)
    asked = form.form("agreement", "oscillator")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for path in (whole, halves):
        path.mkdir()
    training.train(asked, recipe, whole)

    class Stopped(Exception):
        pass

    def stop(done):
        if done == 5:
            raise Stopped

    training.KEPT, kept = 3, training.KEPT
    try:
        with pytest.raises(Stopped):
            training.train(asked, recipe, halves, stop)
        training.train(asked, recipe, halves)
    finally:
        training.KEPT = kept
    one, other = (np.load(path / asked.file)["weights"] for path in (whole, halves))
    np.testing.assert_array_equal(one, other)
    assert [path.name for path in halves.iterdir()] == [asked.file]
    # What is finished is left alone, and nothing goes on with another recipe.
    before = (halves / asked.file).stat().st_mtime_ns
    training.train(asked, recipe, halves)
    assert (halves / asked.file).stat().st_mtime_ns == before
    for other, said in (
        (training.Recipe(range(3), 6, 16, 1e-3), "other seeds;"),
        (training.Recipe(range(2), 7, 16, 1e-3), "other steps;"),
        (training.Recipe(range(2), 6, 8, 2e-3), "other batch, rate;"),
    ):
        with pytest.raises(InputError, match=said):
            training.train(asked, other, halves)
    with pytest.raises(InputError, match="other form;"):
        training.train(replace(asked, inner=32), recipe, halves)
    monkeypatch.setattr(tasks, "data", lambda *_: tasks.agreement(100, np.random.default_rng(3)))
    with pytest.raises(InputError, match="other data;"):
        training.train(asked, recipe, halves)


def test_training_stops_and_refuses_in_a_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")

    monkeypatch.setitem(training.RECIPES, "agreement", training.Recipe(range(1), 4, 8, 1e-3))
    monkeypatch.setattr(training, "KEPT", 2)
    taken = tmp_path / "file"
    taken.write_text("")
    assert training.main(["agreement", "--out", str(taken)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    train = training.train

    def stopped(asked, recipe, out, show):
        def stop(done):
            if asked.attention == "oscillator" and done == 3:
                raise KeyboardInterrupt

        return train(asked, recipe, out, stop)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", stopped)
        assert training.main(["agreement", "--out", str(out)]) == 130
    assert "goes on" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["agreement_oscillator2.progress.pt", "agreement_softmax.npz"]
    monkeypatch.setitem(training.RECIPES, "agreement", training.Recipe(range(1), 5, 8, 1e-3))
    for name in ("agreement_softmax.npz", "agreement_oscillator2.progress.pt"):
        assert training.main(["agreement", "--out", str(out)]) == 2
        assert f"{name} was made with other steps; move it away" in capsys.readouterr().err
        (out / name).unlink()
    assert training.main(["agreement", "--out", str(out)]) == 0


@pytest.mark.parametrize("content", [b"", b"neither weights nor progress"])
def test_what_holds_no_weights_and_no_progress_is_refused_in_a_line(tmp_path, capsys, content):
    pytest.importorskip("torch")

    for name, what in (("order_softmax.npz", "weights"), ("order_softmax.progress.pt", "progress")):
        out = tmp_path / what
        out.mkdir()
        (out / name).write_bytes(content)
        assert training.main(["order", "--out", str(out)]) == 2
        assert f"{name} holds no {what}; move it away" in capsys.readouterr().err
