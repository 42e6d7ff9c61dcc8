"""Published test NLL in nats, and how their protocols differ from ours. "Unchecked" values are quoted from memory."""

Group = tuple[str, int, str]  # data set, levels of latents, network

VALUES: dict[Group, dict[str, tuple[str, ...]]] = {
    ("static_mnist", 1, "gated"): {
        "standard": ("88.56 (TW, unchecked)", "88.45 (rerun of TW's code)", "89.59 elsewhere"),
        "vamp": ("85.57 (TW)", "85.73 and 85.90 (reruns of TW's code)", "85.79 (pythae)", "87.42 elsewhere"),
        "vamp_data": ("88.23 (rerun of TW's code)",),
    },
    ("static_mnist", 1, "tanh"): {"standard": ("89.11 (BM)",)},
    ("static_mnist", 2, "gated"): {
        "standard": ("86.05 (TW, unchecked)", "85.91 (BM)"),
        "mixture": ("85.07 (TW, unchecked)",),
        "vamp": ("83.19 (TW)", "84.97 (rerun of TW's code)"),
    },
    ("dynamic_mnist", 1, "gated"): {
        "standard": ("84.45 ± 0.12 (N)", "84.50 (TW, unchecked)"),
        "vamp": ("82.43 ± 0.06 (N)", "82.38 (TW, unchecked)", "82.29 (rerun of TW's code)"),
    },
    ("dynamic_mnist", 1, "tanh"): {"standard": ("84.97 (BM)",), "flow": ("81.86 (BM)",)},
    ("dynamic_mnist", 2, "gated"): {
        "standard": ("82.39 ± 0.11 (N)", "82.42 (TW, unchecked)"),
        "vamp": ("81.24 (TW)", "81.56 ± 0.09 (N)"),
    },
    ("fashion_mnist", 1, "gated"): {"standard": ("228.70 ± 0.15 (N)",), "vamp": ("227.35 ± 0.05 (N)",)},
    ("fashion_mnist", 1, "tanh"): {"standard": ("228.68 (BM)",)},
    ("fashion_mnist", 2, "gated"): {"standard": ("227.37 ± 0.10 (N)",), "vamp": ("226.72 ± 0.08 (N)",)},
    ("omniglot", 1, "gated"): {
        "standard": ("108.34 ± 0.06 (N)", "108.50 (TW, unchecked)"),
        "vamp": ("106.78 ± 0.21 (N, pseudo-inputs badly started)", "104.75 (TW, unchecked)"),
    },
    ("omniglot", 1, "tanh"): {"standard": ("104.47 (BM)",), "flow": ("101.50 (BM)",)},
    ("omniglot", 2, "gated"): {
        "standard": ("104.92 ± 0.08 (N)", "103.52 (TW, unchecked)"),
        "vamp": ("101.18 (TW)", "103.30 ± 0.43 (N)"),
    },
    ("caltech101", 1, "gated"): {
        "standard": ("119.31 elsewhere", "123.43 (TW, unchecked)"),
        "vamp": ("116.98 elsewhere", "114.55 (TW, unchecked)"),
        "vamp_data": ("115.45 elsewhere",),
    },
    ("caltech101", 2, "gated"): {"standard": ("112.08 (TW, unchecked)",), "vamp": ("108.28 (TW)",)},
}

SOURCES = (
    "TW: Tomczak & Welling (2018), our recipe without the cooldown at the end, which gains about 0.4 nats.",
    "N: Norouzi et al. (2020), the same network, early stopping and S = 5000; ± over seeds.",
    "BM: Bauer & Mnih (2019), tanh layers of 300, 50 latents, batches of 128, Adam at 3e-4 and then 1e-4 for 1e7 "
    "steps, S = 1000; with two levels a network of their own.",
)
