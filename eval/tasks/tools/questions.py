"""Office tasks that ask for a fact or a number and change nothing: one function a kind.

Each gives a `Draw`. With `broken`, the request is the same and the files do not have what it needs.
"""

from itertools import count
from random import Random

from eval.tasks.tools.names import DAYS, MONTHS, Draw, Names, money, plain, plural, table


def lookup(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """A fact about a person; at level 2 by way of a second table."""
    people, departments = names.take("people", 6 + level), names.take("departments", 3)
    asked, numbers = rng.randrange(1, len(people)), rng.sample(range(101, 999), 3 * len(people))
    if level == 1:
        field = rng.choice(("room", "phone", "badge"))
        rows = [(name, rng.choice(departments), *numbers[3 * i : 3 * i + 3]) for i, name in enumerate(people)]
        person, answer = people[asked], str(rows[asked][2 + ("room", "phone", "badge").index(field)])
        if broken:  # there is somebody else of that family name
            person, answer = f"{names.take('first', 1)[0]} {person.split()[1]}", None
        words = {"person": person, "last": person.split()[1], "other": people[asked], "field": field}
        return {"staff.csv": table("name,department,room,phone,badge", rows)}, {}, answer, words
    desks = [f"D{n}" for n in numbers[: len(people)]]
    floors = [rng.randrange(1, 13) for _ in people]
    staff = [(name, rng.choice(departments), desk) for name, desk in zip(people, desks, strict=True)]
    plan = sorted(zip(desks, floors, strict=True))
    files = {"staff.csv": table("name,department,desk", staff), "desks.csv": table("desk,floor", plan)}
    return files, {}, str(floors[asked]), {"person": people[asked], "desk": desks[asked]}


def total(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """What a firm's orders come to; at level 2 of one month, at level 3 by way of the prices, of which one may lack."""
    firm, *others = names.take("firms", 3)
    buyers = [firm] * (2 + level) + [rng.choice(others) for _ in range(4)]
    rng.shuffle(buyers)
    ids, words = count(rng.randrange(100, 900)), {"firm": firm}
    if level < 3:
        month, other = rng.sample(MONTHS, 2)
        months = iter([month, other, month, month])  # of the firm's orders
        rows = [(buyer, next(months) if buyer == firm else rng.choice((month, other))) for buyer in buyers]
        rows = [(next(ids), *row, rng.randrange(2000, 40000, 5 if level == 2 else 100)) for row in rows]
        asked = [cents for _, buyer, when, cents in rows if buyer == firm and (level == 1 or when == month)]
        words |= {"month": month, "orders": len(asked), "sum": " + ".join(map(plain, asked))}
        show = money if level == 2 else plain
        orders = table("id,customer,month,amount", [(*row, show(cents)) for *row, cents in rows])
        return {"orders.csv": orders}, {}, plain(sum(asked)), words
    items = names.take("items", 4)
    prices = {item: rng.randrange(150, 4000, 5) for item in items}
    wanted = iter(rng.sample(items, 3) + rng.sample(items, 2))
    rows = [(buyer, next(wanted) if buyer == firm else rng.choice(items), rng.randrange(2, 13)) for buyer in buyers]
    asked = [(item, n) for buyer, item, n in rows if buyer == firm]
    words |= {"missing": rng.choice(asked)[0], "orders": len(asked)}
    words["sum"] = " + ".join(f"{n} * {money(prices[item])}" for item, n in asked)
    priced = [(item, money(cents)) for item, cents in prices.items() if not broken or item != words["missing"]]
    files = {"orders.csv": table("id,customer,item,quantity", [(next(ids), *row) for row in rows])}
    answer = None if broken else plain(sum(n * prices[item] for item, n in asked))
    return files | {"prices.csv": table("item,price", priced)}, {}, answer, words


def reorder(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """How many units fill a town's stock up to its minima."""
    (city, other), items, lacks = names.take("cities", 2), names.take("items", 5), []
    while not 2 <= len(lacks) <= 4:
        rows = [(item, town, rng.randrange(40), rng.randrange(10, 40)) for item in items for town in (city, other)]
        lacks = [(least, units) for _, town, units, least in rows if town == city and units < least]
    words = {"city": city, "lacks": len(lacks), "sum": " + ".join(f"({least} - {units})" for least, units in lacks)}
    answer = str(sum(least - units for least, units in lacks))
    return {"stock.csv": table("item,city,units,minimum", rng.sample(rows, 10))}, {}, answer, words


def quote(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """A price with the customer's discount; at level 3 with delivery by the terms in a text."""
    items, firms, n = names.take("items", 5), names.take("firms", 4), rng.randrange(5, 25)
    prices = {item: rng.randrange(600, 6000, 20) for item in items}
    discounts = dict(zip(firms, rng.sample(range(5, 35, 5), 4), strict=True))
    firm, item = firms[rng.randrange(4)], items[rng.randrange(5)]
    left = 100 - discounts[firm]
    net = n * prices[item] * left // 100  # exact: prices are multiples of 20 cents, discounts of 5 percent
    files = {
        "prices.csv": table("item,price", [(item, money(cents)) for item, cents in prices.items()]),
        "customers.csv": table("customer,discount_percent", discounts.items()),
    }
    words = {"firm": firm, "item": item, "items": plural(item), "n": n, "discount": discounts[firm]}
    words |= {"net": plain(net), "product": f"{n} * {money(prices[item])} * {left} / 100"}
    if level == 2:
        return files, {}, plain(net), words
    fee, free = rng.randrange(390, 1990, 50), net // 100 + rng.choice((-1, 1)) * rng.randrange(3, 16)
    files["terms.txt"] = (
        f"Terms of delivery, {names.take('cities', 1)[0]}\nDelivery costs {money(fee)} euros.\n"
        f"It is free for orders of {free} euros or more, counted after the discount.\nReturns within 14 days.\n"
    )
    pays = net < 100 * free
    words |= {"free": free, "delivery": money(fee) if pays else "0", "side": "below" if pays else "not below"}
    return files, {}, plain(net + fee * pays), words


def notes(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """A number from one of several notes; at level 3 a later note changes it, and prices make it an amount."""
    firms, items, numbers = names.take("firms", 4), names.take("items", 4), rng.sample(range(3, 60), 8)
    said = [
        f"{firms[0]} wants {numbers[0]} x {items[0]}.",
        f"{firms[0]} wants {numbers[1]} x {items[1]}.",
        f"{firms[1]} asks for {numbers[2]} x {items[0]}.",
        f"{firms[2]} called about {numbers[3]} x {items[2]}, no answer needed.",
        f"{firms[3]} sends back {numbers[4]} x {items[0]}.",
    ]
    rng.shuffle(said)
    days = DAYS[:3]
    files = {f"notes/{day.lower()}.txt": said[2 * i : 2 * i + 2] for i, day in enumerate(days)}
    words = {"firm": firms[0], "item": items[0], "items": plural(items[0]), "n": numbers[0]}
    if level == 1:
        return {path: "\n".join(lines) + "\n" for path, lines in files.items()}, {}, str(numbers[0]), words
    files["notes/thursday.txt"] = [f"{firms[0]} now wants {numbers[5]} x {items[0]}, not {numbers[0]}."]
    prices = {item: rng.randrange(200, 6000, 5) for item in items}
    cents, files = prices[items[0]], {path: "\n".join(lines) + "\n" for path, lines in files.items()}
    files["prices.csv"] = table("item,price", [(item, money(price)) for item, price in sorted(prices.items())])
    words |= {"new": numbers[5], "price": money(cents), "product": f"{numbers[5]} * {money(cents)}"}
    return files, {}, plain(numbers[5] * cents), words
