"""Species of drawn birds: the parts that each is made of, by name.

A species is a beak, a tail, a wing, a crest, a build, marks and a pattern. Colour alone does not tell species
apart: twelve of them share four palettes, and each image shifts its palette.
"""

import zlib
from dataclasses import dataclass

import numpy as np

# Lengths are in body lengths, the head's parts in head radii.
BEAKS = {  # length, depth at the base, drop of the tip, width of the tip
    "cone": (0.95, 0.85, 0.15, 0.0),
    "dagger": (1.9, 0.5, 0.05, 0.0),
    "needle": (2.6, 0.24, -0.25, 0.0),
    "sickle": (2.6, 0.42, 1.35, 0.0),
    "hook": (1.05, 0.95, 0.75, 0.0),
    "spoon": (1.9, 0.36, 0.2, 0.5),
    "giant": (2.2, 1.15, 0.55, 0.0),
}
TAILS = {  # length, half width at the end, notch (below 0: a point; above 0: a fork)
    "short": (0.28, 0.10, -0.1),
    "square": (0.5, 0.10, 0.0),
    "fan": (0.5, 0.27, -0.25),
    "fork": (0.75, 0.24, 0.55),
    "ribbon": (1.05, 0.06, -0.15),
    "wedge": (0.65, 0.15, -0.5),
}
WINGS = {"round": (0.56, 0.27), "long": (0.86, 0.22), "narrow": (0.72, 0.14)}  # length, width
CRESTS = ("none", "spike", "fan", "plume")
PATTERNS = ("plain", "spots", "bars", "streaks", "scales")
PLACES = ("breast", "wing")
MARKS = ("cap", "mask", "collar", "bib", "belly", "wing bar", "tail tip")
PALETTES = {  # body, wing, light, dark, accent, bare parts (RGB)
    "river": ((96, 140, 176), (58, 88, 128), (232, 234, 226), (32, 40, 56), (214, 140, 70), (70, 72, 78)),
    "forest": ((150, 158, 84), (94, 108, 58), (236, 230, 190), (48, 50, 34), (222, 178, 62), (128, 104, 70)),
    "ember": ((196, 104, 70), (122, 70, 56), (242, 222, 192), (52, 36, 36), (236, 178, 84), (196, 142, 66)),
    "stone": ((164, 152, 140), (110, 98, 92), (238, 236, 230), (44, 42, 44), (190, 84, 72), (206, 140, 80)),
}


@dataclass(frozen=True)
class Species:
    """What all images of one species have in common; names refer to the tables of this module."""

    name: str
    palette: str
    beak: str
    tail: str
    wing: str
    crest: str
    pattern: str
    place: str
    marks: tuple[str, ...]
    depth: float  # half depth of the body
    upright: float  # degrees
    neck: float
    head: float  # radius
    legs: float


SPECIES = (
    Species("AMBLING SICKLEBILL", "stone", "sickle", "short", "long", "none", "plain", "breast",
            ("belly",), 0.25, 20, 0.40, 0.17, 0.50),
    Species("BANDED SPOONWADER", "stone", "spoon", "short", "long", "plume", "bars", "wing",
            ("belly",), 0.25, 20, 0.40, 0.17, 0.50),
    Species("CAPPED DOVELET", "stone", "cone", "fan", "round", "none", "scales", "breast",
            ("cap", "tail tip"), 0.30, 28, 0.16, 0.20, 0.16),
    Species("COLLARED NEEDLEBILL", "river", "needle", "fork", "narrow", "none", "plain", "breast",
            ("bib", "collar"), 0.23, 39, 0.14, 0.21, 0.14),
    Species("CRESTED FORKTAIL", "river", "dagger", "fork", "narrow", "spike", "plain", "breast",
            ("bib", "collar"), 0.23, 39, 0.14, 0.21, 0.14),
    Species("DAPPLED THRUSHLING", "forest", "dagger", "square", "round", "none", "spots", "breast",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("FANTAIL COCKALET", "ember", "hook", "fan", "round", "fan", "plain", "breast",
            ("belly", "tail tip"), 0.28, 48, 0.15, 0.23, 0.15),
    Species("PLUMED MARSH HERONET", "river", "dagger", "short", "long", "plume", "streaks", "breast",
            ("belly",), 0.22, 40, 0.62, 0.16, 0.62),
    Species("RIBBONTAIL KITELING", "ember", "hook", "ribbon", "long", "none", "bars", "breast",
            ("belly",), 0.26, 50, 0.14, 0.23, 0.14),
    Species("SCALED WARBLEEN", "forest", "dagger", "wedge", "round", "none", "scales", "wing",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("STREAKED SEEDCRACKER", "forest", "cone", "square", "round", "none", "streaks", "breast",
            ("belly",), 0.28, 40, 0.15, 0.22, 0.20),
    Species("TREE LANTERNBILL", "ember", "giant", "wedge", "long", "none", "plain", "breast",
            ("belly", "tail tip"), 0.26, 50, 0.14, 0.23, 0.14),
)  # fmt: skip


def other_species(count: int, seed: int = 0) -> tuple[Species, ...]:
    """`count` random species, none with the beak, tail, crest and pattern of one in `SPECIES`."""
    rng = np.random.default_rng([seed, zlib.crc32(b"other species")])
    taken = {(one.beak, one.tail, one.crest, one.pattern) for one in SPECIES}
    others: list[Species] = []
    while len(others) < count:
        beak, tail, crest, pattern = (str(rng.choice(list(kinds))) for kinds in (BEAKS, TAILS, CRESTS, PATTERNS))
        if (beak, tail, crest, pattern) in taken:
            continue
        taken.add((beak, tail, crest, pattern))
        tall = rng.random() < 0.3  # a wader: long neck and long legs go together
        others.append(
            Species(
                name=f"OTHER {len(others):03d}",
                palette=str(rng.choice(list(PALETTES))),
                beak=beak,
                tail=tail,
                wing=str(rng.choice(list(WINGS))),
                crest=crest,
                pattern=pattern,
                place=str(rng.choice(PLACES)),
                marks=tuple(mark for mark in MARKS if rng.random() < 0.3),
                depth=rng.uniform(0.22, 0.31),
                upright=rng.uniform(15, 58),
                neck=rng.uniform(0.35, 0.65) if tall else rng.uniform(0.12, 0.2),
                head=rng.uniform(0.155, 0.19) if tall else rng.uniform(0.19, 0.26),
                legs=rng.uniform(0.4, 0.65) if tall else rng.uniform(0.12, 0.26),
            )
        )
    return tuple(others)
