"""Tables for `wording`: what English says in several ways without meaning several things.

Written for this package. A word is here only where hardly any sentence means something else with the other one:
"delete" and "remove", "hard" and "difficult", "about" and "approximately" are not.
"""

from __future__ import annotations

__all__ = [
    "AGENTS",
    "ARTICLES",
    "BE_PAST",
    "BE_PRESENT",
    "CASED",
    "COMMON",
    "DROPPED",
    "ENGLISH",
    "MEASURES",
    "NEGATED",
    "PHRASES",
    "SAME",
    "WH",
]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ARTICLES = frozenset(("the", "a", "an"))
#: Left out wherever they stand in small letters ("The Who" and "vitamin A" are names).
DROPPED = ARTICLES | _set("please pls plz kindly")

#: A text with one of these is English, and "a" and "an" are articles in it.
ENGLISH = _set("the what how why who whose which where is are of does explain tell my you your with should")

BE_PRESENT = frozenset(("is", "are", "am"))
BE_PAST = frozenset(("was", "were"))
WH = _set("what who whom whose where when why how which")

#: Written with a capital, these are other words (a country, a month, a company, a language).
CASED = _set(
    """
    us it who may march august polish turkey china aids ram sat act nice reading bath cork mobile apple amazon
    windows mercury orange shell target gap rust swift java go jordan chad guinea hungary wales cuba greece lima
    phoenix salem venus mars pluto ford lincoln bush rice brown black white green young king gates jobs cook
    page west north south east will mark bill rose grace hope faith frank pat art dick rob drew grant dawn
    crystal pearl amber ruby lily daisy violet iris olive ginger holly ivy jade angel victor earl norm chip dale
    glen cliff heath brook wade reed stone wood hall church house field hill ford banks rivers waters meadows
    excel word access outlook teams edge chrome safari opera spark hadoop kafka flask django unity oracle subway
    target dove tide fox sun times post guardian economist nature science cell lancet
    """
)

#: Contracted negations that do not follow the rule.
NEGATED = {"can't": "can not", "won't": "will not", "shan't": "shall not", "cannot": "can not", "ain't": "is not"}


def _groups(table: str) -> dict[str, str]:
    return {other: first for first, *others in map(str.split, table.strip().splitlines()) for other in others}


#: One word for those that are the same; not where they are written with a capital, for then they are part of a name
#: ("Scary Movie").
_WORDS = _groups(
    """
    buy purchase
    begin commence start
    begins commences starts
    large big
    largest biggest
    larger bigger
    smallest littlest
    car automobile
    cars automobiles
    movie film
    movies films
    physician doctor
    physicians doctors
    couch sofa
    child kid
    children kids
    assist help
    repair fix
    photo photograph
    photos photographs
    phone telephone
    tv television
    occur happen
    occurs happens
    occurred happened
    wealthy rich
    fastest quickest
    quickly rapidly
    attorney lawyer
    math maths mathematics
    bike bicycle
    plane airplane aeroplane
    fridge refrigerator
    lab laboratory
    grandma grandmother
    grandpa grandfather
    mom mum mommy mummy
    dad daddy
    max maximum
    min minimum
    info information
    approximately roughly
    color colour
    colors colours
    flavor flavour
    favorite favourite
    behavior behaviour
    center centre
    theater theatre
    fiber fibre
    liter litre
    liters litres
    meter metre
    meters metres
    organize organise
    organized organised
    recognize recognise
    analyze analyse
    summarize summarise
    optimize optimise
    apologize apologise
    license licence
    defense defence
    gray grey
    catalog catalogue
    dialog dialogue
    program programme
    aluminum aluminium
    tire tyre
    plow plough
    jewelry jewellery
    traveling travelling
    canceled cancelled
    ok okay
    """
)
#: The same for units, numbers and names.
_NAMES = _groups(
    """
    vs versus
    km kilometer kilometers kilometre kilometres kms
    cm centimeter centimeters centimetre centimetres
    mm millimeter millimeters millimetre millimetres
    kg kilogram kilograms kilo kilos
    kwh kilowatt_hours
    mph miles_per_hour
    ml milliliter milliliters millilitre millilitres
    hour hr
    hours hrs
    minutes mins
    seconds secs
    percent %
    and &
    usa united_states us^ u.s u.s.a
    uk united_kingdom u.k great_britain
    uae united_arab_emirates
    eu european_union
    un united_nations
    nyc new_york_city
    ai artificial_intelligence
    ml^ machine_learning
    nlp natural_language_processing
    cpu central_processing_unit
    gpu graphics_processing_unit
    dna deoxyribonucleic_acid
    ww1 world_war_1 world_war_i wwi
    ww2 world_war_2 world_war_ii wwii
    2 two
    3 three
    4 four
    5 five
    6 six
    7 seven
    8 eight
    9 nine
    10 ten
    11 eleven
    12 twelve
    20 twenty
    30 thirty
    40 forty
    50 fifty
    60 sixty
    70 seventy
    80 eighty
    90 ninety
    1st first
    3rd third
    4th fourth
    5th fifth
    10th tenth
    js javascript
    ts^ typescript
    postgres postgresql
    k8s kubernetes
    url web_address
    ceo chief_executive_officer
    """
)
SAME = _WORDS | _NAMES
COMMON = frozenset(_WORDS) | frozenset(_WORDS.values())

#: Names of several words that have a shorter one above: first word to the whole.
PHRASES: dict[str, list[tuple[str, ...]]] = {}
for _whole in [*SAME, *SAME.values()]:
    if "_" in _whole:
        _parts = tuple(_whole.split("_"))
        if _parts not in PHRASES.setdefault(_parts[0], []):
            PHRASES[_parts[0]].append(_parts)
for _several in PHRASES.values():
    _several.sort(key=len, reverse=True)

#: "How tall is X" and "what is the height of X".
MEASURES = {
    "tall": "height", "high": "height", "deep": "depth", "wide": "width", "old": "age", "heavy": "weight",
    "large": "size", "fast": "speed", "hot": "temperature",
}  # fmt: skip

#: "Who invented X" and "who is the inventor of X".
AGENTS = {
    "wrote": "author", "writer": "author", "invented": "inventor", "discovered": "discoverer", "founded": "founder",
    "painted": "painter", "composed": "composer", "created": "creator",
    "designed": "designer", "developed": "developer",
}  # fmt: skip
