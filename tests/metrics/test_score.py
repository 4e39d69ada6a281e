"""The place where truth meets guess: known answers, and the ways in which published evaluations went wrong."""

from __future__ import annotations

import pytest
import torch

from gradiometer.attacks.inference import RareClass
from gradiometer.core import BadInput, Batch, Client, Data, Field, Guess, Unsupported, derive, image_layout, play
from gradiometer.metrics import blind_pictures, identification_rank, score, score_labels, score_presence


def run(guess: Guess, truth: Batch, data: Data, **settings):
    return score(guess, truth, data, rng=derive(0), **settings)


def normalized(data: Data) -> Data:
    """The same digits as a model with input normalization takes them."""
    layout = image_layout((1, 8, 8), 10, mean=(0.3,), std=(0.4,))

    def convert(batch: Batch) -> Batch:
        return batch.replace(x=layout["x"].normalize(batch["x"]))

    return Data(private=convert(data.private), public=convert(data.public), layout=layout, card=data.card)


def test_a_perfect_guess_in_another_order(digits_data):
    truth = digits_data.private.take(slice(0, 8))
    order = torch.randperm(8, generator=derive(1))
    scores = run(Guess(tensors={"x": truth["x"][order]}), truth, digits_data)
    assert [s.guess for s in scores] == order.argsort().tolist()
    for s in scores:
        assert (s.psnr, s.rank, s.identified, s.matched, s.candidates) == (160, 1, True, True, 100)
        assert s.ssim == pytest.approx(1)
        assert s.mse == 0
        assert s.gain == pytest.approx(160 - s.blind_psnr)
        assert s.blind_psnr < 30


def test_scores_are_those_of_pixels_not_of_normalized_values(digits_data):
    other = normalized(digits_data)
    truth, same = digits_data.private.take(slice(0, 3)), other.private.take(slice(0, 3))
    guess = (truth["x"] + 0.1 * torch.randn(truth["x"].shape, generator=derive(2))).clamp(-1, 2)
    plain = run(Guess(tensors={"x": guess}), truth, digits_data)
    shifted = run(Guess(tensors={"x": other.layout["x"].normalize(guess)}), same, other)
    for a, b in zip(plain, shifted):
        assert (a.rank, a.guess, a.blind_name) == (b.rank, b.guess, b.blind_name)
        assert a.psnr == pytest.approx(b.psnr, abs=1e-3)
        assert a.blind_psnr == pytest.approx(b.blind_psnr, abs=1e-3)


def test_guesses_are_clamped_to_legal_pixels(digits_data):
    truth = Batch(x=torch.ones(1, 1, 8, 8), y=torch.tensor([0]))
    assert run(Guess(tensors={"x": torch.full((1, 1, 8, 8), 7.0)}), truth, digits_data)[0].psnr == 160


def test_no_guess_counts_twice(digits_data):
    truth = digits_data.private.take(slice(0, 3))
    scores = run(Guess(tensors={"x": truth["x"][:1]}), truth, digits_data)
    assert [s.matched for s in scores] == [True, False, False]
    missing = scores[1]
    assert (missing.guess, missing.rank, missing.identified) == (None, 100, False)
    assert missing.gain <= 0  # scored as gray, which is one of the baselines


def test_more_pictures_than_examples_do_not_let_the_truth_choose(digits_data):
    truth = digits_data.private.take([5])
    everything = digits_data.private["x"]  # the truth is in here, at place 5
    assert not run(Guess(tensors={"x": everything}), truth, digits_data)[0].identified
    sure = torch.zeros(40)
    sure[5] = 1
    chosen = run(Guess(tensors={"x": everything}, confidence=sure), truth, digits_data)[0]
    assert (chosen.identified, chosen.guess) == (True, 5)


def test_values_that_are_not_finite_are_no_guess(digits_data):
    truth = digits_data.private.take(slice(0, 2))
    x = truth["x"].clone()
    x[0, 0, 0, 0] = float("nan")
    scores = run(Guess(tensors={"x": x}), truth, digits_data)
    assert [s.matched for s in scores] == [False, True]
    assert all(torch.tensor([s.psnr, s.ssim, s.mse, s.gain]).isfinite().all() for s in scores)
    x[1] = float("inf")
    assert not any(s.matched for s in run(Guess(tensors={"x": x}), truth, digits_data))
    assert not any(s.matched for s in run(Guess(tensors={"y": truth["y"]}), truth, digits_data))


def test_wrong_shapes_are_named(digits_data):
    truth = digits_data.private.take([0])
    with pytest.raises(BadInput, match=r"\(3, 8, 8\).*\(1, 8, 8\)"):
        run(Guess(tensors={"x": torch.zeros(1, 3, 8, 8)}), truth, digits_data)
    rows = Data(private=Batch(x=torch.zeros(2, 4)), layout={"x": Field(shape=(4,))})
    with pytest.raises(Unsupported, match="pictures"):
        run(Guess(tensors={}), rows.private, rows)


