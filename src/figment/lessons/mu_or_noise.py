"""What the network of a diffusion model predicts: the same mean said in five ways, which are not learned alike."""

from __future__ import annotations

from typing import Any

import torch

from figment.lessons.lesson import Claim, Lesson, Stage, Told
from figment.lessons.plate import curves, pictures, plate
from figment.models.diffusion.bound import denoised
from figment.models.diffusion.chain import chain_terms
from figment.models.diffusion.prediction import Prediction, PredictionName
from figment.models.diffusion.sampling import Sampling
from figment.models.diffusion.transition import Transition
from figment.pictures import COLOURS

STEPS, CHAIN = 250, 100
TRAINED: tuple[PredictionName, ...] = ("mu", "eps", "x0", "v")
TIMES = [0.1, 0.3, 0.5, 0.7, 0.9]
SHOWN, MEASURED = 10, 100


def make(stage: Stage) -> Told:
    setting: dict[str, Any] = {"model__schedule": "linear", "model__steps": CHAIN, "model__times": "steps"}
    scenes = {k: stage.scene(f"predicts-{k}", "diffusion", STEPS, model__prediction=k, **setting) for k in TRAINED}
    return told(stage, {name: scene.model for name, scene in scenes.items()})


@torch.no_grad()
def told(stage: Stage, models: dict[PredictionName, Any]) -> Told:
    form, x = stage.form, stage.held_out.x[:MEASURED]
    apart = disagreement(models["mu"].schedule)
    errors: dict[str, list[float]] = {}
    bits: dict[str, float] = {}
    samples = []
    for name, model in models.items():
        torch.manual_seed(stage.seed)
        errors[name] = []
        for t in TIMES:
            found, alpha, sigma = denoised(model, form, x, torch.full((len(x),), t), {})
            errors[name].append(float(((alpha / sigma * (x - found.mean)) ** 2).mean()))
        terms = chain_terms(model, form, x, {}, CHAIN, "beta")
        bits[name] = float(sum(float(term.mean()) for term in terms)) / form.dimensions / 0.6931
        ways = model.with_sampling(Sampling(sampler="ddpm", steps=CHAIN, grid="uniform", variance="beta"))
        samples.append(ways.sample({}, stage.noise(SHOWN)))
    figures: dict[str, Any] = {
        "largest_disagreement": apart,
        "bits_per_dim": bits,
        "noise_error": errors,
        "times": TIMES,
    }
    best = min(bits, key=lambda name: bits[name])
    claims = [
        Claim("All five predictions say the same posterior mean", f"{apart:.1g} apart at most", apart < 1e-5),
        Claim("Predicting the noise is learned better than predicting mu itself", f"{bits['eps']:.2f} against "
              f"{bits['mu']:.2f} bits a dimension", bits["eps"] < bits["mu"]),
        Claim("At nearly every time what mu says of the noise is further off", ", ".join(
              f"{e:.2f}" for e in errors["mu"]) + " against " + ", ".join(f"{e:.2f}" for e in errors["eps"]),
              sum(a > b for a, b in zip(errors["mu"], errors["eps"])) >= 4),
    ]  # fmt: skip

    def draw(axes: Any) -> None:
        for (name, values), colour in zip(errors.items(), COLOURS):
            axes.plot(TIMES, values, color=colour, linewidth=2, marker="o", label=f"{name}: {bits[name]:.2f} bits/dim")
        axes.set_yscale("log")
        axes.legend(frameon=False)

    user = form.to_user
    panels = [
        [
            pictures(
                "Samples by the whole chain, the same noise",
                user(torch.cat(samples).clamp(-1, 1)),
                SHOWN,
                f"Four networks, alike but for what they predict; {CHAIN} steps of algorithm 2 with variance beta.",
                names=list(TRAINED),
                margin=0.7,
            )
        ],
        [
            curves(
                "Error of the noise that each says",
                draw,
                "Mean square, by time; 1 is no better than not guessing. The bound in the legend sums all steps.",
                ("t", "squared error"),
            )
        ],
    ]
    text = TEXT.format(apart=apart, best=best, **{f"{name}_bits": value for name, value in bits.items()})
    return Told(plate(LESSON.title, LESSON.teaches, panels), text, figures, claims)


def disagreement(schedule: Any) -> float:
    """The largest difference of the posterior means that five exact predictions lead to, over many times."""
    t = torch.linspace(0.03, 1, 98, dtype=torch.float64)[:, None]
    before = t - 1 / CHAIN
    at = Transition(schedule.alpha(t), schedule.sigma(t), schedule.alpha(before), schedule.sigma(before))
    draws = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(98, 8, generator=draws, dtype=torch.float64) for _ in range(2))
    x_t = at.alpha * x + at.sigma * noise
    names: tuple[PredictionName, ...] = (*TRAINED, "flow")
    means = [Prediction(name).clean(Prediction(name).target(x, noise, at), x_t, at) for name in names]
    return max(float((at.weight * (mean - means[0])).abs().max()) for mean in means)


TEXT = """
Each reverse step needs the mean mu of the state before. A network may say mu itself, or the noise eps in x_t, or the
clean picture x0, or the velocity v: a line of algebra turns each into the others, and the means agree to {apart:.1g}.
But they are not learned alike. mu is x_t but for a small part, the step: a network that says mu spends itself on
copying x_t, and its small error is a large one of that part. With equal training the bound is {mu_bits:.2f} bits a
dimension for mu, {eps_bits:.2f} for eps, {x0_bits:.2f} for x0 and {v_bits:.2f} for v (best: {best}). Ho et al. found
the same, and predicted the noise.
"""

LESSON = Lesson(
    name="mu-or-noise",
    title="Predicting mu or the noise",
    source="Deck 000, 'Parametrisation of the reverse process'. J. Ho, A. Jain and P. Abbeel, 'Denoising diffusion "
    "probabilistic models' (2020), section 3.2; T. Salimans and J. Ho, 'Progressive distillation' (2022)",
    teaches="The same mean can be said in five ways; the one that subtracts what is known already is learned best.",
    make=make,
)
