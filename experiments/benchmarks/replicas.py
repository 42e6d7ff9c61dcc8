"""Several replicas as one program, against one after another."""

from typing import NamedTuple

from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, Table, format_ratio, format_seconds
from experiments.models import Sizes


class Settings(NamedTuple):
    """Sizes, and the numbers of replicas."""

    sizes: Sizes = paper.SIZES
    num_images: int = 10_000
    num_epochs: int = 3
    replicas: tuple[int, ...] = (1, 2, 4, 8)


SMALL = Settings(paper.SMALL_SIZES, 500, 2, (1, 2))


def run(settings: Settings) -> Part:
    """Times `vp.fit` with each number of replicas."""
    data = paper.load_images(settings.num_images, 1)
    found, rows = {}, []
    for name in ("standard", "vamp"):
        # A lone replica is trained without the leading axis, as a user trains it.
        found[name] = {
            num: paper.seconds_per_epoch(
                name,
                settings.sizes,
                data,
                num_images=settings.num_images,
                num_epochs=settings.num_epochs,
                num_replicas=num if num > 1 else None,
            )
            for num in settings.replicas
        }
        one = found[name][1]
        rows += [
            [name, str(num), format_seconds(seconds), format_seconds(num * one), format_ratio(num * one, seconds)]
            for num, seconds in found[name].items()
        ]
    notes = [
        f"{data.name}; an epoch of 50,000 images, measured on {settings.num_images:,}, median of "
        f"{settings.num_epochs}; batch 100."
    ]
    header = ["prior", "replicas", "as one program", "one after another", "ratio"]
    return Part([Table("replicas trained at once", header, rows, notes)], {"seconds_per_epoch": found})