def test_same_rng_same_scores_and_arguments_untouched(digits_data):
    truth = digits_data.private.take(slice(0, 4))
    guess = Guess(tensors={"x": torch.rand(4, 1, 8, 8, generator=derive(3))})
    before, state = guess["x"].clone(), torch.random.get_rng_state()
    assert run(guess, truth, digits_data) == run(guess, truth, digits_data)
    assert torch.equal(before, guess["x"])
    assert torch.equal(state, torch.random.get_rng_state())
    # The noise guess changes the baseline, never the candidates.
    plain, noisy = run(guess, truth, digits_data), run(guess, truth, digits_data, noise_guess=guess)
    assert [s.rank for s in plain] == [s.rank for s in noisy]


def test_the_same_attack_on_noise_is_a_baseline(digits_data):
    truth = digits_data.private.take(slice(0, 2))
    perfect = Guess(tensors={"x": truth["x"].flip(0)})
    for s in run(perfect, truth, digits_data, noise_guess=perfect):
        assert (s.noise_psnr, s.blind_name, s.blind_psnr, s.gain) == (160, "noise", 160, 0)
        assert s.blind_identified
    nothing = Guess(tensors={})
    assert all(s.noise_psnr < 20 for s in run(perfect, truth, digits_data, noise_guess=nothing))


def test_blind_guesses_gain_nothing_and_identify_by_chance_only(digits_data):
    truth = digits_data.private
    for name, pictures in blind_pictures(truth, digits_data, rng=derive(4)).items():
        scores = [
            run(Guess(tensors={"x": pictures[i : i + 1].float()}), truth.take([i]), digits_data)[0] for i in range(40)
        ]
        if name not in ("random_public", "nearest_public"):  # another draw may be luckier than the baseline's own
            assert all(s.gain <= 1e-4 for s in scores), name
        assert sum(s.blind_identified for s in scores) <= 4
        if name == "nearest_public":  # chosen with the truth: nobody can run it, and it is no baseline
            assert sum(s.identified for s in scores) > 20
            assert all(s.blind_name != name and s.psnr == s.nearest_psnr for s in scores)
        else:
            assert sum(s.identified for s in scores) <= 4, name


def test_baselines_are_what_they_say(digits_data):
    truth, public = digits_data.private.take(slice(0, 3)), digits_data.public
    blind = blind_pictures(truth, digits_data, rng=derive(5))
    assert list(blind) == ["gray", "mean", "class_mean", "random_public", "nearest_public"]
    assert all(pictures.shape == (3, 1, 8, 8) for pictures in blind.values())
    assert torch.allclose(blind["mean"][1].float(), public["x"].mean(0), atol=1e-6)
    members = public["x"][public["y"] == truth["y"][2]]
    assert torch.allclose(blind["class_mean"][2].float(), members.mean(0), atol=1e-6)
    nearest = min(public["x"], key=lambda x: (x - truth["x"][0]).square().sum().item())
    assert torch.equal(blind["nearest_public"][0].float(), nearest)
    assert any(torch.equal(blind["random_public"][0].float(), x) for x in public["x"])
    alone = Data(private=digits_data.private, layout=digits_data.layout)
    assert list(blind_pictures(truth, alone, rng=derive(5))) == ["gray"]


def test_identification_counts_ties_against_the_guess():
    truth, near, far = torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.2), torch.ones(1, 2, 2)
    others = torch.stack([near, far])
    assert identification_rank(truth, truth, others) == 1
    assert identification_rank(near, truth, others) == 2
    assert identification_rank(far, truth, others) == 3
    assert identification_rank(torch.full((1, 2, 2), 0.1), truth, others) == 2  # half way: a tie


def test_identification_leaves_out_copies_and_takes_what_there_is(digits_data):
    copies = Batch(x=digits_data.private["x"][[0, 0, 0, 1, 2]], y=digits_data.private["y"][[0, 0, 0, 1, 2]])
    data = Data(private=copies, layout=digits_data.layout)
    got = run(Guess(tensors={"x": copies["x"][:1]}), copies.take([0]), data)[0]
    assert (got.rank, got.candidates, got.identified) == (1, 3, True)
    alone = Data(private=copies.take([0]), layout=digits_data.layout)
    got = run(Guess(tensors={"x": copies["x"][:1]}), copies.take([0]), alone)[0]
    assert (got.candidates, got.identified) == (1, False)  # among one there is nothing to identify


