"""Draw the pictures of `furniture.csv` into `images/` (or the folder that is named).

    python demo/draw.py [FOLDER]

The drawn files are committed; run this again only when a drawing changes.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

from raster import Canvas

HERE = Path(__file__).resolve().parent

WALL, SHADOW = "#f4efe6", "#e2d9c9"
LIGHT, WOOD, DARK, DEEP = "#e3bd86", "#c4935a", "#9a6b3c", "#6b4526"
TEAL, TEAL_DARK, CORAL, CORAL_DARK = "#4f9a94", "#3a7771", "#e2725b", "#bb5542"
BLUE, BLUE_DARK, MUSTARD, MUSTARD_DARK = "#5b7fb0", "#436190", "#e5b23c", "#c08f25"
STEEL, STEEL_DARK, WHITE, CREAM, GLOW = "#8d949c", "#5f666e", "#ffffff", "#efe3cd", "#fdeeb8"
GREEN, GLASS, GLASS_LIGHT = "#7fa65a", "#bfdbe6", "#e3f1f6"


def dining_chair(c: Canvas) -> None:
    """A slatted chair seen from the front and a little to the side."""
    for x in (44, 80):
        c.line([(x, 22), (x, 108)], 6, DARK)
    for y in (26, 38, 50):
        c.round_rect(44, y, 36, 6, 2, WOOD)
    c.line([(36, 74), (34, 116)], 6, WOOD)
    c.line([(88, 74), (90, 116)], 6, WOOD)
    c.line([(37, 98), (87, 98)], 4, DARK)
    c.polygon([(43, 64), (81, 64), (94, 76), (30, 76)], LIGHT)
    c.rect(30, 76, 64, 5, WOOD)


def armchair(c: Canvas) -> None:
    """A padded chair for one, with round arms."""
    for x in (36, 88):
        c.polygon([(x, 104), (x + 8, 104), (x + 6, 116), (x + 2, 116)], DEEP)
    c.round_rect(34, 24, 60, 72, 14, TEAL)
    c.round_rect(42, 32, 44, 44, 10, "#5fada6")
    c.round_rect(24, 90, 80, 16, 6, TEAL_DARK)
    c.round_rect(38, 70, 52, 22, 7, "#6fbab3")
    for x in (20, 88):
        c.round_rect(x, 56, 20, 50, 9, TEAL_DARK)
        c.round_rect(x, 56, 20, 16, 8, TEAL)


def two_seat_sofa(c: Canvas) -> None:
    """A low sofa with two cushions for the seat and two for the back."""
    for x in (20, 100):
        c.polygon([(x, 98), (x + 8, 98), (x + 6, 110), (x + 2, 110)], DEEP)
    c.round_rect(16, 40, 96, 50, 12, CORAL_DARK)
    for x in (22, 65):
        c.round_rect(x, 46, 41, 34, 8, CORAL)
        c.round_rect(x - 1, 74, 42, 16, 6, "#ec8a75")
    c.round_rect(12, 86, 104, 14, 5, CORAL_DARK)
    for x in (6, 106):
        c.round_rect(x, 58, 16, 42, 8, CORAL)
    c.polygon([(80, 54), (100, 50), (103, 70), (83, 74)], MUSTARD)


def bar_stool(c: Canvas) -> None:
    """A high round seat on four thin legs with a foot ring."""
    for top, foot in ((52, 36), (76, 92)):
        c.line([(top, 36), (foot, 118)], 4, STEEL_DARK)
    for top, foot in ((58, 52), (70, 76)):
        c.line([(top, 36), (foot, 114)], 4, STEEL)
    c.line([(41, 92), (87, 92)], 4, STEEL_DARK)
    c.ellipse(64, 34, 26, 8, DARK)
    c.ellipse(64, 30, 26, 8, WOOD)
    c.ellipse(64, 29, 20, 5, LIGHT)


def rocking_chair(c: Canvas) -> None:
    """A chair from the side, on two bent runners."""
    c.line([(14, 98), (26, 107), (42, 113), (62, 115), (82, 113), (98, 107), (112, 96)], 5, DEEP)
    c.line([(44, 72), (38, 112)], 5, DARK)
    c.line([(82, 74), (88, 111)], 5, DARK)
    c.line([(40, 92), (86, 92)], 4, DARK)
    c.line([(44, 74), (32, 18)], 6, WOOD)
    c.line([(52, 72), (41, 20)], 3, LIGHT)
    c.line([(30, 20), (44, 18)], 6, DARK)
    c.line([(39, 52), (84, 56), (84, 74)], 5, WOOD)
    c.polygon([(40, 68), (88, 70), (92, 78), (42, 77)], LIGHT)
    c.polygon([(46, 63), (84, 65), (88, 71), (44, 70)], BLUE)


def garden_bench(c: Canvas) -> None:
    """A slatted bench with arms."""
    for x in (18, 106):
        c.line([(x, 44), (x, 106)], 6, DARK)
        c.line([(x, 66), (x, 68)], 9, DARK)
    for y in (42, 53, 64):
        c.round_rect(14, y, 96, 7, 3, LIGHT)
    c.round_rect(10, 78, 108, 6, 3, LIGHT)
    c.round_rect(8, 85, 112, 6, 3, WOOD)
    for x in (13, 111):
        c.line([(x, 90), (x, 112)], 7, DEEP)
    c.line([(13, 102), (111, 102)], 4, DARK)


def dining_table(c: Canvas) -> None:
    """A long table, its top seen from above the edge."""
    for x in (32, 92):
        c.rect(x, 64, 5, 34, DEEP)
    for x in (14, 106):
        c.polygon([(x, 66), (x + 8, 66), (x + 7, 112), (x + 1, 112)], DARK)
    c.rect(14, 66, 100, 9, DARK)
    c.polygon([(26, 44), (102, 44), (122, 62), (6, 62)], LIGHT)
    c.rect(6, 62, 116, 6, WOOD)
    c.ellipse(64, 53, 16, 5, WHITE)
    c.ellipse(64, 52, 11, 3, CREAM)


def round_side_table(c: Canvas) -> None:
    """A round top on three legs, with a cup on it."""
    c.line([(64, 56), (64, 108)], 5, DEEP)
    c.line([(46, 56), (34, 114)], 5, DARK)
    c.line([(82, 56), (94, 114)], 5, DARK)
    c.ellipse(64, 56, 42, 12, WOOD)
    c.ellipse(64, 52, 42, 12, LIGHT)
    c.ellipse(84, 43, 6, 5, WHITE)
    c.ellipse(84, 43, 3, 2, LIGHT)
    c.rect(66, 38, 16, 12, WHITE)
    c.ellipse(74, 50, 8, 3, WHITE)
    c.ellipse(74, 38, 8, 3, DEEP)


def writing_desk(c: Canvas) -> None:
    """A desk with three drawers on its right side."""
    for x in (14, 42):
        c.rect(x, 58, 6, 54 if x == 14 else 40, DEEP if x == 42 else DARK)
    c.rect(78, 58, 38, 54, DARK)
    for y in (61, 78, 95):
        c.round_rect(81, y, 32, 14, 2, WOOD)
        c.round_rect(92, y + 5, 10, 3, 1, DEEP)
    c.rect(14, 58, 64, 6, DARK)
    c.round_rect(8, 51, 112, 8, 2, LIGHT)
    c.polygon([(30, 51), (34, 43), (62, 43), (66, 51)], WHITE)
    c.line([(58, 46), (74, 34)], 3, BLUE)


def bookcase(c: Canvas) -> None:
    """Three shelves of books."""
    c.rect(28, 12, 72, 104, DARK)
    for y in (18, 50, 82):
        c.rect(33, y, 62, 27, DEEP)
    colours = (CORAL, BLUE, MUSTARD, GREEN, CREAM, TEAL)
    for shelf, bottom in enumerate((45, 77, 109)):
        for place in range(7):
            height = 16 + (place * 5 + shelf * 3) % 8
            x = 35 + 7 * place + (place > 4) * 8 * (shelf == 1)
            colour = colours[(2 * place + shelf) % len(colours)]
            c.rect(x, bottom - height, 6, height, colour)
            c.rect(x, bottom - height + 4, 6, 2, WHITE)
    c.rect(25, 10, 78, 5, WOOD)


def wardrobe(c: Canvas) -> None:
    """Two tall doors above a drawer."""
    for x in (28, 92):
        c.rect(x, 112, 8, 6, DEEP)
    c.rect(24, 14, 80, 100, WOOD)
    for x in (28, 65):
        c.rect(x, 18, 35, 72, LIGHT)
        for y in (23, 56):
            c.rect(x + 5, y, 25, 29, "#d3a86d")
    for x in (60, 68):
        c.line([(x, 48), (x, 58)], 3, DEEP)
    c.rect(28, 94, 72, 16, LIGHT)
    c.round_rect(54, 100, 20, 4, 2, DEEP)
    c.round_rect(20, 10, 88, 6, 2, DARK)


def chest_of_drawers(c: Canvas) -> None:
    """Four wide drawers with two knobs each."""
    for x in (18, 102):
        c.polygon([(x, 108), (x + 8, 108), (x + 6, 118), (x + 2, 118)], DEEP)
    c.rect(14, 40, 100, 70, DARK)
    for y in (44, 60, 76, 92):
        c.round_rect(18, y, 92, 14, 2, WOOD)
        for x in (40, 88):
            c.ellipse(x, y + 7, 3, 3, GLOW)
    c.round_rect(10, 34, 108, 7, 2, DEEP)
    c.polygon([(82, 22), (98, 22), (95, 34), (85, 34)], CORAL)
    for x, y in ((84, 12), (90, 8), (96, 12)):
        c.ellipse(x, y + 4, 4, 8, GREEN)


def bedside_cabinet(c: Canvas) -> None:
    """One drawer over an open shelf, with an alarm clock on top."""
    for x in (36, 84):
        c.line([(x + 4, 104), (x + 4, 115)], 5, DARK)
    c.rect(32, 52, 64, 54, WOOD)
    c.round_rect(37, 56, 54, 18, 2, LIGHT)
    c.ellipse(64, 65, 3, 3, DEEP)
    c.rect(37, 78, 54, 24, DEEP)
    c.rect(42, 96, 30, 6, BLUE)
    c.rect(44, 90, 26, 6, CORAL)
    c.round_rect(28, 46, 72, 7, 2, LIGHT)
    c.ellipse(56, 27, 4, 4, STEEL_DARK)
    c.ellipse(72, 27, 4, 4, STEEL_DARK)
    c.ellipse(64, 35, 11, 11, STEEL_DARK)
    c.ellipse(64, 35, 8, 8, WHITE)
    c.line([(64, 30), (64, 35), (68, 37)], 2, DEEP)


def floor_lamp(c: Canvas) -> None:
    """A tall stand with a shade and its light."""
    c.polygon([(44, 50), (84, 50), (106, 116), (22, 116)], "#faf0cf")
    c.line([(64, 46), (64, 112)], 4, MUSTARD_DARK)
    c.ellipse(64, 114, 20, 5, MUSTARD_DARK)
    c.ellipse(64, 112, 20, 5, MUSTARD)
    c.polygon([(50, 12), (78, 12), (92, 48), (36, 48)], MUSTARD)
    c.polygon([(54, 12), (62, 12), (56, 48), (42, 48)], GLOW)
    c.ellipse(64, 48, 28, 4, GLOW)


def desk_lamp(c: Canvas) -> None:
    """A jointed arm with a metal hood."""
    c.polygon([(76, 42), (104, 60), (122, 112), (52, 112)], "#faf0cf")
    c.line([(40, 108), (28, 66), (66, 34)], 5, STEEL)
    c.ellipse(28, 66, 5, 5, STEEL_DARK)
    c.ellipse(40, 112, 24, 6, CORAL_DARK)
    c.ellipse(40, 109, 24, 6, CORAL)
    c.ellipse(90, 51, 9, 9, GLOW)
    c.polygon([(60, 28), (74, 20), (106, 44), (72, 66)], CORAL)
    c.polygon([(102, 41), (106, 44), (72, 66), (70, 61)], CORAL_DARK)
    c.ellipse(66, 30, 9, 9, CORAL)


def pendant_lamp(c: Canvas) -> None:
    """A bell-shaped shade on a cable from the ceiling."""
    c.polygon([(30, 78), (98, 78), (120, 118), (8, 118)], "#faf0cf")
    c.line([(64, 4), (64, 40)], 3, STEEL_DARK)
    c.round_rect(52, 0, 24, 6, 2, STEEL_DARK)
    c.round_rect(58, 34, 12, 12, 3, MUSTARD)
    c.ellipse(64, 80, 12, 12, GLOW)
    c.polygon([(56, 44), (72, 44), (90, 58), (100, 78), (28, 78), (38, 58)], TEAL)
    c.polygon([(56, 44), (61, 44), (50, 60), (44, 78), (28, 78), (38, 58)], "#6fbab3")
    c.rect(26, 77, 76, 4, TEAL_DARK)


def double_bed(c: Canvas) -> None:
    """A wide bed from its foot, with two pillows."""
    c.round_rect(12, 28, 104, 60, 8, DARK)
    c.round_rect(18, 34, 92, 40, 5, WOOD)
    c.polygon([(20, 66), (108, 66), (118, 98), (10, 98)], WHITE)
    for x in (26, 68):
        c.round_rect(x, 54, 34, 18, 7, WHITE)
        c.round_rect(x + 2, 64, 30, 8, 4, CREAM)
    c.polygon([(18, 74), (110, 74), (120, 98), (8, 98)], BLUE)
    c.polygon([(18, 74), (110, 74), (112, 80), (16, 80)], GLASS_LIGHT)
    c.round_rect(6, 94, 116, 14, 4, DARK)
    for x in (8, 112):
        c.rect(x, 104, 8, 12, DEEP)


def bunk_bed(c: Canvas) -> None:
    """Two beds, one over the other, with a ladder."""
    for top, blanket in ((40, CORAL), (86, BLUE)):
        c.round_rect(18, top - 12, 24, 14, 5, WHITE)
        c.rect(16, top - 4, 96, 8, WHITE)
        c.round_rect(40, top - 9, 72, 13, 5, blanket)
        c.rect(12, top + 3, 104, 9, WOOD)
    for x in (10, 110):
        c.rect(x, 14, 8, 104, DARK)
    for x in (82, 102):
        c.line([(x, 22), (x, 116)], 4, DEEP)
    for y in (34, 50, 66, 82, 98):
        c.line([(82, y), (102, y)], 4, LIGHT)
    c.rect(14, 22, 66, 4, DARK)


def standing_mirror(c: Canvas) -> None:
    """A tall oval glass that tilts in a frame."""
    for x, foot in ((32, 24), (96, 104)):
        c.line([(x, 30), (x, 104), (foot, 116)], 6, DARK)
        c.ellipse(x, 28, 5, 5, WOOD)
    c.line([(32, 104), (96, 104)], 5, DARK)
    c.line([(32, 58), (96, 58)], 4, DEEP)
    c.ellipse(64, 58, 29, 48, WOOD)
    c.ellipse(64, 58, 24, 43, GLASS)
    c.line([(54, 56), (72, 32)], 5, GLASS_LIGHT)
    c.line([(54, 74), (78, 42)], 3, GLASS_LIGHT)


def coat_stand(c: Canvas) -> None:
    """A pole with hooks, a hat and a coat."""
    c.line([(64, 100), (42, 116)], 5, DARK)
    c.line([(64, 100), (86, 116)], 5, DARK)
    c.line([(64, 14), (64, 114)], 6, WOOD)
    c.ellipse(64, 12, 5, 5, DARK)
    for x, y in ((40, 20), (88, 20), (46, 42), (82, 42)):
        c.line([(64, y + 12), (x, y + 6), (x, y)], 4, DARK)
    c.polygon([(76, 44), (88, 44), (98, 54), (102, 96), (66, 96), (70, 54)], BLUE)
    c.polygon([(80, 44), (85, 44), (86, 96), (80, 96)], BLUE_DARK)
    c.ellipse(40, 24, 17, 5, MUSTARD_DARK)
    c.round_rect(30, 10, 20, 14, 6, MUSTARD)
    c.rect(30, 19, 20, 3, DEEP)


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    "Dining chair": dining_chair,
    "Armchair": armchair,
    "Two-seat sofa": two_seat_sofa,
    "Bar stool": bar_stool,
    "Rocking chair": rocking_chair,
    "Garden bench": garden_bench,
    "Dining table": dining_table,
    "Round side table": round_side_table,
    "Writing desk": writing_desk,
    "Bookcase": bookcase,
    "Wardrobe": wardrobe,
    "Chest of drawers": chest_of_drawers,
    "Bedside cabinet": bedside_cabinet,
    "Floor lamp": floor_lamp,
    "Desk lamp": desk_lamp,
    "Pendant lamp": pendant_lamp,
    "Double bed": double_bed,
    "Bunk bed": bunk_bed,
    "Standing mirror": standing_mirror,
    "Coat stand": coat_stand,
}


def picture(name: str) -> bytes:
    """Draw the piece of furniture of that name; returns a PNG file."""
    canvas = Canvas(WALL)
    if name != "Pendant lamp":  # it hangs
        canvas.ellipse(64, 114, 56, 8, SHADOW)
    DRAWINGS[name](canvas)
    return canvas.png()


def main(folder: Path) -> None:
    """Write one file per row of `furniture.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (HERE / "furniture.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            (folder / row["image"]).write_bytes(picture(row["name"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images")
