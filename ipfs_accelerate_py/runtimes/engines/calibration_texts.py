"""Texts by which quantisation finds the range of activations, where the caller gives none of their own."""

from __future__ import annotations

__all__ = ["TEXTS"]

#: Of several kinds, lengths and languages, each written for this purpose.
TEXTS = (
    "The harbour master counted eleven boats before the fog came in.",
    "Please send the signed form back by Thursday, and keep a copy for your own records.",
    "How do I reset a forgotten password without losing the files that are stored on the device?",
    "Water boils at a lower temperature on a mountain, because the air presses on it with less force.",
    "def area(width, height):\n    return width * height",
    "I bought this kettle in March. It leaked from the first day, and nobody answered my three letters.",
    "Wonderful service, friendly people, and the soup alone was worth the journey!",
    "The committee will meet again in Geneva on 14 June 2019 to discuss the budget of 3.2 million euros.",
    "Das Museum ist montags geschlossen, an allen anderen Tagen von zehn bis achtzehn Uhr geöffnet.",
    "La réunion est reportée à mardi prochain, à neuf heures, dans la grande salle.",
    "El tren llegó tarde y perdimos la conexión, pero el paisaje valió la pena.",
    "Cells copy their genetic material before they divide, and repair most of the errors that are made on the way.",
    "Anna Berg, who had led the Oslo office of Norsk Kraft since 2004, resigned on Monday.",
    "SELECT name, total FROM orders WHERE total > 100 ORDER BY total DESC;",
    "No.",
    "She opened the letter, read it twice, folded it along its old crease and put it back into the drawer, where it "
    "had lain for the nine years since her brother left for Valparaiso; then she went down to the kitchen, lit the "
    "stove, and began to peel the apples as if nothing at all had happened.",
    "The patient reports a dry cough for two weeks, no fever, and some pain when breathing in deeply.",
    "A match between two evenly ranked sides ended without a goal, although the visitors hit the post in the last "
    "minute.",
    "Prices rose by 0.4 per cent in May, less than economists had expected, as petrol and fresh fruit became cheaper.",
    "Mix flour, sugar and salt; rub in the butter; add just enough cold water to bring the dough together.",
    "Warranty claims must be made in writing within thirty days of delivery. Opened packages cannot be returned.",
    "In the beginning the valley was a lake, the old people say, and the hills were islands in it.",
    "Turn left at the second traffic light, pass the school, and you will see the library on your right.",
    "The algorithm visits every node once and every edge twice, so its cost grows with the size of the graph.",
)