def labels(*values: int) -> Batch:
    return Batch(x=torch.zeros(len(values), 1, 8, 8), y=torch.tensor(values))


def test_labels_are_a_multiset(digits_data):
    def overlap(guessed: list[int], *true: int) -> float:
        return score_labels(Guess(tensors={"y": torch.tensor(guessed)}), labels(*true), digits_data).overlap

    assert overlap([3, 1, 3], 3, 3, 1) == 1
    assert overlap([3, 1, 1], 3, 3, 1) == pytest.approx(2 / 3)
    assert overlap([3], 3, 3) == 0.5
    assert overlap([*range(10)] * 3, 3, 3, 1) == pytest.approx(3 / 30)  # naming every class is no knowledge
    assert overlap([99, -1], 3, 3) == 0
    assert score_labels(Guess(tensors={"y": torch.tensor([1, 3, 3])}), labels(3, 3, 1), digits_data).exact


def test_blind_labels_and_missing_labels(digits_data):
    none = score_labels(Guess(tensors={}), labels(4, 4, 4, 4), digits_data)
    assert (none.overlap, none.exact) == (0, False)
    assert 0 < score_labels(Guess(tensors={}), labels(*range(10)), digits_data).blind <= 1
    commonest = torch.bincount(digits_data.public["y"]).argmax().item()
    assert score_labels(Guess(tensors={}), labels(commonest), digits_data).blind == 1
    alone = Data(private=digits_data.private, layout=digits_data.layout)
    assert score_labels(Guess(tensors={}), labels(*range(10)), alone).blind == 1
    with pytest.raises(BadInput, match="labels"):
        score_labels(Guess(tensors={"y": torch.zeros(2, 10)}), labels(1, 2), digits_data)


def test_baselines_are_the_same_pictures_in_any_normalization():
    """A deviation of its own a channel must not tilt which public picture is nearest."""
    rng = derive(6)
    x, y = torch.rand(60, 3, 4, 4, generator=rng), torch.randint(0, 4, (60,), generator=rng)
    plain = image_layout((3, 4, 4), 4)
    skewed = image_layout((3, 4, 4), 4, mean=(0.1, 0.5, 0.9), std=(0.01, 1.0, 5.0))
    got = []
    for layout in (plain, skewed):
        every = Batch(x=layout["x"].normalize(x), y=y)
        data = Data(private=every.take(slice(0, 20)), public=every.take(slice(20, 60)), layout=layout)
        got.append(blind_pictures(data.private, data, rng=derive(7)))
    for name, pictures in got[0].items():
        assert torch.allclose(pictures, got[1][name], atol=1e-5), name


def test_a_guess_about_one_class_is_right_or_wrong(digits_data: Data) -> None:
    def verdict(present: bool, *true: int) -> tuple[float, float]:
        guess = Guess(tensors={"class": torch.tensor([3]), "present": torch.tensor([present])})
        found = score_labels(guess, labels(*true), digits_data)
        return found.overlap, found.blind

    assert verdict(True, 1, 3) == (1.0, 0.0)  # one in ten is too rare to be expected among two
    assert verdict(True, 1, 2) == (0.0, 1.0)
    assert verdict(False, 1, 2) == (1.0, 1.0)
    assert verdict(False, *[3] * 20) == (0.0, 1.0)


def test_a_guess_about_a_property_is_right_or_wrong(digits_data: Data) -> None:
    def verdict(present: bool, *marks: int) -> tuple[bool, bool, bool]:
        tensors = {"present": torch.tensor([present]), "score": torch.tensor([0.75])}
        guess = Guess(tensors=tensors, notes={"mark": "thick", "shares": [0.0, 1.0]})
        truth = digits_data.private.take(slice(0, len(marks))).replace(thick=torch.tensor(marks))
        found = score_presence(guess, truth, digits_data)
        assert found.score == 0.75
        assert score_labels(guess, truth, digits_data).exact == (found.said == found.there)
        return found.there, found.said, found.blind

    assert verdict(True, 1, 1, 0) == (True, True, False)  # of public digits, just under half are thick
    assert verdict(True, 0, 0, 1) == (False, True, False)
    guess = Guess(tensors={"present": torch.tensor([True])}, notes={"mark": "tilted", "shares": [0.0, 1.0]})
    with pytest.raises(BadInput, match='"tilted"'):
        score_presence(guess, digits_data.private, digits_data)


def test_what_rare_class_answers_can_be_scored(digits_data: Data, tiny_client: Client) -> None:
    batch = digits_data.private.take([0])
    update = play(tiny_client, batch, rng=derive(0), public=digits_data.public)
    guess = RareClass(label=int(batch["y"])).run(update, derive(1))
    assert score_labels(guess, batch, digits_data).exact
    assert score_presence(guess, batch, digits_data).there
