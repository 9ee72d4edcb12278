"""Presets: a name -> a model with its training recipe, as plain values. Every kind has one of its own name; `rows` is
what another recipe it has for rows of numbers says otherwise.

The recipes were found by measurement on MNIST, Fashion-MNIST and CIFAR-10 (`docs/benchmarks.md`).
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "gaussian-mixture": {"model": {"kind": "gaussian-mixture"}, "training": {}},
    "gda": {"model": {"kind": "gda"}, "training": {}},
    "naive-bayes": {"model": {"kind": "naive-bayes"}, "training": {}},
    "kde": {"model": {"kind": "kde"}, "training": {}},
    "ppca": {"model": {"kind": "ppca"}, "training": {}},
    "autoencoder": {"model": {"kind": "autoencoder"}, "training": {"optimiser": "muon", "lr": 2e-3}},
    "with-prior": {"model": {"kind": "with-prior"}, "training": {}},
    "vae": {"model": {"kind": "vae"}, "training": {"lr": 2e-3}},
    "vq-vae": {"model": {"kind": "vq-vae"}, "training": {"batch": 64, "optimiser": "muon", "lr": 2e-3}},
    "kl-autoencoder": {
        "model": {"kind": "kl-autoencoder"},
        "training": {"batch": 32, "optimiser": "muon", "lr": 6e-3},
    },
    "rbm": {"model": {"kind": "rbm"}, "training": {"lr": 1e-2}},
    "ebm": {"model": {"kind": "ebm"}, "training": {"lr": 1e-3}},
    "gan": {
        "model": {"kind": "gan"},
        "training": {"batch": 32, "lr": 1e-3, "betas": (0.0, 0.99), "clip": None, "warmup": 0.05},
    },
    "pix2pix": {"model": {"kind": "pix2pix"}, "training": {"batch": 8, "optimiser": "muon", "lr": 4e-3}},
    "cyclegan": {"model": {"kind": "cyclegan"}, "training": {"batch": 4, "lr": 1e-3, "betas": (0.5, 0.99)}},
    "super-resolution": {"model": {"kind": "super-resolution"}, "training": {"batch": 32, "lr": 1e-3}},
    "colourise": {
        "model": {"kind": "colourise"},
        "training": {"batch": 32, "optimiser": "muon", "lr": 4e-3},
    },
    "classifier": {"model": {"kind": "classifier"}, "training": {"batch": 64, "lr": 1e-3}},
    "segmenter": {"model": {"kind": "segmenter"}, "training": {"batch": 16, "lr": 2e-3}},
    "stylegan": {
        "model": {"kind": "stylegan"},
        "training": {"batch": 32, "lr": 1e-3, "betas": (0.0, 0.99), "clip": None},
    },
    "flow": {
        "model": {"kind": "flow"},
        "training": {"batch": 64, "lr": 2e-3},
        "rows": {"batch": 256, "lr": 4e-3},
    },
    "diffusion": {
        "model": {"kind": "diffusion"},
        "training": {"batch": 64, "optimiser": "muon", "lr": 1.5e-3},
    },
    # the chain of the decks, steps and all; it is drawn by `sampler=ddpm grid=uniform steps=1000`
    "ddpm": {
        "model": {"kind": "diffusion", "schedule": "linear", "prediction": "eps", "times": "steps"},
        "training": {"batch": 64, "optimiser": "muon", "lr": 1.5e-3},
    },
    # few bits a dimension rather than the best pictures
    "diffusion-likelihood": {
        "model": {
            "kind": "diffusion",
            "prediction": "mixture",
            "weighting": "elbo",
            "times": "importance",
            "quiet": 9.0,
        },
        "training": {"batch": 32, "optimiser": "muon", "lr": 2e-3},
    },
    "latent-diffusion": {
        "model": {"kind": "latent-diffusion"},
        "training": {"batch": 32, "optimiser": "muon", "lr": 4e-3},
    },
    "cascade": {
        "model": {"kind": "cascade"},
        "training": {"batch": 64, "optimiser": "muon", "lr": 1.5e-3},
    },
    "distilled": {
        "model": {"kind": "distilled", "rate": 6.0},
        "training": {"batch": 32, "optimiser": "muon", "lr": 1.5e-4, "betas": (0.0, 0.99)},
        "rows": {"batch": 128, "lr": 2e-3},
    },
}
