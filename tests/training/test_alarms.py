"""Which number went wrong first, and the alarms about players and codes that stop learning."""

import math

from tokjax.training.alarms import ROWS, Alarms, first_nonfinite

STEP = {"adaptive_weight": 1.0, "discriminator_gradient_norm": 2.0, "generator_image": 0.5, "gradient_norm": 1.0, "kl": 3.0}
STEP |= {"lecam_image": 0.1, "loss": 1.0, "perceptual": 0.2, "reconstruction": 9.0, "discriminator_loss": 1.0}


def test_the_first_term_that_is_not_finite_is_the_earliest_of_the_step():
    assert first_nonfinite(STEP) is None
    everything = dict.fromkeys(STEP, math.nan)
    assert first_nonfinite(everything)[0] == "reconstruction"
    order = ["reconstruction", "perceptual", "generator_image", "adaptive_weight", "kl", "loss", "gradient_norm", "lecam_image"]
    order += ["discriminator_loss", "discriminator_gradient_norm"]
    for place, name in enumerate(order):
        later = STEP | dict.fromkeys(order[place:], math.inf)
        assert first_nonfinite(later) == (name, math.inf)


def test_a_saturated_discriminator_is_told_once_until_it_has_recovered():
    alarms, told = Alarms(), []
    for accuracy in [1.0] * (ROWS - 1) + [0.7] + [1.0] * (ROWS + 4) + [0.9] + [1.0] * ROWS:
        told.append(alarms.sentences("clips", {"accuracy_image": accuracy, "loss": 1.0}))
    assert [place for place, sentences in enumerate(told) if sentences] == [2 * ROWS - 1, 3 * ROWS + 4]
    assert "the discriminator of images is saturated: 100.0% of its verdicts are right" in told[2 * ROWS - 1][0]


def test_a_collapsing_codebook_is_told_by_stream():
    """Batches of images have fewer tokens, so they use fewer codes: that is no collapse."""
    alarms = Alarms()
    for _ in range(2 * ROWS):
        assert not alarms.sentences("clips", {"codebook_perplexity": 100.0})
        assert not alarms.sentences("images", {"codebook_perplexity": 12.0})
    found = [alarms.sentences("clips", {"codebook_perplexity": 15.0}) for _ in range(ROWS)]
    assert found[:-1] == [[]] * (ROWS - 1)
    assert (
        "the codebook is collapsing: batches of 'clips' use as many codes as 15.0 equally frequent ones, after 100.0"
        in (found[-1][0])
    )
